/* SPDX-License-Identifier: MIT */
/*
 * Waiting: where reclaim would only burn time, it sleeps.
 *
 *   WRITEBACK   pages are being written faster than the disk takes them;
 *               woken when enough of them are done
 *   ISOLATED    too many reclaimers hold too many pages off the lists
 *   NOPROGRESS  the ladder is almost at its end and nothing was freed
 *   CONGESTED   everything dirty that was met waits for the disk already
 *
 * and, before any direct reclaim, the gate of the reserve: below half of the
 * min watermarks memory belongs to kswapd alone.
 *
 * Every nap has a limit. The limits are guesses that have served Linux well:
 * long enough that a disk gets something done, short enough that a missed wake
 * is a delay and not a hang.
 */
#include "engine/event.h"
#include "engine/lruvec.h"
#include "engine/reclaim.h"
#include "engine/watermark.h"

#define WRITEBACK_NAP_NS (25 * TICK_NS) /* 100 ms */
#define ISOLATED_NAP_NS  (5 * TICK_NS)  /* 20 ms */
#define RESERVE_WAIT_NS  1000000000ull

static uint64_t node_reclaimable(struct engine *e, struct node *n)
{
	uint64_t nr = 0;

	for (unsigned i = 0; i < n->nr_zones; i++)
		nr += weir__zone_reclaimable(e, &n->zones[i]);
	return nr;
}

/* A nap for lack of progress makes sense only when time will bring some. */
static bool nap_is_useless(struct engine *e, struct node *n)
{
	int64_t pending = n->nr_writeback + n->nr_dirty;

	if (n->kswapd_failures >= KSWAPD_FAILURES_MAX)
		return true;
	return pending <= 0 || 2 * (uint64_t)pending <= node_reclaimable(e, n);
}

static uint64_t nap_length(struct engine *e, struct node *n,
			   enum throttle_reason why)
{
	switch (why) {
	case THROTTLE_WRITEBACK:
		return WRITEBACK_NAP_NS;
	case THROTTLE_ISOLATED:
		return ISOLATED_NAP_NS;
	default:
		return nap_is_useless(e, n) ? 0 : TICK_NS;
	}
}

void weir__reclaim_throttle(struct engine *e, struct node *n,
			    enum throttle_reason why)
{
	struct weir_host *h = e->host;
	uint64_t nap = nap_length(e, n, why);
	uint32_t word = n->throttle[why];

	if (!nap) {
		if (h->ops->preempt)
			h->ops->preempt(h);
		return;
	}
	if (why == THROTTLE_WRITEBACK) {
		if (!n->nr_throttled[why]++)
			n->throttle_written = 0;
		/*
		 * The last write may have ended before we were counted, and
		 * then nobody will wake us: see weir__throttle_written.
		 */
		if (n->nr_writeback > 0)
			h->ops->wait(h, &n->throttle[why], word, nap);
	} else {
		n->nr_throttled[why]++;
		h->ops->wait(h, &n->throttle[why], word, nap);
	}
	n->nr_throttled[why]--;
	weir__event(e, "mm_vmscan_throttled", n->id, why, nap);
}

void weir__throttle_tick(struct engine *e, struct node *n)
{
	_Atomic uint32_t *word = &n->throttle[THROTTLE_NOPROGRESS];
	uint32_t seen = *word;

	n->nr_throttled[THROTTLE_NOPROGRESS]++;
	e->host->ops->wait(e->host, word, seen, TICK_NS);
	n->nr_throttled[THROTTLE_NOPROGRESS]--;
}

void weir__throttle_wake(struct engine *e, struct node *n,
			 enum throttle_reason why)
{
	if (!n->nr_throttled[why])
		return;
	n->throttle[why]++;
	e->host->ops->wake_word(e->host, &n->throttle[why], UINT32_MAX);
}

/*
 * Each waiter needs about one cluster of pages, so that many have to be
 * written for each before they are woken; waking them for every page would
 * have them scan the same lists again for nothing. When nothing is under way
 * any more there is nothing to wait for either.
 */
void weir__throttle_written(struct engine *e, struct node *n, unsigned pages)
{
	uint32_t waiters = n->nr_throttled[THROTTLE_WRITEBACK];

	if (!waiters)
		return;
	weir__stat_add(e, STAT_nr_throttled_written, pages);
	n->throttle_written += pages;
	if (n->throttle_written > SWAP_CLUSTER_MAX * waiters ||
	    n->nr_writeback <= 0) {
		n->throttle_written = 0;
		weir__throttle_wake(e, n, THROTTLE_WRITEBACK);
	}
}

