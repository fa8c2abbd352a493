/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <sched.h>

#include "lrufix.h"

/* ------------------------------------------------------ lists and sizes --- */

static void list_follows_the_flags(void **state)
{
	static const struct {
		uint32_t flags;
		enum lru_list list;
	} t[] = {
	    {FRAME_SWAPBACKED, LRU_INACTIVE_ANON},
	    {FRAME_SWAPBACKED | FRAME_ACTIVE, LRU_ACTIVE_ANON},
	    {0, LRU_INACTIVE_FILE},
	    {FRAME_ACTIVE, LRU_ACTIVE_FILE},
	    {FRAME_UNEVICTABLE, LRU_UNEVICTABLE},
	    {FRAME_UNEVICTABLE | FRAME_SWAPBACKED, LRU_UNEVICTABLE},
	};

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct frame f = {.flags = t[i].flags | FRAME_REFERENCED |
					   FRAME_WORKINGSET};

		assert_int_equal(weir__frame_lru_list(&f), t[i].list);
		assert_int_equal(weir__frame_is_file(&f),
				 !(t[i].flags & FRAME_SWAPBACKED));
	}
	/* A lazily freed page is anonymous by owner and a file page by list. */
	struct frame lazy = {.mapping = 0x1000 | MAPPING_ANON};

	assert_int_equal(weir__frame_lru_list(&lazy), LRU_INACTIVE_FILE);
}

static void lookup_leads_to_the_node_and_back(void **state)
{
	struct lrufix *x = *state;

	for (unsigned n = 0; n < 2; n++) {
		struct frame *f = lrufix_page(x, n, 0, 0);
		struct lruvec *v = weir__frame_lruvec(x->e, f);

		assert_ptr_equal(v, &x->e->nodes[n].lruvec);
		assert_ptr_equal(v->pgdat, &x->e->nodes[n]);
		weir__page_put(x->e, f);
	}
}

/* head  new ... old  tail */
static void add_goes_to_the_head_add_tail_to_the_tail(void **state)
{
	struct lrufix *x = *state;
	struct frame *a = anon_page(x), *b = anon_page(x), *c = anon_page(x);
	struct lruvec *v = weir__lruvec_lock(x->e, a);
	struct list_head *l = &v->lists[LRU_INACTIVE_ANON];

	assert_ptr_equal(v, x->v);
	weir__lruvec_add(x->e, v, a);
	weir__lruvec_add(x->e, v, b);
	weir__lruvec_add_tail(x->e, v, c);
	/* b a c */
	assert_ptr_equal(l->next, &b->lru);
	assert_ptr_equal(l->next->next, &a->lru);
	assert_ptr_equal(l->prev, &c->lru);
	weir__lruvec_del(x->e, v, a);
	assert_ptr_equal(l->next, &b->lru);
	assert_ptr_equal(l->prev, &c->lru);
	assert_ptr_equal(b->lru.next, &c->lru);
	weir__lruvec_del(x->e, v, b);
	weir__lruvec_del(x->e, v, c);
	assert_true(list_empty(l));
	weir__lruvec_unlock(x->e, v);
	assert_int_equal(stat_of(x, STAT_nr_inactive_anon), 0);
}

static void counters_of_node_zone_and_statistics_follow(void **state)
{
	struct lrufix *x = *state;
	struct frame *f[4] = {lrufix_page(x, 0, 0, 0), lrufix_page(x, 0, 1, 0),
			      lrufix_page(x, 0, 1, FRAME_ACTIVE),
			      lrufix_page(x, 1, 0, 0)};

	for (unsigned i = 0; i < 4; i++)
		listed(x, f[i]);
	assert_int_equal(weir__lruvec_size(x->v, LRU_INACTIVE_FILE, 0), 1);
	assert_int_equal(weir__lruvec_size(x->v, LRU_INACTIVE_FILE, 1), 2);
	assert_int_equal(weir__lruvec_size(x->v, LRU_INACTIVE_FILE, 2), 2);
	assert_int_equal(weir__lruvec_size(x->v, LRU_ACTIVE_FILE, 0), 0);
	assert_int_equal(weir__lruvec_size(x->v, LRU_ACTIVE_FILE, 1), 1);
	assert_int_equal(
	    weir__lruvec_size(&x->e->nodes[1].lruvec, LRU_INACTIVE_FILE, 2), 1);
	assert_int_equal(stat_of(x, STAT_nr_inactive_file), 3);
	assert_int_equal(stat_of(x, STAT_nr_active_file), 1);
	check_books(x);
	for (unsigned i = 0; i < 4; i++)
		weir__page_put(x->e, f[i]);
	assert_int_equal(stat_of(x, STAT_nr_inactive_file), 0);
	assert_int_equal(stat_of(x, STAT_nr_active_file), 0);
	check_books(x);
}

