/* SPDX-License-Identifier: MIT */
/*
 * The whole engine on the fake host: a program three times as large as memory.
 * Every read is checked, and at the end every book. One task, so that what is
 * tested is the way through the floors, not races (the simulator's business).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/aspace.h"
#include "engine/batch.h"
#include "engine/check.h"
#include "engine/engine.h"
#include "engine/fault.h"
#include "engine/frame.h"
#include "engine/pgtable.h"
#include "engine/reclaim.h"
#include "engine/swap.h"
#include "engine/watermark.h"
#include "fakehost.h"

#define FRAMES 1024
#define PAGES  3000
#define SLOTS  4096
#define BASE   0x10000000ull

struct world {
	struct fakehost fh;
	struct weir_host_ops ops;
	struct engine e;
	struct aspace *as;
	uint64_t value[PAGES]; /* what the program wrote last */
	uint64_t seed;
	uint64_t worst_free; /* lowest seen */
	bool kswapd;
};

static uint64_t rnd(struct world *w)
{
	w->seed ^= w->seed << 13;
	w->seed ^= w->seed >> 7;
	w->seed ^= w->seed << 17;
	return w->seed;
}

/* Sleeping lets the disk get on. */
static int wait_io(struct weir_host *h, _Atomic uint32_t *word,
		   uint32_t expected, uint64_t timeout_ns)
{
	struct world *w = container_of(h, struct world, fh.host);

	fakehost_io_run(&w->fh);
	if (*word != expected)
		return 0;
	if (!timeout_ns)
		fail_msg("would sleep for ever");
	w->fh.now += timeout_ns;
	return -ETIMEDOUT;
}

static struct world *start(bool accessed_bit, uint64_t slots)
{
	struct world *w = calloc(1, sizeof(*w));
	struct engine_config cfg = {
	    .nr_cpus = 1, .nr_nodes = 1, .zone_pages = {{FRAMES}}};

	w->seed = 88172645463325252ull;
	fakehost_init(&w->fh, &w->e, FRAMES, SLOTS);
	w->ops = *w->fh.host.ops;
	w->ops.has_accessed_bit = accessed_bit;
	w->ops.wait = wait_io;
	w->fh.host.ops = &w->ops;
	cfg.host = &w->fh.host;
	assert_int_equal(weir__engine_init(&w->e, &cfg), 0);
	if (slots)
		assert_true(weir__swapon(&w->e, slots, -1, NULL, 0) >= 0);
	assert_int_equal(weir__aspace_create(&w->e, w, &w->as), 0);
	assert_int_equal(weir__region_add(w->as, BASE, BASE + PAGES * PAGE_SIZE,
					  REGION_READ | REGION_WRITE),
			 0);
	return w;
}

static void check(struct world *w)
{
	char why[200] = "";

	fakehost_io_run(&w->fh);
	if (!weir__engine_is_valid(&w->e, why, sizeof(why)))
		print_error("%s\n", why);
	assert_string_equal(why, "");
}

static void stop(struct world *w)
{
	check(w);
	w->e.nodes[0].kswapd_running = 0;
	weir__aspace_destroy(w->as);
	check(w);
	weir__engine_exit(&w->e);
	fakehost_exit(&w->fh);
	free(w);
}

/* The other task, as soon as it is woken. */
static void run_kswapd(struct world *w)
{
	struct node *n = &w->e.nodes[0];

	if (!w->kswapd || !n->kswapd_word)
		return;
	n->kswapd_word = 0;
	w->fh.task.flags = PF_KSWAPD | PF_MEMALLOC;
	weir__balance_pgdat(&w->e, n, 0, 0);
	w->fh.task.flags = 0;
}

/* The program's page in place, as its instruction would find it. */
static uint64_t *touch(struct world *w, unsigned page, bool write)
{
	uint64_t addr = BASE + (uint64_t)page * PAGE_SIZE;

	for (unsigned tries = 0; tries < 100; tries++) {
		pte_t *pte;
		uint64_t v;
		int err;

		weir__spin_lock(&w->e, &w->as->lock);
		pte = weir__pte(w->as, addr);
		v = pte ? pte_load(pte) : 0;
		if ((v & PTE_PRESENT) && !(v & (PTE_HINT | PTE_BUSY)) &&
		    (!write || v & PTE_WRITE)) {
			if (w->ops.has_accessed_bit)
				pte_set(pte,
					PTE_ACCESSED | (write ? PTE_DIRTY : 0));
			weir__spin_unlock(&w->e, &w->as->lock);
			return (uint64_t *)(w->fh.ram +
					    (size_t)pte_pfn(v) * PAGE_SIZE);
		}
		weir__spin_unlock(&w->e, &w->as->lock);
		err = weir__fault(
		    &w->e, w->as, addr,
		    (write ? FAULT_WRITE : 0) |
			(v & PTE_PRESENT && !(v & PTE_HINT) ? FAULT_WP : 0));
		if (err == -ENOMEM)
			return NULL;
		assert_int_equal(err, 0);
		run_kswapd(w);
	}
	fail_msg("page %u never came into place", page);
	return NULL;
}

static void step(struct world *w, unsigned page)
{
	bool write = rnd(w) & 1;
	uint64_t *p = touch(w, page, write);
	uint64_t nr_free = (uint64_t)w->e.nodes[0].zones[0].free_pages;

	assert_non_null(p);
	assert_int_equal(p[page % 512], w->value[page]);
	if (write)
		p[page % 512] = w->value[page] = rnd(w) | 1;
	if (nr_free < w->worst_free)
		w->worst_free = nr_free;
}

