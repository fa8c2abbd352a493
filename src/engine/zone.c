/* SPDX-License-Identifier: MIT */
/* Nodes and zones: start-up, and the walk that checks one zone's free lists. */
#include <errno.h>
#include <stdatomic.h>

#include "engine/buddy.h"
#include "engine/check.h"
#include "engine/frame.h"
#include "engine/watermark.h"

/* The highest zone is the normal one; lower ones are named from there. */
static const char *zone_name(unsigned index, unsigned nr_zones)
{
	static const char *const name[MAX_ZONES] = {"DMA", "DMA32", "Normal"};

	return name[MAX_ZONES - nr_zones + index];
}

static unsigned zones_of(const struct engine_config *cfg)
{
	unsigned nr = 0;

	for (unsigned n = 0; n < cfg->nr_nodes && n < MAX_NODES; n++)
		for (unsigned i = 0; i < MAX_ZONES; i++)
			if (cfg->zone_pages[n][i] && i + 1 > nr)
				nr = i + 1;
	return nr;
}

static void init_zone(struct engine *e, struct node *n, unsigned index,
		      pfn_t start, uint64_t pages)
{
	struct zone *z = &n->zones[index];

	weir__spin_init(&z->lock, RANK_ZONE);
	z->engine = e;
	z->name = zone_name(index, n->nr_zones);
	z->index = (uint8_t)index;
	z->node = n->id;
	z->start = start;
	z->spanned = pages;
	z->present = pages;
	atomic_init(&z->managed, pages);
	for (unsigned o = 0; o < NR_ORDERS; o++)
		for (unsigned t = 0; t < NR_MIGRATETYPES; t++)
			list_init(&z->free_area[o].list[t]);
	for (unsigned c = 0; c < MAX_CPUS; c++) {
		weir__spin_init(&z->pcp[c].lock, RANK_PCP);
		for (unsigned o = 0; o < PCP_ORDERS; o++)
			for (unsigned t = 0; t < PCP_TYPES; t++)
				list_init(&z->pcp[c].list[o][t]);
	}
}

static void init_frames(struct engine *e, struct zone *z)
{
	struct frame *f = weir__frame(e, z->start);

	for (uint64_t i = 0; i < z->spanned; i++, f++) {
		atomic_init(&f->mapcount, -1);
		f->zone = z->index;
		f->node = z->node;
		f->migratetype = MIGRATE_MOVABLE;
		list_init(&f->lru);
	}
}

/* From the top down, so that the lowest frames are the first to be used. */
static void give_all(struct engine *e, struct zone *z)
{
	uint64_t end = z->spanned;

	weir__spin_lock(e, &z->lock);
	while (end) {
		unsigned order = (unsigned)__builtin_ctzll(end);

		if (order > MAX_ORDER)
			order = MAX_ORDER;
		end -= (uint64_t)1 << order;
		weir__buddy_give(z, weir__frame(e, (pfn_t)(z->start + end)),
				 order);
	}
	weir__spin_unlock(e, &z->lock);
}

static int check_config(const struct engine_config *cfg, unsigned nr_zones,
			uint64_t *total)
{
	*total = 0;
	if (!cfg->nr_cpus || cfg->nr_cpus > MAX_CPUS)
		return -EINVAL;
	if (!cfg->nr_nodes || cfg->nr_nodes > MAX_NODES || !nr_zones)
		return -EINVAL;
	for (unsigned n = 0; n < cfg->nr_nodes; n++) {
		for (unsigned i = 0; i < MAX_ZONES; i++) {
			if (cfg->zone_pages[n][i] >= PFN_NONE)
				return -EINVAL;
			*total += cfg->zone_pages[n][i];
		}
	}
	return *total < PFN_NONE ? 0 : -EINVAL;
}

int weir__zones_init(struct engine *e, const struct engine_config *cfg)
{
	unsigned nr_zones = zones_of(cfg);
	uint64_t total;
	pfn_t pfn = 0;
	int err = check_config(cfg, nr_zones, &total);

	if (err)
		return err;
	e->host = cfg->host;
	e->nr_cpus = cfg->nr_cpus;
	e->nr_nodes = cfg->nr_nodes;
	e->memmap =
	    e->host->ops->meta_alloc(e->host, total * sizeof(struct frame));
	if (!e->memmap)
		return -ENOMEM;
	e->nr_frames = total;
	for (unsigned i = 0; i < cfg->nr_nodes; i++) {
		struct node *n = &e->nodes[i];

		n->engine = e;
		n->id = (uint8_t)i;
		n->nr_zones = (uint8_t)nr_zones;
		for (unsigned j = 0; j < nr_zones; j++) {
			struct zone *z = &n->zones[j];

			init_zone(e, n, j, pfn, cfg->zone_pages[i][j]);
			init_frames(e, z);
			give_all(e, z);
			pfn += (pfn_t)cfg->zone_pages[i][j];
		}
	}
	weir__setup_per_zone_wmarks(e);
	return 0;
}

