/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing files through the cache.
 *
 * A read looks the page up, brings it in when it is missing, waits until it is
 * up to date, copies, and marks it as used: once for each page that a read
 * touches, but not again when the next small read goes on in the same page. A
 * write makes the page dirty and does not mark it: data written once and never
 * read, such as a log, must not push out what is read (Linux since 4.7).
 *
 * A page that was truncated or evicted while we slept is known by its mapping,
 * read again under its lock:
 *
 *   read                                truncate
 *   ------------------------------      ------------------------------
 *   finds the page, takes a
 *   reference, waits for the lock
 *                                       (has the lock) takes it out of the
 *                                       cache: mapping = NULL; unlocks
 *   has the lock; not ours any
 *   more: lets go, starts again
 *   and finds the end of the file
 */
#include <errno.h>
#include <string.h>

#include "engine/batch.h"
#include "engine/buffers.h"
#include "engine/check.h"
#include "engine/file.h"
#include "engine/frame.h"
#include "engine/shmem.h"
#include "engine/writeback.h"

/* --- one page ---------------------------------------------------------------- */

static bool is_ours(const struct frame *f, const struct mapping *m)
{
	return __atomic_load_n(&f->mapping, __ATOMIC_RELAXED) == (uintptr_t)m;
}

struct frame *weir__filemap_find(struct mapping *m, uint64_t index, int *err)
{
	struct engine *e = m->engine;
	struct frame *page = weir__pcache_find(m, index);

	if (page)
		return page;
	page = weir__mapping_frame(m, GFP_HIGHUSER_MOVABLE);
	if (!page) {
		*err = -ENOMEM;
		return NULL;
	}
	*err = weir__pcache_add(m, page, index, 0, 0, GFP_KERNEL);
	if (*err) {
		weir__mapping_frame_undo(e, page);
		return NULL;
	}
	weir__readpage(m, page);
	return page;
}

static struct frame *find_or_read(struct file *f, uint64_t index, uint64_t req,
				  int *err)
{
	struct mapping *m = f->mapping;
	struct frame *page = weir__pcache_find(m, index);

	if (page)
		return page;
	weir__stat_inc(m->engine, STAT_pgcache_miss);
	weir__readahead_sync(f, index, req);
	return weir__filemap_find(m, index, err);
}

int weir__filemap_wait(struct mapping *m, struct frame *page)
{
	struct engine *e = m->engine;

	for (int tries = 0; !frame_test(page, FRAME_UPTODATE); tries++) {
		weir__frame_lock(e, page);
		if (!is_ours(page, m)) {
			weir__frame_unlock(e, page);
			return -EAGAIN;
		}
		if (frame_test(page, FRAME_UPTODATE)) {
			weir__frame_unlock(e, page);
			break;
		}
		/* The read that we waited for has failed. One of our own. */
		if (tries) {
			weir__frame_unlock(e, page);
			return -EIO;
		}
		weir__readpage(m, page);
	}
	return 0;
}

/* NULL with *err 0: a hole. */
static struct frame *shmem_page(struct mapping *m, uint64_t index, int *err)
{
	struct frame *page = weir__shmem_get(m, index, SHMEM_READ, NULL, err);

	if (page)
		weir__frame_unlock(m->engine, page);
	return page;
}

struct frame *weir__filemap_get(struct file *f, uint64_t index, uint64_t req,
				int *err)
{
	struct mapping *m = f->mapping;

	if (m->kind == MAPPING_SHMEM)
		return shmem_page(m, index, err);
	for (;;) {
		struct frame *page;

		if (index >= weir__mapping_pages(m)) {
			*err = -ERANGE;
			return NULL;
		}
		page = find_or_read(f, index, req, err);
		if (!page) {
			if (*err == -EEXIST)
				continue;
			return NULL;
		}
		if (frame_test(page, FRAME_READAHEAD))
			weir__readahead_async(f, page, index, req);
		*err = weir__filemap_wait(m, page);
		if (!*err)
			return page;
		weir__page_put(m->engine, page);
		if (*err != -EAGAIN)
			return NULL;
	}
}

/* --- read -------------------------------------------------------------------- */

static void copy_out(struct engine *e, struct frame *page, unsigned off,
		     unsigned len, void *buf)
{
	const char *p = e->host->ops->contents(e->host, weir__pfn(e, page));

	if (p)
		memcpy(buf, p + off, len);
}

int64_t weir__file_read(struct file *f, uint64_t pos, uint64_t len, void *buf)
{
	struct mapping *m = f->mapping;
	struct engine *e = m->engine;
	uint64_t last_pos = f->ra.prev_pos, start = pos, end = pos + len;

	weir__assert_may_sleep(e);
	while (pos < end) {
		uint64_t index = pos >> PAGE_SHIFT, size = m->size;
		uint64_t stop = (index + 1) << PAGE_SHIFT;
		struct frame *page;
		int err;

		if (pos >= size)
			break;
		stop = stop < end ? stop : end;
		stop = stop < size ? stop : size;
		page = weir__filemap_get(f, index,
					 ((end - 1) >> PAGE_SHIFT) - index + 1,
					 &err);
		if (!page && err) {
			if (err == -ERANGE || pos > start)
				break;
			return err;
		}
		if (!page) {
			if (buf)
				memset((char *)buf + (pos - start), 0,
				       stop - pos);
			pos = stop;
			continue;
		}
		if (pos > start || index != (last_pos - 1) >> PAGE_SHIFT)
			weir__frame_mark_accessed(e, page);
		if (buf)
			copy_out(e, page, pos & ~PAGE_MASK,
				 (unsigned)(stop - pos),
				 (char *)buf + (pos - start));
		weir__page_put(e, page);
		pos = stop;
	}
	if (pos > start)
		f->ra.prev_pos = pos;
	return (int64_t)(pos - start);
}

