/* SPDX-License-Identifier: MIT */
/* Slot allocation, both allocators; priorities; discards; leases. */
#include "swapfix.h"

#define CL SWAP_CLUSTER

static swp_entry_t S[1 << 16];

static int setup_classic(void **state)
{
	int rc = fix_setup(state);

	((struct fix *)*state)->e.tun.swap_allocator = 1;
	return rc;
}

#define BOTH(fn)                                                               \
	{#fn " (clusters)", fn, fix_setup, fix_teardown, NULL},                \
	{                                                                      \
#fn " (sequential)", fn, setup_classic, fix_teardown, NULL     \
	}

static uint32_t next_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

/* --- priorities --------------------------------------------------------------
 */

/* Higher priority fills first; automatic ones follow in swapon order. */
static void test_priorities(void **state)
{
	struct fix *x = *state;
	const unsigned want[] = {3, 1, 0, 2}; /* types by priority */
	unsigned at = 0;

	assert_int_equal(weir__swapon(&x->e, 31, -1, NULL, 0), 0); /* -2 */
	assert_int_equal(weir__swapon(&x->e, 31, 0, NULL, 0), 1);
	assert_int_equal(weir__swapon(&x->e, 31, -1, NULL, 0), 2); /* -3 */
	assert_int_equal(weir__swapon(&x->e, 31, 32767, NULL, 0), 3);
	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 0; j < 30; j++, at++) {
			S[at] = fix_one(x);
			assert_int_equal(swp_type(S[at]), want[i]);
		}
	assert_int_equal(weir__swap_alloc(&x->e, S + at, 1), 0);
	/* a slot comes free at the top: it is the next one given */
	weir__swap_slot_release(&x->e, S[5]);
	assert_int_equal(fix_one(x), S[5]);
	fix_release_all(x, S, at);
}

/* A better area that is switched on later is used at once, also by a CPU that
 * has a cluster begun elsewhere. */
static void test_better_area_later(void **state)
{
	struct fix *x = *state;

	weir__swapon(&x->e, 2048, 1, NULL, 0);
	S[0] = fix_one(x);
	weir__swapon(&x->e, 2048, 2, NULL, 0);
	S[1] = fix_one(x);
	assert_int_equal(swp_type(S[0]), 0);
	assert_int_equal(swp_type(S[1]), 1);
	fix_release_all(x, S, 2);
}

/* Equal ones alternate: after 8 clusters each of the two has given 4. */
static void test_equal_priorities_alternate(void **state)
{
	struct fix *x = *state;
	unsigned per_type[2] = {0, 0}, changes = 0;

	weir__swapon(&x->e, 8 * CL, 7, NULL, 0);
	weir__swapon(&x->e, 8 * CL, 7, NULL, 0);
	assert_int_equal(weir__swap_alloc(&x->e, S, 8 * CL - 2), 8 * CL - 2);
	for (unsigned i = 0; i < 8 * CL - 2; i++) {
		per_type[swp_type(S[i])]++;
		changes += i && swp_type(S[i]) != swp_type(S[i - 1]);
	}
	assert_in_range(per_type[0], 4 * CL - CL / 2, 4 * CL + CL / 2);
	assert_in_range(changes, 7, 16); /* by clusters, not by slots */
	fix_release_all(x, S, 8 * CL - 2);
}

/* --- runs
 * ---------------------------------------------------------------------- */

static void test_fresh_batches_are_runs(void **state)
{
	struct fix *x = *state;
	unsigned at = 0;

	weir__swapon(&x->e, 64 * CL, -1, NULL, 0);
	for (unsigned i = 0; i < 64; i++, at += 256) {
		assert_int_equal(weir__swap_alloc(&x->e, S + at, 256), 256);
		/* one run, two where the batch crosses a cluster's end */
		assert_in_range(fix_runs(S + at, 256), 1, 2);
	}
	assert_in_range(fix_runs(S, at), 1, 64);
	fix_release_all(x, S, at);
}

