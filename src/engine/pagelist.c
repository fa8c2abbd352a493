/* SPDX-License-Identifier: MIT */
/*
 * What becomes of an isolated page: the decision tree of reclaim.
 *
 * The pages of a batch go through the tree together, a step at a time, since
 * each step that costs the machine something (asking, slots, writing) costs
 * little more for many pages than for one:
 *
 *   1 lock, and set aside what nobody may take   pick()
 *   2 ask all the others whether they were used  weir__age_locked
 *   3 keep, activate or go on                    judge()
 *   4 slots for those that have none             weir__add_to_swap
 *   5 entries become swap entries                weir__try_to_unmap
 *   6 write the dirty ones                       weir__pageout
 *   7 free the clean ones                        drop()
 *
 * Every page carries one reference of the isolation. A page whose contents
 * are not stored anywhere is never freed: step 7 freezes the reference count
 * first and looks at DIRTY after that, so that a fault that took the page and
 * let go of it again in between is not lost:
 *
 *   drop()                              fault
 *   ------------------------------      ------------------------------
 *                                       finds the page in the swap cache,
 *                                       takes a reference
 *   freeze(2): count is 3, fails:
 *   the page is kept
 *     -- or --
 *   freeze(2): the count is 0           look-up fails: reads the slot,
 *   unbinds, frees                      which is up to date
 */
#include <errno.h>

#include "engine/alloc.h"
#include "engine/batch.h"
#include "engine/buffers.h"
#include "engine/check.h"
#include "engine/event.h"
#include "engine/frame.h"
#include "engine/lruvec.h"
#include "engine/pagelist.h"
#include "engine/pcache.h"
#include "engine/pgtable.h"
#include "engine/shmem.h"
#include "engine/swap.h"
#include "engine/workingset.h"

/* References of a page that is in the swap cache or in a file's, isolated, and
 * not mapped: the cache's and ours. */
#define REFS_IDLE 2

struct batch {
	struct engine *e;
	struct node *n;
	struct scan_control *sc;
	struct reclaim_stat *st;
	bool ignore_references;
	struct list_head kept; /* unlocked, back to the caller */
	unsigned nr_reclaimed;
};

static void keep(struct batch *b, struct frame *f)
{
	weir__frame_unlock(b->e, f);
	list_move_tail(&f->lru, &b->kept);
}

static void activate(struct batch *b, struct frame *f)
{
	struct engine *e = b->e;

	if (frame_test(f, FRAME_SWAPCACHE) && !frame_test(f, FRAME_WRITEBACK) &&
	    (weir__vm_swap_full(e) || frame_test(f, FRAME_MLOCKED)) &&
	    weir__swap_count(e, f->private) == 0) {
		weir__swap_cache_del(e, f, 0);
		weir__page_put(e, f);
		weir__frame_set(f, FRAME_DIRTY);
	}
	if (!frame_test(f, FRAME_MLOCKED)) {
		weir__frame_set(f, FRAME_ACTIVE);
		b->st->nr_activate[weir__frame_is_file(f)]++;
		weir__stat_inc(e, STAT_pgactivate);
	}
	keep(b, f);
}

/* How the disk is doing, as far as file pages tell. Anonymous ones are written
 * by reclaim itself: nobody is to wait because of those. */
static void note_state(struct batch *b, const struct frame *f)
{
	bool dirty = frame_test(f, FRAME_DIRTY);
	bool writeback = frame_test(f, FRAME_WRITEBACK);

	if (!weir__frame_is_file(f) || !weir__frame_mapping(f))
		return;
	b->st->nr_dirty += dirty || writeback;
	b->st->nr_unqueued_dirty += dirty && !writeback;
	b->st->nr_congested += writeback && frame_test(f, FRAME_RECLAIM);
}

/* Step 1. The page goes on to `asked`, or is settled. */
static void pick(struct batch *b, struct frame *f, struct list_head *asked)
{
	/* Reclaim came by before, and it is still being written. */
	if (b->sc->limit && frame_test(f, FRAME_WRITEBACK) &&
	    frame_test(f, FRAME_RECLAIM) && b->sc->gfp & GFP_FS)
		weir__frame_wait(b->e, f, FRAME_WRITEBACK);
	if (!weir__frame_trylock(f)) {
		b->st->nr_busy++;
		list_move_tail(&f->lru, &b->kept);
		return;
	}
	if (!weir__frame_evictable(f)) {
		activate(b, f);
		return;
	}
	if (!b->sc->may_unmap && weir__frame_mapped(f)) {
		keep(b, f);
		return;
	}
	note_state(b, f);
	if (frame_test(f, FRAME_WRITEBACK)) {
		if (weir__self(b->e)->flags & PF_KSWAPD &&
		    frame_test(f, FRAME_RECLAIM) &&
		    (b->n->flags & NODE_FLAG_WRITEBACK)) {
			b->st->nr_immediate++;
		} else {
			weir__frame_set(f, FRAME_RECLAIM);
			b->st->nr_writeback++;
		}
		activate(b, f);
		return;
	}
	list_move_tail(&f->lru, asked);
}

