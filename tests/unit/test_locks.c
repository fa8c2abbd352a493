/* SPDX-License-Identifier: MIT */
/*
 * Spinlocks: order, counting, the simulator's scheduling point; and with real
 * threads: exclusion, and no lost wake-up of the page lock.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "machine.h"

static struct machine m;
static struct spin outer, inner, peer;

static void start(void)
{
	machine_simple(&m, 64, 1);
	weir__spin_init(&outer, RANK_SWAP);
	weir__spin_init(&inner, RANK_ZONE);
	weir__spin_init(&peer, RANK_SWAP);
}

#ifdef WEIR_DEBUG
#define debug_build() true
#else
#define debug_build() false
#endif

static void assert_says(const char *text)
{
	if (!strstr(machine_panic_text, text))
		fail_msg("said: %s", machine_panic_text);
}

static void test_in_order(void **state)
{
	start();
	weir__spin_lock(m.e, &outer);
	weir__spin_lock(m.e, &inner);
	weir__spin_assert_held(m.e, &outer);
	weir__spin_assert_held(m.e, &inner);
	weir__spin_unlock(m.e, &outer); /* let go in any order */
	weir__spin_assert_held(m.e, &inner);
	weir__spin_unlock(m.e, &inner);
	assert_int_equal(m.fh.task.nr_locks, 0);
	weir__assert_may_sleep(m.e);
	machine_stop(&m);
}

static void test_order_is_checked(void **state)
{
	if (!debug_build())
		skip();
	start();
	weir__spin_lock(m.e, &inner);
	expect_panic(&m, weir__spin_lock(m.e, &outer));
	assert_says("swap taken while holding zone");
	weir__spin_unlock(m.e, &inner);

	/* equals have no order */
	weir__spin_lock(m.e, &outer);
	expect_panic(&m, weir__spin_lock(m.e, &peer));
	assert_says("swap taken while holding swap");
	weir__spin_unlock(m.e, &outer);

	/* a try cannot deadlock, but counts for what comes after it */
	weir__spin_lock(m.e, &inner);
	assert_true(weir__spin_trylock(m.e, &outer));
	weir__spin_unlock(m.e, &inner);
	expect_panic(&m, weir__spin_lock(m.e, &peer));
	weir__spin_unlock(m.e, &outer);
	weir__spin_lock(m.e, &peer);
	weir__spin_unlock(m.e, &peer);
	machine_stop(&m);
}

static void test_misuse_is_seen(void **state)
{
	struct frame *f;

	if (!debug_build())
		skip();
	start();
	f = weir__frames_alloc(m.e, GFP_KERNEL, 0);
	expect_panic(&m, weir__spin_unlock(m.e, &outer));
	expect_panic(&m, weir__spin_assert_held(m.e, &outer));
	assert_says("swap");
	weir__spin_lock(m.e, &outer);
	expect_panic(&m, weir__assert_may_sleep(m.e));
	assert_says("about to sleep while holding swap");
	expect_panic(&m, weir__frame_lock(m.e, f));
	/* may sleep and reclaim: not here; the other kind may */
	expect_panic(&m, weir__frames_alloc(m.e, GFP_KERNEL, 0));
	assert_non_null(weir__frames_alloc(m.e, GFP_NOWAIT, 0));
	/* another task's lock is not ours */
	m.fh.task.id = 2;
	expect_panic(&m, weir__spin_assert_held(m.e, &outer));
	m.fh.task.id = 1;
	weir__spin_unlock(m.e, &outer);
	machine_stop(&m);
}

static void test_trylock(void **state)
{
	start();
	assert_true(weir__spin_trylock(m.e, &outer));
	assert_false(weir__spin_trylock(m.e, &outer));
	weir__spin_unlock(m.e, &outer);
	assert_true(weir__spin_trylock(m.e, &outer));
	weir__spin_unlock(m.e, &outer);
	machine_stop(&m);
}

static unsigned preempted;

static void preempt(struct weir_host *h)
{
	assert_int_equal(m.fh.task.nr_locks, 0);
	preempted++;
}

/* Another fiber may run before the first lock, never under one. */
static void test_scheduling_point(void **state)
{
	start();
	m.ops.preempt = preempt;
	preempted = 0;
	weir__spin_lock(m.e, &outer);
	assert_int_equal(preempted, 1);
	assert_int_equal(m.fh.task.nr_locks, 1);
	weir__spin_lock(m.e, &inner);
	assert_int_equal(preempted, 1);
	weir__spin_unlock(m.e, &inner);
	weir__spin_unlock(m.e, &outer);
	assert_int_equal(m.fh.task.nr_locks, 0);
	m.fh.task.flags = PF_ATOMIC; /* an interrupt runs to its end */
	weir__spin_lock(m.e, &outer);
	weir__spin_unlock(m.e, &outer);
	assert_int_equal(preempted, 1);
	m.fh.task.flags = 0;
	machine_stop(&m);
}

/* The host does not know its task yet: no book, but the lock works. */
static struct wtask *no_task(struct weir_host *h)
{
	return NULL;
}

