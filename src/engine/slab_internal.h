/* SPDX-License-Identifier: MIT */
/* What slab.c and slabcpu.c share. Nobody else includes this. */
#ifndef WEIR_ENGINE_SLAB_INTERNAL_H
#define WEIR_ENGINE_SLAB_INTERNAL_H

#include "engine/slab.h"

#define SLAB_CACHES_MAX 32
#define KMALLOC_CLASSES 6 /* 64 to 2048 */

/* Objects that one CPU keeps of one cache. */
#define OBJECT_ARRAY_MAX 120

struct object_array {
	struct spin lock; /* RANK_SLABCPU */
	uint32_t avail, limit, batch;
	bool touched; /* gave an object since the reaper came last */
	void *entry[OBJECT_ARRAY_MAX]; /* the warmest last */
};

struct slab_cache {
	struct spin lock; /* RANK_SLAB; the lists and each slab's book */
	const char *name;
	uint32_t size, per_slab; /* (c) */
	struct list_head full, partial, empty;
	uint32_t nr_empty;
	uint64_t nr_slabs, nr_objects; /* objects in use, or in an array */

	/* timer mode */
	struct object_array *array; /* (c) [nr_cpus], or NULL */
	uint32_t free_limit;        /* (c) free objects that are kept */
	bool free_touched; /* an empty slab was used since the reaper came */
	uint64_t reaped_ns;
};

struct slab {
	_Atomic uintptr_t base; /* direct-map address of frame 0 */
	uint32_t nr_caches;     /* (c) after start-up */
	struct slab_cache cache[SLAB_CACHES_MAX];
	struct slab_cache *region, *anon_vma, *avc;
	struct slab_cache *kmalloc[KMALLOC_CLASSES];
	struct object_array *arrays; /* (c) of every cache; NULL: none */
	_Atomic uint32_t reap_word, reap_running;
};

/* --- slab.c -------------------------------------------------------------- */

/* => cache lock held. An object of a slab that has one; NULL: none has. */
void *weir__slab_pop(struct engine *e, struct slab_cache *c);
/* => cache lock held. The slab, when it is to be destroyed. */
struct frame *weir__slab_push(struct engine *e, struct slab_cache *c,
			      void *obj);
/* => no lock held */
void weir__slab_destroy(struct engine *e, struct frame *f);
/* => cache lock held. Free objects in slabs. */
uint64_t weir__slab_free_objects(const struct slab_cache *c);

/* --- slabcpu.c ------------------------------------------------------------ */

void weir__slabcpu_setup(struct engine *e, struct slab_cache *c);
/* NULL: neither here nor in any slab. */
void *weir__slabcpu_get(struct engine *e, struct slab_cache *c);
void weir__slabcpu_put(struct engine *e, struct slab_cache *c, void *obj);
/* Every object of every array of the cache goes back to its slab. */
void weir__slabcpu_drain(struct engine *e, struct slab_cache *c);
/* Objects in the arrays. */
uint64_t weir__slabcpu_objects(struct engine *e, struct slab_cache *c);

#endif
