/* SPDX-License-Identifier: MIT */
/*
 * Memory that was in use before the engine came, and memory that the engine
 * gives up.
 */
#include <errno.h>

#include "engine/alloc.h"
#include "engine/aspace.h"
#include "engine/batch.h"
#include "engine/check.h"
#include "engine/fault.h"
#include "engine/frame.h"
#include "engine/pgtable.h"
#include "engine/rmap.h"
#include "engine/swap.h"

/* One resident page enters the books, unless something is known of it. */
static int adopt_one(struct engine *e, struct aspace *as, uint64_t addr)
{
	struct frame *f = weir__frames_alloc(e, GFP_HIGHUSER_MOVABLE, 0);
	struct region *r;
	pte_t *pte;
	bool took = false, locked = false;

	if (!f)
		return -ENOMEM;
	weir__frame_set(f, FRAME_SWAPBACKED | FRAME_UPTODATE | FRAME_DIRTY);
	weir__spin_lock(e, &as->lock);
	r = weir__region_find(as, addr);
	pte = r ? weir__pte(as, addr) : NULL;
	if (pte && r->anon_vma && *pte == 0) {
		*pte = pte_mk(weir__pfn(e, f), PTE_WRITE | PTE_DIRTY);
		weir__page_add_new_anon_rmap(e, f, r, addr);
		as->nr_anon++;
		took = true;
		locked = r->flags & REGION_LOCKED;
	}
	weir__spin_unlock(e, &as->lock);
	if (!took) {
		weir__frames_free(e, f, 0);
		return 0;
	}
	if (locked)
		weir__frame_mlock_new(e, f);
	else
		weir__frame_add_lru(e, f);
	weir__stat_inc(e, STAT_pages_adopted);
	return 0;
}

int weir__adopt(struct engine *e, struct aspace *as, uint64_t start,
		const uint64_t *present, uint64_t nr, uint64_t *done)
{
	for (*done = 0; *done < nr; (*done)++) {
		uint64_t i = *done;
		uint64_t addr = start + (i << PAGE_SHIFT);
		int err;

		if (!(present[i / 64] >> i % 64 & 1))
			continue;
		err = weir__pte_alloc(as, addr, addr + PAGE_SIZE, GFP_KERNEL);
		if (!err)
			err = weir__anon_vma_prepare(as, addr);
		if (err == -ENOENT)
			continue; /* unmapped meanwhile */
		if (!err)
			err = adopt_one(e, as, addr);
		if (err)
			return err;
	}
	return 0;
}

struct next {
	uint64_t addr, pte;
	uint64_t want, not;
};

static int find_next(struct aspace *as, uint64_t addr, pte_t *pte, void *arg)
{
	struct next *n = arg;

	if (!(*pte & n->want) || (*pte & n->not))
		return 0;
	n->addr = addr;
	n->pte = *pte;
	return 1;
}

/* The next entry from start on with any of want's and none of not's bits. */
static bool next_entry(struct engine *e, struct aspace *as, uint64_t start,
		       uint64_t end, struct next *n)
{
	int found;

	weir__spin_lock(e, &as->lock);
	found = weir__pte_walk(as, start, end, find_next, n);
	weir__spin_unlock(e, &as->lock);
	return found;
}

int weir__populate(struct engine *e, struct aspace *as, uint64_t start,
		   uint64_t end)
{
	struct next n = {.want = PTE_SWAP | PTE_HINT};

	while (next_entry(e, as, start, end, &n)) {
		int err = weir__fault(e, as, n.addr, 0);

		if (err)
			return err;
		start = n.addr + PAGE_SIZE;
	}
	return 0;
}

/*
 * A clean page that is mapped again may still be on its way to its slot: the
 * write was started before the page came back, and nobody waits for it.
 *
 *   forget_clean                        write-back of the page to slot s
 *   ------------------------------      ------------------------------
 *                                       unlocks the page; the disk has it
 *   has the page lock; s has no count
 *   WRITEBACK: leaves s alone, so that
 *   no other page is written to it
 *   before this write has ended
 *   sets DIRTY
 *                                       ends; WRITEBACK gone
 *                                       next scan: DIRTY -> written again
 */
void weir__forget_clean(struct engine *e, struct aspace *as, uint64_t start,
			uint64_t end)
{
	struct next n = {.want = PTE_PRESENT,
			 .not = PTE_WRITE | PTE_HINT | PTE_BUSY};

	for (; next_entry(e, as, start, end, &n); start = n.addr + PAGE_SIZE) {
		struct frame *f = weir__frame(e, pte_pfn(n.pte));
		pte_t *pte;

		weir__frame_get(f);
		weir__frame_lock(e, f);
		if (frame_test(f, FRAME_SWAPCACHE) &&
		    !frame_test(f, FRAME_WRITEBACK) &&
		    weir__swap_count(e, f->private) == 0) {
			weir__swap_cache_del(e, f, 0);
			weir__page_put(e, f);
		}
		weir__frame_set(f, FRAME_DIRTY);
		weir__spin_lock(e, &as->lock);
		pte = weir__pte(as, n.addr);
		if (pte && *pte == n.pte)
			*pte |= PTE_WRITE | PTE_DIRTY;
		weir__spin_unlock(e, &as->lock);
		weir__frame_unlock(e, f);
		weir__page_put(e, f);
	}
}