static void unevictable_pages_are_counted_and_listed_nowhere(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = anon_page(x);
	LIST_HEAD(out);
	unsigned scanned;

	weir__frame_mlock_new(x->e, f);
	weir__lru_add_drain(x->e);
	assert_int_equal(stat_of(x, STAT_nr_unevictable), 1);
	assert_int_equal(weir__lruvec_size(x->v, LRU_UNEVICTABLE, 1), 1);
	for (unsigned l = 0; l < NR_LRU_LISTS; l++)
		assert_true(list_empty(&x->v->lists[l]));
	for (unsigned l = 0; l < LRU_UNEVICTABLE; l++) {
		assert_int_equal(weir__lruvec_isolate(x->e, x->v,
						      (enum lru_list)l, 32, 2,
						      true, &out, &scanned),
				 0);
		assert_int_equal(scanned, 0);
	}
	check_books(x);
	weir__page_put(x->e, f);
	assert_int_equal(stat_of(x, STAT_nr_unevictable), 0);
	check_books(x);
}

static void relock_keeps_the_lock_for_the_same_lruvec(void **state)
{
	struct lrufix *x = *state;
	struct frame *a = lrufix_page(x, 0, 0, 0), *b = lrufix_page(x, 0, 1, 0);
	struct frame *c = lrufix_page(x, 1, 0, 0);
	struct lruvec *v;

	v = weir__lruvec_relock(x->e, NULL, a);
	assert_ptr_equal(v, x->v);
	assert_int_equal(x->v->lru_lock.word, 1);
	/* Taking it twice would stop the fake host. */
	assert_ptr_equal(weir__lruvec_relock(x->e, v, b), v);
	v = weir__lruvec_relock(x->e, v, c);
	assert_ptr_equal(v, &x->e->nodes[1].lruvec);
	assert_int_equal(x->v->lru_lock.word, 0);
	assert_int_equal(v->lru_lock.word, 1);
	weir__lruvec_unlock(x->e, v);
	assert_int_equal(v->lru_lock.word, 0);
	weir__lruvec_unlock(x->e, NULL);
}

/* -------------------------------------------------------------- balance --- */

static void inactive_ratio_by_size(void **state)
{
	static const struct {
		uint64_t gib, ratio;
	} t[] = {{1, 3},    {4, 6},      {10, 10},
		 {100, 31}, {1024, 101}, {10240, 320}};

	assert_int_equal(weir__inactive_ratio(0, 0), 1);
	assert_int_equal(weir__inactive_ratio(100000, 162143), 1);
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint64_t pages = t[i].gib << 18;

		assert_int_equal(weir__inactive_ratio(0, pages), t[i].ratio);
		assert_int_equal(weir__inactive_ratio(pages - 1, 1),
				 t[i].ratio);
	}
}

static void inactive_is_low_below_its_share(void **state)
{
	struct lrufix *x = *state;

	x->v->size[LRU_INACTIVE_ANON] = 100;
	x->v->size[LRU_ACTIVE_ANON] = 100;
	assert_false(weir__inactive_is_low(x->v, 0));
	x->v->size[LRU_ACTIVE_ANON] = 101;
	assert_true(weir__inactive_is_low(x->v, 0));
	assert_false(weir__inactive_is_low(x->v, 1));
	/* 4 GiB of file pages: 6 times as many active ones are fine. */
	x->v->size[LRU_INACTIVE_FILE] = 150000;
	x->v->size[LRU_ACTIVE_FILE] = 900000;
	assert_int_equal(weir__inactive_ratio(150000, 900000), 6);
	assert_false(weir__inactive_is_low(x->v, 1));
	x->v->size[LRU_ACTIVE_FILE] = 900001;
	assert_true(weir__inactive_is_low(x->v, 1));
}

static void note_cost(struct lrufix *x, int file, uint64_t io, uint64_t rotated)
{
	weir__spin_lock(x->e, &x->v->lru_lock);
	weir__lru_note_cost(x->v, file, io, rotated);
	weir__spin_unlock(x->e, &x->v->lru_lock);
}

