/* SPDX-License-Identifier: MIT */
#include "engine/swap.h"
#include "engine/workingset.h"
#include "lrufix.h"

/* -------------------------------------------------------------- shadows --- */

static void bucket_order_by_memory(void **state)
{
	assert_int_equal(SHADOW_CLOCK_BITS, 36);
	/* 2^23 pages, 36 bits: nothing is lost */
	assert_int_equal(weir__bucket_order(1u << 23, 36), 0);
	/* a 32-bit word without node bits: 14; 1 GiB */
	assert_int_equal(32 - 1 - 1 - SHADOW_GROUP_BITS, 14);
	assert_int_equal(weir__bucket_order(1u << 18, 14), 4);
	assert_int_equal(weir__bucket_order((1u << 18) + 1, 14), 5);
	assert_int_equal(weir__bucket_order(1u << 14, 14), 0);
	assert_int_equal(weir__bucket_order((1u << 14) + 1, 14), 1);
	assert_int_equal(weir__bucket_order(1, 14), 0);
	assert_int_equal(weir__bucket_order(0, 14), 0);
}

static void a_shadow_is_odd_and_tells_everything(void **state)
{
	static const uint64_t clocks[] = {0, 1, 1000, 0xfffffffffULL,
					  0xabcdef123ULL};
	struct lrufix *x = *state;

	for (unsigned i = 0; i < 5; i++) {
		for (unsigned node = 0; node < 1024; node += 341) {
			for (int ws = 0; ws < 2; ws++) {
				uint64_t s = weir__shadow_pack(x->e, clocks[i],
							       node, ws);
				uint64_t clock;
				unsigned n;
				bool w;

				assert_true(s & 1);
				weir__shadow_unpack(x->e, s, &clock, &n, &w);
				assert_true(clock == clocks[i]);
				assert_int_equal(n, node);
				assert_int_equal(w, ws);
			}
		}
	}
	/* a clock past its width loses the top only */
	uint64_t clock;
	unsigned n;
	bool w;

	weir__shadow_unpack(x->e,
			    weir__shadow_pack(x->e, (5ULL << 36) + 77, 1, true),
			    &clock, &n, &w);
	assert_int_equal(clock, 77);
	assert_int_equal(n, 1);
	assert_true(w);
}

static void eviction_packs_the_clock_and_turns_it(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = lrufix_page(x, 1, 0, FRAME_SWAPBACKED);
	struct lruvec *v = &x->e->nodes[1].lruvec;
	uint64_t clock, s;
	unsigned node;
	bool ws;

	v->nonresident_age = 41;
	s = weir__workingset_eviction(x->e, f);
	weir__shadow_unpack(x->e, s, &clock, &node, &ws);
	assert_int_equal(clock, 41);
	assert_int_equal(node, 1);
	assert_false(ws);
	assert_int_equal(v->nonresident_age, 42);
	assert_int_equal(x->v->nonresident_age, 0);
	weir__frame_set(f, FRAME_WORKINGSET);
	s = weir__workingset_eviction(x->e, f);
	weir__shadow_unpack(x->e, s, &clock, &node, &ws);
	assert_int_equal(clock, 42);
	assert_true(ws);
	weir__workingset_activation(x->e, f);
	assert_int_equal(v->nonresident_age, 44);
}

/* ------------------------------------------------------------- the rule --- */

static void the_distance_is_compared_with_what_competes(void **state)
{
	/* E 1000, R 1800; active file 500, inactive anon 200, active anon 150
	 */
	assert_true(
	    weir__refault_activates(true, true, 800, 500, 9999, 150, 200));
	assert_false(
	    weir__refault_activates(true, false, 800, 500, 9999, 150, 200));
	assert_true(weir__refault_activates(true, true, 850, 500, 0, 150, 200));
	assert_false(
	    weir__refault_activates(true, true, 851, 500, 0, 150, 200));
	/* an anonymous page competes with the file pages, and with the active
	 * anonymous ones while there is swap; never with its own list */
	assert_true(weir__refault_activates(false, true, 80, 10, 20, 50, 9999));
	assert_false(
	    weir__refault_activates(false, true, 81, 10, 20, 50, 9999));
	assert_true(
	    weir__refault_activates(false, false, 30, 10, 20, 50, 9999));
	assert_false(
	    weir__refault_activates(false, false, 31, 10, 20, 50, 9999));
}

