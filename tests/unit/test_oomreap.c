/* SPDX-License-Identifier: MIT */
/* The reaper: a victim that does not end loses its private memory. */
#include "engine/file.h"
#include "engine/oom.h"
#include "world.h"

#define PAGES 300
#define SEC   1000000000ull

static struct world *start(bool bits)
{
	struct world_config c = {
	    .slots = 1024, .pages = PAGES, .no_bits = !bits};
	struct world *w = world_start(&c);

	world_fill(w, w->as, 0, PAGES);
	/* some of it in swap */
	world_age(w->as, 0, PAGES);
	world_reclaim(w, 100);
	for (uint64_t i = 0; i < PAGES; i++)
		if (world_frame(w->as, i))
			world_expect(w, w->as, i, 1); /* in place */
	assert_int_equal(weir__oom_reaper_start(&w->e), 0);
	return w;
}

/* It sleeps without limit: there is nothing left to do. */
static void nothing_left(struct world *w)
{
	if (!(w->as->flags & ASPACE_OOM_SKIP))
		return;
	w->e.stopping = 1;
	w->e.oom_reap_word++;
}

/* The reaper's task, from the kill until it has no victim any more. */
static void run_reaper(struct world *w)
{
	unsigned i = 0;

	while (strcmp(w->fh.spawned[i].name, "oom_reaper"))
		i++;
	w->as->flags |= ASPACE_OOM_VICTIM;
	weir__wake_oom_reaper(&w->e);
	w->on_wait = nothing_left;
	w->fh.spawned[i].fn(&w->e, w->fh.spawned[i].arg);
	w->on_wait = NULL;
	w->e.stopping = 0;
}

static void test_oom_reaper(void **state)
{
	for (int bits = 0; bits < 2; bits++) {
		struct world *w = start(bits);
		struct aspace *other = world_space(w, 10, 0);
		int64_t nr_free, resident;

		world_fill(w, other, 0, 10);
		weir__lru_add_drain_all(&w->e);
		weir__pcp_drain_all(&w->e);
		nr_free = world_free(w);
		resident = w->as->nr_anon;
		assert_true(resident >= 64);
		assert_true(w->as->nr_swapents > 0);
		run_reaper(w);
		/* not before two seconds, and then all at once */
		assert_in_range(w->fh.now, 2 * SEC, 2 * SEC + SEC / 10);
		assert_int_equal(w->as->nr_anon, 0);
		assert_int_equal(w->as->nr_swapents, 0);
		weir__pcp_drain_all(&w->e);
		assert_true(world_free(w) >= nr_free + resident);
		assert_int_equal(weir__swap_used(&w->e, 0), 0);
		assert_true(w->as->flags & ASPACE_OOM_SKIP);
		assert_int_equal(weir__fault(&w->e, w->as, WORLD_BASE, 0),
				 -EFAULT);
		world_expect(w, other, 0, 10);
		assert_int_equal(world_count(w, "start_task_reaping"), 1);
		assert_int_equal(world_count(w, "finish_task_reaping"), 1);
		world_stop(w);
	}
}

/* Pages that cannot be had at the moment are tried again. */
static unsigned refusals;

static void refuse(struct weir_host *h, void *as, struct weir_vec *v,
		   unsigned nr)
{
	bool no = refusals && refusals--;

	for (unsigned i = 0; i < nr; i++)
		v[i].status = (int16_t)(no && i == nr / 2 ? -EBUSY : 0);
}

static void test_oom_reaper_tries_again(void **state)
{
	struct world *w = start(false);

	w->ops.unmap = refuse;
	refusals = 3;
	run_reaper(w);
	assert_int_equal(w->as->nr_anon, 0);
	/* three windows of one try were left out; one more try */
	assert_in_range(w->fh.now, 2 * SEC + SEC / 10, 2 * SEC + SEC / 5);
	world_stop(w);
}

static void test_oom_reaper_gives_up(void **state)
{
	struct world *w = start(false);

	w->ops.unmap = refuse;
	refusals = UINT32_MAX;
	run_reaper(w);
	assert_true(w->as->nr_anon > 0);
	assert_in_range(w->fh.now, 3 * SEC, 3 * SEC + SEC / 5);
	assert_true(w->as->flags & ASPACE_OOM_SKIP);
	refusals = 0;
	world_stop(w);
}

/* What a child shares with the victim stays the child's. */
static void test_oom_reaper_spares_sharers(void **state)
{
	struct world *w = start(true);
	struct aspace *child;

	assert_int_equal(weir__aspace_create(&w->e, w, &child), 0);
	assert_int_equal(weir__aspace_fork(w->as, child), 0);
	run_reaper(w);
	assert_int_equal(w->as->nr_anon, 0);
	world_expect(w, child, 0, PAGES);
	world_stop(w);
}

/* Shared mappings are not the victim's own. */
static void test_oom_reaper_leaves_shared_mappings(void **state)
{
	struct world *w = start(true);
	uint64_t at = WORLD_BASE + 2 * PAGES * PAGE_SIZE;
	struct file *f;

	assert_int_equal(
	    weir__file_create(&w->e, MAPPING_FILE, 1, 20 * PAGE_SIZE, 0, &f),
	    0);
	assert_int_equal(weir__region_add_file(
			     w->as, at, at + 20 * PAGE_SIZE,
			     REGION_READ | REGION_WRITE | REGION_SHARED, f, 0),
			 0);
	world_touch(w, w->as, 2 * PAGES, true)[0] = 7;
	run_reaper(w);
	assert_int_equal(w->as->nr_anon, 0);
	assert_non_null(world_frame(w->as, 2 * PAGES));
	weir__file_put(f);
	world_stop(w);
}

/* The choice wakes it. */
static void test_kill_wakes_the_reaper(void **state)
{
	struct world *w = start(true);

	w->e.oom_lock = 1;
	assert_true(weir__out_of_memory(&w->e, GFP_KERNEL, 0));
	w->e.oom_lock = 0;
	assert_int_equal(w->fh.nr_oom_kills, 1);
	assert_true(world_find(w, "wake_reaper", 0) >
		    world_find(w, "mark_victim", 0));
	world_stop(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_oom_reaper),
	    cmocka_unit_test(test_oom_reaper_tries_again),
	    cmocka_unit_test(test_oom_reaper_gives_up),
	    cmocka_unit_test(test_oom_reaper_spares_sharers),
	    cmocka_unit_test(test_oom_reaper_leaves_shared_mappings),
	    cmocka_unit_test(test_kill_wakes_the_reaper),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