static void cost_adds_up_and_is_halved(void **state)
{
	struct lrufix *x = *state;

	x->v->size[LRU_INACTIVE_ANON] = 1000;
	x->v->size[LRU_ACTIVE_ANON] = 1000;
	x->v->size[LRU_INACTIVE_FILE] = 1000;
	x->v->size[LRU_ACTIVE_FILE] = 1000;
	x->v->size[LRU_UNEVICTABLE] = 100000; /* not in the sum */
	/* 20 pageouts, 12 kept */
	note_cost(x, 0, 20, 12);
	assert_int_equal(x->v->anon_cost, 652);
	assert_int_equal(x->v->file_cost, 0);
	note_cost(x, 1, 0, 0);
	assert_int_equal(x->v->file_cost, 0);
	/* exactly a quarter: kept */
	note_cost(x, 1, 0, 348);
	assert_int_equal(x->v->anon_cost, 652);
	assert_int_equal(x->v->file_cost, 348);
	/* one more: both halved */
	note_cost(x, 1, 0, 1);
	assert_int_equal(x->v->anon_cost, 326);
	assert_int_equal(x->v->file_cost, 174);
	/* no cost, no fading, however short the lists have become */
	x->v->size[LRU_INACTIVE_ANON] = 0;
	x->v->size[LRU_ACTIVE_ANON] = 0;
	x->v->size[LRU_INACTIVE_FILE] = 0;
	note_cost(x, 0, 0, 0);
	assert_int_equal(x->v->anon_cost, 326);
}

/* ------------------------------------------------------------ isolation --- */

static unsigned isolate(struct lrufix *x, enum lru_list l, unsigned nr,
			unsigned zone, bool may_unmap, struct list_head *out,
			unsigned *scanned)
{
	return weir__lruvec_isolate(x->e, x->v, l, nr, zone, may_unmap, out,
				    scanned);
}

static void isolation_takes_the_oldest_first(void **state)
{
	struct lrufix *x = *state;
	struct frame *f[5], *p;
	LIST_HEAD(out);
	unsigned scanned, i = 0;

	for (unsigned k = 0; k < 5; k++)
		f[k] = listed(x, anon_page(x));
	assert_int_equal(
	    isolate(x, LRU_INACTIVE_ANON, 3, 2, true, &out, &scanned), 3);
	assert_int_equal(scanned, 3);
	list_for_each_entry (p, &out, lru) {
		assert_ptr_equal(p, f[i++]);
		assert_false(frame_test(p, FRAME_LRU));
		assert_int_equal(p->refcount, 2);
	}
	assert_int_equal(i, 3);
	assert_ptr_equal(tail_of(x->v, LRU_INACTIVE_ANON), f[3]);
	assert_int_equal(stat_of(x, STAT_nr_inactive_anon), 2);
	assert_int_equal(stat_of(x, STAT_nr_isolated_anon), 3);
	assert_int_equal(x->e->nodes[0].nr_isolated[0], 3);
	assert_int_equal(x->e->nodes[0].nr_isolated[1], 0);
	check_books(x);

	weir__lruvec_putback(x->e, &out);
	assert_true(list_empty(&out));
	assert_int_equal(x->e->nodes[0].nr_isolated[0], 0);
	assert_int_equal(stat_of(x, STAT_nr_isolated_anon), 0);
	/* head  2 1 0 4 3  tail: put back in the order of their age */
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), f[2]);
	assert_ptr_equal(list_entry(f[2]->lru.next, struct frame, lru), f[1]);
	assert_ptr_equal(tail_of(x->v, LRU_INACTIVE_ANON), f[3]);
	for (unsigned k = 0; k < 5; k++)
		assert_int_equal(f[k]->refcount, 1);
	check_books(x);
}

static void isolation_ends_with_the_list(void **state)
{
	struct lrufix *x = *state;
	LIST_HEAD(out);
	unsigned scanned = 99;

	assert_int_equal(
	    isolate(x, LRU_ACTIVE_FILE, 32, 2, true, &out, &scanned), 0);
	assert_int_equal(scanned, 0);
	listed(x, file_page(x));
	assert_int_equal(
	    isolate(x, LRU_INACTIVE_FILE, 32, 2, true, &out, &scanned), 1);
	assert_int_equal(scanned, 1);
	assert_int_equal(x->e->nodes[0].nr_isolated[1], 1);
	assert_int_equal(stat_of(x, STAT_nr_isolated_file), 1);
	weir__lruvec_putback(x->e, &out);
	check_books(x);
}