struct zone *weir__frame_zone(struct engine *e, const struct frame *f)
{
	return &e->nodes[f->node].zones[f->zone];
}

/* --------------------------------------------------------------- validity */

/* Links whole, every entry a head of this order and type; entries or -1. */
static int64_t check_list(struct zone *z, unsigned order, int type)
{
	struct list_head *l = &z->free_area[order].list[type], *pos;
	int64_t n = 0;

	list_for_each (pos, l) {
		struct frame *f = list_entry(pos, struct frame, lru);
		pfn_t pfn = weir__pfn(z->engine, f);

		if (pos->next->prev != pos || pos->prev->next != pos)
			return -1;
		if (pfn < z->start || pfn - z->start >= z->spanned)
			return -1;
		if (!frame_test(f, FRAME_BUDDY) || f->order != order ||
		    weir__pageblock_type(z, f) != type)
			return -1;
		if (++n > (int64_t)z->spanned)
			return -1; /* a ring that misses the head */
	}
	return n;
}

/* True when the block could have been merged with its buddy. */
static bool unmerged(struct zone *z, uint64_t block, unsigned order)
{
	uint64_t b = block ^ ((uint64_t)1 << order);
	struct frame *f = weir__frame(z->engine, (pfn_t)(z->start + block));
	struct frame *buddy;
	int type, other;

	if (order == MAX_ORDER || b + ((uint64_t)1 << order) > z->spanned)
		return false;
	buddy = weir__frame(z->engine, (pfn_t)(z->start + b));
	if (!frame_test(buddy, FRAME_BUDDY) || buddy->order != order)
		return false;
	type = weir__pageblock_type(z, f);
	other = weir__pageblock_type(z, buddy);
	return type == other ||
	       (type != MIGRATE_HIGHATOMIC && other != MIGRATE_HIGHATOMIC);
}

/* Walks the frames: blocks aligned, free all through, merged. */
static bool check_frames(struct zone *z, uint64_t heads[NR_ORDERS])
{
	for (uint64_t b = 0; b < z->spanned;) {
		struct frame *f = weir__frame(z->engine, (pfn_t)(z->start + b));
		unsigned order = f->order;
		uint64_t n = (uint64_t)1 << order;

		if (!frame_test(f, FRAME_BUDDY)) {
			b++;
			continue;
		}
		if (order > MAX_ORDER || (b & (n - 1)) || b + n > z->spanned ||
		    unmerged(z, b, order))
			return false;
		for (uint64_t i = 0; i < n; i++)
			if (frame_test(&f[i], ~(i ? 0u : FRAME_BUDDY)) ||
			    atomic_load(&f[i].refcount) ||
			    weir__frame_mapped(&f[i]))
				return false;
		heads[order]++;
		b += n;
	}
	return true;
}

static bool lists_agree(struct zone *z, const uint64_t heads[NR_ORDERS])
{
	int64_t pages = 0, highatomic = 0;

	for (unsigned o = 0; o < NR_ORDERS; o++) {
		int64_t sum = 0;

		for (int t = 0; t < NR_MIGRATETYPES; t++) {
			int64_t n = check_list(z, o, t);

			if (n < 0 || (uint64_t)n != z->free_area[o].nr_type[t])
				return false;
			sum += n;
			if (t == MIGRATE_HIGHATOMIC)
				highatomic += n << o;
		}
		/* As many on the lists as in memory, and each entry is a head:
		 * with whole links none can be there twice. */
		if ((uint64_t)sum != heads[o] ||
		    (uint64_t)sum != z->free_area[o].nr_free)
			return false;
		pages += sum << o;
	}
	return pages == atomic_load(&z->free_pages) &&
	       highatomic == atomic_load(&z->nr_highatomic);
}

static bool check_pcp(struct pcp *p)
{
	int count = 0;

	for (unsigned o = 0; o < PCP_ORDERS; o++) {
		for (unsigned t = 0; t < PCP_TYPES; t++) {
			struct frame *f;

			list_for_each_entry (f, &p->list[o][t], lru) {
				if (f->order != o || atomic_load(&f->flags) ||
				    atomic_load(&f->refcount))
					return false;
				count += 1 << o;
			}
		}
	}
	return count == p->count;
}

bool weir__zone_is_valid(struct zone *z)
{
	struct engine *e = z->engine;
	uint64_t heads[NR_ORDERS] = {0};
	bool ok;

	weir__spin_lock(e, &z->lock);
	ok = check_frames(z, heads) && lists_agree(z, heads);
	weir__spin_unlock(e, &z->lock);
	for (unsigned c = 0; ok && c < e->nr_cpus; c++) {
		weir__spin_lock(e, &z->pcp[c].lock);
		ok = check_pcp(&z->pcp[c]);
		weir__spin_unlock(e, &z->pcp[c].lock);
	}
	return ok;
}
