/* SPDX-License-Identifier: MIT */
/*
 * Nodes and zones (zone.c), the buddy allocator of one zone (buddy.c), and the
 * per-CPU lists in front of it (pcp.c).
 */
#ifndef WEIR_ENGINE_BUDDY_H
#define WEIR_ENGINE_BUDDY_H

#include "engine/types.h"

/* Sets up nodes, zones and memmap from the config; all frames free. */
int weir__zones_init(struct engine *e, const struct engine_config *cfg);

/* => called with zone lock held. A block, or NULL. Splits and falls back. */
struct frame *weir__buddy_take(struct zone *z, unsigned order, int migratetype,
			       unsigned alloc_flags);
/* => called with zone lock held. Merges. The pageblock's type is the type. */
void weir__buddy_give(struct zone *z, struct frame *f, unsigned order);

struct zone *weir__frame_zone(struct engine *e, const struct frame *f);
/* Type of the pageblock that holds the frame; a hint without the zone lock. */
int weir__pageblock_type(struct zone *z, const struct frame *f);
/*
 * High-atomic reserve: after a high-order request in atomic context was served
 * from `f`, keep its pageblock (at most 1 % of the zone) for the next one.
 * release gives one block to `migratetype`; true when that freed pages for
 * everybody. The last block of a zone goes only when forced.
 */
void weir__highatomic_reserve(struct engine *e, struct zone *z,
			      struct frame *f);
bool weir__highatomic_release(struct engine *e, struct zone *z,
			      int migratetype, bool force);

/* CPUs are dealt to nodes in runs: 0..3 to node 0, 4..7 to node 1. */
static inline unsigned weir__cpu_node(const struct engine *e, unsigned cpu)
{
	return cpu * e->nr_nodes / e->nr_cpus;
}

/* pcp.c: orders 0..3 */
struct frame *weir__pcp_alloc(struct engine *e, struct zone *z, unsigned order,
			      int migratetype, unsigned alloc_flags);
void weir__pcp_free(struct engine *e, struct zone *z, struct frame *f,
		    unsigned order);
void weir__pcp_drain(struct engine *e, struct zone *z, unsigned cpu);
void weir__pcp_drain_all(struct engine *e);
/* One tick of idle time: high falls by 1/8, surplus goes back. */
void weir__pcp_decay(struct engine *e, struct zone *z, unsigned cpu);
/* T: batch, high_min, high_max of a zone. */
void weir__pcp_update(struct engine *e, struct zone *z);
int weir__pcp_batch(uint64_t managed);

/* Free lists hold exactly free_pages frames, no block twice, buddies merged. */
bool weir__zone_is_valid(struct zone *z);

#endif
