/* SPDX-License-Identifier: MIT */
/*
 * Start and end of an engine: the floors are built from the ground up, since
 * each takes its memory from those below it.
 */
#include <errno.h>
#include <string.h>

#include "engine/alloc.h"
#include "engine/batch.h"
#include "engine/buddy.h"
#include "engine/check.h"
#include "engine/engine.h"
#include "engine/iopool.h"
#include "engine/lruvec.h"
#include "engine/oom.h"
#include "engine/pcache.h"
#include "engine/reclaim.h"
#include "engine/rmap.h"
#include "engine/shrinker.h"
#include "engine/slab.h"
#include "engine/swap.h"
#include "engine/vfscache.h"
#include "engine/writeback.h"

int weir__engine_init(struct engine *e, const struct engine_config *cfg)
{
	int err;

	if (!cfg->host || !cfg->host->ops)
		return -EINVAL;
	memset(e, 0, sizeof(*e));
	e->host = cfg->host;
#ifndef WEIR_DEBUG
	e->quick_locks = !cfg->host->ops->preempt;
#endif
	e->event = cfg->event;
	e->event_ctx = cfg->event_ctx;
	if (cfg->tunables)
		e->tun = *cfg->tunables;
	else
		weir__tunables_default(&e->tun);
	weir__spin_init(&e->aspaces_lock, RANK_ASPACES);
	list_init(&e->aspaces);
	weir__rmap_init(e);

	err = weir__zones_init(e, cfg);
	if (err)
		return err;
	for (unsigned i = 0; i < e->nr_nodes; i++) {
		weir__lruvec_init(&e->nodes[i].lruvec, &e->nodes[i]);
		e->nodes[i].kswapd_highest_zone = MAX_ZONES; /* no request */
	}
	weir__batches_init(e);
	err = weir__slab_init(e);
	if (!err)
		err = weir__iopool_init(e);
	if (!err)
		err = weir__swap_init(e);
	if (!err)
		err = weir__pcache_init(e);
	if (!err)
		err = weir__wb_init(e);
	if (!err)
		err = weir__shrinkers_init(e);
	if (err)
		return err;
	weir__alloc_init(e);
	return 0;
}

void weir__engine_exit(struct engine *e)
{
	weir__kswapd_stop(e);
	weir__flusher_stop(e);
	weir__oom_reaper_stop(e);
	weir__slab_reaper_stop(e);
	weir__bug_on(e, !list_empty(&e->aspaces));
	weir__bug_on(e, !list_empty(&e->pcache->mappings));
	weir__vfs_exit(e);
	weir__lru_add_drain_all(e);
	weir__swap_exit(e);
	weir__slab_shrink(e);
	weir__pcp_drain_all(e);
}
