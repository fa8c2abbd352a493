/* SPDX-License-Identifier: MIT */
/*
 * Calls from a thread of the program to the engine.
 *
 * A program thread cannot run the engine: it is no task of it, it has no
 * descriptors of ours, and a signal may take it anywhere. So it leaves a
 * request and sleeps until a thread of ours has served it. That thread is
 * pinned to the caller's CPU: waking it there and back costs two switches, not
 * the wake of an idle CPU.
 *
 * Signals are blocked meanwhile: a handler that called would wait for the
 * request of the very thread it interrupts.
 */
#include <sched.h>

#include "host/live/live.h"
#include "host/live/sys.h"

enum call_state { CALL_IDLE, CALL_POSTED, CALL_DONE };

static struct seat *seat_here(struct live *l)
{
	int cpu = sched_getcpu();

	for (uint32_t i = 0; i < l->nr_seats; i++)
		if (l->seat[i].cpu == (uint32_t)cpu)
			return &l->seat[i];
	return &l->seat[0];
}

static void call(struct live *l, uint64_t start, uint64_t end)
{
	struct call *c = &seat_here(l)->call;
	uint64_t mask;

	sys_sigprocmask(SIG_BLOCK, &(uint64_t){~(uint64_t)0}, &mask);
	while (atomic_exchange(&c->taken, 1))
		sys_sched_yield();
	c->start = start;
	c->end = end;
	c->state = CALL_POSTED;
	sys_futex(&c->state, FUTEX_WAKE_PRIVATE, 1, NULL);
	while (c->state == CALL_POSTED)
		sys_futex(&c->state, FUTEX_WAIT_PRIVATE, CALL_POSTED, NULL);
	c->state = CALL_IDLE;
	c->taken = 0;
	sys_sigprocmask(SIG_SETMASK, &mask, NULL);
}

/* Somebody serves, and it is not this thread that keeps it from serving. */
static bool can_call(struct live *l)
{
	return l && l->state == LIVE_ACTIVE && l->calls_served &&
	       l->fork_tid != (uint32_t)sys_gettid();
}

void call_new_memory(struct live *l, void *p, size_t len)
{
	uint64_t start = (uintptr_t)p & PAGE_MASK;
	uint64_t end = ((uintptr_t)p + len + PAGE_SIZE - 1) & PAGE_MASK;

	if (!sys_is_err(p) && can_call(l) && len >= PAGE_SIZE)
		call(l, start, end);
}

static void call_main(void *arg)
{
	struct live_task *t = arg;
	struct live *l = t->live;
	struct call *c = &t->seat->call;

	for (;;) {
		uint32_t state = c->state;

		if (state != CALL_POSTED) {
			sys_futex(&c->state, FUTEX_WAIT_PRIVATE, state, NULL);
			continue;
		}
		live_enter(t);
		regions_new(l, c->start, c->end);
		live_exit(t);
		c->state = CALL_DONE;
		sys_futex(&c->state, FUTEX_WAKE_PRIVATE, 1, NULL);
	}
}

int calls_start(struct live *l)
{
	l->calls_served = 0;
	for (uint32_t i = 0; i < l->nr_seats; i++) {
		struct live_task *t =
			live_task_new(l, "weir-call", (int)l->seat[i].cpu);
		int err;

		if (!t)
			return -EAGAIN;
		t->seat = &l->seat[i];
		t->task.cpu = i;
		err = live_thread_run(t, call_main);
		if (err)
			return err;
	}
	l->calls_served = 1;
	return 0;
}