/* Somebody's last put is waiting for the lock. */
static void a_page_being_freed_is_passed_over(void **state)
{
	struct lrufix *x = *state;
	struct frame *dying = listed(x, anon_page(x));
	struct frame *f = listed(x, anon_page(x));
	LIST_HEAD(out);
	unsigned scanned;

	dying->refcount = 0;
	assert_int_equal(
	    isolate(x, LRU_INACTIVE_ANON, 32, 2, true, &out, &scanned), 1);
	/* it went to the head and was met once more at the end */
	assert_int_equal(scanned, 32);
	assert_ptr_equal(list_first_entry(&out, struct frame, lru), f);
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), dying);
	assert_int_equal(dying->refcount, 0);
	assert_true(frame_test(dying, FRAME_LRU));
	dying->refcount = 1;
	weir__page_put(x->e, dying);
	weir__lruvec_putback(x->e, &out);
	check_books(x);
}

/* Somebody cleared the flag and waits for the lock; he holds a reference. */
static void a_page_being_isolated_is_passed_over(void **state)
{
	struct lrufix *x = *state;
	struct frame *theirs = listed(x, anon_page(x));
	struct frame *f = listed(x, anon_page(x));
	LIST_HEAD(out);
	unsigned scanned;

	assert_true(weir__frame_clear(theirs, FRAME_LRU));
	assert_int_equal(
	    isolate(x, LRU_INACTIVE_ANON, 2, 2, true, &out, &scanned), 1);
	assert_int_equal(scanned, 2);
	assert_ptr_equal(list_first_entry(&out, struct frame, lru), f);
	assert_int_equal(theirs->refcount, 1);
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), theirs);
	weir__frame_set(theirs, FRAME_LRU);
	weir__lruvec_putback(x->e, &out);
	check_books(x);
}

static void mapped_pages_rotate_when_unmapping_is_not_allowed(void **state)
{
	struct lrufix *x = *state;
	struct frame *mapped = listed(x, anon_page(x));
	struct frame *f = listed(x, anon_page(x));
	LIST_HEAD(out);
	unsigned scanned;

	fake_map_page(mapped);
	assert_int_equal(
	    isolate(x, LRU_INACTIVE_ANON, 2, 2, false, &out, &scanned), 1);
	assert_int_equal(scanned, 2);
	assert_ptr_equal(list_first_entry(&out, struct frame, lru), f);
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), mapped);
	assert_int_equal(mapped->refcount, 1);
	weir__lruvec_putback(x->e, &out);
	/* head f, mapped; with the right it is taken first */
	assert_int_equal(
	    isolate(x, LRU_INACTIVE_ANON, 1, 2, true, &out, &scanned), 1);
	assert_ptr_equal(list_first_entry(&out, struct frame, lru), mapped);
	weir__lruvec_putback(x->e, &out);
	fake_unmap_page(mapped);
	check_books(x);
}

/* tail  H L H L H  head, only L (zone 0) is of use */
static void pages_of_higher_zones_are_skipped_for_nothing(void **state)
{
	struct lrufix *x = *state;
	struct frame *f[5];
	LIST_HEAD(out);
	unsigned scanned;

	for (unsigned i = 0; i < 5; i++)
		f[i] = listed(x, lrufix_page(x, 0, !(i & 1), FRAME_SWAPBACKED));
	assert_int_equal(
	    isolate(x, LRU_INACTIVE_ANON, 2, 0, true, &out, &scanned), 2);
	assert_int_equal(scanned, 2);
	assert_ptr_equal(list_first_entry(&out, struct frame, lru), f[1]);
	assert_ptr_equal(list_last_entry(&out, struct frame, lru), f[3]);
	/* the skipped ones stand at the head, in their old order */
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), f[2]);
	assert_ptr_equal(list_entry(f[2]->lru.next, struct frame, lru), f[0]);
	assert_ptr_equal(tail_of(x->v, LRU_INACTIVE_ANON), f[4]);
	weir__lruvec_putback(x->e, &out);
	check_books(x);
}

