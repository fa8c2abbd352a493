/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/batch.h"
#include "engine/frame.h"
#include "engine/lruvec.h"
#include "engine/reclaim.h"
#include "fakereclaim.h"

static int setup(void **state)
{
	*state = fr_start(4096, 0, 2048);
	return 0;
}

static int teardown(void **state)
{
	fr_stop(*state);
	return 0;
}

static struct scan_control control(int8_t priority, enum reclaimer who)
{
	return (struct scan_control){.priority = priority,
				     .reclaim_zone = MAX_ZONES - 1,
				     .gfp = GFP_KERNEL,
				     .nr_to_reclaim = SWAP_CLUSTER_MAX,
				     .who = who,
				     .swappiness = 100,
				     .may_writepage = true,
				     .may_unmap = true,
				     .may_swap = true};
}

static int64_t size(struct fakereclaim *fr, enum lru_list l)
{
	return fr->engine.nodes[0].lruvec.size[l];
}

static int64_t stat_of(struct fakereclaim *fr, enum stat_item i)
{
	return weir__stat_read(&fr->engine, i);
}

/* Nothing is lost on the way: no page isolated, lists as counted. */
static void check_lists(struct fakereclaim *fr)
{
	struct node *n = &fr->engine.nodes[0];

	assert_int_equal(n->nr_isolated[0], 0);
	assert_int_equal(n->nr_isolated[1], 0);
	assert_int_equal(stat_of(fr, STAT_nr_isolated_anon), 0);
	assert_int_equal(stat_of(fr, STAT_nr_isolated_file), 0);
	assert_true(weir__lruvec_is_valid(&fr->engine, &n->lruvec));
}

static void shrink(struct fakereclaim *fr, struct scan_control *sc)
{
	weir__shrink_node(&fr->engine, &fr->engine.nodes[0], sc);
	check_lists(fr);
}

/* Active pages are not asked whether they may stay. */
static void test_active_tail_is_deactivated(void **state)
{
	struct fakereclaim *fr = *state;
	struct scan_control sc = control(12, RECLAIM_KSWAPD);
	struct list_head *inactive;
	struct frame *f;

	fr_add_pages(fr, 100, false, true);
	fr->age_answer = 1; /* young, each of them */
	shrink(fr, &sc);
	assert_int_equal(size(fr, LRU_ACTIVE_ANON), 100 - SWAP_CLUSTER_MAX);
	assert_int_equal(size(fr, LRU_INACTIVE_ANON), SWAP_CLUSTER_MAX);
	assert_int_equal(stat_of(fr, STAT_pgrefill), SWAP_CLUSTER_MAX);
	assert_int_equal(stat_of(fr, STAT_pgdeactivate), SWAP_CLUSTER_MAX);
	inactive = &fr->engine.nodes[0].lruvec.lists[LRU_INACTIVE_ANON];
	list_for_each_entry (f, inactive, lru) {
		assert_true(frame_test(f, FRAME_WORKINGSET));
		assert_false(frame_test(f, FRAME_ACTIVE));
	}
	/* asked in one go, so that a machine without bits unmaps in one */
	assert_int_equal(fr->nr_age, 1);
	assert_int_equal(fr->nr_aged, SWAP_CLUSTER_MAX);
	assert_int_equal(fr->nr_shrink, 0);
}

/* The exception: code of running programs. */
static void test_executable_file_stays_active(void **state)
{
	struct fakereclaim *fr = *state;
	struct scan_control sc = control(0, RECLAIM_KSWAPD);
	struct lruvec *v = &fr->engine.nodes[0].lruvec;

	fr_add_pages(fr, 64, true, true);
	fr->age_answer = AGE_EXEC | 1;
	shrink(fr, &sc);
	assert_int_equal(size(fr, LRU_ACTIVE_FILE), 64);
	assert_int_equal(stat_of(fr, STAT_pgdeactivate), 0);
	/* they were work for nothing: 2 rounds of 32, halved once at > 64/4 */
	assert_true(v->file_cost > 0);
	/* executable but not young: no exception */
	fr->age_answer = AGE_EXEC;
	shrink(fr, &sc);
	assert_int_equal(size(fr, LRU_ACTIVE_FILE), 0);
}