/* Two CPUs take batches in turn: each one's slots are consecutive. */
static void test_cpus_do_not_mix(void **state)
{
	struct fix *x = *state;
	unsigned n[2] = {0, 0};
	swp_entry_t s[2][200];

	weir__swapon(&x->e, 8 * CL, -1, NULL, 0);
	for (unsigned i = 0; i < 100; i++) {
		unsigned cpu = i & 1;

		x->fh.task.cpu = cpu;
		n[cpu] += weir__swap_alloc(&x->e, s[cpu] + n[cpu], 4);
	}
	x->fh.task.cpu = 0;
	for (unsigned cpu = 0; cpu < 2; cpu++) {
		assert_int_equal(n[cpu], 200);
		assert_int_equal(fix_runs(s[cpu], 200), 1);
		fix_release_all(x, s[cpu], 200);
	}
}

/*
 *   cluster 0   1 . 1 . 1 . 1 .    every other slot free
 *   cluster 1   - - - - - - - -    never used
 * A small request fills holes, a large one takes the fresh cluster.
 */
static void test_small_fills_holes_large_wants_runs(void **state)
{
	struct fix *x = *state;
	swp_entry_t small[8], large[64];

	weir__swapon(&x->e, 4 * CL, -1, NULL, 0);
	assert_int_equal(weir__swap_alloc(&x->e, S, CL - 1), CL - 1);
	for (unsigned i = 1; i < CL - 1; i += 2)
		weir__swap_slot_release(&x->e, S[i]);
	assert_int_equal(weir__swap_alloc(&x->e, large, 64), 64);
	assert_int_equal(fix_runs(large, 64), 1);
	assert_true(swp_offset(large[0]) >= CL);
	/* the CPU goes on in its cluster; another one looks for holes */
	x->fh.task.cpu = 1;
	assert_int_equal(weir__swap_alloc(&x->e, small, 8), 8);
	for (unsigned i = 0; i < 8; i++)
		assert_true(swp_offset(small[i]) < CL);
	x->fh.task.cpu = 0;
	fix_release_all(x, small, 8);
	fix_release_all(x, large, 64);
	for (unsigned i = 0; i < CL - 1; i += 2)
		weir__swap_slot_release(&x->e, S[i]);
}

/* Never fails while a single slot is free, wherever that is. */
static void test_every_single_slot_is_found(void **state)
{
	struct fix *x = *state;
	const unsigned total = 5 * CL + 99;
	unsigned n;
	uint32_t seed = 7;

	weir__swapon(&x->e, total + 1, -1, NULL, 0);
	n = weir__swap_alloc(&x->e, S, 60000);
	assert_int_equal(n, total);
	assert_int_equal(weir__swap_nr_free(&x->e), 0);
	for (unsigned i = 0; i < 500; i++) {
		unsigned v = next_random(&seed) % total;
		swp_entry_t s;

		x->fh.task.cpu = i & 1;
		weir__swap_slot_release(&x->e, S[v]);
		/* asks for many, gets the one there is */
		assert_int_equal(weir__swap_alloc(&x->e, &s, i & 2 ? 1 : 64),
				 1);
		assert_int_equal(s, S[v]);
	}
	fix_release_all(x, S, total);
	assert_true(weir__swap_is_valid(&x->e));
	assert_int_equal(weir__swap_nr_free(&x->e), total);
}

/*
 * Fragmentation. Half of all slots are freed at random: large batches are in
 * pieces. Then everything but one slot in each 16th cluster is freed: they are
 * whole again.
 */
