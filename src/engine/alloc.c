/* SPDX-License-Identifier: MIT */
/*
 * The slow path of allocation: the free lists are at their low mark.
 *
 * Each step asks for a little more than the one before, and the order is the
 * contract: wake kswapd and look again; use what rights the task has; reclaim
 * for oneself; look whether another round makes sense; ask the out-of-memory
 * choice; fail. A request without GFP_DIRECT_RECLAIM leaves at the point where
 * sleeping would start, and so does a task that is inside reclaim already:
 * that is what keeps reclaim from waiting for itself.
 *
 * There is no compaction here: a request for more than one page relies on
 * pages that reclaim frees next to each other.
 */
#include "engine/alloc.h"
#include "engine/buddy.h"
#include "engine/event.h"
#include "engine/oom.h"
#include "engine/reclaim.h"
#include "engine/watermark.h"

#define COSTLY_ORDER        3
#define MAX_RECLAIM_RETRIES 16

/* One request on its way through the steps. */
struct request {
	gfp_t gfp;
	unsigned order;
	unsigned zone; /* highest usable */
	unsigned flags;
	unsigned loops; /* rounds without progress */
};

static void wake_all_kswapds(struct engine *e, const struct request *r)
{
	if (!(r->gfp & GFP_KSWAPD_RECLAIM))
		return;
	for (unsigned i = 0; i < e->nr_nodes; i++) {
		struct node *n = &e->nodes[i];
		unsigned zone = weir__gfp_zone(r->gfp, n);

		weir__wakeup_kswapd(e, &n->zones[zone], r->gfp, r->order, zone);
	}
}

static struct frame *look(struct engine *e, const struct request *r,
			  unsigned flags)
{
	weir__event(e, "get_page_from_freelist", r->order, flags, r->loops);
	return weir__get_page_from_freelist(e, r->gfp, r->order, flags);
}

static bool release_highatomic(struct engine *e, const struct request *r,
			       bool force)
{
	int type = r->gfp & GFP_MOVABLE ? MIGRATE_MOVABLE : MIGRATE_UNMOVABLE;

	for (unsigned i = 0; i < e->nr_nodes; i++)
		for (unsigned z = 0; z < e->nodes[i].nr_zones; z++)
			if (weir__highatomic_release(e, &e->nodes[i].zones[z],
						     type, force))
				return true;
	return false;
}

static struct frame *reclaim_and_look(struct engine *e, const struct request *r,
				      bool *progress)
{
	struct frame *f;

	*progress = weir__try_to_free_pages(e, r->gfp, r->order) != 0;
	if (!*progress)
		return NULL;
	f = look(e, r, r->flags);
	if (f)
		return f;
	/* What was freed may sit in the lists of some CPU, or be kept for
	 * requests that cannot wait. */
	release_highatomic(e, r, false);
	weir__pcp_drain_all(e);
	return look(e, r, r->flags);
}

/*
 * Would the request be served if everything that reclaim could find were
 * free? Pages that cannot go anywhere do not count (zone_reclaimable), so that
 * a full swap ends the rounds at once.
 */
static bool could_be_served(struct engine *e, const struct request *r)
{
	for (unsigned i = 0; i < e->nr_nodes; i++) {
		struct node *n = &e->nodes[i];
		unsigned zone = weir__gfp_zone(r->gfp, n);

		for (unsigned z = 0; z <= zone && z < n->nr_zones; z++) {
			struct zone *zn = &n->zones[z];
			int64_t have = zn->free_pages;

			if (!zn->managed)
				continue;
			have += (int64_t)weir__zone_reclaimable(e, zn);
			if (weir__zone_watermark_ok(zn, r->order,
						    weir__wmark(zn, WMARK_MIN),
						    zone, r->flags, have))
				return true;
		}
	}
	return false;
}

static bool should_retry(struct engine *e, struct request *r, bool progress)
{
	bool retry;

	if (progress && r->order <= COSTLY_ORDER)
		r->loops = 0;
	else
		r->loops++;
	retry = r->loops <= MAX_RECLAIM_RETRIES && could_be_served(e, r);
	weir__event(e, "reclaim_retry_zone", r->order, r->loops, retry);
	/*
	 * A whole round takes a fraction of the time for which a task may be
	 * off its processor. Without a pause seventeen of them prove only that
	 * somebody who holds a lock has been preempted.
	 */
	if (retry && !progress)
		weir__throttle_tick(e, &e->nodes[0]);
	/* The last reserve buys one more round. */
	return retry || release_highatomic(e, r, true);
}

