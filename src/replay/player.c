/* SPDX-License-Identifier: MIT */
/*
 * The player: one task that goes through the trace and does what it says, in
 * its order. Touches are collected and handed to the machine many at a time;
 * anything else ends the collection.
 *
 * Time. A trace with times is an open one: an event does not begin before its
 * time, counted from the first one's, and if the machine has fallen behind the
 * program catches up as fast as it can. A trace without times is a closed one:
 * between two accesses the program works for a moment of its own, 1 / rate. In
 * both the time lost is what the machine took longer than the program alone
 * would have.
 */
#include "replay/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_USAGE    64
#define EXIT_DATA     65
#define EXIT_NO_INPUT 66
#define EXIT_SOFTWARE 70

#define COLLECT	       1024 /* accesses handed over at once */
#define PROGRESS_EVERY (UINT64_C(1) << 20) /* accesses */
/* A program that catches up, or works between two times: one access. */
#define CATCH_UP_NS 20
/* Accesses closer than this are spread evenly between first and last. */
#define GAP_NS 1000000

struct process {
	uint32_t pid;
	bool killed;
	struct sim_proc *p; /* NULL: gone */
};

struct player {
	const struct replay_options *o;
	struct replay_result *r;
	struct replay_error *err;
	struct sim *s;
	struct trace_reader *in;
	struct places places;
	struct file *file; /* of the trace, where it is one */
	int rc;

	struct process *procs;
	unsigned nr_procs, max_procs;
	unsigned last; /* looked up */

	/* touches not yet handed over, all of procs[who] */
	uint64_t access[COLLECT];
	unsigned nr, who;
	uint64_t pace; /* closed: ns of the program with each access */

	/* open: the trace's times of the first event of all, of the first
	 * access collected, and the latest; and the machine's when it began */
	bool timed;
	uint64_t zero, first, latest, began;

	uint64_t next_sample, next_progress;
};

static int bad(struct player *pl, int exit_status, const char *what)
{
	pl->rc = replay__fail(pl->err, -EINVAL, exit_status, "%s", what);
	return pl->rc;
}

/* --- processes ------------------------------------------------------------ */

/* Everything the trace may name. */
static int map_memory(struct player *pl, struct process *pr)
{
	switch (pl->o->kind) {
	case REPLAY_FILE:
		return 0;
	case REPLAY_MAPPED:
		return sim_mmap_file(pr->p, PLACE_START, PLACE_END,
				     REGION_READ | REGION_WRITE | REGION_SHARED,
				     pl->file, PLACE_START / REPLAY_PAGE);
	default:
		return sim_mmap(pr->p, PLACE_START, PLACE_END,
				REGION_READ | REGION_WRITE, false);
	}
}

static int process_new(struct player *pl, uint32_t pid)
{
	struct process *pr;
	int rc;

	if (pl->nr_procs == pl->max_procs) {
		unsigned max = pl->max_procs ? pl->max_procs * 2 : 8;

		pr = realloc(pl->procs, max * sizeof(*pr));
		if (!pr)
			return bad(pl, EXIT_SOFTWARE, "out of memory");
		pl->procs = pr;
		pl->max_procs = max;
	}
	pr = &pl->procs[pl->nr_procs];
	*pr = (struct process){.pid = pid};
	rc = sim_proc_create(pl->s, &pr->p);
	if (!rc)
		rc = map_memory(pl, pr);
	if (rc)
		return bad(pl, EXIT_SOFTWARE,
			   "the memory is too small for another process");
	pl->last = pl->nr_procs++;
	pl->r->processes++;
	return 0;
}

/* pl->last is the process. */
static int process_find(struct player *pl, uint32_t pid)
{
	if (pl->last < pl->nr_procs && pl->procs[pl->last].pid == pid)
		return 0;
	for (pl->last = 0; pl->last < pl->nr_procs; pl->last++)
		if (pl->procs[pl->last].pid == pid)
			return 0;
	return process_new(pl, pid);
}

/* --- samples, progress ----------------------------------------------------- */

