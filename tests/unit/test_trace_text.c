/* SPDX-License-Identifier: MIT */
/* weir's text trace: each statement, its edges, and what is refused. */
#include "tracefix.h"

#define HEAD "weir-trace 1\n"

/* A trace of these lines, with head and end. */
static struct got lines(const char *text)
{
	char all[4096];

	snprintf(all, sizeof(all), HEAD "%send\n", text);
	return good_text(all, TRACE_FMT_AUTO);
}

static void refused_lines(const char *text, const char *words)
{
	char all[4096];

	snprintf(all, sizeof(all), HEAD "%s\nend\n", text);
	refused_text(all, TRACE_FMT_AUTO, words);
}

/* One event: compares all of it. */
static void is(const char *line, struct trace_event want)
{
	struct got g;
	char text[512];

	snprintf(text, sizeof(text), "%s\n", line);
	g = lines(text);
	want.time = TRACE_TIME_NONE;
	want.pid = TRACE_PID_DEFAULT;
	if (want.text)
		want.text_len = (uint8_t)strlen(want.text);
	assert_int_equal(g.nr, 1);
	if (!same_event(&g.ev[0], &want))
		fail_msg("'%s' was read as something else", line);
	got_free(&g);
}

#define EV(...) ((struct trace_event){__VA_ARGS__})

static void touches(void **state)
{
	is("r 5", EV(.page = 5, .nr = 1, .stride = 1, .access = TRACE_R));
	is("w 0x5", EV(.page = 5, .nr = 1, .stride = 1, .access = TRACE_W));
	is("x 5 1", EV(.page = 5, .nr = 1, .stride = 1, .access = TRACE_X));
	is("rw 5 9 # rest",
	   EV(.page = 5, .nr = 9, .stride = 1, .access = TRACE_R | TRACE_W));
	is("r 5 9 16", EV(.page = 5, .nr = 9, .stride = 16, .access = TRACE_R));
	is("r 8 9 -1", EV(.page = 8, .nr = 9, .stride = -1, .access = TRACE_R));
	is("r 8 1 -16", EV(.page = 8, .nr = 1, .stride = 1, .access = TRACE_R));
	is("  r\t8  ", EV(.page = 8, .nr = 1, .stride = 1, .access = TRACE_R));
	is("r 18446744073709551615",
	   EV(.page = UINT64_MAX, .nr = 1, .stride = 1, .access = TRACE_R));
	is("r 0 2 9223372036854775807",
	   EV(.nr = 2, .stride = INT64_MAX, .access = TRACE_R));
}

static void touches_refused(void **state)
{
	refused_lines("r", "line 2: 'r' where a page number is expected");
	refused_lines("r x", "'x' where a page number");
	refused_lines("r -1", "'-1' where a page number");
	refused_lines("r 1 0", "where at least one page");
	refused_lines("r 1 x", "'x' where a number of pages");
	refused_lines("r 1 2 x", "'x' where a stride");
	refused_lines("r 1 2 3 4", "'4' where the end of the line");
	refused_lines("r 8 10 -1", "where pages within the 64-bit numbers");
	refused_lines("r 18446744073709551615 2",
		      "where pages within the 64-bit numbers");
	refused_lines("r 1 2 9223372036854775808", "where a stride below 2^63");
	refused_lines("rr 1", "'rr' where a statement of weir-trace(5)");
	refused_lines("rwx 1", "'rwx' where a statement");
	refused_lines("R 1", "'R' where a statement");
}

static void processes(void **state)
{
	is("exec", EV(.op = TRACE_EXEC));
	is("exit", EV(.op = TRACE_EXIT));
	is("fork 9", EV(.op = TRACE_FORK, .child = 9));
	is("fork 9 thread",
	   EV(.op = TRACE_FORK, .child = 9, .flags = TRACE_F_THREAD));
	refused_lines("fork", "where a process number");
	refused_lines("fork 4294967296", "where a number below 2^32");
	refused_lines("fork 1 vm", "'vm' where thread");
	refused_lines("exit 1", "'1' where the end of the line");
}

