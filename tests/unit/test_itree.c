/* SPDX-License-Identifier: MIT */
/* The interval tree against a list that is searched from end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/itree.h"

#define NR 300

static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

struct model {
	struct itree tree;
	struct itree_node node[NR];
	bool in[NR];
};

static bool overlaps(const struct itree_node *n, uint64_t start, uint64_t last)
{
	return n->start <= last && n->last >= start;
}

/* Every overlap exactly once, in order, and nothing else. */
static void check_query(struct model *m, uint64_t start, uint64_t last)
{
	struct itree_node *n, *prev = NULL;
	unsigned want = 0, got = 0;

	for (unsigned i = 0; i < NR; i++)
		if (m->in[i] && overlaps(&m->node[i], start, last))
			want++;
	for (n = itree_first(&m->tree, start, last); n;
	     n = itree_next(n, start, last)) {
		assert_true(overlaps(n, start, last));
		assert_true(m->in[n - m->node]);
		if (prev)
			assert_true(prev->start < n->start ||
				    (prev->start == n->start &&
				     prev->last <= n->last));
		prev = n;
		got++;
	}
	assert_int_equal(got, want);
}

static void check_bound(struct model *m, uint64_t key)
{
	struct itree_node *n = itree_lower_bound(&m->tree, key), *p;
	uint64_t want = UINT64_MAX;

	for (unsigned i = 0; i < NR; i++)
		if (m->in[i] && m->node[i].start >= key &&
		    m->node[i].start < want)
			want = m->node[i].start;
	if (want == UINT64_MAX) {
		assert_null(n);
		return;
	}
	assert_non_null(n);
	assert_true(n->start == want);
	p = itree_pred(n);
	if (p) {
		assert_true(p->start < key);
		assert_ptr_equal(itree_succ(p), n);
	}
}

static void random_run(uint64_t s, uint64_t space, uint64_t len)
{
	static struct model m;

	seed = s;
	memset(&m, 0, sizeof(m));
	itree_init(&m.tree);
	for (unsigned step = 0; step < 4000; step++) {
		unsigned i = (unsigned)rnd(NR);

		if (m.in[i]) {
			itree_remove(&m.tree, &m.node[i]);
		} else {
			m.node[i].start = rnd(space);
			m.node[i].last = m.node[i].start + rnd(len);
			itree_insert(&m.tree, &m.node[i]);
		}
		m.in[i] = !m.in[i];
		assert_true(itree_is_valid(&m.tree));
		if (step % 4 == 0) {
			uint64_t start = rnd(space + len);

			check_query(&m, start, start + rnd(len));
			check_query(&m, start, start);
			check_bound(&m, start);
		}
	}
	check_query(&m, 0, UINT64_MAX);
}

static void test_random(void **state)
{
	random_run(0x9e3779b97f4a7c15, 1000, 50);
	random_run(2, 40, 40);		      /* nearly everything overlaps */
	random_run(3, UINT64_MAX - 2000, 1000); /* hardly anything does */
	random_run(4, 5, 1);		      /* mostly equal intervals */
}

static void test_empty_and_one(void **state)
{
	struct itree t;
	struct itree_node n = {.start = 5, .last = 9};

	itree_init(&t);
	assert_true(itree_is_valid(&t));
	assert_null(itree_first(&t, 0, UINT64_MAX));
	assert_null(itree_lower_bound(&t, 0));
	itree_insert(&t, &n);
	assert_ptr_equal(itree_first(&t, 9, 9), &n);
	assert_ptr_equal(itree_first(&t, 0, 5), &n);
	assert_null(itree_first(&t, 10, 20));
	assert_null(itree_first(&t, 0, 4));
	assert_null(itree_succ(&n));
	assert_null(itree_pred(&n));
	itree_remove(&t, &n);
	assert_true(t.nr == 0);
	assert_null(t.root);
}

/* Ascending inserts are what regions do; the height must stay logarithmic. */
static void test_balance(void **state)
{
	static struct itree_node n[1024];
	struct itree t;

	itree_init(&t);
	for (unsigned i = 0; i < 1024; i++) {
		n[i].start = i * 2;
		n[i].last = i * 2 + 1;
		itree_insert(&t, &n[i]);
	}
	assert_true(itree_is_valid(&t));
	assert_true(t.root->height <= 14); /* 1.44 * log2(1024) */
	for (unsigned i = 0; i < 1024; i += 2)
		itree_remove(&t, &n[i]);
	assert_true(itree_is_valid(&t));
	assert_ptr_equal(itree_first(&t, 0, 4), &n[1]);
	assert_ptr_equal(itree_next(&n[1], 0, 6), &n[3]);
}

/* The walker itself must be able to say no. */
static void test_canary(void **state)
{
	struct itree_node a = {.start = 1, .last = 2};
	struct itree_node b = {.start = 5, .last = 6};
	struct itree t;

	itree_init(&t);
	itree_insert(&t, &a);
	itree_insert(&t, &b);
	assert_true(itree_is_valid(&t));
	b.start = 0;
	assert_false(itree_is_valid(&t));
	b.start = 5;
	a.max = 2;
	assert_false(itree_is_valid(&t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_empty_and_one),
		cmocka_unit_test(test_balance),
		cmocka_unit_test(test_canary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
