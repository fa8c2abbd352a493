/* SPDX-License-Identifier: MIT */
/*
 * A whole engine on the fake host with a program on it, for the tests of
 * mechanisms: memory of any shape, one or more address spaces whose pages are
 * touched as the machine would, contents checked, events recorded.
 */
#ifndef WEIR_TESTS_WORLD_H
#define WEIR_TESTS_WORLD_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/alloc.h"
#include "engine/aspace.h"
#include "engine/batch.h"
#include "engine/buddy.h"
#include "engine/check.h"
#include "engine/engine.h"
#include "engine/fault.h"
#include "engine/frame.h"
#include "engine/lruvec.h"
#include "engine/pgtable.h"
#include "engine/reclaim.h"
#include "engine/slab.h"
#include "engine/swap.h"
#include "engine/watermark.h"
#include "fakehost.h"

#define WORLD_BASE   0x10000000ull
#define WORLD_EVENTS 32768

struct world_config {
	uint64_t zone[MAX_ZONES]; /* pages of node 0; none: 1024 in one */
	uint64_t slots;           /* 0 = no swap */
	uint64_t pages;           /* of the first region; 0 = none */
	uint32_t cpus;            /* 0 = 1 */
	bool no_bits;             /* a machine without accessed bits */
	struct tunables *tun;
};

struct world {
	struct fakehost fh;
	struct weir_host_ops ops; /* a copy, for a test to change */
	struct engine e;
	struct aspace *as;
	struct {
		const char *name;
		uint64_t a, b, c;
	} event[WORLD_EVENTS];
	unsigned nr_events;
	bool deaf;  /* events are not kept */
	bool keeps; /* kswapd runs whenever it has been woken */
	void (*on_map)(struct world *w, struct weir_vec *v, unsigned nr);
	void (*on_event)(struct world *w, const char *name);
	void (*on_wait)(struct world *w);
	unsigned kswapd_runs;
	uint64_t objects, kernel_frames; /* of a world at its start */
	struct list_head eaten;
	int step; /* the test's own */
};

struct world *world_start(const struct world_config *c);
/* Every book checked, spaces destroyed, nothing left over. */
void world_stop(struct world *w);
void world_check(struct world *w);

/* Another address space with a region of so many pages at WORLD_BASE. */
struct aspace *world_space(struct world *w, uint64_t pages, uint32_t flags);

/*
 * The page at number `page` from WORLD_BASE in place, as the program's
 * instruction finds it; NULL after -ENOMEM.
 */
uint64_t *world_touch(struct world *w, struct aspace *as, uint64_t page,
		      bool write);
/* Writes, or expects, a value in each page that tells it from the others. */
void world_fill(struct world *w, struct aspace *as, uint64_t page, uint64_t nr);
void world_expect(struct world *w, struct aspace *as, uint64_t page,
		  uint64_t nr);
uint64_t world_pte(struct aspace *as, uint64_t page);
/* The frame of a PRESENT entry, or NULL. */
struct frame *world_frame(struct aspace *as, uint64_t page);
/* Pages of [page, page + nr) in a frame, whether in place or in hand. */
uint64_t world_present(struct aspace *as, uint64_t page, uint64_t nr);
/* Forgets who was touched: every accessed bit (bits machine). */
void world_age(struct aspace *as, uint64_t page, uint64_t nr);

/* kswapd exists and is asleep; with w->keeps it runs after each touch that
 * woke it. */
void world_kswapd(struct world *w);

/* Takes free frames of a zone until `left` are free; gives all back. */
void world_eat(struct world *w, struct zone *z, int64_t left);
void world_uneat(struct world *w);
int64_t world_free(const struct world *w);

/* All of a node's lists through one page-list pass, references ignored or
 * not; pages freed. */
uint64_t world_reclaim(struct world *w, uint64_t nr);

unsigned world_count(const struct world *w, const char *event);
/* Index of the nth (from 0) event of that name, or -1. */
int world_find(const struct world *w, const char *event, unsigned nth);
void world_forget(struct world *w);

static inline int64_t world_stat(const struct world *w, enum stat_item i)
{
	return weir__stat_read(&w->e, i);
}

static inline struct zone *world_zone(struct world *w, unsigned i)
{
	return &w->e.nodes[0].zones[i];
}

#endif
