/* SPDX-License-Identifier: MIT */
/*
 * The buddy allocator of one zone.
 *
 * Free memory is kept in blocks of 2^order frames, one list for each order and
 * migrate type. Block numbers count from the start of the zone, so a block
 * never crosses a zone, whatever the zone's first pfn is. The buddy of block b
 * at order o is b XOR 2^o; both together start at b AND buddy.
 *
 * Types keep what can be moved or reclaimed apart from what cannot, in
 * pageblocks of 2^9 frames, so that whole blocks have a chance to become free
 * again. A free block is always on the list of its pageblock's type, which is
 * kept in the pageblock's first frame. A request whose type has nothing left
 * takes from another one: a whole pageblock if it can be claimed, else only
 * what it needs.
 *
 * Everything here runs under the zone lock.
 */
#include <stdatomic.h>

#include "engine/alloc.h"
#include "engine/buddy.h"
#include "engine/check.h"
#include "engine/frame.h"
#include "engine/watermark.h"

/*
 * Smallest block worth claiming a pageblock for, for movable requests: half
 * the orders of a pageblock. The others always claim, since their pages would
 * stay among movable ones for good.
 */
#define CLAIM_ORDER_MIN (PAGEBLOCK_ORDER / 2)

#define NR_FALLBACKS 2

static const uint8_t fallback[PCP_TYPES][NR_FALLBACKS] = {
    [MIGRATE_UNMOVABLE] = {MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE},
    [MIGRATE_MOVABLE] = {MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE},
    [MIGRATE_RECLAIMABLE] = {MIGRATE_UNMOVABLE, MIGRATE_MOVABLE},
};

/* ------------------------------------------------------ blocks of the zone */

/* A frame's number in its zone. */
static uint64_t block_of(const struct zone *z, const struct frame *f)
{
	return weir__pfn(z->engine, f) - z->start;
}

static struct frame *frame_at(const struct zone *z, uint64_t block)
{
	return weir__frame(z->engine, (pfn_t)(z->start + block));
}

static struct frame *pageblock_head(const struct zone *z, const struct frame *f)
{
	return frame_at(z, block_of(z, f) & ~(uint64_t)(PAGEBLOCK_PAGES - 1));
}

int weir__pageblock_type(struct zone *z, const struct frame *f)
{
	return __atomic_load_n(&pageblock_head(z, f)->migratetype,
			       __ATOMIC_RELAXED);
}

/* Of the pageblock that holds the block, or of all that it consists of. */
static void set_pageblock_type(struct zone *z, struct frame *f, unsigned order,
			       int type)
{
	for (unsigned i = 0; i < 1u << order; i += PAGEBLOCK_PAGES)
		__atomic_store_n(&pageblock_head(z, f + i)->migratetype,
				 (uint8_t)type, __ATOMIC_RELAXED);
}

/* Pages of the pageblock: fewer at the end of a zone. */
static unsigned pageblock_pages(const struct zone *z, const struct frame *head)
{
	uint64_t left = z->spanned - block_of(z, head);

	return left < PAGEBLOCK_PAGES ? (unsigned)left : PAGEBLOCK_PAGES;
}

/*
 * Counters are read by watermark tests without the lock: written whole. A test
 * that sees an old value decides as if it had come a moment earlier.
 */
static void count_block(struct zone *z, unsigned order, int type, int64_t n)
{
	struct free_area *a = &z->free_area[order];

	__atomic_store_n(&a->nr_free, a->nr_free + (uint64_t)n,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&a->nr_type[type], a->nr_type[type] + (uint64_t)n,
			 __ATOMIC_RELAXED);
}

static void account(struct zone *z, int64_t pages, int type)
{
	atomic_fetch_add_explicit(&z->free_pages, pages, memory_order_relaxed);
	if (type == MIGRATE_HIGHATOMIC)
		atomic_fetch_add_explicit(&z->nr_highatomic, pages,
					  memory_order_relaxed);
}

