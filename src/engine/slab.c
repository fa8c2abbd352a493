/* SPDX-License-Identifier: MIT */
/*
 * Slab: the engine's own objects.
 *
 * A slab is one frame of the direct map, cut into objects of one size. Its
 * book is the frame's descriptor, so that the whole page is for objects:
 *
 *   mapping   the cache
 *   index     direct-map address of the first free object, 0 when full
 *   private   objects in use (frame_class reads it without the lock)
 *   lru       the cache's list: full, partial or empty
 *
 * A free object's first word is the address of the next one. The direct map is
 * one piece (host.h), so an object's address gives its frame, and that gives
 * its cache: weir__kfree needs nothing else.
 *
 * Frames are taken and given back with no cache lock held: taking one may
 * reclaim, and reclaim frees objects.
 *
 *   task A                            task B
 *   finds no free object, unlocks
 *                                     finds none either, unlocks
 *   takes a frame, locks, adds it     takes a frame, locks, adds it
 *
 * Both slabs stay; the second is used up later or given back when empty. That
 * costs a frame for a while and needs no second look under the lock.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/check.h"
#include "engine/frame.h"
#include "engine/slab_internal.h"

#define SLAB_ALIGN      16
#define SLAB_OBJECT_MAX 2048
#define SLAB_MIN_PARTIAL 2

#define KMALLOC_MIN     64

#ifdef WEIR_DEBUG
#define POISON_FREED 1
#else
#define POISON_FREED 0
#endif
#define POISON 0x6b

/* ------------------------------------------------------------------- caches */

struct slab_cache *weir__slab_cache_create(struct engine *e, const char *name,
					   size_t size)
{
	struct slab *s = e->slab;
	struct slab_cache *c;

	if (!size || size > SLAB_OBJECT_MAX || s->nr_caches == SLAB_CACHES_MAX)
		return NULL;
	c = &s->cache[s->nr_caches++];
	weir__spin_init(&c->lock, RANK_SLAB);
	c->name = name;
	c->size =
	    (uint32_t)((size + SLAB_ALIGN - 1) & ~(size_t)(SLAB_ALIGN - 1));
	c->per_slab = PAGE_SIZE / c->size;
	list_init(&c->full);
	list_init(&c->partial);
	list_init(&c->empty);
	if (s->arrays)
		weir__slabcpu_setup(e, c);
	return c;
}

int weir__slab_init(struct engine *e)
{
	static const char *const name[KMALLOC_CLASSES] = {
	    "kmalloc-64",  "kmalloc-128",  "kmalloc-256",
	    "kmalloc-512", "kmalloc-1024", "kmalloc-2048"};
	struct slab *s = e->host->ops->meta_alloc(e->host, sizeof(*s));

	if (!s)
		return -ENOMEM;
	e->slab = s;
	if (e->tun.slab_reap) {
		s->arrays = e->host->ops->meta_alloc(
		    e->host, SLAB_CACHES_MAX * e->nr_cpus *
				 sizeof(*s->arrays));
		if (!s->arrays)
			return -ENOMEM;
	}
	s->region = weir__slab_cache_create(e, "region", sizeof(struct region));
	s->anon_vma =
	    weir__slab_cache_create(e, "anon_vma", sizeof(struct anon_vma));
	s->avc = weir__slab_cache_create(e, "anon_vma_chain",
					 sizeof(struct anon_vma_chain));
	for (unsigned i = 0; i < KMALLOC_CLASSES; i++)
		s->kmalloc[i] = weir__slab_cache_create(
		    e, name[i], (size_t)KMALLOC_MIN << i);
	return 0;
}

struct slab_cache *weir__cache_region(struct engine *e)
{
	return e->slab->region;
}

struct slab_cache *weir__cache_anon_vma(struct engine *e)
{
	return e->slab->anon_vma;
}

struct slab_cache *weir__cache_avc(struct engine *e)
{
	return e->slab->avc;
}

/* -------------------------------------------------------------------- slabs */

static uintptr_t slab_start(struct engine *e, const struct frame *f)
{
	return atomic_load_explicit(&e->slab->base, memory_order_relaxed) +
	       (uintptr_t)weir__pfn(e, f) * PAGE_SIZE;
}

static struct frame *slab_of(struct engine *e, const void *obj)
{
	uintptr_t base =
	    atomic_load_explicit(&e->slab->base, memory_order_relaxed);
	uintptr_t n = ((uintptr_t)obj - base) / PAGE_SIZE;

	weir__bug_on(e, (uintptr_t)obj < base || n >= e->nr_frames);
	weir__bug_on(e, !frame_test(&e->memmap[n], FRAME_SLAB));
	return weir__frame(e, (pfn_t)n);
}

uint8_t weir__slab_node(struct engine *e, const void *obj)
{
	return slab_of(e, obj)->node;
}

