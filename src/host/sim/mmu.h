/* SPDX-License-Identifier: MIT */
/*
 * Processes and their access to memory. Two models behind one table: the
 * engine's entries as the machine's own (mmu_bits.c), and a page table apart
 * with messages (mmu_uffd.c).
 */
#ifndef WEIR_SIM_MMU_H
#define WEIR_SIM_MMU_H

#include "engine/pgtable.h"
#include "host/sim/prng.h"

struct sim;

/* The lowest address a simulated program uses. */
#define SIM_BASE ((uint64_t)1 << 32)

struct hw_page;

/* What the machine remembers of page-table walks: leaf tables, by the address
 * bits above those that a leaf covers. */
#define WALK_CACHE 1024

struct walk {
	uint64_t tag; /* address / PTE_TABLE_SPAN + 1; 0 = nothing */
	pte_t *leaf;
};

struct sim_proc {
	struct sim *sim;
	struct aspace *as;
	struct list_head link; /* sim.mmu.procs */
	uint32_t id;
	bool killed, dead;
	_Atomic uint32_t applying; /* books_lock: 0 free, 1 held */

	/* mmu_bits.c */
	struct walk *walk; /* [WALK_CACHE] */

	/* mmu_uffd.c */
	struct hw_page *hw; /* [span_pages] */
	uint64_t span;
	_Atomic uint32_t changing; /* events told and not read: no map, unmap */
	struct list_head posted;   /* events to be read */
	struct list_head pending;  /* read, not yet applied to the books */
	_Atomic uint32_t refs;     /* handlers inside */
	struct list_head stuck;    /* accesses that wait for an answer */
};

struct mmu_ops {
	int (*proc_init)(struct sim_proc *p);
	void (*proc_free)(struct sim_proc *p);
	/* Before the books go: the hardware forgets everything. */
	void (*exit)(struct sim_proc *p);
	void (*kill)(struct sim_proc *p);
	int (*touch)(struct sim_proc *p, uint64_t addr, bool write,
		     void **data);
	int (*mmap)(struct sim_proc *p, uint64_t start, uint64_t end,
		    uint32_t flags, bool late);
	int (*reg)(struct sim_proc *p, uint64_t start, uint64_t end);
	int (*munmap)(struct sim_proc *p, uint64_t start, uint64_t end);
	int (*dontneed)(struct sim_proc *p, uint64_t start, uint64_t end);
	int (*move)(struct sim_proc *p, uint64_t from, uint64_t to,
		    uint64_t len);
	int (*grow)(struct sim_proc *p, uint64_t start, uint64_t end);
	int (*mlock)(struct sim_proc *p, uint64_t start, uint64_t end,
		     bool lock);
};

struct mmu {
	const struct mmu_ops *ops;
	struct prng prng;
	struct list_head procs;
	uint32_t next_id;
	uint64_t resident; /* uffd: registered pages in place */

	/* mmu_uffd.c: what the handlers read */
	struct list_head msgs;
	_Atomic uint32_t msg_word; /* raised for every message and event */
	_Atomic uint32_t stopping;
	_Atomic uint32_t nr_handlers;
};

/* The entry of addr by the walks remembered, or NULL. */
pte_t *sim__walk_miss(struct sim_proc *p, uint64_t addr, struct walk *w);
static inline pte_t *sim__walk(struct sim_proc *p, uint64_t addr)
{
	uint64_t tag = addr / PTE_TABLE_SPAN + 1;
	struct walk *w = &p->walk[tag % WALK_CACHE];

	if (__builtin_expect(w->tag != tag, 0))
		return sim__walk_miss(p, addr, w);
	return w->leaf + addr / PAGE_SIZE % (PTE_TABLE_SPAN / PAGE_SIZE);
}

/* One change of an address space's regions at a time, as under the kernel's
 * mmap_lock; faults do not take it. Sleeps. */
void sim__books_lock(struct sim_proc *p);
void sim__books_unlock(struct sim_proc *p);

extern const struct mmu_ops sim__mmu_bits, sim__mmu_uffd;

/* The host's calls. */
void sim__bits_map(struct weir_host *h, void *as, struct weir_vec *v,
		   unsigned nr);
void sim__bits_unmap(struct weir_host *h, void *as, struct weir_vec *v,
		     unsigned nr);
void sim__bits_protect(struct weir_host *h, void *as, struct weir_vec *v,
		       unsigned nr);
void sim__bits_wake(struct weir_host *h, void *as, uint64_t addr);
int sim__bits_poison(struct weir_host *h, void *as, uint64_t addr);
void sim__uffd_map(struct weir_host *h, void *as, struct weir_vec *v,
		   unsigned nr);
void sim__uffd_unmap(struct weir_host *h, void *as, struct weir_vec *v,
		     unsigned nr);
void sim__uffd_protect(struct weir_host *h, void *as, struct weir_vec *v,
		       unsigned nr);
void sim__uffd_wake(struct weir_host *h, void *as, uint64_t addr);
int sim__uffd_poison(struct weir_host *h, void *as, uint64_t addr);

/* uffd: starts and stops the tasks that read messages. */
int sim__uffd_start(struct sim *s);
void sim__uffd_stop(struct sim *s);

/* The frame is gone from the books while the machine still shows the page: a
 * drop that was told before it was done. */
void sim__mmu_orphan(struct sim_proc *p, uint64_t addr, pfn_t pfn);

/* Time of one access passes; others may get a turn. */
void sim__touch_point(struct sim *s);

#endif
