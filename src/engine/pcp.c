/* SPDX-License-Identifier: MIT */
/*
 * Per-CPU free lists: orders 0 to 3 in front of the buddy lists, so that most
 * requests and frees touch no lock that another processor wants.
 *
 * An empty list is filled by a batch that doubles with each fill in a row, and
 * a full one (count reaches high) is emptied by as many as were freed in a
 * row: a task that only allocates, or only frees, meets the zone lock ever
 * less often. `high` moves between high_min and high_max: up when the zone has
 * plenty, down when it has not, because frames on these lists are frames that
 * the watermarks cannot see.
 */
#include <stdatomic.h>

#include "engine/alloc.h"
#include "engine/buddy.h"
#include "engine/check.h"
#include "engine/watermark.h"

#define BATCH_SCALE_MAX  5   /* a batch grows to 2^5 times its base */
#define BATCH_PAGES_MAX  256 /* 1 MiB, before the division by 4 */
#define HIGH_BATCHES     4   /* high is at least so many batches */
#define HIGH_MAX_DIVISOR 8   /* and at most 1/8 of the zone, over all CPUs */
#define NO_RESERVES                                                            \
	(~(unsigned)(ALLOC_HIGHATOMIC | ALLOC_OOM | ALLOC_NON_BLOCK))

static int min_int(int a, int b)
{
	return a < b ? a : b;
}

static int max_int(int a, int b)
{
	return a > b ? a : b;
}

static bool flag(const _Atomic uint32_t *word)
{
	return atomic_load_explicit((_Atomic uint32_t *)(uintptr_t)word,
				    memory_order_relaxed);
}

/* ---------------------------------------------------------------- the sizes */

int weir__pcp_batch(uint64_t managed)
{
	uint64_t b = managed / 1024, pow2 = 1;

	if (b > BATCH_PAGES_MAX)
		b = BATCH_PAGES_MAX;
	b /= 4;
	if (b < 1)
		b = 1;
	b += b / 2;
	while (pow2 * 2 <= b)
		pow2 *= 2;
	/* one less than a power of two: fits what pages come in, cannot
	 * beat in step with them */
	return pow2 > 1 ? (int)(pow2 - 1) : 1;
}

static unsigned cpus_of_node(const struct engine *e, unsigned node)
{
	unsigned n = 0;

	for (unsigned c = 0; c < e->nr_cpus; c++)
		if (weir__cpu_node(e, c) == node)
			n++;
	return n ? n : e->nr_cpus;
}

void weir__pcp_update(struct engine *e, struct zone *z)
{
	uint64_t managed =
	    atomic_load_explicit(&z->managed, memory_order_relaxed);
	int cpus = (int)cpus_of_node(e, z->node);
	int batch = weir__pcp_batch(managed);
	int low = (int)__atomic_load_n(&z->wmark[WMARK_LOW], __ATOMIC_RELAXED);
	int high_min = max_int(low / cpus, HIGH_BATCHES * batch);
	int high_max = max_int((int)(managed / HIGH_MAX_DIVISOR) / cpus,
			       HIGH_BATCHES * batch);

	/* a large written min_free_kbytes must not turn the bounds around */
	if (high_max < high_min)
		high_max = high_min;
	for (unsigned c = 0; c < e->nr_cpus; c++) {
		struct pcp *p = &z->pcp[c];

		weir__spin_lock(e, &p->lock);
		p->batch = batch;
		p->high_min = high_min;
		p->high_max = high_max;
		p->high = min_int(max_int(p->high, high_min), high_max);
		weir__spin_unlock(e, &p->lock);
	}
}

/* ------------------------------------------------------------------ filling */

/* Blocks to take from the buddy lists. Moves alloc_factor and high. */
static int fill_size(struct zone *z, struct pcp *p, unsigned order)
{
	int batch = p->batch;

	if (!order)
		batch <<= p->alloc_factor;
	/* the zone has plenty: a longer list would have saved this fill */
	if (p->high_min != p->high_max && !flag(&z->below_high))
		p->high = min_int(p->high + batch, p->high_max);
	if (order)
		return batch > 1 ? max_int(batch >> order, 2) : batch;

	int room = max_int(p->high - p->count - p->batch, p->batch);

	if (batch <= room && p->alloc_factor < BATCH_SCALE_MAX)
		p->alloc_factor++;
	return min_int(batch, room);
}

static void fill(struct engine *e, struct zone *z, struct pcp *p,
		 unsigned order, int migratetype, unsigned alloc_flags)
{
	int want = fill_size(z, p, order);

	weir__spin_lock(e, &z->lock);
	while (want-- > 0) {
		struct frame *f = weir__buddy_take(z, order, migratetype,
						   alloc_flags & NO_RESERVES);

		if (!f)
			break;
		list_add_tail(&f->lru, &p->list[order][migratetype]);
		p->count += 1 << order;
	}
	weir__spin_unlock(e, &z->lock);
}

struct frame *weir__pcp_alloc(struct engine *e, struct zone *z, unsigned order,
			      int migratetype, unsigned alloc_flags)
{
	struct pcp *p = &z->pcp[weir__self(e)->cpu];
	struct list_head *l = &p->list[order][migratetype];
	struct frame *f = NULL;

	weir__spin_lock(e, &p->lock);
	p->free_count >>= 1;
	if (list_empty(l))
		fill(e, z, p, order, migratetype, alloc_flags);
	if (!list_empty(l)) {
		f = list_first_entry(l, struct frame, lru);
		list_del(&f->lru);
		p->count -= 1 << order;
	}
	weir__spin_unlock(e, &p->lock);
	return f;
}

