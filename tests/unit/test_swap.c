/* SPDX-License-Identifier: MIT */
/* Swap areas, counts with continuation, the swap cache, the header. */
#include "swapfix.h"

/* --- areas -------------------------------------------------------------- */

static void test_swapon_rejects(void **state)
{
	struct engine *e = &((struct fix *)*state)->e;
	uint64_t outside = 100, zero = 0, one = 1;

	assert_int_equal(weir__swapon(e, 1, -1, NULL, 0), -EINVAL);
	assert_int_equal(weir__swapon(e, 100, -2, NULL, 0), -EINVAL);
	assert_int_equal(weir__swapon(e, 100, 32768, NULL, 0), -EINVAL);
	assert_int_equal(weir__swapon(e, 100, -1, &outside, 1), -EINVAL);
	assert_int_equal(weir__swapon(e, 100, -1, &zero, 1), -EINVAL);
	/* every slot bad */
	assert_int_equal(weir__swapon(e, 2, -1, &one, 1), -EINVAL);
	assert_int_equal(weir__swap_total(e), 0);
	assert_int_equal(weir__swapon(e, 2, 32767, NULL, 0), 0);
	assert_int_equal(weir__swap_total(e), 1);
}

static void test_all_types_in_use(void **state)
{
	struct engine *e = &((struct fix *)*state)->e;

	for (int i = 0; i < SWAP_TYPES_MAX; i++)
		assert_int_equal(weir__swapon(e, 16, 0, NULL, 0), i);
	assert_int_equal(weir__swapon(e, 16, 0, NULL, 0), -EMFILE);
	assert_int_equal(weir__swapoff_empty(e, 7), 0);
	assert_int_equal(weir__swapoff_empty(e, 7), -EINVAL);
	assert_int_equal(weir__swapon(e, 16, 0, NULL, 0), 7);
}

static void *no_meta(struct weir_host *h, size_t bytes)
{
	return NULL;
}

static void test_no_memory_for_metadata(void **state)
{
	struct fix *x = *state;

	x->ops.meta_alloc = no_meta;
	assert_int_equal(weir__swapon(&x->e, 1000, -1, NULL, 0), -ENOMEM);
	assert_int_equal(weir__swap_total(&x->e), 0);
	assert_int_equal(weir__swap_nr_free(&x->e), 0);
	assert_true(weir__swap_is_valid(&x->e));
}

/* An area's block serves the next area of its type, clean. */
static void test_metadata_reused(void **state)
{
	struct fix *x = *state;
	uint64_t bad[] = {5, 700, 1499};
	unsigned nr_meta;
	swp_entry_t s[64];

	assert_int_equal(weir__swapon(&x->e, 1500, -1, bad, 3), 0);
	assert_int_equal(weir__swap_alloc(&x->e, s, 64), 64);
	weir__swap_zero_set(&x->e, s[3], true);
	fix_release_all(x, s, 64);
	assert_int_equal(weir__swapoff_empty(&x->e, 0), 0);
	nr_meta = x->fh.nr_meta;
	assert_int_equal(weir__swapon(&x->e, 1400, -1, NULL, 0), 0);
	assert_int_equal(x->fh.nr_meta, nr_meta);
	assert_int_equal(weir__swap_total(&x->e), 1399);
	for (uint64_t i = 1; i < 1400; i++) {
		assert_int_equal(weir__swap_map_byte(&x->e, swp_entry(0, i)),
				 0);
		assert_false(weir__swap_zero_test(&x->e, swp_entry(0, i)));
	}
}

static void test_bad_slots_and_slot_zero_never_given(void **state)
{
	struct fix *x = *state;
	uint64_t bad[] = {1, 2, 300, 300, 599};
	swp_entry_t s[600];
	unsigned n;

	assert_int_equal(weir__swapon(&x->e, 600, -1, bad, 5), 0);
	assert_int_equal(weir__swap_total(&x->e), 595);
	n = weir__swap_alloc(&x->e, s, 600);
	assert_int_equal(n, 595);
	for (unsigned i = 0; i < n; i++) {
		assert_int_not_equal(swp_offset(s[i]), 0);
		for (unsigned j = 0; j < 5; j++)
			assert_int_not_equal(swp_offset(s[i]), bad[j]);
	}
	assert_true(weir__swap_is_valid(&x->e));
	fix_release_all(x, s, n);
	assert_int_equal(weir__swap_nr_free(&x->e), 595);
}

