/* SPDX-License-Identifier: MIT */
/*
 * Per-CPU LRU batches: six moves and the mlock batch, 31 pages each. A page in
 * a batch holds one reference there. Also the life of an LRU page's last
 * reference (page_put), since that leaves a list too.
 */
#ifndef WEIR_ENGINE_BATCH_H
#define WEIR_ENGINE_BATCH_H

#include "engine/types.h"

/* [any] The only way for a new page to reach a list. */
void weir__frame_add_lru(struct engine *e, struct frame *f);
/* [any] Second access: to the active head (or flag, if still in ADD). */
void weir__frame_activate(struct engine *e, struct frame *f);
/* [any] The state table of mark-accessed. */
void weir__frame_mark_accessed(struct engine *e, struct frame *f);
void weir__frame_deactivate_file(struct engine *e, struct frame *f);
void weir__frame_deactivate(struct engine *e, struct frame *f);
void weir__frame_lazyfree(struct engine *e, struct frame *f);
/* [any] End of write-back with FRAME_RECLAIM. */
void weir__frame_rotate(struct engine *e, struct frame *f);
void weir__frame_mlock(struct engine *e, struct frame *f);
void weir__frame_mlock_new(struct engine *e, struct frame *f);
void weir__frame_munlock(struct engine *e, struct frame *f);

/* [any without spinlocks] This CPU's batches; every CPU's. */
void weir__lru_add_drain(struct engine *e);
void weir__lru_add_drain_all(struct engine *e);

/* Takes the page off its list for the caller (LRU flag cleared, one more
 * reference). False when it is on none. */
bool weir__frame_isolate_lru(struct engine *e, struct frame *f);
/* Puts an isolated page back by its flags; the isolation's reference goes to
 * the add batch. */
void weir__frame_putback_lru(struct engine *e, struct frame *f);

/* [any without spinlocks] Drops a reference; the last one takes the page off
 * its list and frees the frame. */
void weir__page_put(struct engine *e, struct frame *f);
/* The same for many, with one trip to each lock. */
void weir__pages_put(struct engine *e, struct frame **f, unsigned nr);

bool weir__frame_evictable(const struct frame *f);

#endif
