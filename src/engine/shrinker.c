/* SPDX-License-Identifier: MIT */
/*
 * Shrinkers: pressure on caches of objects, in proportion to that on pages.
 *
 * PROBLEM. A cache of small objects (names, inodes, the nodes of a tree) grows
 * with use as the page cache does, but its objects stand on no LRU list,
 * several share a page, and only their cache knows which can go. Nobody can
 * compare the age of an inode with that of a page.
 *
 * DECISION. Ask every cache for the same fraction that is asked of the page
 * lists: size >> priority. What an object costs to make again scales it:
 * `seeks` accesses of a store for each, where a page costs two; so the fraction
 * is 4 / seeks of the pages'. An object that costs nothing (seeks 0) is asked
 * for half of the cache at any priority.
 *
 * Work that cannot be done now is not forgotten. A small cache under light
 * pressure owes two or three objects, not worth a call, and a caller who may
 * not enter filesystems can free no inode at all. Both are added up and paid
 * when a batch is full or somebody comes who may:
 *
 *      this call's delta ──┐
 *                          ├──► total ──► scan in batches ──► rest: deferred
 *      deferred >> priority┘
 *
 * The bounds matter as much: a total beyond twice the cache would empty a cache
 * that has just begun to live, because of debts from when it was large.
 *
 * IF THE GUESS IS WRONG. Too little pressure: the cache holds pages, its share
 * grows at the next priority as everybody's does. Too much: names are looked up
 * again, a cost of `seeks` each; the reference bit of the cache's own list is
 * the defence, as for pages.
 *
 * Registration against calls
 *
 *   shrink_slab                        unregister
 *   ---------------------------        ---------------------------
 *   lock; users + 1; unlock
 *   count, scan: no lock held          lock; unlinks; generation + 1; drops
 *                                      the list's user; unlock
 *                                      waits while users > 0
 *   lock; the generation is another:
 *   this entry may stand in no list,
 *   so the walk ends here
 *   users - 1: the last, wakes; unlock
 *                                      lock, unlock: the other is out of it
 *                                      returns: nobody calls it any more
 */
#include <errno.h>
#include <string.h>

#include "engine/check.h"
#include "engine/event.h"
#include "engine/pcache.h"
#include "engine/shrinker.h"

struct shrinkers {
	struct spin lock; /* RANK_SHRINKER: the list and users */
	struct list_head list;
	_Atomic uint64_t generation; /* entries that went */
	struct shrinker shadow_nodes;
};

/* --- cache nodes that hold nothing but shadows ------------------------------
 */

static uint64_t count_shadow_nodes(struct engine *e, struct shrinker *s,
				   struct shrink_control *sc)
{
	return weir__shadow_nodes_count(e);
}

static uint64_t scan_shadow_nodes(struct engine *e, struct shrinker *s,
				  struct shrink_control *sc)
{
	return weir__shadow_nodes_scan(e, sc->nr_to_scan);
}

/* --- registration -----------------------------------------------------------
 */

int weir__shrinkers_init(struct engine *e)
{
	struct shrinkers *all = e->host->ops->meta_alloc(e->host, sizeof(*all));

	if (!all)
		return -ENOMEM;
	weir__spin_init(&all->lock, RANK_SHRINKER);
	list_init(&all->list);
	e->shrinkers = all;
	all->shadow_nodes = (struct shrinker){
	    .name = "shadow-nodes",
	    .count = count_shadow_nodes,
	    .scan = scan_shadow_nodes,
	    .seeks = 0, /* a shadow lost is a refault not judged */
	};
	weir__shrinker_register(e, &all->shadow_nodes);
	return 0;
}

void weir__shrinker_register(struct engine *e, struct shrinker *s)
{
	struct shrinkers *all = e->shrinkers;

	for (unsigned i = 0; i < MAX_NODES; i++)
		s->nr_deferred[i] = 0;
	s->users = 1;
	weir__spin_lock(e, &all->lock);
	list_add_tail(&s->link, &all->list);
	weir__spin_unlock(e, &all->lock);
}

