/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/sim/sim_internal.h"

/* A spinlock seen busy this often in a row will never be free: fibers do not
 * switch while they hold one. */
#define RELAX_MAX 100000

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES (512u << 10)
#else
#define STACK_BYTES (128u << 10)
#endif

static unsigned hash_word(const _Atomic uint32_t *word)
{
	return (unsigned)(((uintptr_t)word * 0x9e3779b97f4a7c15u) >> 58) %
	       SCHED_HASH;
}

static void run_add(struct sched *sc, struct fiber *f)
{
	if (sc->nr_run == sc->max_run) {
		sc->max_run = sc->max_run ? 2 * sc->max_run : 32;
		sc->run = realloc(sc->run, sc->max_run * sizeof(*sc->run));
		if (!sc->run)
			abort();
	}
	f->state = FIBER_RUNNABLE;
	sc->run[sc->nr_run++] = f;
}

/* The runnable one that is furthest behind; of equals the first in line. */
static size_t run_behind(const struct sched *sc)
{
	size_t best = 0;

	for (size_t i = 1; i < sc->nr_run; i++)
		if (sc->run[i]->ahead < sc->run[best]->ahead)
			best = i;
	return best;
}

static struct fiber *run_pick(struct sched *sc)
{
	struct fiber *f;
	size_t i;

	if (!sc->ordered) {
		i = prng_below(&sc->prng, sc->nr_run);
		f = sc->run[i];
		sc->run[i] = sc->run[--sc->nr_run];
		return f;
	}
	i = run_behind(sc);
	f = sc->run[i];
	memmove(&sc->run[i], &sc->run[i + 1],
		(--sc->nr_run - i) * sizeof(*sc->run));
	return f;
}

/* ordered: the clock goes to where the last of those who can run is. */
static void catch_up(struct sched *sc, struct fiber *next)
{
	uint64_t least = next->ahead;

	if (!least)
		return;
	for (size_t i = 0; i < sc->nr_run; i++)
		if (sc->run[i]->ahead < least)
			least = sc->run[i]->ahead;
	sc->clock.now += least;
	next->ahead -= least;
	for (size_t i = 0; i < sc->nr_run; i++)
		sc->run[i]->ahead -= least;
}

/* ordered: it stops at the time that it has reached, and starts at the
 * machine's time, whichever is later. */
static void note_stop(struct sched *sc, struct fiber *f)
{
	f->busy_until = sc->clock.now + f->ahead;
	f->ahead = 0;
}

static void note_start(struct sched *sc, struct fiber *f)
{
	f->ahead = f->busy_until > sc->clock.now
		       ? f->busy_until - sc->clock.now
		       : 0;
}

/* Interrupts: nothing here may switch. */
static void fire_due(struct sim *s)
{
	struct sched *sc = &s->sched;
	struct sim_timer *t;

	if (sc->in_irq || sim__clock_next(&sc->clock) > sc->clock.now)
		return;
	sc->in_irq = true;
	while ((t = sim__clock_due(&sc->clock))) {
		sc->nr_irqs++;
		t->fn(t->arg);
	}
	sc->in_irq = false;
}

static void switch_to(struct sim *s, struct fiber *next)
{
	struct sched *sc = &s->sched;
	struct fiber *prev = sc->current;

	next->state = FIBER_RUNNING;
	if (next == prev)
		return;
	if (s->cfg.migrate_ppm && !(next->task.flags & PF_KSWAPD) &&
	    prng_chance(&sc->prng, s->cfg.migrate_ppm))
		next->task.cpu = (uint32_t)prng_below(&sc->prng, s->cfg.cpus);
	sc->nr_switches++;
	sc->current = next;
	fiber_ctx_switch(&prev->ctx, &next->ctx, prev->state == FIBER_DONE);
}

/* The running fiber stands somewhere (run queue, wait list, timer, nowhere). */
static void block(struct sim *s)
{
	struct sched *sc = &s->sched;
	struct fiber *next_up;

	fire_due(s);
	while (!sc->nr_run) {
		uint64_t next = sim__clock_next(&sc->clock);

		if (next == UINT64_MAX)
			sim__fail(s, "deadlock: no task can run and nothing "
				     "will happen");
		if (next > sc->clock.now)
			sc->clock.now = next;
		/* here too: tasks that only wait pass no scheduling point */
		if (s->cfg.time_max_ns && sc->clock.now > s->cfg.time_max_ns)
			sim__fail(s, "no end: the virtual time limit was "
				     "reached");
		fire_due(s);
	}
	sc->relaxes = 0;
	next_up = run_pick(sc);
	if (sc->ordered) {
		catch_up(sc, next_up);
		fire_due(s);
	}
	switch_to(s, next_up);
}

