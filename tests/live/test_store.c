/* SPDX-License-Identifier: MIT */
/*
 * The swap file and the store that fails on purpose. Everything runs with
 * io_uring and with the threads that replace it.
 */
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/live/sys.h"
#include "host/live/thread.h"
#include "host/live/uring.h"
#include "store/store.h"

#define PAGE  4096u
#define SLOTS 2048u

static bool force_threads, buffered;
static struct uring *ring;
static void *stacks;
static char dir[64];

static void *meta_alloc(void *ctx, size_t bytes)
{
	void *p = sys_mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return sys_is_err(p) ? NULL : p;
}

static int group_setup(void **state)
{
	strcpy(dir, "weir-test-store-XXXXXX");
	assert_non_null(mkdtemp(dir));
	ring = malloc(uring_size());
	stacks = meta_alloc(NULL, 4 * THREAD_MEM_BYTES);
	return uring_init(ring, stacks, 4 * THREAD_MEM_BYTES, force_threads);
}

static int group_teardown(void **state)
{
	uring_exit(ring);
	free(ring);
	sys_munmap(stacks, 4 * THREAD_MEM_BYTES);
	return rmdir(dir); /* fails if anything was left in it */
}

static int try_open(const char *path, uint64_t bytes, struct store **s,
		    char *err, size_t errlen)
{
	struct store_file_opts o = {.path = path,
				    .bytes = bytes,
				    .buffered = buffered,
				    .ring = ring,
				    .meta_alloc = meta_alloc};

	return store_file_open(&o, s, err, errlen);
}

static struct store *open_store(const char *path)
{
	char err[256] = "";
	struct store *s;

	if (try_open(path, SLOTS * PAGE, &s, err, sizeof(err)))
		fail_msg("%s", err);
	assert_int_equal(s->slots, SLOTS);
	return s;
}

/* ---- a request and the pages it needs ---- */

struct io {
	struct store_req r;
	void *buf[STORE_RUN_MAX];
	int16_t status[STORE_RUN_MAX];
	struct iovec iov[STORE_RUN_MAX];
	_Atomic uint32_t done;
	char *mem;
};

static void io_done(struct store_req *r)
{
	struct io *io = r->owner;

	atomic_store(&io->done, 1);
	uring_wake(ring, &io->done, 1);
}

static struct io *io_new(void)
{
	struct io *io = calloc(1, sizeof(*io));

	io->mem = meta_alloc(NULL, STORE_RUN_MAX * PAGE);
	assert_non_null(io->mem);
	/* Every third pair of neighbours changes places, so that some pages
	 * join and some do not. */
	for (unsigned i = 0; i < STORE_RUN_MAX; i++)
		io->buf[i] = io->mem + PAGE * (i % 6 < 2 ? i ^ 1 : i);
	return io;
}

static void io_free(struct io *io)
{
	sys_munmap(io->mem, STORE_RUN_MAX * PAGE);
	free(io);
}

static void io_start(struct io *io, struct store *s, bool write, uint64_t slot,
		     unsigned nr)
{
	io->r = (struct store_req){.write = write,
				   .nr = nr,
				   .slot = slot,
				   .buf = io->buf,
				   .status = io->status,
				   .done = io_done,
				   .owner = io,
				   .iov = io->iov};
	memset(io->status, 0x55, sizeof(io->status));
	atomic_store(&io->done, 0);
	s->ops->submit(s, &io->r);
}

static void io_wait(struct io *io)
{
	while (!atomic_load(&io->done))
		uring_wait(ring, &io->done, 0, 0);
}

static void io_run(struct io *io, struct store *s, bool write, uint64_t slot,
		   unsigned nr)
{
	io_start(io, s, write, slot, nr);
	io_wait(io);
}

/* A page's contents: each word says which slot and which version. */
static void fill(void *page, uint64_t slot, uint64_t version)
{
	uint64_t *p = page;

	for (unsigned i = 0; i < PAGE / 8; i++)
		p[i] = (slot << 40 | version << 16 | i) * 0x9e3779b97f4a7c15u;
}

