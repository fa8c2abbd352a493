/* SPDX-License-Identifier: MIT */
/* Windows of swap readahead as Linux places them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/swap.h"
#include "engine/swapin.h"

#define PG(n) ((uint64_t)(n) << PAGE_SHIFT)

struct fix {
	struct engine e;
	struct region r;
	struct swapin_window w;
};

static int setup(void **state)
{
	struct fix *x = calloc(1, sizeof(*x));

	weir__tunables_default(&x->e.tun);
	x->e.tun.swap_readahead = 1;
	x->r.start = PG(1000);
	x->r.end = PG(5000);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void fault(struct fix *x, uint64_t page, bool cached)
{
	assert_true(weir__swapin_window_linux(&x->e, &x->r, PG(page),
					      swp_entry(0, page), cached,
					      &x->w));
}

static void test_not_asked_for(void **state)
{
	struct fix *x = *state;

	x->e.tun.swap_readahead = 0;
	assert_false(weir__swapin_window_linux(&x->e, &x->r, PG(2000), 1, false,
					       &x->w));
}

/* page by page, alone; then neighbours in both directions */
static void test_alone_ahead_behind(void **state)
{
	struct fix *x = *state;

	fault(x, 2000, false);
	assert_int_equal(x->w.nr, 1);
	fault(x, 2400, false);
	assert_int_equal(x->w.nr, 1);
	fault(x, 2401, false); /* follows */
	assert_int_equal(x->w.nr, 2);
	assert_int_equal(x->w.start, PG(2401));
	fault(x, 2400, false); /* precedes */
	assert_int_equal(x->w.nr, 2);
	assert_int_equal(x->w.start, PG(2399));
}

/* T: hits 1 -> 4, 4 -> 8; a window without hits halves */
static void test_hits_widen(void **state)
{
	struct fix *x = *state;

	fault(x, 2000, false);
	x->r.ra.hits = 1;
	fault(x, 2100, false);
	assert_int_equal(x->w.nr, 4);
	assert_int_equal(x->w.start, PG(2099)); /* centred: (4 - 1) / 2 before */
	x->r.ra.hits = 4;
	fault(x, 2200, false);
	assert_int_equal(x->w.nr, 8);
	assert_int_equal(x->w.start, PG(2197));
	fault(x, 2300, false);
	assert_int_equal(x->w.nr, 4);
	fault(x, 2350, false);
	assert_int_equal(x->w.nr, 2);
	fault(x, 2400, false);
	assert_int_equal(x->w.nr, 1);
}

/* A page found in the cache moves the place, and starts no window. */
static void test_cached_moves_on(void **state)
{
	struct fix *x = *state;

	fault(x, 2000, false);
	x->r.ra.hits = 3;
	fault(x, 2007, true);
	assert_int_equal(x->w.nr, 1);
	assert_int_equal(x->r.ra.hits, 3);
	fault(x, 2008, false);
	assert_int_equal(x->w.nr, 8);
	assert_int_equal(x->w.start, PG(2008)); /* ahead */
}

static void test_stays_in_region_and_table(void **state)
{
	struct fix *x = *state;

	x->r.ra.hits = 9;
	fault(x, 1001, false);
	assert_int_equal(x->w.start, PG(1000));
	assert_int_equal(x->w.nr, 8);
	x->r.ra.hits = 9;
	fault(x, 4998, false);
	assert_int_equal(x->w.start + PG(x->w.nr), PG(5000));
	x->r.ra.hits = 9;
	fault(x, 2048, false); /* the first page of a table */
	assert_int_equal(x->w.start, PG(2048));
	x->r.flags = REGION_RAND;
	x->r.ra.hits = 9;
	fault(x, 3000, false);
	assert_int_equal(x->w.nr, 1);
}

static void test_by_slot(void **state)
{
	struct fix *x = *state;

	x->e.tun.swap_readahead = 2;
	fault(x, 2000, false);
	assert_int_equal(x->w.slots, 1);
	fault(x, 2001, false);
	assert_int_equal(x->w.slots, 2);
	x->r.ra.hits = 5;
	fault(x, 3000, true);
	assert_int_equal(x->w.slots, 0);
	assert_int_equal(x->r.ra.hits, 0); /* given to the machine's sum */
	fault(x, 2500, false);
	assert_int_equal(x->w.slots, 8);
	assert_int_equal(x->w.nr, 1);
	fault(x, 2600, false);
	assert_int_equal(x->w.slots, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_not_asked_for, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_alone_ahead_behind, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_hits_widen, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cached_moves_on, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_stays_in_region_and_table,
					    setup, teardown),
	    cmocka_unit_test_setup_teardown(test_by_slot, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
