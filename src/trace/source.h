/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a trace: from a file, standard input or memory, unpacked when
 * they are gzip or zstd, through one window of constant size.
 *
 * What is not read yet stands at data[pos] to data[len - 1]; behind that stand
 * SOURCE_PAD bytes of zeros, so that a decoder may look where the window ends
 * once for each record and not for each byte.
 */
#ifndef WEIR_TRACE_SOURCE_H
#define WEIR_TRACE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "trace/trace.h"

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
/* The ends of windows are what has edges. */
#define SOURCE_WINDOW  2048u
#define LINE_BYTES_MAX 700u
#define PACKED_WINDOW  300u
#else
#define SOURCE_WINDOW  (256u << 10)
#define LINE_BYTES_MAX (64u << 10)
#define PACKED_WINDOW  (128u << 10)
#endif
#define SOURCE_PAD 512u

struct source {
	uint8_t *data; /* SOURCE_WINDOW + SOURCE_PAD */
	size_t pos, len;
	uint64_t base; /* place of data[0] in the unpacked trace */
	bool eof;      /* nothing comes after data[len - 1] */

	enum trace_packing packing;
	struct unpack *unpack; /* NULL: plain */
	int fd;                /* -1: memory */
	const uint8_t *mem;
	size_t mem_len;
	off_t start;        /* where the trace begins in the file */
	uint64_t raw;       /* bytes read from fd or mem */
	uint64_t raw_total; /* 0: not known */

	const char *why; /* of the latest error: a clause for the user */
};

/*
 * fd is taken over, or -1 with mem. 0 or -errno; the first bytes are read and
 * the packing is known.
 */
int source_open(struct source *s, int fd, const void *mem, size_t mem_len);
void source_close(struct source *s);
/* 0, -ESPIPE, or another -errno. */
int source_rewind(struct source *s);

/*
 * Makes `want` (<= SOURCE_WINDOW) bytes stand in the window; fewer only at the
 * end. Moves the window: pointers into it are void. 0; -EBADMSG with *why when
 * what is packed is damaged or cut off; or -errno of the read.
 */
int source_more(struct source *s, size_t want);

static inline size_t source_left(const struct source *s)
{
	return s->len - s->pos;
}

/* 0 as source_more: at least `want` bytes, or all there are. */
static inline int source_need(struct source *s, size_t want)
{
	if (source_left(s) >= want || s->eof)
		return 0;
	return source_more(s, want);
}

static inline uint64_t source_place(const struct source *s)
{
	return s->base + s->pos;
}

#endif
