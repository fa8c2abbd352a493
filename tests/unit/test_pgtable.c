/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "space.h"

#define GIB ((uint64_t)1 << 30)

static struct aspace *new_aspace(struct space *s)
{
	struct aspace *as;

	assert_int_equal(weir__aspace_create(&s->e, NULL, &as), 0);
	return as;
}

static void set(struct aspace *as, uint64_t addr, uint64_t v)
{
	if (v)
		assert_int_equal(weir__pte_alloc(as, addr, addr + PAGE_SIZE,
						 GFP_KERNEL),
				 0);
	weir__spin_lock(as->engine, &as->lock);
	pte_store(weir__pte(as, addr), v);
	weir__spin_unlock(as->engine, &as->lock);
}

/* Tables: the root; three more for a lonely page; none for a neighbour. */
static void test_tables(void **state)
{
	struct aspace *as = new_aspace(*state);
	uint64_t top = WEIR_ADDR_MAX - PAGE_SIZE;

	assert_int_equal(as->nr_ptpages, 1);
	assert_int_equal(space_pte(as, 0), 0);
	set(as, 0, PTE_POISON);
	assert_int_equal(as->nr_ptpages, 4);
	set(as, PTE_TABLE_SPAN - PAGE_SIZE, PTE_POISON);
	assert_int_equal(as->nr_ptpages, 4);
	set(as, PTE_TABLE_SPAN, PTE_POISON); /* the next leaf */
	assert_int_equal(as->nr_ptpages, 5);
	set(as, GIB, PTE_POISON); /* a directory and a leaf */
	assert_int_equal(as->nr_ptpages, 7);
	set(as, top, PTE_POISON | PTE_BUSY);
	assert_int_equal(as->nr_ptpages, 10);
	assert_int_equal(weir__stat_read(as->engine,
					 STAT_nr_page_table_pages), 10);
	assert_true(weir__pgtable_is_valid(as));
	assert_true(space_pte(as, top) == (PTE_POISON | PTE_BUSY));
	assert_true(space_pte(as, top - PAGE_SIZE) == 0);
	weir__spin_lock(as->engine, &as->lock);
	assert_null(weir__pte(as, WEIR_ADDR_MAX));
	assert_null(weir__pte(as, UINT64_MAX));
	assert_null(weir__pte(as, GIB * 700));
	weir__spin_unlock(as->engine, &as->lock);

	set(as, 0, 0);
	set(as, PTE_TABLE_SPAN - PAGE_SIZE, 0);
	set(as, PTE_TABLE_SPAN, 0);
	set(as, GIB, 0);
	set(as, top, 0);
	weir__aspace_destroy(as);
}

static void test_alloc_range(void **state)
{
	struct aspace *as = new_aspace(*state);

	/* Two bytes of overlap are two tables; asking again costs nothing. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(weir__pte_alloc(as, PTE_TABLE_SPAN - PAGE_SIZE,
						 PTE_TABLE_SPAN + PAGE_SIZE,
						 GFP_KERNEL),
				 0);
		assert_int_equal(as->nr_ptpages, 1 + 2 + 2);
	}
	weir__aspace_destroy(as);
}

struct seen {
	unsigned nr, stop_at;
	uint64_t addr[16];
};

static int see(struct aspace *as, uint64_t addr, pte_t *pte, void *arg)
{
	struct seen *s = arg;

	s->addr[s->nr++] = addr;
	return s->nr == s->stop_at ? 42 : 0;
}

static int walk(struct aspace *as, uint64_t start, uint64_t end, struct seen *s)
{
	int ret;

	weir__spin_lock(as->engine, &as->lock);
	ret = weir__pte_walk(as, start, end, see, s);
	weir__spin_unlock(as->engine, &as->lock);
	return ret;
}

static void test_walk(void **state)
{
	static const uint64_t at[] = {
		0, PAGE_SIZE * 3, PTE_TABLE_SPAN, GIB * 5, GIB * 513,
		((uint64_t)1 << 47) - PAGE_SIZE, WEIR_ADDR_MAX - PAGE_SIZE};
	struct aspace *as = new_aspace(*state);
	struct seen all = {0}, some = {0}, none = {0}, stop = {.stop_at = 2};

	for (unsigned i = 0; i < 7; i++)
		set(as, at[i], PTE_POISON);
	assert_int_equal(walk(as, 0, UINT64_MAX, &all), 0);
	assert_int_equal(all.nr, 7);
	assert_memory_equal(all.addr, at, sizeof(at));
	/* The ends: start is in, end is out. */
	assert_int_equal(walk(as, at[1], at[4], &some), 0);
	assert_int_equal(some.nr, 3);
	assert_memory_equal(some.addr, &at[1], 3 * sizeof(at[0]));
	assert_int_equal(walk(as, PAGE_SIZE, PAGE_SIZE * 3, &none), 0);
	assert_int_equal(none.nr, 0);
	assert_int_equal(walk(as, 0, WEIR_ADDR_MAX, &stop), 42);
	assert_int_equal(stop.nr, 2);
	for (unsigned i = 0; i < 7; i++)
		set(as, at[i], 0);
	weir__aspace_destroy(as);
}

/*
 * leaf:     0    1    2          1 GiB
 * entries   -    x    -    ...   -
 */
