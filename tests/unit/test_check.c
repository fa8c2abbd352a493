/* SPDX-License-Identifier: MIT */
/* A sound engine is called sound; each way of breaking a book is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "space.h"

#define BASE 0x10000000ull

static struct aspace *as;
static struct frame *page[8];

static uint64_t addr(unsigned i)
{
	return BASE + (uint64_t)i * PAGE_SIZE;
}

/* Pages in each state: on a list, in a batch, in the swap cache, shared after
 * fork, swapped out. */
static int setup(void **state)
{
	struct space *s;

	if (space_setup(state))
		return -1;
	s = *state;
	if (weir__aspace_create(&s->e, s, &as) ||
	    weir__region_add(as, BASE, addr(8), REGION_READ | REGION_WRITE))
		return -1;
	for (unsigned i = 0; i < 7; i++)
		page[i] = space_touch(as, addr(i));
	space_swap_out(s, page[5], true);
	space_swap_out(s, page[4], false);
	weir__lru_add_drain_all(&s->e);
	page[7] = space_touch(as, addr(7)); /* waits in a batch */
	return 0;
}

static int teardown(void **state)
{
	if (as)
		weir__aspace_destroy(as);
	as = NULL;
	return space_teardown(state);
}

static void expect_valid(struct space *s)
{
	char why[200] = "";

	if (!weir__engine_is_valid(&s->e, why, sizeof(why)))
		print_error("%s\n", why);
	assert_string_equal(why, "");
}

/* The complaint names what is wrong. */
static void expect_found(struct space *s, const char *part)
{
	char why[200] = "";

	assert_false(weir__engine_is_valid(&s->e, why, sizeof(why)));
	if (!strstr(why, part))
		print_error("%s\n", why);
	assert_non_null(strstr(why, part));
}

static void test_fresh(void **state)
{
	expect_valid(*state);
}

static void test_after_fork(void **state)
{
	struct space *s = *state;
	struct aspace *child;

	assert_int_equal(weir__aspace_create(&s->e, s, &child), 0);
	assert_int_equal(weir__aspace_fork(as, child), 0);
	expect_valid(s);
	page[0] = space_cow(child, addr(0));
	expect_valid(s);
	weir__aspace_destroy(child);
	expect_valid(s);
}

static void test_after_everything_is_gone(void **state)
{
	struct space *s = *state;

	weir__aspace_destroy(as);
	as = NULL;
	expect_valid(s);
}

static void test_lost_frame(void **state)
{
	struct space *s = *state;
	struct frame *f = weir__frames_alloc(&s->e, GFP_KERNEL, 0);

	expect_found(s, "in no place");
	/* the engine's own is a place */
	weir__frame_set(f, FRAME_KERNEL);
	expect_valid(s);
	weir__frame_clear(f, FRAME_KERNEL);
	weir__frames_free(&s->e, f, 0);
	expect_valid(s);
}

static void test_lost_block(void **state)
{
	struct space *s = *state;
	struct frame *f = weir__frames_alloc(&s->e, GFP_KERNEL, 3);

	weir__frame_set(f, FRAME_KERNEL);
	expect_valid(s);
	weir__frame_clear(&f[5], FRAME_TAIL);
	expect_found(s, "tail");
	weir__frame_set(&f[5], FRAME_TAIL);
	weir__frames_free(&s->e, f, 3);
}

static void test_free_count(void **state)
{
	struct space *s = *state;
	struct zone *z = &s->e.nodes[0].zones[0];

	z->free_pages++;
	expect_found(s, "free lists");
	z->free_pages--;
	expect_valid(s);
}

static void test_reference_too_many(void **state)
{
	struct space *s = *state;

	page[0]->refcount++;
	expect_found(s, "reference without a holder");
	page[0]->refcount--;
	/* in a batch, and in the swap cache, too */
	page[7]->refcount++;
	expect_found(s, "reference without a holder");
	page[7]->refcount--;
	page[4]->refcount++;
	expect_found(s, "reference without a holder");
	page[4]->refcount--;
	expect_valid(s);
}

static void test_mapcount(void **state)
{
	struct space *s = *state;

	weir__frame_clear(page[1], FRAME_EXCLUSIVE);
	page[1]->mapcount++;
	page[1]->refcount++;
	expect_found(s, "mapcount");
	page[1]->refcount--;
	page[1]->mapcount--;
	weir__frame_set(page[1], FRAME_EXCLUSIVE);
	expect_valid(s);
}

static void test_entry_lost(void **state)
{
	struct space *s = *state;
	uint64_t v = space_pte(as, addr(2));
	pte_t *pte;

	weir__spin_lock(&s->e, &as->lock);
	pte = weir__pte(as, addr(2));
	pte_store(pte, 0);
	weir__spin_unlock(&s->e, &as->lock);
	expect_found(s, "mapcount");
	pte_store(pte, v);
	expect_valid(s);
}

