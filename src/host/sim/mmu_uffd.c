/* SPDX-License-Identifier: MIT */
/*
 * A machine without an accessed bit and with a page table of its own: what
 * userfaultfd shows to the live host.
 *
 * The hardware's page (struct hw_page) changes by the host's map, unmap and
 * protect, and by the program's own system calls. Those first change the
 * hardware and then tell it: an event is posted, and the program stands still
 * until a handler has read it. Three stretches of time follow, and each has its
 * answer to map() and unmap():
 *
 *   posted, not read      mmap_changing: -EAGAIN for the whole process
 *   read, not applied     -EAGAIN for the event's range: the books still
 *                         describe what is no longer there
 *   applied               the books know
 *
 * MADV_DONTNEED on Linux is the exception (cfg.remove_late): it tells first,
 * waits for the reader, and only then drops. So the books may have let go of a
 * page that the program still reaches for a moment, and a page that was put
 * back in between is dropped with no word about it.
 *
 * An access that finds nothing, or may not write, posts a message and waits.
 * Handlers take messages, apply events that are pending, and call the engine.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/aspace.h"
#include "engine/fault.h"
#include "host/sim/sim_internal.h"
#include "host/sim/uffd.h"

static struct hw_page *hw_of(struct sim_proc *p, uint64_t addr)
{
	uint64_t i = (addr - SIM_BASE) / PAGE_SIZE;

	return addr >= SIM_BASE && i < p->span ? &p->hw[i] : NULL;
}

static void *hw_data(struct sim_proc *p, struct hw_page *h)
{
	switch (p->sim->cfg.contents) {
	case SIM_CONTENTS_FULL:
		return h->page;
	case SIM_CONTENTS_STAMP:
		return &h->stamp;
	default:
		return NULL;
	}
}

void sim__uffd_count(struct sim_proc *p, struct hw_page *h)
{
	if ((h->flags & (HW_PRESENT | HW_COUNTED)) != HW_PRESENT)
		return;
	h->flags |= HW_COUNTED;
	p->sim->mmu.resident++;
}

/* Zeros stand at the address. */
static void hw_fill(struct sim_proc *p, struct hw_page *h, bool write,
		    pfn_t pfn)
{
	if (p->sim->cfg.contents == SIM_CONTENTS_FULL) {
		h->page = calloc(1, PAGE_SIZE);
		if (!h->page)
			abort();
	}
	h->stamp = 0;
	h->pfn = pfn;
	h->flags |= HW_PRESENT | (write ? HW_WRITE : 0);
	if (pfn != PFN_NONE)
		sim__uffd_count(p, h);
}

/* Nothing stands there any more; the mapping itself stays. */
static void hw_drop(struct sim_proc *p, struct hw_page *h)
{
	struct sim *s = p->sim;

	if (!(h->flags & HW_PRESENT))
		return;
	free(h->page);
	h->page = NULL;
	if (h->flags & HW_COUNTED)
		s->mmu.resident--;
	h->flags &= (uint8_t) ~(HW_PRESENT | HW_WRITE | HW_COUNTED);
	if (h->pfn != PFN_NONE)
		s->ram.frame[h->pfn].owner = NULL;
	h->pfn = PFN_NONE;
}

void sim__mmu_orphan(struct sim_proc *p, uint64_t addr, pfn_t pfn)
{
	struct hw_page *h = p->hw ? hw_of(p, addr) : NULL;

	if (!h || h->pfn != pfn)
		return;
	if (!(p->sim->cfg.remove_late) && !p->dead)
		sim__fail(p->sim, "frame %u freed while in place at %llx", pfn,
			  (unsigned long long)addr);
	h->pfn = PFN_NONE;
}

/* --- accesses that wait -------------------------------------------------- */

/* Whoever waits at one of [start, end) tries again. */
static void wake_range(struct sim_proc *p, uint64_t start, uint64_t end)
{
	struct stuck *w;

	list_for_each_entry (w, &p->stuck, link) {
		if (w->addr < start || w->addr >= end)
			continue;
		w->word = 1;
		sim__wake(p->sim, &w->word, UINT32_MAX);
	}
}