static void test_trim(void **state)
{
	struct aspace *as = new_aspace(*state);
	uint64_t live = PTE_TABLE_SPAN + PAGE_SIZE * 7;

	assert_int_equal(weir__pte_alloc(as, 0, 3 * PTE_TABLE_SPAN, GFP_KERNEL),
			 0);
	assert_int_equal(weir__pte_alloc(as, GIB, GIB + PAGE_SIZE, GFP_KERNEL),
			 0);
	set(as, live, PTE_POISON);
	assert_int_equal(as->nr_ptpages, 1 + 2 + 3 + 2);
	/* Outside the range nothing is touched. */
	weir__pgtable_trim(as, PTE_TABLE_SPAN, PTE_TABLE_SPAN + PAGE_SIZE);
	assert_int_equal(as->nr_ptpages, 8);
	/* One empty page of an empty table is enough. */
	weir__pgtable_trim(as, PAGE_SIZE, 2 * PAGE_SIZE);
	assert_int_equal(as->nr_ptpages, 7);
	weir__pgtable_trim(as, 0, WEIR_ADDR_MAX);
	assert_int_equal(as->nr_ptpages, 1 + 2 + 1);
	assert_true(space_pte(as, live) == PTE_POISON);
	/* BUSY alone keeps a table. */
	set(as, live, PTE_BUSY);
	weir__pgtable_trim(as, 0, WEIR_ADDR_MAX);
	assert_int_equal(as->nr_ptpages, 4);
	set(as, live, 0);
	weir__pgtable_trim(as, 0, WEIR_ADDR_MAX);
	assert_int_equal(as->nr_ptpages, 1);
	assert_true(weir__pgtable_is_valid(as));
	weir__aspace_destroy(as);
}

/* The N-th table cannot be had; N rises until all can. */
static void test_no_memory(void **state)
{
	struct space *s = *state;
	struct engine *e = &s->e;
	LIST_HEAD(hoard);
	unsigned fails = 0;

	e->alloc_slow = NULL;
	for (unsigned spare = 0;; spare++) {
		struct aspace *as = new_aspace(s);
		struct frame *f, *tmp;
		int ret;

		while ((f = weir__frames_alloc(e, GFP_NOWAIT, 0)))
			list_add(&f->lru, &hoard);
		for (unsigned i = 0; i < spare; i++) {
			f = list_first_entry(&hoard, struct frame, lru);
			list_del(&f->lru);
			weir__frames_free(e, f, 0);
		}
		ret = weir__pte_alloc(as, GIB, GIB + PAGE_SIZE, GFP_NOWAIT);
		list_for_each_entry_safe(f, tmp, &hoard, lru)
			weir__frames_free(e, f, 0);
		list_init(&hoard);
		assert_true(weir__pgtable_is_valid(as));
		weir__aspace_destroy(as);
		if (!ret)
			break;
		assert_int_equal(ret, -ENOMEM);
		fails++;
	}
	assert_true(fails >= 3);
}

static struct aspace *waiting;
static uint64_t busy_addr;

static void other_task(struct fakehost *fh, _Atomic uint32_t *word)
{
	assert_ptr_equal(word, &waiting->busy_word);
	assert_int_equal(waiting->busy_waiters, 1);
	assert_int_equal(waiting->lock.word, 0); /* dropped while asleep */
	space_end_busy(waiting, busy_addr);
}

static void test_busy(void **state)
{
	struct space *s = *state;
	struct aspace *as = new_aspace(s);
	uint32_t word = as->busy_word;

	/* Nobody waits: nobody is woken, the word stays. */
	set(as, 0, PTE_BUSY);
	space_end_busy(as, 0);
	assert_int_equal(as->busy_word, word);
	assert_int_equal(s->fh.nr_wakes, 0);

	set(as, 0, PTE_BUSY);
	waiting = as;
	busy_addr = 0;
	s->fh.on_wait = other_task;
	weir__spin_lock(&s->e, &as->lock);
	while (pte_load(weir__pte(as, 0)) & PTE_BUSY)
		weir__pte_busy_wait(as);
	weir__spin_unlock(&s->e, &as->lock);
	assert_int_equal(s->fh.nr_waits, 1);
	assert_int_equal(s->fh.nr_wakes, 1);
	assert_int_equal(as->busy_waiters, 0);
	assert_int_not_equal(as->busy_word, word);
	weir__aspace_destroy(as);
}

static void test_entry_bits(void **state)
{
	static const uint64_t bad[] = {
		PTE_WRITE,	       PTE_PRESENT | PTE_SWAP,
		PTE_HINT,	       PTE_SWAP, /* of nothing */
		PTE_POISON | PTE_HINT, PTE_DIRTY | PTE_BUSY};
	struct aspace *as = new_aspace(*state);
	swp_entry_t slot = swp_entry(3, 0x123456789);
	uint64_t v = pte_mk_swap(slot, PTE_EXCLUSIVE);

	assert_int_equal(swp_type(slot), 3);
	assert_true(swp_offset(slot) == 0x123456789);
	assert_true(pte_swap(v) == slot);
	assert_int_equal(pte_pfn(pte_mk(77, PTE_HINT | PTE_BUSY)), 77);

	set(as, 0, pte_mk(77, PTE_HINT | PTE_DIRTY));
	assert_true(weir__pgtable_is_valid(as));
	set(as, 0, v);
	assert_true(weir__pgtable_is_valid(as));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		set(as, 0, bad[i]);
		assert_false(weir__pgtable_is_valid(as));
	}
	set(as, 0, pte_mk(SPACE_FRAMES, 0)); /* no such frame */
	assert_false(weir__pgtable_is_valid(as));
	set(as, 0, 0);
	as->nr_ptpages++;
	assert_false(weir__pgtable_is_valid(as));
	as->nr_ptpages--;
	weir__aspace_destroy(as);
}

#define T(f) cmocka_unit_test_setup_teardown(f, space_setup, space_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_tables), T(test_alloc_range), T(test_walk),
		T(test_trim),	T(test_no_memory),   T(test_busy),
		T(test_entry_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
