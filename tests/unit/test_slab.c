/* SPDX-License-Identifier: MIT */
/* The engine's own objects. */
#include "engine/slab.h"
#include "machine.h"

static struct machine m;
static struct zone *z;

static void start(uint64_t pages)
{
	z = machine_simple(&m, pages, 1);
	assert_int_equal(weir__slab_init(m.e), 0);
}

static int64_t slab_pages(void)
{
	return weir__stat_read(m.e, STAT_nr_slab_pages);
}

/* All frames back, all objects back. */
static void stop_clean(void)
{
	weir__slab_shrink(m.e);
	assert_int_equal(weir__slab_objects(m.e), 0);
	assert_int_equal(slab_pages(), 0);
	weir__pcp_drain_all(m.e);
	assert_int_equal(z->free_pages, z->managed);
	assert_true(weir__zone_is_valid(z));
	machine_stop(&m);
}

static void test_objects_do_not_overlap(void **state)
{
	static const size_t sizes[] = {1, 8, 24, 48, 100, 700, 1040, 2048};

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		enum { N = 300 };
		static uint8_t *obj[N];
		struct slab_cache *c;

		start(4096);
		c = weir__slab_cache_create(m.e, "t", sizes[s]);
		for (int i = 0; i < N; i++) {
			obj[i] = weir__slab_alloc(m.e, c, GFP_KERNEL);
			assert_non_null(obj[i]);
			assert_int_equal((uintptr_t)obj[i] % 16, 0);
			memset(obj[i], i & 0xff, sizes[s]);
		}
		assert_true(weir__slab_is_valid(m.e));
		assert_int_equal(weir__slab_objects(m.e), N);
		for (int i = 0; i < N; i++)
			for (size_t b = 0; b < sizes[s]; b++)
				assert_int_equal(obj[i][b], i & 0xff);
		/* every second one first, so that all slabs are partial */
		for (int i = 0; i < N; i += 2)
			weir__slab_free(m.e, c, obj[i]);
		assert_true(weir__slab_is_valid(m.e));
		for (int i = 1; i < N; i += 2)
			weir__slab_free(m.e, c, obj[i]);
		assert_true(weir__slab_is_valid(m.e));
		stop_clean();
	}
}

/* The book is in the frame's descriptor, so nothing of the page is lost. */
static void test_two_halves(void **state)
{
	struct slab_cache *c;

	start(64);
	c = weir__slab_cache_create(m.e, "t", 2048);
	void *a = weir__slab_alloc(m.e, c, GFP_KERNEL);
	void *b = weir__slab_alloc(m.e, c, GFP_KERNEL);

	assert_int_equal(slab_pages(), 1);
	void *d = weir__slab_alloc(m.e, c, GFP_KERNEL);

	assert_int_equal(slab_pages(), 2);
	weir__slab_free(m.e, c, b);
	assert_ptr_equal(weir__slab_alloc(m.e, c, GFP_KERNEL), b);
	weir__slab_free(m.e, c, a);
	weir__slab_free(m.e, c, b);
	weir__slab_free(m.e, c, d);
	stop_clean();
}

static void test_sizes_refused(void **state)
{
	start(64);
	assert_null(weir__slab_cache_create(m.e, "t", 0));
	assert_null(weir__slab_cache_create(m.e, "t", 2049));
	assert_null(weir__kmalloc(m.e, 2049, GFP_KERNEL));
	for (int i = 0; i < 100; i++)
		if (!weir__slab_cache_create(m.e, "t", 16))
			goto full;
	fail_msg("no end to caches");
full:
	stop_clean();
}

/* Two empty slabs are kept; what is beyond goes at once, the rest on demand. */
static void test_empty_slabs_go(void **state)
{
	enum { N = 10 };
	struct slab_cache *c;
	void *obj[N * 2];

	start(256);
	c = weir__slab_cache_create(m.e, "t", 2048);
	for (int i = 0; i < N * 2; i++)
		obj[i] = weir__slab_alloc(m.e, c, GFP_KERNEL);
	assert_int_equal(slab_pages(), N);
	m.fh.nr_released = 0;
	for (int i = 0; i < N * 2; i++)
		weir__slab_free(m.e, c, obj[i]);
	assert_int_equal(slab_pages(), 2);
	assert_int_equal(m.fh.nr_released, N - 2);
	assert_int_equal(weir__slab_shrink(m.e), 2);
	assert_int_equal(weir__slab_shrink(m.e), 0);
	assert_int_equal(m.fh.nr_writes, 0);
	stop_clean();
}

