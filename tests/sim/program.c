/* SPDX-License-Identifier: MIT */
#include "program_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkers/frames.h"
#include "engine/check.h"
#include "engine/writeback.h"
#include "engine/reclaim.h"

static int prog_new(struct run *r, struct prog **out);
static int prog_go(struct prog *g);

/* For --trace: what a task is about to do, and what became of it. */
void say(const struct prog *g, const char *what, uint64_t start,
		uint64_t end, int64_t rc)
{
	if (g->r->trace)
		printf("%12" PRIu64 " program %u %s %" PRIx64 "-%" PRIx64
		       " %" PRId64 "\n",
		       sim_now(g->r->s), g->id, what, start, end, rc);
}

static void bad(struct prog *g, const char *what)
{
	sim__fail(g->r->s, "program %u: %s: %s", g->id, what, g->sh.why);
}

/* --- rests ------------------------------------------------------------------
 */

/* A task about to enter the engine; never while a rest is being held. A killed
 * one goes on to its end: the others may be waiting for its memory. */
static void park(struct prog *g)
{
	struct run *r = g->r;

	while (r->pause && !sim_killed(g->p)) {
		r->parked++;
		sim_wake(r->s, &r->parked);
		sim_wait(r->s, &r->pause, 1, 1000000);
		r->parked--;
	}
}

/* This task stops all the others and looks at the whole engine. */
static void rest(struct run *r)
{
	char why[300] = "";
	uint32_t n;

	if (r->pause)
		return;
	r->pause = 1;
	while ((n = r->parked) + 1 < r->tasks)
		sim_wait(r->s, &r->parked, n, 1000000);
	/* the flusher has no peace before everything is written */
	if (r->w.w_file)
		weir__sync_all(sim_engine(r->s));
	if (sim_settle(r->s, 2000000000)) {
		r->nr_rests++;
		if (!weir__engine_is_valid(sim_engine(r->s), why, sizeof(why)))
			sim__fail(r->s, "not valid: %s", why);
	} else {
		r->nr_unrested++;
	}
	r->pause = 0;
	sim_wake(r->s, &r->pause);
}

/* --- addresses --------------------------------------------------------------
 */

static uint64_t page_index(const struct prog *g, uint64_t addr)
{
	return (addr - sim_base(g->r->s)) / PAGE;
}

void reserve(struct prog *g, uint64_t start, uint64_t end, bool take)
{
	memset(g->used + page_index(g, start), take, (end - start) / PAGE);
}

/* A free range of so many pages, reserved; 0 = none found. */
uint64_t find_room(struct task *t, uint64_t pages)
{
	struct prog *g = t->g;
	uint64_t span = g->sh.pages;

	for (int try = 0; try < 8; try++) {
		uint64_t i = prng_below(&t->rnd, span - pages), n = 0;

		/* as often as not next to something: merges, growth */
		if (try & 1)
			while (i && !g->used[i - 1])
				i--;
		while (n < pages && i + n < span && !g->used[i + n])
			n++;
		if (n < pages)
			continue;
		memset(g->used + i, 1, pages);
		return sim_base(g->r->s) + i * PAGE;
	}
	return 0;
}

static struct area *free_area(struct prog *g)
{
	for (int i = 0; i < AREAS_MAX; i++)
		if (!g->area[i].end && !g->area[i].busy)
			return &g->area[i];
	return NULL;
}

/* Any area; NULL when the draw met none. */
static struct area *some_area(struct task *t, bool idle)
{
	for (int try = 0; try < 6; try++) {
		struct area *a = &t->g->area[prng_below(&t->rnd, AREAS_MAX)];

		if (a->end && !(idle && a->busy))
			return a;
	}
	return NULL;
}

static void sub_range(struct task *t, const struct area *a, uint64_t *start,
		      uint64_t *end)
{
	uint64_t n = (a->end - a->start) / PAGE;
	uint64_t from = prng_below(&t->rnd, n);
	uint64_t len = prng_range(&t->rnd, 1, n - from);

	if (prng_below(&t->rnd, 4) == 0) {
		from = 0;
		len = n;
	}
	*start = a->start + from * PAGE;
	*end = *start + len * PAGE;
}

/* --- access -----------------------------------------------------------------
 */

