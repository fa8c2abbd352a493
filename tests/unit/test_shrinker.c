/* SPDX-License-Identifier: MIT */
/* Shrinkers, and the two caches that use them: dentries and inodes. */
#include "engine/shrinker.h"
#include "engine/vfscache.h"
#include "world.h"

#define PAGES 600

/* --- a cache that is nothing but a number -----------------------------------
 */

struct fake {
	struct shrinker s;
	uint64_t freeable, calls, asked;
	uint64_t at_once[600];
	bool stop;
	uint64_t keeps; /* of each call's objects */
};

static uint64_t fake_count(struct engine *e, struct shrinker *s,
			   struct shrink_control *sc)
{
	return ((struct fake *)s->owner)->freeable;
}

static uint64_t fake_scan(struct engine *e, struct shrinker *s,
			  struct shrink_control *sc)
{
	struct fake *f = s->owner;

	if (f->stop)
		return SHRINK_STOP;
	if (f->calls < sizeof(f->at_once) / sizeof(f->at_once[0]))
		f->at_once[f->calls] = sc->nr_to_scan;
	f->calls++;
	f->asked += sc->nr_to_scan;
	return sc->nr_to_scan - f->keeps;
}

static void fake_init(struct fake *f, uint64_t freeable, unsigned seeks)
{
	memset(f, 0, sizeof(*f));
	f->freeable = freeable;
	f->s = (struct shrinker){.name = "fake",
				 .count = fake_count,
				 .scan = fake_scan,
				 .seeks = seeks,
				 .owner = f};
}

static struct world *small(void)
{
	struct world_config c = {.zone = {1024}};

	return world_start(&c);
}

/* T: freeable 10,000. */
static void test_shrinker_delta_and_deferred(void **state)
{
	static const struct {
		unsigned seeks;
		int priority;
		uint64_t deferred, delta, scans, defers;
	} t[] = {
	    {2, 12, 0, 4, 0, 4},
	    {2, 6, 0, 312, 256, 56},
	    {2, 0, 0, 20000, 19968, 32},
	    {0, 12, 0, 5000, 4992, 8},
	    {2, 4, 5000, 1250, 1536, 4714},
	};
	struct world *w = small();

	for (unsigned i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct fake f;

		fake_init(&f, 10000, t[i].seeks);
		assert_int_equal(
		    weir__shrink_delta(10000, t[i].seeks, t[i].priority),
		    t[i].delta);
		f.s.nr_deferred[0] = t[i].deferred;
		weir__do_shrink_slab(&w->e, &f.s, GFP_KERNEL, 0, t[i].priority);
		assert_int_equal(f.asked, t[i].scans);
		assert_int_equal(f.s.nr_deferred[0], t[i].defers);
		for (uint64_t k = 0; k < f.calls; k++)
			assert_int_equal(f.at_once[k], SHRINK_BATCH);
	}
	world_stop(w);
}

/* A cache smaller than a batch is scanned whole, not never. */
static void test_shrinker_small_cache(void **state)
{
	struct world *w = small();
	struct fake f;

	fake_init(&f, 50, 2);
	weir__do_shrink_slab(&w->e, &f.s, GFP_KERNEL, 0, 1);
	/* less than a batch, and all there is */
	assert_int_equal(f.calls, 1);
	assert_int_equal(f.asked, 50);
	fake_init(&f, 50, 2);
	weir__do_shrink_slab(&w->e, &f.s, GFP_KERNEL, 0, 3);
	assert_int_equal(f.calls, 0);
	assert_int_equal(f.s.nr_deferred[0], (50 >> 3) * 2);
	world_stop(w);
}

/* What one caller may not do is left for the next, up to twice the cache. */
static void test_shrinker_stop_defers(void **state)
{
	struct world *w = small();
	struct fake f;

	fake_init(&f, 1000, 2);
	f.stop = true;
	for (int i = 0; i < 10; i++)
		weir__do_shrink_slab(&w->e, &f.s, GFP_NOFS, 0, 2);
	assert_int_equal(f.asked, 0);
	assert_int_equal(f.s.nr_deferred[0], 2000);
	f.stop = false;
	weir__do_shrink_slab(&w->e, &f.s, GFP_KERNEL, 0, 2);
	/* 2000 >> 2, and its own 500 */
	assert_int_equal(f.asked, 896);
	assert_int_equal(f.s.nr_deferred[0], 2000 + 500 - 896);
	world_stop(w);
}

