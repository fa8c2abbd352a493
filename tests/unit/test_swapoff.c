/* SPDX-License-Identifier: MIT */
/* swapoff: all data back in memory, or a clean failure. */
#include "engine/swapoff.h"
#include "world.h"

#define PAGES 400

static struct world *start(uint64_t frames, bool bits)
{
	struct world_config c = {
	    .zone = {frames}, .slots = 1024, .pages = PAGES, .no_bits = !bits};

	return world_start(&c);
}

static void all_out(struct world *w)
{
	for (int i = 0; i < 6 && world_present(w->as, 0, PAGES); i++)
		world_reclaim(w, PAGES);
	assert_int_equal(world_present(w->as, 0, PAGES), 0);
}

static void test_swapoff_brings_all_back(void **state)
{
	for (int bits = 0; bits < 2; bits++) {
		struct world *w = start(1024, bits);

		world_fill(w, w->as, 0, PAGES);
		all_out(w);
		assert_true(weir__swap_used(&w->e, 0) >= PAGES);
		assert_int_equal(weir__swapoff(&w->e, 0), 0);
		assert_int_equal(world_present(w->as, 0, PAGES), PAGES);
		assert_int_equal(weir__swap_total(&w->e), 0);
		assert_int_equal(world_stat(w, STAT_nr_swapcached), 0);
		assert_int_equal(w->as->nr_swapents, 0);
		assert_int_equal(weir__swapoff(&w->e, 0), -EINVAL);
		assert_int_equal(weir__swapoff(&w->e, 99), -EINVAL);
		world_expect(w, w->as, 0, PAGES);
		world_check(w);
		/* and on again */
		assert_int_equal(weir__swapon(&w->e, 1024, -1, NULL, 0), 0);
		all_out(w);
		world_expect(w, w->as, 0, PAGES);
		world_stop(w);
	}
}

/* Shared after a fork: one page again, in both. */
static void test_swapoff_shared(void **state)
{
	struct world *w = start(1024, true);
	struct aspace *child;

	world_fill(w, w->as, 0, PAGES);
	assert_int_equal(weir__aspace_create(&w->e, w, &child), 0);
	assert_int_equal(weir__aspace_fork(w->as, child), 0);
	world_age(child, 0, PAGES);
	all_out(w);
	assert_int_equal(child->nr_swapents, PAGES);
	assert_int_equal(weir__swapoff(&w->e, 0), 0);
	for (unsigned i = 0; i < PAGES; i++) {
		assert_non_null(world_frame(child, i));
		assert_ptr_equal(world_frame(child, i), world_frame(w->as, i));
		assert_int_equal(weir__page_mapcount(world_frame(child, i)), 2);
	}
	world_stop(w);
}

/* Memory cannot hold it: -ENOMEM, nobody is ended, and the area serves on. */
static void test_swapoff_without_room(void **state)
{
	struct world *w = start(512, true);
	uint64_t total = weir__swap_total(&w->e), used;

	world_fill(w, w->as, 0, PAGES);
	all_out(w);
	world_eat(w, world_zone(w, 0), 150);
	used = weir__swap_used(&w->e, 0);
	assert_int_equal(weir__swapoff(&w->e, 0), -ENOMEM);
	assert_int_equal(w->fh.nr_oom_kills, 0);
	assert_int_equal(weir__swap_total(&w->e), total);
	assert_true(weir__swap_used(&w->e, 0) <= used);
	assert_int_equal(w->fh.task.flags & PF_OOM_ORIGIN, 0);
	world_uneat(w);
	world_expect(w, w->as, 0, PAGES);
	all_out(w);
	world_expect(w, w->as, 0, PAGES);
	world_stop(w);
}

/* It looked as if it would fit, and then did not. */
static void eat_now(struct world *w, const char *name)
{
	if (!w->step && !strcmp(name, "get_page_from_freelist")) {
		w->step = 1;
		w->on_event = NULL;
		world_eat(w, world_zone(w, 0), 0);
	}
}

static void test_swapoff_gives_up(void **state)
{
	struct world *w = start(1024, true);

	world_fill(w, w->as, 0, PAGES);
	all_out(w);
	world_eat(w, world_zone(w, 0), PAGES + 20);
	w->on_event = eat_now;
	assert_int_equal(weir__swapoff(&w->e, 0), -ENOMEM);
	assert_int_equal(w->fh.nr_oom_kills, 0);
	assert_true(weir__swap_is_on(&w->e, 0));
	world_uneat(w);
	world_expect(w, w->as, 0, PAGES);
	world_stop(w);
}

/* Another area takes what memory does not. */
static void test_swapoff_to_another_area(void **state)
{
	struct world *w = start(512, true);

	world_fill(w, w->as, 0, PAGES);
	all_out(w);
	world_eat(w, world_zone(w, 0), 200);
	assert_int_equal(weir__swapon(&w->e, 1024, -1, NULL, 0), 1);
	assert_int_equal(weir__swapoff(&w->e, 0), 0);
	assert_true(weir__swap_used(&w->e, 1) > 0);
	world_uneat(w);
	world_expect(w, w->as, 0, PAGES);
	world_stop(w);
}

/* What the disk has lost is lost, and no reason to keep the area. */
static void test_swapoff_with_read_errors(void **state)
{
	struct world *w = start(1024, true);

	world_fill(w, w->as, 0, PAGES);
	all_out(w);
	w->fh.io_error = -EIO;
	assert_int_equal(weir__swapoff(&w->e, 0), 0);
	w->fh.io_error = 0;
	assert_int_equal(weir__fault(&w->e, w->as, WORLD_BASE, 0), -EIO);
	assert_int_equal(w->as->nr_swapents, 0);
	world_stop(w);
}

static void test_swapoff_with_leases(void **state)
{
	struct world *w = start(1024, true);
	int id;

	world_fill(w, w->as, 0, PAGES);
	all_out(w);
	id = weir__swap_lease_begin(&w->e, 0);
	assert_true(id > 0);
	assert_int_equal(weir__swapoff(&w->e, 0), -EBUSY);
	assert_true(weir__swap_is_on(&w->e, 0));
	assert_int_equal(weir__swap_lease_end(&w->e, 0, id), 0);
	assert_int_equal(weir__swapoff(&w->e, 0), 0);
	world_expect(w, w->as, 0, PAGES);
	world_stop(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_swapoff_brings_all_back),
	    cmocka_unit_test(test_swapoff_shared),
	    cmocka_unit_test(test_swapoff_without_room),
	    cmocka_unit_test(test_swapoff_gives_up),
	    cmocka_unit_test(test_swapoff_to_another_area),
	    cmocka_unit_test(test_swapoff_with_read_errors),
	    cmocka_unit_test(test_swapoff_with_leases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
