/* SPDX-License-Identifier: MIT */
/* The index tree against a plain table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/xtree.h"

#define NR 400

static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

struct model {
	struct xtree t;
	struct xt_room room;
	uint64_t index[NR]; /* sorted */
	uint64_t entry[NR]; /* 0 = none */
	bool tag[NR][XT_TAGS];
	unsigned nodes;
	unsigned leaves_gone;
};

static struct model *now;

static void on_update(struct xtree *t, struct xt_node *n)
{
	assert_ptr_equal(n->tree, t);
	assert_int_equal(n->shift, 0);
	assert_true(n->values <= n->count);
	now->leaves_gone += !n->count;
}

static void fill(struct model *m, unsigned need)
{
	while (m->room.nr < need) {
		xt_room_add(&m->room, malloc(sizeof(struct xt_node)));
		m->nodes++;
	}
}

static void drain(struct model *m)
{
	struct xt_node *n;

	while ((n = xt_room_take(&m->room))) {
		free(n);
		m->nodes--;
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void store(struct model *m, unsigned i, uint64_t entry)
{
	unsigned need = entry ? xt_need(&m->t, m->index[i]) : 0;
	unsigned had;

	fill(m, need);
	had = m->room.nr;
	assert_int_equal(xt_store(&m->t, m->index[i], entry, &m->room),
			 m->entry[i]);
	if (entry)
		assert_int_equal(had - m->room.nr, need);
	m->entry[i] = entry;
	if (!entry)
		memset(m->tag[i], 0, sizeof(m->tag[i]));
}

/* The tree's next entry from here on is the table's. */
static void check_next(struct model *m, uint64_t from, uint64_t last, int tag)
{
	uint64_t at = from, want = 0, place = from, got;

	for (unsigned i = 0; i < NR && !want; i++) {
		if (m->index[i] < from || m->index[i] > last || !m->entry[i] ||
		    (tag >= 0 && !m->tag[i][tag]))
			continue;
		want = m->entry[i];
		place = m->index[i];
	}
	got = tag < 0 ? xt_next(&m->t, &at, last)
		      : xt_next_tag(&m->t, &at, last, (unsigned)tag);
	assert_int_equal(got, want);
	if (want)
		assert_int_equal(at, place);
}

static void check(struct model *m)
{
	uint64_t nr = 0;

	assert_true(xt_is_valid(&m->t));
	for (unsigned i = 0; i < NR; i++) {
		nr += m->entry[i] != 0;
		assert_int_equal(xt_get(&m->t, m->index[i]), m->entry[i]);
		for (unsigned tag = 0; tag < XT_TAGS; tag++)
			assert_int_equal(xt_tag_get(&m->t, m->index[i], tag),
					 m->tag[i][tag]);
	}
	assert_int_equal(m->t.nr, nr);
	for (int k = 0; k < 30; k++) {
		uint64_t a = m->index[rnd(NR)] + rnd(3) - 1;
		uint64_t b = m->index[rnd(NR)] + rnd(3) - 1;

		check_next(m, a, b, (int)rnd(XT_TAGS + 1) - 1);
		check_next(m, a, UINT64_MAX, (int)rnd(XT_TAGS + 1) - 1);
	}
}

static struct model *start(uint64_t s, unsigned bits)
{
	struct model *m = calloc(1, sizeof(*m));

	seed = s * 0x9e3779b97f4a7c15u + 1;
	now = m;
	xt_init(&m->t);
	m->t.update = on_update;
	for (unsigned i = 0; i < NR; i++) {
		uint64_t x = seed;

		rnd(1);
		x ^= seed << 7;
		m->index[i] = bits == 64 ? x : x & (((uint64_t)1 << bits) - 1);
	}
	m->index[0] = 0;
	m->index[1] = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
	qsort(m->index, NR, sizeof(m->index[0]), by_value);
	for (unsigned i = 1; i < NR; i++) /* no index twice */
		if (m->index[i] <= m->index[i - 1])
			m->index[i] = m->index[i - 1] + 1;
	return m;
}

static void stop(struct model *m)
{
	for (unsigned i = 0; i < NR; i++)
		store(m, i, 0);
	assert_null(m->t.root);
	assert_int_equal(m->t.nr, 0);
	drain(m);
	assert_int_equal(m->nodes, 0);
	free(m);
}

static void random_steps(uint64_t s, unsigned bits)
{
	struct model *m = start(s, bits);

	for (int step = 0; step < 3000; step++) {
		unsigned i = (unsigned)rnd(NR), tag = (unsigned)rnd(XT_TAGS);

		switch (rnd(8)) {
		case 0:
		case 1:
		case 2:
			store(m, i, (rnd(1000) + 1) * 64);
			break;
		case 3:
			store(m, i, rnd(1000) * 4 + 1 + rnd(2));
			break;
		case 4:
		case 5:
			store(m, i, 0);
			break;
		case 6:
			if (!m->entry[i])
				break;
			xt_tag_set(&m->t, m->index[i], tag);
			m->tag[i][tag] = true;
			break;
		default:
			xt_tag_clear(&m->t, m->index[i], tag);
			m->tag[i][tag] = false;
		}
		if (step % 100 == 0)
			check(m);
	}
	check(m);
	stop(m);
}

static void test_random(void **state)
{
	static const unsigned bits[] = {9, 12, 13, 30, 48, 63};

	for (unsigned b = 0; b < sizeof(bits) / sizeof(*bits); b++)
		for (uint64_t s = 1; s < 6; s++)
			random_steps(s, bits[b]);
}

/* The room a store needs, written out for the first levels. */
static void test_need(void **state)
{
	struct model *m = start(1, 30);

	assert_int_equal(xt_need(&m->t, 0), 1);
	assert_int_equal(xt_need(&m->t, 63), 1);
	assert_int_equal(xt_need(&m->t, 64), 2);
	assert_int_equal(xt_need(&m->t, 4095), 2);
	assert_int_equal(xt_need(&m->t, 4096), 3);
	assert_int_equal(xt_need(&m->t, UINT64_MAX), XT_DEPTH);
	fill(m, 1);
	xt_store(&m->t, 5, 4, &m->room);
	assert_int_equal(xt_need(&m->t, 63), 0);
	/* a new root and a second leaf */
	assert_int_equal(xt_need(&m->t, 64), 2);
	/* two new roots, and two nodes on the way down */
	assert_int_equal(xt_need(&m->t, 4096), 4);
	fill(m, 4);
	xt_store(&m->t, 4096, 4, &m->room);
	assert_int_equal(xt_need(&m->t, 64), 1);
	assert_int_equal(m->t.root->shift, 12);
	/* the far entry goes: the tree is low again */
	assert_int_equal(xt_store(&m->t, 4096, 0, &m->room), 4);
	assert_int_equal(m->t.root->shift, 0);
	assert_int_equal(m->room.nr, 4);
	xt_store(&m->t, 5, 0, &m->room);
	stop(m);
}

/* Values are counted in their leaf, and its place can be told. */
static void test_values(void **state)
{
	struct model *m = start(1, 30);
	struct xt_node *leaf;

	fill(m, 8);
	xt_store(&m->t, 70000, 64, &m->room);
	xt_store(&m->t, 70001, 3, &m->room);
	for (leaf = m->t.root; leaf->shift;)
		leaf = (struct xt_node *)(uintptr_t)
			   leaf->slot[70000 >> leaf->shift & 63];
	assert_int_equal(leaf->count, 2);
	assert_int_equal(leaf->values, 1);
	assert_int_equal(xt_node_index(leaf), 70000 / 64 * 64);
	xt_store(&m->t, 70000, 5, &m->room);
	assert_int_equal(leaf->values, 2);
	xt_store(&m->t, 70001, 128, &m->room);
	assert_int_equal(leaf->values, 1);
	xt_store(&m->t, 70000, 0, &m->room);
	assert_int_equal(leaf->values, 0);
	assert_int_equal(m->leaves_gone, 0);
	xt_store(&m->t, 70001, 0, &m->room);
	assert_int_equal(m->leaves_gone, 1);
	stop(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_need),
	    cmocka_unit_test(test_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