/* Step 3. True: reclaim it. */
static bool judge(struct batch *b, struct frame *f)
{
	uint32_t answer = f->error;
	unsigned young = answer & AGE_YOUNG_MASK;
	bool referenced;

	if (answer & AGE_LOCKED) {
		weir__frame_mlock(b->e, f);
		activate(b, f);
		return false;
	}
	if (answer & AGE_UNKNOWN) {
		b->st->nr_ref_keep++;
		keep(b, f);
		return false;
	}
	if (b->ignore_references)
		return true;
	referenced = weir__frame_clear(f, FRAME_REFERENCED);
	if (!young) {
		/* Read not long ago: if it is clean, and not otherwise. */
		if (referenced && weir__frame_is_file(f))
			f->error |= AGE_IF_CLEAN;
		return true;
	}
	weir__frame_set(f, FRAME_REFERENCED);
	if (referenced || young > 1 ||
	    (answer & AGE_EXEC && weir__frame_is_file(f))) {
		activate(b, f);
	} else {
		b->st->nr_ref_keep++;
		keep(b, f);
	}
	return false;
}

/* Step 4. On return every page of `list` is bound to a slot. */
static void give_slots(struct batch *b, struct list_head *list)
{
	LIST_HEAD(want);
	LIST_HEAD(failed);
	struct frame *f, *tmp;

	list_for_each_entry_safe(f, tmp, list, lru) {
		if (frame_test(f, FRAME_SWAPCACHE))
			continue;
		if (!(b->sc->gfp & GFP_IO) || !b->sc->may_swap)
			keep(b, f);
		else if (!f->mapping)
			keep(b, f); /* its last entry went meanwhile */
		else
			list_move_tail(&f->lru, &want);
	}
	weir__add_to_swap(b->e, &want, &failed);
	list_for_each_entry_safe(f, tmp, &failed, lru)
		activate(b, f);
	list_splice_init(&want, list);
}

/*
 * Nobody's any more: bound to a slot that no entry names. It is not written,
 * not even looked at: the machine may not have taken it out of the program's
 * sight yet.
 *
 *   a scan                              madvise, munmap (host event)
 *   ---------------------------         ---------------------------
 *   isolates the page: dirty, bound,
 *   mapped (written to under an
 *   earlier write of it)
 *                                       the entry goes; the page, held by
 *                                       the scan, stays
 *   locks it: no entry, no question
 *   lets go of slot and page
 *                                       the machine drops it
 */
static bool is_orphan(struct engine *e, const struct frame *f)
{
	return !weir__frame_mapped(f) && frame_test(f, FRAME_SWAPCACHE) &&
	       !weir__swap_count(e, f->private);
}

/* Step 5 and the sorting into dirty and clean. */
static void unmap_all(struct batch *b, struct list_head *list,
		      struct list_head *dirty, struct list_head *clean)
{
	struct frame *f, *tmp;

	list_for_each_entry_safe(f, tmp, list, lru) {
		int unmapped = weir__frame_mapped(f)
				   ? weir__try_to_unmap(b->e, f)
				   : 0;

		if (unmapped < 0) {
			b->st->nr_unmap_fail++;
			activate(b, f);
			continue;
		}
		if (!unmapped && is_orphan(b->e, f))
			weir__frame_clear(f, FRAME_DIRTY);
		if (!frame_test(f, FRAME_DIRTY)) {
			list_move_tail(&f->lru, clean);
			continue;
		}
		if (!(b->sc->gfp & GFP_IO) || !b->sc->may_writepage ||
		    f->refcount != REFS_IDLE)
			keep(b, f);
		else
			list_move_tail(&f->lru, dirty);
	}
}

/* Step 7. */
static void drop(struct batch *b, struct frame *f)
{
	struct engine *e = b->e;
	uint64_t shadow;

	if (f->refcount != REFS_IDLE || frame_test(f, FRAME_DIRTY)) {
		keep(b, f);
		return;
	}
	shadow = weir__workingset_shadow(e, f);
	if (!weir__swap_cache_remove_frozen(e, f, REFS_IDLE, shadow)) {
		keep(b, f);
		return;
	}
	weir__workingset_evicted(e, f);
	list_del(&f->lru);
	b->nr_reclaimed++;
	weir__frame_isolation_end(e, f);
	weir__frame_unlock(e, f);
	weir__frames_free(e, f, 0);
}

/* --- pages of files --------------------------------------------------------- */

/*
 * A dirty page of a file is not written here: the flusher writes in the order
 * of the file. It is marked, so that the end of its write puts it to the tail,
 * and until then goes out of the way. True: the page is settled.
 */
