/* SPDX-License-Identifier: MIT */
/*
 * Address spaces: private anonymous regions and what munmap, madvise, mremap,
 * mlock and fork do to them. Files and shared memory come with the page cache.
 *
 * All functions take the aspace lock themselves and may sleep (an entry may be
 * BUSY). Addresses are page aligned; end is exclusive.
 */
#ifndef WEIR_ENGINE_ASPACE_H
#define WEIR_ENGINE_ASPACE_H

#include "engine/types.h"

/* 0 and *out, or -ENOMEM. host is the cookie handed to the host's calls. */
int weir__aspace_create(struct engine *e, void *host, struct aspace **out);
/* Unmaps everything and frees it. */
void weir__aspace_destroy(struct aspace *as);

/* 0, -EINVAL (unaligned, empty), -EEXIST (overlaps a region), -ENOMEM.
 * Merges with a neighbour of the same flags and anon_vma. */
int weir__region_add(struct aspace *as, uint64_t start, uint64_t end,
		     uint32_t flags);
/* => lock held. The region that holds addr, or NULL. */
struct region *weir__region_find(struct aspace *as, uint64_t addr);
/* Grows the region that ends at start (mremap in place). 0, -ENOENT, -EEXIST.*/
int weir__region_grow(struct aspace *as, uint64_t start, uint64_t end);
/* Sets and clears REGION_* flags, splitting at the edges. -ENOMEM. */
int weir__region_flags(struct aspace *as, uint64_t start, uint64_t end,
		       uint32_t set, uint32_t clear);

/* munmap: entries dropped, regions trimmed or split. */
int weir__aspace_unmap(struct aspace *as, uint64_t start, uint64_t end);
/* MADV_DONTNEED: entries dropped, regions stay. */
int weir__aspace_zap(struct aspace *as, uint64_t start, uint64_t end);
/* mremap to another place: entries and regions move. Target is unmapped
 * first. -ENOENT when [from, from+len) is not all regions. */
int weir__aspace_move(struct aspace *as, uint64_t from, uint64_t to,
		      uint64_t len);
/* mlock / munlock: flags and the pages' state. Does not fault pages in. */
int weir__aspace_mlock(struct aspace *as, uint64_t start, uint64_t end,
		       bool lock);
/*
 * fork: child is empty and of the same engine. Present private pages become
 * shared read-only in both, swap entries get one more count, regions are
 * linked to every anon_vma of the parent's. The caller keeps the parent from
 * running meanwhile. The host's protection of the parent's pages follows from
 * the entries: protect is called here for the pages that were writable.
 */
int weir__aspace_fork(struct aspace *parent, struct aspace *child);

/* Entries against frames, counters against entries, tree order. */
bool weir__aspace_is_valid(struct aspace *as);

#endif