/* A whole cluster of bad slots is stepped over. */
static void test_all_bad_cluster(void **state)
{
	struct fix *x = *state;
	uint64_t bad[SWAP_CLUSTER];
	static swp_entry_t s[3 * SWAP_CLUSTER];

	for (unsigned i = 0; i < SWAP_CLUSTER; i++)
		bad[i] = SWAP_CLUSTER + i;
	assert_int_equal(
	    weir__swapon(&x->e, 3 * SWAP_CLUSTER, -1, bad, SWAP_CLUSTER), 0);
	assert_int_equal(weir__swap_alloc(&x->e, s, 3 * SWAP_CLUSTER),
			 2 * SWAP_CLUSTER - 1);
	assert_true(weir__swap_is_valid(&x->e));
	fix_release_all(x, s, 2 * SWAP_CLUSTER - 1);
	assert_true(weir__swap_is_valid(&x->e));
}

static void test_swapoff_busy(void **state)
{
	struct fix *x = *state;
	swp_entry_t s;

	weir__swapon(&x->e, 100, -1, NULL, 0);
	s = fix_one(x);
	assert_int_equal(weir__swapoff_empty(&x->e, 0), -EBUSY);
	weir__swap_dup(&x->e, s);
	weir__swap_slot_release(&x->e, s); /* a count is left */
	assert_int_equal(weir__swap_used(&x->e, 0), 1);
	assert_int_equal(weir__swapoff_empty(&x->e, 0), -EBUSY);
	weir__swap_free(&x->e, s);
	assert_int_equal(weir__swapoff_empty(&x->e, 0), 0);
	assert_int_equal(weir__swapoff_empty(&x->e, SWAP_TYPES_MAX), -EINVAL);
	assert_int_equal(weir__swap_total(&x->e), 0);
	/* entries of an area that is gone are refused */
	assert_int_equal(weir__swap_dup(&x->e, s), -EINVAL);
	assert_null(weir__swap_cache_get(&x->e, s));
}

/* Leftover pages of the cache do not keep an area, pages in use do. */
static void test_swapoff_drops_the_cache(void **state)
{
	struct fix *x = *state;
	struct frame *f;

	weir__swapon(&x->e, 100, -1, NULL, 0);
	f = fix_page(x);
	assert_int_equal(weir__swap_cache_add(&x->e, f, fix_one(x), NULL), 0);
	weir__swap_set_readonly(&x->e, 0);
	assert_int_equal(weir__swapoff_empty(&x->e, 0), -EBUSY); /* locked */
	weir__frame_unlock(&x->e, f);
	/* nobody else has it: dropped and freed */
	assert_false(weir__frame_put_testzero(f));
	assert_int_equal(weir__swapoff_empty(&x->e, 0), 0);
	assert_int_equal(weir__stat_read(&x->e, STAT_nr_swapcached), 0);
	assert_int_equal(fix_free_frames(x), x->free_before);
}

/* Two frames for each cluster at its first use, back at swapoff. */
static void test_metadata_is_charged(void **state)
{
	struct fix *x = *state;
	static swp_entry_t s[1300];

	weir__swapon(&x->e, 2048, -1, NULL, 0);
	assert_int_equal(weir__swap_own_frames(&x->e), 0);
	assert_int_equal(weir__swap_alloc(&x->e, s, 1), 1);
	assert_int_equal(weir__swap_own_frames(&x->e), 2);
	assert_int_equal(weir__swap_alloc(&x->e, s + 1, 1299), 1299);
	assert_int_equal(weir__swap_own_frames(&x->e), 6);
	assert_int_equal(fix_free_frames(x), x->free_before - 6);
	fix_release_all(x, s, 1300);
	assert_int_equal(weir__swap_own_frames(&x->e), 6);
	assert_int_equal(weir__swapoff_empty(&x->e, 0), 0);
	assert_int_equal(weir__swap_own_frames(&x->e), 0);
	assert_int_equal(fix_free_frames(x), x->free_before);
}

/* No frame to be had: slots all the same, and the debt is paid later. */
static void test_charge_owed(void **state)
{
	struct fix *x = *state;
	struct frame *f;
	LIST_HEAD(hog);
	swp_entry_t s[2];

	weir__swapon(&x->e, 2048, -1, NULL, 0);
	while ((f = weir__frames_alloc(&x->e, GFP_NOWAIT | GFP_MEMALLOC, 0)))
		list_add(&f->lru, &hog);
	s[0] = fix_one(x);
	assert_int_equal(weir__swap_own_frames(&x->e), 0);
	assert_true(weir__swap_is_valid(&x->e));
	while (!list_empty(&hog)) {
		f = list_first_entry(&hog, struct frame, lru);
		list_del(&f->lru);
		weir__frames_free(&x->e, f, 0);
	}
	s[1] = fix_one(x);
	assert_int_equal(weir__swap_own_frames(&x->e), 2);
	fix_release_all(x, s, 2);
}