static void test_fragmentation(void **state)
{
	struct fix *x = *state;
	const unsigned total = 64 * CL - 1;
	static bool held[64 * CL];
	uint32_t seed = 99;
	swp_entry_t s[256];

	weir__swapon(&x->e, total + 1, -1, NULL, 0);
	assert_int_equal(weir__swap_alloc(&x->e, S, total), total);
	for (unsigned i = 0; i < total; i++) {
		held[swp_offset(S[i])] = next_random(&seed) & 1;
		if (!held[swp_offset(S[i])])
			weir__swap_slot_release(&x->e, S[i]);
	}
	assert_int_equal(weir__swap_alloc(&x->e, s, 256), 256);
	assert_true(fix_runs(s, 256) > 64);
	fix_release_all(x, s, 256);
	for (unsigned i = 1; i <= total; i++) {
		if (!held[i] || i % (16 * CL) == 100)
			continue;
		held[i] = false;
		weir__swap_slot_release(&x->e, swp_entry(0, i));
	}
	assert_true(weir__swap_is_valid(&x->e));
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(weir__swap_alloc(&x->e, S + 256 * i, 256),
				 256);
		assert_in_range(fix_runs(S + 256 * i, 256), 1, 2);
	}
	fix_release_all(x, S, 8 * 256);
	for (unsigned i = 1; i <= total; i++)
		if (held[i])
			weir__swap_slot_release(&x->e, swp_entry(0, i));
}

/*
 *   x x . x x . x x ... 257 free ones ... x x
 *       77    90        600
 * All slots were taken, so the cursor has one slot of its run left: that goes
 * to the first hole. Then it looks for a long piece, passing over the second
 * hole, and only when no long piece is left comes back to it.
 */
static void test_classic_searches_a_run(void **state)
{
	struct fix *x = *state;
	const unsigned total = 3 * CL - 1; /* 6 runs of 256, less slot 0 */

	x->e.tun.swap_allocator = 1;
	weir__swapon(&x->e, total + 1, -1, NULL, 0);
	assert_int_equal(weir__swap_alloc(&x->e, S, total), total);
	for (unsigned i = 0; i < total; i++)
		assert_int_equal(swp_offset(S[i]), i + 1);
	weir__swap_slot_release(&x->e, swp_entry(0, 77));
	weir__swap_slot_release(&x->e, swp_entry(0, 90));
	for (unsigned i = 600; i < 600 + 257; i++)
		weir__swap_slot_release(&x->e, swp_entry(0, i));
	assert_int_equal(swp_offset(fix_one(x)), 77);
	assert_int_equal(weir__swap_alloc(&x->e, S, 256), 256);
	assert_int_equal(swp_offset(S[0]), 600);
	assert_int_equal(fix_runs(S, 256), 1);
	assert_int_equal(swp_offset(fix_one(x)), 856);
	assert_int_equal(swp_offset(fix_one(x)), 90);
	for (unsigned i = 1; i <= total; i++)
		weir__swap_slot_release(&x->e, swp_entry(0, i));
}

/*
 *   CPU 0's cluster   x x x | . x . x . . .    it stopped at the bar
 * A large request does not go on there in pieces.
 */
static void test_position_in_pieces_is_left(void **state)
{
	struct fix *x = *state;
	swp_entry_t s[64];

	weir__swapon(&x->e, 4 * CL, -1, NULL, 0);
	assert_int_equal(weir__swap_alloc(&x->e, S, 128), 128);
	/* another CPU takes the other half, and gives some of it back */
	for (unsigned i = 64; i < 128; i += 2)
		weir__swap_slot_release(&x->e, S[i]);
	x->fh.task.cpu = 1;
	S[500] = fix_one(x); /* now its position is in the pieces */
	assert_int_equal(swp_offset(S[500]), 65);
	assert_int_equal(weir__swap_alloc(&x->e, s, 64), 64);
	assert_int_equal(fix_runs(s, 64), 1);
	assert_true(swp_offset(s[0]) >= CL);
	x->fh.task.cpu = 0;
	fix_release_all(x, s, 64);
	fix_release_all(x, S, 64);
	for (unsigned i = 65; i < 128; i += 2)
		weir__swap_slot_release(&x->e, S[i]);
	weir__swap_slot_release(&x->e, S[500]);
}

