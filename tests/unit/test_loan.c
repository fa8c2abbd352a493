/* SPDX-License-Identifier: MIT */
/* Frames lent to a store in memory, and what it is told of its slots. */
#include "engine/loan.h"
#include "engine/watermark.h"
#include "swapfix.h"

static pfn_t lent[FIX_FRAMES];

static int64_t nr_lent(struct fix *x)
{
	return weir__stat_read(&x->e, STAT_nr_zspages);
}

static void frames_are_lent_all_or_none(void **state)
{
	struct fix *x = *state;

	assert_true(weir__frames_lend(&x->e, 6, lent));
	assert_int_equal(nr_lent(x), 6);
	for (unsigned i = 0; i < 6; i++) {
		struct frame *f = weir__frame(&x->e, lent[i]);

		assert_true(frame_test(f, FRAME_KERNEL));
		assert_int_equal(f->refcount, 1);
		for (unsigned k = 0; k < i; k++)
			assert_int_not_equal(lent[i], lent[k]);
	}
	weir__frames_give_back(&x->e, lent, 6);
	assert_int_equal(nr_lent(x), 0);
	assert_int_equal(fix_free_frames(x), x->free_before);
}

/* From below the min mark, but not the last quarter of what lies there. */
static void the_reserve_is_lent_but_not_its_end(void **state)
{
	struct fix *x = *state;
	struct zone *z = &x->e.nodes[0].zones[0];
	uint64_t min = weir__wmark(z, WMARK_MIN);
	unsigned nr = 0;

	while (nr < FIX_FRAMES && weir__frames_lend(&x->e, 1, &lent[nr])) {
		nr++;
		weir__pcp_drain_all(&x->e);
	}
	assert_true((uint64_t)z->free_pages < min);
	assert_in_range(z->free_pages, min / 4, min / 4 + 1);
	assert_false(weir__frames_lend(&x->e, 6, lent + nr));
	assert_int_equal(nr_lent(x), nr);
	/* What somebody who frees memory needs is there still. */
	for (unsigned i = 0; i < min / 8; i++) {
		struct frame *f = weir__frames_alloc(&x->e, GFP_MEMALLOC, 0);

		assert_non_null(f);
		lent[nr + i] = weir__pfn(&x->e, f);
	}
	for (unsigned i = 0; i < min / 8; i++)
		weir__frames_free(&x->e, weir__frame(&x->e, lent[nr + i]), 0);
	weir__frames_give_back(&x->e, lent, nr);
	assert_int_equal(fix_free_frames(x), x->free_before);
}

/* --- slots ------------------------------------------------------------------
 */

static struct {
	unsigned nr, leased;
	uint64_t slot;
} freed;

static void slot_free(struct weir_host *h, uint32_t area, uint64_t slot,
		      bool leased)
{
	freed.nr++;
	freed.leased += leased;
	freed.slot = slot;
}

/* Each slot as it is freed, once; a leased one when it is freed and again when
 * the lease ends. */
static void each_freed_slot_is_told(void **state)
{
	struct fix *x = *state;
	int type = weir__swapon(&x->e, 2048, -1, NULL, 0), lease;
	swp_entry_t s[20];

	x->ops.io_slot_free = slot_free;
	memset(&freed, 0, sizeof(freed));
	assert_int_equal(weir__swap_alloc(&x->e, s, 20), 20);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(weir__swap_dup(&x->e, s[i]), 0);
	for (unsigned i = 0; i < 20; i++)
		weir__swap_slot_release(&x->e, s[i]);
	assert_int_equal(freed.nr, 0); /* each has a count */
	weir__swap_free(&x->e, s[3]);
	assert_int_equal(freed.nr, 1);
	assert_int_equal(freed.slot, swp_offset(s[3]));
	lease = weir__swap_lease_begin(&x->e, (unsigned)type);
	assert_true(lease > 0);
	weir__swap_free(&x->e, s[4]);
	assert_int_equal(freed.nr, 2);
	assert_int_equal(freed.leased, 1);
	assert_int_equal(weir__swap_lease_end(&x->e, (unsigned)type, lease), 0);
	assert_int_equal(freed.nr, 3);
	assert_int_equal(freed.leased, 1);
	assert_int_equal(freed.slot, swp_offset(s[4]));
	for (unsigned i = 0; i < 20; i++)
		if (i != 3 && i != 4)
			weir__swap_free(&x->e, s[i]);
	assert_int_equal(freed.nr, 21);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(frames_are_lent_all_or_none,
					    fix_setup, fix_teardown),
	    cmocka_unit_test_setup_teardown(the_reserve_is_lent_but_not_its_end,
					    fix_setup, fix_teardown),
	    cmocka_unit_test_setup_teardown(each_freed_slot_is_told, fix_setup,
					    fix_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
