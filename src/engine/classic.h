/* SPDX-License-Identifier: MIT */
/*
 * Ways of older kernels (2.6), beside today's: for comparison, for replays of
 * their time, and because the ideas behind today's are easier to see in them.
 */
#ifndef WEIR_ENGINE_CLASSIC_H
#define WEIR_ENGINE_CLASSIC_H

#include "engine/slab.h"

/*
 * 2.6.11: mapped pages leave the active list when this is 100 or more.
 * mapped: share of memory in percent; prev_priority: where the last scan ended.
 */
unsigned weir__swap_tendency(unsigned mapped, int prev_priority,
			     unsigned swappiness);

/* 2.6.24: shrink_all_memory in five passes. Pages freed. */
uint64_t weir__shrink_all_memory_classic(struct engine *e, uint64_t nr);

/* To 4.13: no buffer heads to be had. The flusher is told, other tasks run,
 * then every node is reclaimed from without entering filesystems. */
void weir__free_more_memory(struct engine *e);
/* [sleep] The objects that a page's buffers need, one for each block: an array
 * filled, or none. retry: tries until it has them. 0 or -ENOMEM. */
int weir__alloc_page_buffers(struct engine *e, struct slab_cache *c,
			     void **objects, unsigned nr, bool retry);

#endif
