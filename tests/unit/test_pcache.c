/* SPDX-License-Identifier: MIT */
/* The page cache: reads and writes of files, and what reclaim does to it. */
#include "filefix.h"

#include <errno.h>

static void test_read_brings_pages_in_once(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 100);
	uint64_t reads;

	for (uint64_t i = 0; i < 100; i++)
		filefix_expect(f, i, 0);
	assert_int_equal(f->mapping->nr_pages, 100);
	reads = s->fh.nr_file_reads;
	assert_int_equal(reads, 100);
	for (uint64_t i = 0; i < 100; i++)
		filefix_expect(f, 99 - i, 0);
	assert_int_equal(s->fh.nr_file_reads, reads);
	filefix_valid(s);
	weir__file_put(f);
	filefix_valid(s);
}

static void test_read_stops_at_the_end(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 3);
	uint8_t buf[3 * PAGE_SIZE];

	assert_int_equal(weir__file_truncate(f->mapping, 5000), 0);
	assert_int_equal(weir__file_read(f, 0, sizeof(buf), buf), 5000);
	assert_int_equal(buf[4999], filefix_byte(1, 1, 903, 0));
	assert_int_equal(weir__file_read(f, 5000, 10, buf), 0);
	assert_int_equal(weir__file_read(f, 4990, 100, buf), 10);
	weir__file_put(f);
}

/* Pages of any alignment, against a plain copy of the file. */
static void test_write_and_read_any_bytes(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 2, 8);
	uint8_t model[20 * PAGE_SIZE] = {0}, buf[20 * PAGE_SIZE];
	uint64_t size = 8 * PAGE_SIZE, x = 7;

	for (uint64_t i = 0; i < 8; i++)
		filefix_fill(model + i * PAGE_SIZE, 2, i, 0);
	for (int step = 0; step < 300; step++) {
		uint64_t pos, len;

		x = x * 6364136223846793005u + 1442695040888963407u;
		pos = (x >> 20) % (18 * PAGE_SIZE);
		len = (x >> 44) % (step & 1 ? 50 : 2 * PAGE_SIZE) + 1;
		if (step % 3) {
			for (uint64_t k = 0; k < len; k++)
				buf[k] = (uint8_t)(step + k);
			assert_int_equal(weir__file_write(f, pos, len, buf),
					 len);
			memcpy(model + pos, buf, len);
			size = pos + len > size ? pos + len : size;
		} else {
			uint64_t want = pos >= size	  ? 0
					: pos + len > size ? size - pos
							   : len;

			assert_int_equal(weir__file_read(f, pos, len, buf),
					 want);
			assert_memory_equal(buf, model + pos, want);
		}
		if (step % 50 == 49) {
			assert_int_equal(
			    weir__file_sync(f->mapping, 0, UINT64_MAX), 0);
			weir__file_dontneed(f->mapping, 0, UINT64_MAX);
			assert_int_equal(f->mapping->nr_pages, 0);
		}
	}
	assert_int_equal(f->mapping->size, size);
	filefix_valid(s);
	assert_int_equal(weir__file_sync(f->mapping, 0, UINT64_MAX), 0);
	assert_memory_equal(fakehost_file(&s->fh, 2, 0), model, size);
	weir__file_put(f);
}

/* Closing the last opening writes what is dirty. */
static void test_last_put_writes(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 4);

	filefix_write(f, 2, 5);
	assert_int_equal(s->fh.nr_file_writes, 0);
	assert_int_equal(filefix_stat(s, STAT_nr_dirty), 1);
	weir__file_put(f);
	assert_true(filefix_is(fakehost_file(&s->fh, 1, 2), 1, 2, 5));
	assert_int_equal(filefix_stat(s, STAT_nr_dirty), 0);
	assert_int_equal(filefix_stat(s, STAT_nr_file_pages), 0);
}