/* Every registered one is called, and none after it has left. */
static void test_shrinker_registration(void **state)
{
	struct world *w = small();
	struct fake f[3];

	for (int i = 0; i < 3; i++) {
		fake_init(&f[i], 1000, 2);
		weir__shrinker_register(&w->e, &f[i].s);
	}
	assert_int_equal(weir__shrink_slab(&w->e, GFP_KERNEL, 0, 1), 3 * 896);
	weir__shrinker_unregister(&w->e, &f[1].s);
	weir__shrink_slab(&w->e, GFP_KERNEL, 0, 1);
	assert_int_equal(f[1].asked, 896);
	/* the 104 that were left over count, too */
	assert_int_equal(f[0].asked, 896 + 1024);
	assert_int_equal(f[2].asked, 896 + 1024);
	assert_int_equal(world_stat(w, STAT_slabs_scanned), 3 * 896 + 2 * 1024);
	weir__shrinker_unregister(&w->e, &f[0].s);
	weir__shrinker_unregister(&w->e, &f[2].s);
	world_stop(w);
}

/* One that leaves while it is being called waits for the call. */
static struct world *leaving;
static struct fake *left;

static uint64_t scan_and_leave(struct engine *e, struct shrinker *s,
			       struct shrink_control *sc)
{
	struct fake *f = s->owner;

	/* the neighbour goes, and this one is still in its place */
	if (!f->calls++)
		weir__shrinker_unregister(e, &left->s);
	assert_int_equal(s->users, 2);
	return sc->nr_to_scan;
}

static void test_shrinker_leaves_during_a_walk(void **state)
{
	struct fake a, b;

	leaving = small();
	fake_init(&a, 1000, 2);
	fake_init(&b, 1000, 2);
	a.s.scan = scan_and_leave;
	left = &b;
	weir__shrinker_register(&leaving->e, &a.s);
	weir__shrinker_register(&leaving->e, &b.s);
	weir__shrink_slab(&leaving->e, GFP_KERNEL, 0, 1);
	assert_int_equal(b.asked, 0);
	weir__shrinker_unregister(&leaving->e, &a.s);
	world_stop(leaving);
}

/* Reclaim of pages asks the caches at its own priority. */
static void test_shrinker_is_part_of_reclaim(void **state)
{
	struct world_config c = {.slots = 1024, .pages = PAGES};
	struct world *w = world_start(&c);
	struct fake f;
	uint64_t freed;

	fake_init(&f, 100000, 2);
	weir__shrinker_register(&w->e, &f.s);
	world_fill(w, w->as, 0, PAGES);
	world_forget(w);
	weir__reclaim_pages(&w->e, 32, -1, &freed);
	/* 100000 >> 12 * 2 at the first rung, twice that at the next */
	int i = world_find(w, "mm_shrink_slab_start", 0);

	assert_true(i >= 0);
	assert_int_equal(w->event[i].b, (100000 >> 12) * 2);
	assert_int_equal(w->event[i].c, w->event[i].b);
	weir__shrinker_unregister(&w->e, &f.s);
	world_stop(w);
}

/* --- dentries and inodes
 * ------------------------------------------------------
 */

static struct world *with_vfs(uint64_t pages)
{
	struct world_config c = {.zone = {2048}, .slots = 4096, .pages = pages};
	struct world *w = world_start(&c);

	assert_int_equal(weir__vfs_init(&w->e), 0);
	assert_int_equal(weir__vfs_init(&w->e), -EALREADY);
	return w;
}

static void end_vfs(struct world *w)
{
	world_check(w);
	weir__vfs_exit(&w->e);
	world_stop(w);
}

/* names 1..nr, each with the inode of its number */
static void make(struct world *w, uint64_t nr)
{
	for (uint64_t i = 1; i <= nr; i++) {
		assert_int_equal(
		    weir__vfs_create(&w->e, VFS_INODE, i, 0, GFP_KERNEL), 0);
		assert_int_equal(
		    weir__vfs_create(&w->e, VFS_DENTRY, i, i, GFP_KERNEL), 0);
	}
}

/* drop_caches = 2, without the rest of it */
static void press(struct world *w, unsigned times)
{
	while (times--)
		weir__shrink_slab(&w->e, GFP_KERNEL, 0, 0);
}

