/* SPDX-License-Identifier: MIT */
/* Start and end of an engine. */
#ifndef WEIR_ENGINE_ENGINE_H
#define WEIR_ENGINE_ENGINE_H

#include "engine/types.h"

/*
 * Sets up `e` (memory of the caller, zero-filled): memmap, zones, slab, lists,
 * swap. Starts no task: weir__kswapd_start does. 0 or -errno.
 */
int weir__engine_init(struct engine *e, const struct engine_config *cfg);
/* All address spaces destroyed before. Stops the workers. */
void weir__engine_exit(struct engine *e);

#endif
