/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "space.h"

#define BASE  ((uint64_t)0x10000000)
#define PG(n) (BASE + (uint64_t)(n) * PAGE_SIZE)

#define assert_drawn(drawn, drawing) assert_string_equal(drawn, drawing)

static struct aspace *new_aspace(struct space *s)
{
	struct aspace *as;

	assert_int_equal(weir__aspace_create(&s->e, NULL, &as), 0);
	return as;
}

static void fork_into(struct aspace *parent, struct aspace *child)
{
	assert_int_equal(weir__aspace_fork(parent, child), 0);
	assert_true(weir__aspace_is_valid(parent));
	assert_true(weir__aspace_is_valid(child));
}

/* T: present: both read-only, mapcount + 1, reference + 1, exclusive cleared;
 * swap: count + 1. */
static void test_entries(void **state)
{
	struct space *s = *state;
	struct engine *e = &s->e;
	struct aspace *parent = new_aspace(s), *child = new_aspace(s);
	struct frame *f;
	swp_entry_t slot;
	uint64_t protects = s->fh.nr_protects;

	weir__region_add(parent, PG(0), PG(6), REGION_WRITE);
	f = space_touch_bare(parent, PG(0));
	space_touch(parent, PG(1)); /* goes to swap */
	space_touch(parent, PG(2)); /* HINT */
	space_touch(parent, PG(3)); /* already trapped */
	slot = space_swap_out(s, space_frame(parent, PG(1)), true);
	pte_set(weir__pte(parent, PG(1)), PTE_EXCLUSIVE);
	pte_set(weir__pte(parent, PG(2)), PTE_HINT);
	pte_clear(weir__pte(parent, PG(3)), PTE_WRITE);
	pte_set(weir__pte(parent, PG(0)), PTE_ACCESSED);
	weir__pte_alloc(parent, PG(4), PG(5), GFP_KERNEL);
	pte_store(weir__pte(parent, PG(4)), PTE_POISON);

	fork_into(parent, child);
	assert_drawn(space_entries(parent, PG(0), 6), "rshr!-");
	assert_drawn(space_entries(child, PG(0), 6), "rshr!-");
	assert_ptr_equal(space_frame(child, PG(0)), f);
	assert_int_equal(weir__page_mapcount(f), 2);
	assert_int_equal(f->refcount, 2);
	assert_false(frame_test(f, FRAME_EXCLUSIVE));
	assert_int_equal(weir__swap_count(e, slot), 2);
	assert_true(space_pte(parent, PG(1)) == pte_mk_swap(slot, 0));
	assert_true(space_pte(child, PG(1)) == pte_mk_swap(slot, 0));
	assert_int_equal(child->nr_anon, 3);
	assert_int_equal(child->nr_swapents, 1);
	/* The parent's history stays the parent's; what was written stays
	 * written. */
	assert_true(space_pte(parent, PG(0)) & PTE_ACCESSED);
	assert_false(space_pte(child, PG(0)) & PTE_ACCESSED);
	assert_true(space_pte(child, PG(0)) & PTE_DIRTY);
	/* Only page 0 was in place and writable. */
	assert_int_equal(s->fh.nr_protects - protects, 1);

	weir__aspace_destroy(parent);
	assert_int_equal(weir__page_mapcount(f), 1);
	assert_int_equal(weir__swap_count(e, slot), 1);
	weir__aspace_destroy(child);
}

static void test_region_flags(void **state)
{
	struct space *s = *state;
	struct aspace *parent = new_aspace(s), *child = new_aspace(s);

	weir__region_add(parent, PG(0), PG(2), REGION_WRITE);
	weir__region_add(parent, PG(2), PG(4), REGION_WRITE | REGION_DONTFORK);
	weir__region_add(parent, PG(4), PG(6),
			 REGION_WRITE | REGION_WIPEONFORK);
	weir__region_add(parent, PG(6), PG(8), REGION_WRITE | REGION_LOCKED);
	weir__region_add(parent, PG(8), PG(9), REGION_WRITE | REGION_RAND);
	for (unsigned i = 0; i < 9; i++)
		space_touch(parent, PG(i));
	fork_into(parent, child);
	assert_drawn(space_regions(parent, PG(0), 9), "aabbccDDe");
	assert_drawn(space_regions(child, PG(0), 9), "aa..bbccd");
	assert_drawn(space_entries(parent, PG(0), 9), "rr####rrr");
	assert_drawn(space_entries(child, PG(0), 9), "rr----rrr");
	assert_int_equal(child->nr_locked, 0);
	/* The wiped region is the child's from the start. */
	space_touch(child, PG(4));
	assert_int_equal(space_walk(&s->e, space_frame(child, PG(4))), 1);
	assert_true(weir__aspace_is_valid(child));
	weir__aspace_destroy(child);
	weir__aspace_destroy(parent);
}

