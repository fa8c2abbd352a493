/* SPDX-License-Identifier: MIT */
/* Traces of pages, ARC, lackey and oracleGeneral, and telling formats apart. */
#include <errno.h>

#include "tracefix.h"

#define RW (TRACE_R | TRACE_W)

/* --- pages ------------------------------------------------------------- */

static void pages_forms(void **state)
{
	static const char text[] = "# a comment\n"
				   "7\n"
				   "\n"
				   "0x1F r\n"
				   "  9   w\n"
				   "10,W\n"
				   "11\tRW # and another\n"
				   "12 x\r\n"
				   "18446744073709551615\n"
				   "0xffffffffffffffff\n"
				   "0";
	struct got g = good_text(text, TRACE_FMT_AUTO);

	assert_int_equal(g.info.format, TRACE_FMT_PAGES);
	assert_int_equal(g.nr, 9);
	is_touch(&g, 0, 7, 1, TRACE_R);
	is_touch(&g, 1, 0x1f, 1, TRACE_R);
	is_touch(&g, 2, 9, 1, TRACE_W);
	is_touch(&g, 3, 10, 1, TRACE_W);
	is_touch(&g, 4, 11, 1, RW);
	is_touch(&g, 5, 12, 1, TRACE_X);
	is_touch(&g, 6, UINT64_MAX, 1, TRACE_R);
	is_touch(&g, 7, UINT64_MAX, 1, TRACE_R);
	is_touch(&g, 8, 0, 1, TRACE_R);
	assert_int_equal(g.ev[0].time, TRACE_TIME_NONE);
	assert_int_equal(g.ev[0].pid, TRACE_PID_DEFAULT);
	assert_int_equal(g.ev[0].next, TRACE_NEXT_UNKNOWN);
	assert_false(g.info.has_regions);
	assert_false(g.info.has_time);
	assert_int_equal(g.info.packing, TRACE_PLAIN);
	assert_int_equal(g.info.bytes_read, strlen(text));
	assert_int_equal(g.info.bytes_total, strlen(text));
	got_free(&g);
}

