/* SPDX-License-Identifier: MIT */
/* Where bytes come from: files, pipes, gzip, zstd; and sets of pages. */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trace/pageset.h"
#include "tracefix.h"

#define NR_LINES 60000

struct bytes {
	char *data;
	size_t len;
};

static struct bytes plain(void)
{
	struct bytes b = {malloc(NR_LINES * 12), 0};

	assert_non_null(b.data);
	for (unsigned i = 0; i < NR_LINES; i++)
		b.len +=
		    (size_t)sprintf(b.data + b.len, "%u\n", i * 7919 % 1000003);
	return b;
}

static struct bytes packed(const char *data, size_t len,
			   enum trace_packing packing)
{
	struct bytes out;
	FILE *to = open_memstream(&out.data, &out.len);
	FILE *f = trace_pack(to, packing);

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(fclose(to), 0);
	return out;
}

static void is_plain(const struct got *g)
{
	if (g->rc)
		fail_msg("%s", g->err.text);
	assert_int_equal(g->nr, NR_LINES);
	for (unsigned i = 0; i < NR_LINES; i++)
		is_touch(g, i, i * 7919 % 1000003, 1, TRACE_R);
}

static const enum trace_packing packings[] = {TRACE_GZIP, TRACE_ZSTD};

static void packed_is_the_same(void **state)
{
	struct bytes b = plain();

	for (int k = 0; k < 2; k++) {
		struct bytes p = packed(b.data, b.len, packings[k]);
		struct got g = good(p.data, p.len, (struct trace_options){0});

		assert_true(p.len < b.len);
		is_plain(&g);
		assert_int_equal(g.info.packing, packings[k]);
		assert_int_equal(g.info.format, TRACE_FMT_PAGES);
		assert_int_equal(g.info.bytes_read, p.len);
		got_free(&g);
		free(p.data);
	}
	free(b.data);
}

/* cat a.gz b.gz is a gzip file; so it is with zstd. */
static void packed_in_parts(void **state)
{
	struct bytes b = plain();

	for (int k = 0; k < 2; k++) {
		size_t half = b.len / 2;
		struct bytes one = packed(b.data, half, packings[k]);
		struct bytes two =
		    packed(b.data + half, b.len - half, packings[k]);
		struct bytes none = packed("", 0, packings[k]);
		size_t len = one.len + none.len + two.len;
		char *all = malloc(len);
		struct got g;

		assert_non_null(all);
		memcpy(all, one.data, one.len);
		memcpy(all + one.len, none.data, none.len);
		memcpy(all + one.len + none.len, two.data, two.len);
		g = good(all, len, (struct trace_options){0});
		is_plain(&g);
		got_free(&g);
		/* Rubbish behind the last part. */
		all[one.len] ^= 0x55;
		refused(all, len, (struct trace_options){0}, -EBADMSG,
			"data is damaged");
		free(all);
		free(one.data);
		free(two.data);
		free(none.data);
	}
	free(b.data);
}

static void packed_cut_off(void **state)
{
	struct bytes b = plain();

	for (int k = 0; k < 2; k++) {
		struct bytes p = packed(b.data, b.len, packings[k]);

		for (size_t len = 4; len < p.len;
		     len += len < 64 || len + 64 > p.len ? 1 : 997)
			refused(
			    p.data, len,
			    (struct trace_options){.format = TRACE_FMT_PAGES},
			    -EBADMSG, "data is cut off");
		free(p.data);
	}
	free(b.data);
}

static void packed_damaged(void **state)
{
	struct bytes b = plain();

	for (int k = 0; k < 2; k++) {
		struct bytes p = packed(b.data, b.len, packings[k]);

		/* Behind the head, up to and with the checksum. */
		for (size_t i = 16; i<p.len; i += i + 64> p.len ? 1 : 4999) {
			struct got g;

			p.data[i] ^= 0x10;
			g = got_memory(
			    p.data, p.len,
			    (struct trace_options){.format = TRACE_FMT_PAGES},
			    TRACE_BATCH);
			if (g.rc != -EBADMSG)
				fail_msg("%d: byte %zu of %zu", k, i, p.len);
			got_free(&g);
			p.data[i] ^= 0x10;
		}
		free(p.data);
	}
	free(b.data);
}

static void packed_nothing(void **state)
{
	for (int k = 0; k < 2; k++) {
		struct bytes p = packed("", 0, packings[k]);

		refused(p.data, p.len, (struct trace_options){0}, -EBADMSG,
			"empty, where a trace is expected");
		free(p.data);
	}
}

/* Places in messages are of what was unpacked. */
static void packed_places(void **state)
{
	static const char bin[] = "\x89WEIR\r\n\x1a\x01\0\0\0\0\0\0\0\x7f";

	for (int k = 0; k < 2; k++) {
		struct bytes p = packed(bin, 17, packings[k]);

		refused(p.data, p.len, (struct trace_options){0}, -EBADMSG,
			"memory, byte 16 (unpacked): tag 0x7f");
		free(p.data);
	}
}