static int uffd_touch(struct sim_proc *p, uint64_t addr, bool write,
		      void **data)
{
	struct sim *s = p->sim;

	for (unsigned try = 0; try < TRIES_MAX; try++) {
		struct hw_page *h = hw_of(p, addr);
		struct stuck w = {.addr = addr & PAGE_MASK};
		struct uffd_msg m = {.p = p, .addr = addr & PAGE_MASK};

		if (p->killed)
			return -EINTR;
		sim__touch_point(s);
		if (p->killed)
			return -EINTR;
		if (!h || !(h->flags & HW_MAPPED))
			return -EFAULT;
		if (h->flags & HW_POISON)
			return -EIO;
		if (!(h->flags & (HW_PRESENT | HW_REGISTERED)))
			hw_fill(p, h, true, PFN_NONE);
		if ((h->flags & HW_PRESENT) &&
		    (!write || (h->flags & HW_WRITE))) {
			*data = hw_data(p, h);
			return 0;
		}
		if (w.word)
			continue;
		m.flags = write ? FAULT_WRITE : 0;
		if (h->flags & HW_PRESENT)
			m.flags |= FAULT_WP;
		list_add(&w.link, &p->stuck);
		list_add_tail(&m.link, &s->mmu.msgs);
		m.queued = true;
		sim__uffd_ring(s);
		while (!w.word && !p->killed)
			sim__wait(s, &w.word, 0, 0);
		list_del(&w.link);
		if (m.queued)
			list_del(&m.link);
	}
	sim__fail(s, "no progress: the access to %llx never gets through",
		  (unsigned long long)addr);
}

static void uffd_kill(struct sim_proc *p)
{
	struct uffd_event *ev;

	wake_range(p, 0, UINT64_MAX);
	list_for_each_entry (ev, &p->posted, link)
		sim__wake(p->sim, &ev->read, UINT32_MAX);
}

/* --- the host's calls ---------------------------------------------------- */

static int may_change(struct sim_proc *p, struct hw_page *h, uint64_t addr)
{
	struct uffd_event *ev;

	if (p->dead)
		return -ENOENT;
	if (p->changing)
		return -EAGAIN;
	list_for_each_entry (ev, &p->pending, link)
		if (sim__event_covers(ev, addr))
			return -EAGAIN;
	if (!h || (h->flags & (HW_MAPPED | HW_REGISTERED)) !=
		      (HW_MAPPED | HW_REGISTERED))
		return -ENOENT;
	return 0;
}

static int map_one(struct sim_proc *p, struct weir_vec *v)
{
	struct sim *s = p->sim;
	struct hw_page *h = hw_of(p, v->addr);
	int rc = may_change(p, h, v->addr);

	if (rc)
		return rc;
	if (prng_chance(&s->mmu.prng, s->cfg.rates.map_again))
		return -EAGAIN;
	if (h->flags & (HW_PRESENT | HW_POISON))
		return -EEXIST;
	sim__ram_check_map(s, v->pfn);
	hw_fill(p, h, v->flags & VEC_WRITE, v->pfn);
	if (!(v->flags & VEC_ZERO) && s->ram.page_bytes)
		memcpy(hw_data(p, h), sim__ram_data(s, v->pfn),
		       s->ram.page_bytes);
	sim__ram_poison(s, v->pfn, RAM_POISON_AWAY);
	s->ram.frame[v->pfn].owner = p;
	s->ram.frame[v->pfn].addr = v->addr;
	wake_range(p, v->addr, v->addr + PAGE_SIZE);
	return 0;
}

static void check_order(struct sim *s, const struct weir_vec *v, unsigned nr)
{
	if (sim__self(s)->nr_locks)
		sim__fail(s, "a host call that may sleep, under a spinlock");
	for (unsigned i = 0; i < nr; i++)
		if (v[i].addr % PAGE_SIZE || (i && v[i].addr <= v[i - 1].addr))
			sim__fail(s, "a batch out of order");
}

void sim__uffd_map(struct weir_host *hst, void *as, struct weir_vec *v,
		   unsigned nr)
{
	struct sim *s = sim__of(hst);

	check_order(s, v, nr);
	sim__preempt(s);
	for (unsigned i = 0; i < nr; i++) {
		v[i].status = (int16_t)map_one(as, &v[i]);
		sim__preempt(s);
	}
}

static int unmap_one(struct sim_proc *p, struct weir_vec *v)
{
	struct sim *s = p->sim;
	struct hw_page *h = hw_of(p, v->addr);
	int rc = may_change(p, h, v->addr);

	if (rc)
		return rc;
	if (!(h->flags & HW_PRESENT))
		return -ENOENT;
	if (h->flags & HW_LOCKED) {
		v->flags |= VEC_LOCKED;
		return -EPERM;
	}
	if (prng_chance(&s->mmu.prng, s->cfg.rates.unmap_busy))
		return -EBUSY;
	/* PFN_NONE: stood there before the engine came */
	if (h->pfn != v->pfn && h->pfn != PFN_NONE)
		sim__fail(s, "unmap of %llx names frame %u; frame %u is there",
			  (unsigned long long)v->addr, v->pfn, h->pfn);
	if (h->pfn == PFN_NONE && s->ram.frame[v->pfn].owner)
		sim__fail(s, "unmap of %llx into frame %u, in place elsewhere",
			  (unsigned long long)v->addr, v->pfn);
	if (s->ram.page_bytes)
		memcpy(sim__ram_data(s, v->pfn), hw_data(p, h),
		       s->ram.page_bytes);
	hw_drop(p, h);
	return 0;
}

