/* SPDX-License-Identifier: MIT */
/*
 * What a person, or a script, tells a running machine.
 *
 * None of it is needed for memory to be managed: the same pages would have
 * gone when memory ran short. It is for measuring (a cold cache), and for those
 * who know more than the machine: that a large job is about to start.
 */
#include <errno.h>

#include "engine/file.h"
#include "engine/manual.h"
#include "engine/shrinker.h"
#include "engine/watermark.h"

#define DROP_MAX 4

/*
 * Passes at the highest pressure over every cache, until one frees next to
 * nothing. "Next to" doubles with each pass, since a cache in use makes
 * objects as fast as they go.
 */
static void drop_slab(struct engine *e)
{
	unsigned pass = 0;
	uint64_t freed;

	weir__stat_inc(e, STAT_drop_slab);
	do {
		freed = 0;
		for (unsigned i = 0; i < e->nr_nodes; i++)
			freed += weir__shrink_slab(e, GFP_KERNEL, i, 0);
	} while (freed >> pass++ > 1);
}

int weir__drop_caches(struct engine *e, unsigned what)
{
	if (!what || what > DROP_MAX)
		return -EINVAL;
	if (what & DROP_PAGECACHE)
		weir__drop_pagecache(e);
	if (what & DROP_SLAB)
		drop_slab(e);
	if (what & DROP_SILENTLY)
		e->drop_silently = true;
	if (!e->drop_silently)
		e->host->ops->log(e->host, 1, "caches were dropped by hand");
	return 0;
}

int weir__tunable_write(struct engine *e, const char *name, uint64_t value)
{
	int err = weir__tunable_set(&e->tun, name, value);

	/* Cheap, and right for each of them. */
	if (!err)
		weir__setup_per_zone_wmarks(e);
	return err;
}
