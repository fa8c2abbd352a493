/* SPDX-License-Identifier: MIT */
/*
 * fork: the child's regions, links and entries.
 *
 * Two address spaces, and both locks have the same rank, so a page crosses in
 * two steps: under the parent's lock it gets the child's mapping and reference
 * (and loses WRITE and EXCLUSIVE), under the child's lock the entry appears.
 * Between the two a reverse walk counts one entry less than mapcount says:
 *
 *   fork                               reclaim (page lock)
 *   parent: mapcount 2, refs + 1
 *                                      unmaps the parent's entry
 *                                      mapcount still 1: page is kept
 *   child: entry PRESENT
 *                                      next try finds the child's
 *
 * A page that the program could write must be trapped before the child counts
 * on its contents. It is BUSY in the parent while the host does that.
 */
#include <errno.h>

#include "engine/check.h"
#include "engine/frame.h"
#include "engine/pgtable.h"
#include "engine/region.h"
#include "engine/swap.h"

#define FORK_BATCH 64

enum fork_stop { STOP_FULL = 1, STOP_BUSY, STOP_ERROR };

/* Entries on their way to the child. */
struct copy {
	struct aspace *child;
	struct region *region; /* parent's, while locked */
	uint64_t at;	       /* where the walk stopped */
	int error;
	unsigned nr, nr_vec;
	uint64_t addr[FORK_BATCH], pte[FORK_BATCH];
	struct weir_vec vec[FORK_BATCH]; /* to be protected, BUSY */
	bool exclusive[FORK_BATCH];	 /* vec[i]'s frame was */
};

/* --- parent's side -------------------------------------------------------- */

static void copy_present(struct aspace *as, struct copy *c, uint64_t addr,
			 pte_t *pte)
{
	struct engine *e = as->engine;
	uint64_t v = pte_clear(pte, PTE_WRITE);
	struct frame *f = weir__frame(e, pte_pfn(v));
	bool exclusive;

	weir__frame_get(f);
	if (weir__frame_anon_vma(f))
		weir__page_add_anon_rmap(e, f, c->region, addr);
	else
		weir__page_add_file_rmap(e, f);
	exclusive = weir__frame_clear(f, FRAME_EXCLUSIVE);
	c->addr[c->nr] = addr;
	c->pte[c->nr++] = v & ~(PTE_WRITE | PTE_ACCESSED);
	/* In hand: no touch of the program gets by without a fault anyway. */
	if (!(v & PTE_WRITE) || v & PTE_HINT)
		return;
	pte_set(pte, PTE_BUSY);
	c->exclusive[c->nr_vec] = exclusive;
	c->vec[c->nr_vec++] =
		(struct weir_vec){.addr = addr, .pfn = pte_pfn(v)};
}

static int copy_entry(struct aspace *as, uint64_t addr, pte_t *pte, void *arg)
{
	struct copy *c = arg;
	uint64_t v = pte_load(pte);

	c->at = addr;
	if (v & PTE_BUSY)
		return STOP_BUSY;
	if (c->nr == FORK_BATCH)
		return STOP_FULL;
	if (v & PTE_PRESENT) {
		copy_present(as, c, addr, pte);
		return 0;
	}
	if (v & PTE_SWAP) {
		c->error = weir__swap_dup(as->engine, pte_swap(v));
		if (c->error)
			return STOP_ERROR;
		v = pte_clear(pte, PTE_EXCLUSIVE) & ~PTE_EXCLUSIVE;
	}
	c->addr[c->nr] = addr;
	c->pte[c->nr++] = v;
	return 0;
}

/* The parent's pages are trapped. An error means that the program can still
 * write to one: it stays the parent's, and the fork fails. */
