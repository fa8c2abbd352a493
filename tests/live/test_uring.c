/* SPDX-License-Identifier: MIT */
/*
 * The ring and its sleepers. Everything runs twice, with io_uring and with the
 * threads that replace it, except where a request must stay under way for as
 * long as the test likes: that takes a read of an empty pipe, which only the
 * ring can do.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/live/sys.h"
#include "host/live/thread.h"
#include "host/live/uring.h"

#define PAGE 4096u

static bool force_threads;
static struct uring *ring;
static void *stacks;
static int file;

static void ring_up(void)
{
	ring = malloc(uring_size());
	stacks = sys_mmap(NULL, 4 * THREAD_MEM_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(
	    uring_init(ring, stacks, 4 * THREAD_MEM_BYTES, force_threads), 0);
}

static int setup(void **state)
{
	file = sys_memfd_create("test", 0);
	assert_true(file >= 0);
	ring_up();
	return 0;
}

static int teardown(void **state)
{
	uring_exit(ring);
	free(ring);
	sys_munmap(stacks, 4 * THREAD_MEM_BYTES);
	sys_close(file);
	return 0;
}

static bool native(void)
{
	return uring_is_native(ring);
}

/* One request; `word` goes from 0 to 1 when it is done. */
struct op {
	struct iovec iov;
	_Atomic uint32_t word;
	_Atomic int res;
	_Atomic uint32_t *also; /* another word to set and wake */
};

static void op_done(void *arg, int res)
{
	struct op *o = arg;
	_Atomic uint32_t *also = o->also;

	atomic_store(&o->res, res);
	atomic_store(&o->word, 1);
	uring_wake(ring, &o->word, UINT32_MAX);
	/* o may be gone from here on */
	if (also) {
		atomic_fetch_add(also, 1);
		uring_wake(ring, also, UINT32_MAX);
		sys_futex(also, FUTEX_WAKE, INT32_MAX, NULL);
	}
}

static void op_start(struct op *o, bool write, int fd, void *buf, size_t len,
		     uint64_t off)
{
	o->iov = (struct iovec){buf, len};
	atomic_store(&o->word, 0);
	uring_submit(ring, write, fd, &o->iov, 1, off, op_done, o);
}

static int op_wait(struct op *o)
{
	while (!atomic_load(&o->word))
		uring_wait(ring, &o->word, 0, 0);
	return atomic_load(&o->res);
}

static void test_round_trip(void **state)
{
	char out[3][PAGE], in[2 * PAGE];
	struct iovec iov[3];
	struct op o = {0};

	for (int i = 0; i < 3; i++) {
		memset(out[i], 'a' + i, PAGE);
		iov[i] = (struct iovec){out[i], PAGE};
	}
	uring_submit(ring, true, file, iov, 3, 2 * PAGE, op_done, &o);
	assert_int_equal(op_wait(&o), 3 * PAGE);
	op_start(&o, false, file, in, sizeof(in), 3 * PAGE);
	assert_int_equal(op_wait(&o), 2 * PAGE);
	assert_memory_equal(in, out[1], PAGE);
	assert_memory_equal(in + PAGE, out[2], PAGE);
	/* a hole, then an end that comes early, then nothing at all */
	op_start(&o, false, file, in, PAGE, 0);
	assert_int_equal(op_wait(&o), PAGE);
	assert_int_equal(in[5], 0);
	op_start(&o, false, file, in, 2 * PAGE, 4 * PAGE);
	assert_int_equal(op_wait(&o), PAGE);
	op_start(&o, false, file, in, PAGE, 100 * PAGE);
	assert_int_equal(op_wait(&o), 0);
	op_start(&o, false, -1, in, PAGE, 0);
	assert_int_equal(op_wait(&o), -EBADF);
}

static void test_wait_returns(void **state)
{
	_Atomic uint32_t word = 7;
	struct timespec a, b;
	int64_t ns;

	assert_int_equal(uring_wait(ring, &word, 6, 0), 0);
	sys_clock_gettime(CLOCK_MONOTONIC, &a);
	assert_int_equal(uring_wait(ring, &word, 7, 3000000), -ETIMEDOUT);
	sys_clock_gettime(CLOCK_MONOTONIC, &b);
	ns = (b.tv_sec - a.tv_sec) * 1000000000 + (b.tv_nsec - a.tv_nsec);
	assert_true(ns >= 3000000);
}

