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
 * its parent's area). */
void weir__swap_set_readonly(struct engine *e, unsigned type);
/* Forgets an area without entries. 0 or -EBUSY. */
int weir__swapoff_empty(struct engine *e, unsigned type);
uint64_t weir__swap_used(struct engine *e, unsigned type);

/* mkswap header (4096 bytes): fills slots and bad list, byte order found.
 * Number of bad slots, or -EINVAL with *why set. */
int weir__swap_header_parse(const void *page, uint64_t file_pages,
			    uint64_t *slots, uint64_t *bad, unsigned bad_max,
			    const char **why);

/*
 * nr slots, consecutive where possible, highest priority first; each with
 * HAS_CACHE set and count 0. Returns how many (0 = swap is full).
 */
unsigned weir__swap_alloc(struct engine *e, swp_entry_t *out, unsigned nr);

/* Map count. dup: +1 (0 or -ENOMEM for a continuation page; -EINVAL for a free
 * slot). free: -1; the slot is freed with its last count and cache bit. */
int weir__swap_dup(struct engine *e, swp_entry_t s);
void weir__swap_free(struct engine *e, swp_entry_t s);
unsigned weir__swap_count(struct engine *e, swp_entry_t s);
/* The raw byte, for tests and dumps. */
uint8_t weir__swap_map_byte(struct engine *e, swp_entry_t s);

/*
 * Swap cache: one frame (or shadow) for each slot.
 *
 * add binds the locked frame: FRAME_SWAPCACHE, private = s, one reference.
 * 0; -EEXIST another frame is bound; -ENOENT the slot is free.
 * For a slot from weir__swap_alloc HAS_CACHE is set already; for swap-in add
 * sets it. *shadow (may be NULL) receives the shadow that stood there or 0.
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

/* Free slots over all writable areas, and all of them. */
uint64_t weir__swap_nr_free(struct engine *e);
uint64_t weir__swap_total(struct engine *e);
/* free * 2 < total */
bool weir__vm_swap_full(struct engine *e);
/* A write failed with -ENOSPC: the area gives out no slots until one is
 * freed. */
void weir__swap_area_full(struct engine *e, unsigned type);

/* T: pages to read. */
unsigned weir__swap_readahead_window(unsigned hits, bool adjacent,
				     unsigned prev, unsigned page_cluster);

/* Next slot neighbours: how many slots from s on (at most max) hold counts
 * and are consecutive. */
unsigned weir__swap_run(struct engine *e, swp_entry_t s, unsigned max);

bool weir__swap_is_valid(struct engine *e);

#endif
