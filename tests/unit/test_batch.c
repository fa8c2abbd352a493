/* SPDX-License-Identifier: MIT */
#include "lrufix.h"

static unsigned nr_in(struct lrufix *x, unsigned cpu, enum batch_kind k)
{
	return x->e->batches[cpu].batch[k].nr;
}

static int64_t on_lists(struct lrufix *x)
{
	int64_t sum = 0;

	for (unsigned l = 0; l < NR_LRU_LISTS; l++)
		sum += stat_of(x, (enum stat_item)l);
	return sum;
}

/* ---------------------------------------------------- filling, draining --- */

static void additions_wait_until_the_batch_is_full(void **state)
{
	struct lrufix *x = *state;
	struct frame *f[31];

	assert_int_equal(x->e->tun.batch_size, 31);
	for (unsigned i = 0; i < 30; i++) {
		f[i] = anon_page(x);
		weir__frame_add_lru(x->e, f[i]);
		assert_int_equal(f[i]->refcount, 2); /* ours, the batch's */
		assert_false(frame_test(f[i], FRAME_LRU));
	}
	assert_int_equal(on_lists(x), 0);
	f[30] = anon_page(x);
	weir__frame_add_lru(x->e, f[30]);
	assert_int_equal(on_lists(x), 31);
	assert_int_equal(stat_of(x, STAT_nr_inactive_anon), 31);
	assert_int_equal(nr_in(x, 0, BATCH_ADD), 0);
	/* newest at the head */
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), f[30]);
	assert_ptr_equal(tail_of(x->v, LRU_INACTIVE_ANON), f[0]);
	for (unsigned i = 0; i < 31; i++) {
		assert_int_equal(f[i]->refcount, 1);
		assert_true(frame_test(f[i], FRAME_LRU));
	}
	check_books(x);
}

static void the_capacity_is_tunable(void **state)
{
	struct lrufix *x = *state;

	assert_int_equal(weir__tunable_set(&x->e->tun, "batch_size", 15), 0);
	for (unsigned i = 0; i < 14; i++)
		weir__frame_add_lru(x->e, anon_page(x));
	assert_int_equal(on_lists(x), 0);
	weir__frame_add_lru(x->e, anon_page(x));
	assert_int_equal(on_lists(x), 15);
	/* made smaller than what is waiting: the next one drains */
	for (unsigned i = 0; i < 5; i++)
		weir__frame_add_lru(x->e, anon_page(x));
	assert_int_equal(weir__tunable_set(&x->e->tun, "batch_size", 1), 0);
	weir__frame_add_lru(x->e, anon_page(x));
	assert_int_equal(on_lists(x), 21);
	weir__frame_add_lru(x->e, anon_page(x));
	assert_int_equal(on_lists(x), 22);
	check_books(x);
}

/* In every batch but the first a page stays on its list until the drain. */
static void seven_batches_hold_a_reference_each(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = listed(x, anon_page(x));

	f->mapping = MAPPING_ANON | 0x1000;
	weir__frame_activate(x->e, f);
	weir__frame_deactivate_file(x->e, f);
	weir__frame_lazyfree(x->e, f);
	weir__frame_rotate(x->e, f);
	weir__frame_munlock(x->e, f);
	weir__frame_set(f, FRAME_ACTIVE); /* for the question of deactivate */
	weir__frame_deactivate(x->e, f);
	weir__frame_clear(f, FRAME_ACTIVE);
	weir__frame_add_lru(x->e, anon_page(x));
	for (unsigned k = 0; k < NR_BATCHES; k++)
		assert_int_equal(nr_in(x, 0, (enum batch_kind)k), 1);
	assert_int_equal(NR_BATCHES, 7);
	assert_int_equal(f->refcount, 7);
	assert_true(frame_test(f, FRAME_LRU));
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), f);
	weir__lru_add_drain(x->e);
	for (unsigned k = 0; k < NR_BATCHES; k++)
		assert_int_equal(nr_in(x, 0, (enum batch_kind)k), 0);
	assert_int_equal(f->refcount, 1);
	f->mapping = 0;
	check_books(x);
}

static void drain_empties_this_cpu_drain_all_every_one(void **state)
{
	struct lrufix *x = *state;

	for (unsigned cpu = 0; cpu < 4; cpu++) {
		x->fh.task.cpu = cpu;
		weir__frame_add_lru(x->e, anon_page(x));
	}
	x->fh.task.cpu = 2;
	weir__lru_add_drain(x->e);
	assert_int_equal(on_lists(x), 1);
	assert_int_equal(nr_in(x, 2, BATCH_ADD), 0);
	assert_int_equal(nr_in(x, 3, BATCH_ADD), 1);
	weir__lru_add_drain_all(x->e);
	assert_int_equal(on_lists(x), 4);
	check_books(x);
}

