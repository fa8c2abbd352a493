/* SPDX-License-Identifier: MIT */
/*
 * Objects kept by each CPU, and the reaper that comes for them: timer mode.
 *
 * An array of free objects in front of the slabs makes most allocations a pop
 * and most frees a push, on a lock that no other CPU wants. The price is
 * memory: objects lie in arrays, slabs are held up by a few of them, and empty
 * slabs are kept for the next refill. Nobody gives that back when the load has
 * passed, since giving back happens on the way of a free and there are none.
 *
 *                    refill: half a limit       kept up to free_limit
 *       CPU's array ◄──────────────────── slabs ────────────────────► buddy
 *                   ────────────────────►       beyond it, at once
 *                    overflow: half a limit
 *                        ▲                        ▲
 *   every 2 s: a fifth ──┘   every 4 s: a fifth ──┘   of what was not touched
 *
 * So somebody comes by the clock. What has been used since the last visit is
 * left alone and only marked; from the rest a fifth is taken. An idle array is
 * empty after some ten visits, a busy one never loses an object, and in between
 * the loss is slow enough that a pause of seconds costs little.
 *
 * (Linux had this until 6.7, with more arrays between: one shared by the CPUs
 * of a node, and some for other nodes' objects. SLUB, which remained, frees
 * empty slabs beyond a few at once, as slab.c does when this mode is off.)
 */
#include "engine/check.h"
#include "engine/frame.h"
#include "engine/slab_internal.h"

#define REAP_ARRAYS_NS 2000000000ull
#define REAP_SLABS_NS  4000000000ull
#define REAP_SHARE     5 /* one part of so many */

static struct object_array *this_array(struct engine *e, struct slab_cache *c)
{
	return &c->array[weir__self(e)->cpu];
}

/* Large objects: few, or the arrays hold more memory than the program. */
static uint32_t array_limit(uint32_t size)
{
	if (size > 1024)
		return 24;
	if (size > 256)
		return 54;
	return OBJECT_ARRAY_MAX;
}

void weir__slabcpu_setup(struct engine *e, struct slab_cache *c)
{
	struct slab *s = e->slab;
	uint32_t limit = array_limit(c->size), batch = (limit + 1) / 2;

	c->array = s->arrays + (size_t)(c - s->cache) * e->nr_cpus;
	c->free_limit = (1 + e->nr_cpus) * batch + c->per_slab;
	for (unsigned i = 0; i < e->nr_cpus; i++) {
		weir__spin_init(&c->array[i].lock, RANK_SLABCPU);
		c->array[i].limit = limit;
		c->array[i].batch = batch;
	}
}

void *weir__slabcpu_get(struct engine *e, struct slab_cache *c)
{
	struct object_array *a = this_array(e, c);
	void *obj = NULL;

	weir__spin_lock(e, &a->lock);
	a->touched = true;
	if (!a->avail) {
		weir__spin_lock(e, &c->lock);
		while (a->avail < a->batch && (obj = weir__slab_pop(e, c)))
			a->entry[a->avail++] = obj;
		weir__spin_unlock(e, &c->lock);
	}
	obj = a->avail ? a->entry[--a->avail] : NULL;
	weir__spin_unlock(e, &a->lock);
	return obj;
}

/* The nr coldest objects go home; slabs that are to go, on *dead.
 * => array lock held */
static void give_back(struct engine *e, struct slab_cache *c,
		      struct object_array *a, uint32_t nr,
		      struct list_head *dead)
{
	weir__spin_lock(e, &c->lock);
	for (uint32_t i = 0; i < nr; i++) {
		struct frame *f = weir__slab_push(e, c, a->entry[i]);

		if (f)
			list_add(&f->lru, dead);
	}
	weir__spin_unlock(e, &c->lock);
	a->avail -= nr;
	for (uint32_t i = 0; i < a->avail; i++)
		a->entry[i] = a->entry[i + nr];
}

/* => no lock held */
static void destroy_all(struct engine *e, struct list_head *dead)
{
	struct frame *f, *tmp;

	list_for_each_entry_safe (f, tmp, dead, lru) {
		list_del(&f->lru);
		weir__slab_destroy(e, f);
	}
}

