/* SPDX-License-Identifier: MIT */
/*
 * Pages of shared memory, in and out of swap.
 *
 * Out: reclaim has the page locked and no entry maps it. It gets a slot, whose
 * count says SHMEM (one owner, and no page table), and in one step under the
 * mapping's lock the tree's entry changes from the frame to the slot. From then
 * on the page is one of the swap cache: written, kept as a clean copy, dropped
 * like an anonymous one.
 *
 * In: whoever finds a swap entry in the tree gets the page by way of the swap
 * cache, where several meet, and puts it back into the tree. The slot is freed
 * at once, since nobody else knows it.
 *
 *   access A                            access B, or reclaim
 *   ------------------------------      ------------------------------
 *   tree: entry s                       tree: entry s
 *   swap cache: none; makes a frame,
 *   binds it, reads
 *                                       swap cache: A's frame; waits for the
 *                                       page lock
 *   locks; still bound to s, and the
 *   tree still says s
 *   tree: s -> frame
 *   unbinds; s is freed; unlocks
 *                                       locks; not bound to s: looks at the
 *                                       tree again
 */
#include "engine/shmem.h"

#include <errno.h>
#include <string.h>

#include "engine/batch.h"
#include "engine/check.h"
#include "engine/file.h"
#include "engine/frame.h"
#include "engine/pagelist.h"
#include "engine/swap.h"
#include "engine/swapin.h"

static bool is_swap(uint64_t entry)
{
	return (entry & 3) == 2;
}

/* --- in ----------------------------------------------------------------------- */

/* The frame of the slot, locked, at rest, and bound to it; NULL with *err. */
static struct frame *bound_page(struct engine *e, swp_entry_t s, bool *major,
				int *err)
{
	struct frame *f = weir__swapin_one(e, s, major, err);

	if (!f)
		return NULL;
	for (;;) {
		weir__frame_lock(e, f);
		if (!frame_test(f, FRAME_SWAPCACHE) || f->private != s)
			*err = -EAGAIN;
		else if (!frame_test(f, FRAME_WRITEBACK))
			break;
		weir__frame_unlock(e, f);
		if (*err) {
			weir__page_put(e, f);
			return NULL;
		}
		/* The slot must not be freed under a write. */
		weir__frame_wait(e, f, FRAME_WRITEBACK);
	}
	return f;
}

/* => f locked and bound. The slot's copy is the only one, or nobody's. */
static void unbind(struct engine *e, struct frame *f)
{
	weir__swap_cache_del(e, f, 0);
	weir__page_put(e, f);
}

/* The page back in the tree, locked. NULL with *err; -EAGAIN: look again. */
static struct frame *swap_in(struct mapping *m, uint64_t index, uint64_t value,
			     bool *major, int *err)
{
	struct engine *e = m->engine;
	swp_entry_t s = weir__shmem_entry(value);
	struct frame *f;

	*err = 0;
	f = bound_page(e, s, major, err);
	if (!f)
		return NULL;
	/* The slot may have been freed and given to another page, this one. */
	if (weir__pcache_entry(m, index) != value) {
		*err = -EAGAIN;
		goto out;
	}
	if (!frame_test(f, FRAME_UPTODATE)) {
		/* The next one reads it again: it may have been a whim. */
		unbind(e, f);
		*err = -EIO;
		goto out;
	}
	*err = weir__pcache_add(m, f, index, value, PCACHE_BEYOND, GFP_KERNEL);
	if (*err)
		goto out;
	unbind(e, f);
	weir__frame_clear(f, FRAME_READAHEAD);
	weir__frame_set(f, FRAME_DIRTY);
	weir__swap_free(e, s);
	return f;
out:
	if (*err == -EEXIST)
		*err = -EAGAIN;
	weir__frame_unlock(e, f);
	weir__page_put(e, f);
	return NULL;
}

static struct frame *zero_page(struct mapping *m, uint64_t index, unsigned how,
			       int *err)
{
	struct engine *e = m->engine;
	struct frame *f = weir__mapping_frame(m, GFP_HIGHUSER_MOVABLE);
	void *p;

	if (!f) {
		*err = -ENOMEM;
		return NULL;
	}
	p = e->host->ops->contents(e->host, weir__pfn(e, f));
	if (p)
		memset(p, 0, PAGE_SIZE);
	weir__frame_set(f, FRAME_UPTODATE);
	*err = weir__pcache_add(m, f, index, 0,
				how & SHMEM_WRITE ? PCACHE_BEYOND : 0,
				GFP_KERNEL);
	if (!*err)
		return f;
	weir__mapping_frame_undo(e, f);
	if (*err == -EEXIST)
		*err = -EAGAIN;
	return NULL;
}

/* The frame that stands at index, with a reference; or NULL, and the entry. */
static struct frame *look(struct mapping *m, uint64_t index, uint64_t *entry)
{
	struct frame *f = NULL;

	weir__spin_lock(m->engine, &m->lock);
	*entry = xt_get(&m->tree, index);
	if (*entry && !xt_is_value(*entry)) {
		f = (struct frame *)(uintptr_t)*entry;
		weir__frame_get(f);
	}
	weir__spin_unlock(m->engine, &m->lock);
	return f;
}

