/* SPDX-License-Identifier: MIT */
/*
 * Reverse mapping: from a frame to every page-table entry that maps it.
 *
 * A list of entries in each frame would cost memory for every mapping of every
 * page. Instead a page points to an object that knows all regions which might
 * map it, and the entry's address follows from the page's index:
 *
 *     frame ──mapping──► anon_vma ──tree──► chain ──► region ──► aspace
 *       │                                               │
 *       └── index ── pgoff ──► address = start + (index − pgoff) pages
 *
 * "Might": the walk looks at the entry and takes it only if it holds this
 * frame. A page of a file is found the same way: its object is the mapping,
 * whose i_mmap tree holds the regions themselves.
 *
 * fork is why a region needs chains instead of one pointer. The child's region
 * is linked to every anon_vma of its parent's region, so that the parent's
 * older pages are found in the child, and gets an anon_vma of its own for the
 * pages it will make by copy-on-write. A page made by a child is then looked
 * for in that child and its children only, not in every process of the tree:
 *
 *     parent's region ── A            pages of the parent: A = {parent, child}
 *     child's region  ── A, B         pages of the child:  B = {child}
 *
 * Each region linked to an anon_vma is linked to that one's ancestors too,
 * since fork copies all links. Two things follow:
 *   - an anon_vma is needed exactly as long as its tree holds a chain; its
 *     parent and root then have one as well. No reference counts.
 *   - a page of unknown origin (read back from swap while several processes
 *     may hold its slot) can always be given to the root.
 *
 * Why one lock for all anon_vmas of the engine, where the kernel has one in
 * each root. A walker comes from a frame and must reach the lock before it may
 * follow frame.mapping, for the anon_vma behind it can be freed as long as the
 * walker holds nothing:
 *
 *   walker (page lock)                munmap
 *   reads frame.mapping
 *                                     zaps the last entry: mapcount -1
 *                                     unlinks the region, frees the anon_vma
 *   takes anon_vma->root->lock: gone
 *
 * The kernel bridges that gap with memory that is not given back before a
 * grace period. We have no such thing and give slab frames back at once. With
 * a lock that is not inside the object the question has a plain answer: under
 * rmap_lock, mapcount >= 0 means that an entry's region is still linked,
 * because a region is unlinked under rmap_lock and only after its entries are
 * gone. The lock is held for a tree search and one aspace's spinlock at a
 * time; a live engine has one address space anyway, whose lock every walk must
 * take.
 */
#include "engine/rmap.h"

#include <errno.h>

#include "engine/aspace.h"
#include "engine/check.h"
#include "engine/frame.h"
#include "engine/pcache.h"
#include "engine/pgtable.h"
#include "engine/slab.h"
#include "engine/swap.h"

/* What neighbours need not have in common to share an anon_vma. */
#define REGION_SHARE_ANY                                                       \
	(REGION_READ | REGION_WRITE | REGION_EXEC | REGION_LOCKED |            \
	 REGION_SEQ | REGION_RAND)

void weir__rmap_init(struct engine *e)
{
	weir__spin_init(&e->rmap_lock, RANK_RMAP);
}

/* --- room ----------------------------------------------------------------- */

void weir__anon_room_init(struct anon_room *m)
{
	list_init(&m->avcs);
	m->nr = 0;
	m->av = NULL;
}

int weir__anon_room_fill(struct engine *e, struct anon_room *m, unsigned nr,
			 bool av)
{
	weir__assert_may_sleep(e);
	while (m->nr < nr) {
		struct anon_vma_chain *c = weir__slab_alloc(
			e, weir__cache_avc(e), GFP_KERNEL);

		if (!c)
			return -ENOMEM;
		list_add(&c->same_region, &m->avcs);
		m->nr++;
	}
	if (av && !m->av) {
		m->av = weir__slab_alloc(e, weir__cache_anon_vma(e),
					 GFP_KERNEL);
		if (!m->av)
			return -ENOMEM;
	}
	return 0;
}

