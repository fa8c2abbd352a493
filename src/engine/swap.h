/* SPDX-License-Identifier: MIT */
/*
 * Swap areas (swap.c), slot allocation (swapslot.c), counts (swapcount.c) and
 * the swap cache (swapcache.c). One lock, struct swap's, protects them all in
 * this version; functions take it themselves.
 */
#ifndef WEIR_ENGINE_SWAP_H
#define WEIR_ENGINE_SWAP_H

#include "engine/pgtable.h"

#define SWAP_TYPES_MAX	 24
#define SWAP_CLUSTER	 512 /* slots */
#define SWAP_MAP_MAX	 0x3e
#define SWAP_MAP_BAD	 0x3f
#define SWAP_HAS_CACHE	 0x40
#define SWAP_CONTINUED	 0x80
#define SWAP_MAP_SHMEM	 0xbf

int weir__swap_init(struct engine *e);
/* Every area forgotten, used or not; its frames go back. No task is inside. */
void weir__swap_exit(struct engine *e);

/*
 * swapon. slots counts slot 0, which is never used. prio -1 = automatic
 * (-2, -3, ... in order), else 0..32767. bad: bad slots, may be NULL.
 * Metadata is taken from the host lazily; its frames are charged to the
 * engine, two for each cluster when the cluster is first used.
 * Type, or -EINVAL, -ENOMEM, -EMFILE (all types in use).
 */
int weir__swapon(struct engine *e, uint64_t slots, int prio,
		 const uint64_t *bad, unsigned nr_bad);
/* No new slots from this area; entries stay valid (a forked child's view of
 * its parent's area, or the beginning of swapoff). */
void weir__swap_set_readonly(struct engine *e, unsigned type);
/* Its slots are given out again: a swapoff that failed. */
void weir__swap_set_writable(struct engine *e, unsigned type);
/*
 * This process is a forked child with a copy of the engine: its parent owns
 * the areas. All of them become read-only here, and the copies of the parent's
 * leases are dropped. Nobody was inside the swap rooms at the fork.
 */
void weir__swap_fork_child(struct engine *e);
/* Forgets an area without entries and leases; pages that hold a slot of it only
 * as a copy give it up first. 0, -EBUSY, -EINVAL. => no spinlock held */
int weir__swapoff_empty(struct engine *e, unsigned type);
/* An area of this type is in use and gives slots (or would, if it had any). */
bool weir__swap_is_on(struct engine *e, unsigned type);
/* Slots with a count or in the cache; slots kept for leases only. */
uint64_t weir__swap_used(struct engine *e, unsigned type);
uint64_t weir__swap_leased_slots(struct engine *e, unsigned type);
/* Frames the swap rooms took for themselves: metadata charge and leases. */
uint64_t weir__swap_own_frames(struct engine *e);

/*
 * mkswap header (4096 bytes): fills slots and bad list, byte order found.
 * Number of bad slots, or -EINVAL with *why set. A regular file has no bad
 * slots; who knows that the area is one refuses a result above 0.
 */
int weir__swap_header_parse(const void *page, uint64_t file_pages,
			    uint64_t *slots, uint64_t *bad, unsigned bad_max,
			    const char **why);

/* Fills a page (4096 bytes) with such a header. uuid: 16 bytes, or NULL; label
 * may be NULL. 0 or -EINVAL. */
int weir__swap_header_write(void *page, uint64_t slots, const uint64_t *bad,
			    unsigned nr_bad, const uint8_t *uuid,
			    const char *label);

/*
 * nr slots, consecutive where possible, highest priority first; each with
 * HAS_CACHE set and count 0. Returns how many (0 = swap is full).
 */
unsigned weir__swap_alloc(struct engine *e, swp_entry_t *out, unsigned nr);
/*
 * For when that fell short: pages that are in memory again and hold a slot
 * only as a clean copy give it up (they become dirty). Slots freed, perhaps
 * fewer than nr: looks at a bounded number of slots. => no locks held but
 * page locks, which it only tries
 */
unsigned weir__swap_reclaim_cache(struct engine *e, unsigned nr);

/* Map count. dup: +1 (0 or -ENOMEM for a continuation page; -EINVAL for a free
 * slot). free: -1; the slot is freed with its last count and cache bit. */
int weir__swap_dup(struct engine *e, swp_entry_t s);
void weir__swap_free(struct engine *e, swp_entry_t s);
/* A slot just taken belongs to shared memory: SWAP_MAP_SHMEM, counts as one and
 * has no dup; free takes it away. */
