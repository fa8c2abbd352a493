/* SPDX-License-Identifier: MIT */
/*
 * Readahead of files: what to read when something is missing.
 *
 * A miss at the start of a file, or right behind the last read, begins a
 * stream: a first window that depends on the size of the request. A page of the
 * window carries a marker; when it is used, the next window is read while the
 * rest of this one still is, and windows double up to readahead_max. A stream
 * that this opening knows nothing of (another opening's, or two that are
 * interleaved) is recognised by its pages in the cache. Everything else is
 * random and gets what it asked for.
 *
 * Pages are taken and entered first and read after: whoever waits for one of
 * them waits for no allocation of ours.
 */
#include <errno.h>

#include "engine/batch.h"
#include "engine/check.h"
#include "engine/file.h"
#include "engine/frame.h"
#include "engine/iopool.h"

#define GFP_READAHEAD (GFP_HIGHUSER_MOVABLE | GFP_NORETRY)

struct frame *weir__mapping_frame(struct mapping *m, gfp_t gfp)
{
	struct frame *f = weir__frames_alloc(m->engine, gfp, 0);

	if (f)
		weir__frame_set(f, FRAME_LOCKED |
				       (m->kind == MAPPING_SHMEM
					    ? FRAME_SWAPBACKED
					    : 0));
	return f;
}

void weir__mapping_frame_undo(struct engine *e, struct frame *f)
{
	weir__frame_clear(f, FRAME_LOCKED | FRAME_SWAPBACKED | FRAME_UPTODATE);
	weir__frames_free(e, f, 0);
}

/* --- reading ---------------------------------------------------------------- */

static void end_read(struct engine *e, struct weir_io *io)
{
	for (unsigned i = 0; i < io->nr; i++) {
		struct frame *f = weir__frame(e, io->pfn[i]);

		if (io->status[i] == 0) {
			weir__frame_clear(f, FRAME_ERROR);
			weir__frame_set(f, FRAME_UPTODATE);
		} else {
			weir__frame_set(f, FRAME_ERROR);
			weir__stat_inc(e, STAT_file_read_error);
		}
		weir__frame_unlock(e, f);
	}
	weir__stat_add(e, STAT_pgfilein, io->nr);
	weir__io_put(e, io);
}

static void submit(struct mapping *m, uint64_t index, pfn_t *pfn, unsigned nr)
{
	struct engine *e = m->engine;
	struct weir_io *io = weir__io_get(e);

	io->op = WEIR_IO_READ;
	io->target = WEIR_IO_FILE;
	io->area = m->id;
	io->slot = index;
	io->nr = nr;
	io->done = end_read;
	for (unsigned i = 0; i < nr; i++)
		io->pfn[i] = pfn[i];
	e->host->ops->io_submit(e->host, io);
}

void weir__readpage(struct mapping *m, struct frame *f)
{
	pfn_t pfn = weir__pfn(m->engine, f);

	submit(m, f->index, &pfn, 1);
}

static bool is_cached(struct mapping *m, uint64_t index)
{
	uint64_t entry = weir__pcache_entry(m, index);

	return entry && !xt_is_value(entry);
}

/* A frame entered at index, locked. 0, -EEXIST, -ERANGE, -ENOMEM. */
static int enter(struct mapping *m, uint64_t index, bool mark, pfn_t *out)
{
	struct engine *e = m->engine;
	struct frame *f;
	int ret;

	if (is_cached(m, index))
		return -EEXIST;
	f = weir__mapping_frame(m, GFP_READAHEAD);
	if (!f)
		return -ENOMEM;
	ret = weir__pcache_add(m, f, index, 0, 0, GFP_READAHEAD);
	if (ret) {
		weir__mapping_frame_undo(e, f);
		return ret;
	}
	if (mark)
		weir__frame_set(f, FRAME_READAHEAD);
	*out = weir__pfn(e, f);
	/* Locked and in the cache: it stays. */
	weir__bug_on(e, weir__frame_put_testzero(f));
	return 0;
}

void weir__readahead_pages(struct mapping *m, uint64_t index, uint64_t nr,
			   uint64_t mark)
{
	pfn_t pfn[WEIR_IO_PAGES_MAX];
	uint64_t end = weir__mapping_pages(m);
	uint64_t first = index, at = index;
	unsigned got = 0, all = 0;

	if (index >= end)
		return;
	end = nr < end - index ? index + nr : end;
	for (; at < end; at++) {
		int ret = enter(m, at, at - index == mark, &pfn[got]);

		if (!ret) {
			if (!got)
				first = at;
			all++;
			if (++got < WEIR_IO_PAGES_MAX)
				continue;
		}
		if (got)
			submit(m, first, pfn, got);
		got = 0;
		if (ret && ret != -EEXIST)
			break;
	}
	if (got)
		submit(m, first, pfn, got);
	weir__stat_add(m->engine, STAT_file_ra, all);
}

/* --- windows ---------------------------------------------------------------- */

uint64_t weir__ra_first(uint64_t req, uint64_t max)
{
	uint64_t size = 1;

	while (size < req)
		size *= 2;
	if (size <= max / 32)
		return size * 4;
	if (size <= max / 4)
		return size * 2;
	return max;
}

