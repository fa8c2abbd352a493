/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "host/sim/clock.h"

void sim__clock_init(struct sim_clock *c)
{
	*c = (struct sim_clock){0};
}

void sim__clock_exit(struct sim_clock *c)
{
	free(c->heap);
	*c = (struct sim_clock){0};
}

static bool before(const struct sim_timer *a, const struct sim_timer *b)
{
	if (a->when != b->when)
		return a->when < b->when;
	return a->seq < b->seq;
}

static void place(struct sim_clock *c, size_t i, struct sim_timer *t)
{
	c->heap[i] = t;
	t->pos = i + 1;
}

static void sift_up(struct sim_clock *c, size_t i)
{
	struct sim_timer *t = c->heap[i];

	while (i && before(t, c->heap[(i - 1) / 2])) {
		place(c, i, c->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	place(c, i, t);
}

static void sift_down(struct sim_clock *c, size_t i)
{
	struct sim_timer *t = c->heap[i];

	for (;;) {
		size_t kid = 2 * i + 1;

		if (kid >= c->nr)
			break;
		if (kid + 1 < c->nr && before(c->heap[kid + 1], c->heap[kid]))
			kid++;
		if (!before(c->heap[kid], t))
			break;
		place(c, i, c->heap[kid]);
		i = kid;
	}
	place(c, i, t);
}

void sim__timer_set(struct sim_clock *c, struct sim_timer *t, uint64_t when)
{
	if (c->nr == c->max) {
		c->max = c->max ? 2 * c->max : 64;
		c->heap = realloc(c->heap, c->max * sizeof(*c->heap));
		if (!c->heap)
			abort();
	}
	t->when = when;
	t->seq = c->seq++;
	place(c, c->nr, t);
	sift_up(c, c->nr++);
}

void sim__timer_cancel(struct sim_clock *c, struct sim_timer *t)
{
	size_t i = t->pos - 1;
	struct sim_timer *last;

	if (!t->pos)
		return;
	t->pos = 0;
	last = c->heap[--c->nr];
	if (last == t)
		return;
	place(c, i, last);
	sift_down(c, i);
	sift_up(c, last->pos - 1);
}

struct sim_timer *sim__clock_due(struct sim_clock *c)
{
	struct sim_timer *t;

	if (!c->nr || c->heap[0]->when > c->now)
		return NULL;
	t = c->heap[0];
	sim__timer_cancel(c, t);
	return t;
}
