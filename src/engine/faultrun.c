/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "engine/alloc.h"
#include "engine/aspace.h"
#include "engine/batch.h"
#include "engine/check.h"
#include "engine/faultrun.h"
#include "engine/frame.h"
#include "engine/pgtable.h"
#include "engine/rmap.h"
#include "engine/swap.h"

#define AGAIN 1

void weir__faultrun_init(struct faultrun *run, struct engine *e,
			 struct aspace *as)
{
	run->e = e;
	run->as = as;
	run->nr = 0;
}

void weir__faultrun_add(struct faultrun *run, uint64_t addr, uint64_t old,
			struct frame *f, unsigned vec_flags)
{
	struct weir_vec *v = &run->vec[run->nr];

	v->addr = addr;
	v->pfn = weir__pfn(run->e, f);
	v->flags = (uint16_t)vec_flags;
	v->status = 0;
	run->old[run->nr++] = old;
}

static struct frame *run_frame(struct faultrun *run, unsigned i)
{
	return weir__frame(run->e, run->vec[i].pfn);
}

/*
 * Sets BUSY on the entries that still are what they were. Keeps only those
 * pages, in order; dropped[] gets the others. Pages kept.
 */
static unsigned claim(struct faultrun *run, struct frame **dropped,
		      unsigned *nr_dropped)
{
	struct aspace *as = run->as;
	unsigned kept = 0;
	struct region *r;

	*nr_dropped = 0;
	weir__spin_lock(run->e, &as->lock);
	r = weir__region_find(as, run->vec[0].addr);
	for (unsigned i = 0; i < run->nr; i++) {
		uint64_t addr = run->vec[i].addr;
		/* Without an anon_vma it is another region than the one this
		 * fault has prepared: unmapped and mapped again meanwhile. */
		pte_t *pte = r && r->anon_vma && addr < r->end
				     ? weir__pte(as, addr)
				     : NULL;
		bool first_gone = i > 0 && kept == 0;

		if (pte && *pte == run->old[i] && !first_gone) {
			pte_store(pte, run->old[i] | PTE_BUSY);
			run->vec[kept] = run->vec[i];
			run->old[kept++] = run->old[i];
		} else {
			dropped[(*nr_dropped)++] = run_frame(run, i);
		}
	}
	weir__spin_unlock(run->e, &as->lock);
	run->nr = kept;
	return kept;
}

static bool mapped(const struct weir_vec *v)
{
	/* Resident already, unknown to the books: the entry is right. */
	return v->status == 0 || v->status == -EEXIST;
}

/*
 * The region of the next page of a run. An entry that is BUSY keeps some region
 * around its address, but while the host was at work the one from which the run
 * was made may have been cut, and a part of it locked. => lock held
 */
static struct region *region_at(struct aspace *as, struct region *r,
				uint64_t addr)
{
	if (r && addr < r->end)
		return r;
	return weir__region_find(as, addr);
}

int weir__faultrun_map_new(struct faultrun *run)
{
	struct frame *dropped[WEIR_IO_PAGES_MAX];
	struct engine *e = run->e;
	struct aspace *as = run->as;
	unsigned nr_dropped, nr;
	struct region *r = NULL;

	/* Without a table for all of them the run is as long as its first
	 * table: claim() stops where there is none. */
	weir__pte_alloc(as, run->vec[0].addr,
			run->vec[run->nr - 1].addr + PAGE_SIZE, GFP_NOWAIT);
	nr = claim(run, dropped, &nr_dropped);
	for (unsigned i = 0; i < nr_dropped; i++)
		weir__frames_free(e, dropped[i], 0);
	if (!nr)
		return AGAIN;
	e->host->ops->map(e->host, as->host, run->vec, nr);

	weir__spin_lock(e, &as->lock);
	for (unsigned i = 0; i < nr; i++) {
		struct weir_vec *v = &run->vec[i];
		pte_t *pte = weir__pte(as, v->addr);

		if (!mapped(v)) {
			pte_store(pte, 0);
			continue;
		}
		r = region_at(as, r, v->addr);
		pte_store(pte, pte_mk(v->pfn, PTE_WRITE | PTE_DIRTY |
					      (i ? 0 : PTE_ACCESSED)));
		weir__page_add_new_anon_rmap(e, run_frame(run, i), r, v->addr);
		weir__frame_set(run_frame(run, i), FRAME_DIRTY);
		as->nr_anon++;
		weir__stat_inc(e, STAT_pgzerofill);
		/* Under the lock: the entry's reference is the only one, and
		 * without the lock a munmap may drop it. */
		if (r->flags & REGION_LOCKED)
			weir__frame_mlock_new(e, run_frame(run, i));
		else
			weir__frame_add_lru(e, run_frame(run, i));
	}
	weir__pte_busy_end(as);
	weir__spin_unlock(e, &as->lock);

	for (unsigned i = 0; i < nr; i++)
		if (!mapped(&run->vec[i]))
			weir__frames_free(e, run_frame(run, i), 0);
	return run->vec[0].status;
}

/* --- swapped pages ------------------------------------------------------- */