/* A CPU's position does not outlive its area. */
static void test_position_ends_with_the_area(void **state)
{
	struct fix *x = *state;

	weir__swapon(&x->e, 8 * CL, -1, NULL, 0);
	assert_int_equal(weir__swap_alloc(&x->e, S, 1500), 1500);
	fix_release_all(x, S, 1500);
	assert_int_equal(weir__swapoff_empty(&x->e, 0), 0);
	assert_int_equal(weir__swapon(&x->e, 16, -1, NULL, 0), 0);
	S[0] = fix_one(x);
	assert_true(swp_offset(S[0]) < 16);
	assert_true(weir__swap_is_valid(&x->e));
	fix_release_all(x, S, 1);
}

/*
 * Random life against a model that knows for each slot only how many holds it
 * has: no slot is given twice, none is lost, counts agree.
 */
static void test_against_model(void **state)
{
	struct fix *x = *state;
	enum { AREAS = 3, SLOTS = 1100 };
	static uint8_t count[AREAS][SLOTS];
	static bool cache[AREAS][SLOTS];
	const int prio[AREAS] = {5, 5, -1};
	uint32_t seed = 0x2545f491;
	uint64_t used = 0;

	memset(count, 0, sizeof(count));
	memset(cache, 0, sizeof(cache));
	for (int i = 0; i < AREAS; i++)
		weir__swapon(&x->e, SLOTS, prio[i], NULL, 0);
	for (unsigned step = 0; step < 30000; step++) {
		uint32_t r = next_random(&seed);
		unsigned type = r % AREAS, off = 1 + (r >> 8) % (SLOTS - 1);
		swp_entry_t s = swp_entry(type, off), got[64];
		bool mine = count[type][off] || cache[type][off];

		x->fh.task.cpu = r >> 30 & 1;
		switch ((r >> 4) % 8) {
		case 0:
			if (!weir__swap_total(&x->e) || step % 7)
				break;
			r = 1 + (r >> 20) % 64;
			r = weir__swap_alloc(&x->e, got, r);
			for (unsigned i = 0; i < r; i++) {
				unsigned t = swp_type(got[i]);
				uint64_t o = swp_offset(got[i]);

				assert_true(o > 0 && o < SLOTS);
				assert_false(cache[t][o]);
				assert_int_equal(count[t][o], 0);
				cache[t][o] = true;
				used++;
			}
			break;
		case 1:
		case 2:
			assert_int_equal(weir__swap_dup(&x->e, s),
					 mine ? 0 : -EINVAL);
			count[type][off] += mine;
			break;
		case 3:
		case 4:
		case 5:
			if (!count[type][off])
				break;
			weir__swap_free(&x->e, s);
			used -= --count[type][off] == 0 && !cache[type][off];
			break;
		default:
			if (!cache[type][off])
				break;
			weir__swap_slot_release(&x->e, s);
			cache[type][off] = false;
			used -= count[type][off] == 0;
		}
		if (weir__swap_count(&x->e, s) != count[type][off] ||
		    weir__swap_nr_free(&x->e) != AREAS * (SLOTS - 1) - used)
			fail_msg("step %u", step);
		if (step % 512 == 0)
			assert_true(weir__swap_is_valid(&x->e));
	}
	assert_true(weir__swap_is_valid(&x->e));
	for (unsigned t = 0; t < AREAS; t++)
		for (unsigned o = 1; o < SLOTS; o++) {
			if (cache[t][o])
				weir__swap_slot_release(&x->e, swp_entry(t, o));
			while (count[t][o]--)
				weir__swap_free(&x->e, swp_entry(t, o));
		}
	assert_int_equal(weir__swap_nr_free(&x->e), AREAS * (SLOTS - 1));
}

/* 64 GiB costs nothing to switch on, use a little of, and switch off. */
static void test_large_area(void **state)
{
	struct fix *x = *state;
	const uint64_t slots = (64ull << 30) / PAGE_SIZE;

	assert_int_equal(weir__swapon(&x->e, slots, -1, NULL, 0), 0);
	assert_int_equal(weir__swap_total(&x->e), slots - 1);
	assert_int_equal(weir__swap_alloc(&x->e, S, 1000), 1000);
	assert_true(swp_offset(S[999]) < 3 * CL);
	assert_true(weir__swap_is_valid(&x->e));
	fix_release_all(x, S, 1000);
	assert_int_equal(weir__swapoff_empty(&x->e, 0), 0);
}

