/* SPDX-License-Identifier: MIT */
/*
 * Shared memory and tmpfs: files whose home is memory, and which swap extends.
 *
 * Opened, read, written and mapped like any file (file.h, MAPPING_SHMEM). The
 * pages stand in the mapping's tree, are SWAPBACKED and so on the anonymous
 * lists. Swapped out, the tree holds the swap entry in the page's place.
 */
#ifndef WEIR_ENGINE_SHMEM_H
#define WEIR_ENGINE_SHMEM_H

#include "engine/pcache.h"
#include "engine/pgtable.h"

/* The value that stands for a swap entry in the tree: never odd, so no shadow.*/
static inline uint64_t weir__shmem_value(swp_entry_t s)
{
	return s << 2 | 2;
}

static inline swp_entry_t weir__shmem_entry(uint64_t value)
{
	return value >> 2;
}

enum {
	SHMEM_READ = 1 << 0,  /* a hole stays one: NULL with *err 0 */
	SHMEM_WRITE = 1 << 1, /* also past the end */
	SHMEM_FAULT = 1 << 2
};

/*
 * [sleep] The page: locked, up to date, in the tree, with a reference; swapped
 * in, or made of zeros. NULL with *err: -ERANGE past the end, -EIO, -ENOMEM.
 * *major (may be NULL) is set when it was read.
 */
struct frame *weir__shmem_get(struct mapping *m, uint64_t index, unsigned how,
			      bool *major, int *err);

/*
 * Reclaim: the locked, unmapped, dirty pages of `want` are bound to slots and
 * leave their trees, so that they can be written as any page of the swap cache.
 * Those that got no slot are moved to `failed`.
 */
void weir__shmem_writeout(struct engine *e, struct list_head *want,
			  struct list_head *failed);
/* A swap entry that stood in a tree and does no more. */
void weir__shmem_forget(struct engine *e, swp_entry_t s);

/* [sleep] swapoff: every page that is in the area comes back into its tree. 0,
 * -ENOMEM, -EIO. */
int weir__shmem_unuse(struct engine *e, unsigned type);

/* SHM_LOCK and SHM_UNLOCK: the pages stay in memory. */
void weir__shmem_pin(struct mapping *m, bool pin);

#endif