uint64_t weir__ra_next(uint64_t cur, uint64_t max)
{
	if (cur < max / 16)
		return cur * 4;
	if (cur <= max / 2)
		return cur * 2;
	return max;
}

static uint64_t max_pages(const struct file *f, uint64_t req)
{
	uint64_t max = f->mapping->engine->tun.readahead_max;

	if (f->flags & FILE_SEQUENTIAL)
		max *= 2;
	/* A large request is no guess: as much as one I/O takes. */
	if (req > max && max < WEIR_IO_PAGES_MAX)
		max = req < WEIR_IO_PAGES_MAX ? req : WEIR_IO_PAGES_MAX;
	return max;
}

static void read_window(struct file *f)
{
	struct readahead *ra = &f->ra;
	uint32_t size = ra->size, async = ra->async_size;

	weir__readahead_pages(f->mapping, ra->start, size,
			      async <= size ? size - async : 0);
}

/* Pages in a row in the cache that end right before index, at most max. */
static uint64_t cached_before(struct mapping *m, uint64_t index, uint64_t max)
{
	uint64_t nr = 0;

	while (nr < max && nr < index && is_cached(m, index - 1 - nr))
		nr++;
	return nr;
}

/* The first page from index on that is not in the cache, or index + max. */
static uint64_t next_missing(struct mapping *m, uint64_t index, uint64_t max)
{
	uint64_t end = index + max;

	while (index < end && is_cached(m, index))
		index++;
	return index;
}

void weir__readahead_sync(struct file *f, uint64_t index, uint64_t req)
{
	struct readahead *ra = &f->ra;
	struct mapping *m = f->mapping;
	uint64_t max = max_pages(f, req), prev = ra->prev_pos >> PAGE_SHIFT;
	uint64_t before;

	if (!m->engine->tun.readahead_max) {
		weir__readahead_pages(m, index, 1, 1);
		return;
	}
	if (f->flags & FILE_RANDOM) {
		weir__readahead_pages(m, index, req, req);
		return;
	}
	if (!index || req > max || index - prev <= 1) {
		uint64_t size = weir__ra_first(req, max);

		ra->start = index;
		ra->size = (uint32_t)size;
		ra->async_size =
		    (uint32_t)(size > req ? size - req : size / 2);
		read_window(f);
		return;
	}
	before = cached_before(m, index, max);
	if (before <= req) {
		weir__readahead_pages(m, index, req, req);
		return;
	}
	if (before == index) /* cached from its very beginning */
		before *= 2;
	ra->start = index;
	ra->size = (uint32_t)(before + req < max ? before + req : max);
	ra->async_size = 1;
	read_window(f);
}

void weir__readahead_async(struct file *f, struct frame *page, uint64_t index,
			   uint64_t req)
{
	struct readahead *ra = &f->ra;
	uint64_t max = max_pages(f, req), start;

	if (!f->mapping->engine->tun.readahead_max)
		return;
	if (!weir__frame_clear(page, FRAME_READAHEAD))
		return;
	if (index == ra->start + ra->size - ra->async_size) {
		ra->start += ra->size;
		ra->size = (uint32_t)weir__ra_next(ra->size, max);
		ra->async_size = ra->size;
		read_window(f);
		return;
	}
	start = next_missing(f->mapping, index + 1, max);
	if (start - index > max)
		return;
	ra->start = start;
	ra->size = (uint32_t)weir__ra_next(start - index + req, max);
	ra->async_size = ra->size;
	read_window(f);
}

/* --- faults -------------------------------------------------------------------- */

/*
 * A program that maps a file jumps, as a rule, and what lies around the page is
 * as good a guess as what follows. When guesses have failed this much more often
 * than they were right, no more are made.
 */
#define MMAP_LOTSAMISS 100

void weir__readahead_around(struct file *f, uint64_t index, uint32_t advice)
{
	struct readahead *ra = &f->ra;
	uint64_t max = f->mapping->engine->tun.readahead_max;
	uint32_t miss = ra->mmap_miss;

	if (advice & REGION_RAND || !max)
		return;
	if (advice & REGION_SEQ) {
		weir__readahead_sync(f, index, max);
		return;
	}
	if (miss < MMAP_LOTSAMISS * 10)
		ra->mmap_miss = ++miss;
	if (miss > MMAP_LOTSAMISS)
		return;
	ra->start = index > max / 2 ? index - max / 2 : 0;
	ra->size = (uint32_t)max;
	ra->async_size = (uint32_t)(max / 4);
	read_window(f);
}

void weir__readahead_found(struct file *f, struct frame *page, uint64_t index,
			   uint32_t advice)
{
	uint64_t max = f->mapping->engine->tun.readahead_max;
	uint32_t miss = f->ra.mmap_miss;

	if (advice & REGION_RAND || !max)
		return;
	if (miss)
		f->ra.mmap_miss = miss - 1;
	if (frame_test(page, FRAME_READAHEAD))
		weir__readahead_async(f, page, index, max);
}
