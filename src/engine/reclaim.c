/* SPDX-License-Identifier: MIT */
/*
 * Reclaim by the task that needs the memory, and reclaim on request.
 *
 * Direct reclaim is what kswapd exists to avoid: the program waits for it. It
 * wants 32 pages and climbs the ladder of priorities until it has them. While
 * it runs, its task carries PF_MEMALLOC: what reclaim itself has to allocate
 * comes out of the reserve below the min mark and never reclaims again.
 */
#include <errno.h>

#include "engine/batch.h"
#include "engine/event.h"
#include "engine/reclaim.h"

#define PROACTIVE_RETRIES 16

/* One rung over every node. */
static void shrink_nodes(struct engine *e, struct scan_control *sc)
{
	struct weir_host *h = e->host;

	for (unsigned i = 0; i < e->nr_nodes; i++) {
		struct node *n = &e->nodes[i];
		uint64_t before = sc->nr_reclaimed;
		uint8_t zone = sc->reclaim_zone;

		if (zone >= n->nr_zones)
			sc->reclaim_zone = (uint8_t)(n->nr_zones - 1);
		weir__shrink_node(e, n, sc);
		sc->reclaim_zone = zone;
		/* What was written may have come free already. */
		h->ops->io_poll(h);
		weir__wait_for_writes(e, n, sc, sc->nr_reclaimed - before);
	}
	/* One page in eight looked at was freed: nobody need nap. */
	if (sc->nr_reclaimed > sc->nr_scanned >> 3) {
		weir__throttle_wake(e, &e->nodes[0], THROTTLE_NOPROGRESS);
		return;
	}
	if (sc->who == RECLAIM_DIRECT && sc->priority == 1 && !sc->nr_reclaimed)
		weir__reclaim_throttle(e, &e->nodes[0], THROTTLE_NOPROGRESS);
}

static void climb(struct engine *e, struct scan_control *sc, int8_t from)
{
	for (sc->priority = from; sc->priority >= 0; sc->priority--) {
		sc->nr_scanned = 0;
		shrink_nodes(e, sc);
		if (sc->nr_reclaimed >= sc->nr_to_reclaim)
			break;
		if (weir__self(e)->flags & PF_EXITING)
			break;
	}
	for (unsigned i = 0; i < e->nr_nodes; i++)
		weir__snapshot_refaults(&e->nodes[i]);
}

/*
 * The ladder, and when it led nowhere, the same again with one scruple less
 * each time. Pages freed.
 */
static uint64_t do_try_to_free(struct engine *e, struct scan_control *sc)
{
	int8_t from = sc->priority;

	climb(e, sc, from);
	if (!sc->nr_reclaimed && !sc->full_walk) {
		sc->full_walk = true;
		climb(e, sc, from);
	}
	if (!sc->nr_reclaimed && sc->skipped_deactivate) {
		sc->force_deactivate = true;
		sc->skipped_deactivate = false;
		climb(e, sc, from);
	}
	return sc->nr_reclaimed;
}

uint64_t weir__reclaim_run(struct engine *e, struct scan_control *sc)
{
	struct wtask *self = weir__self(e);
	uint32_t had = self->flags & PF_MEMALLOC;
	uint64_t freed;

	weir__assert_may_sleep(e);
	self->flags |= PF_MEMALLOC;
	freed = do_try_to_free(e, sc);
	if (!had)
		self->flags &= ~(uint32_t)PF_MEMALLOC;
	return freed;
}

uint64_t weir__try_to_free_pages(struct engine *e, gfp_t gfp, unsigned order)
{
	struct weir_host *h = e->host;
	struct wtask *self = weir__self(e);
	uint64_t start = h->ops->now_ns(h), freed;
	struct scan_control sc = {
	    .nr_to_reclaim = SWAP_CLUSTER_MAX,
	    .gfp = weir__gfp_context(e, gfp),
	    .order = (int8_t)order,
	    .priority = DEF_PRIORITY,
	    .who = RECLAIM_DIRECT,
	    .swappiness = -1,
	    .may_writepage = true,
	    .may_unmap = true,
	    .may_swap = true,
	};

	sc.reclaim_zone = (uint8_t)weir__gfp_zone(gfp, &e->nodes[0]);
	if (weir__throttle_direct_reclaim(e, sc.gfp)) {
		freed = 1; /* it ends: let it try the reserve */
	} else {
		weir__stat_inc(e, STAT_allocstall);
		weir__event(e, "mm_vmscan_direct_reclaim_begin", order, sc.gfp,
			    0);
		freed = weir__reclaim_run(e, &sc);
		weir__event(e, "mm_vmscan_direct_reclaim_end", freed, 0, 0);
	}
	start = h->ops->now_ns(h) - start;
	self->stall_ns += start;
	weir__stat_add(e, STAT_stall_ns, (int64_t)start);
	return freed;
}

uint64_t weir__reclaim_limit(struct engine *e, gfp_t gfp)
{
	struct weir_host *h = e->host;
	uint64_t start = h->ops->now_ns(h), freed;
	struct scan_control sc = {
	    .nr_to_reclaim = SWAP_CLUSTER_MAX,
	    .gfp = weir__gfp_context(e, gfp),
	    .priority = DEF_PRIORITY,
	    .reclaim_zone = MAX_ZONES - 1,
	    .who = RECLAIM_DIRECT,
	    .swappiness = -1,
	    .may_writepage = true,
	    .may_unmap = true,
	    .may_swap = true,
	    .limit = true,
	};

	weir__stat_inc(e, STAT_limit_reclaim);
	freed = weir__reclaim_run(e, &sc);
	weir__event(e, "mm_vmscan_memcg_reclaim_end", freed, 0, 0);
	start = h->ops->now_ns(h) - start;
	weir__self(e)->stall_ns += start;
	weir__stat_add(e, STAT_stall_ns, (int64_t)start);
	return freed;
}

static uint64_t reclaim_some(struct engine *e, uint64_t nr, int swappiness)
{
	struct scan_control sc = {
	    .nr_to_reclaim = nr > SWAP_CLUSTER_MAX ? nr : SWAP_CLUSTER_MAX,
	    .gfp = GFP_KERNEL,
	    .priority = DEF_PRIORITY,
	    .who = RECLAIM_PROACTIVE,
	    .swappiness = swappiness,
	    .may_writepage = true,
	    .may_unmap = true,
	    .may_swap = true,
	    .proactive = true,
	    .reclaim_zone = MAX_ZONES - 1,
	};

	return weir__reclaim_run(e, &sc);
}

int weir__reclaim_pages(struct engine *e, uint64_t nr, int swappiness,
			uint64_t *freed)
{
	unsigned retries = PROACTIVE_RETRIES;

	*freed = 0;
	while (*freed < nr) {
		uint64_t now;

		/* Pages that wait in a batch are on no list yet. */
		if (!retries)
			weir__lru_add_drain_all(e);
		now = reclaim_some(e, (nr - *freed) / 4, swappiness);
		*freed += now;
		if (now)
			continue;
		if (!retries--)
			return -EAGAIN;
	}
	return 0;
}
