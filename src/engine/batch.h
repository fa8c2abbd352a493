/* SPDX-License-Identifier: MIT */
/*
 * Per-CPU LRU batches: six moves and the mlock batch, 31 pages each. A page in
 * a batch holds one reference there. Also the life of an LRU page's last
 * reference (page_put), since that leaves a list too.
 */
#ifndef WEIR_ENGINE_BATCH_H
#define WEIR_ENGINE_BATCH_H

#include "engine/types.h"

/* Empty batches and their locks, at start-up. */
void weir__batches_init(struct engine *e);

/*
 * [any] below means: with locks of ranks before RANK_BATCH at most. Every
 * function that queues may drain its batch and so free pages whose last
 * reference stood there.
 */

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

/* [any] This CPU's batches; every CPU's. */
void weir__lru_add_drain(struct engine *e);
void weir__lru_add_drain_all(struct engine *e);
/* While disabled (calls nest) every queued page is moved at once. [any] */
void weir__lru_cache_disable(struct engine *e);
void weir__lru_cache_enable(struct engine *e);

/* Takes the page off its list for the caller, who holds a reference already
 * (LRU flag cleared, one more reference). False when it is on none, or being
 * isolated by somebody else. Not counted in nr_isolated. */
bool weir__frame_isolate_lru(struct engine *e, struct frame *f);
/* Puts an isolated page back by its flags; the isolation's reference goes to
 * the add batch. */
void weir__frame_putback_lru(struct engine *e, struct frame *f);

/* [any] Drops a reference; the last one takes the page off its list and frees
 * the frame. */
void weir__page_put(struct engine *e, struct frame *f);
/* The same for many, with one trip to each lock for a run of pages. */
void weir__pages_put(struct engine *e, struct frame **f, unsigned nr);
/* Frees pages whose count is already 0 and which are on no list (linked by
 * frame.lru; the list ends empty). [any] */
void weir__pages_release(struct engine *e, struct list_head *dead);

/* Not locked by the program. */
bool weir__frame_evictable(const struct frame *f);

#endif