/* ----------------------------------------------------------------- emptying */

/*
 * Takes the oldest block of each list in turn, so that no kind is emptied for
 * the others' sake. => called with pcp lock held
 */
static void give_back(struct engine *e, struct zone *z, struct pcp *p, int nr)
{
	unsigned full = 0, at = PCP_ORDERS * PCP_TYPES;

	if (nr > p->count)
		nr = p->count;
	for (unsigned i = 0; i < PCP_ORDERS * PCP_TYPES; i++)
		if (!list_empty(&p->list[i % PCP_ORDERS][i / PCP_ORDERS]))
			full |= 1u << i;
	weir__spin_lock(e, &z->lock);
	while (nr > 0) {
		/* the next one behind the last, or the first again */
		unsigned rest = full & ~((2u << at) - 1);

		at = (unsigned)__builtin_ctz(rest ? rest : full);

		unsigned order = at % PCP_ORDERS;
		struct list_head *l = &p->list[order][at / PCP_ORDERS];
		struct frame *f = list_last_entry(l, struct frame, lru);

		list_del(&f->lru);
		p->count -= 1 << order;
		nr -= 1 << order;
		if (list_empty(l))
			full &= ~(1u << at);
		weir__buddy_give(z, f, order);
	}
	weir__spin_unlock(e, &z->lock);
}

/* The count at which the list is too long now. Moves high. */
static int effective_high(struct zone *z, struct pcp *p)
{
	int freed = max_int(p->free_count, p->batch);
	int high;

	p->high = min_int(max_int(p->high, p->high_min), p->high_max);
	high = p->high;
	if (flag(&z->reclaim_active)) {
		/* kswapd frees for everybody, not for this CPU */
		p->high = max_int(high - freed, p->high_min);
		return min_int(HIGH_BATCHES * p->batch, p->high);
	}
	if (p->high_min == p->high_max)
		return high;
	if (flag(&z->below_high)) {
		p->high = max_int(high - freed, p->high_min);
		return max_int(p->count, p->high_min);
	}
	if (p->count >= high) {
		int need = p->free_count + p->batch;

		if (high < need)
			p->high =
			    min_int(max_int(need, p->high_min), p->high_max);
	}
	return high;
}

/* The zone is above its high mark again: lists may grow, kswapd has hope. */
static void note_recovered(struct engine *e, struct zone *z)
{
	struct node *n = &e->nodes[z->node];

	if (!flag(&z->below_high) ||
	    !weir__zone_watermark_ok(
		z, 0, weir__wmark(z, WMARK_HIGH), n->nr_zones - 1u, 0,
		atomic_load_explicit(&z->free_pages, memory_order_relaxed)))
		return;
	atomic_store_explicit(&z->below_high, 0, memory_order_relaxed);
	atomic_store_explicit(&n->kswapd_failures, 0, memory_order_relaxed);
}

void weir__pcp_free(struct engine *e, struct zone *z, struct frame *f,
		    unsigned order)
{
	struct pcp *p = &z->pcp[weir__self(e)->cpu];
	int type = weir__pageblock_type(z, f);
	int high;

	/* the reserve's frames get their own list again in buddy_give */
	if (type >= PCP_TYPES)
		type = MIGRATE_MOVABLE;
	weir__spin_lock(e, &p->lock);
	p->alloc_factor >>= 1;
	list_add(&f->lru, &p->list[order][type]);
	p->count += 1 << order;
	if (p->free_count < p->batch << BATCH_SCALE_MAX)
		p->free_count = (short)(p->free_count + (1 << order));
	high = effective_high(z, p);
	if (p->count >= high) {
		int nr = high < p->batch
			     ? 1
			     : max_int(min_int(p->free_count, high - p->batch),
				       p->batch);

		give_back(e, z, p, nr);
		note_recovered(e, z);
	}
	weir__spin_unlock(e, &p->lock);
}

void weir__pcp_drain(struct engine *e, struct zone *z, unsigned cpu)
{
	struct pcp *p = &z->pcp[cpu];

	weir__spin_lock(e, &p->lock);
	if (p->count)
		give_back(e, z, p, p->count);
	weir__spin_unlock(e, &p->lock);
}

void weir__pcp_drain_all(struct engine *e)
{
	for (unsigned i = 0; i < e->nr_nodes; i++)
		for (unsigned j = 0; j < e->nodes[i].nr_zones; j++)
			for (unsigned c = 0; c < e->nr_cpus; c++)
				weir__pcp_drain(e, &e->nodes[i].zones[j], c);
}

void weir__pcp_decay(struct engine *e, struct zone *z, unsigned cpu)
{
	struct pcp *p = &z->pcp[cpu];

	weir__spin_lock(e, &p->lock);
	if (p->high > p->high_min) {
		int most = max_int(p->high - p->high / 8,
				   p->count - (p->batch << BATCH_SCALE_MAX));

		p->high = max_int(most, p->high_min);
	}
	if (p->count > p->high)
		give_back(e, z, p, p->count - p->high);
	weir__spin_unlock(e, &p->lock);
}
