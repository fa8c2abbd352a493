/* SPDX-License-Identifier: MIT */
/*
 * Page tables: four levels of 512 entries, one frame each, as on x86-64.
 *
 * The entry is the book of one program page. On the live host the real page
 * table is the kernel's; ours follows it, and BUSY marks an entry whose real
 * page is on the move:
 *
 *   none                 never touched, or dropped
 *   PRESENT              in place: the program reaches it
 *   PRESENT|HINT         unmapped, still in its frame: the next touch faults
 *                        and gets the same frame back
 *   SWAP(type, offset)   contents in a swap slot
 *   POISON               contents lost: every touch is an error
 *   any of these | BUSY  a host call is under way for this address; only the
 *                        task that set BUSY changes the entry
 *
 * Entries change under the aspace lock. The simulated MMU also sets ACCESSED
 * and DIRTY by atomic or.
 */
#ifndef WEIR_ENGINE_PGTABLE_H
#define WEIR_ENGINE_PGTABLE_H

#include <stdatomic.h>

#include "engine/alloc.h"

#define PTE_PRESENT   ((uint64_t)1 << 0)
#define PTE_WRITE     ((uint64_t)1 << 1)
#define PTE_ACCESSED  ((uint64_t)1 << 2)
#define PTE_DIRTY     ((uint64_t)1 << 3)
#define PTE_HINT      ((uint64_t)1 << 4)
#define PTE_BUSY      ((uint64_t)1 << 5)
#define PTE_SWAP      ((uint64_t)1 << 6)
#define PTE_EXCLUSIVE ((uint64_t)1 << 7)
#define PTE_POISON    ((uint64_t)1 << 8)

/* mremap's target before the page has come: BUSY for everybody but the mover,
 * who knows his own by the second bit. */
#define PTE_RESERVED (PTE_BUSY | PTE_EXCLUSIVE)

#define PTE_PFN_SHIFT 16

/* Swap entry: type in the low 5 bits, offset above; 0 is no entry since
 * slot 0 of an area (its header) is never used. */
typedef uint64_t swp_entry_t;
#define SWP_TYPE_BITS 5

static inline swp_entry_t swp_entry(unsigned type, uint64_t offset)
{
	return offset << SWP_TYPE_BITS | type;
}
static inline unsigned swp_type(swp_entry_t s)
{
	return (unsigned)(s & ((1u << SWP_TYPE_BITS) - 1));
}
static inline uint64_t swp_offset(swp_entry_t s)
{
	return s >> SWP_TYPE_BITS;
}

static inline uint64_t pte_mk(pfn_t pfn, uint64_t bits)
{
	return (uint64_t)pfn << PTE_PFN_SHIFT | PTE_PRESENT | bits;
}
static inline pfn_t pte_pfn(uint64_t pte)
{
	return (pfn_t)(pte >> PTE_PFN_SHIFT);
}
static inline uint64_t pte_mk_swap(swp_entry_t s, uint64_t bits)
{
	return s << PTE_PFN_SHIFT | PTE_SWAP | bits;
}
static inline swp_entry_t pte_swap(uint64_t pte)
{
	return pte >> PTE_PFN_SHIFT;
}

/* Entries are words that the simulated MMU also writes (ACCESSED, DIRTY): a
 * store of a whole entry is right only where the MMU does not reach it (not
 * PRESENT, or HINT, or BUSY); otherwise take bits with pte_set/pte_clear or
 * the entry with pte_xchg. */
static inline uint64_t pte_load(const pte_t *p)
{
	return atomic_load_explicit((pte_t *)p, memory_order_acquire);
}
static inline void pte_store(pte_t *p, uint64_t v)
{
	atomic_store_explicit(p, v, memory_order_release);
}
static inline uint64_t pte_xchg(pte_t *p, uint64_t v)
{
	uint64_t old = atomic_load_explicit(p, memory_order_relaxed);

	/* not an exchange: see spin_grab() */
	while (!atomic_compare_exchange_weak_explicit(
		p, &old, v, memory_order_acq_rel, memory_order_relaxed))
		;
	return old;
}
/* The entry as it was before. */
static inline uint64_t pte_set(pte_t *p, uint64_t bits)
{
	return atomic_fetch_or_explicit(p, bits, memory_order_acq_rel);
}
static inline uint64_t pte_clear(pte_t *p, uint64_t bits)
{
	return atomic_fetch_and_explicit(p, ~bits, memory_order_acq_rel);
}

/* Addresses the tables can name: [0, WEIR_ADDR_MAX). */
#define WEIR_ADDR_MAX ((uint64_t)1 << 48)
/* What one leaf table covers. */
#define PTE_TABLE_SPAN ((uint64_t)512 << PAGE_SHIFT)

/* The root table. 0 or -ENOMEM. */
int weir__pgtable_create(struct aspace *as);
/* Frees every table; all entries must be none. */
void weir__pgtable_destroy(struct aspace *as);

/* => called with the aspace lock held. NULL where no table covers addr. The
 * pointer is good until the lock is dropped. */
pte_t *weir__pte_slow(struct aspace *as, uint64_t addr);
static inline pte_t *weir__pte(struct aspace *as, uint64_t addr)
{
	if (__builtin_expect(as->walk.leaf_tag == addr / PTE_TABLE_SPAN + 1, 1))
		return &as->walk.leaf[addr / PAGE_SIZE %
				      (PTE_TABLE_SPAN / PAGE_SIZE)];
	return weir__pte_slow(as, addr);
}
/*
 * Makes sure that a table covers every page of [start, end). Takes the aspace
 * lock itself; may sleep as gfp says. 0 or -ENOMEM. A table that holds no
 * entry may be trimmed as soon as the lock is free, so the caller locks, asks
 * weir__pte again and starts over when it says NULL; an entry that is BUSY
 * keeps its table.
 */
int weir__pte_alloc(struct aspace *as, uint64_t start, uint64_t end, gfp_t gfp);
/* => lock held. Calls fn for each non-empty entry of [start, end), in order;
 * stops when fn returns non-zero and returns that. Skips absent tables. fn
 * may change its entry and must not drop the lock. */
int weir__pte_walk(struct aspace *as, uint64_t start, uint64_t end,
		   int (*fn)(struct aspace *as, uint64_t addr, pte_t *pte,
			     void *arg),
		   void *arg);
/* Frees tables of [start, end) that hold only empty entries. Takes the aspace
 * lock itself, and lets it go now and then. */
void weir__pgtable_trim(struct aspace *as, uint64_t start, uint64_t end);

/*
 * BUSY. Both with the aspace lock held; wait drops and retakes the lock, so
 * the caller looks everything up again. end wakes the waiters.
 */
void weir__pte_busy_wait(struct aspace *as);
void weir__pte_busy_end(struct aspace *as);

/* => lock held, or at rest. Shape of the tables and of every entry. */
bool weir__pgtable_is_valid(struct aspace *as);

#endif
