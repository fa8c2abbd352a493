/* SPDX-License-Identifier: MIT */
/*
 * The limits stand evenly on a logarithmic scale between the two ends. Where a
 * bound is given, the gap between the largest limit that breaks it and the next
 * one above is cut in four again and again, until its ends are two percent
 * apart: the upper end is the answer. Four, not as many as there are
 * processors, so that the answer is the same everywhere.
 */
#include "replay/sweep.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_SOFTWARE 70
#define POINTS_MAX    128 /* before the search */
#define CUT	      4
#define NEAR_PERCENT  2
#define LOOK_NS	      50000000 /* at the children */

static int fail(struct replay_error *err, int rc, const char *what)
{
	err->exit_status = EXIT_SOFTWARE;
	snprintf(err->text, sizeof(err->text), "%s", what);
	return rc;
}

static unsigned processors(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	return (unsigned)CPU_COUNT(&set);
}

/* --- one limit ------------------------------------------------------------- */

static void child_progress(void *ctx, uint64_t bytes, uint64_t total,
			   uint64_t accesses)
{
	struct sweep_point *p = ctx;

	p->bytes = bytes;
	p->bytes_total = total;
}

static void __attribute__((noreturn))
child(const struct replay_options *base, struct sweep_point *p)
{
	struct replay_options o = *base;

	o.memory_pages = p->memory_pages;
	o.progress = child_progress;
	o.progress_ctx = p;
	o.event = NULL;
	p->rc = replay_run(&o, &p->r, &p->err);
	p->bytes = p->bytes_total;
	/* what stands in the parent's buffers is the parent's to write */
	_exit(0);
}

/* --- many -------------------------------------------------------------------- */

struct crew {
	const struct replay_options *o;
	const struct sweep_options *so;
	struct sweep *s;
	pid_t pid[SWEEP_MAX];
	unsigned next, running, jobs;
};

static void report_progress(const struct crew *c)
{
	uint64_t done = 0, each = 0;

	if (!c->so->progress)
		return;
	for (unsigned i = 0; i < c->s->nr; i++) {
		done += c->s->at[i].bytes;
		if (c->s->at[i].bytes_total > each)
			each = c->s->at[i].bytes_total;
	}
	c->so->progress(c->so->progress_ctx, done, each * c->s->nr);
}

static int start_one(struct crew *c)
{
	struct sweep_point *p = &c->s->at[c->next];
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid)
		child(c->o, p);
	c->pid[c->next++] = pid;
	c->running++;
	return 0;
}

static void ended(struct crew *c, pid_t pid, int status)
{
	for (unsigned i = 0; i < c->next; i++) {
		if (c->pid[i] != pid)
			continue;
		c->pid[i] = 0;
		c->running--;
		if (!WIFEXITED(status))
			c->s->at[i].rc =
				fail(&c->s->at[i].err, -ECHILD,
				     "a replay of the sweep was killed; is "
				     "there memory for so many at a time? "
				     "--jobs N");
		return;
	}
}

static void reap(struct crew *c)
{
	struct timespec nap = {.tv_nsec = LOOK_NS};
	bool any = false;
	int status;
	pid_t pid;

	if (!c->so->progress) {
		pid = waitpid(-1, &status, 0);
		if (pid > 0)
			ended(c, pid, status);
		return;
	}
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		ended(c, pid, status);
		any = true;
	}
	report_progress(c);
	if (!any)
		nanosleep(&nap, NULL);
}

static void stop_all(struct crew *c)
{
	for (unsigned i = 0; i < c->next; i++)
		if (c->pid[i])
			kill(c->pid[i], SIGKILL);
	while (c->running)
		if (waitpid(-1, NULL, 0) > 0)
			c->running--;
		else
			break;
}

/* Runs the points from `from` on. */
static int run_points(const struct replay_options *o,
		      const struct sweep_options *so, struct sweep *s,
		      unsigned from, struct replay_error *err)
{
	struct crew c = {.o = o, .so = so, .s = s, .next = from};

	c.jobs = so->jobs ? so->jobs : processors();
	fflush(NULL);
	while (c.next < s->nr || c.running) {
		if (c.next < s->nr && c.running < c.jobs) {
			int rc = start_one(&c);

			if (rc) {
				stop_all(&c);
				return fail(err, rc, "no more processes");
			}
			continue;
		}
		reap(&c);
		for (unsigned i = from; i < c.next; i++) {
			if (!s->at[i].rc)
				continue;
			*err = s->at[i].err;
			stop_all(&c);
			return s->at[i].rc;
		}
	}
	return 0;
}

