/* SPDX-License-Identifier: MIT */
/*
 * kswapd: one task for each node keeps memory free before anybody waits for it.
 *
 * An allocation that finds a zone at or below the low watermark wakes it; it
 * reclaims until some zone that the request may use is above high; then it
 * sleeps. The distance between low and high is what it frees in one go, and
 * the distance between min and low is what others may take meanwhile.
 *
 * Falling asleep and being woken
 *
 *	kswapd                          an allocating task
 *	------                          ------------------
 *	kswapd_sleeping = 1
 *	reads kswapd_word
 *	                                takes pages: free <= low
 *	                                records order and zone
 *	is the node balanced? (no: goes on)
 *	                                kswapd_sleeping? (yes)
 *	                                raises kswapd_word, wakes
 *	wait(kswapd_word, value read): returns at once
 *
 * The order of the two sides is what matters: kswapd says that it sleeps before
 * it looks at the free pages, the other takes the pages before it looks whether
 * kswapd sleeps. So at least one of them sees the other, whatever the timing,
 * and a wake in between is not lost because the word has changed.
 */
#include "engine/buddy.h"
#include "engine/event.h"
#include "engine/lruvec.h"
#include "engine/reclaim.h"
#include "engine/watermark.h"

#define NAP_NS      100000000ull /* guess: is the peace a lasting one? */
#define ZONE_NOBODY MAX_ZONES    /* no request recorded */
#define BOOST_FLOOR (DEF_PRIORITY - 2)

bool weir__pgdat_balanced(struct node *n, unsigned order, unsigned highest_zone)
{
	bool any = false;

	for (unsigned i = 0; i <= highest_zone && i < n->nr_zones; i++) {
		struct zone *z = &n->zones[i];

		if (!z->managed)
			continue;
		any = true;
		if (weir__zone_watermark_ok(z, order,
					    weir__wmark(z, WMARK_HIGH),
					    highest_zone, 0, z->free_pages))
			return true;
	}
	/* Nothing is managed there, so nothing is missing. */
	return !any;
}

static bool boosted(struct node *n, unsigned highest_zone)
{
	for (unsigned i = 0; i <= highest_zone && i < n->nr_zones; i++)
		if (n->zones[i].watermark_boost)
			return true;
	return false;
}

