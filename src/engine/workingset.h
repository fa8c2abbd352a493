/* SPDX-License-Identifier: MIT */
/* Refault distance: shadow entries, the clock, the decision. */
#ifndef WEIR_ENGINE_WORKINGSET_H
#define WEIR_ENGINE_WORKINGSET_H

#include "engine/types.h"

/* A shadow: bit 0 set, a bit for FRAME_WORKINGSET, 10 for the node, 16 for the
 * group (0 until there are groups), the rest for the clock. */
#define SHADOW_NODE_BITS  10
#define SHADOW_GROUP_BITS 16
#define SHADOW_CLOCK_BITS (64 - 1 - 1 - SHADOW_NODE_BITS - SHADOW_GROUP_BITS)

/* A shadow is an odd number: bit 0 tells it from a frame. */
uint64_t weir__workingset_eviction(struct engine *e, struct frame *f);
/* The same in two steps, for who knows only after leaving the shadow whether
 * the page goes: what to leave; it went, the clock turns. */
uint64_t weir__workingset_shadow(struct engine *e, const struct frame *f);
void weir__workingset_evicted(struct engine *e, const struct frame *f);
void weir__workingset_age_nonresident(struct lruvec *v, uint64_t pages);
/* The page came back: counts, and sets ACTIVE / WORKINGSET by the distance.
 * => called with the page lock held, page not on a list yet */
void weir__workingset_refault(struct engine *e, struct frame *f,
			      uint64_t shadow);
/* An inactive page became active. */
void weir__workingset_activation(struct engine *e, struct frame *f);

uint64_t weir__shadow_pack(struct engine *e, uint64_t clock, unsigned node,
			   bool workingset);
void weir__shadow_unpack(struct engine *e, uint64_t shadow, uint64_t *clock,
			 unsigned *node, bool *workingset);
/* fls(total - 1) - bits, at least 0. */
unsigned weir__bucket_order(uint64_t total_pages, unsigned bits);
/* The bare rule: distance <= size of what competes. */
bool weir__refault_activates(bool file, bool swap_left, uint64_t distance,
			     uint64_t active_file, uint64_t inactive_file,
			     uint64_t active_anon, uint64_t inactive_anon);

#endif