static void mappings(void **state)
{
	is("mmap 16 8 rw", EV(.op = TRACE_MMAP, .page = 16, .nr = 8,
			      .access = TRACE_R | TRACE_W));
	is("mmap 16 8 - shared",
	   EV(.op = TRACE_MMAP, .page = 16, .nr = 8, .flags = TRACE_F_SHARED));
	is("mmap 16 8 rx 3", EV(.op = TRACE_MMAP, .page = 16, .nr = 8,
				.file = 3, .access = TRACE_R | TRACE_X));
	is("mmap 16 8 wxr 3 7 populate shared locked stack # no more",
	   EV(.op = TRACE_MMAP, .page = 16, .nr = 8, .file = 3, .file_page = 7,
	      .access = TRACE_R | TRACE_W | TRACE_X,
	      .flags = TRACE_F_SHARED | TRACE_F_POPULATE | TRACE_F_LOCKED |
		       TRACE_F_STACK));
	is("munmap 16 8", EV(.op = TRACE_MUNMAP, .page = 16, .nr = 8));
	is("mremap 16 8 0x100 9",
	   EV(.op = TRACE_MREMAP, .page = 16, .nr = 8, .to = 256, .to_nr = 9));
	is("mprotect 16 8 r",
	   EV(.op = TRACE_MPROTECT, .page = 16, .nr = 8, .access = TRACE_R));
	refused_lines("mmap 16", "where a number of pages");
	refused_lines("mmap 16 0 r", "where at least one page");
	refused_lines("mmap 16 1", "where r, w, x put together, or -");
	refused_lines("mmap 16 1 rr", "'rr' where r, w, x put together");
	refused_lines("mmap 16 1 q", "'q' where r, w, x put together");
	refused_lines("mmap 16 1 r shared 3", "'3' where shared stack");
	refused_lines("mmap 16 1 r 4294967296", "where a number below 2^32");
	refused_lines("mmap 16 1 r private", "'private' where the number of a");
	refused_lines("mmap 18446744073709551615 2 r", "where a range within");
	refused_lines("mremap 1 1 18446744073709551615 2",
		      "where a range within");
	refused_lines("mremap 1 1 2 0", "where at least one page");
	refused_lines("munmap 1", "where a number of pages");
}

static void advice_and_locks(void **state)
{
	static const char *const words[NR_TRACE_ADVICES] = {
	    "normal",   "random",        "sequential",     "willneed",
	    "dontneed", "free",          "cold",           "pageout",
	    "remove",   "populate_read", "populate_write", "noreuse",
	};

	for (uint8_t i = 0; i < NR_TRACE_ADVICES; i++) {
		char line[64];

		snprintf(line, sizeof(line), "madvise 1 2 %s", words[i]);
		is(line,
		   EV(.op = TRACE_MADVISE, .page = 1, .nr = 2, .kind = i));
		snprintf(line, sizeof(line), "fadvise 3 1 2 %s", words[i]);
		is(line, EV(.op = TRACE_FADVISE, .file = 3, .offset = 1,
			    .bytes = 2, .kind = i));
	}
	is("mlock 1 2", EV(.op = TRACE_MLOCK, .page = 1, .nr = 2));
	is("mlock 1 2 onfault",
	   EV(.op = TRACE_MLOCK, .page = 1, .nr = 2, .flags = TRACE_F_ONFAULT));
	is("munlock 1 2", EV(.op = TRACE_MUNLOCK, .page = 1, .nr = 2));
	is("mlockall", EV(.op = TRACE_MLOCKALL));
	is("mlockall future current onfault",
	   EV(.op = TRACE_MLOCKALL,
	      .flags = TRACE_F_ONFAULT | TRACE_F_CURRENT | TRACE_F_FUTURE));
	is("munlockall", EV(.op = TRACE_MUNLOCKALL));
	is("msync 1 2", EV(.op = TRACE_MSYNC, .page = 1, .nr = 2));
	is("msync 1 2 async",
	   EV(.op = TRACE_MSYNC, .page = 1, .nr = 2, .flags = TRACE_F_ASYNC));
	refused_lines("madvise 1 2", "where an advice");
	refused_lines("madvise 1 2 wish", "'wish' where an advice");
	refused_lines("madvise 1 2 norma", "'norma' where an advice");
	refused_lines("msync 1 2 shared", "'shared' where async");
}

