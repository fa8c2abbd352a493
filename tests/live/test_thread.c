/* SPDX-License-Identifier: MIT */
/* Raw threads: identity, isolation from the program, memory used again. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/live/sys.h"
#include "host/live/thread.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||           \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||     \
    !defined(__x86_64__)
#define RAW 0
#else
#define RAW 1
#endif

static void *block(void)
{
	void *p = sys_mmap(NULL, THREAD_MEM_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_false(sys_is_err(p));
	return p;
}

struct seen {
	struct engine_thread t;
	void *self;
	int tid, cpu;
	char name[16];
	uint64_t mask;
	long stack_here;
	int errno_first;
	_Atomic uint32_t go;
	int fd, fd_ok;
	uintptr_t canary;
};

static void wait_go(struct seen *s)
{
	while (!atomic_load(&s->go))
		sys_futex(&s->go, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, NULL);
}

static void let_go(struct seen *s)
{
	atomic_store(&s->go, 1);
	sys_futex(&s->go, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL);
}

static void look_around(void *arg)
{
	struct seen *s = arg;
	int here;

	s->self = thread_self();
	s->tid = sys_gettid();
	s->cpu = sys_getcpu();
	sys_prctl(PR_GET_NAME, (unsigned long)s->name, 0, 0, 0);
	sys_sigprocmask(SIG_BLOCK, &(uint64_t){0}, &s->mask);
	s->stack_here = (long)&here;
	/* The C library's errno is a thread-local: it must be there, be zero,
	 * and be ours alone. */
	s->errno_first = errno;
	errno = 77;
#if defined(__x86_64__)
	__asm__("mov %%fs:0x28, %0" : "=r"(s->canary));
#endif
}

static void test_identity(void **state)
{
	struct seen s = {.t = {.cpu = 0,
			       .name = "weir-test-thread-long",
			       .fn = look_around}};
	char *mem = block();
	uint64_t before, after;

	s.t.arg = &s;
	s.t.self = &s;
	errno = 5;
	sys_sigprocmask(SIG_BLOCK, &(uint64_t){0}, &before);
	assert_int_equal(thread_start(&s.t, mem, 0), 0);
	sys_sigprocmask(SIG_BLOCK, &(uint64_t){0}, &after);
	thread_join(&s.t);
	assert_int_equal(s.t.tid, 0);
	assert_ptr_equal(s.self, &s);
	assert_int_not_equal(s.tid, sys_gettid());
	assert_int_equal(s.cpu, 0);
	assert_string_equal(s.name, "weir-test-threa");
	/* SIGKILL and SIGSTOP cannot be blocked; everything else is. */
	assert_true((s.mask | 1u << (SIGKILL - 1) | 1u << (SIGSTOP - 1)) ==
		    ~(uint64_t)0);
	assert_true(before == after);
	assert_int_equal(s.errno_first, 0);
	assert_int_equal(errno, 5);
#if RAW
	uintptr_t canary;

	__asm__("mov %%fs:0x28, %0" : "=r"(canary));
	assert_true(canary == s.canary);
	assert_in_range(s.stack_here, (uintptr_t)mem,
			(uintptr_t)mem + THREAD_MEM_BYTES);
#endif
	sys_munmap(mem, THREAD_MEM_BYTES);
}

static void *ordinary(void *arg)
{
	return thread_self() ? arg : NULL;
}

static void test_self_is_null_elsewhere(void **state)
{
	pthread_t p;
	void *ret = NULL;

	assert_null(thread_self());
	assert_int_equal(pthread_create(&p, NULL, ordinary, &ret), 0);
	pthread_join(p, &ret);
	assert_null(ret);
}

/* The block of an ended thread becomes ordinary memory: the stack and TLS of a
 * pthread put there must not be taken for ours. */
static void test_block_used_again(void **state)
{
	char *mem = block();

	for (int i = 0; i < 50; i++) {
		struct seen s = {.t = {.cpu = -1, .fn = look_around}};

		s.t.arg = &s;
		s.t.self = &s;
		assert_int_equal(thread_start(&s.t, mem, 0), 0);
		thread_join(&s.t);
		assert_ptr_equal(s.self, &s);
		assert_int_equal(s.errno_first, 0);
		memset(mem, 0xa5, THREAD_MEM_BYTES); /* guard is gone too */
	}
	sys_munmap(mem, THREAD_MEM_BYTES);
}

static void sleeper(void *arg)
{
	struct seen *s = arg;

	wait_go(s);
	s->self = thread_self();
}

