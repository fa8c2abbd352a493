/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "engine/alloc.h"
#include "engine/frame.h"
#include "engine/oom.h"
#include "engine/reclaim.h"
#include "engine/watermark.h"
#include "fakereclaim.h"

static int setup(void **state)
{
	*state = fr_start(4096, 0, 2048);
	return 0;
}

static int setup_two_zones(void **state)
{
	*state = fr_start(2048, 4096, 2048);
	return 0;
}

static int teardown(void **state)
{
	fr_stop(*state);
	return 0;
}

static int64_t stat_of(struct fakereclaim *fr, enum stat_item i)
{
	return weir__stat_read(&fr->engine, i);
}

static struct zone *zone(struct fakereclaim *fr)
{
	struct node *n = &fr->engine.nodes[0];

	return &n->zones[n->nr_zones - 1];
}

static int64_t mark(struct fakereclaim *fr, int which)
{
	return (int64_t)weir__wmark(zone(fr), which);
}

static struct frame *ask(struct fakereclaim *fr, gfp_t gfp)
{
	/* movable, as all of this memory: other types would raise a boost */
	return weir__frames_alloc(&fr->engine, gfp | GFP_MOVABLE, 0);
}

/* Allocates, expects success, gives back. */
static void expect_served(struct fakereclaim *fr, gfp_t gfp)
{
	struct frame *f = ask(fr, gfp);

	assert_non_null(f);
	weir__frames_free(&fr->engine, f, 0);
}

static unsigned reclaims(struct fakereclaim *fr)
{
	return fr_count(fr, "mm_vmscan_direct_reclaim_begin");
}

/* Names of the events that tell the order, in short. */
static void story(struct fakereclaim *fr, char *out, size_t len)
{
	static const struct {
		const char *event;
		char letter;
	} t[] = {
	    {"mm_vmscan_wakeup_kswapd", 'w'},
	    {"get_page_from_freelist", 'l'},
	    {"mm_vmscan_direct_reclaim_begin", 'd'},
	    {"reclaim_retry_zone", 'r'},
	    {"mark_victim", 'k'},
	};
	size_t n = 0;

	for (unsigned i = 0; i < fr->nr_events; i++)
		for (unsigned j = 0; j < sizeof(t) / sizeof(*t); j++)
			if (!strcmp(fr->event[i].name, t[j].event) &&
			    n + 1 < len)
				out[n++] = t[j].letter;
	out[n] = '\0';
}

/* Above low: the slow path is not entered. */
static void test_fast(void **state)
{
	struct fakereclaim *fr = *state;

	fr_eat(fr, mark(fr, WMARK_LOW) + 2);
	expect_served(fr, GFP_KERNEL);
	assert_int_equal(fr->nr_events, 0);
}

/* Between min and low: kswapd is woken, and the frame is there. */
static void test_wake_and_look(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = &fr->engine.nodes[0];
	char s[64];

	n->kswapd_running = n->kswapd_sleeping = 1;
	fr_eat(fr, mark(fr, WMARK_LOW));
	expect_served(fr, GFP_KERNEL);
	story(fr, s, sizeof(s));
	assert_string_equal(s, "wl");
	n->kswapd_running = 0;
}

/*
 * At min, with pages to be had: wake, look, wake, look, reclaim, look; what was
 * freed sits in this CPU's list, where the mark does not see it: drain, look.
 * (kswapd is "asleep" in this test for ever, so that each wake shows.)
 */
static void test_order_of_the_steps(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = &fr->engine.nodes[0];
	char s[64];

	fr_add_pages(fr, 2000, true, false);
	n->kswapd_running = n->kswapd_sleeping = 1;
	fr_eat(fr, mark(fr, WMARK_MIN));
	expect_served(fr, GFP_KERNEL);
	story(fr, s, sizeof(s));
	assert_string_equal(s, "wlwldll");
	assert_true(stat_of(fr, STAT_pgsteal_direct) >= 32);
	n->kswapd_running = 0;
}

/* Plenty on paper, nothing in fact: 16 further attempts, then the end. */
static void test_sixteen_retries(void **state)
{
	struct fakereclaim *fr = *state;
	unsigned loops = 0;

	fr_add_pages(fr, 1000, true, false);
	fr->keep_all = true;
	fr_eat(fr, mark(fr, WMARK_MIN));
	assert_null(ask(fr, GFP_KERNEL));
	for (unsigned i = 0; i < fr->nr_events; i++) {
		if (strcmp(fr->event[i].name, "reclaim_retry_zone"))
			continue;
		assert_int_equal(fr->event[i].b, ++loops);
		assert_int_equal(fr->event[i].c, loops <= 16);
	}
	assert_int_equal(loops, 17);
	assert_int_equal(reclaims(fr), 17);
	/* and not in a moment: who holds what they want gets to run */
	assert_int_equal(fr->host.now, 16 * TICK_NS);
}

