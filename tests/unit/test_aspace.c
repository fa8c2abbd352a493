/* SPDX-License-Identifier: MIT */
/* Regions and entries as drawings: see space.h for the characters. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "space.h"

#define BASE  ((uint64_t)0x10000000)
#define PG(n) (BASE + (uint64_t)(n) * PAGE_SIZE)

#define assert_regions(as, drawing)                                            \
	do {                                                                   \
		assert_string_equal(                                           \
			space_regions(as, PG(0), sizeof(drawing) - 1),         \
			drawing);                                              \
		assert_true(weir__aspace_is_valid(as));                        \
	} while (0)
#define assert_entries(as, drawing)                                            \
	assert_string_equal(space_entries(as, PG(0), sizeof(drawing) - 1),     \
			    drawing)

static struct aspace *new_aspace(struct space *s)
{
	struct aspace *as;

	assert_int_equal(weir__aspace_create(&s->e, NULL, &as), 0);
	return as;
}

static void touch_all(struct aspace *as, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++)
		space_touch(as, PG(i));
}

static void test_add(void **state)
{
	struct aspace *as = new_aspace(*state);

	assert_int_equal(weir__region_add(as, PG(0) + 1, PG(1), 0), -EINVAL);
	assert_int_equal(weir__region_add(as, PG(0), PG(1) + 8, 0), -EINVAL);
	assert_int_equal(weir__region_add(as, PG(1), PG(1), 0), -EINVAL);
	assert_int_equal(weir__region_add(as, PG(2), PG(1), 0), -EINVAL);
	assert_int_equal(weir__region_add(as, PG(2),
					  WEIR_ADDR_MAX + PAGE_SIZE, 0),
			 -EINVAL);
	assert_int_equal(weir__region_add(as, PG(2), PG(4), 0), 0);
	assert_regions(as, "..aa....");
	/* Overlap at either end, inside, around. */
	assert_int_equal(weir__region_add(as, PG(1), PG(3), 0), -EEXIST);
	assert_int_equal(weir__region_add(as, PG(3), PG(5), 0), -EEXIST);
	assert_int_equal(weir__region_add(as, PG(2), PG(3), 0), -EEXIST);
	assert_int_equal(weir__region_add(as, PG(0), PG(9), 0), -EEXIST);
	assert_regions(as, "..aa....");
	weir__aspace_destroy(as);
}

/* Neighbours of the same flags become one; others do not. */
static void test_merge(void **state)
{
	struct aspace *as = new_aspace(*state);

	weir__region_add(as, PG(0), PG(2), REGION_WRITE);
	weir__region_add(as, PG(4), PG(6), REGION_WRITE);
	assert_regions(as, "aa..bb");
	weir__region_add(as, PG(2), PG(4), REGION_WRITE); /* both sides */
	assert_regions(as, "aaaaaa");
	weir__region_add(as, PG(6), PG(7), REGION_WRITE | REGION_SEQ);
	assert_regions(as, "aaaaaab");
	weir__region_flags(as, PG(6), PG(7), 0, REGION_SEQ);
	assert_regions(as, "aaaaaaa");
	assert_int_equal(as->regions.nr, 1);
	weir__aspace_destroy(as);
}

/* Two regions with pages of their own stay two: their indices fit, their
 * anon_vmas do not. One that has no page yet joins anything, above or below. */
static void test_merge_anon(void **state)
{
	struct aspace *as = new_aspace(*state);

	weir__region_add(as, PG(0), PG(2), REGION_WRITE);
	weir__region_add(as, PG(4), PG(6), REGION_WRITE);
	touch_all(as, 0, 1);
	touch_all(as, 4, 5);
	weir__region_add(as, PG(2), PG(3), REGION_WRITE);
	assert_regions(as, "aaa.bb");
	weir__region_add(as, PG(3), PG(4), REGION_WRITE);
	assert_regions(as, "aaaabb");
	assert_entries(as, "##--##");
	weir__aspace_unmap(as, PG(0), PG(4));
	weir__region_add(as, PG(2), PG(4), REGION_WRITE);
	assert_regions(as, "..aaaa");
	assert_int_equal(space_walk(as->engine, space_frame(as, PG(5))), 1);
	weir__aspace_destroy(as);
}