/* A write of a whole page reads nothing first; of a part, it does. */
static void test_whole_pages_are_not_read(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 4);

	filefix_write(f, 1, 3);
	assert_int_equal(s->fh.nr_file_reads, 0);
	assert_int_equal(weir__file_write(f, 2 * PAGE_SIZE + 5, 1, "x"), 1);
	assert_int_equal(s->fh.nr_file_reads, 1);
	/* past the end there is nothing to be read */
	assert_int_equal(weir__file_write(f, 9 * PAGE_SIZE + 5, 1, "x"), 1);
	assert_int_equal(s->fh.nr_file_reads, 1);
	weir__file_put(f);
}

/* --- rows of the mechanism list --------------------------------------------- */

static uint64_t reclaim(struct space *s, uint64_t nr)
{
	return filefix_reclaim(s, nr, 0);
}

/* Clean cache is dropped without I/O. */
static void test_clean_cache_pages_are_dropped_without_io(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 500);
	uint64_t before;

	for (uint64_t i = 0; i < 500; i++)
		filefix_expect(f, i, 0);
	before = s->fh.nr_submits;
	assert_true(reclaim(s, 200) >= 200);
	assert_int_equal(s->fh.nr_submits, before);
	assert_true(f->mapping->nr_pages <= 300);
	assert_int_equal(f->mapping->nr_shadows, 500 - f->mapping->nr_pages);
	assert_int_equal(filefix_stat(s, STAT_pgsteal_file),
			 500 - f->mapping->nr_pages);
	filefix_valid(s);
	for (uint64_t i = 0; i < 500; i++)
		filefix_expect(f, i, 0);
	filefix_valid(s);
	weir__file_put(f);
}

/* Dirty ones are not written by reclaim, and go once the flusher has. */
static void test_dirty_cache_pages_are_written_first(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 40);
	struct frame *page;

	for (uint64_t i = 0; i < 40; i++)
		filefix_write(f, i, 1);
	assert_int_equal(reclaim(s, 40), 0);
	assert_int_equal(s->fh.nr_file_writes, 0);
	page = filefix_page(f, 7);
	assert_true(frame_test(page, FRAME_RECLAIM));
	assert_true(frame_test(page, FRAME_ACTIVE));
	assert_true(filefix_stat(s, STAT_nr_vmscan_immediate_reclaim) >= 40);
	/* the end of the write puts it to the inactive tail */
	assert_int_equal(weir__file_sync(f->mapping, 7, 7), 0);
	assert_int_equal(s->fh.nr_file_writes, 1);
	weir__lru_add_drain_all(&s->e);
	assert_false(frame_test(page, FRAME_RECLAIM | FRAME_ACTIVE));
	assert_ptr_equal(
	    s->e.nodes[0].lruvec.lists[LRU_INACTIVE_FILE].prev, &page->lru);
	assert_true(filefix_stat(s, STAT_pgrotated) >= 1);
	assert_int_equal(reclaim(s, 1), 1);
	assert_null(filefix_page(f, 7));
	filefix_expect(f, 7, 1);
	weir__file_put(f);
}

/* §1.2: refs 2 (cache + isolation) and clean: freed. A third one: kept. */
static void test_expected_references(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 2);
	struct frame *page;

	filefix_expect(f, 0, 0);
	weir__lru_add_drain_all(&s->e);
	page = weir__pcache_find(f->mapping, 0);
	assert_int_equal(reclaim(s, 1), 1); /* page 1, read ahead */
	assert_int_equal(reclaim(s, 1), 0);
	assert_ptr_equal(filefix_page(f, 0), page);
	weir__page_put(&s->e, page);
	assert_int_equal(reclaim(s, 1), 1);
	assert_null(filefix_page(f, 0));
	weir__file_put(f);
}

/* Dirtied between the look and the freeze: kept, data intact. */
static void test_dirtied_before_the_freeze_is_kept(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 1);
	struct frame *page;

	filefix_expect(f, 0, 0);
	weir__lru_add_drain_all(&s->e);
	page = weir__pcache_find(f->mapping, 0);
	weir__frame_lock(&s->e, page);
	weir__page_dirty(&s->e, page);
	assert_false(weir__pcache_remove_frozen(&s->e, page, 2, true));
	assert_int_equal(page->refcount, 2);
	weir__page_clean(&s->e, page);
	assert_false(weir__pcache_remove_frozen(&s->e, page, 3, true));
	weir__frame_unlock(&s->e, page);
	weir__page_put(&s->e, page);
	filefix_valid(s);
	weir__file_put(f);
}