static struct slab_cache *cache_of(const struct frame *f)
{
	return (struct slab_cache *)__atomic_load_n(&f->mapping,
						    __ATOMIC_RELAXED);
}

static void set_in_use(struct frame *f, uint64_t n)
{
	__atomic_store_n(&f->private, n, __ATOMIC_RELAXED);
}

static void poison(const struct slab_cache *c, void *obj)
{
	if (POISON_FREED)
		memset((char *)obj + sizeof(void *), POISON,
		       c->size - sizeof(void *));
}

static struct frame *slab_create(struct engine *e, struct slab_cache *c,
				 gfp_t gfp)
{
	struct frame *f =
	    weir__frames_alloc(e, gfp & ~(gfp_t)(GFP_ZERO | GFP_MOVABLE), 0);
	uintptr_t start;
	void *next = NULL;

	if (!f)
		return NULL;
	start = (uintptr_t)e->host->ops->direct(e->host, weir__pfn(e, f));
	/* the same value each time */
	atomic_store_explicit(&e->slab->base,
			      start - (uintptr_t)weir__pfn(e, f) * PAGE_SIZE,
			      memory_order_relaxed);
	for (unsigned i = c->per_slab; i-- > 0;) {
		void **obj = (void **)(start + (uintptr_t)i * c->size);

		*obj = next;
		poison(c, obj);
		next = obj;
	}
	f->index = (uint64_t)(uintptr_t)next;
	set_in_use(f, 0);
	__atomic_store_n(&f->mapping, (uintptr_t)c, __ATOMIC_RELAXED);
	weir__frame_set(f, FRAME_SLAB);
	weir__stat_inc(e, STAT_nr_slab_pages);
	return f;
}

void weir__slab_destroy(struct engine *e, struct frame *f)
{
	weir__bug_on(e, f->private != 0);
	weir__frame_clear(f, FRAME_SLAB);
	weir__stat_add(e, STAT_nr_slab_pages, -1);
	weir__self(e)->reclaimed_slab++;
	weir__frames_free(e, f, 0);
}

/* ------------------------------------------------------------------ objects */

void *weir__slab_pop(struct engine *e, struct slab_cache *c)
{
	bool fresh = list_empty(&c->partial);
	struct frame *f;
	void **obj;

	if (fresh && list_empty(&c->empty))
		return NULL;
	f = list_first_entry(fresh ? &c->empty : &c->partial, struct frame,
			     lru);
	obj = (void **)(uintptr_t)f->index;
	weir__bug_on(e, !obj);
	if (fresh) {
		list_move(&f->lru, &c->partial);
		c->nr_empty--;
		c->free_touched = true;
	}
	f->index = (uint64_t)(uintptr_t)*obj;
	set_in_use(f, f->private + 1);
	c->nr_objects++;
	if (f->private == c->per_slab)
		list_move(&f->lru, &c->full);
	return obj;
}

/* One more empty slab. */
static bool grow(struct engine *e, struct slab_cache *c, gfp_t gfp)
{
	struct frame *f = slab_create(e, c, gfp);

	if (!f)
		return false;
	weir__spin_lock(e, &c->lock);
	list_add(&f->lru, &c->empty);
	c->nr_empty++;
	c->nr_slabs++;
	weir__spin_unlock(e, &c->lock);
	return true;
}

static void *take_object(struct engine *e, struct slab_cache *c)
{
	void *obj;

	if (c->array)
		return weir__slabcpu_get(e, c);
	weir__spin_lock(e, &c->lock);
	obj = weir__slab_pop(e, c);
	weir__spin_unlock(e, &c->lock);
	return obj;
}

void *weir__slab_alloc(struct engine *e, struct slab_cache *c, gfp_t gfp)
{
	void *obj;

	/* another task may be faster with the new slab, too */
	while (!(obj = take_object(e, c)))
		if (!grow(e, c, gfp))
			return NULL;
	if (gfp & GFP_ZERO)
		memset(obj, 0, c->size);
	return obj;
}

uint64_t weir__slab_free_objects(const struct slab_cache *c)
{
	return c->nr_slabs * c->per_slab - c->nr_objects;
}

/* The slab that goes after an object came back, if one does. Without arrays a
 * few empty ones stay, so that use around a slab's edge does not take and give
 * a frame each time; with them, as many as the reaper leaves. */
static struct frame *surplus(struct slab_cache *c)
{
	struct frame *f;

	if (!c->nr_empty)
		return NULL;
	if (c->array ? weir__slab_free_objects(c) <= c->free_limit
		     : c->nr_empty <= SLAB_MIN_PARTIAL)
		return NULL;
	f = list_last_entry(&c->empty, struct frame, lru);
	list_del(&f->lru);
	c->nr_empty--;
	c->nr_slabs--;
	return f;
}

struct frame *weir__slab_push(struct engine *e, struct slab_cache *c, void *obj)
{
	struct frame *f = slab_of(e, obj);