static bool leave_dirty(struct batch *b, struct frame *f)
{
	if (!frame_test(f, FRAME_DIRTY))
		return false;
	if (!(weir__self(b->e)->flags & PF_KSWAPD) ||
	    !frame_test(f, FRAME_RECLAIM) || !(b->n->flags & NODE_FLAG_DIRTY)) {
		weir__frame_set(f, FRAME_RECLAIM);
		weir__stat_inc(b->e, STAT_nr_vmscan_immediate_reclaim);
		activate(b, f);
		return true;
	}
	if (f->error & AGE_IF_CLEAN || !(b->sc->gfp & GFP_FS) ||
	    !b->sc->may_writepage ||
	    f->refcount != REFS_IDLE + weir__buffers_refs(f))
		keep(b, f);
	else
		activate(b, f);
	return true;
}

/* Shared memory that has to be written: to swap, with the anonymous pages. True:
 * the page is settled, or on `shmem`. */
static bool swap_dirty(struct batch *b, struct frame *f,
		       struct list_head *shmem)
{
	if (!frame_test(f, FRAME_DIRTY))
		return false;
	if (!(b->sc->gfp & GFP_FS) || !b->sc->may_writepage ||
	    !b->sc->may_swap || f->refcount != REFS_IDLE)
		keep(b, f);
	else
		list_move_tail(&f->lru, shmem);
	return true;
}

static void drop_file(struct batch *b, struct frame *f)
{
	struct engine *e = b->e;

	if (!weir__buffers_release(e, f)) {
		activate(b, f);
		return;
	}
	if (!weir__pcache_remove_frozen(e, f, REFS_IDLE, true)) {
		keep(b, f);
		return;
	}
	list_del(&f->lru);
	b->nr_reclaimed++;
	weir__frame_isolation_end(e, f);
	weir__frame_unlock(e, f);
	weir__frames_free(e, f, 0);
}

/* Pages that have to be written are moved to `dirty`, bound to slots. */
static void reclaim_files(struct batch *b, struct list_head *files,
			  struct list_head *dirty)
{
	LIST_HEAD(shmem);
	LIST_HEAD(failed);
	struct frame *f, *tmp;

	list_for_each_entry_safe(f, tmp, files, lru) {
		if (weir__frame_mapped(f) && weir__try_to_unmap(b->e, f) < 0) {
			b->st->nr_unmap_fail++;
			activate(b, f);
			continue;
		}
		if (weir__frame_is_file(f) ? !leave_dirty(b, f)
					   : !swap_dirty(b, f, &shmem))
			drop_file(b, f);
	}
	weir__shmem_writeout(b->e, &shmem, &failed);
	list_for_each_entry_safe(f, tmp, &failed, lru)
		activate(b, f);
	list_splice_init(&shmem, dirty);
}

/* A page that was cut off its file while a buffer of it was busy. When they are
 * gone it has the isolation's reference and no other. */
static void drop_orphan(struct batch *b, struct frame *f)
{
	struct engine *e = b->e;

	if (!weir__buffers_release(e, f) || !weir__frame_freeze(f, 1)) {
		keep(b, f);
		return;
	}
	list_del(&f->lru);
	b->nr_reclaimed++;
	weir__frame_isolation_end(e, f);
	weir__frame_unlock(e, f);
	weir__frames_free(e, f, 0);
}

/* Those whose home is a file, or was. */
static void pick_files(struct batch *b, struct list_head *asked,
		       struct list_head *files)
{
	struct frame *f, *tmp;

	list_for_each_entry_safe(f, tmp, asked, lru) {
		if (weir__frame_mapping(f))
			list_move_tail(&f->lru, files);
		else if (frame_test(f, FRAME_PRIVATE))
			drop_orphan(b, f);
	}
}

unsigned weir__shrink_page_list(struct engine *e, struct list_head *pages,
				struct node *n, struct scan_control *sc,
				struct reclaim_stat *st, bool ignore_references)
{
	struct batch b = {.e = e,
			  .n = n,
			  .sc = sc,
			  .st = st,
			  .ignore_references = ignore_references};
	LIST_HEAD(asked);
	LIST_HEAD(files);
	LIST_HEAD(dirty);
	LIST_HEAD(clean);
	LIST_HEAD(started);
	struct frame *f, *tmp;

	list_init(&b.kept);
	list_for_each_entry_safe(f, tmp, pages, lru)
		pick(&b, f, &asked);
	weir__age_locked(e, &asked, sc->scout);
	list_for_each_entry_safe(f, tmp, &asked, lru)
		judge(&b, f);
	pick_files(&b, &asked, &files);
	reclaim_files(&b, &files, &dirty);
	give_slots(&b, &asked);
	unmap_all(&b, &asked, &dirty, &clean);
	list_for_each_entry(f, &dirty, lru)
		st->nr_pageout++;
	weir__pageout(e, &dirty, &clean, &started);
	list_for_each_entry_safe(f, tmp, &clean, lru)
		drop(&b, f);
	list_splice_init(&started, pages);
	list_splice_init(&b.kept, pages);
	return b.nr_reclaimed;
}
