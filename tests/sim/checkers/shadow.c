/* SPDX-License-Identifier: MIT */
#include "shadow.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u

/* --- values that may be lost ---------------------------------------------- */

void lost_init(struct lost_set *l)
{
	*l = (struct lost_set){0};
}

void lost_exit(struct lost_set *l)
{
	free(l->slot);
}

static size_t lost_find(const struct lost_set *l, uint64_t value)
{
	size_t i = (size_t)(value * 0x9e3779b97f4a7c15u >> 20) & (l->max - 1);

	while (l->slot[i] && l->slot[i] != value + 1)
		i = (i + 1) & (l->max - 1);
	return i;
}

void lost_add(struct lost_set *l, uint64_t value)
{
	if (2 * (l->nr + 1) > l->max) {
		struct lost_set old = *l;

		l->max = old.max ? 2 * old.max : 64;
		l->slot = calloc(l->max, sizeof(*l->slot));
		if (!l->slot)
			abort();
		for (size_t i = 0; i < old.max; i++)
			if (old.slot[i])
				l->slot[lost_find(l, old.slot[i] - 1)] =
				    old.slot[i];
		free(old.slot);
	}
	if (!lost_has(l, value))
		l->nr++;
	l->slot[lost_find(l, value)] = value + 1;
}

bool lost_has(const struct lost_set *l, uint64_t value)
{
	return l->max && l->slot[lost_find(l, value)];
}

/* --- pages ------------------------------------------------------------------
 */

static struct shadow_page *at(const struct shadow *h, uint64_t addr)
{
	uint64_t i = (addr - h->base) / PAGE;

	if (addr < h->base || i >= h->pages)
		abort();
	return &h->page[i];
}

int shadow_init(struct shadow *h, uint64_t base, uint64_t pages, size_t bytes,
		struct lost_set *lost, uint64_t *next_stamp)
{
	*h = (struct shadow){.base = base,
			     .pages = pages,
			     .bytes = bytes,
			     .lost = lost,
			     .next_stamp = next_stamp};
	h->page = calloc(pages, sizeof(*h->page));
	return h->page ? 0 : -ENOMEM;
}

void shadow_exit(struct shadow *h)
{
	for (uint64_t i = 0; h->page && i < h->pages; i++)
		free(h->page[i].data);
	free(h->page);
	h->page = NULL;
}

static void clear(struct shadow_page *p)
{
	free(p->data);
	p->data = NULL;
	p->flags &= (uint8_t)~SHADOW_LOST;
}

void shadow_copy(struct shadow *dst, const struct shadow *src)
{
	for (uint64_t i = 0; i < src->pages; i++) {
		const struct shadow_page *s = &src->page[i];
		struct shadow_page *d = &dst->page[i];

		clear(d);
		d->flags = s->flags;
		d->flux = 0;
		if (!s->data)
			continue;
		d->data = malloc(src->bytes);
		if (!d->data)
			abort();
		memcpy(d->data, s->data, src->bytes);
	}
}

void shadow_map(struct shadow *h, uint64_t start, uint64_t end)
{
	for (uint64_t a = start; a < end; a += PAGE) {
		clear(at(h, a));
		at(h, a)->flags = SHADOW_MAPPED;
	}
}

void shadow_unmap(struct shadow *h, uint64_t start, uint64_t end)
{
	for (uint64_t a = start; a < end; a += PAGE) {
		clear(at(h, a));
		at(h, a)->flags &= (uint8_t)~SHADOW_MAPPED;
	}
}

void shadow_zero(struct shadow *h, uint64_t start, uint64_t end)
{
	for (uint64_t a = start; a < end; a += PAGE)
		clear(at(h, a));
}

void shadow_move(struct shadow *h, uint64_t from, uint64_t to, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += PAGE) {
		struct shadow_page *s = at(h, from + i), *d = at(h, to + i);

		clear(d);
		d->flags = s->flags & (SHADOW_MAPPED | SHADOW_LOST);
		d->data = s->data;
		s->data = NULL;
		s->flags &= (uint8_t) ~(SHADOW_MAPPED | SHADOW_LOST);
	}
}

void shadow_flux(struct shadow *h, uint64_t start, uint64_t end, bool going)
{
	for (uint64_t a = start; a < end; a += PAGE) {
		at(h, a)->flux++;
		if (going)
			at(h, a)->flags |= SHADOW_GOING;
	}
}

