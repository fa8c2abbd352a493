/* SPDX-License-Identifier: MIT */
/* Room for an image: today's way and that of 2.6.24. */
#include "engine/classic.h"
#include "engine/file.h"
#include "engine/hibernate.h"
#include "engine/vfscache.h"
#include "world.h"

#define ANON       600
#define FILE_PAGES 400

/* T: usable 1,040,576 and 4096 of metadata. */
static void test_image_size(void **state)
{
	assert_int_equal(weir__image_max(1040576, 4096), 517216);
	assert_int_equal(weir__image_max(1000, 4096), 0);
	/* fits: nothing to free */
	assert_int_equal(weir__image_excess(1000, 2000, 5000, 100), 0);
	/* down to what was asked for */
	assert_int_equal(weir__image_excess(3000, 2000, 5000, 100), 1000);
	/* ... or to what a copy leaves room for */
	assert_int_equal(weir__image_excess(3000, 2000, 1500, 100), 1500);
	/* ... or to what cannot be brought below */
	assert_int_equal(weir__image_excess(3000, 0, 5000, 2500), 500);
}

struct setting {
	struct world *w;
	struct file *f;
};

/* Anonymous pages that are mapped, and a clean cache that nobody maps. */
static struct setting start(void)
{
	struct world_config c = {.zone = {2048}, .slots = 4096, .pages = ANON};
	struct setting s = {.w = world_start(&c)};

	assert_int_equal(weir__file_create(&s.w->e, MAPPING_FILE, 1,
					   FILE_PAGES * PAGE_SIZE, 0, &s.f),
			 0);
	world_fill(s.w, s.w->as, 0, ANON);
	assert_int_equal(weir__file_read_pages(s.f, 0, FILE_PAGES), 0);
	weir__lru_add_drain_all(&s.w->e);
	world_age(s.w->as, 0, ANON);
	world_forget(s.w);
	return s;
}

static void end(struct setting s)
{
	world_expect(s.w, s.w->as, 0, ANON);
	weir__file_put(s.f);
	world_stop(s.w);
}

static uint64_t pages_free(struct world *w)
{
	weir__pcp_drain_all(&w->e);
	return (uint64_t)world_free(w);
}

/* suspend to disk -> shrink_all_memory: a request of n frees n. */
static void test_shrink_all_memory(void **state)
{
	static const uint64_t ask[] = {1, 100, 500, 900};

	for (unsigned i = 0; i < 4; i++) {
		struct setting s = start();
		uint64_t before = pages_free(s.w), freed;

		freed = weir__shrink_all_memory(&s.w->e, ask[i]);
		assert_true(freed >= ask[i]);
		assert_true(pages_free(s.w) >= before + ask[i]);
		assert_int_equal(s.w->fh.task.flags & PF_MEMALLOC, 0);
		end(s);
	}
}

static void test_shrink_all_memory_at_its_end(void **state)
{
	struct setting s = start();
	uint64_t freed = weir__shrink_all_memory(&s.w->e, 100000);

	/* all that there was, and no wait for what there is not */
	assert_in_range(freed, ANON + FILE_PAGES - 50, ANON + FILE_PAGES + 50);
	assert_int_equal(world_stat(s.w, STAT_oom_kill), 0);
	end(s);
}

static void test_hibernate_prepare(void **state)
{
	struct setting s = start();
	uint64_t used = 2048 - pages_free(s.w);

	/* two fifths of 2048, but a copy and a MiB of I/O must fit beside */
	assert_true(weir__hibernate_prepare(&s.w->e, 0) > used / 2);
	assert_int_equal(weir__hibernate_prepare(&s.w->e, 1), 0);
	end(s);
}

/* --- five passes -------------------------------------------------------------
 */

struct seen {
	int64_t refill, steal_anon, steal_file;
	unsigned events;
};

static struct seen at_pass[6];
static int pass;

