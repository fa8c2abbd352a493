/* SPDX-License-Identifier: MIT */
/*
 * Regions: room, split, merge, and the operations that only change regions
 * (add, grow, flags, mlock).
 */
#include "engine/region.h"

#include <errno.h>
#include <string.h>

#include "engine/batch.h"
#include "engine/check.h"
#include "engine/file.h"
#include "engine/frame.h"
#include "engine/pgtable.h"
#include "engine/slab.h"

/* --- room ----------------------------------------------------------------- */

void weir__region_room_init(struct region_room *m)
{
	m->nr = 0;
	weir__anon_room_init(&m->anon);
}

bool weir__region_room_fits(const struct region_room *m, unsigned nr,
			    unsigned links)
{
	return m->nr >= nr && m->anon.nr >= nr * links;
}

int weir__region_room_fill(struct engine *e, struct region_room *m, unsigned nr,
			   unsigned links)
{
	weir__assert_may_sleep(e);
	while (m->nr < nr) {
		struct region *r = weir__slab_alloc(e, weir__cache_region(e),
						    GFP_KERNEL);

		if (!r)
			return -ENOMEM;
		m->region[m->nr++] = r;
	}
	return weir__anon_room_fill(e, &m->anon, nr * links, false);
}

void weir__region_room_drain(struct engine *e, struct region_room *m)
{
	while (m->nr)
		weir__slab_free(e, weir__cache_region(e), m->region[--m->nr]);
	weir__anon_room_drain(e, &m->anon);
}

/* --- locks and ranges ----------------------------------------------------- */

void weir__regions_lock(struct aspace *as)
{
	weir__spin_lock(as->engine, &as->engine->rmap_lock);
	weir__spin_lock(as->engine, &as->lock);
}

void weir__regions_unlock(struct aspace *as)
{
	weir__spin_unlock(as->engine, &as->lock);
	weir__spin_unlock(as->engine, &as->engine->rmap_lock);
}

int weir__range_check(uint64_t start, uint64_t end)
{
	if ((start | end) & ~PAGE_MASK || start >= end || end > WEIR_ADDR_MAX)
		return -EINVAL;
	return 0;
}

/* --- files -------------------------------------------------------------- */

static void file_attach(struct region *r)
{
	if (!r->file)
		return;
	r->shared.start = r->pgoff;
	r->shared.last = region_index(r, r->end) - 1;
	itree_insert(&r->file->mapping->i_mmap, &r->shared);
}

static void file_detach(struct region *r)
{
	if (r->file)
		itree_remove(&r->file->mapping->i_mmap, &r->shared);
}

void weir__region_set_file(struct region *r, struct file *f)
{
	weir__spin_assert_held(r->as->engine, &r->as->engine->rmap_lock);
	weir__file_get(f);
	r->file = f;
	file_attach(r);
}

/* --- steps ---------------------------------------------------------------- */

static int64_t region_pages(const struct region *r)
{
	return (int64_t)((r->end - r->start) >> PAGE_SHIFT);
}

static void count_locked(struct region *r, int sign)
{
	if (r->flags & REGION_LOCKED)
		r->as->nr_locked += sign * region_pages(r);
}

struct region *weir__region_first(struct aspace *as, uint64_t start,
				  uint64_t end)
{
	struct itree_node *n = itree_first(&as->regions, start >> PAGE_SHIFT,
					   (end - 1) >> PAGE_SHIFT);

	return n ? container_of(n, struct region, node) : NULL;
}

struct region *weir__region_find(struct aspace *as, uint64_t addr)
{
	return weir__region_first(as, addr, (addr | ~PAGE_MASK) + 1);
}

struct region *weir__region_new(struct aspace *as, struct region_room *m,
				uint64_t start, uint64_t end, uint32_t flags)
{
	struct region *r;

	weir__bug_on(as->engine, !m->nr);
	r = m->region[--m->nr];
	memset(r, 0, sizeof(*r));
	r->as = as;
	r->start = start;
	r->end = end;
	r->pgoff = start >> PAGE_SHIFT;
	r->flags = flags;
	list_init(&r->avc_chain);
	return r;
}