static void nothing_waits_while_caching_is_disabled(void **state)
{
	struct lrufix *x = *state;
	struct frame *f;

	x->fh.task.cpu = 1;
	weir__frame_add_lru(x->e, anon_page(x));
	x->fh.task.cpu = 0;
	weir__lru_cache_disable(x->e);
	weir__lru_cache_disable(x->e);
	assert_int_equal(on_lists(x), 1);
	f = anon_page(x);
	weir__frame_add_lru(x->e, f);
	assert_int_equal(on_lists(x), 2);
	weir__frame_mlock(x->e, f);
	assert_int_equal(stat_of(x, STAT_nr_unevictable), 1);
	weir__lru_cache_enable(x->e);
	weir__frame_add_lru(x->e, anon_page(x));
	assert_int_equal(on_lists(x), 3);
	weir__lru_cache_enable(x->e);
	weir__frame_add_lru(x->e, anon_page(x));
	assert_int_equal(on_lists(x), 3);
	check_books(x);
}

static void a_batch_may_mix_nodes(void **state)
{
	struct lrufix *x = *state;

	for (unsigned i = 0; i < 6; i++)
		weir__frame_add_lru(x->e, lrufix_page(x, i & 1, 0, 0));
	weir__lru_add_drain(x->e);
	assert_int_equal(x->v->size[LRU_INACTIVE_FILE], 3);
	assert_int_equal(x->e->nodes[1].lruvec.size[LRU_INACTIVE_FILE], 3);
	check_books(x);
}

/* The reference that the batch holds may be the last: who drains frees. */
static void the_drain_frees_what_only_the_batch_held(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = anon_page(x);
	int64_t freed = stat_of(x, STAT_pgfree);

	weir__frame_add_lru(x->e, f);
	weir__page_put(x->e, f);
	assert_int_equal(f->refcount, 1);
	assert_int_equal(stat_of(x, STAT_pgfree), freed);
	weir__lru_add_drain(x->e);
	assert_int_equal(f->refcount, 0);
	assert_int_equal(stat_of(x, STAT_pgfree), freed + 1);
	assert_int_equal(on_lists(x), 0);
	assert_int_equal(stat_of(x, STAT_lru_insertions), 1);
	assert_int_equal(stat_of(x, STAT_lru_removals), 1);
	check_books(x);
}

/* A move whose page was isolated meanwhile is dropped. */
static void a_move_of_an_isolated_page_is_dropped(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = listed(x, anon_page(x));

	weir__frame_activate(x->e, f);
	assert_true(weir__frame_isolate_lru(x->e, f));
	weir__lru_add_drain(x->e);
	assert_false(frame_test(f, FRAME_ACTIVE | FRAME_LRU));
	assert_int_equal(stat_of(x, STAT_pgactivate), 0);
	assert_int_equal(f->refcount, 2); /* ours, the isolation's */
	weir__frame_putback_lru(x->e, f);
	weir__lru_add_drain(x->e);
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), f);
	check_books(x);
}

/* -------------------------------------------------------------- the add --- */

static void a_new_page_lands_where_its_flags_say(void **state)
{
	static const struct {
		uint32_t flags;
		enum lru_list list;
	} t[] = {{FRAME_SWAPBACKED, LRU_INACTIVE_ANON},
		 {FRAME_SWAPBACKED | FRAME_ACTIVE, LRU_ACTIVE_ANON},
		 {0, LRU_INACTIVE_FILE},
		 {FRAME_ACTIVE, LRU_ACTIVE_FILE}};
	struct lrufix *x = *state;

	for (unsigned i = 0; i < 4; i++) {
		listed(x, lrufix_page(x, 0, 0, t[i].flags));
		struct frame *f = listed(x, lrufix_page(x, 0, 1, t[i].flags));

		assert_ptr_equal(head_of(x->v, t[i].list), f);
		assert_int_equal(x->v->size[t[i].list], 2);
	}
	assert_int_equal(stat_of(x, STAT_lru_insertions), 8);
	check_books(x);
}

static void a_locked_page_is_added_as_unevictable(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = anon_page(x);

	weir__frame_set(f, FRAME_MLOCKED | FRAME_ACTIVE);
	weir__stat_inc(x->e, STAT_nr_mlock);
	f->mlock_count = 7;
	listed(x, f);
	assert_true(frame_test(f, FRAME_UNEVICTABLE));
	assert_false(frame_test(f, FRAME_ACTIVE));
	assert_int_equal(f->mlock_count, 0);
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_culled), 1);
	/* off, unlocked, and on again: rescued */
	assert_true(weir__frame_isolate_lru(x->e, f));
	assert_int_equal(stat_of(x, STAT_nr_unevictable), 0);
	weir__frame_clear(f, FRAME_MLOCKED);
	weir__stat_add(x->e, STAT_nr_mlock, -1);
	weir__frame_putback_lru(x->e, f);
	weir__lru_add_drain(x->e);
	assert_false(frame_test(f, FRAME_UNEVICTABLE));
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), f);
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_rescued), 1);
	check_books(x);
}