/* Sizes as the example gives them, without that many frames. */
static void example_sizes(struct lrufix *x)
{
	x->v->size[LRU_ACTIVE_FILE] = 500;
	x->v->size[LRU_INACTIVE_ANON] = 200;
	x->v->size[LRU_ACTIVE_ANON] = 150;
}

static void swapon(struct lrufix *x)
{
	assert_int_equal(weir__swap_init(x->e), 0);
	assert_true(weir__swapon(x->e, 1024, -1, NULL, 0) >= 0);
	assert_true(weir__swap_nr_free(x->e) > 0);
}

static void a_refault_within_the_distance_activates(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = file_page(x);

	swapon(x);
	example_sizes(x);
	x->v->nonresident_age = 1800;
	weir__workingset_refault(x->e, f,
				 weir__shadow_pack(x->e, 1000, 0, false));
	assert_true(frame_test(f, FRAME_ACTIVE));
	assert_false(frame_test(f, FRAME_WORKINGSET));
	assert_int_equal(x->v->nonresident_age, 1801);
	assert_int_equal(stat_of(x, STAT_workingset_refault_file), 1);
	assert_int_equal(stat_of(x, STAT_workingset_activate_file), 1);
	assert_int_equal(stat_of(x, STAT_workingset_restore_file), 0);
	assert_int_equal(stat_of(x, STAT_workingset_refault_anon), 0);
	assert_int_equal(x->v->activate_refault[1], 1);
	assert_int_equal(x->v->activate_refault[0], 0);
	assert_int_equal(x->v->file_cost, 0);
}

static void without_swap_the_same_refault_does_not(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = file_page(x);

	assert_int_equal(weir__swap_init(x->e), 0);
	example_sizes(x);
	x->v->nonresident_age = 1800;
	weir__workingset_refault(x->e, f,
				 weir__shadow_pack(x->e, 1000, 0, true));
	assert_false(frame_test(f, FRAME_ACTIVE | FRAME_WORKINGSET));
	assert_int_equal(x->v->nonresident_age, 1800);
	assert_int_equal(stat_of(x, STAT_workingset_refault_file), 1);
	assert_int_equal(stat_of(x, STAT_workingset_activate_file), 0);
	assert_int_equal(x->v->activate_refault[1], 0);
}

static void a_page_of_the_workingset_is_restored_at_a_cost(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = anon_page(x);

	swapon(x);
	example_sizes(x);
	x->v->nonresident_age = 650; /* active file + active anon */
	weir__workingset_refault(x->e, f, weir__shadow_pack(x->e, 0, 0, true));
	assert_true(frame_test(f, FRAME_ACTIVE));
	assert_true(frame_test(f, FRAME_WORKINGSET));
	assert_int_equal(stat_of(x, STAT_workingset_refault_anon), 1);
	assert_int_equal(stat_of(x, STAT_workingset_activate_anon), 1);
	assert_int_equal(stat_of(x, STAT_workingset_restore_anon), 1);
	assert_int_equal(x->v->activate_refault[0], 1);
	assert_int_equal(x->v->anon_cost, LRU_COST_IO);
	assert_int_equal(x->v->file_cost, 0);
	assert_int_equal(x->v->lru_lock.word, 0);

	/* one further away: nothing but the count */
	f = anon_page(x);
	assert_int_equal(x->v->nonresident_age, 651);
	weir__workingset_refault(x->e, f, weir__shadow_pack(x->e, 0, 0, true));
	assert_false(frame_test(f, FRAME_ACTIVE | FRAME_WORKINGSET));
	assert_int_equal(stat_of(x, STAT_workingset_refault_anon), 2);
	assert_int_equal(stat_of(x, STAT_workingset_restore_anon), 1);
}

