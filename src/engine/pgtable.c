/* SPDX-License-Identifier: MIT */
/*
 * Page tables: four levels of 512 entries, each table one frame of the direct
 * map. A directory entry is pte_mk(pfn of the table below, 0), so "no table"
 * and "no entry" are the same zero word.
 *
 * Nobody counts the live entries of a table: entries are written in place by
 * whoever holds the aspace lock, and looking at 512 words when a range is
 * unmapped costs less than a count kept at every fault.
 */
#include "engine/pgtable.h"

#include <errno.h>
#include <string.h>

#include "engine/check.h"
#include "engine/frame.h"

#define LEVEL_BITS 9
#define TABLE_SIZE (1u << LEVEL_BITS)
#define TOP_LEVEL  3 /* the root; leaves are level 0 */

/* Leaf tables looked at in one go of the aspace lock by trim. */
#define TRIM_SPAN (64 * PTE_TABLE_SPAN)

_Static_assert(TABLE_SIZE * sizeof(pte_t) == PAGE_SIZE, "a table is a frame");

static unsigned level_index(uint64_t addr, int level)
{
	return (unsigned)(addr >> (PAGE_SHIFT + LEVEL_BITS * level)) &
	       (TABLE_SIZE - 1);
}

/* Bytes that one entry of this level covers. */
static uint64_t level_span(int level)
{
	return (uint64_t)1 << (PAGE_SHIFT + LEVEL_BITS * level);
}

/* First address of the next entry of this level. */
static uint64_t level_next(uint64_t addr, int level)
{
	return (addr | (level_span(level) - 1)) + 1;
}

static pte_t *table_at(const struct aspace *as, pfn_t pfn)
{
	return (pte_t *)(as->tables + (size_t)pfn * PAGE_SIZE);
}

static struct frame *table_new(struct engine *e, gfp_t gfp)
{
	struct frame *f = weir__frames_alloc(e, gfp | GFP_ZERO, 0);

	if (f)
		weir__frame_set(f, FRAME_PGTABLE);
	return f;
}

static void table_free(struct engine *e, struct frame *f)
{
	weir__frame_clear(f, FRAME_PGTABLE);
	weir__frames_free(e, f, 0);
}

static void table_count(struct aspace *as, int n)
{
	as->nr_ptpages += n;
	weir__stat_add(as->engine, STAT_nr_page_table_pages, n);
}

int weir__pgtable_create(struct aspace *as)
{
	struct engine *e = as->engine;
	struct frame *f = table_new(e, GFP_KERNEL);
	char *root;

	if (!f)
		return -ENOMEM;
	as->pgd = weir__pfn(e, f);
	root = e->host->ops->direct(e->host, as->pgd);
	as->tables = root - (size_t)as->pgd * PAGE_SIZE;
	table_count(as, 1);
	return 0;
}

pte_t *weir__pte_slow(struct aspace *as, uint64_t addr)
{
	uint64_t tag = addr / level_span(2) + 1;
	struct pt_walk *w = &as->walk;
	unsigned i = tag % WALK_DIRS;
	pte_t *t = table_at(as, as->pgd);
	uint64_t v;

	if (addr >= WEIR_ADDR_MAX)
		return NULL;
	if (w->dir_tag[i] != tag) {
		for (int level = TOP_LEVEL; level > 1; level--) {
			v = pte_load(&t[level_index(addr, level)]);
			if (!v)
				return NULL;
			t = table_at(as, pte_pfn(v));
		}
		w->dir_tag[i] = tag;
		w->dir[i] = t;
	}
	v = pte_load(&w->dir[i][level_index(addr, 1)]);
	if (!v)
		return NULL;
	w->leaf = table_at(as, pte_pfn(v));
	w->leaf_tag = addr / PTE_TABLE_SPAN + 1;
	return &w->leaf[level_index(addr, 0)];
}

/*
 * Hangs in the tables above addr, from *spare while it lasts. True when the
 * leaf is there. => lock held
 */
static bool table_install(struct aspace *as, uint64_t addr,
			  struct frame **spare)
{
	struct engine *e = as->engine;
	pte_t *t = table_at(as, as->pgd);

