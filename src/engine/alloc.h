/* SPDX-License-Identifier: MIT */
/*
 * Frame requests.
 *
 * page_alloc.c (floor 1) holds the fast path and the watermark test with its
 * rights; alloc.c (floor 5) holds the slow path and hangs itself into
 * engine.alloc_slow at start-up, so that the free lists never call reclaim.
 */
#ifndef WEIR_ENGINE_ALLOC_H
#define WEIR_ENGINE_ALLOC_H

#include "engine/types.h"

enum {
	GFP_DIRECT_RECLAIM = 1 << 0, /* may sleep and reclaim */
	GFP_KSWAPD_RECLAIM = 1 << 1, /* wakes kswapd */
	GFP_IO = 1 << 2,
	GFP_FS = 1 << 3,
	GFP_HIGH = 1 << 4, /* MIN_RESERVE: half of min */
	GFP_MEMALLOC = 1 << 5,
	GFP_NOMEMALLOC = 1 << 6,
	GFP_NORETRY = 1 << 7,
	GFP_RETRY_MAYFAIL = 1 << 8,
	GFP_NOFAIL = 1 << 9,
	GFP_MOVABLE = 1 << 10,
	GFP_RECLAIMABLE = 1 << 11,
	GFP_ZERO = 1 << 12, /* engine-owned frames only: direct map cleared */
	GFP_LOWZONE = 1 << 13 /* highest usable zone is zone 0 */
};

#define GFP_RECLAIM   (GFP_DIRECT_RECLAIM | GFP_KSWAPD_RECLAIM)
#define GFP_KERNEL    (GFP_RECLAIM | GFP_IO | GFP_FS)
#define GFP_USER      GFP_KERNEL
#define GFP_HIGHUSER_MOVABLE (GFP_KERNEL | GFP_MOVABLE)
#define GFP_NOFS      (GFP_RECLAIM | GFP_IO)
#define GFP_NOIO      (GFP_RECLAIM)
#define GFP_NOWAIT    (GFP_KSWAPD_RECLAIM)
#define GFP_ATOMIC    (GFP_HIGH | GFP_KSWAPD_RECLAIM)

enum {
	ALLOC_WMARK_MIN = 0,
	ALLOC_WMARK_LOW = 1,
	ALLOC_WMARK_HIGH = 2,
	ALLOC_WMARK_MASK = 3,
	ALLOC_NO_WATERMARKS = 4,
	ALLOC_OOM = 8,
	ALLOC_NON_BLOCK = 16,
	ALLOC_MIN_RESERVE = 32,
	ALLOC_HIGHATOMIC = 64,
	ALLOC_KSWAPD = 128
};

/*
 * A block of 2^order frames, refcount 1, flags clear; NULL when there is none.
 * Sleeps only with GFP_DIRECT_RECLAIM. The frame belongs to the caller, who
 * gives it back with weir__frames_free (or page_put for LRU pages).
 */
struct frame *weir__frames_alloc(struct engine *e, gfp_t gfp, unsigned order);
/* [any] refcount must be 1 (it becomes 0) or already frozen at 0. */
void weir__frames_free(struct engine *e, struct frame *f, unsigned order);

/* --- for alloc.c, kswapd.c, reclaim.c ---------------------------------- */

/* gfp -> ALLOC_* at mark min, with the task's PF_ flags applied. */
unsigned weir__gfp_to_alloc_flags(struct engine *e, gfp_t gfp, unsigned order);
/* Task scopes applied: PF_NOIO strips IO and FS, PF_NOFS strips FS. */
gfp_t weir__gfp_context(struct engine *e, gfp_t gfp);
unsigned weir__gfp_zone(gfp_t gfp, const struct node *n);
struct frame *weir__get_page_from_freelist(struct engine *e, gfp_t gfp,
					   unsigned order, unsigned alloc_flags);
bool weir__zone_watermark_ok(struct zone *z, unsigned order, uint64_t mark,
			     unsigned highest_zone, unsigned alloc_flags,
			     int64_t free_pages);
/* Zeros or prepares a frame that the caller got from the free lists. */
void weir__prep_new_frame(struct engine *e, struct frame *f, gfp_t gfp,
			  unsigned order);

/* alloc.c: the slow path; alloc_init hangs it into the engine. */
void weir__alloc_init(struct engine *e);

#endif
