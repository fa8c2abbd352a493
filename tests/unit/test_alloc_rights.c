/* SPDX-License-Identifier: MIT */
/*
 * Who may take the last frames. Each request is tried with the free count set
 * just at and just above its level, with the slow path absent: then the engine
 * tries once at min with the request's rights.
 */
#include "machine.h"

#define PAGES 65536
#define MIN   1000

static struct machine m;
static struct zone *z;

static void start(void)
{
	static struct tunables tun;

	memset(&m, 0, sizeof(m));
	weir__tunables_default(&tun);
	tun.min_free_kbytes = MIN * 4;
	m.cfg = (struct engine_config){.nr_cpus = 1,
				       .nr_nodes = 1,
				       .zone_pages = {{PAGES}},
				       .tunables = &tun};
	assert_int_equal(machine_start(&m), 0);
	z = &m.e->nodes[0].zones[0];
	assert_int_equal(weir__wmark(z, WMARK_MIN), MIN);
}

/* Does a request succeed when the zone believes it has so many free? */
static bool succeeds(gfp_t gfp, unsigned order, int64_t level)
{
	int64_t real = z->free_pages;
	struct frame *f;

	z->free_pages = level;
	f = weir__frames_alloc(m.e, gfp, order);
	z->free_pages += real - level;
	if (f)
		weir__frames_free(m.e, f, order);
	return f;
}

static void assert_level(gfp_t gfp, unsigned order, int64_t needs)
{
	assert_true(succeeds(gfp, order, needs));
	assert_false(succeeds(gfp, order, needs - 1));
}

/* The rule alone, mark 1000, nothing kept back. */
static void test_formula(void **state)
{
	static const struct {
		unsigned flags;
		int64_t needs;
	} t[] = {
	    {0, 1001},
	    {ALLOC_NON_BLOCK, 1001},
	    {ALLOC_MIN_RESERVE, 501},
	    {ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK, 376},
	    {ALLOC_OOM, 501},
	    {ALLOC_MIN_RESERVE | ALLOC_OOM, 251},
	};

	start();
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		assert_true(weir__zone_watermark_ok(z, 0, 1000, 0, t[i].flags,
						    t[i].needs));
		assert_false(weir__zone_watermark_ok(z, 0, 1000, 0, t[i].flags,
						     t[i].needs - 1));
	}
	machine_stop(&m);
}

static void test_each_request(void **state)
{
	static const struct {
		gfp_t gfp;
		uint32_t task;
		int64_t needs;
	} t[] = {
	    {GFP_KERNEL, 0, MIN + 1},
	    {GFP_USER, 0, MIN + 1},
	    {GFP_HIGHUSER_MOVABLE, 0, MIN + 1},
	    {GFP_NOFS, 0, MIN + 1},
	    {GFP_NOIO, 0, MIN + 1},
	    {GFP_NOWAIT, 0, MIN + 1},
	    {GFP_KERNEL, PF_NOIO, MIN + 1},
	    {GFP_KERNEL | GFP_HIGH, 0, 501},
	    {GFP_ATOMIC, 0, 376},
	    {GFP_ATOMIC | GFP_NOMEMALLOC, 0, 501},
	    {GFP_KERNEL, PF_OOM_VICTIM, 501},
	    /* rights of the victim replace the others */
	    {GFP_KERNEL | GFP_HIGH, PF_OOM_VICTIM, 501},
	    {GFP_ATOMIC, PF_OOM_VICTIM, 501},
	    {GFP_KERNEL | GFP_NOMEMALLOC, PF_OOM_VICTIM, MIN + 1},
	    {GFP_KERNEL | GFP_NOMEMALLOC, PF_MEMALLOC, MIN + 1},
	    {GFP_KERNEL | GFP_MEMALLOC | GFP_NOMEMALLOC, 0, MIN + 1},
	    /* an interrupt: not the rights of whom it interrupts */
	    {GFP_KERNEL, PF_ATOMIC | PF_MEMALLOC, MIN + 1},
	    {GFP_ATOMIC, PF_ATOMIC | PF_MEMALLOC, 376},
	};

	start();
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		m.fh.task.flags = t[i].task;
		assert_level(t[i].gfp, 0, t[i].needs);
	}
	m.fh.task.flags = 0;
	machine_stop(&m);
}