/* -------------------------------------------------------- mark accessed --- */

static void two_accesses_in_the_add_batch_make_it_active(void **state)
{
	struct lrufix *x = *state;
	struct frame *fifth = NULL;

	for (unsigned i = 0; i < 10; i++) {
		struct frame *f = anon_page(x);

		if (i == 4)
			fifth = f;
		weir__frame_add_lru(x->e, f);
	}
	weir__frame_mark_accessed(x->e, fifth);
	assert_false(frame_test(fifth, FRAME_ACTIVE));
	weir__frame_mark_accessed(x->e, fifth);
	assert_true(frame_test(fifth, FRAME_ACTIVE));
	assert_int_equal(nr_in(x, 0, BATCH_ACTIVATE), 0);
	assert_int_equal(on_lists(x), 0);
	weir__lru_add_drain(x->e);
	assert_int_equal(x->v->size[LRU_ACTIVE_ANON], 1);
	assert_int_equal(x->v->size[LRU_INACTIVE_ANON], 9);
	assert_ptr_equal(head_of(x->v, LRU_ACTIVE_ANON), fifth);
	check_books(x);
}

/* Only the local batch is searched: elsewhere it costs one more round. */
static void the_add_batch_of_another_cpu_is_left_alone(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = anon_page(x);

	weir__frame_add_lru(x->e, f);
	x->fh.task.cpu = 1;
	weir__frame_add_lru(x->e, anon_page(x));
	weir__frame_mark_accessed(x->e, f);
	weir__frame_mark_accessed(x->e, f);
	assert_false(frame_test(f, FRAME_ACTIVE | FRAME_REFERENCED));
	weir__lru_add_drain_all(x->e);
	assert_ptr_equal(tail_of(x->v, LRU_INACTIVE_ANON), f);
	assert_int_equal(stat_of(x, STAT_nr_active_anon), 0);
	check_books(x);
}

static void the_state_table_of_mark_accessed(void **state)
{
	enum { A = FRAME_ACTIVE, R = FRAME_REFERENCED, U = FRAME_UNEVICTABLE };
	static const struct {
		uint32_t before, after;
		unsigned activations;
	} t[] = {
	    {0, R, 0},         {R, A, 1},         {A, A | R, 0},
	    {A | R, A | R, 0}, {U | R, U | R, 0}, {U, U | R, 0},
	};
	struct lrufix *x = *state;

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct frame *f = anon_page(x);
		uint64_t age;
		int64_t n;

		if (t[i].before & U) {
			weir__frame_mlock_new(x->e, f);
			weir__lru_add_drain(x->e);
		} else {
			weir__frame_set(f, t[i].before & A);
			listed(x, f);
		}
		weir__frame_set(f, t[i].before & R);
		age = x->v->nonresident_age;
		n = stat_of(x, STAT_pgactivate);
		weir__frame_mark_accessed(x->e, f);
		weir__lru_add_drain(x->e);
		assert_int_equal(f->flags & (A | R | U), t[i].after);
		assert_int_equal(x->v->nonresident_age - age, t[i].activations);
		assert_int_equal(stat_of(x, STAT_pgactivate) - n,
				 t[i].activations);
	}
	check_books(x);
}

/* ---------------------------------------------------------------- moves --- */

static void activation_goes_to_the_active_head(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = listed(x, file_page(x));
	struct frame *a = listed(x, lrufix_page(x, 0, 1, FRAME_ACTIVE));

	weir__frame_activate(x->e, f);
	weir__frame_activate(x->e, a); /* is there: not queued */
	assert_int_equal(nr_in(x, 0, BATCH_ACTIVATE), 1);
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_FILE), f);
	weir__lru_add_drain(x->e);
	assert_ptr_equal(head_of(x->v, LRU_ACTIVE_FILE), f);
	assert_ptr_equal(tail_of(x->v, LRU_ACTIVE_FILE), a);
	assert_int_equal(stat_of(x, STAT_pgactivate), 1);
	/* a move is no insertion */
	assert_int_equal(stat_of(x, STAT_lru_insertions), 2);
	check_books(x);
}

