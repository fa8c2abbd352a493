/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "engine/buddy.h"
#include "engine/frame.h"
#include "engine/reclaim.h"
#include "engine/watermark.h"
#include "fakereclaim.h"

#define FRAMES 4096

static struct fakereclaim *the; /* for hooks of the host */
static struct frame *taken[FRAMES];
static unsigned nr_taken;

static int setup(void **state)
{
	*state = the = fr_start(FRAMES, 0, 2048);
	nr_taken = 0;
	return 0;
}

static int teardown(void **state)
{
	struct fakereclaim *fr = *state;

	while (nr_taken)
		weir__frames_free(&fr->engine, taken[--nr_taken], 0);
	fr_stop(fr);
	return 0;
}

static struct node *node(struct fakereclaim *fr)
{
	return &fr->engine.nodes[0];
}

static int64_t stat_of(struct fakereclaim *fr, enum stat_item i)
{
	return weir__stat_read(&fr->engine, i);
}

static int64_t mark(struct fakereclaim *fr, int which)
{
	return (int64_t)weir__wmark(&node(fr)->zones[0], which);
}

static int64_t nr_free(struct fakereclaim *fr)
{
	return node(fr)->zones[0].free_pages;
}

/* What another task does while kswapd sleeps. */
static bool take(struct fakereclaim *fr)
{
	uint32_t flags = fr->host.task.flags;

	fr->host.task.flags = 0;
	taken[nr_taken] = weir__frames_alloc(&fr->engine, GFP_KERNEL, 0);
	fr->host.task.flags = flags;
	if (!taken[nr_taken])
		return false;
	nr_taken++;
	return true;
}

static void run_kswapd(struct fakereclaim *fr)
{
	fr->host.task.flags = PF_KSWAPD | PF_MEMALLOC;
	fr->host.spawned[0].fn(&fr->engine, fr->host.spawned[0].arg);
	fr->host.task.flags = 0;
}

static void end_kswapd(struct fakereclaim *fr)
{
	fr->engine.stopping = 1;
	node(fr)->kswapd_word++;
}

/* --- one wake, one run --------------------------------------------------- */

static void allocate_while_asleep(struct fakehost *fh, _Atomic uint32_t *word)
{
	struct fakereclaim *fr = the;
	uint32_t seen = *word;

	assert_ptr_equal(word, &node(fr)->kswapd_word);
	switch (fr->step++) {
	case 0:
		assert_int_equal(stat_of(fr, STAT_pageoutrun), 0);
		while (*word == seen)
			assert_true(take(fr));
		assert_true(nr_free(fr) <= mark(fr, WMARK_LOW));
		assert_true(nr_free(fr) > mark(fr, WMARK_MIN));
		break;
	case 1:
		assert_int_equal(stat_of(fr, STAT_pageoutrun), 1);
		assert_int_equal(node(fr)->kswapd_sleeping, 1);
		/* At rest the node's troubles are forgotten. */
		assert_int_equal(node(fr)->flags, 0);
		assert_int_equal(node(fr)->lruvec.flags, 0);
		assert_true(nr_free(fr) > mark(fr, WMARK_HIGH));
		/* Between low and high: no second wake. */
		while (nr_free(fr) > mark(fr, WMARK_LOW) + 1)
			assert_true(take(fr));
		assert_int_equal(*word, seen);
		assert_int_equal(fr_count(fr, "mm_vmscan_wakeup_kswapd"), 1);
		end_kswapd(fr);
		break;
	default:
		fail();
	}
}

static void awake_and_active(struct fakereclaim *fr, struct scan_control *sc)
{
	struct node *n = node(fr);

	assert_int_equal(n->kswapd_sleeping, 0);
	assert_int_equal(n->zones[0].reclaim_active, 1);
	n->flags = NODE_FLAG_DIRTY | NODE_FLAG_WRITEBACK;
	n->lruvec.flags = LRUVEC_NODE_CONGESTED;
}

static void test_one_wake_one_run(void **state)
{
	struct fakereclaim *fr = *state;

	fr_add_pages(fr, 2000, true, false);
	fr->on_shrink = awake_and_active;
	node(fr)->lruvec.activate_refault[0] = 5;
	assert_int_equal(weir__kswapd_start(&fr->engine), 0);
	assert_int_equal(fr->host.nr_spawned, 1);
	assert_int_equal(fr->host.spawned[0].flags, PF_KSWAPD | PF_MEMALLOC);
	fr->host.on_wait = allocate_while_asleep;
	run_kswapd(fr);
	assert_int_equal(fr->step, 2);
	assert_int_equal(stat_of(fr, STAT_pageoutrun), 1);
	assert_int_equal(stat_of(fr, STAT_allocstall), 0);
	assert_int_equal(node(fr)->kswapd_running, 0);
	assert_int_equal(node(fr)->zones[0].reclaim_active, 0);
	/* The end of a run is the end of a cycle for refaults. */
	assert_int_equal(node(fr)->lruvec.refaults[0], 5);
	assert_int_equal(stat_of(fr, STAT_pgscan_direct), 0);
	assert_true(stat_of(fr, STAT_pgsteal_kswapd) > 0);
}

