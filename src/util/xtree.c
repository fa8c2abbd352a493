/* SPDX-License-Identifier: MIT */
/*
 * A node of shift s has 64 slots of 2^s indices each; a leaf's shift is 0. The
 * root is as high as the largest index needs and covers [0, 64 << shift). A tag
 * bit of an inner slot says that something below has the tag. No node is empty.
 */
#include "util/xtree.h"

#include <string.h>

void xt_init(struct xtree *t)
{
	t->root = NULL;
	t->nr = 0;
	t->update = NULL;
}

/* Indices below the node, less one. */
static uint64_t node_max(unsigned shift)
{
	return shift + XT_SHIFT >= 64 ? UINT64_MAX
				      : ((uint64_t)1 << (shift + XT_SHIFT)) - 1;
}

static unsigned slot_of(const struct xt_node *n, uint64_t index)
{
	return (unsigned)(index >> n->shift) & (XT_SLOTS - 1);
}

static struct xt_node *child(const struct xt_node *n, unsigned i)
{
	return (struct xt_node *)(uintptr_t)n->slot[i];
}

static struct xt_node *leaf_of(const struct xtree *t, uint64_t index)
{
	struct xt_node *n = t->root;

	if (!n || index > node_max(n->shift))
		return NULL;
	while (n && n->shift)
		n = child(n, slot_of(n, index));
	return n;
}

uint64_t xt_get(const struct xtree *t, uint64_t index)
{
	const struct xt_node *n = leaf_of(t, index);

	return n ? n->slot[slot_of(n, index)] : 0;
}

uint64_t xt_node_index(const struct xt_node *leaf)
{
	uint64_t index = 0;

	for (const struct xt_node *n = leaf; n->parent; n = n->parent)
		index |= (uint64_t)n->offset << n->parent->shift;
	return index;
}

/* --- growing --------------------------------------------------------------- */

static unsigned levels_for(uint64_t index)
{
	unsigned levels = 1;

	while (index > node_max((levels - 1) * XT_SHIFT))
		levels++;
	return levels;
}

unsigned xt_need(const struct xtree *t, uint64_t index)
{
	const struct xt_node *n = t->root;
	unsigned want = levels_for(index), have;

	if (!n)
		return want;
	have = n->shift / XT_SHIFT + 1u;
	if (want > have) /* new roots, and a path of its own below the top */
		return want - have + want - 1;
	while (n->shift) {
		const struct xt_node *c = child(n, slot_of(n, index));

		if (!c)
			return n->shift / XT_SHIFT;
		n = c;
	}
	return 0;
}

static struct xt_node *node_new(struct xtree *t, struct xt_room *room,
				struct xt_node *parent, unsigned shift,
				unsigned offset)
{
	struct xt_node *n = xt_room_take(room);

	if (!n)
		__builtin_trap(); /* the caller did not ask xt_need */
	memset(n, 0, sizeof(*n));
	list_init(&n->link);
	n->tree = t;
	n->parent = parent;
	n->shift = (uint8_t)shift;
	n->offset = (uint8_t)offset;
	return n;
}

static void grow(struct xtree *t, uint64_t index, struct xt_room *room)
{
	if (!t->root)
		t->root = node_new(t, room, NULL,
				   (levels_for(index) - 1) * XT_SHIFT, 0);
	while (index > node_max(t->root->shift)) {
		struct xt_node *old = t->root;
		struct xt_node *n =
		    node_new(t, room, NULL, old->shift + XT_SHIFT, 0);

		n->slot[0] = (uint64_t)(uintptr_t)old;
		n->count = 1;
		for (unsigned tag = 0; tag < XT_TAGS; tag++)
			n->tag[tag] = old->tag[tag] != 0;
		old->parent = n;
		t->root = n;
	}
}

static struct xt_node *leaf_make(struct xtree *t, uint64_t index,
				 struct xt_room *room)
{
	struct xt_node *n;

	grow(t, index, room);
	n = t->root;
	while (n->shift) {
		unsigned i = slot_of(n, index);
		struct xt_node *c = child(n, i);

		if (!c) {
			c = node_new(t, room, n, n->shift - XT_SHIFT, i);
			n->slot[i] = (uint64_t)(uintptr_t)c;
			n->count++;
		}
		n = c;
	}
	return n;
}

/* --- shrinking ------------------------------------------------------------- */

static void tag_clear_up(struct xt_node *n, unsigned i, unsigned tag)
{
	for (; n; i = n->offset, n = n->parent) {
		n->tag[tag] &= ~((uint64_t)1 << i);
		if (n->tag[tag])
			return;
	}
}

/* A root with nothing but its first slot is one level too high. */
static void lower_root(struct xtree *t, struct xt_room *room)
{
	struct xt_node *n;

	while ((n = t->root) && n->shift && n->count == 1 && n->slot[0]) {
		t->root = child(n, 0);
		t->root->parent = NULL;
		t->root->offset = 0;
		xt_room_add(room, n);
	}
}

static void drop_empty(struct xtree *t, struct xt_node *n, struct xt_room *room)
{
	while (n && !n->count) {
		struct xt_node *up = n->parent;

		if (up) {
			up->slot[n->offset] = 0;
			up->count--;
		} else {
			t->root = NULL;
		}
		xt_room_add(room, n);
		n = up;
	}
	lower_root(t, room);
}

/* --- entries --------------------------------------------------------------- */