static void files(void **state)
{
	is("open 3 100", EV(.op = TRACE_OPEN, .file = 3, .bytes = 100));
	is("open 3 0 name.txt",
	   EV(.op = TRACE_OPEN, .file = 3, .text = "name.txt"));
	is("open 3 0 shm",
	   EV(.op = TRACE_OPEN, .file = 3, .flags = TRACE_F_SHM));
	is("open 3 0 5 shm",
	   EV(.op = TRACE_OPEN, .file = 3, .text = "5", .flags = TRACE_F_SHM));
	is("close 3", EV(.op = TRACE_CLOSE, .file = 3));
	is("read 3 4096 10",
	   EV(.op = TRACE_READ, .file = 3, .offset = 4096, .bytes = 10));
	is("write 3 0 0", EV(.op = TRACE_WRITE, .file = 3));
	is("fsync 3", EV(.op = TRACE_FSYNC, .file = 3));
	is("sync", EV(.op = TRACE_SYNC));
	is("ftruncate 3 5", EV(.op = TRACE_FTRUNCATE, .file = 3, .bytes = 5));
	is("unlink 3", EV(.op = TRACE_UNLINK, .file = 3));
	refused_lines("open 0 1", "where a number from 1");
	refused_lines("open 3", "where a number of bytes");
	refused_lines("read 3 1", "where a number of bytes");
	refused_lines("read 3 18446744073709551615 2", "where a range within");
	refused_lines("open 3 1 a b", "'b' where shm");
}

static void kernel(void **state)
{
	static const char *const words[NR_TRACE_GFPS] = {
	    "kernel", "atomic",   "nowait", "noio",     "nofs",
	    "user",   "highuser", "dma",    "memalloc",
	};

	for (uint8_t i = 0; i < NR_TRACE_GFPS; i++) {
		char line[64];

		snprintf(line, sizeof(line), "kalloc 7 4096 %s", words[i]);
		is(line, EV(.op = TRACE_KALLOC, .object = 7, .bytes = 4096,
			    .kind = i));
	}
	is("kalloc 7 1 nofs nofail noretry nowarn reclaimable movable",
	   EV(.op = TRACE_KALLOC, .object = 7, .bytes = 1,
	      .kind = TRACE_GFP_NOFS,
	      .flags = TRACE_F_NOFAIL | TRACE_F_NORETRY | TRACE_F_NOWARN |
		       TRACE_F_RECLAIMABLE | TRACE_F_MOVABLE));
	is("kfree 7", EV(.op = TRACE_KFREE, .object = 7));
	refused_lines("kalloc 7 1", "where a context");
	refused_lines("kalloc 7 1 gfp", "'gfp' where a context");
	is("create dentry 5", EV(.op = TRACE_CREATE, .object = 5));
	is("create dentry 5 6",
	   EV(.op = TRACE_CREATE, .object = 5, .inode = 6));
	is("create inode 5",
	   EV(.op = TRACE_CREATE, .kind = TRACE_INODE, .object = 5));
	is("use inode 5", EV(.op = TRACE_USE, .kind = 1, .object = 5));
	is("hold dentry 5", EV(.op = TRACE_HOLD, .object = 5));
	is("release dentry 5", EV(.op = TRACE_RELEASE, .object = 5));
	is("dirty inode 5", EV(.op = TRACE_DIRTY, .kind = 1, .object = 5));
	is("drop dentry 5", EV(.op = TRACE_DROP, .object = 5));
	refused_lines("create page 5", "'page' where dentry or inode");
	refused_lines("use dentry", "where a number");
}