static void test_before_the_first_task(void **state)
{
	start();
	m.ops.self = no_task;
	weir__spin_lock(m.e, &inner);
	assert_false(weir__spin_trylock(m.e, &inner));
	weir__spin_unlock(m.e, &inner);
	weir__assert_may_sleep(m.e);
	machine_stop(&m);
}

/* ------------------------------------------------------------ real threads */

#define THREADS 4
#define TURNS   4000

static _Thread_local struct wtask self_task;
static pthread_mutex_t word_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t word_cond = PTHREAD_COND_INITIALIZER;

static struct wtask *thread_self(struct weir_host *h)
{
	return &self_task;
}

/* No time limit and no wake-up out of thin air but the condition's own: a
 * lost wake-up hangs the test. */
static int thread_wait(struct weir_host *h, _Atomic uint32_t *word,
		       uint32_t expected, uint64_t timeout_ns)
{
	pthread_mutex_lock(&word_mutex);
	if (atomic_load(word) == expected)
		pthread_cond_wait(&word_cond, &word_mutex);
	pthread_mutex_unlock(&word_mutex);
	return 0;
}

static void thread_wake(struct weir_host *h, _Atomic uint32_t *word,
			unsigned nr)
{
	pthread_mutex_lock(&word_mutex);
	pthread_cond_broadcast(&word_cond);
	pthread_mutex_unlock(&word_mutex);
}

static void thread_relax(struct weir_host *h)
{
	sched_yield();
}

static struct frame *shared;
static uint64_t under_spin, under_page_lock; /* plain: the locks protect */

static void *worker(void *arg)
{
	self_task.id = (uint32_t)(uintptr_t)arg + 1;
	for (int i = 0; i < TURNS; i++) {
		weir__spin_lock(m.e, &outer);
		under_spin++;
		weir__spin_unlock(m.e, &outer);

		weir__frame_lock(m.e, shared);
		under_page_lock++;
		if (i % 3 == 0 && !frame_test(shared, FRAME_WRITEBACK)) {
			/* somebody else ends what this one began */
			weir__frame_set(shared, FRAME_WRITEBACK);
			weir__frame_unlock(m.e, shared);
			sched_yield();
			weir__frame_end(m.e, shared, FRAME_WRITEBACK);
		} else {
			weir__frame_unlock(m.e, shared);
			weir__frame_wait(m.e, shared, FRAME_WRITEBACK);
		}
	}
	return NULL;
}

static void threads(void *(*fn)(void *))
{
	pthread_t t[THREADS];

	m.ops.self = thread_self;
	m.ops.wait = thread_wait;
	m.ops.wake_word = thread_wake;
	m.ops.relax = thread_relax;
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, fn, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

static void test_threads(void **state)
{
	start();
	shared = weir__frames_alloc(m.e, GFP_KERNEL, 0);
	under_spin = under_page_lock = 0;
	threads(worker);
	assert_int_equal(under_spin, THREADS * TURNS);
	assert_int_equal(under_page_lock, THREADS * TURNS);
	assert_int_equal(shared->flags, 0);
	machine_stop(&m);
}

/* Everybody takes and gives frames at once: none lost, none given twice. */
static void no_release(struct weir_host *h, pfn_t pfn, unsigned nr)
{
}

static void *allocator(void *arg)
{
	struct frame *f[64] = {0};
	unsigned order[64] = {0};
	uint32_t seed = (uint32_t)(uintptr_t)arg * 77 + 1;

	self_task.id = (uint32_t)(uintptr_t)arg + 1;
	self_task.cpu = (uint32_t)(uintptr_t)arg % 2; /* two share a list */
	for (int i = 0; i < TURNS; i++) {
		seed = seed * 1664525u + 1013904223u;
		unsigned k = (seed >> 10) % 64;

		if (f[k]) {
			/* only this thread may own it */
			if (f[k]->private != (uintptr_t)arg + 1)
				abort();
			weir__frames_free(m.e, f[k], order[k]);
			f[k] = NULL;
			continue;
		}
		order[k] = (seed >> 20) % 5;
		f[k] = weir__frames_alloc(
		    m.e, seed >> 31 ? GFP_HIGHUSER_MOVABLE : GFP_ATOMIC,
		    order[k]);
		if (f[k])
			f[k]->private = (uintptr_t)arg + 1;
	}
	for (int k = 0; k < 64; k++)
		if (f[k])
			weir__frames_free(m.e, f[k], order[k]);
	return NULL;
}

static void test_threads_allocate(void **state)
{
	struct zone *z = machine_simple(&m, 1024, 2); /* too small for all */

	m.ops.release = no_release;
	threads(allocator);
	assert_true(weir__zone_is_valid(z));
	m.ops.self = no_task;
	for (unsigned c = 0; c < 2; c++)
		weir__pcp_drain(m.e, z, c);
	assert_int_equal(z->free_pages, 1024);
	assert_int_equal(z->free_area[10].nr_free, 1);
	machine_stop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_in_order),
	    cmocka_unit_test(test_order_is_checked),
	    cmocka_unit_test(test_misuse_is_seen),
	    cmocka_unit_test(test_trylock),
	    cmocka_unit_test(test_scheduling_point),
	    cmocka_unit_test(test_before_the_first_task),
	    cmocka_unit_test(test_threads),
	    cmocka_unit_test(test_threads_allocate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