static void protect_parent(struct aspace *as, struct copy *c)
{
	struct engine *e = as->engine;

	if (!c->nr_vec)
		return;
	e->host->ops->protect(e->host, as->host, c->vec, c->nr_vec);
	weir__spin_lock(e, &as->lock);
	for (unsigned i = 0; i < c->nr_vec; i++) {
		struct weir_vec *v = &c->vec[i];
		pte_t *pte = weir__pte(as, v->addr);

		weir__bug_on(e, !pte || !(pte_load(pte) & PTE_BUSY));
		if (v->status && v->status != -ENOENT) {
			c->error = -EAGAIN;
			pte_set(pte, PTE_WRITE);
			if (c->exclusive[i])
				weir__frame_set(weir__frame(e, v->pfn),
						FRAME_EXCLUSIVE);
		}
		pte_clear(pte, PTE_BUSY);
	}
	weir__pte_busy_end(as);
	weir__spin_unlock(e, &as->lock);
}

/* --- child's side --------------------------------------------------------- */

static void install_child(struct copy *c)
{
	struct aspace *as = c->child;
	struct engine *e = as->engine;

	weir__spin_lock(e, &as->lock);
	for (unsigned i = 0; i < c->nr; i++) {
		pte_t *pte = weir__pte(as, c->addr[i]);

		weir__bug_on(e, !pte || pte_load(pte));
		pte_store(pte, c->pte[i]);
		if (c->pte[i] & PTE_PRESENT)
			++*weir__entry_count(as, weir__frame(
						     e, pte_pfn(c->pte[i])));
		else if (c->pte[i] & PTE_SWAP)
			as->nr_swapents++;
	}
	weir__spin_unlock(e, &as->lock);
	for (unsigned i = 0; i < c->nr; i++)
		if (c->pte[i] & PTE_POISON)
			e->host->ops->poison(e->host, as->host, c->addr[i]);
}

/* The child's region at addr takes pages. It does not when the parent's got
 * its anon_vma only after the two were linked: somebody let it run. */
static bool child_is_linked(struct aspace *child, uint64_t addr)
{
	struct engine *e = child->engine;
	struct region *r;
	bool linked;

	weir__spin_lock(e, &child->lock);
	r = weir__region_find(child, addr);
	linked = r && r->anon_vma;
	weir__spin_unlock(e, &child->lock);
	return linked;
}

/* --- both ----------------------------------------------------------------- */

static int first_entry(struct aspace *as, uint64_t addr, pte_t *pte, void *arg)
{
	*(uint64_t *)arg = addr;
	return 1;
}

/* Entries of [start, end), all under one leaf table. */
static int copy_table(struct aspace *parent, struct copy *c, uint64_t start,
		      uint64_t end)
{
	struct engine *e = parent->engine;
	uint64_t limit;
	int stop;

	c->at = start;
	do {
		c->nr = 0;
		c->nr_vec = 0;
		weir__spin_lock(e, &parent->lock);
		c->region = weir__region_find(parent, c->at);
		if (!c->region) {
			weir__spin_unlock(e, &parent->lock);
			return 0; /* its entries are gone too */
		}
		limit = c->region->end < end ? c->region->end : end;
		stop = weir__pte_walk(parent, c->at, limit, copy_entry, c);
		if (stop == STOP_BUSY && !c->nr)
			weir__pte_busy_wait(parent);
		if (!stop)
			c->at = limit;
		weir__spin_unlock(e, &parent->lock);
		protect_parent(parent, c);
		install_child(c);
	} while (c->at < end && !c->error);
	return c->error;
}

static int copy_range(struct aspace *parent, struct copy *c, uint64_t start,
		      uint64_t end)
{
	struct engine *e = parent->engine;

	for (;;) {
		uint64_t stop;
		int found, ret;

		weir__spin_lock(e, &parent->lock);
		found = weir__pte_walk(parent, start, end, first_entry, &start);
		weir__spin_unlock(e, &parent->lock);
		if (!found)
			return 0;
		if (!child_is_linked(c->child, start))
			return -EAGAIN;
		stop = (start | (PTE_TABLE_SPAN - 1)) + 1;
		if (stop > end)
			stop = end;
		ret = weir__pte_alloc(c->child, start, stop, GFP_KERNEL);
		if (!ret)
			ret = copy_table(parent, c, start, stop);
		if (ret)
			return ret;
		start = stop;
	}
}

