/* SPDX-License-Identifier: MIT */
/*
 * The timelines of lruvec.c and batch.c, step by step. The linker leads the
 * engine's calls of three functions of frame.c through the wrappers below
 * (--wrap), so that "the other CPU" can act, or be looked at, in windows that
 * threads hit once in a million times.
 */
#include "lrufix.h"

static struct lrufix *world;
static struct frame *watched;
static unsigned fired;

static void (*before_put)(struct frame *f);
static void (*after_put)(struct frame *f);
static void (*before_tryget)(struct frame *f);
static void (*after_tryget)(struct frame *f);
static void (*before_clear)(struct frame *f, uint32_t bits);

bool __real_weir__frame_put_testzero(struct frame *f);
bool __wrap_weir__frame_put_testzero(struct frame *f);
bool __real_weir__frame_tryget(struct frame *f);
bool __wrap_weir__frame_tryget(struct frame *f);
bool __real_weir__frame_clear(struct frame *f, uint32_t bits);
bool __wrap_weir__frame_clear(struct frame *f, uint32_t bits);

bool __wrap_weir__frame_put_testzero(struct frame *f)
{
	bool last;

	if (f == watched && before_put)
		before_put(f);
	last = __real_weir__frame_put_testzero(f);
	if (f == watched && after_put)
		after_put(f);
	return last;
}

bool __wrap_weir__frame_tryget(struct frame *f)
{
	bool got;

	if (f == watched && before_tryget)
		before_tryget(f);
	got = __real_weir__frame_tryget(f);
	if (f == watched && after_tryget)
		after_tryget(f);
	return got;
}

bool __wrap_weir__frame_clear(struct frame *f, uint32_t bits)
{
	if (f == watched && before_clear)
		before_clear(f, bits);
	return __real_weir__frame_clear(f, bits);
}

static int setup(void **state)
{
	lrufix_setup(state);
	world = *state;
	watched = NULL;
	fired = 0;
	before_put = after_put = before_tryget = after_tryget = NULL;
	before_clear = NULL;
	return 0;
}

static unsigned isolate(struct lrufix *x, unsigned nr, struct list_head *out)
{
	unsigned scanned;

	return weir__lruvec_isolate(x->e, x->v, LRU_INACTIVE_ANON, nr, 2, true,
				    out, &scanned);
}

/* Whoever drops the last reference from here on must wait for the lock. */
static void must_be_on_the_way_to_its_list(struct frame *f)
{
	fired++;
	assert_true(frame_test(f, FRAME_LRU));
	assert_int_equal(world->v->lru_lock.word, 1);
	assert_int_equal(f->refcount, 1);
}

static void putback_sets_the_flag_before_it_lets_go(void **state)
{
	struct lrufix *x = *state;
	LIST_HEAD(out);

	watched = listed(x, anon_page(x));
	assert_int_equal(isolate(x, 1, &out), 1);
	after_put = must_be_on_the_way_to_its_list;
	weir__lruvec_putback(x->e, &out);
	after_put = NULL;
	assert_int_equal(fired, 1);
	weir__page_put(x->e, watched);
	check_books(x);
}

/* The batch's own reference goes when neither lock is held: it may free. */
static void must_hold_no_lock(struct frame *f)
{
	fired++;
	assert_int_equal(world->v->lru_lock.word, 0);
	assert_int_equal(world->e->batches[0].lock.word, 0);
	assert_true(frame_test(f, FRAME_LRU));
}

static void a_drain_drops_references_after_its_locks(void **state)
{
	struct lrufix *x = *state;

	watched = anon_page(x);
	before_put = must_hold_no_lock;
	weir__frame_add_lru(x->e, watched);
	weir__lru_add_drain(x->e);
	assert_int_equal(fired, 1);
	weir__frame_activate(x->e, watched);
	weir__lru_add_drain(x->e);
	assert_int_equal(fired, 2);
	before_put = NULL;
	check_books(x);
}

/* The last reference goes between the look at the list and the tryget. */
static void last_put_begins(struct frame *f)
{
	fired++;
	f->refcount = 0;
}

static void isolation_leaves_a_page_whose_last_put_won(void **state)
{
	struct lrufix *x = *state;
	LIST_HEAD(out);

	watched = listed(x, anon_page(x));
	before_tryget = last_put_begins;
	assert_int_equal(isolate(x, 1, &out), 0);
	before_tryget = NULL;
	assert_int_equal(fired, 1);
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), watched);
	assert_true(frame_test(watched, FRAME_LRU));
	assert_int_equal(stat_of(x, STAT_nr_isolated_anon), 0);
	watched->refcount = 1;
	weir__page_put(x->e, watched);
	check_books(x);
}