static void skips_are_counted_beyond_their_limit(void **state)
{
	struct lrufix *x = *state;
	struct frame *low;
	LIST_HEAD(out);
	unsigned scanned;

	/* Another machine: 40 MiB more than the limit in the high zone. */
	lrufix_teardown(state);
	x = malloc(sizeof(*x));
	*state = x;
	lrufix_start(x, 1, 64, LRU_SKIP_MAX + 1024);
	for (unsigned i = 0; i < LRU_SKIP_MAX + 10; i++)
		weir__frame_add_lru(x->e,
				    lrufix_page(x, 0, 1, FRAME_SWAPBACKED));
	weir__lru_add_drain(x->e);
	low = listed(x, lrufix_page(x, 0, 0, FRAME_SWAPBACKED));
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), low);

	/* 10 skips too many: 8 of them are the whole allowance ... */
	assert_int_equal(
	    isolate(x, LRU_INACTIVE_ANON, 8, 0, true, &out, &scanned), 0);
	assert_int_equal(scanned, 8);
	/* ... and with one more than 10 the page behind them is reached. */
	assert_int_equal(
	    isolate(x, LRU_INACTIVE_ANON, 11, 0, true, &out, &scanned), 1);
	assert_true(scanned <= 11);
	assert_ptr_equal(list_first_entry(&out, struct frame, lru), low);
	weir__lruvec_putback(x->e, &out);
	check_books(x);
}

/* -------------------------------------------------------------- putback --- */

static void putback_chooses_the_list_by_flags(void **state)
{
	struct lrufix *x = *state;
	struct frame *stays = listed(x, anon_page(x));
	struct frame *rises = listed(x, anon_page(x));
	struct frame *locked = listed(x, anon_page(x));
	uint64_t age = x->v->nonresident_age;
	LIST_HEAD(out);
	unsigned scanned;

	isolate(x, LRU_INACTIVE_ANON, 3, 2, true, &out, &scanned);
	weir__frame_set(rises, FRAME_ACTIVE);
	weir__frame_mlock(x->e, locked);
	weir__lru_add_drain(x->e); /* found it off the lists */
	assert_false(frame_test(locked, FRAME_UNEVICTABLE));
	weir__lruvec_putback(x->e, &out);
	assert_ptr_equal(tail_of(x->v, LRU_INACTIVE_ANON), stays);
	assert_ptr_equal(tail_of(x->v, LRU_ACTIVE_ANON), rises);
	/* an activation turns the clock */
	assert_int_equal(x->v->nonresident_age, age + 1);
	/* the locked page took the way through the add batch */
	assert_false(frame_test(locked, FRAME_LRU));
	assert_int_equal(x->e->nodes[0].nr_isolated[0], 0);
	weir__lru_add_drain(x->e);
	assert_true(frame_test(locked, FRAME_LRU));
	assert_true(frame_test(locked, FRAME_UNEVICTABLE));
	assert_int_equal(locked->refcount, 1);
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_culled), 1);
	check_books(x);
}

static void putback_frees_what_nobody_else_holds(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = listed(x, anon_page(x));
	int64_t inserted = stat_of(x, STAT_lru_insertions);
	int64_t freed = stat_of(x, STAT_pgfree);
	LIST_HEAD(out);
	unsigned scanned;

	isolate(x, LRU_INACTIVE_ANON, 1, 2, true, &out, &scanned);
	weir__page_put(x->e, f); /* the owner lets go meanwhile */
	assert_int_equal(f->refcount, 1);
	assert_int_equal(stat_of(x, STAT_pgfree), freed);
	weir__lruvec_putback(x->e, &out);
	assert_int_equal(f->refcount, 0);
	assert_int_equal(stat_of(x, STAT_pgfree), freed + 1);
	assert_int_equal(x->e->nodes[0].nr_isolated[0], 0);
	assert_int_equal(stat_of(x, STAT_lru_insertions), inserted);
	assert_int_equal(stat_of(x, STAT_nr_inactive_anon), 0);
	check_books(x);
}

/* Isolated as a file page, written again, put back as an anonymous one. */
static void a_page_that_changes_its_type_is_accounted_as_isolated(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = listed(x, file_page(x));
	LIST_HEAD(out);
	unsigned scanned;

	isolate(x, LRU_INACTIVE_FILE, 1, 2, true, &out, &scanned);
	assert_int_equal(x->e->nodes[0].nr_isolated[1], 1);
	weir__frame_set(f, FRAME_SWAPBACKED);
	weir__lruvec_putback(x->e, &out);
	assert_int_equal(x->e->nodes[0].nr_isolated[0], 0);
	assert_int_equal(x->e->nodes[0].nr_isolated[1], 0);
	assert_ptr_equal(tail_of(x->v, LRU_INACTIVE_ANON), f);
	check_books(x);
}