struct frame *weir__shmem_get(struct mapping *m, uint64_t index, unsigned how,
			      bool *major, int *err)
{
	struct engine *e = m->engine;

	for (;;) {
		uint64_t entry;
		struct frame *f;

		if (!(how & SHMEM_WRITE) && index >= weir__mapping_pages(m)) {
			*err = -ERANGE;
			return NULL;
		}
		f = look(m, index, &entry);
		*err = 0;
		if (f) {
			weir__frame_lock(e, f);
			if (weir__frame_mapping(f) == m)
				return f;
			weir__frame_unlock(e, f);
			weir__page_put(e, f);
			continue;
		}
		if (!entry && how & SHMEM_READ)
			return NULL;
		f = entry ? swap_in(m, index, entry, major, err)
			  : zero_page(m, index, how, err);
		if (f || *err != -EAGAIN)
			return f;
	}
}

/* --- out ---------------------------------------------------------------------- */

void weir__shmem_writeout(struct engine *e, struct list_head *want,
			  struct list_head *failed)
{
	struct frame *f;

	weir__add_to_swap(e, want, failed);
	list_for_each_entry(f, want, lru) {
		swp_entry_t s = f->private;

		weir__swap_shmem(e, s);
		weir__pcache_to_swap(e, f, weir__shmem_value(s));
		/* the tree's reference; the swap cache has one of its own */
		weir__bug_on(e, weir__frame_put_testzero(f));
	}
}

void weir__shmem_forget(struct engine *e, swp_entry_t s)
{
	struct frame *f = weir__swap_cache_get(e, s);

	weir__swap_free(e, s);
	if (!f)
		return;
	/* A page that only the swap cache holds: if it can be had at once. */
	if (weir__frame_trylock(f)) {
		bool ours = frame_test(f, FRAME_SWAPCACHE) && f->private == s &&
			    !frame_test(f, FRAME_WRITEBACK) &&
			    !weir__swap_count(e, s);

		if (ours)
			weir__swap_cache_del(e, f, 0);
		weir__frame_unlock(e, f);
		if (ours)
			weir__page_put(e, f);
	}
	weir__page_put(e, f);
}

/* --- swapoff ------------------------------------------------------------------ */

/* The next page of m from *index on that is in the area. */
static bool next_in_area(struct mapping *m, uint64_t *index, unsigned type)
{
	bool found = false;
	uint64_t entry;

	weir__spin_lock(m->engine, &m->lock);
	while ((entry = xt_next(&m->tree, index, UINT64_MAX))) {
		found = is_swap(entry) &&
			swp_type(weir__shmem_entry(entry)) == type;
		if (found || ++*index == 0)
			break;
	}
	weir__spin_unlock(m->engine, &m->lock);
	return found;
}

static int unuse_mapping(struct mapping *m, unsigned type)
{
	uint64_t index = 0;

	while (next_in_area(m, &index, type)) {
		int err;
		struct frame *f =
		    weir__shmem_get(m, index, SHMEM_READ, NULL, &err);

		if (f) {
			weir__frame_unlock(m->engine, f);
			weir__page_put(m->engine, f);
		} else if (err && err != -ERANGE) {
			return err;
		}
		index++;
	}
	return 0;
}

int weir__shmem_unuse(struct engine *e, unsigned type)
{
	struct mapping *m = NULL;
	int ret = 0;

	while ((m = weir__mapping_next(e, m))) {
		if (m->kind != MAPPING_SHMEM || !m->nr_swapped)
			continue;
		ret = unuse_mapping(m, type);
		if (ret) {
			weir__mapping_put(m);
			return ret;
		}
	}
	return 0;
}

/* --- SHM_LOCK ------------------------------------------------------------------ */

/* Home from the unevictable ones, if it is there. */
static void rescue(struct engine *e, struct frame *f)
{
	weir__frame_clear(f, FRAME_KEPT);
	if (!frame_test(f, FRAME_UNEVICTABLE) ||
	    !weir__frame_isolate_lru(e, f))
		return;
	weir__frame_putback_lru(e, f);
}

/* Pinned pages leave the lists when reclaim meets them. */
void weir__shmem_pin(struct mapping *m, bool pin)
{
	struct engine *e = m->engine;

	weir__spin_lock(e, &m->lock);
	if (pin)
		m->flags |= MAPPING_PINNED;
	else
		m->flags &= ~(uint32_t)MAPPING_PINNED;
	weir__spin_unlock(e, &m->lock);
	if (!pin && m->flags & MAPPING_NOSWAP)
		return;
	weir__lru_add_drain_all(e);
	for (uint64_t index = 0;; index++) {
		struct frame *f = NULL;
		uint64_t entry;

		weir__spin_lock(e, &m->lock);
		entry = xt_next(&m->tree, &index, UINT64_MAX);
		if (entry && !xt_is_value(entry)) {
			f = (struct frame *)(uintptr_t)entry;
			if (pin)
				weir__frame_set(f, FRAME_KEPT);
			weir__frame_get(f);
		}
		weir__spin_unlock(e, &m->lock);
		if (!entry)
			return;
		if (f && !pin)
			rescue(e, f);
		if (f)
			weir__page_put(e, f);
	}
}