static int collect_one(struct aspace *as, uint64_t addr, pte_t *pte, void *arg)
{
	struct faultrun *run = arg;
	uint64_t v = *pte;

	if (run->nr == WEIR_IO_PAGES_MAX)
		return 1;
	if ((v & PTE_SWAP) && !(v & PTE_BUSY)) {
		run->vec[run->nr].addr = addr;
		run->old[run->nr++] = v;
	}
	return 0;
}

/* Ready: bound to the entry, read, nobody else at work on it. Never waits:
 * what is still being read gets its own fault. */
static struct frame *take_ready(struct engine *e, swp_entry_t s)
{
	struct frame *f = weir__swap_cache_get(e, s);

	if (!f)
		return NULL;
	if (frame_test(f, FRAME_UPTODATE) && weir__frame_trylock(f)) {
		if (frame_test(f, FRAME_SWAPCACHE) && f->private == s &&
		    frame_test(f, FRAME_UPTODATE))
			return f;
		weir__frame_unlock(e, f);
	}
	weir__page_put(e, f);
	return NULL;
}

void weir__faultrun_neighbours(struct faultrun *run, uint64_t start,
			       unsigned nr)
{
	uint64_t end = start + ((uint64_t)nr << PAGE_SHIFT);
	uint64_t from = run->vec[run->nr - 1].addr + PAGE_SIZE;
	/* A stream of writes: the neighbours will be written as well, and a
	 * trap for each would cost more than writing them out again. */
	unsigned flags = run->vec[0].flags & VEC_WRITE;
	unsigned first = run->nr, found;

	if (from >= end)
		return;
	weir__spin_lock(run->e, &run->as->lock);
	weir__pte_walk(run->as, from, end, collect_one, run);
	weir__spin_unlock(run->e, &run->as->lock);
	found = run->nr;
	run->nr = first;
	for (unsigned i = first; i < found; i++) {
		swp_entry_t s = pte_swap(run->old[i]);
		struct frame *f = take_ready(run->e, s);
		unsigned fl = flags;

		if (!f)
			continue;
		if (weir__page_mapcount(f) || weir__swap_count(run->e, s) != 1)
			fl = 0;
		weir__faultrun_add(run, run->vec[i].addr, run->old[i], f, fl);
	}
}

static void let_go(struct engine *e, struct frame *f)
{
	weir__frame_unlock(e, f);
	weir__page_put(e, f);
}

/* The last count on the slot is gone and the page is now written, or swap is
 * short of slots: the slot goes, the page is dirty. => page lock held */
static void settle_slot(struct engine *e, struct frame *f, bool write)
{
	bool free_slot = write || weir__vm_swap_full(e);

	if (free_slot && frame_test(f, FRAME_SWAPCACHE) &&
	    !frame_test(f, FRAME_WRITEBACK) &&
	    weir__swap_count(e, f->private) == 0) {
		weir__swap_cache_del(e, f, 0);
		weir__page_put(e, f);
		weir__frame_set(f, FRAME_DIRTY);
	} else if (write) {
		weir__frame_set(f, FRAME_DIRTY);
	}
}

int weir__faultrun_map_swapped(struct faultrun *run)
{
	struct frame *dropped[WEIR_IO_PAGES_MAX];
	struct engine *e = run->e;
	struct aspace *as = run->as;
	unsigned nr_dropped, nr;
	struct region *r = NULL;

	nr = claim(run, dropped, &nr_dropped);
	for (unsigned i = 0; i < nr_dropped; i++)
		let_go(e, dropped[i]);
	if (!nr)
		return AGAIN;
	e->host->ops->map(e->host, as->host, run->vec, nr);

	weir__spin_lock(e, &as->lock);
	for (unsigned i = 0; i < nr; i++) {
		struct weir_vec *v = &run->vec[i];
		struct frame *f = run_frame(run, i);
		uint64_t bits = i ? 0 : PTE_ACCESSED;

		if (!mapped(v)) {
			pte_store(weir__pte(as, v->addr), run->old[i]);
			continue;
		}
		r = region_at(as, r, v->addr);
		if (v->flags & VEC_WRITE)
			bits |= PTE_WRITE | PTE_DIRTY;
		weir__frame_get(f); /* the entry's reference */
		weir__page_add_anon_rmap(e, f, r, v->addr);
		pte_store(weir__pte(as, v->addr), pte_mk(v->pfn, bits));
		as->nr_anon++;
		as->nr_swapents--;
		weir__swap_free(e, pte_swap(run->old[i]));
		/* Under the lock: an munlock after it finds the mark. */
		if (r->flags & REGION_LOCKED)
			weir__frame_mlock(e, f);
	}
	weir__pte_busy_end(as);
	weir__spin_unlock(e, &as->lock);

	for (unsigned i = 0; i < nr; i++) {
		struct frame *f = run_frame(run, i);

		if (mapped(&run->vec[i])) {
			weir__frame_clear(f, FRAME_READAHEAD);
			settle_slot(e, f, run->vec[i].flags & VEC_WRITE);
		}
		let_go(e, f);
	}
	return run->vec[0].status;
}
