/* SPDX-License-Identifier: MIT */
/* The simulator's own rooms: numbers, timers, fibers, waits, the disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "host/sim/sim_internal.h"

static struct sim *make(uint64_t seed)
{
	struct sim_config c;

	sim_config_default(&c);
	c.seed = seed;
	c.zone_pages[0][0] = 64;
	c.swap_slots[0] = 64;
	return sim_create(&c);
}

/* --- prng, clock ---------------------------------------------------------- */

static void test_prng_streams(void **state)
{
	struct prng a, b, c;
	unsigned same = 0, low = 0;

	prng_init(&a, 1, 1);
	prng_init(&b, 1, 1);
	prng_init(&c, 1, 2);
	for (int i = 0; i < 1000; i++) {
		uint64_t x = prng_next(&a);

		assert_int_equal(x, prng_next(&b));
		same += x == prng_next(&c);
		low += prng_below(&a, 10) == 3;
		prng_below(&b, 10);
	}
	assert_int_equal(same, 0);
	assert_in_range(low, 60, 140);
	assert_false(prng_chance(&a, 0));
	assert_true(prng_chance(&a, 1000000));
	assert_int_equal(prng_range(&a, 7, 7), 7);
}

static void test_clock_order(void **state)
{
	struct sim_clock c;
	struct sim_timer t[200], *due;
	struct prng p;
	uint64_t last = 0;
	int seen = 0;

	prng_init(&p, 5, 0);
	sim__clock_init(&c);
	memset(t, 0, sizeof(t));
	for (int i = 0; i < 200; i++)
		sim__timer_set(&c, &t[i], prng_below(&p, 50));
	for (int i = 0; i < 200; i += 3)
		sim__timer_cancel(&c, &t[i]);
	sim__timer_cancel(&c, &t[0]); /* not set: nothing */
	c.now = 24;
	while ((due = sim__clock_due(&c))) {
		assert_true(due->when >= last && due->when <= 24);
		last = due->when;
		seen++;
	}
	assert_true(sim__clock_next(&c) > 24);
	c.now = 100;
	while ((due = sim__clock_due(&c))) {
		assert_true(due->when >= last);
		last = due->when;
		assert_int_not_equal((due - t) % 3, 0);
		seen++;
	}
	assert_int_equal(seen, 200 - 67);
	assert_true(sim__clock_next(&c) == UINT64_MAX);
	sim__clock_exit(&c);
}

static void test_clock_ties_are_fifo(void **state)
{
	struct sim_clock c;
	struct sim_timer t[20];

	sim__clock_init(&c);
	memset(t, 0, sizeof(t));
	for (int i = 0; i < 20; i++)
		sim__timer_set(&c, &t[i], 9);
	c.now = 9;
	for (int i = 0; i < 20; i++)
		assert_ptr_equal(sim__clock_due(&c), &t[i]);
	sim__clock_exit(&c);
}

/* --- tasks ------------------------------------------------------------------
 */

struct pair {
	struct sim *s;
	_Atomic uint32_t turn;
	int count;
	char trace[64];
	int rc;
};

static void ping(void *arg)
{
	struct pair *p = arg;

	for (int i = 0; i < 100; i++) {
		while (p->turn != 0)
			sim_wait(p->s, &p->turn, 1, 0);
		p->count++;
		p->turn = 1;
		sim_wake(p->s, &p->turn);
	}
}

static void pong(void *arg)
{
	struct pair *p = arg;

	for (int i = 0; i < 100; i++) {
		while (p->turn != 1)
			sim_wait(p->s, &p->turn, 0, 0);
		p->count++;
		p->turn = 0;
		sim_wake(p->s, &p->turn);
	}
}

static void test_wait_and_wake(void **state)
{
	struct pair p = {.s = make(3)};

	sim_task_start(p.s, "ping", ping, &p);
	sim_task_start(p.s, "pong", pong, &p);
	assert_int_equal(sim_run(p.s), 0);
	assert_int_equal(p.count, 200);
	sim_destroy(p.s);
}

static void only_waits(void *arg)
{
	struct pair *p = arg;

	sim_wait(p->s, &p->turn, 0, 0);
}

static void test_deadlock_is_found(void **state)
{
	struct pair p = {.s = make(3)};

	sim_task_start(p.s, "lonely", only_waits, &p);
	assert_int_equal(sim_run(p.s), -EIO);
	assert_non_null(strstr(sim_why(p.s), "deadlock"));
	assert_int_equal(sim_run(p.s), -EIO);
	sim_destroy(p.s);
}

