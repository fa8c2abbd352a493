/* SPDX-License-Identifier: MIT */
/*
 * Compressed memory: a store that keeps pages small in frames of the engine.
 *
 * One pool for each process holds the objects of all its stores. A store is
 * named by slots like any other; it stands before another one, the swap file,
 * or works alone. Writing a slot compresses the page in the thread that
 * submits, reading it expands straight into the reader's buffer; both are over
 * when submit returns, unless pages have to go to or come from the store below.
 *
 *   page                            goes
 *   one word over and over          into the slot's table entry, takes no data
 *   shrinks to 3/4 or less          into the pool
 *   does not                        below; its next writes do not try again
 *                                   for a while. Without a store below it is
 *                                   refused with -E2BIG
 *   pool at its limit               below, or -ENOSPC, until the pool has
 *                                   shrunk to accept_percent of the limit
 *   no frame to be had              below, or -EAGAIN
 *
 * The coldest objects are written to the store below, 32 neighbouring slots at
 * a time, before the limit is reached (zout.c).
 */
#ifndef WEIR_STORE_ZMEM_H
#define WEIR_STORE_ZMEM_H

#include "store/store.h"
#include "store/zcodec.h"
#include "store/zpool.h"

#define ZMEM_STORES_MAX     64u /* of one pool */
#define ZMEM_ACCEPT_PERCENT 90u /* the kernel's zswap has the same */
#define ZMEM_GROUP          32u /* slots that are written out together */

struct zmem_pool;

struct zmem_ops {
	struct zpool_ops frames;
	/* [any] Differs between threads, their CPU for example. May be NULL. */
	unsigned (*hint)(void *ctx);
	/* [any] +1 before a request of ours goes below, -1 after it has ended.
	 * May be NULL. */
	void (*inflight)(void *ctx, int delta);
};

struct zmem_opts {
	const struct zmem_ops *ops;
	void *ctx;
	uint64_t limit;          /* pages */
	unsigned accept_percent; /* 0 = ZMEM_ACCEPT_PERCENT */
	enum zcodec_kind codec;
	int level;
	unsigned contexts;  /* threads that compress at once, 1 .. 16 */
	unsigned out_pages; /* buffers for writing out; 0 = never */
};

/* Bytes that a pool takes beside frames, once and for all. */
size_t zmem_pool_bytes(const struct zmem_opts *o);
/* 0, or -errno with a sentence in err. */
int zmem_pool_open(const struct zmem_opts *o, struct zmem_pool **out, char *err,
		   size_t errlen);

/* A store on the pool; slots counts where there is no store below. */
int store_zmem_open(struct zmem_pool *p, struct store *below, uint64_t slots,
		    struct store **out, char *err, size_t errlen);
/* In a forked child that needs nothing of a store: its place in the pool is
 * free. It has no objects. */
void store_zmem_forget(struct store *s);

/*
 * [no spinlocks] Moves objects together where that frees a block, and gives
 * empty blocks back; with `all` every one of them. Pages given.
 */
uint64_t zmem_tidy(struct zmem_pool *p, bool all);

/* X(name): counters since the start. */
#define ZMEM_COUNTERS(X)                                                       \
	X(stored)       /* pages compressed into the pool */                   \
	X(same)         /* pages that are one word */                          \
	X(loaded)       /* pages read from the pool */                         \
	X(poor)         /* pages that did not compress */                      \
	X(poor_known)   /* of these, not even tried */                         \
	X(full_pages)   /* refused: the pool was at its limit */               \
	X(no_frame)     /* refused: no frame */                                \
	X(limit_hits)   /* times that the limit was reached */                 \
	X(direct)       /* pages written to the store below at once */         \
	X(written_back) /* pages written out of the pool */                    \
	X(out_errors)   /* pages whose writing out failed */                   \
	X(moved)        /* objects moved to free a block */                    \
	X(corrupt)      /* objects with a bad checksum */                      \
	X(bytes_in)     /* compressed bytes of `stored` */                     \
	X(room_in)      /* bytes that their classes took */

struct zmem_figures {
#define X(name) uint64_t name;
	ZMEM_COUNTERS(X)
#undef X
	struct zpool_figures pool;
	uint64_t limit;
	uint64_t objects;  /* in the pool now */
	uint64_t same_now; /* slots of one word now */
	uint64_t tables;   /* pages of slot tables */
	uint32_t outs;     /* writes to the store below under way */
};
void zmem_figures(struct zmem_pool *p, struct zmem_figures *f);
/* At rest: tables, objects and counts agree. */
bool zmem_is_valid(struct zmem_pool *p);

#endif
