/* SPDX-License-Identifier: MIT */
/*
 * Scanning the lists of a node.
 *
 * The problem
 *
 * The page to take is the one that will not be needed for the longest time.
 * Nobody knows it, so we take the one that has not been needed for the longest
 * time, and we do not know that one either: programs touch memory without
 * telling. All we can do is ask now and then, for each page, "were you touched
 * since I asked last?", and asking is not free. The lists below are a way to
 * ask few pages, late, and still find mostly the right ones.
 *
 *              new pages, pages read back
 *                        |
 *                        v
 *    +------ inactive ---------+     touched     +------ active ----------+
 *    | head               tail | --- twice ----> | head              tail |
 *    +-------------------------+                 +------------------------+
 *        ^                 |                                         |
 *        |                 | not touched                             |
 *        |                 v                                         |
 *        |             taken away                                    |
 *        +---------- every page of the tail, touched or not ---------+
 *
 * 1. A page is asked when it reaches the tail of the inactive list. The time
 *    it took to get there is the time it had to be touched in. The longer the
 *    inactive list, the more pages prove themselves, and the fewer the active
 *    list can hold for good: weir__inactive_is_low keeps the two in a ratio.
 *
 * 2. A page of the active list is not asked whether it may stay. The tail moves
 *    over to the inactive list as it is, and a page that is in use gets the
 *    length of the inactive list to say so. Being touched once per lap of the
 *    active list, which may take minutes, is no reason to be kept; on a large
 *    machine every page would be. (Code of running programs is the exception:
 *    it stays, because a stall there stops everything.)
 *
 * 3. Anonymous and file pages have lists of their own, since taking them has
 *    different prices. scanbalance.c splits the work by what each has cost.
 *
 * 4. How hard to try is one number, the priority: each pass scans size >>
 *    priority pages of each list. It starts at 12 (a 4096th part) and comes
 *    down by one whenever a pass did not do. Under light load only tails are
 *    looked at; at 0 everything is. The number of passes that failed is the
 *    measure of distress in other places too (waiting, writing, giving up).
 *
 * On a machine without accessed bits the question is asked by taking the page
 * out of the program's sight and leaving it in its frame (pagelist.c): if it
 * is wanted, the program faults, and the fault is the answer. That makes each
 * question cost a trap for every page in use, and is why a whole batch is asked
 * at once and why the batch may be larger there (tunable cluster_max).
 *
 * What happens when the guess is wrong
 *
 * - A page in use was taken. It is read back; its slot kept the time of its
 *   eviction (workingset.c). If it would have stayed with a little more room,
 *   it becomes active at once, and the refault counts as cost of its type, so
 *   that the next pass looks at the other type first. One read lost.
 * - A page nobody needs was kept. It goes round once more: one scan lost, and
 *   for that long another page had less room.
 * - The split was wrong, say much swapping while old file pages lie about:
 *   pages written and pages found in use both raise the cost of the type that
 *   was scanned too much, and costs are halved as lists turn over, so the
 *   error corrects itself within a few rounds and is forgotten after.
 * - A pass freed nothing although pages were there (all young, all being
 *   written): the next priority scans twice as much. References are cleared on
 *   the way, so a full lap at the latest finds pages that were not touched
 *   since. If even priority 0 finds none, then what is left is wanted all the
 *   time, and the caller has to decide about it (alloc.c, oom.c).
 */
#include <string.h>

#include "engine/batch.h"
#include "engine/check.h"
#include "engine/event.h"
#include "engine/frame.h"
#include "engine/lruvec.h"
#include "engine/shrinker.h"
#include "engine/slab.h"
#include "engine/swap.h"
#include "engine/vmscan.h"
#include "engine/watermark.h"
#include "engine/writeback.h"

#define COSTLY_ORDER 3
#define ASK_BATCH    64u /* pages taken out of place together */

static bool can_age_anon(struct engine *e)
{
	return weir__swap_total(e) > 0;
}