static int by_memory(const void *a, const void *b)
{
	const struct sweep_point *x = a, *y = b;

	return (x->memory_pages > y->memory_pages) -
	       (x->memory_pages < y->memory_pages);
}

/* --- the limits ---------------------------------------------------------------- */

static void add_point(struct sweep *s, uint64_t pages, bool searched)
{
	for (unsigned i = 0; i < s->nr; i++)
		if (s->at[i].memory_pages == pages)
			return;
	if (s->nr == SWEEP_MAX)
		return;
	s->at[s->nr].memory_pages = pages;
	s->at[s->nr++].searched = searched;
}

/* nr cuts between low and high, those excluded. Rounded to whole numbers, not
 * by the machine's mood: pow() of different libraries differs in its last bit
 * only. */
static void add_between(struct sweep *s, uint64_t low, uint64_t high,
			unsigned nr, bool searched)
{
	double ratio = log2((double)high / (double)low);

	for (unsigned i = 1; i <= nr; i++) {
		double at = (double)low * exp2(ratio * i / (nr + 1));
		uint64_t pages = (uint64_t)(at / 16 + 0.5) * 16;

		if (pages > low && pages < high)
			add_point(s, pages, searched);
	}
}

static bool keeps(const struct sweep_bound *b, const struct replay_result *r)
{
	if (r->killed)
		return false;
	if (b->refaults != UINT64_MAX &&
	    (double)replay_refaults(r) * 1e6 >
		    (double)b->refaults * (double)r->accesses)
		return false;
	return b->stall == UINT64_MAX ||
	       (double)replay_stall_ns(r) * 1e6 <=
		       (double)b->stall * (double)r->time_ns;
}

/* The smallest limit above every one that breaks the bound, or none. */
static unsigned find_smallest(const struct sweep *s, const struct sweep_bound *b)
{
	unsigned i = s->nr;

	while (i && keeps(b, &s->at[i - 1].r))
		i--;
	return i;
}

static int search(const struct replay_options *o,
		  const struct sweep_options *so, struct sweep *s,
		  struct replay_error *err)
{
	for (;;) {
		unsigned i = find_smallest(s, &so->bound), before = s->nr;
		int rc;

		if (i == s->nr)
			return 0; /* not even the largest */
		s->smallest = s->at[i].memory_pages;
		if (!i)
			return 0; /* even the smallest looked at */
		if (s->at[i].memory_pages * 100 <=
		    s->at[i - 1].memory_pages * (100 + NEAR_PERCENT))
			return 0;
		add_between(s, s->at[i - 1].memory_pages,
			    s->at[i].memory_pages, CUT - 1, true);
		if (s->nr == before)
			return 0;
		rc = run_points(o, so, s, before, err);
		if (rc)
			return rc;
		qsort(s->at, s->nr, sizeof(*s->at), by_memory);
	}
}

int replay_sweep(const struct replay_options *o, const struct sweep_options *so,
		 struct sweep *out, struct replay_error *err)
{
	unsigned points = so->points;
	int rc;

	memset(out, 0, sizeof(*out));
	out->bounded = so->bound.refaults != UINT64_MAX ||
		       so->bound.stall != UINT64_MAX;
	out->at = mmap(NULL, SWEEP_MAX * sizeof(*out->at),
		       PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (out->at == MAP_FAILED) {
		out->at = NULL;
		return fail(err, -ENOMEM, "out of memory");
	}
	if (!points)
		points = (unsigned)ceil(2 * log2((double)so->high /
						 (double)so->low)) + 1;
	if (points > POINTS_MAX)
		points = POINTS_MAX;
	add_point(out, so->low, false);
	add_point(out, so->high, false);
	if (points > 2)
		add_between(out, so->low, so->high, points - 2, false);
	rc = run_points(o, so, out, 0, err);
	if (rc)
		return rc;
	qsort(out->at, out->nr, sizeof(*out->at), by_memory);
	return out->bounded ? search(o, so, out, err) : 0;
}

void replay_sweep_free(struct sweep *s)
{
	if (s->at)
		munmap(s->at, SWEEP_MAX * sizeof(*s->at));
	s->at = NULL;
}
