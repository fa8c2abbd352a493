/* SPDX-License-Identifier: MIT */
/* The gate of the reserve, where direct reclaimers wait for kswapd. */
#include "engine/vmscan.h"
#include "world.h"

static unsigned waits;

static void count_wait(struct world *w)
{
	if (++waits > 5)
		w->e.stopping = 1; /* or for ever */
}

static bool passes(struct world *w)
{
	waits = 0;
	w->on_wait = count_wait;
	weir__throttle_direct_reclaim(&w->e, GFP_KERNEL);
	w->on_wait = NULL;
	w->e.stopping = 0;
	return !waits;
}

static struct world *start(void)
{
	struct world_config c = {
	    .zone = {103, 208}, .slots = 1024, .pages = 150};
	struct world *w = world_start(&c);

	/* pages of the program in both zones */
	world_fill(w, w->as, 0, 150);
	world_eat(w, world_zone(w, 1), 0);
	weir__lru_add_drain_all(&w->e);
	w->e.nodes[0].kswapd_running = 1;
	return w;
}

/* Below half of the min marks it is shut; above, open. */
static void test_gate_half_of_min(void **state)
{
	struct world *w = start();
	uint64_t half = (weir__wmark(world_zone(w, 0), WMARK_MIN) +
			 weir__wmark(world_zone(w, 1), WMARK_MIN)) /
			2;

	world_fill(w, w->as, 150 - 1, 1);
	assert_true(passes(w));
	world_eat(w, world_zone(w, 0), (int64_t)half - 4);
	assert_true(weir__zone_reclaimable(&w->e, world_zone(w, 1)) > 0);
	assert_false(passes(w));
	w->e.nodes[0].kswapd_failures = KSWAPD_FAILURES_MAX;
	assert_true(passes(w)); /* nobody to wait for */
	w->e.nodes[0].kswapd_failures = 0;
	world_stop(w);
}

/* A balanced node lets everybody pass, whatever the sum over its zones: its
 * kswapd sleeps. */
static void test_gate_of_a_balanced_node(void **state)
{
	struct world *w = start();
	struct zone *z = world_zone(w, 0);
	int64_t high = (int64_t)weir__wmark(z, WMARK_HIGH);
	int64_t half = (int64_t)(weir__wmark(z, WMARK_MIN) +
				 weir__wmark(world_zone(w, 1), WMARK_MIN)) /
		       2;

	assert_true(half > high);
	world_eat(w, z, high + 1);
	assert_false(weir__allow_direct_reclaim(&w->e, &w->e.nodes[0]) &&
		     weir__zone_reclaimable(&w->e, z) > 0);
	assert_true(weir__pgdat_balanced(&w->e.nodes[0], 0, 1));
	assert_true(passes(w));
	world_eat(w, z, high);
	assert_false(passes(w));
	world_stop(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_gate_half_of_min),
	    cmocka_unit_test(test_gate_of_a_balanced_node),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