static void test_grow(void **state)
{
	struct aspace *as = new_aspace(*state);

	weir__region_add(as, PG(0), PG(2), REGION_WRITE);
	weir__region_add(as, PG(5), PG(6), REGION_WRITE);
	space_touch(as, PG(1));
	assert_int_equal(weir__region_grow(as, PG(3), PG(4)), -ENOENT);
	assert_int_equal(weir__region_grow(as, PG(1), PG(4)), -EEXIST);
	assert_int_equal(weir__region_grow(as, PG(2), PG(6)), -EEXIST);
	assert_int_equal(weir__region_grow(as, 0, PG(1)), -ENOENT);
	assert_int_equal(weir__region_grow(as, PG(2), PG(4)), 0);
	assert_regions(as, "aaaa.b");
	space_touch(as, PG(3));
	assert_int_equal(space_walk(as->engine, space_frame(as, PG(3))), 1);
	assert_int_equal(weir__region_grow(as, PG(4), PG(5)), 0);
	assert_regions(as, "aaaaaa");
	weir__aspace_destroy(as);
}

static void test_unmap(void **state)
{
	struct space *s = *state;
	struct aspace *as = new_aspace(s);

	weir__region_add(as, PG(0), PG(10), REGION_WRITE);
	touch_all(as, 0, 9);
	assert_int_equal(as->nr_anon, 10);

	weir__aspace_unmap(as, PG(0), PG(2)); /* front */
	assert_regions(as, "..aaaaaaaa");
	weir__aspace_unmap(as, PG(9), PG(12)); /* back, and past it */
	assert_regions(as, "..aaaaaaa.");
	weir__aspace_unmap(as, PG(4), PG(6)); /* hole */
	assert_regions(as, "..aa..bbb.");
	assert_entries(as, "--##--###-");
	assert_int_equal(as->nr_anon, 5);
	for (unsigned i = 6; i < 9; i++)
		assert_int_equal(space_walk(&s->e, space_frame(as, PG(i))), 1);
	weir__aspace_unmap(as, PG(3), PG(8)); /* across two */
	assert_regions(as, "..a.....b.");
	weir__aspace_unmap(as, PG(3), PG(8)); /* nothing there */
	weir__aspace_unmap(as, PG(0), PG(10));
	assert_regions(as, "..........");
	assert_int_equal(as->nr_anon, 0);
	assert_int_equal(as->nr_ptpages, 1);
	weir__aspace_destroy(as);
}

/* No memory for the two halves of a hole: nothing has changed. */
static void test_unmap_no_memory(void **state)
{
	struct space *s = *state;
	struct engine *e = &s->e;
	struct aspace *as = new_aspace(s);
	struct list_head hoard;
	struct frame *f, *tmp;
	unsigned nr = 0;
	int ret;

	list_init(&hoard);
	weir__region_add(as, PG(0), PG(80), REGION_WRITE);
	touch_all(as, 0, 79);
	e->alloc_slow = NULL;
	while ((f = weir__frames_alloc(e, GFP_NOWAIT, 0)))
		list_add(&f->lru, &hoard);
	do {
		/* The slabs have a few objects left. */
		ret = weir__aspace_unmap(as, PG(nr * 2 + 1), PG(nr * 2 + 2));
		if (!ret)
			nr++;
	} while (!ret && nr < 39);
	assert_int_equal(ret, -ENOMEM);
	assert_int_equal(as->nr_anon, 80 - (int)nr);
	assert_int_equal(as->regions.nr, nr + 1);
	assert_true(weir__aspace_is_valid(as));
	/* What needs no memory still works. */
	assert_int_equal(weir__aspace_unmap(as, PG(78), PG(80)), 0);
	list_for_each_entry_safe(f, tmp, &hoard, lru)
		weir__frames_free(e, f, 0);
	assert_int_equal(weir__aspace_unmap(as, PG(nr * 2 + 1), PG(nr * 2 + 2)),
			 0);
	assert_true(weir__aspace_is_valid(as));
	weir__aspace_destroy(as);
}

