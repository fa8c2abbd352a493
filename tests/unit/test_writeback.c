/* SPDX-License-Identifier: MIT */
/* Dirty limits and write-back: the numbers of Linux, and the cycle of a page. */
#include "filefix.h"

#include <errno.h>

/* §4.2 T: dirtyable 1 000 000. */
static void test_limits_of_a_million_pages(void **state)
{
	struct tunables t;
	uint64_t thresh, bg;

	weir__tunables_default(&t);
	weir__dirty_limits_of(&t, 1000000, &thresh, &bg);
	assert_int_equal(thresh, 199951);
	assert_int_equal(bg, 99853);
	assert_int_equal((thresh + bg) / 2, 149902);
	assert_int_equal(((thresh + bg) / 2 + thresh) / 2, 174926);
	/* bg is below thresh, always */
	t.dirty_background_ratio = 50;
	weir__dirty_limits_of(&t, 1000000, &thresh, &bg);
	assert_int_equal(bg, thresh / 2);
	/* bytes win over shares, rounded up to pages */
	t.dirty_bytes = 40961;
	t.dirty_background_bytes = 8192;
	weir__dirty_limits_of(&t, 1000000, &thresh, &bg);
	assert_int_equal(thresh, 11);
	assert_int_equal(bg, 2);
}

/* §4.2 T: the curve. */
static void test_pos_ratio(void **state)
{
	assert_int_equal(weir__pos_ratio(174926, 149902, 199951), 2045);
	assert_int_equal(weir__pos_ratio(174926, 174926, 199951), 1024);
	assert_int_equal(weir__pos_ratio(174926, 187438, 199951), 896);
	/* all but nothing, one page below the limit */
	assert_true(weir__pos_ratio(174926, 199950, 199951) <= 4);
	assert_int_equal(weir__pos_ratio(174926, 199951, 199951), 0);
	assert_int_equal(weir__pos_ratio(174926, 999999, 199951), 0);
	/* clamped far below the setpoint */
	assert_int_equal(weir__pos_ratio(174926, 0, 199951), 2048);
}

/* 2^(log2(thresh - dirty) / 2) */
static void test_poll_interval(void **state)
{
	assert_int_equal(weir__dirty_poll_interval(0, 1024), 32);
	assert_int_equal(weir__dirty_poll_interval(0, 4095), 32);
	assert_int_equal(weir__dirty_poll_interval(0, 4096), 64);
	assert_int_equal(weir__dirty_poll_interval(1023, 1024), 1);
	assert_int_equal(weir__dirty_poll_interval(1024, 1024), 1);
	assert_int_equal(weir__dirty_poll_interval(5000, 1024), 1);
}

/* free - min(free, totalreserve) + file lists + 1 */
static void test_dirtyable(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 100);
	struct zone *z = &s->e.nodes[0].zones[0];
	uint64_t before = weir__dirtyable(&s->e);

	assert_int_equal(before, (uint64_t)z->free_pages - s->e.totalreserve +
				     1);
	for (uint64_t i = 0; i < 100; i++)
		filefix_expect(f, i, 0);
	weir__lru_add_drain_all(&s->e);
	assert_int_equal(weir__dirtyable(&s->e),
			 (uint64_t)z->free_pages - s->e.totalreserve + 1 + 100);
	weir__file_put(f);
}

/* dirty -> write-back -> clean; DIRTY and WRITEBACK are never lost between. */
static void test_cycle_of_a_page(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 8);
	struct wb_control wbc = {.last = UINT64_MAX, .nr = 100};
	struct frame *page;

	filefix_write(f, 3, 1);
	page = filefix_page(f, 3);
	assert_true(xt_tag_get(&f->mapping->tree, 3, XT_DIRTY));
	s->fh.io_hold = true;
	assert_int_equal(weir__writepages(f->mapping, &wbc), 1);
	assert_true(frame_test(page, FRAME_WRITEBACK));
	assert_false(frame_test(page, FRAME_DIRTY | FRAME_LOCKED));
	assert_true(xt_tag_get(&f->mapping->tree, 3, XT_WRITEBACK));
	assert_int_equal(filefix_stat(s, STAT_nr_writeback), 1);
	assert_int_equal(s->e.nodes[0].nr_writeback, 1);
	/* dirty again while it is on its way: not written twice at once */
	filefix_write(f, 3, 2);
	assert_true(frame_test(page, FRAME_DIRTY));
	assert_int_equal(weir__writepages(f->mapping, &wbc), 0);
	/* reclaim: marked, to be rotated; kept */
	weir__lru_add_drain_all(&s->e);
	filefix_reclaim(s, 8, 0);
	assert_ptr_equal(filefix_page(f, 3), page);
	s->fh.io_hold = false;
	fakehost_io_run(&s->fh);
	assert_false(frame_test(page, FRAME_WRITEBACK));
	assert_true(frame_test(page, FRAME_DIRTY));
	assert_int_equal(weir__file_sync(f->mapping, 0, UINT64_MAX), 0);
	assert_true(filefix_is(fakehost_file(&s->fh, 1, 3), 1, 3, 2));
	assert_int_equal(filefix_stat(s, STAT_nr_dirtied), 2);
	assert_int_equal(filefix_stat(s, STAT_nr_written), 2);
	filefix_valid(s);
	weir__file_put(f);
}

/* What lies together goes together. */
static void test_writes_in_runs(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 600);
	uint64_t submits = s->fh.nr_submits;

	s->e.tun.dirty_ratio = 100;
	s->e.tun.dirty_background_ratio = 99;
	for (uint64_t i = 0; i < 600; i++)
		filefix_write(f, (i * 7) % 600, 1);
	assert_int_equal(s->fh.nr_submits, submits);
	assert_int_equal(weir__file_sync(f->mapping, 0, UINT64_MAX), 0);
	assert_int_equal(s->fh.nr_submits - submits, 3); /* 256 pages each */
	filefix_valid(s);
	weir__file_put(f);
}

