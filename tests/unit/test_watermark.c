/* SPDX-License-Identifier: MIT */
/*
 * Watermarks against numbers read from a running Linux. The zones are bare
 * structs with a size: marks need no frames.
 */
#include "machine.h"

#define PAGES_16896_KB (16896 * 4)

static struct machine m;

static void bare(unsigned nr_zones, const uint64_t *managed, unsigned cpus)
{
	memset(&m, 0, sizeof(m));
	m.e = calloc(1, sizeof(*m.e));
	fakehost_init(&m.fh, m.e, 1, 0);
	m.e->host = &m.fh.host;
	m.e->nr_cpus = cpus;
	m.e->nr_nodes = 1;
	m.e->nodes[0].nr_zones = (uint8_t)nr_zones;
	weir__tunables_default(&m.e->tun);
	for (unsigned i = 0; i < nr_zones; i++) {
		struct zone *z = &m.e->nodes[0].zones[i];

		z->engine = m.e;
		z->index = (uint8_t)i;
		z->managed = managed[i];
		weir__spin_init(&z->lock, RANK_ZONE);
		for (unsigned c = 0; c < MAX_CPUS; c++)
			weir__spin_init(&z->pcp[c].lock, RANK_PCP);
	}
}

static struct zone *zone(unsigned i)
{
	return &m.e->nodes[0].zones[i];
}

static void assert_marks(const struct zone *z, uint64_t min, uint64_t low,
			 uint64_t high, uint64_t promo)
{
	assert_int_equal(weir__wmark(z, WMARK_MIN), min);
	assert_int_equal(weir__wmark(z, WMARK_LOW), low);
	assert_int_equal(weir__wmark(z, WMARK_HIGH), high);
	assert_int_equal(weir__wmark(z, WMARK_PROMO), promo);
}

static void test_isqrt(void **state)
{
	for (uint64_t r = 0; r < 3000; r++) {
		assert_int_equal(weir__isqrt(r * r), r);
		assert_int_equal(weir__isqrt(r * r + 2 * r), r);
	}
	assert_int_equal(weir__isqrt(UINT64_MAX), UINT32_MAX);
	assert_int_equal(weir__isqrt((uint64_t)1 << 62), (uint64_t)1 << 31);
}