static bool is_filled(const void *page, uint64_t slot, uint64_t version)
{
	char want[PAGE];

	fill(want, slot, version);
	return !memcmp(page, want, PAGE);
}

static void put(struct io *io, struct store *s, uint64_t slot, unsigned nr,
		uint64_t version)
{
	for (unsigned i = 0; i < nr; i++)
		fill(io->buf[i], slot + i, version);
	io_run(io, s, true, slot, nr);
}

static void get(struct io *io, struct store *s, uint64_t slot, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		memset(io->buf[i], 0xee, PAGE);
	io_run(io, s, false, slot, nr);
}

static void put_ok(struct io *io, struct store *s, uint64_t slot, unsigned nr,
		   uint64_t version)
{
	put(io, s, slot, nr, version);
	for (unsigned i = 0; i < nr; i++)
		assert_int_equal(io->status[i], 0);
}

static void get_ok(struct io *io, struct store *s, uint64_t slot, unsigned nr,
		   uint64_t version)
{
	get(io, s, slot, nr);
	for (unsigned i = 0; i < nr; i++) {
		assert_int_equal(io->status[i], 0);
		assert_true(is_filled(io->buf[i], slot + i, version));
	}
}

/* ---- the tests ---- */

static void test_round_trip(void **state)
{
	struct store *s = open_store(dir);
	struct io *io = io_new();

	assert_string_equal(s->ops->name, "file");
	assert_int_equal(s->bytes_used, 0);
	put_ok(io, s, 1, 256, 7);
	assert_int_equal(s->bytes_used, 512 * PAGE);
	put_ok(io, s, SLOTS - 1, 1, 8);
	get_ok(io, s, 1, 256, 7);
	get_ok(io, s, 100, 1, 7);
	get_ok(io, s, SLOTS - 1, 1, 8);
	put_ok(io, s, 100, 3, 9);
	assert_int_equal(s->bytes_used, 1024 * PAGE);
	get_ok(io, s, 100, 3, 9);
	get_ok(io, s, 103, 50, 7);
	s->ops->close(s);
	io_free(io);
}

static void test_refusals(void **state)
{
	struct store *s = open_store(dir);
	struct io *io = io_new();

	/* What was never stored is no page of zeros. */
	get(io, s, 5, 2);
	assert_int_equal(io->status[0], -EBADMSG);
	assert_int_equal(io->status[1], -EBADMSG);
	put_ok(io, s, 5, 1, 1);
	get(io, s, 4, 3);
	assert_int_equal(io->status[0], -EBADMSG);
	assert_int_equal(io->status[1], 0);
	assert_int_equal(io->status[2], -EBADMSG);
	s->ops->discard(s, 5, 1);
	get(io, s, 5, 1);
	assert_int_equal(io->status[0], -EBADMSG);
	/* Beyond the end; nothing of it is done. */
	put(io, s, SLOTS - 1, 2, 1);
	assert_int_equal(io->status[0], -EIO);
	assert_int_equal(io->status[1], -EIO);
	get(io, s, SLOTS, 1);
	assert_int_equal(io->status[0], -EIO);
	get(io, s, UINT64_MAX, 1);
	assert_int_equal(io->status[0], -EIO);
	s->ops->discard(s, SLOTS - 1, 500);
	s->ops->discard(s, SLOTS + 3, 500);
	s->ops->close(s);
	io_free(io);
}

