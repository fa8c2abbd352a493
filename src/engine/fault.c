/* SPDX-License-Identifier: MIT */
/*
 * Faults: the way in.
 *
 * A fault looks at the entry under the aspace lock, gets what it needs without
 * it (frame, page lock, I/O), looks again, sets BUSY, lets the host move the
 * page, and writes the entry. Whatever else wants the entry meanwhile waits
 * for BUSY; whatever wants the page waits for its lock. So every step has one
 * owner:
 *
 *   fault A (page at x)                 fault B (same x)
 *   ------------------------------      ------------------------------
 *   entry is SWAP(s)                    entry is SWAP(s)
 *   swap cache: none, makes a frame
 *   locked, binds it to s               swap cache: finds A's frame
 *   reads; end_read unlocks             waits for the page lock
 *   locks; entry still SWAP(s)
 *   BUSY; map; entry = PRESENT
 *   unlocks page                        locks; entry is PRESENT: done
 *
 *   fault                               eviction (pagelist.c)
 *   ------------------------------      ------------------------------
 *                                       locks page; BUSY; unmap; entry =
 *   the touch traps                     PRESENT|HINT, BUSY gone
 *   entry PRESENT|HINT -> frame
 *   takes a reference
 *   waits for the page lock             entry = SWAP(s), count of s is 1
 *                                       writes or drops; sees the fault's
 *                                       reference -> keeps the page
 *                                       unlocks page
 *   has the lock; entry is SWAP(s):
 *   looks again from the start, finds
 *   the frame in the swap cache
 *
 *   fault                               munmap, madvise (host event)
 *   ------------------------------      ------------------------------
 *   reads the slot                      entry = none, count of s drops
 *   looks again: not SWAP(s): lets go
 *     -- or --
 *   BUSY set first                      waits for BUSY
 *   map: the host knows of the event
 *   and says -EAGAIN, or the kernel
 *   dropped our page too
 *   entry back / PRESENT; BUSY gone     drops the entry
 */
#include <errno.h>

#include "engine/alloc.h"
#include "engine/aspace.h"
#include "engine/batch.h"
#include "engine/check.h"
#include "engine/fault.h"
#include "engine/fault_internal.h"
#include "engine/faultrun.h"
#include "engine/frame.h"
#include "engine/pgtable.h"
#include "engine/rmap.h"
#include "engine/swap.h"
#include "engine/swapin.h"
#include "engine/watermark.h"
#include "engine/workingset.h"

#include <string.h>

#define AGAIN FAULT_AGAIN

static pte_t *pte_same(struct aspace *as, uint64_t addr, uint64_t v)
{
	pte_t *pte = weir__pte(as, addr);

	return pte && *pte == v ? pte : NULL;
}

struct frame *weir__fault_claim(struct engine *e, struct aspace *as,
				uint64_t addr, uint64_t v)
{
	struct frame *f = weir__frame(e, pte_pfn(v));
	pte_t *pte;

	weir__frame_get(f); /* the entry's reference is still there */
	weir__spin_unlock(e, &as->lock);
	weir__frame_lock(e, f);
	weir__spin_lock(e, &as->lock);
	pte = pte_same(as, addr, v);
	if (pte)
		pte_store(pte, v | PTE_BUSY);
	weir__spin_unlock(e, &as->lock);
	if (pte)
		return f;
	weir__frame_unlock(e, f);
	weir__page_put(e, f);
	return NULL;
}

void weir__fault_finish(struct engine *e, struct aspace *as, uint64_t addr,
			uint64_t v)
{
	weir__spin_lock(e, &as->lock);
	pte_store(weir__pte(as, addr), v);
	weir__pte_busy_end(as);
	weir__spin_unlock(e, &as->lock);
}

static int map_one(struct engine *e, struct aspace *as, uint64_t addr,
		   struct frame *f, unsigned flags)
{
	struct weir_vec v = {.addr = addr,
			     .pfn = weir__pfn(e, f),
			     .flags = (uint16_t)flags};

	e->host->ops->map(e->host, as->host, &v, 1);
	return v.status;
}