/* Not even on paper: the end at the first check. */
static void test_hopeless_at_once(void **state)
{
	struct fakereclaim *fr = *state;
	char s[64];

	fr_eat(fr, mark(fr, WMARK_MIN));
	assert_null(ask(fr, GFP_KERNEL));
	story(fr, s, sizeof(s));
	assert_string_equal(s, "lldrl");
}

/* Reclaimable + free == min is not enough, one page more is. */
static void test_reclaimable_counts(void **state)
{
	struct fakereclaim *fr = *state;

	fr->keep_all = true;
	fr_add_pages(fr, 10, true, false);
	fr_eat(fr, mark(fr, WMARK_MIN) - 10);
	assert_null(ask(fr, GFP_KERNEL));
	assert_int_equal(reclaims(fr), 1);
	fr_forget_events(fr);
	fr_eat(fr, mark(fr, WMARK_MIN) - 9);
	assert_null(ask(fr, GFP_KERNEL));
	assert_int_equal(reclaims(fr), 17);
}

/* Each page freed starts the count anew. */
static void free_now_and_then(struct fakereclaim *fr, struct scan_control *sc)
{
	/* in the fifth round or so */
	fr->keep_all = fr->step++ != 150;
	fr->free_max = 1;
	/* what it frees is taken at once by somebody else */
}

static void steal(struct fakereclaim *fr, const char *name)
{
	if (!strcmp(name, "mm_vmscan_direct_reclaim_end"))
		fr_eat(fr, mark(fr, WMARK_MIN));
}

static void test_progress_resets_the_count(void **state)
{
	struct fakereclaim *fr = *state;

	fr_add_pages(fr, 100, true, false);
	fr_eat(fr, mark(fr, WMARK_MIN));
	fr->on_shrink = free_now_and_then;
	fr->on_event = steal;
	assert_null(ask(fr, GFP_KERNEL));
	assert_int_equal(fr->nr_freed, 1);
	assert_true(reclaims(fr) >= 20);
}

/* --- who may not ---------------------------------------------------------- */

/* Inside reclaim: takes the reserve, never recurses. */
static void test_memalloc_does_not_recurse(void **state)
{
	struct fakereclaim *fr = *state;

	fr_add_pages(fr, 1000, true, false);
	fr_eat(fr, 1);
	fr->host.task.flags |= PF_MEMALLOC;
	expect_served(fr, GFP_KERNEL);
	fr_eat(fr, 0);
	assert_null(ask(fr, GFP_KERNEL));
	fr->host.task.flags &= ~(uint32_t)PF_MEMALLOC;
	assert_int_equal(reclaims(fr), 0);
	assert_int_equal(fr->nr_shrink, 0);
}

static void never_sleeps(struct fakehost *fh, _Atomic uint32_t *word)
{
	fail();
}

/* Interrupt context: 3/8 of min, wakes kswapd, does nothing else. */
static void test_atomic_never_reclaims(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = &fr->engine.nodes[0];
	int64_t min = mark(fr, WMARK_MIN);
	int64_t bottom = min - min / 2 - (min - min / 2) / 4;
	uint64_t waits = fr->host.nr_waits;

	n->kswapd_running = n->kswapd_sleeping = 1;
	fr->host.on_wait = never_sleeps;
	fr_add_pages(fr, 1000, true, false);
	fr_eat(fr, bottom + 1);
	expect_served(fr, GFP_ATOMIC);
	assert_true(fr_count(fr, "mm_vmscan_wakeup_kswapd") > 0);
	fr_eat(fr, bottom);
	assert_null(ask(fr, GFP_ATOMIC));
	/* a task in interrupt context, whatever it asks for */
	fr->host.task.flags |= PF_ATOMIC;
	assert_null(ask(fr, GFP_KERNEL));
	fr->host.task.flags &= ~(uint32_t)PF_ATOMIC;
	assert_int_equal(reclaims(fr), 0);
	assert_int_equal(fr->nr_shrink, 0);
	assert_int_equal(fr->host.nr_waits, waits);
	n->kswapd_running = 0;
}

static void test_nowait_only_wakes(void **state)
{
	struct fakereclaim *fr = *state;

	fr_add_pages(fr, 1000, true, false);
	fr_eat(fr, mark(fr, WMARK_MIN));
	assert_null(ask(fr, GFP_NOWAIT));
	assert_int_equal(reclaims(fr), 0);
}

static void no_rights(struct fakereclaim *fr, struct scan_control *sc)
{
	assert_false(sc->gfp & (GFP_IO | GFP_FS));
}

