/* SPDX-License-Identifier: MIT */
/*
 * Virtual time: nanoseconds that pass only when told to, and a heap of timers.
 * Timers of the same nanosecond fire in the order in which they were set.
 */
#ifndef WEIR_SIM_CLOCK_H
#define WEIR_SIM_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_timer {
	uint64_t when; /* ns */
	uint64_t seq;
	size_t pos; /* index in the heap + 1; 0 = not set */
	void (*fn)(void *arg);
	void *arg;
};

struct sim_clock {
	uint64_t now; /* ns */
	uint64_t seq;
	struct sim_timer **heap;
	size_t nr, max;
};

void sim__clock_init(struct sim_clock *c);
void sim__clock_exit(struct sim_clock *c);

/* Sets fn and arg before; the timer is not set already. */
void sim__timer_set(struct sim_clock *c, struct sim_timer *t, uint64_t when);
/* Does nothing when the timer is not set. */
void sim__timer_cancel(struct sim_clock *c, struct sim_timer *t);

/* When the next timer fires; UINT64_MAX = there is none. */
static inline uint64_t sim__clock_next(const struct sim_clock *c)
{
	return c->nr ? c->heap[0]->when : UINT64_MAX;
}

/* Takes out the first timer that is due, or NULL. The caller calls fn. */
struct sim_timer *sim__clock_due(struct sim_clock *c);

#endif
