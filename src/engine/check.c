/* SPDX-License-Identifier: MIT */
/*
 * The books of a whole engine, checked against each other.
 *
 * Each room knows whether its own object is sound (weir__zone_is_valid and so
 * on). What only the whole can show is that nothing is missing and nothing is
 * counted twice between the rooms:
 *
 *   1. every frame is in exactly one place: free in the buddy lists, in a
 *      per-CPU list, or in use; and in use by exactly one of slab, page
 *      tables, the engine otherwise, the LRU lists, a batch on its way there;
 *   2. every reference has a holder: page-table entries, the swap cache, a
 *      batch;
 *   3. every entry is found by the reverse map, and nothing else is;
 *   4. every counter equals what it counts.
 *
 * There is no memory for a mark on each frame, so the proof of 1 is by counting
 * twice: frames are told apart by their flags in one walk over the memmap, and
 * each room's lists have been counted by its own walker. As a list's walker
 * demands the flags of the list of each entry, equal sums leave no frame over.
 *
 * All of it holds at rest only: no task inside the engine, no I/O under way.
 */
#include <stdatomic.h>

#include "engine/aspace.h"
#include "engine/buddy.h"
#include "engine/check.h"
#include "engine/frame.h"
#include "engine/iopool.h"
#include "engine/lruvec.h"
#include "engine/pcache.h"
#include "engine/pgtable.h"
#include "engine/rmap.h"
#include "engine/slab.h"
#include "engine/swap.h"
#include "engine/vfscache.h"
#include "util/linebuf.h"

struct census {
	struct engine *e;
	struct linebuf why;
	bool ok;

	/* frames, by their flags */
	int64_t buddy, loose, slab, pgtable, kernel, reserved, lru, batched;
	/* pages of programs */
	int64_t mapped, entries, swapcache;
	int64_t file_mapped, cached, shmem, dirty;
};

static void complain(struct census *c, const char *what)
{
	if (c->ok)
		lb_str(&c->why, what);
	c->ok = false;
}

static void complain_frame(struct census *c, const struct frame *f,
			   const char *what)
{
	if (!c->ok)
		return;
	lb_u64(lb_str(&c->why, "frame "), weir__pfn(c->e, f));
	lb_str(lb_str(&c->why, ": "), what);
	c->ok = false;
}

static void expect(struct census *c, const char *what, int64_t counted,
		   int64_t found)
{
	if (!c->ok || counted == found)
		return;
	lb_str(&c->why, what);
	lb_i64(lb_str(&c->why, ": counted "), counted);
	lb_i64(lb_str(&c->why, ", found "), found);
	c->ok = false;
}

/* --- the rooms ----------------------------------------------------------- */

static void check_rooms(struct census *c)
{
	struct engine *e = c->e;

	for (unsigned i = 0; i < e->nr_nodes; i++) {
		struct node *n = &e->nodes[i];

		for (unsigned z = 0; z < n->nr_zones; z++)
			if (!weir__zone_is_valid(&n->zones[z]))
				complain(c, "free lists of a zone");
		if (!weir__lruvec_is_valid(e, &n->lruvec))
			complain(c, "LRU lists of a node");
		expect(c, "isolated anonymous pages", n->nr_isolated[0], 0);
		expect(c, "isolated file pages", n->nr_isolated[1], 0);
		expect(c, "pages under write-back", n->nr_writeback, 0);
	}
	if (!weir__slab_is_valid(e))
		complain(c, "slabs");
	if (!weir__swap_is_valid(e))
		complain(c, "swap areas");
	if (!weir__vfs_is_valid(e))
		complain(c, "dentries and inodes");
	expect(c, "I/O requests in use", weir__io_busy(e), 0);
}

/* --- one frame ----------------------------------------------------------- */

/* References that batches hold; *waits: one of them will put it on a list. */
static int batch_refs(struct engine *e, const struct frame *f, bool *waits)
{
	pfn_t pfn = weir__pfn(e, f);
	int nr = 0;

	*waits = false;
	for (unsigned cpu = 0; cpu < e->nr_cpus; cpu++) {
		for (unsigned k = 0; k < NR_BATCHES; k++) {
			const struct fbatch *b = &e->batches[cpu].batch[k];

			for (unsigned i = 0; i < b->nr; i++) {
				if (b->pfn[i] != pfn)
					continue;
				nr++;
				*waits |= k == BATCH_ADD || k == BATCH_MLOCK;
			}
		}
	}
	return nr;
}

