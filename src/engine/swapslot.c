/* SPDX-License-Identifier: MIT */
/*
 * Slot allocation: which slots the next evicted pages go to.
 *
 * What is evicted together should lie together, so that one write takes it
 * out and one read brings it back. Both allocators pursue that.
 *
 * Clusters (the default). 512 slots each, on a list by what is known of them:
 *
 *        high-water mark
 *              │ first use          all slots taken
 *              ▼           ┌──────────────────────────► full
 *   free ───► (taken) ─────┤                             │ a slot freed
 *    ▲                     └─► frag ──── slot freed ──► nonfull
 *    │ last slot freed          ▲                        │
 *    └──── discard ◄────────────┴────── scanned ─────────┘
 *
 * Each CPU goes on where it stopped in the cluster it took last, so two CPUs
 * do not mix their pages and consecutive requests get consecutive slots. A
 * request of swap_run_min slots or more wants runs: it goes on at the CPU's
 * position only if the slots there are free up to the request or the
 * cluster's end, else takes a free cluster. A small one fills holes first
 * (nonfull), which keeps clusters free for the large ones.
 *
 * Sequential (the allocator of the kernels before clusters). One cursor for
 * the area: 256 slots in a row, then a search for another 256 free in a row
 * from the lowest free slot on, else the first free slot behind the cursor.
 * The kernel yields every 256 probes of that search; we hold a spinlock and
 * give up after SEARCH_MAX instead, going on from there the next time.
 *
 * Whoever frees the last slot of a cluster tells the host, which may punch a
 * hole. That must not overtake the next write to a slot of the cluster, hence
 * the state in between, whose slots look bad to everybody:
 *
 *   frees last slot                     allocates
 *   ---------------                     ---------
 *   lock; cluster -> discard; unlock
 *   host->io_discard                    lock; does not see the cluster
 *   lock; cluster -> free; unlock
 *                                       lock; takes it, later writes
 */
#include <limits.h>
#include <string.h>

#include "engine/batch.h"
#include "engine/check.h"
#include "engine/frame.h"
#include "engine/swap_internal.h"

#define CLASSIC_RUN 256   /* slots the sequential cursor takes in a row */
#define SEARCH_MAX  16384 /* probes of one search: guessed, some 20 us */

#define RECLAIM_BATCH    32
#define RECLAIM_CLUSTERS 64 /* looked at in one call, for each area */

#define PAY_MAX 8 /* frames taken in one call */

static uint64_t cluster_index(struct swap_area *a, struct swap_cluster *ci)
{
	return (uint64_t)(ci - a->clusters);
}

static void cluster_move(struct swap_area *a, struct swap_cluster *ci,
			 enum cluster_state state)
{
	if (ci->state == state)
		return;
	if (ci->state != CL_UNTOUCHED)
		list_del(&ci->link);
	list_add_tail(&ci->link, &a->lists[state]);
	ci->state = (uint8_t)state;
}

/* Slots that can be used in the cluster: [*lo, *hi). */
static void cluster_bounds(struct swap_area *a, struct swap_cluster *ci,
			   uint64_t *lo, uint64_t *hi)
{
	*lo = cluster_index(a, ci) * SWAP_CLUSTER;
	*hi = *lo + SWAP_CLUSTER;
	if (!*lo)
		*lo = 1;
	if (*hi > a->slots)
		*hi = a->slots;
}

static void free_add(struct engine *e, struct swap_area *a, int64_t n)
{
	a->nr_free += (uint64_t)n;
	if (swap_area_gives(a))
		e->swap->nr_free += (uint64_t)n;
}

/* --- freeing ----------------------------------------------------------- */

/*
 * The cluster has just become empty. With holes made by bad slots it goes the
 * cheap way without a discard; so does a read-only area, whose owner is
 * another process.
 */
static void cluster_emptied(struct engine *e, struct swap_area *a,
			    struct swap_cluster *ci)
{
	uint64_t lo, hi, n;