static void test_vm_swap_full(void **state)
{
	struct fix *x = *state;
	swp_entry_t s[101];

	assert_false(weir__vm_swap_full(&x->e)); /* no swap is not full swap */
	weir__swapon(&x->e, 101, -1, NULL, 0);
	weir__swap_alloc(&x->e, s, 50);
	assert_false(weir__vm_swap_full(&x->e)); /* 50 * 2 == 100 */
	weir__swap_alloc(&x->e, s + 50, 1);
	assert_true(weir__vm_swap_full(&x->e)); /* 49 * 2 < 100 */
	weir__swap_slot_release(&x->e, s[50]);
	assert_false(weir__vm_swap_full(&x->e));
	fix_release_all(x, s, 50);
}

static void test_readonly(void **state)
{
	struct fix *x = *state;
	swp_entry_t s, t;

	weir__swapon(&x->e, 101, 5, NULL, 0);
	weir__swapon(&x->e, 51, 3, NULL, 0);
	s = fix_one(x);
	assert_int_equal(swp_type(s), 0);
	weir__swap_set_readonly(&x->e, 0);
	assert_int_equal(weir__swap_nr_free(&x->e), 50);
	assert_int_equal(weir__swap_total(&x->e), 50);
	t = fix_one(x);
	assert_int_equal(swp_type(t), 1);
	/* its entries go on counting */
	assert_int_equal(weir__swap_dup(&x->e, s), 0);
	weir__swap_free(&x->e, s);
	weir__swap_slot_release(&x->e, s);
	assert_int_equal(weir__swap_nr_free(&x->e), 49);
	assert_true(weir__swap_is_valid(&x->e));
	weir__swap_slot_release(&x->e, t);
}

static void test_fork_child(void **state)
{
	struct fix *x = *state;
	swp_entry_t s[600];

	weir__swapon(&x->e, 1024, 5, NULL, 0);
	assert_int_equal(weir__swap_alloc(&x->e, s, 600), 600);
	assert_true(weir__swap_lease_begin(&x->e, 0) > 0);
	weir__swap_fork_child(&x->e);
	assert_int_equal(weir__swap_nr_free(&x->e), 0);
	assert_int_equal(weir__swap_alloc(&x->e, s, 1), 0);
	/* the parent's file: nothing of it is discarded from here */
	fix_release_all(x, s, 600);
	assert_int_equal(x->nr_discards, 0);
	assert_int_equal(weir__swap_leased_slots(&x->e, 0), 0);
	assert_int_equal(weir__swap_used(&x->e, 0), 0);
	/* a child's own area gives slots */
	assert_int_equal(weir__swapon(&x->e, 64, -1, NULL, 0), 1);
	assert_int_equal(swp_type(s[0] = fix_one(x)), 1);
	fix_release_all(x, s, 1);
}

static void test_area_full(void **state)
{
	struct fix *x = *state;
	swp_entry_t s, t, u;

	weir__swapon(&x->e, 101, 5, NULL, 0);
	weir__swapon(&x->e, 51, 3, NULL, 0);
	s = fix_one(x);
	weir__swap_area_full(&x->e, 0);
	assert_int_equal(weir__swap_nr_free(&x->e), 50);
	assert_int_equal(weir__swap_total(&x->e), 150);
	t = fix_one(x);
	assert_int_equal(swp_type(t), 1);
	weir__swap_slot_release(&x->e, s);
	assert_int_equal(weir__swap_nr_free(&x->e), 149);
	u = fix_one(x);
	assert_int_equal(swp_type(u), 0);
	assert_true(weir__swap_is_valid(&x->e));
	weir__swap_slot_release(&x->e, t);
	weir__swap_slot_release(&x->e, u);
}

/* --- counts -------------------------------------------------------------- */

static void test_dup_of_a_free_slot(void **state)
{
	struct fix *x = *state;
	uint64_t bad = 9;

	weir__swapon(&x->e, 100, -1, &bad, 1);
	assert_int_equal(weir__swap_dup(&x->e, swp_entry(0, 7)), -EINVAL);
	assert_int_equal(weir__swap_dup(&x->e, swp_entry(0, 9)), -EINVAL);
	assert_int_equal(weir__swap_dup(&x->e, swp_entry(0, 0)), -EINVAL);
	assert_int_equal(weir__swap_dup(&x->e, swp_entry(0, 100)), -EINVAL);
	assert_int_equal(weir__swap_dup(&x->e, swp_entry(31, 7)), -EINVAL);
	assert_int_equal(weir__swap_count(&x->e, swp_entry(0, 9)), 0);
}

