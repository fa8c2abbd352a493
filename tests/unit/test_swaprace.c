/* SPDX-License-Identifier: MIT */
/*
 * Real threads in the swap rooms: two that allocate, bind, evict and free, and
 * one that finds their pages in the cache and writes to them. Meant for
 * TSan; without it still a test of the freeze protocol.
 *
 * Each page has a version that a writer raises before it marks the page dirty
 * and drops its reference. An evictor notes the version, and when the page is
 * gone without a word about dirt the version must still be the noted one.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "swapfix.h"

#define ROUNDS 3000
#define SLOTS  700

static struct fix *fx;
static _Thread_local struct wtask me;
static atomic_uint version[FIX_FRAMES];
static atomic_uint owner[SLOTS];
static atomic_bool stop;
static atomic_uint nr_writes, nr_evicted, nr_kept, nr_wrong;

static struct wtask *race_self(struct weir_host *h)
{
	return &me;
}

static void race_relax(struct weir_host *h)
{
	sched_yield();
}

static void race_release(struct weir_host *h, pfn_t pfn, unsigned nr)
{
}

static int race_wait(struct weir_host *h, _Atomic uint32_t *word,
		     uint32_t expected, uint64_t timeout_ns)
{
	sched_yield();
	return 0;
}

static void race_wake(struct weir_host *h, _Atomic uint32_t *word, unsigned nr)
{
}

static void race_discard(struct weir_host *h, uint32_t area, uint64_t slot,
			 unsigned nr)
{
	/* nobody may own a slot of it */
	for (uint64_t i = slot; i < slot + nr; i++)
		if (atomic_load(&owner[i]))
			nr_wrong++;
}

/* Out with the page, as reclaim does it: cleaned, then frozen. */
static void evict(struct frame *f, swp_entry_t s)
{
	struct engine *e = &fx->e;
	pfn_t pfn = weir__pfn(e, f);

	for (;;) {
		unsigned stored;

		weir__frame_clear(f, FRAME_DIRTY);
		stored = atomic_load(&version[pfn]);
		if (weir__swap_cache_remove_frozen(e, f, 2, 2 * s + 1)) {
			if (atomic_load(&version[pfn]) != stored)
				nr_wrong++;
			break;
		}
		nr_kept++;
	}
	nr_evicted++;
	weir__frame_unlock(e, f);
	weir__frames_free(e, f, 0);
}

static void *evictor(void *arg)
{
	struct engine *e = &fx->e;

	me.id = (uint32_t)(uintptr_t)arg;
	me.cpu = me.id % 2;
	for (unsigned round = 0; round < ROUNDS; round++) {
		swp_entry_t s[16];
		unsigned n = weir__swap_alloc(e, s, 1 + round % 16);

		for (unsigned i = 0; i < n; i++) {
			struct frame *f = weir__frames_alloc(e, GFP_KERNEL, 0);
			uint64_t off = swp_offset(s[i]);

			if (atomic_exchange(&owner[off], me.id))
				nr_wrong++;
			if (!f) {
				atomic_store(&owner[off], 0);
				weir__swap_slot_release(e, s[i]);
				continue;
			}
			weir__frame_lock(e, f);
			if (weir__swap_cache_add(e, f, s[i], NULL) ||
			    weir__swap_dup(e, s[i]))
				nr_wrong++;
			if (round % 64 == 0)
				sched_yield();
			evict(f, s[i]);
			if (weir__swap_shadow(e, s[i]) != 2 * s[i] + 1)
				nr_wrong++;
			atomic_store(&owner[off], 0);
			weir__swap_free(e, s[i]);
		}
	}
	return NULL;
}

static void *writer(void *arg)
{
	struct engine *e = &fx->e;
	unsigned at = 1;

	me.id = 3;
	while (!atomic_load(&stop)) {
		struct frame *f = weir__swap_cache_get(e, swp_entry(0, at));

		at = at % (SLOTS - 1) + 1;
		if (!f)
			continue;
		atomic_fetch_add(&version[weir__pfn(e, f)], 1);
		weir__frame_set(f, FRAME_DIRTY);
		nr_writes++;
		if (weir__frame_put_testzero(f))
			nr_wrong++;
	}
	return NULL;
}

static void test_race(void **state)
{
	pthread_t t[3];

	fx = *state;
	me.id = 4;
	atomic_store(&stop, false);
	fx->ops.self = race_self;
	fx->ops.relax = race_relax;
	fx->ops.release = race_release;
	fx->ops.wait = race_wait;
	fx->ops.wake_word = race_wake;
	fx->ops.io_discard = race_discard;
	assert_true(weir__swapon(&fx->e, SLOTS, -1, NULL, 0) == 0);
	pthread_create(&t[0], NULL, evictor, (void *)(uintptr_t)1);
	pthread_create(&t[1], NULL, evictor, (void *)(uintptr_t)2);
	pthread_create(&t[2], NULL, writer, NULL);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	atomic_store(&stop, true);
	pthread_join(t[2], NULL);
	print_message("%u evicted, %u writes found by the freeze, %u in all\n",
		      nr_evicted, nr_kept, nr_writes);
	assert_int_equal(nr_wrong, 0);
	assert_true(nr_evicted > 0);
	assert_int_equal(weir__swap_used(&fx->e, 0), 0);
	assert_int_equal(weir__swap_nr_free(&fx->e), SLOTS - 1);
}

static int setup_classic(void **state)
{
	int rc = fix_setup(state);

	((struct fix *)*state)->e.tun.swap_allocator = 1;
	return rc;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    {"test_race (clusters)", test_race, fix_setup, fix_teardown, NULL},
	    {"test_race (sequential)", test_race, setup_classic, fix_teardown,
	     NULL},
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
