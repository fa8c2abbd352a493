/* SPDX-License-Identifier: MIT */
/* Tables: columns by name, their units, and what is wrong on a line. */
#include "tracefix.h"

static struct got table(const char *text, const char *columns)
{
	return good(text, strlen(text),
		    (struct trace_options){.columns = columns});
}

static void refused_table(const char *text, const char *columns, int code,
			  const char *words)
{
	refused(
	    text, strlen(text),
	    (struct trace_options){.format = TRACE_FMT_CSV, .columns = columns},
	    code, words);
}

static void usual_names(void **state)
{
	struct got g = table("Time,OP,Address,Size,Pid\n"
			     "0.5,read,0x1fff,2,7\n"
			     "1,WRITE,4096,,8\n",
			     "size=");

	assert_int_equal(g.info.format, TRACE_FMT_CSV);
	assert_true(g.info.has_time);
	assert_false(g.info.has_regions);
	assert_int_equal(g.nr, 2);
	is_touch(&g, 0, 1, 1, TRACE_R); /* size= switched it off */
	assert_int_equal(g.ev[0].time, 500000000);
	assert_int_equal(g.ev[0].pid, 7);
	is_touch(&g, 1, 1, 1, TRACE_W);
	assert_int_equal(g.ev[1].time, 1000000000);
	assert_int_equal(g.ev[1].pid, 8);
	got_free(&g);
}

static void sizes(void **state)
{
	struct got g = table("addr,size\n8191,1\n8191,2\n0,0\n0,4096\n1,4096\n"
			     "18446744073709551615,1\n",
			     NULL);

	assert_int_equal(g.nr, 6);
	is_touch(&g, 0, 1, 1, TRACE_R);
	is_touch(&g, 1, 1, 2, TRACE_R);
	is_touch(&g, 2, 0, 1, TRACE_R);
	is_touch(&g, 3, 0, 1, TRACE_R);
	is_touch(&g, 4, 0, 2, TRACE_R);
	is_touch(&g, 5, UINT64_MAX >> TRACE_PAGE_SHIFT, 1, TRACE_R);
	assert_int_equal(g.ev[0].time, TRACE_TIME_NONE);
	assert_false(g.info.has_time);
	got_free(&g);
	g = table("page,size\n8191,1\n8191,4096\n5,4097\n6,0\n", NULL);
	is_touch(&g, 0, 8191, 1, TRACE_R);
	is_touch(&g, 1, 8191, 1, TRACE_R);
	is_touch(&g, 2, 5, 2, TRACE_R);
	is_touch(&g, 3, 6, 1, TRACE_R);
	got_free(&g);
}

/* A page is a page, also where there is an address. */
static void page_before_address(void **state)
{
	struct got g = table("address,page\n40960,3\n", NULL);

	is_touch(&g, 0, 3, 1, TRACE_R);
	got_free(&g);
	g = table("address,page\n40960,3\n", "address=address");
	is_touch(&g, 0, 10, 1, TRACE_R);
	got_free(&g);
}

static void said_names(void **state)
{
	static const char text[] = "when,what,lba,len\n1,W,5,8192\n";
	struct got g = table(text, "page=lba,op=what,time=when,size=len");

	is_touch(&g, 0, 5, 2, TRACE_W);
	assert_int_equal(g.ev[0].time, 1000000000);
	got_free(&g);
	g = table(text, "address=LBA");
	is_touch(&g, 0, 0, 3, TRACE_R); /* len is a usual name of sizes */
	assert_false(g.info.has_time);
	got_free(&g);
}

static void separators_and_quotes(void **state)
{
	struct got g = table("\xef\xbb\xbf\"page\";\"note\";\"op\"\r\n"
			     "# a comment\r\n"
			     "\r\n"
			     "\"1\";\"a;b \"\"c\"\"\";w\r\n"
			     " 2 ; ;  \"read\" \r\n",
			     NULL);

	assert_int_equal(g.nr, 2);
	is_touch(&g, 0, 1, 1, TRACE_W);
	is_touch(&g, 1, 2, 1, TRACE_R);
	got_free(&g);
	g = table("page\top\n3\tx\n", NULL);
	is_touch(&g, 0, 3, 1, TRACE_X);
	got_free(&g);
	g = table("op|page\nrw|4\n", NULL);
	is_touch(&g, 0, 4, 1, TRACE_R | TRACE_W);
	got_free(&g);
	/* A column behind the last that counts may be missing. */
	g = table("page,note\n3,x\n4\n", NULL);
	assert_int_equal(g.nr, 2);
	got_free(&g);
}

