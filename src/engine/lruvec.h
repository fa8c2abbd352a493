/* SPDX-License-Identifier: MIT */
/*
 * The lists of one node (later: of one group and node). The three primitives
 * add, add_tail and del are the only code that touches a list.
 */
#ifndef WEIR_ENGINE_LRUVEC_H
#define WEIR_ENGINE_LRUVEC_H

#include "engine/types.h"

/* One page of I/O weighs as much as this many pages scanned in vain. */
#define LRU_COST_IO 32
/* Pages of too high a zone that one isolation passes over for nothing. */
#define LRU_SKIP_MAX (32 * 1024)

void weir__lruvec_init(struct lruvec *v, struct node *n);
struct lruvec *weir__frame_lruvec(struct engine *e, const struct frame *f);
/* Takes the lruvec's lock and returns it. */
struct lruvec *weir__lruvec_lock(struct engine *e, const struct frame *f);
/* The same when `held` (may be NULL) is locked already: keeps it if it is the
 * frame's, so that a run of pages costs one trip to the lock. */
struct lruvec *weir__lruvec_relock(struct engine *e, struct lruvec *held,
				   const struct frame *f);
/* NULL is fine. */
void weir__lruvec_unlock(struct engine *e, struct lruvec *v);

enum lru_list weir__frame_lru_list(const struct frame *f);
/* 1 for file, 0 for anon: index of pairs such as refaults[]. */
static inline int weir__frame_is_file(const struct frame *f)
{
	return !(
	    __atomic_load_n((const uint32_t *)&f->flags, __ATOMIC_RELAXED) &
	    FRAME_SWAPBACKED);
}

/* => called with lru_lock held. Counters follow (node, zone, stats). */
void weir__lruvec_add(struct engine *e, struct lruvec *v, struct frame *f);
void weir__lruvec_add_tail(struct engine *e, struct lruvec *v, struct frame *f);
void weir__lruvec_del(struct engine *e, struct lruvec *v, struct frame *f);

/*
 * Takes up to nr pages from the tail of an evictable list for reclaim. Each
 * loses FRAME_LRU, gains a reference, leaves the list and is linked on *out
 * (which the caller has initialised), oldest first; node.nr_isolated rises.
 * Passed over, to the head: pages being freed or isolated by others, and
 * mapped ones when !may_unmap; these count as scanned. Pages of zones above
 * highest_zone go to the head too, uncounted up to LRU_SKIP_MAX.
 * Returns the pages taken. [any]
 */
unsigned weir__lruvec_isolate(struct engine *e, struct lruvec *v,
			      enum lru_list l, unsigned nr,
			      unsigned highest_zone, bool may_unmap,
			      struct list_head *out, unsigned *scanned);
/* The same for inactive anon pages that have not been asked yet; those that
 * have been (lruvec.asked) are older, and weir__lruvec_isolate takes them
 * first. [any] */
unsigned weir__lruvec_isolate_unasked(struct engine *e, struct lruvec *v,
				      unsigned nr, unsigned highest_zone,
				      struct list_head *out, unsigned *scanned);
/*
 * Puts isolated pages (isolated either way) back by their flags, first to
 * last, and empties the list. The isolation's references are dropped: a page
 * that had no other is freed. Locked (mlock) pages go through the add batch.
 * Active pages turn the clock of refaults. [any]
 */
void weir__lruvec_putback(struct engine *e, struct list_head *pages);
/*
 * Ends the accounting of weir__lruvec_isolate for a page that does not come
 * back: call it before an isolated frame goes to weir__frames_free. Harmless
 * for any other page; putback and page_put do it themselves. [any]
 */
void weir__frame_isolation_end(struct engine *e, struct frame *f);

/* Evictions and activations: the clock of refault distances (workingset.c).*/
static inline void weir__lruvec_age(struct lruvec *v, uint64_t pages)
{
	__atomic_fetch_add((uint64_t *)&v->nonresident_age, pages,
			   __ATOMIC_RELAXED);
}

int64_t weir__lruvec_size(const struct lruvec *v, enum lru_list l,
			  unsigned highest_zone);
/* inactive * ratio < active; ratio = isqrt(10 * GiB), 1 below 1 GiB. */
bool weir__inactive_is_low(const struct lruvec *v, int file);
uint64_t weir__inactive_ratio(uint64_t inactive, uint64_t active);

/* Adds LRU_COST_IO * nr_io + nr_rotated to a type's cost; halves both types'
 * when their sum is over a quarter of the lists. => called with lru_lock held
 */
void weir__lru_note_cost(struct lruvec *v, int file, uint64_t nr_io,
			 uint64_t nr_rotated);

/* Counters equal contents, flags fit the list, links whole. Takes the lock;
 * for lists at rest (nobody is between clearing FRAME_LRU and the list). */
bool weir__lruvec_is_valid(struct engine *e, struct lruvec *v);

/*
 * Scouts: the next pages of a list are on their way into the cache while a
 * batch is still being worked on, one step for each of its pages, since a list
 * can only be followed one miss at a time. No lock is held and no reference;
 * where the list has changed the scout goes astray inside the memmap, or ends
 * (NULL). Advice, nothing else.
 */
const struct frame *weir__lru_scout_start(const struct lruvec *v,
					  enum lru_list l);
const struct frame *weir__lru_scout_step(const struct engine *e,
					 const struct frame *f);

#endif