/*
 * The child's region for p, linked and not yet in the child's tree. A reverse
 * walk may look for it already: it finds no entry.
 */
static struct region *child_region(struct region *p, struct aspace *child,
				   struct region_room *m)
{
	uint32_t flags = p->flags & ~(uint32_t)REGION_LOCKED;
	struct region *r =
		weir__region_new(child, m, p->start, p->end, flags);

	if (p->file) {
		r->pgoff = p->pgoff;
		weir__region_set_file(r, p->file);
	}
	if (p->flags & REGION_WIPEONFORK)
		return r;
	if (p->anon_vma)
		r->pgoff = p->pgoff;
	weir__anon_vma_fork(p, r, &m->anon);
	return r;
}

/*
 * Copies the first region of the parent at or after *addr, entries and all;
 * *addr goes on to its end. 1 when there was none.
 */
static int fork_region(struct aspace *parent, struct copy *c,
		       struct region_room *m, uint64_t *addr)
{
	struct engine *e = parent->engine;
	struct region *p, *r = NULL;
	uint64_t start, end;

	while (!r) {
		unsigned links;
		int ret;

		weir__regions_lock(parent);
		p = weir__region_first(parent, *addr, WEIR_ADDR_MAX);
		links = p ? weir__anon_vma_links(p) + 1 : 0;
		if (p && p->start < *addr) { /* merged behind our back */
			weir__regions_unlock(parent);
			return -EAGAIN;
		}
		if (p && !(p->flags & REGION_DONTFORK) &&
		    (!weir__region_room_fits(m, 1, links) || !m->anon.av)) {
			weir__regions_unlock(parent);
			ret = weir__region_room_fill(e, m, 1, links);
			if (!ret)
				ret = weir__anon_room_fill(e, &m->anon, 0,
							   true);
			if (ret)
				return ret;
			continue;
		}
		if (p) {
			start = p->start;
			*addr = end = p->end;
			if (!(p->flags & REGION_DONTFORK))
				r = child_region(p, c->child, m);
		}
		weir__regions_unlock(parent);
		if (!p)
			return 1;
		if (!r && *addr >= WEIR_ADDR_MAX)
			return 1;
	}
	weir__spin_lock(e, &c->child->lock);
	weir__region_insert(r);
	weir__spin_unlock(e, &c->child->lock);
	if (r->flags & REGION_WIPEONFORK)
		return 0;
	/* Pages of a file are found again by a fault; copying the entries
	 * would cost more than most children make up for. */
	if (r->file && !r->anon_vma)
		return 0;
	return copy_range(parent, c, start, end);
}

/*
 * The parent was ended for want of memory while it forked:
 *
 *   fork                                reaper (oomreap.c)
 *   ---------------------------         ---------------------------
 *   copies the entries of X
 *                                       UNSTABLE, under the parent's lock
 *                                       takes the pages of Y
 *   copies Y: nothing there
 *   UNSTABLE: the child is not whole
 *   and must not live
 *
 * A flag that is not there at the end was not there at any copy.
 */
static bool was_reaped(struct aspace *parent)
{
	bool unstable;

	weir__spin_lock(parent->engine, &parent->lock);
	unstable = parent->flags & ASPACE_UNSTABLE;
	weir__spin_unlock(parent->engine, &parent->lock);
	return unstable;
}

int weir__aspace_fork(struct aspace *parent, struct aspace *child)
{
	struct engine *e = parent->engine;
	struct copy c = {.child = child};
	struct region_room m;
	uint64_t addr = 0;
	int ret = 0;

	if (child->engine != e || child == parent || child->regions.nr)
		return -EINVAL;
	weir__region_room_init(&m);
	while (!ret && addr < WEIR_ADDR_MAX)
		ret = fork_region(parent, &c, &m, &addr);
	weir__region_room_drain(e, &m);
	if (ret >= 0 && was_reaped(parent))
		ret = -EINTR;
	if (ret < 0) {
		weir__aspace_unmap(child, 0, WEIR_ADDR_MAX);
		return ret;
	}
	return 0;
}
