/* SPDX-License-Identifier: MIT */
/*
 * Swap areas: on, off, priorities, what is free; the header of a swap file;
 * how far to read ahead; the validity walk over all four swap rooms.
 *
 * Metadata of an area is one block of host memory, laid out table, clusters,
 * zero bitmap, map, and populated only where touched: switching on 64 GiB
 * costs no more than switching on 1 MiB. Clusters enter the lists when the
 * high-water mark passes them. What is touched is charged to the budget: see
 * weir__swap_alloc.
 */
#include <errno.h>
#include <string.h>

#include "engine/check.h"
#include "engine/frame.h"
#include "engine/swap_internal.h"

#define PRIO_AUTO_FIRST (-2)
#define PRIO_MAX        32767

int weir__swap_init(struct engine *e)
{
	struct swap *sw;

	sw = e->host->ops->meta_alloc(e->host, sizeof(*sw));
	if (!sw)
		return -ENOMEM;
	weir__spin_init(&sw->lock, RANK_SWAP);
	sw->next_prio = PRIO_AUTO_FIRST;
	for (unsigned i = 0; i < SWAP_TYPES_MAX; i++) {
		sw->area[i].type = (uint8_t)i;
		list_init(&sw->area[i].charge);
	}
	e->swap = sw;
	return 0;
}

/* Into the order behind every area of the same priority. */
static void order_insert(struct swap *sw, struct swap_area *a)
{
	unsigned i = sw->nr_order++;

	while (i && sw->area[sw->order[i - 1]].prio < a->prio) {
		sw->order[i] = sw->order[i - 1];
		i--;
	}
	sw->order[i] = a->type;
}

static void order_remove(struct swap *sw, struct swap_area *a)
{
	unsigned i = 0;

	while (sw->order[i] != a->type)
		i++;
	sw->nr_order--;
	for (; i < sw->nr_order; i++)
		sw->order[i] = sw->order[i + 1];
}

static size_t meta_size(uint64_t slots)
{
	uint64_t nr = (slots + SWAP_CLUSTER - 1) / SWAP_CLUSTER;
	uint64_t padded = nr * SWAP_CLUSTER;

	return padded * sizeof(uint64_t) + nr * sizeof(struct swap_cluster) +
	       padded / 8 + padded;
}

static void meta_layout(struct swap_area *a)
{
	uint64_t padded = a->nr_clusters * SWAP_CLUSTER;
	uint8_t *p = a->meta;

	a->table = (uint64_t *)p;
	p += padded * sizeof(uint64_t);
	a->clusters = (struct swap_cluster *)p;
	p += a->nr_clusters * sizeof(struct swap_cluster);
	a->zero = (uint64_t *)p;
	p += padded / 8;
	a->map = p;
}

/*
 * So that the metadata can serve the next area of the type. Freeing a slot
 * clears all that belongs to it: what is left are the clusters and the bad
 * slots, which stand beyond the high-water mark too.
 */
static void meta_clear(struct swap_area *a)
{
	for (uint64_t i = 0; i < a->nr_clusters; i++) {
		if (a->clusters[i].nr_bad)
			memset(a->map + i * SWAP_CLUSTER, 0, SWAP_CLUSTER);
		if (i < a->high_water || a->clusters[i].nr_bad)
			memset(&a->clusters[i], 0, sizeof(a->clusters[i]));
	}
}

static void mark_bad(struct swap_area *a, uint64_t off)
{
	if (a->map[off] == SWAP_MAP_BAD)
		return;
	a->map[off] = SWAP_MAP_BAD;
	swap_cluster(a, off)->nr_bad++;
	swap_cluster(a, off)->count++;
	if (off && off < a->slots)
		a->usable--;
}

/* => lock held. Everything but the place in the order. */
static void area_setup(struct engine *e, struct swap_area *a, uint64_t slots,
		       const uint64_t *bad, unsigned nr_bad)
{
	a->slots = slots;
	a->usable = slots - 1;
	a->nr_clusters = (slots + SWAP_CLUSTER - 1) / SWAP_CLUSTER;
	meta_layout(a);
	for (unsigned i = 0; i < NR_CL_STATES; i++)
		list_init(&a->lists[i]);
	mark_bad(a, 0);
	for (unsigned i = 0; i < nr_bad; i++)
		mark_bad(a, bad[i]);
	/* the last cluster's slots behind the end never become free */
	for (uint64_t off = slots; off < a->nr_clusters * SWAP_CLUSTER; off++)
		mark_bad(a, off);
	a->high_water = 0;
	a->nr_free = a->usable;
	a->nr_used = a->nr_leased = a->nr_discard = 0;
	a->lowest_bit = 1;
	a->highest_bit = slots - 1;
	a->cluster_next = 1;
	a->cluster_nr = a->search_next = a->reclaim_next = 0;
	a->readonly = a->full = false;
	a->classic = e->tun.swap_allocator == 1;
}