/*
 * A page being written is as good as free, only later. A pass that freed
 * nothing but has sent out what it wanted (or that is already pressing hard)
 * waits for those pages; going on would push out as many again, pages that are
 * more recently used, just because the disk has not answered yet.
 */
void weir__wait_for_writes(struct engine *e, struct node *n,
			   const struct scan_control *sc, uint64_t freed)
{
	int64_t pending = n->nr_writeback;

	if (freed || pending <= 0)
		return;
	if ((uint64_t)pending >= sc->nr_to_reclaim ||
	    sc->priority < DEF_PRIORITY - 2)
		weir__reclaim_throttle(e, n, THROTTLE_WRITEBACK);
}

/*
 * A page off its list is out of sight of every other reclaimer. If many tasks
 * take a batch each, the list looks empty and they conclude that memory is
 * exhausted. Who holds both rights may only take while an eighth is out, who
 * may not do I/O gets the rest, so that the latter never waits for the former:
 * the former may be waiting for a lock of his.
 */
bool weir__too_many_isolated(struct engine *e, struct node *n, int file,
			     const struct scan_control *sc)
{
	int64_t inactive, isolated;
	bool too_many;

	if (sc->who == RECLAIM_KSWAPD)
		return false;
	inactive = n->lruvec.size[file ? LRU_INACTIVE_FILE : LRU_INACTIVE_ANON];
	isolated = n->nr_isolated[file];
	if ((sc->gfp & (GFP_IO | GFP_FS)) == (GFP_IO | GFP_FS))
		inactive /= 8;
	too_many = isolated > inactive;
	if (!too_many)
		weir__throttle_wake(e, n, THROTTLE_ISOLATED);
	return too_many;
}

bool weir__allow_direct_reclaim(struct engine *e, struct node *n)
{
	uint64_t reserve = 0;
	int64_t nr_free = 0;

	/* kswapd has given up: waiting for it would be waiting for ever. */
	if (n->kswapd_failures >= KSWAPD_FAILURES_MAX)
		return true;
	for (unsigned i = 0; i < n->nr_zones; i++) {
		struct zone *z = &n->zones[i];

		if (!z->managed || !weir__zone_reclaimable(e, z))
			continue;
		reserve += weir__wmark(z, WMARK_MIN);
		nr_free += z->free_pages;
	}
	/* Nothing to give back, so nothing to wait for. */
	if (!reserve)
		return true;
	return nr_free > (int64_t)(reserve / 2);
}

/*
 * kswapd has nothing to do in a balanced node, and goes to sleep. The reserve may
 * look low all the same: one small zone is above its high mark and a large one
 * next to it empty. There is memory to be had then; waiting for more would be
 * waiting for somebody who sleeps.
 */
static bool gate_is_open(struct engine *e, struct node *n)
{
	return weir__allow_direct_reclaim(e, n) ||
	       weir__pgdat_balanced(n, 0, n->nr_zones - 1u);
}

bool weir__throttle_direct_reclaim(struct engine *e, gfp_t gfp)
{
	struct weir_host *h = e->host;
	struct wtask *self = weir__self(e);
	struct node *n = &e->nodes[0];

	/* The workers are those who put it right. */
	if (self->flags & (PF_KSWAPD | PF_MEMALLOC | PF_EXITING))
		return false;
	/* Nobody would end the wait. */
	if (!n->kswapd_running || e->stopping)
		return false;
	if (gate_is_open(e, n))
		return false;

	weir__stat_inc(e, STAT_pgscan_direct_throttle);
	n->pfmemalloc_waiters++;
	do {
		uint32_t word = n->pfmemalloc_wait;

		if (gate_is_open(e, n))
			break;
		weir__wakeup_kswapd(e, &n->zones[n->nr_zones - 1], gfp, 0,
				    n->nr_zones - 1);
		h->ops->wait(h, &n->pfmemalloc_wait, word, RESERVE_WAIT_NS);
		/* May hold what kswapd needs to get on: waits once only. */
		if (!(gfp & GFP_FS))
			break;
	} while (!e->stopping && !(self->flags & PF_EXITING));
	n->pfmemalloc_waiters--;
	return self->flags & PF_EXITING;
}
