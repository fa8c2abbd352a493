/* SPDX-License-Identifier: MIT */
/* An engine with frames, slabs and swap on the fake host: what the tests of
 * the swap rooms stand on. */
#ifndef WEIR_TESTS_SWAPFIX_H
#define WEIR_TESTS_SWAPFIX_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/alloc.h"
#include "engine/batch.h"
#include "engine/buddy.h"
#include "engine/frame.h"
#include "engine/slab.h"
#include "engine/swap.h"
#include "fakehost.h"

#define FIX_FRAMES 4096

struct fix {
	struct fakehost fh;
	struct weir_host_ops ops; /* the fake host's, with ours on top */
	struct engine e;
	uint64_t free_before;
	/* discards seen */
	unsigned nr_discards;
	uint32_t last_area;
	uint64_t last_slot;
	unsigned last_nr;
};

static struct fix *fix_of_host;

static void fix_discard(struct weir_host *h, uint32_t area, uint64_t slot,
			unsigned nr)
{
	struct fix *x = fix_of_host;

	x->nr_discards++;
	x->last_area = area;
	x->last_slot = slot;
	x->last_nr = nr;
	/* the lock is free here: this would never return otherwise */
	(void)weir__swap_used(&x->e, area);
}

static inline uint64_t fix_free_frames(struct fix *x)
{
	struct zone *z = &x->e.nodes[0].zones[0];

	weir__slab_shrink(&x->e);
	weir__pcp_drain_all(&x->e);
	return (uint64_t)z->free_pages;
}

static inline int fix_setup(void **state)
{
	struct fix *x = calloc(1, sizeof(*x));
	struct engine_config cfg = {.nr_cpus = 2, .nr_nodes = 1};

	fakehost_init(&x->fh, &x->e, FIX_FRAMES, 0);
	fix_of_host = x;
	x->ops = *x->fh.host.ops;
	x->ops.io_discard = fix_discard;
	x->fh.host.ops = &x->ops;
	cfg.host = &x->fh.host;
	cfg.zone_pages[0][0] = FIX_FRAMES;
	weir__tunables_default(&x->e.tun);
	if (weir__zones_init(&x->e, &cfg) || weir__slab_init(&x->e) ||
	    weir__swap_init(&x->e))
		return -1;
	x->free_before = fix_free_frames(x);
	*state = x;
	return 0;
}

/* Conservation: whatever the test did, no frame and no object is lost. */
static inline int fix_teardown(void **state)
{
	struct fix *x = *state;
	bool valid = weir__swap_is_valid(&x->e);
	int rc = 0;

	weir__swap_exit(&x->e);
	if (!valid || weir__slab_objects(&x->e) ||
	    fix_free_frames(x) != x->free_before) {
		print_error("valid %d, objects %llu, frames %llu of %llu\n",
			    valid,
			    (unsigned long long)weir__slab_objects(&x->e),
			    (unsigned long long)fix_free_frames(x),
			    (unsigned long long)x->free_before);
		rc = -1;
	}
	fakehost_exit(&x->fh);
	free(x);
	return rc;
}

/* A frame as fault and reclaim have it: one reference, locked. */
static inline struct frame *fix_page(struct fix *x)
{
	struct frame *f = weir__frames_alloc(&x->e, GFP_KERNEL, 0);

	assert_non_null(f);
	assert_true(weir__frame_trylock(f));
	weir__frame_set(f, FRAME_SWAPBACKED);
	return f;
}

static inline void fix_page_free(struct fix *x, struct frame *f)
{
	weir__frame_unlock(&x->e, f);
	weir__frame_clear(f, FRAME_DIRTY);
	assert_true(weir__frame_put_testzero(f));
	weir__frames_free(&x->e, f, 0);
}

static inline swp_entry_t fix_one(struct fix *x)
{
	swp_entry_t s;

	assert_int_equal(weir__swap_alloc(&x->e, &s, 1), 1);
	return s;
}

/* Slots of the array that follow their predecessor, plus one: 1 = a single
 * run. */
static inline unsigned fix_runs(const swp_entry_t *s, unsigned nr)
{
	unsigned runs = nr != 0;

	for (unsigned i = 1; i < nr; i++)
		runs += swp_type(s[i]) != swp_type(s[i - 1]) ||
			swp_offset(s[i]) != swp_offset(s[i - 1]) + 1;
	return runs;
}

static inline void fix_release_all(struct fix *x, const swp_entry_t *s,
				   unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		weir__swap_slot_release(&x->e, s[i]);
}

#define SWAP_TEST(fn)                                                          \
	cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)

#endif
