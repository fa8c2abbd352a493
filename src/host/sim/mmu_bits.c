/* SPDX-License-Identifier: MIT */
/*
 * A machine with an accessed bit: it walks the engine's page tables and uses
 * an entry that is PRESENT and neither HINT nor BUSY, setting ACCESSED and
 * DIRTY in it. Contents never move: the frame is where they are, so map and
 * unmap have nothing to do. System calls are the engine's own.
 */
#include <errno.h>
#include <string.h>

#include "engine/aspace.h"
#include "engine/fault.h"
#include "engine/pgtable.h"
#include "host/sim/sim_internal.h"

/* An access that faults this often without getting through is a livelock. */
#define TRIES_MAX 20000

static int bits_touch(struct sim_proc *p, uint64_t addr, bool write,
		      void **data)
{
	struct sim *s = p->sim;

	for (unsigned try = 0; try < TRIES_MAX; try++) {
		unsigned flags = write ? FAULT_WRITE : 0;
		uint64_t v = 0;
		pte_t *pte;
		int rc;

		if (p->killed)
			return -EINTR;
		sim__touch_point(s);
		/* the machine takes no lock; no task switches here */
		pte = weir__pte(p->as, addr);
		if (pte)
			v = *pte;
		if ((v & (PTE_PRESENT | PTE_HINT | PTE_BUSY)) == PTE_PRESENT) {
			if (!write || (v & PTE_WRITE)) {
				*pte |= PTE_ACCESSED | (write ? PTE_DIRTY : 0);
				*data = sim__ram_data(s, pte_pfn(v));
				return 0;
			}
			flags |= FAULT_WP;
		}
		sim__pass(&s->sched, s->cfg.fault_ns);
		rc = weir__fault(s->engine, p->as, addr & PAGE_MASK, flags);
		if (rc == -EAGAIN)
			sim__yield(s);
		else if (rc)
			return p->killed ? -EINTR : rc;
	}
	sim__fail(s, "no progress: the access to %llx never gets through",
		  (unsigned long long)addr);
}

static int bits_none(struct sim_proc *p)
{
	return 0;
}

static void bits_nothing(struct sim_proc *p)
{
}

static int bits_mmap(struct sim_proc *p, uint64_t start, uint64_t end,
		     uint32_t flags, bool late)
{
	int rc;

	sim__books_lock(p);
	rc = weir__region_add(p->as, start, end, flags);
	sim__books_unlock(p);
	return rc;
}

static int bits_reg(struct sim_proc *p, uint64_t start, uint64_t end)
{
	return 0;
}

static int bits_munmap(struct sim_proc *p, uint64_t start, uint64_t end)
{
	int rc;

	sim__books_lock(p);
	rc = weir__aspace_unmap(p->as, start, end);
	sim__books_unlock(p);
	return rc;
}

static int bits_dontneed(struct sim_proc *p, uint64_t start, uint64_t end)
{
	return weir__aspace_zap(p->as, start, end);
}

static int bits_move(struct sim_proc *p, uint64_t from, uint64_t to,
		     uint64_t len)
{
	int rc;

	sim__books_lock(p);
	rc = weir__aspace_move(p->as, from, to, len);
	sim__books_unlock(p);
	return rc;
}

static int bits_grow(struct sim_proc *p, uint64_t start, uint64_t end)
{
	int rc;

	sim__books_lock(p);
	rc = weir__region_grow(p->as, start, end);
	sim__books_unlock(p);
	return rc;
}

static int bits_mlock(struct sim_proc *p, uint64_t start, uint64_t end,
		      bool lock)
{
	int rc;

	sim__books_lock(p);
	rc = weir__aspace_mlock(p->as, start, end, lock);
	sim__books_unlock(p);
	return rc;
}

const struct mmu_ops sim__mmu_bits = {
    .proc_init = bits_none,
    .proc_free = bits_nothing,
    .exit = bits_nothing,
    .kill = bits_nothing,
    .touch = bits_touch,
    .mmap = bits_mmap,
    .reg = bits_reg,
    .munmap = bits_munmap,
    .dontneed = bits_dontneed,
    .move = bits_move,
    .grow = bits_grow,
    .mlock = bits_mlock,
};

void sim__bits_map(struct weir_host *h, void *as, struct weir_vec *v,
		   unsigned nr)
{
	struct sim *s = sim__of(h);

	sim__preempt(s);
	for (unsigned i = 0; i < nr; i++) {
		v[i].status = 0;
		if (prng_chance(&s->mmu.prng, s->cfg.rates.map_again)) {
			v[i].status = -EAGAIN;
			continue;
		}
		sim__ram_check_map(s, v[i].pfn);
		if (v[i].flags & VEC_ZERO)
			sim__ram_poison(s, v[i].pfn, 0);
	}
	sim__preempt(s);
}

void sim__bits_unmap(struct weir_host *h, void *as, struct weir_vec *v,
		     unsigned nr)
{
	struct sim *s = sim__of(h);

	sim__preempt(s);
	for (unsigned i = 0; i < nr; i++)
		v[i].status = prng_chance(&s->mmu.prng, s->cfg.rates.unmap_busy)
				  ? -EBUSY
				  : 0;
	sim__preempt(s);
}

void sim__bits_protect(struct weir_host *h, void *as, struct weir_vec *v,
		       unsigned nr)
{
	sim__preempt(sim__of(h));
	for (unsigned i = 0; i < nr; i++)
		v[i].status = 0;
	sim__preempt(sim__of(h));
}

void sim__bits_wake(struct weir_host *h, void *as, uint64_t addr)
{
}

int sim__bits_poison(struct weir_host *h, void *as, uint64_t addr)
{
	return 0;
}
