/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "engine/oom.h"
#include "engine/swap.h"
#include "fakereclaim.h"

#define NR 4

static struct aspace as[NR];

static int setup(void **state)
{
	struct fakereclaim *fr = fr_start(4096, 0, 2048);

	memset(as, 0, sizeof(as));
	fr->engine.oom_lock = 1; /* as the slow path does */
	for (unsigned i = 0; i < NR; i++) {
		as[i].engine = &fr->engine;
		as[i].host = &as[i];
		as[i].nr_anon = 100;
		list_add_tail(&as[i].link, &fr->engine.aspaces);
	}
	*state = fr;
	return 0;
}

static int teardown(void **state)
{
	struct fakereclaim *fr = *state;

	list_init(&fr->engine.aspaces);
	fr_stop(fr);
	return 0;
}

static bool oom(struct fakereclaim *fr)
{
	return weir__out_of_memory(&fr->engine, GFP_KERNEL, 0);
}

static void test_badness(void **state)
{
	struct aspace a = {.nr_anon = 200000,
			   .nr_swapents = 90000,
			   .nr_ptpages = 10000,
			   .oom_score_adj = 200};
	int64_t b = weir__oom_badness(&a, 1000000);

	assert_int_equal(b, 500000);
	assert_int_equal(weir__oom_score(b, 1000000), 1000);

	a.oom_score_adj = 0;
	assert_int_equal(weir__oom_badness(&a, 1000000), 300000);
	a.oom_score_adj = -500; /* below zero, but not out of the question */
	assert_int_equal(weir__oom_badness(&a, 1000000), -200000);
	assert_int_equal(weir__oom_score(-200000, 1000000), 533);
	a.oom_score_adj = -1000;
	assert_true(weir__oom_badness(&a, 1000000) == INT64_MIN);
	assert_int_equal(weir__oom_score(INT64_MIN, 1000000), 0);
}

static void test_largest_loses(void **state)
{
	struct fakereclaim *fr = *state;

	as[1].nr_anon = 50;
	as[1].nr_swapents = 100; /* swapped out is not small */
	assert_true(oom(fr));
	assert_int_equal(fr->host.nr_oom_kills, 1);
	assert_ptr_equal(fr->host.oom_as, &as[1]);
	assert_true(as[1].flags & ASPACE_OOM_VICTIM);
	assert_int_equal(fr_count(fr, "mark_victim"), 1);
	assert_int_equal(weir__stat_read(&fr->engine, STAT_oom_kill), 1);
}

static void test_last_of_equals(void **state)
{
	struct fakereclaim *fr = *state;

	assert_true(oom(fr));
	assert_ptr_equal(fr->host.oom_as, &as[NR - 1]);
}

static void test_adjustment(void **state)
{
	struct fakereclaim *fr = *state;

	/* total = 4096 + 2047 pages: 6 pages for each point */
	as[0].nr_anon = 1000;
	as[1].oom_score_adj = 200; /* 100 + 1200 */
	as[2].nr_anon = 4000;
	as[2].oom_score_adj = -1000;
	assert_true(oom(fr));
	assert_ptr_equal(fr->host.oom_as, &as[1]);
}

static void test_nobody_left(void **state)
{
	struct fakereclaim *fr = *state;

	as[0].oom_score_adj = as[1].oom_score_adj = -1000;
	as[2].flags = ASPACE_DYING;
	as[3].flags = ASPACE_OOM_SKIP;
	assert_false(oom(fr));
	assert_int_equal(fr->host.nr_oom_kills, 0);
	assert_int_equal(weir__stat_read(&fr->engine, STAT_oom_kill), 0);
}

/* The first victim is waited for; after three seconds it is passed over. */
static void test_victim_is_waited_for(void **state)
{
	struct fakereclaim *fr = *state;
	uint64_t start = fr->host.now;
	unsigned calls = 0;

	as[0].nr_anon = 1000;
	while (fr->host.nr_oom_kills < 2) {
		assert_true(oom(fr));
		assert_true(++calls < 10000);
	}
	assert_true(fr->host.now - start > 3000000000ull);
	assert_true(fr->host.now - start < 3100000000ull);
	assert_true(as[0].flags & ASPACE_OOM_SKIP);
	assert_ptr_equal(fr->host.oom_as, &as[NR - 1]);
}

/* It ended: another shortage finds another victim at once. */
static void test_victim_gone(void **state)
{
	struct fakereclaim *fr = *state;

	as[0].nr_anon = 1000;
	assert_true(oom(fr));
	assert_ptr_equal(fr->host.oom_as, &as[0]);
	list_del(&as[0].link);
	assert_true(oom(fr));
	assert_int_equal(fr->host.nr_oom_kills, 2);
}

static int not_now(struct weir_host *h, void *owner)
{
	struct fakehost *fh = container_of(h, struct fakehost, host);

	return fh->now < 10000000000ull ? -EAGAIN : 0;
}

/* The host knows of memory on its way: nobody is marked, however long. */
static void test_host_asks_for_patience(void **state)
{
	struct fakereclaim *fr = *state;
	static struct weir_host_ops ops;

	ops = *fr->host.host.ops;
	ops.oom_kill = not_now;
	fr->host.host.ops = &ops;
	while (fr->host.now < 10000000000ull) {
		assert_true(oom(fr));
		assert_int_equal(as[NR - 1].flags, 0);
	}
	assert_int_equal(weir__stat_read(&fr->engine, STAT_oom_kill), 0);
	assert_true(oom(fr));
	assert_int_equal(as[NR - 1].flags, ASPACE_OOM_VICTIM);
	assert_int_equal(weir__stat_read(&fr->engine, STAT_oom_kill), 1);
}

static void test_nofs_never_kills(void **state)
{
	struct fakereclaim *fr = *state;

	assert_false(weir__out_of_memory(&fr->engine, GFP_NOFS, 0));
	assert_false(weir__out_of_memory(&fr->engine, GFP_NOIO, 0));
	assert_int_equal(fr->host.nr_oom_kills, 0);
}

/* Who is ending gets the reserve instead of a victim. */
static void test_exiting_caller(void **state)
{
	struct fakereclaim *fr = *state;

	fr->host.task.flags |= PF_EXITING;
	assert_true(oom(fr));
	assert_true(fr->host.task.flags & PF_OOM_VICTIM);
	assert_int_equal(fr->host.nr_oom_kills, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_badness),
	    T(test_largest_loses),
	    T(test_last_of_equals),
	    T(test_adjustment),
	    T(test_nobody_left),
	    T(test_victim_is_waited_for),
	    T(test_victim_gone),
	    T(test_host_asks_for_patience),
	    T(test_nofs_never_kills),
	    T(test_exiting_caller),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