static void test_mlocked_page_leaves_the_list(void **state)
{
	struct fakereclaim *fr = *state;
	struct scan_control sc = control(12, RECLAIM_KSWAPD);
	struct lruvec *v = &fr->engine.nodes[0].lruvec;
	struct frame *f;

	fr_add_pages(fr, 10, false, true);
	f = list_last_entry(&v->lists[LRU_ACTIVE_ANON], struct frame, lru);
	weir__frame_set(f, FRAME_MLOCKED);
	shrink(fr, &sc);
	weir__lru_add_drain_all(&fr->engine);
	assert_int_equal(fr->nr_aged, 9);
	assert_int_equal(size(fr, LRU_UNEVICTABLE), 1);
	assert_int_equal(size(fr, LRU_INACTIVE_ANON), 9);
	check_lists(fr);
	weir__page_put(&fr->engine, f);
}

static void test_inactive_is_freed_and_counted(void **state)
{
	struct fakereclaim *fr = *state;
	struct scan_control sc = control(0, RECLAIM_KSWAPD);

	fr_add_pages(fr, 200, true, false);
	sc.nr_to_reclaim = 1000;
	shrink(fr, &sc);
	assert_int_equal(sc.nr_reclaimed, 200);
	assert_int_equal(sc.nr_scanned, 200);
	assert_int_equal(size(fr, LRU_INACTIVE_FILE), 0);
	assert_int_equal(stat_of(fr, STAT_pgscan_kswapd), 200);
	assert_int_equal(stat_of(fr, STAT_pgsteal_kswapd), 200);
	assert_int_equal(stat_of(fr, STAT_pgscan_file), 200);
	assert_int_equal(stat_of(fr, STAT_pgsteal_file), 200);
	assert_int_equal(stat_of(fr, STAT_pgscan_anon), 0);
	/* batches of 32: 6 and a rest of 8 */
	assert_int_equal(fr->nr_shrink, 7);
	assert_int_equal(fr->longest, SWAP_CLUSTER_MAX);
}

static void test_who_pays(void **state)
{
	struct fakereclaim *fr = *state;
	struct scan_control sc = control(0, RECLAIM_DIRECT);

	fr_add_pages(fr, 10, true, false);
	shrink(fr, &sc);
	assert_int_equal(stat_of(fr, STAT_pgsteal_direct), 10);
	fr_add_pages(fr, 10, false, false);
	sc = control(0, RECLAIM_PROACTIVE);
	shrink(fr, &sc);
	assert_int_equal(stat_of(fr, STAT_pgsteal_proactive), 10);
	assert_int_equal(stat_of(fr, STAT_pgsteal_anon), 10);
}

/* 20 written, 12 kept: 32 * 20 + 12. */
static void test_cost_of_a_batch(void **state)
{
	struct fakereclaim *fr = *state;
	struct scan_control sc = control(6, RECLAIM_KSWAPD);
	struct lruvec *v = &fr->engine.nodes[0].lruvec;

	/* so many that costs are not halved: 652 <= lists / 4 */
	fr_add_pages(fr, 2048, false, false);
	fr_add_pages(fr, 1500, true, true);
	fr->st.nr_pageout = 20;
	fr->free_max = 20;
	sc.swappiness = 201; /* all of the share: 2048 >> 6 = 32 */
	shrink(fr, &sc);
	assert_int_equal(fr->nr_shrink, 1);
	assert_int_equal(v->anon_cost, 652);
}

/* Survivors that were activated move the clock of refault distances. */
static void test_activation_turns_the_clock(void **state)
{
	struct fakereclaim *fr = *state;
	struct scan_control sc = control(0, RECLAIM_KSWAPD);
	struct lruvec *v = &fr->engine.nodes[0].lruvec;
	uint64_t before = v->nonresident_age;

	fr_add_pages(fr, 30, true, false);
	fr->keep_all = true;
	fr->activate = true;
	shrink(fr, &sc);
	assert_int_equal(size(fr, LRU_ACTIVE_FILE), 30);
	assert_int_equal(v->nonresident_age - before, 30);
}