/* What is in the file changed behind our back: that page, and only that. */
static void test_checksum(void **state)
{
	struct store *s = open_store(dir);
	struct io *io = io_new();
	char *page = meta_alloc(NULL, 2 * PAGE);
	int fd = s->fd;

	put_ok(io, s, 10, 8, 1);
	assert_int_equal(sys_pread64(fd, page, PAGE, 12 * PAGE), PAGE);
	assert_true(is_filled(page, 12, 1));
	page[1234] ^= 4;
	assert_int_equal(sys_pwrite64(fd, page, PAGE, 12 * PAGE), PAGE);
	/* and two that changed places */
	assert_int_equal(sys_pread64(fd, page, 2 * PAGE, 14 * PAGE), 2 * PAGE);
	assert_int_equal(sys_pwrite64(fd, page + PAGE, PAGE, 14 * PAGE), PAGE);
	assert_int_equal(sys_pwrite64(fd, page, PAGE, 15 * PAGE), PAGE);
	get(io, s, 10, 8);
	for (unsigned i = 0; i < 8; i++) {
		bool bad = i == 2 || i == 4 || i == 5;

		assert_int_equal(io->status[i], bad ? -EBADMSG : 0);
		if (!bad)
			assert_true(is_filled(io->buf[i], 10 + i, 1));
	}
	sys_munmap(page, 2 * PAGE);
	s->ops->close(s);
	io_free(io);
}