/*
 * The page is about to be written by the one address space that has it: its
 * slot will be stale. While an earlier write of the page is under way the slot
 * must not be given to anybody else (two writes to one slot, in any order), so
 * then the page stays bound and dirty.
 *
 *   this fault                          write-back
 *   ------------------------------      ------------------------------
 *   sees WRITEBACK: sets DIRTY          writing the old contents
 *   maps writable                       ends; WRITEBACK gone
 *                                       next scan: DIRTY -> written again
 */
static void make_dirty(struct engine *e, struct frame *f)
{
	if (frame_test(f, FRAME_SWAPCACHE) && !frame_test(f, FRAME_WRITEBACK) &&
	    weir__swap_count(e, f->private) == 0) {
		weir__swap_cache_del(e, f, 0);
		weir__page_put(e, f); /* the cache's reference */
	}
	weir__frame_set(f, FRAME_DIRTY);
}

/* Nobody else maps it or holds a swap count on it. => page lock held */
static bool sole_owner(struct engine *e, struct frame *f)
{
	if (weir__page_mapcount(f) > 1)
		return false;
	return !frame_test(f, FRAME_SWAPCACHE) ||
	       weir__swap_count(e, f->private) == 0;
}

/*
 * A page that is read is mapped so that the first write to it shows: only then
 * may its slot go stale. Where that costs a trap as dear as the fault itself,
 * and most pages of the region that are read are written next (counters, heaps
 * of languages that count references), the trap is not worth the slot: the page
 * is mapped for writing at once. Every WRITE_PROBE-th is not, to see whether
 * that is still so. A write that trapped raises the bias, a page that left
 * unwritten (pageage.c) lowers it.
 */
#define WRITE_LIKELY (WRITE_BIAS_MAX / 2 + 1)
#define WRITE_PROBE  16

/* => aspace lock held */
static bool likely_written(struct engine *e, struct region *r)
{
	if (e->host->ops->has_accessed_bit || r->file ||
	    r->write_bias < WRITE_LIKELY)
		return false;
	return ++r->write_probe % WRITE_PROBE != 0;
}

static void note_written(struct region *r)
{
	if (r->write_bias < WRITE_BIAS_MAX)
		r->write_bias++;
}

/* --- first touch -------------------------------------------------------- */

/* Pages to fill from addr on: one, or a doubling run of a stream. */
static unsigned zero_run(struct engine *e, struct aspace *as, struct region *r,
			 uint64_t addr)
{
	uint64_t left = (r->end - addr) >> PAGE_SHIFT;
	uint64_t nr = 1;

	if (addr == r->zf.next && r->zf.win && !(r->flags & REGION_RAND))
		nr = (uint64_t)r->zf.win * 2;
	if (nr > e->tun.zero_run_max)
		nr = e->tun.zero_run_max;
	if (nr > e->nr_frames / 256 + 1)
		nr = e->nr_frames / 256 + 1;
	if (nr > left)
		nr = left;
	r->zf.win = (uint32_t)nr;
	r->zf.next = addr + (nr << PAGE_SHIFT);
	return (unsigned)nr;
}

static int fault_zero(struct engine *e, struct aspace *as, uint64_t addr,
		      unsigned nr)
{
	struct faultrun run;
	int err;

	err = weir__anon_vma_prepare(as, addr);
	if (err)
		return err == -ENOENT ? AGAIN : err;
	weir__faultrun_init(&run, e, as);
	for (unsigned i = 0; i < nr; i++) {
		gfp_t gfp = i ? (GFP_MOVABLE | GFP_NOWAIT | GFP_NORETRY)
			      : GFP_HIGHUSER_MOVABLE;
		struct frame *f = weir__frames_alloc(e, gfp, 0);

		if (!f)
			break;
		weir__frame_set(f, FRAME_SWAPBACKED | FRAME_UPTODATE);
		weir__faultrun_add(&run, addr + ((uint64_t)i << PAGE_SHIFT), 0,
				   f, VEC_ZERO | VEC_WRITE);
	}
	if (!run.nr)
		return -ENOMEM;
	weir__stat_inc(e, STAT_pgzerofault);
	return weir__faultrun_map_new(&run);
}

/* --- still in its frame --------------------------------------------------- */