static void a_page_that_leaves_the_batch_is_accounted(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = listed(x, anon_page(x));
	LIST_HEAD(out);
	unsigned scanned;

	isolate(x, LRU_INACTIVE_ANON, 1, 2, true, &out, &scanned);
	list_del(&f->lru);
	assert_true(weir__frame_freeze(f, 2));
	weir__frame_isolation_end(x->e, f);
	weir__frame_isolation_end(x->e, f); /* harmless */
	weir__frames_free(x->e, f, 0);
	assert_int_equal(x->e->nodes[0].nr_isolated[0], 0);
	assert_int_equal(stat_of(x, STAT_nr_isolated_anon), 0);

	/* put back alone */
	f = listed(x, anon_page(x));
	isolate(x, LRU_INACTIVE_ANON, 1, 2, true, &out, &scanned);
	list_del(&f->lru);
	weir__frame_putback_lru(x->e, f);
	assert_int_equal(x->e->nodes[0].nr_isolated[0], 0);
	weir__lru_add_drain(x->e);
	weir__page_put(x->e, f);

	/* and by its last put */
	f = listed(x, anon_page(x));
	isolate(x, LRU_INACTIVE_ANON, 1, 2, true, &out, &scanned);
	list_del(&f->lru);
	weir__page_put(x->e, f);
	weir__page_put(x->e, f);
	assert_int_equal(x->e->nodes[0].nr_isolated[0], 0);
	check_books(x);
}

/* -------------------------------------------------------------- checker --- */

static void the_checker_finds_broken_books(void **state)
{
	struct lrufix *x = *state;
	struct frame *f[3];
	struct list_head *keep;

	for (unsigned i = 0; i < 3; i++)
		f[i] = listed(x, anon_page(x));
	assert_true(weir__lruvec_is_valid(x->e, x->v));

	x->v->size[LRU_INACTIVE_ANON]++;
	assert_false(weir__lruvec_is_valid(x->e, x->v));
	x->v->size[LRU_INACTIVE_ANON]--;

	x->v->zone_size[0][LRU_INACTIVE_ANON]++;
	x->v->zone_size[1][LRU_INACTIVE_ANON]--;
	assert_false(weir__lruvec_is_valid(x->e, x->v));
	x->v->zone_size[0][LRU_INACTIVE_ANON]--;
	x->v->zone_size[1][LRU_INACTIVE_ANON]++;

	weir__frame_set(f[1], FRAME_ACTIVE);
	assert_false(weir__lruvec_is_valid(x->e, x->v));
	weir__frame_clear(f[1], FRAME_ACTIVE);

	weir__frame_clear(f[1], FRAME_LRU);
	assert_false(weir__lruvec_is_valid(x->e, x->v));
	weir__frame_set(f[1], FRAME_LRU);

	x->v->size[LRU_UNEVICTABLE]++;
	assert_false(weir__lruvec_is_valid(x->e, x->v));
	x->v->size[LRU_UNEVICTABLE]--;

	keep = f[1]->lru.prev;
	f[1]->lru.prev = &f[0]->lru;
	assert_false(weir__lruvec_is_valid(x->e, x->v));
	f[1]->lru.prev = keep;

	/* a short ring that never comes by its head */
	keep = f[0]->lru.next;
	f[0]->lru.next = &f[1]->lru;
	assert_false(weir__lruvec_is_valid(x->e, x->v));
	f[0]->lru.next = keep;

	assert_true(weir__lruvec_is_valid(x->e, x->v));
}

/* --------------------------------------------------------------- stress --- */

enum { WORKERS = 3, STRESS_PAGES = 96, STRESS_ROUNDS = 4000 };

struct stress {
	struct lrufix *x;
	struct frame *page[STRESS_PAGES];
	unsigned id;
	uint64_t seed;
	struct wtask task;
};

static __thread struct wtask *stress_self;
static _Atomic bool stress_stop;

static struct wtask *stress_self_fn(struct weir_host *h)
{
	return stress_self;
}

static void stress_relax(struct weir_host *h)
{
	sched_yield();
}

static unsigned stress_random(struct stress *s)
{
	s->seed = s->seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(s->seed >> 33);
}

/* The fake host's counts, and is for one thread. */
static void stress_release(struct weir_host *h, pfn_t pfn, unsigned nr)
{
}

