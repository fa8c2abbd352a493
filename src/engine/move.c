/* SPDX-License-Identifier: MIT */
/*
 * mremap to another place.
 *
 * A page keeps its index: the region's pgoff travels with it, so the reverse
 * map needs no change in the frame. What must not happen meanwhile:
 *
 * A reverse walk must not miss the page. It looks at one region after the
 * other, and the entry could step from the one not yet seen to the one already
 * seen. So entries move under rmap_lock, which a walk holds from end to end.
 *
 * A fault at the target must not find an empty page where one is on its way.
 * The program may run there as soon as the machine has moved it, before our
 * books have followed. So the target's entries are reserved (BUSY) before its
 * region exists, and each is released as its page arrives:
 *
 *   mremap                             fault at the target
 *   reserves entries
 *   adds the region
 *                                      region found; entry BUSY: waits
 *   moves the entry, BUSY off, wakes
 *                                      finds the page
 *
 * The reservation also keeps the target's tables from being trimmed, so that
 * the move itself needs no memory any more.
 */
#include <errno.h>

#include "engine/check.h"
#include "engine/pgtable.h"
#include "engine/region.h"

#define MOVE_BATCH 256 /* entries in one go of the locks */

enum move_stop { STOP_BATCH = 1, STOP_BUSY, STOP_TABLE, STOP_TAKEN };

struct move {
	uint64_t delta; /* target - source, modulo 2^64 */
	uint64_t addr;	/* source address where a walk stopped */
	unsigned nr;
};

/* --- the plan: entries of the target are reserved ------------------------- */

static int reserve_entry(struct aspace *as, uint64_t addr, pte_t *pte,
			 void *arg)
{
	struct move *m = arg;
	pte_t *to = weir__pte(as, addr + m->delta);

	m->addr = addr;
	if (!to)
		return STOP_TABLE;
	if (m->nr++ == MOVE_BATCH)
		return STOP_BATCH;
	weir__bug_on(as->engine, pte_load(to));
	pte_store(to, PTE_RESERVED);
	return 0;
}

/* What is left reserved in [start, end) of the target is let go. */
static int release_entry(struct aspace *as, uint64_t addr, pte_t *pte,
			 void *arg)
{
	if (pte_load(pte) == PTE_RESERVED)
		pte_store(pte, 0);
	return 0;
}

static void release(struct aspace *as, uint64_t start, uint64_t end)
{
	struct engine *e = as->engine;

	weir__spin_lock(e, &as->lock);
	weir__pte_walk(as, start, end, release_entry, NULL);
	weir__pte_busy_end(as);
	weir__spin_unlock(e, &as->lock);
}

static int reserve(struct aspace *as, struct move *m, uint64_t start,
		   uint64_t end)
{
	struct engine *e = as->engine;
	int stop, ret = 0;

	m->addr = start;
	do {
		m->nr = 0;
		weir__spin_lock(e, &as->lock);
		stop = weir__pte_walk(as, m->addr, end, reserve_entry, m);
		weir__spin_unlock(e, &as->lock);
		if (stop == STOP_TABLE)
			ret = weir__pte_alloc(as, m->addr + m->delta,
					      m->addr + m->delta + PAGE_SIZE,
					      GFP_KERNEL);
	} while (stop && !ret);
	if (ret) {
		release(as, start + m->delta, end + m->delta);
		weir__pgtable_trim(as, start + m->delta, end + m->delta);
	}
	return ret;
}

/* --- the move ------------------------------------------------------------- */

static int move_entry(struct aspace *as, uint64_t addr, pte_t *pte, void *arg)
{
	struct move *m = arg;
	pte_t *to = weir__pte(as, addr + m->delta);
	uint64_t old;

	m->addr = addr;
	if (pte_load(pte) & PTE_BUSY)
		return STOP_BUSY;
	if (!to)
		return STOP_TABLE;
	old = pte_load(to);
	if (old && old != PTE_RESERVED)
		return STOP_TAKEN;
	if (m->nr++ == MOVE_BATCH)
		return STOP_BATCH;
	pte_store(to, pte_xchg(pte, 0));
	return 0;
}

/* Sleeps until the entry, if there is one, is not BUSY. */
static void wait_entry(struct aspace *as, uint64_t addr)
{
	struct engine *e = as->engine;
	pte_t *pte;

	weir__spin_lock(e, &as->lock);
	while ((pte = weir__pte(as, addr)) && pte_load(pte) & PTE_BUSY)
		weir__pte_busy_wait(as);
	weir__spin_unlock(e, &as->lock);
}

/*
 * Entries of [start, end) go to the target. Those that came to the source
 * after the reservation (a program that touches what it moves) may find the
 * target without a table, or taken: by a fault there, or by the page that has
 * moved already. What stands in the target stays, as if the touch of the source
 * had come too late.
 */
static int move_entries(struct aspace *as, struct move *m, uint64_t start,
			uint64_t end)
{
	int stop, ret = 0;

	m->addr = start;
	do {
		uint64_t to;

		m->nr = 0;
		weir__regions_lock(as);
		stop = weir__pte_walk(as, m->addr, end, move_entry, m);
		weir__pte_busy_end(as);
		weir__regions_unlock(as);
		to = m->addr + m->delta;
		if (stop == STOP_BUSY)
			wait_entry(as, m->addr);
		else if (stop == STOP_TABLE)
			ret = weir__pte_alloc(as, to, to + PAGE_SIZE,
					      GFP_KERNEL);
		else if (stop == STOP_TAKEN)
			weir__aspace_zap(as, m->addr, m->addr + PAGE_SIZE);
	} while (stop && !ret);
	return ret;
}