static void words_of_op(void **state)
{
	static const struct {
		const char *word;
		uint8_t access;
	} words[] = {
	    {"r", 1},   {"Read", 1},  {"load", 1},   {"L", 1},    {"get", 1},
	    {"w", 2},   {"WRITE", 2}, {"store", 2},  {"s", 2},    {"set", 2},
	    {"put", 2}, {"x", 4},     {"I", 4},      {"exec", 4}, {"fetch", 4},
	    {"rw", 3},  {"M", 3},     {"modify", 3},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		char text[64];
		struct got g;

		snprintf(text, sizeof(text), "page,op\n1,%s\n", words[i].word);
		g = table(text, NULL);
		is_touch(&g, 0, 1, 1, words[i].access);
		got_free(&g);
	}
}

static void units(void **state)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} names[] = {
	    {"time", 1500000000}, {"time_s", 1500000000},
	    {"time_ms", 1500000}, {"time_us", 1500},
	    {"ts", 1500000000},   {"timestamp", 1500000000},
	    {"time_ns", 1}, /* the fraction is lost */
	};
	char text[64];
	struct got g;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(text, sizeof(text), "page,%s\n1,1.5\n", names[i].name);
		g = table(text, NULL);
		assert_true(g.info.has_time);
		assert_int_equal(g.ev[0].time, names[i].ns);
		got_free(&g);
	}
	g = table("page,When [ms]\n1,1.5\n", "time=When [ms]");
	assert_int_equal(g.ev[0].time, 1500000);
	got_free(&g);
	/* The user's word wins. */
	g = good("page,time_ms\n1,1.5\n", 19,
		 (struct trace_options){.time_unit_ns = 1000});
	assert_int_equal(g.ev[0].time, 1500);
	got_free(&g);
}

static void times_do_not_run_back(void **state)
{
	struct got g = table("page,time\n1,0.000000001\n2,5\n3,4\n4,6\n", NULL);

	assert_int_equal(g.ev[0].time, 1);
	assert_int_equal(g.ev[1].time, 5000000000);
	assert_int_equal(g.ev[2].time, 5000000000);
	assert_int_equal(g.ev[3].time, 6000000000);
	got_free(&g);
}

static void lines_refused(void **state)
{
	static const struct {
		const char *text, *words;
	} bad[] = {
	    {"page,op\n1,r\n2\n", "line 3: '2' where as many columns"},
	    {"op,page\nr\n", "line 2: 'r' where as many columns"},
	    {"page\nx\n", "'x' where a page number"},
	    {"page\n\"1\n", "where a page number"},
	    {"page\n1 2\n", "'1 2' where a page number"},
	    {"page\n,\n", "'' where a page number"},
	    {"page\n18446744073709551616\n", "a number below 2^64"},
	    {"address\n-1\n", "'-1' where an address"},
	    {"page,op\n1,q\n", "'q' where read, write or the like"},
	    {"page,op\n1,\n", "'' where read, write or the like"},
	    {"page,size\n1,big\n", "'big' where a size in bytes"},
	    {"page,pid\n1,4294967296\n", "a number below 2^32"},
	    {"page,pid\n1,a\n", "a process number"},
	    {"page,time\n1,soon\n", "'soon' where a time"},
	    {"page,time\n1,1.\n", "where a time"},
	    {"page,time\n1,-1\n", "where a time"},
	    {"page,time\n1,99999999999999999999\n", "where a time"},
	    {"page,time\n1,18446744074\n", "where a time"},
	    {"address,size\n18446744073709551615,2\n", "ends below 2^64"},
	    {"page,size\n18446744073709551615,4097\n", "below page 2^64"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused_table(bad[i].text, NULL, -EBADMSG, bad[i].words);
}

static void heads_refused(void **state)
{
	refused_table("a,b\n1,2\n", NULL, -EBADMSG,
		      "line 1: 'a,b' where a line of names with a column");
	refused_table("\n\n", NULL, -EBADMSG, "where a line of names");
	refused_table("1,2\n", NULL, -EBADMSG, "where a line of names");
	/* What the user said of the columns is the user's to put right. */
	refused_table("a,b\n1,2\n", "page=c", -EINVAL,
		      "columns 'page=c' of memory: the table has no such");
	refused_table("a,b\n1,2\n", "page", -EINVAL, "WHAT=NAME is needed");
	refused_table("a,b\n1,2\n", "pages=a", -EINVAL, "there are page, ad");
	refused_table("a,b\n1,2\n", "page=a,b", -EINVAL, "columns 'b'");
	refused_table("a,b\n1,2\n", "op=a", -EBADMSG, "a line of names");
	refused_table("page,b\n1,2\n", "page=", -EBADMSG, "a line of names");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(usual_names),
	    cmocka_unit_test(sizes),
	    cmocka_unit_test(page_before_address),
	    cmocka_unit_test(said_names),
	    cmocka_unit_test(separators_and_quotes),
	    cmocka_unit_test(words_of_op),
	    cmocka_unit_test(units),
	    cmocka_unit_test(times_do_not_run_back),
	    cmocka_unit_test(lines_refused),
	    cmocka_unit_test(heads_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
