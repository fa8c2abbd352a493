/* SPDX-License-Identifier: MIT */
/* weir's binary trace, and the writer of both: what goes in comes out. */
#include "tracegen.h"

struct bytes {
	char *data;
	size_t len;
};

/* Writes n random events, and keeps what it wrote in *wrote. */
static struct bytes write_random(uint64_t seed, size_t n,
				 struct trace_info info, struct got *wrote)
{
	struct trace_event last = {.time = info.has_time ? 0 : TRACE_TIME_NONE,
				   .pid = TRACE_PID_DEFAULT};
	struct trace_writer *w;
	struct bytes b;
	FILE *f = open_memstream(&b.data, &b.len);

	assert_int_equal(trace_writer_open(&w, f, &info), 0);
	for (size_t i = 0; i < n; i++) {
		last = tracegen_event(&seed, &last);
		got_add(wrote, &last);
		if (trace_write(w, &last, 1))
			fail_msg("event %zu, op %u, is refused", i, last.op);
	}
	assert_int_equal(trace_writer_close(w), 0);
	fclose(f);
	return b;
}

static void both_ways(enum trace_format format, bool regions, bool time)
{
	struct trace_info info = {
	    .format = format, .has_regions = regions, .has_time = time};

	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct got wrote = {0}, got;
		struct bytes b = write_random(seed * 1000, 3000, info, &wrote);

		got = good(b.data, b.len, (struct trace_options){0});
		assert_int_equal(got.info.format, format);
		assert_int_equal(got.info.has_regions, regions);
		assert_int_equal(got.info.has_time, time);
		assert_same(&got, &wrote);
		got_free(&got);
		got_free(&wrote);
		free(b.data);
	}
}

static void binary_both_ways(void **state)
{
	both_ways(TRACE_FMT_BINARY, true, false);
	both_ways(TRACE_FMT_BINARY, false, true);
}

static void text_both_ways(void **state)
{
	both_ways(TRACE_FMT_TEXT, true, true);
	both_ways(TRACE_FMT_TEXT, false, false);
}

/* Longer than any window, read twice; and a mistake far behind its first. */
static void long_ones(void **state)
{
	struct trace_info info = {.format = TRACE_FMT_BINARY};
	struct trace_options opt = {0};
	struct got wrote = {0}, got = {0};
	struct bytes b = write_random(5, 150000, info, &wrote);
	struct trace_event ev[TRACE_BATCH];
	struct trace_error err;
	struct trace_reader *r;
	char place[80];

	assert_true(b.len > 1 << 20);
	assert_int_equal(trace_open_memory(&r, b.data, b.len, &opt, &err), 0);
	for (int i = 0; i < 400; i++)
		assert_true(trace_read(r, ev, TRACE_BATCH) > 0);
	assert_int_equal(trace_rewind(r), 0);
	got_read(&got, r, TRACE_BATCH);
	assert_same(&got, &wrote);
	got_free(&got);
	assert_int_equal(trace_rewind(r), 0);
	got_read(&got, r, TRACE_BATCH);
	assert_same(&got, &wrote);
	trace_close(r);
	/* Where the end was, is no record. */
	b.data[b.len - 12] = 0x7f;
	snprintf(place, sizeof(place), "memory, byte %zu: tag 0x7f",
		 b.len - 12);
	refused(b.data, b.len, opt, -EBADMSG, place);
	got_free(&got);
	got_free(&wrote);
	free(b.data);
}

/* Every op must have been among them. */
static void generator_knows_every_op(void **state)
{
	struct trace_event last = {.time = 0};
	bool seen[NR_TRACE_OPS] = {false};
	uint64_t seed = 1;

	for (int i = 0; i < 10000; i++) {
		last = tracegen_event(&seed, &last);
		seen[last.op] = true;
	}
	for (int op = 0; op < NR_TRACE_OPS; op++)
		if (!seen[op])
			fail_msg("op %d is never made", op);
}

static struct bytes small(void)
{
	struct got wrote = {0};
	struct bytes b = write_random(
	    7, 120,
	    (struct trace_info){.format = TRACE_FMT_BINARY, .has_time = true},
	    &wrote);

