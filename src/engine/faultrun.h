/* SPDX-License-Identifier: MIT */
/*
 * A run of pages on their way in together: one host call, one trip to the
 * aspace lock before and one after.
 */
#ifndef WEIR_ENGINE_FAULTRUN_H
#define WEIR_ENGINE_FAULTRUN_H

#include "engine/types.h"

struct faultrun {
	struct engine *e;
	struct aspace *as;
	unsigned nr;
	uint64_t old[WEIR_IO_PAGES_MAX]; /* the entry each page replaces */
	struct weir_vec vec[WEIR_IO_PAGES_MAX];
};

void weir__faultrun_init(struct faultrun *run, struct engine *e,
			 struct aspace *as);
/* Takes over the caller's reference (and page lock, for swapped pages). In
 * order of address. */
void weir__faultrun_add(struct faultrun *run, uint64_t addr, uint64_t old,
			struct frame *f, unsigned vec_flags);
/*
 * Adds the pages of [start, start + nr) behind the last one whose contents are
 * in the swap cache and ready.
 */
void weir__faultrun_neighbours(struct faultrun *run, uint64_t start,
			       unsigned nr);
/* New pages in place of empty entries. 0, -errno of the first page, or 1: the
 * first entry changed. All frames are settled. */
int weir__faultrun_map_new(struct faultrun *run);
/* The same for locked swap cache pages in place of swap entries. */
int weir__faultrun_map_swapped(struct faultrun *run);

#endif