	weir__swap_cont_free(e, ci);
	cluster_bounds(a, ci, &lo, &hi);
	n = hi - lo;
	if (a->readonly || ci->nr_bad + n != SWAP_CLUSTER) {
		cluster_move(a, ci, CL_FREE);
		return;
	}
	memset(a->map + lo, SWAP_MAP_BAD, n);
	ci->count = SWAP_CLUSTER;
	cluster_move(a, ci, CL_DISCARD);
	free_add(e, a, -(int64_t)n);
	a->nr_discard += n;
	e->swap->nr_discard_clusters++;
}

/* The map byte goes to 0: one more free slot. */
static void slot_give_back(struct engine *e, struct swap_area *a, uint64_t off)
{
	struct swap_cluster *ci = swap_cluster(a, off);

	a->map[off] = 0;
	ci->count--;
	if (a->full)
		weir__swap_area_mode(e, a, a->readonly, false);
	free_add(e, a, 1);
	if (off < a->lowest_bit)
		a->lowest_bit = off;
	if (off > a->highest_bit)
		a->highest_bit = off;
	if (ci->count == ci->nr_bad)
		cluster_emptied(e, a, ci);
	else
		cluster_move(a, ci, CL_NONFULL);
}

static void tell_freed(struct engine *e, struct swap_area *a, uint64_t off,
		       bool leased)
{
	if (e->host->ops->io_slot_free)
		e->host->ops->io_slot_free(e->host, a->type, off, leased);
}

bool weir__slot_free(struct engine *e, struct swap_area *a, uint64_t off)
{
	a->table[off] = 0;
	a->zero[off / 64] &= ~((uint64_t)1 << off % 64);
	a->nr_used--;
	if (a->leases && weir__swap_leased(e, a, off)) {
		tell_freed(e, a, off, true);
		a->map[off] = SWAP_MAP_LEASED;
		a->nr_leased++;
		return false;
	}
	tell_freed(e, a, off, false);
	slot_give_back(e, a, off);
	return true;
}

void weir__slot_unlease(struct engine *e, struct swap_area *a, uint64_t off)
{
	weir__bug_on(e, a->map[off] != SWAP_MAP_LEASED);
	a->nr_leased--;
	tell_freed(e, a, off, false);
	slot_give_back(e, a, off);
}

static struct swap_cluster *discard_next(struct engine *e,
					 struct swap_area **ap)
{
	struct swap *sw = e->swap;

	for (unsigned i = 0; i < sw->nr_order; i++) {
		struct swap_area *a = &sw->area[sw->order[i]];

		if (list_empty(&a->lists[CL_DISCARD]))
			continue;
		*ap = a;
		return list_first_entry(&a->lists[CL_DISCARD],
					struct swap_cluster, link);
	}
	return NULL;
}

void weir__swap_discards(struct engine *e)
{
	struct swap *sw = e->swap;
	struct swap_cluster *ci;
	struct swap_area *a;
	uint64_t lo, hi;

	if (!sw->nr_discard_clusters)
		return;
	swap_lock(e);
	while ((ci = discard_next(e, &a))) {
		bool tell = !a->readonly;
		uint32_t type = a->type;

		list_del_init(&ci->link); /* ours: no other task discards it */
		sw->nr_discard_clusters--;
		cluster_bounds(a, ci, &lo, &hi);
		swap_unlock(e);
		if (tell)
			e->host->ops->io_discard(e->host, type, lo,
						 (unsigned)(hi - lo));
		swap_lock(e);
		memset(a->map + lo, 0, hi - lo);
		ci->count = ci->nr_bad;
		a->nr_discard -= hi - lo;
		free_add(e, a, (int64_t)(hi - lo));
		cluster_move(a, ci, CL_FREE);
	}
	swap_unlock(e);
}

/* --- taking ------------------------------------------------------------ */

static swp_entry_t slot_take(struct engine *e, struct swap_area *a,
			     uint64_t off)
{
	struct swap_cluster *ci = swap_cluster(a, off);

	weir__assert(e, !a->map[off] && !a->table[off]);
	a->map[off] = SWAP_HAS_CACHE;
	a->nr_used++;
	free_add(e, a, -1);
	ci->count++;
	if (!ci->charged) {
		ci->charged = true;
		a->nr_owed += SWAP_CHARGE_FRAMES;
		e->swap->nr_owed += SWAP_CHARGE_FRAMES;
	}
	if (off == a->lowest_bit)
		a->lowest_bit++;
	if (off == a->highest_bit)
		a->highest_bit--;
	return swp_entry(a->type, off);
}

