/* SPDX-License-Identifier: MIT */
/* Page frames: flags, references, the page lock, the page's class. */
#ifndef WEIR_ENGINE_FRAME_H
#define WEIR_ENGINE_FRAME_H

#include "engine/types.h"

static inline bool frame_test(const struct frame *f, uint32_t bits)
{
	return __atomic_load_n((const uint32_t *)&f->flags, __ATOMIC_ACQUIRE) &
	       bits;
}

/* Set or clear; the result says whether any of the bits was set before. */
bool weir__frame_set(struct frame *f, uint32_t bits);
bool weir__frame_clear(struct frame *f, uint32_t bits);

/*
 * The page lock: exclusive right to a transition of the page. Sleeps on
 * frame.flags. Debug builds check that no spinlock is held.
 */
void weir__frame_lock(struct engine *e, struct frame *f);
bool weir__frame_trylock(struct frame *f);
void weir__frame_unlock(struct engine *e, struct frame *f);
/* Sleeps until none of the bits (LOCKED, WRITEBACK) is set. */
void weir__frame_wait(struct engine *e, struct frame *f, uint32_t bits);
/* Clears the bit and wakes who waits for it (end of write-back). */
void weir__frame_end(struct engine *e, struct frame *f, uint32_t bit);

/* References. get needs one already held; tryget fails on a free frame. */
void weir__frame_get(struct frame *f);
bool weir__frame_tryget(struct frame *f);
/* True when this was the last one: the caller frees the frame. */
bool weir__frame_put_testzero(struct frame *f);
/* Atomically expected -> 0; false when the count is anything else. */
bool weir__frame_freeze(struct frame *f, int expected);

/* Page-table entries that map it: 0, 1, 2, ... (frame.mapcount + 1). */
int weir__page_mapcount(const struct frame *f);
bool weir__frame_mapped(const struct frame *f);

struct anon_vma *weir__frame_anon_vma(const struct frame *f);

enum page_class {
	CLASS_UNRECLAIMABLE,
	CLASS_SWAPPABLE,
	CLASS_SYNCABLE,
	CLASS_DISCARDABLE
};

enum page_class weir__frame_class(const struct frame *f);
const char *weir__page_class_name(enum page_class c);

/* Flag algebra that must hold for a frame nobody is changing. */
bool weir__frame_is_valid(struct engine *e, const struct frame *f);

#endif