void weir__region_insert(struct region *r)
{
	r->node.start = r->start >> PAGE_SHIFT;
	r->node.last = (r->end - 1) >> PAGE_SHIFT;
	itree_insert(&r->as->regions, &r->node);
	count_locked(r, 1);
}

void weir__region_drop(struct region *r)
{
	struct engine *e = r->as->engine;

	count_locked(r, -1);
	itree_remove(&r->as->regions, &r->node);
	weir__anon_vma_unlink(e, r);
	file_detach(r);
	if (r->file)
		weir__file_put_later(r->file);
	weir__slab_free(e, weir__cache_region(e), r);
}

void weir__region_resize(struct region *r, uint64_t start, uint64_t end)
{
	count_locked(r, -1);
	weir__anon_vma_detach(r);
	file_detach(r);
	itree_remove(&r->as->regions, &r->node);
	if (r->anon_vma || r->file)
		r->pgoff += (start >> PAGE_SHIFT) - (r->start >> PAGE_SHIFT);
	else
		r->pgoff = start >> PAGE_SHIFT;
	r->start = start;
	r->end = end;
	weir__anon_vma_attach(r);
	file_attach(r);
	weir__region_insert(r);
}

struct region *weir__region_split(struct region *r, uint64_t addr,
				  struct region_room *m)
{
	struct region *upper =
		weir__region_new(r->as, m, addr, r->end, r->flags);

	weir__bug_on(r->as->engine, addr <= r->start || addr >= r->end);
	upper->pgoff = region_index(r, addr);
	upper->ra = r->ra;
	upper->zf = r->zf;
	weir__region_resize(r, r->start, addr);
	weir__region_insert(upper);
	weir__anon_vma_clone(upper, r, &m->anon);
	if (r->file)
		weir__region_set_file(upper, r->file);
	return upper;
}

/*
 * Neighbours that could be one region. One without an anon_vma has no pages,
 * so its indices can be counted from anywhere, as long as they do not run
 * below zero. Of a file they are fixed: both must be parts that follow each
 * other.
 */
static bool mergeable(const struct region *a, const struct region *b)
{
	if (a->end != b->start || a->flags != b->flags || a->file != b->file)
		return false;
	if (a->file && b->pgoff != region_index(a, a->end))
		return false;
	if (!b->anon_vma)
		return true;
	if (!a->anon_vma)
		return a->file || b->pgoff >= (uint64_t)region_pages(a);
	return b->pgoff == region_index(a, a->end) && weir__anon_vma_same(a, b);
}

static struct region *join(struct region *a, struct region *b)
{
	struct region *keep = b->anon_vma && !a->anon_vma ? b : a;
	uint64_t start = a->start, end = b->end;

	weir__region_drop(keep == a ? b : a);
	weir__region_resize(keep, start, end);
	return keep;
}

struct region *weir__region_merge(struct region *r)
{
	struct itree_node *n = itree_pred(&r->node);
	struct region *o;

	if (n) {
		o = container_of(n, struct region, node);
		if (mergeable(o, r))
			r = join(o, r);
	}
	n = itree_succ(&r->node);
	if (n) {
		o = container_of(n, struct region, node);
		if (mergeable(r, o))
			r = join(r, o);
	}
	return r;
}

static int any_entry(struct aspace *as, uint64_t addr, pte_t *pte, void *arg)
{
	return 1;
}

bool weir__range_has_entries(struct aspace *as, uint64_t start, uint64_t end)
{
	return weir__pte_walk(as, start, end, any_entry, NULL);
}

/* --- operations ----------------------------------------------------------- */

static int region_add(struct aspace *as, uint64_t start, uint64_t end,
		      uint32_t flags, struct file *f, uint64_t pgoff)
{
	struct engine *e = as->engine;
	struct region_room m;
	int ret = weir__range_check(start, end);

	if (ret)
		return ret;
	weir__region_room_init(&m);
	ret = weir__region_room_fill(e, &m, 1, 0);
	if (ret)
		goto out;
	weir__regions_lock(as);
	if (weir__region_first(as, start, end)) {
		ret = -EEXIST;
	} else {
		struct region *r = weir__region_new(as, &m, start, end, flags);

		weir__region_insert(r);
		if (f) {
			r->pgoff = pgoff;
			weir__region_set_file(r, f);
		}
		weir__region_merge(r);
	}
	weir__regions_unlock(as);
out:
	weir__region_room_drain(e, &m);
	return ret;
}