static void run(struct world *w, unsigned steps)
{
	w->worst_free = FRAMES;
	for (unsigned i = 0; i < steps; i++) {
		/* Half of it in a sixth of the pages. */
		unsigned page = rnd(w) & 1 ? rnd(w) % 500 : rnd(w) % PAGES;

		step(w, page);
		if (i % 4096 == 0)
			check(w);
	}
	for (unsigned i = 0; i < PAGES; i++)
		step(w, i);
}

static int64_t stat_of(struct world *w, enum stat_item i)
{
	return weir__stat_read(&w->e, i);
}

static void direct_only(bool accessed_bit, bool slow_disk)
{
	struct world *w = start(accessed_bit, SLOTS);

	w->fh.io_hold = slow_disk;
	run(w, 20000);
	assert_true(stat_of(w, STAT_pgsteal_direct) > 0);
	assert_int_equal(stat_of(w, STAT_pageoutrun), 0);
	assert_int_equal(stat_of(w, STAT_oom_kill), 0);
	assert_true(stat_of(w, STAT_pswpin) > 0);
	stop(w);
}

static void test_direct(void **state)
{
	direct_only(true, false);
}

static void test_direct_without_bits(void **state)
{
	direct_only(false, false);
}

static void test_direct_slow_disk(void **state)
{
	direct_only(true, true);
}

static void test_direct_without_bits_slow_disk(void **state)
{
	direct_only(false, true);
}

/* kswapd alone keeps up: nobody reclaims for himself. */
static void with_kswapd(bool accessed_bit)
{
	struct world *w = start(accessed_bit, SLOTS);

	w->kswapd = true;
	/* More between the marks than one fault can take at a time. */
	w->e.tun.watermark_scale_factor = 1000;
	weir__setup_per_zone_wmarks(&w->e);
	w->e.nodes[0].kswapd_running = w->e.nodes[0].kswapd_sleeping = 1;
	run(w, 20000);
	assert_true(stat_of(w, STAT_pageoutrun) > 0);
	assert_true(stat_of(w, STAT_pgsteal_kswapd) > 0);
	assert_int_equal(stat_of(w, STAT_allocstall), 0);
	assert_true(w->worst_free >=
		    weir__wmark(&w->e.nodes[0].zones[0], WMARK_MIN));
	stop(w);
}

static void test_kswapd(void **state)
{
	with_kswapd(true);
}

static void test_kswapd_without_bits(void **state)
{
	with_kswapd(false);
}

/* A large batch, as on machines where asking is dear. */
static void test_large_batches(void **state)
{
	struct world *w = start(false, SLOTS);

	w->e.tun.cluster_max = 256;
	run(w, 20000);
	stop(w);
}

/* Nowhere to put pages: the choice is made and the fault is refused. */
static void test_no_swap(void **state)
{
	struct world *w = start(true, 0);
	unsigned page;

	for (page = 0; page < PAGES; page++) {
		uint64_t *p = touch(w, page, true);

		if (!p)
			break;
		p[0] = page;
	}
	assert_true(page > FRAMES / 2 && page < FRAMES);
	assert_int_equal(w->fh.nr_oom_kills, 1);
	assert_ptr_equal(w->fh.oom_as, w);
	/* what it had is still there */
	for (unsigned i = 0; i < page; i++)
		assert_int_equal(touch(w, i, false)[0], i);
	stop(w);
}

/* Swap runs out in the middle: as above, and nothing is lost. */
static void test_swap_full(void **state)
{
	struct world *w = start(false, 600);
	unsigned page;

	for (page = 0; page < PAGES; page++) {
		uint64_t *p = touch(w, page, true);

		if (!p)
			break;
		p[0] = page;
	}
	/* every slot was put to use */
	assert_true(page > FRAMES + 400 && page < FRAMES + 600);
	assert_true(w->fh.nr_oom_kills >= 1);
	check(w);
	stop(w);
}

/* memory.reclaim empties the program; it finds everything again. */
/* The machine traps a write that the books allow: it is told again to let it,
 * or the program would trap for ever. */
static void test_protection_forgotten(void **state)
{
	struct world *w = start(false, SLOTS);
	uint64_t before;

	touch(w, 0, true)[0] = 1;
	before = w->fh.nr_protects;
	assert_int_equal(weir__fault(&w->e, w->as, BASE,
				     FAULT_WRITE | FAULT_WP),
			 0);
	assert_int_equal(w->fh.nr_protects, before + 1);
	assert_int_equal(touch(w, 0, false)[0], 1);
	stop(w);
}

static void test_reclaim_everything(void **state)
{
	struct world *w = start(true, SLOTS);
	uint64_t freed;

	for (unsigned i = 0; i < 600; i++)
		touch(w, i, true)[0] = i + 1;
	weir__reclaim_pages(&w->e, 600, -1, &freed);
	assert_true(freed >= 590);
	assert_true(w->as->nr_anon <= 10);
	for (unsigned i = 0; i < 600; i++)
		assert_int_equal(touch(w, i, false)[0], i + 1);
	stop(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_direct),
	    cmocka_unit_test(test_direct_without_bits),
	    cmocka_unit_test(test_direct_slow_disk),
	    cmocka_unit_test(test_direct_without_bits_slow_disk),
	    cmocka_unit_test(test_kswapd),
	    cmocka_unit_test(test_kswapd_without_bits),
	    cmocka_unit_test(test_large_batches),
	    cmocka_unit_test(test_no_swap),
	    cmocka_unit_test(test_swap_full),
	    cmocka_unit_test(test_protection_forgotten),
	    cmocka_unit_test(test_reclaim_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