void weir__anon_room_drain(struct engine *e, struct anon_room *m)
{
	struct anon_vma_chain *c, *next;

	list_for_each_entry_safe(c, next, &m->avcs, same_region)
		weir__slab_free(e, weir__cache_avc(e), c);
	if (m->av)
		weir__slab_free(e, weir__cache_anon_vma(e), m->av);
	weir__anon_room_init(m);
}

/* --- links ---------------------------------------------------------------- */

static void assert_locked(struct region *r)
{
	weir__spin_assert_held(r->as->engine, &r->as->engine->rmap_lock);
}

static void chain_insert(struct anon_vma_chain *c)
{
	struct region *r = c->region;

	c->node.start = r->pgoff;
	c->node.last = r->pgoff + ((r->end - r->start) >> PAGE_SHIFT) - 1;
	itree_insert(&c->anon_vma->tree, &c->node);
}

static void link_region(struct region *r, struct anon_vma *av,
			struct anon_room *m)
{
	struct anon_vma_chain *c;

	weir__bug_on(r->as->engine, !m->nr);
	c = list_first_entry(&m->avcs, struct anon_vma_chain, same_region);
	m->nr--;
	c->region = r;
	c->anon_vma = av;
	list_move_tail(&c->same_region, &r->avc_chain);
	chain_insert(c);
}

/* A new anon_vma out of the room, for r; parent NULL: the first of a tree. */
static void own_anon_vma(struct region *r, struct anon_vma *parent,
			 struct anon_room *m)
{
	struct anon_vma *av = m->av;

	weir__bug_on(r->as->engine, !av);
	m->av = NULL;
	itree_init(&av->tree);
	av->nr_children = 0;
	av->nr_active = 1;
	av->parent = parent ? parent : av;
	av->root = parent ? parent->root : av;
	av->parent->nr_children++;
	r->anon_vma = av;
	link_region(r, av, m);
}

unsigned weir__anon_vma_links(const struct region *r)
{
	const struct list_head *pos;
	unsigned nr = 0;

	list_for_each(pos, &r->avc_chain)
		nr++;
	return nr;
}

void weir__anon_vma_clone(struct region *dst, struct region *src,
			  struct anon_room *m)
{
	struct anon_vma_chain *c;

	assert_locked(src);
	list_for_each_entry(c, &src->avc_chain, same_region)
		link_region(dst, c->anon_vma, m);
	dst->anon_vma = src->anon_vma;
	if (dst->anon_vma)
		dst->anon_vma->nr_active++;
}

/*
 * An anon_vma that no region calls its own any more (the process that made it
 * is gone) and that has at most one child can serve the new region. Without
 * this a program that forks, lets the parent exit and forks again would add a
 * chain to every region with each generation.
 */
void weir__anon_vma_fork(struct region *parent, struct region *child,
			 struct anon_room *m)
{
	struct anon_vma_chain *c;

	assert_locked(parent);
	child->anon_vma = NULL;
	if (!parent->anon_vma)
		return;
	list_for_each_entry(c, &parent->avc_chain, same_region) {
		struct anon_vma *av = c->anon_vma;

		link_region(child, av, m);
		if (!child->anon_vma && av->nr_children < 2 && !av->nr_active)
			child->anon_vma = av;
	}
	if (child->anon_vma)
		child->anon_vma->nr_active++;
	else
		own_anon_vma(child, parent->anon_vma, m);
}

