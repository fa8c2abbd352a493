/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "space.h"

#define BASE  ((uint64_t)0x10000000)
#define PG(n) (BASE + (uint64_t)(n) * PAGE_SIZE)

static struct aspace *new_aspace(struct space *s)
{
	struct aspace *as;

	assert_int_equal(weir__aspace_create(&s->e, NULL, &as), 0);
	return as;
}

static struct aspace *forked(struct aspace *parent)
{
	struct aspace *child;

	assert_int_equal(weir__aspace_create(parent->engine, NULL, &child), 0);
	assert_int_equal(weir__aspace_fork(parent, child), 0);
	assert_true(weir__aspace_is_valid(parent));
	assert_true(weir__aspace_is_valid(child));
	return child;
}

static struct region *region(struct aspace *as, uint64_t addr)
{
	struct region *r;

	weir__spin_lock(as->engine, &as->lock);
	r = weir__region_find(as, addr);
	weir__spin_unlock(as->engine, &as->lock);
	assert_non_null(r);
	return r;
}

struct found {
	unsigned nr;
	struct aspace *as[8];
	uint64_t addr[8];
};

static int collect(struct region *r, uint64_t addr, pte_t *pte, void *arg)
{
	struct found *f = arg;

	weir__spin_assert_held(r->as->engine, &r->as->lock);
	f->as[f->nr] = r->as;
	f->addr[f->nr++] = addr;
	return 0;
}

static struct found walk(struct engine *e, struct frame *f)
{
	struct found found = {0};

	weir__frame_lock(e, f);
	assert_int_equal(weir__rmap_walk(e, f, false, collect, &found), 0);
	weir__frame_unlock(e, f);
	return found;
}

static bool found_in(const struct found *f, struct aspace *as, uint64_t addr)
{
	for (unsigned i = 0; i < f->nr; i++)
		if (f->as[i] == as && f->addr[i] == addr)
			return true;
	return false;
}

/* T: page A of the parent, forked, page B by copy-on-write in the child.
 * A visits both, B the child only. */
static void test_fork_and_cow(void **state)
{
	struct space *s = *state;
	struct aspace *parent = new_aspace(s), *child;
	struct frame *a, *b;
	struct found found;

	weir__region_add(parent, PG(0), PG(8), REGION_WRITE);
	a = space_touch(parent, PG(1));
	space_touch(parent, PG(2));
	child = forked(parent);
	b = space_cow(child, PG(2));

	found = walk(&s->e, a);
	assert_int_equal(found.nr, 2);
	assert_true(found_in(&found, parent, PG(1)));
	assert_true(found_in(&found, child, PG(1)));
	found = walk(&s->e, b);
	assert_int_equal(found.nr, 1);
	assert_true(found_in(&found, child, PG(2)));
	/* B does not even look at the parent. */
	assert_int_equal(weir__frame_anon_vma(b)->tree.nr, 1);
	assert_int_equal(weir__frame_anon_vma(a)->tree.nr, 2);
	weir__aspace_destroy(parent);
	assert_int_equal(walk(&s->e, a).nr, 1);
	weir__aspace_destroy(child);
}

/* T: depth 3: the grandparent's page is found in all three; each generation's
 * own pages in itself and below. */
static void test_three_generations(void **state)
{
	struct space *s = *state;
	struct aspace *as[3];
	struct frame *f[3];

	as[0] = new_aspace(s);
	weir__region_add(as[0], PG(0), PG(8), REGION_WRITE);
	f[0] = space_touch(as[0], PG(0));
	as[1] = forked(as[0]);
	f[1] = space_touch(as[1], PG(1));
	as[2] = forked(as[1]);
	f[2] = space_touch(as[2], PG(2));
	for (unsigned i = 0; i < 3; i++) {
		struct found found = walk(&s->e, f[i]);

		assert_int_equal(found.nr, 3 - i);
		for (unsigned k = i; k < 3; k++)
			assert_true(found_in(&found, as[k], PG(i)));
	}
	/* The middle one goes first: its links do not matter to the others. */
	weir__aspace_destroy(as[1]);
	assert_true(weir__aspace_is_valid(as[0]));
	assert_true(weir__aspace_is_valid(as[2]));
	assert_int_equal(walk(&s->e, f[0]).nr, 2);
	assert_int_equal(walk(&s->e, f[1]).nr, 1);
	weir__aspace_destroy(as[0]);
	assert_int_equal(walk(&s->e, f[0]).nr, 1);
	assert_true(weir__aspace_is_valid(as[2]));
	weir__aspace_destroy(as[2]);
}

/* T: mapcount after 0, 1, 2, 3 mappings is -1, 0, 1, 2; page_mapcount one
 * more. */
