/* SPDX-License-Identifier: MIT */
/*
 * Interval tree: an AVL tree ordered by (start, last) in which every node also
 * knows the largest `last` of its subtree. A search for [start, last] never
 * enters a subtree whose max lies below start, and stops as soon as a node
 * begins after last, so it costs O(log n) per interval found.
 */
#include "util/itree.h"

#include <stddef.h>

void itree_init(struct itree *t)
{
	t->root = NULL;
	t->nr = 0;
}

static int height(const struct itree_node *n)
{
	return n ? n->height : 0;
}

static int balance(const struct itree_node *n)
{
	return height(n->left) - height(n->right);
}

static bool before(const struct itree_node *a, const struct itree_node *b)
{
	return a->start < b->start ||
	       (a->start == b->start && a->last < b->last);
}

/* Height and max from the children. */
static void update(struct itree_node *n)
{
	int hl = height(n->left), hr = height(n->right);

	n->height = 1 + (hl > hr ? hl : hr);
	n->max = n->last;
	if (n->left && n->left->max > n->max)
		n->max = n->left->max;
	if (n->right && n->right->max > n->max)
		n->max = n->right->max;
}

/* Hangs `new` where `old` hung below `parent`. */
static void replace_child(struct itree *t, struct itree_node *parent,
			  struct itree_node *old, struct itree_node *new)
{
	if (!parent)
		t->root = new;
	else if (parent->left == old)
		parent->left = new;
	else
		parent->right = new;
	if (new)
		new->parent = parent;
}

/* The left child becomes the top of this subtree; returns it. */
static struct itree_node *rotate_right(struct itree *t, struct itree_node *n)
{
	struct itree_node *top = n->left;

	replace_child(t, n->parent, n, top);
	n->left = top->right;
	if (n->left)
		n->left->parent = n;
	top->right = n;
	n->parent = top;
	update(n);
	update(top);
	return top;
}

static struct itree_node *rotate_left(struct itree *t, struct itree_node *n)
{
	struct itree_node *top = n->right;

	replace_child(t, n->parent, n, top);
	n->right = top->left;
	if (n->right)
		n->right->parent = n;
	top->left = n;
	n->parent = top;
	update(n);
	update(top);
	return top;
}

/* Heights and max from n to the root. The max can change all the way up even
 * where heights do not, so this never stops early. */
static void rebalance(struct itree *t, struct itree_node *n)
{
	while (n) {
		int b;

		update(n);
		b = balance(n);
		if (b > 1) {
			if (balance(n->left) < 0)
				rotate_left(t, n->left);
			n = rotate_right(t, n);
		} else if (b < -1) {
			if (balance(n->right) > 0)
				rotate_right(t, n->right);
			n = rotate_left(t, n);
		}
		n = n->parent;
	}
}

void itree_insert(struct itree *t, struct itree_node *n)
{
	struct itree_node **link = &t->root, *parent = NULL;

	while (*link) {
		parent = *link;
		link = before(n, parent) ? &parent->left : &parent->right;
	}
	*link = n;
	n->parent = parent;
	n->left = NULL;
	n->right = NULL;
	rebalance(t, n);
	t->nr++;
}

void itree_remove(struct itree *t, struct itree_node *n)
{
	struct itree_node *low; /* lowest node whose subtree changed */

	if (n->left && n->right) {
		struct itree_node *s = n->right;

		while (s->left)
			s = s->left;
		low = s->parent == n ? s : s->parent;
		if (s->parent != n) {
			replace_child(t, s->parent, s, s->right);
			s->right = n->right;
			s->right->parent = s;
		}
		s->left = n->left;
		s->left->parent = s;
		replace_child(t, n->parent, n, s);
	} else {
		low = n->parent;
		replace_child(t, n->parent, n, n->left ? n->left : n->right);
	}
	rebalance(t, low);
	n->parent = NULL;
	n->left = NULL;
	n->right = NULL;
	t->nr--;
}

/*
 * Lowest overlap in the subtree of n, whose max is at least start. When the
 * left subtree reaches up to start, the answer is there or nowhere: its lowest
 * node with last >= start either overlaps, or begins after our last, and then
 * so does everything to its right.
 */
static struct itree_node *subtree_first(struct itree_node *n, uint64_t start,
					uint64_t last)
{
	for (;;) {
		if (n->left && n->left->max >= start) {
			n = n->left;
			continue;
		}
		if (n->start > last)
			return NULL;
		if (n->last >= start)
			return n;
		if (!n->right || n->right->max < start)
			return NULL;
		n = n->right;
	}
}

struct itree_node *itree_first(const struct itree *t, uint64_t start,
			       uint64_t last)
{
	if (!t->root || t->root->max < start)
		return NULL;
	return subtree_first(t->root, start, last);
}

struct itree_node *itree_next(const struct itree_node *n, uint64_t start,
			      uint64_t last)
{
	for (;;) {
		const struct itree_node *child;

		if (n->right && n->right->max >= start)
			return subtree_first(n->right, start, last);
		do {
			child = n;
			n = n->parent;
		} while (n && n->right == child);
		if (!n || n->start > last)
			return NULL;
		if (n->last >= start)
			return (struct itree_node *)n;
	}
}

struct itree_node *itree_lower_bound(const struct itree *t, uint64_t key)
{
	struct itree_node *n = t->root, *found = NULL;

	while (n) {
		if (n->start >= key) {
			found = n;
			n = n->left;
		} else {
			n = n->right;
		}
	}
	return found;
}

struct itree_node *itree_succ(const struct itree_node *n)
{
	const struct itree_node *child;

	if (n->right) {
		n = n->right;
		while (n->left)
			n = n->left;
		return (struct itree_node *)n;
	}
	do {
		child = n;
		n = n->parent;
	} while (n && n->right == child);
	return (struct itree_node *)n;
}

struct itree_node *itree_pred(const struct itree_node *n)
{
	const struct itree_node *child;

	if (n->left) {
		n = n->left;
		while (n->right)
			n = n->right;
		return (struct itree_node *)n;
	}
	do {
		child = n;
		n = n->parent;
	} while (n && n->left == child);
	return (struct itree_node *)n;
}

static bool subtree_is_valid(const struct itree_node *n, uint64_t *nr)
{
	const struct itree_node *l = n->left, *r = n->right;
	uint64_t max = n->last;
	int hl = height(l), hr = height(r);

	if (n->start > n->last || hl - hr > 1 || hr - hl > 1 ||
	    n->height != 1 + (hl > hr ? hl : hr))
		return false;
	if (l && (l->parent != n || before(n, l) || !subtree_is_valid(l, nr)))
		return false;
	if (r && (r->parent != n || before(r, n) || !subtree_is_valid(r, nr)))
		return false;
	if (l && l->max > max)
		max = l->max;
	if (r && r->max > max)
		max = r->max;
	++*nr;
	return n->max == max;
}

bool itree_is_valid(const struct itree *t)
{
	const struct itree_node *n, *next;
	uint64_t nr = 0;

	if (!t->root)
		return t->nr == 0;
	if (t->root->parent || !subtree_is_valid(t->root, &nr) || nr != t->nr)
		return false;
	/* Order against the neighbour, not only against the parent. */
	for (n = t->root; n->left; n = n->left)
		;
	for (; (next = itree_succ(n)); n = next)
		if (before(next, n))
			return false;
	return true;
}
