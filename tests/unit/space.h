/* SPDX-License-Identifier: MIT */
/*
 * An engine with address spaces for the tests of floor 3: pages put in by
 * hand, drawings of regions and entries, and a count of everything that must
 * be back at the end.
 */
#ifndef WEIR_TESTS_SPACE_H
#define WEIR_TESTS_SPACE_H

#include "engine/aspace.h"
#include "engine/batch.h"
#include "engine/buddy.h"
#include "engine/check.h"
#include "engine/engine.h"
#include "engine/frame.h"
#include "engine/pgtable.h"
#include "engine/region.h"
#include "engine/rmap.h"
#include "engine/slab.h"
#include "engine/swap.h"
#include "fakehost.h"

#define SPACE_FRAMES 2048
#define SPACE_SLOTS  600

struct space {
	struct fakehost fh;
	struct engine e;
	int swap_type;
	uint64_t free_frames, free_slots, objects;
};

/* For cmocka's setup and teardown; teardown fails on anything left over. */
int space_setup(void **state);
int space_teardown(void **state);
uint64_t space_free_frames(struct space *s);

/* Present, writable, dirty: as after a first touch. */
struct frame *space_touch(struct aspace *as, uint64_t addr);
/* The same without giving it to the LRU lists. */
struct frame *space_touch_bare(struct aspace *as, uint64_t addr);
/* Copy-on-write: the entry gets a new page of its own. */
struct frame *space_cow(struct aspace *as, uint64_t addr);
/* The entry's page goes to a new slot of the swap cache, every entry follows,
 * and with `drop` the page itself goes. */
swp_entry_t space_swap_out(struct space *s, struct frame *f, bool drop);
struct frame *space_frame(struct aspace *as, uint64_t addr);
uint64_t space_pte(struct aspace *as, uint64_t addr);
void space_set_busy(struct aspace *as, uint64_t addr);
void space_end_busy(struct aspace *as, uint64_t addr);
/* Entries that the reverse map finds. */
unsigned space_walk(struct engine *e, struct frame *f);

/*
 * nr pages from start, one character each.
 *   regions: a, b, c ... in order; capital when locked; '.' none
 *   entries: '#' writable, 'r' present and trapped, 'h' HINT, 's' swap,
 *            '!' POISON, '~' BUSY and nothing else, '-' none; BUSY on
 *            another kind is not shown
 * Valid until the next call of the same function.
 */
const char *space_regions(struct aspace *as, uint64_t start, unsigned nr);
const char *space_entries(struct aspace *as, uint64_t start, unsigned nr);

#endif