/*
 * The answer to the question that unmapping asked: the page is in use. It
 * counts as the reference and activates the page. => lock held, dropped
 */
static int fault_soft(struct engine *e, struct aspace *as, uint64_t addr,
		      uint64_t v, bool write)
{
	struct frame *f = weir__fault_claim(e, as, addr, v);
	bool dirty;
	int err;

	if (!f)
		return AGAIN;
	if (write && !(v & PTE_WRITE) && !sole_owner(e, f))
		write = false; /* the write traps again, and copies */
	if (write)
		make_dirty(e, f);
	dirty = write || (v & PTE_WRITE);
	err = map_one(e, as, addr, f, VEC_SOFT | (dirty ? VEC_WRITE : 0));
	if (err == -EEXIST)
		err = 0;
	if (err == 0) {
		v = (v & ~(PTE_HINT | PTE_BUSY)) | PTE_ACCESSED;
		if (dirty)
			v |= PTE_WRITE | PTE_DIRTY;
		weir__stat_inc(e, STAT_pgsoftfault);
	}
	weir__fault_finish(e, as, addr, v);
	weir__frame_unlock(e, f);
	if (err == 0 && !frame_test(f, FRAME_ACTIVE | FRAME_UNEVICTABLE)) {
		weir__frame_activate(e, f);
		weir__workingset_activation(e, f);
	}
	weir__page_put(e, f);
	return err;
}

/* --- first write to a page mapped clean ----------------------------------- */

int weir__fault_copy(struct engine *e, struct aspace *as, uint64_t addr,
		     uint64_t v)
{
	struct frame *old = weir__frame(e, pte_pfn(v)), *f;
	struct region *r;
	void *from, *to;
	int err;

	/* => old is locked and referenced, the entry not BUSY */
	f = weir__frames_alloc(e, GFP_HIGHUSER_MOVABLE, 0);
	if (!f)
		return -ENOMEM;
	from = e->host->ops->contents(e->host, weir__pfn(e, old));
	to = e->host->ops->contents(e->host, weir__pfn(e, f));
	if (from && to)
		memcpy(to, from, PAGE_SIZE);
	weir__frame_set(f, FRAME_SWAPBACKED | FRAME_UPTODATE);

	weir__spin_lock(e, &as->lock);
	r = weir__region_find(as, addr);
	if (!r || !r->anon_vma || !pte_same(as, addr, v)) {
		weir__spin_unlock(e, &as->lock);
		weir__frames_free(e, f, 0);
		return AGAIN;
	}
	pte_store(weir__pte(as, addr), v | PTE_BUSY);
	weir__spin_unlock(e, &as->lock);
	err = map_one(e, as, addr, f, VEC_WRITE);
	weir__spin_lock(e, &as->lock);
	if (err == 0) {
		r = weir__region_find(as, addr);
		--*weir__entry_count(as, old);
		as->nr_anon++;
		weir__page_remove_rmap(e, old);
		weir__page_add_new_anon_rmap(e, f, r, addr);
		v = pte_mk(weir__pfn(e, f),
			   PTE_WRITE | PTE_DIRTY | PTE_ACCESSED);
		/* under the lock, as in weir__faultrun_map_new */
		if (r->flags & REGION_LOCKED) {
			if (frame_test(old, FRAME_MLOCKED))
				weir__frame_munlock(e, old);
			weir__frame_mlock_new(e, f);
		} else {
			weir__frame_add_lru(e, f);
		}
	}
	pte_store(weir__pte(as, addr), v);
	weir__pte_busy_end(as);
	weir__spin_unlock(e, &as->lock);
	if (err) {
		weir__frames_free(e, f, 0);
		return err;
	}
	weir__page_put(e, old); /* the entry's reference */
	weir__stat_inc(e, STAT_pgcow);
	return 0;
}

