/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "host/sim/sim_internal.h"

#define RAM_SMALL  (16u << 20) /* bytes */
#define HUGE_BYTES ((size_t)2 << 20)

/*
 * Zeroed, populated when touched, in large pages where the machine has them:
 * engine and MMU go through these arrays without any order, and would miss the
 * processor's translation cache at every step.
 */
void *sim__memory(size_t bytes)
{
	size_t want = bytes + HUGE_BYTES;
	char *p = mmap(NULL, want, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t head, tail;

	if (p == MAP_FAILED)
		return NULL;
	head = -(uintptr_t)p % HUGE_BYTES;
	tail = HUGE_BYTES - head;
	if (head)
		munmap(p, head);
	tail &= ~(size_t)(PAGE_SIZE - 1);
	if (tail)
		munmap(p + want - tail, tail);
	p += head;
	madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

int sim__ram_init(struct sim *s)
{
	struct ram *r = &s->ram;
	static const size_t bytes[] = {0, sizeof(uint64_t), PAGE_SIZE};

	for (unsigned n = 0; n < s->cfg.nodes; n++)
		for (unsigned z = 0; z < MAX_ZONES; z++)
			r->nr += s->cfg.zone_pages[n][z];
	r->page_bytes = bytes[s->cfg.contents];
	r->size = (size_t)r->nr * PAGE_SIZE;
	/* A large memory is touched here and there, a small one all over: the
	 * heap gives that one back to the next machine without page faults. */
	r->mapped = r->size > RAM_SMALL;
	if (r->mapped)
		r->bytes = sim__memory(r->size);
	else
		r->bytes = aligned_alloc(PAGE_SIZE, r->size);
	if (!r->bytes)
		return -ENOMEM;
	if (!r->mapped)
		memset(r->bytes, RAM_POISON_FREE, r->size);
	if (s->cfg.contents == SIM_CONTENTS_NONE && s->cfg.mmu == SIM_MMU_BITS)
		return 0;
	r->stamp = calloc(r->nr, sizeof(*r->stamp));
	r->frame = calloc(r->nr, sizeof(*r->frame));
	return r->stamp && r->frame ? 0 : -ENOMEM;
}

void sim__ram_exit(struct sim *s)
{
	struct ram *r = &s->ram;

	if (r->bytes && r->mapped)
		munmap(r->bytes, r->size);
	else
		free(r->bytes);
	free(r->stamp);
	free(r->frame);
}

static void check_pfn(struct sim *s, pfn_t pfn)
{
	if (pfn >= s->ram.nr)
		sim__fail(s, "there is no frame %u", pfn);
}

void *sim__ram_data(struct sim *s, pfn_t pfn)
{
	switch (s->cfg.contents) {
	case SIM_CONTENTS_FULL:
		return s->ram.bytes + (size_t)pfn * PAGE_SIZE;
	case SIM_CONTENTS_STAMP:
		return &s->ram.stamp[pfn];
	default:
		return NULL;
	}
}

void sim__ram_poison(struct sim *s, pfn_t pfn, uint8_t byte)
{
	void *d = sim__ram_data(s, pfn);

	if (d)
		memset(d, byte, s->ram.page_bytes);
}

void *sim__ram_direct(struct sim *s, pfn_t pfn)
{
	check_pfn(s, pfn);
	return s->ram.bytes + (size_t)pfn * PAGE_SIZE;
}

void *sim__ram_contents(struct sim *s, pfn_t pfn)
{
	check_pfn(s, pfn);
	if (s->ram.frame && s->ram.frame[pfn].owner)
		sim__fail(s, "contents of frame %u asked for, in place at %llx",
			  pfn, (unsigned long long)s->ram.frame[pfn].addr);
	if (s->cfg.contents != SIM_CONTENTS_FULL)
		return NULL;
	return s->ram.bytes + (size_t)pfn * PAGE_SIZE;
}

void sim__ram_release(struct sim *s, pfn_t pfn, unsigned nr)
{
	check_pfn(s, pfn + nr - 1);
	if (!s->ram.frame)
		return;
	for (pfn_t i = pfn; i < pfn + nr; i++) {
		struct ram_frame *f = &s->ram.frame[i];

		if (f->reads || f->writes)
			sim__fail(s, "frame %u freed under I/O", i);
		if (f->owner) {
			sim__mmu_orphan(f->owner, f->addr, i);
			f->owner = NULL;
		}
		sim__ram_poison(s, i, RAM_POISON_FREE);
		if (s->cfg.contents == SIM_CONTENTS_FULL)
			continue;
		/* page tables and slabs of old must not look alive either */
		memset(sim__ram_direct(s, i), RAM_POISON_FREE, PAGE_SIZE);
	}
}

void sim__ram_io(struct sim *s, pfn_t pfn, bool write, int delta)
{
	struct ram_frame *f;

	check_pfn(s, pfn);
	if (!s->ram.frame)
		return;
	f = &s->ram.frame[pfn];
	if (delta > 0 && f->owner)
		sim__fail(s, "I/O on frame %u, in place at %llx", pfn,
			  (unsigned long long)f->addr);
	if (delta > 0 && (f->reads || (f->writes && !write)))
		sim__fail(s, "two I/Os on frame %u", pfn);
	if (write)
		f->writes = (uint16_t)(f->writes + delta);
	else
		f->reads = (uint16_t)(f->reads + delta);
}

void sim__ram_check_map(struct sim *s, pfn_t pfn)
{
	const struct ram_frame *f;

	check_pfn(s, pfn);
	if (!s->ram.frame)
		return;
	f = &s->ram.frame[pfn];
	if (f->owner)
		sim__fail(s, "frame %u mapped twice: in place at %llx", pfn,
			  (unsigned long long)f->addr);
	if (f->reads)
		sim__fail(s, "frame %u mapped while it is being read", pfn);
}
