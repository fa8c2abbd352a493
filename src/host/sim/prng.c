/* SPDX-License-Identifier: MIT */
#include "host/sim/prng.h"

static uint64_t splitmix(uint64_t *x)
{
	uint64_t z = *x += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

void prng_init(struct prng *p, uint64_t seed, uint64_t stream)
{
	uint64_t x = seed;
	uint64_t y = splitmix(&x) ^ (stream * 0xd1342543de82ef95u);

	/* splitmix64 never gives four zeros in a row: the state is not zero */
	for (int i = 0; i < 4; i++)
		p->s[i] = splitmix(&y);
}