static void triggers(void **state)
{
	is("group 1", EV(.op = TRACE_GROUP, .group = 1));
	is("group 2 1", EV(.op = TRACE_GROUP, .group = 2, .object = 1));
	is("join 2", EV(.op = TRACE_JOIN, .group = 2));
	is("limit 2 max 100", EV(.op = TRACE_LIMIT, .group = 2, .value = 100));
	is("limit 2 swap 0",
	   EV(.op = TRACE_LIMIT, .group = 2, .kind = TRACE_LIMIT_SWAP));
	is("dropcaches 3", EV(.op = TRACE_DROPCACHES, .value = 3));
	is("reclaim 100", EV(.op = TRACE_RECLAIM, .nr = 100));
	is("reclaim 100 2", EV(.op = TRACE_RECLAIM, .nr = 100, .group = 2));
	is("hibernate 100", EV(.op = TRACE_HIBERNATE, .nr = 100));
	is("set swappiness 60",
	   EV(.op = TRACE_SET, .text = "swappiness", .value = 60));
	is("swapon 1 100", EV(.op = TRACE_SWAPON, .area = 1, .nr = 100));
	is("swapon 0 100 5", EV(.op = TRACE_SWAPON, .nr = 100, .object = 5));
	is("swapoff 1", EV(.op = TRACE_SWAPOFF, .area = 1));
	is("mark second  phase # 2",
	   EV(.op = TRACE_MARK, .text = "second  phase # 2"));
	is("mark", EV(.op = TRACE_MARK));
	refused_lines("group 0", "where a number from 1");
	refused_lines("limit 1 most 5", "'most' where max, high, low");
	refused_lines("set swappiness", "where a number");
	refused_lines("set", "where a name");
	refused_lines("reclaim 0", "where at least one page");
	refused_lines("hibernate", "where a number of pages");
}

static void texts_have_a_length(void **state)
{
	char line[400] = "mark ";

	memset(line + 5, 'm', 255);
	is(line, EV(.op = TRACE_MARK, .text = line + 5));
	line[260] = 'm';
	refused_lines(line, "line 2: more than 255 bytes of text");
	memcpy(line, "set  ", 5);
	refused_lines(line, "where a name of at most 255 bytes");
}

/* Several texts in one array of events would be one and the same. */
static void texts_stand_alone(void **state)
{
	struct got g = lines("mark one\nmark two\nr 1\nmark three\n");

	assert_int_equal(g.nr, 4);
	assert_string_equal(g.ev[0].text, "one");
	assert_string_equal(g.ev[1].text, "two");
	assert_null(g.ev[2].text);
	assert_string_equal(g.ev[3].text, "three");
	got_free(&g);
}

static void what_holds_on(void **state)
{
	struct got g = lines("r 1\n"
			     "time 5\n"
			     "r 2\n"
			     "time 5\n"
			     "process 7\n"
			     "cpu 3\n"
			     "time +1.5us\n"
			     "exit\n"
			     "time 2ms\n"
			     "time +1s\n"
			     "process 0\n"
			     "cpu 65535\n"
			     "r 3\n"
			     "time 18446744073709551614\n"
			     "r 4\n");

	assert_int_equal(g.nr, 5);
	assert_int_equal(g.ev[0].time, TRACE_TIME_NONE);
	assert_int_equal(g.ev[0].pid, TRACE_PID_DEFAULT);
	assert_int_equal(g.ev[1].time, 5);
	assert_int_equal(g.ev[2].time, 1505);
	assert_int_equal(g.ev[2].pid, 7);
	assert_int_equal(g.ev[2].cpu, 3);
	assert_int_equal(g.ev[3].time, 1002000000);
	assert_int_equal(g.ev[3].pid, 0);
	assert_int_equal(g.ev[3].cpu, 65535);
	assert_int_equal(g.ev[4].time, TRACE_TIME_NONE - 1);
	got_free(&g);
	refused_lines("time 5\ntime 4", "line 3: '4' where a time not before");
	refused_lines("time", "where a time, as 1500");
	refused_lines("time x", "'x' where a time, as 1500");
	refused_lines("time 1h", "'1h' where a time, as 1500");
	refused_lines("time 1.", "'1.' where a time, as 1500");
	refused_lines("time 1 2", "'2' where the end of the line");
	refused_lines("time 18446744073709551615", "where a time, as 1500");
	refused_lines("time 18446744073709551614\ntime +1",
		      "'+1' where a time below 2^64 ns");
	refused_lines("process -1", "where a process number");
	refused_lines("process 4294967296", "where a number below 2^32");
	refused_lines("cpu 65536", "where a number below 65536");
	refused_lines("cpu", "where the number of a CPU");
}