static void timer_wakes(void *arg)
{
	struct fiber *f = arg;

	if (f->state == FIBER_WAITING) {
		list_del(&f->wait);
		f->timed_out = true;
	}
	note_start(&f->sim->sched, f);
	run_add(&f->sim->sched, f);
}

void sim__yield(struct sim *s)
{
	struct sched *sc = &s->sched;

	if (sc->in_irq)
		return;
	sim__pass(sc, POINT_NS);
	fire_due(s);
	if (!sc->nr_run)
		return;
	run_add(sc, sc->current);
	block(s);
}

static void stall(struct sim *s, uint64_t ns)
{
	struct sched *sc = &s->sched;
	struct fiber *f = sc->current;

	note_stop(sc, f);
	f->state = FIBER_STALLED;
	f->since = sc->clock.now;
	f->timer.fn = timer_wakes;
	f->timer.arg = f;
	sim__timer_set(&sc->clock, &f->timer, sc->clock.now + ns);
	block(s);
}

void sim__sleep(struct sim *s, uint64_t ns)
{
	stall(s, ns ? ns : 1);
}

bool sim__idle(struct sim *s)
{
	struct sched *sc = &s->sched;
	struct fiber *f;

	if (sc->nr_run)
		return false;
	list_for_each_entry (f, &sc->all, all) {
		if (f == sc->current || f->state == FIBER_DONE)
			continue;
		if (f->state == FIBER_STALLED || (!f->program && f->timer.pos &&
		     !(f->task.flags & PF_CLOCKWORK)))
			return false;
	}
	return true;
}

/* Whoever is a slice ahead of somebody else lets him go on. */
static void ordered_point(struct sim *s)
{
	struct sched *sc = &s->sched;

	fire_due(s);
	if (!sc->nr_run) {
		sc->clock.now += sc->current->ahead;
		sc->current->ahead = 0;
		return;
	}
	if (sc->current->ahead <
	    sc->run[run_behind(sc)]->ahead + SLICE_NS)
		return;
	run_add(sc, sc->current);
	block(s);
}

void sim__preempt(struct sim *s)
{
	struct sched *sc = &s->sched;

	if (sc->in_irq)
		return;
	sc->nr_preempts++;
	if (sc->ordered) {
		sim__pass(sc, POINT_NS);
		ordered_point(s);
		return;
	}
	sim__pass(sc, POINT_NS);
	fire_due(s);
	if (s->cfg.time_max_ns && sc->clock.now > s->cfg.time_max_ns)
		sim__fail(s, "no end: the virtual time limit was reached");
	if (s->cfg.points_max && sc->nr_preempts > s->cfg.points_max)
		sim__fail(s, "no end: too many scheduling points");
	if (s->cfg.stall_ppm && prng_chance(&sc->prng, s->cfg.stall_ppm)) {
		stall(s, 1 + prng_below(&sc->prng, s->cfg.stall_ns + 1));
		return;
	}
	if (sc->nr_run && prng_chance(&sc->prng, s->cfg.preempt_ppm)) {
		run_add(sc, sc->current);
		block(s);
	}
}

void sim__relax(struct sim *s)
{
	struct sched *sc = &s->sched;

	if (sc->in_irq)
		sim__fail(s, "an interrupt met a held spinlock");
	if (++sc->relaxes > RELAX_MAX)
		sim__fail(s, "a spinlock was held across a switch, or taken "
			     "twice");
	sim__pass(sc, POINT_NS);
	fire_due(s);
	if (sc->nr_run) {
		uint32_t n = sc->relaxes;

		run_add(sc, sc->current);
		block(s);
		sc->relaxes = n;
	}
}

struct wtask *sim__self(struct sim *s)
{
	struct sched *sc = &s->sched;

	if (sc->in_irq)
		return &sc->irq[sc->current->task.cpu];
	return &sc->current->task;
}

