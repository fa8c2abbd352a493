/* SPDX-License-Identifier: MIT */
/* Timer mode of the slabs: arrays for each CPU, and who comes for them. */
#include "engine/slab_internal.h"
#include "world.h"

#define SEC 1000000000ull
#define NR  2000

struct setting {
	struct world *w;
	struct engine *e;
	struct slab_cache *c;
	void *obj[NR];
	struct tunables tun;
};

static struct setting *start(size_t size, uint32_t cpus)
{
	struct setting *s = calloc(1, sizeof(*s));
	struct world_config c = {.zone = {1024}, .cpus = cpus};

	weir__tunables_default(&s->tun);
	s->tun.slab_reap = 1;
	c.tun = &s->tun;
	s->w = world_start(&c);
	s->e = &s->w->e;
	s->c = weir__slab_cache_create(s->e, "test", size);
	return s;
}

static void end(struct setting *s)
{
	assert_true(weir__slab_is_valid(s->e));
	world_stop(s->w);
	free(s);
}

static void take(struct setting *s, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		s->obj[i] = weir__slab_alloc(s->e, s->c, GFP_KERNEL);
		assert_non_null(s->obj[i]);
		memset(s->obj[i], (int)i, s->c->size);
	}
}

static void give(struct setting *s, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		weir__slab_free(s->e, s->c, s->obj[i]);
}

static void visit(struct setting *s)
{
	s->w->fh.now += 2 * SEC;
	weir__cache_reap(s->e);
	assert_true(weir__slab_is_valid(s->e));
}

/* An idle array loses a fifth of its limit every two seconds. */
static void test_cache_reap_idle_array(void **state)
{
	static const uint32_t avail[] = {96, 72, 48, 24, 0, 0};
	struct setting *s = start(64, 1);
	struct object_array *a = &s->c->array[0];

	assert_int_equal(a->limit, 120);
	assert_int_equal(a->batch, 60);
	take(s, 0, 200);
	weir__slabcpu_drain(s->e, s->c);
	give(s, 0, 120);
	assert_int_equal(a->avail, 120);
	visit(s); /* it was used: only marked */
	assert_int_equal(a->avail, 120);
	for (unsigned i = 0; i < 6; i++) {
		visit(s);
		assert_int_equal(a->avail, avail[i]);
	}
	give(s, 120, 200);
	end(s);
}

/* Less than a fifth is left: half of it goes. */
static void test_cache_reap_small_array(void **state)
{
	struct setting *s = start(64, 1);
	struct object_array *a = &s->c->array[0];

	take(s, 0, 60);
	give(s, 0, 11);
	assert_int_equal(a->avail, 11);
	visit(s);
	visit(s);
	assert_int_equal(a->avail, 5);
	visit(s);
	assert_int_equal(a->avail, 2);
	visit(s);
	assert_int_equal(a->avail, 1);
	visit(s);
	assert_int_equal(a->avail, 0);
	give(s, 11, 60);
	end(s);
}

/* An array in use is passed over at each visit, for ever. */
static void test_cache_reap_touched_array(void **state)
{
	struct setting *s = start(64, 1);
	struct object_array *a = &s->c->array[0];

	take(s, 0, 60);
	give(s, 0, 50);
	for (unsigned i = 0; i < 20; i++) {
		take(s, 0, 1);
		give(s, 0, 1);
		visit(s);
		assert_int_equal(a->avail, 50);
	}
	give(s, 50, 60);
	end(s);
}

/* Empty slabs: a fifth of what may be kept, every four seconds, unless one of
 * them was used. */
