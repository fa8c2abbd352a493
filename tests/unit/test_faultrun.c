/* SPDX-License-Identifier: MIT */
/* Runs of pages on their way in, and what may change around them meanwhile. */
#include "engine/vmscan.h"
#include "world.h"

#define PAGES 64

static struct world *start(bool bits)
{
	struct world_config c = {
	    .slots = 512, .pages = PAGES, .no_bits = !bits};

	return world_start(&c);
}

static uint64_t addr_of(uint64_t page)
{
	return WORLD_BASE + page * PAGE_SIZE;
}

/* While the host maps the run, its second half is locked. */
static void lock_half(struct world *w, struct weir_vec *v, unsigned nr)
{
	if (nr < 4 || w->step)
		return;
	w->step = (int)nr;
	assert_int_equal(weir__aspace_mlock(w->as, v[nr / 2].addr,
					    v[nr - 1].addr + PAGE_SIZE, true),
			 0);
}

static unsigned locked_pages(struct world *w, uint64_t from, uint64_t to)
{
	unsigned nr = 0;

	weir__lru_add_drain_all(&w->e);
	for (uint64_t i = from; i < to; i++) {
		struct frame *f = world_frame(w->as, i);

		nr += f && frame_test(f, FRAME_MLOCKED) &&
		      frame_test(f, FRAME_UNEVICTABLE);
	}
	return nr;
}

/* The pages of the half that was locked are locked, and no others. */
static void test_new_run_meets_mlock(void **state)
{
	struct world *w = start(true);

	/* the stream of first touches doubles its runs */
	for (uint64_t i = 0; !w->step && i < PAGES; i++) {
		w->on_map = i ? lock_half : NULL;
		world_fill(w, w->as, i, 1);
	}
	assert_true(w->step >= 4);
	assert_true(locked_pages(w, 0, PAGES) > 0);
	assert_int_equal(world_stat(w, STAT_nr_mlock),
			 locked_pages(w, 0, PAGES));
	for (uint64_t i = 0; i < PAGES; i++) {
		struct region *r;
		struct frame *f = world_frame(w->as, i);

		weir__spin_lock(&w->e, &w->as->lock);
		r = weir__region_find(w->as, addr_of(i));
		weir__spin_unlock(&w->e, &w->as->lock);
		if (f)
			assert_int_equal(frame_test(f, FRAME_MLOCKED),
					 (r->flags & REGION_LOCKED) != 0);
	}
	world_stop(w);
}

static void test_swapped_run_meets_mlock(void **state)
{
	struct world *w = start(false);

	world_fill(w, w->as, 0, PAGES);
	world_reclaim(w, PAGES);
	world_reclaim(w, PAGES);
	assert_int_equal(world_present(w->as, 0, PAGES), 0);
	w->on_map = lock_half;
	for (uint64_t i = 0; i < PAGES; i++)
		world_expect(w, w->as, i, 1);
	assert_true(w->step >= 4);
	assert_true(locked_pages(w, 0, PAGES) > 0);
	assert_int_equal(locked_pages(w, 0, PAGES), w->as->nr_locked);
	assert_int_equal(world_stat(w, STAT_nr_mlock), w->as->nr_locked);
	world_stop(w);
}

/* The mark is made before the aspace lock is free again: an munlock that comes
 * next finds it, and nothing is left locked. */
static void test_munlock_after_the_run(void **state)
{
	struct world *w = start(false);

	world_fill(w, w->as, 0, PAGES);
	world_reclaim(w, PAGES);
	world_reclaim(w, PAGES);
	weir__aspace_mlock(w->as, WORLD_BASE, addr_of(PAGES), true);
	world_expect(w, w->as, 0, PAGES);
	assert_int_equal(locked_pages(w, 0, PAGES), PAGES);
	weir__aspace_mlock(w->as, WORLD_BASE, addr_of(PAGES), false);
	assert_int_equal(locked_pages(w, 0, PAGES), 0);
	assert_int_equal(world_stat(w, STAT_nr_mlock), 0);
	world_stop(w);
}

/* The copy that a write makes in a locked region is locked, and the page it
 * was copied from no more (another address space has it, unlocked). */
static void test_copy_on_write_in_a_locked_region(void **state)
{
	struct world *w = start(true);
	struct aspace *child;
	struct frame *old;

	world_fill(w, w->as, 0, 4);
	weir__aspace_mlock(w->as, WORLD_BASE, addr_of(PAGES), true);
	assert_int_equal(weir__aspace_create(&w->e, w, &child), 0);
	assert_int_equal(weir__aspace_fork(w->as, child), 0);
	old = world_frame(w->as, 1);
	assert_int_equal(locked_pages(w, 0, 4), 4);
	world_fill(w, w->as, 1, 1);
	assert_ptr_not_equal(world_frame(w->as, 1), old);
	assert_int_equal(locked_pages(w, 0, 4), 4);
	assert_false(frame_test(old, FRAME_MLOCKED | FRAME_UNEVICTABLE));
	assert_int_equal(world_stat(w, STAT_nr_mlock),
			 world_present(w->as, 0, PAGES));
	world_stop(w);
}

/* An activation by a soft fault turns the clock of refaults as any other. */
static void test_soft_fault_turns_the_clock(void **state)
{
	struct world *w = start(false);
	struct lruvec *v = &w->e.nodes[0].lruvec;
	LIST_HEAD(pages);
	uint64_t before;
	unsigned scanned;

	world_fill(w, w->as, 0, 4);
	weir__lru_add_drain_all(&w->e);
	weir__lruvec_isolate(&w->e, v, LRU_INACTIVE_ANON, 4, MAX_ZONES - 1,
			     true, &pages, &scanned);
	weir__page_list_age(&w->e, &pages, NULL);
	weir__lruvec_putback(&w->e, &pages);
	assert_true(world_pte(w->as, 2) & PTE_HINT);
	before = v->nonresident_age;
	world_expect(w, w->as, 2, 1);
	assert_int_equal(world_stat(w, STAT_pgsoftfault), 1);
	assert_int_equal(v->nonresident_age, before + 1);
	weir__lru_add_drain_all(&w->e);
	assert_true(frame_test(world_frame(w->as, 2), FRAME_ACTIVE));
	world_stop(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_new_run_meets_mlock),
	    cmocka_unit_test(test_swapped_run_meets_mlock),
	    cmocka_unit_test(test_munlock_after_the_run),
	    cmocka_unit_test(test_copy_on_write_in_a_locked_region),
	    cmocka_unit_test(test_soft_fault_turns_the_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
