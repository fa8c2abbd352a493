/* SPDX-License-Identifier: MIT */
/* The buddy lists of one zone, without the per-CPU lists in front. */
#include <errno.h>

#include "machine.h"

#define UNMOVABLE   MIGRATE_UNMOVABLE
#define MOVABLE     MIGRATE_MOVABLE
#define RECLAIMABLE MIGRATE_RECLAIMABLE

static struct machine m;

static struct frame *take(struct zone *z, unsigned order, int type)
{
	struct frame *f;

	weir__spin_lock(m.e, &z->lock);
	f = weir__buddy_take(z, order, type, ALLOC_KSWAPD);
	weir__spin_unlock(m.e, &z->lock);
	return f;
}

static void give(struct zone *z, struct frame *f, unsigned order)
{
	weir__spin_lock(m.e, &z->lock);
	weir__buddy_give(z, f, order);
	weir__spin_unlock(m.e, &z->lock);
}

static void assert_blocks(const struct zone *z, const uint64_t n[NR_ORDERS])
{
	for (unsigned o = 0; o < NR_ORDERS; o++)
		assert_int_equal(z->free_area[o].nr_free, n[o]);
}

/* ................  ->  A. .. .... ........  ->  ................ */
static void test_split_and_merge(void **state)
{
	struct zone *z = machine_simple(&m, 16, 1);
	struct frame *f;

	assert_blocks(z, (uint64_t[NR_ORDERS]){[4] = 1});
	f = take(z, 0, MOVABLE);
	assert_int_equal(weir__pfn(m.e, f), 0);
	assert_blocks(z, (uint64_t[NR_ORDERS]){1, 1, 1, 1});
	assert_int_equal(z->free_pages, 15);
	assert_true(weir__zone_is_valid(z));
	give(z, f, 0);
	assert_blocks(z, (uint64_t[NR_ORDERS]){[4] = 1});
	assert_int_equal(z->free_pages, 16);
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);
}

/* Only the true buddy merges: 1 and 2 are neighbours, not buddies. */
static void test_only_buddies_merge(void **state)
{
	struct zone *z = machine_simple(&m, 4, 1);
	struct frame *f[4];

	for (int i = 0; i < 4; i++)
		f[i] = take(z, 0, MOVABLE);
	assert_null(take(z, 0, MOVABLE));
	give(z, f[1], 0);
	give(z, f[2], 0);
	assert_blocks(z, (uint64_t[NR_ORDERS]){2});
	give(z, f[0], 0);
	assert_blocks(z, (uint64_t[NR_ORDERS]){1, 1});
	give(z, f[3], 0);
	assert_blocks(z, (uint64_t[NR_ORDERS]){[2] = 1});
	machine_stop(&m);
}

static void test_odd_sizes(void **state)
{
	struct zone *z = machine_simple(&m, 1024 * 3 + 37, 1);

	assert_blocks(
	    z, (uint64_t[NR_ORDERS]){[0] = 1, [2] = 1, [5] = 1, [10] = 3});
	assert_int_equal(z->free_pages, 1024 * 3 + 37);
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);
}

/* A block whose neighbours will merge soon waits at the tail. */
static void test_tail_when_merging_soon(void **state)
{
	struct zone *z = machine_simple(&m, 8, 1);
	struct frame *f[8];

	for (int i = 0; i < 8; i++)
		f[i] = take(z, 0, MOVABLE);
	/* 2+3 free: 0 has a pair waiting for it and 1; 4 has not */
	give(z, f[4], 0);
	give(z, f[2], 0);
	give(z, f[3], 0);
	give(z, f[0], 0); /* last given, but taken after 4 */
	assert_ptr_equal(take(z, 0, MOVABLE), f[4]);
	assert_ptr_equal(take(z, 0, MOVABLE), f[0]);
	give(z, f[6], 0);
	give(z, f[0], 0);
	/* without a pair in sight: last in, first out */
	take(z, 1, MOVABLE);
	give(z, f[4], 0);
	assert_ptr_equal(take(z, 0, MOVABLE), f[4]);
	machine_stop(&m);
}