/* --- discards
 * ---------------------------------------------------------------------- */

static struct fix *discard_fix;

/* While the host is told, nobody gets a slot of the cluster. */
static void take_during_discard(struct weir_host *h, uint32_t area,
				uint64_t slot, unsigned nr)
{
	struct fix *x = discard_fix;
	swp_entry_t s;

	x->nr_discards++;
	assert_int_equal(slot, CL);
	assert_int_equal(nr, CL);
	assert_int_equal(weir__swap_nr_free(&x->e), 0);
	assert_int_equal(weir__swap_alloc(&x->e, &s, 1), 0);
	assert_int_equal(weir__swap_dup(&x->e, swp_entry(0, CL + 5)), -EINVAL);
	assert_int_equal(weir__swapoff_empty(&x->e, 0), -EBUSY);
	assert_true(weir__swap_is_valid(&x->e));
}

static void test_discard(void **state)
{
	struct fix *x = *state;
	unsigned n;

	weir__swapon(&x->e, 3 * CL, -1, NULL, 0);
	n = weir__swap_alloc(&x->e, S, 3 * CL);
	assert_int_equal(n, 3 * CL - 1);
	discard_fix = x;
	x->ops.io_discard = take_during_discard;
	for (uint64_t off = CL; off < 2 * CL; off++) {
		assert_int_equal(x->nr_discards, 0);
		weir__swap_slot_release(&x->e, swp_entry(0, off));
		if (off < 2 * CL - 1)
			assert_int_equal(weir__swap_nr_free(&x->e),
					 off - CL + 1);
	}
	assert_int_equal(x->nr_discards, 1);
	assert_int_equal(weir__swap_nr_free(&x->e), CL);
	/* the cluster of the header: without slot 0 */
	x->ops.io_discard = fix_discard;
	for (uint64_t off = 1; off < CL; off++)
		weir__swap_slot_release(&x->e, swp_entry(0, off));
	assert_int_equal(x->nr_discards, 2);
	assert_int_equal(x->last_slot, 1);
	assert_int_equal(x->last_nr, CL - 1);
	for (uint64_t off = 2 * CL; off < 3 * CL; off++)
		weir__swap_slot_release(&x->e, swp_entry(0, off));
	assert_int_equal(x->nr_discards, 3);
	assert_int_equal(weir__swap_alloc(&x->e, S, 3 * CL), 3 * CL - 1);
	fix_release_all(x, S, 3 * CL - 1);
}

/* --- leases
 * ------------------------------------------------------------------------- */

static void test_lease(void **state)
{
	struct fix *x = *state;
	swp_entry_t s[10], t;
	int id;

	weir__swapon(&x->e, 21, -1, NULL, 0);
	assert_int_equal(weir__swap_alloc(&x->e, s, 10), 10);
	id = weir__swap_lease_begin(&x->e, 0);
	assert_true(id > 0);
	/* in use at begin, freed: not free */
	weir__swap_slot_release(&x->e, s[4]);
	assert_int_equal(weir__swap_nr_free(&x->e), 10);
	assert_int_equal(weir__swap_leased_slots(&x->e, 0), 1);
	assert_int_equal(weir__swap_used(&x->e, 0), 9);
	assert_int_equal(weir__swap_dup(&x->e, s[4]), -EINVAL);
	assert_int_equal(weir__swap_count(&x->e, s[4]), 0);
	assert_true(weir__swap_is_valid(&x->e));
	assert_int_equal(weir__swapoff_empty(&x->e, 0), -EBUSY);
	/* taken after begin: comes and goes as ever */
	assert_int_equal(weir__swap_alloc(&x->e, S, 20), 10);
	for (unsigned i = 0; i < 10; i++)
		assert_int_not_equal(S[i], s[4]);
	weir__swap_slot_release(&x->e, S[0]);
	assert_int_equal(weir__swap_nr_free(&x->e), 1);
	t = fix_one(x);
	assert_int_equal(t, S[0]);
	assert_int_equal(weir__swap_alloc(&x->e, &t, 1), 0);
	/* end: free again, and given out */
	assert_int_equal(weir__swap_lease_end(&x->e, 0, id), 0);
	assert_int_equal(weir__swap_lease_end(&x->e, 0, id), -ENOENT);
	assert_int_equal(weir__swap_leased_slots(&x->e, 0), 0);
	assert_int_equal(fix_one(x), s[4]);
	fix_release_all(x, s, 10);
	fix_release_all(x, S, 10);
}