/* Somebody isolates the page between our tryget and our test-and-clear. */
static void other_isolates(struct frame *f)
{
	fired++;
	assert_true(__real_weir__frame_clear(f, FRAME_LRU));
	weir__frame_get(f);
}

static void isolation_gives_way_to_who_cleared_the_flag(void **state)
{
	struct lrufix *x = *state;
	struct lruvec *v;
	LIST_HEAD(out);

	watched = listed(x, anon_page(x));
	after_tryget = other_isolates;
	assert_int_equal(isolate(x, 1, &out), 0);
	after_tryget = NULL;
	assert_int_equal(fired, 1);
	assert_int_equal(watched->refcount, 2); /* ours, the other's */
	assert_int_equal(stat_of(x, STAT_nr_inactive_anon), 1);
	/* the other gets the lock and goes on */
	v = weir__lruvec_lock(x->e, watched);
	weir__lruvec_del(x->e, v, watched);
	weir__lruvec_unlock(x->e, v);
	weir__stat_inc(x->e, STAT_lru_removals);
	weir__frame_putback_lru(x->e, watched);
	weir__lru_add_drain(x->e);
	assert_int_equal(watched->refcount, 1);
	check_books(x);
}

/*
 * munlock finds FRAME_LRU taken; its owner gives it back, still seeing the
 * lock, just before munlock clears it.
 */
static void owner_gives_back(struct frame *f, uint32_t bits)
{
	if (bits != FRAME_MLOCKED)
		return;
	fired++;
	weir__frame_set(f, FRAME_LRU);
}

static void munlock_looks_again_after_clearing_the_lock(void **state)
{
	struct lrufix *x = *state;

	watched = anon_page(x);
	weir__frame_mlock_new(x->e, watched);
	weir__lru_add_drain(x->e);
	assert_true(frame_test(watched, FRAME_UNEVICTABLE));
	weir__frame_munlock(x->e, watched);
	assert_true(weir__frame_clear(watched, FRAME_LRU)); /* the owner */
	before_clear = owner_gives_back;
	weir__lru_add_drain(x->e);
	before_clear = NULL;
	assert_int_equal(fired, 1);
	assert_true(frame_test(watched, FRAME_LRU));
	assert_false(frame_test(watched, FRAME_UNEVICTABLE | FRAME_MLOCKED));
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), watched);
	check_books(x);
}

/* The other half: the owner clears nothing, munlock was first. */
static void lock_ends_meanwhile(struct frame *f, uint32_t bits)
{
	/* move_add between its look at FRAME_MLOCKED and the list */
	if (bits != FRAME_ACTIVE || fired)
		return;
	fired++;
	assert_true(__real_weir__frame_clear(f, FRAME_MLOCKED));
	weir__stat_add(world->e, STAT_nr_mlock, -1);
}

static void the_owner_looks_again_after_giving_back(void **state)
{
	struct lrufix *x = *state;

	watched = anon_page(x);
	weir__frame_add_lru(x->e, watched);
	weir__frame_set(watched, FRAME_MLOCKED);
	weir__stat_inc(x->e, STAT_nr_mlock);
	before_clear = lock_ends_meanwhile;
	weir__lru_add_drain(x->e);
	before_clear = NULL;
	assert_int_equal(fired, 1);
	assert_true(frame_test(watched, FRAME_LRU));
	assert_false(frame_test(watched, FRAME_UNEVICTABLE));
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), watched);
	check_books(x);
}

/* The last put takes the page off its list only under the lock. */
static void last_put_holds_the_lock(struct frame *f, uint32_t bits)
{
	if (bits != FRAME_LRU)
		return;
	fired++;
	assert_int_equal(f->refcount, 0);
	assert_int_equal(world->v->lru_lock.word, 1);
}

static void the_last_put_waits_for_the_lock(void **state)
{
	struct lrufix *x = *state;

	watched = listed(x, anon_page(x));
	before_clear = last_put_holds_the_lock;
	weir__page_put(x->e, watched);
	before_clear = NULL;
	assert_int_equal(fired, 1);
	assert_true(list_empty(&x->v->lists[LRU_INACTIVE_ANON]));
	check_books(x);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, lrufix_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(putback_sets_the_flag_before_it_lets_go),
	    T(a_drain_drops_references_after_its_locks),
	    T(isolation_leaves_a_page_whose_last_put_won),
	    T(isolation_gives_way_to_who_cleared_the_flag),
	    T(munlock_looks_again_after_clearing_the_lock),
	    T(the_owner_looks_again_after_giving_back),
	    T(the_last_put_waits_for_the_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