/* --- regions -------------------------------------------------------------- */

/* The region that is exactly [start, end), or NULL. => aspace lock held */
static struct region *region_exact(struct aspace *as, uint64_t start,
				   uint64_t end)
{
	struct region *r = weir__region_find(as, start);

	return r && r->start == start && r->end == end ? r : NULL;
}

/* The target's region, linked as the source's is. */
static int add_target(struct aspace *as, struct move *m,
		      struct region_room *room, uint64_t start, uint64_t end)
{
	for (;;) {
		struct region *r, *dst;
		unsigned links;
		int ret;

		weir__regions_lock(as);
		r = region_exact(as, start, end);
		links = r ? weir__anon_vma_links(r) : 0;
		if (r && weir__region_room_fits(room, 1, links)) {
			dst = weir__region_new(as, room, start + m->delta,
					       end + m->delta, r->flags);
			if (r->anon_vma || r->file)
				dst->pgoff = r->pgoff;
			weir__region_insert(dst);
			weir__anon_vma_clone(dst, r, &room->anon);
			if (r->file)
				weir__region_set_file(dst, r->file);
			weir__regions_unlock(as);
			return 0;
		}
		weir__regions_unlock(as);
		if (!r)
			return -ENOENT;
		ret = weir__region_room_fill(as->engine, room, 1, links);
		if (ret)
			return ret;
	}
}

/* The source goes once it is empty; false when a fault was faster. */
static bool drop_source(struct aspace *as, struct move *m, uint64_t start,
			uint64_t end)
{
	struct region *r;
	bool empty;

	weir__regions_lock(as);
	empty = !weir__range_has_entries(as, start, end);
	if (empty) {
		r = region_exact(as, start, end);
		weir__bug_on(as->engine, !r);
		weir__region_drop(r);
		weir__region_merge(weir__region_find(as, start + m->delta));
	}
	weir__regions_unlock(as);
	return empty;
}

static int move_region(struct aspace *as, struct move *m,
		       struct region_room *room, uint64_t start, uint64_t end)
{
	/*
	 * An anon_vma before the target copies the links: a touch of the
	 * source while it moves would give one to the source alone, and its
	 * page would arrive where nobody looks for it.
	 */
	int ret = weir__anon_vma_prepare(as, start);

	if (!ret)
		ret = reserve(as, m, start, end);
	if (ret)
		return ret;
	ret = add_target(as, m, room, start, end);
	if (!ret) {
		do {
			ret = move_entries(as, m, start, end);
		} while (!ret && !drop_source(as, m, start, end));
	}
	release(as, start + m->delta, end + m->delta);
	weir__pgtable_trim(as, start, end);
	weir__pgtable_trim(as, start + m->delta, end + m->delta);
	return ret;
}

/* No region reaches over addr. */
static int split_at(struct aspace *as, struct region_room *room, uint64_t addr)
{
	for (;;) {
		struct region *r;
		unsigned links;
		int ret;

		weir__regions_lock(as);
		r = weir__region_find(as, addr);
		if (r && r->start == addr)
			r = NULL;
		links = r ? weir__anon_vma_links(r) : 0;
		if (r && weir__region_room_fits(room, 1, links)) {
			weir__region_split(r, addr, room);
			r = NULL;
		}
		weir__regions_unlock(as);
		if (!r)
			return 0;
		ret = weir__region_room_fill(as->engine, room, 1, links);
		if (ret)
			return ret;
	}
}

static bool is_covered(struct aspace *as, uint64_t start, uint64_t end)
{
	struct engine *e = as->engine;
	struct region *r = NULL;

	weir__spin_lock(e, &as->lock);
	while (start < end && (r = weir__region_find(as, start)))
		start = r->end;
	weir__spin_unlock(e, &as->lock);
	return r;
}

int weir__aspace_move(struct aspace *as, uint64_t from, uint64_t to,
		      uint64_t len)
{
	struct engine *e = as->engine;
	struct region_room room;
	struct move m = {.delta = to - from};
	uint64_t start = from;
	int ret;

	if (len > WEIR_ADDR_MAX || weir__range_check(from, from + len) ||
	    weir__range_check(to, to + len) ||
	    (from < to + len && to < from + len))
		return -EINVAL;
	if (!is_covered(as, from, from + len))
		return -ENOENT;
	ret = weir__aspace_unmap(as, to, to + len);
	if (ret)
		return ret;
	weir__region_room_init(&room);
	ret = split_at(as, &room, from);
	while (!ret && start < from + len) {
		struct region *r;
		uint64_t end = 0;

		/* Every time: a piece that has arrived right behind the source
		 * may have merged with what is left of it. */
		ret = split_at(as, &room, from + len);
		if (ret)
			break;
		weir__spin_lock(e, &as->lock);
		r = weir__region_find(as, start);
		if (r)
			end = r->end;
		weir__spin_unlock(e, &as->lock);
		ret = r ? move_region(as, &m, &room, start, end) : -ENOENT;
		start = end;
	}
	weir__region_room_drain(e, &room);
	return ret;
}