static int count_entry(struct region *r, uint64_t addr, pte_t *pte, void *arg)
{
	++*(int *)arg;
	return 0;
}

/* The reverse map finds as many entries as the page counts. */
static void check_mapped(struct census *c, struct frame *f)
{
	int found = 0;

	if (weir__frame_anon_vma(f))
		c->mapped++;
	else
		c->file_mapped++;
	c->entries += weir__page_mapcount(f);
	if (!weir__frame_trylock(f)) {
		complain_frame(c, f, "locked at rest");
		return;
	}
	weir__rmap_walk(c->e, f, false, count_entry, &found);
	weir__frame_unlock(c->e, f);
	if (found != weir__page_mapcount(f))
		complain_frame(c, f, "mapcount is not what the entries say");
}

/* A page of a program: on a list, or on its way there. */
static void check_page(struct census *c, struct frame *f)
{
	int refs = weir__page_mapcount(f), in_batches;
	bool waits;

	if (weir__frame_mapped(f))
		check_mapped(c, f);
	if (frame_test(f, FRAME_SWAPCACHE)) {
		c->swapcache++;
		refs++;
	}
	if (weir__frame_mapping(f)) {
		c->cached++;
		c->shmem += frame_test(f, FRAME_SWAPBACKED);
		c->dirty += weir__frame_is_file(f) && frame_test(f, FRAME_DIRTY);
		refs++;
	}
	refs += frame_test(f, FRAME_PRIVATE);
	in_batches = batch_refs(c->e, f, &waits);
	if (frame_test(f, FRAME_LRU))
		c->lru++;
	else if (waits)
		c->batched++;
	else
		complain_frame(c, f, "in use, and in no place");
	if (f->refcount != refs + in_batches)
		complain_frame(c, f, "a reference without a holder");
}

/* A block in use. */
static void check_used(struct census *c, struct frame *f)
{
	const uint32_t owner =
	    FRAME_SLAB | FRAME_PGTABLE | FRAME_KERNEL | FRAME_RESERVED;
	int64_t nr = (int64_t)1 << f->order;

	if (frame_test(f, FRAME_LOCKED | FRAME_WRITEBACK))
		complain_frame(c, f, "locked or being written at rest");
	for (int64_t i = 1; i < nr; i++)
		if (!frame_test(&f[i], FRAME_TAIL))
			complain_frame(c, &f[i], "not the tail of its block");
	if (frame_test(f, owner) && frame_test(f, FRAME_LRU))
		complain_frame(c, f, "the engine's own, and on a list");
	if (frame_test(f, FRAME_SLAB))
		c->slab += nr;
	else if (frame_test(f, FRAME_PGTABLE))
		c->pgtable += nr;
	else if (frame_test(f, FRAME_KERNEL))
		c->kernel += nr;
	else if (frame_test(f, FRAME_RESERVED))
		c->reserved += nr;
	else
		check_page(c, f);
}

static void walk_frames(struct census *c)
{
	struct engine *e = c->e;
	pfn_t pfn = 0;

	while (pfn < e->nr_frames && c->ok) {
		struct frame *f = weir__frame(e, pfn);

		if (!weir__frame_is_valid(e, f)) {
			complain_frame(c, f, "flags and counts do not fit");
		} else if (frame_test(f, FRAME_BUDDY)) {
			c->buddy += (int64_t)1 << f->order;
			pfn += (pfn_t)1 << f->order;
			continue;
		} else if (f->refcount) {
			check_used(c, f);
			pfn += (pfn_t)1 << f->order;
			continue;
		} else if (frame_test(f, FRAME_TAIL)) {
			complain_frame(c, f, "tail of no block");
		} else {
			c->loose++;
		}
		pfn++;
	}
}

/* --- sums ---------------------------------------------------------------- */