static void cluster_scanned(struct swap_area *a, struct swap_cluster *ci)
{
	cluster_move(a, ci, ci->count == SWAP_CLUSTER ? CL_FULL : CL_FRAG);
}

/* The area goes behind its equals, so that the next cluster is another's. */
static void requeue(struct swap *sw, struct swap_area *a)
{
	unsigned i = 0;

	while (sw->order[i] != a->type)
		i++;
	for (;
	     i + 1 < sw->nr_order && sw->area[sw->order[i + 1]].prio == a->prio;
	     i++)
		sw->order[i] = sw->order[i + 1];
	sw->order[i] = a->type;
}

/* The next cluster never used so far, or NULL. */
static struct swap_cluster *cluster_fresh(struct swap_area *a)
{
	while (a->high_water < a->nr_clusters) {
		struct swap_cluster *ci = &a->clusters[a->high_water++];

		if (ci->count < SWAP_CLUSTER)
			return ci;
		cluster_move(a, ci, CL_FULL); /* all bad */
	}
	return NULL;
}

static struct swap_cluster *cluster_first(struct swap_area *a,
					  enum cluster_state state)
{
	if (list_empty(&a->lists[state]))
		return NULL;
	return list_first_entry(&a->lists[state], struct swap_cluster, link);
}

static struct swap_cluster *cluster_pick(struct engine *e, struct swap_area *a,
					 unsigned nr)
{
	struct swap_cluster *ci = NULL;

	if (nr < e->tun.swap_run_min)
		ci = cluster_first(a, CL_NONFULL);
	if (!ci)
		ci = cluster_first(a, CL_FREE);
	if (!ci)
		ci = cluster_fresh(a);
	if (!ci)
		ci = cluster_first(a, CL_NONFULL);
	if (!ci)
		ci = cluster_first(a, CL_FRAG);
	return ci;
}

/* Free slots from off to the end of its cluster, up to nr. */
static unsigned cluster_take(struct engine *e, struct swap_area *a,
			     struct swap_position *pos, uint64_t off,
			     swp_entry_t *out, unsigned nr)
{
	struct swap_cluster *ci = swap_cluster(a, off);
	uint64_t end = (cluster_index(a, ci) + 1) * SWAP_CLUSTER;
	unsigned n = 0;

	for (; off < end && n < nr; off++)
		if (!a->map[off])
			out[n++] = slot_take(e, a, off);
	cluster_scanned(a, ci);
	pos->valid = off < end && ci->state != CL_FULL;
	pos->type = a->type;
	pos->next = off;
	return n;
}

/* From where the CPU stopped; 0 when there is nothing good. */
static unsigned position_take(struct engine *e, struct swap_area *a,
			      struct swap_position *pos, swp_entry_t *out,
			      unsigned nr)
{
	struct swap_cluster *ci = swap_cluster(a, pos->next);
	uint64_t off = pos->next, run;
	uint64_t end = (cluster_index(a, ci) + 1) * SWAP_CLUSTER;

	if (ci->state == CL_DISCARD)
		return 0;
	while (off < end && a->map[off])
		off++;
	if (off == end)
		return 0;
	if (nr >= e->tun.swap_run_min) {
		for (run = off; run < end && run - off < nr; run++)
			if (a->map[run])
				return 0;
	}
	return cluster_take(e, a, pos, off, out, nr);
}

/* At least one slot, all of one cluster. */
static unsigned cluster_alloc(struct engine *e, struct swap_area *a,
			      struct swap_position *pos, swp_entry_t *out,
			      unsigned nr)
{
	struct swap_cluster *ci;

	if (pos->valid && pos->type == a->type) {
		unsigned n = position_take(e, a, pos, out, nr);

		if (n)
			return n;
	}
	ci = cluster_pick(e, a, nr);
	weir__bug_on(e, !ci);
	requeue(e->swap, a);
	return cluster_take(e, a, pos, cluster_index(a, ci) * SWAP_CLUSTER, out,
			    nr);
}

/* --- the sequential allocator ------------------------------------------ */