/* Runs fn(s) on WORKERS threads, each a task on a CPU of its own, and idle()
 * on this one, which is another. */
static void stress_run(struct lrufix *x, struct stress *s,
		       void *(*fn)(void *arg), void (*idle)(struct stress *s))
{
	static struct weir_host_ops ops;
	pthread_t t[WORKERS];

	ops = *x->fh.host.ops;
	ops.self = stress_self_fn;
	ops.relax = stress_relax;
	ops.release = stress_release;
	x->fh.task.cpu = WORKERS;
	stress_self = &x->fh.task;
	x->fh.host.ops = &ops;
	stress_stop = false;
	for (unsigned w = 0; w < WORKERS; w++) {
		s[w].x = x;
		s[w].id = w;
		s[w].seed = w * 7919 + 1;
		s[w].task =
		    (struct wtask){.id = w + 2, .cpu = w, .name = "stress"};
		assert_int_equal(pthread_create(&t[w], NULL, fn, &s[w]), 0);
	}
	if (idle)
		idle(s);
	stress_stop = true;
	for (unsigned w = 0; w < WORKERS; w++)
		pthread_join(t[w], NULL);
	weir__lru_add_drain_all(x->e);
}

static void stress_reclaim(struct engine *e, unsigned r)
{
	enum lru_list l = (enum lru_list)(r / 7 % LRU_UNEVICTABLE);
	struct lruvec *v = &e->nodes[r & 1].lruvec;
	struct frame *f;
	LIST_HEAD(out);
	unsigned scanned;

	weir__lru_add_drain(e);
	weir__lruvec_isolate(e, v, l, 8, r % 3, true, &out, &scanned);
	list_for_each_entry (f, &out, lru)
		if (r & 2)
			weir__frame_set(f, FRAME_ACTIVE);
		else
			weir__frame_clear(f, FRAME_ACTIVE);
	weir__lruvec_putback(e, &out);
}

static void stress_step(struct stress *s, struct engine *e)
{
	unsigned r = stress_random(s);
	struct frame *f = s->page[r % STRESS_PAGES];

	switch (r / STRESS_PAGES % 8) {
	case 0:
		weir__frame_mark_accessed(e, f);
		break;
	case 1:
		weir__frame_deactivate(e, f);
		break;
	case 2:
		weir__frame_deactivate_file(e, f);
		break;
	case 3:
		weir__frame_mlock(e, f);
		break;
	case 4:
		weir__frame_munlock(e, f);
		break;
	case 5:
		weir__frame_rotate(e, f);
		break;
	case 6:
		if (weir__frame_isolate_lru(e, f))
			weir__frame_putback_lru(e, f);
		break;
	default:
		stress_reclaim(e, r);
	}
}

/* Every worker knows all pages, and holds a reference of each. */
static void *stress_worker(void *arg)
{
	struct stress *s = arg;

	stress_self = &s->task;
	for (unsigned i = 0; i < STRESS_ROUNDS; i++)
		stress_step(s, s->x->e);
	weir__lru_add_drain(s->x->e);
	for (unsigned i = 0; i < STRESS_PAGES; i++)
		weir__page_put(s->x->e, s->page[i]);
	return NULL;
}

static void stress_keeps_the_counters_exact(void **state)
{
	struct lrufix *x = *state;
	struct stress s[WORKERS];

	for (unsigned i = 0; i < STRESS_PAGES; i++) {
		struct frame *f = lrufix_page(x, i & 1, i / 2 & 1,
					      i & 4 ? FRAME_SWAPBACKED : 0);

		for (unsigned w = 0; w < WORKERS; w++) {
			s[w].page[i] = f;
			if (w)
				weir__frame_get(f);
		}
		weir__frame_add_lru(x->e, f);
	}
	weir__lru_add_drain(x->e);
	stress_run(x, s, stress_worker, NULL);
	check_books(x);
	/* All references are gone: so are the pages, from every list. */
	for (unsigned l = 0; l < NR_LRU_LISTS; l++)
		assert_int_equal(stat_of(x, (enum stat_item)l), 0);
	assert_int_equal(stat_of(x, STAT_nr_isolated_anon), 0);
	assert_int_equal(stat_of(x, STAT_nr_isolated_file), 0);
	assert_int_equal(stat_of(x, STAT_nr_mlock), 0);
	for (unsigned i = 0; i < STRESS_PAGES; i++)
		assert_int_equal(s[0].page[i]->refcount, 0);
}

