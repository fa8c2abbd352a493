/* SPDX-License-Identifier: MIT */
/*
 * Frame requests: who may go how low, the fast path, and the way back.
 *
 * A request is tried at the *low* mark. When that fails the slow path, floors
 * above, wakes kswapd and tries again at *min*, with the rights below. Rights
 * lower the mark, because some requests must not fail where an ordinary one
 * may wait:
 *
 *   ordinary                        min
 *   GFP_HIGH                        min/2
 *   GFP_HIGH that cannot wait       3/8 min
 *   out-of-memory victim            min/2
 *   who frees memory (MEMALLOC)     0
 */
#include <limits.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/alloc.h"
#include "engine/buddy.h"
#include "engine/check.h"
#include "engine/frame.h"
#include "engine/watermark.h"

/* Who has any of these may also count on the high-atomic reserve. */
#define ALLOC_RESERVES                                                         \
	(ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM)

/* A frame with one of these is in use: giving it back is a broken book. */
#define FLAGS_NOT_AT_FREE                                                      \
	(FRAME_LOCKED | FRAME_LRU | FRAME_WRITEBACK | FRAME_SWAPCACHE |        \
	 FRAME_PRIVATE | FRAME_RESERVED | FRAME_BUDDY | FRAME_TAIL)

/* ------------------------------------------------------------------- rights */

gfp_t weir__gfp_context(struct engine *e, gfp_t gfp)
{
	uint32_t task = weir__self(e)->flags;

	if (task & PF_NOIO)
		gfp &= ~(gfp_t)(GFP_IO | GFP_FS);
	else if (task & PF_NOFS)
		gfp &= ~(gfp_t)GFP_FS;
	/* an interrupt cannot sleep, whatever it asked for */
	if (task & PF_ATOMIC)
		gfp &= ~(gfp_t)GFP_DIRECT_RECLAIM;
	return gfp;
}

/* What the task may do because of what it is; replaces all other rights. */
static unsigned task_rights(const struct wtask *t, gfp_t gfp)
{
	if (gfp & GFP_NOMEMALLOC)
		return 0;
	if (gfp & GFP_MEMALLOC)
		return ALLOC_NO_WATERMARKS;
	/* an interrupt is not the task it interrupts */
	if (t->flags & PF_ATOMIC)
		return 0;
	if (t->flags & PF_MEMALLOC)
		return ALLOC_NO_WATERMARKS;
	if (t->flags & PF_OOM_VICTIM)
		return ALLOC_OOM;
	return 0;
}

unsigned weir__gfp_to_alloc_flags(struct engine *e, gfp_t gfp, unsigned order)
{
	unsigned kswapd = gfp & GFP_KSWAPD_RECLAIM ? ALLOC_KSWAPD : 0;
	unsigned flags = ALLOC_WMARK_MIN | kswapd;
	unsigned rights = task_rights(weir__self(e), gfp);

	if (rights)
		return ALLOC_WMARK_MIN | rights | kswapd;
	if (gfp & GFP_HIGH)
		flags |= ALLOC_MIN_RESERVE;
	if (!(gfp & GFP_DIRECT_RECLAIM) && !(gfp & GFP_NOMEMALLOC)) {
		flags |= ALLOC_NON_BLOCK;
		if (order && (gfp & GFP_HIGH))
			flags |= ALLOC_HIGHATOMIC;
	}
	return flags;
}

unsigned weir__gfp_zone(gfp_t gfp, const struct node *n)
{
	return gfp & GFP_LOWZONE ? 0 : n->nr_zones - 1u;
}

static int migratetype_of(gfp_t gfp)
{
	if (gfp & GFP_MOVABLE)
		return MIGRATE_MOVABLE;
	if (gfp & GFP_RECLAIMABLE)
		return MIGRATE_RECLAIMABLE;
	return MIGRATE_UNMOVABLE;
}

/* ----------------------------------------------------------- watermark test */

/* A block that large is on a list that the request may take from. */
static bool block_exists(const struct zone *z, unsigned order,
			 unsigned alloc_flags)
{
	for (unsigned o = order; o <= MAX_ORDER; o++) {
		const struct free_area *a = &z->free_area[o];

		if (!__atomic_load_n(&a->nr_free, __ATOMIC_RELAXED))
			continue;
		for (int t = 0; t < PCP_TYPES; t++)
			if (__atomic_load_n(&a->nr_type[t], __ATOMIC_RELAXED))
				return true;
		if ((alloc_flags & (ALLOC_HIGHATOMIC | ALLOC_OOM)) &&
		    __atomic_load_n(&a->nr_type[MIGRATE_HIGHATOMIC],
				    __ATOMIC_RELAXED))
			return true;
	}
	return false;
}