int weir__region_add(struct aspace *as, uint64_t start, uint64_t end,
		     uint32_t flags)
{
	if (flags & REGION_SHARED)
		return -EINVAL; /* anonymous shared memory is a file too */
	return region_add(as, start, end, flags, NULL, 0);
}

int weir__region_add_file(struct aspace *as, uint64_t start, uint64_t end,
			  uint32_t flags, struct file *f, uint64_t pgoff)
{
	if (!as->engine->host->ops->has_accessed_bit)
		return -EOPNOTSUPP;
	return region_add(as, start, end, flags, f, pgoff);
}

int weir__region_grow(struct aspace *as, uint64_t start, uint64_t end)
{
	struct region *r;
	int ret = weir__range_check(start, end);

	if (ret)
		return ret;
	weir__regions_lock(as);
	r = start ? weir__region_find(as, start - PAGE_SIZE) : NULL;
	if (!r || r->end < start) {
		ret = -ENOENT;
	} else if (weir__region_first(as, start, end)) {
		ret = -EEXIST;
	} else {
		weir__region_resize(r, r->start, end);
		weir__region_merge(r);
	}
	weir__regions_unlock(as);
	return ret;
}

/*
 * The flag changes and the pages follow in one go of the lock, so a fault
 * either came before (its page is found here) or reads the new flag: each page
 * is locked exactly once. The price is a long go for a large mlock; batches
 * are a few tens of nanoseconds a page.
 */
static int mlock_entry(struct aspace *as, uint64_t addr, pte_t *pte, void *arg)
{
	struct engine *e = as->engine;
	uint64_t v = pte_load(pte);

	if (v & PTE_PRESENT)
		weir__frame_mlock(e, weir__frame(e, pte_pfn(v)));
	return 0;
}

/* Pages of locked regions may be unmarked: reclaim corrects that when it meets
 * one, so a missing mark is no error here. */
static int munlock_entry(struct aspace *as, uint64_t addr, pte_t *pte,
			 void *arg)
{
	struct engine *e = as->engine;
	uint64_t v = pte_load(pte);

	if (v & PTE_PRESENT &&
	    frame_test(weir__frame(e, pte_pfn(v)), FRAME_MLOCKED))
		weir__frame_munlock(e, weir__frame(e, pte_pfn(v)));
	return 0;
}

/* [lo, hi) lies in r and becomes a region of its own with these flags. */
static void set_flags(struct region *r, uint64_t lo, uint64_t hi,
		      uint32_t flags, struct region_room *m)
{
	uint32_t changed = r->flags ^ flags;

	if (lo > r->start)
		r = weir__region_split(r, lo, m);
	if (hi < r->end)
		weir__region_split(r, hi, m);
	count_locked(r, -1);
	r->flags = flags;
	count_locked(r, 1);
	if (changed & REGION_LOCKED)
		weir__pte_walk(r->as, lo, hi,
			       flags & REGION_LOCKED ? mlock_entry
						     : munlock_entry,
			       NULL);
	weir__region_merge(r);
}

int weir__region_flags(struct aspace *as, uint64_t start, uint64_t end,
		       uint32_t set, uint32_t clear)
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
		uint32_t flags = (r->flags | set) & ~clear;
		unsigned cuts = (lo > r->start) + (hi < r->end);
		unsigned links = weir__anon_vma_links(r);

		if (flags != r->flags &&
		    !weir__region_room_fits(&m, cuts, links)) {
			weir__regions_unlock(as);
			ret = weir__region_room_fill(e, &m, cuts, links);
			if (ret)
				goto out;
			weir__regions_lock(as);
			continue;
		}
		if (flags != r->flags)
			set_flags(r, lo, hi, flags, &m);
		start = hi;
	}
	weir__regions_unlock(as);
out:
	weir__region_room_drain(e, &m);
	return ret;
}

int weir__aspace_mlock(struct aspace *as, uint64_t start, uint64_t end,
		       bool lock)
{
	return weir__region_flags(as, start, end, lock ? REGION_LOCKED : 0,
				  lock ? 0 : REGION_LOCKED);
}
