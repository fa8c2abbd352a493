/* SPDX-License-Identifier: MIT */
/*
 * Index tree: 64-bit index -> one word, wide and shallow (64 slots a node),
 * with tags that can be searched for.
 *
 * A word is an object's address or, with one of its two low bits set, a value.
 * 0 is no entry. Nodes are the caller's memory: he brings a room with enough of
 * them and gives back what is left, so nothing here allocates and everything
 * can run under a spinlock:
 *
 *	for (;;) {
 *		lock;
 *		if (xt_need(t, index) <= room.nr)
 *			break;
 *		unlock; fill the room; look again
 *	}
 *	xt_store(t, index, entry, &room); unlock; drain the room
 */
#ifndef WEIR_UTIL_XTREE_H
#define WEIR_UTIL_XTREE_H

#include <stdbool.h>
#include <stdint.h>

#include "util/list.h"

#define XT_SHIFT 6
#define XT_SLOTS (1u << XT_SHIFT)
#define XT_TAGS	 2
#define XT_DEPTH 11 /* levels for 64 bits */

struct xtree;

struct xt_node {
	struct xt_node *parent; /* in a room: the next one */
	struct xtree *tree;
	struct list_head link; /* the owner's; empty when the node is new */
	uint8_t shift, offset; /* of the parent's slot */
	uint8_t count;	       /* slots in use */
	uint8_t values;	       /* of these, in a leaf: values */
	uint64_t tag[XT_TAGS];
	uint64_t slot[XT_SLOTS];
};

struct xtree {
	struct xt_node *root; /* NULL = empty */
	uint64_t nr;	      /* entries */
	/* A leaf's count or values have changed; count 0: it goes now. May be
	 * NULL. */
	void (*update)(struct xtree *t, struct xt_node *n);
};

struct xt_room {
	struct xt_node *free;
	unsigned nr;
};

static inline bool xt_is_value(uint64_t entry)
{
	return entry & 3;
}

static inline void xt_room_add(struct xt_room *r, struct xt_node *n)
{
	n->parent = r->free;
	r->free = n;
	r->nr++;
}

static inline struct xt_node *xt_room_take(struct xt_room *r)
{
	struct xt_node *n = r->free;

	if (n) {
		r->free = n->parent;
		r->nr--;
	}
	return n;
}

void xt_init(struct xtree *t);
uint64_t xt_get(const struct xtree *t, uint64_t index);
/* Nodes that a store of an entry at index takes. */
unsigned xt_need(const struct xtree *t, uint64_t index);
/*
 * Puts entry there and returns what was there before. 0 deletes, tags too;
 * another entry keeps them. Nodes come out of the room and, when they are
 * empty, go into it.
 */
uint64_t xt_store(struct xtree *t, uint64_t index, uint64_t entry,
		  struct xt_room *room);

/* => there is an entry at index */
void xt_tag_set(struct xtree *t, uint64_t index, unsigned tag);
void xt_tag_clear(struct xtree *t, uint64_t index, unsigned tag);
bool xt_tag_get(const struct xtree *t, uint64_t index, unsigned tag);
static inline bool xt_tagged(const struct xtree *t, unsigned tag)
{
	return t->root && t->root->tag[tag];
}

/* The first entry of [*index, last], *index set to its place; 0 = none. With a
 * tag: the first that has it. */
uint64_t xt_next(const struct xtree *t, uint64_t *index, uint64_t last);
uint64_t xt_next_tag(const struct xtree *t, uint64_t *index, uint64_t last,
		     unsigned tag);

/* Index of a leaf's first slot. */
uint64_t xt_node_index(const struct xt_node *leaf);

/* Counts, tags and links of every node. */
bool xt_is_valid(const struct xtree *t);

#endif
