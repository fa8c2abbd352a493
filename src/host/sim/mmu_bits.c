/* SPDX-License-Identifier: MIT */
/*
 * A machine with an accessed bit: it walks the engine's page tables and uses
 * an entry that is PRESENT and neither HINT nor BUSY, setting ACCESSED and
 * DIRTY in it. Contents never move: the frame is where they are, so map and
 * unmap have nothing to do. System calls are the engine's own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/aspace.h"
#include "engine/fault.h"
#include "engine/pgtable.h"
#include "engine/swap.h"
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

/* --- many accesses -------------------------------------------------------- */

/*
 * What a hit costs is what a replay costs, so the machine does here what
 * hardware does: it remembers walks, looks ahead, and goes to the engine only
 * when the entry has no answer. Time is added up and told to the scheduler
 * before anything can happen: no timer falls due inside a run of hits, nor does
 * the task get more than a slice ahead of the others.
 */
#define LOOK_AHEAD 24
#define LOOK_NEAR  12

static void walk_forget(struct sim_proc *p)
{
	if (p->walk)
		memset(p->walk, 0, WALK_CACHE * sizeof(*p->walk));
}

pte_t *sim__walk_miss(struct sim_proc *p, uint64_t addr, struct walk *w)
{
	pte_t *pte = weir__pte(p->as, addr);

	if (!pte)
		return NULL;
	w->tag = addr / PTE_TABLE_SPAN + 1;
	w->leaf = pte - (addr / PAGE_SIZE) % (PTE_TABLE_SPAN / PAGE_SIZE);
	return pte;
}

/* Accesses that may begin before somebody else has to have a turn. */
static size_t room_for(const struct sched *sc, uint64_t pace)
{
	uint64_t next = sim__clock_next(&sc->clock), ns;

	if (sc->nr_run)
		ns = SLICE_NS;
	else if (next == UINT64_MAX)
		return SIZE_MAX;
	else
		ns = next > sc->clock.now ? next - sc->clock.now : 0;
	return pace ? ns / pace + 1 : SIZE_MAX;
}

static inline uint64_t pte_relaxed(pte_t *pte)
{
	return atomic_load_explicit(pte, memory_order_relaxed);
}

static void look_at_slot(struct sim *s, swp_entry_t e)
{
	unsigned type = swp_type(e);

	weir__swap_prefetch(s->engine, e);
	if (type < SIM_SWAP_MAX && s->disk.area[type].state)
		__builtin_prefetch(&s->disk.area[type].state[swp_offset(e)]);
}

/* Hits from access[0] on, nr at most; there are `known` to look ahead to. */
static size_t hits(struct sim_proc *p, const uint64_t *access, size_t nr,
		   size_t known)
{
	const uint64_t mask = PTE_PRESENT | PTE_HINT | PTE_BUSY;
	size_t i;

	for (i = 0; i < nr; i++) {
		uint64_t a = access[i], v, need = PTE_PRESENT, set;
		pte_t *pte;

		if (i + LOOK_AHEAD < known) {
			pte = sim__walk(p, access[i + LOOK_AHEAD]);
			__builtin_prefetch((const void *)pte, 1);
			pte = sim__walk(p, access[i + LOOK_NEAR]);
			v = pte ? pte_relaxed(pte) : 0;
			if (__builtin_expect(v & PTE_SWAP, 0))
				look_at_slot(p->sim, pte_swap(v));
		}
		pte = sim__walk(p, a);
		if (!pte)
			break;
		v = pte_relaxed(pte);
		set = PTE_ACCESSED;
		if (a & 1) {
			need |= PTE_WRITE;
			set |= PTE_DIRTY;
		}
		if ((v & (mask | (need & PTE_WRITE))) != need)
			break;
		/* nobody else runs here */
		if ((v & set) != set)
			atomic_store_explicit(pte, v | set,
					      memory_order_relaxed);
	}
	return i;
}

size_t sim_touch_many(struct sim_proc *p, const uint64_t *access, size_t nr,
		      uint64_t pace, int *rc)
{
	struct sim_proc *before = sim__work_for(p->sim, p);
	struct sim *s = p->sim;
	struct sched *sc = &s->sched;
	size_t done = 0, room, n;
	void *data;

	*rc = 0;
	if (!p->walk)
		p->walk = calloc(WALK_CACHE, sizeof(*p->walk));
	if (!p->walk)
		abort();
	while (done < nr) {
		room = room_for(sc, pace);
		if (room > nr - done)
			room = nr - done;
		n = hits(p, access + done, room, nr - done);
		sim__pass(sc, n * pace);
		done += n;
		if (n == room) {
			if (done == nr)
				break;
			sim__preempt(s);
			continue;
		}
		sim__pass(sc, pace);
		*rc = bits_touch(p, access[done] & ~(uint64_t)1,
				 access[done] & 1, &data);
		if (*rc)
			break;
		done++;
	}
	sim__work_for(s, before);
	return done;
}

static int bits_none(struct sim_proc *p)
{
	return 0;
}

static void bits_free(struct sim_proc *p)
{
	free(p->walk);
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
	walk_forget(p); /* tables may have gone */
	sim__books_unlock(p);
	return rc;
}

static int bits_dontneed(struct sim_proc *p, uint64_t start, uint64_t end)
{
	int rc = weir__aspace_zap(p->as, start, end);

	walk_forget(p);
	return rc;
}

static int bits_move(struct sim_proc *p, uint64_t from, uint64_t to,
		     uint64_t len)
{
	int rc;

	sim__books_lock(p);
	rc = weir__aspace_move(p->as, from, to, len);
	walk_forget(p);
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
    .proc_free = bits_free,
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

	sim__point(s);
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
	sim__point(s);
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