static void test_mapcount(void **state)
{
	struct space *s = *state;
	struct aspace *as[3];
	struct frame *f;

	as[0] = new_aspace(s);
	weir__region_add(as[0], PG(0), PG(1), REGION_WRITE);
	f = space_touch_bare(as[0], PG(0));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(f->mapcount, i);
		assert_int_equal(weir__page_mapcount(f), i + 1);
		assert_int_equal(space_walk(&s->e, f), i + 1);
		if (i < 2)
			as[i + 1] = forked(as[i]);
	}
	assert_int_equal(weir__stat_read(&s->e, STAT_nr_anon_pages), 1);
	weir__frame_get(f);
	for (int i = 2; i >= 0; i--) {
		weir__aspace_destroy(as[i]);
		assert_int_equal(f->mapcount, i - 1);
		assert_int_equal(weir__page_mapcount(f), i);
		assert_int_equal(f->refcount, i + 1);
	}
	assert_int_equal(weir__stat_read(&s->e, STAT_nr_anon_pages), 0);
	/* Nothing maps it and its anon_vma is gone: the walk says so and does
	 * not follow the pointer. */
	assert_int_equal(space_walk(&s->e, f), 0);
	weir__page_put(&s->e, f);
}

/* T: the tag is bit 0 and the pointer comes back. */
static void test_tag(void **state)
{
	struct space *s = *state;
	struct aspace *as = new_aspace(s);
	struct frame *f;

	weir__region_add(as, PG(0), PG(2), REGION_WRITE);
	f = space_touch(as, PG(1));
	assert_int_equal(f->mapping & 3, MAPPING_ANON);
	assert_ptr_equal(weir__frame_anon_vma(f), region(as, PG(1))->anon_vma);
	assert_true(f->index == PG(1) >> PAGE_SHIFT);
	assert_true(frame_test(f, FRAME_EXCLUSIVE));
	assert_true(frame_test(f, FRAME_SWAPBACKED));
	weir__aspace_destroy(as);
}

/* An entry that holds another frame, a swap entry, or HINT. */
static void test_walk_looks_at_entry(void **state)
{
	struct space *s = *state;
	struct aspace *parent = new_aspace(s), *child;
	struct frame *f;

	weir__region_add(parent, PG(0), PG(4), REGION_WRITE);
	f = space_touch(parent, PG(0));
	child = forked(parent);
	assert_int_equal(space_walk(&s->e, f), 2);
	space_cow(child, PG(0));
	assert_int_equal(space_walk(&s->e, f), 1);
	/* Unmapped but still in its frame counts as mapped; so does BUSY. */
	pte_set(weir__pte(parent, PG(0)), PTE_HINT | PTE_BUSY);
	assert_int_equal(space_walk(&s->e, f), 1);
	pte_clear(weir__pte(parent, PG(0)), PTE_HINT | PTE_BUSY);
	weir__aspace_destroy(parent);
	weir__aspace_destroy(child);
}

static int stop_here(struct region *r, uint64_t addr, pte_t *pte, void *arg)
{
	++*(int *)arg;
	return 7;
}

static void test_stop_and_try(void **state)
{
	struct space *s = *state;
	struct aspace *parent = new_aspace(s), *child;
	struct frame *f;
	int calls = 0;

	weir__region_add(parent, PG(0), PG(1), REGION_WRITE);
	f = space_touch(parent, PG(0));
	child = forked(parent);
	weir__frame_lock(&s->e, f);
	assert_int_equal(weir__rmap_walk(&s->e, f, false, stop_here, &calls),
			 7);
	assert_int_equal(calls, 1);
	assert_int_equal(weir__rmap_walk(&s->e, f, true, stop_here, &calls), 7);
	/* Somebody else holds an aspace's lock. */
	child->lock.word = 1;
	parent->lock.word = 1;
	calls = 0;
	assert_int_equal(weir__rmap_walk(&s->e, f, true, stop_here, &calls),
			 -EBUSY);
	assert_int_equal(calls, 0);
	child->lock.word = 0;
	parent->lock.word = 0;
	weir__frame_unlock(&s->e, f);
	assert_int_equal(s->e.rmap_lock.word, 0);
	weir__aspace_destroy(child);
	weir__aspace_destroy(parent);
}

/* A region next to one with an anon_vma that it may join one day shares it. */
static void test_share_neighbour(void **state)
{
	struct space *s = *state;
	struct aspace *as = new_aspace(s), *child;

	/* aabbcc, b locked */
	weir__region_add(as, PG(0), PG(2), REGION_WRITE);
	weir__region_add(as, PG(2), PG(4), REGION_WRITE | REGION_LOCKED);
	weir__region_add(as, PG(4), PG(6), REGION_WRITE);
	assert_string_equal(space_regions(as, PG(0), 6), "aaBBcc");
	space_touch(as, PG(3));
	space_touch(as, PG(0));
	space_touch(as, PG(5));
	assert_ptr_equal(region(as, PG(0))->anon_vma,
			 region(as, PG(2))->anon_vma);
	assert_ptr_equal(region(as, PG(4))->anon_vma,
			 region(as, PG(2))->anon_vma);
	assert_int_equal(region(as, PG(0))->anon_vma->nr_active, 3);
	assert_true(weir__aspace_is_valid(as));
	/* ... so that it can. */
	weir__aspace_mlock(as, PG(0), PG(6), false);
	assert_string_equal(space_regions(as, PG(0), 6), "aaaaaa");
	assert_true(weir__aspace_is_valid(as));

	/* In the child the chain is longer: a new neighbour starts afresh. */
	child = forked(as);
	weir__region_add(child, PG(6), PG(8), REGION_WRITE | REGION_SEQ);
	space_touch(child, PG(6));
	assert_ptr_not_equal(region(child, PG(6))->anon_vma,
			     region(child, PG(0))->anon_vma);
	weir__aspace_destroy(as);
	weir__aspace_destroy(child);
}