/* Every kind of entry at once, more of them than a batch holds. */
static void test_zap(void **state)
{
	struct space *s = *state;
	struct engine *e = &s->e;
	struct aspace *as = new_aspace(s);
	struct frame *f;

	weir__region_add(as, PG(0), PG(200), REGION_WRITE);
	touch_all(as, 0, 199);
	for (unsigned i = 0; i < 100; i++)
		space_swap_out(s, space_frame(as, PG(i)), i % 2);
	pte_set(weir__pte(as, PG(150)), PTE_HINT);
	f = space_frame(as, PG(151));
	weir__spin_lock(e, &as->lock);
	weir__page_remove_rmap(e, f);
	pte_store(weir__pte(as, PG(151)), PTE_POISON);
	as->nr_anon--;
	weir__spin_unlock(e, &as->lock);
	weir__page_put(e, f);
	assert_string_equal(space_entries(as, PG(98), 4), "ss##");
	assert_string_equal(space_entries(as, PG(149), 4), "#h!#");
	assert_int_equal(as->nr_anon, 99);
	assert_int_equal(as->nr_swapents, 100);
	assert_true(weir__aspace_is_valid(as));

	assert_int_equal(weir__aspace_zap(as, PG(1), PG(199)), 0);
	assert_string_equal(space_entries(as, PG(0), 3), "s--");
	assert_string_equal(space_entries(as, PG(197), 3), "--#");
	assert_int_equal(as->nr_anon, 1);
	assert_int_equal(as->nr_swapents, 1);
	assert_int_equal(s->free_slots - weir__swap_nr_free(e), 1);
	assert_int_equal(weir__stat_read(e, STAT_nr_swapcached), 1);
	assert_true(weir__aspace_is_valid(as)); /* the region is whole */
	assert_int_equal(as->regions.nr, 1);
	weir__aspace_destroy(as);
}

/* A page in the swap cache is not thrown out under somebody's hands. */
static void test_zap_swap_cache(void **state)
{
	struct space *s = *state;
	struct engine *e = &s->e;
	struct aspace *as = new_aspace(s);
	struct frame *locked, *written, *mapped;

	weir__region_add(as, PG(0), PG(4), REGION_WRITE);
	touch_all(as, 0, 2);
	locked = space_frame(as, PG(0));
	written = space_frame(as, PG(1));
	mapped = space_frame(as, PG(2));
	space_swap_out(s, locked, false);
	space_swap_out(s, written, false);
	/* The third is mapped and in the swap cache (read back, not yet
	 * written). */
	weir__frame_lock(e, mapped);
	{
		swp_entry_t slot;

		assert_int_equal(weir__swap_alloc(e, &slot, 1), 1);
		assert_int_equal(weir__swap_cache_add(e, mapped, slot, NULL),
				 0);
	}
	weir__frame_unlock(e, mapped);

	weir__frame_lock(e, locked);
	weir__frame_set(written, FRAME_WRITEBACK);
	weir__aspace_zap(as, PG(0), PG(3));
	assert_true(frame_test(locked, FRAME_SWAPCACHE));
	assert_true(frame_test(written, FRAME_SWAPCACHE));
	assert_int_equal(mapped->refcount, 0); /* freed, slot and all */
	assert_int_equal(s->free_slots - weir__swap_nr_free(e), 2);
	/* Reclaim would find them later; here the test does it. */
	weir__swap_cache_del(e, locked, 0);
	weir__frame_unlock(e, locked);
	weir__page_put(e, locked);
	weir__frame_lock(e, written);
	weir__frame_end(e, written, FRAME_WRITEBACK);
	weir__swap_cache_del(e, written, 0);
	weir__frame_unlock(e, written);
	weir__page_put(e, written);
	weir__aspace_destroy(as);
}

static struct aspace *waiting;
static uint64_t busy_addr;
static unsigned waits;

/* The owner of BUSY ends: as a fault that could not map, or as one that did. */
static void owner_ends(struct fakehost *fh, _Atomic uint32_t *word)
{
	waits++;
	assert_ptr_equal(word, &waiting->busy_word);
	/* Its region is still there. */
	weir__spin_lock(waiting->engine, &waiting->lock);
	assert_non_null(weir__region_find(waiting, busy_addr));
	weir__spin_unlock(waiting->engine, &waiting->lock);
	space_end_busy(waiting, busy_addr);
}

static void set_busy(struct space *s, struct aspace *as, uint64_t addr)
{
	space_set_busy(as, addr);
	waiting = as;
	busy_addr = addr;
	waits = 0;
	s->fh.on_wait = owner_ends;
}