int weir__file_read_pages(struct file *f, uint64_t index, uint64_t nr)
{
	int64_t got = weir__file_read(f, index << PAGE_SHIFT, nr << PAGE_SHIFT,
				      NULL);

	return got < 0 ? (int)got : 0;
}

/* --- write ------------------------------------------------------------------- */

/* The page for a write: locked, in the cache, with a reference; not perhaps up
 * to date. */
static struct frame *grab(struct mapping *m, uint64_t index, int *err)
{
	struct engine *e = m->engine;

	for (;;) {
		struct frame *page = weir__pcache_find(m, index);

		if (page) {
			weir__frame_lock(e, page);
			if (is_ours(page, m))
				return page;
			weir__frame_unlock(e, page);
			weir__page_put(e, page);
			continue;
		}
		page = weir__mapping_frame(m, GFP_HIGHUSER_MOVABLE);
		if (!page) {
			*err = -ENOMEM;
			return NULL;
		}
		*err = weir__pcache_add(m, page, index, 0,
					PCACHE_OVERWRITE | PCACHE_BEYOND,
					GFP_KERNEL);
		if (!*err)
			return page;
		weir__mapping_frame_undo(e, page);
		if (*err != -EEXIST)
			return NULL;
	}
}

static void zero_page(struct engine *e, struct frame *page)
{
	void *p = e->host->ops->contents(e->host, weir__pfn(e, page));

	if (p)
		memset(p, 0, PAGE_SIZE);
	weir__frame_set(page, FRAME_UPTODATE);
}

/* What the write does not cover must be there. => page locked, and again on
 * return when 0. -EAGAIN: it went meanwhile. */
static int prepare(struct mapping *m, struct frame *page, bool whole)
{
	struct engine *e = m->engine;

	if (m->flags & MAPPING_BUFFERS &&
	    weir__buffers_create(e, page, GFP_NOFS)) {
		weir__frame_unlock(e, page);
		return -ENOMEM;
	}
	if (frame_test(page, FRAME_UPTODATE) || whole)
		return 0;
	if (page->index >= weir__mapping_pages(m)) {
		zero_page(e, page);
		return 0;
	}
	weir__readpage(m, page);
	weir__frame_lock(e, page);
	if (is_ours(page, m) && frame_test(page, FRAME_UPTODATE))
		return 0;
	weir__frame_unlock(e, page);
	return is_ours(page, m) ? -EIO : -EAGAIN;
}

/* A locked page, ready for bytes [off, off + len). */
static struct frame *write_begin(struct mapping *m, uint64_t index,
				 unsigned len, bool bytes, int *err)
{
	struct frame *page;

	if (m->kind == MAPPING_SHMEM)
		return weir__shmem_get(m, index, SHMEM_WRITE, NULL, err);
	do {
		page = grab(m, index, err);
		if (!page)
			return NULL;
		*err = prepare(m, page, bytes && len == PAGE_SIZE);
		if (!*err)
			return page;
		weir__page_put(m->engine, page);
	} while (*err == -EAGAIN);
	return NULL;
}

static void write_end(struct mapping *m, struct frame *page, uint64_t pos,
		      unsigned len, const void *buf)
{
	struct engine *e = m->engine;
	char *p = e->host->ops->contents(e->host, weir__pfn(e, page));

	if (p && buf)
		memcpy(p + (pos & ~PAGE_MASK), buf, len);
	weir__frame_set(page, FRAME_UPTODATE);
	weir__page_dirty(e, page);
	weir__buffers_dirty(page, pos & ~PAGE_MASK, len);
	if (pos + len > m->size) {
		weir__spin_lock(e, &m->lock);
		m->size = pos + len;
		weir__spin_unlock(e, &m->lock);
	}
	weir__frame_unlock(e, page);
	weir__page_put(e, page);
}

/*
 * Without bytes the caller says that the page was written whole: nothing is
 * read for it, and what it holds is no matter of his.
 */
int64_t weir__file_write(struct file *f, uint64_t pos, uint64_t len,
			 const void *buf)
{
	struct mapping *m = f->mapping;
	struct engine *e = m->engine;
	uint64_t start = pos, end = pos + len;
	int err = 0;

	weir__assert_may_sleep(e);
	weir__mutex_lock(e, &m->inode);
	while (pos < end && !err) {
		uint64_t index = pos >> PAGE_SHIFT;
		uint64_t stop = (index + 1) << PAGE_SHIFT;
		struct frame *page;

		stop = stop < end ? stop : end;
		page = write_begin(m, index, (unsigned)(stop - pos), true,
				   &err);
		if (!page)
			break;
		write_end(m, page, pos, (unsigned)(stop - pos),
			  buf ? (const char *)buf + (pos - start) : NULL);
		pos = stop;
		err = weir__balance_dirty(m);
	}
	weir__mutex_unlock(e, &m->inode);
	return pos > start ? (int64_t)(pos - start) : err;
}

int weir__file_write_pages(struct file *f, uint64_t index, uint64_t nr)
{
	int64_t put = weir__file_write(f, index << PAGE_SHIFT,
				       nr << PAGE_SHIFT, NULL);

	return put < 0 ? (int)put : 0;
}
