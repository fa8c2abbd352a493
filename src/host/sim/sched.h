/* SPDX-License-Identifier: MIT */
/*
 * Tasks of the simulated machine: fibers, of which one runs at a time. Who
 * runs next is drawn from the seed, at every wait and, by configured odds, at
 * every point where the engine says that a switch may happen. Timers fire at
 * the same points, as interrupts: on the running fiber's stack, under a task
 * identity of their own.
 *
 * Ordered machines (sim_config.ordered) draw nothing: tasks run side by side,
 * each on a processor of its own, and whoever is behind in virtual time runs
 * next. The clock is the time that all of them have reached.
 *
 *	clock        10 us                 program    kswapd
 *	program runs |=======>             ahead 5    woken at 10, ahead 0
 *	              kswapd  |====>       ahead 5    ahead 8: 8 - 5 < a slice
 *	                           goes on until it is a slice ahead, and so on
 *
 * When no task can run and no timer is set, nothing will ever happen again:
 * that is a deadlock, and it ends the run.
 */
#ifndef WEIR_SIM_SCHED_H
#define WEIR_SIM_SCHED_H

#include "engine/types.h"
#include "host/sim/clock.h"
#include "host/sim/fiber.h"
#include "host/sim/prng.h"

struct sim;
struct sim_proc;

enum fiber_state {
	FIBER_RUNNABLE,
	FIBER_RUNNING,
	FIBER_WAITING,
	FIBER_STALLED, /* off the processor for a while, by the seed */
	FIBER_DONE
};

struct fiber {
	struct wtask task; /* first: self() hands it out */
	struct fiber_ctx ctx;
	struct sim *sim;
	struct list_head all;
	struct list_head wait; /* in sched.waiters while WAITING on a word */
	enum fiber_state state;
	bool program; /* sim_run() lasts until all of these have ended */
	bool timed_out;
	_Atomic uint32_t *word;
	uint64_t since; /* when it began to wait */
	/* ordered: how far it has run beyond the clock, while others on
	 * processors of their own have not; and until when, once it waits */
	uint64_t ahead, busy_until;
	struct sim_timer timer;
	void (*fn)(void *arg);
	weir_worker_fn *worker; /* or this one, with the engine */
	struct sim_proc *proc;  /* it works for this process now */
	void *arg;
	char name[24];
};

#define SCHED_HASH 64

struct sched {
	struct prng prng;
	struct sim_clock clock;
	struct list_head all;
	struct list_head waiters[SCHED_HASH];
	struct fiber **run; /* runnable ones, in no order */
	size_t nr_run, max_run;
	struct fiber *current;
	struct fiber boot; /* the context that called sim_run() */
	struct wtask irq[MAX_CPUS];
	bool in_irq;
	uint32_t next_id, nr_programs;
	uint64_t nr_switches, nr_preempts, nr_irqs;
	uint32_t relaxes; /* in a row */
	bool failed;
	bool ordered; /* (c) */
};

void sim__sched_init(struct sim *s);
void sim__sched_exit(struct sim *s);

/* 0 or -ENOMEM. fn or worker. */
int sim__task_new(struct sim *s, const char *name, uint32_t flags, bool program,
		  void (*fn)(void *arg), weir_worker_fn *worker, void *arg);
/* Runs until every program task has ended. 0, or -EIO when the run failed. */
int sim__sched_run(struct sim *s);

struct wtask *sim__self(struct sim *s);
/* Gives others a turn by the seed's odds; fires due timers. */
void sim__preempt(struct sim *s);
/* Gives others a turn if there is any. */
void sim__yield(struct sim *s);
void sim__relax(struct sim *s);
int sim__wait(struct sim *s, _Atomic uint32_t *word, uint32_t expected,
	      uint64_t timeout_ns);
void sim__wake(struct sim *s, _Atomic uint32_t *word, unsigned nr);
void sim__sleep(struct sim *s, uint64_t ns);
/* No other task can run, and none but programs wait with a time limit. */
bool sim__idle(struct sim *s);
/* Fires what is due. */
void sim__poll(struct sim *s);

/* A scheduling point costs this much, so that whoever polls sees time pass. */
#define POINT_NS 20
/* How far a task may get ahead of the others. */
#define SLICE_NS 10000

/* Time passes for the running task, and for the machine where nobody else could
 * run; nothing fires before the next scheduling point. */
static inline void sim__pass(struct sched *sc, uint64_t ns)
{
	if (sc->ordered && sc->nr_run)
		sc->current->ahead += ns;
	else
		sc->clock.now += ns;
}

/* The running task works for p (NULL: for nobody). Returns for whom before. */
struct sim_proc *sim__work_for(struct sim *s, struct sim_proc *p);
/* p was killed: who works for it may use the reserves, and does not wait. */
void sim__mark_killed(struct sim *s, struct sim_proc *p);

/* Leaves the running fiber for good: sim_run() returns -EIO. */
void sim__sched_abandon(struct sim *s) __attribute__((noreturn));

/* A line for each task, through out. */
void sim__sched_dump(struct sim *s, void (*out)(void *ctx, const char *line),
		     void *ctx);

#endif
