/* SPDX-License-Identifier: MIT */
/*
 * How much of which list: the numbers a node pass starts from.
 *
 * Two questions are answered before a single page is looked at. May active
 * pages be moved to the inactive list (or is the inactive list long enough to
 * show which pages are used)? And how is the work split between anonymous and
 * file pages? The split follows the price paid so far: a type whose pages come
 * back, or have to be written, has a high cost and is scanned less.
 *
 * Nothing here changes a list. All arithmetic is in pages, unsigned, and
 * truncates; the constants are the kernel's.
 */
#include "engine/lruvec.h"
#include "engine/swap.h"
#include "engine/vmscan.h"
#include "engine/watermark.h"

#define SWAPPINESS_MAX       200
#define SWAPPINESS_ANON_ONLY 201

enum balance { BALANCE_EQUAL, BALANCE_FRACT, BALANCE_ANON, BALANCE_FILE };

static unsigned swappiness_of(const struct engine *e,
			      const struct scan_control *sc)
{
	return sc->swappiness < 0 ? (unsigned)e->tun.swappiness
				  : (unsigned)sc->swappiness;
}

static bool wants_deactivate(struct lruvec *v, int file)
{
	/*
	 * Pages of the type came back within the distance that made them
	 * active at once: the inactive list competes with an established set,
	 * so that set has to show that it is still in use.
	 */
	if (v->activate_refault[file] != v->refaults[file])
		return true;
	return weir__inactive_is_low(v, file);
}

static uint64_t list_size(const struct lruvec *v, enum lru_list l)
{
	int64_t n = v->size[l];

	return n > 0 ? (uint64_t)n : 0;
}

static bool file_is_tiny(struct node *n, const struct scan_control *sc)
{
	const struct lruvec *v = &n->lruvec;
	uint64_t have =
	    list_size(v, LRU_INACTIVE_FILE) + list_size(v, LRU_ACTIVE_FILE);
	uint64_t high = 0;

	if (sc->may_deactivate[0] ||
	    !(list_size(v, LRU_INACTIVE_ANON) >> sc->priority))
		return false;
	for (unsigned i = 0; i < n->nr_zones; i++) {
		int64_t nr_free = n->zones[i].free_pages;

		have += nr_free > 0 ? (uint64_t)nr_free : 0;
		high += weir__wmark(&n->zones[i], WMARK_HIGH);
	}
	/* Dropping every last file page would not lift us over the mark. */
	return have <= high;
}

void weir__prepare_scan(struct engine *e, struct node *n,
			struct scan_control *sc)
{
	struct lruvec *v = &n->lruvec;

	for (int file = 0; file < 2; file++)
		sc->may_deactivate[file] =
		    sc->force_deactivate || wants_deactivate(v, file);
	sc->cache_trim_mode = list_size(v, LRU_INACTIVE_FILE) >> sc->priority &&
			      !sc->may_deactivate[1] && !sc->no_cache_trim_mode;
	/* What is free beside the group is none of its business. */
	sc->file_is_tiny = !sc->limit && file_is_tiny(n, sc);
}

void weir__snapshot_refaults(struct node *n)
{
	for (int file = 0; file < 2; file++)
		n->lruvec.refaults[file] = n->lruvec.activate_refault[file];
}

bool weir__anon_can_go(struct engine *e)
{
	/*
	 * With every slot taken, pages that hold one and are in memory as well
	 * can still be dropped, or give their slot to somebody colder.
	 */
	return weir__swap_nr_free(e) ||
	       weir__stat_read(e, STAT_nr_swapcached) > 0;
}

uint64_t weir__zone_reclaimable(struct engine *e, const struct zone *z)
{
	const struct lruvec *v = &e->nodes[z->node].lruvec;
	int64_t nr = v->zone_size[z->index][LRU_INACTIVE_FILE] +
		     v->zone_size[z->index][LRU_ACTIVE_FILE];
	int64_t anon = v->zone_size[z->index][LRU_INACTIVE_ANON] +
		       v->zone_size[z->index][LRU_ACTIVE_ANON];
	int64_t bound = weir__stat_read(e, STAT_nr_swapcached);

	if (!weir__swap_nr_free(e) && anon > bound)
		anon = bound;
	nr += anon;
	return nr > 0 ? (uint64_t)nr : 0;
}