static void test_min_free_kbytes(void **state)
{
	static const struct {
		uint64_t mib, kbytes;
	} t[] = {
	    {1, 128},     {16, 512},     {64, 1024},     {1024, 4096},
	    {4096, 8192}, {8192, 11585}, {16384, 16384}, {4 << 20, 262144},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		assert_int_equal(weir__min_free_kbytes(t[i].mib * 1024),
				 t[i].kbytes);
}

static void test_marks_of_three_zones(void **state)
{
	bare(3, (uint64_t[]){3840, 772915, 294912}, 2);
	m.e->tun.min_free_kbytes = PAGES_16896_KB;
	weir__setup_per_zone_wmarks(m.e);
	assert_marks(zone(0), 60, 75, 90, 105);
	assert_marks(zone(1), 12185, 15231, 18277, 21323);
	assert_marks(zone(2), 4649, 5811, 6973, 8135);

	/* the normal zone grows at run time: everything follows */
	zone(2)->managed = 1310720;
	weir__setup_per_zone_wmarks(m.e);
	assert_marks(zone(2), 10608, 13260, 15912, 18564);
	machine_stop(&m);
}

/* A large scale factor decides the gap; min stays. */
static void test_scale_factor(void **state)
{
	bare(1, (uint64_t[]){1000000}, 1);
	m.e->tun.min_free_kbytes = 4 * 4000;
	m.e->tun.watermark_scale_factor = 100;
	weir__setup_per_zone_wmarks(m.e);
	assert_marks(zone(0), 4000, 14000, 24000, 34000);
	m.e->tun.watermark_scale_factor = 1; /* share / 4 wins */
	weir__setup_per_zone_wmarks(m.e);
	assert_marks(zone(0), 4000, 5000, 6000, 7000);
	machine_stop(&m);
}

static void test_automatic_value(void **state)
{
	bare(1, (uint64_t[]){262144}, 1); /* 1 GiB */
	weir__setup_per_zone_wmarks(m.e);
	assert_int_equal(m.e->min_free_kbytes, 4096);
	assert_marks(zone(0), 1024, 1286, 1548, 1810);
	/* nothing changed: nothing moves */
	weir__setup_per_zone_wmarks(m.e);
	assert_int_equal(m.e->min_free_kbytes, 4096);
	/* a written value stands, and going back to 0 is automatic again */
	m.e->tun.min_free_kbytes = 1000;
	weir__setup_per_zone_wmarks(m.e);
	assert_int_equal(m.e->min_free_kbytes, 1000);
	m.e->tun.min_free_kbytes = 0;
	weir__setup_per_zone_wmarks(m.e);
	assert_int_equal(m.e->min_free_kbytes, 4096);
	/* grown to 4 GiB: what lies below the old high mark is not counted */
	zone(0)->managed = 1048576;
	weir__setup_per_zone_wmarks(m.e);
	assert_int_equal(m.e->min_free_kbytes,
			 weir__min_free_kbytes((1048576 - 1548) * 4));
	machine_stop(&m);
}

static void boost(struct zone *z)
{
	weir__spin_lock(m.e, &z->lock);
	weir__boost_watermark(z);
	weir__spin_unlock(m.e, &z->lock);
}

static void test_boost(void **state)
{
	struct zone *z;

	bare(3, (uint64_t[]){3840, 772915, 294912}, 2);
	m.e->tun.min_free_kbytes = PAGES_16896_KB;
	weir__setup_per_zone_wmarks(m.e);
	z = zone(1);
	boost(z);
	assert_int_equal(z->watermark_boost, 512);
	assert_marks(z, 12185 + 512, 15231 + 512, 18277 + 512, 21323 + 512);
	for (int i = 0; i < 100; i++)
		boost(z);
	assert_int_equal(z->watermark_boost, 27415);
	/* new marks end the boost */
	weir__setup_per_zone_wmarks(m.e);
	assert_int_equal(z->watermark_boost, 0);
	/* a small zone: 90 * 1.5 is less than a block, a block it is */
	boost(zone(0));
	boost(zone(0));
	assert_int_equal(zone(0)->watermark_boost, 512);
	m.e->tun.watermark_boost_factor = 0;
	boost(z);
	assert_int_equal(z->watermark_boost, 0);
	machine_stop(&m);

	bare(1, (uint64_t[]){4 * 512 - 1}, 1);
	weir__setup_per_zone_wmarks(m.e);
	boost(zone(0));
	assert_int_equal(zone(0)->watermark_boost, 0);
	machine_stop(&m);
}

static void test_lowmem_reserve(void **state)
{
	bare(3, (uint64_t[]){3840, 772915, 1310720}, 2);
	m.e->tun.min_free_kbytes = PAGES_16896_KB;
	weir__setup_per_zone_wmarks(m.e);
	assert_int_equal(zone(0)->lowmem_reserve[0], 0);
	assert_int_equal(zone(0)->lowmem_reserve[1], 3019);
	assert_int_equal(zone(0)->lowmem_reserve[2], 8139);
	assert_int_equal(zone(1)->lowmem_reserve[0], 0);
	assert_int_equal(zone(1)->lowmem_reserve[1], 0);
	assert_int_equal(zone(1)->lowmem_reserve[2], 5120);
	for (int j = 0; j < 3; j++)
		assert_int_equal(zone(2)->lowmem_reserve[j], 0);

	/* ratio 0 and an empty zone keep nothing */
	m.e->tun.lowmem_reserve_ratio_0 = 0;
	zone(1)->managed = 0;
	weir__setup_per_zone_wmarks(m.e);
	assert_int_equal(zone(0)->lowmem_reserve[2], 0);
	assert_int_equal(zone(1)->lowmem_reserve[2], 0);
	machine_stop(&m);
}

static void test_totalreserve(void **state)
{
	bare(3, (uint64_t[]){3840, 772915, 1310720}, 2);
	weir__setup_per_zone_wmarks(m.e);
	/* the marks of the machine at the moment it was looked at */
	zone(0)->wmark[WMARK_HIGH] = 45;
	zone(1)->wmark[WMARK_HIGH] = 9381;
	zone(2)->wmark[WMARK_HIGH] = 15912;
	assert_int_equal(weir__totalreserve(m.e), 34253);
	machine_stop(&m);
}

static void test_totalreserve_follows(void **state)
{
	bare(1, (uint64_t[]){262144}, 1);
	weir__setup_per_zone_wmarks(m.e);
	assert_int_equal(m.e->totalreserve, 1548);
	machine_stop(&m);
}

static void test_stat_threshold(void **state)
{
	assert_int_equal(weir__stat_threshold(2, 3840), 4);
	assert_int_equal(weir__stat_threshold(2, 772915), 24);
	assert_int_equal(weir__stat_threshold(2, 327680), 20);
	assert_int_equal(weir__stat_threshold(1024, (uint64_t)1 << 40), 125);
	assert_int_equal(weir__stat_pressure_threshold(2, 3046), 125);
	assert_int_equal(weir__stat_pressure_threshold(2, 15), 7);
	assert_int_equal(weir__stat_pressure_threshold(16, 15), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_isqrt),
	    cmocka_unit_test(test_min_free_kbytes),
	    cmocka_unit_test(test_marks_of_three_zones),
	    cmocka_unit_test(test_scale_factor),
	    cmocka_unit_test(test_automatic_value),
	    cmocka_unit_test(test_boost),
	    cmocka_unit_test(test_lowmem_reserve),
	    cmocka_unit_test(test_totalreserve),
	    cmocka_unit_test(test_totalreserve_follows),
	    cmocka_unit_test(test_stat_threshold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
