/* SPDX-License-Identifier: MIT */
/* What is triggered by hand. */
#include "engine/classic.h"
#include "engine/file.h"
#include "engine/manual.h"
#include "engine/vfscache.h"
#include "engine/writeback.h"
#include "world.h"

static unsigned nr_log;

static void count_log(struct weir_host *h, int level, const char *msg)
{
	nr_log++;
}

static struct world *start(uint64_t frames, uint64_t pages)
{
	struct world_config c = {
	    .zone = {frames}, .slots = 4096, .pages = pages};
	struct world *w = world_start(&c);

	nr_log = 0;
	w->ops.log = count_log;
	assert_int_equal(weir__vfs_init(&w->e), 0);
	return w;
}

static void end(struct world *w)
{
	weir__vfs_exit(&w->e);
	world_stop(w);
}

/* 1: the clean cache; 2: objects; 3: both. Dirty pages are left alone. */
static void test_drop_caches(void **state)
{
	for (unsigned what = 1; what <= 3; what++) {
		struct world *w = start(2048, 0);
		struct engine *e = &w->e;
		struct file *f;
		int64_t cached;

		assert_int_equal(weir__file_create(e, MAPPING_FILE, 1,
						   300 * PAGE_SIZE, 0, &f),
				 0);
		weir__file_read_pages(f, 0, 200);
		weir__file_write_pages(f, 200, 100);
		for (uint64_t i = 1; i <= 1000; i++)
			weir__vfs_create(e, VFS_INODE, i, 0, GFP_KERNEL);
		cached = world_stat(w, STAT_nr_file_pages);
		assert_true(cached >= 300);
		assert_int_equal(weir__drop_caches(e, what), 0);
		assert_int_equal(world_stat(w, STAT_nr_file_pages),
				 what & DROP_PAGECACHE ? 100 : cached);
		assert_int_equal(world_stat(w, STAT_nr_dirty), 100);
		assert_int_equal(weir__vfs_nr(e, VFS_INODE),
				 what & DROP_SLAB ? 0 : 1000);
		assert_int_equal(world_stat(w, STAT_drop_pagecache),
				 (what & DROP_PAGECACHE) != 0);
		assert_int_equal(world_stat(w, STAT_drop_slab),
				 (what & DROP_SLAB) != 0);
		weir__file_put(f);
		end(w);
	}
}

static void test_drop_caches_is_told(void **state)
{
	struct world *w = start(1024, 0);

	assert_int_equal(weir__drop_caches(&w->e, 0), -EINVAL);
	assert_int_equal(weir__drop_caches(&w->e, 5), -EINVAL);
	assert_int_equal(nr_log, 0);
	weir__drop_caches(&w->e, DROP_PAGECACHE);
	assert_int_equal(nr_log, 1);
	weir__drop_caches(&w->e, DROP_SILENTLY);
	weir__drop_caches(&w->e, DROP_PAGECACHE | DROP_SLAB);
	assert_int_equal(nr_log, 1);
	end(w);
}

/* Objects that are held are no reason to go on for ever. */
static void test_drop_slab_ends(void **state)
{
	struct world *w = start(1024, 0);

	for (uint64_t i = 1; i <= 500; i++) {
		weir__vfs_create(&w->e, VFS_INODE, i, 0, GFP_KERNEL);
		weir__vfs_hold(&w->e, VFS_INODE, i);
	}
	weir__drop_caches(&w->e, DROP_SLAB);
	assert_int_equal(weir__vfs_nr(&w->e, VFS_INODE), 500);
	end(w);
}

/* The experiment of the books: raise min_free_kbytes, let a program take what
 * is left, and see kswapd keep memory free at the new marks. */
