/* SPDX-License-Identifier: MIT */
/*
 * Taking entries and regions away: MADV_DONTNEED and munmap.
 *
 * The order of an unmap is entries first, region after, and the region only
 * once a look under the lock finds it empty. Whoever holds BUSY on an entry
 * can therefore count on a region around it until he lets go:
 *
 *   fault                              munmap
 *   sets BUSY, drops the lock
 *                                      zap: BUSY, waits
 *   host.map() ... -ENOENT
 *   lock: entry and region are there
 *   entry none again, BUSY off, wakes
 *                                      nothing left: region goes
 */
#include <errno.h>

#include "engine/batch.h"
#include "engine/check.h"
#include "engine/file.h"
#include "engine/frame.h"
#include "engine/pgtable.h"
#include "engine/region.h"
#include "engine/swap.h"

#define ZAP_BATCH 64

/* What one go of the lock took out of the page table. */
struct zap {
	struct region *region; /* of the last entry, while locked */
	struct mapping *only;  /* not NULL: entries of this file's regions */
	uint64_t first;	       /* ... from this page on */
	uint64_t addr;	       /* where the walk stopped */
	bool busy;	       /* ... because of a BUSY entry */
	unsigned nr_frames, nr_slots;
	struct frame *frame[ZAP_BATCH];
	swp_entry_t slot[ZAP_BATCH];
};

static void find_region(struct aspace *as, struct zap *z, uint64_t addr)
{
	if (!z->region || addr < z->region->start || addr >= z->region->end)
		z->region = weir__region_find(as, addr);
}

/* What the entry knows of the page's use goes to the page. An anonymous page
 * has nobody left to tell. The entry still maps it: its mapping stands. */
static void zap_file_page(struct engine *e, const struct region *r,
			  struct frame *f, uint64_t v)
{
	if (v & PTE_DIRTY)
		weir__page_dirty(e, f);
	if (v & PTE_ACCESSED && !(r->flags & (REGION_SEQ | REGION_RAND)))
		weir__frame_mark_accessed(e, f);
}

static void zap_present(struct aspace *as, struct zap *z, uint64_t addr,
			pte_t *pte)
{
	struct engine *e = as->engine;
	uint64_t v = pte_xchg(pte, 0);
	struct frame *f = weir__frame(e, pte_pfn(v));

	find_region(as, z, addr);
	weir__bug_on(e, !z->region);
	if (z->region->flags & REGION_LOCKED && frame_test(f, FRAME_MLOCKED))
		weir__frame_munlock(e, f);
	if (!weir__frame_anon_vma(f))
		zap_file_page(e, z->region, f, v);
	--*weir__entry_count(as, f);
	weir__page_remove_rmap(e, f);
	z->frame[z->nr_frames++] = f;
}

static int zap_entry(struct aspace *as, uint64_t addr, pte_t *pte, void *arg)
{
	struct zap *z = arg;
	uint64_t v = pte_load(pte);

	z->addr = addr;
	if (z->only) {
		find_region(as, z, addr);
		if (!z->region || !z->region->file ||
		    z->region->file->mapping != z->only ||
		    region_index(z->region, addr) < z->first)
			return 0;
	}
	z->busy = v & PTE_BUSY;
	if (z->busy || z->nr_frames == ZAP_BATCH || z->nr_slots == ZAP_BATCH)
		return 1;
	if (v & PTE_PRESENT) {
		zap_present(as, z, addr, pte);
		return 0;
	}
	pte_store(pte, 0);
	if (v & PTE_SWAP) {
		as->nr_swapents--;
		weir__swap_free(as->engine, pte_swap(v));
		z->slot[z->nr_slots++] = pte_swap(v);
	}
	return 0;
}

/*
 * A page that only the swap cache still holds is dead weight in memory and in
 * the swap area. Reclaim would find it in time; when the page can be had at
 * once, it goes now.
 */
static void drop_swap_cache(struct engine *e, struct frame *f)
{
	bool gone = false;

	if (!frame_test(f, FRAME_SWAPCACHE) || weir__frame_mapped(f) ||
	    !weir__frame_trylock(f))
		return;
	if (frame_test(f, FRAME_SWAPCACHE) && !weir__frame_mapped(f) &&
	    !frame_test(f, FRAME_WRITEBACK) &&
	    !weir__swap_count(e, f->private)) {
		weir__swap_cache_del(e, f, 0);
		gone = true;
	}
	weir__frame_unlock(e, f);
	if (gone)
		weir__page_put(e, f); /* the cache's reference */
}

