/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/lruvec.h"
#include "engine/watermark.h"
#include "fakereclaim.h"

static int setup(void **state)
{
	*state = fr_start(4096, 0, 512);
	return 0;
}

static int setup_noswap(void **state)
{
	*state = fr_start(4096, 0, 0);
	return 0;
}

/* Sizes are made up; no page stands behind them. */
static void set_size(struct lruvec *v, enum lru_list l, int64_t pages)
{
	v->size[l] = pages;
	v->zone_size[0][l] = pages;
}

static int teardown(void **state)
{
	struct fakereclaim *fr = *state;

	for (unsigned l = 0; l < NR_LRU_LISTS; l++)
		set_size(&fr->engine.nodes[0].lruvec, l, 0);
	fr_stop(fr);
	return 0;
}

static struct scan_control control(int8_t priority)
{
	return (struct scan_control){.priority = priority,
				     .reclaim_zone = MAX_ZONES - 1,
				     .swappiness = -1,
				     .may_swap = true};
}

static void all_lists(struct lruvec *v, int64_t pages)
{
	for (unsigned l = 0; l < LRU_UNEVICTABLE; l++)
		set_size(v, l, pages);
}

static void test_fractions(void **state)
{
	uint64_t ap, fp;

	weir__scan_fractions(60, 0, 0, &ap, &fp);
	assert_int_equal(ap, 60);
	assert_int_equal(fp, 140);
	weir__scan_fractions(60, 300, 100, &ap, &fp);
	assert_int_equal(ap, 102);
	assert_int_equal(fp, 335);
	/* swappiness 0 and 200 leave one side nothing */
	weir__scan_fractions(0, 10, 10, &ap, &fp);
	assert_int_equal(ap, 0);
	weir__scan_fractions(200, 10, 10, &ap, &fp);
	assert_int_equal(fp, 0);
}

static void counts(struct fakereclaim *fr, uint64_t anon_cost,
		   uint64_t file_cost, uint64_t swappiness, uint64_t *nr)
{
	struct lruvec *v = &fr->engine.nodes[0].lruvec;
	struct scan_control sc = control(12);

	all_lists(v, 1000000);
	v->anon_cost = anon_cost;
	v->file_cost = file_cost;
	fr->engine.tun.swappiness = swappiness;
	weir__get_scan_count(&fr->engine, v, &sc, nr);
}

static void test_scan_count_fract(void **state)
{
	static const struct {
		uint64_t anon_cost, file_cost, swappiness, anon, file;
	} t[] = {
	    {0, 0, 60, 73, 170},
	    {300, 100, 60, 56, 187},
	    {0, 400, 60, 112, 131},
	    {0, 0, 100, 122, 122},
	};
	uint64_t nr[LRU_UNEVICTABLE];

	for (unsigned i = 0; i < sizeof(t) / sizeof(*t); i++) {
		counts(*state, t[i].anon_cost, t[i].file_cost, t[i].swappiness,
		       nr);
		assert_int_equal(nr[LRU_INACTIVE_ANON], t[i].anon);
		assert_int_equal(nr[LRU_ACTIVE_ANON], t[i].anon);
		assert_int_equal(nr[LRU_INACTIVE_FILE], t[i].file);
		assert_int_equal(nr[LRU_ACTIVE_FILE], t[i].file);
	}
}

static void expect(struct fakereclaim *fr, struct scan_control *sc,
		   uint64_t anon, uint64_t file)
{
	uint64_t nr[LRU_UNEVICTABLE];

	weir__get_scan_count(&fr->engine, &fr->engine.nodes[0].lruvec, sc, nr);
	assert_int_equal(nr[LRU_INACTIVE_ANON], anon);
	assert_int_equal(nr[LRU_INACTIVE_FILE], file);
}

