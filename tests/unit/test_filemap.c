/* SPDX-License-Identifier: MIT */
/* Mapped files: faults, sharing, copies, reclaim, truncation, msync. */
#include "filefix.h"

#include <errno.h>

static unsigned refs_by_walk(struct space *s, struct frame *f)
{
	return space_walk(&s->e, f);
}

static void test_shared_write_reaches_the_file(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 8);
	struct aspace *as = filefix_space(s);

	filefix_map(as, f, 0, 8, REGION_SHARED);
	assert_true(filefix_is(filefix_touch(as, filefix_at(3), false), 1, 3,
			       0));
	assert_int_equal(filefix_stat(s, STAT_nr_dirty), 0);
	filefix_fill(filefix_touch(as, filefix_at(3), true), 1, 3, 4);
	assert_int_equal(filefix_stat(s, STAT_nr_dirty), 1);
	/* read() and the mapping see one page */
	filefix_expect(f, 3, 4);
	assert_int_equal(weir__file_sync(f->mapping, 0, UINT64_MAX), 0);
	assert_true(filefix_is(fakehost_file(&s->fh, 1, 3), 1, 3, 4));
	/* clean again: the next write is noticed */
	assert_false(space_pte(as, filefix_at(3)) & (PTE_WRITE | PTE_DIRTY));
	filefix_fill(filefix_touch(as, filefix_at(3), true), 1, 3, 5);
	assert_int_equal(filefix_stat(s, STAT_nr_dirty), 1);
	filefix_valid(s);
	weir__aspace_destroy(as);
	filefix_expect(f, 3, 5);
	weir__file_put(f);
	assert_true(filefix_is(fakehost_file(&s->fh, 1, 3), 1, 3, 5));
}

/* Six fault kinds behave as in the table: private write copies. */
static void test_private_write_copies(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 4);
	struct aspace *as = filefix_space(s);
	struct frame *page;

	filefix_map(as, f, 0, 4, 0);
	/* after a read, and without one before */
	filefix_touch(as, filefix_at(1), false);
	page = space_frame(as, filefix_at(1));
	assert_ptr_equal(page, filefix_page(f, 1));
	assert_int_equal(weir__page_mapcount(page), 1);
	filefix_fill(filefix_touch(as, filefix_at(1), true), 1, 1, 7);
	filefix_fill(filefix_touch(as, filefix_at(2), true), 1, 2, 7);
	assert_int_equal(weir__page_mapcount(page), 0);
	assert_ptr_not_equal(space_frame(as, filefix_at(1)), page);
	assert_non_null(weir__frame_anon_vma(space_frame(as, filefix_at(1))));
	assert_int_equal(filefix_stat(s, STAT_nr_dirty), 0);
	assert_int_equal(as->nr_anon, 2);
	filefix_expect(f, 1, 0);
	filefix_expect(f, 2, 0);
	filefix_valid(s);
	/* the copy is swapped like any anonymous page, and comes back */
	filefix_reclaim(s, 100, 200);
	assert_true(space_pte(as, filefix_at(1)) & PTE_SWAP);
	assert_true(filefix_is(filefix_touch(as, filefix_at(1), false), 1, 1,
			       7));
	/* MADV_DONTNEED: the file shows again */
	assert_int_equal(weir__aspace_zap(as, filefix_at(1), filefix_at(2)), 0);
	assert_true(filefix_is(filefix_touch(as, filefix_at(1), false), 1, 1,
			       0));
	filefix_valid(s);
	weir__aspace_destroy(as);
	weir__file_put(f);
}

/* Two mms mapping one file page: mapcount 2, one frame. */
static void test_shared_file_mapping_as_source_of_sharing(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 4);
	struct aspace *a = filefix_space(s), *b = filefix_space(s);
	struct frame *page;

	filefix_map(a, f, 0, 4, REGION_SHARED);
	filefix_map(b, f, 2, 2, 0);
	filefix_touch(a, filefix_at(2), true);
	filefix_touch(b, filefix_at(0), false);
	page = space_frame(a, filefix_at(2));
	assert_ptr_equal(space_frame(b, filefix_at(0)), page);
	assert_int_equal(weir__page_mapcount(page), 2);
	assert_int_equal(refs_by_walk(s, page), 2);
	/* its neighbour was in the cache, and came along */
	assert_int_equal(filefix_stat(s, STAT_nr_mapped), 2);
	filefix_valid(s);
	weir__aspace_destroy(a);
	assert_int_equal(weir__page_mapcount(page), 1);
	weir__aspace_destroy(b);
	assert_int_equal(weir__page_mapcount(page), 0);
	assert_int_equal(filefix_stat(s, STAT_nr_mapped), 0);
	weir__file_put(f);
}

