/* SPDX-License-Identifier: MIT */
/*
 * Buffers: the blocks of a page, for files written in blocks smaller than a page
 * (MAPPING_BUFFERS), block devices above all.
 *
 * A page's buffers are a ring of small objects that frame.private points to
 * (FRAME_PRIVATE); together they hold one reference to the page. A buffer that
 * somebody uses (count), that is dirty, or that is being written keeps its page;
 * before the page can be freed, all of them have to go.
 */
#ifndef WEIR_ENGINE_BUFFERS_H
#define WEIR_ENGINE_BUFFERS_H

#include "engine/alloc.h"

#define BUFFER_SHIFT 10 /* 1 KiB blocks */
#define BUFFER_BYTES (1u << BUFFER_SHIFT)
#define PAGE_BUFFERS (PAGE_SIZE / BUFFER_BYTES)

enum {
	BUFFER_DIRTY = 1 << 0,
	BUFFER_LOCKED = 1 << 1 /* being written */
};

struct buffer {
	struct buffer *next; /* ring */
	struct frame *page;
	uint64_t block; /* of the file */
	_Atomic uint32_t state; /* BUFFER_* */
	_Atomic int32_t count;	/* users */
};

/* => page lock held. Gives the page buffers if it has none. 0 or -ENOMEM. */
int weir__buffers_create(struct engine *e, struct frame *page, gfp_t gfp);
/* => page lock held. Nothing to do for a page without. */
void weir__buffers_dirty(struct frame *page, unsigned off, unsigned len);
/* The page is about to be written / has been. */
void weir__buffers_start_write(struct frame *page);
void weir__buffers_end_write(struct frame *page, bool failed);
/* What is dirty is given up: the page goes. */
void weir__buffers_forget(struct frame *page);
/* => page lock held. Frees them unless one is busy; false: one is. True for a
 * page without. The reference goes too. */
bool weir__buffers_release(struct engine *e, struct frame *page);
/* References that buffers hold: 0 or 1. */
static inline int weir__buffers_refs(const struct frame *page)
{
	return __atomic_load_n((const uint32_t *)&page->flags,
			       __ATOMIC_ACQUIRE) &
		       FRAME_PRIVATE
		   ? 1
		   : 0;
}

/* One of them, in use until it is put. => the page has buffers */
struct buffer *weir__buffer_get(struct frame *page, unsigned i);
void weir__buffer_put(struct engine *e, struct buffer *b);

/* A ring of the right length, each naming the page. => at rest */
bool weir__buffers_are_valid(const struct frame *page);

#endif