/* --- the nap ------------------------------------------------------------- */

static void disturb_nap(struct fakereclaim *fr, const char *name)
{
	if (strcmp(name, "mm_vmscan_kswapd_sleep"))
		return;
	switch (fr->step++) {
	case 0: /* woken during the nap */
		node(fr)->kswapd_word++;
		break;
	case 1: /* no wake, but no longer balanced after it */
		fr_eat(fr, mark(fr, WMARK_LOW));
		break;
	default:
		end_kswapd(fr);
	}
}

static void test_nap(void **state)
{
	struct fakereclaim *fr = *state;

	fr_add_pages(fr, 2000, true, false);
	weir__kswapd_start(&fr->engine);
	fr->on_event = disturb_nap;
	run_kswapd(fr);
	assert_int_equal(stat_of(fr, STAT_kswapd_low_wmark_hit_quickly), 1);
	assert_int_equal(stat_of(fr, STAT_kswapd_high_wmark_hit_quickly), 1);
	/* the first wake found nothing to do, but it is a run */
	assert_int_equal(stat_of(fr, STAT_pageoutrun), 2);
	assert_true(nr_free(fr) > mark(fr, WMARK_HIGH));
}

/* --- who is woken, and when ---------------------------------------------- */

static void test_wakeup_conditions(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = node(fr);
	struct zone *z = &n->zones[0];
	uint32_t word = n->kswapd_word;

	fr_eat(fr, mark(fr, WMARK_LOW));
	weir__wakeup_kswapd(&fr->engine, z, GFP_KERNEL, 0, 0);
	assert_int_equal(n->kswapd_word, word); /* there is none */

	n->kswapd_running = 1; /* but awake */
	weir__wakeup_kswapd(&fr->engine, z, GFP_KERNEL, 2, 0);
	assert_int_equal(n->kswapd_word, word);
	assert_int_equal(n->kswapd_order, 2); /* it will find the request */
	assert_int_equal(n->kswapd_highest_zone, 0);

	n->kswapd_sleeping = 1;
	assert_int_equal(fr->host.nr_wakes, 0);
	weir__wakeup_kswapd(&fr->engine, z, GFP_KERNEL, 1, 0);
	assert_int_equal(n->kswapd_word, word + 1);
	assert_int_equal(fr->host.nr_wakes, 1);
	assert_int_equal(n->kswapd_order, 2); /* the largest stands */

	n->kswapd_failures = KSWAPD_FAILURES_MAX;
	weir__wakeup_kswapd(&fr->engine, z, GFP_KERNEL, 0, 0);
	assert_int_equal(n->kswapd_word, word + 1);

	n->kswapd_failures = 0;
	fr_uneat(fr); /* balanced */
	weir__wakeup_kswapd(&fr->engine, z, GFP_KERNEL, 0, 0);
	assert_int_equal(n->kswapd_word, word + 1);
	z->watermark_boost = 1; /* balanced, but fragmenting */
	weir__wakeup_kswapd(&fr->engine, z, GFP_KERNEL, 0, 0);
	assert_int_equal(n->kswapd_word, word + 2);
	z->watermark_boost = 0;
	n->kswapd_running = 0;
}

static void test_balanced_is_above_high(void **state)
{
	struct fakereclaim *fr = *state;

	fr_eat(fr, mark(fr, WMARK_HIGH) + 1);
	assert_true(weir__pgdat_balanced(node(fr), 0, 0));
	fr_eat(fr, mark(fr, WMARK_HIGH));
	assert_false(weir__pgdat_balanced(node(fr), 0, 0));
}

/* --- the ladder ---------------------------------------------------------- */

