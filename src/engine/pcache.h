/* SPDX-License-Identifier: MIT */
/*
 * The page cache: which frame holds which page of which file.
 *
 * A mapping is an object whose pages live in memory and somewhere else: a file
 * of the host's, or shared memory, which swap extends (shmem.h). Its tree holds
 * for each page number nothing, the frame, the shadow of a page that was
 * evicted (workingset.h), or, for shared memory, the swap entry.
 *
 * What protects a page's place in the tree: it enters and leaves with its page
 * lock held, under mapping.lock. So either one is enough to find it standing
 * still, and frame.mapping names a living mapping as long as one of these
 * holds: the page lock, or an entry that maps it and its aspace lock.
 *
 * References: the cache holds one to each page in it, buffers (FRAME_PRIVATE)
 * one more.
 */
#ifndef WEIR_ENGINE_PCACHE_H
#define WEIR_ENGINE_PCACHE_H

#include "engine/alloc.h"
#include "util/xtree.h"

enum mapping_kind { MAPPING_FILE, MAPPING_SHMEM };

enum {
	MAPPING_UNLINKED = 1 << 0, /* nobody will want what was not written */
	MAPPING_NOSWAP = 1 << 1,   /* shmem: stays in memory */
	MAPPING_PINNED = 1 << 2,   /* SHM_LOCK: the same, for now */
	MAPPING_BUFFERS = 1 << 3,  /* written in blocks smaller than a page */
	MAPPING_DYING = 1 << 4,    /* no page enters any more */
};

enum { XT_DIRTY, XT_WRITEBACK };

/* Lock key, besides that of types.h: (t) mapping.lock, (m) pcache.lock,
 * (i) mapping.inode, (b) writeback lock */
struct mapping {
	struct engine *engine; /* (c) */
	struct list_head link; /* (m) pcache.mappings */
	_Atomic int32_t users; /* who made it, and opened files */
	uint8_t kind;	       /* (c) */
	uint32_t id;	       /* (c) weir_io.area of its I/O */
	_Atomic uint32_t flags; /* MAPPING_* */
	_Atomic uint32_t error; /* of a failed write, until a sync tells it */

	struct wmutex inode;   /* writes and truncation, one at a time */
	_Atomic uint64_t size; /* bytes; changed under (i) and (t) */

	struct spin lock;  /* RANK_PCACHE */
	struct xtree tree; /* (t) */
	_Atomic uint64_t nr_pages, nr_shadows, nr_swapped; /* written (t) */
	_Atomic uint64_t nr_dirty, nr_writeback;	   /* written (t) */

	struct itree i_mmap; /* (r) region.shared, by page number */
	uint64_t unmap_seq;  /* (r) one walk over i_mmap, under (i) */

	struct list_head dirty_link; /* (b) */
	bool dirty_listed;	     /* (t) and (b) */
	uint64_t dirtied_ns;	     /* (b) since when it is in that list */
	uint64_t wb_round;	     /* (b) in which it was done */
	uint64_t writeback_next;     /* the flusher's: where it goes on */
};

struct pcache {
	struct spin lock; /* RANK_MAPPINGS */
	struct list_head mappings; /* (m) */
	_Atomic uint32_t nr_dead;  /* of these: without users, to be ended */
	struct slab_cache *node_cache, *mapping_cache, *file_cache; /* (c) */
	struct slab_cache *buffer_cache;			    /* (c) */
	struct spin shadow_lock;       /* RANK_SHADOW */
	struct list_head shadow_nodes; /* oldest first */
	_Atomic uint64_t nr_shadow_nodes;
};

int weir__pcache_init(struct engine *e);

/* --- mappings ----------------------------------------------------------- */

/* With one user. 0 or -ENOMEM. */
int weir__mapping_create(struct engine *e, enum mapping_kind kind, uint32_t id,
			 uint64_t size, uint32_t flags, struct mapping **out);