static bool may_kill(struct engine *e, const struct request *r)
{
	const struct node *n = &e->nodes[0];

	if (r->order > COSTLY_ORDER || r->gfp & GFP_RETRY_MAYFAIL)
		return false;
	/* Killing frees pages anywhere; a low zone would hardly notice. */
	return r->zone + 1u >= n->nr_zones;
}

/*
 * One task at a time makes the choice; for the others somebody else's choice
 * is progress enough. *progress: something was done, start over.
 */
static struct frame *oom_step(struct engine *e, const struct request *r,
			      bool *progress)
{
	struct weir_host *h = e->host;
	uint32_t free = 0;
	struct frame *f;

	if (!__atomic_compare_exchange_n((uint32_t *)&e->oom_lock, &free, 1,
					 false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED)) {
		h->ops->wait(h, &e->oom_lock, 1, TICK_NS);
		*progress = true;
		return NULL;
	}
	*progress = false;
	/*
	 * The mark is high on purpose: this look is to catch a kill that ended
	 * just now and freed plenty, not to take the last page.
	 */
	f = look(e, r, ALLOC_WMARK_HIGH);
	if (!f && may_kill(e, r))
		*progress = weir__out_of_memory(e, r->gfp, r->order);
	if (!f && r->gfp & GFP_NOFAIL)
		*progress = true;
	__atomic_store_n((uint32_t *)&e->oom_lock, 0, __ATOMIC_RELEASE);
	h->ops->wake_word(h, &e->oom_lock, 1);
	return f;
}

/* The rights of the moment: a task may have become a victim meanwhile. */
static void refresh_rights(struct engine *e, struct request *r)
{
	r->flags = weir__gfp_to_alloc_flags(e, r->gfp, r->order);
}

/* True: no step after this one may be taken. */
static bool must_not_sleep(struct engine *e, const struct request *r)
{
	if (!(r->gfp & GFP_DIRECT_RECLAIM))
		return true;
	return weir__self(e)->flags & (PF_MEMALLOC | PF_ATOMIC);
}

static bool gives_up_early(const struct request *r)
{
	if (r->gfp & GFP_NORETRY)
		return true;
	return r->order > COSTLY_ORDER && !(r->gfp & GFP_RETRY_MAYFAIL);
}

/* Out of memory and holding the victim's rights already: it has to end. */
static bool victim_is_stuck(struct engine *e, const struct request *r)
{
	return weir__self(e)->flags & PF_OOM_VICTIM &&
	       (r->flags & (ALLOC_OOM | ALLOC_NO_WATERMARKS) ||
		r->gfp & GFP_NOMEMALLOC);
}

/* Rounds until a frame is there or nothing is left to try. */
static struct frame *rounds(struct engine *e, struct request *r)
{
	struct frame *f;
	bool progress;

	for (;;) {
		wake_all_kswapds(e, r);
		refresh_rights(e, r);
		f = look(e, r, r->flags);
		if (f || must_not_sleep(e, r))
			return f;
		f = reclaim_and_look(e, r, &progress);
		if (f || gives_up_early(r))
			return f;
		if (should_retry(e, r, progress))
			continue;
		f = oom_step(e, r, &progress);
		if (f || victim_is_stuck(e, r))
			return f;
		if (!progress)
			return NULL;
		r->loops = 0;
	}
}

static struct frame *alloc_slow(struct engine *e, gfp_t gfp, unsigned order)
{
	struct request r = {
	    .gfp = weir__gfp_context(e, gfp),
	    .order = order,
	    .zone = weir__gfp_zone(gfp, &e->nodes[0]),
	};
	struct frame *f;

	refresh_rights(e, &r);
	wake_all_kswapds(e, &r);
	f = look(e, &r, r.flags);
	if (f)
		return f;
	do {
		f = rounds(e, &r);
		if (f || !(gfp & GFP_NOFAIL) || must_not_sleep(e, &r))
			return f;
		/* Has no way back: a little more of the reserve, for ever. */
		f = look(e, &r, ALLOC_WMARK_MIN | ALLOC_MIN_RESERVE);
	} while (!f);
	return f;
}

/* Fragmentation lifted the marks of the zone. */
static void wake_boosted(struct engine *e, struct zone *z)
{
	weir__wakeup_kswapd(e, z, 0, 0, z->index);
}

void weir__alloc_init(struct engine *e)
{
	e->alloc_slow = alloc_slow;
	e->wake_boosted = wake_boosted;
}