static void test_hopeless_after_16(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = node(fr);

	fr_add_pages(fr, 200, true, false);
	fr_eat(fr, mark(fr, WMARK_LOW));
	fr->keep_all = true;
	n->kswapd_running = n->kswapd_sleeping = 1;
	for (unsigned i = 1; i <= KSWAPD_FAILURES_MAX; i++) {
		uint32_t word = n->kswapd_word;

		weir__wakeup_kswapd(&fr->engine, &n->zones[0], GFP_KERNEL, 0,
				    0);
		assert_int_equal(n->kswapd_word, word + 1);
		weir__balance_pgdat(&fr->engine, n, 0, 0);
		assert_int_equal(n->kswapd_failures, i);
		/* it climbed to the top */
		assert_int_equal(fr->last.priority, 1);
	}
	/* hopeless: not woken any more */
	fr_forget_events(fr);
	weir__wakeup_kswapd(&fr->engine, &n->zones[0], GFP_KERNEL, 0, 0);
	assert_int_equal(fr_count(fr, "mm_vmscan_wakeup_kswapd"), 0);
	/* the first success of a direct reclaimer ends that */
	fr->keep_all = false;
	assert_true(weir__try_to_free_pages(&fr->engine, GFP_KERNEL, 0));
	assert_int_equal(n->kswapd_failures, 0);
	fr_eat(fr, mark(fr, WMARK_LOW));
	weir__wakeup_kswapd(&fr->engine, &n->zones[0], GFP_KERNEL, 0, 0);
	assert_int_equal(fr_count(fr, "mm_vmscan_wakeup_kswapd"), 1);
	n->kswapd_running = 0;
}

static void test_balanced_does_nothing(void **state)
{
	struct fakereclaim *fr = *state;

	fr_add_pages(fr, 200, true, false);
	weir__balance_pgdat(&fr->engine, node(fr), 0, 0);
	assert_int_equal(fr->nr_shrink, 0);
	assert_int_equal(stat_of(fr, STAT_pageoutrun), 1);
	assert_int_equal(node(fr)->kswapd_failures, 0);
}

static void expect_boost_pass(struct fakereclaim *fr, struct scan_control *sc)
{
	assert_false(sc->may_writepage);
	assert_false(sc->may_swap);
	assert_true(sc->priority >= DEF_PRIORITY - 2);
}

/* Fragmentation alone neither writes, swaps nor presses. */
static void test_boost_pass(void **state)
{
	struct fakereclaim *fr = *state;
	_Atomic int64_t *size =
	    &node(fr)->lruvec.zone_size[0][LRU_INACTIVE_FILE];
	struct zone *z = &node(fr)->zones[0];

	/* so long a list that its lightest scan is not nothing */
	fr_add_pages(fr, 3000, true, false);
	*size += 16 * 4096;
	z->watermark_boost = 20;
	fr->on_shrink = expect_boost_pass;
	weir__balance_pgdat(&fr->engine, node(fr), 0, 0);
	*size -= 16 * 4096;
	assert_true(fr->nr_freed >= 20);
	assert_true(fr->nr_freed < 200);
	assert_int_equal(z->watermark_boost, 0);

	/* which frees nothing: no second try, and no failure of memory's */
	fr->nr_shrink = 0;
	z->watermark_boost = 20;
	weir__balance_pgdat(&fr->engine, node(fr), 0, 0);
	assert_int_equal(fr->nr_shrink, 0);
	assert_int_equal(z->watermark_boost, 0);
}

static void expect_full_pass(struct fakereclaim *fr, struct scan_control *sc)
{
	assert_true(sc->may_writepage);
	assert_true(sc->may_swap);
}

/* Short of memory as well: the boost is forgotten, the ladder starts anew. */
static void test_boost_gives_way(void **state)
{
	struct fakereclaim *fr = *state;
	struct zone *z = &node(fr)->zones[0];

	fr_add_pages(fr, 2000, true, false);
	fr_eat(fr, mark(fr, WMARK_LOW));
	z->watermark_boost = 20;
	fr->on_shrink = expect_full_pass;
	weir__balance_pgdat(&fr->engine, node(fr), 0, 0);
	assert_int_equal(z->watermark_boost, 0);
	assert_true(nr_free(fr) > mark(fr, WMARK_HIGH));
}

/* After two blocks' worth of pages the order is given up. */
static void test_order_falls_back(void **state)
{
	struct fakereclaim *fr = *state;

	fr_add_pages(fr, 2000, true, false);
	fr_eat(fr, mark(fr, WMARK_LOW));
	assert_int_equal(weir__balance_pgdat(&fr->engine, node(fr), 3, 0), 0);
}

static void test_opens_the_gate(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = node(fr);
	uint32_t word = n->pfmemalloc_wait;

	fr_add_pages(fr, 2000, true, false);
	fr_eat(fr, mark(fr, WMARK_MIN) / 4);
	weir__balance_pgdat(&fr->engine, n, 0, 0);
	assert_int_not_equal(n->pfmemalloc_wait, word);
	assert_true(weir__allow_direct_reclaim(&fr->engine, n));
}