static void list_block(struct zone *z, struct frame *f, unsigned order,
		       int type, bool tail)
{
	struct list_head *l = &z->free_area[order].list[type];

	f->order = (uint8_t)order;
	atomic_store_explicit(&f->flags, FRAME_BUDDY, memory_order_release);
	if (tail)
		list_add_tail(&f->lru, l);
	else
		list_add(&f->lru, l);
	count_block(z, order, type, 1);
}

static void unlist_block(struct zone *z, struct frame *f, unsigned order,
			 int type)
{
	list_del(&f->lru);
	atomic_store_explicit(&f->flags, 0, memory_order_release);
	count_block(z, order, type, -1);
}

static struct frame *first_block(struct zone *z, unsigned order, int type)
{
	struct list_head *l = &z->free_area[order].list[type];

	return list_empty(l) ? NULL : list_first_entry(l, struct frame, lru);
}

/* ------------------------------------------------------------------ taking */

/* The block is larger than asked for: its upper halves go to the lists. */
static void split(struct zone *z, struct frame *f, unsigned want, unsigned have,
		  int type)
{
	while (have > want) {
		have--;
		list_block(z, f + ((size_t)1 << have), have, type, false);
	}
}

static struct frame *take_block(struct zone *z, struct frame *f, unsigned want,
				unsigned have, int type)
{
	unlist_block(z, f, have, type);
	split(z, f, want, have, type);
	account(z, -((int64_t)1 << want), type);
	return f;
}

static struct frame *take_smallest(struct zone *z, unsigned order, int type)
{
	for (unsigned o = order; o <= MAX_ORDER; o++) {
		struct frame *f = first_block(z, o, type);

		if (f)
			return take_block(z, f, order, o, type);
	}
	return NULL;
}

/* The first other type that has a block of this order, or -1. */
static int fallback_type(const struct zone *z, unsigned order, int type)
{
	for (int i = 0; i < NR_FALLBACKS; i++)
		if (z->free_area[order].nr_type[fallback[type][i]])
			return fallback[type][i];
	return -1;
}

/*
 * All free blocks of a pageblock change lists; the pages moved. A single block
 * of two pageblocks takes both along.
 */
static uint64_t retype_pageblock(struct zone *z, struct frame *head, int from,
				 int to)
{
	unsigned n = pageblock_pages(z, head);
	uint64_t moved = 0;

	for (unsigned i = 0; i < n;) {
		struct frame *f = head + i;
		unsigned order;

		if (!frame_test(f, FRAME_BUDDY)) {
			i++;
			continue;
		}
		order = f->order;
		unlist_block(z, f, order, from);
		set_pageblock_type(z, f, order, to);
		list_block(z, f, order, to, false);
		moved += (uint64_t)1 << order;
		i += 1u << order;
	}
	set_pageblock_type(z, head, 0, to);
	if (from == MIGRATE_HIGHATOMIC)
		atomic_fetch_sub_explicit(&z->nr_highatomic, (int64_t)moved,
					  memory_order_relaxed);
	if (to == MIGRATE_HIGHATOMIC)
		atomic_fetch_add_explicit(&z->nr_highatomic, (int64_t)moved,
					  memory_order_relaxed);
	return moved;
}

/*
 * At least half of the pageblock is free or in use by the asking kind: then
 * the block may as well be its own. Pages on LRU lists count as movable. What
 * is in use and on no list may be either of the other two: it counts for them
 * when the block was a movable one, and for nobody otherwise.
 */