/* --- files --------------------------------------------------------------- */

static char *file_of(const char *data, size_t len)
{
	static char path[] = "/tmp/weir-test-trace.XXXXXX";
	int fd;

	strcpy(path + sizeof(path) - 7, "XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	close(fd);
	return path;
}

static struct got got_file(const char *path)
{
	struct trace_options opt = {.path = path};
	struct trace_reader *r;
	struct got g = {0};

	g.rc = trace_open(&r, &opt, &g.err);
	if (g.rc)
		return g;
	got_read(&g, r, TRACE_BATCH);
	trace_close(r);
	return g;
}

static void from_files(void **state)
{
	struct bytes b = plain();

	for (int k = 0; k < 3; k++) {
		struct bytes p = k ? packed(b.data, b.len, packings[k - 1]) : b;
		char *path = file_of(p.data, p.len);
		struct got g = got_file(path);

		is_plain(&g);
		assert_int_equal(g.info.bytes_total, p.len);
		assert_int_equal(g.info.bytes_read, p.len);
		got_free(&g);
		unlink(path);
		if (k)
			free(p.data);
	}
	free(b.data);
}

static void read_again(void **state)
{
	struct bytes b = plain();

	for (int k = 0; k < 3; k++) {
		struct bytes p = k ? packed(b.data, b.len, packings[k - 1]) : b;
		struct trace_options opt = {.path = file_of(p.data, p.len)};
		struct trace_event ev[TRACE_BATCH];
		struct trace_error err;
		struct trace_reader *r;
		struct got g = {0};

		assert_int_equal(trace_open(&r, &opt, &err), 0);
		/* Not read at all, in part, to the end. */
		assert_int_equal(trace_rewind(r), 0);
		for (int i = 0; i < 100; i++)
			assert_true(trace_read(r, ev, TRACE_BATCH) > 0);
		assert_int_equal(trace_rewind(r), 0);
		while (trace_read(r, ev, TRACE_BATCH) > 0)
			;
		assert_int_equal(trace_rewind(r), 0);
		got_read(&g, r, 100);
		is_plain(&g);
		got_free(&g);
		trace_close(r);
		unlink(opt.path);
		if (k)
			free(p.data);
	}
	free(b.data);
}

static void unreadable(void **state)
{
	struct got g = got_file("/nonexistent/trace");

	assert_int_equal(g.rc, -ENOENT);
	assert_string_equal(g.err.text,
			    "/nonexistent/trace: No such file or directory");
	g = got_file("/tmp");
	assert_int_equal(g.rc, -EISDIR);
	assert_string_equal(g.err.text, "/tmp: Is a directory");
}

/* A pipe that gives a few bytes at a time. */
static void from_a_slow_pipe(void **state)
{
	struct bytes b = plain();

	for (int k = 0; k < 3; k++) {
		struct bytes p = k ? packed(b.data, b.len, packings[k - 1]) : b;
		int ends[2], status;
		char path[32];
		struct got g;
		pid_t pid;

		assert_int_equal(pipe(ends), 0);
		pid = fork();
		if (!pid) {
			close(ends[0]);
			for (size_t at = 0; at < p.len;) {
				size_t len = at < 300 ? 1 : 1013;

				if (len > p.len - at)
					len = p.len - at;
				if (write(ends[1], p.data + at, len) !=
				    (ssize_t)len)
					_exit(1);
				at += len;
			}
			_exit(0);
		}
		close(ends[1]);
		snprintf(path, sizeof(path), "/dev/fd/%d", ends[0]);
		g = got_file(path);
		close(ends[0]);
		is_plain(&g);
		assert_int_equal(g.info.bytes_total, 0);
		got_free(&g);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		if (k)
			free(p.data);
	}
	free(b.data);
}

static void pipes_are_read_once(void **state)
{
	struct trace_options opt = {.path = "/dev/fd/99"};
	struct trace_error err;
	struct trace_reader *r;
	struct trace_event ev;
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(dup2(ends[0], 99), 99);
	assert_int_equal(write(ends[1], "1\n2\n", 4), 4);
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(trace_open(&r, &opt, &err), 0);
	assert_int_equal(trace_read(r, &ev, 1), 1);
	assert_int_equal(trace_rewind(r), -ESPIPE);
	/* And nothing is lost by having asked. */
	assert_int_equal(trace_read(r, &ev, 1), 1);
	assert_int_equal(ev.page, 2);
	assert_int_equal(trace_read(r, &ev, 1), 0);
	trace_close(r);
	close(99);
}

/* What was read of it before is not of the trace, not after a rewind either. */
static void standard_input_from_the_middle(void **state)
{
	char *path = file_of("rest 1\n7\n8\n", 11);
	int fd = open(path, O_RDONLY), saved = dup(STDIN_FILENO);
	struct trace_options opt = {.path = "-"};
	struct trace_error err;
	struct trace_reader *r;
	struct trace_event ev[4];
	struct trace_info info;

	assert_int_equal(lseek(fd, 7, SEEK_SET), 7);
	assert_int_equal(dup2(fd, STDIN_FILENO), STDIN_FILENO);
	assert_int_equal(trace_open(&r, &opt, &err), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(trace_read(r, ev, 4), 2);
		assert_int_equal(ev[0].page, 7);
		assert_int_equal(trace_read(r, ev, 4), 0);
		trace_reader_info(r, &info);
		assert_int_equal(info.bytes_total, 4);
		assert_int_equal(info.bytes_read, 4);
		assert_int_equal(trace_rewind(r), 0);
	}
	trace_close(r);
	dup2(saved, STDIN_FILENO);
	close(saved);
	close(fd);
	unlink(path);
}

/* --- packing ------------------------------------------------------------- */

static void packing_onto_a_full_disk(void **state)
{
	struct bytes b = plain();

	for (int k = 0; k < 2; k++) {
		FILE *full = fopen("/dev/full", "w"), *f;

		if (!full)
			skip();
		setvbuf(full, NULL, _IONBF, 0);
		f = trace_pack(full, packings[k]);
		fwrite(b.data, 1, b.len, f);
		errno = 0;
		assert_int_not_equal(fclose(f), 0);
		assert_int_equal(errno, ENOSPC);
		fclose(full);
	}
	free(b.data);
}

static void packing_plain_is_nothing(void **state)
{
	assert_null(trace_pack(stdout, TRACE_PLAIN));
}

/* --- sets of pages ------------------------------------------------------- */

static void sets_count(void **state)
{
	struct pageset s = {0};

	pageset_add(&s, 1, 0, 1);
	assert_int_equal(s.nr, 1);
	pageset_add(&s, 1, 0, 1);
	assert_int_equal(s.nr, 1);
	pageset_add(&s, 2, 0, 1); /* of another owner */
	assert_int_equal(s.nr, 2);
	pageset_add(&s, 1, 60, 10); /* across two chunks */
	assert_int_equal(s.nr, 12);
	pageset_add(&s, 1, 0, 128);
	assert_int_equal(s.nr, 129);
	pageset_add(&s, 1, UINT64_MAX, 1);
	assert_int_equal(s.nr, 130);
	pageset_add(&s, 1, UINT64_MAX - 63, 64);
	assert_int_equal(s.nr, 193);
	pageset_add_strided(&s, 3, 10, 5, -2);
	assert_int_equal(s.nr, 198);
	pageset_add_strided(&s, 3, 2, 9, 1);
	assert_int_equal(s.nr, 202);
	pageset_add_strided(&s, 4, 7, UINT64_MAX, 0);
	assert_int_equal(s.nr, 203);
	assert_false(s.incomplete);
	pageset_free(&s);
	assert_int_equal(s.nr, 0);
}

/* Against an array of marks. */
static void sets_are_exact(void **state)
{
	static bool mark[3][5000];
	struct pageset s = {0};
	uint64_t nr = 0;
	uint32_t x = 1;

	for (int i = 0; i < 20000; i++) {
		unsigned owner, page, count;

		x = x * 1664525 + 1013904223;
		owner = x >> 30 == 3 ? 0 : x >> 30;
		page = (x >> 16) % 4800;
		count = (x >> 8) % 8 ? 1 : (x >> 11) % 200;
		pageset_add(&s, owner, page, count);
		for (unsigned k = 0; k < count; k++) {
			nr += !mark[owner][page + k];
			mark[owner][page + k] = true;
		}
		assert_int_equal(s.nr, nr);
	}
	pageset_free(&s);
}

static void sets_grow(void **state)
{
	struct pageset s = {0};

	for (uint64_t i = 0; i < 300000; i++)
		pageset_add(&s, 1, i * 0x9e3779b97f4a7c15u, 1);
	assert_int_equal(s.nr, 300000);
	for (uint64_t i = 0; i < 300000; i++)
		pageset_add(&s, 1, i * 0x9e3779b97f4a7c15u, 1);
	assert_int_equal(s.nr, 300000);
	/* The same page of everybody is not the same page. */
	for (uint64_t owner = 2; owner < 100002; owner++)
		pageset_add(&s, owner, 7, 1);
	assert_int_equal(s.nr, 400000);
	assert_false(s.incomplete);
	pageset_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(packed_is_the_same),
	    cmocka_unit_test(packed_in_parts),
	    cmocka_unit_test(packed_cut_off),
	    cmocka_unit_test(packed_damaged),
	    cmocka_unit_test(packed_nothing),
	    cmocka_unit_test(packed_places),
	    cmocka_unit_test(from_files),
	    cmocka_unit_test(read_again),
	    cmocka_unit_test(unreadable),
	    cmocka_unit_test(from_a_slow_pipe),
	    cmocka_unit_test(pipes_are_read_once),
	    cmocka_unit_test(standard_input_from_the_middle),
	    cmocka_unit_test(packing_onto_a_full_disk),
	    cmocka_unit_test(packing_plain_is_nothing),
	    cmocka_unit_test(sets_count),
	    cmocka_unit_test(sets_are_exact),
	    cmocka_unit_test(sets_grow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