static void look(struct player *pl)
{
	struct replay_sample at = {.accesses = pl->r->accesses};
	struct trace_info info;

	if (pl->r->accesses >= pl->next_sample) {
		replay__sample(pl->s, &at);
		replay__series_add(&pl->r->series, &at);
		pl->next_sample = replay__series_next(&pl->r->series);
	}
	if (pl->o->progress && pl->r->accesses >= pl->next_progress) {
		trace_reader_info(pl->in, &info);
		pl->o->progress(pl->o->progress_ctx, info.bytes_read,
				info.bytes_total, pl->r->accesses);
		pl->next_progress = pl->r->accesses + PROGRESS_EVERY;
	}
}

/* --- touches ----------------------------------------------------------------- */

/* The access cannot be had: the process was chosen to die. */
static int process_killed(struct player *pl, struct process *pr, int rc)
{
	if (rc != -EINTR && rc != -ENOMEM)
		return bad(pl, EXIT_SOFTWARE, strerror(-rc));
	if (!pr->killed)
		pl->r->killed++;
	pr->killed = true;
	sim_exit(pr->p);
	pr->p = NULL;
	return 0;
}

/* Waits for the time of the first access collected; ns for each of them. */
static uint64_t keep_time(struct player *pl)
{
	uint64_t now = sim_now(pl->s), due = pl->began + pl->first - pl->zero;
	uint64_t span = pl->latest - pl->first, pace;

	pl->r->program_ns = pl->latest - pl->zero;
	if (now < due) {
		sim_sleep(pl->s, due - now);
		now = due;
	}
	if (now >= due + span)
		return CATCH_UP_NS;
	pace = (due + span - now) / pl->nr;
	return pace > CATCH_UP_NS ? pace : CATCH_UP_NS;
}

static int hand_over(struct player *pl)
{
	struct process *pr = &pl->procs[pl->who];
	uint64_t pace = pl->pace;
	unsigned nr = pl->nr, done = 0;
	int rc = 0;

	if (!nr)
		return 0;
	if (pl->timed)
		pace = keep_time(pl);
	else
		pl->r->program_ns += nr * pace;
	if (pr->p && pl->o->kind == REPLAY_FILE)
		done = (unsigned)sim_read_many(pr->p, pl->file, pl->access, nr,
					       pace, &rc);
	else if (pr->p)
		done = (unsigned)sim_touch_many(pr->p, pl->access, nr, pace,
						&rc);
	pl->nr = 0;
	pl->r->accesses += nr;
	pl->r->skipped += nr - done;
	look(pl);
	return rc ? process_killed(pl, pr, rc) : 0;
}

static int touch_one(struct player *pl, uint64_t page, bool write)
{
	uint64_t addr = replay__place(&pl->places, page);

	if (!addr)
		return bad(pl, EXIT_SOFTWARE,
			   "more pages than this machine can keep apart");
	/* Elsewhere the engine's first touches are the count. */
	if (pl->o->kind != REPLAY_ANON &&
	    replay__place_see(&pl->places, addr))
		return bad(pl, EXIT_SOFTWARE, "out of memory");
	pl->access[pl->nr++] = addr | write;
	return pl->nr == COLLECT ? hand_over(pl) : 0;
}

/* The event's time; hands over what belongs before it. */
static int note_time(struct player *pl, const struct trace_event *ev)
{
	uint64_t t;

	if (ev->time == TRACE_TIME_NONE)
		return 0;
	if (!pl->timed) {
		pl->timed = true;
		pl->began = sim_now(pl->s);
		pl->zero = pl->latest = ev->time;
	}
	t = ev->time;
	if (t < pl->latest)
		t = pl->latest; /* it went back: then at once */
	if (pl->nr && t - pl->latest > GAP_NS && hand_over(pl))
		return pl->rc;
	if (!pl->nr)
		pl->first = t;
	pl->latest = t;
	return 0;
}

static int touch(struct player *pl, const struct trace_event *ev)
{
	bool write = ev->access & TRACE_W;
	uint64_t page = ev->page;

	if (pl->nr && pl->procs[pl->who].pid != ev->pid && hand_over(pl))
		return pl->rc;
	if (note_time(pl, ev) || process_find(pl, ev->pid))
		return pl->rc;
	pl->who = pl->last;
	for (uint64_t i = 0; i < ev->nr; i++, page += (uint64_t)ev->stride) {
		if (touch_one(pl, page, write))
			return pl->rc;
		if (pl->timed && !pl->nr)
			pl->first = pl->latest;
	}
	return 0;
}

