/* SPDX-License-Identifier: MIT */
/* Shared memory and tmpfs: pages that swap out with an entry in the object. */
#include "engine/shmem.h"
#include "engine/swapoff.h"
#include "filefix.h"

#include <errno.h>

static struct file *shm_open_pages(struct space *s, uint64_t pages,
				   uint32_t flags)
{
	struct file *f;

	assert_int_equal(weir__file_create(&s->e, MAPPING_SHMEM, 0,
					   pages * PAGE_SIZE, flags, &f),
			 0);
	return f;
}

static swp_entry_t swapped(struct file *f, uint64_t i)
{
	uint64_t v = weir__pcache_entry(f->mapping, i);

	return v && xt_is_value(v) ? weir__shmem_entry(v) : 0;
}

/* Everything that reclaim can have, goes. */
static void push_out(struct space *s)
{
	for (int i = 0; i < 8; i++)
		filefix_reclaim(s, 2000, 200);
}

/* tmpfs file bigger than RAM readable back bit-exact; swap_map shows the mark. */
static void test_tmpfs_file_bigger_than_ram(void **state)
{
	struct space *s = *state;
	struct file *f = shm_open_pages(s, 0, 0);
	uint64_t in_swap = 0, frames = 0;
	/* of 2048 frames, leave few for the file */
	struct list_head eaten = LIST_HEAD_INIT(eaten);
	struct frame *fr, *tmp;

	s->e.tun.watermark_boost_factor = 0; /* nobody takes it back here */
	while (frames++ < 1600) {
		fr = weir__frames_alloc(&s->e, GFP_KERNEL, 0);
		assert_non_null(fr);
		weir__frame_set(fr, FRAME_KERNEL);
		list_add(&fr->lru, &eaten);
	}
	for (uint64_t i = 0; i < 550; i++)
		filefix_write(f, i, (unsigned)i);
	assert_int_equal(f->mapping->size, 550 * PAGE_SIZE);
	for (uint64_t i = 0; i < 550; i++) {
		swp_entry_t e = swapped(f, i);

		if (!e)
			continue;
		in_swap++;
		assert_int_equal(weir__swap_map_byte(&s->e, e) |
				     SWAP_HAS_CACHE,
				 SWAP_MAP_SHMEM | SWAP_HAS_CACHE);
	}
	assert_true(in_swap > 50);
	assert_int_equal(f->mapping->nr_swapped, in_swap);
	filefix_valid(s);
	for (int round = 0; round < 2; round++)
		for (uint64_t i = 0; i < 550; i++)
			filefix_expect(f, i, (unsigned)i);
	filefix_valid(s);
	assert_int_equal(filefix_stat(s, STAT_nr_shmem),
			 f->mapping->nr_pages);
	assert_int_equal(s->fh.nr_file_writes + s->fh.nr_file_reads, 0);
	list_for_each_entry_safe(fr, tmp, &eaten, lru) {
		list_del(&fr->lru);
		weir__frame_clear(fr, FRAME_KERNEL);
		weir__frames_free(&s->e, fr, 0);
	}
	weir__file_put(f);
	assert_int_equal(filefix_stat(s, STAT_nr_shmem), 0);
}

/* Counted as cache, listed as anonymous, class swappable. */
static void test_shared_memory_is_swappable_cache(void **state)
{
	struct space *s = *state;
	struct file *f = shm_open_pages(s, 4, 0);
	struct frame *page;

	filefix_write(f, 1, 1);
	page = filefix_page(f, 1);
	weir__lru_add_drain_all(&s->e);
	assert_int_equal(weir__frame_class(page), CLASS_SWAPPABLE);
	assert_int_equal(weir__frame_lru_list(page), LRU_INACTIVE_ANON);
	assert_int_equal(filefix_stat(s, STAT_nr_file_pages), 1);
	assert_int_equal(filefix_stat(s, STAT_nr_shmem), 1);
	assert_int_equal(filefix_stat(s, STAT_nr_dirty), 0);
	weir__file_put(f);
}

/* IPC: two processes see one page, before and after it was in swap. */
static void test_ipc_shared_memory(void **state)
{
	struct space *s = *state;
	struct file *f = shm_open_pages(s, 16, 0);
	struct aspace *a = filefix_space(s), *b = filefix_space(s);

	filefix_map(a, f, 0, 16, REGION_SHARED);
	filefix_map(b, f, 8, 8, REGION_SHARED);
	for (unsigned i = 0; i < 16; i++)
		filefix_fill(filefix_touch(a, filefix_at(i), true), 0, i, 1);
	assert_true(
	    filefix_is(filefix_touch(b, filefix_at(2), false), 0, 10, 1));
	assert_ptr_equal(space_frame(a, filefix_at(10)),
			 space_frame(b, filefix_at(2)));
	push_out(s);
	assert_int_equal(f->mapping->nr_pages, 0);
	assert_int_equal(f->mapping->nr_swapped, 16);
	assert_int_equal(a->nr_file + b->nr_file, 0);
	/* no page table knows the slot */
	assert_int_equal(a->nr_swapents + b->nr_swapents, 0);
	assert_int_equal(space_pte(a, filefix_at(10)), 0);
	filefix_valid(s);
	assert_true(
	    filefix_is(filefix_touch(b, filefix_at(2), false), 0, 10, 1));
	filefix_fill(filefix_touch(b, filefix_at(2), true), 0, 10, 2);
	assert_true(
	    filefix_is(filefix_touch(a, filefix_at(10), false), 0, 10, 2));
	filefix_expect(f, 10, 2);
	assert_int_equal(f->mapping->nr_swapped, 15);
	filefix_valid(s);
	weir__aspace_destroy(a);
	weir__aspace_destroy(b);
	weir__file_put(f);
}