/* tail  old, clean, dirty, mapped, newest  head */
static void deactivate_file_by_state(void **state)
{
	struct lrufix *x = *state;
	struct frame *old = listed(x, file_page(x));
	struct frame *clean = listed(x, lrufix_page(x, 0, 1, FRAME_ACTIVE));
	struct frame *dirty = listed(x, file_page(x));
	struct frame *written = listed(x, file_page(x));
	struct frame *mapped = listed(x, file_page(x));
	struct frame *newest = listed(x, file_page(x));

	weir__frame_set(clean, FRAME_REFERENCED);
	weir__frame_set(dirty, FRAME_DIRTY | FRAME_REFERENCED);
	weir__frame_set(written, FRAME_WRITEBACK);
	weir__frame_set(mapped, FRAME_REFERENCED);
	fake_map_page(mapped);
	weir__frame_deactivate_file(x->e, clean);
	weir__frame_deactivate_file(x->e, dirty);
	weir__frame_deactivate_file(x->e, written);
	weir__frame_deactivate_file(x->e, mapped);
	weir__lru_add_drain(x->e);
	/* tail  clean, old, mapped, newest, dirty, written  head */
	assert_ptr_equal(tail_of(x->v, LRU_INACTIVE_FILE), clean);
	assert_ptr_equal(clean->lru.prev, &old->lru);
	assert_ptr_equal(old->lru.prev, &mapped->lru);
	assert_ptr_equal(mapped->lru.prev, &newest->lru);
	assert_ptr_equal(newest->lru.prev, &dirty->lru);
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_FILE), written);
	assert_false(
	    frame_test(clean, FRAME_ACTIVE | FRAME_REFERENCED | FRAME_RECLAIM));
	assert_true(frame_test(dirty, FRAME_RECLAIM));
	assert_false(frame_test(dirty, FRAME_REFERENCED));
	assert_true(frame_test(written, FRAME_RECLAIM));
	assert_true(frame_test(mapped, FRAME_REFERENCED));
	assert_false(frame_test(mapped, FRAME_RECLAIM));
	assert_int_equal(stat_of(x, STAT_pgrotated), 1);
	assert_int_equal(stat_of(x, STAT_pgdeactivate), 1); /* clean's */
	/* the end of their writing brings them to the tail */
	weir__frame_clear(written, FRAME_WRITEBACK | FRAME_RECLAIM);
	weir__frame_rotate(x->e, written);
	weir__lru_add_drain(x->e);
	assert_ptr_equal(tail_of(x->v, LRU_INACTIVE_FILE), written);
	fake_unmap_page(mapped);
	check_books(x);
}

static void deactivate_file_leaves_out_what_is_not_listed(void **state)
{
	struct lrufix *x = *state;
	struct frame *off = file_page(x), *un = file_page(x);

	weir__frame_mlock_new(x->e, un);
	weir__lru_add_drain(x->e);
	weir__frame_deactivate_file(x->e, off);
	weir__frame_deactivate_file(x->e, un);
	assert_int_equal(nr_in(x, 0, BATCH_DEACTIVATE_FILE), 0);
	check_books(x);
}

static void deactivation_is_for_active_pages(void **state)
{
	struct lrufix *x = *state;
	struct frame *in = listed(x, anon_page(x));
	struct frame *f =
	    listed(x, lrufix_page(x, 0, 1, FRAME_SWAPBACKED | FRAME_ACTIVE));

	weir__frame_set(f, FRAME_REFERENCED);
	weir__frame_set(in, FRAME_REFERENCED);
	weir__frame_deactivate(x->e, in);
	assert_int_equal(nr_in(x, 0, BATCH_DEACTIVATE), 0);
	weir__frame_deactivate(x->e, f);
	weir__lru_add_drain(x->e);
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), f);
	assert_false(frame_test(f, FRAME_ACTIVE | FRAME_REFERENCED));
	assert_true(frame_test(in, FRAME_REFERENCED));
	assert_int_equal(stat_of(x, STAT_pgdeactivate), 1);
	check_books(x);
}

static void lazyfree_makes_a_file_page_of_it(void **state)
{
	struct lrufix *x = *state;
	struct frame *f =
	    listed(x, lrufix_page(x, 0, 1, FRAME_SWAPBACKED | FRAME_ACTIVE));
	struct frame *old = listed(x, file_page(x));

	f->mapping = MAPPING_ANON | 0x1000;
	weir__frame_set(f, FRAME_REFERENCED);
	weir__frame_lazyfree(x->e, f);
	assert_true(frame_test(f, FRAME_SWAPBACKED));
	weir__lru_add_drain(x->e);
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_FILE), f);
	assert_ptr_equal(tail_of(x->v, LRU_INACTIVE_FILE), old);
	assert_false(
	    frame_test(f, FRAME_SWAPBACKED | FRAME_ACTIVE | FRAME_REFERENCED));
	assert_int_equal(stat_of(x, STAT_pglazyfree), 1);
	assert_int_equal(stat_of(x, STAT_nr_active_anon), 0);
	f->mapping = 0;
	check_books(x);
}