/* T: count 62 then +1 -> the byte shows continuation; 63 decrements -> free */
static void test_continuation_at_63(void **state)
{
	struct fix *x = *state;
	swp_entry_t s;

	weir__swapon(&x->e, 100, -1, NULL, 0);
	s = fix_one(x);
	for (int i = 0; i < 62; i++)
		assert_int_equal(weir__swap_dup(&x->e, s), 0);
	weir__swap_slot_release(&x->e, s);
	assert_int_equal(weir__swap_map_byte(&x->e, s), 0x3e);
	assert_int_equal(weir__swap_dup(&x->e, s), 0);
	assert_int_equal(weir__swap_map_byte(&x->e, s), SWAP_CONTINUED);
	assert_int_equal(weir__swap_count(&x->e, s), 63);
	assert_true(weir__swap_is_valid(&x->e));
	weir__swap_free(&x->e, s);
	assert_int_equal(weir__swap_map_byte(&x->e, s), 0x3e);
	for (int i = 0; i < 61; i++)
		weir__swap_free(&x->e, s);
	assert_int_equal(weir__swap_map_byte(&x->e, s), 1);
	assert_int_equal(weir__swap_nr_free(&x->e), 98);
	weir__swap_free(&x->e, s);
	assert_int_equal(weir__swap_map_byte(&x->e, s), 0);
	assert_int_equal(weir__swap_nr_free(&x->e), 99);
}

/* T: 200 sharers of one slot count up and down correctly */
static void test_200_sharers(void **state)
{
	struct fix *x = *state;
	swp_entry_t s, other;

	weir__swapon(&x->e, 100, -1, NULL, 0);
	s = fix_one(x);
	other = fix_one(x);
	for (unsigned i = 1; i <= 200; i++) {
		assert_int_equal(weir__swap_dup(&x->e, s), 0);
		assert_int_equal(weir__swap_count(&x->e, s), i);
		assert_true(weir__swap_map_byte(&x->e, s) & SWAP_HAS_CACHE);
	}
	assert_int_equal(weir__swap_count(&x->e, other), 0);
	for (unsigned i = 200; i > 0; i--) {
		assert_int_equal(weir__swap_count(&x->e, s), i);
		weir__swap_free(&x->e, s);
		assert_true(weir__swap_is_valid(&x->e));
	}
	assert_int_equal(weir__swap_map_byte(&x->e, s), SWAP_HAS_CACHE);
	weir__swap_slot_release(&x->e, s);
	weir__swap_slot_release(&x->e, other);
	/* the digits' memory goes with the cluster's last slot */
	assert_int_equal(weir__slab_objects(&x->e), 0);
}

/* Through the carry into the second digit: 63 * 128 = 8064. */
static void test_two_digits(void **state)
{
	struct fix *x = *state;
	swp_entry_t s;

	weir__swapon(&x->e, 100, -1, NULL, 0);
	s = fix_one(x);
	for (unsigned i = 1; i <= 8200; i++) {
		assert_int_equal(weir__swap_dup(&x->e, s), 0);
		if (weir__swap_count(&x->e, s) != i)
			fail_msg("%u", i);
	}
	assert_true(weir__swap_is_valid(&x->e));
	for (unsigned i = 8200; i > 0; i--) {
		if (weir__swap_count(&x->e, s) != i)
			fail_msg("%u", i);
		weir__swap_free(&x->e, s);
	}
	weir__swap_slot_release(&x->e, s);
}

static void test_continuation_enomem(void **state)
{
	struct fix *x = *state;
	struct frame *f;
	LIST_HEAD(hog);
	swp_entry_t s;
	int rc;

	weir__swapon(&x->e, 100, -1, NULL, 0);
	s = fix_one(x);
	for (int i = 0; i < 62; i++)
		weir__swap_dup(&x->e, s);
	while ((f = weir__frames_alloc(&x->e, GFP_NOWAIT | GFP_MEMALLOC, 0)))
		list_add(&f->lru, &hog);
	rc = weir__swap_dup(&x->e, s);
	assert_int_equal(rc, -ENOMEM);
	assert_int_equal(weir__swap_count(&x->e, s), 62);
	assert_int_equal(weir__swap_add_continuation(&x->e, s, GFP_NOWAIT),
			 -ENOMEM);
	while (!list_empty(&hog)) {
		f = list_first_entry(&hog, struct frame, lru);
		list_del(&f->lru);
		weir__frames_free(&x->e, f, 0);
	}
	assert_int_equal(weir__swap_add_continuation(&x->e, s, GFP_KERNEL), 0);
	assert_int_equal(weir__swap_dup(&x->e, s), 0);
	assert_int_equal(weir__swap_count(&x->e, s), 63);
	for (int i = 0; i < 63; i++)
		weir__swap_free(&x->e, s);
	weir__swap_slot_release(&x->e, s);
	assert_int_equal(weir__swap_add_continuation(&x->e, s, GFP_KERNEL),
			 -EINVAL);
}