/* Hopeless: asleep although nothing is balanced, and nobody left waiting. */
static void gives_up(struct fakehost *fh, _Atomic uint32_t *word)
{
	struct node *n = node(the);

	assert_ptr_equal(word, &n->kswapd_word);
	assert_false(weir__pgdat_balanced(n, 0, 0));
	assert_true(n->pfmemalloc_wait > 0);
	assert_true(fh->nr_wakes > 0);
	end_kswapd(the);
}

static void test_hopeless_sleeps(void **state)
{
	struct fakereclaim *fr = *state;

	fr_eat(fr, mark(fr, WMARK_MIN));
	node(fr)->kswapd_failures = KSWAPD_FAILURES_MAX;
	node(fr)->pfmemalloc_waiters = 1;
	weir__kswapd_start(&fr->engine);
	fr->host.on_wait = gives_up;
	run_kswapd(fr);
	assert_int_equal(stat_of(fr, STAT_pageoutrun), 0);
}

/* All that it wants is on its way to the disk: it waits. */
static void test_waits_for_writes(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = node(fr);
	uint64_t start = fr->host.now;

	fr_add_pages(fr, 2000, true, false);
	fr_eat(fr, mark(fr, WMARK_LOW));
	fr->keep_all = true;
	n->nr_writeback = mark(fr, WMARK_HIGH) - 1;
	n->lruvec.activate_refault[1] = 1; /* one ladder: no trim mode */
	weir__balance_pgdat(&fr->engine, n, 0, 0);
	/* not enough of them at first: from priority 9 down */
	assert_int_equal(fr->host.now - start, 9 * 100000000ull);
	start = fr->host.now;
	n->nr_writeback = mark(fr, WMARK_HIGH);
	n->lruvec.activate_refault[1] = 2;
	weir__balance_pgdat(&fr->engine, n, 0, 0);
	assert_int_equal(fr->host.now - start, 12 * 100000000ull);
	n->nr_writeback = 0;
}

/* cache_trim_mode made the ladder fail: once more without it. */
static void no_trim_frees(struct fakereclaim *fr, struct scan_control *sc)
{
	fr->keep_all = !sc->no_cache_trim_mode;
}

static void test_without_cache_trim(void **state)
{
	struct fakereclaim *fr = *state;

	fr_add_pages(fr, 2000, true, false);
	fr_eat(fr, mark(fr, WMARK_LOW));
	fr->on_shrink = no_trim_frees;
	weir__balance_pgdat(&fr->engine, node(fr), 0, 0);
	assert_true(nr_free(fr) > mark(fr, WMARK_HIGH));
	assert_int_equal(node(fr)->kswapd_failures, 0);
}

/* --- the end ------------------------------------------------------------- */

static void kswapd_ends(struct fakehost *fh, _Atomic uint32_t *word)
{
	assert_ptr_equal(word, &node(the)->kswapd_running);
	/* asleep, it would be woken by its word */
	assert_true(node(the)->kswapd_word > 0);
	assert_true(fh->nr_wakes > 0);
	run_kswapd(the);
}

static void test_stop(void **state)
{
	struct fakereclaim *fr = *state;

	assert_int_equal(weir__kswapd_start(&fr->engine), 0);
	assert_int_equal(node(fr)->kswapd_running, 1);
	fr->host.on_wait = kswapd_ends;
	weir__kswapd_stop(&fr->engine);
	assert_int_equal(node(fr)->kswapd_running, 0);
}

static void test_start_refused(void **state)
{
	struct fakereclaim *fr = *state;

	fr->host.nr_spawned = FAKE_SPAWN_MAX;
	assert_true(weir__kswapd_start(&fr->engine) < 0);
	assert_int_equal(node(fr)->kswapd_running, 0);
}

/* A forked child has the parent's words, and none of its tasks. */
static void test_forget(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = node(fr);

	n->kswapd_running = n->kswapd_sleeping = 1;
	n->pfmemalloc_waiters = 2;
	n->nr_throttled[THROTTLE_WRITEBACK] = 3;
	weir__kswapd_forget(&fr->engine);
	assert_int_equal(n->kswapd_running, 0);
	assert_int_equal(n->kswapd_sleeping, 0);
	assert_int_equal(n->pfmemalloc_waiters, 0);
	assert_int_equal(n->nr_throttled[THROTTLE_WRITEBACK], 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_one_wake_one_run),
	    T(test_nap),
	    T(test_wakeup_conditions),
	    T(test_balanced_is_above_high),
	    T(test_hopeless_after_16),
	    T(test_balanced_does_nothing),
	    T(test_boost_pass),
	    T(test_boost_gives_way),
	    T(test_order_falls_back),
	    T(test_opens_the_gate),
	    T(test_without_cache_trim),
	    T(test_hopeless_sleeps),
	    T(test_waits_for_writes),
	    T(test_forget),
	    T(test_stop),
	    T(test_start_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