/* 0; or not 0: the task ends. */
static int touch(struct task *t, uint64_t addr, bool write)
{
	struct prog *g = t->g;
	struct run *r = g->r;
	void *data = NULL;
	int rc;

	while (g->stop && !sim_killed(g->p))
		sim_wait(r->s, &g->stop, 1, 1000000);
	if (shadow_in_flux(&g->sh, addr))
		write = false;
	r->nr_touch++;
	g->inside++;
	rc = sim_touch(g->p, addr, write, &data);
	g->inside--;
	if (g->stop)
		sim_wake(r->s, &g->inside);
	say(g, write ? "write" : "read", addr, addr, rc);
	/* The mapping went while the access was under way, and a file came. */
	if ((rc == 0 || rc == -ENXIO) && file_area_at(g, addr)) {
		if (rc == 0 && write)
			file_adopt_copy(g, addr, data);
		return 0;
	}
	switch (rc) {
	case 0:
		if (!shadow_check(&g->sh, addr, data))
			bad(g, write ? "write" : "read");
		if (write && !shadow_in_flux(&g->sh, addr))
			shadow_write(&g->sh, addr, data, &t->rnd);
		return 0;
	case -EINTR:
		return rc;
	case -ENOMEM:
		r->nr_nomem++;
		if (!r->oom_allowed)
			sim__fail(r->s, "out of memory, with room in swap");
		sim_kill(g->p);
		return rc;
	default:
		if (!shadow_error(&g->sh, addr, rc))
			bad(g, "access");
		r->nr_lost += rc == -EIO;
		return 0;
	}
}

static int touch_random(struct task *t)
{
	struct area *a = some_area(t, false);
	bool write = prng_below(&t->rnd, 100) < t->g->r->w.write_pct;

	if (!a)
		return 0;
	return touch(
	    t, a->start + prng_below(&t->rnd, a->end - a->start) / PAGE * PAGE,
	    write);
}

/* Near the start of some area: pages that stay in use. */
static int touch_hot(struct task *t)
{
	struct area *a = some_area(t, false);
	uint64_t n;

	for (int i = 0; a && i < 8; i++) {
		n = (a->end - a->start) / PAGE;
		if (n > 4)
			n = 4;
		if (!n)
			break; /* unmapped meanwhile */
		if (touch(t, a->start + prng_below(&t->rnd, n) * PAGE,
			  prng_below(&t->rnd, 2)))
			return -EINTR;
	}
	return 0;
}

static int touch_seq(struct task *t)
{
	bool write = prng_below(&t->rnd, 100) < t->g->r->w.write_pct;
	struct area *a = some_area(t, false);
	uint64_t n = prng_range(&t->rnd, 4, 64);
	uint64_t addr;

	if (!a)
		return 0;
	addr = t->seq;
	if (addr < a->start || addr >= a->end)
		addr = a->start;
	while (n-- && addr >= a->start && addr < a->end) {
		if (touch(t, addr, write))
			return -EINTR;
		addr += PAGE;
	}
	t->seq = addr;
	return 0;
}

/* --- system calls -----------------------------------------------------------
 */

/* What a system call answered. True: it was done. */
bool done(struct task *t, int rc, const char *call)
{
	struct run *r = t->g->r;

	if (rc == -ENOMEM)
		r->nr_nomem++;
	if (rc == -ENOMEM && !r->oom_allowed)
		sim__fail(r->s, "%s: out of memory, with room in swap", call);
	if (rc && rc != -ENOMEM && rc != -EINTR)
		sim__fail(r->s, "%s answers %d", call, rc);
	return rc == 0;
}

static void op_map(struct task *t)
{
	struct prog *g = t->g;
	uint64_t pages = prng_range(&t->rnd, 1, g->r->w.pages / 3 + 1);
	struct area *a = free_area(g);
	static const uint32_t kinds[] = {0, 0, REGION_SEQ, REGION_RAND};
	uint32_t flags =
	    REGION_READ | REGION_WRITE | kinds[prng_below(&t->rnd, 4)];
	bool late = g->r->w.late_maps && prng_below(&t->rnd, 2);
	uint64_t start;
	int rc;

	if (!a || g->mapped + pages > g->r->w.pages)
		return;
	start = find_room(t, pages);
	if (!start)
		return;
	a->busy = true;
	g->mapped += pages;
	rc = sim_mmap(g->p, start, start + pages * PAGE, flags, late);
	say(g, late ? "mmap late" : "mmap", start, start + pages * PAGE, rc);
	if (!done(t, rc, "mmap")) {
		reserve(g, start, start + pages * PAGE, false);
		g->mapped -= pages;
		a->busy = false;
		return;
	}
	shadow_map(&g->sh, start, start + pages * PAGE);
	a->lock_start = a->lock_end = 0;
	a->start = start;
	a->end = start + pages * PAGE;
	if (late) {
		for (uint64_t i = 0; i < pages && i < 40; i++)
			if (touch_random(t))
				break;
		for (uint64_t i = 0; i < pages && i < 40; i++)
			if (touch(t, start + i * PAGE, i % 3))
				break;
		done(t, sim_register(g->p, start, a->end), "register");
	}
	a->busy = false;
}

