/* SPDX-License-Identifier: MIT */
/*
 * Swap-in: the page asked for, its neighbours, and streams.
 *
 * Random faults read what the hit rate earns (at most 2^page_cluster pages).
 * A fault where the last run ended goes on with a stream: runs double up to
 * stream_max pages, and while one run is mapped the next one is already being
 * read.
 */
#ifndef WEIR_ENGINE_SWAPIN_H
#define WEIR_ENGINE_SWAPIN_H

#include "engine/pgtable.h"

/* The run of pages around one swap fault. */
struct swapin_window {
	uint64_t start;	 /* first address */
	unsigned nr;	 /* pages to have now */
	unsigned ahead;	 /* pages to start reading behind them */
	unsigned slots;	 /* read this many slots, an aligned block around the
			    one wanted, instead; 0 = by address */
	bool stream;
};

/*
 * => aspace lock held. Decides and notes the decision in the region. A page
 * that is in memory already (cached) starts no window, it only goes on with a
 * stream.
 */
void weir__swapin_window(struct engine *e, struct region *r, uint64_t addr,
			 bool cached, struct swapin_window *w);

/* swapwin.c: the same as Linux does it. False: not asked for. => lock held */
bool weir__swapin_window_linux(struct engine *e, struct region *r,
			       uint64_t addr, swp_entry_t entry, bool cached,
			       struct swapin_window *w);

/*
 * Starts reading every swap entry of the window that is not in memory yet.
 * Returns the frame bound to `entry` at addr with one reference, locked or
 * being read; NULL with *err = -ENOMEM (no frame) or -EAGAIN (the entry
 * changed: look again).
 */
struct frame *weir__swapin(struct engine *e, struct aspace *as, uint64_t addr,
			   swp_entry_t entry, const struct swapin_window *w,
			   int *err);

/*
 * The frame bound to the slot, with one reference, perhaps still being read;
 * nothing else is read. NULL with *err as above. *major (may be NULL) is set
 * when a read began.
 */
struct frame *weir__swapin_one(struct engine *e, swp_entry_t entry, bool *major,
			       int *err);

#endif