void sim__uffd_unmap(struct weir_host *hst, void *as, struct weir_vec *v,
		     unsigned nr)
{
	struct sim *s = sim__of(hst);
	struct sim_proc *p = as;
	bool any = false;

	check_order(s, v, nr);
	/* first no more writes, then (others may run) the contents move out */
	for (unsigned i = 0; i < nr; i++) {
		struct hw_page *h = hw_of(p, v[i].addr);

		if (!h || !(h->flags & HW_WRITE))
			continue;
		h->flags &= (uint8_t)~HW_WRITE;
		h->was_write = true;
	}
	sim__preempt(s);
	for (unsigned i = 0; i < nr; i++) {
		uint64_t addr = v[i].addr;
		struct hw_page *h = hw_of(p, addr);

		v[i].status = (int16_t)unmap_one(p, &v[i]);
		any |= v[i].status == 0;
		if (!h || !h->was_write)
			continue;
		h->was_write = false;
		if (!(h->flags & HW_PRESENT))
			continue;
		/* what stays may be written again, as before */
		h->flags |= HW_WRITE;
		wake_range(p, addr, addr + PAGE_SIZE);
	}
	if (any && s->cfg.own_remove)
		sim__uffd_tell_own(p);
	sim__preempt(s);
}

void sim__uffd_protect(struct weir_host *hst, void *as, struct weir_vec *v,
		       unsigned nr)
{
	struct sim *s = sim__of(hst);
	struct sim_proc *p = as;

	check_order(s, v, nr);
	sim__preempt(s);
	for (unsigned i = 0; i < nr; i++) {
		struct hw_page *h = hw_of(p, v[i].addr);

		v[i].status = (int16_t)may_change(p, h, v[i].addr);
		if (v[i].status || !(h->flags & HW_PRESENT))
			continue;
		if (v[i].flags & VEC_WRITE) {
			h->flags |= HW_WRITE;
			wake_range(p, v[i].addr, v[i].addr + PAGE_SIZE);
		} else {
			h->flags &= (uint8_t)~HW_WRITE;
		}
	}
	sim__preempt(s);
}

void sim__uffd_wake(struct weir_host *hst, void *as, uint64_t addr)
{
	wake_range(as, addr & PAGE_MASK, (addr & PAGE_MASK) + PAGE_SIZE);
}

int sim__uffd_poison(struct weir_host *hst, void *as, uint64_t addr)
{
	struct sim_proc *p = as;
	struct hw_page *h = hw_of(p, addr);
	int rc = may_change(p, h, addr & PAGE_MASK);

	if (rc)
		return rc;
	if (h->flags & HW_PRESENT)
		return -EEXIST;
	h->flags |= HW_POISON;
	wake_range(p, addr & PAGE_MASK, (addr & PAGE_MASK) + PAGE_SIZE);
	return 0;
}

/* --- system calls -------------------------------------------------------- */

static int uffd_mmap(struct sim_proc *p, uint64_t start, uint64_t end,
		     uint32_t flags, bool late)
{
	if (!hw_of(p, start) || !hw_of(p, end - 1))
		return -ENOMEM;
	for (uint64_t a = start; a < end; a += PAGE_SIZE)
		if (hw_of(p, a)->flags & HW_MAPPED)
			return -EEXIST;
	for (uint64_t a = start; a < end; a += PAGE_SIZE) {
		struct hw_page *h = hw_of(p, a);

		*h = (struct hw_page){.pfn = PFN_NONE};
		h->flags = HW_MAPPED | (late ? 0 : HW_REGISTERED);
		h->region_flags = (uint8_t)flags;
	}
	return late ? 0 : sim__uffd_enter_range(p, start, end);
}

/* Pages that stood there before enter the books where they stand. */
static int uffd_reg(struct sim_proc *p, uint64_t start, uint64_t end)
{
	for (uint64_t a = start; a < end; a += PAGE_SIZE) {
		struct hw_page *h = hw_of(p, a);

		if (!h || !(h->flags & HW_MAPPED))
			return -EFAULT;
		if (h->flags & HW_REGISTERED)
			continue;
		h->flags |= HW_REGISTERED;
	}
	return sim__uffd_adopt(p, start, end);
}

static int uffd_munmap(struct sim_proc *p, uint64_t start, uint64_t end)
{
	for (uint64_t a = start; a < end; a += PAGE_SIZE) {
		struct hw_page *h = hw_of(p, a);

		hw_drop(p, h);
		*h = (struct hw_page){.pfn = PFN_NONE};
	}
	return sim__uffd_tell(p, UFFD_UNMAP, start, 0, end - start, NULL);
}