/* A private mapping copies; the object keeps its own. */
static void test_private_mapping_of_shared_memory(void **state)
{
	struct space *s = *state;
	struct file *f = shm_open_pages(s, 4, 0);
	struct aspace *as = filefix_space(s);

	filefix_write(f, 2, 1);
	filefix_map(as, f, 0, 4, 0);
	push_out(s);
	filefix_fill(filefix_touch(as, filefix_at(2), true), 0, 2, 5);
	filefix_expect(f, 2, 1);
	assert_int_equal(as->nr_anon, 1);
	filefix_valid(s);
	weir__aspace_destroy(as);
	weir__file_put(f);
}

static void test_fork_shares_the_object(void **state)
{
	struct space *s = *state;
	struct file *f = shm_open_pages(s, 4, 0);
	struct aspace *as = filefix_space(s), *child = filefix_space(s);

	filefix_map(as, f, 0, 4, REGION_SHARED);
	filefix_fill(filefix_touch(as, filefix_at(1), true), 0, 1, 1);
	assert_int_equal(weir__aspace_fork(as, child), 0);
	weir__file_put(f);
	filefix_fill(filefix_touch(child, filefix_at(1), true), 0, 1, 2);
	assert_true(
	    filefix_is(filefix_touch(as, filefix_at(1), false), 0, 1, 2));
	assert_int_equal(weir__page_mapcount(space_frame(as, filefix_at(1))),
			 2);
	push_out(s);
	weir__aspace_destroy(as);
	assert_true(
	    filefix_is(filefix_touch(child, filefix_at(1), false), 0, 1, 2));
	weir__aspace_destroy(child);
}

/* A hole reads as zeros and takes no page; touched, it is one. */
static void test_holes(void **state)
{
	struct space *s = *state;
	struct file *f = shm_open_pages(s, 100, 0);
	struct aspace *as = filefix_space(s);
	uint8_t buf[PAGE_SIZE];
	int err;

	memset(buf, 7, sizeof(buf));
	assert_int_equal(weir__file_read(f, 5000, 4096, buf), 4096);
	for (unsigned k = 0; k < PAGE_SIZE; k++)
		assert_int_equal(buf[k], 0);
	assert_int_equal(f->mapping->nr_pages, 0);
	filefix_map(as, f, 98, 4, REGION_SHARED);
	assert_int_equal(*filefix_touch(as, filefix_at(1), false), 0);
	assert_int_equal(f->mapping->nr_pages, 1);
	assert_null(filefix_try(as, filefix_at(2), true, &err));
	assert_int_equal(err, -ENXIO);
	/* never written: it goes without a slot, and is a hole again */
	push_out(s);
	push_out(s);
	filefix_valid(s);
	assert_int_equal(*filefix_touch(as, filefix_at(1), false), 0);
	weir__aspace_destroy(as);
	weir__file_put(f);
}

static void test_truncate_frees_slots(void **state)
{
	struct space *s = *state;
	struct file *f = shm_open_pages(s, 0, 0);
	uint64_t before = weir__swap_nr_free(&s->e);

	for (uint64_t i = 0; i < 40; i++)
		filefix_write(f, i, 1);
	push_out(s);
	assert_int_equal(weir__swap_nr_free(&s->e), before - 40);
	assert_int_equal(weir__file_truncate(f->mapping, 10 * PAGE_SIZE), 0);
	assert_int_equal(weir__swap_nr_free(&s->e), before - 10);
	filefix_expect(f, 9, 1);
	assert_int_equal(weir__file_truncate(f->mapping, 40 * PAGE_SIZE), 0);
	filefix_valid(s);
	weir__file_put(f);
	push_out(s);
	assert_int_equal(weir__swap_nr_free(&s->e), before);
}

/* A slot that cannot be read: an error, and the next one tries again. */
static void test_failed_read_of_a_slot(void **state)
{
	struct space *s = *state;
	struct file *f = shm_open_pages(s, 4, 0);
	uint8_t byte;

	filefix_write(f, 0, 1);
	push_out(s);
	s->fh.io_error = -EIO;
	assert_int_equal(weir__file_read(f, 0, 1, &byte), -EIO);
	filefix_valid(s);
	s->fh.io_error = 0;
	filefix_expect(f, 0, 1);
	filefix_valid(s);
	weir__file_put(f);
}

