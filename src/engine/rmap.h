/* SPDX-License-Identifier: MIT */
/*
 * Reverse mapping: anon_vma, chains, the walk; pages of files go by their
 * mapping's i_mmap, which region.c keeps.
 *
 * Counters: rmap keeps frame.mapcount, nr_anon_pages and nr_mapped. The address
 * space's own nr_anon, nr_file and nr_swapents belong to whoever writes the
 * entry.
 */
#ifndef WEIR_ENGINE_RMAP_H
#define WEIR_ENGINE_RMAP_H

#include "engine/types.h"

void weir__rmap_init(struct engine *e);

/* --- pages -------------------------------------------------------------- */

/*
 * Gives the region its anon_vma before its first anon page. May sleep; takes
 * the locks itself. 0, -ENOMEM, or -EFAULT where there is no region.
 */
int weir__anon_vma_prepare(struct aspace *as, uint64_t addr);

/* => aspace lock held. New page in region, mapped once; exclusive. */
void weir__page_add_new_anon_rmap(struct engine *e, struct frame *f,
				  struct region *r, uint64_t addr);
/*
 * => aspace lock held; page lock too when nothing maps the frame yet. One more
 * entry maps it (swap-in, fork). A page that has no owner yet (read from swap)
 * becomes the region's own when FRAME_EXCLUSIVE is set before the call, else
 * the eldest anon_vma's, where every process that may share it is found.
 */
void weir__page_add_anon_rmap(struct engine *e, struct frame *f,
			      struct region *r, uint64_t addr);
/* => page lock and aspace lock held. A page that only this region's entry maps
 * (copy-on-write that kept it) becomes the region's own, exclusive. */
void weir__page_move_anon_rmap(struct engine *e, struct frame *f,
			       struct region *r);
/* => aspace lock held; page lock too when nothing maps the frame yet. One more
 * entry maps a page of a file. */
void weir__page_add_file_rmap(struct engine *e, struct frame *f);
/* => aspace lock held. One entry less. The reference is the caller's. */
void weir__page_remove_rmap(struct engine *e, struct frame *f);

/*
 * Calls fn for every entry that maps the frame (PRESENT with this pfn), with
 * that aspace's lock held; fn returns non-zero to stop the walk, and the walk
 * returns that. try: give up with -EBUSY when an aspace lock is contended.
 * => page lock held, no spinlock held
 */
int weir__rmap_walk(struct engine *e, struct frame *f, bool try,
		    int (*fn)(struct region *r, uint64_t addr, pte_t *pte,
			      void *arg),
		    void *arg);

/*
 * What walks of these pages, and the end of their stay in the swap cache, will
 * look at is on its way into the processor's cache afterwards: asked for
 * together, many waits for memory are one. => page locks held
 */
void weir__rmap_prefetch(struct engine *e, struct list_head *pages);

/* --- regions (for the aspace rooms) ------------------------------------- */

/*
 * Memory for links, taken before any lock: at least nr chains, and an anon_vma
 * if asked. What is not used goes back with drain.
 */
struct anon_room {
	struct list_head avcs; /* anon_vma_chain.same_region */
	unsigned nr;
	struct anon_vma *av;
};

void weir__anon_room_init(struct anon_room *m);
int weir__anon_room_fill(struct engine *e, struct anon_room *m, unsigned nr,
			 bool av);
void weir__anon_room_drain(struct engine *e, struct anon_room *m);

/*
 * All of these: => rmap lock held, and the lock of the region's aspace
 * (fork: of the parent's; the child is not in its aspace's tree yet).
 */

/* Chains of the region: how much room its copy needs. */
unsigned weir__anon_vma_links(const struct region *r);
/* fork: links the child's region to each anon_vma of the parent's and gives it
 * one of its own. Room: links + 1 chains and an anon_vma. */
void weir__anon_vma_fork(struct region *parent, struct region *child,
			 struct anon_room *m);
/* A split or moved piece: the same links, the same anon_vma. Room: links. */
void weir__anon_vma_clone(struct region *dst, struct region *src,
			  struct anon_room *m);
/* No links any more; anon_vmas that nobody is linked to are freed. */
void weir__anon_vma_unlink(struct engine *e, struct region *r);
/* Around a change of start, end or pgoff: the chains leave the trees and come
 * back under the new keys. */
void weir__anon_vma_detach(struct region *r);
void weir__anon_vma_attach(struct region *r);
/* Linked to exactly the same anon_vmas, and the same one their own. */
bool weir__anon_vma_same(const struct region *a, const struct region *b);

/* => rmap lock held, or at rest */
bool weir__anon_vma_is_valid(struct anon_vma *av);

#endif