/* The rules in their order: the first that matches wins. */
static void test_scan_count_rules(void **state)
{
	struct fakereclaim *fr = *state;
	struct scan_control sc;

	all_lists(&fr->engine.nodes[0].lruvec, 4096);

	sc = control(0);
	sc.may_swap = false;
	expect(fr, &sc, 0, 4096);

	sc = control(0);
	sc.swappiness = 201; /* anon only, and before EQUAL */
	expect(fr, &sc, 4096, 0);

	sc = control(0); /* EQUAL, even before file_is_tiny */
	sc.file_is_tiny = true;
	expect(fr, &sc, 4096, 4096);

	sc = control(0); /* not for swappiness 0 */
	sc.swappiness = 0;
	expect(fr, &sc, 0, 4096);

	sc = control(4);
	sc.file_is_tiny = true;
	sc.cache_trim_mode = true;
	expect(fr, &sc, 256, 0);

	sc = control(4);
	sc.cache_trim_mode = true;
	expect(fr, &sc, 0, 256);
}

static void test_scan_count_noswap(void **state)
{
	struct fakereclaim *fr = *state;
	struct scan_control sc = control(0);

	all_lists(&fr->engine.nodes[0].lruvec, 4096);
	expect(fr, &sc, 0, 4096);
	sc.swappiness = 201;
	expect(fr, &sc, 0, 4096);
}

static void test_zone_above_is_not_counted(void **state)
{
	struct fakereclaim *fr = *state;
	struct lruvec *v = &fr->engine.nodes[0].lruvec;
	struct scan_control sc = control(0);

	v->size[LRU_INACTIVE_ANON] = 300;
	v->zone_size[0][LRU_INACTIVE_ANON] = 100;
	v->zone_size[1][LRU_INACTIVE_ANON] = 200;
	sc.reclaim_zone = 0;
	expect(fr, &sc, 100, 0);
	sc.reclaim_zone = 1;
	expect(fr, &sc, 300, 0);
	v->zone_size[1][LRU_INACTIVE_ANON] = 0;
}

static void test_rebalance(void **state)
{
	/* file: 64 of 400 scanned, anon: 64 of 100 */
	uint64_t targets[] = {100, 0, 400, 0};
	uint64_t nr[] = {36, 0, 336, 0};

	assert_true(weir__rebalance_quota(nr, targets));
	assert_int_equal(nr[LRU_INACTIVE_ANON], 0);
	assert_int_equal(nr[LRU_INACTIVE_FILE], 196);
	/* one side has nothing: no more to be fair about */
	assert_false(weir__rebalance_quota(nr, targets));
}

static void test_rebalance_other_way(void **state)
{
	uint64_t targets[] = {200, 200, 50, 50};
	uint64_t nr[] = {168, 168, 18, 18};

	/* 36 of 100 are left of file: 35 %; 65 % of 200 less 32 */
	assert_true(weir__rebalance_quota(nr, targets));
	assert_int_equal(nr[LRU_INACTIVE_FILE], 0);
	assert_int_equal(nr[LRU_ACTIVE_FILE], 0);
	assert_int_equal(nr[LRU_INACTIVE_ANON], 98);
	assert_int_equal(nr[LRU_ACTIVE_ANON], 98);
}

static void test_rebalance_already_ahead(void **state)
{
	uint64_t targets[] = {100, 0, 400, 0};
	uint64_t nr[] = {90, 0, 100, 0};

	/* 89 % may be left of file, 300 of 400 are done: nothing more */
	assert_true(weir__rebalance_quota(nr, targets));
	assert_int_equal(nr[LRU_INACTIVE_FILE], 0);
}

static void test_prepare_deactivate(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = &fr->engine.nodes[0];
	struct scan_control sc = control(12);

	set_size(&n->lruvec, LRU_INACTIVE_ANON, 1000);
	set_size(&n->lruvec, LRU_ACTIVE_ANON, 1000);
	weir__prepare_scan(&fr->engine, n, &sc);
	assert_false(sc.may_deactivate[0]);

	set_size(&n->lruvec, LRU_INACTIVE_ANON, 999); /* low: 999 < 1000 */
	weir__prepare_scan(&fr->engine, n, &sc);
	assert_true(sc.may_deactivate[0]);
	assert_false(sc.may_deactivate[1]);

	set_size(&n->lruvec, LRU_INACTIVE_ANON, 1000);
	n->lruvec.activate_refault[0] = 1; /* pages came back */
	weir__prepare_scan(&fr->engine, n, &sc);
	assert_true(sc.may_deactivate[0]);
	weir__snapshot_refaults(n);
	weir__prepare_scan(&fr->engine, n, &sc);
	assert_false(sc.may_deactivate[0]);

	sc.force_deactivate = true;
	weir__prepare_scan(&fr->engine, n, &sc);
	assert_true(sc.may_deactivate[0] && sc.may_deactivate[1]);
}