/* may_deactivate off: the active list is left alone, and that is remembered. */
static void test_skipped_deactivate(void **state)
{
	struct fakereclaim *fr = *state;
	struct scan_control sc = control(0, RECLAIM_KSWAPD);

	fr_add_pages(fr, 100, true, false);
	fr_add_pages(fr, 100, true, true);
	fr->keep_all = true;
	shrink(fr, &sc);
	assert_true(sc.skipped_deactivate);
	assert_int_equal(size(fr, LRU_ACTIVE_FILE), 100);
	sc.force_deactivate = true;
	shrink(fr, &sc);
	assert_int_equal(size(fr, LRU_ACTIVE_FILE), 0);
}

/*
 * The goal is met after the first turn: one type's quota goes, and no batch of
 * the other beyond its share is started.
 */
static void test_stops_when_the_goal_is_met(void **state)
{
	struct fakereclaim *fr = *state;
	struct scan_control sc = control(0, RECLAIM_KSWAPD);

	fr_add_pages(fr, 100, false, false);
	fr_add_pages(fr, 400, true, false);
	shrink(fr, &sc);
	/*
	 * Turn 1: 32 + 32 freed, 68 and 368 left; 68 % may be left of file:
	 * 32 % of 400 less 32 = 96. Turn 2: 32 more, then anon has none: end.
	 */
	assert_int_equal(sc.nr_reclaimed, 96);
	assert_int_equal(size(fr, LRU_INACTIVE_ANON), 68);
	assert_int_equal(size(fr, LRU_INACTIVE_FILE), 336);
}

/* A direct reclaimer's pass at priority 12 ends its round. */
static void test_direct_first_pass_is_whole(void **state)
{
	struct fakereclaim *fr = *state;
	struct lruvec *v = &fr->engine.nodes[0].lruvec;
	struct scan_control sc = control(12, RECLAIM_DIRECT);
	const int64_t more = 40 * 4096; /* a quota of 40, in two turns */

	fr_add_pages(fr, 100, true, false);
	sc.swappiness = 0;
	v->size[LRU_INACTIVE_FILE] += more;
	weir__shrink_node(&fr->engine, &fr->engine.nodes[0], &sc);
	assert_int_equal(sc.nr_reclaimed, 40);

	sc = control(12, RECLAIM_KSWAPD);
	sc.swappiness = 0;
	weir__shrink_node(&fr->engine, &fr->engine.nodes[0], &sc);
	assert_int_equal(sc.nr_reclaimed, SWAP_CLUSTER_MAX);
	v->size[LRU_INACTIVE_FILE] -= more;
	check_lists(fr);
}

/* Where a batch is dear, a quota of a few pages becomes one batch. */
static void test_quota_is_rounded_to_a_large_batch(void **state)
{
	struct fakereclaim *fr = *state;
	struct scan_control sc = control(10, RECLAIM_KSWAPD);

	fr->engine.tun.cluster_max = 128;
	fr_add_pages(fr, 2000, true, false);
	sc.nr_to_reclaim = 1000;
	shrink(fr, &sc); /* 2000 >> 10 is 1 */
	assert_int_equal(fr->longest, 128);
	assert_int_equal(sc.nr_reclaimed, 128);
	/* nothing is not rounded up */
	sc.priority = 11;
	sc.nr_reclaimed = 0;
	shrink(fr, &sc); /* 1872 >> 11 is 0 */
	assert_int_equal(sc.nr_reclaimed, 0);
}