static void unlock_pages(struct task *t, struct area *a)
{
	struct prog *g = t->g;

	if (!a->lock_end)
		return;
	done(t, sim_mlock(g->p, a->lock_start, a->lock_end, false), "munlock");
	g->r->locked -= (a->lock_end - a->lock_start) / PAGE;
	a->lock_start = a->lock_end = 0;
}

/* [start, end) is about to go from the area: it keeps the larger rest. */
static void area_cut(struct area *a, uint64_t start, uint64_t end)
{
	if (start - a->start >= a->end - end)
		a->end = start;
	else
		a->start = end;
	if (a->start == a->end)
		a->start = a->end = 0;
}

/* The other rest, if there is one, becomes an area of its own. */
static void area_rest(struct prog *g, const struct area *old, uint64_t start,
		      uint64_t end, const struct area *kept)
{
	uint64_t from = old->start, to = start;
	struct area *b = free_area(g);

	if (kept->end == start) {
		from = end;
		to = old->end;
	}
	if (!b || !kept->end || from >= to)
		return;
	b->start = from;
	b->end = to;
	b->lock_start = b->lock_end = 0;
}

static void op_unmap(struct task *t)
{
	struct prog *g = t->g;
	struct area *a = some_area(t, true), old;
	uint64_t start, end;
	int rc;

	if (!a)
		return;
	a->busy = true;
	if (a->lock_end && prng_below(&t->rnd, 2)) {
		/* munmap of a locked mapping is allowed as well */
		g->r->locked -= (a->lock_end - a->lock_start) / PAGE;
		a->lock_start = a->lock_end = 0;
		start = a->start;
		end = a->end;
	} else {
		unlock_pages(t, a);
		sub_range(t, a, &start, &end);
	}
	old = *a;
	shadow_flux(&g->sh, start, end, true);
	area_cut(a, start, end);
	say(g, "munmap", start, end, 1);
	rc = sim_munmap(g->p, start, end);
	say(g, "munmap", start, end, rc);
	shadow_settled(&g->sh, start, end);
	if (!done(t, rc, "munmap") && rc == -ENOMEM) {
		*a = old; /* nothing happened */
	} else {
		shadow_unmap(&g->sh, start, end);
		reserve(g, start, end, false);
		g->mapped -= (end - start) / PAGE;
		area_rest(g, &old, start, end, a);
	}
	a->busy = false;
}

static void op_dontneed(struct task *t)
{
	struct prog *g = t->g;
	struct area *a = some_area(t, true);
	uint64_t start, end;

	if (!a || a->lock_end)
		return; /* Linux refuses it on a locked range */
	a->busy = true;
	sub_range(t, a, &start, &end);
	shadow_flux(&g->sh, start, end, false);
	say(g, "dontneed", start, end, 1);
	done(t, sim_dontneed(g->p, start, end), "madvise");
	say(g, "dontneed", start, end, 0);
	shadow_zero(&g->sh, start, end);
	shadow_settled(&g->sh, start, end);
	a->busy = false;
}

static void op_move(struct task *t)
{
	struct prog *g = t->g;
	struct area *a = some_area(t, true);
	uint64_t from, to, len;
	int rc;

	if (!a)
		return;
	a->busy = true;
	unlock_pages(t, a);
	from = a->start;
	len = a->end - a->start;
	to = find_room(t, len / PAGE);
	if (!to) {
		a->busy = false;
		return;
	}
	shadow_flux(&g->sh, from, from + len, true);
	a->start = a->end = 0;
	say(g, "move from", from, from + len, 1);
	say(g, "move to", to, to + len, 1);
	rc = sim_move(g->p, from, to, len);
	say(g, "move to", to, to + len, rc);
	shadow_settled(&g->sh, from, from + len);
	if (done(t, rc, "mremap")) {
		shadow_move(&g->sh, from, to, len);
		reserve(g, from, from + len, false);
		a->start = to;
		a->end = to + len;
	} else {
		reserve(g, to, to + len, false);
		a->start = from;
		a->end = from + len;
	}
	a->busy = false;
}