static void test_run(void **state)
{
	struct fix *x = *state;
	swp_entry_t s[8];

	weir__swapon(&x->e, 100, -1, NULL, 0);
	assert_int_equal(weir__swap_alloc(&x->e, s, 8), 8);
	assert_int_equal(fix_runs(s, 8), 1);
	assert_int_equal(weir__swap_run(&x->e, s[0], 8), 0); /* no counts */
	for (int i = 0; i < 5; i++)
		weir__swap_dup(&x->e, s[i]);
	weir__swap_dup(&x->e, s[6]);
	assert_int_equal(weir__swap_run(&x->e, s[0], 8), 5);
	assert_int_equal(weir__swap_run(&x->e, s[1], 3), 3);
	assert_int_equal(weir__swap_run(&x->e, s[5], 3), 0);
	assert_int_equal(weir__swap_run(&x->e, s[6], 3), 1);
	weir__swap_free_many(&x->e, s, 5);
	weir__swap_free(&x->e, s[6]);
	fix_release_all(x, s, 8);
}

static void test_zero_bitmap(void **state)
{
	struct fix *x = *state;
	swp_entry_t s[70];

	weir__swapon(&x->e, 71, -1, NULL, 0);
	assert_int_equal(weir__swap_alloc(&x->e, s, 70), 70);
	weir__swap_zero_set(&x->e, s[63], true);
	assert_true(weir__swap_zero_test(&x->e, s[63]));
	assert_false(weir__swap_zero_test(&x->e, s[62]));
	assert_false(weir__swap_zero_test(&x->e, s[64]));
	weir__swap_zero_set(&x->e, s[63], false);
	assert_false(weir__swap_zero_test(&x->e, s[63]));
	/* goes with the slot */
	weir__swap_zero_set(&x->e, s[5], true);
	weir__swap_slot_release(&x->e, s[5]);
	assert_false(weir__swap_zero_test(&x->e, s[5]));
	assert_int_equal(fix_one(x), s[5]);
	assert_false(weir__swap_zero_test(&x->e, s[5]));
	fix_release_all(x, s, 70);
}

/* --- swap cache ------------------------------------------------------------
 */

static void test_cache_life(void **state)
{
	struct fix *x = *state;
	struct engine *e = &x->e;
	struct frame *f, *g;
	uint64_t shadow = 1;
	swp_entry_t s;

	weir__swapon(e, 100, -1, NULL, 0);
	f = fix_page(x);
	s = fix_one(x);
	/* a reader whose entry is gone comes upon the slot's next life */
	assert_int_equal(weir__swap_cache_add(e, f, s, &shadow), -ENOENT);
	assert_int_equal(shadow, 0);
	assert_false(frame_test(f, FRAME_SWAPCACHE));
	/* out: slot from alloc, bound, counted, unbound with a shadow */
	assert_int_equal(weir__swap_cache_add(e, f, s, NULL), 0);
	assert_true(frame_test(f, FRAME_SWAPCACHE));
	assert_int_equal(f->private, s);
	assert_int_equal(f->refcount, 2);
	assert_int_equal(weir__stat_read(e, STAT_nr_swapcached), 1);
	assert_true(weir__swap_is_valid(e));
	assert_int_equal(weir__swap_dup(e, s), 0);
	g = weir__swap_cache_get(e, s);
	assert_ptr_equal(f, g);
	assert_int_equal(f->refcount, 3);
	assert_false(weir__frame_put_testzero(g));
	weir__swap_cache_del(e, f, 0x1235);
	assert_false(frame_test(f, FRAME_SWAPCACHE));
	assert_int_equal(f->refcount, 2); /* the cache's is ours now */
	assert_false(weir__frame_put_testzero(f));
	assert_int_equal(weir__stat_read(e, STAT_nr_swapcached), 0);
	assert_int_equal(weir__swap_shadow(e, s), 0x1235);
	assert_int_equal(weir__swap_map_byte(e, s), 1);
	assert_null(weir__swap_cache_get(e, s));
	/* in: the shadow is handed over, the cache bit set */
	assert_int_equal(weir__swap_cache_add(e, f, s, &shadow), 0);
	assert_int_equal(shadow, 0x1235);
	assert_int_equal(weir__swap_map_byte(e, s), SWAP_HAS_CACHE | 1);
	assert_int_equal(weir__swap_shadow(e, s), 0);
	weir__swap_free(e, s);
	assert_int_equal(weir__swap_map_byte(e, s), SWAP_HAS_CACHE);
	/* the cache was the last: the slot goes, and the shadow with it */
	weir__swap_cache_del(e, f, 0x77);
	assert_int_equal(weir__swap_map_byte(e, s), 0);
	assert_int_equal(weir__swap_shadow(e, s), 0);
	assert_false(weir__frame_put_testzero(f));
	fix_page_free(x, f);
}

