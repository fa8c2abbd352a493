/* SPDX-License-Identifier: MIT */
/* The clock of refault distances turns for pages that went, and for no
 * others: the last step is made to fail. */
#include "world.h"

bool __real_weir__swap_cache_remove_frozen(struct engine *e, struct frame *f,
					   int expected, uint64_t shadow);
bool __wrap_weir__swap_cache_remove_frozen(struct engine *e, struct frame *f,
					   int expected, uint64_t shadow);

static bool refuse;
static unsigned nr_refused;

bool __wrap_weir__swap_cache_remove_frozen(struct engine *e, struct frame *f,
					   int expected, uint64_t shadow)
{
	if (refuse) {
		nr_refused++;
		return false;
	}
	return __real_weir__swap_cache_remove_frozen(e, f, expected, shadow);
}

static void test_nonresident_age(void **state)
{
	struct world_config c = {.slots = 512, .pages = 64};
	struct world *w = world_start(&c);
	struct lruvec *v = &w->e.nodes[0].lruvec;
	uint64_t freed;

	world_fill(w, w->as, 0, 64);
	weir__lru_add_drain_all(&w->e);
	world_age(w->as, 0, 64);
	assert_int_equal(v->nonresident_age, 0);

	refuse = true;
	weir__reclaim_pages(&w->e, 32, -1, &freed);
	assert_int_equal(freed, 0);
	assert_true(nr_refused >= 32);
	assert_int_equal(world_stat(w, STAT_pgsteal_anon), 0);
	/* activations turn it too; there were none */
	assert_int_equal(world_stat(w, STAT_pgactivate), 0);
	assert_int_equal(v->nonresident_age, 0);

	refuse = false;
	weir__reclaim_pages(&w->e, 32, -1, &freed);
	assert_true(freed >= 32);
	assert_int_equal(v->nonresident_age, world_stat(w, STAT_pgsteal_anon));
	world_expect(w, w->as, 0, 64);
	world_stop(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nonresident_age),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