	got_free(&wrote);
	return b;
}

static void cut_off_anywhere(void **state)
{
	struct trace_options opt = {.format = TRACE_FMT_BINARY};
	struct bytes b = small();

	for (size_t len = 0; len < b.len; len++) {
		struct got g = got_memory(b.data, len, opt, TRACE_BATCH);

		if (g.rc != -EBADMSG)
			fail_msg("%zu of %zu bytes: %d", len, b.len, g.rc);
		got_free(&g);
	}
	refused(b.data, b.len - 1, opt, -EBADMSG,
		"the trace is cut off: its end is missing");
	free(b.data);
}

static void damaged_anywhere(void **state)
{
	struct trace_options opt = {.format = TRACE_FMT_BINARY};
	struct bytes b = small();

	for (size_t i = 0; i < b.len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			struct got g;

			b.data[i] ^= (char)(1 << bit);
			g = got_memory(b.data, b.len, opt, TRACE_BATCH);
			if (g.rc != -EBADMSG)
				fail_msg("byte %zu, bit %u: %d", i, bit, g.rc);
			got_free(&g);
			b.data[i] ^= (char)(1 << bit);
		}
	free(b.data);
}

static void something_behind(void **state)
{
	struct trace_options opt = {.format = TRACE_FMT_BINARY};
	struct bytes b = small();
	char *more = malloc(b.len + 1), place[32];

	assert_non_null(more);
	memcpy(more, b.data, b.len);
	more[b.len] = 0;
	snprintf(place, sizeof(place), "byte %zu: bytes behind", b.len);
	refused(more, b.len + 1, opt, -EBADMSG, place);
	free(more);
	free(b.data);
}

#define HEAD "\x89WEIR\r\n\x1a\x01\x00\0\0\0\0\0\0"

