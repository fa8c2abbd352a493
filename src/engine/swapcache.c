/* SPDX-License-Identifier: MIT */
/*
 * The swap cache: which frame holds the contents of a slot right now.
 *
 * It is where concurrent swap-ins of one slot meet, where a page is found
 * while it is on its way out, and what makes a second eviction of an unchanged
 * page free. One table entry for each slot: nothing, a frame, or the shadow
 * that an evicted page left (an odd number, workingset.h).
 *
 * Interface
 *   - HAS_CACHE in the slot's map byte is the cache's own share of the slot.
 *   - The cache holds one reference to each bound frame.
 *   - The table is read and changed under the swap lock, and for a given frame
 *     changed only with its page lock held as well.
 *   - A shadow lives as long as its slot.
 *
 * Last steps of a page (weir__swap_cache_remove_frozen). A fault may find the
 * frame in the table, dirty it and let it go again while reclaim believes it
 * to be clean and unused:
 *
 *   reclaim                             somebody else
 *   -------                             -------------
 *                                       cache_get: refs 3
 *   sees the page clean
 *                                       writes to it, marks it dirty
 *                                       drops the reference: refs 2
 *   refs == 2: frees it                 the write is lost
 *
 * So the order is: freeze the count first (2 -> 0 in one step; fails while
 * anybody else has a reference, and nobody gets one afterwards, because get
 * refuses a count of 0 and needs the swap lock that we hold), and only then
 * look at the dirty flag. Whoever dirtied the page did so before dropping the
 * reference, and we see it. When it is dirty the count goes back.
 */
#include <errno.h>

#include "engine/check.h"
#include "engine/frame.h"
#include "engine/swap_internal.h"

static struct frame *entry_frame(uint64_t entry)
{
	return swap_is_frame(entry) ? (struct frame *)(uintptr_t)entry : NULL;
}

int weir__swap_cache_add(struct engine *e, struct frame *f, swp_entry_t s,
			 uint64_t *shadow)
{
	uint64_t off = swp_offset(s);
	struct swap_area *a;
	int rc = 0;

	weir__assert(e, frame_test(f, FRAME_LOCKED));
	weir__bug_on(e, frame_test(f, FRAME_SWAPCACHE));
	if (shadow)
		*shadow = 0;
	swap_lock(e);
	a = swap_area(e, s);
	if (!a || !swap_byte_used(a->map[off])) {
		rc = -ENOENT;
	} else if (swap_is_frame(a->table[off])) {
		rc = -EEXIST;
	} else if (shadow && a->map[off] == SWAP_HAS_CACHE) {
		/*
		 * A late reader: its entry is gone, the slot was freed, and
		 * reclaim has just taken it for another page.
		 */
		rc = -ENOENT;
	} else {
		if (shadow)
			*shadow = a->table[off];
		a->map[off] |= SWAP_HAS_CACHE;
		weir__frame_get(f);
		f->private = s;
		weir__frame_set(f, FRAME_SWAPCACHE);
		a->table[off] = (uint64_t)(uintptr_t)f;
	}
	swap_unlock(e);
	if (!rc)
		weir__stat_add(e, STAT_nr_swapcached, 1);
	return rc;
}

struct frame *weir__swap_cache_get(struct engine *e, swp_entry_t s)
{
	struct frame *f = NULL;
	struct swap_area *a;

	swap_lock(e);
	a = swap_area(e, s);
	if (a)
		f = entry_frame(a->table[swp_offset(s)]);
	if (f && !weir__frame_tryget(f))
		f = NULL;
	swap_unlock(e);
	return f;
}

void weir__swap_prefetch(const struct engine *e, swp_entry_t s)
{
	const struct swap_area *a = &e->swap->area[swp_type(s)];

	if (swp_type(s) >= SWAP_TYPES_MAX || swp_offset(s) >= a->slots)
		return;
	__builtin_prefetch(&a->table[swp_offset(s)], 1);
	__builtin_prefetch(&a->map[swp_offset(s)], 1);
	/* A function that only prefetches does nothing, says the compiler when
	 * it sees the whole program, and leaves out the call. */
	__asm__ volatile("");
}