static void heads(void **state)
{
	struct got g = good_text("weir-trace 1 bare timed # yes\n"
				 "time 0\nr 1\nend 1\n\n# over\n",
				 TRACE_FMT_AUTO);

	assert_int_equal(g.info.format, TRACE_FMT_TEXT);
	assert_false(g.info.has_regions);
	assert_true(g.info.has_time);
	assert_int_equal(g.ev[0].time, 0);
	got_free(&g);
	g = good_text("weir-trace 1\nend", TRACE_FMT_TEXT);
	assert_true(g.info.has_regions);
	assert_false(g.info.has_time);
	assert_int_equal(g.nr, 0);
	got_free(&g);
	refused_text("weir-trace 2\nend\n", TRACE_FMT_AUTO,
		     "line 1: '2' where version 1");
	refused_text("weir-trace 1 bear\nend\n", TRACE_FMT_AUTO,
		     "'bear' where bare, timed");
	refused_text("r 1\nend\n", TRACE_FMT_TEXT, "'r' where weir-trace 1");
	refused_text("\nend\n", TRACE_FMT_TEXT, "where weir-trace 1");
	refused_text("weir-trace 1 timed\nr 1\nend\n", TRACE_FMT_AUTO,
		     "line 2: 'r' where a time before the first event");
}

static void ends(void **state)
{
	static const char whole[] = HEAD "r 1\nmmap 1 2 r\ntime 7\nend 2\n";
	const char *end = strstr(whole, "end");

	/* Cut off anywhere, it is refused; up to its last word. */
	for (size_t len = 1; len < sizeof(whole); len++) {
		struct got g = got_memory(
		    whole, len,
		    (struct trace_options){.format = TRACE_FMT_TEXT}, 7);

		/* "end" alone says as much as "end 2". */
		assert_int_equal(
		    g.rc, len < (size_t)(end - whole) + 3 ? -EBADMSG : 0);
		got_free(&g);
	}
	refused_text(HEAD "r 1\nr 2\n", TRACE_FMT_AUTO,
		     "line 3: the trace is cut off behind this line");
	refused_text(HEAD "r 1\nend 2\n", TRACE_FMT_AUTO,
		     "line 3: 'end' says 2 events, there were 1");
	refused_text(HEAD "r 1\nend\nr 2\n", TRACE_FMT_AUTO,
		     "line 4: 'r' where nothing behind 'end'");
	refused_text(HEAD "end x\n", TRACE_FMT_AUTO,
		     "'x' where a number of events");
	refused_text(HEAD "end 0 1\n", TRACE_FMT_AUTO,
		     "'1' where the end of the line");
}

static void unknown_words(void **state)
{
	refused_lines("touch 1", "'touch' where a statement of weir-trace(5)");
	refused_lines("mmapx 1", "'mmapx' where a statement");
	refused_lines("mma 1", "'mma' where a statement");
	refused_lines("\x01\x02", "'\\x01\\x02' where a statement");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(touches),
	    cmocka_unit_test(touches_refused),
	    cmocka_unit_test(processes),
	    cmocka_unit_test(mappings),
	    cmocka_unit_test(advice_and_locks),
	    cmocka_unit_test(files),
	    cmocka_unit_test(kernel),
	    cmocka_unit_test(triggers),
	    cmocka_unit_test(texts_have_a_length),
	    cmocka_unit_test(texts_stand_alone),
	    cmocka_unit_test(what_holds_on),
	    cmocka_unit_test(heads),
	    cmocka_unit_test(ends),
	    cmocka_unit_test(unknown_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
