/* SPDX-License-Identifier: MIT */
/* Triggers: kswapd (kswapd.c), direct and manual reclaim (reclaim.c). */
#ifndef WEIR_ENGINE_RECLAIM_H
#define WEIR_ENGINE_RECLAIM_H

#include "engine/vmscan.h"

/* Starts one kswapd for each node. 0 or -errno. */
int weir__kswapd_start(struct engine *e);
void weir__kswapd_stop(struct engine *e);
/* The copy of an engine in a forked process: its kswapd was asleep and does not
 * exist there. */
void weir__kswapd_forget(struct engine *e);
/* [any] */
void weir__wakeup_kswapd(struct engine *e, struct zone *z, gfp_t gfp,
			 unsigned order, unsigned highest_zone);
bool weir__pgdat_balanced(struct node *n, unsigned order,
			  unsigned highest_zone);
/* This many runs in a row without a page freed: the node is hopeless, kswapd
 * sleeps and leaves it to direct reclaim, whose first success ends that. */
#define KSWAPD_FAILURES_MAX 16
/* One run to the high watermark; the order it ended at. For tests too. */
unsigned weir__balance_pgdat(struct engine *e, struct node *n, unsigned order,
			     unsigned highest_zone);

/* The ladder of priorities over every node, from sc->priority on, with the
 * task marked as being inside reclaim. Pages freed. */
uint64_t weir__reclaim_run(struct engine *e, struct scan_control *sc);
/* Pages freed (0 = none). The caller is not in reclaim already. */
uint64_t weir__try_to_free_pages(struct engine *e, gfp_t gfp, unsigned order);
/* For a charge over the limit (limit.c): pages freed. */
uint64_t weir__reclaim_limit(struct engine *e, gfp_t gfp);
/*
 * limit.c. All frames in use but those of the swap maps may be so many; 0 = no
 * limit. Set at start-up, on a machine with enough memory above it that its
 * watermarks are never met.
 */
void weir__limit_set(struct engine *e, uint64_t pages);
uint64_t weir__limit_usage(struct engine *e);
/* memory.reclaim: 0, or -EAGAIN when fewer than nr could be freed.
 * swappiness -1 = default. *freed is always set. */
int weir__reclaim_pages(struct engine *e, uint64_t nr, int swappiness,
			uint64_t *freed);

#endif