static void op_grow(struct task *t)
{
	struct prog *g = t->g;
	struct area *a = some_area(t, true);
	uint64_t i, n = 0, start;

	if (!a || g->mapped + GROW_MAX > g->r->w.pages)
		return;
	start = a->end;
	i = page_index(g, start);
	while (n < GROW_MAX && i + n < g->sh.pages && !g->used[i + n])
		n++;
	if (!n)
		return;
	a->busy = true;
	n = prng_range(&t->rnd, 1, n);
	say(g, "grow", start, start + n * PAGE, 1);
	memset(g->used + i, 1, n);
	g->mapped += n;
	if (done(t, sim_grow(g->p, start, start + n * PAGE), "grow")) {
		shadow_map(&g->sh, start, start + n * PAGE);
		a->end += n * PAGE;
	} else {
		memset(g->used + i, 0, n);
		g->mapped -= n;
	}
	a->busy = false;
}

static void op_lock(struct task *t)
{
	struct prog *g = t->g;
	struct area *a = some_area(t, true);
	uint64_t start, end;

	if (!a)
		return;
	a->busy = true;
	if (a->lock_end) {
		unlock_pages(t, a);
		a->busy = false;
		return;
	}
	sub_range(t, a, &start, &end);
	if (g->r->locked + (end - start) / PAGE <= g->r->w.locked_max) {
		g->r->locked += (end - start) / PAGE;
		a->lock_start = start;
		a->lock_end = end;
		say(g, "mlock", start, end, 1);
		if (!done(t, sim_mlock(g->p, start, end, true), "mlock")) {
			g->r->locked -= (end - start) / PAGE;
			a->lock_start = a->lock_end = 0;
		} else {
			for (; start < end; start += PAGE)
				if (touch(t, start, false))
					break;
		}
	}
	a->busy = false;
}

static void op_populate(struct task *t)
{
	struct prog *g = t->g;
	struct area *a = some_area(t, true);
	uint64_t start, end;
	int rc;

	if (!a)
		return;
	a->busy = true;
	sub_range(t, a, &start, &end);
	if (end - start > 64 * PAGE)
		end = start + 64 * PAGE;
	say(g, "populate", start, end, 1);
	rc = sim_populate(g->p, start, end);
	if (rc != -EIO) /* which page it was shows at the next touch */
		done(t, rc, "populate");
	a->busy = false;
}

/* Somebody asks the machine to free memory: any task may. */
static void op_reclaim(struct task *t)
{
	uint64_t freed;

	weir__reclaim_pages(sim_engine(t->g->r->s), prng_below(&t->rnd, 64) + 1,
			    -1, &freed);
}

/* --- fork and exit -----------------------------------------------------------
 */

static bool all_idle(const struct prog *g)
{
	for (int i = 0; i < AREAS_MAX; i++)
		if (g->area[i].busy)
			return false;
	return file_areas_idle(g);
}

static void op_fork(struct task *t)
{
	struct prog *g = t->g, *child;
	struct run *r = g->r;
	uint32_t n;
	int rc;

	if (r->procs >= r->w.procs_max || r->nr_forks >= FORKS_MAX || g->stop ||
	    !all_idle(g))
		return;
	r->procs++; /* others may be forking as well */
	g->stop = 1;
	while ((n = g->inside))
		sim_wait(r->s, &g->inside, n, 1000000);
	if (!all_idle(g) || prog_new(r, &child))
		goto none;
	rc = sim_fork(g->p, &child->p);
	if (!done(t, rc, "fork")) {
		if (child->p)
			child->p = NULL;
		goto none; /* the empty shell stays in the list */
	}
	say(g, "fork to program", child->id, child->id, rc);
	r->nr_forks++;
	shadow_copy(&child->sh, &g->sh);
	memcpy(child->used, g->used, g->sh.pages);
	memcpy(child->area, g->area, sizeof(g->area));
	for (int i = 0; i < AREAS_MAX; i++)
		child->area[i].lock_start = child->area[i].lock_end = 0;
	memcpy(child->farea, g->farea, sizeof(g->farea));
	child->mapped = g->mapped;
	prog_go(child);
	goto out;
none:
	r->procs--;
out:
	g->stop = 0;
	sim_wake(r->s, &g->stop);
}

static void prog_end(struct prog *g)
{
	struct run *r = g->r;

	for (int i = 0; i < AREAS_MAX; i++)
		if (g->area[i].lock_end)
			r->locked -=
			    (g->area[i].lock_end - g->area[i].lock_start) /
			    PAGE;
	say(g, "exit", 0, 0, 1);
	sim_exit(g->p);
	say(g, "exit", 0, 0, 0);
	r->procs--;
	shadow_exit(&g->sh);
	free(g->used);
	g->used = NULL;
}