static unsigned take(struct engine *e, struct node *n, enum lru_list lru,
		     unsigned nr, struct scan_control *sc,
		     struct list_head *out, unsigned *scanned)
{
	unsigned taken;

	taken = weir__lruvec_isolate(e, &n->lruvec, lru, nr, sc->reclaim_zone,
				     sc->may_unmap, out, scanned);
	sc->scout = weir__lru_scout_start(&n->lruvec, lru);
	weir__event(e, "mm_vmscan_lru_isolate", lru, *scanned, taken);
	if (e->host->ops->scanned)
		e->host->ops->scanned(e->host, *scanned);
	return taken;
}

static void note_cost(struct engine *e, struct lruvec *v, int file,
		      uint64_t nr_io, uint64_t nr_rotated)
{
	weir__spin_lock(e, &v->lru_lock);
	weir__lru_note_cost(v, file, nr_io, nr_rotated);
	weir__spin_unlock(e, &v->lru_lock);
}

/* --- active list -------------------------------------------------------- */

static void cull_unevictable(struct engine *e, struct list_head *pages)
{
	struct frame *f, *next;

	list_for_each_entry_safe (f, next, pages, lru) {
		if (weir__frame_evictable(f))
			continue;
		list_del_init(&f->lru);
		weir__frame_putback_lru(e, f);
	}
}

/* True: the page stays active. */
static bool stays_active(const struct frame *f)
{
	uint32_t age = __atomic_load_n(&f->error, __ATOMIC_RELAXED);

	return weir__frame_is_file(f) && (age & AGE_EXEC) &&
	       (age & AGE_YOUNG_MASK);
}

static void shrink_active_list(struct engine *e, struct node *n,
			       enum lru_list lru, unsigned nr,
			       struct scan_control *sc)
{
	int file = lru >= LRU_INACTIVE_FILE;
	unsigned scanned = 0, nr_rotated = 0, nr_deactivated = 0, taken;
	LIST_HEAD(pages);
	struct frame *f;

	weir__lru_add_drain(e);
	taken = take(e, n, lru, nr, sc, &pages, &scanned);
	weir__stat_add(e, STAT_pgrefill, scanned);
	if (!taken)
		return;

	cull_unevictable(e, &pages);
	/* Without accessed bits the question costs a trap, and only the old end
	 * of the inactive list is asked: see ask_ahead. */
	if (file || e->host->ops->has_accessed_bit)
		weir__page_list_age(e, &pages, sc->scout);
	list_for_each_entry (f, &pages, lru) {
		if (stays_active(f)) {
			nr_rotated++;
			continue;
		}
		weir__frame_clear(f, FRAME_ACTIVE);
		/* If it is taken and comes back, that is thrashing. */
		weir__frame_set(f, FRAME_WORKINGSET);
		nr_deactivated++;
	}
	weir__lruvec_putback(e, &pages);

	weir__stat_add(e, STAT_pgdeactivate, nr_deactivated);
	if (nr_rotated)
		note_cost(e, &n->lruvec, file, 0, nr_rotated);
	weir__event(e, "mm_vmscan_lru_shrink_active", scanned, nr_deactivated,
		    nr_rotated);
}

/* --- inactive list ------------------------------------------------------ */

static void count_scan(struct engine *e, const struct scan_control *sc,
		       int file, uint64_t scanned, uint64_t freed)
{
	static const enum stat_item scan_by[] = {
	    [RECLAIM_KSWAPD] = STAT_pgscan_kswapd,
	    [RECLAIM_DIRECT] = STAT_pgscan_direct,
	    [RECLAIM_PROACTIVE] = STAT_pgscan_proactive};
	static const enum stat_item steal_by[] = {
	    [RECLAIM_KSWAPD] = STAT_pgsteal_kswapd,
	    [RECLAIM_DIRECT] = STAT_pgsteal_direct,
	    [RECLAIM_PROACTIVE] = STAT_pgsteal_proactive};

	weir__stat_add(e, scan_by[sc->who], (int64_t)scanned);
	weir__stat_add(e, file ? STAT_pgscan_file : STAT_pgscan_anon,
		       (int64_t)scanned);
	if (!freed)
		return;
	weir__stat_add(e, steal_by[sc->who], (int64_t)freed);
	weir__stat_add(e, file ? STAT_pgsteal_file : STAT_pgsteal_anon,
		       (int64_t)freed);
}