/* More than a batch, more than a table, a moved region, far apart. */
static void test_many(void **state)
{
	struct space *s = *state;
	struct aspace *parent = new_aspace(s), *child = new_aspace(s);
	uint64_t far = PG(0) + ((uint64_t)1 << 42);

	weir__region_add(parent, PG(0), PG(1200), REGION_WRITE);
	for (unsigned i = 0; i < 1200; i += 3)
		space_touch(parent, PG(i));
	assert_int_equal(weir__aspace_move(parent, PG(300), far,
					   PAGE_SIZE * 300),
			 0);
	fork_into(parent, child);
	assert_int_equal(child->nr_anon, 400);
	assert_int_equal(s->fh.nr_protects, 400);
	for (unsigned i = 0; i < 300; i += 3)
		assert_int_equal(space_walk(&s->e,
					    space_frame(child, far + PG(i) -
								       BASE)),
				 2);
	weir__aspace_destroy(parent);
	assert_true(weir__aspace_is_valid(child));
	weir__aspace_destroy(child);
}

/* The child may itself move and split what it got. */
static void test_child_moves(void **state)
{
	struct space *s = *state;
	struct aspace *parent = new_aspace(s), *child = new_aspace(s);
	struct frame *f;

	weir__region_add(parent, PG(0), PG(8), REGION_WRITE);
	f = space_touch(parent, PG(4));
	fork_into(parent, child);
	weir__aspace_move(child, PG(2), PG(30), PAGE_SIZE * 4);
	assert_ptr_equal(space_frame(child, PG(32)), f);
	assert_int_equal(space_walk(&s->e, f), 2);
	weir__aspace_unmap(parent, PG(3), PG(4));
	assert_int_equal(space_walk(&s->e, f), 2);
	weir__aspace_unmap(parent, PG(4), PG(5));
	assert_int_equal(space_walk(&s->e, f), 1);
	weir__aspace_destroy(parent);
	weir__aspace_destroy(child);
}

static struct aspace *waiting;
static unsigned waits;

static void owner_ends(struct fakehost *fh, _Atomic uint32_t *word)
{
	waits++;
	space_end_busy(waiting, PG(2));
}

static void test_busy(void **state)
{
	struct space *s = *state;
	struct aspace *parent = new_aspace(s), *child = new_aspace(s);

	weir__region_add(parent, PG(0), PG(4), REGION_WRITE);
	for (unsigned i = 0; i < 4; i++)
		space_touch(parent, PG(i));
	space_set_busy(parent, PG(2));
	waiting = parent;
	waits = 0;
	s->fh.on_wait = owner_ends;
	fork_into(parent, child);
	assert_int_equal(waits, 1);
	assert_drawn(space_entries(child, PG(0), 4), "rrrr");
	assert_int_equal(parent->busy_waiters, 0);
	weir__aspace_destroy(parent);
	weir__aspace_destroy(child);
}

/* What the host sees when it is asked to protect. */
static void (*real_protect)(struct weir_host *h, void *as, struct weir_vec *v,
			    unsigned nr);
static int refuse_with;

static void protect(struct weir_host *h, void *cookie, struct weir_vec *v,
		    unsigned nr)
{
	real_protect(h, cookie, v, nr);
	for (unsigned i = 0; i < nr; i++) {
		struct aspace *as = waiting;
		uint64_t pte;

		assert_ptr_equal(cookie, as->host);
		assert_int_equal(v[i].flags, 0);
		if (i)
			assert_true(v[i].addr > v[i - 1].addr);
		pte = space_pte(as, v[i].addr);
		assert_true(pte & PTE_BUSY);
		assert_false(pte & PTE_WRITE);
		assert_int_equal(pte_pfn(pte), v[i].pfn);
		if (v[i].addr == PG(2))
			v[i].status = (int16_t)refuse_with;
	}
}

