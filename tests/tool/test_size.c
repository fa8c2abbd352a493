/* SPDX-License-Identifier: MIT */
/* Sizes: every form that is accepted, its edges, and what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tool/tool.h"

static void accepts(const char *text, uint64_t whole, uint64_t bytes)
{
	const char *why;
	uint64_t v = 0;

	if (size_parse(text, whole, &v, &why))
		fail_msg("'%s' refused: %s", text, why);
	if (v != bytes)
		fail_msg("'%s' is %llu", text, (unsigned long long)v);
}

static void refuses(const char *text, uint64_t whole, int error)
{
	uint64_t v = 77;
	const char *why = NULL;

	if (size_parse(text, whole, &v, &why) != error)
		fail_msg("'%s' gave %llu", text, (unsigned long long)v);
	assert_non_null(why);
}

static void plain(void **state)
{
	accepts("0", 0, 0);
	accepts("1", 0, 1);
	accepts("4096B", 0, 4096);
	accepts("9223372036854775807", 0, INT64_MAX);
	refuses("9223372036854775808", 0, -ERANGE);
	refuses("99999999999999999999999999", 0, -ERANGE);
}

static void units(void **state)
{
	static const char *const texts[4][4] = {
		{"3K", "3KB", "3KiB", "3Kb"},
		{"3M", "3MB", "3MiB", "3Mb"},
		{"3G", "3GB", "3GiB", "3Gb"},
		{"3T", "3TB", "3TiB", "3Tb"},
	};

	for (unsigned i = 0; i < 4; i++)
		for (unsigned k = 0; k < 4; k++)
			accepts(texts[i][k], 0, UINT64_C(3) << 10 * (i + 1));
	accepts("3k", 0, 3072);
	accepts("3kiB", 0, 3072);
	accepts("8388607T", 0, UINT64_C(8388607) << 40);
	refuses("8388608T", 0, -ERANGE);
}

static void fractions(void **state)
{
	accepts("1.5K", 0, 1536);
	accepts("0.5M", 0, 512 << 10);
	accepts("1.25G", 0, UINT64_C(5) << 28);
	accepts("2.000000000000000000001K", 0, 2048);
	accepts("12.5%", 800, 100);
}

static void percent(void **state)
{
	accepts("0%", 1000, 0);
	accepts("10%", 1000, 100);
	accepts("100%", UINT64_C(1) << 46, UINT64_C(1) << 46);
	refuses("101%", 1000, -ERANGE);
	refuses("100.1%", 1000, -ERANGE);
	refuses("10%", 0, -EINVAL);
	refuses("10%%", 1000, -EINVAL);
}

static void garbage(void **state)
{
	static const char *const bad[] = {
		"", " ", "K", "-1", "+1", "1 K", "K1", "1KK", "1KiBB", "1Ki",
		"1P", "1.", ".5K", "1..5K", "1,5K", "0x10", "1e3", "1K ", "%",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuses(bad[i], 1000, -EINVAL);
}

static void numbers(void **state)
{
	uint64_t v;

	assert_int_equal(number_parse("0", &v), 0);
	assert_int_equal(number_parse("18446744073709551609", &v), 0);
	assert_int_equal(number_parse("", &v), -EINVAL);
	assert_int_equal(number_parse("-1", &v), -EINVAL);
	assert_int_equal(number_parse("1x", &v), -EINVAL);
	assert_int_equal(number_parse("99999999999999999999", &v), -ERANGE);
}

static void formats(void **state)
{
	char buf[SIZE_TEXT];

	assert_string_equal(size_format(0, buf, sizeof(buf)), "0 bytes");
	assert_string_equal(size_format(1023, buf, sizeof(buf)), "1023 bytes");
	assert_string_equal(size_format(1536, buf, sizeof(buf)), "1.5 KiB");
	assert_string_equal(size_format(UINT64_C(64) << 20, buf, sizeof(buf)),
			    "64.0 MiB");
	size_format(UINT64_MAX, buf, sizeof(buf));
	assert_true(strlen(buf) < SIZE_TEXT - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),   cmocka_unit_test(units),
		cmocka_unit_test(fractions), cmocka_unit_test(percent),
		cmocka_unit_test(garbage), cmocka_unit_test(numbers),
		cmocka_unit_test(formats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
