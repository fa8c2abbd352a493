/* SPDX-License-Identifier: MIT */
/*
 * Floors 1 and 2 of an engine on the fake host, for the tests of lists and
 * batches: two nodes with two zones each (one node and more frames where a
 * test asks), four CPUs, and short words for what those tests do all the time.
 */
#ifndef WEIR_TESTS_LRUFIX_H
#define WEIR_TESTS_LRUFIX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/alloc.h"
#include "engine/batch.h"
#include "engine/buddy.h"
#include "engine/frame.h"
#include "engine/lruvec.h"
#include "fakehost.h"

#define LRUFIX_ZONE 512 /* pages of each zone */

struct lrufix {
	struct fakehost fh;
	struct engine *e;
	struct lruvec *v; /* node 0's */
	pfn_t next[MAX_NODES][MAX_ZONES];
};

static inline void lrufix_start(struct lrufix *x, unsigned nodes,
				uint64_t low_pages, uint64_t high_pages)
{
	struct engine_config cfg = {.nr_cpus = 4, .nr_nodes = nodes};
	struct engine *e = calloc(1, sizeof(*e));

	memset(x, 0, sizeof(*x));
	assert_non_null(e);
	x->e = e;
	for (unsigned n = 0; n < nodes; n++) {
		cfg.zone_pages[n][0] = low_pages;
		cfg.zone_pages[n][1] = high_pages;
	}
	fakehost_init(&x->fh, e, nodes * (low_pages + high_pages), 0);
	cfg.host = &x->fh.host;
	e->host = cfg.host;
	e->nr_cpus = cfg.nr_cpus;
	e->nr_nodes = nodes;
	weir__tunables_default(&e->tun);
	assert_int_equal(weir__zones_init(e, &cfg), 0);
	for (unsigned n = 0; n < nodes; n++)
		weir__lruvec_init(&e->nodes[n].lruvec, &e->nodes[n]);
	weir__batches_init(e);
	x->v = &e->nodes[0].lruvec;
}

static inline int lrufix_setup(void **state)
{
	struct lrufix *x = malloc(sizeof(*x));

	lrufix_start(x, 2, LRUFIX_ZONE, LRUFIX_ZONE);
	*state = x;
	return 0;
}

static inline int lrufix_teardown(void **state)
{
	struct lrufix *x = *state;

	fakehost_exit(&x->fh);
	free(x->e);
	free(x);
	return 0;
}

/*
 * A frame in use with one reference, of a zone the test names. Blocks are
 * taken whole from that zone's buddy lists, below the watermarks and the
 * per-CPU lists.
 */
static inline struct frame *lrufix_page(struct lrufix *x, unsigned node,
					unsigned zone, uint32_t flags)
{
	struct zone *z = &x->e->nodes[node].zones[zone];
	struct frame *f;

	weir__spin_lock(x->e, &z->lock);
	f = weir__buddy_take(z, 0, MIGRATE_MOVABLE, ALLOC_NO_WATERMARKS);
	weir__spin_unlock(x->e, &z->lock);
	assert_non_null(f);
	weir__prep_new_frame(x->e, f, GFP_HIGHUSER_MOVABLE, 0);
	assert_int_equal(f->refcount, 1);
	weir__frame_set(f, flags);
	return f;
}

static inline struct frame *anon_page(struct lrufix *x)
{
	return lrufix_page(x, 0, 1, FRAME_SWAPBACKED);
}

static inline struct frame *file_page(struct lrufix *x)
{
	return lrufix_page(x, 0, 1, 0);
}

/* On its list by the usual way; the test keeps its reference. */
static inline struct frame *listed(struct lrufix *x, struct frame *f)
{
	weir__frame_add_lru(x->e, f);
	weir__lru_add_drain(x->e);
	assert_true(frame_test(f, FRAME_LRU));
	return f;
}

/* The pretence of a page-table entry: fields only. */
static inline void fake_map_page(struct frame *f)
{
	f->mapcount = 0;
}

static inline void fake_unmap_page(struct frame *f)
{
	f->mapcount = -1;
}

static inline int64_t stat_of(struct lrufix *x, enum stat_item s)
{
	return weir__stat_read(x->e, s);
}

static inline struct frame *head_of(struct lruvec *v, enum lru_list l)
{
	return list_empty(&v->lists[l])
		   ? NULL
		   : list_first_entry(&v->lists[l], struct frame, lru);
}

static inline struct frame *tail_of(struct lruvec *v, enum lru_list l)
{
	return list_empty(&v->lists[l])
		   ? NULL
		   : list_last_entry(&v->lists[l], struct frame, lru);
}

/* What must hold after every test of lists: counters are contents, and true
 * insertions less true removals are the resident pages. */
static inline void check_books(struct lrufix *x)
{
	int64_t resident = 0;

	for (unsigned n = 0; n < x->e->nr_nodes; n++) {
		struct lruvec *v = &x->e->nodes[n].lruvec;

		assert_true(weir__lruvec_is_valid(x->e, v));
		for (unsigned l = 0; l < NR_LRU_LISTS; l++)
			resident += v->size[l];
	}
	for (unsigned l = 0; l < NR_LRU_LISTS; l++) {
		int64_t sum = 0;

		for (unsigned n = 0; n < x->e->nr_nodes; n++)
			sum += x->e->nodes[n].lruvec.size[l];
		assert_int_equal(stat_of(x, (enum stat_item)l), sum);
	}
	assert_int_equal(stat_of(x, STAT_lru_insertions) -
			     stat_of(x, STAT_lru_removals),
			 resident);
}

#endif