/* Second access makes it active; reads that go on in one page count once. */
static void test_second_access_activates(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 10), *g;
	struct frame *page;
	uint8_t byte;

	assert_int_equal(weir__file_open(f->mapping, &g), 0);
	for (unsigned k = 0; k < 100; k++)
		assert_int_equal(weir__file_read(f, 8192 + k, 1, &byte), 1);
	page = filefix_page(f, 2);
	assert_true(frame_test(page, FRAME_REFERENCED));
	assert_false(frame_test(page, FRAME_ACTIVE));
	assert_int_equal(weir__file_read(g, 8192, 1, &byte), 1);
	weir__lru_add_drain_all(&s->e);
	assert_true(frame_test(page, FRAME_ACTIVE));
	assert_false(frame_test(page, FRAME_REFERENCED));
	/* written, however often: not used in this sense */
	for (int k = 0; k < 3; k++)
		filefix_write(f, 5, 1);
	page = filefix_page(f, 5);
	assert_false(frame_test(page, FRAME_REFERENCED | FRAME_ACTIVE));
	weir__file_put(g);
	weir__file_put(f);
}

static void test_failed_read_is_told_and_tried_again(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 2);
	uint8_t byte;

	s->fh.io_error = -EIO;
	assert_int_equal(weir__file_read(f, 0, 1, &byte), -EIO);
	s->fh.io_error = 0;
	filefix_expect(f, 0, 0);
	filefix_valid(s);
	weir__file_put(f);
}

/* A failed write: told once by sync, and the data stays. */
static void test_failed_write_keeps_the_page(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 2);

	filefix_write(f, 1, 9);
	s->fh.io_error = -EIO;
	assert_int_equal(weir__file_sync(f->mapping, 0, UINT64_MAX), -EIO);
	assert_int_equal(filefix_stat(s, STAT_nr_dirty), 1);
	assert_int_equal(reclaim(s, 2), 0);
	s->fh.io_error = 0;
	assert_int_equal(weir__file_sync(f->mapping, 0, UINT64_MAX), 0);
	assert_true(filefix_is(fakehost_file(&s->fh, 1, 1), 1, 1, 9));
	weir__file_put(f);
}

/* drop_caches: clean pages and shadows go; dirty ones stay. */
static void test_drop_caches_frees_clean_cache(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 64), *g = filefix_open(s, 2, 64);

	for (uint64_t i = 0; i < 64; i++) {
		filefix_expect(f, i, 0);
		filefix_expect(g, i, 0);
	}
	reclaim(s, 32);
	filefix_write(g, 3, 1);
	weir__drop_pagecache(&s->e);
	assert_int_equal(f->mapping->nr_pages, 0);
	assert_int_equal(f->mapping->nr_shadows, 0);
	assert_int_equal(g->mapping->nr_pages, 1);
	assert_null(f->mapping->tree.root);
	assert_int_equal(s->fh.nr_file_writes, 0);
	filefix_expect(g, 3, 1);
	filefix_valid(s);
	weir__file_put(f);
	weir__file_put(g);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, space_setup, space_teardown)
	const struct CMUnitTest tests[] = {
	    T(test_read_brings_pages_in_once),
	    T(test_read_stops_at_the_end),
	    T(test_write_and_read_any_bytes),
	    T(test_last_put_writes),
	    T(test_whole_pages_are_not_read),
	    T(test_clean_cache_pages_are_dropped_without_io),
	    T(test_dirty_cache_pages_are_written_first),
	    T(test_expected_references),
	    T(test_dirtied_before_the_freeze_is_kept),
	    T(test_second_access_activates),
	    T(test_failed_read_is_told_and_tried_again),
	    T(test_failed_write_keeps_the_page),
	    T(test_drop_caches_frees_clean_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