static void the_clock_may_wrap_between(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = file_page(x);
	uint64_t width = 1ULL << SHADOW_CLOCK_BITS;

	swapon(x);
	example_sizes(x);
	x->v->nonresident_age = width + 100;
	weir__workingset_refault(
	    x->e, f, weir__shadow_pack(x->e, width - 700, 0, false));
	assert_true(frame_test(f, FRAME_ACTIVE)); /* 800 <= 850 */
	f = file_page(x);
	weir__workingset_refault(
	    x->e, f, weir__shadow_pack(x->e, width - 800, 0, false));
	assert_false(frame_test(f, FRAME_ACTIVE)); /* 901 */
}

/* The decision is made by the lists of the node that evicted the page. */
static void the_evicting_node_decides(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = lrufix_page(x, 1, 0, 0);

	swapon(x);
	example_sizes(x); /* node 0's */
	x->v->nonresident_age = 800;
	x->e->nodes[1].lruvec.nonresident_age = 5000;
	weir__workingset_refault(x->e, f, weir__shadow_pack(x->e, 0, 0, false));
	assert_true(frame_test(f, FRAME_ACTIVE));
	assert_int_equal(x->e->nodes[1].lruvec.nonresident_age, 5001);
	assert_int_equal(x->v->nonresident_age, 800);
	assert_int_equal(x->e->nodes[1].lruvec.activate_refault[1], 1);
	/* a node that does not exist: the shadow is void */
	f = lrufix_page(x, 1, 0, 0);
	weir__workingset_refault(x->e, f, weir__shadow_pack(x->e, 0, 9, false));
	assert_false(frame_test(f, FRAME_ACTIVE));
}

/* --------------------------------------------------------- small worlds --- */
/*
 * A file of up to 400 pages read through a memory of `room` pages, with the
 * smallest reclaim that can be: when there is no room the inactive tail goes,
 * after the active tail was demoted if the inactive list is low.
 */
#define WORLD_MAX 400

struct world {
	struct lrufix *x;
	unsigned room, used;
	struct frame *page[WORLD_MAX];
	uint64_t shadow[WORLD_MAX];
	unsigned misses;
};

static void world_demote(struct world *w)
{
	struct lrufix *x = w->x;
	struct frame *f = tail_of(x->v, LRU_ACTIVE_FILE);
	struct lruvec *v = weir__lruvec_lock(x->e, f);

	weir__lruvec_del(x->e, v, f);
	weir__frame_clear(f, FRAME_ACTIVE);
	weir__frame_set(f, FRAME_WORKINGSET);
	weir__lruvec_add(x->e, v, f);
	weir__lruvec_unlock(x->e, v);
}

/* What prepares a node pass: refaults that activate, or too short a list. */
static bool world_may_demote(struct lruvec *v)
{
	bool may = v->activate_refault[1] != v->refaults[1] ||
		   weir__inactive_is_low(v, 1);

	v->refaults[1] = v->activate_refault[1];
	return may && v->size[LRU_ACTIVE_FILE];
}

static void world_evict(struct world *w)
{
	struct lrufix *x = w->x;
	struct frame *f;
	unsigned scanned;
	LIST_HEAD(out);

	if (world_may_demote(x->v))
		world_demote(w);
	while (!weir__lruvec_isolate(x->e, x->v, LRU_INACTIVE_FILE, 1, 2, true,
				     &out, &scanned))
		world_demote(w);
	f = list_first_entry(&out, struct frame, lru);
	list_del(&f->lru);
	assert_ptr_equal(w->page[f->index], f);
	w->shadow[f->index] = weir__workingset_eviction(x->e, f);
	w->page[f->index] = NULL;
	weir__page_put(x->e, f); /* the isolation's */
	weir__page_put(x->e, f); /* ours: the cache's */
	w->used--;
}