/* => lock held. The lowest type not in use whose old block, if it has one, is
 * large enough; a too small one only when there is nothing else. */
static struct swap_area *area_unused(struct swap *sw, size_t bytes)
{
	struct swap_area *found = NULL;

	for (unsigned i = 0; i < SWAP_TYPES_MAX; i++) {
		struct swap_area *a = &sw->area[i];

		if (a->used || a->starting)
			continue;
		if (a->meta_bytes >= bytes)
			return a;
		if (!found || (found->meta && !a->meta))
			found = a;
	}
	return found;
}

int weir__swapon(struct engine *e, uint64_t slots, int prio,
		 const uint64_t *bad, unsigned nr_bad)
{
	struct swap *sw = e->swap;
	struct swap_area *a;
	size_t bytes;
	void *meta = NULL;

	if (slots < 2 || slots > SWAP_SLOTS_MAX || prio < -1 || prio > PRIO_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < nr_bad; i++)
		if (!bad[i] || bad[i] >= slots)
			return -EINVAL;
	bytes = meta_size(slots);

	swap_lock(e);
	a = area_unused(sw, bytes);
	if (a)
		a->starting = true;
	swap_unlock(e);
	if (!a)
		return -EMFILE;
	if (a->meta_bytes < bytes)
		meta = e->host->ops->meta_alloc(e->host, bytes);

	swap_lock(e);
	a->starting = false;
	if (meta) {
		a->meta = meta;
		a->meta_bytes = bytes;
	}
	if (a->meta_bytes < bytes) {
		swap_unlock(e);
		return -ENOMEM;
	}
	area_setup(e, a, slots, bad, nr_bad);
	if (!a->usable) {
		meta_clear(a);
		swap_unlock(e);
		return -EINVAL;
	}
	a->used = true;
	a->prio = prio >= 0 ? prio : sw->next_prio--;
	order_insert(sw, a);
	sw->nr_free += a->nr_free;
	sw->total += a->usable;
	swap_unlock(e);
	return a->type;
}

void weir__swap_area_mode(struct engine *e, struct swap_area *a, bool readonly,
			  bool full)
{
	struct swap *sw = e->swap;

	if (swap_area_gives(a))
		sw->nr_free -= a->nr_free;
	if (!a->readonly)
		sw->total -= a->usable;
	a->readonly = readonly;
	a->full = full;
	if (swap_area_gives(a))
		sw->nr_free += a->nr_free;
	if (!a->readonly)
		sw->total += a->usable;
}

void weir__swap_set_readonly(struct engine *e, unsigned type)
{
	struct swap_area *a = &e->swap->area[type];

	weir__bug_on(e, type >= SWAP_TYPES_MAX);
	swap_lock(e);
	if (a->used)
		weir__swap_area_mode(e, a, true, a->full);
	swap_unlock(e);
}

void weir__swap_set_writable(struct engine *e, unsigned type)
{
	struct swap_area *a = &e->swap->area[type];

	weir__bug_on(e, type >= SWAP_TYPES_MAX);
	swap_lock(e);
	if (a->used)
		weir__swap_area_mode(e, a, false, a->full);
	swap_unlock(e);
}

void weir__swap_area_full(struct engine *e, unsigned type)
{
	struct swap_area *a = &e->swap->area[type];

	weir__bug_on(e, type >= SWAP_TYPES_MAX);
	swap_lock(e);
	if (a->used)
		weir__swap_area_mode(e, a, a->readonly, true);
	swap_unlock(e);
}

void weir__swap_fork_child(struct engine *e)
{
	struct swap *sw = e->swap;

	if (!sw)
		return;
	for (unsigned i = 0; i < SWAP_TYPES_MAX; i++) {
		struct swap_area *a = &sw->area[i];

		if (!a->used)
			continue;
		weir__swap_set_readonly(e, i);
		weir__swap_lease_drop_all(e, a);
	}
	swap_lock(e);
	memset(sw->pos, 0, sizeof(sw->pos));
	swap_unlock(e);
}