static struct weir_host_ops ops;

static void hook_protect(struct space *s, struct aspace *as, int status)
{
	ops = *s->fh.host.ops;
	real_protect = ops.protect;
	ops.protect = protect;
	s->fh.host.ops = &ops;
	waiting = as;
	refuse_with = status;
}

/* One page cannot be trapped: no fork, and the parent can write it as before.
 * The others are trapped for nothing, which costs a fault each. */
static void test_protect_refused(void **state)
{
	struct space *s = *state;
	struct aspace *parent = new_aspace(s), *child = new_aspace(s);

	weir__region_add(parent, PG(0), PG(4), REGION_WRITE);
	for (unsigned i = 0; i < 4; i++)
		space_touch(parent, PG(i));
	hook_protect(s, parent, -EAGAIN);
	assert_int_equal(weir__aspace_fork(parent, child), -EAGAIN);
	assert_int_equal(child->regions.nr, 0);
	assert_drawn(space_entries(parent, PG(0), 4), "rr#r");
	assert_true(frame_test(space_frame(parent, PG(2)), FRAME_EXCLUSIVE));
	assert_int_equal(weir__page_mapcount(space_frame(parent, PG(2))), 1);
	assert_true(weir__aspace_is_valid(parent));
	/* Gone from the program: its removal is still to be applied. */
	refuse_with = -ENOENT;
	fork_into(parent, child);
	weir__aspace_destroy(parent);
	weir__aspace_destroy(child);
}

/* The N-th allocation fails, N from the first to the last. The parent loses
 * nothing, the child is empty, and all is given back. */
static void test_no_memory(void **state)
{
	struct space *s = *state;
	struct engine *e = &s->e;
	struct aspace *parent = new_aspace(s);
	unsigned fails = 0;

	for (unsigned i = 0; i < 40; i++) {
		uint64_t at = PG(0) + (uint64_t)i * PTE_TABLE_SPAN * 3;

		weir__region_add(parent, at, at + PAGE_SIZE * 2, REGION_WRITE);
		space_touch(parent, at);
	}
	e->alloc_slow = NULL;
	for (unsigned spare = 0;; spare++) {
		struct aspace *child = new_aspace(s);
		struct list_head hoard;
		struct frame *f, *tmp;
		int ret;

		list_init(&hoard);
		while ((f = weir__frames_alloc(e, GFP_NOWAIT, 0)))
			list_add(&f->lru, &hoard);
		for (unsigned i = 0; i < spare; i++) {
			f = list_first_entry(&hoard, struct frame, lru);
			list_del(&f->lru);
			weir__frames_free(e, f, 0);
		}
		ret = weir__aspace_fork(parent, child);
		list_for_each_entry_safe(f, tmp, &hoard, lru)
			weir__frames_free(e, f, 0);
		assert_true(weir__aspace_is_valid(parent));
		assert_true(weir__aspace_is_valid(child));
		assert_int_equal(parent->nr_anon, 40);
		assert_int_equal(child->nr_anon, ret ? 0 : 40);
		assert_int_equal(child->regions.nr, ret ? 0 : 40);
		weir__aspace_destroy(child);
		if (!ret)
			break;
		assert_int_equal(ret, -ENOMEM);
		fails++;
	}
	assert_true(fails > 10);
	weir__aspace_destroy(parent);
}

static void test_wrong_child(void **state)
{
	struct space *s = *state;
	struct aspace *as = new_aspace(s), *other = new_aspace(s);

	weir__region_add(other, PG(0), PG(1), 0);
	assert_int_equal(weir__aspace_fork(as, as), -EINVAL);
	assert_int_equal(weir__aspace_fork(as, other), -EINVAL);
	assert_int_equal(weir__aspace_fork(other, as), 0);
	weir__aspace_destroy(as);
	weir__aspace_destroy(other);
}

#define T(f) cmocka_unit_test_setup_teardown(f, space_setup, space_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_entries),	 T(test_region_flags),
		T(test_many),		 T(test_child_moves),
		T(test_busy),		 T(test_protect_refused),
		T(test_no_memory),	 T(test_wrong_child),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
