/* SPDX-License-Identifier: MIT */
/*
 * Memory for compressed pages: objects of 64 to 3272 bytes in frames that the
 * engine lends.
 *
 * A block is 1 to 6 pages cut into objects of one size; sizes and lengths are
 * chosen so that hardly anything is left at a block's end. Blocks stand in
 * address space of their own, each at a multiple of 32 KiB, so that an object
 * never lies in two places although the frames that pay for it may have any
 * numbers: a frame taken here is a right to one page of memory, not an
 * address.
 *
 * Empty blocks are kept for the next use; zpool_trim gives them back, which
 * takes a system call and is therefore not done by whoever frees an object.
 */
#ifndef WEIR_STORE_ZPOOL_H
#define WEIR_STORE_ZPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/zlock.h"

#define ZPOOL_OBJECT_MAX 3272u /* bytes, header included */
#define ZPOOL_PAGE       4096u
#define ZPOOL_UNIT_PAGES 8u
#define ZPOOL_CLASSES    56u
#define ZPOOL_NONE       UINT64_MAX

/* Where an object is: place in its block (6 bits), class (6), block (32). The
 * class is there so that finding an object touches nothing but the object. */
typedef uint64_t zhandle;

struct zblock;

struct zpool_ops {
	/* [no spinlocks] nr frames, all or none. */
	bool (*take)(void *ctx, unsigned nr, uint32_t *frame);
	/* [no spinlocks] */
	void (*give)(void *ctx, const uint32_t *frame, unsigned nr);
	/* Zero-filled memory, populated when touched, never freed. */
	void *(*meta_alloc)(void *ctx, size_t bytes);
};

#define ZPOOL_FULLNESS 4u

struct zclass {
	struct zlock lock;
	uint16_t size;                    /* bytes of an object */
	uint8_t nr;                       /* objects of a block */
	uint8_t pages;                    /* of a block */
	bool fixed;                       /* its objects are never moved */
	uint32_t head[ZPOOL_FULLNESS];    /* blocks with room, emptiest first */
	_Atomic uint64_t blocks, objects; /* under the lock; read without */
} __attribute__((aligned(64)));

struct zpool {
	const struct zpool_ops *ops;
	void *ctx;
	char *base;
	struct zblock *block;
	uint64_t nr_blocks;
	uint64_t limit;         /* pages */
	_Atomic uint64_t pages; /* frames taken */

	struct zlock lock; /* of what follows */
	uint64_t fresh;    /* blocks from here on were never used */
	uint32_t unused;   /* list of blocks without memory */
	uint32_t idle[ZPOOL_UNIT_PAGES]; /* lists of empty blocks, by pages */
	_Atomic uint64_t idle_pages;

	struct zclass class[ZPOOL_CLASSES];
	uint8_t class_of[ZPOOL_PAGE / 8 + 1]; /* by size, rounded up to 8 */
};

/* 0 or -ENOMEM. limit: pages beyond which nothing new is given. */
int zpool_init(struct zpool *p, const struct zpool_ops *ops, void *ctx,
	       uint64_t limit);
void zpool_after_fork(struct zpool *p);

/* [no spinlocks] ZPOOL_NONE: at the limit, or no frame to be had. */
zhandle zpool_alloc(struct zpool *p, unsigned bytes);
/* A whole page that stays where it is; may go beyond the limit. */
zhandle zpool_alloc_page(struct zpool *p);
/* [any] */
void zpool_free(struct zpool *p, zhandle h);
void *zpool_addr(struct zpool *p, zhandle h);
/* Bytes that the object's class holds. */
unsigned zpool_room(struct zpool *p, zhandle h);

/* [no spinlocks] Gives empty blocks back until at most `keep` idle pages are
 * left; pages given. */
uint64_t zpool_trim(struct zpool *p, uint64_t keep);

/* Pages that could be had by moving objects together. */
uint64_t zpool_sparse(struct zpool *p);
/*
 * [no spinlocks] Empties sparse blocks by moving at most `moves` objects.
 *
 * pin: [any] is called with a lock held for an object that is in use; true: the
 * object stays as it is and where it is until moved. moved: copies it to `to`,
 * which has as much room, and frees `from`; ZPOOL_NONE: there was no room, it
 * stays. Objects moved.
 */
struct zpool_mover {
	bool (*pin)(void *ctx, const void *object, zhandle h);
	void (*moved)(void *ctx, zhandle from, zhandle to);
	void *ctx;
};
unsigned zpool_compact(struct zpool *p, const struct zpool_mover *m,
		       unsigned moves);

struct zpool_figures {
	uint64_t pages, idle_pages, objects, blocks;
	uint64_t class_bytes; /* of objects in use, as their classes count */
};
void zpool_figures(struct zpool *p, struct zpool_figures *f);
/* At rest: every list and count agrees. */
bool zpool_is_valid(struct zpool *p);

#endif
