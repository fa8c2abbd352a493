/* SPDX-License-Identifier: MIT */
/* The hardware's pages (mmu_uffd.c), and messages and events with the tasks
 * that read them (uffd.c). */
#ifndef WEIR_SIM_UFFD_H
#define WEIR_SIM_UFFD_H

#include "host/sim/mmu.h"

/* An access that waits for an answer this often is a livelock. */
#define TRIES_MAX 20000

enum {
	HW_MAPPED = 1 << 0,     /* the program has a mapping here */
	HW_REGISTERED = 1 << 1, /* with userfaultfd */
	HW_PRESENT = 1 << 2,
	HW_WRITE = 1 << 3,
	HW_LOCKED = 1 << 4,
	HW_POISON = 1 << 5,
	HW_BOOKS = 1 << 6,  /* the host has told the engine of the mapping */
	HW_COUNTED = 1 << 7 /* in mmu.resident: the engine has a frame for it */
};

struct hw_page {
	uint8_t flags;
	uint8_t region_flags; /* of the mmap */
	bool was_write;       /* being taken out: no writes meanwhile */
	pfn_t pfn;            /* PFN_NONE: not put there by the engine */
	uint64_t stamp;       /* contents, one of the two */
	void *page;
};

enum uffd_what { UFFD_UNMAP, UFFD_REMOVE, UFFD_REMAP, UFFD_OWN };

struct uffd_event {
	struct list_head link;
	enum uffd_what what;
	uint64_t start, to, len;
	uint8_t *known; /* REMAP: pages that the books know */
	_Atomic uint32_t read;
	unsigned holders;
};

/* On the stack of the access that waits. */
struct uffd_msg {
	struct list_head link; /* sim.mmu.msgs */
	struct sim_proc *p;
	uint64_t addr;
	unsigned flags; /* FAULT_* */
	bool queued;
};

struct stuck {
	struct list_head link; /* sim_proc.stuck */
	uint64_t addr;
	_Atomic uint32_t word;
};

bool sim__event_covers(const struct uffd_event *ev, uint64_t addr);
void sim__event_free(struct uffd_event *ev);

/* Something is to be read. */
void sim__uffd_ring(struct sim *s);
/* Posts and waits for the reader. 0, or -EINTR when killed meanwhile. Takes
 * `known`. */
int sim__uffd_tell(struct sim_proc *p, enum uffd_what what, uint64_t start,
		   uint64_t to, uint64_t len, uint8_t *known);
/* Our own drop: told, read, of no consequence. */
void sim__uffd_tell_own(struct sim_proc *p);

/* The page counts against the budget from now on. */
void sim__uffd_count(struct sim_proc *p, struct hw_page *h);

/* Books: the pages of the range that they do not know yet. 0 or -errno. */
int sim__uffd_enter_range(struct sim_proc *p, uint64_t start, uint64_t end);
/* The same, and what is resident with it. */
int sim__uffd_adopt(struct sim_proc *p, uint64_t start, uint64_t end);
int sim__uffd_mlocked(struct sim_proc *p, uint64_t start, uint64_t end,
		      bool lock);

#endif
