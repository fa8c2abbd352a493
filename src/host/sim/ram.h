/* SPDX-License-Identifier: MIT */
/*
 * The frames of the simulated machine and where their contents are. Buffers of
 * frames whose contents went elsewhere are overwritten, so that whoever reads a
 * stale one is found.
 */
#ifndef WEIR_SIM_RAM_H
#define WEIR_SIM_RAM_H

#include "engine/types.h"

struct sim;
struct sim_proc;

#define RAM_POISON_FREE 0xdb /* given back to the free lists */
#define RAM_POISON_AWAY 0xa5 /* contents stand at the program's address */

/* Kept only where there are contents to watch. */
struct ram_frame {
	struct sim_proc *owner; /* in place there (uffd), else NULL */
	uint64_t addr;
	uint16_t reads, writes; /* pages of running I/O that name it */
};

struct ram {
	uint8_t *bytes; /* 4096 for each frame, populated when touched */
	size_t size;
	bool mapped;     /* bytes came from mmap, not from the heap */
	uint64_t *stamp; /* SIM_CONTENTS_STAMP */
	struct ram_frame *frame;
	uint64_t nr;
	size_t page_bytes;
};

/* NULL when refused; ends with munmap(). */
void *sim__memory(size_t bytes);
int sim__ram_init(struct sim *s);
void sim__ram_exit(struct sim *s);

/* The contents in hand: page_bytes of them; NULL when there are none. */
void *sim__ram_data(struct sim *s, pfn_t pfn);
void sim__ram_poison(struct sim *s, pfn_t pfn, uint8_t byte);

/* The host's entries. */
void *sim__ram_direct(struct sim *s, pfn_t pfn);
void *sim__ram_contents(struct sim *s, pfn_t pfn);
void sim__ram_release(struct sim *s, pfn_t pfn, unsigned nr);

/* Running I/O, for the checks of who may touch the frame. */
void sim__ram_io(struct sim *s, pfn_t pfn, bool write, int delta);
/* map() of a frame: it is in hand and nobody reads into it. */
void sim__ram_check_map(struct sim *s, pfn_t pfn);

#endif
