/* SPDX-License-Identifier: MIT */
/*
 * The kick that another thread takes (the second drawing in uring.c). Between
 * the sleeper's last look and its sleep lie a few instructions; here they last
 * long enough that the waker's no-op has come and gone in nearly every round.
 * With the ring's head moved while somebody is in there, this test hangs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void take_what_came(void);
#define BEFORE_RING_SLEEP() take_what_came()
#include "../../src/host/live/uring.c"

static struct uring *ring;
static _Atomic uint32_t word, woken, read_done;
static _Atomic uint32_t about_to_sleep, taken;

#define ROUNDS 300u

/* On the sleeper: the waker may go ahead, and gets the time to finish. */
static void take_what_came(void)
{
	uint32_t i = atomic_load(&woken);

	atomic_store(&about_to_sleep, 1);
	for (int n = 0; n < 10000 && atomic_load(&taken) == i; n++)
		sys_sched_yield();
	atomic_store(&about_to_sleep, 0);
}

static void sleeper_main(void *arg)
{
	for (uint32_t i = 0; i < ROUNDS; i++) {
		while (atomic_load(&word) == i)
			uring_wait(ring, &word, i, 0);
		atomic_store(&woken, i + 1);
	}
}

static void read_end(void *arg, int res)
{
	atomic_store(&read_done, 1);
	uring_wake(ring, &read_done, 1);
}

static void test_taken(void **state)
{
	struct engine_thread t = {.cpu = -1, .fn = sleeper_main};
	void *mem = sys_mmap(NULL, THREAD_MEM_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char c[8];
	struct iovec iov = {c, sizeof(c)};
	int fd[2];

	ring = malloc(uring_size());
	uring_init(ring, NULL, 0, false);
	if (!uring_is_native(ring)) {
		uring_exit(ring);
		free(ring);
		skip();
	}
	assert_int_equal(sys_pipe2(fd, 0), 0);
	uring_submit(ring, false, fd[0], &iov, 1, 0, read_end, NULL);
	assert_int_equal(thread_start(&t, mem, 0), 0);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		for (int n = 0; n < 1000 && !atomic_load(&about_to_sleep); n++)
			sys_sched_yield();
		atomic_store(&word, i + 1);
		uring_wake(ring, &word, 1);
		uring_poll(ring); /* takes the kick */
		atomic_store(&taken, i + 1);
		while (atomic_load(&woken) == i)
			sys_sched_yield();
	}
	thread_join(&t);
	sys_munmap(mem, THREAD_MEM_BYTES);
	assert_int_equal(sys_write(fd[1], "x", 1), 1);
	while (!atomic_load(&read_done))
		uring_wait(ring, &read_done, 0, 0);
	uring_exit(ring);
	free(ring);
	sys_close(fd[0]);
	sys_close(fd[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_taken)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