/* First free slot of [from, to], or SWAP_NO_SLOT. */
static uint64_t classic_next(struct swap_area *a, uint64_t from, uint64_t to)
{
	for (uint64_t off = from; off <= to; off++) {
		if (swap_cluster(a, off)->count == SWAP_CLUSTER) {
			off |= SWAP_CLUSTER - 1;
			continue;
		}
		if (!a->map[off])
			return off;
	}
	return SWAP_NO_SLOT;
}

/* Moves the cursor to CLASSIC_RUN free slots in a row, if there are. */
static void classic_search(struct swap_area *a)
{
	uint64_t off = a->search_next, run = 0;

	if (a->nr_free < CLASSIC_RUN)
		return;
	if (off < a->lowest_bit)
		off = a->lowest_bit;
	for (unsigned probes = 0; off <= a->highest_bit; probes++) {
		if (probes == SEARCH_MAX) {
			a->search_next = off - run;
			return;
		}
		if (swap_cluster(a, off)->count == SWAP_CLUSTER) {
			off |= SWAP_CLUSTER - 1;
			run = 0;
		} else {
			run = a->map[off] ? 0 : run + 1;
		}
		off++;
		if (run == CLASSIC_RUN) {
			a->cluster_next = off - run;
			return;
		}
	}
	a->search_next = 0;
}

/* At least one slot, all of one run of the cursor. */
static unsigned classic_alloc(struct engine *e, struct swap_area *a,
			      swp_entry_t *out, unsigned nr)
{
	unsigned n = 0;

	if (!a->cluster_nr) {
		classic_search(a);
		a->cluster_nr = CLASSIC_RUN;
	}
	while (n < nr && a->nr_free && a->cluster_nr) {
		uint64_t off = classic_next(a, a->cluster_next, a->highest_bit);
		struct swap_cluster *ci;

		if (off == SWAP_NO_SLOT)
			off = classic_next(a, a->lowest_bit, a->highest_bit);
		weir__bug_on(e, off == SWAP_NO_SLOT);
		ci = swap_cluster(a, off);
		if (a->high_water <= cluster_index(a, ci))
			a->high_water = cluster_index(a, ci) + 1;
		out[n++] = slot_take(e, a, off);
		cluster_scanned(a, ci);
		a->cluster_next = off + 1;
		a->cluster_nr--;
	}
	if (!a->cluster_nr)
		requeue(e->swap, a);
	return n;
}

/* --- allocation over all areas ----------------------------------------- */

/* The best area that has something; among equals the one where this CPU has a
 * cluster begun. */
static struct swap_area *area_pick(struct swap *sw, struct swap_position *pos)
{
	for (unsigned i = 0; i < sw->nr_order; i++) {
		struct swap_area *a = &sw->area[sw->order[i]];
		struct swap_area *p = &sw->area[pos->type];

		if (!swap_area_gives(a) || !a->nr_free)
			continue;
		if (pos->valid && p->prio == a->prio && swap_area_gives(p) &&
		    p->nr_free)
			return p;
		return a;
	}
	return NULL;
}

static unsigned swap_take(struct engine *e, swp_entry_t *out, unsigned nr)
{
	struct swap *sw = e->swap;
	struct swap_position *pos = &sw->pos[weir__self(e)->cpu];
	unsigned got = 0;

	swap_lock(e);
	while (got < nr) {
		struct swap_area *a = area_pick(sw, pos);

		if (!a)
			break;
		got += a->classic
			   ? classic_alloc(e, a, out + got, nr - got)
			   : cluster_alloc(e, a, pos, out + got, nr - got);
	}
	swap_unlock(e);
	return got;
}

/* => lock held */
static struct swap_area *area_owing(struct swap *sw)
{
	for (unsigned i = 0; i < sw->nr_order; i++)
		if (sw->area[sw->order[i]].nr_owed)
			return &sw->area[sw->order[i]];
	return NULL;
}

/*
 * Frames for the metadata of clusters used for the first time. The memory
 * itself is the host's; what we take keeps the budget honest. We may be inside
 * reclaim, with every reserve but without sleeping; a frame that cannot be had
 * stays owed until the next allocation.
 */