/* Last references against isolation and putback of the same page. */
static void *reclaiming_worker(void *arg)
{
	struct stress *s = arg;
	struct engine *e = s->x->e;

	stress_self = &s->task;
	while (!stress_stop) {
		LIST_HEAD(out);
		unsigned scanned;

		weir__lruvec_isolate(e, s->x->v, LRU_INACTIVE_ANON, 1 + s->id,
				     2, true, &out, &scanned);
		weir__lruvec_putback(e, &out);
	}
	return NULL;
}

static void make_and_free_pages(struct stress *s)
{
	struct lrufix *x = s->x;

	for (unsigned i = 0; i < 4 * STRESS_ROUNDS; i++) {
		struct frame *f = anon_page(x);

		weir__frame_add_lru(x->e, f);
		weir__lru_add_drain(x->e);
		weir__page_put(x->e, f);
	}
}

static void last_references_race_with_isolation(void **state)
{
	struct lrufix *x = *state;
	struct stress s[WORKERS];

	stress_run(x, s, reclaiming_worker, make_and_free_pages);
	check_books(x);
	assert_int_equal(stat_of(x, STAT_nr_inactive_anon), 0);
	assert_int_equal(stat_of(x, STAT_nr_isolated_anon), 0);
	assert_int_equal(x->e->nodes[0].nr_isolated[0], 0);
	for (pfn_t pfn = 0; pfn < x->e->nr_frames; pfn++)
		assert_int_equal(weir__frame(x->e, pfn)->refcount, 0);
}

/* Pages are locked, unlocked and moved at once: at the end none may sit among
 * the unevictable ones without its lock, where nobody would ever look. */
static void *locking_worker(void *arg)
{
	struct stress *s = arg;
	struct engine *e = s->x->e;

	stress_self = &s->task;
	for (unsigned i = 0; i < 3 * STRESS_ROUNDS; i++) {
		struct frame *f = s->page[stress_random(s) % 2];

		if (s->id == 0)
			weir__frame_mlock(e, f);
		else if (s->id == 1)
			weir__frame_munlock(e, f);
		else if (weir__frame_isolate_lru(e, f))
			weir__frame_putback_lru(e, f);
		weir__lru_add_drain(e);
	}
	return NULL;
}

static void no_page_is_stranded_as_unevictable(void **state)
{
	struct lrufix *x = *state;
	struct stress s[WORKERS];

	for (unsigned i = 0; i < 2; i++) {
		s[0].page[i] = listed(x, anon_page(x));
		s[1].page[i] = s[2].page[i] = s[0].page[i];
	}
	for (unsigned round = 0; round < 4; round++) {
		stress_run(x, s, locking_worker, NULL);
		for (unsigned i = 0; i < 2; i++) {
			struct frame *f = s[0].page[i];

			assert_true(frame_test(f, FRAME_LRU));
			assert_false(frame_test(f, FRAME_UNEVICTABLE) &&
				     weir__frame_evictable(f));
		}
	}
	check_books(x);
}

#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, lrufix_setup, lrufix_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(list_follows_the_flags),
	    T(lookup_leads_to_the_node_and_back),
	    T(add_goes_to_the_head_add_tail_to_the_tail),
	    T(counters_of_node_zone_and_statistics_follow),
	    T(unevictable_pages_are_counted_and_listed_nowhere),
	    T(relock_keeps_the_lock_for_the_same_lruvec),
	    cmocka_unit_test(inactive_ratio_by_size),
	    T(inactive_is_low_below_its_share),
	    T(cost_adds_up_and_is_halved),
	    T(isolation_takes_the_oldest_first),
	    T(isolation_ends_with_the_list),
	    T(a_page_being_freed_is_passed_over),
	    T(a_page_being_isolated_is_passed_over),
	    T(mapped_pages_rotate_when_unmapping_is_not_allowed),
	    T(pages_of_higher_zones_are_skipped_for_nothing),
	    T(skips_are_counted_beyond_their_limit),
	    T(putback_chooses_the_list_by_flags),
	    T(putback_frees_what_nobody_else_holds),
	    T(a_page_that_changes_its_type_is_accounted_as_isolated),
	    T(a_page_that_leaves_the_batch_is_accounted),
	    T(the_checker_finds_broken_books),
	    T(stress_keeps_the_counters_exact),
	    T(last_references_race_with_isolation),
	    T(no_page_is_stranded_as_unevictable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
