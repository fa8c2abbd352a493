/* SPDX-License-Identifier: MIT */
#include "host/live/gate.h"

#include "engine/aspace.h"
#include "host/live/live.h"
#include "host/live/sys.h"

#define ALONE 0x80000000u

static void pause_a_little(int *n)
{
	if (++*n < 200)
		__builtin_ia32_pause();
	else
		sys_sched_yield();
}

void gate_enter(struct gate *g)
{
	int n = 0;

	for (;;) {
		uint32_t w = g->word;

		if (!(w & ALONE) && !g->alone_wanted &&
		    atomic_compare_exchange_weak(&g->word, &w, w + 1))
			return;
		pause_a_little(&n);
	}
}

void gate_leave(struct gate *g)
{
	g->word--;
}

void gate_alone(struct gate *g)
{
	int n = 0;

	g->alone_wanted++;
	for (;;) {
		uint32_t w = 0;

		if (atomic_compare_exchange_weak(&g->word, &w, ALONE))
			break;
		pause_a_little(&n);
	}
	g->alone_wanted--;
}

void gate_open(struct gate *g)
{
	g->word = 0;
}

bool gate_any(struct gate *g)
{
	return g->head != g->tail;
}

bool gate_full(struct gate *g)
{
	/* One reading may bring an event for each CPU's reader. */
	return g->head - g->tail > GATE_PENDING_MAX - LIVE_CPUS;
}

bool gate_pending(struct gate *g, uint64_t start, uint64_t end)
{
	for (uint32_t i = g->tail; i != g->head; i++) {
		const struct pending *p = &g->ring[i % GATE_PENDING_MAX];
		uint64_t len = p->end - p->start;

		if (start < p->end && p->start < end)
			return true;
		if (p->kind == PENDING_REMAP && start < p->to + len &&
		    p->to < end)
			return true;
	}
	return false;
}

void gate_note(struct gate *g, enum pending_kind kind, uint64_t start,
	       uint64_t end, uint64_t to)
{
	g->ring[g->head % GATE_PENDING_MAX] =
		(struct pending){kind, start, end, to};
	g->head++;
}

static void mutex_lock(struct live *l, _Atomic uint32_t *m)
{
	uint32_t free = 0;

	while (!atomic_compare_exchange_strong(m, &free, 1)) {
		l->host.ops->wait(&l->host, m, 1, 0);
		free = 0;
	}
}

static void mutex_unlock(struct live *l, _Atomic uint32_t *m)
{
	*m = 0;
	l->host.ops->wake_word(&l->host, m, 1);
}

static void apply(struct live *l, const struct pending *p)
{
	int err = 0;

	switch (p->kind) {
	case PENDING_REMOVE:
		err = weir__aspace_zap(l->as, p->start, p->end);
		break;
	case PENDING_UNMAP:
		err = weir__aspace_unmap(l->as, p->start, p->end);
		break;
	case PENDING_REMAP:
		err = weir__aspace_move(l->as, p->start, p->to,
					p->end - p->start);
		break;
	}
	if (err)
		live_logf(l, 1, "event %d of %llx-%llx: error %d", p->kind,
			  (unsigned long long)p->start,
			  (unsigned long long)p->end, err);
}

static void apply_all(struct live *l)
{
	struct gate *g = &l->gate;

	while (gate_any(g)) {
		apply(l, &g->ring[g->tail % GATE_PENDING_MAX]);
		g->tail++;
	}
}

void gate_hold(struct live *l)
{
	mutex_lock(l, &l->gate.apply_lock);
	apply_all(l);
}

void gate_unhold(struct live *l)
{
	/* What came meanwhile, for those who found the lock taken. */
	apply_all(l);
	mutex_unlock(l, &l->gate.apply_lock);
}

void gate_apply(struct live *l)
{
	if (!gate_any(&l->gate))
		return;
	gate_hold(l);
	mutex_unlock(l, &l->gate.apply_lock);
}