/* Who frees memory gets every last frame. */
static void test_memalloc_takes_all(void **state)
{
	for (int by_task = 0; by_task < 2; by_task++) {
		int n = 0;

		start();
		m.fh.task.flags = by_task ? PF_MEMALLOC : 0;
		while (weir__frames_alloc(
		    m.e, by_task ? GFP_NOIO : GFP_NOIO | GFP_MEMALLOC, 0))
			n++;
		assert_int_equal(n, PAGES);
		assert_int_equal(z->free_pages, 0);
		machine_stop(&m);
	}
}

static gfp_t slow_gfp;
static int slow_calls;

static struct frame *slow(struct engine *e, gfp_t gfp, unsigned order)
{
	slow_calls++;
	slow_gfp = gfp;
	return NULL;
}

/* With a slow path the fast one stops at low, for everybody. */
static void test_fast_path_at_low(void **state)
{
	static const gfp_t gfp[] = {GFP_KERNEL, GFP_ATOMIC, GFP_NOWAIT,
				    GFP_KERNEL | GFP_MEMALLOC};
	int64_t low;

	start();
	low = (int64_t)weir__wmark(z, WMARK_LOW);
	m.e->alloc_slow = slow;
	slow_calls = 0;
	for (int i = 0; i < 4; i++) {
		assert_level(gfp[i], 0, low + 1);
		assert_int_equal(slow_calls, i + 1);
	}
	/* and it hands on what the task may ask for */
	m.fh.task.flags = PF_NOIO;
	assert_false(succeeds(GFP_KERNEL, 0, low));
	assert_int_equal(slow_gfp, GFP_NOIO);
	m.fh.task.flags = PF_NOFS;
	assert_false(succeeds(GFP_KERNEL, 0, low));
	assert_int_equal(slow_gfp, GFP_NOFS);
	m.fh.task.flags = PF_ATOMIC;
	assert_false(succeeds(GFP_KERNEL, 0, low));
	assert_int_equal(slow_gfp & GFP_DIRECT_RECLAIM, 0);
	m.fh.task.flags = 0;
	machine_stop(&m);
}

static void test_flags(void **state)
{
	static const struct {
		gfp_t gfp;
		uint32_t task;
		unsigned order, flags;
	} t[] = {
	    {GFP_KERNEL, 0, 0, ALLOC_KSWAPD},
	    {GFP_NOWAIT, 0, 3, ALLOC_KSWAPD | ALLOC_NON_BLOCK},
	    {0, 0, 0, ALLOC_NON_BLOCK},
	    {GFP_ATOMIC, 0, 0,
	     ALLOC_KSWAPD | ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE},
	    {GFP_ATOMIC, 0, 1,
	     ALLOC_KSWAPD | ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE |
		 ALLOC_HIGHATOMIC},
	    {GFP_KERNEL | GFP_HIGH, 0, 1, ALLOC_KSWAPD | ALLOC_MIN_RESERVE},
	    {GFP_ATOMIC, PF_MEMALLOC, 0, ALLOC_KSWAPD | ALLOC_NO_WATERMARKS},
	    {GFP_DIRECT_RECLAIM, PF_OOM_VICTIM, 0, ALLOC_OOM},
	};

	start();
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		m.fh.task.flags = t[i].task;
		assert_int_equal(
		    weir__gfp_to_alloc_flags(m.e, t[i].gfp, t[i].order),
		    t[i].flags);
	}
	m.fh.task.flags = 0;
	machine_stop(&m);
}

/* 2^order - 1 pages are of no use, and a block that large must exist. */
static void test_orders(void **state)
{
	start();
	assert_level(GFP_KERNEL, 1, MIN + 2);
	assert_level(GFP_KERNEL, 3, MIN + 8);
	assert_level(GFP_KERNEL, 10, MIN + 1024);
	assert_null(weir__frames_alloc(m.e, GFP_KERNEL, MAX_ORDER + 1));
	assert_false(weir__zone_watermark_ok(z, 10, 0, 0, 0, 1023));
	machine_stop(&m);

	start();
	for (pfn_t p = 0; p < PAGES; p++) /* hold every second frame */
		assert_non_null(
		    weir__frames_alloc(m.e, GFP_NOIO | GFP_MEMALLOC, 0));
	for (pfn_t p = 0; p < PAGES; p += 2)
		weir__frames_free(m.e, weir__frame(m.e, p), 0);
	weir__pcp_drain_all(m.e);
	assert_int_equal(z->free_pages, PAGES / 2);
	assert_false(weir__zone_watermark_ok(z, 1, 0, 0, 0, z->free_pages));
	assert_null(weir__frames_alloc(m.e, GFP_NOIO | GFP_MEMALLOC, 1));
	assert_non_null(weir__frames_alloc(m.e, GFP_KERNEL, 0));
	machine_stop(&m);
}