/* From a frame alone all entries are enumerated, exactly once, at the addresses
 * used to map it: across mms, offsets and a fork. */
static void test_reverse_mapping_of_file_pages(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 64);
	struct aspace *as[6];
	struct frame *page;

	for (unsigned i = 0; i < 4; i++) {
		as[i] = filefix_space(s);
		filefix_map(as[i], f, i, 20, REGION_SHARED);
		filefix_touch(as[i], filefix_at(10 - i), i & 1);
	}
	page = space_frame(as[0], filefix_at(10));
	assert_int_equal(refs_by_walk(s, page), 4);
	as[4] = filefix_space(s);
	assert_int_equal(weir__aspace_fork(as[3], as[4]), 0);
	/* not copied: the child's fault finds the page */
	assert_int_equal(refs_by_walk(s, page), 4);
	filefix_touch(as[4], filefix_at(7), false);
	assert_int_equal(refs_by_walk(s, page), 5);
	assert_int_equal(weir__page_mapcount(page), 5);
	/* a mapping twice in one address space, and one that moved */
	assert_int_equal(
	    weir__region_add_file(as[0], FILEFIX_AT * 2,
				  FILEFIX_AT * 2 + 4 * PAGE_SIZE,
				  REGION_READ | REGION_SHARED, f, 9),
	    0);
	filefix_touch(as[0], FILEFIX_AT * 2 + PAGE_SIZE, false);
	assert_int_equal(weir__aspace_move(as[1], filefix_at(0),
					   FILEFIX_AT * 3, 20 * PAGE_SIZE),
			 0);
	assert_int_equal(refs_by_walk(s, page), 6);
	/* a piece out of the middle */
	assert_int_equal(
	    weir__aspace_unmap(as[2], filefix_at(7), filefix_at(9)), 0);
	assert_int_equal(refs_by_walk(s, page), 5);
	filefix_valid(s);
	for (unsigned i = 0; i < 5; i++)
		weir__aspace_destroy(as[i]);
	assert_int_equal(weir__page_mapcount(page), 0);
	weir__file_put(f);
}

/* Rule 3: freed only after all entries are cleared; one that refuses keeps it.*/
static void test_shared_frame_needs_all_entries_cleared(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 1);
	struct aspace *as[5];
	struct frame *page;
	uint64_t before;

	for (unsigned i = 0; i < 5; i++) {
		as[i] = filefix_space(s);
		filefix_map(as[i], f, 0, 1, REGION_SHARED);
		filefix_touch(as[i], filefix_at(0), false);
	}
	page = filefix_page(f, 0);
	weir__lru_add_drain_all(&s->e);
	space_set_busy(as[3], filefix_at(0));
	before = page->refcount;
	filefix_reclaim(s, 1, 0);
	assert_ptr_equal(filefix_page(f, 0), page);
	assert_true(weir__page_mapcount(page) >= 1);
	assert_true((uint64_t)page->refcount <= before);
	space_end_busy(as[3], filefix_at(0));
	/* it went to the active list meanwhile, and was found young */
	for (int i = 0; i < 6 && filefix_page(f, 0); i++)
		filefix_reclaim(s, 1, 0);
	assert_null(filefix_page(f, 0));
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(space_pte(as[i], filefix_at(0)), 0);
		assert_int_equal(as[i]->nr_file, 0);
		assert_true(filefix_is(
		    filefix_touch(as[i], filefix_at(0), false), 1, 0, 0));
		weir__aspace_destroy(as[i]);
	}
	weir__file_put(f);
}

/* §6.8 T (b): one young entry: kept, referenced; young again: active; not
 * young: referenced is cleared and the clean page is freed. */
