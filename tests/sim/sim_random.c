/* SPDX-License-Identifier: MIT */
/*
 * Random programs on random machines, one of each for every seed.
 *
 *	sim_random --seeds 1000 --first 1 --model both
 *	sim_random --first 4711 --seeds 1 --model uffd --verbose
 *
 * Stops at the first seed that fails, and names it.
 */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkers/frames.h"
#include "engine/check.h"
#include "engine/reclaim.h"
#include "program.h"

struct options {
	uint64_t first, seeds;
	bool bits, uffd, verbose, trace;
	uint32_t scale; /* of the work, percent */
};

static void read_failed(void *ctx, const void *data)
{
	struct run *r = ctx;
	uint64_t v;

	memcpy(&v, data, sizeof(v));
	lost_add(&r->lost, v);
}

static void oom_kill(void *ctx, struct sim_proc *p)
{
	struct run *r = ctx;

	r->nr_oom++;
	if (!r->oom_allowed)
		sim__fail(r->s, "a process chosen to die, with room in swap");
}

static void print_line(void *ctx, const char *line)
{
	printf("  %s\n", line);
}

static void failed(void *ctx, const char *why)
{
	struct run *r = ctx;

	printf("FAILED seed %" PRIu64 " model %s at %" PRIu64 " ns: %s\n",
	       r->seed, sim_config(r->s)->mmu == SIM_MMU_BITS ? "bits" : "uffd",
	       sim_now(r->s), why);
	sim_dump(r->s, print_line, NULL);
	if (getenv("WEIR_SIM_STATE"))
		weir__dump_state(sim_engine(r->s), print_line, NULL);
	fflush(stdout);
}

static void trace(void *ctx, const char *name, uint64_t a, uint64_t b,
		  uint64_t c)
{
	printf("    %s %" PRIx64 " %" PRIx64 " %" PRIx64 "\n", name, a, b, c);
}

static uint32_t sometimes(struct prng *p, unsigned one_in, uint32_t value)
{
	return prng_below(p, one_in) == 0 ? value : 0;
}

/* --- the machine and the programs of a seed --------------------------------
 */

static void draw_machine(struct prng *p, struct sim_config *c,
			 struct tunables *tun)
{
	static const uint32_t preempt[] = {0, 2000, 20000, 100000, 400000};
	uint64_t frames = prng_range(p, 256, 640);

	c->cpus = (uint32_t)prng_range(p, 1, 4);
	if (prng_below(p, 4) == 0) {
		c->zone_pages[0][0] = frames / 3;
		c->zone_pages[0][1] = frames - frames / 3;
	} else {
		c->zone_pages[0][0] = frames;
	}
	if (prng_below(p, 8) == 0) {
		c->nodes = 2;
		c->zone_pages[1][0] = prng_range(p, 128, 256);
	}
	c->preempt_ppm = preempt[prng_below(p, 5)];
	c->stall_ppm = sometimes(p, 2, (uint32_t)prng_range(p, 100, 4000));
	c->stall_ns = (uint64_t)1000 << prng_below(p, 15); /* to 16 ms */
	c->spurious_ppm = sometimes(p, 3, 50000);
	c->migrate_ppm = (uint32_t)prng_below(p, 500000);
	c->queue_depth = (uint32_t)prng_range(p, 1, 32);
	c->jitter_ns = prng_below(p, 300000);
	c->read_ns = prng_range(p, 5000, 100000);
	c->write_ns = prng_range(p, 5000, 200000);
	c->span_pages = 4096;
	c->handlers_many = prng_below(p, 4);
	c->remove_late = prng_below(p, 2);
	c->own_remove = prng_below(p, 2);
	c->time_max_ns = 400000000000;
	c->points_max = 30000000;

	weir__tunables_default(tun);
	tun->swappiness = prng_below(p, 201);
	tun->page_cluster = prng_below(p, 6);
	tun->stream_max = prng_range(p, 1, 64);
	tun->zero_run_max = prng_range(p, 1, 64);
	tun->batch_size = prng_range(p, 1, 31);
	tun->cluster_max = prng_range(p, 4, 64);
	tun->write_run_max = prng_range(p, 1, 64);
	tun->swap_allocator = prng_below(p, 2);
	tun->watermark_scale_factor = prng_range(p, 10, 300);
	tun->slab_reap = prng_below(p, 4) == 0;
	c->tunables = tun;
}

static void draw_rates(struct prng *p, struct sim_rates *r)
{
	if (prng_below(p, 2))
		return; /* half of all machines are sound */
	r->read_eio = sometimes(p, 3, 3000);
	r->read_flip = sometimes(p, 4, 2000);
	r->write_eio = sometimes(p, 3, 30000);
	r->write_enospc = sometimes(p, 3, 20000);
	r->write_torn = sometimes(p, 4, 2000);
	r->unmap_busy = sometimes(p, 3, 100000);
	r->map_again = sometimes(p, 3, 50000);
}

static uint64_t frames_of(const struct sim_config *c)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < MAX_NODES; i++)
		for (unsigned z = 0; z < MAX_ZONES; z++)
			n += c->zone_pages[i][z];
	return n;
}