static void test_vfs_objects_live_and_die(void **state)
{
	struct world *w = with_vfs(0);
	struct engine *e = &w->e;

	make(w, 3);
	assert_int_equal(weir__vfs_create(e, VFS_INODE, 3, 0, GFP_KERNEL),
			 -EEXIST);
	assert_int_equal(weir__vfs_create(e, VFS_DENTRY, 9, 99, GFP_KERNEL),
			 -ENOENT);
	assert_int_equal(weir__vfs_nr(e, VFS_DENTRY), 3);
	assert_int_equal(weir__vfs_nr(e, VFS_INODE), 3);
	/* names hold their inodes */
	assert_int_equal(weir__vfs_nr_unused(e, VFS_DENTRY), 3);
	assert_int_equal(weir__vfs_release(e, VFS_DENTRY, 1), -EINVAL);
	assert_int_equal(weir__vfs_release(e, VFS_DENTRY, 77), -ENOENT);
	/* deleted while it is held: not found, and still its holder's */
	assert_int_equal(weir__vfs_hold(e, VFS_DENTRY, 1), 0);
	assert_int_equal(weir__vfs_drop(e, VFS_DENTRY, 1), 0);
	assert_int_equal(weir__vfs_use(e, VFS_DENTRY, 1), -ENOENT);
	assert_int_equal(weir__vfs_nr(e, VFS_DENTRY), 2);
	world_check(w);
	assert_int_equal(weir__vfs_drop(e, VFS_INODE, 1), 0);
	assert_int_equal(weir__vfs_release(e, VFS_DENTRY, 1), 0);
	assert_int_equal(weir__vfs_release(e, VFS_DENTRY, 1), -ENOENT);
	assert_int_equal(weir__vfs_nr(e, VFS_INODE), 2);
	assert_int_equal(weir__vfs_drop(e, VFS_INODE, 1), -ENOENT);
	end_vfs(w);
}

/* … unused dentry cache: freed by the shrinker; what was used again gets one
 * more round, what is held stays. */
static void test_dentry_cache(void **state)
{
	struct world *w = with_vfs(0);
	struct engine *e = &w->e;
	int64_t pages;

	make(w, 3000);
	pages = world_stat(w, STAT_nr_slab_pages);
	assert_true(pages > 3000 * (VFS_DENTRY_SIZE + VFS_INODE_SIZE) / 4096);
	for (uint64_t i = 1; i <= 1000; i++)
		assert_int_equal(weir__vfs_use(e, VFS_DENTRY, i), 0);
	assert_int_equal(weir__vfs_hold(e, VFS_DENTRY, 3000), 0);
	/* half of 6000, times two, in calls of 1024: some 2500 dentries are
	 * looked at, the 1000 pass */
	weir__shrink_slab(e, GFP_KERNEL, 0, 1);
	assert_in_range(weir__vfs_nr(e, VFS_DENTRY), 1200, 1500);
	for (uint64_t i = 1; i <= 1000; i++)
		assert_int_equal(weir__vfs_use(e, VFS_DENTRY, i), 0);
	assert_int_equal(weir__vfs_use(e, VFS_DENTRY, 1001), -ENOENT);
	/* whoever is not used again goes in the end, and its page with it */
	press(w, 8);
	assert_int_equal(weir__vfs_nr(e, VFS_DENTRY), 1);
	assert_int_equal(weir__vfs_nr(e, VFS_INODE), 1);
	assert_int_equal(weir__vfs_use(e, VFS_DENTRY, 3000), 0);
	assert_true(world_stat(w, STAT_nr_slab_pages) < pages / 20);
	assert_int_equal(weir__vfs_release(e, VFS_DENTRY, 3000), 0);
	press(w, 4);
	assert_int_equal(weir__vfs_nr(e, VFS_DENTRY), 0);
	end_vfs(w);
}

/* … disk caches (inode cache): unused clean inodes go, dirty ones are kept
 * until they are written, and writing is the flusher's. */
static void test_inode_cache(void **state)
{
	struct world *w = with_vfs(0);
	struct engine *e = &w->e;
	struct file *table;

	assert_int_equal(
	    weir__file_create(e, MAPPING_FILE, 1, 100 * PAGE_SIZE, 0, &table),
	    0);
	weir__vfs_table(e, table);
	for (uint64_t i = 1; i <= 500; i++)
		weir__vfs_create(e, VFS_INODE, i, 0, GFP_KERNEL);
	assert_int_equal(weir__vfs_dirty(e, VFS_DENTRY, 1), -EINVAL);
	for (uint64_t i = 1; i <= 100; i++) {
		w->fh.now += 1000;
		assert_int_equal(weir__vfs_dirty(e, VFS_INODE, i), 0);
	}
	weir__vfs_dirty(e, VFS_INODE, 1); /* it was already */
	press(w, 8);
	assert_int_equal(weir__vfs_nr(e, VFS_INODE), 100);
	assert_int_equal(weir__vfs_nr_dirty(e), 100);
	assert_int_equal(weir__vfs_nr_unused(e, VFS_INODE), 0);
	/* the older half first; 16 stand in a block of the disk */
	assert_int_equal(weir__vfs_writeback(e, 50 * 1000), 50);
	assert_int_equal(world_stat(w, STAT_nr_dirty), 50 / 16 + 1);
	press(w, 8);
	assert_int_equal(weir__vfs_nr(e, VFS_INODE), 50);
	assert_int_equal(weir__vfs_writeback(e, 0), 50);
	press(w, 8);
	assert_int_equal(weir__vfs_nr(e, VFS_INODE), 0);
	weir__vfs_table(e, NULL);
	weir__file_put(table);
	end_vfs(w);
}