static void test_highest_order(void **state)
{
	struct zone *z = machine_simple(&m, 4096, 1);
	struct frame *a = take(z, 10, MOVABLE), *b = take(z, 10, MOVABLE);

	assert_non_null(a);
	assert_non_null(b);
	assert_int_equal(z->free_pages, 2048);
	give(z, a, 10);
	give(z, b, 10);
	assert_blocks(z, (uint64_t[NR_ORDERS]){[10] = 4});
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);
}

/* All is movable at first: another kind takes a whole block for itself. */
static void test_claims_whole_blocks(void **state)
{
	struct zone *z = machine_simple(&m, 4096, 1);
	struct frame *f = take(z, 0, UNMOVABLE);

	assert_int_equal(weir__pageblock_type(z, f), UNMOVABLE);
	/* free whole blocks: nothing is mixed, so no boost */
	assert_int_equal(z->watermark_boost, 0);
	for (int i = 1; i < 1024; i++)
		assert_true(weir__pfn(m.e, take(z, 0, UNMOVABLE)) < 1024);
	assert_int_equal(z->free_area[10].nr_type[MOVABLE], 3);
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);
}

/*
 * One pageblock, movable, half or more in use:
 * a movable page on an LRU list is not alike to an unmovable request.
 */
static void fill_pageblock(struct zone *z, unsigned used, bool on_lru)
{
	for (unsigned i = 0; i < used; i++) {
		struct frame *f = take(z, 0, MOVABLE);

		weir__prep_new_frame(m.e, f, 0, 0);
		if (on_lru)
			weir__frame_set(f, FRAME_LRU);
	}
}

static void test_claims_half_free(void **state)
{
	struct zone *z = machine_simple(&m, 512, 1);

	fill_pageblock(z, 256, true);
	take(z, 0, UNMOVABLE);
	assert_int_equal(weir__pageblock_type(z, m.e->memmap), UNMOVABLE);
	assert_int_equal(z->free_area[7].nr_type[MOVABLE], 0);
	assert_int_equal(z->free_area[7].nr_type[UNMOVABLE], 1);
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);
}

static void test_steals_when_mostly_used(void **state)
{
	struct zone *z = machine_simple(&m, 512, 1);

	fill_pageblock(z, 257, true);
	assert_non_null(take(z, 0, UNMOVABLE));
	assert_int_equal(weir__pageblock_type(z, m.e->memmap), MOVABLE);
	assert_int_equal(z->free_pages, 512 - 258);
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);

	/* used, but by something that cannot move either: alike */
	z = machine_simple(&m, 512, 1);
	fill_pageblock(z, 400, false);
	assert_non_null(take(z, 0, UNMOVABLE));
	assert_int_equal(weir__pageblock_type(z, m.e->memmap), UNMOVABLE);
	machine_stop(&m);
}

/* Blocks below order 4 are not worth a claim to a movable request. */
static void test_movable_steals_small(void **state)
{
	struct zone *z = machine_simple(&m, 1024, 1);
	struct frame *block = take(z, 9, UNMOVABLE);
	struct frame *pages[512];
	unsigned got = 0;

	assert_non_null(take(z, 9, MOVABLE));
	assert_int_equal(weir__pageblock_type(z, block), UNMOVABLE);
	assert_int_equal(z->free_pages, 0);
	for (unsigned i = 0; i < 512; i += 16) /* order-3 blocks, apart */
		give(z, block + i, 3);
	pages[got++] = take(z, 0, MOVABLE);
	assert_non_null(pages[0]);
	assert_int_equal(weir__pageblock_type(z, block), UNMOVABLE);
	assert_true(weir__zone_is_valid(z));
	give(z, block + 8, 3); /* two of them merge: an order-4 block */
	give(z, block + 24, 3);
	assert_non_null(take(z, 0, MOVABLE));
	assert_int_equal(weir__pageblock_type(z, block), MOVABLE);
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);
}

