/* SPDX-License-Identifier: MIT */
/*
 * Slab: the engine's own objects on top of frames.
 *
 * A cache holds objects of one size in order-0 frames of the direct map. An
 * empty slab's frame goes back to the buddy lists at once beyond a small
 * reserve (min_partial); weir__slab_shrink gives back the rest.
 */
#ifndef WEIR_ENGINE_SLAB_H
#define WEIR_ENGINE_SLAB_H

#include "engine/alloc.h"

struct slab_cache;

int weir__slab_init(struct engine *e);

/* size up to 2048 bytes. The name is kept, not copied. NULL when refused. */
struct slab_cache *weir__slab_cache_create(struct engine *e, const char *name,
					   size_t size);
/* Uninitialised object, or NULL. Sleeps only as gfp allows. */
void *weir__slab_alloc(struct engine *e, struct slab_cache *c, gfp_t gfp);
/* Node of the object's memory. */
uint8_t weir__slab_node(struct engine *e, const void *obj);
/* [any] */
void weir__slab_free(struct engine *e, struct slab_cache *c, void *obj);

/* The engine's fixed caches, created by weir__slab_init. */
struct slab_cache *weir__cache_region(struct engine *e);
struct slab_cache *weir__cache_anon_vma(struct engine *e);
struct slab_cache *weir__cache_avc(struct engine *e);
/* 64, 128, 256, 512, 1024, 2048 bytes. */
void *weir__kmalloc(struct engine *e, size_t size, gfp_t gfp);
void weir__kfree(struct engine *e, void *obj);

/*
 * Timer mode (tunable slab_reap): each CPU keeps objects of its own in front of
 * the slabs, and a task comes by every two seconds and takes from those that
 * nobody used. start: 0 or -errno; harmless when the mode is off. stop:
 * e->stopping is set.
 */
int weir__slab_reaper_start(struct engine *e);
void weir__slab_reaper_stop(struct engine *e);
/* One visit, as of now. */
void weir__cache_reap(struct engine *e);

/* Frees every empty slab; pages freed. */
unsigned long weir__slab_shrink(struct engine *e);
/* Objects in use over all caches: 0 after everything is torn down. */
uint64_t weir__slab_objects(struct engine *e);
bool weir__slab_is_valid(struct engine *e);

#endif
