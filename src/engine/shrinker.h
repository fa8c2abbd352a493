/* SPDX-License-Identifier: MIT */
/*
 * Shrinkers: how reclaim asks caches that are not on LRU lists for memory.
 *
 * A cache registers two functions. count says how many objects could go, scan
 * looks at so many and frees what it finds unused. Both are called with no
 * spinlock held, from kswapd and from tasks that reclaim, perhaps from several
 * at a time.
 */
#ifndef WEIR_ENGINE_SHRINKER_H
#define WEIR_ENGINE_SHRINKER_H

#include "engine/alloc.h"

/* Objects to look at in one call of scan, unless the shrinker says another. */
#define SHRINK_BATCH 128
/* Accesses of a store that it takes to make an object again. */
#define DEFAULT_SEEKS 2
/* scan: no progress can be made from here (rights are missing). */
#define SHRINK_STOP UINT64_MAX

struct shrink_control {
	gfp_t gfp;
	unsigned node;
	uint64_t nr_to_scan;
	uint64_t nr_scanned; /* scan may say that it looked at fewer */
};

struct shrinker {
	const char *name;
	uint64_t (*count)(struct engine *e, struct shrinker *s,
			  struct shrink_control *sc);
	/* Objects freed, or SHRINK_STOP. */
	uint64_t (*scan)(struct engine *e, struct shrinker *s,
			 struct shrink_control *sc);
	uint64_t batch;  /* 0 = SHRINK_BATCH */
	unsigned seeks;  /* 0: costs nothing to make again */
	bool numa_aware; /* counts and scans each node for itself */
	void *owner;

	/* shrinker.c */
	struct list_head link;
	_Atomic uint64_t nr_deferred[MAX_NODES];
	_Atomic uint32_t users; /* registered, and calls under way */
};

int weir__shrinkers_init(struct engine *e);
/* The caller has filled the fields above; it stays his memory. */
void weir__shrinker_register(struct engine *e, struct shrinker *s);
/* [sleep] No call is under way when it returns. */
void weir__shrinker_unregister(struct engine *e, struct shrinker *s);

/* [sleep] Every cache of one node, as hard as `priority` says. Objects freed;
 * the pages that came of it are in wtask.reclaimed_slab. */
uint64_t weir__shrink_slab(struct engine *e, gfp_t gfp, unsigned node,
			   int priority);
/* [sleep] One of them. */
uint64_t weir__do_shrink_slab(struct engine *e, struct shrinker *s, gfp_t gfp,
			      unsigned node, int priority);

/* T: objects to look at now, for this priority, without what was deferred. */
uint64_t weir__shrink_delta(uint64_t freeable, unsigned seeks, int priority);

#endif
