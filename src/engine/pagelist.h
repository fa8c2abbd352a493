/* SPDX-License-Identifier: MIT */
/* Inside of pagelist.c, pageage.c and pageout.c: a batch of isolated pages. */
#ifndef WEIR_ENGINE_PAGELIST_H
#define WEIR_ENGINE_PAGELIST_H

#include "engine/vmscan.h"

/*
 * pageage.c. => every page of the list is locked by the caller. Answers in
 * frame.error as for weir__page_list_age.
 */
unsigned weir__age_locked(struct engine *e, struct list_head *pages,
			  const struct frame *scout);

/*
 * try_to_unmap: every entry becomes a swap entry, or, of a page of a file, none.
 * => page locked; anonymous: bound to a slot. How many entries went, or -1 when
 * something still maps the page.
 */
int weir__try_to_unmap(struct engine *e, struct frame *f);

/*
 * pageout.c. Slots for the locked pages of `want` (anonymous, not bound), in
 * order of their address, so that what is evicted together lies together.
 * Those that got none are moved to `failed`.
 */
void weir__add_to_swap(struct engine *e, struct list_head *want,
		       struct list_head *failed);
/*
 * Starts writing the locked, unmapped, dirty pages of `dirty`, in runs of
 * consecutive slots. Pages found to be all zeros move to `clean` unwritten,
 * and so do those written before this returns; the others to `started`:
 * unlocked, under write-back.
 */
void weir__pageout(struct engine *e, struct list_head *dirty,
		   struct list_head *clean, struct list_head *started);

/* Sorts by (mapping, index). */
void weir__sort_pages(struct list_head *pages);

#endif
