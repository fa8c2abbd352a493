/* SPDX-License-Identifier: MIT */
/* Triggers that somebody pulls by hand: what /proc/sys/vm is for. */
#ifndef WEIR_ENGINE_MANUAL_H
#define WEIR_ENGINE_MANUAL_H

#include "engine/alloc.h"

enum {
	DROP_PAGECACHE = 1,
	DROP_SLAB = 2,
	DROP_SILENTLY = 4 /* says nothing of it from now on */
};

/* drop_caches: 1 to 4, as in Linux. Dirty pages stay. 0 or -EINVAL. */
int weir__drop_caches(struct engine *e, unsigned what);

/*
 * A tunable is written while the engine runs: all that follows from it is done
 * (marks, reserves, per-CPU lists). 0, -ENOENT, -ERANGE.
 */
int weir__tunable_write(struct engine *e, const char *name, uint64_t value);

#endif
