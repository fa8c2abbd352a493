/* SPDX-License-Identifier: MIT */
/*
 * Has the page been used? And: nobody maps it any more.
 *
 * With accessed bits the answer stands in the entries. Without them, unmapping
 * is the question and the soft fault is the answer: the page is taken out of
 * place but stays in its frame (HINT). A page that is found in place counts as
 * young, since it was put there by a touch after the last question; one that
 * is found with HINT has not been touched since it was asked. So "test and
 * clear" means the same on both machines, and scanning needs no second policy.
 *
 * Questions are asked in batches, since taking out costs a flush of the
 * processors' translation caches, whether for one page or for many.
 */
#include <errno.h>

#include "engine/aspace.h"
#include "engine/batch.h"
#include "engine/check.h"
#include "engine/frame.h"
#include "engine/lruvec.h"
#include "engine/pagelist.h"
#include "engine/pcache.h"
#include "engine/pgtable.h"
#include "engine/rmap.h"
#include "engine/swap.h"

/* Entries of one address space being taken out together. */
struct takeout {
	struct engine *e;
	struct aspace *as;
	unsigned nr;
	struct weir_vec vec[WEIR_IO_PAGES_MAX];
};

static int test_clear_bit(struct region *r, uint64_t addr, pte_t *pte,
			  void *arg)
{
	struct frame *f = arg;

	if (r->flags & REGION_LOCKED)
		f->error |= AGE_LOCKED;
	if ((*pte & PTE_ACCESSED) && !(r->flags & (REGION_SEQ | REGION_RAND))) {
		f->error++;
		if (r->flags & REGION_EXEC)
			f->error |= AGE_EXEC;
	}
	pte_clear(pte, PTE_ACCESSED);
	return 0;
}

struct ask {
	struct takeout *t;
	struct frame *f;
};

static int ask_entry(struct region *r, uint64_t addr, pte_t *pte, void *arg)
{
	struct ask *a = arg;
	struct takeout *t = a->t;
	uint64_t v = *pte;

	if (r->flags & REGION_LOCKED) {
		a->f->error |= AGE_LOCKED;
		return 1;
	}
	if (v & PTE_HINT)
		return 0;
	if ((v & PTE_BUSY) || t->nr == WEIR_IO_PAGES_MAX ||
	    (t->as && t->as != r->as)) {
		a->f->error |= AGE_UNKNOWN;
		return 0;
	}
	*pte = v | PTE_BUSY;
	t->as = r->as;
	t->vec[t->nr].addr = addr;
	t->vec[t->nr].pfn = weir__pfn(t->e, a->f);
	t->vec[t->nr].flags = 0;
	t->vec[t->nr++].status = -EAGAIN;
	return 0;
}

static void sort_vec(struct weir_vec *v, unsigned nr)
{
	/* Pages come nearly in order: insertion is the cheapest sort. */
	for (unsigned i = 1; i < nr; i++) {
		struct weir_vec x = v[i];
		unsigned j = i;

		for (; j && v[j - 1].addr > x.addr; j--)
			v[j] = v[j - 1];
		v[j] = x;
	}
}

/* The page is locked: neither fault nor eviction can change these entries
 * while they are BUSY; a munmap or madvise of the program waits. */
static unsigned take_out(struct takeout *t)
{
	struct engine *e = t->e;
	unsigned young = 0;

	if (!t->nr)
		return 0;
	sort_vec(t->vec, t->nr);
	e->host->ops->unmap(e->host, t->as->host, t->vec, t->nr);
	weir__spin_lock(e, &t->as->lock);
	for (unsigned i = 0; i < t->nr; i++) {
		struct weir_vec *v = &t->vec[i];
		pte_t *pte = weir__pte(t->as, v->addr);
		struct frame *f = weir__frame(e, v->pfn);
		uint64_t old = *pte & ~PTE_BUSY;

		if (v->status == 0) {
			*pte = (old | PTE_HINT) & ~PTE_ACCESSED;
			f->error++;
			young++;
			continue;
		}
		*pte = old;
		if (v->status == -EPERM)
			f->error |= AGE_LOCKED;
		else
			f->error |= AGE_UNKNOWN;
		weir__stat_inc(e, STAT_pages_busy);
	}
	weir__pte_busy_end(t->as);
	weir__spin_unlock(e, &t->as->lock);
	t->nr = 0;
	t->as = NULL;
	return young;
}

/*
 * The walks wait for a contended aspace lock. Giving up on the page would be
 * cheaper where there are many address spaces; here one program often is all
 * there is, and while the holder of its lock is off the processor a scan that
 * gives up finds not one page of memory to be had.
 */