void weir__anon_vma_unlink(struct engine *e, struct region *r)
{
	struct anon_vma_chain *c, *next;

	assert_locked(r);
	if (r->anon_vma)
		r->anon_vma->nr_active--;
	r->anon_vma = NULL;
	/* First every tree and every parent's count: the parent of a dying
	 * anon_vma may be dying on this very chain. */
	list_for_each_entry(c, &r->avc_chain, same_region) {
		itree_remove(&c->anon_vma->tree, &c->node);
		if (!c->anon_vma->tree.nr)
			c->anon_vma->parent->nr_children--;
	}
	list_for_each_entry_safe(c, next, &r->avc_chain, same_region) {
		if (!c->anon_vma->tree.nr) {
			weir__bug_on(e, c->anon_vma->nr_children ||
						c->anon_vma->nr_active);
			weir__slab_free(e, weir__cache_anon_vma(e),
					c->anon_vma);
		}
		weir__slab_free(e, weir__cache_avc(e), c);
	}
	list_init(&r->avc_chain);
}

void weir__anon_vma_detach(struct region *r)
{
	struct anon_vma_chain *c;

	assert_locked(r);
	list_for_each_entry(c, &r->avc_chain, same_region)
		itree_remove(&c->anon_vma->tree, &c->node);
}

void weir__anon_vma_attach(struct region *r)
{
	struct anon_vma_chain *c;

	assert_locked(r);
	list_for_each_entry(c, &r->avc_chain, same_region)
		chain_insert(c);
}

static bool is_linked(const struct region *r, const struct anon_vma *av)
{
	struct anon_vma_chain *c;

	list_for_each_entry(c, &r->avc_chain, same_region)
		if (c->anon_vma == av)
			return true;
	return false;
}

bool weir__anon_vma_same(const struct region *a, const struct region *b)
{
	struct anon_vma_chain *c;

	if (a->anon_vma != b->anon_vma ||
	    weir__anon_vma_links(a) != weir__anon_vma_links(b))
		return false;
	list_for_each_entry(c, &a->avc_chain, same_region)
		if (!is_linked(b, c->anon_vma))
			return false;
	return true;
}

/* --- the first page of a region ------------------------------------------- */

/*
 * An adjacent region's anon_vma is shared where the two could become one
 * region later: same nature, and r's indices continue the neighbour's (r has
 * no page yet, so its pgoff is still free). Only from a region that was never
 * forked: a longer chain would tie r to processes that never saw it.
 */
static bool share_neighbour(struct region *r, struct itree_node *node,
			    struct anon_room *m)
{
	struct region *n;
	uint64_t pages = (r->end - r->start) >> PAGE_SHIFT;

	if (!node)
		return false;
	n = container_of(node, struct region, node);
	if (!n->anon_vma || weir__anon_vma_links(n) != 1 ||
	    ((n->flags ^ r->flags) & ~(uint32_t)REGION_SHARE_ANY))
		return false;
	/* Indices of a file are fixed: those that do not follow each other
	 * could never be one region. */
	if (r->file || n->file)
		return false;
	if (n->end == r->start)
		r->pgoff = region_index(n, n->end);
	else if (r->end == n->start && n->pgoff >= pages)
		r->pgoff = n->pgoff - pages;
	else
		return false;
	r->anon_vma = n->anon_vma;
	r->anon_vma->nr_active++;
	link_region(r, r->anon_vma, m);
	return true;
}

int weir__anon_vma_prepare(struct aspace *as, uint64_t addr)
{
	struct engine *e = as->engine;
	struct anon_room m;
	struct region *r;
	bool ready;
	int ret;

	weir__spin_lock(e, &as->lock);
	r = weir__region_find(as, addr);
	/* no page of a shared mapping is anonymous */
	ready = r && (r->anon_vma || r->flags & REGION_SHARED);
	weir__spin_unlock(e, &as->lock);
	if (!r)
		return -EFAULT;
	if (ready)
		return 0;

	weir__anon_room_init(&m);
	ret = weir__anon_room_fill(e, &m, 1, true);
	if (ret)
		goto out;
	weir__spin_lock(e, &e->rmap_lock);
	weir__spin_lock(e, &as->lock);
	r = weir__region_find(as, addr);
	if (!r)
		ret = -EFAULT;
	else if (!r->anon_vma && !(r->flags & REGION_SHARED) &&
		 !share_neighbour(r, itree_pred(&r->node), &m) &&
		 !share_neighbour(r, itree_succ(&r->node), &m))
		own_anon_vma(r, NULL, &m);
	weir__spin_unlock(e, &as->lock);
	weir__spin_unlock(e, &e->rmap_lock);
out:
	weir__anon_room_drain(e, &m);
	return ret;
}

