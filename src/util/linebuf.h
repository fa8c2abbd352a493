/* SPDX-License-Identifier: MIT */
/*
 * A line of text put together without stdio, for messages of the engine. What
 * does not fit is cut off; the buffer always ends in NUL.
 */
#ifndef WEIR_UTIL_LINEBUF_H
#define WEIR_UTIL_LINEBUF_H

#include <stddef.h>
#include <stdint.h>

struct linebuf {
	char *buf;
	size_t cap, len;
};

static inline void lb_init(struct linebuf *b, char *buf, size_t cap)
{
	b->buf = buf;
	b->cap = cap;
	b->len = 0;
	if (cap)
		buf[0] = '\0';
}

static inline struct linebuf *lb_str(struct linebuf *b, const char *s)
{
	while (*s && b->len + 1 < b->cap)
		b->buf[b->len++] = *s++;
	if (b->cap)
		b->buf[b->len] = '\0';
	return b;
}

static inline struct linebuf *lb_base(struct linebuf *b, uint64_t v,
				      unsigned base)
{
	char digits[21];
	unsigned i = sizeof(digits) - 1;

	digits[i] = '\0';
	do {
		digits[--i] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	return lb_str(b, digits + i);
}

static inline struct linebuf *lb_u64(struct linebuf *b, uint64_t v)
{
	return lb_base(b, v, 10);
}

static inline struct linebuf *lb_hex(struct linebuf *b, uint64_t v)
{
	return lb_base(lb_str(b, "0x"), v, 16);
}

static inline struct linebuf *lb_i64(struct linebuf *b, int64_t v)
{
	if (v >= 0)
		return lb_u64(b, (uint64_t)v);
	return lb_u64(lb_str(b, "-"), -(uint64_t)v);
}

#endif