static void test_references_of_a_mapped_page(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 2);
	struct aspace *as = filefix_space(s);
	struct scan_control sc = {.gfp = GFP_KERNEL,
				  .may_unmap = true,
				  .may_writepage = true,
				  .may_swap = true,
				  .swappiness = -1};
	struct reclaim_stat st = {0};
	struct frame *page;
	LIST_HEAD(list);

	s->e.tun.readahead_max = 0;
	filefix_map(as, f, 0, 2, REGION_SHARED);
	for (int round = 0; round < 2; round++) {
		filefix_touch(as, filefix_at(0), false);
		weir__lru_add_drain_all(&s->e);
		page = filefix_page(f, 0);
		assert_true(weir__frame_isolate_lru(&s->e, page));
		list_add(&page->lru, &list);
		assert_int_equal(
		    weir__shrink_page_list(&s->e, &list, &s->e.nodes[0], &sc,
					   &st, false),
		    0);
		assert_true(frame_test(page, FRAME_REFERENCED));
		assert_false(frame_test(page, FRAME_ACTIVE));
		weir__lruvec_putback(&s->e, &list);
		if (round == 0)
			filefix_touch(as, filefix_at(0), false);
		assert_true(weir__frame_isolate_lru(&s->e, page));
		list_add(&page->lru, &list);
		assert_int_equal(
		    weir__shrink_page_list(&s->e, &list, &s->e.nodes[0], &sc,
					   &st, false),
		    round);
		if (round == 0) {
			assert_true(frame_test(page, FRAME_ACTIVE));
			weir__lruvec_putback(&s->e, &list);
			weir__frame_deactivate(&s->e, page);
			weir__lru_add_drain_all(&s->e);
		}
	}
	assert_true(list_empty(&list));
	assert_null(filefix_page(f, 0));
	assert_int_equal(f->mapping->nr_shadows, 1);
	filefix_valid(s);
	weir__aspace_destroy(as);
	weir__file_put(f);
}

/* An executable mapping: the first reference is enough. */
static void test_executable_page_is_activated_at_once(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 40);
	struct aspace *as = filefix_space(s), *data = filefix_space(s);
	struct frame *code, *other;

	s->e.tun.readahead_max = 0;
	filefix_map(as, f, 0, 16, REGION_EXEC);
	filefix_map(data, f, 16, 16, 0);
	filefix_touch(as, filefix_at(1), false);
	filefix_touch(data, filefix_at(1), false);
	code = filefix_page(f, 1);
	other = filefix_page(f, 17);
	weir__lru_add_drain_all(&s->e);
	filefix_reclaim(s, 1, 0);
	/* the other one was kept once and taken the next time */
	assert_ptr_equal(filefix_page(f, 1), code);
	assert_true(frame_test(code, FRAME_ACTIVE));
	assert_null(filefix_page(f, 17));
	(void)other;
	weir__aspace_destroy(as);
	weir__aspace_destroy(data);
	weir__file_put(f);
}

/* Dirty mmap page reaches the file before its frame is used again. */
static void test_dirty_mapped_page_reaches_the_file_first(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 4);
	struct aspace *as = filefix_space(s);

	filefix_map(as, f, 0, 4, REGION_SHARED);
	filefix_fill(filefix_touch(as, filefix_at(2), true), 1, 2, 3);
	weir__lru_add_drain_all(&s->e);
	filefix_reclaim(s, 10, 0);
	assert_non_null(filefix_page(f, 2));
	/* the entry went, and what it knew stayed with the page */
	assert_int_equal(space_pte(as, filefix_at(2)), 0);
	assert_true(frame_test(filefix_page(f, 2), FRAME_DIRTY));
	assert_int_equal(s->fh.nr_file_writes, 0);
	weir__sync_all(&s->e);
	filefix_reclaim(s, 10, 0);
	assert_null(filefix_page(f, 2));
	assert_true(filefix_is(fakehost_file(&s->fh, 1, 2), 1, 2, 3));
	assert_true(filefix_is(filefix_touch(as, filefix_at(2), false), 1, 2,
			       3));
	weir__aspace_destroy(as);
	weir__file_put(f);
}

static void test_mlocked_file_page_survives(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 4);
	struct aspace *as = filefix_space(s);

	filefix_map(as, f, 0, 4, REGION_SHARED);
	assert_int_equal(
	    weir__aspace_mlock(as, filefix_at(1), filefix_at(2), true), 0);
	for (unsigned i = 0; i < 4; i++)
		filefix_touch(as, filefix_at(i), false);
	for (int i = 0; i < 4; i++)
		filefix_reclaim(s, 10, 0);
	assert_non_null(filefix_page(f, 1));
	assert_int_equal(f->mapping->nr_pages, 1);
	assert_int_equal(filefix_stat(s, STAT_nr_unevictable), 1);
	assert_int_equal(
	    weir__aspace_mlock(as, filefix_at(1), filefix_at(2), false), 0);
	weir__lru_add_drain_all(&s->e);
	for (int i = 0; i < 4; i++)
		filefix_reclaim(s, 10, 0);
	assert_int_equal(f->mapping->nr_pages, 0);
	weir__aspace_destroy(as);
	weir__file_put(f);
}