static void drop_range(struct sim_proc *p, uint64_t start, uint64_t end)
{
	for (uint64_t a = start; a < end; a += PAGE_SIZE) {
		hw_drop(p, hw_of(p, a));
		hw_of(p, a)->flags &= (uint8_t)~HW_POISON;
	}
}

static int uffd_dontneed(struct sim_proc *p, uint64_t start, uint64_t end)
{
	int rc;

	if (!p->sim->cfg.remove_late)
		drop_range(p, start, end);
	rc = sim__uffd_tell(p, UFFD_REMOVE, start, 0, end - start, NULL);
	if (p->sim->cfg.remove_late) {
		sim__preempt(p->sim);
		drop_range(p, start, end);
	}
	return rc;
}

static int uffd_move(struct sim_proc *p, uint64_t from, uint64_t to,
		     uint64_t len)
{
	uint8_t *known = calloc(1, len / PAGE_SIZE);

	if (!known)
		abort();
	for (uint64_t i = 0; i < len / PAGE_SIZE; i++) {
		struct hw_page *src = hw_of(p, from + i * PAGE_SIZE);
		struct hw_page *dst = hw_of(p, to + i * PAGE_SIZE);

		if (dst->flags & HW_MAPPED)
			sim__fail(p->sim, "mremap onto a mapping");
		*dst = *src;
		*src = (struct hw_page){.pfn = PFN_NONE};
		if (dst->pfn != PFN_NONE)
			p->sim->ram.frame[dst->pfn].addr = to + i * PAGE_SIZE;
		known[i] = !!(dst->flags & HW_BOOKS);
	}
	return sim__uffd_tell(p, UFFD_REMAP, from, to, len, known);
}

static int uffd_grow(struct sim_proc *p, uint64_t start, uint64_t end)
{
	struct hw_page *before = hw_of(p, start - PAGE_SIZE);

	if (!before || !(before->flags & HW_MAPPED) || !hw_of(p, end - 1))
		return -EFAULT;
	/* inherits the registration; nothing is told */
	for (uint64_t a = start; a < end; a += PAGE_SIZE) {
		struct hw_page *h = hw_of(p, a);

		if (h->flags & HW_MAPPED)
			return -EEXIST;
		*h = (struct hw_page){.pfn = PFN_NONE};
		h->flags = before->flags & (HW_MAPPED | HW_REGISTERED);
		h->region_flags = before->region_flags;
	}
	return 0;
}

static int uffd_mlock(struct sim_proc *p, uint64_t start, uint64_t end,
		      bool lock)
{
	for (uint64_t a = start; a < end; a += PAGE_SIZE) {
		struct hw_page *h = hw_of(p, a);

		if (!h || !(h->flags & HW_MAPPED))
			return -ENOMEM;
		if (lock)
			h->flags |= HW_LOCKED;
		else
			h->flags &= (uint8_t)~HW_LOCKED;
	}
	/* no event tells of it: what stands in front of the call does */
	sim__preempt(p->sim);
	return sim__uffd_mlocked(p, start, end, lock);
}

static int uffd_init(struct sim_proc *p)
{
	p->span = p->sim->cfg.span_pages;
	p->hw = calloc(p->span, sizeof(*p->hw));
	if (!p->hw)
		return -ENOMEM;
	for (uint64_t i = 0; i < p->span; i++)
		p->hw[i].pfn = PFN_NONE;
	return 0;
}

static void uffd_free(struct sim_proc *p)
{
	struct uffd_event *ev, *tmp;

	for (uint64_t i = 0; p->hw && i < p->span; i++)
		free(p->hw[i].page);
	free(p->hw);
	list_for_each_entry_safe (ev, tmp, &p->posted, link)
		sim__event_free(ev);
	list_for_each_entry_safe (ev, tmp, &p->pending, link)
		sim__event_free(ev);
}

static void uffd_exit(struct sim_proc *p)
{
	for (uint64_t i = 0; i < p->span; i++) {
		hw_drop(p, &p->hw[i]);
		p->hw[i].flags = 0;
	}
	/* handlers that still work for us end soon: no map works any more */
	while (p->refs)
		sim__wait(p->sim, &p->refs, p->refs, 0);
}

const struct mmu_ops sim__mmu_uffd = {
    .proc_init = uffd_init,
    .proc_free = uffd_free,
    .exit = uffd_exit,
    .kill = uffd_kill,
    .touch = uffd_touch,
    .mmap = uffd_mmap,
    .reg = uffd_reg,
    .munmap = uffd_munmap,
    .dontneed = uffd_dontneed,
    .move = uffd_move,
    .grow = uffd_grow,
    .mlock = uffd_mlock,
};