/* Free frames of the high-atomic reserve count only for who may use it. */
static void test_highatomic_counts(void **state)
{
	start();
	z->nr_highatomic = 100;
	assert_level(GFP_KERNEL, 0, MIN + 101);
	assert_level(GFP_NOWAIT, 0, MIN + 1);
	assert_level(GFP_ATOMIC, 0, 376);
	z->nr_highatomic = 0;
	machine_stop(&m);
}

/* An atomic request of two pages leaves a block for the next one. */
static void test_highatomic_is_made(void **state)
{
	struct frame *f;
	int64_t real;

	start();
	real = z->free_pages;
	z->free_pages = 900; /* below min: only rights help */
	f = weir__frames_alloc(m.e, GFP_ATOMIC, 1);
	assert_non_null(f);
	z->free_pages += real - 900;
	assert_int_equal(z->nr_reserved_highatomic, 512);
	assert_true(weir__zone_is_valid(z));
	weir__frames_free(m.e, f, 1);
	machine_stop(&m);
}

/* The boost is there for whole blocks, not to starve an urgent page. */
static void test_boost_spares_high(void **state)
{
	start();
	z->watermark_boost = 512;
	assert_level(GFP_KERNEL, 0, MIN + 513);
	assert_level(GFP_KERNEL | GFP_HIGH, 0, 501);
	assert_level(GFP_KERNEL | GFP_HIGH, 1, (MIN + 512) / 2 + 2);
	machine_stop(&m);
}

static int woken;

static void wake(struct engine *e, struct zone *zone)
{
	assert_ptr_equal(zone, z);
	woken++;
}

static void test_boost_wakes_once(void **state)
{
	start();
	m.e->wake_boosted = wake;
	woken = 0;
	z->boosted = 1;
	/* not everybody may */
	assert_non_null(weir__frames_alloc(m.e, GFP_DIRECT_RECLAIM, 0));
	assert_int_equal(woken, 0);
	assert_non_null(weir__frames_alloc(m.e, GFP_KERNEL, 0));
	assert_non_null(weir__frames_alloc(m.e, GFP_KERNEL, 0));
	assert_int_equal(woken, 1);
	machine_stop(&m);
}

/* --------------------------------------------------------- zones and nodes */

static void start_zones(unsigned nodes)
{
	static struct tunables tun;

	memset(&m, 0, sizeof(m));
	weir__tunables_default(&tun);
	tun.min_free_kbytes = 400;
	m.cfg =
	    (struct engine_config){.nr_cpus = 2,
				   .nr_nodes = nodes,
				   .zone_pages = {{4096, 8192}, {4096, 8192}},
				   .tunables = &tun};
	assert_int_equal(machine_start(&m), 0);
}

/* The highest zone first; the lowest keeps its reserve for its own. */
static void test_zone_order(void **state)
{
	struct zone *low, *high;
	struct frame *f;
	uint64_t keep;

	start_zones(1);
	low = &m.e->nodes[0].zones[0];
	high = &m.e->nodes[0].zones[1];
	keep = low->lowmem_reserve[1];
	assert_int_equal(keep, 8192 / 256);
	f = weir__frames_alloc(m.e, GFP_KERNEL, 0);
	assert_ptr_equal(weir__frame_zone(m.e, f), high);
	f = weir__frames_alloc(m.e, GFP_KERNEL | GFP_LOWZONE, 0);
	assert_ptr_equal(weir__frame_zone(m.e, f), low);
	while ((f = weir__frames_alloc(m.e, GFP_KERNEL, 0)))
		;
	assert_true(low->free_pages <=
		    (int64_t)(weir__wmark(low, WMARK_MIN) + keep));
	assert_true(low->free_pages > (int64_t)weir__wmark(low, WMARK_MIN));
	/* that much is left for those who can use nothing else */
	f = weir__frames_alloc(m.e, GFP_KERNEL | GFP_LOWZONE, 0);
	assert_non_null(f);
	assert_ptr_equal(weir__frame_zone(m.e, f), low);
	machine_stop(&m);
}