static void waits_a_while(void *arg)
{
	struct pair *p = arg;
	uint64_t t = sim_now(p->s);

	p->rc = sim_wait(p->s, &p->turn, 0, 5000);
	assert_true(sim_now(p->s) >= t + 5000);
	sim_sleep(p->s, 700);
	assert_true(sim_now(p->s) >= t + 5700);
}

static void test_wait_times_out(void **state)
{
	struct pair p = {.s = make(3)};

	assert_int_equal(sim_call(p.s, waits_a_while, &p), 0);
	assert_int_equal(p.rc, -ETIMEDOUT);
	sim_destroy(p.s);
}

static void writes_a(void *arg)
{
	struct pair *p = arg;

	for (int i = 0; i < 20; i++) {
		p->trace[p->count++] = 'a';
		sim__preempt(p->s);
	}
}

static void writes_b(void *arg)
{
	struct pair *p = arg;

	for (int i = 0; i < 20; i++) {
		p->trace[p->count++] = 'b';
		sim__preempt(p->s);
	}
}

static void interleave(uint64_t seed, char *out)
{
	struct pair p = {.s = make(seed)};

	p.s->cfg.preempt_ppm = 500000;
	sim_task_start(p.s, "a", writes_a, &p);
	sim_task_start(p.s, "b", writes_b, &p);
	assert_int_equal(sim_run(p.s), 0);
	strcpy(out, p.trace);
	sim_destroy(p.s);
}

/* One seed is one schedule; other seeds are others. */
static void test_schedule_repeats(void **state)
{
	char one[64], two[64];
	int differ = 0;

	for (uint64_t seed = 1; seed < 20; seed++) {
		interleave(seed, one);
		interleave(seed, two);
		assert_string_equal(one, two);
		interleave(seed + 100, two);
		differ += strcmp(one, two) != 0;
	}
	assert_true(differ > 15);
}

static void fails(void *arg)
{
	struct pair *p = arg;

	sim__fail(p->s, "reason %d", 42);
}

static void test_failure_ends_the_run(void **state)
{
	struct pair p = {.s = make(1)};

	sim_task_start(p.s, "lonely", only_waits, &p);
	sim_task_start(p.s, "fails", fails, &p);
	assert_int_equal(sim_run(p.s), -EIO);
	assert_string_equal(sim_why(p.s), "reason 42");
	sim_destroy(p.s);
}

static void waits_with_a_lock(void *arg)
{
	struct pair *p = arg;

	sim__self(p->s)->nr_locks = 1;
	sim_wait(p->s, &p->turn, 0, 0);
}

static void test_waiting_under_a_spinlock_is_found(void **state)
{
	struct pair p = {.s = make(1)};

	assert_int_equal(sim_call(p.s, waits_with_a_lock, &p), -EIO);
	assert_non_null(strstr(sim_why(p.s), "spinlock"));
	sim_destroy(p.s);
}

static void relaxes(void *arg)
{
	struct pair *p = arg;

	for (;;)
		sim__relax(p->s);
}

static void test_spinning_for_ever_is_found(void **state)
{
	struct pair p = {.s = make(1)};

	assert_int_equal(sim_call(p.s, relaxes, &p), -EIO);
	assert_non_null(strstr(sim_why(p.s), "spinlock"));
	sim_destroy(p.s);
}

/* --- disk -------------------------------------------------------------------
 */

struct disk_test {
	struct sim *s;
	struct weir_io io[8];
	pfn_t pfn[8];
	int16_t status[8];
	_Atomic uint32_t left;
	unsigned lost;
	uint64_t lost_value;
	enum weir_io_op op;
	unsigned nr;
};

static struct disk_test *the_test;

static void io_done(struct engine *e, struct weir_io *io)
{
	assert_int_equal(sim__self(the_test->s)->flags, PF_ATOMIC);
	the_test->left--;
	sim_wake(the_test->s, &the_test->left);
}

static void io_task(void *arg)
{
	struct disk_test *t = arg;

	t->left = t->nr;
	for (unsigned i = 0; i < t->nr; i++) {
		t->io[i] = (struct weir_io){.op = t->op,
					    .nr = 1,
					    .slot = 10 + i,
					    .done = io_done,
					    .pfn = &t->pfn[i],
					    .status = &t->status[i]};
		sim__disk_submit(t->s, &t->io[i]);
	}
	for (uint32_t n; (n = t->left);)
		sim_wait(t->s, &t->left, n, 0);
}

static void lost(void *ctx, const void *data)
{
	struct disk_test *t = ctx;

	t->lost++;
	memcpy(&t->lost_value, data, sizeof(t->lost_value));
}

