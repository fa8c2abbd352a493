/* SPDX-License-Identifier: MIT */
/*
 * Reclaim frees a page by storing it, and a store in memory takes a part of the
 * page for that: so it may have frames when nobody else can, out of what is
 * kept below the min mark for those who free memory. But it is one of several
 * there. A page table that cannot be had in the middle of reclaim ends it; a
 * page that cannot be stored is only kept a little longer. So the last quarter
 * is not lent.
 */
#include "engine/alloc.h"
#include "engine/frame.h"
#include "engine/loan.h"

#define RESERVE_KEPT 4u /* min / this */

static bool reserve_allows(struct engine *e, unsigned nr)
{
	int64_t have = 0, keep = 0;

	for (unsigned i = 0; i < e->nr_nodes; i++) {
		struct node *n = &e->nodes[i];

		for (unsigned z = 0; z < n->nr_zones; z++) {
			have += n->zones[z].free_pages;
			keep += (int64_t)__atomic_load_n(
			    &n->zones[z].wmark[WMARK_MIN], __ATOMIC_RELAXED);
		}
	}
	return have >= keep / (int64_t)RESERVE_KEPT + nr;
}

bool weir__frames_lend(struct engine *e, unsigned nr, pfn_t *pfn)
{
	unsigned got = 0;

	if (!reserve_allows(e, nr))
		return false;
	for (; got < nr; got++) {
		struct frame *f = weir__frames_alloc(e, GFP_MEMALLOC, 0);

		if (!f) {
			weir__frames_give_back(e, pfn, got);
			return false;
		}
		weir__frame_set(f, FRAME_KERNEL);
		pfn[got] = weir__pfn(e, f);
		weir__stat_inc(e, STAT_nr_zspages);
	}
	return true;
}

void weir__frames_give_back(struct engine *e, const pfn_t *pfn, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		struct frame *f = weir__frame(e, pfn[i]);

		weir__frame_clear(f, FRAME_KERNEL);
		weir__stat_add(e, STAT_nr_zspages, -1);
		weir__frames_free(e, f, 0);
	}
}