/* Unmovable looks at reclaimable first; movable too; the last is the third. */
static void test_fallback_order(void **state)
{
	static const struct {
		int want, first, last;
	} t[] = {
	    {UNMOVABLE, RECLAIMABLE, MOVABLE},
	    {MOVABLE, RECLAIMABLE, UNMOVABLE},
	    {RECLAIMABLE, UNMOVABLE, MOVABLE},
	};

	for (int i = 0; i < 3; i++) {
		struct zone *z = machine_simple(&m, 2048, 1);
		struct frame *a = take(z, 10, t[i].first);
		struct frame *b = take(z, 10, t[i].last);

		give(z, a, 10);
		give(z, b, 10);
		assert_ptr_equal(take(z, 10, t[i].want), a);
		assert_ptr_equal(take(z, 10, t[i].want), b);
		machine_stop(&m);
	}
}

/* Mixing lifts the marks and leaves word for whoever wakes kswapd. */
static void test_fallback_boosts(void **state)
{
	struct zone *z = machine_simple(&m, 2048, 1);

	fill_pageblock(z, 2048 - 300, true);
	assert_int_equal(z->boosted, 0);
	assert_non_null(take(z, 0, UNMOVABLE));
	assert_int_equal(z->watermark_boost, 512);
	assert_int_equal(z->boosted, 1);
	machine_stop(&m);
}

static void test_highatomic_reserve(void **state)
{
	struct zone *z = machine_simple(&m, 102400, 1); /* 1 % = 2 blocks */
	struct frame *f = take(z, 3, UNMOVABLE);
	int64_t nr_free = z->free_pages;

	weir__highatomic_reserve(m.e, z, f);
	assert_int_equal(z->nr_reserved_highatomic, 512);
	assert_int_equal(z->nr_highatomic, 512 - 8);
	assert_int_equal(z->free_pages, nr_free);
	weir__highatomic_reserve(m.e, z, f); /* the same block: no */
	assert_int_equal(z->nr_reserved_highatomic, 512);
	weir__highatomic_reserve(m.e, z, f + 512);
	weir__highatomic_reserve(m.e, z, f + 1024); /* over 1 % */
	assert_int_equal(z->nr_reserved_highatomic, 1024);
	assert_true(weir__zone_is_valid(z));

	/* unless forced, one block stays */
	assert_true(weir__highatomic_release(m.e, z, MOVABLE, false));
	assert_int_equal(z->nr_reserved_highatomic, 512);
	assert_true(weir__zone_is_valid(z));
	assert_false(weir__highatomic_release(m.e, z, MOVABLE, false));

	/* two blocks of the reserve, both all free: they go together */
	weir__highatomic_reserve(m.e, z, f);
	weir__highatomic_reserve(m.e, z, f + 512);
	give(z, f, 3);
	assert_int_equal(z->nr_highatomic, 1024);
	assert_int_equal(z->free_area[10].nr_type[MIGRATE_HIGHATOMIC], 1);
	assert_true(weir__zone_is_valid(z));
	assert_true(weir__highatomic_release(m.e, z, MOVABLE, true));
	assert_false(weir__highatomic_release(m.e, z, MOVABLE, true));
	assert_int_equal(z->nr_highatomic, 0);
	assert_int_equal(z->nr_reserved_highatomic, 0);
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);

	z = machine_simple(&m, 51199, 1); /* 1 % is less than a block */
	weir__highatomic_reserve(m.e, z, m.e->memmap);
	assert_int_equal(z->nr_reserved_highatomic, 0);
	machine_stop(&m);
}

/* A block of the reserve that is free again does not merge into its buddy. */
static void test_highatomic_stays_apart(void **state)
{
	struct zone *z = machine_simple(&m, 51200, 1);
	struct frame *f = take(z, 0, MOVABLE);

	weir__highatomic_reserve(m.e, z, f);
	give(z, f, 0);
	assert_int_equal(z->nr_highatomic, 512);
	assert_int_equal(z->free_area[9].nr_type[MIGRATE_HIGHATOMIC], 1);
	assert_int_equal(z->free_area[9].nr_type[MOVABLE], 1);
	assert_true(weir__zone_is_valid(z));
	/* nor does the buddy into it */
	f = take(z, 9, MOVABLE);
	give(z, f, 9);
	assert_int_equal(z->nr_highatomic, 512);
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);
}

