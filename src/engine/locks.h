/* SPDX-License-Identifier: MIT */
/*
 * Locks of the engine and their order.
 *
 * The rank enum is the order: a task that holds a lock may only take locks of
 * a higher rank. Builds with WEIR_DEBUG check every acquisition and name both
 * locks when it is broken. docs/locking.md says what each lock protects.
 *
 * Spinlocks are held for short stretches without host calls that sleep. The
 * page lock (frame.h) is the sleeping lock of this engine; it is taken before
 * any spinlock, and a task that already holds one page lock only *tries*
 * further ones.
 */
#ifndef WEIR_ENGINE_LOCKS_H
#define WEIR_ENGINE_LOCKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct engine;

enum lock_rank {
	RANK_PAGE = 1,	   /* frame's locked bit (not a spinlock) */
	RANK_ASPACES = 10, /* engine's list of address spaces */
	RANK_MAPPINGS = 15, /* engine's list of mappings (files) */
	RANK_RMAP = 20,	    /* anon_vma trees, i_mmap trees, region bounds */
	RANK_ASPACE = 30,  /* regions and page table of one address space */
	RANK_SHRINKER = 35,
	RANK_PCACHE = 36, /* one mapping: tree of its pages, tags, counts */
	RANK_WB = 37,	  /* mappings with dirty pages, the flusher's orders */
	RANK_SHADOW = 38, /* cache nodes that hold nothing but shadows */
	RANK_VFS = 39,	  /* dentries and inodes */
	RANK_SWAP = 40, /* swap areas, clusters, counts, swap cache */
	RANK_BATCH = 45, /* per-CPU LRU batches */
	RANK_LRU = 50,	 /* one lruvec */
	RANK_SLABCPU = 59, /* objects that one CPU keeps */
	RANK_SLAB = 60,
	RANK_PCP = 65,	/* per-CPU free lists */
	RANK_ZONE = 70, /* buddy lists of one zone */
	RANK_KSWAPD = 75,
	RANK_STATS = 80,
	RANK_MAX = 100
};

struct spin {
	_Atomic uint32_t word; /* 0 free, 1 held */
	uint16_t rank;
	uint16_t owner; /* debug: wtask.id of the holder */
};

void weir__spin_init(struct spin *s, enum lock_rank rank);
/* weir__spin_lock and weir__spin_unlock: types.h. */
void weir__spin_lock_slow(struct engine *e, struct spin *s);
void weir__spin_unlock_slow(struct engine *e, struct spin *s);
/* True when taken. Rank order is not checked: a try cannot deadlock. */
bool weir__spin_trylock(struct engine *e, struct spin *s);

/*
 * By comparing, not exchanging: a processor alone with its memory (the
 * simulator's build) then takes a lock without the cost of an atomic.
 */
static inline bool spin_grab(struct spin *s)
{
	uint32_t free = 0;

	return atomic_compare_exchange_strong_explicit(&s->word, &free, 1,
						       memory_order_acquire,
						       memory_order_relaxed);
}

/* Debug builds stop when the lock is not held by this task. */
#ifdef WEIR_DEBUG
void weir__spin_assert_held(struct engine *e, const struct spin *s);
#else
static inline void weir__spin_assert_held(struct engine *e,
					  const struct spin *s)
{
}
#endif
/* Debug builds stop when this task holds any spinlock: "may sleep here". */
void weir__assert_may_sleep(struct engine *e);

/*
 * A lock to sleep on, for what may take long and need I/O: writes to one file.
 * It comes before the page lock; none is taken inside another. Zero-filled is
 * free.
 */
struct wmutex {
	_Atomic uint32_t word;
};

void weir__mutex_lock(struct engine *e, struct wmutex *m);
bool weir__mutex_trylock(struct wmutex *m);
void weir__mutex_unlock(struct engine *e, struct wmutex *m);

#endif
