/* SPDX-License-Identifier: MIT */
/*
 * Memory of the engine's frames.
 *
 * direct   frame n of engine-owned kind stands at direct + n * 4096.
 * hand     buffers for user pages in hand, 64 to a chunk. A chunk is filled
 *          from its start and given up as a whole: pages that are taken out
 *          together mostly end together, and only whole runs are cheap to
 *          give back to the kernel.
 *
 * Physical memory behind a buffer whose page is gone is garbage: it counts
 * against the reserve `garbage_max`. Chunks that are all garbage are kept warm
 * for reads up to warm_max; beyond that they are emptied: moved to the trash
 * area, which raises no events, and dropped there (janitor.c).
 */
#ifndef WEIR_LIVE_ARENA_H
#define WEIR_LIVE_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#include "util/list.h"

struct live;
struct weir_host;

#define CHUNK_PAGES 64u
#define BUF_NONE    UINT32_MAX

enum chunk_state {
	CHUNK_EMPTY, /* no memory behind it */
	CHUNK_OPEN,  /* being filled */
	CHUNK_USED,
	CHUNK_WARM, /* memory behind all of it, nothing live */
	CHUNK_TRASH /* being emptied */
};

struct chunk {
	struct list_head link;
	uint64_t live;	    /* bit per buffer: a page's contents */
	uint64_t populated; /* bit per buffer: memory behind it */
	uint64_t pinned;	    /* bit per buffer: I/O under way */
	uint8_t pins[CHUNK_PAGES];
	uint8_t next;	    /* first buffer not handed out */
	uint8_t state;
};

struct arena {
	char *direct, *hand, *trash;
	uint64_t nr_frames;
	uint32_t nr_chunks;
	struct chunk *chunk;
	uint32_t *buf_of;      /* [pfn] buffer or BUF_NONE */
	uint64_t *direct_used; /* bitmap by pfn */
	_Atomic uint32_t lock;
	struct list_head empty, warm, used, dead;
	uint32_t open_out, open_in; /* chunk numbers, BUF_NONE none */
	uint32_t open_gap;	    /* whose gaps are given out */
	uint64_t gaps;		    /* those of it that are left */
	uint32_t nr_warm, warm_max;
	int64_t garbage, garbage_max; /* pages */
	int64_t populated;
};

int arena_init(struct live *l, uint64_t nr_frames, uint32_t garbage_max);
void *arena_direct(struct weir_host *h, uint32_t pfn);
/* Address of the frame's buffer, one is given if it has none. */
void *arena_contents(struct weir_host *h, uint32_t pfn);
/* The same for a page that is read alone and need not stand beside others: it
 * takes a gap that a page left behind, so that the gap need not be given back
 * to the kernel by itself, which is dear. */
void *arena_contents_gap(struct weir_host *h, uint32_t pfn);
void arena_release(struct weir_host *h, uint32_t pfn, unsigned nr);
/* The frame's page is in place now: its buffer is garbage. */
void arena_forget(struct arena *a, uint32_t pfn);
/* The same, and the memory behind its buffer went with it. */
void arena_moved_back(struct arena *a, uint32_t pfn);
/* Up to nr consecutive buffers without memory; how many, *first. */
unsigned arena_reserve_out(struct arena *a, unsigned nr, uint32_t *first);
/* The outcome for each: bound to the frame, or given back unused. */
void arena_bind_out(struct arena *a, uint32_t buf, uint32_t pfn);
void arena_cancel_out(struct arena *a, uint32_t buf);
static inline char *arena_buf(struct arena *a, uint32_t buf)
{
	return a->hand + (uint64_t)buf * 4096;
}
uint32_t arena_buf_of(struct arena *a, uint32_t pfn);
void arena_pin(struct arena *a, uint32_t buf);
bool arena_is_pinned(struct arena *a, uint32_t buf);
void arena_unpin(struct arena *a, uint32_t buf);
/* A run of garbage to give back: chunk and bits, or false. The bits are taken:
 * arena_trashed() must follow. */
bool arena_take_garbage(struct arena *a, uint32_t *chunk, uint64_t *bits);
void arena_trashed(struct arena *a, uint32_t chunk, uint64_t bits, bool ok);
/* More garbage than there should be; than there may be. */
bool arena_over(struct arena *a);
bool arena_far_over(struct arena *a);

#endif