static void world_access(struct world *w, unsigned i)
{
	struct lrufix *x = w->x;

	if (!w->page[i]) {
		struct frame *f;

		w->misses++;
		if (w->used == w->room)
			world_evict(w);
		w->page[i] = f = file_page(x);
		w->used++;
		f->index = i;
		if (w->shadow[i])
			weir__workingset_refault(x->e, f, w->shadow[i]);
		weir__frame_add_lru(x->e, f);
	}
	weir__frame_mark_accessed(x->e, w->page[i]);
	weir__lru_add_drain(x->e);
}

static unsigned world_round(struct world *w, unsigned from, unsigned to)
{
	w->misses = 0;
	for (unsigned i = from; i < to; i++)
		world_access(w, i);
	return w->misses;
}

/*
 * 120 pages in a memory of 100, in circles. With an empty active list there is
 * nothing to challenge, and every access misses by 20 places; once a part of
 * the file has become active, what comes back challenges it.
 */
static void a_loop_over_more_than_memory_refaults_then_activates(void **state)
{
	struct world w = {.x = *state, .room = 100};
	struct lrufix *x = w.x;
	int64_t refaults;

	assert_int_equal(weir__swap_init(x->e), 0);
	assert_int_equal(world_round(&w, 0, 120), 120);
	assert_int_equal(stat_of(x, STAT_workingset_refault_file), 0);
	assert_int_equal(world_round(&w, 0, 120), 120);
	refaults = stat_of(x, STAT_workingset_refault_file);
	assert_int_equal(refaults, 120);
	assert_int_equal(stat_of(x, STAT_workingset_activate_file), 0);
	for (unsigned i = 0; i < 40; i++) {
		world_access(&w, i);
		world_access(&w, i);
	}
	assert_int_equal(stat_of(x, STAT_nr_active_file), 40);
	assert_int_equal(world_round(&w, 0, 120), 80);
	assert_true(stat_of(x, STAT_workingset_refault_file) > refaults);
	assert_true(stat_of(x, STAT_workingset_activate_file) > 0);
	check_books(x);
}

/*
 * An old set of 60 pages has become active and is not used any more; 40 places
 * are left for a new one of 50, which each round would miss in all of them.
 */
static void a_set_larger_than_inactive_but_not_than_memory_settles(void **state)
{
	struct world w = {.x = *state, .room = 100};
	struct lrufix *x = w.x;
	unsigned misses = 0;

	assert_int_equal(weir__swap_init(x->e), 0);
	for (unsigned i = 0; i < 60; i++)
		for (unsigned k = 0; k < 2; k++)
			world_access(&w, 300 + i);
	assert_int_equal(stat_of(x, STAT_nr_active_file), 60);
	assert_int_equal(world_round(&w, 0, 50), 50);
	for (unsigned r = 0; r < 20; r++)
		misses = world_round(&w, 0, 50);
	assert_int_equal(misses, 0);
	assert_true(stat_of(x, STAT_workingset_activate_file) > 0);
	check_books(x);
}

#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, lrufix_setup, lrufix_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bucket_order_by_memory),
	    T(a_shadow_is_odd_and_tells_everything),
	    T(eviction_packs_the_clock_and_turns_it),
	    cmocka_unit_test(the_distance_is_compared_with_what_competes),
	    T(a_refault_within_the_distance_activates),
	    T(without_swap_the_same_refault_does_not),
	    T(a_page_of_the_workingset_is_restored_at_a_cost),
	    T(the_clock_may_wrap_between),
	    T(the_evicting_node_decides),
	    T(a_loop_over_more_than_memory_refaults_then_activates),
	    T(a_set_larger_than_inactive_but_not_than_memory_settles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