/* => aspace lock held, dropped */
static int fault_wp(struct engine *e, struct aspace *as, uint64_t addr,
		    uint64_t v)
{
	struct weir_vec vec = {.addr = addr, .flags = VEC_WRITE};
	struct frame *f = weir__fault_claim(e, as, addr, v);
	int err;

	if (!f)
		return AGAIN;
	weir__stat_inc(e, STAT_pgwpfault);
	if (!sole_owner(e, f)) {
		weir__fault_finish(e, as, addr, v);
		err = weir__fault_copy(e, as, addr, v);
		weir__frame_unlock(e, f);
		weir__page_put(e, f);
		return err;
	}
	make_dirty(e, f);
	vec.pfn = weir__pfn(e, f);
	e->host->ops->protect(e->host, as->host, &vec, 1);
	err = vec.status;
	if (err == 0) {
		v |= PTE_WRITE | PTE_DIRTY | PTE_ACCESSED;
		weir__stat_inc(e, STAT_pgreuse);
	}
	weir__fault_finish(e, as, addr, v);
	weir__frame_unlock(e, f);
	weir__page_put(e, f);
	return err;
}

/* --- a trap on a page that the books call mapped --------------------------- */

/*
 * Two threads touched one page and the other one's fault was served first; or
 * the page went away without our knowledge. Mapping zeros tells which: the
 * first gives -EEXIST. => aspace lock held, dropped
 */
static int fault_present(struct engine *e, struct aspace *as, uint64_t addr,
			 uint64_t v)
{
	struct frame *f;
	int err;

	if (e->host->ops->has_accessed_bit) {
		weir__spin_unlock(e, &as->lock);
		return 0;
	}
	f = weir__fault_claim(e, as, addr, v);
	if (!f)
		return AGAIN;
	err = map_one(e, as, addr, f, VEC_ZERO | VEC_WRITE);
	if (err == 0) {
		make_dirty(e, f);
		v |= PTE_WRITE | PTE_DIRTY | PTE_ACCESSED;
	} else if (err == -EEXIST) {
		err = 0;
	}
	weir__fault_finish(e, as, addr, v);
	weir__frame_unlock(e, f);
	weir__page_put(e, f);
	if (err == 0)
		e->host->ops->wake(e->host, as->host, addr);
	return err;
}

/* --- in a slot ---------------------------------------------------------- */

/* The slot's page could not be read: every touch is an error from now on. */
static int lose_page(struct engine *e, struct aspace *as, uint64_t addr,
		     uint64_t v)
{
	pte_t *pte;
	int err;

	weir__spin_lock(e, &as->lock);
	pte = pte_same(as, addr, v);
	if (pte)
		pte_store(pte, v | PTE_BUSY);
	weir__spin_unlock(e, &as->lock);
	if (!pte)
		return AGAIN;
	err = e->host->ops->poison(e->host, as->host, addr);
	weir__fault_finish(e, as, addr, err ? v : PTE_POISON);
	if (err)
		return err;
	as->nr_swapents--;
	weir__swap_free(e, pte_swap(v));
	return -EIO;
}

static int fault_swap(struct engine *e, struct aspace *as, uint64_t addr,
		      uint64_t v, bool write, bool cached,
		      const struct swapin_window *w)
{
	swp_entry_t s = pte_swap(v);
	struct frame *f = cached ? weir__swap_cache_get(e, s) : NULL;
	struct faultrun run;
	int err = 0;

	if (!f || w->nr > 1 || w->slots > 1) {
		if (f)
			weir__page_put(e, f);
		f = weir__swapin(e, as, addr, s, w, &err);
		if (!f)
			return err == -EAGAIN ? AGAIN : err;
	}
	weir__frame_lock(e, f);
	if (!frame_test(f, FRAME_SWAPCACHE) || f->private != s) {
		err = AGAIN; /* reclaimed, or another page by now */
		goto out;
	}
	if (!frame_test(f, FRAME_UPTODATE)) {
		err = lose_page(e, as, addr, v);
		goto out;
	}
	/* What it was read from takes memory that the page itself could have:
	 * it goes, and the page is the only copy, as if written. */
	write |= weir__frame_clear(f, FRAME_UNPACKED);
	if (write && (weir__page_mapcount(f) || weir__swap_count(e, s) != 1))
		write = false; /* shared: the write traps again, and copies */
	weir__faultrun_init(&run, e, as);
	weir__faultrun_add(&run, addr, v, f, write ? VEC_WRITE : 0);
	/* Pages that only may be wanted stay out of place: that they were shows
	 * as a hit, and hits make the window. A stream has shown it already. */
	if (!e->host->ops->has_accessed_bit && w->stream)
		weir__faultrun_neighbours(&run, w->start, w->nr);
	return weir__faultrun_map_swapped(&run);
out:
	weir__frame_unlock(e, f);
	weir__page_put(e, f);
	return err;
}