static void add_round(struct scan_control *sc, const struct reclaim_stat *st,
		      int file, unsigned taken)
{
	struct reclaim_stat *r = &sc->round;

	r->nr_dirty += st->nr_dirty;
	r->nr_unqueued_dirty += st->nr_unqueued_dirty;
	r->nr_congested += st->nr_congested;
	r->nr_writeback += st->nr_writeback;
	r->nr_immediate += st->nr_immediate;
	r->nr_pageout += st->nr_pageout;
	r->nr_activate[0] += st->nr_activate[0];
	r->nr_activate[1] += st->nr_activate[1];
	r->nr_ref_keep += st->nr_ref_keep;
	r->nr_unmap_fail += st->nr_unmap_fail;
	r->nr_busy += st->nr_busy;
	r->nr_taken += taken;
	if (file)
		r->nr_file_taken += taken;
}

/*
 * Puts the question to the next pages of the inactive anon list, oldest first,
 * so that those about to be taken have been out of place for a while. How long
 * decides both prices: every page in use that is asked costs a trap, and a page
 * that is taken before it could answer costs a read. A part of all anonymous
 * pages (tunable ask_window) is out of place at a time.
 */
static void ask_ahead(struct engine *e, struct node *n, unsigned nr,
		      struct scan_control *sc)
{
	struct lruvec *v = &n->lruvec;
	int64_t all = v->size[LRU_INACTIVE_ANON] + v->size[LRU_ACTIVE_ANON];
	int64_t want = all / (int64_t)e->tun.ask_window + nr;
	int64_t left = v->size[LRU_INACTIVE_ANON] - v->nr_asked;

	while (v->nr_asked < want && left > 0) {
		LIST_HEAD(pages);
		unsigned scanned;

		if (!weir__lruvec_isolate_unasked(e, v, ASK_BATCH,
						  sc->reclaim_zone, &pages,
						  &scanned) &&
		    !scanned)
			break;
		left -= scanned;
		weir__page_list_ask(e, &pages);
		weir__lruvec_putback(e, &pages);
	}
}

/* Pages freed, or a made-up success for a task that is about to end. */
static unsigned shrink_inactive_list(struct engine *e, struct node *n,
				     enum lru_list lru, unsigned nr,
				     struct scan_control *sc)
{
	int file = lru >= LRU_INACTIVE_FILE;
	struct reclaim_stat st = {0};
	unsigned scanned = 0, taken, freed;
	bool stalled = false;
	LIST_HEAD(pages);

	while (weir__too_many_isolated(e, n, file, sc)) {
		if (stalled)
			return 0;
		stalled = true;
		weir__reclaim_throttle(e, n, THROTTLE_ISOLATED);
		if (weir__self(e)->flags & PF_EXITING)
			return SWAP_CLUSTER_MAX;
	}

	weir__lru_add_drain(e);
	if (lru == LRU_INACTIVE_ANON && !e->host->ops->has_accessed_bit &&
	    sc->may_unmap)
		ask_ahead(e, n, nr, sc);
	taken = take(e, n, lru, nr, sc, &pages, &scanned);
	sc->nr_scanned += scanned;
	if (!taken) {
		count_scan(e, sc, file, scanned, 0);
		return 0;
	}

