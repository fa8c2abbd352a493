/* SPDX-License-Identifier: MIT */
#include "filemodel.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t zeros[FILEMODEL_PAGE];

int filemodel_init(struct filemodel *f, uint64_t max, uint64_t *next_stamp)
{
	*f = (struct filemodel){.max = max, .next_stamp = next_stamp};
	f->page = calloc(max, sizeof(*f->page));
	return f->page ? 0 : -ENOMEM;
}

void filemodel_exit(struct filemodel *f)
{
	for (uint64_t i = 0; f->page && i < f->max; i++)
		for (unsigned k = 0; k < FILEMODEL_KEEP; k++)
			free(f->page[i].value[k]);
	free(f->page);
	f->page = NULL;
}

/* Value number n (from 1); 0: the zeros at the beginning. NULL: forgotten. */
static const uint8_t *value(const struct filemodel_page *p, uint64_t n)
{
	if (n == 0)
		return zeros;
	if (n > p->nr || n + FILEMODEL_KEEP - 1 <= p->nr)
		return NULL;
	return p->value[(n - 1) % FILEMODEL_KEEP];
}

static uint8_t *next_value(struct filemodel_page *p)
{
	const uint8_t *old = value(p, p->nr);
	uint8_t *v = p->value[p->nr % FILEMODEL_KEEP];

	if (!v)
		v = malloc(FILEMODEL_PAGE);
	if (!v)
		abort();
	memcpy(v, old, FILEMODEL_PAGE);
	p->value[p->nr % FILEMODEL_KEEP] = v;
	p->nr++;
	return v;
}

bool filemodel_free(const struct filemodel *f, uint64_t i)
{
	return i < f->max && !f->page[i].writing && !f->page[i].flux;
}

static void new_bytes(struct filemodel *f, uint8_t *p, unsigned off,
		      unsigned len, struct prng *rnd)
{
	uint64_t stamp = ++*f->next_stamp, r = prng_next(rnd);

	for (unsigned k = 0; k < len; k++)
		p[off + k] = (uint8_t)((r >> (k & 7) * 8) + k * 7 + (k >> 8));
	/* the whole first word, or none of it */
	if (off == 0 && len >= 8)
		memcpy(p, &stamp, 8);
}

void filemodel_begin(struct filemodel *f, uint64_t i, unsigned off,
		     unsigned len, uint8_t *buf, struct prng *rnd)
{
	struct filemodel_page *p = &f->page[i];
	uint8_t *v = next_value(p);

	p->writing = true;
	new_bytes(f, v, off, len, rnd);
	memcpy(buf, v + off, len);
}

void filemodel_end(struct filemodel *f, uint64_t i, bool written)
{
	struct filemodel_page *p = &f->page[i];

	p->writing = false;
	if (written)
		p->stood = p->nr;
	else
		p->nr--;
	if (written && i >= f->size)
		f->size = i + 1;
}

void filemodel_mapped(struct filemodel *f, uint64_t i, void *data,
		      struct prng *rnd)
{
	struct filemodel_page *p = &f->page[i];
	uint8_t *v = next_value(p);
	uint64_t r = prng_next(rnd);
	unsigned off = r % 3 ? 0 : (unsigned)(r >> 8) % 500 * 8;

	new_bytes(f, v, off, r & 1 ? 8 : FILEMODEL_PAGE - off, rnd);
	memcpy(data, v, FILEMODEL_PAGE);
	p->stood = p->nr;
}

uint64_t filemodel_ticket(const struct filemodel *f, uint64_t i)
{
	return (uint64_t)f->page[i].cuts << 32 | f->page[i].stood;
}

uint64_t filemodel_stamp(const struct filemodel *f, uint64_t i)
{
	uint64_t w;

	memcpy(&w, value(&f->page[i], f->page[i].stood), sizeof(w));
	return w;
}

bool filemodel_check(struct filemodel *f, uint64_t i, uint64_t ticket,
		     const void *data)
{
	struct filemodel_page *p = &f->page[i];
	const uint8_t *want = value(p, p->stood), *got = data;
	unsigned k = 0;

	if (p->flux || ticket >> 32 != p->cuts)
		return true; /* it was cut meanwhile */
	ticket &= UINT32_MAX;
	for (uint64_t n = ticket; n <= p->nr; n++) {
		const uint8_t *v = value(p, n);

		if (!v || !memcmp(v, data, FILEMODEL_PAGE))
			return true;
	}
	while (want && k < FILEMODEL_PAGE - 1 && want[k] == got[k])
		k++;
	snprintf(f->why, sizeof(f->why),
		 "page %" PRIu64 " byte %u: found %02x, expected %02x "
		 "(value %" PRIu64 " of %" PRIu64 ")",
		 i, k, got[k], want ? want[k] : 0, p->stood, p->nr);
	return false;
}

void filemodel_cut(struct filemodel *f, uint64_t size)
{
	uint64_t low = size < f->size ? size : f->size;

	for (uint64_t i = low; i < f->max; i++)
		f->page[i].flux++;
}

void filemodel_was_cut(struct filemodel *f, uint64_t size, bool done)
{
	uint64_t low = size < f->size ? size : f->size;

	for (uint64_t i = low; i < f->max; i++) {
		struct filemodel_page *p = &f->page[i];

		p->flux--;
		if (done) { /* no write is under way */
			p->nr = p->stood = 0;
			p->cuts++;
		}
	}
	if (done)
		f->size = size;
}