static void test_kmalloc(void **state)
{
	static const size_t sizes[] = {0,   1,   64,  65,   128,  200,  256,
				       300, 512, 513, 1024, 1025, 2000, 2048};
	enum { N = sizeof(sizes) / sizeof(sizes[0]) };
	void *obj[N];

	start(256);
	for (int i = 0; i < N; i++) {
		obj[i] = weir__kmalloc(m.e, sizes[i], GFP_KERNEL);
		assert_non_null(obj[i]);
		memset(obj[i], i, sizes[i]);
	}
	assert_true(weir__slab_is_valid(m.e));
	/* found by the address alone */
	for (int i = 0; i < N; i++)
		weir__kfree(m.e, obj[i]);
	weir__kfree(m.e, NULL);
	assert_true(weir__slab_is_valid(m.e));
	stop_clean();
}

static void test_zeroed(void **state)
{
	uint8_t *p;

	start(64);
	p = weir__kmalloc(m.e, 256, GFP_KERNEL);
	memset(p, 0xff, 256);
	weir__kfree(m.e, p);
	p = weir__kmalloc(m.e, 256, GFP_KERNEL | GFP_ZERO);
	for (int i = 0; i < 256; i++)
		assert_int_equal(p[i], 0);
	weir__kfree(m.e, p);
	stop_clean();
}

static void test_fixed_caches(void **state)
{
	start(64);
	struct region *r = weir__slab_alloc(m.e, weir__cache_region(m.e),
					    GFP_KERNEL | GFP_ZERO);
	struct anon_vma *av = weir__slab_alloc(m.e, weir__cache_anon_vma(m.e),
					       GFP_KERNEL | GFP_ZERO);
	struct anon_vma_chain *avc =
	    weir__slab_alloc(m.e, weir__cache_avc(m.e), GFP_KERNEL | GFP_ZERO);

	memset(r, 1, sizeof(*r));
	memset(av, 2, sizeof(*av));
	memset(avc, 3, sizeof(*avc));
	assert_true(weir__slab_is_valid(m.e));
	weir__slab_free(m.e, weir__cache_region(m.e), r);
	weir__slab_free(m.e, weir__cache_anon_vma(m.e), av);
	weir__slab_free(m.e, weir__cache_avc(m.e), avc);
	stop_clean();
}

/* No frame: no object, and the books are as before. Each request goes as low
 * as its own rights let it. */
static void test_no_memory(void **state)
{
	enum { PAGES = 4096, MAX = PAGES * 2 + 1 };
	static void *obj[MAX];
	int n = 0, urgent, last;

	start(PAGES);
	while ((obj[n] = weir__kmalloc(m.e, 2048, GFP_NOWAIT)))
		n++;
	assert_true(weir__slab_is_valid(m.e));
	assert_int_equal(weir__slab_objects(m.e), n);
	urgent = n;
	while ((obj[urgent] = weir__kmalloc(m.e, 2048, GFP_ATOMIC)))
		urgent++;
	assert_true(urgent > n);
	last = urgent;
	while ((obj[last] = weir__kmalloc(m.e, 2048, GFP_NOIO | GFP_MEMALLOC)))
		last++;
	assert_int_equal(last, PAGES * 2); /* every frame, two each */
	assert_true(weir__slab_is_valid(m.e));
	for (int i = 0; i < last; i++)
		weir__kfree(m.e, obj[i]);
	stop_clean();
}

/* Taking a frame may reclaim, and reclaim frees objects of the same cache. */
static void *to_free;

static struct frame *slow(struct engine *e, gfp_t gfp, unsigned order)
{
	struct frame *f;

	m.e->alloc_slow = NULL;
	weir__kfree(e, to_free);
	to_free = NULL;
	assert_int_equal(m.fh.task.nr_locks, 0);
	f = weir__frames_alloc(e, gfp | GFP_MEMALLOC, order);
	m.e->alloc_slow = slow;
	return f;
}