	freed = weir__shrink_page_list(e, &pages, n, sc, &st,
				       sc->ignore_references);
	weir__lruvec_putback(e, &pages);
	count_scan(e, sc, file, scanned, freed);
	note_cost(e, &n->lruvec, file, st.nr_pageout,
		  scanned > freed ? scanned - freed : 0);
	add_round(sc, &st, file, taken);
	/* Nothing but dirty pages that nobody is writing: the flusher has not
	 * kept up, or does not know yet that memory is short. */
	if (st.nr_unqueued_dirty == taken)
		weir__wakeup_flusher(e, UINT64_MAX);
	weir__event(e, "mm_vmscan_lru_shrink_inactive", scanned, freed,
		    (uint64_t)sc->priority);
	return freed;
}

/* --- one lruvec --------------------------------------------------------- */

static unsigned shrink_list(struct engine *e, struct node *n, enum lru_list lru,
			    unsigned nr, struct scan_control *sc)
{
	bool active = lru == LRU_ACTIVE_ANON || lru == LRU_ACTIVE_FILE;

	if (!active)
		return shrink_inactive_list(e, n, lru, nr, sc);
	if (sc->may_deactivate[lru >= LRU_INACTIVE_FILE])
		shrink_active_list(e, n, lru, nr, sc);
	else
		sc->skipped_deactivate = true;
	return 0;
}

uint64_t weir__shrink_list(struct engine *e, struct node *n, enum lru_list lru,
			   uint64_t nr, struct scan_control *sc)
{
	uint64_t freed = 0;

	while (nr) {
		unsigned now = nr < SWAP_CLUSTER_MAX ? (unsigned)nr
						     : SWAP_CLUSTER_MAX;

		nr -= now;
		freed += shrink_list(e, n, lru, now, sc);
	}
	return freed;
}

static void plan_quota(struct engine *e, struct lruvec *v,
		       struct scan_control *sc, uint64_t *nr)
{
	unsigned batch = weir__scan_batch(e);

	weir__get_scan_count(e, v, sc, nr);
	/*
	 * A batch that costs as much for one page as for all of it is not
	 * spent on a handful.
	 */
	if (batch > SWAP_CLUSTER_MAX)
		for (unsigned l = 0; l < LRU_UNEVICTABLE; l++)
			nr[l] = (nr[l] + batch - 1) / batch * batch;
}

static void shrink_lruvec(struct engine *e, struct node *n,
			  struct scan_control *sc)
{
	struct lruvec *v = &n->lruvec;
	uint64_t nr[LRU_UNEVICTABLE], targets[LRU_UNEVICTABLE];
	unsigned batch = weir__scan_batch(e);
	uint64_t freed = 0;
	/*
	 * A direct reclaimer's first, lightest pass ends its round even when
	 * its 32 pages are there: stopping would leave the later lists
	 * unscanned in every pass of every allocating task.
	 */
	bool whole_round = sc->who == RECLAIM_DIRECT && !sc->limit &&
			   sc->priority == DEF_PRIORITY;

	plan_quota(e, v, sc, nr);
	memcpy(targets, nr, sizeof(targets));
	while (nr[LRU_INACTIVE_ANON] || nr[LRU_ACTIVE_FILE] ||
	       nr[LRU_INACTIVE_FILE]) {
		for (unsigned l = 0; l < LRU_UNEVICTABLE; l++) {
			unsigned now = nr[l] < batch ? (unsigned)nr[l] : batch;

			if (!now)
				continue;
			nr[l] -= now;
			freed += shrink_list(e, n, l, now, sc);
		}
		if (e->host->ops->preempt)
			e->host->ops->preempt(e->host);
		if (freed < sc->nr_to_reclaim || whole_round)
			continue;
		if (!weir__rebalance_quota(nr, targets))
			break;
	}
	sc->nr_reclaimed += freed;

	/* Keep the inactive list long enough to be worth asking. */
	if (can_age_anon(e) && weir__inactive_is_low(v, 0))
		shrink_active_list(e, n, LRU_ACTIVE_ANON, SWAP_CLUSTER_MAX, sc);
}

