/* SPDX-License-Identifier: MIT */
/*
 * Workingset detection: was this page thrown out too early?
 *
 * PROBLEM. New pages start on the inactive list and only a second access there
 * makes them active. When a program walks in circles over a set a little
 * larger than the inactive list, every page is evicted just before it is
 * wanted again: each access is a fault, no page ever gets its second access,
 * and the active list, perhaps full of pages nobody wants any more, is never
 * challenged. From the lists alone this looks the same as reading once
 * through something huge, for which eviction is right. What tells them apart
 * is whether the pages come back, and how soon.
 *
 *        fault ──► [ inactive ........... ] ──► evicted
 *                        │  accessed again          ┊
 *                        ▼                          ┊ R - E
 *      demoted ◄── [ active ............. ]         ┊
 *                        ▲                          ┊
 *                        └────────── refault ◄──────┘
 *
 * OBSERVATIONS.
 * 1. A page moves towards the tail of the inactive list by one place whenever
 *    another page leaves that list: by eviction (tail) or by activation (out
 *    of the middle). So a clock that counts evictions and activations
 *    (lruvec.nonresident_age) measures, between two readings, how many
 *    inactive pages were accessed.
 * 2. From its fault to its eviction a page saw the whole list pass: as many
 *    ticks as the inactive list is long.
 * 3. If the clock stood at E when it was evicted and stands at R when it comes
 *    back, another R - E inactive pages were accessed meanwhile. That is the
 *    refault distance.
 * 4. So the two accesses lay at least (inactive size) + (R - E) apart, and with
 *    that many more places on the inactive list it would not have been lost.
 *
 * DECISION. More places for inactive pages can only come from the pages they
 * compete with, so the question is
 *
 *        inactive + (R - E) <= inactive + what it competes with
 *   or          R - E       <= size of what it competes with
 *
 * For a file page that is active_file, and with swap space left all anonymous
 * pages too; for an anonymous page both file lists, and active_anon while
 * there is swap. If the distance fits, the page is put on the active list at
 * once, where it challenges the ones there: the active list's tail is demoted
 * in turn, and those which really are in use come back by their references.
 *
 * IF THE GUESS IS WRONG. An activated page that is not wanted again sinks down
 * the active list and costs one demotion. A distance measured too short (the
 * clock does not see accesses of mapped pages, which set a bit and move
 * nothing) activates a page too many; one measured too long leaves the page
 * inactive with the chance every new page has. Neither can lose a page or
 * loop: the decision only chooses the list.
 *
 * THRASHING. A page that had been active before (FRAME_WORKINGSET) and comes
 * back within the distance belongs to an established set that does not fit.
 * It keeps its mark, and its I/O is charged to its type's cost, so that the
 * next scans lean on the other type.
 *
 * IMPLEMENTATION. At eviction the clock, the node and the WORKINGSET mark are
 * packed into a shadow that stays in the vacated swap slot. The clock is cut
 * to SHADOW_CLOCK_BITS bits; differences are taken modulo that width. 36 bits
 * of pages are 256 TiB of evictions, so only a distance beyond that is taken
 * for a short one. Were a memory larger than the width, clocks would be kept
 * in buckets of 2^bucket_order pages.
 */
#include "engine/workingset.h"

#include "engine/frame.h"
#include "engine/lruvec.h"
#include "engine/swap.h"

#define CLOCK_MASK (((uint64_t)1 << SHADOW_CLOCK_BITS) - 1)

static unsigned fls64(uint64_t x)
{
	return x ? 64 - (unsigned)__builtin_clzll(x) : 0;
}

unsigned weir__bucket_order(uint64_t total_pages, unsigned bits)
{
	unsigned need = total_pages ? fls64(total_pages - 1) : 0;

	return need > bits ? need - bits : 0;
}

static unsigned bucket_order(const struct engine *e)
{
	return weir__bucket_order(e->nr_frames, SHADOW_CLOCK_BITS);
}

/* From the top: clock, group (0), node, workingset, 1. */
uint64_t weir__shadow_pack(struct engine *e, uint64_t clock, unsigned node,
			   bool workingset)
{
	uint64_t s = (clock >> bucket_order(e)) & CLOCK_MASK;

	s <<= SHADOW_GROUP_BITS;
	s = s << SHADOW_NODE_BITS | node;
	s = s << 1 | workingset;
	return s << 1 | 1;
}