/* => lock held. True when the slot went too. */
static bool unbind(struct engine *e, struct frame *f, uint64_t shadow)
{
	swp_entry_t s = f->private;
	uint64_t off = swp_offset(s);
	struct swap_area *a = swap_area(e, s);

	weir__bug_on(e, !frame_test(f, FRAME_SWAPCACHE));
	weir__bug_on(e, shadow && !(shadow & 1));
	weir__bug_on(e, !a || entry_frame(a->table[off]) != f);
	weir__bug_on(e, !(a->map[off] & SWAP_HAS_CACHE));
	a->table[off] = shadow;
	weir__frame_clear(f, FRAME_SWAPCACHE);
	f->private = 0;
	a->map[off] &= (uint8_t)~SWAP_HAS_CACHE;
	weir__stat_add(e, STAT_nr_swapcached, -1);
	return !a->map[off] && weir__slot_free(e, a, off);
}

void weir__swap_cache_del(struct engine *e, struct frame *f, uint64_t shadow)
{
	weir__assert(e, frame_test(f, FRAME_LOCKED));
	swap_lock(e);
	unbind(e, f, shadow);
	swap_unlock(e);
	weir__swap_discards(e);
}

bool weir__swap_cache_remove_frozen(struct engine *e, struct frame *f,
				    int expected, uint64_t shadow)
{
	weir__assert(e, frame_test(f, FRAME_LOCKED));
	swap_lock(e);
	if (!weir__frame_freeze(f, expected)) {
		swap_unlock(e);
		return false;
	}
	if (frame_test(f, FRAME_DIRTY)) {
		/* nobody can have touched a count of 0 */
		__atomic_store_n((int32_t *)&f->refcount, expected,
				 __ATOMIC_RELEASE);
		swap_unlock(e);
		return false;
	}
	unbind(e, f, shadow);
	swap_unlock(e);
	weir__swap_discards(e);
	return true;
}

bool weir__swap_cache_try_free(struct engine *e, struct frame *f, swp_entry_t s)
{
	bool bound, freed = false;
	struct swap_area *a;

	swap_lock(e);
	a = swap_area(e, s);
	bound = a && entry_frame(a->table[swp_offset(s)]) == f &&
		a->map[swp_offset(s)] == SWAP_HAS_CACHE &&
		!frame_test(f, FRAME_WRITEBACK);
	if (bound) {
		/* from now on the frame is the only copy */
		weir__frame_set(f, FRAME_DIRTY);
		freed = unbind(e, f, 0);
	}
	swap_unlock(e);
	if (bound) {
		/* the cache's reference; the caller has another */
		weir__bug_on(e, weir__frame_put_testzero(f));
		weir__swap_discards(e);
	}
	return freed;
}

void weir__swap_slot_release(struct engine *e, swp_entry_t s)
{
	uint64_t off = swp_offset(s);
	struct swap_area *a;

	swap_lock(e);
	a = swap_area(e, s);
	weir__bug_on(e, !a || !swap_byte_used(a->map[off]));
	weir__bug_on(e, !(a->map[off] & SWAP_HAS_CACHE));
	weir__bug_on(e, swap_is_frame(a->table[off]));
	a->map[off] &= (uint8_t)~SWAP_HAS_CACHE;
	if (!a->map[off])
		weir__slot_free(e, a, off);
	swap_unlock(e);
	weir__swap_discards(e);
}

uint64_t weir__swap_shadow(struct engine *e, swp_entry_t s)
{
	struct swap_area *a;
	uint64_t entry = 0;

	swap_lock(e);
	a = swap_area(e, s);
	if (a && (a->table[swp_offset(s)] & 1))
		entry = a->table[swp_offset(s)];
	swap_unlock(e);
	return entry;
}