void shadow_settled(struct shadow *h, uint64_t start, uint64_t end)
{
	for (uint64_t a = start; a < end; a += PAGE) {
		at(h, a)->flux--;
		if (!at(h, a)->flux)
			at(h, a)->flags &= (uint8_t)~SHADOW_GOING;
	}
}

bool shadow_in_flux(const struct shadow *h, uint64_t addr)
{
	return at(h, addr)->flux;
}

/* --- accesses ---------------------------------------------------------------
 */

static uint64_t stamp_of(const struct shadow_page *p)
{
	uint64_t v = 0;

	if (p->data)
		memcpy(&v, p->data, sizeof(v));
	return v;
}

bool shadow_is_mapped(const struct shadow *h, uint64_t addr)
{
	return at(h, addr)->flags & SHADOW_MAPPED;
}

uint64_t shadow_stamp(const struct shadow *h, uint64_t addr)
{
	return stamp_of(at(h, addr));
}

static bool is_zero(const void *data, size_t bytes)
{
	const unsigned char *c = data;

	return !c[0] && !memcmp(c, c + 1, bytes - 1);
}

static bool wrong(struct shadow *h, uint64_t addr, const char *what,
		  uint64_t found, uint64_t want)
{
	snprintf(h->why, sizeof(h->why),
		 "page %" PRIx64 ": %s (found %" PRIx64 ", expected %" PRIx64
		 ")",
		 addr, what, found, want);
	return false;
}

bool shadow_check(struct shadow *h, uint64_t addr, const void *data)
{
	struct shadow_page *p = at(h, addr);
	uint64_t found;

	if (!(p->flags & SHADOW_MAPPED) && !p->flux)
		return wrong(h, addr, "reached without a mapping", 0, 0);
	if (!h->bytes)
		return true;
	memcpy(&found, data, sizeof(found));
	if (p->flux && is_zero(data, h->bytes))
		return true;
	if (p->flags & SHADOW_LOST)
		return wrong(h, addr, "was lost and has come back", found, 0);
	if (p->data ? !memcmp(p->data, data, h->bytes)
		    : is_zero(data, h->bytes))
		return true;
	for (size_t i = 0; i + 8 <= h->bytes; i += 8) {
		uint64_t w = 0, f;

		if (p->data)
			memcpy(&w, (char *)p->data + i, 8);
		memcpy(&f, (const char *)data + i, 8);
		if (f != w)
			return wrong(h, addr, i ? "wrong inside" : "wrong", f,
				     w);
	}
	return true;
}

bool shadow_error(struct shadow *h, uint64_t addr, int err)
{
	struct shadow_page *p = at(h, addr);

	if (err == -EFAULT) {
		if (!(p->flags & SHADOW_MAPPED) || (p->flags & SHADOW_GOING))
			return true;
		return wrong(h, addr, "not mapped any more", 0, stamp_of(p));
	}
	if (err != -EIO)
		return wrong(h, addr, "unexpected error", (uint64_t)-err, 0);
	if (!(p->flags & SHADOW_LOST) && !lost_has(h->lost, stamp_of(p)))
		return wrong(h, addr, "lost, though the disk kept it", 0,
			     stamp_of(p));
	p->flags |= SHADOW_LOST;
	return true;
}

void shadow_adopt(struct shadow *h, uint64_t addr, const void *data)
{
	struct shadow_page *p = at(h, addr);

	if (!p->data)
		p->data = malloc(h->bytes);
	if (!p->data)
		abort();
	memcpy(p->data, data, h->bytes);
}

void shadow_write(struct shadow *h, uint64_t addr, void *data, struct prng *rnd)
{
	struct shadow_page *p = at(h, addr);
	uint64_t stamp = ++*h->next_stamp, w;
	uint64_t r = prng_next(rnd);

	if (!h->bytes)
		return;
	if (h->bytes == 8) {
		memcpy(data, &stamp, 8);
	} else if (r % 64 == 0) {
		memset(data, 0, h->bytes); /* zeros again, but written */
	} else if (!p->data || r % 8 == 0) {
		/* a whole page, no two words and no two pages alike */
		for (size_t i = 0; i < h->bytes; i += 8) {
			w = i ? stamp * 0x9e3779b97f4a7c15u + i : stamp;
			memcpy((char *)data + i, &w, 8);
		}
	} else {
		/* one word somewhere, and the stamp */
		size_t off = (r >> 32) % (h->bytes / 8) * 8;

		memcpy((char *)data + off, &r, 8);
		memcpy(data, &stamp, 8);
	}
	if (!p->data)
		p->data = malloc(h->bytes);
	if (!p->data)
		abort();
	memcpy(p->data, data, h->bytes);
}
