/* SPDX-License-Identifier: MIT */
/* Per-CPU lists: their sizes, how they fill, how they empty. */
#include "machine.h"

#define MIB256 65536 /* pages; batch 15 */

static struct machine m;

static void test_batch(void **state)
{
	static const struct {
		uint64_t managed;
		int batch;
	} t[] = {
	    {1310720, 63}, {3840, 1},    {16, 1},
	    {MIB256, 15},  {16384, 3},   {8192, 1}, /* b = 2+1 -> 2 - 1 */
	    {131072, 31},  {262144, 63}, {1u << 30, 63},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		assert_int_equal(weir__pcp_batch(t[i].managed), t[i].batch);
}

/* Sizes read from a running Linux with two CPUs. */
static void test_bounds(void **state)
{
	struct zone *z = machine_simple(&m, 64, 2);

	z->managed = 1310720;
	z->wmark[WMARK_LOW] = 13260;
	weir__pcp_update(m.e, z);
	for (int c = 0; c < 2; c++) {
		assert_int_equal(z->pcp[c].batch, 63);
		assert_int_equal(z->pcp[c].high_min, 6630);
		assert_int_equal(z->pcp[c].high_max, 81920);
	}
	z->managed = 3840;
	z->wmark[WMARK_LOW] = 38;
	weir__pcp_update(m.e, z);
	assert_int_equal(z->pcp[1].batch, 1);
	assert_int_equal(z->pcp[1].high_min, 19);
	assert_int_equal(z->pcp[1].high_max, 240);
	assert_int_equal(z->pcp[1].high, 240); /* followed the bound down */
	machine_stop(&m);
}

static struct frame *page(void)
{
	return weir__frames_alloc(m.e, GFP_KERNEL, 0);
}

/* Fills double while nothing is freed: 15, 30, 60, ... */
static void test_fills_double(void **state)
{
	struct zone *z = machine_simple(&m, MIB256, 1);
	struct pcp *p = &z->pcp[0];
	int fills[6], n = 0;
	int64_t before = z->free_pages;

	z->below_high = 1; /* high stays where it is, out of the way */
	p->high = p->high_min = 5000;
	p->high_max = 6000;
	while (n < 6) {
		assert_non_null(page());
		if (z->free_pages != before)
			fills[n++] = (int)(before - z->free_pages);
		before = z->free_pages;
	}
	for (int i = 0; i < 6; i++)
		assert_int_equal(fills[i], 15 << i);
	assert_int_equal(p->alloc_factor, 5);
	machine_stop(&m);
}

static void test_frees_halve_the_fill(void **state)
{
	struct zone *z = machine_simple(&m, MIB256, 1);
	struct pcp *p = &z->pcp[0];
	struct frame *f = page();

	p->alloc_factor = 5;
	weir__frames_free(m.e, f, 0);
	assert_int_equal(p->alloc_factor, 2);
	weir__frames_free(m.e, page(), 0);
	assert_int_equal(p->alloc_factor, 1);
	machine_stop(&m);
}

/* A fill leaves room: count never passes high. */
static void test_fill_has_room(void **state)
{
	struct zone *z = machine_simple(&m, MIB256, 1);
	struct pcp *p = &z->pcp[0];

	z->below_high = 1;
	p->high = p->high_min = 60;
	p->high_max = 120;
	for (int i = 0; i < 5000; i++) {
		assert_non_null(page());
		assert_in_range(p->count, 0, 60);
	}
	machine_stop(&m);
}

/* One pair after the other: the zone is not asked again. */
static void test_pairs_stay_local(void **state)
{
	struct zone *z = machine_simple(&m, MIB256, 1);
	int64_t nr_free;

	weir__frames_free(m.e, page(), 0);
	nr_free = z->free_pages;
	for (int i = 0; i < 1000; i++) {
		weir__frames_free(m.e, page(), 0);
		assert_int_equal(z->free_pages, nr_free);
	}
	machine_stop(&m);
}

/* Last freed, first used: its lines are still in the cache. */
static void test_warm_first(void **state)
{
	struct frame *a, *b;

	machine_simple(&m, MIB256, 1);
	a = page();
	b = page();
	weir__frames_free(m.e, a, 0);
	weir__frames_free(m.e, b, 0);
	assert_ptr_equal(page(), b);
	assert_ptr_equal(page(), a);
	machine_stop(&m);
}

/* What lay there longest goes back first. */
static void test_cold_goes(void **state)
{
	struct zone *z = machine_simple(&m, MIB256, 1);
	struct pcp *p = &z->pcp[0];
	struct frame *f[40];

	for (int i = 0; i < 40; i++)
		f[i] = page();
	weir__pcp_drain(m.e, z, 0);
	p->free_count = 0;
	p->high = p->high_min = p->high_max = 40;
	for (int i = 0; i < 40; i++)
		weir__frames_free(m.e, f[i], 0);
	/* 25 went: high - batch */
	assert_int_equal(p->count, 15);
	for (int i = 39; i >= 25; i--)
		assert_ptr_equal(page(), f[i]);
	machine_stop(&m);
}

/* Taking one in between shortens a run of frees, it does not end it. */
static void test_run_of_frees(void **state)
{
	struct zone *z = machine_simple(&m, MIB256, 1);
	struct frame *f[21];

	for (int i = 0; i < 21; i++)
		f[i] = page();
	z->pcp[0].free_count = 0;
	for (int i = 0; i < 21; i++)
		weir__frames_free(m.e, f[i], 0);
	assert_int_equal(z->pcp[0].free_count, 21);
	page();
	assert_int_equal(z->pcp[0].free_count, 10);
	machine_stop(&m);
}

static void test_orders_up_to_3(void **state)
{
	/* batch 15: 15 pages, then 15 >> order blocks, at least 2 */
	static const int64_t want[] = {15, 14, 12, 16, 16};
	struct zone *z = machine_simple(&m, MIB256, 1);

	for (unsigned o = 0; o <= 4; o++) {
		int64_t before = z->free_pages;
		struct frame *f = weir__frames_alloc(m.e, GFP_KERNEL, o);
		int64_t taken = before - z->free_pages;

		assert_int_equal(taken, want[o]);
		weir__frames_free(m.e, f, o);
		assert_int_equal(z->free_pages,
				 o == 4 ? before : before - taken);
		weir__pcp_drain(m.e, z, 0);
	}
	assert_int_equal(z->free_pages, MIB256);
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);
}

