/* SPDX-License-Identifier: MIT */
/*
 * What the four swap rooms share: the area, its clusters, its leases. Nobody
 * else includes this.
 *
 * Every field below is protected by swap.lock unless marked otherwise; the
 * functions with "=> lock held" are called inside it.
 *
 * Conservation, per area (weir__swap_is_valid checks it):
 *   usable = nr_free + nr_used + nr_leased + nr_discard
 */
#ifndef WEIR_ENGINE_SWAP_INTERNAL_H
#define WEIR_ENGINE_SWAP_INTERNAL_H

#include "engine/swap.h"

/* In use by nobody here, but somebody with a lease may still read it. The
 * value cannot arise otherwise: a bad slot is never in the cache. */
#define SWAP_MAP_LEASED (SWAP_HAS_CACHE | SWAP_MAP_BAD)

/* Low digit of a count is base 63 (0..62), each further digit base 128. */
#define SWAP_CONT_DIGITS 3
#define SWAP_CONT_MAX    0x7f

#define SWAP_LEASES_MAX    64
#define SWAP_LEASE_SLOTS   (PAGE_SIZE * 8) /* bits in one frame */
#define SWAP_SLOTS_MAX     ((uint64_t)1 << 32)
#define SWAP_NO_SLOT       UINT64_MAX
#define SWAP_CHARGE_FRAMES 2 /* metadata of one cluster, rounded up */

enum cluster_state {
	CL_UNTOUCHED, /* beyond the high-water mark: on no list */
	CL_FREE,      /* no slot in use */
	CL_NONFULL,   /* a slot was freed since the last scan */
	CL_FRAG,      /* has free slots, was scanned since */
	CL_FULL,
	CL_DISCARD, /* empty; the host is told before it is free again */
	NR_CL_STATES
};

struct swap_cluster {
	struct list_head link;           /* area.lists[state] */
	uint8_t *cont[SWAP_CONT_DIGITS]; /* higher digits, 512 bytes each */
	uint16_t count;                  /* slots whose map byte is not 0 */
	uint16_t nr_bad;                 /* of these, for ever */
	uint8_t state;
	bool charged; /* its frames are paid or owed */
};

/* Slots in use when it began, kept from reuse until it ends. */
struct swap_lease {
	uint32_t id; /* 0 = none */
	uint32_t nr_chunks;
	struct frame *dir; /* uint32_t[nr_chunks]: pfn + 1 of a bitmap, or 0 */
	unsigned dir_order;
};

struct swap_area {
	bool used;     /* this type is taken */
	bool starting; /* somebody is about to take it */
	bool readonly; /* gives no slots any more */
	bool full;     /* the store is: until a slot is freed */
	bool classic;  /* sequential allocator */
	uint8_t type;  /* (c) */
	int prio;
	uint64_t slots;  /* slot 0 included */
	uint64_t usable; /* without slot 0 and bad ones */
	uint64_t nr_free, nr_used, nr_leased, nr_discard;

	/* one block from the host, reused by later areas of this type */
	void *meta;
	size_t meta_bytes;
	uint8_t *map;    /* [slots] */
	uint64_t *table; /* [slots] 0, frame address, or shadow (odd) */
	uint64_t *zero;  /* [slots / 64] */
	struct swap_cluster *clusters;
	uint64_t nr_clusters;
	uint64_t high_water; /* clusters from here on were never used */
	struct list_head lists[NR_CL_STATES];

	/* sequential allocator */
	uint64_t lowest_bit, highest_bit; /* bounds of the free slots */
	uint64_t cluster_next;            /* where the cursor stands */
	uint64_t cluster_nr;              /* slots left in its run */
	uint64_t search_next;             /* where a search gave up */

	uint64_t reclaim_next; /* cursor of weir__swap_reclaim_cache */

	struct list_head charge; /* frames taken for metadata */
	uint64_t nr_charged, nr_owed;