void weir__swap_shmem(struct engine *e, swp_entry_t s);
void weir__swap_free_many(struct engine *e, const swp_entry_t *s, unsigned nr);
/* Room for the next dup of s, whose dup returned -ENOMEM: called without
 * spinlocks when gfp may sleep. 0, -ENOMEM, -EINVAL (slot is free). */
int weir__swap_add_continuation(struct engine *e, swp_entry_t s, gfp_t gfp);
unsigned weir__swap_count(struct engine *e, swp_entry_t s);
/* The raw byte, for tests and dumps. */
uint8_t weir__swap_map_byte(struct engine *e, swp_entry_t s);

/*
 * Swap cache: one frame (or shadow) for each slot.
 *
 * add binds the locked frame: FRAME_SWAPCACHE, private = s, one reference.
 * 0; -EEXIST another frame is bound; -ENOENT the slot is free.
 * For a slot from weir__swap_alloc HAS_CACHE is set already; for swap-in add
 * sets it. *shadow receives the shadow that stood there or 0; NULL says that the
 * caller is the one who took the slot with weir__swap_alloc.
 */
int weir__swap_cache_add(struct engine *e, struct frame *f, swp_entry_t s,
			 uint64_t *shadow);
/* With a reference, or NULL. */
struct frame *weir__swap_cache_get(struct engine *e, swp_entry_t s);
/* => page lock held. Unbinds; leaves the shadow (0 = none); drops HAS_CACHE
 * and so perhaps the slot. The cache's reference goes to the caller. */
void weir__swap_cache_del(struct engine *e, struct frame *f, uint64_t shadow);
/*
 * => page lock held. The frame's last steps: if exactly `expected` references
 * are left and it is not dirty, freezes them at 0, unbinds, leaves the shadow,
 * true. Otherwise nothing changes.
 */
bool weir__swap_cache_remove_frozen(struct engine *e, struct frame *f,
				    int expected, uint64_t shadow);
/* A slot given by weir__swap_alloc that was never bound. */
void weir__swap_slot_release(struct engine *e, swp_entry_t s);
uint64_t weir__swap_shadow(struct engine *e, swp_entry_t s);

/* Zero bitmap: the slot's page is all zeros, nothing is written. */
void weir__swap_zero_set(struct engine *e, swp_entry_t s, bool zero);
bool weir__swap_zero_test(struct engine *e, swp_entry_t s);

/* The slot will be asked for soon: a hint to the processor's caches. [any] */
void weir__swap_prefetch(const struct engine *e, swp_entry_t s);

/* Free slots over all writable areas, and all of them. */
uint64_t weir__swap_nr_free(struct engine *e);
uint64_t weir__swap_total(struct engine *e);
/* free * 2 < total */
bool weir__vm_swap_full(struct engine *e);
/* A write failed with -ENOSPC: the area gives out no slots until one is
 * freed. Call it after the slots that failed were given back. */
void weir__swap_area_full(struct engine *e, unsigned type);

/* T: pages to read. */
unsigned weir__swap_readahead_window(unsigned hits, bool adjacent,
				     unsigned prev, unsigned page_cluster);

/* Next slot neighbours: how many slots from s on (at most max) hold counts
 * and are consecutive. */
unsigned weir__swap_run(struct engine *e, swp_entry_t s, unsigned max);

/*
 * Leases. Between begin and end, no slot that was in use at begin is given out
 * again, nor discarded, although it may be freed: a forked child still reads
 * the parent's slots. Takes one bit for each slot, in engine frames, for the
 * parts of the area in use; never sleeps. For one exact instant the caller
 * keeps other tasks out meanwhile.
 * begin: an id > 0; -EINVAL, -ENOMEM, -EBUSY (64 are active).
 */
int weir__swap_lease_begin(struct engine *e, unsigned type);
/* 0 or -ENOENT. */
int weir__swap_lease_end(struct engine *e, unsigned type, int id);

/* fn for each run of slots in use (count or cache), in order, lock not held;
 * stops when fn returns non-zero and returns that. -EINVAL: no such area. */
int weir__swap_for_each_used(struct engine *e, unsigned type,
			     int (*fn)(void *arg, uint64_t slot, uint64_t nr),
			     void *arg);
/* Bit i of bits (byte i / 8) = slot i is in use. How many are. */
uint64_t weir__swap_used_bitmap(struct engine *e, unsigned type, uint8_t *bits,
				uint64_t nslots);

bool weir__swap_is_valid(struct engine *e);

#endif