/* A full list gives back a batch; a long run of frees gives back more. */
static void test_empties_in_batches(void **state)
{
	struct zone *z = machine_simple(&m, MIB256, 1);
	struct pcp *p = &z->pcp[0];
	static struct frame *f[2000];
	int64_t before;
	int first = 0, largest = 0;

	for (int i = 0; i < 2000; i++)
		f[i] = page();
	weir__pcp_drain(m.e, z, 0);
	p->free_count = 0;
	p->high = p->high_min = p->high_max = 300; /* fixed */
	for (int i = 0; i < 2000; i++) {
		before = z->free_pages;
		weir__frames_free(m.e, f[i], 0);
		assert_in_range(p->count, 0, 299);
		if (z->free_pages == before)
			continue;
		if (!first)
			first = i + 1;
		if (z->free_pages - before > largest)
			largest = (int)(z->free_pages - before);
	}
	assert_int_equal(first, 300);
	assert_int_equal(largest, 300 - 15); /* high - batch at most */
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);
}

/* kswapd works on the zone: 4 batches at most. */
static void test_short_while_reclaiming(void **state)
{
	struct zone *z = machine_simple(&m, MIB256, 1);
	static struct frame *f[500];

	for (int i = 0; i < 500; i++)
		f[i] = page();
	z->reclaim_active = 1;
	for (int i = 0; i < 500; i++) {
		weir__frames_free(m.e, f[i], 0);
		if (i > 250)
			assert_in_range(z->pcp[0].count, 0, 4 * 15);
	}
	machine_stop(&m);
}

/* A zone seen short of its high mark pulls high down to high_min; being above
 * it again ends that, and gives a hopeless kswapd another chance. */
static void test_below_high(void **state)
{
	struct zone *z = machine_simple(&m, MIB256, 1);
	struct pcp *p = &z->pcp[0];
	static struct frame *f[MIB256];
	int n = 0;
	bool seen = false;

	while ((f[n] = page()))
		n++;
	assert_int_equal(z->below_high, 1);
	assert_true(z->free_pages <= (int64_t)weir__wmark(z, WMARK_MIN));
	m.e->nodes[0].kswapd_failures = 16;
	p->high = p->high_max;
	for (int i = 0; i < n; i++) {
		weir__frames_free(m.e, f[i], 0);
		if (!z->below_high && !seen) {
			seen = true;
			assert_true(z->free_pages >
				    (int64_t)weir__wmark(z, WMARK_HIGH));
			assert_int_equal(p->high, p->high_min);
			assert_int_equal(m.e->nodes[0].kswapd_failures, 0);
		}
	}
	assert_true(seen);
	machine_stop(&m);
}

static void test_decay(void **state)
{
	struct zone *z = machine_simple(&m, MIB256, 1);
	struct pcp *p = &z->pcp[0];

	p->high = 1600;
	weir__pcp_decay(m.e, z, 0);
	assert_int_equal(p->high, 1400);
	for (int i = 0; i < 100; i++)
		weir__pcp_decay(m.e, z, 0);
	assert_int_equal(p->high, p->high_min);
	machine_stop(&m);
}

static void test_drain_all(void **state)
{
	struct zone *z = machine_simple(&m, MIB256, 4);
	struct frame *f[4][3];

	for (unsigned c = 0; c < 4; c++) {
		m.fh.task.cpu = c;
		for (unsigned o = 0; o < 3; o++)
			f[c][o] = weir__frames_alloc(
			    m.e, o ? GFP_HIGHUSER_MOVABLE : GFP_KERNEL, o);
	}
	for (unsigned c = 0; c < 4; c++) {
		m.fh.task.cpu = 3 - c; /* freed on another CPU than taken */
		for (unsigned o = 0; o < 3; o++)
			weir__frames_free(m.e, f[c][o], o);
	}
	assert_true(z->free_pages < MIB256);
	assert_true(weir__zone_is_valid(z));
	weir__pcp_drain_all(m.e);
	assert_int_equal(z->free_pages, MIB256);
	for (unsigned c = 0; c < 4; c++)
		assert_int_equal(z->pcp[c].count, 0);
	assert_true(weir__zone_is_valid(z));
	/* kinds were apart: claimed blocks did not merge away pages */
	assert_int_equal(z->free_area[10].nr_free, MIB256 / 1024);
	machine_stop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_batch),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_fills_double),
	    cmocka_unit_test(test_frees_halve_the_fill),
	    cmocka_unit_test(test_fill_has_room),
	    cmocka_unit_test(test_pairs_stay_local),
	    cmocka_unit_test(test_warm_first),
	    cmocka_unit_test(test_cold_goes),
	    cmocka_unit_test(test_run_of_frees),
	    cmocka_unit_test(test_orders_up_to_3),
	    cmocka_unit_test(test_empties_in_batches),
	    cmocka_unit_test(test_short_while_reclaiming),
	    cmocka_unit_test(test_below_high),
	    cmocka_unit_test(test_decay),
	    cmocka_unit_test(test_drain_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