static bool worth_claiming(const struct zone *z, const struct frame *head,
			   int old, int type)
{
	unsigned n = pageblock_pages(z, head), nr_free = 0, movable = 0;
	unsigned alike = 0;

	for (unsigned i = 0; i < n;) {
		if (frame_test(head + i, FRAME_BUDDY)) {
			nr_free += 1u << head[i].order;
			i += 1u << head[i].order;
			continue;
		}
		if (frame_test(head + i, FRAME_LRU))
			movable++;
		i++;
	}
	if (type == MIGRATE_MOVABLE)
		alike = movable;
	else if (old == MIGRATE_MOVABLE)
		alike = n - nr_free - movable;
	return nr_free + alike >= n / 2;
}

static struct frame *claim(struct zone *z, struct frame *f, unsigned want,
			   unsigned have, int old, int type,
			   unsigned alloc_flags)
{
	struct frame *head = pageblock_head(z, f);

	if (have >= PAGEBLOCK_ORDER) {
		/* whole pageblocks, all free: no mixing, no boost */
		unlist_block(z, f, have, old);
		set_pageblock_type(z, f, have, type);
		split(z, f, want, have, type);
		account(z, -((int64_t)1 << want), type);
		return f;
	}
	weir__boost_watermark(z);
	if ((alloc_flags & ALLOC_KSWAPD) &&
	    atomic_load_explicit(&z->watermark_boost, memory_order_relaxed))
		atomic_store_explicit(&z->boosted, 1, memory_order_relaxed);
	if (!worth_claiming(z, head, old, type))
		return NULL;
	retype_pageblock(z, head, old, type);
	return take_smallest(z, want, type);
}

/* From the largest block down, so that as little as possible is mixed. */
static struct frame *fall_back_claiming(struct zone *z, unsigned order,
					int type, unsigned alloc_flags)
{
	for (int o = MAX_ORDER; o >= (int)order; o--) {
		int other = fallback_type(z, (unsigned)o, type);
		struct frame *f;

		if (other < 0)
			continue;
		if (type == MIGRATE_MOVABLE && o < CLAIM_ORDER_MIN)
			break;
		f = claim(z, first_block(z, (unsigned)o, other), order,
			  (unsigned)o, other, type, alloc_flags);
		if (f)
			return f;
	}
	return NULL;
}

/* The smallest block that will do; its pageblock keeps its type. */
static struct frame *fall_back_stealing(struct zone *z, unsigned order,
					int type)
{
	for (unsigned o = order; o <= MAX_ORDER; o++) {
		int other = fallback_type(z, o, type);

		if (other >= 0)
			return take_block(z, first_block(z, o, other), order, o,
					  other);
	}
	return NULL;
}

struct frame *weir__buddy_take(struct zone *z, unsigned order, int migratetype,
			       unsigned alloc_flags)
{
	struct frame *f = NULL;

	weir__spin_assert_held(z->engine, &z->lock);
	weir__assert(z->engine, order <= MAX_ORDER);
	if (alloc_flags & ALLOC_HIGHATOMIC)
		f = take_smallest(z, order, MIGRATE_HIGHATOMIC);
	if (!f)
		f = take_smallest(z, order, migratetype);
	if (!f)
		f = fall_back_claiming(z, order, migratetype, alloc_flags);
	if (!f)
		f = fall_back_stealing(z, order, migratetype);
	/* who may not wait, or is about to die, takes the last reserve too */
	if (!f && (alloc_flags & (ALLOC_OOM | ALLOC_NON_BLOCK)))
		f = take_smallest(z, order, MIGRATE_HIGHATOMIC);
	if (f)
		f->order = (uint8_t)order;
	return f;
}

/* ------------------------------------------------------------------ giving */

/* The buddy, if it is free as one block of exactly this order. */
static struct frame *free_buddy(struct zone *z, uint64_t block, unsigned order)
{
	uint64_t b = block ^ ((uint64_t)1 << order);
	struct frame *f;

	if (b + ((uint64_t)1 << order) > z->spanned)
		return NULL;
	f = frame_at(z, b);
	if (!frame_test(f, FRAME_BUDDY) || f->order != order)
		return NULL;
	return f;
}

