/* SPDX-License-Identifier: MIT */
/*
 * Pages made small and large again: LZ4 or Zstandard, and pages that are one
 * word over and over.
 *
 * Compressing takes a context: working memory and a place for the result, made
 * at start-up. Nothing here allocates. A context belongs to whoever took it
 * until it is let go; taking one waits while all are in use.
 */
#ifndef WEIR_STORE_ZCODEC_H
#define WEIR_STORE_ZCODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZCODEC_PAGE         4096u
#define ZCODEC_CONTEXTS_MAX 16u

enum zcodec_kind { ZCODEC_OFF, ZCODEC_LZ4, ZCODEC_ZSTD, NR_ZCODECS };

/* LZ4: acceleration, 1 best and slowest. Zstandard: level. */
#define ZCODEC_LZ4_LEVEL_MAX  64
#define ZCODEC_ZSTD_LEVEL_MAX 19
#define ZCODEC_LEVEL_DEFAULT  1

struct zcodec;

struct zctx {
	_Atomic uint32_t taken;
	struct zcodec *codec;
	void *work;         /* LZ4: hash table; Zstandard: compressor */
	void *expand;       /* Zstandard: decompressor */
	unsigned char *out; /* ZCODEC_PAGE and a little */
};

struct zcodec {
	enum zcodec_kind kind;
	int level;
	unsigned nr;
	struct zctx ctx[ZCODEC_CONTEXTS_MAX];
};

const char *zcodec_name(enum zcodec_kind kind);
/* Of the library that it is built with. */
const char *zcodec_version(enum zcodec_kind kind);
/* Memory that zcodec_init takes for so many contexts; 0 = no such codec. */
size_t zcodec_bytes(enum zcodec_kind kind, int level, unsigned nr);
/* mem: zcodec_bytes(), zero-filled, 64-byte aligned. 0 or -EINVAL. */
int zcodec_init(struct zcodec *c, enum zcodec_kind kind, int level, unsigned nr,
		void *mem);
/* In a forked child: whoever had a context in the parent is not here. */
void zcodec_after_fork(struct zcodec *c);

/* hint: a number that differs between threads, their CPU for example. */
struct zctx *zcodec_take(struct zcodec *c, unsigned hint);
void zcodec_let(struct zctx *x);

/* Length of the result in x->out, 1..max; 0: it would be longer. */
unsigned zcodec_compress(struct zctx *x, const void *page, unsigned max);
/* True when exactly one page came out. `in` is not trusted. */
bool zcodec_expand(struct zcodec *c, unsigned hint, const void *in,
		   unsigned len, void *page);

/* The page is this word 512 times. */
bool zcodec_same_filled(const void *page, uint64_t *word);
void zcodec_fill(void *page, uint64_t word);

#endif