static void test_list_flag(void **state)
{
	struct space *s = *state;

	weir__frame_set(page[3], FRAME_ACTIVE);
	expect_found(s, "LRU lists");
	weir__frame_clear(page[3], FRAME_ACTIVE);
	expect_valid(s);
}

static void test_isolated_and_forgotten(void **state)
{
	struct space *s = *state;

	assert_true(weir__frame_isolate_lru(&s->e, page[0]));
	expect_found(s, "in no place");
	weir__frame_putback_lru(&s->e, page[0]);
	expect_valid(s);
}

static void test_left_locked(void **state)
{
	struct space *s = *state;

	weir__frame_lock(&s->e, page[0]);
	expect_found(s, "locked");
	weir__frame_unlock(&s->e, page[0]);
	expect_valid(s);
}

static void test_counters(void **state)
{
	struct space *s = *state;
	static const struct {
		enum stat_item item;
		const char *part;
	} t[] = {
	    {STAT_nr_anon_pages, "nr_anon_pages"},
	    {STAT_nr_inactive_anon, "nr_inactive_anon"},
	    {STAT_nr_slab_pages, "nr_slab_pages"},
	    {STAT_nr_page_table_pages, "nr_page_table_pages"},
	    {STAT_nr_writeback, "nr_writeback"},
	    {STAT_nr_isolated_file, "nr_isolated_file"},
	    {STAT_nr_swapcached, "swap areas"},
	    {STAT_pgalloc, "frames taken"},
	};

	for (unsigned i = 0; i < sizeof(t) / sizeof(*t); i++) {
		weir__stat_add(&s->e, t[i].item, 1);
		expect_found(s, t[i].part);
		weir__stat_add(&s->e, t[i].item, -1);
	}
	as->nr_anon++;
	expect_found(s, "address space");
	as->nr_anon--;
	as->nr_ptpages++;
	expect_found(s, "address space");
	as->nr_ptpages--;
	s->e.nodes[0].nr_isolated[1]++;
	expect_found(s, "isolated file");
	s->e.nodes[0].nr_isolated[1]--;
	expect_valid(s);
}

/* A short buffer is filled as far as it goes, and no further. */
static void test_short_buffer(void **state)
{
	struct space *s = *state;
	char why[8] = "xxxxxxx";

	page[0]->refcount++;
	assert_false(weir__engine_is_valid(&s->e, why, 6));
	assert_int_equal(strlen(why), 5);
	assert_int_equal(why[6], 'x');
	assert_false(weir__engine_is_valid(&s->e, why, 0));
	page[0]->refcount--;
}

/* --- dumps ---------------------------------------------------------------- */

static char dump[4096];

static void gather(void *ctx, const char *line)
{
	strncat(dump, line, sizeof(dump) - strlen(dump) - 2);
	strcat(dump, "\n");
}

static void test_dump_frame(void **state)
{
	struct space *s = *state;
	char want[64];

	dump[0] = '\0';
	weir__dump_frame(&s->e, page[4], "looks odd", gather, NULL);
	snprintf(want, sizeof(want), "frame %u: refs 1 maps 0",
		 weir__pfn(&s->e, page[4]));
	assert_non_null(strstr(dump, want));
	assert_non_null(strstr(dump, "swapbacked|swapcache"));
	assert_non_null(strstr(dump, "because looks odd"));

	dump[0] = '\0';
	weir__dump_frame(&s->e, s->e.memmap + s->e.nr_frames, "stray", gather,
			 NULL);
	assert_non_null(strstr(dump, "outside the memmap: stray"));
}

static void test_dump_state(void **state)
{
	struct space *s = *state;
	char want[64];

	dump[0] = '\0';
	weir__dump_state(&s->e, gather, NULL);
	snprintf(want, sizeof(want), "free %ld min ",
		 (long)s->e.nodes[0].zones[0].free_pages);
	assert_non_null(strstr(dump, want));
	assert_non_null(strstr(dump, "inactive_anon 6"));
	assert_non_null(strstr(dump, "swap free"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_fresh),
	    T(test_after_fork),
	    T(test_after_everything_is_gone),
	    T(test_lost_frame),
	    T(test_lost_block),
	    T(test_free_count),
	    T(test_reference_too_many),
	    T(test_mapcount),
	    T(test_entry_lost),
	    T(test_list_flag),
	    T(test_isolated_and_forgotten),
	    T(test_left_locked),
	    T(test_counters),
	    T(test_short_buffer),
	    T(test_dump_frame),
	    T(test_dump_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
