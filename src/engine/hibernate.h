/* SPDX-License-Identifier: MIT */
/* Making room for an image of memory: suspend to disk. */
#ifndef WEIR_ENGINE_HIBERNATE_H
#define WEIR_ENGINE_HIBERNATE_H

#include "engine/alloc.h"

/* One run of reclaim over everything, with every right. Pages freed. */
uint64_t weir__shrink_all_memory(struct engine *e, uint64_t nr);

/* T: the largest image, in pages, for so much usable memory. */
uint64_t weir__image_max(uint64_t usable, uint64_t metadata);
/* Pages to free so that an image of what is left is at most `image` (or as near
 * to it as `minimum` and `max` allow). */
uint64_t weir__image_excess(uint64_t saveable, uint64_t image, uint64_t max,
			    uint64_t minimum);

/* Frees what an image of `image` pages cannot hold (0: two fifths of memory).
 * Pages freed. */
uint64_t weir__hibernate_prepare(struct engine *e, uint64_t image);

#endif