static void lazyfree_refuses_what_has_another_home(void **state)
{
	struct lrufix *x = *state;
	struct frame *file = listed(x, file_page(x));
	struct frame *cached = listed(x, anon_page(x));
	struct frame *shmem = listed(x, anon_page(x)); /* no anon owner */
	struct frame *off = anon_page(x);
	struct frame *late = listed(x, anon_page(x));

	cached->mapping = off->mapping = late->mapping = MAPPING_ANON | 0x1000;
	weir__frame_set(cached, FRAME_SWAPCACHE);
	weir__frame_lazyfree(x->e, file);
	weir__frame_lazyfree(x->e, cached);
	weir__frame_lazyfree(x->e, shmem);
	weir__frame_lazyfree(x->e, off);
	assert_int_equal(nr_in(x, 0, BATCH_LAZYFREE), 0);
	/* and one that got a swap slot while it waited */
	weir__frame_lazyfree(x->e, late);
	assert_int_equal(nr_in(x, 0, BATCH_LAZYFREE), 1);
	weir__frame_set(late, FRAME_SWAPCACHE);
	weir__lru_add_drain(x->e);
	assert_true(frame_test(late, FRAME_SWAPBACKED));
	assert_int_equal(stat_of(x, STAT_pglazyfree), 0);
	weir__frame_clear(late, FRAME_SWAPCACHE);
	weir__frame_clear(cached, FRAME_SWAPCACHE);
	cached->mapping = off->mapping = late->mapping = 0;
	check_books(x);
}

static void rotation_goes_to_the_inactive_tail(void **state)
{
	struct lrufix *x = *state;
	struct frame *old = listed(x, anon_page(x));
	struct frame *f =
	    listed(x, lrufix_page(x, 0, 1, FRAME_SWAPBACKED | FRAME_ACTIVE));

	weir__frame_rotate(x->e, f);
	assert_ptr_equal(head_of(x->v, LRU_ACTIVE_ANON), f);
	weir__lru_add_drain(x->e);
	assert_ptr_equal(tail_of(x->v, LRU_INACTIVE_ANON), f);
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), old);
	assert_false(frame_test(f, FRAME_ACTIVE));
	assert_int_equal(stat_of(x, STAT_pgrotated), 1);
	check_books(x);
}

static void rotation_is_not_queued_for_a_page_in_use(void **state)
{
	static const uint32_t why[] = {FRAME_LOCKED, FRAME_DIRTY,
				       FRAME_UNEVICTABLE};
	struct lrufix *x = *state;
	struct frame *f;

	for (unsigned i = 0; i < 3; i++) {
		f = anon_page(x);
		weir__frame_set(f, why[i] | FRAME_LRU);
		weir__frame_rotate(x->e, f);
		weir__frame_clear(f, why[i] | FRAME_LRU);
	}
	weir__frame_rotate(x->e, anon_page(x)); /* on no list */
	assert_int_equal(nr_in(x, 0, BATCH_MOVE_TAIL), 0);
	check_books(x);
}

/* ---------------------------------------------------------------- mlock --- */

static void mlock_moves_and_counts(void **state)
{
	struct lrufix *x = *state;
	struct frame *f =
	    listed(x, lrufix_page(x, 0, 1, FRAME_SWAPBACKED | FRAME_ACTIVE));

	weir__frame_mlock(x->e, f);
	assert_false(weir__frame_evictable(f));
	assert_int_equal(stat_of(x, STAT_nr_mlock), 1);
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_mlocked), 1);
	assert_int_equal(stat_of(x, STAT_nr_active_anon), 1); /* still there */
	weir__lru_add_drain(x->e);
	assert_true(frame_test(f, FRAME_UNEVICTABLE));
	assert_false(frame_test(f, FRAME_ACTIVE));
	assert_int_equal(f->mlock_count, 1);
	assert_int_equal(stat_of(x, STAT_nr_unevictable), 1);
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_culled), 1);

	weir__frame_mlock(x->e, f); /* a second region */
	weir__lru_add_drain(x->e);
	assert_int_equal(f->mlock_count, 2);
	assert_int_equal(stat_of(x, STAT_nr_mlock), 1);
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_mlocked), 1);

	weir__frame_munlock(x->e, f);
	weir__lru_add_drain(x->e);
	assert_int_equal(f->mlock_count, 1);
	assert_false(weir__frame_evictable(f));
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_munlocked), 0);

	weir__frame_munlock(x->e, f);
	weir__lru_add_drain(x->e);
	assert_true(weir__frame_evictable(f));
	assert_false(frame_test(f, FRAME_UNEVICTABLE));
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), f);
	assert_int_equal(stat_of(x, STAT_nr_mlock), 0);
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_munlocked), 1);
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_rescued), 1);
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_stranded), 0);
	/* moves, not insertions */
	assert_int_equal(stat_of(x, STAT_lru_insertions), 1);
	check_books(x);
}

static void a_new_page_of_a_locked_region_goes_straight_there(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = anon_page(x);

	weir__frame_set(f, FRAME_ACTIVE); /* it came back from swap */
	weir__frame_mlock_new(x->e, f);
	assert_int_equal(f->refcount, 2);
	assert_int_equal(on_lists(x), 0);
	weir__lru_add_drain(x->e);
	assert_true(frame_test(f, FRAME_LRU));
	assert_true(frame_test(f, FRAME_UNEVICTABLE));
	assert_false(frame_test(f, FRAME_ACTIVE));
	assert_int_equal(f->mlock_count, 1);
	assert_int_equal(f->refcount, 1);
	assert_int_equal(stat_of(x, STAT_lru_insertions), 1);
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_culled), 1);
	check_books(x);
}