static void test_cache_add_refused(void **state)
{
	struct fix *x = *state;
	struct engine *e = &x->e;
	struct frame *f, *g;
	swp_entry_t s;

	weir__swapon(e, 100, -1, NULL, 0);
	f = fix_page(x);
	g = fix_page(x);
	assert_int_equal(weir__swap_cache_add(e, f, swp_entry(0, 5), NULL),
			 -ENOENT);
	assert_int_equal(weir__swap_cache_add(e, f, swp_entry(3, 5), NULL),
			 -ENOENT);
	assert_false(frame_test(f, FRAME_SWAPCACHE));
	s = fix_one(x);
	assert_int_equal(weir__swap_cache_add(e, f, s, NULL), 0);
	assert_int_equal(weir__swap_cache_add(e, g, s, NULL), -EEXIST);
	assert_false(frame_test(g, FRAME_SWAPCACHE));
	assert_int_equal(g->refcount, 1);
	weir__swap_cache_del(e, f, 0);
	assert_false(weir__frame_put_testzero(f));
	fix_page_free(x, f);
	fix_page_free(x, g);
}

/* T: refs 2 (cache + isolation), clean -> freed */
static void test_frozen_clean(void **state)
{
	struct fix *x = *state;
	struct frame *f;
	swp_entry_t s;

	weir__swapon(&x->e, 100, -1, NULL, 0);
	f = fix_page(x);
	s = fix_one(x);
	weir__swap_cache_add(&x->e, f, s, NULL);
	weir__swap_dup(&x->e, s);
	assert_true(weir__swap_cache_remove_frozen(&x->e, f, 2, 0x99));
	assert_int_equal(f->refcount, 0);
	assert_false(frame_test(f, FRAME_SWAPCACHE));
	assert_int_equal(weir__swap_shadow(&x->e, s), 0x99);
	assert_int_equal(weir__swap_map_byte(&x->e, s), 1);
	assert_null(weir__swap_cache_get(&x->e, s));
	weir__frame_unlock(&x->e, f);
	weir__frames_free(&x->e, f, 0);
	assert_true(weir__swap_is_valid(&x->e));
	weir__swap_free(&x->e, s);
}

/* T: the same page with a third ref -> kept */
static void test_frozen_third_reference(void **state)
{
	struct fix *x = *state;
	struct frame *f;
	swp_entry_t s;

	weir__swapon(&x->e, 100, -1, NULL, 0);
	f = fix_page(x);
	s = fix_one(x);
	weir__swap_cache_add(&x->e, f, s, NULL);
	assert_ptr_equal(weir__swap_cache_get(&x->e, s), f);
	assert_false(weir__swap_cache_remove_frozen(&x->e, f, 2, 0x99));
	assert_int_equal(f->refcount, 3);
	assert_true(frame_test(f, FRAME_SWAPCACHE));
	assert_int_equal(weir__swap_shadow(&x->e, s), 0);
	assert_false(weir__frame_put_testzero(f));
	weir__swap_cache_del(&x->e, f, 0);
	assert_false(weir__frame_put_testzero(f));
	fix_page_free(x, f);
}

/* T: page dirtied between unmap and freeze -> kept, data intact */
static void test_frozen_dirty(void **state)
{
	struct fix *x = *state;
	struct frame *f;
	uint8_t *data;
	swp_entry_t s;

	weir__swapon(&x->e, 100, -1, NULL, 0);
	f = fix_page(x);
	s = fix_one(x);
	weir__swap_cache_add(&x->e, f, s, NULL);
	/* somebody finds it, writes, and lets go again */
	assert_ptr_equal(weir__swap_cache_get(&x->e, s), f);
	data = x->ops.contents(&x->fh.host, weir__pfn(&x->e, f));
	memset(data, 0x5a, PAGE_SIZE);
	weir__frame_set(f, FRAME_DIRTY);
	assert_false(weir__frame_put_testzero(f));

	assert_false(weir__swap_cache_remove_frozen(&x->e, f, 2, 0x99));
	assert_int_equal(f->refcount, 2);
	assert_true(frame_test(f, FRAME_SWAPCACHE));
	assert_int_equal(weir__swap_shadow(&x->e, s), 0);
	for (unsigned i = 0; i < PAGE_SIZE; i++)
		assert_int_equal(data[i], 0x5a);
	assert_true(weir__swap_is_valid(&x->e));
	weir__swap_cache_del(&x->e, f, 0);
	assert_false(weir__frame_put_testzero(f));
	fix_page_free(x, f);
}

/* Pages in memory that keep a slot only as a copy give it up, and are then
 * the only copy: dirty. Pages with counts, locked or being written keep it. */
