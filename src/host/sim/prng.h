/* SPDX-License-Identifier: MIT */
/*
 * Repeatable random numbers: xoshiro256** streams, seeded through splitmix64.
 * Every room of the simulator draws from a stream of its own, so that turning
 * one feature off does not change what the others draw.
 */
#ifndef WEIR_SIM_PRNG_H
#define WEIR_SIM_PRNG_H

#include <stdbool.h>
#include <stdint.h>

struct prng {
	uint64_t s[4];
};

/* Streams with different `stream` are independent for the same seed. */
void prng_init(struct prng *p, uint64_t seed, uint64_t stream);

static inline uint64_t prng_rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static inline uint64_t prng_next(struct prng *p)
{
	uint64_t *s = p->s;
	uint64_t out = prng_rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = prng_rotl(s[3], 45);
	return out;
}

/* 0 .. n-1; 0 for n = 0. The bias is n / 2^32: of no importance here. */
static inline uint64_t prng_below(struct prng *p, uint64_t n)
{
	if (n <= UINT32_MAX)
		return ((prng_next(p) >> 32) * n) >> 32;
	return prng_next(p) % n;
}

/* lo .. hi, both included. */
static inline uint64_t prng_range(struct prng *p, uint64_t lo, uint64_t hi)
{
	return lo + prng_below(p, hi - lo + 1);
}

/* True `ppm` times in a million. Draws nothing for 0: free when off. */
static inline bool prng_chance(struct prng *p, uint32_t ppm)
{
	return ppm && prng_below(p, 1000000) < ppm;
}

#endif