/* One batch, three operations: new, lock, unlock, unlock, in this order. */
static void the_three_operations_keep_their_order(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = anon_page(x), *g = anon_page(x);

	weir__frame_mlock_new(x->e, f);
	weir__frame_mlock(x->e, f);
	weir__frame_munlock(x->e, f);
	weir__frame_mlock_new(x->e, g);
	weir__frame_munlock(x->e, g);
	assert_int_equal(nr_in(x, 0, BATCH_MLOCK), 5);
	weir__lru_add_drain(x->e);
	assert_int_equal(f->mlock_count, 1);
	assert_true(frame_test(f, FRAME_UNEVICTABLE));
	assert_true(frame_test(f, FRAME_MLOCKED));
	assert_ptr_equal(tail_of(x->v, LRU_INACTIVE_ANON), g);
	assert_false(frame_test(g, FRAME_MLOCKED | FRAME_UNEVICTABLE));
	assert_int_equal(stat_of(x, STAT_nr_mlock), 1);
	check_books(x);
}

static void the_mlock_batch_drains_when_full(void **state)
{
	struct lrufix *x = *state;

	for (unsigned i = 0; i < 30; i++)
		weir__frame_mlock_new(x->e, anon_page(x));
	assert_int_equal(stat_of(x, STAT_nr_unevictable), 0);
	weir__frame_mlock_new(x->e, anon_page(x));
	assert_int_equal(stat_of(x, STAT_nr_unevictable), 31);
	check_books(x);
}

/* Locked while it waits in another CPU's add batch: the mlock finds no list,
 * the addition sees the flag; the count starts at 0. */
static void mlock_of_a_page_on_no_list_is_seen_by_its_addition(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = anon_page(x);

	weir__frame_add_lru(x->e, f);
	x->fh.task.cpu = 1;
	weir__frame_mlock(x->e, f);
	weir__lru_add_drain(x->e);
	assert_false(frame_test(f, FRAME_UNEVICTABLE));
	x->fh.task.cpu = 0;
	weir__lru_add_drain(x->e);
	assert_true(frame_test(f, FRAME_UNEVICTABLE));
	assert_int_equal(f->mlock_count, 0);
	/* counted too few: the first munlock is taken for the last */
	weir__frame_munlock(x->e, f);
	weir__lru_add_drain(x->e);
	assert_true(weir__frame_evictable(f));
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), f);
	check_books(x);
}

static void munlock_of_an_isolated_page(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = anon_page(x);

	weir__frame_mlock_new(x->e, f);
	weir__lru_add_drain(x->e);
	assert_true(weir__frame_isolate_lru(x->e, f));
	weir__frame_munlock(x->e, f);
	weir__lru_add_drain(x->e);
	/* could not be moved now ... */
	assert_true(weir__frame_evictable(f));
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_stranded), 1);
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_munlocked), 0);
	assert_int_equal(stat_of(x, STAT_nr_mlock), 0);
	/* ... but on its way back */
	weir__frame_putback_lru(x->e, f);
	weir__lru_add_drain(x->e);
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), f);
	check_books(x);
}

/* A munlock elsewhere finds the page between lists: it can only clear the lock
 * and leave. The addition's event stands at just that moment. */
static void munlock_elsewhere(void *ctx, const char *name, uint64_t a,
			      uint64_t b, uint64_t c)
{
	struct lrufix *x = ctx;
	struct frame *f = weir__frame(x->e, (pfn_t)a);

	assert_int_equal(b, LRU_UNEVICTABLE);
	assert_false(frame_test(f, FRAME_LRU));
	assert_true(weir__frame_clear(f, FRAME_MLOCKED));
	weir__stat_add(x->e, STAT_nr_mlock, -1);
}

static void a_lock_that_ends_during_the_addition(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = anon_page(x);

	weir__frame_add_lru(x->e, f);
	weir__frame_set(f, FRAME_MLOCKED);
	weir__stat_inc(x->e, STAT_nr_mlock);
	x->e->event = munlock_elsewhere;
	x->e->event_ctx = x;
	weir__lru_add_drain(x->e);
	assert_true(frame_test(f, FRAME_LRU));
	assert_false(frame_test(f, FRAME_UNEVICTABLE));
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), f);
	check_books(x);
}