static void test_reclaim_cache(void **state)
{
	struct fix *x = *state;
	struct engine *e = &x->e;
	struct frame *f[8];
	swp_entry_t s[8];

	weir__swapon(e, 9, -1, NULL, 0);
	assert_int_equal(weir__swap_reclaim_cache(e, 4), 0);
	assert_int_equal(weir__swap_alloc(e, s, 8), 8);
	for (int i = 0; i < 7; i++) {
		f[i] = fix_page(x);
		assert_int_equal(weir__swap_cache_add(e, f[i], s[i], NULL), 0);
		if (i != 1)
			weir__frame_unlock(e, f[i]);
	}
	weir__swap_dup(e, s[0]);
	/* 0 has a count, 1 is locked, 2 is being written, 7 was never bound */
	weir__frame_set(f[2], FRAME_WRITEBACK);
	assert_int_equal(weir__swap_reclaim_cache(e, 2), 2);
	assert_int_equal(weir__swap_nr_free(e), 2);
	assert_int_equal(weir__swap_reclaim_cache(e, 100), 2);
	assert_int_equal(weir__swap_reclaim_cache(e, 100), 0);
	assert_int_equal(weir__swap_nr_free(e), 4);
	for (int i = 3; i < 7; i++) {
		assert_false(frame_test(f[i], FRAME_SWAPCACHE));
		assert_true(frame_test(f[i], FRAME_DIRTY));
		assert_int_equal(f[i]->refcount, 1);
		assert_true(weir__frame_trylock(f[i]));
		fix_page_free(x, f[i]);
	}
	weir__frame_clear(f[2], FRAME_WRITEBACK);
	weir__swap_free(e, s[0]);
	for (int i = 0; i < 3; i++) {
		assert_true(frame_test(f[i], FRAME_SWAPCACHE));
		assert_int_equal(f[i]->refcount, 2);
		assert_true(i == 1 || weir__frame_trylock(f[i]));
		weir__swap_cache_del(e, f[i], 0);
		assert_false(weir__frame_put_testzero(f[i]));
		fix_page_free(x, f[i]);
	}
	weir__swap_slot_release(e, s[7]);
}

/* --- readahead window, header ------------------------------------------------
 */

/* T: cap 8: (hits 0, random) -> 1; (0, adjacent) -> 2; 1 -> 4; 4 -> 8;
 * (0, random, prev 8) -> 4 */
static void test_window(void **state)
{
	assert_int_equal(weir__swap_readahead_window(0, false, 0, 3), 1);
	assert_int_equal(weir__swap_readahead_window(0, true, 0, 3), 2);
	assert_int_equal(weir__swap_readahead_window(1, false, 0, 3), 4);
	assert_int_equal(weir__swap_readahead_window(2, false, 0, 3), 4);
	assert_int_equal(weir__swap_readahead_window(4, false, 0, 3), 8);
	assert_int_equal(weir__swap_readahead_window(100, false, 0, 3), 8);
	assert_int_equal(weir__swap_readahead_window(0, false, 8, 3), 4);
	assert_int_equal(weir__swap_readahead_window(0, false, 4, 3), 2);
	assert_int_equal(weir__swap_readahead_window(0, true, 8, 0), 1);
	assert_int_equal(weir__swap_readahead_window(UINT32_MAX, true, 8, 8),
			 256);
}

static void put_word(uint8_t *p, unsigned off, uint32_t v, bool swapped)
{
	v = swapped ? __builtin_bswap32(v) : v;
	memcpy(p + off, &v, 4);
}

static void make_header(uint8_t *p, uint32_t last, uint32_t nr_bad,
			bool swapped)
{
	memset(p, 0, PAGE_SIZE);
	memset(p, 0xee, 1024); /* boot block: whatever */
	put_word(p, 1024, 1, swapped);
	put_word(p, 1028, last, swapped);
	put_word(p, 1032, nr_bad, swapped);
	memcpy(p + PAGE_SIZE - 10, "SWAPSPACE2", 10);
}

static int parse(const uint8_t *p, uint64_t pages, uint64_t *slots,
		 uint64_t *bad)
{
	const char *why = NULL;
	int rc = weir__swap_header_parse(p, pages, slots, bad, 700, &why);

	assert_true((rc == -EINVAL) == (why != NULL));
	return rc;
}

static void test_header(void **state)
{
	static uint8_t p[PAGE_SIZE];
	uint64_t slots = 0, bad[700];

	for (int swapped = 0; swapped < 2; swapped++) {
		make_header(p, 255, 0, swapped);
		assert_int_equal(parse(p, 256, &slots, bad), 0);
		assert_int_equal(slots, 256);
		make_header(p, 1000, 2, swapped);
		put_word(p, 1536, 17, swapped);
		put_word(p, 1540, 1000, swapped);
		assert_int_equal(parse(p, 5000, &slots, bad), 2);
		assert_int_equal(slots, 1001);
		assert_int_equal(bad[0], 17);
		assert_int_equal(bad[1], 1000);
		/* a bad page outside */
		put_word(p, 1540, 1001, swapped);
		assert_int_equal(parse(p, 5000, &slots, bad), -EINVAL);
		put_word(p, 1540, 0, swapped);
		assert_int_equal(parse(p, 5000, &slots, bad), -EINVAL);
	}
	/* mkswap's own limit: 637 fit before the signature */
	make_header(p, 100000, 637, false);
	for (unsigned i = 0; i < 637; i++)
		put_word(p, 1536 + 4 * i, i + 1, false);
	assert_int_equal(parse(p, 100001, &slots, bad), 637);
	assert_int_equal(bad[636], 637);
	make_header(p, 100000, 638, false);
	assert_int_equal(parse(p, 100001, &slots, bad), -EINVAL);
}