static void test_busy(void **state)
{
	struct space *s = *state;
	struct aspace *as = new_aspace(s);

	weir__region_add(as, PG(0), PG(8), REGION_WRITE);
	touch_all(as, 0, 5);
	set_busy(s, as, PG(3)); /* a page on its way out */
	weir__aspace_zap(as, PG(0), PG(5));
	assert_int_equal(waits, 1);
	assert_entries(as, "-----#--");

	set_busy(s, as, PG(6)); /* a fault on nothing, which fails */
	weir__aspace_unmap(as, PG(6), PG(7));
	assert_int_equal(waits, 1);
	assert_regions(as, "aaaaaa.b");

	set_busy(s, as, PG(5));
	assert_int_equal(weir__aspace_move(as, PG(4), PG(20), PAGE_SIZE * 2),
			 0);
	assert_int_equal(waits, 1);
	assert_string_equal(space_entries(as, PG(20), 2), "-#");

	touch_all(as, 0, 0);
	set_busy(s, as, PG(0));
	weir__aspace_destroy(as);
	assert_int_equal(waits, 1);
}

static void test_mlock(void **state)
{
	struct space *s = *state;
	struct engine *e = &s->e;
	struct aspace *as = new_aspace(s);

	weir__region_add(as, PG(0), PG(8), REGION_WRITE);
	touch_all(as, 0, 5);
	weir__lru_add_drain_all(e);
	assert_int_equal(weir__aspace_mlock(as, PG(2), PG(6), true), 0);
	assert_regions(as, "aaBBBBcc");
	assert_int_equal(as->nr_locked, 4);
	weir__lru_add_drain_all(e);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(weir__frame_evictable(space_frame(as, PG(i))),
				 i < 2);
	assert_int_equal(weir__stat_read(e, STAT_nr_mlock), 4);

	/* Locking what is locked does not count twice. */
	weir__aspace_mlock(as, PG(0), PG(4), true);
	assert_regions(as, "AAAAAAbb");
	weir__lru_add_drain_all(e);
	assert_int_equal(as->nr_locked, 6);
	weir__aspace_mlock(as, PG(0), PG(3), false);
	weir__lru_add_drain_all(e);
	assert_regions(as, "aaaBBBcc");
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(weir__frame_evictable(space_frame(as, PG(i))),
				 i < 3);
	/* Zap and unmap take the lock along. */
	weir__aspace_zap(as, PG(3), PG(4));
	weir__aspace_unmap(as, PG(4), PG(5));
	assert_regions(as, "aaaB.Cdd");
	assert_int_equal(as->nr_locked, 2);
	weir__lru_add_drain_all(e);
	assert_int_equal(weir__stat_read(e, STAT_nr_mlock), 1);
	/* It moves with its pages. */
	weir__aspace_move(as, PG(5), PG(10), PAGE_SIZE);
	assert_regions(as, "aaaB..cc..D");
	assert_int_equal(as->nr_locked, 2);
	weir__aspace_mlock(as, PG(0), PG(20), false);
	assert_regions(as, "aaaa..bb..c");
	assert_int_equal(as->nr_locked, 0);
	weir__lru_add_drain_all(e);
	assert_int_equal(weir__stat_read(e, STAT_nr_mlock), 0);
	weir__aspace_destroy(as);
}

/* A moved page keeps its frame and index and is found at its new address. */
static void test_move(void **state)
{
	struct space *s = *state;
	struct engine *e = &s->e;
	struct aspace *as = new_aspace(s);
	struct frame *f;
	uint64_t index;

	weir__region_add(as, PG(0), PG(6), REGION_WRITE);
	touch_all(as, 0, 3);
	space_swap_out(s, space_frame(as, PG(3)), true);
	f = space_frame(as, PG(2));
	index = f->index;
	assert_int_equal(weir__aspace_move(as, PG(2), PG(12), PAGE_SIZE * 3),
			 0);
	assert_regions(as, "aa...b......ccc.");
	assert_entries(as, "##----------#s--");
	assert_ptr_equal(space_frame(as, PG(12)), f);
	assert_true(f->index == index);
	assert_int_equal(space_walk(e, f), 1);
	assert_int_equal(as->nr_anon, 3);
	assert_int_equal(as->nr_swapents, 1);

	/* New pages there and at the old place. */
	space_touch(as, PG(14));
	assert_int_equal(space_walk(e, space_frame(as, PG(14))), 1);
	weir__region_add(as, PG(2), PG(3), REGION_WRITE);
	space_touch(as, PG(2));
	assert_int_equal(space_walk(e, space_frame(as, PG(2))), 1);
	assert_int_equal(space_walk(e, f), 1);
	assert_regions(as, "aaa..b......ccc.");

	/* Over another region, which goes. */
	assert_int_equal(weir__aspace_move(as, PG(12), PG(1), PAGE_SIZE * 3),
			 0);
	assert_ptr_equal(space_frame(as, PG(1)), f);
	assert_entries(as, "##s#------------");
	assert_true(weir__aspace_is_valid(as));
	assert_int_equal(space_walk(e, f), 1);
	/* Back where the indices fit, with the gap filled: one region. */
	assert_int_equal(weir__aspace_move(as, PG(1), PG(22), PAGE_SIZE * 3),
			 0);
	assert_int_equal(weir__aspace_move(as, PG(22), PG(2), PAGE_SIZE * 3),
			 0);
	weir__region_add(as, PG(1), PG(2), REGION_WRITE);
	assert_regions(as, "aaaaaa");
	weir__aspace_destroy(as);
}

