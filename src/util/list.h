/* SPDX-License-Identifier: MIT */
/*
 * Intrusive doubly linked list. A head is a link that points to itself when
 * the list is empty. The newest entry stands after the head, the oldest before
 * it, so "tail" is list->prev. Nothing here locks: the owner's lock does.
 */
#ifndef WEIR_UTIL_LIST_H
#define WEIR_UTIL_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_head {
	struct list_head *next, *prev;
};

#define LIST_HEAD_INIT(name) {&(name), &(name)}
#define LIST_HEAD(name)	     struct list_head name = LIST_HEAD_INIT(name)

#define container_of(ptr, type, member)                                        \
	((type *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct list_head *h)
{
	h->next = h;
	h->prev = h;
}

static inline bool list_empty(const struct list_head *h)
{
	return h->next == h;
}

static inline void list__insert(struct list_head *n, struct list_head *prev,
				struct list_head *next)
{
	n->prev = prev;
	n->next = next;
	prev->next = n;
	next->prev = n;
}

static inline void list_add(struct list_head *n, struct list_head *h)
{
	list__insert(n, h, h->next);
}

static inline void list_add_tail(struct list_head *n, struct list_head *h)
{
	list__insert(n, h->prev, h);
}

static inline void list_del(struct list_head *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	n->next = NULL;
	n->prev = NULL;
}

static inline void list_del_init(struct list_head *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

static inline void list_move(struct list_head *n, struct list_head *h)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_add(n, h);
}

static inline void list_move_tail(struct list_head *n, struct list_head *h)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_add_tail(n, h);
}

/* Moves every entry of `from` to the front of `to`; `from` ends empty. */
static inline void list_splice_init(struct list_head *from,
				    struct list_head *to)
{
	if (list_empty(from))
		return;
	from->next->prev = to;
	from->prev->next = to->next;
	to->next->prev = from->prev;
	to->next = from->next;
	list_init(from);
}

#define list_entry(ptr, type, member)	    container_of(ptr, type, member)
#define list_first_entry(h, type, member)   list_entry((h)->next, type, member)
#define list_last_entry(h, type, member)    list_entry((h)->prev, type, member)

#define list_for_each(pos, h)                                                  \
	for (pos = (h)->next; pos != (h); pos = pos->next)

#define list_for_each_entry(pos, h, member)                                    \
	for (pos = list_entry((h)->next, __typeof__(*pos), member);            \
	     &pos->member != (h);                                              \
	     pos = list_entry(pos->member.next, __typeof__(*pos), member))

#define list_for_each_entry_safe(pos, tmp, h, member)                          \
	for (pos = list_entry((h)->next, __typeof__(*pos), member),            \
	    tmp = list_entry(pos->member.next, __typeof__(*pos), member);      \
	     &pos->member != (h);                                              \
	     pos = tmp,                                                        \
	    tmp = list_entry(tmp->member.next, __typeof__(*tmp), member))

#endif
