/* SPDX-License-Identifier: MIT */
/* Buddy allocator of one zone, and the per-CPU lists in front of it (pcp.c). */
#ifndef WEIR_ENGINE_BUDDY_H
#define WEIR_ENGINE_BUDDY_H

#include "engine/types.h"

/* Sets up nodes, zones and memmap from the config; all frames free. */
int weir__zones_init(struct engine *e, const struct engine_config *cfg);

/* => called with zone lock held. A block, or NULL. Splits and falls back. */
struct frame *weir__buddy_take(struct zone *z, unsigned order, int migratetype,
			       unsigned alloc_flags);
/* => called with zone lock held. Merges. */
void weir__buddy_give(struct zone *z, struct frame *f, unsigned order,
		      int migratetype);

struct zone *weir__frame_zone(struct engine *e, const struct frame *f);

/* pcp.c: orders 0..3 */
struct frame *weir__pcp_alloc(struct engine *e, struct zone *z, unsigned order,
			      int migratetype, unsigned alloc_flags);
void weir__pcp_free(struct engine *e, struct zone *z, struct frame *f,
		    unsigned order, int migratetype);
void weir__pcp_drain(struct engine *e, struct zone *z, unsigned cpu);
void weir__pcp_drain_all(struct engine *e);
/* T: batch, high_min, high_max of a zone. */
void weir__pcp_update(struct engine *e, struct zone *z);
int weir__pcp_batch(uint64_t managed);

/* Free lists hold exactly free_pages frames, no block twice, buddies merged. */
bool weir__zone_is_valid(struct zone *z);

#endif