/* Split by a move and put back, the pieces are one region again. */
static void test_move_back(void **state)
{
	struct aspace *as = new_aspace(*state);

	weir__region_add(as, PG(0), PG(6), REGION_WRITE);
	touch_all(as, 0, 5);
	weir__aspace_move(as, PG(2), PG(10), PAGE_SIZE * 2);
	assert_regions(as, "aa..bb....cc");
	weir__aspace_move(as, PG(10), PG(2), PAGE_SIZE * 2);
	assert_regions(as, "aaaaaa......");
	assert_entries(as, "######------");
	weir__aspace_destroy(as);
}

static void test_move_errors(void **state)
{
	struct aspace *as = new_aspace(*state);

	weir__region_add(as, PG(0), PG(3), REGION_WRITE);
	weir__region_add(as, PG(4), PG(6), REGION_WRITE);
	touch_all(as, 0, 2);
	assert_int_equal(weir__aspace_move(as, PG(0), PG(1), PAGE_SIZE * 2),
			 -EINVAL);
	assert_int_equal(weir__aspace_move(as, PG(1), PG(0), PAGE_SIZE * 2),
			 -EINVAL);
	assert_int_equal(weir__aspace_move(as, PG(0), PG(9), 0), -EINVAL);
	assert_int_equal(weir__aspace_move(as, PG(0), PG(9), 12), -EINVAL);
	assert_int_equal(weir__aspace_move(as, PG(0), PG(9), UINT64_MAX << 12),
			 -EINVAL);
	assert_int_equal(weir__aspace_move(as, PG(1), PG(9), PAGE_SIZE * 4),
			 -ENOENT);
	assert_regions(as, "aaa.bb");
	assert_entries(as, "###---");
	weir__aspace_destroy(as);
}

/* Several regions of different flags, over more than one table. */
static void test_move_many(void **state)
{
	struct space *s = *state;
	struct aspace *as = new_aspace(s);
	uint64_t to = PG(0) + ((uint64_t)1 << 40);

	weir__region_add(as, PG(0), PG(1100), REGION_WRITE);
	weir__region_flags(as, PG(3), PG(700), REGION_SEQ, 0);
	for (unsigned i = 0; i < 1100; i += 2)
		space_touch(as, PG(i));
	assert_int_equal(weir__aspace_move(as, PG(1), to, PAGE_SIZE * 1098), 0);
	assert_int_equal(as->nr_anon, 550);
	for (unsigned i = 2; i < 1098; i += 2)
		assert_int_equal(
			space_walk(&s->e, space_frame(as, to + PG(i - 1) -
							      PG(0))),
			1);
	assert_string_equal(space_regions(as, to, 4), "aabb");
	assert_true(weir__aspace_is_valid(as));
	weir__aspace_destroy(as);
}

/* A fault at the target while the pages are on their way: it sees BUSY. */
static unsigned looked;

static void look_at_target(struct fakehost *fh, _Atomic uint32_t *word)
{
	/* The source's page 1 is busy, so nothing behind it has moved. */
	assert_string_equal(space_entries(waiting, PG(20), 4), "#~~-");
	assert_string_equal(space_regions(waiting, PG(20), 4), "aaaa");
	looked++;
	space_end_busy(waiting, PG(1));
}