/*
 * ordered, and nobody else to run: the wait is over when an interrupt has
 * changed the word, without anybody having been put to sleep. False: somebody
 * can run now, or the time is up before anything happens.
 */
static bool wait_alone(struct sim *s, _Atomic uint32_t *word, uint32_t expected,
		       uint64_t end)
{
	struct sched *sc = &s->sched;

	sc->clock.now += sc->current->ahead;
	sc->current->ahead = 0;
	while (!sc->nr_run) {
		uint64_t next = sim__clock_next(&sc->clock);

		if (next >= end)
			return false;
		if (next > sc->clock.now)
			sc->clock.now = next;
		fire_due(s);
		if (atomic_load_explicit(word, memory_order_relaxed) !=
		    expected)
			return true;
	}
	return false;
}

int sim__wait(struct sim *s, _Atomic uint32_t *word, uint32_t expected,
	      uint64_t timeout_ns)
{
	struct sched *sc = &s->sched;
	struct fiber *f = sc->current;
	uint64_t end = UINT64_MAX;

	if (sc->in_irq)
		sim__fail(s, "an interrupt waits");
	if (f->task.nr_locks)
		sim__fail(s, "a task waits with a spinlock held");
	sim__pass(sc, POINT_NS);
	fire_due(s);
	if (*word != expected)
		return 0;
	if (timeout_ns)
		end = sc->clock.now + timeout_ns;
	if (sc->ordered && !sc->nr_run && wait_alone(s, word, expected, end))
		return 0;
	/* allowed by the contract, so callers that do not loop are found */
	if (prng_chance(&sc->prng, s->cfg.spurious_ppm)) {
		sim__yield(s);
		return 0;
	}
	note_stop(sc, f);
	f->state = FIBER_WAITING;
	f->word = word;
	f->since = sc->clock.now;
	f->timed_out = false;
	list_add(&f->wait, &sc->waiters[hash_word(word)]);
	if (timeout_ns) {
		f->timer.fn = timer_wakes;
		f->timer.arg = f;
		sim__timer_set(&sc->clock, &f->timer, end);
	}
	block(s);
	f->word = NULL;
	return f->timed_out ? -ETIMEDOUT : 0;
}

void sim__wake(struct sim *s, _Atomic uint32_t *word, unsigned nr)
{
	struct sched *sc = &s->sched;
	struct list_head *h = &sc->waiters[hash_word(word)];
	struct fiber *f;

	/* oldest or newest first, by the seed: callers may count on neither */
	while (nr) {
		struct fiber *young = NULL, *old = NULL;

		list_for_each_entry (f, h, wait) {
			if (f->word != word)
				continue;
			if (!young)
				young = f;
			old = f;
		}
		if (!young)
			return;
		/* one waiter draws nothing: which words share a list hangs on
		 * addresses, which are no part of the seed */
		if (old != young && !sc->ordered &&
		    (prng_next(&sc->prng) & 1))
			old = young;
		list_del(&old->wait);
		sim__timer_cancel(&sc->clock, &old->timer);
		note_start(sc, old);
		run_add(sc, old);
		nr--;
	}
}

void sim__poll(struct sim *s)
{
	sim__pass(&s->sched, POINT_NS);
	fire_due(s);
}

static void fiber_start(void *arg)
{
	struct fiber *f = arg;
	struct sim *s = f->sim;
	struct sched *sc = &s->sched;

	if (f->worker)
		f->worker(s->engine, f->arg);
	else
		f->fn(f->arg);
	if (f->task.nr_locks)
		sim__fail(s, "a task ended with a spinlock held");
	f->state = FIBER_DONE;
	if (f->program && --sc->nr_programs == 0)
		run_add(sc, &sc->boot);
	block(s);
	abort();
}

int sim__task_new(struct sim *s, const char *name, uint32_t flags, bool program,
		  void (*fn)(void *arg), weir_worker_fn *worker, void *arg)
{
	struct sched *sc = &s->sched;
	struct fiber *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	if (fiber_ctx_create(&f->ctx, STACK_BYTES, fiber_start, f)) {
		free(f);
		return -ENOMEM;
	}
	snprintf(f->name, sizeof(f->name), "%s", name);
	f->sim = s;
	f->program = program;
	f->fn = fn;
	f->worker = worker;
	f->arg = arg;
	f->task.id = ++sc->next_id;
	f->task.cpu = (f->task.id - 1) % s->cfg.cpus;
	f->task.flags = flags;
	f->task.name = f->name;
	list_add_tail(&f->all, &sc->all);
	sc->nr_programs += program;
	run_add(sc, f);
	return 0;
}

