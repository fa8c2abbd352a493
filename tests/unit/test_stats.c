/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/types.h"

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct engine));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void names_units_and_sentences_come_from_the_table(void **state)
{
	static const char *const units[] = {
	    "pages", "faults", "times", "ns", "objects", "bytes", "nodes"};

	assert_string_equal(weir__stat_name(STAT_pgscan_kswapd),
			    "pgscan_kswapd");
	assert_string_equal(weir__stat_unit(STAT_allocstall), "times");
	assert_string_equal(weir__stat_text(STAT_pgfree), "frames given back");
	for (unsigned i = 0; i < NR_STATS; i++) {
		enum stat_item s = (enum stat_item)i;
		const char *name = weir__stat_name(s);
		bool known = false;

		assert_true(name && name[0]);
		assert_true(weir__stat_text(s)[0]);
		for (unsigned k = 0; k < sizeof(units) / sizeof(*units); k++)
			known |= !strcmp(weir__stat_unit(s), units[k]);
		assert_true(known);
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(
			    name, weir__stat_name((enum stat_item)k));
		/* JSON keys and metric names: nothing to escape */
		for (; *name; name++)
			assert_true((*name >= 'a' && *name <= 'z') ||
				    (*name >= '0' && *name <= '9') ||
				    *name == '_');
	}
	assert_null(weir__stat_name(NR_STATS));
	assert_null(weir__stat_unit(NR_STATS));
	assert_null(weir__stat_text(NR_STATS));
}

/* The names that programs know from /proc/vmstat keep them. */
static void names_of_vmstat_are_there(void **state)
{
	static const char *const vmstat[] = {
	    "nr_inactive_anon",
	    "nr_active_anon",
	    "nr_inactive_file",
	    "nr_active_file",
	    "nr_unevictable",
	    "nr_mlock",
	    "nr_isolated_anon",
	    "nr_isolated_file",
	    "nr_anon_pages",
	    "nr_writeback",
	    "nr_swapcached",
	    "pgscan_kswapd",
	    "pgscan_direct",
	    "pgscan_proactive",
	    "pgscan_anon",
	    "pgscan_file",
	    "pgsteal_kswapd",
	    "pgsteal_direct",
	    "pgsteal_proactive",
	    "pgsteal_anon",
	    "pgsteal_file",
	    "pgrefill",
	    "pgscan_direct_throttle",
	    "pgactivate",
	    "pgdeactivate",
	    "pgrotated",
	    "pglazyfree",
	    "pglazyfreed",
	    "pgfree",
	    "pgreuse",
	    "pageoutrun",
	    "kswapd_low_wmark_hit_quickly",
	    "kswapd_high_wmark_hit_quickly",
	    "oom_kill",
	    "nr_vmscan_write",
	    "nr_vmscan_immediate_reclaim",
	    "nr_throttled_written",
	    "nr_written",
	    "pswpin",
	    "pswpout",
	    "swap_ra",
	    "swap_ra_hit",
	    "swpin_zero",
	    "swpout_zero",
	    "workingset_refault_anon",
	    "workingset_refault_file",
	    "workingset_activate_anon",
	    "workingset_activate_file",
	    "workingset_restore_anon",
	    "workingset_restore_file",
	    "unevictable_pgs_culled",
	    "unevictable_pgs_rescued",
	    "unevictable_pgs_mlocked",
	    "unevictable_pgs_munlocked",
	    "unevictable_pgs_cleared",
	    "unevictable_pgs_stranded",
	    "pgfault",
	    "pgmajfault",
	};

	for (unsigned i = 0; i < sizeof(vmstat) / sizeof(vmstat[0]); i++) {
		unsigned k = 0;

		while (k < NR_STATS &&
		       strcmp(weir__stat_name((enum stat_item)k), vmstat[i]))
			k++;
		if (k == NR_STATS)
			fail_msg("%s is missing", vmstat[i]);
	}
}

static void adding_is_exact_and_apart(void **state)
{
	struct engine *e = *state;

	for (unsigned i = 0; i < NR_STATS; i++)
		assert_int_equal(weir__stat_read(e, (enum stat_item)i), 0);
	weir__stat_add(e, STAT_pgfault, 5);
	weir__stat_inc(e, STAT_pgfault);
	weir__stat_add(e, STAT_nr_mlock, -3);
	weir__stat_add(e, STAT_fault_ns, INT64_C(1) << 40);
	assert_int_equal(weir__stat_read(e, STAT_pgfault), 6);
	assert_int_equal(weir__stat_read(e, STAT_nr_mlock), -3);
	assert_true(weir__stat_read(e, STAT_fault_ns) == INT64_C(1) << 40);
	assert_int_equal(weir__stat_read(e, STAT_pgmajfault), 0);
}

enum { ADDERS = 4, ADDS = 20000 };

static void *adder(void *arg)
{
	struct engine *e = arg;

	for (unsigned i = 0; i < ADDS; i++) {
		weir__stat_add(e, STAT_pgscan_anon, 3);
		weir__stat_add(e, STAT_nr_isolated_anon, i & 1 ? -1 : 1);
	}
	return NULL;
}

static void threads_lose_nothing(void **state)
{
	struct engine *e = *state;
	pthread_t t[ADDERS];

	for (unsigned i = 0; i < ADDERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, adder, e), 0);
	for (unsigned i = 0; i < ADDERS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(weir__stat_read(e, STAT_pgscan_anon),
			 3 * ADDERS * ADDS);
	assert_int_equal(weir__stat_read(e, STAT_nr_isolated_anon), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_units_and_sentences_come_from_the_table),
	    cmocka_unit_test(names_of_vmstat_are_there),
	    cmocka_unit_test_setup_teardown(adding_is_exact_and_apart, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(threads_lose_nothing, setup,
					    teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