static void disk_start(struct disk_test *t)
{
	struct sim_observer o = {.ctx = t, .read_failed = lost};

	memset(t, 0, sizeof(*t));
	the_test = t;
	t->s = make(9);
	sim_observe(t->s, &o);
	t->nr = 8;
	for (unsigned i = 0; i < 8; i++) {
		t->pfn[i] = i + 1;
		memset(sim__ram_data(t->s, i + 1), (int)i + 1, PAGE_SIZE);
	}
}

static void test_disk_keeps_contents(void **state)
{
	struct disk_test t;

	disk_start(&t);
	t.s->cfg.queue_depth = 3;
	t.op = WEIR_IO_WRITE;
	assert_int_equal(sim_call(t.s, io_task, &t), 0);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(t.status[i], 0);
		memset(sim__ram_data(t.s, i + 1), 0, PAGE_SIZE);
	}
	t.op = WEIR_IO_READ;
	assert_int_equal(sim_call(t.s, io_task, &t), 0);
	for (unsigned i = 0; i < 8; i++) {
		uint8_t *d = sim__ram_data(t.s, i + 1);

		assert_int_equal(d[0], i + 1);
		assert_int_equal(d[PAGE_SIZE - 1], i + 1);
	}
	assert_int_equal(sim_disk_stats(t.s)->inflight_max, 3);
	assert_int_equal(sim_disk_stats(t.s)->pages_read, 8);
	/* 3 at a time, at least 60 us for each write and 80 for each read */
	assert_true(sim_now(t.s) >= 3 * 60000 + 3 * 80000);
	sim_destroy(t.s);
}

static void test_disk_faults_are_told(void **state)
{
	struct disk_test t;

	disk_start(&t);
	t.nr = 1;
	t.op = WEIR_IO_WRITE;
	sim_rates(t.s)->write_enospc = 1000000;
	assert_int_equal(sim_call(t.s, io_task, &t), 0);
	assert_int_equal(t.status[0], -ENOSPC);
	sim_rates(t.s)->write_enospc = 0;
	sim_rates(t.s)->write_torn = 1000000;
	assert_int_equal(sim_call(t.s, io_task, &t), 0);
	assert_int_equal(t.status[0], 0);
	t.op = WEIR_IO_READ;
	assert_int_equal(sim_call(t.s, io_task, &t), 0);
	assert_int_equal(t.status[0], -EBADMSG);
	assert_int_equal(t.lost, 1);
	assert_int_equal(t.lost_value, 0x0101010101010101);
	sim_destroy(t.s);
}

static void test_disk_finds_a_stray_read(void **state)
{
	struct disk_test t;

	disk_start(&t);
	t.op = WEIR_IO_READ;
	assert_int_equal(sim_call(t.s, io_task, &t), -EIO);
	assert_non_null(strstr(sim_why(t.s), "never written"));
	sim_destroy(t.s);
}

static void frees_under_io(void *arg)
{
	struct disk_test *t = arg;

	t->nr = 1;
	t->op = WEIR_IO_WRITE;
	t->io[0] = (struct weir_io){.op = WEIR_IO_WRITE,
				    .nr = 1,
				    .slot = 1,
				    .done = io_done,
				    .pfn = t->pfn,
				    .status = t->status};
	sim__disk_submit(t->s, &t->io[0]);
	sim__ram_release(t->s, t->pfn[0], 1);
}

static void test_freeing_under_io_is_found(void **state)
{
	struct disk_test t;

	disk_start(&t);
	assert_int_equal(sim_call(t.s, frees_under_io, &t), -EIO);
	assert_non_null(strstr(sim_why(t.s), "under I/O"));
	sim_destroy(t.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_prng_streams),
	    cmocka_unit_test(test_clock_order),
	    cmocka_unit_test(test_clock_ties_are_fifo),
	    cmocka_unit_test(test_wait_and_wake),
	    cmocka_unit_test(test_deadlock_is_found),
	    cmocka_unit_test(test_wait_times_out),
	    cmocka_unit_test(test_schedule_repeats),
	    cmocka_unit_test(test_failure_ends_the_run),
	    cmocka_unit_test(test_waiting_under_a_spinlock_is_found),
	    cmocka_unit_test(test_spinning_for_ever_is_found),
	    cmocka_unit_test(test_disk_keeps_contents),
	    cmocka_unit_test(test_disk_faults_are_told),
	    cmocka_unit_test(test_disk_finds_a_stray_read),
	    cmocka_unit_test(test_freeing_under_io_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