	for (int level = TOP_LEVEL; level > 0; level--) {
		pte_t *p = &t[level_index(addr, level)];

		if (!pte_load(p)) {
			if (!*spare)
				return false;
			pte_store(p, pte_mk(weir__pfn(e, *spare), 0));
			table_count(as, 1);
			*spare = NULL;
		}
		t = table_at(as, pte_pfn(pte_load(p)));
	}
	return true;
}

int weir__pte_alloc(struct aspace *as, uint64_t start, uint64_t end, gfp_t gfp)
{
	struct engine *e = as->engine;
	struct frame *spare = NULL;
	uint64_t addr = start;

	weir__bug_on(e, end > WEIR_ADDR_MAX);
	while (addr < end) {
		bool done;

		weir__spin_lock(e, &as->lock);
		do {
			done = table_install(as, addr, &spare);
			if (done)
				addr = level_next(addr, 1);
		} while (done && addr < end);
		weir__spin_unlock(e, &as->lock);
		if (done)
			break;
		spare = table_new(e, gfp);
		if (!spare)
			return -ENOMEM;
	}
	if (spare)
		table_free(e, spare);
	return 0;
}

/*
 * The first leaf table at or after *addr, which moves on to the first address
 * it has in common with [*addr, end). NULL at the end.
 */
static pte_t *next_leaf(struct aspace *as, uint64_t *addr, uint64_t end)
{
	while (*addr < end) {
		pte_t *t = table_at(as, as->pgd);
		int level;

		for (level = TOP_LEVEL; level > 0; level--) {
			uint64_t v = pte_load(&t[level_index(*addr, level)]);

			if (!v)
				break;
			t = table_at(as, pte_pfn(v));
		}
		if (!level)
			return t;
		*addr = level_next(*addr, level);
	}
	return NULL;
}

int weir__pte_walk(struct aspace *as, uint64_t start, uint64_t end,
		   int (*fn)(struct aspace *as, uint64_t addr, pte_t *pte,
			     void *arg),
		   void *arg)
{
	uint64_t addr = start;
	pte_t *leaf;

	if (end > WEIR_ADDR_MAX)
		end = WEIR_ADDR_MAX;
	weir__spin_assert_held(as->engine, &as->lock);
	while ((leaf = next_leaf(as, &addr, end))) {
		uint64_t stop = level_next(addr, 1);

		if (stop > end)
			stop = end;
		for (; addr < stop; addr += PAGE_SIZE) {
			pte_t *p = &leaf[level_index(addr, 0)];
			int ret;

			if (!atomic_load_explicit(p, memory_order_relaxed))
				continue;
			ret = fn(as, addr, p, arg);
			if (ret)
				return ret;
		}
	}
	return 0;
}

static bool table_is_empty(const pte_t *t)
{
	for (unsigned i = 0; i < TABLE_SIZE; i++)
		if (pte_load(&t[i]))
			return false;
	return true;
}

/*
 * Frees the empty tables below t, a table of `level` that begins at base, as
 * far as they touch [start, end). True when t itself is empty afterwards.
 */
static bool trim_table(struct aspace *as, pte_t *t, int level, uint64_t base,
		       uint64_t start, uint64_t end)
{
	uint64_t addr = start > base ? start : base;
	uint64_t stop = base + level_span(level + 1);

	if (stop > end)
		stop = end;
	for (; level > 0 && addr < stop; addr = level_next(addr, level)) {
		pte_t *p = &t[level_index(addr, level)];
		uint64_t v = pte_load(p);

		if (!v)
			continue;
		if (!trim_table(as, table_at(as, pte_pfn(v)), level - 1,
				addr & ~(level_span(level) - 1), start, end))
			continue;
		pte_store(p, 0);
		memset(&as->walk, 0, sizeof(as->walk));
		table_count(as, -1);
		table_free(as->engine, weir__frame(as->engine, pte_pfn(v)));
	}
	return table_is_empty(t);
}

