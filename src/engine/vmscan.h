/* SPDX-License-Identifier: MIT */
/*
 * Scanning: how much of which list (scanbalance.c), taking pages off it and
 * putting them back (vmscan.c), what becomes of an isolated page (pagelist.c),
 * waiting (throttle.c).
 */
#ifndef WEIR_ENGINE_VMSCAN_H
#define WEIR_ENGINE_VMSCAN_H

#include "engine/alloc.h"

#define DEF_PRIORITY	 12
#define SWAP_CLUSTER_MAX 32

struct reclaim_stat {
	unsigned nr_dirty, nr_unqueued_dirty, nr_congested, nr_writeback;
	unsigned nr_immediate, nr_pageout, nr_taken, nr_file_taken;
	unsigned nr_activate[2], nr_ref_keep, nr_unmap_fail, nr_busy;
};

enum reclaimer { RECLAIM_KSWAPD, RECLAIM_DIRECT, RECLAIM_PROACTIVE };

/* Request, permissions and results of one reclaim run. */
struct scan_control {
	/* request */
	uint64_t nr_to_reclaim;
	gfp_t gfp;
	int8_t order, priority;
	uint8_t reclaim_zone; /* highest useful zone */
	enum reclaimer who;
	int swappiness; /* -1 = the engine's; 201 = anon only */
	/* permissions */
	bool may_writepage, may_unmap, may_swap;
	bool may_deactivate[2]; /* [anon, file] */
	bool force_deactivate, ignore_references;
	bool cache_trim_mode, no_cache_trim_mode, file_is_tiny;
	bool cache_trim_mode_failed; /* out: it was on and nothing came */
	bool full_walk, proactive, hibernation;
	bool limit; /* for a group at its limit: limit.c */
	/* where the next batch will be taken from, perhaps: lruvec.h */
	const struct frame *scout;
	/* results */
	bool skipped_deactivate;
	uint64_t nr_scanned, nr_reclaimed;
	struct reclaim_stat round; /* of the current node pass */
};

/* One pass over a node at sc->priority. */
void weir__shrink_node(struct engine *e, struct node *n,
		       struct scan_control *sc);
/* So many pages of one list, whatever the balance says; pages freed. For those
 * who plan their scans themselves (classic.c). */
uint64_t weir__shrink_list(struct engine *e, struct node *n, enum lru_list lru,
			   uint64_t nr, struct scan_control *sc);
/* Ages 32 active anon pages when inactive anon is low. */
void weir__age_active_anon(struct engine *e, struct node *n,
			   struct scan_control *sc);

/* scanbalance.c: decides deactivation, cache_trim_mode and file_is_tiny for
 * the next pass over the node. */
void weir__prepare_scan(struct engine *e, struct node *n,
			struct scan_control *sc);
/* Remembers the WORKINGSET_ACTIVATE counters: the end of a reclaim cycle. */
void weir__snapshot_refaults(struct node *n);
/* Anonymous pages can leave memory: a slot is free, or some have one. */
bool weir__anon_can_go(struct engine *e);
/* Pages that reclaim could find in the zone: file, and anon as far as it can
 * go somewhere. */
uint64_t weir__zone_reclaimable(struct engine *e, const struct zone *z);

/* Exact formulas, apart for the tests. nr[LRU_UNEVICTABLE]. */
void weir__get_scan_count(struct engine *e, struct lruvec *v,
			  struct scan_control *sc, uint64_t *nr);
/* share numerators of rule FRACT: ap, fp */
void weir__scan_fractions(unsigned swappiness, uint64_t anon_cost,
			  uint64_t file_cost, uint64_t *ap, uint64_t *fp);
/* The goal is met: what is still to be scanned so that both types end up
 * scanned in the proportion first planned. False: nothing more. */
bool weir__rebalance_quota(uint64_t *nr, const uint64_t *targets);
/* How hard reclaim has to work, 0..100 (vmpressure). */
unsigned weir__vmpressure(uint64_t scanned, uint64_t reclaimed);
/* Pages for one isolation: SWAP_CLUSTER_MAX, or more where a batch is dear. */
static inline unsigned weir__scan_batch(const struct engine *e)
{
	return e->tun.cluster_max > SWAP_CLUSTER_MAX ?
		       (unsigned)e->tun.cluster_max :
		       SWAP_CLUSTER_MAX;
}

/*
 * The decision tree over isolated, unlocked pages (frame.lru links). Freed
 * ones are gone; the rest is back on `pages`. Returns pages freed.
 */
unsigned weir__shrink_page_list(struct engine *e, struct list_head *pages,
				struct node *n, struct scan_control *sc,
				struct reclaim_stat *st,
				bool ignore_references);

/*
 * Test-and-clears the accessed bits of all pages on the list in one batch. On
 * machines without accessed bits that means: takes them out of place, so that
 * the next touch shows (pagelist.c). Each frame's answer is left in
 * frame.error: AGE_YOUNG_MASK = regions in which it was young, and flags.
 * Returns how many were young.
 */
#define AGE_YOUNG_MASK 0xffffu
#define AGE_LOCKED     (1u << 16) /* a locked region maps it */
#define AGE_UNKNOWN    (1u << 17) /* could not tell: leave it alone */
#define AGE_EXEC       (1u << 18) /* young in an executable file mapping */
#define AGE_IF_CLEAN   (1u << 19) /* pagelist.c: take it only if it is clean */
unsigned weir__page_list_age(struct engine *e, struct list_head *pages,
			     const struct frame *scout);

/*
 * For machines without accessed bits: puts the question to isolated pages of
 * the inactive anon list, and marks those that are out of place now
 * (FRAME_ASKED), so that putback lines them up behind the ones asked before.
 */
void weir__page_list_ask(struct engine *e, struct list_head *pages);

/* --- throttle.c --------------------------------------------------------- */

#define TICK_NS 4000000ull /* one scheduler tick at 250 Hz */

/* [sleep] One nap, or none when it would not help. */
void weir__reclaim_throttle(struct engine *e, struct node *n,
			    enum throttle_reason why);
/* [sleep] A tick, or until somebody makes progress. */
void weir__throttle_tick(struct engine *e, struct node *n);
/* Ends the naps of that kind. [any] */
void weir__throttle_wake(struct engine *e, struct node *n,
			 enum throttle_reason why);
/*
 * [sleep] After a pass over the node that freed `freed` pages: waits for the
 * disk when pages on their way to it are what the pass asked for.
 */
void weir__wait_for_writes(struct engine *e, struct node *n,
			   const struct scan_control *sc, uint64_t freed);
/* Write-back of pages ended (and node.nr_writeback fell): wakes who is
 * throttled on it. [any] */
void weir__throttle_written(struct engine *e, struct node *n, unsigned pages);
/* More pages are off the lists than a reclaimer with these rights should
 * take from. Wakes who waited for the opposite. */
bool weir__too_many_isolated(struct engine *e, struct node *n, int file,
			     const struct scan_control *sc);
/* Are half of the reserves of the usable zones still there? */
bool weir__allow_direct_reclaim(struct engine *e, struct node *n);
/* A direct reclaimer waits here while kswapd has the reserve for itself.
 * True: the task is dying, let it go without reclaim. */
bool weir__throttle_direct_reclaim(struct engine *e, gfp_t gfp);

#endif
