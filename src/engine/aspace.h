/* SPDX-License-Identifier: MIT */
/*
 * Address spaces: regions, anonymous and of files, and what munmap, madvise,
 * mremap, mlock and fork do to them.
 *
 * All functions take the aspace lock themselves and may sleep (an entry may be
 * BUSY). Addresses are page aligned; end is exclusive; -EINVAL otherwise.
 *
 * Each operation goes on in steps, each step whole under the lock. Faults and
 * reclaim may run between them; two operations at once that change regions
 * (neighbours merge), or on overlapping ranges, are the host's to avoid. What a
 * fault may count on:
 *   - while an entry is BUSY, some region covers its address and its page
 *     table stays. The region may have been split, merged or given other
 *     flags meanwhile: look it up again with weir__region_find.
 *   - an address without a region never gets an entry.
 *   - at the target of a move, pages not yet moved are BUSY (PTE_RESERVED):
 *     a fault there waits for the page.
 */
#ifndef WEIR_ENGINE_ASPACE_H
#define WEIR_ENGINE_ASPACE_H

#include "engine/types.h"

/* 0 and *out, or -ENOMEM. host is the cookie handed to the host's calls. */
int weir__aspace_create(struct engine *e, void *host, struct aspace **out);
/* Unmaps everything, takes it off engine.aspaces and drops the creator's
 * reference (aspace.users). */
void weir__aspace_destroy(struct aspace *as);
/* Who found it in engine.aspaces raises users under aspaces_lock and gives it
 * back here; the last one frees. */
void weir__aspace_put(struct aspace *as);

/* 0, -EINVAL (unaligned, empty), -EEXIST (overlaps a region), -ENOMEM.
 * Merges with a neighbour of the same flags and anon_vma. */
int weir__region_add(struct aspace *as, uint64_t start, uint64_t end,
		     uint32_t flags);
/*
 * mmap of a file from its page pgoff on. With REGION_SHARED what is written
 * goes to the file; without, to copies that are the address space's own. Pages
 * past the file's end fault (-ENXIO). The errors above; -EOPNOTSUPP on a machine
 * without accessed bits, where a page can stand in one place only.
 */
int weir__region_add_file(struct aspace *as, uint64_t start, uint64_t end,
			  uint32_t flags, struct file *f, uint64_t pgoff);
/* => lock held. The region that holds addr, or NULL. */
struct region *weir__region_find(struct aspace *as, uint64_t addr);
/* Grows the region that ends at start (mremap in place). 0, -ENOENT, -EEXIST.*/
int weir__region_grow(struct aspace *as, uint64_t start, uint64_t end);
/* Sets and clears REGION_* flags, splitting at the edges; gaps are skipped.
 * REGION_LOCKED locks and unlocks the resident pages too. Entries keep their
 * WRITE bit: it says whether the machine traps, not what the program may do.
 * -ENOMEM (a part of the range may be done). */
int weir__region_flags(struct aspace *as, uint64_t start, uint64_t end,
		       uint32_t set, uint32_t clear);

/* munmap: entries dropped, regions trimmed or split. -ENOMEM only for a hole
 * in the middle of one region, with nothing changed. */
int weir__aspace_unmap(struct aspace *as, uint64_t start, uint64_t end);
/* MADV_DONTNEED: entries dropped, regions stay. */
int weir__aspace_zap(struct aspace *as, uint64_t start, uint64_t end);
/* Only the entries of regions that map the file, from its page `first` on,
 * copies included: what a truncation takes. */
void weir__aspace_zap_file(struct aspace *as, uint64_t start, uint64_t end,
			   struct mapping *m, uint64_t first);
/*
 * msync. MSYNC_SYNC: shared file regions are written and waited for. ASYNC
 * checks its arguments only: what is dirty is known already. 0; -EINVAL; -EBUSY
 * (INVALIDATE of a locked region); -ENOMEM (a hole, everything else is done);
 * -EIO.
 */
enum { MSYNC_ASYNC = 1, MSYNC_INVALIDATE = 2, MSYNC_SYNC = 4 };
int weir__aspace_msync(struct aspace *as, uint64_t start, uint64_t end,
		       unsigned flags);
/* mremap to another place: entries and regions move. Target is unmapped
 * first. -ENOENT when [from, from+len) is not all regions, -EINVAL when the
 * two ranges overlap, -ENOMEM (regions already moved stay moved). */
int weir__aspace_move(struct aspace *as, uint64_t from, uint64_t to,
		      uint64_t len);
/* mlock / munlock: weir__region_flags with REGION_LOCKED. Does not fault pages
 * in. */
int weir__aspace_mlock(struct aspace *as, uint64_t start, uint64_t end,
		       bool lock);
/*
 * fork: child is empty and of the same engine. Present private pages become
 * shared read-only in both, swap entries get one more count, regions are
 * linked to every anon_vma of the parent's. The caller keeps the parent from
 * running meanwhile. The host's protection of the parent's pages follows from
 * the entries: protect is called here for the pages that were writable.
 * REGION_LOCKED is not inherited. 0; -ENOMEM; -EAGAIN when the host would not
 * protect a page; -EINTR when the parent was ended and its memory is being
 * taken. Where it fails the child is empty again, and the parent has lost
 * nothing but the right to write some pages without a trap.
 */
int weir__aspace_fork(struct aspace *parent, struct aspace *child);

/* The counter that an entry which maps the frame belongs to. */
static inline _Atomic int64_t *weir__entry_count(struct aspace *as,
						 const struct frame *f)
{
	return f->mapping & MAPPING_ANON ? &as->nr_anon : &as->nr_file;
}

/* Entries against frames, counters against entries, tree order. */
bool weir__aspace_is_valid(struct aspace *as);

#endif