/* A range, and a limited number of pages. */
static void test_writepages_range(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 50);
	struct wb_control wbc = {.first = 10, .last = 29, .nr = 5};

	for (uint64_t i = 0; i < 50; i++)
		filefix_write(f, i, 1);
	assert_int_equal(weir__writepages(f->mapping, &wbc), 5);
	assert_int_equal(wbc.next, 15);
	wbc.first = wbc.next;
	wbc.nr = 100;
	assert_int_equal(weir__writepages(f->mapping, &wbc), 15);
	assert_int_equal(wbc.next, UINT64_MAX);
	assert_int_equal(f->mapping->nr_dirty, 30);
	filefix_valid(s);
	weir__file_put(f);
}

/* Without a flusher a writer over the limit writes for itself. */
static void test_writer_over_the_limit(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 2000);
	uint64_t thresh, bg, most = 0;

	s->e.tun.dirty_bytes = 100 * PAGE_SIZE;
	s->e.tun.dirty_background_bytes = 50 * PAGE_SIZE;
	weir__dirty_limits(&s->e, &thresh, &bg);
	for (uint64_t i = 0; i < 1000; i++) {
		filefix_write(f, i, 1);
		if (f->mapping->nr_dirty > most)
			most = f->mapping->nr_dirty;
	}
	assert_true(most <= thresh + 32);
	assert_true(most > bg);
	for (uint64_t i = 0; i < 1000; i++)
		filefix_expect(f, i, 1);
	filefix_valid(s);
	weir__file_put(f);
}

/* §6.8 T (c): a dirty file page under direct reclaim is never written; reclaim
 * mark set, goes active; after its write-back it is freed next. */
static void test_dirty_page_under_direct_reclaim(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 2);
	struct frame *page;

	filefix_write(f, 0, 1);
	page = filefix_page(f, 0);
	weir__lru_add_drain_all(&s->e);
	weir__try_to_free_pages(&s->e, GFP_KERNEL, 0);
	assert_int_equal(s->fh.nr_file_writes, 0);
	assert_true(frame_test(page, FRAME_RECLAIM));
	assert_true(filefix_stat(s, STAT_pgactivate) >= 1);
	weir__sync_all(&s->e);
	weir__lru_add_drain_all(&s->e);
	assert_false(frame_test(page, FRAME_ACTIVE | FRAME_RECLAIM));
	assert_int_equal(weir__try_to_free_pages(&s->e, GFP_KERNEL, 0), 1);
	assert_null(filefix_page(f, 0));
	weir__file_put(f);
}

/* §6.8 T (a): clean, unreferenced: freed, shadow left, pgsteal_file 1. */
static void test_clean_unreferenced_page(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 1);
	uint8_t byte;

	assert_int_equal(weir__file_read(f, 0, 1, &byte), 1);
	weir__frame_clear(filefix_page(f, 0), FRAME_REFERENCED);
	weir__lru_add_drain_all(&s->e);
	assert_int_equal(weir__try_to_free_pages(&s->e, GFP_KERNEL, 0), 1);
	assert_int_equal(filefix_stat(s, STAT_pgsteal_file), 1);
	assert_int_equal(f->mapping->nr_shadows, 1);
	assert_true(weir__pcache_entry(f->mapping, 0) & 1);
	weir__file_put(f);
}

/* Rule 5, pages that need no disk first: with enough clean ones, dirty pages see
 * no I/O. */
static void test_rule_5_clean_pages_first(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 300);

	for (uint64_t i = 0; i < 300; i++) {
		if (i % 10)
			filefix_expect(f, i, 0);
		else
			filefix_write(f, i, 1);
	}
	weir__lru_add_drain_all(&s->e);
	assert_true(filefix_reclaim(s, 200, 0) >= 200);
	assert_int_equal(s->fh.nr_file_writes + s->fh.nr_writes, 0);
	assert_int_equal(f->mapping->nr_dirty, 30);
	filefix_valid(s);
	weir__file_put(f);
}

/* GFP_NOFS never enters the file system: a page with a dirty home stays. */
static void test_nofs_and_noio_leave_shared_memory(void **state)
{
	struct space *s = *state;
	struct file *f;

	assert_int_equal(
	    weir__file_create(&s->e, MAPPING_SHMEM, 0, 0, 0, &f), 0);
	filefix_write(f, 0, 1);
	weir__lru_add_drain_all(&s->e);
	weir__try_to_free_pages(&s->e, GFP_NOFS, 0);
	weir__try_to_free_pages(&s->e, GFP_NOIO, 0);
	assert_int_equal(s->fh.nr_writes, 0);
	assert_int_equal(f->mapping->nr_swapped, 0);
	for (int i = 0; i < 3; i++)
		weir__try_to_free_pages(&s->e, GFP_KERNEL, 0);
	assert_int_equal(f->mapping->nr_swapped, 1);
	weir__file_put(f);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, space_setup, space_teardown)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_limits_of_a_million_pages),
	    cmocka_unit_test(test_pos_ratio),
	    cmocka_unit_test(test_poll_interval),
	    T(test_dirtyable),
	    T(test_cycle_of_a_page),
	    T(test_writes_in_runs),
	    T(test_writepages_range),
	    T(test_writer_over_the_limit),
	    T(test_dirty_page_under_direct_reclaim),
	    T(test_clean_unreferenced_page),
	    T(test_rule_5_clean_pages_first),
	    T(test_nofs_and_noio_leave_shared_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