/* --- pages ---------------------------------------------------------------- */

static void set_owner(struct frame *f, struct anon_vma *av, uint64_t index)
{
	f->mapping = (uintptr_t)av + MAPPING_ANON;
	f->index = index;
}

void weir__page_add_new_anon_rmap(struct engine *e, struct frame *f,
				  struct region *r, uint64_t addr)
{
	weir__spin_assert_held(e, &r->as->lock);
	weir__bug_on(e, !r->anon_vma || f->mapcount != -1);
	set_owner(f, r->anon_vma, region_index(r, addr));
	weir__frame_set(f, FRAME_SWAPBACKED | FRAME_EXCLUSIVE);
	atomic_store_explicit(&f->mapcount, 0, memory_order_relaxed);
	weir__stat_inc(e, STAT_nr_anon_pages);
}

void weir__page_add_anon_rmap(struct engine *e, struct frame *f,
			      struct region *r, uint64_t addr)
{
	weir__spin_assert_held(e, &r->as->lock);
	weir__bug_on(e, !r->anon_vma);
	if (!f->mapping) {
		set_owner(f,
			  frame_test(f, FRAME_EXCLUSIVE) ? r->anon_vma
							 : r->anon_vma->root,
			  region_index(r, addr));
		weir__frame_set(f, FRAME_SWAPBACKED);
	}
	weir__bug_on(e, f->index != region_index(r, addr));
	if (++f->mapcount == 0)
		weir__stat_inc(e, STAT_nr_anon_pages);
}

void weir__page_move_anon_rmap(struct engine *e, struct frame *f,
			       struct region *r)
{
	weir__spin_assert_held(e, &r->as->lock);
	weir__bug_on(e, f->mapcount != 0 || !r->anon_vma);
	set_owner(f, r->anon_vma, f->index);
	weir__frame_set(f, FRAME_EXCLUSIVE);
}

void weir__page_add_file_rmap(struct engine *e, struct frame *f)
{
	weir__bug_on(e, !weir__frame_mapping(f));
	if (++f->mapcount == 0)
		weir__stat_inc(e, STAT_nr_mapped);
}

void weir__page_remove_rmap(struct engine *e, struct frame *f)
{
	bool anon = weir__frame_anon_vma(f);
	int left = --f->mapcount;

	weir__bug_on(e, left < -1);
	if (left < 0)
		weir__stat_add(e, anon ? STAT_nr_anon_pages : STAT_nr_mapped,
			       -1);
}

/* --- the walk ------------------------------------------------------------- */

/* One region of the walk: fn's answer if its entry holds the frame. */
static int walk_region(struct engine *e, struct region *r, struct frame *f,
		       int (*fn)(struct region *r, uint64_t addr, pte_t *pte,
				 void *arg),
		       void *arg)
{
	uint64_t addr = region_addr(r, f->index);
	pte_t *pte = weir__pte(r->as, addr);
	uint64_t v = pte ? pte_load(pte) : 0;

	if (!(v & PTE_PRESENT) || pte_pfn(v) != weir__pfn(e, f))
		return 0;
	return fn(r, addr, pte, arg);
}

/*
 * The tree of what may map the frame: the anon_vma's chains, or the regions of
 * its file. NULL: it is unmapped; then its anon_vma may be gone, and there is
 * nothing to find. => rmap lock and page lock held
 */
static struct itree *tree_of(struct frame *f)
{
	struct anon_vma *av = weir__frame_anon_vma(f);

