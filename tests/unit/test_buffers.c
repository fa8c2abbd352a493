/* SPDX-License-Identifier: MIT */
/* Buffers attached to a page: they keep it while one is busy. */
#include "engine/alloc.h"
#include "engine/buffers.h"
#include "engine/watermark.h"
#include "filefix.h"

#include <errno.h>

static struct file *device(struct space *s, uint64_t pages)
{
	struct file *f;

	for (uint64_t i = 0; i < pages; i++)
		filefix_fill(fakehost_file(&s->fh, 3, i), 3, i, 0);
	assert_int_equal(weir__file_create(&s->e, MAPPING_FILE, 3,
					   pages * PAGE_SIZE, MAPPING_BUFFERS,
					   &f),
			 0);
	return f;
}

static unsigned dirty_buffers(struct frame *page)
{
	unsigned nr = 0;

	for (unsigned i = 0; i < PAGE_BUFFERS; i++) {
		struct buffer *b = weir__buffer_get(page, i);

		nr += b->state & BUFFER_DIRTY ? 1u << (4 * i) : 0;
		b->count--;
	}
	return nr;
}

/* A write makes the blocks dirty that it touches; write-back cleans them. */
static void test_blocks_are_dirty_one_by_one(void **state)
{
	struct space *s = *state;
	struct file *f = device(s, 4);
	struct frame *page;

	assert_int_equal(weir__file_write(f, 4096 + 1000, 100, "a"
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
			 100);
	page = filefix_page(f, 1);
	assert_true(frame_test(page, FRAME_PRIVATE));
	assert_int_equal(dirty_buffers(page), 0x0011);
	assert_int_equal(weir__file_write(f, 4096 + 3072, 1, "b"), 1);
	assert_int_equal(dirty_buffers(page), 0x1011);
	filefix_valid(s);
	weir__sync_all(&s->e);
	assert_int_equal(dirty_buffers(page), 0);
	/* cache, buffers */
	weir__lru_add_drain_all(&s->e);
	assert_int_equal(page->refcount, 2);
	filefix_valid(s);
	weir__file_put(f);
}

/* Buffers are released before the page is freed; a busy one keeps it. */
static void test_busy_buffer_keeps_the_page(void **state)
{
	struct space *s = *state;
	struct file *f = device(s, 2);
	struct buffer *b;
	uint64_t objects;

	objects = weir__slab_objects(&s->e);
	filefix_write(f, 0, 1);
	weir__sync_all(&s->e);
	b = weir__buffer_get(filefix_page(f, 0), 2);
	weir__lru_add_drain_all(&s->e);
	for (int i = 0; i < 3; i++)
		filefix_reclaim(s, 4, 0);
	assert_non_null(filefix_page(f, 0));
	assert_int_equal(weir__file_dontneed(f->mapping, 0, UINT64_MAX), 0);
	assert_non_null(filefix_page(f, 0));
	filefix_valid(s);
	weir__buffer_put(&s->e, b);
	for (int i = 0; i < 3 && filefix_page(f, 0); i++)
		filefix_reclaim(s, 4, 0);
	assert_null(filefix_page(f, 0));
	/* a node of shadows may be left */
	assert_true(weir__slab_objects(&s->e) <= objects + 1);
	filefix_expect(f, 0, 1);
	weir__file_put(f);
}

/* Cut off its file while a buffer is busy: the page stays behind, nobody's,
 * until reclaim meets it. */
static void test_truncated_page_waits_for_its_buffers(void **state)
{
	struct space *s = *state;
	struct file *f = device(s, 2);
	struct frame *page;
	struct buffer *b;

	filefix_write(f, 0, 1);
	page = filefix_page(f, 0);
	b = weir__buffer_get(page, 0);
	assert_int_equal(weir__file_truncate(f->mapping, 0), 0);
	assert_null(filefix_page(f, 0));
	weir__lru_add_drain_all(&s->e);
	assert_int_equal(page->refcount, 1);
	assert_int_equal(page->mapping, 0);
	filefix_valid(s);
	filefix_reclaim(s, 4, 0);
	assert_int_equal(page->refcount, 1);
	weir__buffer_put(&s->e, b);
	assert_true(filefix_reclaim(s, 1, 0) >= 1); /* and an empty slab */
	assert_int_equal(page->refcount, 0);
	filefix_valid(s);
	weir__file_put(f);
}

/* While it is written its buffers are locked. */
static void test_buffers_under_write(void **state)
{
	struct space *s = *state;
	struct file *f = device(s, 1);
	struct wb_control wbc = {.last = UINT64_MAX, .nr = 10};
	struct frame *page;

	filefix_write(f, 0, 1);
	page = filefix_page(f, 0);
	s->fh.io_hold = true;
	assert_int_equal(weir__writepages(f->mapping, &wbc), 1);
	weir__frame_lock(&s->e, page);
	assert_false(weir__buffers_release(&s->e, page));
	weir__frame_unlock(&s->e, page);
	/* written again meanwhile: that block stays dirty */
	assert_int_equal(weir__file_write(f, 100, 1, "x"), 1);
	s->fh.io_error = -EIO;
	fakehost_io_run(&s->fh);
	assert_int_equal(dirty_buffers(page), 0x1111);
	s->fh.io_error = 0;
	s->fh.io_hold = false;
	weir__sync_all(&s->e);
	weir__sync_all(&s->e);
	assert_int_equal(dirty_buffers(page), 0);
	weir__file_put(f);
}

/* Through a mapping, too. */
static void test_mapped_write_has_buffers(void **state)
{
	struct space *s = *state;
	struct file *f = device(s, 2);
	struct aspace *as = filefix_space(s);

	filefix_map(as, f, 0, 2, REGION_SHARED);
	filefix_touch(as, filefix_at(0), false);
	assert_false(frame_test(filefix_page(f, 0), FRAME_PRIVATE));
	filefix_touch(as, filefix_at(0), true);
	filefix_touch(as, filefix_at(1), true);
	assert_int_equal(dirty_buffers(filefix_page(f, 0)), 0x1111);
	assert_int_equal(dirty_buffers(filefix_page(f, 1)), 0x1111);
	filefix_valid(s);
	weir__aspace_destroy(as);
	weir__file_put(f);
}

/*
 * Reclaim must start before exhaustion, since writing allocates: a dirty page
 * that has no buffers yet gets them from the reserve below min, for the task
 * that frees memory, while an ordinary request at the same instant fails.
 */
static void test_write_back_allocates_from_the_reserve(void **state)
{
	struct space *s = *state;
	struct engine *e = &s->e;
	struct file *f = device(s, 2);
	struct wb_control wbc = {.last = UINT64_MAX, .nr = 10};
	LIST_HEAD(eaten);
	struct frame *fr, *page, *tmp;

	filefix_write(f, 0, 1);
	page = filefix_page(f, 0);
	weir__frame_lock(e, page);
	weir__buffers_forget(page);
	assert_true(weir__buffers_release(e, page));
	weir__frame_unlock(e, page);
	weir__slab_shrink(e);
	/* down to min: what a request that may not wait can have */
	while ((fr = weir__frames_alloc(e, GFP_NOMEMALLOC, 0))) {
		weir__frame_set(fr, FRAME_KERNEL);
		list_add(&fr->lru, &eaten);
	}
	assert_null(weir__kmalloc(e, 2048, GFP_NOMEMALLOC | GFP_NORETRY));
	s->fh.task.flags |= PF_MEMALLOC;
	assert_int_equal(weir__writepages(f->mapping, &wbc), 1);
	s->fh.task.flags &= ~(uint32_t)PF_MEMALLOC;
	assert_true(frame_test(page, FRAME_PRIVATE));
	assert_true(filefix_is(fakehost_file(&s->fh, 3, 0), 3, 0, 1));
	list_for_each_entry_safe(fr, tmp, &eaten, lru) {
		list_del(&fr->lru);
		weir__frame_clear(fr, FRAME_KERNEL);
		weir__frames_free(e, fr, 0);
	}
	weir__file_put(f);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, space_setup, space_teardown)
	const struct CMUnitTest tests[] = {
	    T(test_blocks_are_dirty_one_by_one),
	    T(test_busy_buffer_keeps_the_page),
	    T(test_truncated_page_waits_for_its_buffers),
	    T(test_buffers_under_write),
	    T(test_mapped_write_has_buffers),
	    T(test_write_back_allocates_from_the_reserve),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