/* NOIO reclaims, but without the right to start I/O. */
static void test_noio_rights(void **state)
{
	struct fakereclaim *fr = *state;

	fr_add_pages(fr, 2000, true, false);
	fr_eat(fr, mark(fr, WMARK_MIN));
	fr->on_shrink = no_rights;
	expect_served(fr, GFP_NOIO);
	assert_int_equal(reclaims(fr), 1);
	/* the task's scope takes the rights from any request */
	fr_eat(fr, mark(fr, WMARK_MIN));
	fr->host.task.flags |= PF_NOIO;
	expect_served(fr, GFP_KERNEL);
	fr->host.task.flags &= ~(uint32_t)PF_NOIO;
	assert_int_equal(reclaims(fr), 2);
}

/* --- the last steps ------------------------------------------------------- */

static void add_aspace(struct fakereclaim *fr, struct aspace *as)
{
	as->engine = &fr->engine;
	as->host = as;
	as->nr_anon = 100;
	list_add_tail(&as->link, &fr->engine.aspaces);
}

static void test_noretry(void **state)
{
	struct fakereclaim *fr = *state;
	struct aspace as = {0};

	add_aspace(fr, &as);
	fr_add_pages(fr, 1000, true, false);
	fr->keep_all = true;
	fr_eat(fr, mark(fr, WMARK_MIN));
	assert_null(ask(fr, GFP_KERNEL | GFP_NORETRY));
	assert_int_equal(reclaims(fr), 1);
	assert_int_equal(fr_count(fr, "reclaim_retry_zone"), 0);
	assert_int_equal(fr->host.nr_oom_kills, 0);
	/* costly, and nobody insisted */
	assert_null(weir__frames_alloc(&fr->engine, GFP_KERNEL, 4));
	assert_int_equal(reclaims(fr), 2);
	assert_int_equal(fr_count(fr, "reclaim_retry_zone"), 0);
	assert_int_equal(fr->host.nr_oom_kills, 0);
	list_del(&as.link);
}

static void test_mayfail_tries_but_does_not_kill(void **state)
{
	struct fakereclaim *fr = *state;
	struct aspace as = {0};

	add_aspace(fr, &as);
	fr_add_pages(fr, 1000, true, false);
	fr->keep_all = true;
	fr_eat(fr, mark(fr, WMARK_MIN));
	assert_null(ask(fr, GFP_KERNEL | GFP_RETRY_MAYFAIL));
	assert_int_equal(reclaims(fr), 17);
	assert_int_equal(fr->host.nr_oom_kills, 0);
	list_del(&as.link);
}

/* Memory of the victim comes back a few looks later. */
static void victim_ends(struct fakereclaim *fr, const char *name)
{
	if (!strcmp(name, "mark_victim"))
		fr->step = 1;
	if (fr->step && !strcmp(name, "mm_vmscan_direct_reclaim_begin") &&
	    ++fr->step == 4) {
		struct aspace *as =
		    list_first_entry(&fr->engine.aspaces, struct aspace, link);

		list_del(&as->link);
		fr_eat(fr, mark(fr, WMARK_LOW));
	}
}

/* One kill; the request waits for the victim's memory and is served. */
static void test_kill_once_and_wait(void **state)
{
	struct fakereclaim *fr = *state;
	struct aspace as = {0};

	add_aspace(fr, &as);
	fr_eat(fr, mark(fr, WMARK_MIN));
	fr->on_event = victim_ends;
	expect_served(fr, GFP_KERNEL);
	assert_int_equal(fr->host.nr_oom_kills, 1);
	assert_ptr_equal(fr->host.oom_as, &as);
	assert_int_equal(stat_of(fr, STAT_oom_kill), 1);
	assert_int_equal(fr->engine.oom_lock, 0);
	assert_true(fr->host.nr_wakes > 0); /* who waits for the lock */
}

/* Victims that never end: the request fails after the last one. */
static void test_stuck_victims(void **state)
{
	struct fakereclaim *fr = *state;
	struct aspace big = {0}, small = {0};

	add_aspace(fr, &big);
	add_aspace(fr, &small);
	big.nr_anon = 1000;
	fr_eat(fr, mark(fr, WMARK_MIN));
	assert_null(ask(fr, GFP_KERNEL));
	assert_int_equal(fr->host.nr_oom_kills, 2);
	assert_ptr_equal(fr->host.oom_as, &small);
	assert_true(fr->host.now >= 6000000000ull);
	list_del(&big.link);
	list_del(&small.link);
}

/* The victim itself: down into the reserve, and no further. */
static void test_victim_asks(void **state)
{
	struct fakereclaim *fr = *state;
	struct aspace as = {.flags = ASPACE_OOM_VICTIM};
	int64_t half = mark(fr, WMARK_MIN) - mark(fr, WMARK_MIN) / 2;

	add_aspace(fr, &as);
	fr->engine.oom_since_ns = 0;
	fr->host.task.flags |= PF_OOM_VICTIM;
	fr_eat(fr, half + 1);
	expect_served(fr, GFP_KERNEL);
	fr_eat(fr, half);
	assert_null(ask(fr, GFP_KERNEL));
	fr->host.task.flags &= ~(uint32_t)PF_OOM_VICTIM;
	assert_int_equal(fr->host.nr_oom_kills, 0);
	list_del(&as.link);
}

