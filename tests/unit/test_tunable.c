/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "engine/types.h"

static void defaults_are_those_of_the_table(void **state)
{
	struct tunables t;

	memset(&t, 0xa5, sizeof(t));
	weir__tunables_default(&t);
#define X(name, def, lo, hi, unit, text) assert_int_equal(t.name, def);
#include "engine/tunable.def"
#undef X
	/* The kernel's, by hand: a slip in the table shows here. */
	assert_int_equal(t.swappiness, 60);
	assert_int_equal(t.watermark_scale_factor, 10);
	assert_int_equal(t.page_cluster, 3);
	assert_int_equal(t.batch_size, 31);
	assert_int_equal(t.cluster_max, 32);
}

static void every_entry_is_whole(void **state)
{
	for (unsigned i = 0; i < NR_TUNABLES; i++) {
		const struct tunable_info *in =
		    weir__tunable_info((enum tunable_id)i);

		assert_non_null(in);
		assert_true(in->name[0] && in->text[0]);
		assert_non_null(in->unit);
		assert_true(in->lo <= in->def && in->def <= in->hi);
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(
			    in->name,
			    weir__tunable_info((enum tunable_id)k)->name);
	}
	assert_null(weir__tunable_info(NR_TUNABLES));
	assert_string_equal(weir__tunable_info(TUN_swappiness)->name,
			    "swappiness");
}

static void set_by_name_reaches_that_one_only(void **state)
{
	for (unsigned i = 0; i < NR_TUNABLES; i++) {
		const struct tunable_info *in =
		    weir__tunable_info((enum tunable_id)i);
		struct tunables t;

		memset(&t, 0, sizeof(t));
		assert_int_equal(weir__tunable_set(&t, in->name, in->hi), 0);
		for (unsigned k = 0; k < NR_TUNABLES; k++)
			assert_int_equal(
			    weir__tunable_get(&t, (enum tunable_id)k),
			    k == i ? in->hi : 0);
		assert_int_equal(weir__tunable_set(&t, in->name, in->lo), 0);
		assert_int_equal(weir__tunable_get(&t, (enum tunable_id)i),
				 in->lo);
	}
}

static void dashes_are_underscores(void **state)
{
	struct tunables t;

	weir__tunables_default(&t);
	assert_int_equal(weir__tunable_set(&t, "watermark-scale-factor", 77),
			 0);
	assert_int_equal(t.watermark_scale_factor, 77);
	assert_int_equal(weir__tunable_set(&t, "watermark_scale-factor", 78),
			 0);
	assert_int_equal(t.watermark_scale_factor, 78);
}

static void unknown_names_are_refused(void **state)
{
	static const char *const names[] = {
	    "", "swap", "swappinesss", "Swappiness", "-", "swappiness_"};
	struct tunables t, before;

	weir__tunables_default(&t);
	before = t;
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(weir__tunable_set(&t, names[i], 1), -ENOENT);
	assert_memory_equal(&t, &before, sizeof(t));
}

static void values_out_of_bounds_change_nothing(void **state)
{
	for (unsigned i = 0; i < NR_TUNABLES; i++) {
		const struct tunable_info *in =
		    weir__tunable_info((enum tunable_id)i);
		struct tunables t, before;

		weir__tunables_default(&t);
		before = t;
		assert_int_equal(weir__tunable_set(&t, in->name, in->hi + 1),
				 -ERANGE);
		if (in->lo)
			assert_int_equal(
			    weir__tunable_set(&t, in->name, in->lo - 1),
			    -ERANGE);
		assert_int_equal(weir__tunable_set(&t, in->name, UINT64_MAX),
				 -ERANGE);
		assert_memory_equal(&t, &before, sizeof(t));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(defaults_are_those_of_the_table),
	    cmocka_unit_test(every_entry_is_whole),
	    cmocka_unit_test(set_by_name_reaches_that_one_only),
	    cmocka_unit_test(dashes_are_underscores),
	    cmocka_unit_test(unknown_names_are_refused),
	    cmocka_unit_test(values_out_of_bounds_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
