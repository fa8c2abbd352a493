/* SPDX-License-Identifier: MIT */
/*
 * Watermarks, boost, reserves.
 *
 * Three lines in each zone. Free frames at or below *low*: kswapd is woken.
 * At or below *min*: ordinary tasks reclaim for themselves. Above *high*:
 * kswapd stops. What lies below min is for those who free memory, because
 * freeing takes memory: a page-table walk, a swap cluster, an I/O.
 *
 * All of it can be computed again at any time: zones change size and tunables
 * are written while tasks allocate. Readers take no lock. They see the old or
 * the new value of each mark, each of which was right a moment ago.
 */
#include <stdatomic.h>

#include "engine/buddy.h"
#include "engine/watermark.h"

#define MIN_FREE_KBYTES_FLOOR   128u
#define MIN_FREE_KBYTES_CEILING 262144u
#define KBYTES_PER_PAGE         (PAGE_SIZE / 1024)

#define STAT_THRESHOLD_MAX   125   /* pages */
#define STAT_THRESHOLD_UNIT  32768 /* pages: 128 MiB */
#define BOOST_MIN_PAGEBLOCKS 4

uint64_t weir__isqrt(uint64_t x)
{
	uint64_t root = 0, bit = (uint64_t)1 << 62;

	while (bit > x)
		bit >>= 2;
	/* One binary digit of the root in each turn. */
	for (; bit; bit >>= 2) {
		if (x >= root + bit) {
			x -= root + bit;
			root = (root >> 1) + bit;
		} else {
			root >>= 1;
		}
	}
	return root;
}

uint64_t weir__min_free_kbytes(uint64_t lowmem_kbytes)
{
	uint64_t k = weir__isqrt(16 * lowmem_kbytes);

	if (k < MIN_FREE_KBYTES_FLOOR)
		return MIN_FREE_KBYTES_FLOOR;
	if (k > MIN_FREE_KBYTES_CEILING)
		return MIN_FREE_KBYTES_CEILING;
	return k;
}

static uint64_t stored_mark(const struct zone *z, int which)
{
	return __atomic_load_n(&z->wmark[which], __ATOMIC_RELAXED);
}

uint64_t weir__wmark(const struct zone *z, int which)
{
	return stored_mark(z, which) +
	       __atomic_load_n((const uint64_t *)&z->watermark_boost,
			       __ATOMIC_RELAXED);
}

static uint64_t managed(const struct zone *z)
{
	return __atomic_load_n((const uint64_t *)&z->managed, __ATOMIC_RELAXED);
}

#define for_each_zone(e, n, z)                                                 \
	for (struct node *n = (e)->nodes; n < (e)->nodes + (e)->nr_nodes; n++) \
		for (struct zone *z = n->zones; z < n->zones + n->nr_zones; z++)

/*
 * The value in force. A written one stands. The automatic one follows the
 * memory that is left above the high marks, and is computed again only when a
 * zone has changed size: otherwise every call would lower it a little, since
 * the marks that it sets are subtracted from what it is computed from.
 */
static void update_min_free(struct engine *e)
{
	uint64_t total = 0, lowmem = 0;

	for_each_zone(e, n, z)
	{
		uint64_t high = weir__wmark(z, WMARK_HIGH);

		total += managed(z);
		if (managed(z) > high)
			lowmem += managed(z) - high;
	}
	if (total != e->wmark_managed) {
		e->wmark_managed = total;
		e->auto_min_free_kbytes =
		    weir__min_free_kbytes(lowmem * KBYTES_PER_PAGE);
	}
	e->min_free_kbytes = e->tun.min_free_kbytes ? e->tun.min_free_kbytes
						    : e->auto_min_free_kbytes;
}

static void set_marks(struct engine *e, struct zone *z, uint64_t pages_min,
		      uint64_t lowmem)
{
	uint64_t share = lowmem ? pages_min * managed(z) / lowmem : 0;
	uint64_t gap = managed(z) * e->tun.watermark_scale_factor / 10000;

	if (gap < share / 4)
		gap = share / 4;
	weir__spin_lock(e, &z->lock);
	atomic_store_explicit(&z->watermark_boost, 0, memory_order_relaxed);
	for (int i = 0; i < NR_WMARK; i++)
		__atomic_store_n(&z->wmark[i], share + (uint64_t)i * gap,
				 __ATOMIC_RELAXED);
	weir__spin_unlock(e, &z->lock);
}