static void test_too_many_isolated(void **state)
{
	struct fakereclaim *fr = *state;
	struct engine *e = &fr->engine;
	struct node *n = &e->nodes[0];
	struct scan_control sc = control(0, RECLAIM_DIRECT);

	fr_add_pages(fr, 80, false, false);
	n->nr_isolated[0] = 10; /* an eighth: not too many */
	assert_false(weir__too_many_isolated(e, n, 0, &sc));
	n->nr_isolated[0] = 11;
	assert_true(weir__too_many_isolated(e, n, 0, &sc));
	sc.gfp = GFP_NOFS; /* must get on where others may wait for it */
	assert_false(weir__too_many_isolated(e, n, 0, &sc));
	n->nr_isolated[0] = 81;
	assert_true(weir__too_many_isolated(e, n, 0, &sc));
	sc.who = RECLAIM_KSWAPD;
	assert_false(weir__too_many_isolated(e, n, 0, &sc));
	n->nr_isolated[0] = 0;
}

/* Still so after one nap of 20 ms: nothing is taken. */
static void test_isolated_throttle(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = &fr->engine.nodes[0];
	struct scan_control sc = control(0, RECLAIM_DIRECT);
	uint64_t start = fr->host.now;

	fr_add_pages(fr, 80, true, false);
	n->nr_isolated[1] = 81;
	weir__shrink_node(&fr->engine, n, &sc);
	n->nr_isolated[1] = 0;
	assert_int_equal(sc.nr_reclaimed, 0);
	assert_int_equal(fr->nr_shrink, 0);
	assert_true(fr_count(fr, "mm_vmscan_throttled") > 0);
	assert_int_equal((fr->host.now - start) % 20000000, 0);
	assert_true(fr->host.now > start);

	/* a task that ends is not held up */
	fr->host.task.flags |= PF_EXITING;
	n->nr_isolated[1] = 81;
	weir__shrink_node(&fr->engine, n, &sc);
	n->nr_isolated[1] = 0;
	fr->host.task.flags &= ~(uint32_t)PF_EXITING;
	assert_true(sc.nr_reclaimed >= SWAP_CLUSTER_MAX);
	assert_int_equal(fr->nr_shrink, 0);
}

static void test_writeback_throttle(void **state)
{
	struct fakereclaim *fr = *state;
	struct engine *e = &fr->engine;
	struct node *n = &e->nodes[0];
	uint64_t start = fr->host.now;
	uint64_t wakes;
	uint32_t word;

	/* nothing under way: nobody would wake us, so no sleep */
	weir__reclaim_throttle(e, n, THROTTLE_WRITEBACK);
	assert_int_equal(fr->host.now, start);

	n->nr_writeback = 1000;
	weir__reclaim_throttle(e, n, THROTTLE_WRITEBACK);
	assert_int_equal(fr->host.now - start, 100000000);
	assert_int_equal(n->nr_throttled[THROTTLE_WRITEBACK], 0);

	/* two waiters: more than 64 pages wake them */
	n->nr_throttled[THROTTLE_WRITEBACK] = 2;
	n->throttle_written = 0;
	wakes = fr->host.nr_wakes;
	word = n->throttle[THROTTLE_WRITEBACK];
	weir__throttle_written(e, n, 64);
	assert_int_equal(fr->host.nr_wakes, wakes);
	weir__throttle_written(e, n, 1);
	assert_int_equal(fr->host.nr_wakes, wakes + 1);
	assert_int_equal(n->throttle[THROTTLE_WRITEBACK], word + 1);
	assert_int_equal(stat_of(fr, STAT_nr_throttled_written), 65);
	/* the next ones count from there */
	weir__throttle_written(e, n, 64);
	assert_int_equal(fr->host.nr_wakes, wakes + 1);
	/* or the end of all writing */
	n->nr_writeback = 0;
	weir__throttle_written(e, n, 1);
	assert_int_equal(fr->host.nr_wakes, wakes + 2);
	n->nr_throttled[THROTTLE_WRITEBACK] = 0;
}

