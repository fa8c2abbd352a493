/* SPDX-License-Identifier: MIT */
/*
 * What every page of a file must hold, whoever looks and by whatever way: the
 * last value written, or, while a write() is under way, the one before. Knows
 * nothing of the engine.
 *
 * One write at a time goes to a page; who finds one under way writes elsewhere.
 * A read() may have seen any value that stood while it ran, so a few old ones
 * are kept. While a truncation changes a page ("in flux") nothing is checked
 * there and nobody writes.
 */
#ifndef WEIR_TESTS_FILEMODEL_H
#define WEIR_TESTS_FILEMODEL_H

#include "shadow.h"

#define FILEMODEL_PAGE 4096u
#define FILEMODEL_KEEP 4

struct filemodel_page {
	uint64_t nr;	/* values so far; 0: zeros only */
	uint64_t stood; /* of these: surely there */
	uint8_t *value[FILEMODEL_KEEP]; /* [(nr - 1) % KEEP] is the last */
	uint32_t flux;
	uint32_t cuts; /* so far */
	bool writing;
};

struct filemodel {
	uint64_t max;  /* pages at most */
	uint64_t size; /* pages now */
	struct filemodel_page *page;
	uint64_t *next_stamp; /* shared by the run */
	char why[160];
};

int filemodel_init(struct filemodel *f, uint64_t max, uint64_t *next_stamp);
void filemodel_exit(struct filemodel *f);

/* May somebody write the page now? */
bool filemodel_free(const struct filemodel *f, uint64_t i);

/*
 * A write of bytes [off, off + len) begins; buf receives what is to be written.
 * end: it reached the page, or not. mapped: the page's contents stand in the
 * machine, changed here and now.
 */
void filemodel_begin(struct filemodel *f, uint64_t i, unsigned off,
		     unsigned len, uint8_t *buf, struct prng *rnd);
void filemodel_end(struct filemodel *f, uint64_t i, bool written);
void filemodel_mapped(struct filemodel *f, uint64_t i, void *data,
		      struct prng *rnd);

/* A read begins: a ticket for its check. */
uint64_t filemodel_ticket(const struct filemodel *f, uint64_t i);
/* False: why. */
bool filemodel_check(struct filemodel *f, uint64_t i, uint64_t ticket,
		     const void *data);
/* Now, in the machine. */
static inline bool filemodel_check_now(struct filemodel *f, uint64_t i,
				       const void *data)
{
	return filemodel_check(f, i, filemodel_ticket(f, i), data);
}
/* First word of what stands there: what a lost slot is known by. */
uint64_t filemodel_stamp(const struct filemodel *f, uint64_t i);

/* Truncation, before and after. */
void filemodel_cut(struct filemodel *f, uint64_t size);
void filemodel_was_cut(struct filemodel *f, uint64_t size, bool done);

#endif
