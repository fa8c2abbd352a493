/* SPDX-License-Identifier: MIT */
/*
 * weir's binary trace, for reader and writer; weir-trace(5) has it in words.
 *
 *	TRACE_MAGIC	8 bytes
 *	version		1 byte: 1
 *	flags		1 byte: BINARY_BARE, BINARY_TIMED
 *	zeros		6 bytes
 *	records		see below, the last one TAG_END
 *
 * Numbers in records are of seven bits a byte, the lowest first, the top bit
 * set in all but the last byte ("varint"); signed ones are folded first: 0, -1,
 * 1, -2 become 0, 1, 2, 3.
 *
 * A touch is the tag TAG_TOUCH with what is in it:
 *	bits 0-1   0 read, 1 written, 2 executed, 3 read and written
 *	bit 2	   a varint follows: nanoseconds since the last time
 *	bits 4-6   how many bytes the page takes: 0 to 6, and 7 for 8
 *	bit 3	   behind the page, two varints: pages, and the stride, folded
 * The page is the folded difference to the page of the touch before, lowest
 * byte first: a trace of a million pages takes 4 bytes for a touch, and a
 * reader has no loop over them.
 */
#ifndef WEIR_TRACE_BINARY_H
#define WEIR_TRACE_BINARY_H

#include <stdint.h>

#define BINARY_VERSION    1
#define BINARY_HEAD_BYTES 16u

enum { BINARY_BARE = 1 << 0, BINARY_TIMED = 1 << 1 };

enum {
	TAG_END = 0,     /* varint: events; 8 bytes: XXH64 of all before */
	TAG_TIME = 1,    /* varint: nanoseconds since the last time, or since
			  * 0 the first time */
	TAG_PROCESS = 2, /* varint */
	TAG_CPU = 3,     /* varint */
	TAG_OP = 0x10,   /* + op: each field of ops.def as a varint, texts
			  * with their length before them; then the flags,
			  * where the op has any */
	TAG_TOUCH = 0x80
};

enum { TOUCH_TIME = 1 << 2, TOUCH_MANY = 1 << 3, TOUCH_BYTES_SHIFT = 4 };

static inline uint64_t binary_fold(int64_t v)
{
	return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static inline int64_t binary_unfold(uint64_t v)
{
	return (int64_t)(v >> 1 ^ -(v & 1));
}

/* Of bits 0-1 of a touch. */
static const uint8_t binary_access[4] = {1, 2, 4, 3};
/* Of bits 4-6. */
static const uint8_t binary_bytes[8] = {0, 1, 2, 3, 4, 5, 6, 8};

#endif