static void test_min_free_raised_at_run_time(void **state)
{
	struct world *w = start(2048, 1800);
	struct zone *z = world_zone(w, 0);
	uint64_t low;

	world_kswapd(w);
	world_fill(w, w->as, 0, 1000);
	world_age(w->as, 0, 1000);
	assert_int_equal(world_stat(w, STAT_pageoutrun), 0);
	assert_int_equal(weir__tunable_write(&w->e, "nonsense", 1), -ENOENT);
	assert_int_equal(
	    weir__tunable_write(&w->e, "min_free_kbytes", UINT64_MAX), -ERANGE);
	assert_int_equal(weir__tunable_write(&w->e, "min-free-kbytes", 800), 0);
	assert_int_equal(weir__wmark(z, WMARK_MIN), 200);
	low = weir__wmark(z, WMARK_LOW);
	assert_int_equal(low, 250);
	world_fill(w, w->as, 1000, 800);
	assert_true(world_stat(w, STAT_pageoutrun) > 0);
	assert_int_equal(world_stat(w, STAT_allocstall), 0);
	weir__pcp_drain_all(&w->e);
	/* kswapd frees as much as the mark is high before it looks again */
	assert_in_range(z->free_pages, low - 64,
			2 * weir__wmark(z, WMARK_HIGH) + 64);
	world_expect(w, w->as, 0, 1800);
	/* and back */
	assert_int_equal(weir__tunable_write(&w->e, "min_free_kbytes", 0), 0);
	assert_int_equal(weir__wmark(z, WMARK_MIN),
			 w->e.auto_min_free_kbytes / 4);
	end(w);
}

/* memory.reclaim: what was asked for, or -EAGAIN with what there was. */
static void test_memory_reclaim(void **state)
{
	struct world *w = start(2048, 1000);
	uint64_t freed;

	world_fill(w, w->as, 0, 1000);
	weir__lru_add_drain_all(&w->e);
	assert_int_equal(weir__reclaim_pages(&w->e, 300, -1, &freed), 0);
	assert_true(freed >= 300);
	assert_int_equal(world_stat(w, STAT_pgsteal_proactive), freed);
	assert_int_equal(weir__reclaim_pages(&w->e, 5000, -1, &freed), -EAGAIN);
	assert_in_range(freed, 600, 720);
	world_expect(w, w->as, 0, 1000);
	end(w);
}

/* alloc_page_buffers -> free_more_memory: the flusher first, then reclaim that
 * enters no filesystem, then another try. */
static void something_comes_free(struct world *w, const char *name)
{
	if (strcmp(name, "free_more_memory"))
		return;
	if (++w->step == 2) {
		w->on_event = NULL;
		world_uneat(w);
	}
}

static void test_free_more_memory(void **state)
{
	struct world *w = start(1024, 0);
	struct engine *e = &w->e;
	struct slab_cache *c = weir__slab_cache_create(e, "buffer_head", 104);
	struct file *f;
	int more, after;
	uint64_t wakes;
	void *bh[8];

	weir__file_create(e, MAPPING_FILE, 1, 300 * PAGE_SIZE, 0, &f);
	weir__file_write_pages(f, 0, 50);
	assert_int_equal(weir__flusher_start(e), 0);
	world_eat(w, world_zone(w, 0), 0);
	assert_int_equal(weir__alloc_page_buffers(e, c, bh, 8, false), -ENOMEM);
	assert_int_equal(world_count(w, "free_more_memory"), 0);

	world_forget(w);
	wakes = w->fh.nr_wakes;
	w->on_event = something_comes_free;
	assert_int_equal(weir__alloc_page_buffers(e, c, bh, 8, true), 0);
	assert_int_equal(world_count(w, "free_more_memory"), 2);
	more = world_find(w, "free_more_memory", 0);
	assert_int_equal(w->event[more].a, 1024);
	assert_true(w->fh.nr_wakes > wakes);
	/* its own try came before, and one without GFP_FS after it */
	assert_in_range(world_find(w, "mm_vmscan_direct_reclaim_begin", 0), 0,
			more);
	after = world_find(w, "mm_vmscan_direct_reclaim_begin", 1);
	assert_true(after > more);
	assert_int_equal(w->event[after].b, GFP_NOFS);
	assert_int_equal(world_count(w, "mark_victim"), 0);
	for (unsigned i = 0; i < 8; i++)
		weir__slab_free(e, c, bh[i]);
	weir__file_sync(f->mapping, 0, UINT64_MAX);
	weir__file_put(f);
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_drop_caches),
	    cmocka_unit_test(test_drop_caches_is_told),
	    cmocka_unit_test(test_drop_slab_ends),
	    cmocka_unit_test(test_min_free_raised_at_run_time),
	    cmocka_unit_test(test_memory_reclaim),
	    cmocka_unit_test(test_free_more_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