static void test_truncate_takes_mapped_pages(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 10);
	struct aspace *shared = filefix_space(s), *private = filefix_space(s);
	uint8_t *p;
	int err;

	filefix_map(shared, f, 0, 10, REGION_SHARED);
	filefix_map(private, f, 0, 10, 0);
	for (unsigned i = 0; i < 10; i++) {
		filefix_touch(shared, filefix_at(i), i & 1);
		filefix_touch(private, filefix_at(i), i & 2);
	}
	assert_int_equal(weir__file_truncate(f->mapping, 4 * PAGE_SIZE + 100),
			 0);
	filefix_valid(s);
	assert_int_equal(f->mapping->nr_pages, 5);
	for (unsigned i = 5; i < 10; i++) {
		assert_int_equal(space_pte(shared, filefix_at(i)), 0);
		assert_int_equal(space_pte(private, filefix_at(i)), 0);
		assert_null(filefix_try(shared, filefix_at(i), false, &err));
		assert_int_equal(err, -ENXIO);
		assert_null(filefix_try(private, filefix_at(i), true, &err));
		assert_int_equal(err, -ENXIO);
	}
	/* what is left of the last page reads as zeros behind the end, also
	 * when the file grows again */
	assert_int_equal(weir__file_truncate(f->mapping, 10 * PAGE_SIZE), 0);
	p = filefix_touch(shared, filefix_at(4), false);
	assert_int_equal(p[99], filefix_byte(1, 4, 99, 0));
	assert_int_equal(p[100], 0);
	assert_int_equal(p[4095], 0);
	assert_int_equal(*filefix_touch(shared, filefix_at(7), false), 0);
	filefix_valid(s);
	weir__aspace_destroy(shared);
	weir__aspace_destroy(private);
	weir__file_put(f);
}

/* The fault has looked at the size when the file is cut: see truncate.c. */
static struct space *cut_space;
static struct file *cut_file;

static void cut_then_run(struct fakehost *fh, _Atomic uint32_t *word)
{
	fh->on_wait = NULL;
	fh->io_hold = false;
	fakehost_io_run(fh);
	assert_int_equal(weir__file_truncate(cut_file->mapping, 0), 0);
}

static void test_truncate_against_fault(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 4);
	struct aspace *as = filefix_space(s);
	int err;

	cut_space = s;
	cut_file = f;
	s->e.tun.readahead_max = 0;
	filefix_map(as, f, 0, 4, REGION_SHARED);
	s->fh.io_hold = true;
	s->fh.on_wait = cut_then_run;
	assert_null(filefix_try(as, filefix_at(2), true, &err));
	assert_int_equal(err, -ENXIO);
	assert_int_equal(f->mapping->nr_pages, 0);
	assert_int_equal(as->nr_file, 0);
	filefix_valid(s);
	weir__aspace_destroy(as);
	weir__file_put(f);
}

static void test_msync(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 8);
	struct aspace *as = filefix_space(s);

	filefix_map(as, f, 0, 8, REGION_SHARED);
	filefix_fill(filefix_touch(as, filefix_at(1), true), 1, 1, 1);
	filefix_fill(filefix_touch(as, filefix_at(5), true), 1, 5, 1);
