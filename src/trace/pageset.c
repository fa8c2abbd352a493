/* SPDX-License-Identifier: MIT */
/* See pageset.h. A hash table with open addressing of chunks of 64 pages. */
#include "trace/pageset.h"

#include <stdlib.h>

#define CHUNK_SHIFT 6
#define CHUNK_PAGES (UINT64_C(1) << CHUNK_SHIFT)
#define SIZE_FIRST  1024u
/* 1.5 GiB of table: a trace with more than that is counted up to here. */
#define SIZE_MAX_CHUNKS (UINT64_C(1) << 26)
/* 256 GiB in one event is no touch but a mistake. */
#define RANGE_MAX (UINT64_C(1) << 26)

static size_t place_of(uint64_t owner, uint64_t number, size_t size)
{
	uint64_t h =
	    (number ^ owner * 0xff51afd7ed558ccdu) * 0x9e3779b97f4a7c15u;

	return (size_t)(h ^ h >> 32) & (size - 1);
}

static struct pageset_chunk *find(const struct pageset *s, uint64_t owner,
				  uint64_t number)
{
	size_t i = place_of(owner, number, s->size);

	while (s->chunk[i].mask &&
	       (s->chunk[i].number != number || s->chunk[i].owner != owner))
		i = (i + 1) & (s->size - 1);
	return &s->chunk[i];
}

static bool grow(struct pageset *s)
{
	struct pageset larger = *s;

	larger.size = s->size ? s->size * 2 : SIZE_FIRST;
	if (larger.size > SIZE_MAX_CHUNKS)
		return false;
	larger.chunk = calloc(larger.size, sizeof(*larger.chunk));
	if (!larger.chunk)
		return false;
	for (size_t i = 0; i < s->size; i++)
		if (s->chunk[i].mask)
			*find(&larger, s->chunk[i].owner, s->chunk[i].number) =
			    s->chunk[i];
	free(s->chunk);
	*s = larger;
	return true;
}

static void add_mask(struct pageset *s, uint64_t owner, uint64_t number,
		     uint64_t mask)
{
	struct pageset_chunk *c;
	bool full = s->used >= s->size / 4 * 3 && !grow(s);

	if (!s->size) {
		s->incomplete = true;
		return;
	}
	c = find(s, owner, number);
	if (!c->mask && full) {
		s->incomplete = true;
		return;
	}
	if (!c->mask) {
		c->owner = owner;
		c->number = number;
		s->used++;
	}
	s->nr += (unsigned)__builtin_popcountll(mask & ~c->mask);
	c->mask |= mask;
}

void pageset_add(struct pageset *s, uint64_t owner, uint64_t page, uint64_t nr)
{
	if (nr > RANGE_MAX) {
		s->incomplete = true;
		nr = RANGE_MAX;
	}
	while (nr) {
		unsigned from = page & (CHUNK_PAGES - 1);
		uint64_t here = CHUNK_PAGES - from;
		uint64_t mask = UINT64_MAX << from;

		if (nr < here) {
			here = nr;
			mask &= UINT64_MAX >> (CHUNK_PAGES - from - nr);
		}
		add_mask(s, owner, page >> CHUNK_SHIFT, mask);
		page += here;
		nr -= here;
	}
}

void pageset_add_strided(struct pageset *s, uint64_t owner, uint64_t page,
			 uint64_t nr, int64_t stride)
{
	if (stride == 1 || !stride || nr == 1) {
		pageset_add(s, owner, page, stride ? nr : 1);
		return;
	}
	if (nr > RANGE_MAX) {
		s->incomplete = true;
		nr = RANGE_MAX;
	}
	for (; nr; nr--, page += (uint64_t)stride)
		pageset_add(s, owner, page, 1);
}

void pageset_free(struct pageset *s)
{
	free(s->chunk);
	*s = (struct pageset){0};
}