static void test_prepare_cache_trim(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = &fr->engine.nodes[0];
	struct scan_control sc = control(12);

	set_size(&n->lruvec, LRU_INACTIVE_FILE, 4095);
	weir__prepare_scan(&fr->engine, n, &sc);
	assert_false(sc.cache_trim_mode); /* 4095 >> 12 */
	set_size(&n->lruvec, LRU_INACTIVE_FILE, 4096);
	weir__prepare_scan(&fr->engine, n, &sc);
	assert_true(sc.cache_trim_mode);
	sc.no_cache_trim_mode = true;
	weir__prepare_scan(&fr->engine, n, &sc);
	assert_false(sc.cache_trim_mode);
	sc.no_cache_trim_mode = false;
	n->lruvec.activate_refault[1] = 7;
	weir__prepare_scan(&fr->engine, n, &sc);
	assert_false(sc.cache_trim_mode);
}

static void test_prepare_file_is_tiny(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = &fr->engine.nodes[0];
	uint64_t high = weir__wmark(&n->zones[0], WMARK_HIGH);
	struct scan_control sc = control(4);

	fr_eat(fr, (int64_t)high - 10);
	set_size(&n->lruvec, LRU_INACTIVE_ANON, 16);
	set_size(&n->lruvec, LRU_ACTIVE_FILE, 5);
	set_size(&n->lruvec, LRU_INACTIVE_FILE, 5);
	weir__prepare_scan(&fr->engine, n, &sc);
	assert_true(sc.file_is_tiny); /* file + free == high */
	set_size(&n->lruvec, LRU_INACTIVE_FILE, 6);
	weir__prepare_scan(&fr->engine, n, &sc);
	assert_false(sc.file_is_tiny);
	set_size(&n->lruvec, LRU_INACTIVE_FILE, 5);
	set_size(&n->lruvec, LRU_INACTIVE_ANON, 15); /* 15 >> 4 */
	weir__prepare_scan(&fr->engine, n, &sc);
	assert_false(sc.file_is_tiny);
	set_size(&n->lruvec, LRU_INACTIVE_ANON, 16);
	sc.force_deactivate = true;
	weir__prepare_scan(&fr->engine, n, &sc);
	assert_false(sc.file_is_tiny);
}

static void test_reclaimable(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = &fr->engine.nodes[0];

	all_lists(&n->lruvec, 10);
	assert_int_equal(weir__zone_reclaimable(&fr->engine, &n->zones[0]), 40);
}

static void test_reclaimable_noswap(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = &fr->engine.nodes[0];

	all_lists(&n->lruvec, 10);
	assert_int_equal(weir__zone_reclaimable(&fr->engine, &n->zones[0]), 20);
}

static void test_vmpressure(void **state)
{
	assert_int_equal(weir__vmpressure(512, 100), 80);
	assert_int_equal(weir__vmpressure(512, 10), 98);
	assert_int_equal(weir__vmpressure(512, 300), 41);
	assert_int_equal(weir__vmpressure(512, 512), 0);
	assert_int_equal(weir__vmpressure(512, 0), 100);
}

#define T(f)        cmocka_unit_test_setup_teardown(f, setup, teardown)
#define T_NOSWAP(f) cmocka_unit_test_setup_teardown(f, setup_noswap, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fractions),
	    cmocka_unit_test(test_rebalance),
	    cmocka_unit_test(test_rebalance_other_way),
	    cmocka_unit_test(test_rebalance_already_ahead),
	    cmocka_unit_test(test_vmpressure),
	    T(test_scan_count_fract),
	    T(test_scan_count_rules),
	    T_NOSWAP(test_scan_count_noswap),
	    T(test_zone_above_is_not_counted),
	    T(test_prepare_deactivate),
	    T(test_prepare_cache_trim),
	    T(test_prepare_file_is_tiny),
	    T(test_reclaimable),
	    T_NOSWAP(test_reclaimable_noswap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