static void draw_programs(struct prng *p, const struct sim_config *c,
			  struct swarm *w, uint32_t scale)
{
	bool bits = c->mmu == SIM_MMU_BITS;
	uint64_t total = frames_of(c) * prng_range(p, 20, 60) / 10;

	w->procs = (uint32_t)prng_range(p, 1, 3);
	w->tasks = (uint32_t)prng_range(p, 1, 3);
	w->procs_max = w->procs;
	w->pages = total / w->procs;
	if (w->pages > c->span_pages * 2 / 3)
		w->pages = c->span_pages * 2 / 3;
	w->ops = 900 * scale / 100 / (w->procs * w->tasks) + 20;
	w->w_map = 10;
	w->w_unmap = sometimes(p, 2, 4);
	w->w_dontneed = sometimes(p, 2, 5);
	w->w_move = sometimes(p, 2, 3);
	w->w_grow = sometimes(p, 2, 4);
	w->w_lock = sometimes(p, 3, 3);
	w->w_populate = sometimes(p, 4, 2);
	w->w_reclaim = sometimes(p, 4, 3);
	w->w_random = 40;
	w->w_seq = (uint32_t)prng_range(p, 5, 40);
	w->w_hot = sometimes(p, 2, 40);
	w->w_sleep = sometimes(p, 2, 4);
	w->write_pct = (uint32_t)prng_range(p, 5, 95);
	w->locked_max = frames_of(c) / 8;
	w->late_maps = !bits && prng_below(p, 2);
	w->validate_every = (uint32_t)prng_range(p, 60, 400);
	if (bits && prng_below(p, 2)) {
		w->w_fork = 2;
		w->procs_max = w->procs + 3;
		w->pages /= 2;
	}
}

static void draw_files(struct prng *p, const struct sim_config *c,
		       struct swarm *w)
{
	if (c->contents != SIM_CONTENTS_FULL || prng_below(p, 2))
		return;
	w->w_file = (uint32_t)prng_range(p, 10, 120);
	w->files = (uint32_t)prng_range(p, 1, 4);
	w->shmem_files = (uint32_t)prng_below(p, w->files + 1);
	w->file_pages = prng_range(p, 4, frames_of(c) / 2);
	w->file_maps = c->mmu == SIM_MMU_BITS && prng_below(p, 4);
}

static void draw(struct run *r, struct sim_config *c, struct tunables *tun,
		 enum sim_mmu_model mmu, uint32_t scale)
{
	struct prng p;
	uint64_t need, errors, isolated;

	prng_init(&p, r->seed, 77);
	sim_config_default(c);
	c->seed = r->seed;
	c->mmu = mmu;
	draw_machine(&p, c, tun);
	draw_rates(&p, &c->rates);
	draw_programs(&p, c, &r->w, scale);
	if (prng_below(&p, 3) == 0 && !r->w.w_fork)
		c->contents = SIM_CONTENTS_STAMP;
	/* Those who reclaim together hold this many pages off the lists: of a
	 * small memory not so many that the others find nothing. */
	isolated = frames_of(c) / 4 / (r->w.procs_max * r->w.tasks + 1);
	if (tun->cluster_max > isolated)
		tun->cluster_max = isolated > 4 ? isolated : 4;
	draw_files(&p, c, &r->w);
	need = r->w.pages * r->w.procs_max + r->w.shmem_files * r->w.file_pages +
	       (r->w.file_maps ? r->w.files * r->w.file_pages *
				     r->w.procs_max
			       : 0);
	errors =
	    c->rates.write_eio + c->rates.write_enospc + c->rates.unmap_busy;
	if (prng_below(&p, 6) == 0) {
		/* swap too small: somebody may have to die. Not too many at
		 * once: the way there is long for a full machine. */
		c->swap_slots[0] = need / 2 + 64;
		r->w.w_fork = 0;
		r->w.w_lock = 0;
		r->w.procs_max = r->w.procs;
		r->w.ops /= 2;
		r->oom_allowed = true;
	} else {
		/* just enough, so that slots are used again at once, or plenty
		 */
		c->swap_slots[0] =
		    prng_below(&p, 2) ? need + 64 : need * 2 + 1024;
		r->oom_allowed = errors != 0;
		if (prng_below(&p, 3) == 0) {
			c->swap_slots[1] = c->swap_slots[0] / 2;
			c->swap_slots[0] -= c->swap_slots[1];
		}
	}
}

/* --- one seed ----------------------------------------------------------------
 */

static void at_end(void *arg)
{
	struct run *r = arg;
	struct engine *e = sim_engine(r->s);
	char why[300] = "";
	uint64_t freed;

	/* pages that were locked or under I/O when their last owner went are
	 * still in the swap cache; reclaim takes them, if errors let it */
	*sim_rates(r->s) = (struct sim_rates){0};
	files_end(r);
	for (int i = 0; i < 20; i++) {
		if (!sim_settle(r->s, 20000000000))
			break;
		weir__reclaim_pages(e, e->nr_frames, -1, &freed);
		if (!freed)
			break;
	}
	if (!sim_settle(r->s, 20000000000))
		sim__fail(r->s, "no rest at the end");
	if (!weir__engine_is_valid(e, why, sizeof(why)))
		sim__fail(r->s, "not valid at the end: %s", why);
	if (sim_resident(r->s))
		sim__fail(r->s, "%" PRIu64 " pages in place and no process",
			  sim_resident(r->s));
}