/* => lock held. Out of every account; *charge receives its frames. */
static void area_forget(struct engine *e, struct swap_area *a,
			struct list_head *charge)
{
	struct swap *sw = e->swap;

	weir__swap_area_mode(e, a, true, false);
	order_remove(sw, a);
	for (unsigned i = 0; i < MAX_CPUS; i++)
		if (sw->pos[i].type == a->type)
			sw->pos[i].valid = false;
	for (uint64_t i = 0; i < a->high_water; i++)
		weir__swap_cont_free(e, &a->clusters[i]);
	meta_clear(a);
	list_splice_init(&a->charge, charge);
	sw->nr_owed -= (uint32_t)a->nr_owed;
	a->nr_charged = a->nr_owed = 0;
	a->nr_free = a->nr_used = a->nr_leased = a->nr_discard = 0;
	a->used = false;
}

static void charge_release(struct engine *e, struct list_head *charge)
{
	struct frame *f, *tmp;

	list_for_each_entry_safe (f, tmp, charge, lru) {
		list_del(&f->lru);
		weir__frame_clear(f, FRAME_KERNEL);
		weir__frames_free(e, f, 0);
	}
}

int weir__swapoff_empty(struct engine *e, unsigned type)
{
	LIST_HEAD(charge);
	struct swap_area *a;
	int rc = 0;

	if (type >= SWAP_TYPES_MAX)
		return -EINVAL;
	a = &e->swap->area[type];
	weir__swap_drop_cache(e, a);
	swap_lock(e);
	if (!a->used)
		rc = -EINVAL;
	else if (a->nr_used || a->nr_leased || a->leases || a->nr_discard)
		rc = -EBUSY;
	else
		area_forget(e, a, &charge);
	swap_unlock(e);
	charge_release(e, &charge);
	return rc;
}

void weir__swap_exit(struct engine *e)
{
	LIST_HEAD(charge);

	if (!e->swap)
		return;
	for (unsigned i = 0; i < SWAP_TYPES_MAX; i++) {
		struct swap_area *a = &e->swap->area[i];

		if (!a->used)
			continue;
		weir__swap_lease_drop_all(e, a);
		weir__swap_drop_cache(e, a);
		swap_lock(e);
		area_forget(e, a, &charge);
		swap_unlock(e);
	}
	charge_release(e, &charge);
	e->swap = NULL; /* the host frees the block with everything else */
}

bool weir__swap_is_on(struct engine *e, unsigned type)
{
	bool on;

	swap_lock(e);
	on = e->swap->area[type].used && !e->swap->area[type].readonly;
	swap_unlock(e);
	return on;
}

uint64_t weir__swap_used(struct engine *e, unsigned type)
{
	uint64_t nr;

	if (type >= SWAP_TYPES_MAX)
		return 0;
	swap_lock(e);
	nr = e->swap->area[type].nr_used;
	swap_unlock(e);
	return nr;
}

uint64_t weir__swap_leased_slots(struct engine *e, unsigned type)
{
	uint64_t nr;

	if (type >= SWAP_TYPES_MAX)
		return 0;
	swap_lock(e);
	nr = e->swap->area[type].nr_leased;
	swap_unlock(e);
	return nr;
}

uint64_t weir__swap_own_frames(struct engine *e)
{
	uint64_t nr = 0;

	if (!e->swap)
		return 0;
	swap_lock(e);
	for (unsigned i = 0; i < SWAP_TYPES_MAX; i++)
		nr += e->swap->area[i].nr_charged +
		      e->swap->area[i].nr_lease_frames;
	swap_unlock(e);
	return nr;
}

uint64_t weir__swap_nr_free(struct engine *e)
{
	return e->swap ? e->swap->nr_free : 0;
}

uint64_t weir__swap_total(struct engine *e)
{
	return e->swap ? e->swap->total : 0;
}

bool weir__vm_swap_full(struct engine *e)
{
	return weir__swap_nr_free(e) * 2 < weir__swap_total(e);
}

/* Two faults without a hit in the window: one page, unless they were
 * neighbours. Hits widen it in powers of two; a window never shrinks to less
 * than half at once, since one miss between hits says little. */
unsigned weir__swap_readahead_window(unsigned hits, bool adjacent,
				     unsigned prev, unsigned page_cluster)
{
	unsigned cap = 1u << page_cluster, n;

	if (cap == 1)
		return 1;
	if (!hits) {
		n = adjacent ? 2 : 1;
	} else {
		n = 4;
		while (n < cap && n - 2 < hits)
			n *= 2;
	}
	if (n > cap)
		n = cap;
	if (n < prev / 2)
		n = prev / 2 < cap ? prev / 2 : cap;
	return n;
}

