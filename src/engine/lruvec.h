/* SPDX-License-Identifier: MIT */
/*
 * The lists of one node (later: of one group and node). The three primitives
 * add, add_tail and del are the only code that touches a list.
 */
#ifndef WEIR_ENGINE_LRUVEC_H
#define WEIR_ENGINE_LRUVEC_H

#include "engine/types.h"

void weir__lruvec_init(struct lruvec *v, struct node *n);
struct lruvec *weir__frame_lruvec(struct engine *e, const struct frame *f);
/* Takes the lruvec's lock and returns it. */
struct lruvec *weir__lruvec_lock(struct engine *e, const struct frame *f);

enum lru_list weir__frame_lru_list(const struct frame *f);
/* 1 for file, 0 for anon: index of pairs such as refaults[]. */
static inline int weir__frame_is_file(const struct frame *f)
{
	return !(__atomic_load_n((const uint32_t *)&f->flags,
				 __ATOMIC_RELAXED) &
		 FRAME_SWAPBACKED);
}

/* => called with lru_lock held. Counters follow (node, zone, stats). */
void weir__lruvec_add(struct engine *e, struct lruvec *v, struct frame *f);
void weir__lruvec_add_tail(struct engine *e, struct lruvec *v,
			   struct frame *f);
void weir__lruvec_del(struct engine *e, struct lruvec *v, struct frame *f);

int64_t weir__lruvec_size(const struct lruvec *v, enum lru_list l,
			  unsigned highest_zone);
/* inactive * ratio < active; ratio = isqrt(10 * GiB), 1 below 1 GiB. */
bool weir__inactive_is_low(const struct lruvec *v, int file);
uint64_t weir__inactive_ratio(uint64_t inactive, uint64_t active);

/* Adds cost (pages) to a type and halves both when over a quarter of the
 * lists. => called with lru_lock held */
void weir__lru_note_cost(struct lruvec *v, int file, uint64_t nr_io,
			 uint64_t nr_rotated);

/* Counters equal contents, flags fit the list, links whole. */
bool weir__lruvec_is_valid(struct engine *e, struct lruvec *v);

#endif
