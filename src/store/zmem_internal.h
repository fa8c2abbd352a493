/* SPDX-License-Identifier: MIT */
/*
 * What zmem.c (slots) and zout.c (writing out) share. Nobody else includes it.
 *
 * A slot's entry, one word in a table of 512, a table for each 512 slots of
 * which at least one has an entry that is not 0:
 *
 *   bits 0-2   what the slot is: one of zkind
 *   BUSY       somebody reads, moves or writes out the object: it stays
 *   DEAD       discarded meanwhile; whoever is BUSY frees it at the end
 *   OUT        a write of this slot to the store below is under way
 *   SAME       and it writes what the slot still holds
 *   GONE       the store below has it now; whoever is BUSY frees it
 *   bits 8-63  object: its handle; a word 512 times: that word, packed; none:
 *              how often compressing it has been left out
 *
 * 0 is a slot that the store below has, if anybody has it. Only BUSY makes
 * others wait, and only those who want to write or read the very slot.
 *
 *   write-out                        writer of the same slot
 *   -----------------------------    -------------------------------
 *   BUSY, expands, OUT|SAME, lets go
 *   hands the page to the store below
 *                                    new object in the entry: OUT stays,
 *                                    SAME goes
 *   done: not SAME: what was written
 *   is stale, the store below forgets
 *   it; OUT goes
 *
 * and while OUT stands, nobody else writes the slot below: two writes of one
 * slot could end in any order.
 */
#ifndef WEIR_STORE_ZMEM_INTERNAL_H
#define WEIR_STORE_ZMEM_INTERNAL_H

#include "store/zmem.h"
#include "util/list.h"

#define TABLE_SLOTS 512u

enum zkind {
	Z_NONE,
	Z_OBJECT,
	Z_FILL_LOW,  /* sign-extended from 56 bits */
	Z_FILL_HIGH, /* lowest 8 bits are 0 */
	Z_FILL_TWICE /* both halves alike */
};

#define E_KIND  UINT64_C(7)
#define E_BUSY  (UINT64_C(1) << 3)
#define E_DEAD  (UINT64_C(1) << 4)
#define E_OUT   (UINT64_C(1) << 5)
#define E_SAME  (UINT64_C(1) << 6)
#define E_GONE  (UINT64_C(1) << 7)
#define E_SHIFT 8

typedef _Atomic uint64_t zentry;

/* Before the compressed bytes of each object. */
struct zobject {
	uint32_t sum; /* of the bytes, and of the slot */
	uint32_t slot;
	uint16_t len;
	uint16_t store; /* index in the pool */
};

#define TABLE_CHANGING UINT32_MAX

struct ztable {
	_Atomic uint32_t refs; /* entries that are not 0, and holders */
	zhandle page;          /* while refs is not 0 */
};

/* 32 neighbouring slots in the order of their last write. */
struct zgroup {
	struct list_head link; /* pool.lru while listed; (lru_lock) */
	uint16_t store;
	bool listed;
};

struct zmem {
	struct store s;
	struct zmem_pool *pool;
	struct store *below;
	uint16_t index; /* in the pool */
	bool taken;     /* this place of the pool */
	bool is_copy;   /* in a forked child: what is below is the parent's */
	struct ztable *table;
	uint64_t nr_tables;
	struct zgroup *group;
};

/* A write to the store below: of pages that were never in the pool (parent), or
 * out of it (pages of pool.out). */
struct zreq {
	struct store_req req;
	struct zmem *m;
	struct store_req *parent;
	unsigned first; /* in the parent */
	_Atomic uint32_t taken;
	uint64_t bytes; /* of objects that it will free */
	void *buf[ZMEM_GROUP];
	int16_t status[ZMEM_GROUP];
	struct iovec iov[ZMEM_GROUP];
};

#define ZREQS 64u

struct zmem_pool {
	struct zpool zp;
	struct zcodec codec;
	const struct zmem_ops *ops;
	void *ctx;
	uint64_t limit, accept; /* pages */
	_Atomic uint32_t full;
	unsigned nr_stores;
	struct zmem *store[ZMEM_STORES_MAX];
	void *scrap; /* a page that reads are thrown away to */

	/* zout.c */
	struct zlock lru_lock;
	struct list_head lru; /* of groups, newest first */
	struct zreq *req;
	char *out; /* pages */
	unsigned out_pages;
	_Atomic uint64_t *out_used; /* bitmap */
	_Atomic uint32_t out_runner;
	_Atomic uint64_t out_bytes; /* that will be free soon */
	_Atomic uint32_t out_pause; /* writes left out after an error */

#define X(name) _Atomic uint64_t name;
	ZMEM_COUNTERS(X)
#undef X
	_Atomic uint64_t same_now, tables;
	_Atomic uint32_t outs;
};

static inline enum zkind entry_kind(uint64_t v)
{
	return (enum zkind)(v & E_KIND);
}

static inline uint64_t entry_payload(uint64_t v)
{
	return v >> E_SHIFT;
}

static inline uint64_t entry_mk(enum zkind kind, uint64_t payload)
{
	return (uint64_t)kind | payload << E_SHIFT;
}

static inline struct zmem *zmem_of(struct store *s)
{
	return container_of(s, struct zmem, s);
}

static inline unsigned zmem_hint(struct zmem_pool *p)
{
	return p->ops->hint ? p->ops->hint(p->ctx) : 0;
}

static inline void zcount(_Atomic uint64_t *c, uint64_t n)
{
	if (n)
		atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

/* --- zmem.c --- */

/* The table of a slot, kept until let go; NULL: there is none (create: and no
 * page for it). */
zentry *zmem_table_hold(struct zmem *m, uint64_t slot, bool create);
void zmem_table_let(struct zmem *m, uint64_t slot);
/* old -> new in one step; the table's count follows. => table held */
bool zmem_entry_change(struct zmem *m, uint64_t slot, zentry *e, uint64_t *old,
		       uint64_t new);
/* Ends BUSY, and with it whatever was put off. => table held */
void zmem_entry_let(struct zmem *m, uint64_t slot, zentry *e);
/* What an entry held is not wanted any more. */
void zmem_release(struct zmem *m, uint64_t v);
/* Likewise what the store below has of the slot. */
void zmem_forget_below(struct zmem *m, uint64_t slot);
/* Expands an object into page: 0 or -EBADMSG. => entry BUSY, or otherwise
 * certain to stay */
int16_t zmem_expand(struct zmem *m, uint64_t slot, uint64_t v, void *page);
/* One part less of a request is missing. */
void zmem_part_done(struct store_req *r);

/* --- zout.c --- */

int zout_init(struct zmem_pool *p, unsigned pages,
	      void *(*meta_alloc)(void *ctx, size_t bytes), void *ctx);
void zout_after_fork(struct zmem_pool *p);
/* The run was written: its groups are the newest. */
void zout_touch(struct zmem *m, uint64_t slot, unsigned nr);
/* [no spinlocks] Writes out what is coldest, as long as it is wanted. */
void zout_kick(struct zmem_pool *p);
/*
 * Pages [first, first + nr) of r go straight below. Each entry stands on OUT
 * already where it has a table. False: no request is free, nothing was done.
 */
bool zout_direct(struct zmem *m, struct store_req *r, unsigned first,
		 unsigned nr);

#endif