static void raise_to(_Atomic uint32_t *v, uint32_t to)
{
	uint32_t old = *v;

	while (old < to &&
	       !__atomic_compare_exchange_n((uint32_t *)v, &old, to, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

void weir__wakeup_kswapd(struct engine *e, struct zone *z, gfp_t gfp,
			 unsigned order, unsigned highest_zone)
{
	struct node *n = &e->nodes[z->node];
	uint32_t zone = ZONE_NOBODY;

	if (!z->managed || !n->kswapd_running)
		return;
	raise_to(&n->kswapd_order, order);
	if (!__atomic_compare_exchange_n((uint32_t *)&n->kswapd_highest_zone,
					 &zone, highest_zone, false,
					 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		raise_to(&n->kswapd_highest_zone, highest_zone);
	if (!n->kswapd_sleeping)
		return;
	if (n->kswapd_failures >= KSWAPD_FAILURES_MAX ||
	    (weir__pgdat_balanced(n, order, highest_zone) &&
	     !boosted(n, highest_zone)))
		return;
	weir__event(e, "mm_vmscan_wakeup_kswapd", n->id, order, gfp);
	n->kswapd_word++;
	e->host->ops->wake_word(e->host, &n->kswapd_word, 1);
}

/* --- balancing ---------------------------------------------------------- */

/* True: as many pages were scanned as the marks ask for, no need to press. */
static bool shrink_once(struct engine *e, struct node *n,
			struct scan_control *sc)
{
	uint64_t want = 0;

	for (unsigned i = 0; i <= sc->reclaim_zone && i < n->nr_zones; i++) {
		uint64_t high = weir__wmark(&n->zones[i], WMARK_HIGH);

		if (!n->zones[i].managed)
			continue;
		want += high > SWAP_CLUSTER_MAX ? high : SWAP_CLUSTER_MAX;
	}
	sc->nr_to_reclaim = want;
	sc->nr_scanned = 0;
	weir__shrink_node(e, n, sc);
	/*
	 * Enough was freed for two blocks of the order: if they did not merge,
	 * freeing more single pages is not the cure.
	 */
	if (sc->order && sc->nr_reclaimed >= (uint64_t)2 << sc->order)
		sc->order = 0;
	return sc->nr_scanned >= want;
}

static void wake_throttled(struct engine *e, struct node *n)
{
	/* A waiter counts itself before it reads the word. */
	n->pfmemalloc_wait++;
	if (n->pfmemalloc_waiters)
		e->host->ops->wake_word(e->host, &n->pfmemalloc_wait,
					UINT32_MAX);
}

/*
 * The ladder. boost: pages still to be freed because fragmentation lifted the
 * marks; such a run neither writes nor swaps nor presses hard. Returns true
 * when the node is balanced (or was given up for good reason) and false when
 * every priority was tried.
 */
static bool climb(struct engine *e, struct node *n, struct scan_control *sc,
		  uint64_t boost)
{
	sc->priority = DEF_PRIORITY;
	while (sc->priority >= 1) {
		bool press = true;
		uint64_t before = sc->nr_reclaimed, freed;
		bool balanced = weir__pgdat_balanced(n, (unsigned)sc->order,
						     sc->reclaim_zone);

		if (!balanced && boost) {
			boost = 0;
			sc->priority = DEF_PRIORITY;
			continue;
		}
		if (balanced && !boost)
			return true;
		if (boost && sc->priority == BOOST_FLOOR)
			press = false;
		sc->may_writepage = !boost;
		sc->may_swap = !boost;
		weir__age_active_anon(e, n, sc);
		if (shrink_once(e, n, sc))
			press = false;
		e->host->ops->io_poll(e->host);
		weir__wait_for_writes(e, n, sc, sc->nr_reclaimed - before);
		if (weir__allow_direct_reclaim(e, n))
			wake_throttled(e, n);
		if (e->stopping)
			return true;
		freed = sc->nr_reclaimed - before;
		boost -= boost < freed ? boost : freed;
		if (boost && !freed)
			return false;
		if (press || !freed)
			sc->priority--;
	}
	return false;
}

/*
 * Frames freed now are for everybody: per-CPU lists pass them on (pcp.c), and
 * those of idle CPUs give back a part with each run. What lies there is free,
 * but no watermark sees it.
 */
static void set_active(struct engine *e, struct node *n, unsigned highest_zone,
		       bool active)
{
	for (unsigned i = 0; i <= highest_zone && i < n->nr_zones; i++) {
		n->zones[i].reclaim_active = active;
		for (unsigned c = 0; active && c < e->nr_cpus; c++)
			weir__pcp_decay(e, &n->zones[i], c);
	}
}

unsigned weir__balance_pgdat(struct engine *e, struct node *n, unsigned order,
			     unsigned highest_zone)
{
	struct scan_control sc = {
	    .gfp = GFP_KERNEL,
	    .order = (int8_t)order,
	    .reclaim_zone = (uint8_t)highest_zone,
	    .who = RECLAIM_KSWAPD,
	    .swappiness = -1,
	    .may_unmap = true,
	    .full_walk = true,
	};
	uint64_t boost[MAX_ZONES] = {0}, total = 0;
	bool done;

	weir__stat_inc(e, STAT_pageoutrun);
	for (unsigned i = 0; i <= highest_zone && i < n->nr_zones; i++) {
		boost[i] = n->zones[i].watermark_boost;
		total += boost[i];
	}

	set_active(e, n, highest_zone, true);
	done = climb(e, n, &sc, total);
	if (!done && !sc.nr_reclaimed && sc.priority < 1 &&
	    sc.cache_trim_mode_failed) {
		sc.no_cache_trim_mode = true;
		done = climb(e, n, &sc, 0);
	}
	if (!done && !sc.nr_reclaimed)
		n->kswapd_failures++;
	set_active(e, n, highest_zone, false);

	/* What was added meanwhile is the next run's. */
	for (unsigned i = 0; i <= highest_zone && i < n->nr_zones; i++) {
		struct zone *z = &n->zones[i];

		if (!boost[i])
			continue;
		weir__spin_lock(e, &z->lock);
		z->watermark_boost -= boost[i] < z->watermark_boost
					  ? boost[i]
					  : z->watermark_boost;
		weir__spin_unlock(e, &z->lock);
	}
	weir__snapshot_refaults(n);
	return (unsigned)sc.order;
}

/* --- the task ----------------------------------------------------------- */

static bool ready_to_sleep(struct engine *e, struct node *n, unsigned order,
			   unsigned highest_zone)
{
	/*
	 * Nobody may be left waiting for a kswapd that sleeps: the gate opens
	 * when the node is balanced, and when it is hopeless.
	 */
	if (n->kswapd_failures >= KSWAPD_FAILURES_MAX) {
		wake_throttled(e, n);
		return true;
	}
	if (!weir__pgdat_balanced(n, order, highest_zone))
		return false;
	wake_throttled(e, n);
	n->lruvec.flags &= ~(LRUVEC_NODE_CONGESTED | LRUVEC_CGROUP_CONGESTED);
	n->flags &= ~(NODE_FLAG_DIRTY | NODE_FLAG_WRITEBACK);
	return true;
}

/* True when the whole nap passed without a wake. */
static bool nap(struct engine *e, struct node *n, uint32_t word)
{
	struct weir_host *h = e->host;
	uint64_t end = h->ops->now_ns(h) + NAP_NS;

	while (n->kswapd_word == word && !e->stopping) {
		uint64_t now = h->ops->now_ns(h);

		if (now >= end)
			return true;
		h->ops->wait(h, &n->kswapd_word, word, end - now);
	}
	return false;
}

static void sleep_until_woken(struct engine *e, struct node *n, unsigned order,
			      unsigned highest_zone)
{
	struct weir_host *h = e->host;
	bool quiet = true;
	uint32_t word;

	n->kswapd_sleeping = 1;
	word = n->kswapd_word;
	if (ready_to_sleep(e, n, order, highest_zone)) {
		weir__event(e, "mm_vmscan_kswapd_sleep", n->id, 0, 0);
		quiet = nap(e, n, word);
	}
	if (e->stopping) {
		/* no more marks to watch */
	} else if (!quiet) {
		weir__stat_inc(e, STAT_kswapd_low_wmark_hit_quickly);
	} else if (ready_to_sleep(e, n, order, highest_zone)) {
		while (n->kswapd_word == word && !e->stopping)
			h->ops->wait(h, &n->kswapd_word, word, 0);
	} else {
		weir__stat_inc(e, STAT_kswapd_high_wmark_hit_quickly);
	}
	n->kswapd_sleeping = 0;
}

static unsigned take_zone(struct node *n, unsigned fallback)
{
	uint32_t z = __atomic_exchange_n((uint32_t *)&n->kswapd_highest_zone,
					 ZONE_NOBODY, __ATOMIC_SEQ_CST);

	return z == ZONE_NOBODY ? fallback : z;
}

static void kswapd(struct engine *e, void *arg)
{
	struct node *n = arg;
	unsigned order = 0, zone = n->nr_zones - 1u, done;

	while (!e->stopping) {
		sleep_until_woken(e, n, order, zone);
		if (e->stopping)
			break;
		order = __atomic_exchange_n((uint32_t *)&n->kswapd_order, 0,
					    __ATOMIC_SEQ_CST);
		zone = take_zone(n, zone);
		weir__event(e, "mm_vmscan_kswapd_wake", n->id, zone, order);
		done = weir__balance_pgdat(e, n, order, zone);
		/* Fell back to single pages: balanced for those is enough. */
		order = done;
	}
	wake_throttled(e, n);
	n->kswapd_running = 0;
	e->host->ops->wake_word(e->host, &n->kswapd_running, UINT32_MAX);
}

int weir__kswapd_start(struct engine *e)
{
	for (unsigned i = 0; i < e->nr_nodes; i++) {
		struct node *n = &e->nodes[i];
		int err;

		n->kswapd_highest_zone = ZONE_NOBODY;
		n->kswapd_running = 1;
		err = e->host->ops->spawn(e->host, "kswapd",
					  PF_KSWAPD | PF_MEMALLOC, kswapd, n);
		if (err) {
			n->kswapd_running = 0;
			weir__kswapd_stop(e);
			return err;
		}
	}
	return 0;
}

void weir__kswapd_stop(struct engine *e)
{
	struct weir_host *h = e->host;

	e->stopping = 1;
	for (unsigned i = 0; i < e->nr_nodes; i++) {
		struct node *n = &e->nodes[i];

		n->kswapd_word++;
		h->ops->wake_word(h, &n->kswapd_word, UINT32_MAX);
		wake_throttled(e, n);
		while (n->kswapd_running)
			h->ops->wait(h, &n->kswapd_running, 1, 0);
	}
}

void weir__kswapd_forget(struct engine *e)
{
	for (unsigned i = 0; i < e->nr_nodes; i++) {
		struct node *n = &e->nodes[i];

		n->kswapd_running = 0;
		n->kswapd_sleeping = 0;
		n->pfmemalloc_waiters = 0;
		for (unsigned k = 0; k < NR_THROTTLE; k++)
			n->nr_throttled[k] = 0;
	}
}