unsigned weir__age_locked(struct engine *e, struct list_head *pages,
			  const struct frame *scout)
{
	bool bits = e->host->ops->has_accessed_bit;
	struct takeout t = {.e = e};
	struct frame *f;
	unsigned young = 0;

	if (bits)
		weir__rmap_prefetch(e, pages);
	list_for_each_entry(f, pages, lru) {
		if (scout)
			scout = weir__lru_scout_step(e, scout);
		f->error = 0;
		if (!weir__frame_mapped(f))
			continue;
		if (bits) {
			weir__rmap_walk(e, f, false, test_clear_bit, f);
			young += (f->error & AGE_YOUNG_MASK) != 0;
			continue;
		}
		if (t.nr == WEIR_IO_PAGES_MAX)
			young += take_out(&t);
		weir__rmap_walk(e, f, false, ask_entry, &(struct ask){&t, f});
	}
	return young + take_out(&t);
}

unsigned weir__page_list_age(struct engine *e, struct list_head *pages,
			     const struct frame *scout)
{
	LIST_HEAD(locked);
	LIST_HEAD(busy);
	struct frame *f, *tmp;
	unsigned young;

	list_for_each_entry_safe(f, tmp, pages, lru) {
		if (weir__frame_trylock(f)) {
			list_move_tail(&f->lru, &locked);
		} else {
			/* The lock's holder may be using frame.error: the
			 * answer "could not tell" is left out, which shrink
			 * reads as "not young". */
			list_move_tail(&f->lru, &busy);
		}
	}
	young = weir__age_locked(e, &locked, scout);
	list_for_each_entry(f, &locked, lru)
		weir__frame_unlock(e, f);
	list_splice_init(&busy, pages);
	list_splice_init(&locked, pages);
	return young;
}

void weir__page_list_ask(struct engine *e, struct list_head *pages)
{
	LIST_HEAD(locked);
	LIST_HEAD(busy);
	struct frame *f, *tmp;

	list_for_each_entry_safe (f, tmp, pages, lru)
		list_move_tail(&f->lru,
			       weir__frame_trylock(f) ? &locked : &busy);
	weir__age_locked(e, &locked, NULL);
	list_for_each_entry (f, &locked, lru) {
		if (f->error & AGE_LOCKED)
			weir__frame_mlock(e, f);
		else if (!(f->error & AGE_UNKNOWN))
			weir__frame_set(f, FRAME_ASKED);
		weir__frame_unlock(e, f);
	}
	list_splice_init(&busy, pages);
	list_splice_init(&locked, pages);
}

/* --- try_to_unmap -------------------------------------------------------- */

struct unmap_arg {
	struct engine *e;
	struct frame *f;
	swp_entry_t s;
	unsigned removed; /* references of entries that went */
	bool refused;
};

static int unmap_entry(struct region *r, uint64_t addr, pte_t *pte, void *arg)
{
	struct unmap_arg *a = arg;
	uint64_t v = *pte;

	if ((r->flags & REGION_LOCKED) || (v & PTE_BUSY) ||
	    (!a->e->host->ops->has_accessed_bit && !(v & PTE_HINT)) ||
	    weir__swap_dup(a->e, a->s)) {
		a->refused = true;
		return 1;
	}
	/* The machine may set DIRTY up to the very exchange. */
	v = pte_xchg(pte, pte_mk_swap(a->s, 0));
	if (v & PTE_DIRTY)
		weir__frame_set(a->f, FRAME_DIRTY);
	if (!(v & PTE_WRITE) && r->write_bias)
		r->write_bias--;
	r->as->nr_anon--;
	r->as->nr_swapents++;
	/* A fork may give the swap entry a second owner. */
	weir__frame_clear(a->f, FRAME_EXCLUSIVE);
	weir__page_remove_rmap(a->e, a->f);
	a->removed++;
	return 0;
}

/* A page of a file: the entry goes, a fault finds the page by its place. */
static int unmap_file_entry(struct region *r, uint64_t addr, pte_t *pte,
			    void *arg)
{
	struct unmap_arg *a = arg;
	uint64_t v = pte_load(pte);

	if ((r->flags & REGION_LOCKED) || (v & PTE_BUSY)) {
		a->refused = true;
		return 1;
	}
	if (pte_xchg(pte, 0) & PTE_DIRTY)
		weir__page_dirty(a->e, a->f);
	r->as->nr_file--;
	weir__page_remove_rmap(a->e, a->f);
	a->removed++;
	return 0;
}

int weir__try_to_unmap(struct engine *e, struct frame *f)
{
	struct unmap_arg a = {.e = e, .f = f, .s = f->private};

	weir__rmap_walk(e, f, false,
			weir__frame_mapping(f) ? unmap_file_entry : unmap_entry,
			&a);
	for (unsigned i = 0; i < a.removed; i++)
		weir__page_put(e, f); /* the isolation holds one more */
	return weir__frame_mapped(f) ? -1 : (int)a.removed;
}