/* Chosen in the middle of it: the reserve opens at the next look. */
static void becomes_victim(struct fakereclaim *fr, const char *name)
{
	if (!strcmp(name, "mark_victim"))
		fr->host.task.flags |= PF_OOM_VICTIM;
}

static void test_becomes_victim(void **state)
{
	struct fakereclaim *fr = *state;
	struct aspace as = {0};

	add_aspace(fr, &as);
	fr->on_event = becomes_victim;
	fr_eat(fr, mark(fr, WMARK_MIN));
	expect_served(fr, GFP_KERNEL);
	fr->host.task.flags &= ~(uint32_t)PF_OOM_VICTIM;
	assert_int_equal(fr->host.nr_oom_kills, 1);
	list_del(&as.link);
}

/* Fragmentation wakes kswapd even when nothing is short. */
static void test_boost_wakes(void **state)
{
	struct fakereclaim *fr = *state;
	struct node *n = &fr->engine.nodes[0];

	n->kswapd_running = n->kswapd_sleeping = 1;
	n->zones[0].watermark_boost = 1;
	fr->engine.wake_boosted(&fr->engine, &n->zones[0]);
	assert_int_equal(n->kswapd_word, 1);
	n->zones[0].watermark_boost = 0;
	n->kswapd_running = 0;
}

/* Somebody else makes the choice: that is progress, sleep a tick and retry. */
static void lock_comes_free(struct fakereclaim *fr, const char *name)
{
	if (!strcmp(name, "reclaim_retry_zone") && ++fr->step == 3)
		fr->engine.oom_lock = 0;
}

static void test_oom_lock_busy(void **state)
{
	struct fakereclaim *fr = *state;

	fr->engine.oom_lock = 1;
	fr->on_event = lock_comes_free;
	fr_eat(fr, mark(fr, WMARK_MIN));
	assert_null(ask(fr, GFP_KERNEL));
	assert_int_equal(reclaims(fr), 3);
	assert_int_equal(fr->host.now, 2 * TICK_NS);
}

static void frees_late(struct fakereclaim *fr, struct scan_control *sc)
{
	fr->keep_all = fr->step++ < 2000;
}

static void test_nofail_never_fails(void **state)
{
	struct fakereclaim *fr = *state;

	fr_add_pages(fr, 300, true, false);
	fr_eat(fr, 0);
	fr->on_shrink = frees_late;
	expect_served(fr, GFP_KERNEL | GFP_NOFAIL);
	assert_true(fr->step >= 2000);
}

/* A low zone's shortage is no reason to kill. */
static void test_lowzone_does_not_kill(void **state)
{
	struct fakereclaim *fr = *state;
	struct zone *low = &fr->engine.nodes[0].zones[0];
	struct frame *f, *list = NULL;
	struct aspace as = {0};

	add_aspace(fr, &as);
	while (low->free_pages > (int64_t)low->wmark[WMARK_MIN]) {
		f = weir__get_page_from_freelist(&fr->engine, GFP_LOWZONE, 0,
						 ALLOC_WMARK_MIN);
		if (!f)
			break;
		f->mapping = (uintptr_t)list;
		list = f;
	}
	assert_null(ask(fr, GFP_KERNEL | GFP_LOWZONE));
	assert_int_equal(fr->host.nr_oom_kills, 0);
	expect_served(fr, GFP_KERNEL);
	while (list) {
		f = list;
		list = (struct frame *)f->mapping;
		weir__frames_free(&fr->engine, f, 0);
	}
	list_del(&as.link);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_fast),
	    T(test_wake_and_look),
	    T(test_order_of_the_steps),
	    T(test_sixteen_retries),
	    T(test_hopeless_at_once),
	    T(test_reclaimable_counts),
	    T(test_progress_resets_the_count),
	    T(test_memalloc_does_not_recurse),
	    T(test_atomic_never_reclaims),
	    T(test_nowait_only_wakes),
	    T(test_noio_rights),
	    T(test_noretry),
	    T(test_mayfail_tries_but_does_not_kill),
	    T(test_kill_once_and_wait),
	    T(test_stuck_victims),
	    T(test_victim_asks),
	    T(test_becomes_victim),
	    T(test_boost_wakes),
	    T(test_oom_lock_busy),
	    T(test_nofail_never_fails),
	    cmocka_unit_test_setup_teardown(test_lowzone_does_not_kill,
					    setup_two_zones, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