int sim__sched_run(struct sim *s)
{
	struct sched *sc = &s->sched;

	if (sc->failed)
		return -EIO;
	if (!sc->nr_programs)
		return 0;
	sc->boot.state = FIBER_WAITING;
	sc->boot.since = sc->clock.now;
	block(s);
	return sc->failed ? -EIO : 0;
}

struct sim_proc *sim__work_for(struct sim *s, struct sim_proc *p)
{
	struct fiber *f = s->sched.current;
	struct sim_proc *before = f->proc;

	f->proc = p;
	if (p && p->killed)
		f->task.flags |= PF_EXITING;
	else
		f->task.flags &= ~(uint32_t)(PF_EXITING | PF_OOM_VICTIM);
	return before;
}

void sim__mark_killed(struct sim *s, struct sim_proc *p)
{
	struct fiber *f;

	list_for_each_entry (f, &s->sched.all, all)
		if (f->proc == p)
			f->task.flags |= PF_EXITING;
}

void sim__sched_abandon(struct sim *s)
{
	struct sched *sc = &s->sched;

	if (sc->current == &sc->boot && sc->boot.state == FIBER_RUNNING) {
		/* not inside sim_run(): nowhere to go back to */
		abort();
	}
	sc->failed = true;
	sc->in_irq = false;
	if (sc->current != &sc->boot) {
		sc->current->state = FIBER_STALLED;
		switch_to(s, &sc->boot);
	}
	/* boot itself was looking for somebody to run */
	longjmp(s->boot_jmp, 1);
}

static const char *const state_names[] = {"runnable", "running", "waiting",
					  "stalled", "done"};

void sim__sched_dump(struct sim *s, void (*out)(void *ctx, const char *line),
		     void *ctx)
{
	struct sched *sc = &s->sched;
	struct fiber *f;
	char line[160];

	snprintf(line, sizeof(line),
		 "time %" PRIu64 " ns, %" PRIu64 " switches, %zu timers",
		 sc->clock.now, sc->nr_switches, sc->clock.nr);
	out(ctx, line);
	list_for_each_entry (f, &sc->all, all) {
		if (f->state == FIBER_DONE)
			continue;
		if (f->state == FIBER_WAITING)
			snprintf(line, sizeof(line),
				 "task %u %s cpu %u: waits for word %p == %u "
				 "since %" PRIu64 "%s",
				 f->task.id, f->name, f->task.cpu,
				 (void *)f->word, *f->word, f->since,
				 f->timer.pos ? " (limited)" : "");
		else
			snprintf(line, sizeof(line), "task %u %s cpu %u: %s",
				 f->task.id, f->name, f->task.cpu,
				 state_names[f->state]);
		out(ctx, line);
	}
}

void sim__sched_init(struct sim *s)
{
	struct sched *sc = &s->sched;

	prng_init(&sc->prng, s->cfg.seed, SIM_STREAM_SCHED);
	sc->ordered = s->cfg.ordered;
	sim__clock_init(&sc->clock);
	list_init(&sc->all);
	for (unsigned i = 0; i < SCHED_HASH; i++)
		list_init(&sc->waiters[i]);
	for (unsigned i = 0; i < MAX_CPUS; i++) {
		sc->irq[i].cpu = i;
		sc->irq[i].id = ++sc->next_id;
		sc->irq[i].flags = PF_ATOMIC;
		sc->irq[i].name = "irq";
	}
	sc->boot.sim = s;
	sc->boot.state = FIBER_RUNNING;
	sc->boot.task.id = ++sc->next_id;
	sc->boot.task.name = "boot";
	fiber_ctx_adopt(&sc->boot.ctx);
	sc->current = &sc->boot;
}

void sim__sched_exit(struct sim *s)
{
	struct sched *sc = &s->sched;
	struct fiber *f, *tmp;

	list_for_each_entry_safe (f, tmp, &sc->all, all) {
		fiber_ctx_destroy(&f->ctx);
		free(f);
	}
	free(sc->run);
	sim__clock_exit(&sc->clock);
}