#define MSYNC(a, b, fl) weir__aspace_msync(as, filefix_at(a), filefix_at(b), fl)
	assert_int_equal(MSYNC(0, 8, MSYNC_SYNC | MSYNC_ASYNC), -EINVAL);
	assert_int_equal(MSYNC(0, 8, MSYNC_ASYNC), 0);
	assert_int_equal(s->fh.nr_file_writes, 0);
	/* a range: that page and not the other */
	assert_int_equal(MSYNC(0, 4, MSYNC_SYNC), 0);
	assert_int_equal(s->fh.nr_file_writes, 1);
	assert_true(filefix_is(fakehost_file(&s->fh, 1, 1), 1, 1, 1));
	assert_true(filefix_is(fakehost_file(&s->fh, 1, 5), 1, 5, 0));
	/* a hole: after everything else was done */
	assert_int_equal(
	    weir__aspace_unmap(as, filefix_at(3), filefix_at(4)), 0);
	assert_int_equal(MSYNC(0, 8, MSYNC_SYNC), -ENOMEM);
	assert_int_equal(s->fh.nr_file_writes, 2);
	assert_int_equal(MSYNC(4, 20, MSYNC_SYNC), -ENOMEM);
	/* locked */
	assert_int_equal(
	    weir__aspace_mlock(as, filefix_at(5), filefix_at(6), true), 0);
	assert_int_equal(MSYNC(4, 8, MSYNC_SYNC | MSYNC_INVALIDATE), -EBUSY);
	assert_int_equal(MSYNC(4, 5, MSYNC_INVALIDATE), 0);
	weir__aspace_destroy(as);
	weir__file_put(f);
}

/* fork: a private mapping with copies has its entries copied, mapcount and all;
 * both keep the file alive. */
static void test_fork_inherits_file_mappings(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 4);
	struct aspace *as = filefix_space(s), *child = filefix_space(s);
	struct frame *page, *copy;

	filefix_map(as, f, 0, 4, 0);
	filefix_touch(as, filefix_at(0), false);
	filefix_fill(filefix_touch(as, filefix_at(1), true), 1, 1, 9);
	page = space_frame(as, filefix_at(0));
	copy = space_frame(as, filefix_at(1));
	assert_int_equal(weir__aspace_fork(as, child), 0);
	assert_int_equal(weir__page_mapcount(page), 2);
	assert_int_equal(weir__page_mapcount(copy), 2);
	assert_int_equal(refs_by_walk(s, page), 2);
	filefix_valid(s);
	weir__file_put(f);
	filefix_fill(filefix_touch(child, filefix_at(1), true), 1, 1, 8);
	filefix_fill(filefix_touch(child, filefix_at(0), true), 1, 0, 8);
	assert_true(filefix_is(filefix_touch(as, filefix_at(1), false), 1, 1,
			       9));
	assert_true(filefix_is(filefix_touch(as, filefix_at(0), false), 1, 0,
			       0));
	filefix_valid(s);
	weir__aspace_destroy(as);
	assert_true(filefix_is(filefix_touch(child, filefix_at(2), false), 1, 2,
			       0));
	weir__aspace_destroy(child);
	assert_true(list_empty(&s->e.pcache->mappings));
}

/* Unmap: a dirty entry makes the page dirty, a young one counts as its use. */
static void test_zap_tells_the_page(void **state)
{
	struct space *s = *state;
	struct file *f = filefix_open(s, 1, 4);
	struct aspace *as = filefix_space(s);
	struct frame *page;

	filefix_map(as, f, 0, 4, REGION_SHARED);
	filefix_touch(as, filefix_at(0), false);
	page = filefix_page(f, 0);
	assert_false(frame_test(page, FRAME_REFERENCED));
	weir__aspace_unmap(as, filefix_at(0), filefix_at(1));
	assert_true(frame_test(page, FRAME_REFERENCED));
	/* advice: it says nothing about the future */
	filefix_touch(as, filefix_at(2), false);
	page = filefix_page(f, 2);
	weir__frame_clear(page, FRAME_REFERENCED);
	weir__region_flags(as, filefix_at(1), filefix_at(4), REGION_SEQ, 0);
	weir__aspace_unmap(as, filefix_at(1), filefix_at(4));
	assert_false(frame_test(page, FRAME_REFERENCED));
	weir__aspace_destroy(as);
	weir__file_put(f);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, space_setup, space_teardown)
	const struct CMUnitTest tests[] = {
	    T(test_shared_write_reaches_the_file),
	    T(test_private_write_copies),
	    T(test_shared_file_mapping_as_source_of_sharing),
	    T(test_reverse_mapping_of_file_pages),
	    T(test_shared_frame_needs_all_entries_cleared),
	    T(test_references_of_a_mapped_page),
	    T(test_executable_page_is_activated_at_once),
	    T(test_dirty_mapped_page_reaches_the_file_first),
	    T(test_mlocked_file_page_survives),
	    T(test_truncate_takes_mapped_pages),
	    T(test_truncate_against_fault),
	    T(test_msync),
	    T(test_fork_inherits_file_mappings),
	    T(test_zap_tells_the_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