	uint64_t leases; /* bit i: lease[i] is active */
	uint32_t lease_seq;
	struct swap_lease lease[SWAP_LEASES_MAX];
	uint64_t nr_lease_frames;
};

/* Where a CPU goes on in the cluster it took. */
struct swap_position {
	bool valid;
	uint8_t type;
	uint64_t next;
};

struct swap {
	struct spin lock;
	uint8_t order[SWAP_TYPES_MAX]; /* types in use, best priority first */
	unsigned nr_order;
	int next_prio; /* automatic: -2, -3, ... */
	struct swap_position pos[MAX_CPUS];
	/* written under the lock, read without: hints for others */
	_Atomic uint64_t nr_free;             /* over areas that give slots */
	_Atomic uint64_t total;               /* over writable areas */
	_Atomic uint32_t nr_discard_clusters; /* waiting for the host */
	_Atomic uint32_t nr_owed;             /* frames */
	struct swap_area area[SWAP_TYPES_MAX];
};

static inline void swap_lock(struct engine *e)
{
	weir__spin_lock(e, &e->swap->lock);
}
static inline void swap_unlock(struct engine *e)
{
	weir__spin_unlock(e, &e->swap->lock);
}

/* NULL when there is no such slot. */
static inline struct swap_area *swap_area(struct engine *e, swp_entry_t s)
{
	unsigned type = swp_type(s);
	struct swap_area *a;

	if (type >= SWAP_TYPES_MAX)
		return NULL;
	a = &e->swap->area[type];
	if (!a->used || !swp_offset(s) || swp_offset(s) >= a->slots)
		return NULL;
	return a;
}

static inline struct swap_cluster *swap_cluster(struct swap_area *a,
						uint64_t off)
{
	return &a->clusters[off / SWAP_CLUSTER];
}

/* A map byte that stands for contents: a count, the cache, or both. */
static inline bool swap_byte_used(uint8_t b)
{
	return b && b != SWAP_MAP_BAD && b != SWAP_MAP_LEASED;
}

/* The area gives slots away. */
static inline bool swap_area_gives(const struct swap_area *a)
{
	return a->used && !a->readonly && !a->full;
}

static inline bool swap_is_frame(uint64_t entry)
{
	return entry && !(entry & 1);
}

/* --- swapslot.c --- */

/* => lock held. The byte has just become 0 or cache-less count 0: forgets
 * shadow and zero bit, and gives the slot back or keeps it for a lease. True
 * when it can be given out again. */
bool weir__slot_free(struct engine *e, struct swap_area *a, uint64_t off);
/* => lock held. A leased slot that nobody holds any more. */
void weir__slot_unlease(struct engine *e, struct swap_area *a, uint64_t off);
/* => lock held. The area's free slots leave or enter the engine's sum when
 * its right to give them changes. */
void weir__swap_area_mode(struct engine *e, struct swap_area *a, bool readonly,
			  bool full);
/* Tells the host about empty clusters. => lock not held */
void weir__swap_discards(struct engine *e);

/* Every cache-only slot of the area whose page can be had at once.
 * => no spinlock held */
void weir__swap_drop_cache(struct engine *e, struct swap_area *a);

/* --- swapcount.c --- */

/* => lock held. Frees the higher digits of an empty cluster. */
void weir__swap_cont_free(struct engine *e, struct swap_cluster *ci);
/* => lock held. */
uint64_t weir__swap_count_locked(struct swap_area *a, uint64_t off);

/* --- swaplease.c --- */

/* => lock held. Some active lease has the slot. */
bool weir__swap_leased(struct engine *e, struct swap_area *a, uint64_t off);
void weir__swap_lease_drop_all(struct engine *e, struct swap_area *a);

/* --- swapcache.c --- */

/* => page lock held. weir__swap_cache_del, but only of a page whose slot has
 * no count and is not being written; true when that freed the slot. */
bool weir__swap_cache_try_free(struct engine *e, struct frame *f,
			       swp_entry_t s);

#endif