static void test_move_reserves(void **state)
{
	struct space *s = *state;
	struct aspace *as = new_aspace(s);

	weir__region_add(as, PG(0), PG(4), REGION_WRITE);
	touch_all(as, 0, 2);
	space_set_busy(as, PG(1));
	waiting = as;
	looked = 0;
	s->fh.on_wait = look_at_target;
	assert_int_equal(weir__aspace_move(as, PG(0), PG(20), PAGE_SIZE * 4),
			 0);
	assert_int_equal(looked, 1);
	assert_string_equal(space_entries(as, PG(20), 4), "###-");
	assert_true(weir__aspace_is_valid(as));
	weir__aspace_destroy(as);
}

/* The owner lets the page go instead, and the program touches the source
 * again: nothing stays reserved, nothing is lost. */
static void owner_drops(struct fakehost *fh, _Atomic uint32_t *word)
{
	struct engine *e = waiting->engine;
	struct frame *f = space_frame(waiting, PG(1));

	weir__spin_lock(e, &waiting->lock);
	pte_store(weir__pte(waiting, PG(1)), 0);
	weir__page_remove_rmap(e, f);
	waiting->nr_anon--;
	weir__pte_busy_end(waiting);
	weir__spin_unlock(e, &waiting->lock);
	weir__page_put(e, f);
	space_touch(waiting, PG(3));
	space_touch(waiting, PG(23)); /* and the target, at once */
}

static void test_move_raced(void **state)
{
	struct space *s = *state;
	struct aspace *as = new_aspace(s);
	struct frame *f;

	weir__region_add(as, PG(0), PG(4), REGION_WRITE);
	touch_all(as, 0, 2);
	space_set_busy(as, PG(1));
	waiting = as;
	s->fh.on_wait = owner_drops;
	assert_int_equal(weir__aspace_move(as, PG(0), PG(20), PAGE_SIZE * 4),
			 0);
	assert_string_equal(space_entries(as, PG(20), 4), "#-##");
	assert_regions(as, "....");
	f = space_frame(as, PG(23));
	assert_int_equal(space_walk(&s->e, f), 1);
	assert_int_equal(as->nr_anon, 3);
	weir__aspace_destroy(as);
}

/* The walker can say no. */
static void test_canary(void **state)
{
	struct aspace *as = new_aspace(*state);
	struct region *r;
	struct frame *f;

	weir__region_add(as, PG(0), PG(4), REGION_WRITE);
	f = space_touch(as, PG(1));
	assert_true(weir__aspace_is_valid(as));
	as->nr_anon++;
	assert_false(weir__aspace_is_valid(as));
	as->nr_anon--;
	as->nr_locked++;
	assert_false(weir__aspace_is_valid(as));
	as->nr_locked--;
	f->index++;
	assert_false(weir__aspace_is_valid(as));
	f->index--;
	f->mapcount++; /* writable and shared */
	assert_false(weir__aspace_is_valid(as));
	f->mapcount--;
	r = weir__region_find(as, PG(1));
	r->pgoff++;
	assert_false(weir__aspace_is_valid(as));
	r->pgoff--;
	assert_true(weir__aspace_is_valid(as));
	weir__aspace_destroy(as);
}

/* A pinned address space outlives its destruction. */
static void test_pinned(void **state)
{
	struct space *s = *state;
	struct aspace *as = new_aspace(s);

	weir__region_add(as, PG(0), PG(4), REGION_WRITE);
	touch_all(as, 0, 3);
	as->users++;
	weir__aspace_destroy(as);
	assert_true(list_empty(&s->e.aspaces));
	assert_true(as->flags & ASPACE_DYING);
	assert_int_equal(as->nr_anon, 0);
	weir__aspace_put(as);
}

#define T(f) cmocka_unit_test_setup_teardown(f, space_setup, space_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_add),	       T(test_merge),
		T(test_merge_anon),    T(test_grow),
		T(test_unmap),	       T(test_unmap_no_memory),
		T(test_zap),	       T(test_zap_swap_cache),
		T(test_busy),	       T(test_mlock),
		T(test_move),	       T(test_move_back),
		T(test_move_errors),   T(test_move_many),
		T(test_move_reserves), T(test_move_raced),
		T(test_canary),	       T(test_pinned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