static void check_free(struct census *c)
{
	struct engine *e = c->e;
	int64_t buddy = 0, pcp = 0;

	for (unsigned i = 0; i < e->nr_nodes; i++) {
		struct node *n = &e->nodes[i];

		for (unsigned z = 0; z < n->nr_zones; z++) {
			struct zone *zn = &n->zones[z];

			buddy += zn->free_pages;
			for (unsigned cpu = 0; cpu < e->nr_cpus; cpu++)
				pcp += zn->pcp[cpu].count;
		}
	}
	expect(c, "free frames", buddy, c->buddy);
	expect(c, "frames in per-CPU lists", pcp, c->loose);
}

static void check_lists(struct census *c)
{
	struct engine *e = c->e;
	int64_t size[NR_LRU_LISTS] = {0}, all = 0;

	for (unsigned i = 0; i < e->nr_nodes; i++)
		for (unsigned l = 0; l < NR_LRU_LISTS; l++)
			size[l] += e->nodes[i].lruvec.size[l];
	for (unsigned l = 0; l < NR_LRU_LISTS; l++) {
		enum stat_item item = STAT_nr_inactive_anon + l;

		all += size[l];
		expect(c, weir__stat_name(item), weir__stat_read(e, item),
		       size[l]);
	}
	expect(c, "pages on LRU lists", all, c->lru);
}

static void check_spaces(struct census *c)
{
	struct engine *e = c->e;
	int64_t entries = 0, tables = 0;
	struct aspace *as;

	/* At rest: nobody changes the list, and a walker may sleep. */
	list_for_each_entry (as, &e->aspaces, link) {
		if (!weir__aspace_is_valid(as))
			complain(c, "an address space");
		entries += as->nr_anon + as->nr_file;
		tables += as->nr_ptpages;
	}
	expect(c, "page-table entries and maps", entries, c->entries);
	expect(c, "page tables of address spaces", tables, c->pgtable);
}

/* Every file's tree, and that it holds every page that says so. */
static void check_files(struct census *c)
{
	struct engine *e = c->e;
	int64_t pages = 0, dirty = 0;
	struct mapping *m;

	list_for_each_entry (m, &e->pcache->mappings, link) {
		if (!weir__mapping_is_valid(m))
			complain(c, "the cache of a file");
		pages += (int64_t)m->nr_pages;
		dirty += (int64_t)m->nr_dirty;
		expect(c, "pages of a file being written",
		       (int64_t)m->nr_writeback, 0);
	}
	expect(c, "pages in files' caches", pages, c->cached);
	expect(c, "dirty pages of files", dirty, c->dirty);
	dirty = 0;
	for (unsigned i = 0; i < e->nr_nodes; i++)
		dirty += e->nodes[i].nr_dirty;
	expect(c, "dirty pages of nodes", dirty, c->dirty);
}

static void check_stats(struct census *c)
{
	const struct {
		enum stat_item item;
		int64_t found;
	} t[] = {
	    {STAT_nr_mapped, c->file_mapped},
	    {STAT_nr_file_pages, c->cached},
	    {STAT_nr_shmem, c->shmem},
	    {STAT_nr_dirty, c->dirty},
	    {STAT_nr_anon_pages, c->mapped},
	    {STAT_nr_swapcached, c->swapcache},
	    {STAT_nr_page_table_pages, c->pgtable},
	    {STAT_nr_slab_pages, c->slab},
	    {STAT_nr_isolated_anon, 0},
	    {STAT_nr_isolated_file, 0},
	    {STAT_nr_writeback, 0},
	};

	for (unsigned i = 0; i < sizeof(t) / sizeof(*t); i++)
		expect(c, weir__stat_name(t[i].item),
		       weir__stat_read(c->e, t[i].item), t[i].found);
	expect(c, "frames taken, less given back",
	       weir__stat_read(c->e, STAT_pgalloc) -
		   weir__stat_read(c->e, STAT_pgfree),
	       c->slab + c->pgtable + c->kernel + c->lru + c->batched);
}

bool weir__engine_is_valid(struct engine *e, char *why, size_t len)
{
	struct census c = {.e = e, .ok = true};

	lb_init(&c.why, why, len);
	check_rooms(&c);
	if (c.ok)
		walk_frames(&c);
	if (c.ok) {
		check_free(&c);
		check_lists(&c);
		check_spaces(&c);
		check_files(&c);
		check_stats(&c);
	}
	return c.ok;
}