static void test_cache_reap_empty_slabs(void **state)
{
	struct setting *s = start(512, 1);
	struct slab_cache *c = s->c;
	uint32_t batch = 27, per_visit, left;

	assert_int_equal(c->array[0].limit, 54);
	assert_int_equal(c->per_slab, 8);
	assert_int_equal(c->free_limit, 2 * batch + 8);
	per_visit = (c->free_limit + 5 * 8 - 1) / (5 * 8);
	assert_int_equal(per_visit, 2);
	take(s, 0, NR / 4);
	give(s, 0, NR / 4);
	/* what is over free_limit went at once */
	assert_true(weir__slab_free_objects(c) <= c->free_limit);
	assert_in_range(c->nr_empty, 3, 8);
	c->reaped_ns = s->w->fh.now;
	c->free_touched = true;
	left = c->nr_empty;
	visit(s); /* two seconds: not their turn */
	assert_true(c->free_touched);
	visit(s); /* touched: marked only */
	assert_false(c->free_touched);
	assert_true(c->nr_empty >= left);
	while (c->array[0].avail)
		visit(s);
	left = c->nr_empty;
	s->w->fh.now += 4 * SEC;
	weir__cache_reap(s->e);
	assert_int_equal(c->nr_empty, left > 2 ? left - 2 : 0);
	for (unsigned i = 0; i < 8; i++) {
		visit(s);
		visit(s);
	}
	assert_int_equal(c->nr_slabs, 0);
	end(s);
}

/* Each CPU's array is its own, and the lock of the slabs is taken once for half
 * of it. */
static void test_arrays_of_cpus(void **state)
{
	struct setting *s = start(64, 4);
	uint32_t avail[4];

	for (unsigned cpu = 0; cpu < 4; cpu++) {
		s->w->fh.task.cpu = cpu;
		take(s, cpu * 100, cpu * 100 + 10);
		avail[cpu] = s->c->array[cpu].avail;
		assert_in_range(avail[cpu], 1, 60);
	}
	/* freed where it happens */
	s->w->fh.task.cpu = 2;
	give(s, 0, 10);
	assert_int_equal(s->c->array[0].avail, avail[0]);
	assert_int_equal(s->c->array[2].avail, avail[2] + 10);
	assert_int_equal(weir__slab_objects(s->e) - s->w->objects, 30);
	for (unsigned cpu = 1; cpu < 4; cpu++)
		give(s, cpu * 100, cpu * 100 + 10);
	s->w->fh.task.cpu = 0;
	end(s);
}

/* The task comes every two seconds until the engine ends. */
static void ends_at_ten(struct world *w)
{
	if (w->fh.now >= 10 * SEC)
		w->e.stopping = 1;
}

static void test_cache_reap_worker(void **state)
{
	struct setting *s = start(64, 1);
	struct object_array *a = &s->c->array[0];

	take(s, 0, 60);
	give(s, 0, 60);
	assert_int_equal(a->avail, 60);
	assert_int_equal(weir__slab_reaper_start(s->e), 0);
	assert_string_equal(s->w->fh.spawned[0].name, "cache_reap");
	s->w->on_wait = ends_at_ten;
	s->w->fh.spawned[0].fn(s->e, NULL);
	s->w->e.stopping = 0;
	s->w->on_wait = NULL;
	/* 2 s: marked; 4 s: -24; 6 s: -24; then half of what is left */
	assert_int_equal(a->avail, 3);
	end(s);
}

/* The other mode has none of it. */
static void test_no_arrays_by_default(void **state)
{
	struct world_config c = {.zone = {1024}};
	struct world *w = world_start(&c);

	assert_null(w->e.slab->arrays);
	assert_int_equal(weir__slab_reaper_start(&w->e), 0);
	assert_int_equal(w->fh.nr_spawned, 0);
	world_stop(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cache_reap_idle_array),
	    cmocka_unit_test(test_cache_reap_small_array),
	    cmocka_unit_test(test_cache_reap_touched_array),
	    cmocka_unit_test(test_cache_reap_empty_slabs),
	    cmocka_unit_test(test_arrays_of_cpus),
	    cmocka_unit_test(test_cache_reap_worker),
	    cmocka_unit_test(test_no_arrays_by_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
