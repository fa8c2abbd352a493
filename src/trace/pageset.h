/* SPDX-License-Identifier: MIT */
/*
 * A set of pages, each of an owner (a process, a file), that grows: to count
 * what a trace touches. 24 bytes for up to 64 neighbours.
 */
#ifndef WEIR_TRACE_PAGESET_H
#define WEIR_TRACE_PAGESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pageset_chunk {
	uint64_t owner, number; /* pages 64 * number to 64 * number + 63 */
	uint64_t mask;          /* which of them; 0: an empty place */
};

struct pageset {
	struct pageset_chunk *chunk;
	size_t size, used; /* size: 0 or a power of two */
	uint64_t nr;       /* pages */
	/* Pages were left out: memory, or a range beyond all measure. nr is
	 * then a lower bound. */
	bool incomplete;
};

/* All zeros is the empty set. */
void pageset_add(struct pageset *s, uint64_t owner, uint64_t page, uint64_t nr);
void pageset_add_strided(struct pageset *s, uint64_t owner, uint64_t page,
			 uint64_t nr, int64_t stride);
void pageset_free(struct pageset *s);

#endif
