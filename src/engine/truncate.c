/* SPDX-License-Identifier: MIT */
/*
 * Truncation, invalidation, and the cache dropped on request.
 *
 * Truncation against a fault. The size goes first, so that no fault that looks
 * at it later finds a page; then every entry beyond the end; then the pages,
 * each under its lock, where a fault that had looked before is met:
 *
 *   fault                               truncate
 *   ------------------------------      ------------------------------
 *   index is inside the file
 *                                       size = new; entries go
 *   has the page lock; page is still
 *   the mapping's: maps it
 *   unlocks
 *                                       locks the page: it is mapped, its
 *                                       entries go; out of the cache
 *     -- or --
 *                                       locks the page; out of the cache
 *   has the page lock; mapping is
 *   NULL: looks again, past the end
 */
#include "engine/truncate.h"

#include <errno.h>
#include <string.h>

#include "engine/aspace.h"
#include "engine/batch.h"
#include "engine/buffers.h"
#include "engine/check.h"
#include "engine/file.h"
#include "engine/frame.h"
#include "engine/shmem.h"

/* --- entries that map the file ----------------------------------------------- */

/*
 * Regions are visited one at a time with no lock held in between, since emptying
 * one may have to wait. unmap_seq tells which have been.
 */
static struct region *next_region(struct mapping *m, uint64_t first)
{
	for (struct itree_node *n = itree_first(&m->i_mmap, first, UINT64_MAX);
	     n; n = itree_next(n, first, UINT64_MAX)) {
		struct region *r = container_of(n, struct region, shared);

		if (r->unmap_seq != m->unmap_seq)
			return r;
	}
	return NULL;
}

/* => mapping.inode held, or nobody uses the mapping any more */
static void unmap_from(struct mapping *m, uint64_t first)
{
	struct engine *e = m->engine;
	struct region *r;

	weir__spin_lock(e, &e->rmap_lock);
	m->unmap_seq++;
	while ((r = next_region(m, first))) {
		uint64_t from = r->pgoff > first ? r->pgoff : first;
		uint64_t start = region_addr(r, from), end = r->end;
		struct aspace *as = r->as;

		r->unmap_seq = m->unmap_seq;
		as->users++; /* it has a region, so it is not gone yet */
		weir__spin_unlock(e, &e->rmap_lock);
		/* Whatever stands there by now: only this file's go. */
		weir__aspace_zap_file(as, start, end, m, first);
		weir__aspace_put(as);
		weir__spin_lock(e, &e->rmap_lock);
	}
	weir__spin_unlock(e, &e->rmap_lock);
}

/* --- pages -------------------------------------------------------------------- */

/* The first entry from *index on: a frame with a reference, or (value set) a
 * value. NULL and value 0 at the end. */
static struct frame *next_entry(struct mapping *m, uint64_t *index,
				uint64_t last, uint64_t *value)
{
	struct frame *f = NULL;
	uint64_t entry;

	weir__spin_lock(m->engine, &m->lock);
	entry = xt_next(&m->tree, index, last);
	*value = xt_is_value(entry) ? entry : 0;
	if (entry && !*value) {
		f = (struct frame *)(uintptr_t)entry;
		weir__frame_get(f);
	}
	weir__spin_unlock(m->engine, &m->lock);
	return f;
}

/* False: it had left its place before we had its lock. */
static bool truncate_page(struct mapping *m, struct frame *f)
{
	struct engine *e = m->engine;
	bool ours;

	for (;;) {
		weir__frame_lock(e, f);
		ours = weir__frame_mapping(f) == m;
		if (!ours || (!frame_test(f, FRAME_WRITEBACK) &&
			      !weir__frame_mapped(f)))
			break;
		weir__frame_unlock(e, f);
		weir__frame_wait(e, f, FRAME_WRITEBACK);
		if (weir__frame_mapped(f)) /* a fault was there before us */
			unmap_from(m, f->index);
	}
	if (ours)
		weir__pcache_delete(e, f);
	weir__frame_unlock(e, f);
	if (ours)
		weir__page_put(e, f); /* the cache's */
	return ours;
}