/* Records that no writer writes; the checksum is not reached. */
static void records_refused(void **state)
{
	static const struct {
		const char *record;
		size_t len;
		const char *words;
	} bad[] = {
	    {"\x04", 1, "byte 16: tag 0x04, where that of a record"},
	    {"\x0f", 1, "tag 0x0f"},
	    {"\x10", 1, "tag 0x10"}, /* a touch has tags of its own */
	    {"\x7f", 1, "tag 0x7f"},
	    {"\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11,
	     "byte 16: a number of more than 64 bits"},
	    {"\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00", 12,
	     "a number of more than 64 bits"},
	    {"\x02\xff\xff\xff\xff\x1f", 6, "a process number out of"},
	    {"\x03\x80\x80\x04", 4, "a CPU number out of range"},
	    {"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11,
	     "a time out of range"},
	    {"\x01\x05\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13,
	     "byte 18: a time out of range"},
	    {"\x84\x01", 2, "an event before the first time"},
	    {"\x98\x02\x00\x00", 4, "a touch without at least one page"},
	    {"\x98\x02\x02\x02", 4, "byte"}, /* cut off behind it */
	    {"\x98\x01\x02\x02", 4, "a touch without pages within"},
	    {"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00", 10,
	     "the checksum is wrong"},
	    {"\x00\x00", 2, "the trace is cut off"},
	    {"", 0, "byte 16: the trace is cut off: its end is missing"},
	    {"\x8b", 1, "cut off"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char data[64] = HEAD;

		memcpy(data + 16, bad[i].record, bad[i].len);
		refused(data, 16 + bad[i].len, (struct trace_options){0},
			-EBADMSG, bad[i].words);
	}
}

/* An op's record, wrong in one field. */
static void fields_refused(void **state)
{
	char data[64] = HEAD;
	struct trace_options opt = {0};

	data[16] = 0x10 + TRACE_MMAP;
	memcpy(data + 17, "\x01\x00\x03\x00\x00\x00", 6);
	refused(data, 23, opt, -EBADMSG,
		"byte 16: 'mmap' without at least one page");
	memcpy(data + 17, "\x01\x01\x08\x00\x00\x00", 6);
	refused(data, 23, opt, -EBADMSG, "'mmap' without r, w, x or -");
	memcpy(data + 17, "\x01\x01\x03\x00\x00\x10", 6);
	refused(data, 23, opt, -EBADMSG, "'mmap' without flags that this");
	memcpy(data + 17, "\x01\x01\x80\x02\x00\x00", 6);
	refused(data, 23, opt, -EBADMSG, "more than 64 bits");
	data[16] = 0x10 + TRACE_MADVISE;
	memcpy(data + 17, "\x01\x01\x7f", 3);
	refused(data, 20, opt, -EBADMSG, "'madvise' without a kind there is");
	data[16] = 0x10 + TRACE_CLOSE;
	data[17] = 0;
	refused(data, 18, opt, -EBADMSG, "'close' without a number from 1");
	data[16] = 0x10 + TRACE_SET;
	memcpy(data + 17,
	       "\x03"
	       "a b"
	       "\x01",
	       5);
	refused(data, 22, opt, -EBADMSG, "'set' without a name without blanks");
	memcpy(data + 17, "\x00\x01", 2);
	refused(data, 19, opt, -EBADMSG, "'set' without a name");
	data[16] = 0x10 + TRACE_OPEN;
	memcpy(data + 17,
	       "\x01\x01\x03"
	       "shm"
	       "\x00",
	       7);
	refused(data, 24, opt, -EBADMSG, "a name that is no flag");
	data[16] = 0x10 + TRACE_MARK;
	memcpy(data + 17,
	       "\x03"
	       "a\nb",
	       4);
	refused(data, 21, opt, -EBADMSG, "'mark' without a line of text");
	memcpy(data + 17,
	       "\x03"
	       "a\0b",
	       4);
	refused(data, 21, opt, -EBADMSG, "'mark' without a line of text");
	data[16] = 0x10 + NR_TRACE_OPS;
	refused(data, 20, opt, -EBADMSG, "where that of a record is expected");
}

static void heads_refused(void **state)
{
	char data[64] = HEAD;
	struct trace_options opt = {.format = TRACE_FMT_BINARY};

	refused("hello", 5, opt, -EBADMSG,
		"byte 0: the head of a binary trace is expected");
	refused(data, 15, opt, -EBADMSG, "byte 0: the head");
	data[8] = 2;
	refused(data, 16, opt, -EBADMSG, "byte 8: version 2, where 1 is");
	data[8] = 1;
	data[9] = 4;
	refused(data, 16, opt, -EBADMSG, "byte 9: flags that version 1");
	data[9] = 0;
	data[15] = 1;
	refused(data, 16, opt, -EBADMSG, "byte 9: flags that version 1");
	data[15] = 0;
	data[9] = 2; /* timed */
	data[16] = (char)0x90;
	data[17] = 2;
	refused(data, 18, opt, -EBADMSG, "an event before the first time");
	data[16] = 0x10 + TRACE_EXIT;
	refused(data, 17, opt, -EBADMSG, "an event before the first time");
}

static void wrong_events_are_not_written(void **state)
{
	static const struct trace_event bad[] = {
	    {.op = TRACE_TOUCH, .nr = 0, .access = TRACE_R},
	    {.op = TRACE_TOUCH, .nr = 1, .access = 0},
	    {.op = TRACE_TOUCH, .nr = 1, .access = TRACE_R | TRACE_X},
	    {.op = TRACE_TOUCH, .nr = 1, .access = TRACE_R, .flags = 1},
	    {.op = TRACE_TOUCH,
	     .page = UINT64_MAX,
	     .nr = 2,
	     .stride = 1,
	     .access = TRACE_R},
	    {.op = NR_TRACE_OPS},
	    {.op = TRACE_EXIT, .flags = TRACE_F_SHARED},
	    {.op = TRACE_MMAP, .nr = 0},
	    {.op = TRACE_CLOSE, .file = 0},
	    {.op = TRACE_KALLOC, .kind = NR_TRACE_GFPS},
	    {.op = TRACE_SET, .value = 1},
	    {.op = TRACE_SET, .text = "a b", .text_len = 3},
	    {.op = TRACE_SET, .text = "ab", .text_len = 3},
	    {.op = TRACE_SET, .text = "abc", .text_len = 2},
	    {.op = TRACE_MARK, .text = " a", .text_len = 2},
	    {.op = TRACE_MARK, .text = "a\nb", .text_len = 3},
	};
	struct trace_info info = {.format = TRACE_FMT_BINARY};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		FILE *f = fopen("/dev/null", "w");
		struct trace_event ev = bad[i];
		struct trace_writer *w;

		ev.time = TRACE_TIME_NONE;
		assert_int_equal(trace_writer_open(&w, f, &info), 0);
		if (trace_write(w, &ev, 1) != -EINVAL)
			fail_msg("event %zu is written", i);
		/* The error stays: nothing more comes of this trace. */
		ev = (struct trace_event){.op = TRACE_EXIT,
					  .time = TRACE_TIME_NONE};
		assert_int_equal(trace_write(w, &ev, 1), -EINVAL);
		assert_int_equal(trace_writer_close(w), -EINVAL);
		fclose(f);
	}
}