static void test_header_rejected(void **state)
{
	static uint8_t p[PAGE_SIZE];
	uint64_t slots, bad[700];
	const char *why;

	memset(p, 0, sizeof(p));
	assert_int_equal(parse(p, 256, &slots, bad), -EINVAL);
	make_header(p, 255, 0, false);
	p[PAGE_SIZE - 1] = '1'; /* SWAPSPACE1 */
	assert_int_equal(parse(p, 256, &slots, bad), -EINVAL);
	make_header(p, 255, 0, false);
	memcpy(p + PAGE_SIZE - 10, "SWAP-SPACE", 10);
	assert_int_equal(parse(p, 256, &slots, bad), -EINVAL);
	make_header(p, 255, 0, false);
	put_word(p, 1024, 2, false);
	assert_int_equal(parse(p, 256, &slots, bad), -EINVAL);
	make_header(p, 0, 0, false);
	assert_int_equal(parse(p, 256, &slots, bad), -EINVAL);
	make_header(p, 256, 0, false); /* needs 257 */
	assert_int_equal(parse(p, 256, &slots, bad), -EINVAL);
	make_header(p, UINT32_MAX, 0, false);
	assert_int_equal(parse(p, 256, &slots, bad), -EINVAL);
	make_header(p, 3, 3, false); /* nothing left */
	for (unsigned i = 0; i < 3; i++)
		put_word(p, 1536 + 4 * i, i + 1, false);
	assert_int_equal(parse(p, 256, &slots, bad), -EINVAL);
	make_header(p, 255, 3, false);
	for (unsigned i = 0; i < 3; i++)
		put_word(p, 1536 + 4 * i, i + 1, false);
	assert_int_equal(weir__swap_header_parse(p, 256, &slots, bad, 2, &why),
			 -EINVAL);
}

/* T: the entry round-trips through a PTE */
static void test_entry_round_trip(void **state)
{
	for (unsigned type = 0; type < SWAP_TYPES_MAX; type++) {
		swp_entry_t s = swp_entry(type, (1ull << 32) - 1 - type);
		uint64_t pte = pte_mk_swap(s, PTE_EXCLUSIVE | PTE_BUSY);

		assert_true(pte & PTE_SWAP);
		assert_false(pte & PTE_PRESENT);
		assert_int_equal(pte_swap(pte), s);
		assert_int_equal(swp_type(pte_swap(pte)), type);
		assert_int_equal(swp_offset(pte_swap(pte)),
				 (1ull << 32) - 1 - type);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SWAP_TEST(test_swapon_rejects),
	    SWAP_TEST(test_all_types_in_use),
	    SWAP_TEST(test_no_memory_for_metadata),
	    SWAP_TEST(test_metadata_reused),
	    SWAP_TEST(test_bad_slots_and_slot_zero_never_given),
	    SWAP_TEST(test_all_bad_cluster),
	    SWAP_TEST(test_swapoff_busy),
	    SWAP_TEST(test_swapoff_drops_the_cache),
	    SWAP_TEST(test_metadata_is_charged),
	    SWAP_TEST(test_charge_owed),
	    SWAP_TEST(test_vm_swap_full),
	    SWAP_TEST(test_readonly),
	    SWAP_TEST(test_fork_child),
	    SWAP_TEST(test_area_full),
	    SWAP_TEST(test_dup_of_a_free_slot),
	    SWAP_TEST(test_continuation_at_63),
	    SWAP_TEST(test_200_sharers),
	    SWAP_TEST(test_two_digits),
	    SWAP_TEST(test_continuation_enomem),
	    SWAP_TEST(test_run),
	    SWAP_TEST(test_zero_bitmap),
	    SWAP_TEST(test_cache_life),
	    SWAP_TEST(test_cache_add_refused),
	    SWAP_TEST(test_frozen_clean),
	    SWAP_TEST(test_frozen_third_reference),
	    SWAP_TEST(test_frozen_dirty),
	    SWAP_TEST(test_reclaim_cache),
	    cmocka_unit_test(test_window),
	    cmocka_unit_test(test_header),
	    cmocka_unit_test(test_header_rejected),
	    cmocka_unit_test(test_entry_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