/* --- validity ---------------------------------------------------------- */

struct tally {
	uint64_t used, leased, discard, bound;
	uint64_t state[NR_CL_STATES];
};

static bool slot_is_valid(struct engine *e, struct swap_area *a, uint64_t off,
			  struct tally *t)
{
	uint8_t b = a->map[off];
	uint64_t entry = a->table[off];
	bool used = swap_byte_used(b);

	if (!used && (entry || (a->zero[off / 64] >> off % 64 & 1)))
		return false;
	if (b == SWAP_MAP_LEASED) {
		t->leased++;
		return weir__swap_leased(e, a, off);
	}
	if (!used)
		return true;
	t->used++;
	if (swap_is_frame(entry)) {
		const struct frame *f = (const struct frame *)(uintptr_t)entry;

		t->bound++;
		return (b & SWAP_HAS_CACHE) && frame_test(f, FRAME_SWAPCACHE) &&
		       f->private == swp_entry(a->type, off);
	}
	if ((b | SWAP_HAS_CACHE) == (SWAP_MAP_SHMEM | SWAP_HAS_CACHE))
		return true;
	/* the higher digits are there exactly when the byte says so */
	return !(b & SWAP_CONTINUED) ==
	       (weir__swap_count_locked(a, off) <= SWAP_MAP_MAX);
}

static bool cluster_is_valid(struct engine *e, struct swap_area *a, uint64_t i,
			     struct tally *t)
{
	struct swap_cluster *ci = &a->clusters[i];
	unsigned count = 0, bad = 0;

	t->state[ci->state]++;
	for (uint64_t off = i * SWAP_CLUSTER; off < (i + 1) * SWAP_CLUSTER;
	     off++) {
		count += a->map[off] != 0;
		bad += a->map[off] == SWAP_MAP_BAD;
		if (!slot_is_valid(e, a, off, t))
			return false;
	}
	if (count != ci->count)
		return false;
	if (ci->state == CL_DISCARD) {
		t->discard += bad - ci->nr_bad;
		return bad == SWAP_CLUSTER;
	}
	if (bad != ci->nr_bad)
		return false;
	switch (ci->state) {
	case CL_UNTOUCHED:
		return a->classic && count == bad;
	case CL_FREE:
		return count == bad && count < SWAP_CLUSTER;
	case CL_FULL:
		return count == SWAP_CLUSTER;
	default:
		return count > bad && count < SWAP_CLUSTER;
	}
}

static bool area_is_valid(struct engine *e, struct swap_area *a,
			  uint64_t *bound)
{
	struct tally t = {0};

	if (a->high_water > a->nr_clusters)
		return false;
	for (uint64_t i = 0; i < a->high_water; i++)
		if (!cluster_is_valid(e, a, i, &t))
			return false;
	for (unsigned s = CL_FREE; s < CL_DISCARD; s++) {
		struct swap_cluster *ci;
		uint64_t nr = 0;

		list_for_each_entry (ci, &a->lists[s], link) {
			if (ci->state != s || ++nr > t.state[s])
				return false;
		}
		if (nr != t.state[s])
			return false;
	}
	*bound += t.bound;
	return t.used == a->nr_used && t.leased == a->nr_leased &&
	       t.discard == a->nr_discard &&
	       a->usable ==
		   a->nr_free + a->nr_used + a->nr_leased + a->nr_discard;
}

bool weir__swap_is_valid(struct engine *e)
{
	struct swap *sw = e->swap;
	uint64_t nr_free = 0, total = 0, owed = 0, bound = 0;
	bool ok = true;

	if (!sw)
		return true;
	swap_lock(e);
	for (unsigned i = 0; i < sw->nr_order && ok; i++) {
		struct swap_area *a = &sw->area[sw->order[i]];

		ok = a->used && area_is_valid(e, a, &bound) &&
		     (!i || sw->area[sw->order[i - 1]].prio >= a->prio);
		nr_free += swap_area_gives(a) ? a->nr_free : 0;
		total += a->readonly ? 0 : a->usable;
		owed += a->nr_owed;
	}
	if (ok)
		ok = nr_free == sw->nr_free && total == sw->total &&
		     owed == sw->nr_owed &&
		     (int64_t)bound == weir__stat_read(e, STAT_nr_swapcached);
	swap_unlock(e);
	return ok;
}