/* --- one task ----------------------------------------------------------------
 */

static int op(struct task *t)
{
	const struct swarm *w = &t->g->r->w;
	/* in the order of call[], then what is no call */
	const uint32_t weight[] = {
	    w->w_map,    w->w_unmap, w->w_dontneed, w->w_move,    w->w_grow,
	    w->w_lock,   w->w_fork,  w->w_populate, w->w_reclaim, w->w_sleep,
	    w->w_random, w->w_seq,   w->w_hot,      w->w_file};
	static void (*const call[])(struct task *) = {
	    op_map,  op_unmap, op_dontneed, op_move,   op_grow,
	    op_lock, op_fork,  op_populate, op_reclaim};
	uint64_t sum = 0, x;
	unsigned i;

	for (i = 0; i < sizeof(weight) / sizeof(*weight); i++)
		sum += weight[i];
	x = prng_below(&t->rnd, sum);
	for (i = 0; x >= weight[i]; i++)
		x -= weight[i];
	switch (i) {
	case 9:
		sim_sleep(t->g->r->s, prng_below(&t->rnd, 3000000));
		return 0;
	case 10:
		return touch_random(t);
	case 11:
		return touch_seq(t);
	case 12:
		return touch_hot(t);
	case 13:
		return op_file(t);
	default:
		call[i](t);
		return 0;
	}
}

static void task_main(void *arg)
{
	struct task *t = arg;
	struct prog *g = t->g;
	struct run *r = g->r;

	for (uint32_t i = 0; i < r->w.ops && !sim_killed(g->p); i++) {
		park(g);
		while (g->stop && !sim_killed(g->p))
			sim_wait(r->s, &g->stop, 1, 1000000);
		r->nr_ops++;
		if (i == 0)
			op_map(t);
		else if (op(t))
			break;
		if (!frames_in_budget(r->s))
			sim__fail(r->s, "more pages in place than frames");
		if (r->w.validate_every &&
		    ++r->ops_since_rest >= r->w.validate_every) {
			r->ops_since_rest = 0;
			rest(r);
		}
	}
	park(g);
	if (--g->tasks == 0)
		prog_end(g);
	r->tasks--;
	sim_wake(r->s, &r->parked);
}

static int prog_new(struct run *r, struct prog **out)
{
	struct prog *g = calloc(1, sizeof(*g));
	uint64_t span = (sim_limit(r->s) - sim_base(r->s)) / PAGE;

	if (!g)
		return -ENOMEM;
	g->r = r;
	g->id = ++r->next_prog;
	g->used = calloc(1, span);
	list_add_tail(&g->link, &r->progs);
	*out = g;
	return shadow_init(&g->sh, sim_base(r->s), span, sim_page_bytes(r->s),
			   &r->lost, &r->next_stamp);
}

static int prog_go(struct prog *g)
{
	struct run *r = g->r;
	char name[24];

	g->tasks = r->w.tasks;
	for (uint32_t i = 0; i < r->w.tasks; i++) {
		struct task *t = calloc(1, sizeof(*t));

		if (!t)
			return -ENOMEM;
		t->g = g;
		list_add_tail(&t->link, &r->all_tasks);
		prng_init(&t->rnd, r->seed, 1000 + g->id * 16 + i);
		snprintf(name, sizeof(name), "prog%u.%u", g->id, i);
		r->tasks++;
		if (sim_task_start(r->s, name, task_main, t))
			return -ENOMEM;
	}
	return 0;
}

static void starter(void *arg)
{
	struct run *r = arg;

	files_start(r);
	for (uint32_t i = 0; i < r->w.procs; i++) {
		struct prog *g;

		if (prog_new(r, &g))
			sim__fail(r->s, "no memory for the test");
		if (sim_proc_create(r->s, &g->p))
			sim__fail(r->s, "no memory for a process");
		r->procs++;
		prog_go(g);
	}
	r->tasks--;
	sim_wake(r->s, &r->parked);
}

int programs_start(struct run *r)
{
	r->tasks = 1; /* the starter */
	return sim_task_start(r->s, "starter", starter, r);
}

void programs_free(struct run *r)
{
	struct task *t, *next;
	struct prog *g, *tmp;

	list_for_each_entry_safe (t, next, &r->all_tasks, link)
		free(t);
	list_for_each_entry_safe (g, tmp, &r->progs, link) {
		shadow_exit(&g->sh);
		free(g->used);
		free(g);
	}
}