static void test_noprogress_throttle(void **state)
{
	struct fakereclaim *fr = *state;
	struct engine *e = &fr->engine;
	struct node *n = &e->nodes[0];
	uint64_t start = fr->host.now;

	fr_add_pages(fr, 100, false, false);
	n->nr_writeback = 50; /* 2 * 50 is not more than 100 */
	weir__reclaim_throttle(e, n, THROTTLE_NOPROGRESS);
	assert_int_equal(fr->host.now, start);
	n->nr_writeback = 51;
	weir__reclaim_throttle(e, n, THROTTLE_NOPROGRESS);
	assert_int_equal(fr->host.now - start, TICK_NS);
	/* nobody waits for a kswapd that gave up */
	n->kswapd_failures = KSWAPD_FAILURES_MAX;
	weir__reclaim_throttle(e, n, THROTTLE_NOPROGRESS);
	assert_int_equal(fr->host.now - start, TICK_NS);
	n->nr_writeback = 0;
}

/* All of what was taken is being written: the node says so. */
static void test_node_flags(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = &fr->engine.nodes[0];
	struct scan_control sc = control(0, RECLAIM_DIRECT);

	fr_add_pages(fr, 32, true, false);
	fr->keep_all = true;
	fr->st.nr_writeback = 32;
	shrink(fr, &sc);
	assert_int_equal(n->flags, 0); /* kswapd's business */
	sc = control(0, RECLAIM_KSWAPD);
	shrink(fr, &sc);
	assert_int_equal(n->flags, NODE_FLAG_WRITEBACK);
	fr->st.nr_writeback = 31;
	n->flags = 0;
	shrink(fr, &sc);
	assert_int_equal(n->flags, 0);
	fr->st.nr_unqueued_dirty = 32;
	shrink(fr, &sc);
	assert_int_equal(n->flags, NODE_FLAG_DIRTY);
	fr->st.nr_dirty = 5;
	fr->st.nr_congested = 5;
	shrink(fr, &sc);
	assert_true(n->lruvec.flags & LRUVEC_NODE_CONGESTED);
}

static void test_progress_ends_hopelessness(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = &fr->engine.nodes[0];
	struct scan_control sc = control(0, RECLAIM_DIRECT);

	n->kswapd_failures = KSWAPD_FAILURES_MAX;
	shrink(fr, &sc);
	assert_int_equal(n->kswapd_failures, KSWAPD_FAILURES_MAX);
	fr_add_pages(fr, 1, true, false);
	shrink(fr, &sc);
	assert_int_equal(n->kswapd_failures, 0);
}

/* Pages that wait in a batch come to their list before a scan. */
static void test_scan_drains_first(void **state)
{
	struct fakereclaim *fr = *state;
	struct engine *e = &fr->engine;
	struct scan_control sc = control(0, RECLAIM_KSWAPD);
	bool active = false;

	do {
		struct frame *f = weir__frames_alloc(e, GFP_MOVABLE, 0);

		fr_add_pages(fr, 1, true, active);
		weir__frame_set(f, FRAME_UPTODATE);
		weir__frame_add_lru(e, f);
		sc.force_deactivate = true;
		shrink(fr, &sc);
		/* both were found: one scanned, the other on its list */
		assert_int_equal(fr->engine.batches[0].batch[BATCH_ADD].nr, 0);
		active = !active;
	} while (active);
}

/* kswapd met pages that it marked one lap ago: the disk cannot keep up. */
static void test_immediate_makes_kswapd_wait(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = &fr->engine.nodes[0];
	struct scan_control sc = control(0, RECLAIM_KSWAPD);
	uint64_t start = fr->host.now;
	uint32_t count = n->reclaim_count;

	fr_add_pages(fr, 40, true, false);
	fr->free_max = 1;
	fr->st = (struct reclaim_stat){.nr_immediate = 1,
				       .nr_pageout = 2,
				       .nr_activate = {3, 4},
				       .nr_ref_keep = 5,
				       .nr_unmap_fail = 6,
				       .nr_busy = 7};
	n->nr_writeback = 1;
	weir__shrink_node(&fr->engine, n, &sc);
	n->nr_writeback = 0;
	assert_int_equal(fr->host.now - start, 100000000);
	/* two batches, summed up */
	assert_int_equal(sc.round.nr_immediate, 2);
	assert_int_equal(sc.round.nr_pageout, 4);
	assert_int_equal(sc.round.nr_activate[0], 6);
	assert_int_equal(sc.round.nr_activate[1], 8);
	assert_int_equal(sc.round.nr_ref_keep, 10);
	assert_int_equal(sc.round.nr_unmap_fail, 12);
	assert_int_equal(sc.round.nr_busy, 14);
	assert_int_equal(sc.round.nr_taken, 40);
	assert_int_equal(n->reclaim_count, count + 1);
}