void weir__truncate_pages(struct mapping *m, uint64_t first)
{
	struct engine *e = m->engine;
	uint64_t index = first, value;

	for (;;) {
		struct frame *f = next_entry(m, &index, UINT64_MAX, &value);

		if (f) {
			bool gone = truncate_page(m, f);

			weir__page_put(e, f);
			/* Reclaim may have left a value in its place. */
			if (!gone)
				continue;
		} else if (value) {
			value = weir__pcache_clear_value(m, index);
			if (!value)
				continue; /* a page came back meanwhile */
			if (m->kind == MAPPING_SHMEM)
				weir__shmem_forget(e, weir__shmem_entry(value));
		} else {
			return;
		}
		if (index++ == UINT64_MAX)
			return;
	}
}

/* The bytes of the last page beyond the new end read as zeros from now on. */
static int cut_page(struct mapping *m, uint64_t size)
{
	struct engine *e = m->engine;
	unsigned off = size & ~PAGE_MASK;
	struct frame *f;
	struct file *tmp;
	char *p;
	int err;

	if (!off || size >= m->size)
		return 0;
	err = weir__file_open(m, &tmp);
	if (err)
		return err;
	f = weir__filemap_get(tmp, size >> PAGE_SHIFT, 1, &err);
	weir__file_put(tmp);
	if (!f)
		return err; /* 0: a hole, zeros already */
	weir__frame_lock(e, f);
	if (weir__frame_mapping(f) == m) {
		p = e->host->ops->contents(e->host, weir__pfn(e, f));
		if (p)
			memset(p + off, 0, PAGE_SIZE - off);
		weir__page_dirty(e, f);
	}
	weir__frame_unlock(e, f);
	weir__page_put(e, f);
	return 0;
}

int weir__file_truncate(struct mapping *m, uint64_t size)
{
	struct engine *e = m->engine;
	int err;

	weir__assert_may_sleep(e);
	weir__mutex_lock(e, &m->inode);
	err = cut_page(m, size);
	if (!err) {
		uint64_t old = m->size;

		weir__spin_lock(e, &m->lock);
		m->size = size;
		weir__spin_unlock(e, &m->lock);
		if (size < old) {
			uint64_t first = weir__mapping_pages(m);

			unmap_from(m, first);
			weir__truncate_pages(m, first);
			/* copies that were being made of those pages */
			unmap_from(m, first);
			if (m->kind == MAPPING_FILE && e->host->ops->file_cut)
				e->host->ops->file_cut(e->host, m->id, first);
		}
	}
	weir__mutex_unlock(e, &m->inode);
	return err;
}

/* --- dropping what is clean ------------------------------------------------- */

/* References of a clean page that nobody uses: the cache's and ours. */
#define REFS_IDLE 2

/* True: it is out of the cache. */
static bool invalidate_page(struct mapping *m, struct frame *f)
{
	struct engine *e = m->engine;
	bool gone;

	if (!weir__frame_trylock(f))
		return false;
	gone = weir__frame_mapping(f) == m && !weir__frame_mapped(f) &&
	       weir__buffers_release(e, f) &&
	       weir__pcache_remove_frozen(e, f, REFS_IDLE, false);
	if (gone) /* from here on it is a page with one last reference */
		__atomic_store_n((int32_t *)&f->refcount, 1, __ATOMIC_RELEASE);
	weir__frame_unlock(e, f);
	return gone;
}

uint64_t weir__invalidate_pages(struct mapping *m, uint64_t first,
				uint64_t last)
{
	struct engine *e = m->engine;
	uint64_t index = first, value, nr = 0;

	if (m->kind == MAPPING_SHMEM)
		return 0; /* nowhere to read it back from */
	for (;;) {
		struct frame *f = next_entry(m, &index, last, &value);

		if (f) {
			if (invalidate_page(m, f))
				nr++;
			else
				weir__frame_deactivate_file(e, f);
			weir__page_put(e, f);
		} else if (value) {
			weir__pcache_clear_value(m, index);
		} else {
			return nr;
		}
		if (index++ == last)
			return nr;
	}
}

uint64_t weir__file_dontneed(struct mapping *m, uint64_t first, uint64_t last)
{
	/* Pages in batches look used. */
	weir__lru_add_drain_all(m->engine);
	return weir__invalidate_pages(m, first, last);
}

uint64_t weir__drop_pagecache(struct engine *e)
{
	struct mapping *m = NULL;
	uint64_t nr = 0;

	weir__stat_inc(e, STAT_drop_pagecache);
	weir__lru_add_drain_all(e);
	while ((m = weir__mapping_next(e, m)))
		nr += weir__invalidate_pages(m, 0, UINT64_MAX);
	return nr;
}