void weir__slabcpu_put(struct engine *e, struct slab_cache *c, void *obj)
{
	struct object_array *a = this_array(e, c);
	LIST_HEAD(dead);

	weir__spin_lock(e, &a->lock);
	if (a->avail == a->limit)
		give_back(e, c, a, a->batch, &dead);
	a->entry[a->avail++] = obj;
	weir__spin_unlock(e, &a->lock);
	destroy_all(e, &dead);
}

void weir__slabcpu_drain(struct engine *e, struct slab_cache *c)
{
	LIST_HEAD(dead);

	for (unsigned i = 0; i < e->nr_cpus; i++) {
		struct object_array *a = &c->array[i];

		weir__spin_lock(e, &a->lock);
		give_back(e, c, a, a->avail, &dead);
		weir__spin_unlock(e, &a->lock);
	}
	destroy_all(e, &dead);
}

uint64_t weir__slabcpu_objects(struct engine *e, struct slab_cache *c)
{
	uint64_t nr = 0;

	for (unsigned i = 0; i < e->nr_cpus; i++) {
		weir__spin_lock(e, &c->array[i].lock);
		nr += c->array[i].avail;
		weir__spin_unlock(e, &c->array[i].lock);
	}
	return nr;
}

/* --- the reaper
 * -----------------------------------------------------------------
 */

static void reap_array(struct engine *e, struct slab_cache *c,
		       struct object_array *a)
{
	uint32_t nr = (a->limit + REAP_SHARE - 1) / REAP_SHARE;
	LIST_HEAD(dead);

	weir__spin_lock(e, &a->lock);
	if (a->touched) {
		a->touched = false;
	} else if (a->avail) {
		if (nr > a->avail)
			nr = (a->avail + 1) / 2;
		give_back(e, c, a, nr, &dead);
	}
	weir__spin_unlock(e, &a->lock);
	destroy_all(e, &dead);
}

/* Empty slabs of a cache that has not used one of them for a while. */
static void reap_slabs(struct engine *e, struct slab_cache *c)
{
	uint32_t share = REAP_SHARE * c->per_slab;
	uint32_t nr = (c->free_limit + share - 1) / share;
	LIST_HEAD(dead);

	weir__spin_lock(e, &c->lock);
	if (c->free_touched) {
		c->free_touched = false;
	} else {
		for (; nr && c->nr_empty; nr--) {
			list_move(c->empty.prev, &dead);
			c->nr_empty--;
			c->nr_slabs--;
		}
	}
	weir__spin_unlock(e, &c->lock);
	destroy_all(e, &dead);
}

void weir__cache_reap(struct engine *e)
{
	uint64_t now = e->host->ops->now_ns(e->host);

	for (uint32_t i = 0; i < e->slab->nr_caches; i++) {
		struct slab_cache *c = &e->slab->cache[i];

		if (!c->array)
			continue;
		for (unsigned cpu = 0; cpu < e->nr_cpus; cpu++)
			reap_array(e, c, &c->array[cpu]);
		if (now - c->reaped_ns < REAP_SLABS_NS)
			continue;
		c->reaped_ns = now;
		reap_slabs(e, c);
	}
}

static void reaper(struct engine *e, void *arg)
{
	struct weir_host *h = e->host;
	uint64_t next = h->ops->now_ns(h) + REAP_ARRAYS_NS;

	while (!e->stopping) {
		uint32_t word = e->slab->reap_word;
		uint64_t now = h->ops->now_ns(h);

		if (now < next) {
			if (!e->stopping)
				h->ops->wait(h, &e->slab->reap_word, word,
					     next - now);
			continue;
		}
		weir__cache_reap(e);
		next = now + REAP_ARRAYS_NS;
	}
	e->slab->reap_running = 0;
	h->ops->wake_word(h, &e->slab->reap_running, UINT32_MAX);
}

int weir__slab_reaper_start(struct engine *e)
{
	int err;

	if (!e->slab->arrays)
		return 0;
	e->slab->reap_running = 1;
	err = e->host->ops->spawn(e->host, "cache_reap", PF_CLOCKWORK, reaper,
				  NULL);
	if (err)
		e->slab->reap_running = 0;
	return err;
}

void weir__slab_reaper_stop(struct engine *e)
{
	struct weir_host *h = e->host;

	e->slab->reap_word++;
	h->ops->wake_word(h, &e->slab->reap_word, UINT32_MAX);
	while (e->slab->reap_running)
		h->ops->wait(h, &e->slab->reap_running, 1, 0);
}