static void swap_pay(struct engine *e)
{
	struct swap *sw = e->swap;

	for (unsigned i = 0; i < PAY_MAX && sw->nr_owed; i++) {
		struct frame *f =
		    weir__frames_alloc(e, GFP_NOWAIT | GFP_MEMALLOC, 0);
		struct swap_area *a;

		if (!f)
			return;
		weir__frame_set(f, FRAME_KERNEL);
		swap_lock(e);
		a = area_owing(sw);
		if (a) {
			list_add(&f->lru, &a->charge);
			a->nr_charged++;
			a->nr_owed--;
			sw->nr_owed--;
		}
		swap_unlock(e);
		if (!a) {
			weir__frame_clear(f, FRAME_KERNEL);
			weir__frames_free(e, f, 0);
			return;
		}
	}
}

unsigned weir__swap_alloc(struct engine *e, swp_entry_t *out, unsigned nr)
{
	unsigned got;

	if (!e->swap)
		return 0;
	got = swap_take(e, out, nr);
	if (got < nr && e->swap->nr_discard_clusters) {
		weir__swap_discards(e);
		got += swap_take(e, out + got, nr - got);
	}
	if (e->swap->nr_owed)
		swap_pay(e);
	return got;
}

/* --- cache-only slots --------------------------------------------------- */

/*
 * => lock held. Up to RECLAIM_BATCH frames that look as if they could give up
 * their slot, each with a reference; the area's cursor moves on. *budget:
 * clusters that may still be looked at.
 */
static unsigned collect_cached(struct swap_area *a, struct frame **f,
			       swp_entry_t *s, unsigned *budget)
{
	unsigned n = 0;

	while (*budget && n < RECLAIM_BATCH) {
		uint64_t off = a->reclaim_next;
		uint64_t end = (off / SWAP_CLUSTER + 1) * SWAP_CLUSTER;

		if (off / SWAP_CLUSTER >= a->high_water) {
			a->reclaim_next = 0;
			(*budget)--;
			continue;
		}
		if (swap_cluster(a, off)->count == swap_cluster(a, off)->nr_bad)
			off = end;
		for (; off < end && n < RECLAIM_BATCH; off++) {
			struct frame *c;

			if (a->map[off] != SWAP_HAS_CACHE ||
			    !swap_is_frame(a->table[off]))
				continue;
			c = (struct frame *)(uintptr_t)a->table[off];
			if (frame_test(c, FRAME_LOCKED | FRAME_WRITEBACK) ||
			    !weir__frame_tryget(c))
				continue;
			f[n] = c;
			s[n++] = swp_entry(a->type, off);
		}
		a->reclaim_next = off;
		if (off == end)
			(*budget)--;
	}
	return n;
}

static unsigned area_reclaim_cache(struct engine *e, struct swap_area *a,
				   unsigned nr, bool readonly_too)
{
	struct frame *f[RECLAIM_BATCH];
	swp_entry_t s[RECLAIM_BATCH];
	unsigned freed = 0, budget = RECLAIM_CLUSTERS;

	while (freed < nr && budget) {
		unsigned n = 0;

		swap_lock(e);
		if (a->used && (!a->readonly || readonly_too) &&
		    a->high_water) {
			if (budget > a->high_water + 1)
				budget = (unsigned)a->high_water + 1;
			n = collect_cached(a, f, s, &budget);
		} else {
			budget = 0;
		}
		swap_unlock(e);
		for (unsigned i = 0; i < n; i++) {
			if (freed < nr && weir__frame_trylock(f[i])) {
				if (weir__swap_cache_try_free(e, f[i], s[i]))
					freed++;
				weir__frame_unlock(e, f[i]);
			}
			weir__page_put(e, f[i]);
		}
	}
	return freed;
}

unsigned weir__swap_reclaim_cache(struct engine *e, unsigned nr)
{
	unsigned freed = 0;

	for (unsigned i = 0; e->swap && i < SWAP_TYPES_MAX && freed < nr; i++)
		freed +=
		    area_reclaim_cache(e, &e->swap->area[i], nr - freed, false);
	return freed;
}

void weir__swap_drop_cache(struct engine *e, struct swap_area *a)
{
	uint64_t rounds;

	swap_lock(e);
	rounds = a->high_water / RECLAIM_CLUSTERS + 2;
	swap_unlock(e);
	while (rounds--)
		area_reclaim_cache(e, a, UINT_MAX, true);
}