/* An inode whose file has pages in memory stays as long as they do. */
static void test_inode_with_page_cache(void **state)
{
	struct world *w = with_vfs(0);
	struct engine *e = &w->e;
	struct file *f;

	assert_int_equal(
	    weir__file_create(e, MAPPING_FILE, 1, 100 * PAGE_SIZE, 0, &f), 0);
	make(w, 2);
	assert_int_equal(weir__vfs_attach(e, 1, f->mapping), 0);
	assert_int_equal(weir__vfs_attach(e, 7, f->mapping), -ENOENT);
	assert_int_equal(weir__file_read_pages(f, 0, 10), 0);
	press(w, 8);
	assert_int_equal(weir__vfs_nr(e, VFS_INODE), 1);
	assert_int_equal(weir__vfs_nr(e, VFS_DENTRY), 0);
	weir__lru_add_drain_all(e);
	assert_true(weir__drop_pagecache(e) >= 10);
	press(w, 8);
	assert_int_equal(weir__vfs_nr(e, VFS_INODE), 0);
	weir__file_put(f);
	end_vfs(w);
}

/* No right to enter filesystems: nothing is freed, and nothing forgotten. */
static void test_vfs_without_fs_right(void **state)
{
	struct world *w = with_vfs(0);
	struct engine *e = &w->e;

	make(w, 3000);
	assert_int_equal(weir__shrink_slab(e, GFP_NOFS, 0, 1), 0);
	assert_int_equal(weir__shrink_slab(e, GFP_NOIO, 0, 1), 0);
	assert_int_equal(weir__vfs_nr(e, VFS_DENTRY), 3000);
	/* 6000 are owed: half of it, and 3000 of this call's own */
	assert_true(weir__shrink_slab(e, GFP_KERNEL, 0, 1) > 3000);
	end_vfs(w);
}

static void test_vfs_cache_pressure(void **state)
{
	static const unsigned pressure[] = {0, 50, 100, 200};
	uint64_t remaining[4];

	for (unsigned i = 0; i < 4; i++) {
		struct world *w = with_vfs(0);

		make(w, 3000);
		w->e.tun.vfs_cache_pressure = pressure[i];
		for (int k = 0; k < 8; k++)
			weir__shrink_slab(&w->e, GFP_KERNEL, 0, 3);
		remaining[i] = weir__vfs_nr(&w->e, VFS_DENTRY);
		end_vfs(w);
	}
	assert_int_equal(remaining[0], 3000);
	assert_true(remaining[1] < remaining[0] &&
		    remaining[2] < remaining[1] && remaining[3] < remaining[2]);
}

/* More names than memory: reclaim pays for each with older ones. */
static void test_vfs_gives_way(void **state)
{
	struct world *w = with_vfs(PAGES);
	struct engine *e = &w->e;
	int64_t stolen;

	world_fill(w, w->as, 0, PAGES);
	w->deaf = true;
	make(w, 12000);
	stolen = world_stat(w, STAT_slabs_scanned);
	assert_true(stolen > 0);
	assert_true(weir__vfs_nr(e, VFS_DENTRY) < 10000);
	assert_int_equal(weir__vfs_use(e, VFS_DENTRY, 12000), 0);
	assert_int_equal(weir__vfs_use(e, VFS_DENTRY, 1), -ENOENT);
	world_expect(w, w->as, 0, PAGES);
	end_vfs(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_shrinker_delta_and_deferred),
	    cmocka_unit_test(test_shrinker_small_cache),
	    cmocka_unit_test(test_shrinker_stop_defers),
	    cmocka_unit_test(test_shrinker_registration),
	    cmocka_unit_test(test_shrinker_leaves_during_a_walk),
	    cmocka_unit_test(test_shrinker_is_part_of_reclaim),
	    cmocka_unit_test(test_vfs_objects_live_and_die),
	    cmocka_unit_test(test_dentry_cache),
	    cmocka_unit_test(test_inode_cache),
	    cmocka_unit_test(test_inode_with_page_cache),
	    cmocka_unit_test(test_vfs_without_fs_right),
	    cmocka_unit_test(test_vfs_cache_pressure),
	    cmocka_unit_test(test_vfs_gives_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