/* Swap is full: the page goes active, no I/O, nothing lost. */
static void test_no_slot_keeps_the_page(void **state)
{
	struct space *s = *state;
	struct file *f = shm_open_pages(s, 4, 0);
	static swp_entry_t slot[SPACE_SLOTS];
	unsigned nr = weir__swap_alloc(&s->e, slot, SPACE_SLOTS);

	filefix_write(f, 0, 1);
	weir__lru_add_drain_all(&s->e);
	push_out(s);
	assert_int_equal(f->mapping->nr_pages, 1);
	assert_int_equal(s->fh.nr_writes, 0);
	while (nr)
		weir__swap_slot_release(&s->e, slot[--nr]);
	push_out(s);
	assert_int_equal(f->mapping->nr_swapped, 1);
	filefix_expect(f, 0, 1);
	weir__file_put(f);
}

/* noswap mounts and SHM_LOCK: kept, as unevictable. */
static void test_shm_lock_and_noswap(void **state)
{
	struct space *s = *state;
	struct file *f = shm_open_pages(s, 8, 0);
	struct file *g = shm_open_pages(s, 8, MAPPING_NOSWAP);

	for (uint64_t i = 0; i < 8; i++) {
		filefix_write(f, i, 1);
		filefix_write(g, i, 2);
	}
	weir__shmem_pin(f->mapping, true);
	push_out(s);
	assert_int_equal(f->mapping->nr_pages, 8);
	assert_int_equal(g->mapping->nr_pages, 8);
	assert_int_equal(filefix_stat(s, STAT_nr_unevictable), 16);
	filefix_valid(s);
	weir__shmem_pin(f->mapping, false);
	weir__lru_add_drain_all(&s->e);
	assert_int_equal(filefix_stat(s, STAT_nr_unevictable), 8);
	push_out(s);
	assert_int_equal(f->mapping->nr_pages, 0);
	assert_int_equal(g->mapping->nr_pages, 8);
	for (uint64_t i = 0; i < 8; i++) {
		filefix_expect(f, i, 1);
		filefix_expect(g, i, 2);
	}
	filefix_valid(s);
	weir__file_put(f);
	weir__file_put(g);
}

/* swapoff: every page of the area comes back into its tree. */
static void test_swapoff_brings_shared_memory_back(void **state)
{
	struct space *s = *state;
	struct file *f = shm_open_pages(s, 0, 0);

	for (uint64_t i = 0; i < 100; i++)
		filefix_write(f, i, 3);
	push_out(s);
	assert_int_equal(f->mapping->nr_swapped, 100);
	assert_int_equal(weir__swapoff(&s->e, (unsigned)s->swap_type), 0);
	assert_int_equal(f->mapping->nr_swapped, 0);
	assert_int_equal(f->mapping->nr_pages, 100);
	for (uint64_t i = 0; i < 100; i++)
		filefix_expect(f, i, 3);
	filefix_valid(s);
	weir__file_put(f);
	s->free_slots = weir__swap_nr_free(&s->e);
}

/* Two faulters of one slot: one read, one frame. */
static void test_second_faulter_waits_for_the_first(void **state)
{
	struct space *s = *state;
	struct file *f = shm_open_pages(s, 4, 0);
	struct frame *page;
	bool major = false;
	int err;

	filefix_write(f, 1, 1);
	push_out(s);
	s->fh.io_hold = true; /* the read ends when somebody waits for it */
	page = weir__shmem_get(f->mapping, 1, SHMEM_READ, &major, &err);
	assert_non_null(page);
	assert_true(major);
	assert_int_equal(s->fh.nr_reads, 1);
	weir__frame_unlock(&s->e, page);
	weir__page_put(&s->e, page);
	major = false;
	page = weir__shmem_get(f->mapping, 1, SHMEM_READ, &major, &err);
	assert_false(major);
	assert_int_equal(s->fh.nr_reads, 1);
	weir__frame_unlock(&s->e, page);
	weir__page_put(&s->e, page);
	s->fh.io_hold = false;
	weir__file_put(f);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, space_setup, space_teardown)
	const struct CMUnitTest tests[] = {
	    T(test_tmpfs_file_bigger_than_ram),
	    T(test_shared_memory_is_swappable_cache),
	    T(test_ipc_shared_memory),
	    T(test_private_mapping_of_shared_memory),
	    T(test_fork_shares_the_object),
	    T(test_holes),
	    T(test_truncate_frees_slots),
	    T(test_failed_read_of_a_slot),
	    T(test_no_slot_keeps_the_page),
	    T(test_shm_lock_and_noswap),
	    T(test_swapoff_brings_shared_memory_back),
	    T(test_second_faulter_waits_for_the_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