/* More at once than the table holds, by one thread that never waits between. */
static void test_more_than_fit(void **state)
{
	enum { N = 3000 };
	struct op *o = calloc(N, sizeof(*o));
	char *buf = calloc(N, 16);

	assert_int_equal(ftruncate(file, N * 16), 0);
	for (int i = 0; i < N; i++) {
		memcpy(buf + i * 16, &i, sizeof(i));
		op_start(&o[i], true, file, buf + i * 16, 16, i * 16);
	}
	for (int i = 0; i < N; i++)
		assert_int_equal(op_wait(&o[i]), 16);
	memset(buf, 0xff, N * 16);
	for (int i = 0; i < N; i++)
		op_start(&o[i], false, file, buf + i * 16, 16, i * 16);
	for (int i = N - 1; i >= 0; i--) {
		assert_int_equal(op_wait(&o[i]), 16);
		assert_memory_equal(buf + i * 16, &i, sizeof(i));
	}
	free(buf);
	free(o);
}

/* ---- several threads ---- */

struct helper {
	struct engine_thread t;
	void *mem;
	_Atomic uint32_t word, round, woken;
	unsigned i, errors;
};

static void helper_start(struct helper *h, void (*fn)(void *arg))
{
	h->mem = sys_mmap(NULL, THREAD_MEM_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	h->t.cpu = -1;
	h->t.fn = fn;
	h->t.arg = h;
	assert_int_equal(thread_start(&h->t, h->mem, 0), 0);
}

static void helper_join(struct helper *h)
{
	thread_join(&h->t);
	sys_munmap(h->mem, THREAD_MEM_BYTES);
	assert_int_equal(h->errors, 0);
}

/* Sleeps until `word` reaches each number in turn; says so in `woken`. */
static void follow(void *arg)
{
	struct helper *h = arg;
	uint32_t rounds = atomic_load(&h->round);

	for (uint32_t i = 0; i < rounds; i++) {
		while (atomic_load(&h->word) == i)
			uring_wait(ring, &h->word, i, 0);
		atomic_store(&h->woken, i + 1);
		sys_futex(&h->woken, FUTEX_WAKE, 1, NULL);
	}
}

/* Hangs if a wake is lost. */
static void lead(struct helper *h, uint32_t rounds)
{
	for (uint32_t i = 0; i < rounds; i++) {
		uint32_t seen;

		/* Now early, now late against the sleeper. */
		for (volatile uint32_t n = 0; n < i % 64 * 40; n++)
			;
		atomic_store(&h->word, i + 1);
		uring_wake(ring, &h->word, 1);
		while ((seen = atomic_load(&h->woken)) == i)
			sys_futex(&h->woken, FUTEX_WAIT, seen, NULL);
	}
}

static void test_wake_plain(void **state)
{
	struct helper h = {.round = 2000};

	helper_start(&h, follow);
	lead(&h, 2000);
	helper_join(&h);
}

static void poller(void *arg)
{
	struct helper *h = arg;

	while (!atomic_load(&h->word)) {
		uring_poll(ring);
		if (++h->i % 8 == 0)
			sys_sched_yield();
	}
}

/* The read of an empty pipe keeps the ring busy, so sleepers sleep there; a
 * third thread takes every completion it sees, the kicks too. */
static void kick(bool poll)
{
	struct helper h = {.round = 2000}, p = {0};
	struct op o = {0};
	char c[8];
	int fd[2];

	if (!native())
		skip();
	assert_int_equal(sys_pipe2(fd, 0), 0);
	op_start(&o, false, fd[0], c, sizeof(c), 0);
	helper_start(&h, follow);
	if (poll)
		helper_start(&p, poller);
	lead(&h, 2000);
	helper_join(&h);
	if (poll) {
		atomic_store(&p.word, 1);
		helper_join(&p);
	}
	assert_int_equal(atomic_load(&o.word), 0);
	assert_int_equal(sys_write(fd[1], "hello", 5), 5);
	assert_int_equal(op_wait(&o), 5);
	sys_close(fd[0]);
	sys_close(fd[1]);
}

static void test_kick(void **state)
{
	kick(false);
}

static void test_kick_taken_by_another(void **state)
{
	kick(true);
}

/* Each has a read of its own under way, so all of them sleep in the ring. */
static void follow_with_own_read(void *arg)
{
	struct helper *h = arg;
	struct op o = {0};
	char c[8];
	int fd[2];

	sys_pipe2(fd, 0);
	op_start(&o, false, fd[0], c, sizeof(c), 0);
	follow(h);
	sys_write(fd[1], "hello", 5);
	if (op_wait(&o) != 5)
		h->errors++;
	sys_close(fd[0]);
	sys_close(fd[1]);
}

static void test_several_in_ring(void **state)
{
	enum { N = 12 }; /* more than may */
	struct helper h[N];

	if (!native())
		skip();
	memset(h, 0, sizeof(h));
	for (int i = 0; i < N; i++) {
		h[i].round = 200;
		helper_start(&h[i], follow_with_own_read);
	}
	/* In step, then one after the other. */
	for (uint32_t r = 0; r < 100; r++) {
		for (int i = 0; i < N; i++) {
			atomic_store(&h[i].word, r + 1);
			uring_wake(ring, &h[i].word, 1);
		}
		for (int i = 0; i < N; i++)
			while (atomic_load(&h[i].woken) == r)
				sys_futex(&h[i].woken, FUTEX_WAIT, r, NULL);
	}
	for (int i = 0; i < N; i++)
		for (uint32_t r = 100; r < 200; r++) {
			atomic_store(&h[i].word, r + 1);
			uring_wake(ring, &h[i].word, 1);
			while (atomic_load(&h[i].woken) == r)
				sys_futex(&h[i].woken, FUTEX_WAIT, r, NULL);
		}
	for (int i = 0; i < N; i++)
		helper_join(&h[i]);
}

/* A sleeper that went to bed with nothing under way must be sent to the ring
 * when somebody submits and does not wait there. */
static void test_orphan(void **state)
{
	struct helper h = {.round = 500};
	char buf[PAGE] = {1};

	helper_start(&h, follow);
	for (uint32_t i = 0; i < 500; i++) {
		struct op o = {.also = &h.word};

		op_start(&o, true, file, buf, sizeof(buf), 0);
		while (atomic_load(&h.woken) == i)
			sys_futex(&h.woken, FUTEX_WAIT, i, NULL);
		while (!atomic_load(&o.word))
			sys_sched_yield();
		assert_int_equal(o.res, PAGE);
	}
	helper_join(&h);
}

/* Everybody writes and reads blocks of its own and waits for a neighbour's. */
#define CROWD  4u
#define ROUNDS 400u

static struct crowd_op {
	struct op op;
	_Alignas(16) char buf[512];
	_Atomic uint32_t round;
} crowd[CROWD];

static void crowd_main(void *arg)
{
	struct helper *h = arg;
	struct crowd_op *mine = &crowd[h->i];
	struct crowd_op *other = &crowd[(h->i + 1) % CROWD];
	char back[512];
	struct op rd = {0};

	for (uint32_t r = 1; r <= ROUNDS; r++) {
		uint64_t off = (h->i * ROUNDS + r) * 512;

		memset(mine->buf, (int)(r + h->i), sizeof(mine->buf));
		mine->op.also = &mine->round;
		op_start(&mine->op, true, file, mine->buf, 512, off);
		/* the neighbour's write of this round, whoever reaps it */
		for (uint32_t seen; (seen = atomic_load(&other->round)) < r;)
			uring_wait(ring, &other->round, seen, 0);
		if (op_wait(&mine->op) != 512)
			h->errors++;
		/* `also` is bumped after the word: the op is free after both */
		for (uint32_t seen; (seen = atomic_load(&mine->round)) < r;)
			uring_wait(ring, &mine->round, seen, 0);
		op_start(&rd, false, file, back, 512, off);
		if (op_wait(&rd) != 512 || memcmp(back, mine->buf, 512))
			h->errors++;
	}
}

static void test_crowd(void **state)
{
	struct helper h[CROWD];

	memset(h, 0, sizeof(h));
	memset(crowd, 0, sizeof(crowd));
	for (unsigned i = 0; i < CROWD; i++) {
		h[i].i = i;
		helper_start(&h[i], crowd_main);
	}
	for (unsigned i = 0; i < CROWD; i++)
		helper_join(&h[i]);
	for (unsigned i = 0; i < CROWD; i++)
		assert_int_equal(crowd[i].round, ROUNDS);
}

static void many_sleep(void *arg)
{
	struct helper *h = arg;
	_Atomic uint32_t *word = h->t.self;

	while (!atomic_load(word))
		uring_wait(ring, word, 0, 0);
	atomic_store(&h->woken, 1);
}

/* One word, more sleepers than one batch of a wake. */
static void test_wake_all(void **state)
{
	enum { N = 40 };
	struct helper h[N];
	_Atomic uint32_t word = 0;

	memset(h, 0, sizeof(h));
	for (int i = 0; i < N; i++) {
		h[i].t.self = &word;
		helper_start(&h[i], many_sleep);
	}
	sys_nanosleep(2000000);
	atomic_store(&word, 1);
	uring_wake(ring, &word, UINT32_MAX);
	for (int i = 0; i < N; i++)
		helper_join(&h[i]);
}

#if !defined(__SANITIZE_THREAD__)
/* The child's ring is its own: the parent's read stays the parent's. */
static void test_fork(void **state)
{
	struct op o = {0};
	char c[8], page[PAGE] = {42};
	int fd[2], status, fds_before;
	pid_t pid;

	assert_int_equal(sys_pipe2(fd, 0), 0);
	if (native())
		op_start(&o, false, fd[0], c, sizeof(c), 0);
	pid = fork();
	if (!pid) {
		struct op p = {0};

		fds_before = dup(0);
		close(fds_before);
		uring_after_fork(ring);
		if (uring_init(ring, stacks, 4 * THREAD_MEM_BYTES,
			       force_threads))
			_exit(3);
		op_start(&p, true, file, page, PAGE, 0);
		if (op_wait(&p) != PAGE)
			_exit(4);
		uring_exit(ring);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(sys_pread64(file, page, PAGE, 0), PAGE);
	assert_int_equal(page[0], 42);
	if (native()) {
		assert_int_equal(sys_write(fd[1], "hello", 5), 5);
		assert_int_equal(op_wait(&o), 5);
	}
	sys_close(fd[0]);
	sys_close(fd[1]);
}
#endif

/* Synchronous where there is no memory for threads. */
static void test_no_threads(void **state)
{
	struct uring *r = malloc(uring_size());
	struct op o = {0};
	char page[PAGE];

	assert_int_equal(uring_init(r, NULL, 0, true), 0);
	assert_false(uring_is_native(r));
	o.iov = (struct iovec){page, PAGE};
	assert_int_equal(ftruncate(file, 2 * PAGE), 0);
	uring_submit(r, false, file, &o.iov, 1, 0, op_done, &o);
	assert_int_equal(o.word, 1);
	assert_int_equal(o.res, PAGE);
	uring_exit(r);
	free(r);
}

/* What is under way when the ring is taken down is finished first. */
static void test_exit_waits(void **state)
{
	enum { N = 50 };
	static struct op o[N];
	static char page[PAGE];

	memset(o, 0, sizeof(o));
	for (int i = 0; i < N; i++)
		op_start(&o[i], true, file, page, PAGE, i * PAGE);
	uring_exit(ring);
	for (int i = 0; i < N; i++)
		assert_int_equal(o[i].res, PAGE);
	free(ring);
	sys_munmap(stacks, 4 * THREAD_MEM_BYTES);
	ring_up();
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_round_trip),
		T(test_wait_returns),
		T(test_more_than_fit),
		T(test_wake_plain),
		T(test_kick),
		T(test_kick_taken_by_another),
		T(test_several_in_ring),
		T(test_orphan),
		T(test_crowd),
		T(test_wake_all),
#if !defined(__SANITIZE_THREAD__)
		T(test_fork),
#endif
		T(test_no_threads),
		T(test_exit_waits),
	};
	int failed = cmocka_run_group_tests_name("ring", tests, NULL, NULL);

	force_threads = true;
	failed += cmocka_run_group_tests_name("threads", tests, NULL, NULL);
	return failed;
}