static int run_machine(struct run *r)
{
	uint64_t free, want;

	if (sim_boot(r->s)) {
		if (!sim_why(r->s)[0])
			printf("FAILED seed %" PRIu64 ": no start\n", r->seed);
		return 1;
	}
	if (programs_start(r) || sim_run(r->s) || sim_call(r->s, at_end, r) ||
	    sim_shutdown(r->s))
		return 1;
	free = frames_free(r->s);
	want = frames_expected(sim_config(r->s));
	if (free != want) {
		printf("FAILED seed %" PRIu64 ": %" PRIu64 " frames free at "
		       "the end, %" PRIu64 " on a machine that did nothing\n",
		       r->seed, free, want);
		for (pfn_t i = 0; i < sim_engine(r->s)->nr_frames; i++) {
			struct frame *f = weir__frame(sim_engine(r->s), i);

			if (f->refcount && !(f->flags & FRAME_RESERVED))
				weir__dump_frame(sim_engine(r->s), f,
						 "not free", print_line, NULL);
		}
		return 1;
	}
	return 0;
}

static int run_seed(const struct options *o, uint64_t seed,
		    enum sim_mmu_model mmu)
{
	struct run r = {.seed = seed};
	struct sim_observer obs = {.ctx = &r,
				   .read_failed = read_failed,
				   .oom_kill = oom_kill,
				   .failed = failed};
	struct sim_config c;
	struct tunables tun;
	int rc;

	draw(&r, &c, &tun, mmu, o->scale);
	r.trace = o->trace;
	if (o->trace) {
		c.event = trace;
		c.log_level = 2;
	}
	lost_init(&r.lost);
	list_init(&r.progs);
	list_init(&r.all_tasks);
	r.s = sim_create(&c);
	if (!r.s)
		return 1;
	sim_observe(r.s, &obs);
	rc = run_machine(&r);
	if (o->verbose || rc)
		printf("seed %" PRIu64 " %s: %" PRIu64 " frames, %u x %u tasks"
		       ", %" PRIu64 " pages each; %" PRIu64 " ops (%" PRIu64
		       " files), %" PRIu64
		       " touches, %" PRIu64 " read, %" PRIu64
		       " written, %" PRIu64 " lost, %" PRIu64
		       " killed, %" PRIu64 " forks, %" PRIu64 "+%" PRIu64
		       " rests, %" PRIu64 " switches, %" PRIu64 " ms\n",
		       seed, mmu == SIM_MMU_BITS ? "bits" : "uffd",
		       frames_of(&c), r.w.procs, r.w.tasks, r.w.pages, r.nr_ops,
		       r.nr_file,
		       r.nr_touch, sim_disk_stats(r.s)->pages_read,
		       sim_disk_stats(r.s)->pages_written, r.nr_lost, r.nr_oom,
		       r.nr_forks, r.nr_rests, r.nr_unrested, sim_switches(r.s),
		       sim_now(r.s) / 1000000);
	programs_free(&r);
	files_free(&r);
	sim_destroy(r.s);
	lost_exit(&r.lost);
	return rc;
}

static uint64_t number(const char *s)
{
	return s ? strtoull(s, NULL, 0) : 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: sim_random [--seeds N] [--first N] "
			"[--model bits|uffd|both] [--scale PERCENT] "
			"[--verbose] [--trace]\n");
	return 64;
}

int main(int argc, char **argv)
{
	struct options o = {
	    .first = 1, .seeds = 100, .bits = true, .uffd = true, .scale = 100};

	/* one machine after the other: keep what the last one gave back */
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *v = argv[i + 1];

		if (!strcmp(a, "--verbose")) {
			o.verbose = true;
		} else if (!strcmp(a, "--trace")) {
			o.trace = true;
		} else if (!v) {
			return usage();
		} else if (!strcmp(a, "--seeds")) {
			o.seeds = number(argv[++i]);
		} else if (!strcmp(a, "--first")) {
			o.first = number(argv[++i]);
		} else if (!strcmp(a, "--scale")) {
			o.scale = (uint32_t)number(argv[++i]);
		} else if (!strcmp(a, "--model")) {
			o.bits = strcmp(v, "uffd");
			o.uffd = strcmp(v, "bits");
			i++;
		} else {
			return usage();
		}
	}
	for (uint64_t s = o.first; s < o.first + o.seeds; s++) {
		if (o.bits && run_seed(&o, s, SIM_MMU_BITS))
			return 1;
		if (o.uffd && run_seed(&o, s, SIM_MMU_UFFD))
			return 1;
	}
	printf("%" PRIu64 " seeds from %" PRIu64 " on: all well\n", o.seeds,
	       o.first);
	return 0;
}