/* A slot is kept until the last lease that has it ends. */
static void test_leases_overlap(void **state)
{
	struct fix *x = *state;
	swp_entry_t s[4];
	int a, b, c;

	weir__swapon(&x->e, 100, -1, NULL, 0);
	weir__swap_alloc(&x->e, s, 3);
	a = weir__swap_lease_begin(&x->e, 0);
	weir__swap_slot_release(&x->e, s[0]); /* a only */
	s[3] = fix_one(x);
	b = weir__swap_lease_begin(&x->e, 0);
	weir__swap_slot_release(&x->e, s[1]); /* a and b */
	weir__swap_slot_release(&x->e, s[3]); /* b only */
	c = weir__swap_lease_begin(&x->e, 0);
	weir__swap_slot_release(&x->e, s[2]); /* all three */
	assert_int_equal(weir__swap_leased_slots(&x->e, 0), 4);
	assert_int_equal(weir__swap_lease_end(&x->e, 0, a), 0);
	assert_int_equal(weir__swap_leased_slots(&x->e, 0), 3);
	assert_int_equal(weir__swap_map_byte(&x->e, s[0]), 0);
	assert_int_equal(weir__swap_lease_end(&x->e, 0, b), 0);
	assert_int_equal(weir__swap_leased_slots(&x->e, 0), 1);
	assert_true(weir__swap_is_valid(&x->e));
	assert_int_equal(weir__swap_lease_end(&x->e, 0, c), 0);
	assert_int_equal(weir__swap_nr_free(&x->e), 99);
}

static void test_leases_limit(void **state)
{
	struct fix *x = *state;
	int id[64];
	swp_entry_t s;

	assert_int_equal(weir__swap_lease_begin(&x->e, 0), -EINVAL);
	weir__swapon(&x->e, 100, -1, NULL, 0);
	s = fix_one(x);
	for (unsigned i = 0; i < 64; i++) {
		id[i] = weir__swap_lease_begin(&x->e, 0);
		assert_true(id[i] > 0);
	}
	assert_int_equal(weir__swap_lease_begin(&x->e, 0), -EBUSY);
	weir__swap_slot_release(&x->e, s);
	for (unsigned i = 0; i < 63; i++)
		weir__swap_lease_end(&x->e, 0, id[i]);
	assert_int_equal(weir__swap_leased_slots(&x->e, 0), 1);
	/* the place is used again, under another id */
	id[0] = weir__swap_lease_begin(&x->e, 0);
	assert_true(id[0] > 0 && id[0] != id[63]);
	weir__swap_lease_end(&x->e, 0, id[63]);
	assert_int_equal(weir__swap_leased_slots(&x->e, 0), 0);
	assert_int_equal(weir__swap_lease_end(&x->e, 0, id[63]), -ENOENT);
	weir__swap_lease_end(&x->e, 0, id[0]);
	/* frames of the leases are back, the charge of one cluster is not */
	assert_int_equal(weir__swap_own_frames(&x->e), 2);
}

