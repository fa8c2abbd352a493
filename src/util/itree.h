/* SPDX-License-Identifier: MIT */
/*
 * Interval tree: intrusive, balanced, keyed by [start, last] (both inclusive),
 * equal and overlapping intervals allowed. The caller embeds the node, sets
 * start and last before the insert and does not change them while inside.
 */
#ifndef WEIR_UTIL_ITREE_H
#define WEIR_UTIL_ITREE_H

#include <stdbool.h>
#include <stdint.h>

struct itree_node {
	struct itree_node *parent, *left, *right;
	uint64_t start, last;
	uint64_t max; /* largest last in this subtree */
	int height;
};

struct itree {
	struct itree_node *root;
	uint64_t nr;
};

void itree_init(struct itree *t);
void itree_insert(struct itree *t, struct itree_node *n);
void itree_remove(struct itree *t, struct itree_node *n);

/* Lowest node that overlaps [start, last], in order of (start, last). */
struct itree_node *itree_first(const struct itree *t, uint64_t start,
			       uint64_t last);
/* The next one after n that overlaps [start, last]; NULL at the end. */
struct itree_node *itree_next(const struct itree_node *n, uint64_t start,
			      uint64_t last);

/* First node whose start is >= key, and the one after / before n by start. */
struct itree_node *itree_lower_bound(const struct itree *t, uint64_t key);
struct itree_node *itree_succ(const struct itree_node *n);
struct itree_node *itree_pred(const struct itree_node *n);

/* Order, balance and max of every node. */
bool itree_is_valid(const struct itree *t);

#endif