/* --- all events ---------------------------------------------------------------- */

static const char *op_word(unsigned op)
{
	static const char *const words[] = {
#define X(id, word, fields, flags, words, what) word,
#include "trace/ops.def"
#undef X
	};

	return op < NR_TRACE_OPS ? words[op] : "?";
}

static int event(struct player *pl, const struct trace_event *ev)
{
	if (ev->op == TRACE_TOUCH)
		return touch(pl, ev);
	if (hand_over(pl))
		return pl->rc;
	pl->rc = replay__fail(pl->err, -EOPNOTSUPP, EXIT_DATA,
			      "this version does not replay '%s' events",
			      op_word(ev->op));
	return pl->rc;
}

static int trace_wrong(struct player *pl, const struct trace_error *te)
{
	int status = EXIT_NO_INPUT;

	if (te->code == -EBADMSG)
		status = EXIT_DATA;
	else if (te->code == -EINVAL)
		status = EXIT_USAGE;
	pl->rc = replay__fail(pl->err, te->code, status, "%s", te->text);
	return pl->rc;
}

static void end_of_trace(struct player *pl)
{
	struct replay_sample at;

	if (hand_over(pl))
		return;
	memset(&at, 0, sizeof(at));
	at.accesses = pl->r->accesses;
	replay__sample(pl->s, &at);
	replay__series_end(&pl->r->series, &at);
	replay__outcome(pl->s, pl->r);
	if (pl->o->kind != REPLAY_ANON)
		pl->r->pages = pl->places.nr_seen;
	pl->r->time_ns -= pl->began;
	trace_reader_info(pl->in, &pl->r->trace);
}

static void play(void *arg)
{
	struct player *pl = arg;
	struct trace_event ev[TRACE_BATCH];
	int n;

	if (pl->o->kind != REPLAY_ANON &&
	    sim_file_create(pl->s, MAPPING_FILE, PLACE_END, 0, &pl->file)) {
		bad(pl, EXIT_SOFTWARE, "the memory is too small for a file");
		return;
	}
	while ((n = trace_read(pl->in, ev, TRACE_BATCH)) > 0)
		for (int i = 0; i < n; i++)
			if (event(pl, &ev[i]))
				return;
	if (n < 0)
		trace_wrong(pl, trace_reader_error(pl->in));
	else
		end_of_trace(pl);
}

static void on_event(void *ctx, const char *name, uint64_t a, uint64_t b,
		     uint64_t c)
{
	const struct player *pl = ctx;

	/* while it starts there is no machine to ask for the time */
	pl->o->event(pl->o->event_ctx, pl->s ? sim_now(pl->s) : 0, name, a, b,
		     c);
}

static int run_machine(struct player *pl)
{
	pl->s = replay__machine(pl->o, pl->o->event ? on_event : NULL, pl,
				pl->err);
	if (!pl->s)
		return -EIO;
	pl->began = sim_now(pl->s);
	if (sim_call(pl->s, play, pl))
		pl->rc = replay__fail(pl->err, -EIO, EXIT_SOFTWARE,
				      "the simulated machine stopped: %s",
				      sim_why(pl->s));
	sim_destroy(pl->s);
	return pl->rc;
}

int replay_run(const struct replay_options *o, struct replay_result *r,
	       struct replay_error *err)
{
	struct player *pl = calloc(1, sizeof(*pl));
	struct trace_error te;
	struct trace_info info;
	int rc;

	memset(r, 0, sizeof(*r));
	if (!pl)
		return replay__fail(err, -ENOMEM, EXIT_SOFTWARE,
				    "out of memory");
	pl->o = o;
	pl->r = r;
	pl->err = err;
	pl->pace = UINT64_C(1000000000) / o->rate;
	replay__series_init(&r->series);
	if (trace_open(&pl->in, &o->trace, &te)) {
		rc = trace_wrong(pl, &te);
		free(pl);
		return rc;
	}
	trace_reader_info(pl->in, &info);
	replay__places_init(&pl->places, o->addresses, info.format);
	rc = run_machine(pl);
	trace_close(pl->in);
	replay__places_free(&pl->places);
	free(pl->procs);
	free(pl);
	return rc;
}