static void test_lease_enomem(void **state)
{
	struct fix *x = *state;
	struct frame *f;
	LIST_HEAD(hog);
	swp_entry_t s;

	weir__swapon(&x->e, 100, -1, NULL, 0);
	s = fix_one(x);
	while ((f = weir__frames_alloc(&x->e, GFP_NOWAIT | GFP_MEMALLOC, 0)))
		list_add(&f->lru, &hog);
	assert_int_equal(weir__swap_lease_begin(&x->e, 0), -ENOMEM);
	/* room for the directory, none for the bits */
	f = list_first_entry(&hog, struct frame, lru);
	list_del(&f->lru);
	weir__frames_free(&x->e, f, 0);
	assert_int_equal(weir__swap_lease_begin(&x->e, 0), -ENOMEM);
	while (!list_empty(&hog)) {
		f = list_first_entry(&hog, struct frame, lru);
		list_del(&f->lru);
		weir__frames_free(&x->e, f, 0);
	}
	weir__swap_slot_release(&x->e, s);
	assert_int_equal(weir__swap_leased_slots(&x->e, 0), 0);
}

/* Leases over several frames of bits, against a model of holders. */
static void test_leases_model(void **state)
{
	struct fix *x = *state;
	enum { SLOTS = 70000, LEASES = 5 };
	static uint8_t holders[SLOTS]; /* bit i: lease i has it */
	static bool used[SLOTS];
	int id[LEASES] = {0};
	uint32_t seed = 4711;
	uint64_t nr_used = 0;

	memset(holders, 0, sizeof(holders));
	memset(used, 0, sizeof(used));
	weir__swapon(&x->e, SLOTS, -1, NULL, 0);
	for (unsigned round = 0; round < 60; round++) {
		unsigned l = next_random(&seed) % LEASES, n, leased = 0;

		n = weir__swap_alloc(&x->e, S, next_random(&seed) % 8000);
		for (unsigned i = 0; i < n; i++) {
			assert_false(used[swp_offset(S[i])]);
			assert_int_equal(holders[swp_offset(S[i])], 0);
			used[swp_offset(S[i])] = true;
		}
		nr_used += n;
		if (id[l]) {
			assert_int_equal(weir__swap_lease_end(&x->e, 0, id[l]),
					 0);
			id[l] = 0;
		} else {
			id[l] = weir__swap_lease_begin(&x->e, 0);
			assert_true(id[l] > 0);
		}
		for (unsigned i = 1; i < SLOTS; i++) {
			if (!id[l])
				holders[i] &= (uint8_t) ~(1u << l);
			else if (used[i])
				holders[i] |= (uint8_t)(1u << l);
		}
		for (unsigned i = 1; i < SLOTS; i++) {
			if (used[i] && next_random(&seed) % 8 == 0) {
				weir__swap_slot_release(&x->e, swp_entry(0, i));
				used[i] = false;
				nr_used--;
			}
			leased += !used[i] && holders[i];
		}
		assert_int_equal(weir__swap_leased_slots(&x->e, 0), leased);
		assert_int_equal(weir__swap_nr_free(&x->e),
				 SLOTS - 1 - nr_used - leased);
		if (round % 16 == 0)
			assert_true(weir__swap_is_valid(&x->e));
	}
	for (unsigned i = 1; i < SLOTS; i++)
		if (used[i])
			weir__swap_slot_release(&x->e, swp_entry(0, i));
	for (unsigned l = 0; l < LEASES; l++)
		if (id[l])
			weir__swap_lease_end(&x->e, 0, id[l]);
	assert_int_equal(weir__swap_nr_free(&x->e), SLOTS - 1);
}

/* A cluster all of whose slots are leased or free is not discarded. */
static void test_lease_keeps_from_discard(void **state)
{
	struct fix *x = *state;
	int id;

	weir__swapon(&x->e, 2 * CL, -1, NULL, 0);
	assert_int_equal(weir__swap_alloc(&x->e, S, 2 * CL), 2 * CL - 1);
	id = weir__swap_lease_begin(&x->e, 0);
	fix_release_all(x, S, 2 * CL - 1);
	assert_int_equal(x->nr_discards, 0);
	weir__swap_lease_end(&x->e, 0, id);
	assert_int_equal(x->nr_discards, 2);
	assert_int_equal(weir__swap_nr_free(&x->e), 2 * CL - 1);
}

