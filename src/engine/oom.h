/* SPDX-License-Identifier: MIT */
/* The out-of-memory choice. */
#ifndef WEIR_ENGINE_OOM_H
#define WEIR_ENGINE_OOM_H

#include "engine/alloc.h"

/* rss + swap entries + page-table pages + adj * (total / 1000); LONG_MIN =
 * never. Pages. */
int64_t weir__oom_badness(const struct aspace *as, uint64_t total);
/* (1000 + badness * 1000 / total) * 2 / 3 */
int64_t weir__oom_score(int64_t badness, uint64_t total);
/* True when something was done (a victim chosen or still dying): retry. May
 * sleep. => called with engine.oom_lock held */
bool weir__out_of_memory(struct engine *e, gfp_t gfp, unsigned order);

/* --- oomreap.c ----------------------------------------------------------- */

/* A task that takes what a victim leaves behind when it does not end. 0 or
 * -errno. stop: e->stopping is set. */
int weir__oom_reaper_start(struct engine *e);
void weir__oom_reaper_stop(struct engine *e);
/* [any] */
void weir__wake_oom_reaper(struct engine *e);
/* [sleep] One try at the private memory of an address space; no fault in it is
 * served from then on. True: all of it is gone. */
bool weir__oom_reap(struct engine *e, struct aspace *as);

#endif