/* Ordinary requests do not find the reserve, those with the right do. */
static void test_highatomic_is_kept(void **state)
{
	struct zone *z = machine_simple(&m, 51200, 1);
	struct frame *f = take(z, 0, UNMOVABLE);

	weir__highatomic_reserve(m.e, z, f);
	while (take(z, 0, MOVABLE))
		;
	assert_int_equal(z->free_pages, 511);
	weir__spin_lock(m.e, &z->lock);
	assert_non_null(weir__buddy_take(z, 0, MOVABLE, ALLOC_NON_BLOCK));
	assert_non_null(weir__buddy_take(z, 0, MOVABLE, ALLOC_OOM));
	assert_non_null(weir__buddy_take(z, 2, UNMOVABLE, ALLOC_HIGHATOMIC));
	weir__spin_unlock(m.e, &z->lock);
	assert_int_equal(z->nr_highatomic, 511 - 6);
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);
}

/* Neighbours in memory, but of two zones. */
static void test_zones_do_not_merge(void **state)
{
	struct zone *low, *high;
	struct frame *f;

	memset(&m, 0, sizeof(m));
	m.cfg = (struct engine_config){
	    .nr_cpus = 1, .nr_nodes = 1, .zone_pages = {{1, 1}}};
	assert_int_equal(machine_start(&m), 0);
	low = &m.e->nodes[0].zones[0];
	high = &m.e->nodes[0].zones[1];
	f = take(low, 0, MOVABLE);
	give(low, f, 0);
	f = take(high, 0, MOVABLE);
	give(high, f, 0);
	assert_int_equal(low->free_area[0].nr_free, 1);
	assert_int_equal(high->free_area[0].nr_free, 1);
	assert_true(weir__zone_is_valid(low));
	assert_true(weir__zone_is_valid(high));
	machine_stop(&m);
}

static void test_given_twice(void **state)
{
	struct zone *z = machine_simple(&m, 16, 1);
	struct frame *f = take(z, 0, MOVABLE);

	take(z, 0, MOVABLE);
	give(z, f, 0);
	expect_panic(&m, give(z, f, 0));
	machine_stop(&m);
}

/* The checker is worth something only if it sees damage. */
static void test_damage_is_seen(void **state)
{
	struct zone *z = machine_simple(&m, 64, 1);
	struct frame *f = take(z, 0, MOVABLE);
	struct frame *buddy = f + 1;

	assert_true(weir__zone_is_valid(z));
	z->free_pages++;
	assert_false(weir__zone_is_valid(z));
	z->free_pages--;
	buddy->order = 1;
	assert_false(weir__zone_is_valid(z));
	buddy->order = 0;
	buddy->refcount = 1;
	assert_false(weir__zone_is_valid(z));
	buddy->refcount = 0;
	z->free_area[0].nr_free++;
	assert_false(weir__zone_is_valid(z));
	z->free_area[0].nr_free--;
	weir__frame_clear(buddy, FRAME_BUDDY);
	assert_false(weir__zone_is_valid(z));
	weir__frame_set(buddy, FRAME_BUDDY);
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);
}