static void times_are_checked(void **state)
{
	struct trace_info info = {.format = TRACE_FMT_TEXT, .has_time = true};
	struct trace_event ev = {.op = TRACE_EXIT, .time = TRACE_TIME_NONE};
	FILE *f = fopen("/dev/null", "w");
	struct trace_writer *w;

	assert_int_equal(trace_writer_open(&w, f, &info), 0);
	assert_int_equal(trace_write(w, &ev, 1), -EINVAL);
	trace_writer_close(w);
	assert_int_equal(trace_writer_open(&w, f, &info), 0);
	ev.time = 5;
	assert_int_equal(trace_write(w, &ev, 1), 0);
	assert_int_equal(trace_write(w, &ev, 1), 0);
	ev.time = 4;
	assert_int_equal(trace_write(w, &ev, 1), -EINVAL);
	trace_writer_close(w);
	fclose(f);
}

static void full_disk(void **state)
{
	struct trace_event ev = {.op = TRACE_TOUCH,
				 .time = TRACE_TIME_NONE,
				 .nr = 1,
				 .stride = 1,
				 .access = TRACE_R};
	static const enum trace_format formats[] = {TRACE_FMT_TEXT,
						    TRACE_FMT_BINARY};
	struct trace_writer *w;

	for (int k = 0; k < 2; k++) {
		struct trace_info info = {.format = formats[k]};
		FILE *f = fopen("/dev/full", "w");
		int rc = 0;

		if (!f)
			skip();
		assert_int_equal(trace_writer_open(&w, f, &info), 0);
		for (int i = 0; i < 200000 && !rc; i++)
			rc = trace_write(w, &ev, 1);
		assert_int_equal(rc, -ENOSPC);
		assert_int_equal(trace_writer_close(w), -ENOSPC);
		fclose(f);
		/* A short one fails at its end. */
		f = fopen("/dev/full", "w");
		assert_int_equal(trace_writer_open(&w, f, &info), 0);
		assert_int_equal(trace_write(w, &ev, 1), 0);
		assert_int_equal(trace_writer_close(w), -ENOSPC);
		fclose(f);
	}
}

static void other_formats_are_not_written(void **state)
{
	struct trace_info info = {.format = TRACE_FMT_ORACLE};
	struct trace_writer *w;

	assert_int_equal(trace_writer_open(&w, stdout, &info), -EINVAL);
	assert_null(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(generator_knows_every_op),
	    cmocka_unit_test(binary_both_ways),
	    cmocka_unit_test(text_both_ways),
	    cmocka_unit_test(cut_off_anywhere),
	    cmocka_unit_test(long_ones),
	    cmocka_unit_test(damaged_anywhere),
	    cmocka_unit_test(something_behind),
	    cmocka_unit_test(records_refused),
	    cmocka_unit_test(fields_refused),
	    cmocka_unit_test(heads_refused),
	    cmocka_unit_test(wrong_events_are_not_written),
	    cmocka_unit_test(times_are_checked),
	    cmocka_unit_test(full_disk),
	    cmocka_unit_test(other_formats_are_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