void weir__shrinker_unregister(struct engine *e, struct shrinker *s)
{
	struct shrinkers *all = e->shrinkers;
	uint32_t users;

	weir__assert_may_sleep(e);
	weir__spin_lock(e, &all->lock);
	list_del_init(&s->link);
	all->generation++;
	s->users--;
	weir__spin_unlock(e, &all->lock);
	while ((users = s->users))
		e->host->ops->wait(e->host, &s->users, users, 0);
	weir__spin_lock(e, &all->lock);
	weir__spin_unlock(e, &all->lock);
}

/* => lock held */
static void let_go(struct engine *e, struct shrinker *s)
{
	if (!--s->users)
		e->host->ops->wake_word(e->host, &s->users, UINT32_MAX);
}

/* --- pressure ---------------------------------------------------------------
 */

uint64_t weir__shrink_delta(uint64_t freeable, unsigned seeks, int priority)
{
	if (!seeks)
		return freeable / 2;
	return (freeable >> priority) * 4 / seeks;
}

uint64_t weir__do_shrink_slab(struct engine *e, struct shrinker *s, gfp_t gfp,
			      unsigned node, int priority)
{
	struct shrink_control sc = {.gfp = gfp, .node = node};
	uint64_t batch = s->batch ? s->batch : SHRINK_BATCH;
	_Atomic uint64_t *deferred = &s->nr_deferred[s->numa_aware ? node : 0];
	uint64_t freeable = s->count(e, s, &sc);
	uint64_t nr, delta, total, owed, scanned = 0, freed = 0;

	if (!freeable)
		return 0;
	/* Taken whole: two callers do not pay the same debt. */
	nr = __atomic_exchange_n((uint64_t *)deferred, 0, __ATOMIC_RELAXED);
	delta = weir__shrink_delta(freeable, s->seeks, priority);
	total = (nr >> priority) + delta;
	if (total > 2 * freeable)
		total = 2 * freeable;
	weir__event(e, "mm_shrink_slab_start", freeable, delta, total);
	while (total >= batch || total >= freeable) {
		uint64_t got;

		sc.nr_to_scan = sc.nr_scanned = total < batch ? total : batch;
		if (!sc.nr_to_scan)
			break;
		got = s->scan(e, s, &sc);
		if (got == SHRINK_STOP)
			break;
		freed += got;
		weir__stat_add(e, STAT_slabs_scanned, (int64_t)sc.nr_scanned);
		total -= sc.nr_scanned < total ? sc.nr_scanned : total;
		scanned += sc.nr_scanned;
		if (e->host->ops->preempt)
			e->host->ops->preempt(e->host);
	}
	owed = nr + delta > scanned ? nr + delta - scanned : 0;
	if (owed > 2 * freeable)
		owed = 2 * freeable;
	__atomic_fetch_add((uint64_t *)deferred, owed, __ATOMIC_RELAXED);
	weir__event(e, "mm_shrink_slab_end", scanned, freed, owed);
	return freed;
}

/* The entry after s, held; s is let go. */
static struct shrinker *next(struct engine *e, struct shrinker *s,
			     uint64_t generation)
{
	struct shrinkers *all = e->shrinkers;
	struct list_head *pos = &all->list;

	weir__spin_lock(e, &all->lock);
	if (s && generation != all->generation)
		pos = all->list.prev;
	else if (s)
		pos = &s->link;
	if (s)
		let_go(e, s);
	pos = pos->next;
	s = pos == &all->list ? NULL : list_entry(pos, struct shrinker, link);
	if (s)
		s->users++;
	weir__spin_unlock(e, &all->lock);
	return s;
}

uint64_t weir__shrink_slab(struct engine *e, gfp_t gfp, unsigned node,
			   int priority)
{
	uint64_t generation, freed = 0;
	struct shrinker *s;

	if (!e->shrinkers)
		return 0;
	generation = e->shrinkers->generation;
	for (s = next(e, NULL, 0); s; s = next(e, s, generation))
		freed += weir__do_shrink_slab(e, s, gfp, node, priority);
	return freed;
}