void weir__age_active_anon(struct engine *e, struct node *n,
			   struct scan_control *sc)
{
	if (can_age_anon(e) && weir__inactive_is_low(&n->lruvec, 0))
		shrink_active_list(e, n, LRU_ACTIVE_ANON, weir__scan_batch(e),
				   sc);
}

/* --- one node ----------------------------------------------------------- */

/*
 * Whether another pass at the same priority may complete a block of the order
 * asked for. Single pages never need it: the next priority does.
 */
static bool should_continue(struct engine *e, struct node *n,
			    const struct scan_control *sc, uint64_t freed)
{
	int64_t inactive = n->lruvec.size[LRU_INACTIVE_FILE];

	if (sc->order <= 0 || !freed)
		return false;
	if (sc->order <= COSTLY_ORDER && sc->priority >= DEF_PRIORITY - 2)
		return false;
	for (unsigned i = 0; i <= sc->reclaim_zone && i < n->nr_zones; i++) {
		struct zone *z = &n->zones[i];

		if (z->managed &&
		    weir__zone_watermark_ok(z, (unsigned)sc->order,
					    weir__wmark(z, WMARK_MIN),
					    sc->reclaim_zone, 0, z->free_pages))
			return false;
	}
	if (weir__anon_can_go(e))
		inactive += n->lruvec.size[LRU_INACTIVE_ANON];
	return inactive > (int64_t)2 << sc->order;
}

/* What the pass met says how the disk is doing. */
static void note_round(struct engine *e, struct node *n,
		       struct scan_control *sc)
{
	const struct reclaim_stat *r = &sc->round;
	bool kswapd = sc->who == RECLAIM_KSWAPD;

	if (kswapd) {
		if (r->nr_writeback && r->nr_writeback == r->nr_taken)
			n->flags |= NODE_FLAG_WRITEBACK;
		if (r->nr_unqueued_dirty &&
		    r->nr_unqueued_dirty == r->nr_file_taken)
			n->flags |= NODE_FLAG_DIRTY;
		if (r->nr_immediate)
			weir__reclaim_throttle(e, n, THROTTLE_WRITEBACK);
	}
	if (kswapd && r->nr_dirty && r->nr_dirty == r->nr_congested)
		n->lruvec.flags |= LRUVEC_NODE_CONGESTED;
	if (!kswapd && !sc->hibernation &&
	    n->lruvec.flags & LRUVEC_NODE_CONGESTED)
		weir__reclaim_throttle(e, n, THROTTLE_CONGESTED);
}

/* What is in no list: objects of caches, and the slabs they leave empty. */
static void shrink_caches(struct engine *e, struct node *n,
			  struct scan_control *sc)
{
	struct wtask *self = weir__self(e);
	uint64_t before = self->reclaimed_slab;

	weir__shrink_slab(e, sc->gfp, n->id, sc->priority);
	/*
	 * Empty slabs go back by themselves, but for a small reserve of each
	 * cache: that is for the last rung.
	 */
	if (sc->priority <= 0)
		weir__slab_shrink(e);
	sc->nr_reclaimed += self->reclaimed_slab - before;
}

void weir__shrink_node(struct engine *e, struct node *n,
		       struct scan_control *sc)
{
	bool progress = false;
	uint64_t freed;

	do {
		uint64_t before = sc->nr_reclaimed;

		memset(&sc->round, 0, sizeof(sc->round));
		weir__prepare_scan(e, n, sc);
		shrink_lruvec(e, n, sc);
		shrink_caches(e, n, sc);
		freed = sc->nr_reclaimed - before;
		if (freed)
			progress = true;
		note_round(e, n, sc);
	} while (should_continue(e, n, sc, freed));

	if (progress) {
		n->kswapd_failures = 0;
		n->reclaim_count++;
	} else if (sc->cache_trim_mode) {
		sc->cache_trim_mode_failed = true;
	}
}
