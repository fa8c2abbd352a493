/* SPDX-License-Identifier: MIT */
/*
 * This process's pool of compressed memory: frames from the engine, figures for
 * its counters, and keeping it tidy.
 *
 * A forked child has a copy of the pool with everything in it, as it has of the
 * engine's books: it reads and frees its parent's objects in its own copy, and
 * stores its own beside them.
 */
#include <string.h>

#include "engine/loan.h"
#include "host/live/live.h"
#include "host/live/sys.h"
#include "host/live/zmemdev.h"

/* Writing out: a 128th of the budget in buffers, 32 pages at least (one group)
 * and 256 at most. */
#define OUT_SHARE 128u
#define OUT_MIN	  32u
#define OUT_MAX	  256u

static struct zmem_pool *pool;
static struct zmem_figures seen; /* as of the last publication */
static struct zlock publishing;

static bool lend(void *ctx, unsigned nr, uint32_t *frame)
{
	struct live *l = ctx;

	return weir__frames_lend(&l->engine, nr, frame);
}

static void give(void *ctx, const uint32_t *frame, unsigned nr)
{
	struct live *l = ctx;

	weir__frames_give_back(&l->engine, frame, nr);
}

static unsigned hint(void *ctx)
{
	return live_self()->task.id;
}

/* As a request of the engine's own: see fork_freeze. */
static void inflight(void *ctx, int delta)
{
	struct live *l = ctx;

	atomic_fetch_add(&l->inside, (uint32_t)delta);
}

static const struct zmem_ops ops = {
	.frames = {.take = lend, .give = give, .meta_alloc = live_meta_alloc},
	.hint = hint,
	.inflight = inflight};

static struct zmem_opts options(struct live *l)
{
	const struct weir_config *c = l->cfg;
	uint64_t out = l->budget / PAGE_SIZE / OUT_SHARE;

	out = out < OUT_MIN ? OUT_MIN : out > OUT_MAX ? OUT_MAX : out;
	return (struct zmem_opts){
		.ops = &ops,
		.ctx = l,
		.limit = c->zmem_bytes / PAGE_SIZE,
		.codec = (enum zcodec_kind)c->zmem_codec,
		.level = c->zmem_level,
		/* kswapd and whoever reclaims for itself meanwhile */
		.contexts = l->nr_seats + 1 < 8 ? l->nr_seats + 1 : 8,
		.out_pages = c->swap_bytes ? (unsigned)out : 0};
}

uint64_t zmemdev_bytes(struct live *l)
{
	struct zmem_opts o = options(l);

	if (!l->cfg->zmem_bytes)
		return 0;
	/* The books of blocks: 64 bytes for each, some 2 pages long. */
	return zmem_pool_bytes(&o) + o.limit * 32;
}

int zmemdev_open(struct live *l, struct store *below, struct store **out,
		 char *err, size_t errlen)
{
	struct zmem_opts o = options(l);
	uint64_t slots = o.limit * ZMEM_ALONE_SLOTS;
	int rc = 0;

	if (!pool)
		rc = zmem_pool_open(&o, &pool, err, errlen);
	if (!rc)
		rc = store_zmem_open(pool, below, slots, out, err, errlen);
	return rc;
}

void zmemdev_forget(struct store *s)
{
	if (s->ops->slot_free)
		store_zmem_forget(s);
}

void zmemdev_tidy(struct live *l)
{
	if (pool)
		zmem_tidy(pool, false);
}

/* What happened since the last time, into the engine's counters. */
void zmemdev_publish(struct live *l)
{
	struct engine *e = &l->engine;
	struct zmem_figures f;

	if (!pool || !zlock_try(&publishing))
		return;
	zmem_figures(pool, &f);
#define ADD(stat, now, then)                                                   \
	weir__stat_add(e, STAT_##stat, (int64_t)(now) - (int64_t)(then))
	ADD(zswapped, f.objects + f.same_now, seen.objects + seen.same_now);
	ADD(zswpout, f.stored, seen.stored);
	ADD(zswpin, f.loaded, seen.loaded);
	ADD(zswpwb, f.written_back, seen.written_back);
	ADD(zswap_bytes, f.bytes_in, seen.bytes_in);
	ADD(zswap_same_filled_pages, f.same, seen.same);
	ADD(zswap_reject_compress_poor, f.poor, seen.poor);
	ADD(zswap_reject_alloc_fail, f.no_frame, seen.no_frame);
	ADD(zswap_pool_limit_hit, f.limit_hits, seen.limit_hits);
	ADD(zswap_moved, f.moved, seen.moved);
#undef ADD
	seen = f;
	zlock_let(&publishing);
}
