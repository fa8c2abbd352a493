/* SPDX-License-Identifier: MIT */
/* Watermarks, boost, lowmem and total reserve, stat thresholds. */
#ifndef WEIR_ENGINE_WATERMARK_H
#define WEIR_ENGINE_WATERMARK_H

#include "engine/types.h"

uint64_t weir__isqrt(uint64_t x);

/* KiB from lowmem KiB: clamp(isqrt(16 * lowmem), 128, 262144). */
uint64_t weir__min_free_kbytes(uint64_t lowmem_kbytes);

/*
 * Recomputes every mark, reserve, pcp bound from zone sizes and tunables.
 * Called at start-up and whenever either changes.
 */
void weir__setup_per_zone_wmarks(struct engine *e);

uint64_t weir__wmark(const struct zone *z, int which); /* boost included */

/* A fallback to another migrate type happened. => zone lock held */
void weir__boost_watermark(struct zone *z);

/* totalreserve in pages. */
uint64_t weir__totalreserve(struct engine *e);

unsigned weir__stat_threshold(unsigned cpus, uint64_t managed);
/* While kswapd runs; gap = low - min. */
unsigned weir__stat_pressure_threshold(unsigned cpus, uint64_t gap);

#endif