static void test_reclaim_inside(void **state)
{
	void *a, *b;
	int64_t nr_free;

	start(256);
	to_free = weir__kmalloc(m.e, 2048, GFP_KERNEL);
	a = weir__kmalloc(m.e, 2048, GFP_KERNEL);
	m.e->alloc_slow = slow;
	weir__pcp_drain_all(m.e);
	nr_free = z->free_pages;
	z->free_pages = 0; /* so it seems */
	b = weir__kmalloc(m.e, 2048, GFP_KERNEL);
	z->free_pages += nr_free;
	assert_non_null(b);
	assert_null(to_free);
	assert_true(weir__slab_is_valid(m.e));
	m.e->alloc_slow = NULL;
	weir__kfree(m.e, a);
	weir__kfree(m.e, b);
	stop_clean();
}

static void test_wrong_frees(void **state)
{
	struct slab_cache *c, *other;
	uint8_t *p;

	start(64);
	c = weir__slab_cache_create(m.e, "t", 64);
	other = weir__slab_cache_create(m.e, "other", 64);
	p = weir__slab_alloc(m.e, c, GFP_KERNEL);
	expect_panic(&m, weir__slab_free(m.e, other, p));
	expect_panic(&m, weir__slab_free(m.e, c, p + 8));
	expect_panic(&m, weir__kfree(m.e, &c)); /* not ours at all */
	expect_panic(&m, weir__kfree(m.e, m.fh.ram + 63 * PAGE_SIZE));
	weir__slab_free(m.e, c, p);
	expect_panic(&m, weir__slab_free(m.e, c, p)); /* twice */
	machine_stop(&m);
}

static void test_damage_is_seen(void **state)
{
	struct slab_cache *c;
	uintptr_t *p, *q;

	start(64);
	c = weir__slab_cache_create(m.e, "t", 64);
	p = weir__slab_alloc(m.e, c, GFP_KERNEL);
	q = weir__slab_alloc(m.e, c, GFP_KERNEL);
	weir__slab_free(m.e, c, p);
	assert_true(weir__slab_is_valid(m.e));
	uintptr_t saved = *p; /* used after free */

	*p = 1;
	assert_false(weir__slab_is_valid(m.e));
	*p = (uintptr_t)p; /* a ring */
	assert_false(weir__slab_is_valid(m.e));
	*p = saved;
	assert_true(weir__slab_is_valid(m.e));
	weir__slab_free(m.e, c, q);
	stop_clean();
}

static void test_random(void **state)
{
	enum { HELD = 500 };
	static struct {
		uint8_t *p;
		size_t size;
		uint8_t fill;
	} held[HELD];
	uint32_t seed = 99;

	start(4096);
	for (int turn = 0; turn < 20000; turn++) {
		seed = seed * 1664525u + 1013904223u;
		unsigned i = (seed >> 8) % HELD;

		if (held[i].p) {
			for (size_t b = 0; b < held[i].size; b += 7)
				assert_int_equal(held[i].p[b], held[i].fill);
			weir__kfree(m.e, held[i].p);
			held[i].p = NULL;
			continue;
		}
		held[i].size = 1 + (seed >> 18) % 2048;
		held[i].fill = (uint8_t)(seed >> 24);
		held[i].p = weir__kmalloc(m.e, held[i].size, GFP_KERNEL);
		assert_non_null(held[i].p);
		memset(held[i].p, held[i].fill, held[i].size);
		if (turn % 1000 == 0)
			assert_true(weir__slab_is_valid(m.e));
	}
	for (unsigned i = 0; i < HELD; i++) {
		weir__kfree(m.e, held[i].p);
		held[i].p = NULL;
	}
	stop_clean();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_objects_do_not_overlap),
	    cmocka_unit_test(test_two_halves),
	    cmocka_unit_test(test_sizes_refused),
	    cmocka_unit_test(test_empty_slabs_go),
	    cmocka_unit_test(test_kmalloc),
	    cmocka_unit_test(test_zeroed),
	    cmocka_unit_test(test_fixed_caches),
	    cmocka_unit_test(test_no_memory),
	    cmocka_unit_test(test_reclaim_inside),
	    cmocka_unit_test(test_wrong_frees),
	    cmocka_unit_test(test_damage_is_seen),
	    cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