/* --- what is in use
 * -------------------------------------------------------------------- */

struct runs {
	uint64_t slot[16], nr[16];
	unsigned n, stop_at;
};

static int note_run(void *arg, uint64_t slot, uint64_t nr)
{
	struct runs *r = arg;

	r->slot[r->n] = slot;
	r->nr[r->n++] = nr;
	return r->n == r->stop_at ? 42 : 0;
}

static void test_used_runs(void **state)
{
	struct fix *x = *state;
	struct runs r = {.n = 0};
	uint8_t bits[2 * CL / 8];
	uint64_t nr = 0;

	assert_int_equal(weir__swap_for_each_used(&x->e, 0, note_run, &r),
			 -EINVAL);
	x->e.tun.swap_allocator = 1; /* slots in order */
	weir__swapon(&x->e, 4 * CL, -1, NULL, 0);
	assert_int_equal(weir__swap_for_each_used(&x->e, 0, note_run, &r), 0);
	assert_int_equal(r.n, 0);
	assert_int_equal(weir__swap_alloc(&x->e, S, 2 * CL), 2 * CL);
	/* 10..99 and 1000 free; one run crosses the clusters' border */
	for (uint64_t i = 10; i < 100; i++)
		weir__swap_slot_release(&x->e, swp_entry(0, i));
	weir__swap_slot_release(&x->e, swp_entry(0, 1000));
	/* a count alone is in use too */
	weir__swap_dup(&x->e, swp_entry(0, 5));
	weir__swap_slot_release(&x->e, swp_entry(0, 5));
	assert_int_equal(weir__swap_for_each_used(&x->e, 0, note_run, &r), 0);
	assert_int_equal(r.n, 3);
	assert_int_equal(r.slot[0], 1);
	assert_int_equal(r.nr[0], 9);
	assert_int_equal(r.slot[1], 100);
	assert_int_equal(r.nr[1], 900);
	assert_int_equal(r.slot[2], 1001);
	assert_int_equal(r.nr[2], 2 * CL - 1000);
	r.n = 0;
	r.stop_at = 2;
	assert_int_equal(weir__swap_for_each_used(&x->e, 0, note_run, &r), 42);
	assert_int_equal(r.n, 2);

	assert_int_equal(weir__swap_used_bitmap(&x->e, 0, bits, 1003),
			 9 + 900 + 2);
	for (unsigned i = 0; i < 1003; i++) {
		bool used = (i >= 1 && i < 10) || (i >= 100 && i != 1000);

		assert_int_equal(bits[i / 8] >> i % 8 & 1, used);
		nr += used;
	}
	assert_int_equal(nr, 911);
	for (uint64_t i = 1; i <= 2 * CL; i++) {
		if (i == 5)
			weir__swap_free(&x->e, swp_entry(0, i));
		else if (i != 1000 && (i < 10 || i >= 100))
			weir__swap_slot_release(&x->e, swp_entry(0, i));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOTH(test_priorities),
	    BOTH(test_better_area_later),
	    BOTH(test_equal_priorities_alternate),
	    BOTH(test_fresh_batches_are_runs),
	    SWAP_TEST(test_cpus_do_not_mix),
	    SWAP_TEST(test_small_fills_holes_large_wants_runs),
	    BOTH(test_every_single_slot_is_found),
	    BOTH(test_fragmentation),
	    SWAP_TEST(test_classic_searches_a_run),
	    SWAP_TEST(test_position_in_pieces_is_left),
	    SWAP_TEST(test_position_ends_with_the_area),
	    BOTH(test_against_model),
	    BOTH(test_large_area),
	    BOTH(test_discard),
	    BOTH(test_lease),
	    SWAP_TEST(test_leases_overlap),
	    SWAP_TEST(test_leases_limit),
	    SWAP_TEST(test_lease_enomem),
	    BOTH(test_leases_model),
	    BOTH(test_lease_keeps_from_discard),
	    SWAP_TEST(test_used_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
