/* SPDX-License-Identifier: MIT */
/*
 * The lock of the rooms of compressed memory: one word, held for a few dozen
 * instructions, never over compression, decompression, a system call or a call
 * out of here. Whoever waits for long gives the processor away, since the
 * holder may have lost its own. Ranks: docs/locking.md.
 */
#ifndef WEIR_STORE_ZLOCK_H
#define WEIR_STORE_ZLOCK_H

#include <stdatomic.h>
#include <stdint.h>

#include "host/live/sys.h"

#define ZLOCK_SPINS  100u
#define ZLOCK_YIELDS 16u

struct zlock {
	_Atomic uint32_t word;
};

/* Yielding does not let a holder of lower priority run; sleeping does. */
static inline void zlock_pause(unsigned *spins)
{
	if (++*spins % ZLOCK_SPINS == 0) {
		if (*spins < ZLOCK_SPINS * ZLOCK_YIELDS)
			sys_sched_yield();
		else
			sys_nanosleep(20000);
		return;
	}
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static inline void zlock_take(struct zlock *l)
{
	unsigned spins = 0;

	while (atomic_exchange_explicit(&l->word, 1, memory_order_acquire))
		while (atomic_load_explicit(&l->word, memory_order_relaxed))
			zlock_pause(&spins);
}

static inline bool zlock_try(struct zlock *l)
{
	return !atomic_load_explicit(&l->word, memory_order_relaxed) &&
	       !atomic_exchange_explicit(&l->word, 1, memory_order_acquire);
}

static inline void zlock_let(struct zlock *l)
{
	atomic_store_explicit(&l->word, 0, memory_order_release);
}

#endif
