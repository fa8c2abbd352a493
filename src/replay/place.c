/* SPDX-License-Identifier: MIT */
/*
 * Where a trace's page numbers stand in the address space.
 *
 * As they are, if they are addresses or block numbers: neighbours stay
 * neighbours, which is what readahead lives on, and page tables are as full as
 * they would be. Numbers beyond the address space go above, 512 at a time, in
 * the order in which they come: a page's neighbours in its table stay.
 *
 * Packed, if they name objects and mean nothing: the first one touched is page
 * 0. Then page tables are as full as can be.
 */
#include "replay/internal.h"

#include <errno.h>
#include <stdlib.h>

#define TABLE_MIN   ((uint64_t)1 << 12)
#define BLOCK_PAGES ((uint64_t)512)

void replay__places_init(struct places *p, enum replay_addresses how,
			 enum trace_format format)
{
	*p = (struct places){.how = how};
	if (how != ADDRESSES_AUTO)
		return;
	p->how = format == TRACE_FMT_ORACLE ? ADDRESSES_PACKED
					    : ADDRESSES_AS_IS;
}

void replay__places_free(struct places *p)
{
	free(p->table.key);
	free(p->table.value);
	p->table = (struct place_table){0};
	for (uint64_t i = 0; p->seen && i < SEEN_LEAVES; i++)
		free(p->seen[i]);
	free(p->seen);
	p->seen = NULL;
}

int replay__place_see(struct places *p, uint64_t addr)
{
	uint64_t page = addr / REPLAY_PAGE, bit = page % SEEN_PAGES;
	uint64_t **leaf;

	if (!p->seen)
		p->seen = calloc(SEEN_LEAVES, sizeof(*p->seen));
	if (!p->seen)
		return -ENOMEM;
	leaf = &p->seen[page / SEEN_PAGES % SEEN_LEAVES];
	if (!*leaf)
		*leaf = calloc(SEEN_PAGES / 64, sizeof(**leaf));
	if (!*leaf)
		return -ENOMEM;
	if (!((*leaf)[bit / 64] >> bit % 64 & 1)) {
		(*leaf)[bit / 64] |= (uint64_t)1 << bit % 64;
		p->nr_seen++;
	}
	return 0;
}

static uint64_t slot_of(const struct place_table *t, uint64_t key)
{
	uint64_t h = key * UINT64_C(0x9e3779b97f4a7c15);

	return (h ^ h >> 29) & (t->size - 1);
}

static bool table_grow(struct place_table *t)
{
	uint64_t size = t->size ? t->size * 2 : TABLE_MIN;
	struct place_table n = {
		.key = calloc(size, sizeof(*n.key)),
		.value = malloc(size * sizeof(*n.value)),
		.size = size,
		.nr = t->nr,
	};

	if (!n.key || !n.value) {
		free(n.key);
		free(n.value);
		return false;
	}
	for (uint64_t i = 0; i < t->size; i++) {
		uint64_t at;

		if (!t->key[i])
			continue;
		for (at = slot_of(&n, t->key[i]); n.key[at];)
			at = (at + 1) & (size - 1);
		n.key[at] = t->key[i];
		n.value[at] = t->value[i];
	}
	free(t->key);
	free(t->value);
	*t = n;
	return true;
}

/* The order of the number's first appearance. */
static bool table_find(struct place_table *t, uint64_t number, uint64_t *out)
{
	uint64_t key = number + 1, at;

	/* 0 is "empty"; the highest number shares a place with the next */
	if (!key)
		key = UINT64_MAX;
	if (t->nr >= t->size / 4 * 3 && !table_grow(t))
		return false;
	for (at = slot_of(t, key); t->key[at]; at = (at + 1) & (t->size - 1)) {
		if (t->key[at] == key) {
			*out = t->value[at];
			return true;
		}
	}
	if (t->nr == UINT32_MAX)
		return false;
	t->key[at] = key;
	t->value[at] = (uint32_t)t->nr;
	*out = t->nr++;
	return true;
}

uint64_t replay__place_far(struct places *p, uint64_t page)
{
	uint64_t n;

	if (p->how == ADDRESSES_PACKED) {
		if (!table_find(&p->table, page, &n))
			return 0;
		return PLACE_START + n * REPLAY_PAGE;
	}
	if (!table_find(&p->table, page / BLOCK_PAGES, &n))
		return 0;
	n = PLACE_NEAR + n * BLOCK_PAGES + page % BLOCK_PAGES;
	n = PLACE_START + n * REPLAY_PAGE;
	return n < PLACE_END ? n : 0;
}
