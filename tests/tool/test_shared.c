/* SPDX-License-Identifier: MIT */
/* The table of processes: claims, exec, reuse and folding, many at once. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/live/shared.h"

static struct weir_shared *s;

static int setup(void **state)
{
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	weir_shared_init(s, getpid());
	return s == MAP_FAILED;
}

static int teardown(void **state)
{
	return munmap(s, sizeof(*s));
}

/* A pid that no process has: a child that was waited for. */
static int dead_pid(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	return pid;
}

static void header(void **state)
{
	assert_int_equal(weir_shared_check(s), 0);
	s->version++;
	assert_int_equal(weir_shared_check(s), -EPROTO);
	s->version--;
	s->bytes--;
	assert_int_equal(weir_shared_check(s), -EPROTO);
	s->bytes++;
	s->magic++;
	assert_int_equal(weir_shared_check(s), -EPROTO);
}

static void claim(void **state)
{
	struct weir_slot *a = weir_slot_claim(s, getpid(), "name");

	assert_non_null(a);
	assert_int_equal(a->state, SLOT_CLAIMED);
	assert_int_equal(a->pid, getpid());
	assert_string_equal(a->name, "name");
	assert_int_equal(s->processes, 1);
}

static void long_names_are_cut(void **state)
{
	struct weir_slot *a =
		weir_slot_claim(s, getpid(), "a name of more than sixteen");

	assert_string_equal(a->name, "a name of more ");
}

static void levels(void **state)
{
	struct weir_slot *a = weir_slot_claim(s, getpid(), "x");

	weir_slot_level(&a->swap_bytes, &a->swap_peak_bytes, 5);
	weir_slot_level(&a->swap_bytes, &a->swap_peak_bytes, 3);
	assert_int_equal(a->swap_bytes, 3);
	assert_int_equal(a->swap_peak_bytes, 5);
}

static void first_error_stays(void **state)
{
	struct weir_slot *a = weir_slot_claim(s, getpid(), "x");
	char text[2 * WEIR_ERROR_MAX];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	weir_slot_error(a, WEIR_SLOT_OOM, text);
	weir_slot_error(a, WEIR_SLOT_CORRUPT, "another");
	assert_int_equal(strlen(a->error), WEIR_ERROR_MAX - 2);
	assert_int_equal(a->flags, WEIR_SLOT_OOM | WEIR_SLOT_CORRUPT |
					   WEIR_SLOT_ERROR);
}

/* exec: the same pid comes again; the first program's figures stay. */
static void exec_ends_the_old_slot(void **state)
{
	struct weir_slot *a = weir_slot_claim(s, getpid(), "sh"), *b;

	weir_slot_set_state(a, SLOT_LIVE);
	b = weir_slot_claim(s, getpid(), "ls");
	assert_ptr_not_equal(a, b);
	assert_int_equal(a->state, SLOT_ENDED);
	assert_true(a->flags & WEIR_SLOT_EXECED);
}

static void full_table_uses_dead_slots_again(void **state)
{
	struct weir_slot *dead, *again;
	int pid = dead_pid();

	dead = weir_slot_claim(s, pid, "dead");
	dead->stats[STAT_pswpout] = 11;
	dead->unmanaged_peak_bytes[UNMANAGED_FILE] = 22;
	dead->managed_peak_bytes = 33;
	weir_slot_error(dead, WEIR_SLOT_OOM, "gone");
	weir_slot_set_state(dead, SLOT_LIVE);
	for (int i = 1; i < WEIR_SLOTS; i++)
		assert_ptr_not_equal(weir_slot_claim(s, getpid(), "me"), dead);
	again = weir_slot_claim(s, getpid(), "again");
	assert_ptr_equal(again, dead);
	assert_int_equal(again->generation, 2);
	assert_int_equal(again->stats[STAT_pswpout], 0);
	assert_int_equal(again->flags, 0);
	assert_int_equal(again->error[0], 0);
	assert_int_equal(s->folded.processes, 1);
	assert_int_equal(s->folded.stats[STAT_pswpout], 11);
	assert_int_equal(s->folded.unmanaged_peak_bytes[UNMANAGED_FILE], 22);
	assert_int_equal(s->folded.managed_peak_bytes, 33);
	assert_true(s->folded.flags & WEIR_SLOT_OOM);
	/* all alive now */
	assert_null(weir_slot_claim(s, getpid(), "one too many"));
	assert_int_equal(s->dropped, 1);
}

/* Claims from several threads at once, each for pids that are dead, so that
 * slots are folded and claimed all the time: nothing is counted twice. */
#define CLAIMERS 4
#define CLAIMS	 2000

static void *claimer(void *arg)
{
	int pid = *(int *)arg;

	for (int i = 0; i < CLAIMS; i++) {
		struct weir_slot *w = weir_slot_claim(s, pid, "t");

		if (!w)
			continue;
		w->stats[STAT_pgfault] = 1;
		weir_slot_set_state(w, SLOT_ENDED);
	}
	return NULL;
}

static void claims_at_once(void **state)
{
	pthread_t t[CLAIMERS];
	int pid[CLAIMERS];
	int64_t sum = 0;

	for (int i = 0; i < CLAIMERS; i++) {
		pid[i] = 0x40000000 + i; /* above any pid there can be */
		pthread_create(&t[i], NULL, claimer, &pid[i]);
	}
	for (int i = 0; i < CLAIMERS; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < WEIR_SLOTS; i++)
		if (s->slot[i].state == SLOT_ENDED)
			sum += s->slot[i].stats[STAT_pgfault];
	sum += s->folded.stats[STAT_pgfault];
	assert_int_equal(sum + (int64_t)s->dropped, CLAIMERS * CLAIMS);
	assert_int_equal(s->processes + s->dropped, CLAIMERS * CLAIMS);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(header),
		T(claim),
		T(long_names_are_cut),
		T(levels),
		T(first_error_stays),
		T(exec_ends_the_old_slot),
		T(full_table_uses_dead_slots_again),
		T(claims_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