/* Is it in memory already? A read-ahead page that is wanted earns its window.
 * => lock held */
static bool in_swap_cache(struct engine *e, struct region *r, swp_entry_t s)
{
	struct frame *f = weir__swap_cache_get(e, s);

	if (!f)
		return false;
	if (weir__frame_clear(f, FRAME_READAHEAD)) {
		r->ra.hits++;
		weir__stat_inc(e, STAT_swap_ra_hit);
	}
	/* Never the last reference: the entry's swap count keeps the slot, and
	 * reclaim cannot freeze a page that we hold. */
	weir__bug_on(e, weir__frame_put_testzero(f));
	return true;
}

/* --- one look at the entry ---------------------------------------------- */

static int fault_once(struct engine *e, struct aspace *as, uint64_t addr,
		      unsigned flags)
{
	bool write = flags & (FAULT_WRITE | FAULT_WP);
	struct swapin_window w;
	struct region *r;
	pte_t *pte;
	uint64_t v;
	unsigned nr;

	weir__spin_lock(e, &as->lock);
	r = weir__region_find(as, addr);
	if (!r || as->flags & ASPACE_UNSTABLE) {
		weir__spin_unlock(e, &as->lock);
		return -EFAULT;
	}
	pte = weir__pte(as, addr);
	if (!pte) {
		weir__spin_unlock(e, &as->lock);
		return weir__pte_alloc(as, addr, addr + PAGE_SIZE, GFP_KERNEL)
			       ? -ENOMEM
			       : AGAIN;
	}
	v = *pte;
	if (v & PTE_BUSY) {
		weir__pte_busy_wait(as);
		weir__spin_unlock(e, &as->lock);
		return AGAIN;
	}
	if (v == 0 && r->file)
		return weir__fault_file(e, as, r, addr, write);
	if (v == 0) {
		nr = zero_run(e, as, r, addr);
		weir__spin_unlock(e, &as->lock);
		return fault_zero(e, as, addr, nr);
	}
	if (v & PTE_POISON) {
		weir__spin_unlock(e, &as->lock);
		e->host->ops->poison(e->host, as->host, addr);
		return -EIO;
	}
	if (v & PTE_SWAP) {
		bool cached = in_swap_cache(e, r, pte_swap(v));

		write = write || likely_written(e, r);
		if (!weir__swapin_window_linux(e, r, addr, pte_swap(v), cached,
					       &w))
			weir__swapin_window(e, r, addr, cached, &w);
		weir__spin_unlock(e, &as->lock);
		return fault_swap(e, as, addr, v, write, cached, &w);
	}
	if (v & PTE_HINT)
		return fault_soft(e, as, addr, v,
				  write || likely_written(e, r));
	/* A trap on a write that the books allow: the machine remembers a
	 * protection that we do not (a page that was moved while it was being
	 * booked). Lifting it again is all there is to do. */
	if (write && (!(v & PTE_WRITE) || flags & FAULT_WP)) {
		if (r->file && !weir__frame_anon_vma(weir__frame(e, pte_pfn(v))))
			return weir__fault_file_write(e, as, r, addr, v);
		note_written(r);
		return fault_wp(e, as, addr, v);
	}
	return fault_present(e, as, addr, v);
}

int weir__fault(struct engine *e, struct aspace *as, uint64_t addr,
		unsigned flags)
{
	uint64_t start = e->host->ops->now_ns(e->host);
	int ret;

	addr &= PAGE_MASK;
	weir__stat_inc(e, STAT_pgfault);
	weir__assert_may_sleep(e);
	do {
		ret = fault_once(e, as, addr, flags);
	} while (ret == AGAIN);
	if (ret == -EEXIST) {
		e->host->ops->wake(e->host, as->host, addr);
		ret = 0;
	}
	weir__stat_add(e, STAT_fault_ns,
		       (int64_t)(e->host->ops->now_ns(e->host) - start));
	return ret;
}
