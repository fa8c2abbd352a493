/* SPDX-License-Identifier: MIT */
/*
 * Regions of one address space: the steps from which the aspace rooms
 * (region.c, zap.c, move.c, fork.c) build their operations.
 *
 * Every step is made under rmap_lock and the aspace lock, so that a reverse
 * walk or a fault sees the books before it or after it. Memory is taken before
 * the locks; the usual loop is
 *
 *	for (;;) {
 *		lock; look; how much room does it need?
 *		if (enough room) { change; unlock; done }
 *		unlock; fill the room, or -ENOMEM with nothing changed
 *	}
 */
#ifndef WEIR_ENGINE_REGION_H
#define WEIR_ENGINE_REGION_H

#include "engine/aspace.h"
#include "engine/rmap.h"

#define REGION_ROOM 2 /* a piece out of the middle leaves two more */

struct region_room {
	struct region *region[REGION_ROOM];
	unsigned nr;
	struct anon_room anon;
};

void weir__region_room_init(struct region_room *m);
/* Room for nr regions with `links` chains each. 0 or -ENOMEM. */
int weir__region_room_fill(struct engine *e, struct region_room *m, unsigned nr,
			   unsigned links);
bool weir__region_room_fits(const struct region_room *m, unsigned nr,
			    unsigned links);
void weir__region_room_drain(struct engine *e, struct region_room *m);

/* rmap_lock, then the aspace lock. */
void weir__regions_lock(struct aspace *as);
void weir__regions_unlock(struct aspace *as);

/* 0 or -EINVAL: aligned, not empty, inside the page tables' reach. */
int weir__range_check(uint64_t start, uint64_t end);

/* => both locks held, for all that follow */

/* Lowest region that overlaps [start, end), or NULL. */
struct region *weir__region_first(struct aspace *as, uint64_t start,
				  uint64_t end);
/* A region of the room, filled in and in no tree. */
struct region *weir__region_new(struct aspace *as, struct region_room *m,
				uint64_t start, uint64_t end, uint32_t flags);
void weir__region_insert(struct region *r);
/* The region maps the file, from r->pgoff on: takes a reference and enters
 * i_mmap. The region is gone from there with weir__region_drop. */
void weir__region_set_file(struct region *r, struct file *f);
/* Out of every tree and freed. */
void weir__region_drop(struct region *r);
void weir__region_resize(struct region *r, uint64_t start, uint64_t end);
/* Cuts at addr; returns the upper part. Room: 1 region. */
struct region *weir__region_split(struct region *r, uint64_t addr,
				  struct region_room *m);
/* Joins r with its neighbours where they fit; returns what r is now. */
struct region *weir__region_merge(struct region *r);
/* Something of [start, end) is in the page table. */
bool weir__range_has_entries(struct aspace *as, uint64_t start, uint64_t end);

#endif