/* Moves queued on one CPU for a page that another one locks meanwhile. */
static void moves_leave_unevictable_pages_alone(void **state)
{
	static void (*const queue[])(struct engine * e, struct frame * f) = {
	    weir__frame_activate, weir__frame_deactivate_file,
	    weir__frame_rotate, weir__frame_lazyfree};
	struct lrufix *x = *state;

	for (unsigned i = 0; i < 5; i++) {
		struct frame *f = listed(x, anon_page(x));

		f->mapping = MAPPING_ANON | 0x1000;
		if (i < 4) {
			queue[i](x->e, f);
		} else {
			weir__frame_activate(x->e, f);
			weir__lru_add_drain(x->e);
			weir__frame_deactivate(x->e, f);
		}
		assert_int_equal(f->refcount, 2);
		x->fh.task.cpu = 1;
		weir__frame_mlock(x->e, f);
		weir__lru_add_drain(x->e);
		assert_true(frame_test(f, FRAME_UNEVICTABLE));
		x->fh.task.cpu = 0;
		weir__lru_add_drain(x->e);
		assert_int_equal(f->refcount, 1);
		assert_true(frame_test(f, FRAME_UNEVICTABLE));
		assert_true(frame_test(f, FRAME_SWAPBACKED));
		assert_false(frame_test(f, FRAME_ACTIVE));
		assert_int_equal(stat_of(x, STAT_nr_unevictable), i + 1);
		f->mapping = 0;
	}
	assert_int_equal(stat_of(x, STAT_pgactivate), 1);
	assert_int_equal(stat_of(x, STAT_pgdeactivate), 0);
	assert_int_equal(stat_of(x, STAT_pgrotated), 0);
	assert_int_equal(stat_of(x, STAT_pglazyfree), 0);
	check_books(x);
}

static void mlock_undone_before_its_drain(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = listed(x, anon_page(x));
	struct frame *newer = listed(x, anon_page(x));

	weir__frame_mlock(x->e, f);
	x->fh.task.cpu = 1;
	weir__frame_munlock(x->e, f);
	weir__lru_add_drain(x->e);
	assert_true(weir__frame_evictable(f));
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_munlocked), 1);
	x->fh.task.cpu = 0;
	weir__lru_add_drain(x->e);
	assert_false(frame_test(f, FRAME_UNEVICTABLE));
	/* never left its place */
	assert_ptr_equal(tail_of(x->v, LRU_INACTIVE_ANON), f);
	assert_ptr_equal(head_of(x->v, LRU_INACTIVE_ANON), newer);
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_culled), 0);
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_rescued), 0);
	check_books(x);
}

/* ------------------------------------------- isolation, last references --- */

static void isolate_and_putback_of_one_page(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = listed(x, anon_page(x));

	assert_true(weir__frame_isolate_lru(x->e, f));
	assert_int_equal(f->refcount, 2);
	assert_false(frame_test(f, FRAME_LRU));
	assert_int_equal(on_lists(x), 0);
	assert_int_equal(stat_of(x, STAT_lru_removals), 1);
	assert_false(weir__frame_isolate_lru(x->e, f));
	assert_int_equal(f->refcount, 2);
	assert_int_equal(x->e->nodes[0].nr_isolated[0], 0);
	/* the isolation's reference goes to the add batch */
	weir__frame_putback_lru(x->e, f);
	assert_int_equal(f->refcount, 2);
	weir__lru_add_drain(x->e);
	assert_int_equal(f->refcount, 1);
	assert_int_equal(stat_of(x, STAT_lru_insertions), 2);
	check_books(x);
}

static void the_last_put_leaves_the_list_and_frees(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = listed(x, anon_page(x));
	int64_t freed = stat_of(x, STAT_pgfree);

	weir__frame_get(f);
	weir__page_put(x->e, f);
	assert_int_equal(on_lists(x), 1);
	weir__page_put(x->e, f);
	assert_int_equal(f->refcount, 0);
	assert_int_equal(on_lists(x), 0);
	assert_int_equal(stat_of(x, STAT_pgfree), freed + 1);
	assert_int_equal(stat_of(x, STAT_lru_removals), 1);
	/* a page on no list is just freed */
	weir__page_put(x->e, anon_page(x));
	assert_int_equal(stat_of(x, STAT_pgfree), freed + 2);
	assert_int_equal(stat_of(x, STAT_lru_removals), 1);
	check_books(x);
}

static void many_puts_at_once(void **state)
{
	struct lrufix *x = *state;
	struct frame *f[40];
	int64_t freed = stat_of(x, STAT_pgfree);

	for (unsigned i = 0; i < 40; i++) {
		f[i] = lrufix_page(x, i & 1, 0, i & 2 ? FRAME_SWAPBACKED : 0);
		if (i != 7)
			weir__frame_add_lru(x->e, f[i]);
	}
	weir__lru_add_drain(x->e);
	weir__frame_get(f[11]);
	weir__pages_put(x->e, f, 40);
	assert_int_equal(stat_of(x, STAT_pgfree), freed + 39);
	assert_int_equal(on_lists(x), 1);
	assert_int_equal(f[11]->refcount, 1);
	weir__pages_put(x->e, f, 0);
	check_books(x);
}