/* Each generation exits after its fork: chains must not grow for ever. */
static void test_reuse(void **state)
{
	struct space *s = *state;
	struct aspace *as = new_aspace(s), *child;

	weir__region_add(as, PG(0), PG(4), REGION_WRITE);
	space_touch(as, PG(0));
	for (unsigned i = 0; i < 12; i++) {
		child = forked(as);
		space_cow(child, PG(0));
		weir__aspace_destroy(as);
		as = child;
		assert_true(weir__aspace_is_valid(as));
		assert_true(weir__anon_vma_links(region(as, PG(0))) <= 4);
	}
	weir__aspace_destroy(as);
}

/* A page read back from swap: whose is it? */
static void test_swap_in_owner(void **state)
{
	struct space *s = *state;
	struct engine *e = &s->e;
	struct aspace *parent = new_aspace(s), *child;
	struct frame *f[2];
	struct region *r;

	weir__region_add(parent, PG(0), PG(4), REGION_WRITE);
	space_touch(parent, PG(3));
	child = forked(parent);
	r = region(child, PG(0));
	for (unsigned i = 0; i < 2; i++) {
		f[i] = weir__frames_alloc(e, GFP_HIGHUSER_MOVABLE, 0);
		weir__pte_alloc(child, PG(i), PG(i) + PAGE_SIZE, GFP_KERNEL);
		if (i)
			weir__frame_set(f[i], FRAME_EXCLUSIVE);
		weir__frame_lock(e, f[i]);
		weir__spin_lock(e, &child->lock);
		weir__page_add_anon_rmap(e, f[i], r, PG(i));
		pte_store(weir__pte(child, PG(i)),
			  pte_mk(weir__pfn(e, f[i]), 0));
		child->nr_anon++;
		weir__spin_unlock(e, &child->lock);
		weir__frame_unlock(e, f[i]);
	}
	/* Perhaps shared: the root's, where parent and child are found. */
	assert_ptr_equal(weir__frame_anon_vma(f[0]),
			 region(parent, PG(0))->anon_vma);
	assert_ptr_equal(weir__frame_anon_vma(f[1]), r->anon_vma);
	assert_int_equal(space_walk(e, f[0]), 1);
	/* Proved to be nobody else's after all. */
	weir__frame_lock(e, f[0]);
	weir__spin_lock(e, &child->lock);
	weir__page_move_anon_rmap(e, f[0], r);
	weir__spin_unlock(e, &child->lock);
	weir__frame_unlock(e, f[0]);
	assert_ptr_equal(weir__frame_anon_vma(f[0]), r->anon_vma);
	assert_true(frame_test(f[0], FRAME_EXCLUSIVE));
	assert_int_equal(space_walk(e, f[0]), 1);
	assert_true(weir__aspace_is_valid(child));
	weir__aspace_destroy(parent);
	weir__aspace_destroy(child);
}

static void test_prepare(void **state)
{
	struct space *s = *state;
	struct aspace *as = new_aspace(s);
	struct anon_vma *av;

	assert_int_equal(weir__anon_vma_prepare(as, PG(0)), -EFAULT);
	weir__region_add(as, PG(0), PG(1), 0);
	assert_null(region(as, PG(0))->anon_vma);
	assert_int_equal(weir__anon_vma_prepare(as, PG(0)), 0);
	av = region(as, PG(0))->anon_vma;
	assert_non_null(av);
	assert_int_equal(weir__anon_vma_prepare(as, PG(0)), 0);
	assert_ptr_equal(region(as, PG(0))->anon_vma, av);
	assert_true(weir__anon_vma_is_valid(av));
	av->nr_active++;
	assert_false(weir__anon_vma_is_valid(av));
	av->nr_active--;
	weir__aspace_destroy(as);
}

#define T(f) cmocka_unit_test_setup_teardown(f, space_setup, space_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_fork_and_cow),
		T(test_three_generations),
		T(test_mapcount),
		T(test_tag),
		T(test_walk_looks_at_entry),
		T(test_stop_and_try),
		T(test_share_neighbour),
		T(test_reuse),
		T(test_swap_in_owner),
		T(test_prepare),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