void weir__shadow_unpack(struct engine *e, uint64_t shadow, uint64_t *clock,
			 unsigned *node, bool *workingset)
{
	shadow >>= 1;
	*workingset = shadow & 1;
	shadow >>= 1;
	*node = shadow & ((1u << SHADOW_NODE_BITS) - 1);
	shadow >>= SHADOW_NODE_BITS + SHADOW_GROUP_BITS;
	*clock = shadow << bucket_order(e);
}

void weir__workingset_age_nonresident(struct lruvec *v, uint64_t pages)
{
	/* With groups: every ancestor's too. */
	weir__lruvec_age(v, pages);
}

uint64_t weir__workingset_shadow(struct engine *e, const struct frame *f)
{
	const struct lruvec *v = weir__frame_lruvec(e, f);
	uint64_t clock = __atomic_load_n((const uint64_t *)&v->nonresident_age,
					 __ATOMIC_RELAXED);

	return weir__shadow_pack(e, clock, v->pgdat->id,
				 frame_test(f, FRAME_WORKINGSET));
}

void weir__workingset_evicted(struct engine *e, const struct frame *f)
{
	weir__workingset_age_nonresident(weir__frame_lruvec(e, f), 1);
}

uint64_t weir__workingset_eviction(struct engine *e, struct frame *f)
{
	uint64_t shadow = weir__workingset_shadow(e, f);

	weir__workingset_evicted(e, f);
	return shadow;
}

bool weir__refault_activates(bool file, bool swap_left, uint64_t distance,
			     uint64_t active_file, uint64_t inactive_file,
			     uint64_t active_anon, uint64_t inactive_anon)
{
	uint64_t size = active_file;

	if (!file)
		size += inactive_file;
	if (swap_left) {
		size += active_anon;
		if (file)
			size += inactive_anon;
	}
	return distance <= size;
}

static uint64_t list_size(const struct lruvec *v, enum lru_list l)
{
	return (uint64_t)weir__lruvec_size(v, l, MAX_ZONES - 1);
}

/* By the lists of the node where it was evicted. */
static bool refault_is_recent(struct engine *e, uint64_t shadow, bool file,
			      bool *workingset)
{
	const struct lruvec *v;
	uint64_t evicted, now, distance;
	unsigned node;

	weir__shadow_unpack(e, shadow, &evicted, &node, workingset);
	if (node >= e->nr_nodes)
		return false;
	v = &e->nodes[node].lruvec;
	now = __atomic_load_n((const uint64_t *)&v->nonresident_age,
			      __ATOMIC_RELAXED);
	distance = (now - evicted) & (CLOCK_MASK << bucket_order(e));
	return weir__refault_activates(
	    file, weir__swap_nr_free(e) > 0, distance,
	    list_size(v, LRU_ACTIVE_FILE), list_size(v, LRU_INACTIVE_FILE),
	    list_size(v, LRU_ACTIVE_ANON), list_size(v, LRU_INACTIVE_ANON));
}

void weir__workingset_refault(struct engine *e, struct frame *f,
			      uint64_t shadow)
{
	struct lruvec *v = weir__frame_lruvec(e, f);
	int file = weir__frame_is_file(f);
	bool workingset;

	weir__stat_inc(e, file ? STAT_workingset_refault_file
			       : STAT_workingset_refault_anon);
	if (!refault_is_recent(e, shadow, file, &workingset))
		return;
	weir__frame_set(f, FRAME_ACTIVE);
	weir__workingset_age_nonresident(v, 1);
	weir__stat_inc(e, file ? STAT_workingset_activate_file
			       : STAT_workingset_activate_anon);
	__atomic_fetch_add((uint64_t *)&v->activate_refault[file], 1,
			   __ATOMIC_RELAXED);
	if (!workingset)
		return;
	weir__frame_set(f, FRAME_WORKINGSET);
	v = weir__lruvec_lock(e, f);
	weir__lru_note_cost(v, file, 1, 0);
	weir__lruvec_unlock(e, v);
	weir__stat_inc(e, file ? STAT_workingset_restore_file
			       : STAT_workingset_restore_anon);
}

void weir__workingset_activation(struct engine *e, struct frame *f)
{
	weir__workingset_age_nonresident(weir__frame_lruvec(e, f), 1);
}