static void a_locked_page_freed_is_counted_as_cleared(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = anon_page(x);

	weir__frame_mlock_new(x->e, f);
	weir__lru_add_drain(x->e);
	weir__page_put(x->e, f);
	assert_int_equal(f->refcount, 0);
	assert_int_equal(stat_of(x, STAT_unevictable_pgs_cleared), 1);
	assert_int_equal(stat_of(x, STAT_nr_mlock), 0);
	assert_int_equal(stat_of(x, STAT_nr_unevictable), 0);
	assert_false(
	    frame_test(f, FRAME_MLOCKED | FRAME_UNEVICTABLE | FRAME_LRU));
	check_books(x);
}

/* A page that rises and falls, all ways, is one insertion and one removal. */
static void moves_are_neither_insertions_nor_removals(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = listed(x, anon_page(x));

	for (unsigned i = 0; i < 3; i++) {
		weir__frame_activate(x->e, f);
		weir__lru_add_drain(x->e);
		weir__frame_deactivate(x->e, f);
		weir__lru_add_drain(x->e);
		weir__frame_rotate(x->e, f);
		weir__lru_add_drain(x->e);
		weir__frame_mlock(x->e, f);
		weir__lru_add_drain(x->e);
		weir__frame_munlock(x->e, f);
		weir__lru_add_drain(x->e);
	}
	assert_int_equal(stat_of(x, STAT_lru_insertions), 1);
	assert_int_equal(stat_of(x, STAT_lru_removals), 0);
	weir__page_put(x->e, f);
	assert_int_equal(stat_of(x, STAT_lru_removals), 1);
	check_books(x);
}

/* --------------------------------------------------------------- events --- */

struct heard {
	unsigned insertions, activations;
	uint64_t pfn, list;
};

static void hear(void *ctx, const char *name, uint64_t a, uint64_t b,
		 uint64_t c)
{
	struct heard *h = ctx;

	h->pfn = a;
	if (!strcmp(name, "mm_lru_insertion")) {
		h->insertions++;
		h->list = b;
	} else if (!strcmp(name, "mm_lru_activate")) {
		h->activations++;
	}
}

static void insertions_and_activations_are_events(void **state)
{
	struct lrufix *x = *state;
	struct frame *f = file_page(x);
	struct heard h = {0};

	x->e->event = hear;
	x->e->event_ctx = &h;
	listed(x, f);
	assert_int_equal(h.insertions, 1);
	assert_int_equal(h.pfn, weir__pfn(x->e, f));
	assert_int_equal(h.list, LRU_INACTIVE_FILE);
	weir__frame_activate(x->e, f);
	weir__lru_add_drain(x->e);
	assert_int_equal(h.activations, 1);
	assert_int_equal(h.insertions, 1);
	check_books(x);
}

#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, lrufix_setup, lrufix_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(additions_wait_until_the_batch_is_full),
	    T(the_capacity_is_tunable),
	    T(seven_batches_hold_a_reference_each),
	    T(drain_empties_this_cpu_drain_all_every_one),
	    T(nothing_waits_while_caching_is_disabled),
	    T(a_batch_may_mix_nodes),
	    T(the_drain_frees_what_only_the_batch_held),
	    T(a_move_of_an_isolated_page_is_dropped),
	    T(a_new_page_lands_where_its_flags_say),
	    T(a_locked_page_is_added_as_unevictable),
	    T(two_accesses_in_the_add_batch_make_it_active),
	    T(the_add_batch_of_another_cpu_is_left_alone),
	    T(the_state_table_of_mark_accessed),
	    T(activation_goes_to_the_active_head),
	    T(deactivate_file_by_state),
	    T(deactivate_file_leaves_out_what_is_not_listed),
	    T(deactivation_is_for_active_pages),
	    T(lazyfree_makes_a_file_page_of_it),
	    T(lazyfree_refuses_what_has_another_home),
	    T(rotation_goes_to_the_inactive_tail),
	    T(rotation_is_not_queued_for_a_page_in_use),
	    T(mlock_moves_and_counts),
	    T(a_new_page_of_a_locked_region_goes_straight_there),
	    T(the_three_operations_keep_their_order),
	    T(the_mlock_batch_drains_when_full),
	    T(mlock_of_a_page_on_no_list_is_seen_by_its_addition),
	    T(munlock_of_an_isolated_page),
	    T(a_lock_that_ends_during_the_addition),
	    T(moves_leave_unevictable_pages_alone),
	    T(mlock_undone_before_its_drain),
	    T(isolate_and_putback_of_one_page),
	    T(the_last_put_leaves_the_list_and_frees),
	    T(many_puts_at_once),
	    T(a_locked_page_freed_is_counted_as_cleared),
	    T(moves_are_neither_insertions_nor_removals),
	    T(insertions_and_activations_are_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
