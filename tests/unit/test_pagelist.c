/* SPDX-License-Identifier: MIT */
/* The decision tree over isolated pages, with whole pages of a program. */
#include "engine/vmscan.h"
#include "world.h"

/* Isolated by a scan that then met somebody else. */
static unsigned isolate(struct world *w, struct list_head *pages,
			enum lru_list l)
{
	unsigned scanned;

	weir__lru_add_drain_all(&w->e);
	return weir__lruvec_isolate(&w->e, &w->e.nodes[0].lruvec, l, 32,
				    MAX_ZONES - 1, true, pages, &scanned);
}

static unsigned shrink(struct world *w, struct list_head *pages)
{
	struct scan_control sc = {.gfp = GFP_KERNEL,
				  .may_writepage = true,
				  .may_unmap = true,
				  .may_swap = true};
	struct reclaim_stat st = {0};
	unsigned freed = weir__shrink_page_list(&w->e, pages, &w->e.nodes[0],
						&sc, &st, true);

	weir__lruvec_putback(&w->e, pages);
	return freed;
}

/* A page written to while it was being written keeps its slot and is dirty.
 * When its last entry goes in the hands of a scan it is not written again. */
static void test_orphan_is_not_written(void **state)
{
	struct world_config c = {.slots = 512, .pages = 16};
	struct world *w = world_start(&c);
	LIST_HEAD(pages);
	uint64_t writes;
	struct frame *f;

	world_fill(w, w->as, 0, 1);
	world_age(w->as, 0, 1);
	w->fh.io_hold = true;
	assert_int_equal(isolate(w, &pages, LRU_INACTIVE_ANON), 1);
	assert_int_equal(shrink(w, &pages), 0);
	world_fill(w, w->as, 0, 1);
	f = world_frame(w->as, 0);
	assert_true(frame_test(f, FRAME_WRITEBACK));
	assert_true(frame_test(f, FRAME_DIRTY));
	w->fh.io_hold = false;
	fakehost_io_run(&w->fh);
	assert_true(frame_test(f, FRAME_SWAPCACHE));
	writes = w->fh.nr_writes;

	weir__lru_add_drain_all(&w->e);
	assert_int_equal(isolate(w, &pages,
				 frame_test(f, FRAME_ACTIVE)
				     ? LRU_ACTIVE_ANON
				     : LRU_INACTIVE_ANON),
			 1);
	assert_true(weir__frame_trylock(f)); /* as the scan has it */
	weir__aspace_zap(w->as, WORLD_BASE, WORLD_BASE + PAGE_SIZE);
	weir__frame_unlock(&w->e, f);
	assert_true(frame_test(f, FRAME_SWAPCACHE | FRAME_DIRTY));
	assert_int_equal(shrink(w, &pages), 1);
	assert_int_equal(w->fh.nr_writes, writes);
	assert_int_equal(weir__swap_used(&w->e, 0), 0);
	world_stop(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_orphan_is_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