/* --- direct and proactive ----------------------------------------------- */

static void test_direct_stops_at_32(void **state)
{
	struct fakereclaim *fr = *state;
	struct wtask *self = &fr->host.task;

	fr_add_pages(fr, 2000, true, false);
	fr->engine.nodes[0].lruvec.activate_refault[1] = 5;
	assert_true(weir__try_to_free_pages(&fr->engine, GFP_KERNEL, 0) >= 32);
	assert_true(fr->nr_freed < 100);
	assert_int_equal(stat_of(fr, STAT_allocstall), 1);
	assert_int_equal(fr->engine.nodes[0].lruvec.refaults[1], 5);
	assert_int_equal(fr->last.reclaim_zone, 0);
	assert_int_equal(self->flags & PF_MEMALLOC, 0);
	assert_int_equal(fr_count(fr, "mm_vmscan_direct_reclaim_begin"), 1);
	check_lists(fr);
}

static void expect_memalloc(struct fakereclaim *fr, struct scan_control *sc)
{
	assert_true(fr->host.task.flags & PF_MEMALLOC);
	fr->host.now += 1000;
}

static void test_direct_marks_its_task(void **state)
{
	struct fakereclaim *fr = *state;

	fr_add_pages(fr, 2000, true, false);
	fr->on_shrink = expect_memalloc;
	weir__try_to_free_pages(&fr->engine, GFP_KERNEL, 0);
	assert_int_equal(fr->host.task.stall_ns, fr->nr_shrink * 1000);
	assert_int_equal(stat_of(fr, STAT_stall_ns), fr->nr_shrink * 1000);
}

/* The rights of the task's scope reach the page list. */
static void test_scope_reaches_the_scan(void **state)
{
	struct fakereclaim *fr = *state;

	fr_add_pages(fr, 2000, true, false);
	fr->host.task.flags |= PF_NOIO;
	weir__try_to_free_pages(&fr->engine, GFP_KERNEL, 0);
	fr->host.task.flags &= ~(uint32_t)PF_NOIO;
	assert_false(fr->last.gfp & (GFP_IO | GFP_FS));
	weir__try_to_free_pages(&fr->engine, GFP_NOIO, 0);
	assert_false(fr->last.gfp & (GFP_IO | GFP_FS));
	weir__try_to_free_pages(&fr->engine, GFP_NOFS, 0);
	assert_true(fr->last.gfp & GFP_IO);
	assert_false(fr->last.gfp & GFP_FS);
}

/* Three ladders, each with one scruple less. */
static void test_direct_ladders(void **state)
{
	struct fakereclaim *fr = *state;

	fr_add_pages(fr, 64, true, false);
	fr_add_pages(fr, 64, true, true);
	fr->keep_all = true;
	assert_int_equal(weir__try_to_free_pages(&fr->engine, GFP_KERNEL, 0),
			 0);
	assert_true(fr->last.full_walk);
	assert_true(fr->last.force_deactivate);
	assert_int_equal(fr->last.priority, 0);
	assert_int_equal(stat_of(fr, STAT_allocstall), 1);
}

static void finish_writes(struct fakehost *fh, _Atomic uint32_t *word)
{
}

