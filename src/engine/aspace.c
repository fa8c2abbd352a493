/* SPDX-License-Identifier: MIT */
/*
 * Address spaces: their life and their validity. What happens to them is in
 * region.c (add, flags, mlock), zap.c (madvise, munmap), move.c (mremap) and
 * fork.c.
 */
#include "engine/aspace.h"

#include <errno.h>
#include <string.h>

#include "engine/check.h"
#include "engine/file.h"
#include "engine/frame.h"
#include "engine/lruvec.h"
#include "engine/pgtable.h"
#include "engine/region.h"
#include "engine/slab.h"

int weir__aspace_create(struct engine *e, void *host, struct aspace **out)
{
	struct aspace *as = weir__kmalloc(e, sizeof(*as), GFP_KERNEL);

	if (!as)
		return -ENOMEM;
	memset(as, 0, sizeof(*as));
	as->engine = e;
	as->host = host;
	as->users = 1;
	weir__spin_init(&as->lock, RANK_ASPACE);
	itree_init(&as->regions);
	if (weir__pgtable_create(as)) {
		weir__kfree(e, as);
		return -ENOMEM;
	}
	weir__spin_lock(e, &e->aspaces_lock);
	list_add_tail(&as->link, &e->aspaces);
	weir__spin_unlock(e, &e->aspaces_lock);
	*out = as;
	return 0;
}

void weir__aspace_put(struct aspace *as)
{
	struct engine *e = as->engine;

	if (--as->users)
		return;
	weir__bug_on(e, as->regions.nr || as->nr_anon || as->nr_file ||
			    as->nr_swapents);
	weir__pgtable_destroy(as);
	weir__kfree(e, as);
}

void weir__aspace_destroy(struct aspace *as)
{
	struct engine *e = as->engine;

	as->flags |= ASPACE_DYING;
	/* No hole in anything: needs no memory, cannot fail. */
	weir__aspace_unmap(as, 0, WEIR_ADDR_MAX);
	weir__spin_lock(e, &e->aspaces_lock);
	list_del_init(&as->link);
	weir__spin_unlock(e, &e->aspaces_lock);
	weir__aspace_put(as);
}

/* --- validity ------------------------------------------------------------- */

struct tally {
	struct region *region;
	int64_t anon, file, swapents;
	bool ok;
};

/* A mapped frame names an anon_vma that its region is linked to, and the index
 * from which the region computes this very address. */
static bool frame_fits(struct engine *e, struct region *r, uint64_t addr,
		       struct frame *f)
{
	struct anon_vma_chain *c;

	if (f->mapcount < 0 || f->refcount <= f->mapcount ||
	    f->index != region_index(r, addr))
		return false;
	if (!(f->mapping & MAPPING_ANON))
		return r->file && f->mapping == (uintptr_t)r->file->mapping;
	list_for_each_entry(c, &r->avc_chain, same_region)
		if ((uintptr_t)c->anon_vma + MAPPING_ANON == f->mapping)
			return true;
	return false;
}

static int tally_entry(struct aspace *as, uint64_t addr, pte_t *pte, void *arg)
{
	struct tally *t = arg;
	uint64_t v = pte_load(pte);

	if (!t->region || addr >= t->region->end)
		t->region = weir__region_find(as, addr);
	if (!(v & (PTE_PRESENT | PTE_SWAP | PTE_POISON)))
		return 0; /* BUSY alone: mremap prepares its target */
	t->ok = t->region;
	if (v & PTE_PRESENT) {
		struct frame *f = weir__frame(as->engine, pte_pfn(v));

		bool anon = f->mapping & MAPPING_ANON;

		t->anon += anon;
		t->file += !anon;
		t->ok = t->ok && frame_fits(as->engine, t->region, addr, f);
		/* Who may write without a trap shares with nobody, or shares
		 * what is written too: then it is known to be dirty. */
		if (v & PTE_WRITE &&
		    (anon ? f->mapcount > 0
			  : !(t->region->flags & REGION_SHARED) ||
				(weir__frame_is_file(f) &&
				 !frame_test(f, FRAME_DIRTY))))
			t->ok = false;
	}
	if (v & PTE_SWAP) {
		t->swapents++;
		t->ok = t->ok && t->region->anon_vma;
	}
	return !t->ok;
}

static bool regions_are_valid(struct aspace *as)
{
	struct itree_node *n;
	struct anon_vma_chain *c;
	uint64_t end = 0;
	int64_t locked = 0;

	if (!itree_is_valid(&as->regions))
		return false;
	for (n = itree_lower_bound(&as->regions, 0); n; n = itree_succ(n)) {
		struct region *r = container_of(n, struct region, node);

		if (r->as != as || r->start < end ||
		    weir__range_check(r->start, r->end) ||
		    n->start != r->start >> PAGE_SHIFT ||
		    n->last != (r->end >> PAGE_SHIFT) - 1 ||
		    !r->anon_vma != list_empty(&r->avc_chain))
			return false;
		if (r->file && (r->shared.start != r->pgoff ||
				r->shared.last != region_index(r, r->end) - 1))
			return false;
		end = r->end;
		if (r->flags & REGION_LOCKED)
			locked += (int64_t)((r->end - r->start) >> PAGE_SHIFT);
		list_for_each_entry(c, &r->avc_chain, same_region)
			if (c->region != r ||
			    !weir__anon_vma_is_valid(c->anon_vma))
				return false;
	}
	return locked == as->nr_locked;
}

bool weir__aspace_is_valid(struct aspace *as)
{
	struct tally t = {.ok = true};

	weir__regions_lock(as);
	t.ok = regions_are_valid(as) && weir__pgtable_is_valid(as);
	if (t.ok)
		weir__pte_walk(as, 0, WEIR_ADDR_MAX, tally_entry, &t);
	t.ok = t.ok && t.anon == as->nr_anon && t.file == as->nr_file &&
	       t.swapents == as->nr_swapents;
	weir__regions_unlock(as);
	return t.ok;
}