/* => no spinlock held */
static void zap_flush(struct engine *e, struct zap *z)
{
	for (unsigned i = 0; i < z->nr_frames; i++)
		drop_swap_cache(e, z->frame[i]);
	if (z->nr_frames)
		weir__pages_put(e, z->frame, z->nr_frames);
	for (unsigned i = 0; i < z->nr_slots; i++) {
		struct frame *f = weir__swap_cache_get(e, z->slot[i]);

		if (!f)
			continue;
		drop_swap_cache(e, f);
		weir__page_put(e, f);
	}
	z->nr_frames = 0;
	z->nr_slots = 0;
}

static void zap_range(struct aspace *as, struct zap *z, uint64_t start,
		      uint64_t end)
{
	struct engine *e = as->engine;

	z->addr = start;
	weir__spin_lock(e, &as->lock);
	while (weir__pte_walk(as, z->addr, end, zap_entry, z)) {
		if (z->nr_frames || z->nr_slots) {
			/* Also before a sleep: a page we still hold cannot be
			 * reclaimed by the one we would wait for. */
			weir__spin_unlock(e, &as->lock);
			zap_flush(e, z);
			weir__spin_lock(e, &as->lock);
		} else if (z->busy) {
			weir__pte_busy_wait(as);
		}
		z->region = NULL;
	}
	weir__spin_unlock(e, &as->lock);
	zap_flush(e, z);
	weir__pgtable_trim(as, start, end);
}

int weir__aspace_zap(struct aspace *as, uint64_t start, uint64_t end)
{
	struct zap z = {.nr_frames = 0};
	int ret = weir__range_check(start, end);

	if (!ret)
		zap_range(as, &z, start, end);
	return ret;
}

void weir__aspace_zap_file(struct aspace *as, uint64_t start, uint64_t end,
			   struct mapping *m, uint64_t first)
{
	struct zap z = {.only = m, .first = first};

	zap_range(as, &z, start, end);
}

/* [lo, hi) has no entries: r loses it. => both locks held */
static void region_cut(struct region *r, uint64_t lo, uint64_t hi,
		       struct region_room *m)
{
	if (lo == r->start && hi == r->end) {
		weir__region_drop(r);
	} else if (lo == r->start) {
		weir__region_resize(r, hi, r->end);
	} else if (hi == r->end) {
		weir__region_resize(r, r->start, lo);
	} else {
		weir__region_split(r, hi, m);
		weir__region_resize(r, r->start, lo);
	}
}

int weir__aspace_unmap(struct aspace *as, uint64_t start, uint64_t end)
{
	struct engine *e = as->engine;
	struct region_room m;
	struct region *r;
	int ret = weir__range_check(start, end);

	if (ret)
		return ret;
	weir__region_room_init(&m);
	weir__regions_lock(as);
	while (start < end && (r = weir__region_first(as, start, end))) {
		uint64_t lo = r->start > start ? r->start : start;
		uint64_t hi = r->end < end ? r->end : end;
		bool hole = lo > r->start && hi < r->end;
		unsigned links = weir__anon_vma_links(r);

		/* A hole is the only case that needs memory, and then it is
		 * the whole range: it fails before anything is dropped. */
		if (hole && !weir__region_room_fits(&m, 1, links)) {
			weir__regions_unlock(as);
			ret = weir__region_room_fill(e, &m, 1, links);
			if (ret)
				goto out;
			weir__regions_lock(as);
			continue;
		}
		if (weir__range_has_entries(as, lo, hi)) {
			weir__regions_unlock(as);
			weir__aspace_zap(as, lo, hi);
			weir__regions_lock(as);
			continue;
		}
		region_cut(r, lo, hi, &m);
		start = hi;
	}
	weir__regions_unlock(as);
out:
	weir__region_room_drain(e, &m);
	weir__mappings_reap(e); /* of files that this was the last use of */
	return ret;
}
