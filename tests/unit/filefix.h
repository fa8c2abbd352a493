/* SPDX-License-Identifier: MIT */
/*
 * An engine with files on the fake host: one node, 2048 frames, 600 slots of
 * swap, and files whose bytes can be told apart.
 */
#ifndef WEIR_TESTS_FILEFIX_H
#define WEIR_TESTS_FILEFIX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/fault.h"
#include "engine/file.h"
#include "engine/lruvec.h"
#include "engine/reclaim.h"
#include "engine/writeback.h"
#include "space.h"

/* Byte k of page i of file id, version v. */
static inline uint8_t filefix_byte(unsigned id, uint64_t i, unsigned k,
				   unsigned v)
{
	return (uint8_t)(id * 101 + i * 7 + k * 13 + (k >> 8) + v * 31 + 1);
}

static inline void filefix_fill(uint8_t *p, unsigned id, uint64_t i, unsigned v)
{
	for (unsigned k = 0; k < PAGE_SIZE; k++)
		p[k] = filefix_byte(id, i, k, v);
}

static inline bool filefix_is(const uint8_t *p, unsigned id, uint64_t i,
			      unsigned v)
{
	for (unsigned k = 0; k < PAGE_SIZE; k++)
		if (p[k] != filefix_byte(id, i, k, v))
			return false;
	return true;
}

/* File `id` of `pages` pages of version 0 on the disk, opened. */
static inline struct file *filefix_open(struct space *s, unsigned id,
					uint64_t pages)
{
	struct file *f;

	for (uint64_t i = 0; i < pages; i++)
		filefix_fill(fakehost_file(&s->fh, id, i), id, i, 0);
	assert_int_equal(weir__file_create(&s->e, MAPPING_FILE, id,
					   pages * PAGE_SIZE, 0, &f),
			 0);
	return f;
}

static inline void filefix_write(struct file *f, uint64_t i, unsigned v)
{
	uint8_t buf[PAGE_SIZE];

	filefix_fill(buf, f->mapping->id, i, v);
	assert_int_equal(
	    weir__file_write(f, i * PAGE_SIZE, PAGE_SIZE, buf), PAGE_SIZE);
}

static inline void filefix_expect(struct file *f, uint64_t i, unsigned v)
{
	uint8_t buf[PAGE_SIZE];

	assert_int_equal(weir__file_read(f, i * PAGE_SIZE, PAGE_SIZE, buf),
			 PAGE_SIZE);
	assert_true(filefix_is(buf, f->mapping->id, i, v));
}

/* The frame in the cache, or NULL; no reference. */
static inline struct frame *filefix_page(struct file *f, uint64_t i)
{
	uint64_t entry = weir__pcache_entry(f->mapping, i);

	return entry && !xt_is_value(entry) ? (struct frame *)(uintptr_t)entry
					    : NULL;
}

/* The program's access, as a machine with accessed bits makes it: the bytes of
 * the page. *err is what the last fault said; NULL when it was an error. */
static inline uint8_t *filefix_try(struct aspace *as, uint64_t addr, bool write,
				   int *err)
{
	struct engine *e = as->engine;

	for (int tries = 0; tries < 100; tries++) {
		unsigned flags = write ? FAULT_WRITE : 0;
		uint64_t v = space_pte(as, addr);

		*err = 0;
		if ((v & (PTE_PRESENT | PTE_HINT | PTE_BUSY)) == PTE_PRESENT) {
			if (!write || v & PTE_WRITE) {
				pte_set(weir__pte(as, addr),
					PTE_ACCESSED | (write ? PTE_DIRTY : 0));
				return e->host->ops->contents(e->host,
							      pte_pfn(v));
			}
			flags |= FAULT_WP;
		}
		*err = weir__fault(e, as, addr, flags);
		if (*err)
			return NULL;
	}
	fail_msg("no end of faults at %llx", (unsigned long long)addr);
	return NULL;
}

static inline uint8_t *filefix_touch(struct aspace *as, uint64_t addr,
				     bool write)
{
	int err;
	uint8_t *p = filefix_try(as, addr, write, &err);

	assert_int_equal(err, 0);
	return p;
}

static inline struct aspace *filefix_space(struct space *s)
{
	struct aspace *as;

	assert_int_equal(weir__aspace_create(&s->e, NULL, &as), 0);
	return as;
}

#define FILEFIX_AT 0x100000000ull

/* Pages [from, from + nr) of the file at FILEFIX_AT. */
static inline void filefix_map(struct aspace *as, struct file *f, uint64_t from,
			       uint64_t nr, uint32_t flags)
{
	assert_int_equal(
	    weir__region_add_file(as, FILEFIX_AT, FILEFIX_AT + nr * PAGE_SIZE,
				  REGION_READ | REGION_WRITE | flags, f, from),
	    0);
}

static inline uint64_t filefix_at(uint64_t i)
{
	return FILEFIX_AT + i * PAGE_SIZE;
}

/* Pages freed by a request for nr with this swappiness. */
static inline uint64_t filefix_reclaim(struct space *s, uint64_t nr,
				       int swappiness)
{
	uint64_t freed;

	weir__reclaim_pages(&s->e, nr, swappiness, &freed);
	return freed;
}

static inline void filefix_valid(struct space *s)
{
	char why[300] = "";

	if (!weir__engine_is_valid(&s->e, why, sizeof(why)))
		fail_msg("not valid: %s", why);
}

static inline int64_t filefix_stat(struct space *s, enum stat_item i)
{
	return weir__stat_read(&s->e, i);
}

#endif