static void pages_refused(void **state)
{
	static const struct {
		const char *text, *words;
	} bad[] = {
	    {"1\n2\nx3\n", "memory, line 3: 'x3' where a page number"},
	    {"-1\n", "line 1: '-1' where a page number"},
	    {"1\n12q\n", "line 2: '12q' where a page number"},
	    {"0x\n", "'0x' where a page number"},
	    {"0xg\n", "'0xg' where a page number"},
	    {"18446744073709551616\n", "where a number below 2^64"},
	    {"0x10000000000000000\n", "where a number below 2^64"},
	    {"1.5\n", "'1.5' where a page number"},
	    {"5 q\n", "line 1: 'q' where r, w, x or rw"},
	    {"5 r 7\n", "line 1: 'r 7' where r, w, x or rw"},
	    {"5 \x01\n", "'\\x01' where r, w, x or rw"},
	    {"1\n\x80\xff\n", "line 2: '\\x80\\xff' where"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused_text(bad[i].text, TRACE_FMT_PAGES, bad[i].words);
}

/* What stands before the mistake is given, and then the mistake. */
static void events_before_an_error(void **state)
{
	struct got g = got_memory(
	    "1\n2\n3\n?\n", 8,
	    (struct trace_options){.format = TRACE_FMT_PAGES}, TRACE_BATCH);

	assert_int_equal(g.nr, 3);
	assert_int_equal(g.rc, -EBADMSG);
	got_free(&g);
}

static void long_lines(void **state)
{
	struct trace_options opt = {.format = TRACE_FMT_PAGES};
	char *text = malloc(300000);

	assert_non_null(text);
	memset(text, '1', 300000);
	memcpy(text, "1\n", 2);
	text[100002] = '\n';
	refused(text, 300000, opt, -EBADMSG,
		"line 2: '1111111111111111111111111111111111111111...' where "
		"a line of at most 65536");
	text[100002] = '1';
	refused(text, 300000, opt, -EBADMSG, "where a line of at most 65536");
	/* Blanks are no matter, up to there. */
	memset(text + 2, ' ', 65530);
	memcpy(text + 2 + 65530, "7\n8\n", 4);
	struct got g = good(text, 2 + 65530 + 4, (struct trace_options){0});

	assert_int_equal(g.nr, 3);
	is_touch(&g, 1, 7, 1, TRACE_R);
	is_touch(&g, 2, 8, 1, TRACE_R);
	got_free(&g);
	free(text);
}

/* Lines that lie across the ends of the window, wherever they fall. */
static void many_lines(void **state)
{
	size_t nr = 150000, len = 0;
	char *text = malloc(nr * 12);
	struct got g;

	assert_non_null(text);
	for (size_t i = 0; i < nr; i++)
		len += (size_t)sprintf(text + len, "%zu %c\n",
				       i * 7919 % 1000003, i % 3 ? 'r' : 'w');
	g = good(text, len, (struct trace_options){0});
	assert_int_equal(g.nr, nr);
	for (size_t i = 0; i < nr; i++)
		is_touch(&g, i, i * 7919 % 1000003, 1,
			 i % 3 ? TRACE_R : TRACE_W);
	got_free(&g);
	free(text);
}

/* --- ARC --------------------------------------------------------------- */

static void arc_forms(void **state)
{
	struct got g = good_text("100 1 0 0\n"
				 "# comment\n"
				 "200 64 0 1\n"
				 "18446744073709551614 2 0 2\n"
				 "  7\t8\r\n"
				 "9 10 11",
				 TRACE_FMT_AUTO);

	assert_int_equal(g.info.format, TRACE_FMT_ARC);
	assert_int_equal(g.nr, 5);
	is_touch(&g, 0, 100, 1, TRACE_R);
	is_touch(&g, 1, 200, 64, TRACE_R);
	is_touch(&g, 2, UINT64_MAX - 1, 2, TRACE_R);
	is_touch(&g, 3, 7, 8, TRACE_R);
	is_touch(&g, 4, 9, 10, TRACE_R);
	assert_false(g.info.has_regions);
	got_free(&g);
}

static void arc_refused(void **state)
{
	static const struct {
		const char *text, *words;
	} bad[] = {
	    {"1 2\n3\n", "line 2: '3' where start and count"},
	    {"1 2 3 4 5\n", "where start and count"},
	    {"1 x\n", "'1 x' where start and count"},
	    {"x 1\n", "where start and count"},
	    {"1 0\n", "'1 0' where a count of at least 1"},
	    {"18446744073709551615 2\n", "where a count of at least 1"},
	    {"18446744073709551616 2\n", "where numbers below 2^64"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused_text(bad[i].text, TRACE_FMT_ARC, bad[i].words);
}

/* --- lackey ------------------------------------------------------------ */

static void lackey_forms(void **state)
{
	struct got g = good_text("==12== Lackey, an example Valgrind tool\n"
				 "--12-- a word of its own\n"
				 "I  04001090,3\n"
				 " L 1ffeffe7e,8\n"
				 " S 04001ffc,8\n"
				 " M 421c000,4\n"
				 "I  ffffffffffffffff,1\n"
				 " L 5000,8193\n"
				 "==12== \n",
				 TRACE_FMT_AUTO);

	assert_int_equal(g.info.format, TRACE_FMT_LACKEY);
	assert_int_equal(g.nr, 6);
	is_touch(&g, 0, 0x4001, 1, TRACE_X);
	is_touch(&g, 1, 0x1ffeff, 1, TRACE_R);
	is_touch(&g, 2, 0x4001, 2, TRACE_W); /* across the end of a page */
	is_touch(&g, 3, 0x421c, 1, RW);
	is_touch(&g, 4, 0xfffffffffffff, 1, TRACE_X);
	is_touch(&g, 5, 5, 3, TRACE_R);
	got_free(&g);
}

static void lackey_refused(void **state)
{
	static const struct {
		const char *text, *words;
	} bad[] = {
	    {" L 10,8\n Q 10,8\n", "line 2: ' Q 10,8' where I, L, S or M"},
	    {"L 10,8\n", "where I, L, S or M"},
	    {" L 10\n", "where I, L, S or M"},
	    {" L 10,\n", "where I, L, S or M"},
	    {" L zz,1\n", "where I, L, S or M"},
	    {" L 10,8 x\n", "where I, L, S or M"},
	    {" L 10,0\n", "an access of at least one byte"},
	    {" L ffffffffffffffff,2\n", "an access of at least one byte"},
	    {" L 10000000000000000,2\n", "where I, L, S or M"},
	    {"I  10,1\nhello, world\n", "line 2: 'hello, world'"},
	    {"I\n", "'I' where"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused_text(bad[i].text, TRACE_FMT_LACKEY, bad[i].words);
}

/* --- oracleGeneral ----------------------------------------------------- */

static void put_record(uint8_t *p, uint32_t time, uint64_t id, uint32_t size,
		       int64_t next)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(time >> 8 * i);
	for (int i = 0; i < 8; i++)
		p[4 + i] = (uint8_t)(id >> 8 * i);
	for (int i = 0; i < 4; i++)
		p[12 + i] = (uint8_t)(size >> 8 * i);
	for (int i = 0; i < 8; i++)
		p[16 + i] = (uint8_t)((uint64_t)next >> 8 * i);
}

#define SECOND UINT64_C(1000000000)

static void oracle_fields(void **state)
{
	uint8_t data[6 * 24];
	struct got g;

	put_record(data, 5, 0x1122334455667788, 4096, 2);
	put_record(data + 24, 6, 9, 1, -1);
	put_record(data + 48, 4, 0x1122334455667788, 0, INT64_MAX);
	put_record(data + 72, 4294967295u, UINT64_MAX, UINT32_MAX, 3);
	put_record(data + 96, 4294967295u, 0, 1, 0);
	put_record(data + 120, 4294967295u, 1, 1, 6);
	g = good(data, sizeof(data),
		 (struct trace_options){.format = TRACE_FMT_ORACLE});
	assert_true(g.info.has_time);
	assert_false(g.info.has_regions);
	assert_int_equal(g.nr, 6);
	is_touch(&g, 0, 0x1122334455667788, 1, TRACE_R);
	assert_int_equal(g.ev[0].time, 5 * SECOND);
	assert_int_equal(g.ev[0].next, 2);
	is_touch(&g, 1, 9, 1, TRACE_R);
	assert_int_equal(g.ev[1].next, TRACE_NEVER);
	assert_int_equal(g.ev[2].next, TRACE_NEVER);
	assert_int_equal(g.ev[2].time, 6 * SECOND); /* does not run back */
	is_touch(&g, 3, UINT64_MAX, 1, TRACE_R);
	assert_int_equal(g.ev[3].time, 4294967295 * SECOND);
	/* Not behind the record itself: nothing can be said. */
	assert_int_equal(g.ev[3].next, TRACE_NEXT_UNKNOWN);
	assert_int_equal(g.ev[4].next, TRACE_NEXT_UNKNOWN);
	assert_int_equal(g.ev[5].next, 6);
	got_free(&g);
}

static void oracle_cut_off(void **state)
{
	uint8_t data[20 * 24];
	struct trace_options opt = {.format = TRACE_FMT_ORACLE};
	struct got g;

	for (int i = 0; i < 20; i++)
		put_record(data + 24 * i, (uint32_t)i, 7, 1, -1);
	for (size_t len = 1; len <= sizeof(data); len++) {
		g = got_memory(data, len, opt, TRACE_BATCH);
		assert_int_equal(g.nr, len / 24);
		assert_int_equal(g.rc, len % 24 ? -EBADMSG : 0);
		got_free(&g);
	}
	refused(data, 100, opt, -EBADMSG,
		"memory, byte 96: a record of 24 bytes is cut off after 4");
	refused(data, sizeof(data) - 1, (struct trace_options){0}, -EBADMSG,
		"byte 456: a record of 24 bytes is cut off after 23");
}

/* Records that lie across the ends of the window: 24 does not divide it. */
static void oracle_many(void **state)
{
	size_t nr = 40000;
	uint8_t *data = malloc(nr * 24);
	struct got g;

	assert_non_null(data);
	for (size_t i = 0; i < nr; i++)
		put_record(data + 24 * i, (uint32_t)(i / 100), i * 7919, 4096,
			   i + 5 < nr ? (int64_t)i + 5 : -1);
	g = good(data, nr * 24, (struct trace_options){0});
	assert_int_equal(g.info.format, TRACE_FMT_ORACLE);
	assert_int_equal(g.nr, nr);
	for (size_t i = 0; i < nr; i++) {
		is_touch(&g, i, i * 7919, 1, TRACE_R);
		assert_int_equal(g.ev[i].time, i / 100 * SECOND);
		assert_int_equal(g.ev[i].next,
				 i + 5 < nr ? (int64_t)i + 5 : TRACE_NEVER);
	}
	got_free(&g);
	free(data);
}

/* --- which is which ------------------------------------------------------ */

static void formats_are_told_apart(void **state)
{
	static const struct {
		const char *text;
		enum trace_format format; /* AUTO: it cannot be told */
	} texts[] = {
	    {"1\n", TRACE_FMT_PAGES},
	    {"0x1\n", TRACE_FMT_PAGES},
	    {"1 r\n", TRACE_FMT_PAGES},
	    {"1,w\n", TRACE_FMT_PAGES},
	    {"# pages\n\n1\n2\n", TRACE_FMT_PAGES},
	    {"1 2\n", TRACE_FMT_ARC},
	    {"1 2 0 1", TRACE_FMT_ARC},
	    {" L 10,1\n", TRACE_FMT_LACKEY},
	    {"I  10,1\n", TRACE_FMT_LACKEY},
	    {"==1== Lackey\n", TRACE_FMT_LACKEY},
	    {"page\n1\n", TRACE_FMT_CSV},
	    {"time,op,addr\n1,r,2\n", TRACE_FMT_CSV},
	    {"\"Time\";\"Address\"\n1;2\n", TRACE_FMT_CSV},
	    {"weir-trace 1\nend\n", TRACE_FMT_TEXT},
	    {"", TRACE_FMT_AUTO},
	    {"\n\n", TRACE_FMT_AUTO},
	    {"hello\n", TRACE_FMT_AUTO},
	    {"1 2 3 4 5\n", TRACE_FMT_AUTO},
	    {"1\n2 3\n", TRACE_FMT_AUTO}, /* neither pages nor ARC */
	    {"a,b,c\n1,2,3\n", TRACE_FMT_AUTO},
	    {"{\"page\": 1}\n", TRACE_FMT_AUTO},
	    {"\x7f"
	     "ELF\x02\x01\x01\x00 and more of it",
	     TRACE_FMT_AUTO},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct got g = got_memory(texts[i].text, strlen(texts[i].text),
					  (struct trace_options){0}, 1);

		if (texts[i].format == TRACE_FMT_AUTO
			? g.rc != -EBADMSG
			: g.rc || g.info.format != texts[i].format)
			fail_msg("'%s': %d, %s, %s", texts[i].text, g.rc,
				 trace_format_name(g.info.format), g.err.text);
		got_free(&g);
	}
}

static void empty_is_no_trace(void **state)
{
	for (int f = 0; f < NR_TRACE_FORMATS; f++)
		refused("", 0,
			(struct trace_options){.format = (enum trace_format)f},
			-EBADMSG, "memory: empty, where a trace is expected");
}

/* What cannot be text and has no sense as oracleGeneral. */
static void noise_is_no_trace(void **state)
{
	uint8_t data[4096];
	uint32_t x = 1;

	for (size_t i = 0; i < sizeof(data); i++) {
		x = x * 1664525 + 1013904223;
		data[i] = (uint8_t)(x >> 24);
	}
	data[0] = 1;
	refused(data, sizeof(data), (struct trace_options){0}, -EBADMSG,
		"the format cannot be told");
}

static void format_names(void **state)
{
	enum trace_format f;

	for (int i = 0; i < NR_TRACE_FORMATS; i++) {
		assert_int_equal(trace_format_parse(trace_format_name(i), &f),
				 0);
		assert_int_equal(f, i);
	}
	assert_int_equal(trace_format_parse("ORACLEgeneral", &f), 0);
	assert_int_equal(f, TRACE_FMT_ORACLE);
	assert_int_equal(trace_format_parse("", &f), -EINVAL);
	assert_int_equal(trace_format_parse("page", &f), -EINVAL);
	assert_int_equal(trace_format_parse("pagess", &f), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pages_forms),
	    cmocka_unit_test(pages_refused),
	    cmocka_unit_test(events_before_an_error),
	    cmocka_unit_test(long_lines),
	    cmocka_unit_test(many_lines),
	    cmocka_unit_test(arc_forms),
	    cmocka_unit_test(arc_refused),
	    cmocka_unit_test(lackey_forms),
	    cmocka_unit_test(lackey_refused),
	    cmocka_unit_test(oracle_fields),
	    cmocka_unit_test(oracle_cut_off),
	    cmocka_unit_test(oracle_many),
	    cmocka_unit_test(formats_are_told_apart),
	    cmocka_unit_test(empty_is_no_trace),
	    cmocka_unit_test(noise_is_no_trace),
	    cmocka_unit_test(format_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
