/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "engine/batch.h"
#include "engine/buffers.h"
#include "engine/check.h"
#include "engine/frame.h"
#include "engine/pcache.h"
#include "engine/slab.h"

#define BUSY (BUFFER_DIRTY | BUFFER_LOCKED)

static struct buffer *first(const struct frame *page)
{
	return frame_test(page, FRAME_PRIVATE)
		   ? (struct buffer *)(uintptr_t)page->private
		   : NULL;
}

/* f for each buffer of the page. */
#define for_each_buffer(b, page)                                               \
	for (struct buffer *b##_head = first(page), *b = b##_head; b;          \
	     b = b->next == b##_head ? NULL : b->next)

static void free_ring(struct engine *e, struct buffer *ring)
{
	struct buffer *b = ring, *next;

	do {
		next = b->next;
		weir__slab_free(e, e->pcache->buffer_cache, b);
		b = next;
	} while (b && b != ring);
}

int weir__buffers_create(struct engine *e, struct frame *page, gfp_t gfp)
{
	struct buffer *ring = NULL, *last = NULL;

	if (frame_test(page, FRAME_PRIVATE))
		return 0;
	for (unsigned i = 0; i < PAGE_BUFFERS; i++) {
		struct buffer *b =
		    weir__slab_alloc(e, e->pcache->buffer_cache, gfp);

		if (!b) {
			if (ring)
				free_ring(e, ring);
			return -ENOMEM;
		}
		b->next = NULL;
		b->page = page;
		b->block = page->index * PAGE_BUFFERS + i;
		b->state = frame_test(page, FRAME_DIRTY) ? BUFFER_DIRTY : 0;
		b->count = 0;
		if (last)
			last->next = b;
		else
			ring = b;
		last = b;
	}
	last->next = ring;
	page->private = (uint64_t)(uintptr_t)ring;
	weir__frame_get(page);
	weir__frame_set(page, FRAME_PRIVATE);
	return 0;
}

void weir__buffers_dirty(struct frame *page, unsigned off, unsigned len)
{
	for_each_buffer(b, page) {
		unsigned at = (b->block % PAGE_BUFFERS) << BUFFER_SHIFT;

		if (at < off + len && at + BUFFER_BYTES > off)
			b->state |= BUFFER_DIRTY;
	}
}

void weir__buffers_start_write(struct frame *page)
{
	for_each_buffer(b, page)
		if (b->state & BUFFER_DIRTY)
			b->state = BUFFER_LOCKED;
}

void weir__buffers_end_write(struct frame *page, bool failed)
{
	for_each_buffer(b, page)
		if (b->state & BUFFER_LOCKED)
			b->state ^= BUFFER_LOCKED |
				    (failed && !(b->state & BUFFER_DIRTY)
					 ? BUFFER_DIRTY
					 : 0);
}

void weir__buffers_forget(struct frame *page)
{
	for_each_buffer(b, page)
		b->state &= ~(uint32_t)BUFFER_DIRTY;
}

bool weir__buffers_release(struct engine *e, struct frame *page)
{
	struct buffer *ring = first(page);

	if (!ring)
		return true;
	weir__assert(e, frame_test(page, FRAME_LOCKED));
	if (frame_test(page, FRAME_WRITEBACK))
		return false;
	for_each_buffer(b, page)
		if (b->count || b->state & BUSY)
			return false;
	weir__frame_clear(page, FRAME_PRIVATE);
	page->private = 0;
	free_ring(e, ring);
	weir__bug_on(e, weir__frame_put_testzero(page));
	return true;
}

struct buffer *weir__buffer_get(struct frame *page, unsigned i)
{
	for_each_buffer(b, page)
		if (b->block % PAGE_BUFFERS == i) {
			b->count++;
			return b;
		}
	return NULL;
}

void weir__buffer_put(struct engine *e, struct buffer *b)
{
	weir__bug_on(e, b->count-- <= 0);
}

bool weir__buffers_are_valid(const struct frame *page)
{
	unsigned nr = 0;

	for_each_buffer(b, page)
		if (b->page != page || nr++ == PAGE_BUFFERS)
			return false;
	return !first(page) || nr == PAGE_BUFFERS;
}