void weir__pgtable_trim(struct aspace *as, uint64_t start, uint64_t end)
{
	struct engine *e = as->engine;
	uint64_t addr = start;

	if (end > WEIR_ADDR_MAX)
		end = WEIR_ADDR_MAX;
	for (;;) {
		uint64_t stop;

		weir__spin_lock(e, &as->lock);
		if (!next_leaf(as, &addr, end)) {
			weir__spin_unlock(e, &as->lock);
			return;
		}
		stop = end - addr > TRIM_SPAN ? addr + TRIM_SPAN : end;
		trim_table(as, table_at(as, as->pgd), TOP_LEVEL, 0, addr, stop);
		weir__spin_unlock(e, &as->lock);
		addr = stop;
	}
}

void weir__pgtable_destroy(struct aspace *as)
{
	struct engine *e = as->engine;
	bool empty;

	weir__spin_lock(e, &as->lock);
	/* Not next_leaf: a failed weir__pte_alloc may have left directories
	 * without leaves. */
	empty = trim_table(as, table_at(as, as->pgd), TOP_LEVEL, 0, 0,
			   WEIR_ADDR_MAX);
	weir__spin_unlock(e, &as->lock);
	weir__bug_on(e, !empty);
	table_count(as, -1);
	table_free(e, weir__frame(e, as->pgd));
	as->pgd = PFN_NONE;
}

/*
 * The wait word. The value is read under the lock and the waiter counts itself
 * there, so the one who ends BUSY either comes before us, and we see the entry
 * free, or sees us waiting and changes the word:
 *
 *   waiter (lock held)              owner of BUSY (lock held)
 *   sees BUSY
 *   busy_waiters++, seen = word
 *   unlock
 *                                   lock, clears BUSY
 *                                   busy_waiters != 0: word++, wake
 *   wait(word, seen): word differs, returns at once
 */
void weir__pte_busy_wait(struct aspace *as)
{
	struct engine *e = as->engine;
	uint32_t seen;

	weir__spin_assert_held(e, &as->lock);
	as->busy_waiters++;
	seen = as->busy_word;
	weir__spin_unlock(e, &as->lock);
	e->host->ops->wait(e->host, &as->busy_word, seen, 0);
	weir__spin_lock(e, &as->lock);
	as->busy_waiters--;
}

void weir__pte_busy_end(struct aspace *as)
{
	struct engine *e = as->engine;

	weir__spin_assert_held(e, &as->lock);
	if (!as->busy_waiters)
		return;
	as->busy_word++;
	e->host->ops->wake_word(e->host, &as->busy_word, UINT32_MAX);
}

/* The bits that an entry may have together. */
static bool pte_is_valid(struct engine *e, uint64_t pte)
{
	switch (pte & (PTE_PRESENT | PTE_SWAP | PTE_POISON)) {
	case 0:
		return pte == PTE_BUSY || pte == PTE_RESERVED;
	case PTE_PRESENT:
		return pte_pfn(pte) < e->nr_frames;
	case PTE_SWAP:
		return pte_swap(pte) && !(pte & (PTE_HINT | PTE_WRITE));
	case PTE_POISON:
		return !(pte & PTE_HINT);
	default:
		return false;
	}
}

static bool table_is_valid(struct aspace *as, pfn_t pfn, int level, int64_t *nr)
{
	struct engine *e = as->engine;
	pte_t *t = table_at(as, pfn);

	if (!frame_test(weir__frame(e, pfn), FRAME_PGTABLE))
		return false;
	++*nr;
	for (unsigned i = 0; i < TABLE_SIZE; i++) {
		uint64_t v = pte_load(&t[i]);

		if (!v)
			continue;
		if (!level) {
			if (!pte_is_valid(e, v))
				return false;
			continue;
		}
		if (v != pte_mk(pte_pfn(v), 0) || pte_pfn(v) >= e->nr_frames ||
		    !table_is_valid(as, pte_pfn(v), level - 1, nr))
			return false;
	}
	return true;
}

bool weir__pgtable_is_valid(struct aspace *as)
{
	int64_t nr = 0;

	return table_is_valid(as, as->pgd, TOP_LEVEL, &nr) &&
	       nr == as->nr_ptpages;
}