/*
 * What zone i keeps from requests that could have used a higher zone j: the
 * pages between them, divided by zone i's ratio. A zone never keeps anything
 * from requests that can use no higher zone than itself.
 */
static void set_lowmem_reserve(struct engine *e, struct node *n)
{
	const uint64_t ratio[MAX_ZONES] = {e->tun.lowmem_reserve_ratio_0,
					   e->tun.lowmem_reserve_ratio_1, 0};

	for (unsigned i = 0; i < n->nr_zones; i++) {
		struct zone *z = &n->zones[i];
		uint64_t above = 0;

		for (unsigned j = 0; j < MAX_ZONES; j++) {
			uint64_t keep = 0;

			if (j > i && j < n->nr_zones)
				above += managed(&n->zones[j]);
			if (j > i && ratio[i] && managed(z))
				keep = above / ratio[i];
			__atomic_store_n(&z->lowmem_reserve[j], keep,
					 __ATOMIC_RELAXED);
		}
	}
}

uint64_t weir__totalreserve(struct engine *e)
{
	uint64_t sum = 0;

	for_each_zone(e, n, z)
	{
		uint64_t keep = 0;

		for (unsigned j = 0; j < n->nr_zones; j++) {
			uint64_t r = __atomic_load_n(&z->lowmem_reserve[j],
						     __ATOMIC_RELAXED);

			if (r > keep)
				keep = r;
		}
		keep += weir__wmark(z, WMARK_HIGH);
		sum += keep < managed(z) ? keep : managed(z);
	}
	return sum;
}

void weir__setup_per_zone_wmarks(struct engine *e)
{
	uint64_t lowmem = 0, pages_min;

	update_min_free(e);
	pages_min = e->min_free_kbytes / KBYTES_PER_PAGE;
	for_each_zone(e, n, z) lowmem += managed(z);
	for_each_zone(e, n, z) set_marks(e, z, pages_min, lowmem);
	for (unsigned i = 0; i < e->nr_nodes; i++)
		set_lowmem_reserve(e, &e->nodes[i]);
	__atomic_store_n(&e->totalreserve, weir__totalreserve(e),
			 __ATOMIC_RELAXED);
	for_each_zone(e, n, z) weir__pcp_update(e, z);
}

/*
 * A request had to take pages meant for another kind. Each time that happens
 * the marks go up by a pageblock, so that kswapd frees more, and with luck
 * whole blocks, before it happens again. Pointless in a zone of few blocks.
 */
void weir__boost_watermark(struct zone *z)
{
	uint64_t factor = z->engine->tun.watermark_boost_factor;
	uint64_t max = stored_mark(z, WMARK_HIGH) * factor / 10000;
	uint64_t boost =
	    atomic_load_explicit(&z->watermark_boost, memory_order_relaxed);

	weir__spin_assert_held(z->engine, &z->lock);
	if (!factor || !max)
		return;
	if (managed(z) < BOOST_MIN_PAGEBLOCKS * PAGEBLOCK_PAGES)
		return;
	if (max < PAGEBLOCK_PAGES)
		max = PAGEBLOCK_PAGES;
	boost += PAGEBLOCK_PAGES;
	atomic_store_explicit(&z->watermark_boost, boost < max ? boost : max,
			      memory_order_relaxed);
}

/* 1-based index of the highest set bit; 0 for 0. */
static unsigned fls(uint64_t x)
{
	return x ? 64u - (unsigned)__builtin_clzll(x) : 0;
}

unsigned weir__stat_threshold(unsigned cpus, uint64_t pages)
{
	unsigned t = 2 * fls(cpus) * (1 + fls(pages / STAT_THRESHOLD_UNIT));

	return t < STAT_THRESHOLD_MAX ? t : STAT_THRESHOLD_MAX;
}

unsigned weir__stat_pressure_threshold(unsigned cpus, uint64_t gap)
{
	uint64_t t = gap / cpus;

	if (t < 1)
		return 1;
	return t < STAT_THRESHOLD_MAX ? (unsigned)t : STAT_THRESHOLD_MAX;
}