static void test_local_node_first(void **state)
{
	struct frame *f;

	start_zones(2);
	m.fh.task.cpu = 1;
	f = weir__frames_alloc(m.e, GFP_KERNEL, 0);
	assert_int_equal(f->node, 1);
	m.fh.task.cpu = 0;
	f = weir__frames_alloc(m.e, GFP_KERNEL, 0);
	assert_int_equal(f->node, 0);
	/* all zones of the near one, then the far one */
	while ((f = weir__frames_alloc(m.e, GFP_KERNEL, 0)) && f->node == 0)
		;
	assert_non_null(f);
	for (int i = 0; i < 2; i++)
		assert_in_range(
		    m.e->nodes[0].zones[i].free_pages, 0,
		    weir__wmark(&m.e->nodes[0].zones[i], WMARK_LOW) + 32);
	machine_stop(&m);
}

/* ------------------------------------------------------------ the frame */

static void test_new_and_back(void **state)
{
	struct frame *f;
	uint8_t *mem;

	start();
	m.fh.nr_released = 0;
	memset(m.fh.ram, 0xaa, 64 * PAGE_SIZE);
	f = weir__frames_alloc(m.e, GFP_KERNEL | GFP_ZERO, 2);
	assert_int_equal(f->refcount, 1);
	assert_int_equal(f->flags, 0);
	assert_int_equal(f->mapcount, -1);
	assert_int_equal(f->order, 2);
	for (int i = 1; i < 4; i++)
		assert_int_equal(f[i].flags, FRAME_TAIL);
	mem = m.ops.direct(&m.fh.host, weir__pfn(m.e, f));
	for (unsigned i = 0; i < 4 * PAGE_SIZE; i++)
		assert_int_equal(mem[i], 0);
	assert_int_equal(weir__stat_read(m.e, STAT_pgalloc), 4);

	f->mapping = 16;
	f->index = 7;
	f->private = 8;
	weir__frame_set(f, FRAME_DIRTY | FRAME_UPTODATE | FRAME_REFERENCED);
	weir__frames_free(m.e, f, 2);
	assert_int_equal(m.fh.nr_released, 4);
	assert_int_equal(weir__stat_read(m.e, STAT_pgfree), 4);
	for (int i = 0; i < 4; i++)
		assert_true(weir__frame_is_valid(m.e, &f[i]));
	assert_int_equal(f->mapping | f->index | f->private, 0);

	/* frozen at 0 is as good */
	f = weir__frames_alloc(m.e, GFP_KERNEL, 5);
	assert_true(weir__frame_freeze(f, 1));
	weir__frames_free(m.e, f, 5);
	assert_int_equal(m.fh.nr_released, 4 + 32);
	weir__pcp_drain_all(m.e);
	assert_int_equal(z->free_pages, PAGES);
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);
}

static void test_not_freed_in_use(void **state)
{
	static const uint32_t bad[] = {
	    FRAME_LOCKED,    FRAME_LRU,     FRAME_WRITEBACK,
	    FRAME_SWAPCACHE, FRAME_PRIVATE, FRAME_RESERVED,
	};
	struct frame *f;

	start();
	f = weir__frames_alloc(m.e, GFP_KERNEL, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		f->refcount = 1;
		f->flags = bad[i];
		expect_panic(&m, weir__frames_free(m.e, f, 0));
	}
	f->flags = 0;
	f->refcount = 2;
	expect_panic(&m, weir__frames_free(m.e, f, 0));
	f->refcount = 1;
	f->mapcount = 0;
	expect_panic(&m, weir__frames_free(m.e, f, 0));
	f->mapcount = -1;
	f->refcount = 1;
	expect_panic(&m, weir__frames_free(m.e, f, 1)); /* not that order */
	machine_stop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_formula),
	    cmocka_unit_test(test_each_request),
	    cmocka_unit_test(test_memalloc_takes_all),
	    cmocka_unit_test(test_fast_path_at_low),
	    cmocka_unit_test(test_flags),
	    cmocka_unit_test(test_orders),
	    cmocka_unit_test(test_highatomic_counts),
	    cmocka_unit_test(test_highatomic_is_made),
	    cmocka_unit_test(test_boost_spares_high),
	    cmocka_unit_test(test_boost_wakes_once),
	    cmocka_unit_test(test_zone_order),
	    cmocka_unit_test(test_local_node_first),
	    cmocka_unit_test(test_new_and_back),
	    cmocka_unit_test(test_not_freed_in_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