	if (f->mapcount < 0 || !f->mapping)
		return NULL;
	return av ? &av->tree : &weir__frame_mapping(f)->i_mmap;
}

static struct region *node_region(const struct frame *f, struct itree_node *n)
{
	if (weir__frame_anon_vma(f))
		return container_of(n, struct anon_vma_chain, node)->region;
	return container_of(n, struct region, shared);
}

/* Most pages are one region's: no search then. */
static struct itree_node *first_link(const struct itree *t, uint64_t index)
{
	struct itree_node *root = t->root;

	if (t->nr == 1)
		return root->start <= index && index <= root->last ? root
								   : NULL;
	return itree_first(t, index, index);
}

static struct itree_node *next_link(const struct itree *t, struct itree_node *n,
				    uint64_t index)
{
	return t->nr == 1 ? NULL : itree_next(n, index, index);
}

int weir__rmap_walk(struct engine *e, struct frame *f, bool try,
		    int (*fn)(struct region *r, uint64_t addr, pte_t *pte,
			      void *arg),
		    void *arg)
{
	struct itree_node *n;
	struct itree *tree;
	int ret = 0;

	weir__assert(e, frame_test(f, FRAME_LOCKED));
	weir__spin_lock(e, &e->rmap_lock);
	tree = tree_of(f);
	if (!tree)
		goto out;
	for (n = first_link(tree, f->index); n && !ret;
	     n = next_link(tree, n, f->index)) {
		struct region *r = node_region(f, n);

		if (!try) {
			weir__spin_lock(e, &r->as->lock);
		} else if (!weir__spin_trylock(e, &r->as->lock)) {
			ret = -EBUSY;
			break;
		}
		ret = walk_region(e, r, f, fn, arg);
		weir__spin_unlock(e, &r->as->lock);
	}
out:
	weir__spin_unlock(e, &e->rmap_lock);
	return ret;
}

/* => rmap_lock held */
static void prefetch_entry(struct engine *e, struct frame *f)
{
	const struct itree *tree = tree_of(f);
	struct itree_node *n;
	struct region *r;

	n = tree && tree->nr == 1 ? first_link(tree, f->index) : NULL;
	if (!n)
		return;
	r = node_region(f, n);
	weir__spin_lock(e, &r->as->lock);
	__builtin_prefetch(
		(const void *)weir__pte(r->as, region_addr(r, f->index)), 1);
	weir__spin_unlock(e, &r->as->lock);
}

void weir__rmap_prefetch(struct engine *e, struct list_head *pages)
{
	struct frame *f;

	weir__spin_lock(e, &e->rmap_lock);
	list_for_each_entry(f, pages, lru) {
		if (frame_test(f, FRAME_SWAPCACHE))
			weir__swap_prefetch(e, f->private);
		prefetch_entry(e, f);
	}
	weir__spin_unlock(e, &e->rmap_lock);
}

/* --- validity ------------------------------------------------------------- */

bool weir__anon_vma_is_valid(struct anon_vma *av)
{
	struct itree_node *n;
	uint32_t active = 0;

	if (!itree_is_valid(&av->tree) || !av->tree.nr)
		return false;
	if (av->root->root != av->root || av->parent->root != av->root ||
	    !av->parent->nr_children || !av->parent->tree.nr)
		return false;
	for (n = itree_first(&av->tree, 0, UINT64_MAX); n; n = itree_succ(n)) {
		struct anon_vma_chain *c =
			container_of(n, struct anon_vma_chain, node);
		struct region *r = c->region;

		if (c->anon_vma != av || n->start != r->pgoff ||
		    n->last != region_index(r, r->end) - 1)
			return false;
		/* Linked to a descendant means linked to the ancestors. */
		if (!is_linked(r, av) || !is_linked(r, av->parent) ||
		    !is_linked(r, av->root))
			return false;
		active += r->anon_vma == av;
	}
	return active == av->nr_active;
}