/*
 * The pair that this block belongs to has a free buddy itself: when our own
 * buddy comes back, two merges follow. So leave this block at the tail, where
 * it is taken last.
 */
static bool merges_soon(struct zone *z, uint64_t block, unsigned order)
{
	if (order >= MAX_ORDER - 1)
		return false;
	return free_buddy(z, block & ~((uint64_t)1 << order), order + 1);
}

static void give_block(struct zone *z, struct frame *f, unsigned order)
{
	uint64_t block = block_of(z, f);
	int type = weir__pageblock_type(z, f);

	account(z, (int64_t)1 << order, type);
	while (order < MAX_ORDER) {
		struct frame *buddy = free_buddy(z, block, order);
		int other;

		if (!buddy)
			break;
		other = weir__pageblock_type(z, buddy);
		if (other != type) {
			/* only whole pageblocks can differ */
			if (type == MIGRATE_HIGHATOMIC ||
			    other == MIGRATE_HIGHATOMIC)
				break;
		}
		unlist_block(z, buddy, order, other);
		if (other != type)
			set_pageblock_type(z, buddy, order, type);
		block &= ~((uint64_t)1 << order);
		order++;
	}
	list_block(z, frame_at(z, block), order, type,
		   merges_soon(z, block, order));
}

void weir__buddy_give(struct zone *z, struct frame *f, unsigned order)
{
	struct engine *e = z->engine;
	unsigned step = order > PAGEBLOCK_ORDER ? PAGEBLOCK_ORDER : order;

	weir__spin_assert_held(e, &z->lock);
	weir__bug_on(e, frame_test(f, FRAME_BUDDY));
	weir__bug_on(e, block_of(z, f) & (((uint64_t)1 << order) - 1));
	/* pageblocks of one block may have changed type while it was in use */
	for (unsigned i = 0; i < 1u << order; i += 1u << step)
		give_block(z, f + i, step);
}

/* ------------------------------------------------- the high-atomic reserve */

void weir__highatomic_reserve(struct engine *e, struct zone *z, struct frame *f)
{
	uint64_t percent =
	    atomic_load_explicit(&z->managed, memory_order_relaxed) / 100;
	struct frame *head = pageblock_head(z, f);
	int type;

	if (percent < PAGEBLOCK_PAGES)
		return;
	percent =
	    (percent + PAGEBLOCK_PAGES - 1) & ~(uint64_t)(PAGEBLOCK_PAGES - 1);
	weir__spin_lock(e, &z->lock);
	type = weir__pageblock_type(z, f);
	if (z->nr_reserved_highatomic < percent && type != MIGRATE_HIGHATOMIC &&
	    pageblock_pages(z, head) == PAGEBLOCK_PAGES) {
		retype_pageblock(z, head, type, MIGRATE_HIGHATOMIC);
		z->nr_reserved_highatomic += PAGEBLOCK_PAGES;
	}
	weir__spin_unlock(e, &z->lock);
}

bool weir__highatomic_release(struct engine *e, struct zone *z, int migratetype,
			      bool force)
{
	uint64_t moved = 0;

	weir__spin_lock(e, &z->lock);
	if (!force && z->nr_reserved_highatomic <= PAGEBLOCK_PAGES)
		goto out;
	for (unsigned o = 0; o <= MAX_ORDER; o++) {
		struct frame *f = first_block(z, o, MIGRATE_HIGHATOMIC);

		uint64_t pages =
		    o > PAGEBLOCK_ORDER ? (uint64_t)1 << o : PAGEBLOCK_PAGES;

		if (!f)
			continue;
		weir__bug_on(e, z->nr_reserved_highatomic < pages);
		moved = retype_pageblock(z, pageblock_head(z, f),
					 MIGRATE_HIGHATOMIC, migratetype);
		z->nr_reserved_highatomic -= pages;
		break;
	}
out:
	weir__spin_unlock(e, &z->lock);
	return moved > 0;
}
