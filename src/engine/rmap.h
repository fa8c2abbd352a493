/* SPDX-License-Identifier: MIT */
/* Reverse mapping of anonymous pages: anon_vma, chains, the walk. */
#ifndef WEIR_ENGINE_RMAP_H
#define WEIR_ENGINE_RMAP_H

#include "engine/types.h"

/* Gives the region its anon_vma before its first anon page. May sleep;
 * takes the aspace lock itself. 0 or -ENOMEM. */
int weir__anon_vma_prepare(struct aspace *as, uint64_t addr);
/* fork: links the child's region to each anon_vma of the parent's and gives
 * it one of its own. Both aspace locks free. */
int weir__anon_vma_fork(struct region *parent, struct region *child);
/* Same links for a split or moved piece. */
int weir__anon_vma_clone(struct region *dst, struct region *src);
void weir__anon_vma_unlink(struct region *r);
/* A region's bounds are about to change / have changed: its chain nodes are
 * taken out of and put back into the interval trees. => aspace lock free */
void weir__anon_vma_resize(struct region *r, uint64_t start, uint64_t end);

/* => aspace lock held. New page in region, mapped once; exclusive. */
void weir__page_add_new_anon_rmap(struct engine *e, struct frame *f,
				  struct region *r, uint64_t addr);
/* => aspace lock held. One more entry maps it (swap-in, fork). */
void weir__page_add_anon_rmap(struct engine *e, struct frame *f,
			      struct region *r, uint64_t addr);
/* => aspace lock held. One entry less. The reference is the caller's. */
void weir__page_remove_rmap(struct engine *e, struct frame *f);

/*
 * Calls fn for every entry that maps the frame (PRESENT with this pfn), with
 * that aspace's lock held; fn returns non-zero to stop the walk. try: give up
 * with -EBUSY when a lock is contended. => page lock held
 */
int weir__rmap_walk(struct engine *e, struct frame *f, bool try,
		    int (*fn)(struct region *r, uint64_t addr, pte_t *pte,
			      void *arg),
		    void *arg);

bool weir__anon_vma_is_valid(struct anon_vma *av);

#endif
