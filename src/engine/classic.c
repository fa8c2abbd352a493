/* SPDX-License-Identifier: MIT */
/* Older ways: see classic.h for when each was in use. */
#include <errno.h>

#include "engine/classic.h"
#include "engine/event.h"
#include "engine/lruvec.h"
#include "engine/reclaim.h"
#include "engine/shrinker.h"
#include "engine/writeback.h"

#define PASSES      5
#define PASS_ACTIVE 1 /* from here on active lists, too */
#define PASS_MAPPED 3 /* from here on pages that somebody maps */
#define PASS_FORCED 4 /* and lists of any size */
#define FLUSH_PAGES 1024

unsigned weir__swap_tendency(unsigned mapped, int prev_priority,
			     unsigned swappiness)
{
	unsigned distress = 100u >> prev_priority;

	return mapped / 2 + distress + swappiness;
}

/* --- hibernation in five passes ----------------------------------------------
 *
 * Each pass climbs the whole ladder of priorities and permits a little more
 * than the one before, so that what goes first is what would be missed least:
 * inactive, then active, then both again (the first passes have taken the
 * reference bits), then what is mapped. The order of the lists is kept.
 *
 * A list too small for a priority is not skipped but saved up for: its quotas
 * add up until they are worth a scan.
 */

struct classic {
	struct engine *e;
	struct scan_control sc;
	uint64_t want, freed;
	/* quotas saved up; [active], of both types together */
	uint64_t saved[MAX_NODES][2];
	int pass;
};

static uint64_t list_pages(struct node *n, bool active)
{
	int64_t nr =
	    n->lruvec.size[active ? LRU_ACTIVE_ANON : LRU_INACTIVE_ANON] +
	    n->lruvec.size[active ? LRU_ACTIVE_FILE : LRU_INACTIVE_FILE];

	return nr > 0 ? (uint64_t)nr : 0;
}

static uint64_t all_lru_pages(struct engine *e)
{
	uint64_t nr = 0;

	for (unsigned i = 0; i < e->nr_nodes; i++)
		nr += list_pages(&e->nodes[i], false) +
		      list_pages(&e->nodes[i], true);
	return nr;
}

/* The two lists of that age, file pages before those that have to be written.
 * (At that time there was one list for both.) */
static void shrink_lists(struct classic *c, struct node *n, bool active)
{
	uint64_t size = list_pages(n, active), left = c->want - c->freed;
	uint64_t *saved = &c->saved[n->id][active], nr;

	*saved += (size >> c->sc.priority) + 1;
	if (*saved < left && c->pass < PASS_FORCED)
		return;
	*saved = 0;
	nr = left < size ? left : size;
	for (int type = 1; type >= 0 && nr; type--) {
		enum lru_list l = (enum lru_list)(2 * type + active);
		int64_t have = n->lruvec.size[l];
		uint64_t now = have > 0 ? (uint64_t)have : 0;

		now = now < nr ? now : nr;
		c->freed += weir__shrink_list(c->e, n, l, now, &c->sc);
		nr -= now;
	}
}

static void shrink_objects(struct classic *c, int priority)
{
	struct engine *e = c->e;
	uint64_t before = weir__self(e)->reclaimed_slab;

	for (unsigned i = 0; i < e->nr_nodes; i++)
		weir__shrink_slab(e, c->sc.gfp, i, priority);
	weir__slab_shrink(e);
	c->freed += weir__self(e)->reclaimed_slab - before;
}

static bool enough(const struct classic *c)
{
	return c->freed >= c->want;
}

static void one_pass(struct classic *c)
{
	struct engine *e = c->e;

	c->sc.may_unmap = c->sc.may_swap = c->pass >= PASS_MAPPED;
	for (c->sc.priority = DEF_PRIORITY; c->sc.priority >= 0;
	     c->sc.priority--) {
		weir__event(e, "shrink_all_pass", (uint64_t)c->pass,
			    (uint64_t)c->sc.priority, c->freed);
		c->sc.nr_scanned = 0;
		for (unsigned i = 0; i < e->nr_nodes && !enough(c); i++) {
			if (c->pass >= PASS_ACTIVE)
				shrink_lists(c, &e->nodes[i], true);
			shrink_lists(c, &e->nodes[i], false);
		}
		if (!enough(c))
			shrink_objects(c, c->sc.priority);
		if (enough(c))
			return;
		/* Scanned and not done: the disk is behind. */
		e->host->ops->io_poll(e->host);
		if (c->sc.nr_scanned && c->sc.priority < DEF_PRIORITY - 2 &&
		    e->nodes[0].nr_writeback > 0)
			weir__reclaim_throttle(e, &e->nodes[0],
					       THROTTLE_WRITEBACK);
	}
}

/* Larger than all the lists: it is better to hit the caches first. */
static void huge_slab_first(struct classic *c)
{
	uint64_t lru = all_lru_pages(c->e), before;

	do {
		uint64_t slab =
		    (uint64_t)weir__stat_read(c->e, STAT_nr_slab_pages);

		before = c->freed;
		if (slab >= lru)
			shrink_objects(c, 0);
	} while (c->freed > before && !enough(c));
}

/* The lists gave nothing; perhaps the caches do. */
static void shrink_objects_only(struct classic *c)
{
	uint64_t before;

	do {
		before = c->freed;
		shrink_objects(c, 0);
	} while (c->freed > before && !enough(c));
}

uint64_t weir__shrink_all_memory_classic(struct engine *e, uint64_t nr)
{
	struct wtask *self = weir__self(e);
	uint32_t had = self->flags & PF_MEMALLOC;
	struct classic c = {
	    .e = e,
	    .want = nr,
	    .sc = {.nr_to_reclaim = nr,
		   .gfp = GFP_KERNEL,
		   .who = RECLAIM_DIRECT,
		   .swappiness = 100,
		   .may_writepage = true,
		   .may_deactivate = {true, true},
		   .hibernation = true,
		   .reclaim_zone = MAX_ZONES - 1},
	};

	self->flags |= PF_MEMALLOC;
	huge_slab_first(&c);
	for (c.pass = 0; c.pass < PASSES && !enough(&c); c.pass++)
		one_pass(&c);
	if (!c.freed)
		shrink_objects_only(&c);
	if (!had)
		self->flags &= ~(uint32_t)PF_MEMALLOC;
	return c.freed;
}

/* --- buffer heads ------------------------------------------------------------
 */

void weir__free_more_memory(struct engine *e)
{
	weir__event(e, "free_more_memory", FLUSH_PAGES, 0, 0);
	weir__wakeup_flusher(e, FLUSH_PAGES);
	weir__throttle_tick(e, &e->nodes[0]);
	weir__try_to_free_pages(e, GFP_NOFS, 0);
}

static void free_objects(struct engine *e, struct slab_cache *c, void **objects,
			 unsigned nr)
{
	while (nr)
		weir__slab_free(e, c, objects[--nr]);
}

int weir__alloc_page_buffers(struct engine *e, struct slab_cache *c,
			     void **objects, unsigned nr, bool retry)
{
	for (;;) {
		unsigned got = 0;

		while (got < nr) {
			objects[got] =
			    weir__slab_alloc(e, c, GFP_NOFS | GFP_NORETRY);
			if (!objects[got])
				break;
			got++;
		}
		if (got == nr)
			return 0;
		/* Some are no use, and others may be waiting for them. */
		free_objects(e, c, objects, got);
		if (!retry)
			return -ENOMEM;
		weir__free_more_memory(e);
	}
}
