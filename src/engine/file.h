/* SPDX-License-Identifier: MIT */
/*
 * Files as the engine's users see them: open, read, write, map, sync, truncate.
 *
 *	struct file *f;
 *
 *	weir__file_create(e, MAPPING_FILE, 7, size, 0, &f);   the host's file 7
 *	weir__file_read(f, pos, len, buf);
 *	weir__file_write(f, pos, len, buf);
 *	weir__file_read_pages(f, index, nr);     a replay: nobody wants the bytes
 *	weir__file_sync(f->mapping, 0, UINT64_MAX);
 *	weir__file_put(f);
 *
 * All of it may sleep (allocation, I/O, page locks) and is called with no
 * spinlock held.
 */
#ifndef WEIR_ENGINE_FILE_H
#define WEIR_ENGINE_FILE_H

#include "engine/pcache.h"

enum {
	FILE_RANDOM = 1 << 0,	 /* no readahead */
	FILE_SEQUENTIAL = 1 << 1 /* twice as much */
};

/*
 * Where a stream of reads is. Several tasks may share it; each field is whole,
 * and fields that do not fit together cost a window of the wrong size at worst.
 *
 *	start          start + size - async       start + size
 *	  |  being used         | marker, the next    |
 *	  |                     | window begins here  |
 */
struct readahead {
	_Atomic uint64_t start;	   /* page */
	_Atomic uint64_t prev_pos; /* byte after the last one read */
	_Atomic uint32_t size, async_size; /* pages */
	_Atomic uint32_t mmap_miss; /* faults that found nothing, less hits */
};

/* One opening of a mapping. */
struct file {
	struct mapping *mapping; /* (c) */
	_Atomic int32_t users;	 /* handles, and regions that map it */
	_Atomic uint32_t flags;	 /* FILE_* */
	struct readahead ra;
};

/* A new mapping, opened; it lives as long as somebody has it open. */
int weir__file_create(struct engine *e, enum mapping_kind kind, uint32_t id,
		      uint64_t size, uint32_t mapping_flags, struct file **out);
/* Opens it once more. 0 or -ENOMEM. */
int weir__file_open(struct mapping *m, struct file **out);
void weir__file_get(struct file *f);
void weir__file_put(struct file *f);
/* [any] See weir__mapping_put_later. */
void weir__file_put_later(struct file *f);

/*
 * Bytes read: fewer than len at the end of the file; or -EIO, -ENOMEM, if there
 * were none before. buf may be NULL: the pages are brought in and count as
 * used. Advises readahead by what was read before through this opening.
 */
int64_t weir__file_read(struct file *f, uint64_t pos, uint64_t len, void *buf);
/*
 * Bytes written, into the cache: the file follows. Grows the file. buf may be
 * NULL: the pages become dirty and keep what they hold. May be slowed down by
 * the dirty limits. -EIO: a page had to be read first and could not be.
 */
int64_t weir__file_write(struct file *f, uint64_t pos, uint64_t len,
			 const void *buf);

/* The same by whole pages, for those who want no bytes. 0 or -errno. */
int weir__file_read_pages(struct file *f, uint64_t index, uint64_t nr);
int weir__file_write_pages(struct file *f, uint64_t index, uint64_t nr);

/* fsync of the pages [first, last]: written and waited for. 0, or the error of
 * any write since the last sync, told once. */
int weir__file_sync(struct mapping *m, uint64_t first, uint64_t last);
/* Cuts or grows the file. Mapped pages beyond the end go from every address
 * space. 0 or -EIO (the last page could not be read to be cut). */
int weir__file_truncate(struct mapping *m, uint64_t size);
/* POSIX_FADV_DONTNEED: clean pages of [first, last] that nobody maps go; the
 * others are the next to be taken. Pages dropped. */
uint64_t weir__file_dontneed(struct mapping *m, uint64_t first, uint64_t last);
/* /proc/sys/vm/drop_caches = 1: that for every file. Pages dropped. */
uint64_t weir__drop_pagecache(struct engine *e);

/* --- readahead.c, filemap.c: among the file rooms ------------------------- */

/* A frame for a page of the mapping: locked, in no cache yet, one reference. */
struct frame *weir__mapping_frame(struct mapping *m, gfp_t gfp);
/* It was not entered after all. */
void weir__mapping_frame_undo(struct engine *e, struct frame *f);
/* => page locked, in the cache, not up to date. Reads it; it is unlocked when
 * the read has ended. */
void weir__readpage(struct mapping *m, struct frame *f);
/* The page at index is missing; `req` pages from there on are wanted. */
void weir__readahead_sync(struct file *f, uint64_t index, uint64_t req);
/* The page, which carries the marker, was found. */
void weir__readahead_async(struct file *f, struct frame *page, uint64_t index,
			   uint64_t req);
/* Reads what is missing of [index, index + nr) with no thought of streams;
 * the marker goes on the page `mark` from the start (nr: none). */
void weir__readahead_pages(struct mapping *m, uint64_t index, uint64_t nr,
			   uint64_t mark);
/* T: sizes of the first window and of the one after `cur`. */
uint64_t weir__ra_first(uint64_t req, uint64_t max);
uint64_t weir__ra_next(uint64_t cur, uint64_t max);
/* The page at index in the cache with a reference, made and being read if it
 * is missing: this one and no other. NULL with *err = -EEXIST (look again),
 * -ERANGE, -ENOMEM. */
struct frame *weir__filemap_find(struct mapping *m, uint64_t index, int *err);
/* 0: up to date; -EAGAIN: not this file's any more; -EIO. */
int weir__filemap_wait(struct mapping *m, struct frame *page);
/* mmap of a file: the page is missing; a window around it. */
void weir__readahead_around(struct file *f, uint64_t index, uint32_t advice);
/* ... and was found. */
void weir__readahead_found(struct file *f, struct frame *page, uint64_t index,
			   uint32_t advice);
/* The page, up to date, with a reference. NULL with *err = -EIO, -ENOMEM,
 * -ERANGE past the end, or 0: a hole of shared memory. req: how many pages are wanted from there on. */
struct frame *weir__filemap_get(struct file *f, uint64_t index, uint64_t req,
				int *err);

#endif