static void test_config(void **state)
{
	static const struct engine_config bad[] = {
	    {.nr_cpus = 0, .nr_nodes = 1, .zone_pages = {{64}}},
	    {.nr_cpus = 1, .nr_nodes = 0, .zone_pages = {{64}}},
	    {.nr_cpus = MAX_CPUS + 1, .nr_nodes = 1, .zone_pages = {{64}}},
	    {.nr_cpus = 1, .nr_nodes = MAX_NODES + 1},
	    {.nr_cpus = 1, .nr_nodes = 1},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(&m, 0, sizeof(m));
		m.cfg = bad[i];
		assert_int_equal(machine_start(&m), -EINVAL);
		machine_stop(&m);
	}
	memset(&m, 0, sizeof(m));
	m.cfg =
	    (struct engine_config){.nr_cpus = 2,
				   .nr_nodes = 2,
				   .zone_pages = {{100, 0, 300}, {0, 0, 500}}};
	assert_int_equal(machine_start(&m), 0);
	assert_int_equal(m.e->nr_frames, 900);
	assert_string_equal(m.e->nodes[0].zones[0].name, "DMA");
	assert_string_equal(m.e->nodes[1].zones[2].name, "Normal");
	assert_int_equal(m.e->nodes[0].zones[2].start, 100);
	assert_int_equal(m.e->nodes[1].zones[2].start, 400);
	for (pfn_t p = 0; p < 900; p++) {
		struct zone *z = weir__frame_zone(m.e, weir__frame(m.e, p));

		assert_true(p >= z->start && p < z->start + z->spanned);
		assert_true(weir__frame_is_valid(m.e, weir__frame(m.e, p)));
	}
	for (int n = 0; n < 2; n++)
		for (int i = 0; i < 3; i++)
			assert_true(
			    weir__zone_is_valid(&m.e->nodes[n].zones[i]));
	machine_stop(&m);
}

/* Blocks never overlap, pages are conserved, all merges at the end. */
static void test_random(void **state)
{
	enum { PAGES = 4096 + 300, HELD = 200 };
	struct zone *z = machine_simple(&m, PAGES, 1);
	static uint8_t owned[PAGES];
	struct {
		struct frame *f;
		unsigned order;
	} held[HELD] = {{0}};
	uint32_t seed = 12345;
	int64_t out = 0;

	for (int turn = 0; turn < 20000; turn++) {
		seed = seed * 1664525u + 1013904223u;
		unsigned i = (seed >> 8) % HELD;
		unsigned order = (seed >> 20) % 8;

		if (held[i].f) {
			for (unsigned p = 0; p < 1u << held[i].order; p++)
				owned[weir__pfn(m.e, held[i].f) + p]--;
			give(z, held[i].f, held[i].order);
			out -= 1 << held[i].order;
			held[i].f = NULL;
			continue;
		}
		held[i].f = take(z, order, (int)(seed >> 28) % 3);
		held[i].order = order;
		if (!held[i].f)
			continue;
		out += 1 << order;
		for (unsigned p = 0; p < 1u << order; p++)
			assert_int_equal(owned[weir__pfn(m.e, held[i].f) + p]++,
					 0);
		assert_int_equal(z->free_pages, PAGES - out);
		if (turn % 500 == 0)
			assert_true(weir__zone_is_valid(z));
	}
	for (unsigned i = 0; i < HELD; i++)
		if (held[i].f)
			give(z, held[i].f, held[i].order);
	assert_true(weir__zone_is_valid(z));
	assert_int_equal(z->free_area[10].nr_free, 4);
	assert_int_equal(z->free_pages, PAGES);
	machine_stop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_split_and_merge),
	    cmocka_unit_test(test_only_buddies_merge),
	    cmocka_unit_test(test_odd_sizes),
	    cmocka_unit_test(test_tail_when_merging_soon),
	    cmocka_unit_test(test_highest_order),
	    cmocka_unit_test(test_claims_whole_blocks),
	    cmocka_unit_test(test_claims_half_free),
	    cmocka_unit_test(test_steals_when_mostly_used),
	    cmocka_unit_test(test_movable_steals_small),
	    cmocka_unit_test(test_fallback_order),
	    cmocka_unit_test(test_fallback_boosts),
	    cmocka_unit_test(test_highatomic_reserve),
	    cmocka_unit_test(test_highatomic_stays_apart),
	    cmocka_unit_test(test_highatomic_is_kept),
	    cmocka_unit_test(test_zones_do_not_merge),
	    cmocka_unit_test(test_given_twice),
	    cmocka_unit_test(test_damage_is_seen),
	    cmocka_unit_test(test_config),
	    cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