bool weir__zone_watermark_ok(struct zone *z, unsigned order, uint64_t mark,
			     unsigned highest_zone, unsigned alloc_flags,
			     int64_t free_pages)
{
	int64_t m = (int64_t)mark;

	/* all but one page of the last block are of no use to the request */
	free_pages -= ((int64_t)1 << order) - 1;
	if (!(alloc_flags & ALLOC_RESERVES))
		free_pages -= atomic_load_explicit(&z->nr_highatomic,
						   memory_order_relaxed);
	if (alloc_flags & ALLOC_MIN_RESERVE) {
		m -= m / 2;
		if (alloc_flags & ALLOC_NON_BLOCK)
			m -= m / 4;
	}
	if (alloc_flags & ALLOC_OOM)
		m -= m / 2;
	m += (int64_t)__atomic_load_n(&z->lowmem_reserve[highest_zone],
				      __ATOMIC_RELAXED);
	if (free_pages <= m)
		return false;
	return order == 0 || block_exists(z, order, alloc_flags);
}

static bool mark_ok(struct zone *z, unsigned order, int which, unsigned highest,
		    unsigned alloc_flags)
{
	int64_t nr_free =
	    atomic_load_explicit(&z->free_pages, memory_order_relaxed);

	if (weir__zone_watermark_ok(z, order, weir__wmark(z, which), highest,
				    alloc_flags, nr_free))
		return true;
	/*
	 * A boost is there to keep blocks together, which is not worth the
	 * failure of an urgent request for one page.
	 */
	if (order || which != WMARK_MIN || !(alloc_flags & ALLOC_MIN_RESERVE))
		return false;
	return weir__zone_watermark_ok(
	    z, order, __atomic_load_n(&z->wmark[WMARK_MIN], __ATOMIC_RELAXED),
	    highest, alloc_flags, nr_free);
}

/* ---------------------------------------------------------------- fast path */

static bool zone_may_serve(struct zone *z, unsigned order, unsigned highest,
			   unsigned alloc_flags)
{
	if (!atomic_load_explicit(&z->managed, memory_order_relaxed))
		return false;
	if (alloc_flags & ALLOC_NO_WATERMARKS)
		return true;
	/*
	 * Seen here, because frees are hotter: a zone that is short of its
	 * high mark makes the per-CPU lists give back (pcp.c).
	 */
	if (!atomic_load_explicit(&z->below_high, memory_order_relaxed)) {
		if (mark_ok(z, order, WMARK_HIGH, highest, alloc_flags))
			return true;
		atomic_store_explicit(&z->below_high, 1, memory_order_relaxed);
	}
	return mark_ok(z, order, (int)(alloc_flags & ALLOC_WMARK_MASK), highest,
		       alloc_flags);
}

static struct frame *take_from(struct engine *e, struct zone *z, unsigned order,
			       int migratetype, unsigned alloc_flags)
{
	struct frame *f = NULL;

	if (order < PCP_ORDERS)
		f = weir__pcp_alloc(e, z, order, migratetype, alloc_flags);
	if (!f) {
		weir__spin_lock(e, &z->lock);
		f = weir__buddy_take(z, order, migratetype, alloc_flags);
		weir__spin_unlock(e, &z->lock);
	}
	if ((alloc_flags & ALLOC_KSWAPD) &&
	    atomic_load_explicit(&z->boosted, memory_order_relaxed) &&
	    atomic_exchange_explicit(&z->boosted, 0, memory_order_relaxed) &&
	    e->wake_boosted)
		e->wake_boosted(e, z);
	return f;
}