	weir__bug_on(e, f->private == 0);
	weir__bug_on(e, f->index == (uint64_t)(uintptr_t)obj);
	poison(c, obj);
	*(void **)obj = (void *)(uintptr_t)f->index;
	f->index = (uint64_t)(uintptr_t)obj;
	set_in_use(f, f->private - 1);
	c->nr_objects--;
	if (f->private) {
		/* it was full, or is partial already: to the front, warm */
		list_move(&f->lru, &c->partial);
	} else {
		list_move(&f->lru, &c->empty);
		c->nr_empty++;
	}
	return surplus(c);
}

void weir__slab_free(struct engine *e, struct slab_cache *c, void *obj)
{
	struct frame *f = slab_of(e, obj);

	weir__bug_on(e, cache_of(f) != c);
	weir__bug_on(e, ((uintptr_t)obj - slab_start(e, f)) % c->size);
	if (c->array) {
		weir__slabcpu_put(e, c, obj);
		return;
	}
	weir__spin_lock(e, &c->lock);
	f = weir__slab_push(e, c, obj);
	weir__spin_unlock(e, &c->lock);
	if (f)
		weir__slab_destroy(e, f);
}

void *weir__kmalloc(struct engine *e, size_t size, gfp_t gfp)
{
	for (unsigned i = 0; i < KMALLOC_CLASSES; i++)
		if (size <= (size_t)KMALLOC_MIN << i)
			return weir__slab_alloc(e, e->slab->kmalloc[i], gfp);
	return NULL;
}

void weir__kfree(struct engine *e, void *obj)
{
	if (obj)
		weir__slab_free(e, cache_of(slab_of(e, obj)), obj);
}

/* ------------------------------------------------------------- all of them */

unsigned long weir__slab_shrink(struct engine *e)
{
	unsigned long nr = 0;

	for (uint32_t i = 0; i < e->slab->nr_caches; i++) {
		struct slab_cache *c = &e->slab->cache[i];
		struct frame *f, *tmp;
		LIST_HEAD(idle);

		if (c->array)
			weir__slabcpu_drain(e, c);
		weir__spin_lock(e, &c->lock);
		list_splice_init(&c->empty, &idle);
		c->nr_slabs -= c->nr_empty;
		c->nr_empty = 0;
		weir__spin_unlock(e, &c->lock);
		list_for_each_entry_safe (f, tmp, &idle, lru) {
			list_del(&f->lru);
			weir__slab_destroy(e, f);
			nr++;
		}
	}
	return nr;
}

uint64_t weir__slab_objects(struct engine *e)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < e->slab->nr_caches; i++) {
		struct slab_cache *c = &e->slab->cache[i];

		weir__spin_lock(e, &c->lock);
		n += c->nr_objects;
		weir__spin_unlock(e, &c->lock);
		if (c->array)
			n -= weir__slabcpu_objects(e, c);
	}
	return n;
}

/* The chain of free objects is as long as the book says, and inside. */
static bool slab_is_valid(struct engine *e, const struct slab_cache *c,
			  const struct frame *f)
{
	uintptr_t start = slab_start(e, f), obj = (uintptr_t)f->index;
	uint64_t nr_free = 0;

	if (!frame_test(f, FRAME_SLAB) || cache_of(f) != c)
		return false;
	for (; obj; obj = (uintptr_t) * (void **)obj) {
		if (obj < start || obj - start >= c->per_slab * c->size ||
		    (obj - start) % c->size)
			return false;
		if (++nr_free > c->per_slab)
			return false;
	}
	return nr_free + f->private == c->per_slab;
}

struct tally {
	uint64_t slabs, objects;
};

static bool list_is_valid(struct engine *e, struct slab_cache *c,
			  struct list_head *l, uint64_t least, uint64_t most,
			  struct tally *t)
{
	struct frame *f;

	list_for_each_entry (f, l, lru) {
		if (!slab_is_valid(e, c, f) || f->private < least ||
		    f->private > most)
			return false;
		t->slabs++;
		t->objects += f->private;
	}
	return true;
}

bool weir__slab_is_valid(struct engine *e)
{
	bool ok = true;

	for (uint32_t i = 0; ok && i < e->slab->nr_caches; i++) {
		struct slab_cache *c = &e->slab->cache[i];
		struct tally t = {0, 0};

		weir__spin_lock(e, &c->lock);
		ok = list_is_valid(e, c, &c->empty, 0, 0, &t) &&
		     t.slabs == c->nr_empty &&
		     list_is_valid(e, c, &c->partial, 1, c->per_slab - 1, &t) &&
		     list_is_valid(e, c, &c->full, c->per_slab, c->per_slab,
				   &t) &&
		     t.slabs == c->nr_slabs && t.objects == c->nr_objects;
		weir__spin_unlock(e, &c->lock);
	}
	return ok;
}