static void note_pass(struct world *w, const char *name)
{
	if (strcmp(name, "shrink_all_pass"))
		return;
	pass = (int)w->event[w->nr_events - 1].a;
	if (at_pass[pass].events++)
		return;
	at_pass[pass].refill = world_stat(w, STAT_pgrefill);
	at_pass[pass].steal_anon = world_stat(w, STAT_pgsteal_anon);
	at_pass[pass].steal_file = world_stat(w, STAT_pgsteal_file);
}

static void forget_passes(struct world *w)
{
	memset(at_pass, 0, sizeof(at_pass));
	pass = -1;
	w->on_event = note_pass;
}

/* shrink_all_memory, classic: the order of the five passes. */
static void test_five_passes(void **state)
{
	struct setting s = start();
	struct world *w = s.w;
	uint64_t freed;

	/* half of the cache has been used twice */
	for (unsigned i = 0; i < 2; i++)
		weir__file_read_pages(s.f, FILE_PAGES / 2, FILE_PAGES / 2);
	weir__lru_add_drain_all(&w->e);
	forget_passes(w);
	freed = weir__shrink_all_memory_classic(&w->e, FILE_PAGES + 30);
	assert_true(freed >= FILE_PAGES + 30);
	assert_true(pass >= 3);
	/* 0: inactive lists only, nothing mapped */
	assert_int_equal(at_pass[1].refill, 0);
	assert_int_equal(at_pass[1].steal_anon, 0);
	assert_true(at_pass[1].steal_file > 0);
	/* 1: active lists as well; 2: once more. Still nothing mapped */
	assert_true(at_pass[2].refill > 0);
	assert_true(at_pass[3].steal_file > at_pass[1].steal_file);
	assert_int_equal(at_pass[3].steal_anon, 0);
	assert_int_equal(world_present(w->as, 0, ANON) +
			     (uint64_t)world_stat(w, STAT_pgsteal_anon),
			 ANON);
	/* 3: mapped pages, too */
	assert_true(world_stat(w, STAT_pgsteal_anon) > 0);
	for (int i = 0; i < pass; i++)
		assert_int_equal(at_pass[i].events, 13);
	end(s);
}

/* Enough is enough: the later passes are not begun. */
static void test_five_passes_end_early(void **state)
{
	struct setting s = start();

	forget_passes(s.w);
	assert_true(weir__shrink_all_memory_classic(&s.w->e, 50) >= 50);
	assert_int_equal(pass, 0);
	assert_int_equal(world_stat(s.w, STAT_pgsteal_anon), 0);
	end(s);
}

/* Caches of objects come first when they are larger than all the lists. */
static void test_five_passes_slab_first(void **state)
{
	struct world_config c = {.zone = {2048}};
	struct world *w = world_start(&c);

	weir__vfs_init(&w->e);
	for (uint64_t i = 1; i <= 3000; i++)
		weir__vfs_create(&w->e, VFS_INODE, i, 0, GFP_KERNEL);
	forget_passes(w);
	assert_true(weir__shrink_all_memory_classic(&w->e, 100) >= 100);
	assert_int_equal(pass, -1);
	weir__vfs_exit(&w->e);
	world_stop(w);
}

/* T: mapped, priority, swappiness. */
static void test_swap_tendency(void **state)
{
	assert_int_equal(weir__swap_tendency(50, 12, 60), 85);
	assert_int_equal(weir__swap_tendency(80, 12, 60), 100);
	assert_int_equal(weir__swap_tendency(50, 2, 60), 110);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_image_size),
	    cmocka_unit_test(test_shrink_all_memory),
	    cmocka_unit_test(test_shrink_all_memory_at_its_end),
	    cmocka_unit_test(test_hibernate_prepare),
	    cmocka_unit_test(test_five_passes),
	    cmocka_unit_test(test_five_passes_end_early),
	    cmocka_unit_test(test_five_passes_slab_first),
	    cmocka_unit_test(test_swap_tendency),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