static uint64_t erase(struct xtree *t, uint64_t index, struct xt_room *room)
{
	struct xt_node *n = leaf_of(t, index);
	unsigned i = (unsigned)index & (XT_SLOTS - 1);
	uint64_t old = n ? n->slot[i] : 0;

	if (!old)
		return 0;
	for (unsigned tag = 0; tag < XT_TAGS; tag++)
		if (n->tag[tag] >> i & 1)
			tag_clear_up(n, i, tag);
	n->slot[i] = 0;
	n->count--;
	n->values = (uint8_t)(n->values - xt_is_value(old));
	t->nr--;
	if (t->update)
		t->update(t, n);
	if (!n->count)
		drop_empty(t, n, room);
	else
		lower_root(t, room);
	return old;
}

uint64_t xt_store(struct xtree *t, uint64_t index, uint64_t entry,
		  struct xt_room *room)
{
	struct xt_node *n;
	uint64_t old;
	unsigned i;

	if (!entry)
		return erase(t, index, room);
	n = leaf_make(t, index, room);
	i = slot_of(n, index);
	old = n->slot[i];
	n->slot[i] = entry;
	n->count = (uint8_t)(n->count + !old);
	n->values = (uint8_t)(n->values + xt_is_value(entry) -
			      (old && xt_is_value(old)));
	t->nr += !old;
	if (t->update)
		t->update(t, n);
	return old;
}

void xt_tag_set(struct xtree *t, uint64_t index, unsigned tag)
{
	struct xt_node *n = leaf_of(t, index);
	unsigned i = (unsigned)index & (XT_SLOTS - 1);

	if (!n || !n->slot[i])
		__builtin_trap();
	for (; n; i = n->offset, n = n->parent) {
		uint64_t bit = (uint64_t)1 << i;

		if (n->tag[tag] & bit)
			return;
		n->tag[tag] |= bit;
	}
}

void xt_tag_clear(struct xtree *t, uint64_t index, unsigned tag)
{
	struct xt_node *n = leaf_of(t, index);
	unsigned i = (unsigned)index & (XT_SLOTS - 1);

	if (n && n->tag[tag] >> i & 1)
		tag_clear_up(n, i, tag);
}

bool xt_tag_get(const struct xtree *t, uint64_t index, unsigned tag)
{
	const struct xt_node *n = leaf_of(t, index);

	return n && n->tag[tag] >> ((unsigned)index & (XT_SLOTS - 1)) & 1;
}

/* --- walking --------------------------------------------------------------- */

/* Slot of n at or after i that is in use (and tagged, tag >= 0), or 64. */
static unsigned next_slot(const struct xt_node *n, unsigned i, int tag)
{
	if (tag >= 0) {
		uint64_t m = n->tag[tag] >> i << i;

		return m ? (unsigned)__builtin_ctzll(m) : XT_SLOTS;
	}
	while (i < XT_SLOTS && !n->slot[i])
		i++;
	return i;
}

static uint64_t find(const struct xtree *t, uint64_t *index, uint64_t last,
		     int tag)
{
	uint64_t at = *index;

	for (;;) {
		const struct xt_node *n = t->root;
		unsigned i, j;

		if (!n || at > last || at > node_max(n->shift))
			return 0;
		for (;;) {
			i = slot_of(n, at);
			j = next_slot(n, i, tag);
			if (j == XT_SLOTS)
				break;
			if (j > i) {
				at &= ~node_max(n->shift);
				at |= (uint64_t)j << n->shift;
			}
			if (at > last)
				return 0;
			if (!n->shift) {
				*index = at;
				return n->slot[j];
			}
			n = child(n, j);
		}
		/* nothing more below this node: on to what follows it */
		if (at > UINT64_MAX - node_max(n->shift))
			return 0;
		at = (at | node_max(n->shift)) + 1;
		if (!at)
			return 0;
	}
}

uint64_t xt_next(const struct xtree *t, uint64_t *index, uint64_t last)
{
	return find(t, index, last, -1);
}

uint64_t xt_next_tag(const struct xtree *t, uint64_t *index, uint64_t last,
		     unsigned tag)
{
	return find(t, index, last, (int)tag);
}

/* --- validity -------------------------------------------------------------- */

static bool slot_is_valid(const struct xtree *t, const struct xt_node *n,
			  unsigned i, uint64_t *nr);

static bool node_is_valid(const struct xtree *t, const struct xt_node *n,
			  uint64_t *nr)
{
	unsigned count = 0, values = 0;

	if (n->tree != t || !n->count)
		return false;
	for (unsigned i = 0; i < XT_SLOTS; i++) {
		bool tagged = false;

		for (unsigned tag = 0; tag < XT_TAGS; tag++)
			tagged |= n->tag[tag] >> i & 1;
		if (!n->slot[i]) {
			if (tagged)
				return false;
			continue;
		}
		count++;
		values += !n->shift && xt_is_value(n->slot[i]);
		if (!slot_is_valid(t, n, i, nr))
			return false;
	}
	return count == n->count && values == n->values;
}

static bool slot_is_valid(const struct xtree *t, const struct xt_node *n,
			  unsigned i, uint64_t *nr)
{
	const struct xt_node *c = child(n, i);

	if (!n->shift) {
		++*nr;
		return true;
	}
	if (c->parent != n || c->offset != i ||
	    c->shift + XT_SHIFT != n->shift)
		return false;
	for (unsigned tag = 0; tag < XT_TAGS; tag++)
		if ((n->tag[tag] >> i & 1) != (c->tag[tag] != 0))
			return false;
	return node_is_valid(t, c, nr);
}

bool xt_is_valid(const struct xtree *t)
{
	uint64_t nr = 0;

	if (!t->root)
		return !t->nr;
	if (t->root->parent || t->root->offset)
		return false;
	return node_is_valid(t, t->root, &nr) && nr == t->nr;
}
