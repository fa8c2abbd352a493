/* SPDX-License-Identifier: MIT */
/* Faults, swap-in, and pages that were resident before the engine came. */
#ifndef WEIR_ENGINE_FAULT_H
#define WEIR_ENGINE_FAULT_H

#include "engine/types.h"

enum { FAULT_WRITE = 1 << 0, FAULT_WP = 1 << 1 };

/*
 * The program touched addr and the machine trapped. May sleep. When it
 * returns 0 the access can be tried again (the host has been told to wake).
 *   -EFAULT   no region there; or its
 *            owner was ended and its memory is being taken (oomreap.c)
 *   -ENXIO    the region maps a file, and this is past its end (SIGBUS)
 *   -EIO      the page's contents are lost (read error, bad checksum); the
 *             page is poisoned. Or a page of a file could not be read: the
 *             next touch tries again
 *   -ENOMEM   no frame to be had, out of memory
 *   -EAGAIN   the address space is changing: apply pending changes, then
 *             call again
 */
int weir__fault(struct engine *e, struct aspace *as, uint64_t addr,
		unsigned flags);

/*
 * Late registration: [start, end) was in use before. present[i] says which
 * pages are resident (bit i of the map). They enter the books as mapped and
 * dirty. The frames they need are reclaimed first if need be. 0 or -ENOMEM
 * (pages from *done on are not in the books).
 */
int weir__adopt(struct engine *e, struct aspace *as, uint64_t start,
		const uint64_t *present, uint64_t nr, uint64_t *done);

/* Brings every evicted page of [start, end) back in place (unmanage, or a
 * child that nobody serves). 0, -EIO, -ENOMEM; -EAGAIN: apply pending changes,
 * then call again. */
int weir__populate(struct engine *e, struct aspace *as, uint64_t start,
		   uint64_t end);

/*
 * The machine has lost its write traps for [start, end) (a process after fork):
 * pages that were mapped clean may be written unnoticed and count as dirty.
 * No other task may be at work on the range.
 */
void weir__forget_clean(struct engine *e, struct aspace *as, uint64_t start,
			uint64_t end);

#endif