/*
 * A type's share falls as its part of the total cost rises, and never to
 * nothing: each type's cost is counted on top of the whole cost once more, so
 * shares stay between one third and two thirds at swappiness 100.
 */
void weir__scan_fractions(unsigned swappiness, uint64_t anon_cost,
			  uint64_t file_cost, uint64_t *ap, uint64_t *fp)
{
	uint64_t sum = anon_cost + file_cost;
	uint64_t anon = sum + anon_cost;
	uint64_t file = sum + file_cost;
	uint64_t total = anon + file;

	*ap = swappiness * (total + 1) / (anon + 1);
	*fp = (SWAPPINESS_MAX - swappiness) * (total + 1) / (file + 1);
}

static enum balance choose_balance(struct engine *e,
				   const struct scan_control *sc,
				   unsigned swappiness)
{
	if (!sc->may_swap || !weir__anon_can_go(e))
		return BALANCE_FILE;
	if (sc->limit && !swappiness)
		return BALANCE_FILE;
	if (swappiness == SWAPPINESS_ANON_ONLY)
		return BALANCE_ANON;
	/*
	 * Close to out of memory: no finesse, both lists in full. Somebody who
	 * set swappiness 0 does not want to be swapped even then.
	 */
	if (!sc->priority && swappiness)
		return BALANCE_EQUAL;
	if (sc->file_is_tiny)
		return BALANCE_ANON;
	if (sc->cache_trim_mode)
		return BALANCE_FILE;
	return BALANCE_FRACT;
}

void weir__get_scan_count(struct engine *e, struct lruvec *v,
			  struct scan_control *sc, uint64_t *nr)
{
	unsigned swappiness = swappiness_of(e, sc);
	enum balance how = choose_balance(e, sc, swappiness);
	uint64_t p[2] = {1, 1};

	if (how == BALANCE_FRACT) {
		weir__spin_lock(e, &v->lru_lock);
		weir__scan_fractions(swappiness, v->anon_cost, v->file_cost,
				     &p[0], &p[1]);
		weir__spin_unlock(e, &v->lru_lock);
	}
	for (unsigned l = 0; l < LRU_UNEVICTABLE; l++) {
		int64_t size = weir__lruvec_size(v, l, sc->reclaim_zone);
		int file = l >= LRU_INACTIVE_FILE;

		nr[l] = size > 0 ? (uint64_t)size >> sc->priority : 0;
		if (how == BALANCE_FRACT)
			nr[l] = nr[l] * p[file] / (p[0] + p[1]);
		else if ((how == BALANCE_ANON && file) ||
			 (how == BALANCE_FILE && !file))
			nr[l] = 0;
	}
}

/*
 * The goal was met in the middle of a round. Going on costs, stopping here
 * would favour whatever list happened to be scanned first, round after round.
 * So the type with less left to do is done, and the other one gets another
 * turn unless it is as far along already: if 35 % of the small one was left
 * over, 35 % of the large one may be left over too. After that turn one type
 * has no quota, and the round ends.
 */
bool weir__rebalance_quota(uint64_t *nr, const uint64_t *targets)
{
	uint64_t anon = nr[LRU_INACTIVE_ANON] + nr[LRU_ACTIVE_ANON];
	uint64_t file = nr[LRU_INACTIVE_FILE] + nr[LRU_ACTIVE_FILE];
	unsigned small, large;
	uint64_t left, planned, percent;

	if (!anon || !file)
		return false;
	small = anon < file ? LRU_INACTIVE_ANON : LRU_INACTIVE_FILE;
	large = anon < file ? LRU_INACTIVE_FILE : LRU_INACTIVE_ANON;
	left = anon < file ? anon : file;
	planned = targets[small] + targets[small + 1];
	percent = left * 100 / (planned + 1);

	nr[small] = nr[small + 1] = 0;
	for (unsigned l = large; l <= large + 1; l++) {
		uint64_t scanned = targets[l] - nr[l];
		uint64_t quota = targets[l] * (100 - percent) / 100;

		nr[l] = quota > scanned ? quota - scanned : 0;
	}
	return true;
}

unsigned weir__vmpressure(uint64_t scanned, uint64_t reclaimed)
{
	uint64_t scale = scanned + reclaimed;

	/* More freed than looked at (slab, pages freed by their owner). */
	if (reclaimed >= scanned)
		return 0;
	return (unsigned)((scale - reclaimed * scale / scanned) * 100 / scale);
}