static uint64_t blocks(struct store *s)
{
	struct stat st;

	assert_int_equal(sys_fstat(s->fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

/*
 * chunks            0        1        2        3
 *   written     |--------|--------|--------|--------|
 *   discarded   |--------|-- -----|----- --|         2 in two pieces
 *   punched     |        |        |        |         0 and 2, by later writes
 */
static void test_discard(void **state)
{
	struct store *s = open_store(dir);
	struct io *io = io_new();
	uint64_t before;

	for (unsigned i = 0; i < SLOTS; i += 256)
		put_ok(io, s, i, 256, 1);
	before = blocks(s);
	assert_int_equal(s->bytes_used, SLOTS * PAGE);
	s->ops->discard(s, 0, 512);
	s->ops->discard(s, 512, 100);
	s->ops->discard(s, 513, 1); /* twice counts once */
	s->ops->discard(s, 613, 511);
	s->ops->discard(s, 1200, 336);
	assert_int_equal(s->bytes_used, SLOTS * PAGE); /* nothing slept */
	s->ops->discard(s, 1124, 76);
	for (unsigned i = 0; i < 3; i++)
		put_ok(io, s, 1600, 1, 2);
	assert_int_equal(s->bytes_used, (SLOTS - 2 * 512) * PAGE);
	assert_true(blocks(s) <= before - 2 * 512 * PAGE);
	get_ok(io, s, 612, 1, 1);
	get_ok(io, s, 1601, 200, 1);
	get(io, s, 300, 256);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(io->status[i], -EBADMSG);
	put_ok(io, s, 400, 256, 3); /* over the border of two chunks */
	get_ok(io, s, 400, 256, 3);
	assert_int_equal(s->bytes_used, (SLOTS - 512) * PAGE);
	s->ops->close(s);
	io_free(io);
}

/* Threads with ranges of their own: writes, discards, reads that must give the
 * last version. Ranges begin and end inside chunks, so neighbours fill, empty
 * and punch the same ones. */
#define CROWD 7u

struct worker {
	struct engine_thread t;
	void *mem;
	struct store *s;
	struct io *io;
	unsigned i, errors;
};

static void crowd_op(struct worker *w, uint64_t *version, uint64_t r)
{
	const unsigned per = SLOTS / CROWD;
	unsigned nr = 1 + (r >> 8) % 128, first = (r >> 20) % (per - nr);
	uint64_t slot = w->i * per + first;

	if (r % 4 == 0) {
		if (r >> 4 & 1) { /* all, so that chunks come and go */
			first = 0;
			slot = w->i * per;
			nr = per;
		}
		w->s->ops->discard(w->s, slot, nr);
		for (unsigned k = 0; k < nr; k++)
			version[first + k] = 0;
	} else if (r % 4 < 3) {
		for (unsigned k = 0; k < nr; k++)
			fill(w->io->buf[k], slot + k, ++version[first + k]);
		io_run(w->io, w->s, true, slot, nr);
		for (unsigned k = 0; k < nr; k++)
			w->errors += w->io->status[k] != 0;
	} else {
		io_run(w->io, w->s, false, slot, nr);
		for (unsigned k = 0; k < nr; k++) {
			uint64_t v = version[first + k];

			if (!v)
				w->errors += w->io->status[k] != -EBADMSG;
			else
				w->errors +=
				    w->io->status[k] != 0 ||
				    !is_filled(w->io->buf[k], slot + k, v);
		}
	}
}

static void crowd_main(void *arg)
{
	struct worker *w = arg;
	static uint64_t version[CROWD][SLOTS / CROWD];
	uint64_t r = w->i + 1;

	memset(version[w->i], 0, sizeof(version[w->i]));
	for (int n = 0; n < 150; n++) {
		r = r * 6364136223846793005u + 1442695040888963407u;
		crowd_op(w, version[w->i], r >> 16);
	}
}

static void test_crowd(void **state)
{
	struct store *s = open_store(dir);
	struct worker w[CROWD];
	struct io *io;

	memset(w, 0, sizeof(w));
	for (unsigned i = 0; i < CROWD; i++) {
		w[i] = (struct worker){.s = s, .i = i, .io = io_new()};
		w[i].t.cpu = -1;
		w[i].t.fn = crowd_main;
		w[i].t.arg = &w[i];
		w[i].mem = meta_alloc(NULL, THREAD_MEM_BYTES);
		assert_int_equal(thread_start(&w[i].t, w[i].mem, 0), 0);
	}
	for (unsigned i = 0; i < CROWD; i++) {
		thread_join(&w[i].t);
		sys_munmap(w[i].mem, THREAD_MEM_BYTES);
		io_free(w[i].io);
	}
	for (unsigned i = 0; i < CROWD; i++)
		assert_int_equal(w[i].errors, 0);
	/* The books of the chunks came through it: all go but the one used. */
	s->ops->discard(s, 0, SLOTS);
	io = io_new();
	for (unsigned i = 0; i < 5; i++)
		put_ok(io, s, 0, 1, 1);
	assert_int_equal(s->bytes_used, 512 * PAGE);
	io_free(io);
	s->ops->close(s);
}

/* Several requests of one thread under way at once. */
static void test_many_under_way(void **state)
{
	enum { N = 32 };
	struct store *s = open_store(dir);
	struct io *io[N];

	for (unsigned i = 0; i < N; i++) {
		io[i] = io_new();
		for (unsigned k = 0; k < 32; k++)
			fill(io[i]->buf[k], i * 32 + k, 5);
		io_start(io[i], s, true, i * 32, 32);
	}
	for (unsigned i = 0; i < N; i++)
		io_wait(io[i]);
	for (unsigned i = 0; i < N; i++)
		io_start(io[i], s, false, i * 32, 32);
	for (unsigned i = N; i-- > 0;) {
		io_wait(io[i]);
		for (unsigned k = 0; k < 32; k++) {
			assert_int_equal(io[i]->status[k], 0);
			assert_true(is_filled(io[i]->buf[k], i * 32 + k, 5));
		}
	}
	for (unsigned i = 0; i < N; i++)
		io_free(io[i]);
	s->ops->close(s);
}

#if !defined(__SANITIZE_THREAD__)
static void test_fork(void **state)
{
	struct store *s = open_store(dir);
	struct io *io = io_new();
	int status;
	pid_t pid;

	put_ok(io, s, 1, 64, 1);
	pid = fork();
	if (!pid) {
		unsigned bad = 0;

		uring_after_fork(ring);
		if (uring_init(ring, stacks, 4 * THREAD_MEM_BYTES,
			       force_threads))
			_exit(3);
		s->ops->after_fork(s, ring);
		s->ops->discard(s, 1, 64); /* not the child's to give back */
		io_run(io, s, false, 1, 64);
		for (unsigned i = 0; i < 64; i++)
			bad +=
			    io->status[i] || !is_filled(io->buf[i], 1 + i, 1);
		io_run(io, s, true, 1, 64); /* nor to write */
		for (unsigned i = 0; i < 64; i++)
			bad += io->status[i] != -EIO;
		_exit(bad ? 4 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	get_ok(io, s, 1, 64, 1);
	s->ops->close(s);
	io_free(io);
}
#endif

/* A file system of 1 MiB under a file of 8: what did not fit is said, page by
 * page, what did is there, and what is discarded can be used again. */
static void full_device(const char *mnt)
{
	struct store *s = open_store(mnt);
	struct io *io = io_new();
	unsigned good = 0, bad = 0;
	int16_t was[4 * 128];

	for (unsigned i = 0; i < 4; i++) {
		put(io, s, i * 128, 128, 1);
		memcpy(was + i * 128, io->status, 128 * sizeof(was[0]));
	}
	for (unsigned i = 0; i < 4 * 128; i++) {
		good += was[i] == 0;
		bad += was[i] == -ENOSPC;
	}
	assert_int_equal(good + bad, 4 * 128);
	assert_in_range(good, 128, 256);
	for (unsigned i = 0; i < 4; i++) {
		get(io, s, i * 128, 128);
		for (unsigned k = 0; k < 128; k++)
			assert_int_equal(io->status[k],
					 was[i * 128 + k] ? -EBADMSG : 0);
	}
	/* A discarded slot keeps its blocks: it can be used again. */
	s->ops->discard(s, 0, 64);
	put_ok(io, s, 0, 64, 2);
	get_ok(io, s, 0, 64, 2);
	s->ops->close(s);
	io_free(io);
}

static void test_full_device(void **state)
{
	char mnt[128];

	snprintf(mnt, sizeof(mnt), "%s/mnt", dir);
	assert_int_equal(mkdir(mnt, 0700), 0);
	/* In a view of our own: whatever happens, nothing stays mounted. */
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("weir-test", mnt, "tmpfs", 0, "size=1m")) {
		rmdir(mnt);
		print_message("mount: not allowed here\n");
		skip();
	}
	full_device(mnt);
	assert_int_equal(umount(mnt), 0);
	rmdir(mnt);
}

static void expect_error(const char *path, uint64_t bytes, int code,
			 const char *words)
{
	char err[256] = "";
	struct store *s;
	int ret = try_open(path, bytes, &s, err, sizeof(err));

	if (ret != code || !strstr(err, words))
		fail_msg("%s: %d, '%s' is not %d, '%s'", path, ret, err, code,
			 words);
}

static void test_open_errors(void **state)
{
	char p[128];
	int fd;

	expect_error("", SLOTS * PAGE, -EINVAL, "no place");
	expect_error(dir, 4095, -EINVAL, "at least one page");
	snprintf(p, sizeof(p), "%s/no/file", dir);
	expect_error(p, SLOTS * PAGE, -ENOENT, "there is no directory");
	snprintf(p, sizeof(p), "%s/no/", dir);
	expect_error(p, SLOTS * PAGE, -ENOENT, "no such directory");
	snprintf(p, sizeof(p), "%s/f", dir);
	fd = open(p, O_CREAT | O_RDWR | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "precious", 8), 8);
	expect_error(p, SLOTS * PAGE, -EEXIST, "a file that exists");
	snprintf(p, sizeof(p), "%s/f/g", dir);
	expect_error(p, SLOTS * PAGE, -ENOTDIR, "not a directory");
	snprintf(p, sizeof(p), "%s/f", dir);
	assert_int_equal(lseek(fd, 0, SEEK_END), 8);
	close(fd);
	unlink(p);
	assert_int_equal(symlink("nowhere", p), 0);
	expect_error(p, SLOTS * PAGE, -EEXIST, "symbolic link to nothing");
	unlink(p);
	expect_error("/dev/null", SLOTS * PAGE, -EEXIST, "character device");
	expect_error("/proc", SLOTS * PAGE, -ENOENT, "/proc");
	expect_error(dir, (uint64_t)INT64_MAX & ~4095ull, -EFBIG,
		     "cannot hold");
}

static void test_file_size_limit(void **state)
{
	struct rlimit old, lim;

	getrlimit(RLIMIT_FSIZE, &old);
	lim = old;
	lim.rlim_cur = 1 << 20;
	setrlimit(RLIMIT_FSIZE, &lim);
	expect_error(dir, SLOTS * PAGE, -EFBIG, "ulimit -f");
	setrlimit(RLIMIT_FSIZE, &old);
}

/* A name serves too, and is gone at once. */
static void test_named(void **state)
{
	struct io *io = io_new();
	struct store *s;
	struct stat st;
	char p[128];

	snprintf(p, sizeof(p), "%s/swap", dir);
	s = open_store(p);
	assert_int_equal(access(p, F_OK), -1);
	assert_int_equal(sys_fstat(s->fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_size, SLOTS * PAGE);
	assert_true(s->fd > 100);
	assert_int_equal(sys_fcntl(s->fd, F_GETFD, 0), FD_CLOEXEC);
	put_ok(io, s, 3, 4, 1);
	get_ok(io, s, 3, 4, 1);
	s->ops->close(s);
	io_free(io);
}

/* ---- the store that fails on purpose ---- */

static struct store *wrap(struct store *under, const char *spec)
{
	char err[256] = "";
	struct store *s;

	if (store_error_wrap(under, spec, &s, err, sizeof(err)))
		fail_msg("%s", err);
	return s;
}

static void test_error_spec(void **state)
{
	struct store *f = open_store(dir), *s;
	char err[256];

	assert_int_equal(
	    store_error_wrap(f, "read-eio=3,frob=1", &s, err, sizeof(err)),
	    -EINVAL);
	assert_non_null(strstr(err, "frob=1"));
	assert_int_equal(store_error_wrap(f, "flip", &s, err, sizeof(err)),
			 -EINVAL);
	assert_int_equal(store_error_wrap(f, "flip=x", &s, err, sizeof(err)),
			 -EINVAL);
	assert_int_equal(store_error_wrap(f, "flip=3x", &s, err, sizeof(err)),
			 -EINVAL);
	s = wrap(f, "read-eio=3,write-eio=5,write-enospc=7,flip=11");
	assert_int_equal(s->slots, SLOTS);
	s->ops->close(s);
}

static void count(const struct io *io, unsigned nr, int status, unsigned want)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nr; i++)
		n += io->status[i] == status;
	assert_int_equal(n, want);
}

static void test_error_faults(void **state)
{
	struct store *s = wrap(open_store(dir), "write-enospc=10,write-eio=16");
	struct io *io = io_new();

	put(io, s, 0, 160, 1); /* both at 80 and 160: the first named wins */
	count(io, 160, -EIO, 10);
	count(io, 160, -ENOSPC, 14);
	count(io, 160, 0, 136);
	assert_int_equal(io->status[15], -EIO);
	assert_int_equal(io->status[9], -ENOSPC);
	s->ops->close(s);

	s = wrap(open_store(dir), "read-eio=8");
	put_ok(io, s, 0, 64, 1);
	get(io, s, 0, 64);
	count(io, 64, -EIO, 8);
	count(io, 64, 0, 56);
	s->ops->close(s);

	/* Every flipped bit is found, wherever it is. */
	s = wrap(open_store(dir), "flip=2");
	put_ok(io, s, 0, 256, 1);
	for (unsigned i = 0; i < 20; i++) {
		get(io, s, 0, 256);
		count(io, 256, -EBADMSG, 128);
		for (unsigned k = 0; k < 256; k++)
			assert_int_equal(is_filled(io->buf[k], k, 1),
					 !io->status[k]);
	}
	s->ops->close(s);
	io_free(io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_checksum),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_many_under_way),
#if !defined(__SANITIZE_THREAD__)
		cmocka_unit_test(test_fork),
#endif
		cmocka_unit_test(test_full_device),
		cmocka_unit_test(test_open_errors),
		cmocka_unit_test(test_file_size_limit),
		cmocka_unit_test(test_named),
		cmocka_unit_test(test_error_spec),
		cmocka_unit_test(test_error_faults),
	};
	int failed = cmocka_run_group_tests_name("ring, direct", tests,
						 group_setup, group_teardown);

	buffered = true;
	failed += cmocka_run_group_tests_name("ring, buffered", tests,
					      group_setup, group_teardown);
	force_threads = true;
	buffered = false;
	failed += cmocka_run_group_tests_name("threads, direct", tests,
					      group_setup, group_teardown);
	return failed;
}