void weir__prep_new_frame(struct engine *e, struct frame *f, gfp_t gfp,
			  unsigned order)
{
	f->order = (uint8_t)order;
	for (unsigned i = 1; i < 1u << order; i++)
		atomic_store_explicit(&f[i].flags, FRAME_TAIL,
				      memory_order_relaxed);
	if (gfp & GFP_ZERO)
		memset(e->host->ops->direct(e->host, weir__pfn(e, f)), 0,
		       (size_t)PAGE_SIZE << order);
	/* last: who finds the frame by its number sees it whole */
	atomic_store_explicit(&f->flags, 0, memory_order_relaxed);
	atomic_store_explicit(&f->refcount, 1, memory_order_release);
}

static struct frame *from_node(struct engine *e, struct node *n, gfp_t gfp,
			       unsigned order, unsigned alloc_flags)
{
	unsigned highest = weir__gfp_zone(gfp, n);

	for (int i = (int)highest; i >= 0; i--) {
		struct zone *z = &n->zones[i];
		struct frame *f;

		if (!zone_may_serve(z, order, highest, alloc_flags))
			continue;
		f = take_from(e, z, order, migratetype_of(gfp), alloc_flags);
		if (!f)
			continue;
		if (alloc_flags & ALLOC_HIGHATOMIC)
			weir__highatomic_reserve(e, z, f);
		return f;
	}
	return NULL;
}

struct frame *weir__get_page_from_freelist(struct engine *e, gfp_t gfp,
					   unsigned order, unsigned alloc_flags)
{
	unsigned local = weir__cpu_node(e, weir__self(e)->cpu);

	for (unsigned i = 0; i < e->nr_nodes; i++) {
		struct node *n = &e->nodes[(local + i) % e->nr_nodes];
		struct frame *f = from_node(e, n, gfp, order, alloc_flags);

		if (!f)
			continue;
		weir__prep_new_frame(e, f, gfp, order);
		weir__stat_add(e, STAT_pgalloc, (int64_t)1 << order);
		return f;
	}
	return NULL;
}

struct frame *weir__frames_alloc(struct engine *e, gfp_t gfp, unsigned order)
{
	unsigned fast = ALLOC_WMARK_LOW;
	struct frame *f;

	if (order > MAX_ORDER)
		return NULL;
	gfp = weir__gfp_context(e, gfp);
	if (gfp & GFP_DIRECT_RECLAIM)
		weir__assert_may_sleep(e);
	if (e->charge && gfp & GFP_MOVABLE && !e->charge(e, gfp))
		return NULL;
	if (gfp & GFP_KSWAPD_RECLAIM)
		fast |= ALLOC_KSWAPD;
	f = weir__get_page_from_freelist(e, gfp, order, fast);
	if (f)
		return f;
	if (e->alloc_slow)
		return e->alloc_slow(e, gfp, order);
	return weir__get_page_from_freelist(
	    e, gfp, order, weir__gfp_to_alloc_flags(e, gfp, order));
}

/* -------------------------------------------------------------- the way back
 */

static void forget(struct engine *e, struct frame *f, unsigned order)
{
	int32_t refs = 1;

	if (!atomic_compare_exchange_strong_explicit(&f->refcount, &refs, 0,
						     memory_order_acq_rel,
						     memory_order_acquire))
		weir__bug_on(e, refs != 0);
	weir__bug_on(e, frame_test(f, FLAGS_NOT_AT_FREE));
	weir__bug_on(e, weir__frame_mapped(f));
	weir__bug_on(e, f->order != order);
	for (unsigned i = 1; i < 1u << order; i++)
		weir__bug_on(e, !weir__frame_clear(&f[i], FRAME_TAIL));
	__atomic_store_n(&f->mapping, (uintptr_t)0, __ATOMIC_RELAXED);
	f->index = 0;
	__atomic_store_n(&f->private, (uint64_t)0, __ATOMIC_RELAXED);
	f->mlock_count = 0;
	f->error = 0;
	atomic_store_explicit(&f->flags, 0, memory_order_relaxed);
}

void weir__frames_free(struct engine *e, struct frame *f, unsigned order)
{
	struct zone *z = weir__frame_zone(e, f);

	forget(e, f, order);
	weir__stat_add(e, STAT_pgfree, (int64_t)1 << order);
	/* before anybody else can get the frame */
	e->host->ops->release(e->host, weir__pfn(e, f), 1u << order);
	if (order < PCP_ORDERS) {
		weir__pcp_free(e, z, f, order);
		return;
	}
	weir__spin_lock(e, &z->lock);
	weir__buddy_give(z, f, order);
	weir__spin_unlock(e, &z->lock);
}