void weir__mapping_get(struct mapping *m);
/* [sleep] The last user writes what is dirty, empties the cache and frees. */
void weir__mapping_put(struct mapping *m);
/* [any] The same where nobody may sleep: the end is put off until
 * weir__mappings_reap. */
void weir__mapping_put_later(struct mapping *m);
/* [sleep] Ends what was put off. */
void weir__mappings_reap(struct engine *e);
/* The mapping after m (NULL: the first) with a reference; m's is dropped.
 * NULL at the end. */
struct mapping *weir__mapping_next(struct engine *e, struct mapping *m);

/* The file's mapping of a page, or NULL: anonymous, or nobody's. => see above
 * for how long it lives */
static inline struct mapping *weir__frame_mapping(const struct frame *f)
{
	uintptr_t m = __atomic_load_n(&f->mapping, __ATOMIC_RELAXED);

	return m & MAPPING_ANON ? NULL : (struct mapping *)m;
}

static inline uint64_t weir__mapping_pages(const struct mapping *m)
{
	return (m->size + PAGE_SIZE - 1) >> PAGE_SHIFT;
}

/* --- pages -------------------------------------------------------------- */

/* With a reference; NULL where there is none (or only a value). [any] */
struct frame *weir__pcache_find(struct mapping *m, uint64_t index);
/* The bare entry: 0, a frame's address, a value. [any] */
uint64_t weir__pcache_entry(struct mapping *m, uint64_t index);

enum {
	PCACHE_OVERWRITE = 1 << 0, /* it will be written whole: what stood there
				      is no refault */
	PCACHE_BEYOND = 1 << 1	   /* also past the file's end (a write) */
};

/*
 * => f locked by the caller and in no cache. Enters it at index in place of
 * nothing, a shadow or the value `expected`, judges the refault, and gives it
 * to the LRU lists. 0; -EEXIST something else is there; -ERANGE past the end;
 * -ENOMEM no node.
 */
int weir__pcache_add(struct mapping *m, struct frame *f, uint64_t index,
		     uint64_t expected, unsigned flags, gfp_t gfp);
/* => page lock held, page in a cache and not mapped. The cache's reference goes
 * to the caller. */
void weir__pcache_delete(struct engine *e, struct frame *f);
/*
 * => page lock held. The last steps of a page: if exactly `expected` references
 * are left and it is not dirty, freezes them at 0 and takes it out. What was
 * reclaimed from a file leaves a shadow. False: nothing changed.
 */
bool weir__pcache_remove_frozen(struct engine *e, struct frame *f, int expected,
				bool reclaimed);
/* => page lock held. A page of shared memory makes room for its swap entry; the
 * cache's reference goes to the caller. */
void weir__pcache_to_swap(struct engine *e, struct frame *f, uint64_t value);
/* A shadow or swap entry goes: the value that was there, or 0. [any] */
uint64_t weir__pcache_clear_value(struct mapping *m, uint64_t index);

/* --- dirty and being written --------------------------------------------- */

/*
 * The page's contents are newer than their home. For every kind of page.
 * => page lock held, or an entry maps it and its aspace lock is held. True
 * when it was clean. [any]
 */
bool weir__page_dirty(struct engine *e, struct frame *f);
/* => page lock held. What was dirty is written now, or given up. True when it
 * was dirty. */
bool weir__page_clean(struct engine *e, struct frame *f);
/* => page lock held; [any] for the end. Marks in the tree and counts. */
void weir__page_start_writeback(struct engine *e, struct frame *f);
void weir__page_end_writeback(struct engine *e, struct frame *f);

/* --- shadows -------------------------------------------------------------- */

/* A shrinker's count and scan: nodes of shadows beyond an eighth of memory's
 * pages; gives up to nr of them, oldest first, and returns how many. [any] */
uint64_t weir__shadow_nodes_count(struct engine *e);
uint64_t weir__shadow_nodes_scan(struct engine *e, uint64_t nr);

/* Tree, tags, counts, and every page against it. => at rest */
bool weir__mapping_is_valid(struct mapping *m);

#endif