static void test_many_at_once(void **state)
{
	enum { N = 40 };
	struct seen s[N];
	char *mem[N];

	memset(s, 0, sizeof(s));
	for (int i = 0; i < N; i++) {
		s[i].t = (struct engine_thread){
		    .cpu = -1, .fn = sleeper, .arg = &s[i], .self = &s[i]};
		mem[i] = block();
		assert_int_equal(thread_start(&s[i].t, mem[i], i % 2), 0);
		assert_int_not_equal(s[i].t.tid, 0);
	}
	for (int i = 0; i < N; i++)
		let_go(&s[i]);
	for (int i = 0; i < N; i++) {
		thread_join(&s[i].t);
		assert_ptr_equal(s[i].self, &s[i]);
		sys_munmap(mem[i], THREAD_MEM_BYTES);
	}
}

static void use_fd(void *arg)
{
	struct seen *s = arg;
	char c = 'x';

	wait_go(s);
	s->fd_ok = sys_write(s->fd, &c, 1) == 1;
	sys_close(s->fd);
}

/* A program closing every descriptor does not take a private table's. */
static void test_files(void **state)
{
	for (int private = 0; private < 2; private ++) {
		struct seen s = {.t = {.cpu = -1, .fn = use_fd}};
		char *mem = block();
		int fd[2];

		s.t.arg = &s;
		assert_int_equal(sys_pipe2(fd, O_CLOEXEC), 0);
		s.fd = fd[1];
		assert_int_equal(thread_start(&s.t, mem, private), 0);
		if (private) {
			/* The thread may not have run yet in the fallback. */
			sys_close(fd[1]);
			let_go(&s);
			thread_join(&s.t);
			assert_true(s.fd_ok);
		} else {
			let_go(&s);
			thread_join(&s.t);
			/* It was ours that it closed. */
			assert_int_equal(sys_close(fd[1]), -EBADF);
		}
		sys_close(fd[0]);
		sys_munmap(mem, THREAD_MEM_BYTES);
	}
}

static _Atomic int handled_by;

static void handler(int sig)
{
	atomic_store(&handled_by, sys_gettid());
}

static void test_signals_go_elsewhere(void **state)
{
	struct seen s = {.t = {.cpu = -1, .fn = sleeper}};
	char *mem = block();

	s.t.arg = &s;
	signal(SIGUSR1, handler);
	assert_int_equal(thread_start(&s.t, mem, 0), 0);
	for (int i = 0; i < 100; i++) {
		atomic_store(&handled_by, 0);
		assert_int_equal(sys_kill(sys_getpid(), SIGUSR1), 0);
		while (!atomic_load(&handled_by))
			sys_sched_yield();
		assert_int_equal(handled_by, sys_gettid());
	}
	let_go(&s);
	thread_join(&s.t);
	signal(SIGUSR1, SIG_DFL);
	sys_munmap(mem, THREAD_MEM_BYTES);
}

#if RAW
static void too_deep(void *arg)
{
	volatile char *mem = arg;

	mem[100] = 1;
}

/* Below the stack stands a page that faults. */
static void test_guard(void **state)
{
	char *mem = block();
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct engine_thread t = {
		    .cpu = -1, .fn = too_deep, .arg = mem};

		if (thread_start(&t, mem, 0))
			_exit(3);
		thread_join(&t);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
	sys_munmap(mem, THREAD_MEM_BYTES);
}

/* A child starts its own threads in the copies of the parent's blocks. */
static void test_fork(void **state)
{
	struct seen s = {.t = {.cpu = -1, .fn = sleeper}};
	char *mem = block();
	int status;
	pid_t pid;

	s.t.arg = &s;
	s.t.self = &s;
	assert_int_equal(thread_start(&s.t, mem, 0), 0);
	pid = fork();
	if (!pid) {
		s.t.tid = 0;
		if (thread_start(&s.t, mem, 0))
			_exit(3);
		let_go(&s);
		thread_join(&s.t);
		_exit(s.self == &s ? 0 : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	let_go(&s);
	thread_join(&s.t);
	assert_ptr_equal(s.self, &s);
	sys_munmap(mem, THREAD_MEM_BYTES);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_self_is_null_elsewhere),
		cmocka_unit_test(test_block_used_again),
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_signals_go_elsewhere),
#if RAW
		cmocka_unit_test(test_guard),
		cmocka_unit_test(test_fork),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