/* Pages on their way to the disk are waited for, not replaced by others. */
static void test_direct_waits_for_writes(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = &fr->engine.nodes[0];
	uint64_t start = fr->host.now;

	fr->host.on_wait = finish_writes;
	fr_add_pages(fr, 64, true, false);
	fr->keep_all = true;
	n->nr_writeback = 5;
	weir__try_to_free_pages(&fr->engine, GFP_KERNEL, 0);
	assert_true(fr->host.now - start >= 100000000);
	n->nr_writeback = 0;
}

static void test_gate_of_the_reserve(void **state)
{
	struct fakereclaim *fr = *state;
	struct engine *e = &fr->engine;
	struct node *n = &e->nodes[0];
	int64_t half = (int64_t)n->zones[0].wmark[WMARK_MIN] / 2;

	fr_add_pages(fr, 10, true, false);
	fr_eat(fr, half + 1);
	assert_true(weir__allow_direct_reclaim(e, n));
	fr_eat(fr, half);
	assert_false(weir__allow_direct_reclaim(e, n));
	/* no kswapd: nobody would open it */
	assert_false(weir__throttle_direct_reclaim(e, GFP_KERNEL));
	assert_int_equal(stat_of(fr, STAT_pgscan_direct_throttle), 0);

	n->kswapd_running = 1;
	n->kswapd_sleeping = 1;
	assert_false(weir__throttle_direct_reclaim(e, GFP_NOFS)); /* once */
	assert_int_equal(stat_of(fr, STAT_pgscan_direct_throttle), 1);
	assert_int_equal(fr_count(fr, "mm_vmscan_wakeup_kswapd"), 1);
	assert_int_equal(fr->host.now, 1000000000);
	/* reclaimers are not held up, nor is a hopeless node waited for */
	fr->host.task.flags |= PF_MEMALLOC;
	assert_false(weir__throttle_direct_reclaim(e, GFP_KERNEL));
	fr->host.task.flags &= ~(uint32_t)PF_MEMALLOC;
	n->kswapd_failures = KSWAPD_FAILURES_MAX;
	assert_false(weir__throttle_direct_reclaim(e, GFP_KERNEL));
	assert_int_equal(stat_of(fr, STAT_pgscan_direct_throttle), 1);
	n->kswapd_running = 0;
}

static void test_reclaim_on_request(void **state)
{
	struct fakereclaim *fr = *state;
	uint64_t freed;

	fr_add_pages(fr, 2000, true, false);
	assert_int_equal(weir__reclaim_pages(&fr->engine, 500, -1, &freed), 0);
	assert_true(freed >= 500 && freed < 700);
	assert_int_equal(stat_of(fr, STAT_pgsteal_proactive), freed);
	assert_true(fr->last.proactive);
	assert_int_equal(stat_of(fr, STAT_allocstall), 0);

	fr->keep_all = true;
	assert_int_equal(weir__reclaim_pages(&fr->engine, 10, 120, &freed),
			 -EAGAIN);
	assert_int_equal(freed, 0);
	assert_int_equal(fr->last.swappiness, 120);
	check_lists(fr);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_active_tail_is_deactivated),
	    T(test_executable_file_stays_active),
	    T(test_mlocked_page_leaves_the_list),
	    T(test_inactive_is_freed_and_counted),
	    T(test_who_pays),
	    T(test_cost_of_a_batch),
	    T(test_activation_turns_the_clock),
	    T(test_skipped_deactivate),
	    T(test_stops_when_the_goal_is_met),
	    T(test_direct_first_pass_is_whole),
	    T(test_quota_is_rounded_to_a_large_batch),
	    T(test_too_many_isolated),
	    T(test_isolated_throttle),
	    T(test_writeback_throttle),
	    T(test_noprogress_throttle),
	    T(test_node_flags),
	    T(test_progress_ends_hopelessness),
	    T(test_scan_drains_first),
	    T(test_immediate_makes_kswapd_wait),
	    T(test_direct_stops_at_32),
	    T(test_direct_marks_its_task),
	    T(test_scope_reaches_the_scan),
	    T(test_direct_ladders),
	    T(test_direct_waits_for_writes),
	    T(test_gate_of_the_reserve),
	    T(test_reclaim_on_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
