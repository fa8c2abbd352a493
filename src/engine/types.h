/* SPDX-License-Identifier: MIT */
/*
 * The engine's objects. One struct, one room: the file named in each heading
 * holds the functions that change it; others read through that room's header.
 *
 * Lock key used in the comments below
 *   (c) constant after start-up            (a) atomic
 *   (l) frame's page lock                  (u) lruvec lock
 *   (z) zone lock                          (s) aspace lock
 *   (r) engine.rmap_lock                   (w) swap lock
 *   (p) per-CPU pcp lock                   (b) per-CPU batch lock
 */
#ifndef WEIR_ENGINE_TYPES_H
#define WEIR_ENGINE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/host.h"
#include "engine/locks.h"
#include "engine/stats.h"
#include "engine/tunable.h"
#include "util/itree.h"
#include "util/list.h"

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096u
#define PAGE_MASK  (~(uint64_t)(PAGE_SIZE - 1))

#define MAX_NODES 2
#define MAX_ZONES 3
#define MAX_CPUS  16
#define MAX_ORDER 10 /* largest block 2^10 pages */
#define NR_ORDERS (MAX_ORDER + 1)
#define PAGEBLOCK_ORDER 9 /* pages of one kind are kept together in these */
#define PAGEBLOCK_PAGES (1u << PAGEBLOCK_ORDER)

struct engine;
struct aspace;
struct region;
struct anon_vma;

/* ---------------------------------------------------------------- tasks --- */

enum {
	PF_MEMALLOC = 1 << 0, /* inside reclaim: may use every reserve */
	PF_KSWAPD = 1 << 1,
	PF_NOIO = 1 << 2, /* scope: every request loses these rights */
	PF_NOFS = 1 << 3,
	PF_EXITING = 1 << 4,
	PF_OOM_VICTIM = 1 << 5,
	PF_ATOMIC = 1 << 6, /* simulated interrupt context */
	PF_OOM_ORIGIN = 1 << 7, /* rather fails than has somebody ended */
	PF_CLOCKWORK = 1 << 8 /* wakes by the clock, whether there is work or
				 not: no sign of unrest */
};

#define TASK_LOCKS_MAX 8

/* A thread of the live host or a fiber of the simulator; made by the host. */
struct wtask {
	uint32_t id;	/* (c) from 1, unique in the engine */
	uint32_t cpu;	/* current CPU, below engine.nr_cpus */
	uint32_t flags; /* PF_*, changed by the task itself only */
	uint8_t nr_locks;
	uint8_t rank[TASK_LOCKS_MAX]; /* debug: spinlocks held, in order */
	const char *name;	      /* (c) */
	uint64_t stall_ns; /* time spent in direct reclaim */
	uint64_t reclaimed_slab; /* frames of slabs given back by this task */
	/* writeback.c: pages of files dirtied since the last look at the
	 * limits, and how many may be before the next */
	uint32_t nr_dirtied, nr_dirtied_pause;
};

/* --------------------------------------------------------------- frames --- */

/* frame.flags. The kernel's meaning under the kernel's name. */
enum {
	FRAME_LOCKED = 1u << 0,	 /* the page lock (frame.h) */
	FRAME_WAITERS = 1u << 1, /* somebody waits on flags */
	FRAME_REFERENCED = 1u << 2,
	FRAME_ACTIVE = 1u << 3,
	FRAME_LRU = 1u << 4, /* on a list; test-and-clear is the isolation */
	FRAME_WORKINGSET = 1u << 5,
	FRAME_DIRTY = 1u << 6,
	FRAME_WRITEBACK = 1u << 7,
	FRAME_RECLAIM = 1u << 8, /* rotate to the tail when written */
	FRAME_SWAPBACKED = 1u << 9,
	FRAME_SWAPCACHE = 1u << 10, /* frame.private is the swap entry */
	FRAME_UNEVICTABLE = 1u << 11,
	FRAME_MLOCKED = 1u << 12,
	FRAME_UPTODATE = 1u << 13,
	FRAME_ERROR = 1u << 14, /* the read failed: contents are not there */
	FRAME_PRIVATE = 1u << 15,
	FRAME_RESERVED = 1u << 16,
	FRAME_EXCLUSIVE = 1u << 17, /* anon page of exactly one aspace */
	FRAME_READAHEAD = 1u << 18, /* came with a neighbour, not yet used */
	FRAME_SLAB = 1u << 19,
	FRAME_PGTABLE = 1u << 20,
	FRAME_BUDDY = 1u << 21,	 /* head of a free block, order in .order */
	FRAME_ZERO = 1u << 22,	 /* mapped as zeros, not written since */
	FRAME_TAIL = 1u << 23,	 /* not the first frame of a block in use */
	FRAME_KERNEL = 1u << 24, /* engine-owned for other reasons */
	FRAME_ISOLATED_ANON = 1u << 25, /* counted in node.nr_isolated[0] */
	FRAME_ISOLATED_FILE = 1u << 26,	/* counted in node.nr_isolated[1] */
	FRAME_KEPT = 1u << 27,	/* its object (shmem) must stay in memory */
	FRAME_ASKED = 1u << 28,	/* stands in lruvec.asked, or will */
	FRAME_UNPACKED = 1u << 29 /* read from memory: the slot is a copy there
				     that takes place from others */
};

#define MAPPING_ANON ((uintptr_t)1) /* low bit of frame.mapping */

struct frame {
	_Atomic uint32_t flags;
	_Atomic int32_t refcount; /* 0 = free */
	_Atomic int32_t mapcount; /* page-table entries - 1 */
	uint8_t order;		  /* (z) free or allocated block */
	uint8_t zone;		  /* (c) index in its node */
	uint8_t node;		  /* (c) */
	uint8_t migratetype; /* (z) of the pageblock, in its first frame */
	uintptr_t mapping; /* NULL, anon_vma + MAPPING_ANON, or the struct
			      mapping whose cache it is in; (l) */
	uint64_t index;	   /* page of the file; anon: region_index() of its
			      address; (l) */
	struct list_head lru; /* (u) list, or whoever isolated it */
	uint64_t private;     /* swap entry while FRAME_SWAPCACHE; (l)+(w);
				 buffers while FRAME_PRIVATE; (l) */
	uint32_t mlock_count; /* (u) while unevictable */
	uint32_t error;	      /* errno of the failed read; (l) */
};

_Static_assert(sizeof(struct frame) <= 64, "one cache line per frame");

enum migratetype {
	MIGRATE_UNMOVABLE,
	MIGRATE_MOVABLE,
	MIGRATE_RECLAIMABLE,
	MIGRATE_HIGHATOMIC,
	NR_MIGRATETYPES
};

struct free_area {
	struct list_head list[NR_MIGRATETYPES]; /* (z) */
	uint64_t nr_free;			/* (z) blocks of this order */
	uint64_t nr_type[NR_MIGRATETYPES];	/* (z) the same, by type */
};

#define PCP_TYPES  3 /* unmovable, movable, reclaimable */
#define PCP_ORDERS 4

struct pcp {
	struct spin lock;
	int count; /* (p) pages on all lists */
	int batch, high, high_min, high_max;
	short alloc_factor, free_count;
	struct list_head list[PCP_ORDERS][PCP_TYPES]; /* (p) */
};

enum { WMARK_MIN, WMARK_LOW, WMARK_HIGH, WMARK_PROMO, NR_WMARK };

struct zone {
	struct spin lock;
	struct engine *engine; /* (c) */
	const char *name;      /* (c) "DMA32", "Normal" */
	uint8_t index, node;   /* (c) */
	pfn_t start;	       /* (c) first pfn */
	uint64_t spanned, present;
	_Atomic uint64_t managed;
	uint64_t wmark[NR_WMARK];
	_Atomic uint64_t watermark_boost;
	uint64_t lowmem_reserve[MAX_ZONES];
	_Atomic int64_t free_pages;
	_Atomic int64_t nr_highatomic; /* free pages of that type */
	uint64_t nr_reserved_highatomic; /* (z) pages of such pageblocks */
	_Atomic uint32_t below_high; /* flag: pcp lists shrink */
	_Atomic uint32_t reclaim_active; /* flag: kswapd works here (it sets
					    it); pcp lists stay short */
	_Atomic uint32_t boosted; /* flag: the boost rose, wake kswapd */
	struct free_area free_area[NR_ORDERS];
	struct pcp pcp[MAX_CPUS];
};

/* ---------------------------------------------------------------- lists --- */

enum lru_list {
	LRU_INACTIVE_ANON,
	LRU_ACTIVE_ANON,
	LRU_INACTIVE_FILE,
	LRU_ACTIVE_FILE,
	LRU_UNEVICTABLE, /* counted, never listed */
	NR_LRU_LISTS
};

#define LRUVEC_CGROUP_CONGESTED (1u << 0)
#define LRUVEC_NODE_CONGESTED	(1u << 1)

struct lruvec {
	struct spin lru_lock;
	struct list_head lists[NR_LRU_LISTS]; /* (u) newest at the head */
	/*
	 * (u) The old end of inactive anon where there are no accessed bits:
	 * pages that are out of place so that a touch shows. Counted in size[]
	 * as that list's. Empty on other machines.
	 */
	struct list_head asked;
	_Atomic int64_t nr_asked;
	_Atomic int64_t size[NR_LRU_LISTS];   /* pages; changed under (u) */
	_Atomic int64_t zone_size[MAX_ZONES][NR_LRU_LISTS];
	uint64_t anon_cost, file_cost;	   /* (u) */
	_Atomic uint64_t nonresident_age;  /* evictions + activations */
	_Atomic uint64_t refaults[2];	   /* snapshot [anon, file] */
	_Atomic uint64_t activate_refault[2]; /* WORKINGSET_ACTIVATE here */
	_Atomic uint32_t flags;
	struct node *pgdat; /* (c) */
};

#define FBATCH_MAX 31

enum batch_kind {
	BATCH_ADD,
	BATCH_ACTIVATE,
	BATCH_DEACTIVATE_FILE,
	BATCH_DEACTIVATE,
	BATCH_LAZYFREE,
	BATCH_MOVE_TAIL,
	BATCH_MLOCK,
	NR_BATCHES
};

struct fbatch {
	unsigned nr;
	/* pfn, and for BATCH_MLOCK the operation in the low two bits of tag */
	pfn_t pfn[FBATCH_MAX];
	uint8_t tag[FBATCH_MAX];
};

struct cpu_batches {
	struct spin lock;
	struct fbatch batch[NR_BATCHES]; /* (b) */
};

/* ---------------------------------------------------------------- nodes --- */

enum throttle_reason {
	THROTTLE_WRITEBACK,
	THROTTLE_ISOLATED,
	THROTTLE_NOPROGRESS,
	THROTTLE_CONGESTED,
	NR_THROTTLE
};

#define NODE_FLAG_DIRTY	    (1u << 0) /* many dirty pages at the tail */
#define NODE_FLAG_WRITEBACK (1u << 1)

struct node {
	struct engine *engine; /* (c) */
	uint8_t id;	       /* (c) */
	uint8_t nr_zones;      /* (c) */
	struct zone zones[MAX_ZONES];
	struct lruvec lruvec; /* the embedded one (no groups) */
	_Atomic uint32_t flags;
	_Atomic int64_t nr_isolated[2];	    /* [anon, file] */
	_Atomic int64_t nr_writeback;	    /* pages under write-back */
	_Atomic int64_t nr_dirty; /* of files, to be written; pcache.c */
	_Atomic uint32_t throttle[NR_THROTTLE]; /* wait words */
	_Atomic uint32_t nr_throttled[NR_THROTTLE];
	_Atomic uint32_t throttle_written; /* pages, since the first waited */
	_Atomic uint32_t pfmemalloc_wait; /* wait word */
	_Atomic uint32_t pfmemalloc_waiters;

	/* kswapd.c */
	_Atomic uint32_t kswapd_word; /* wait word: raised by each wake */
	_Atomic uint32_t kswapd_running;  /* the task exists */
	_Atomic uint32_t kswapd_sleeping; /* it looks for work no more */
	_Atomic uint32_t kswapd_failures;
	_Atomic uint32_t kswapd_order, kswapd_highest_zone;
	_Atomic uint32_t reclaim_count; /* raised whenever pages were freed */
};

/* ----------------------------------------------------------- who owns it --- */

/* A page-table entry: see pgtable.h for the bits. */
typedef _Atomic uint64_t pte_t;

enum {
	REGION_READ = 1 << 0,
	REGION_WRITE = 1 << 1,
	REGION_EXEC = 1 << 2,
	REGION_LOCKED = 1 << 3,
	REGION_SEQ = 1 << 4,  /* MADV_SEQUENTIAL */
	REGION_RAND = 1 << 5, /* MADV_RANDOM */
	REGION_DONTFORK = 1 << 6,
	REGION_WIPEONFORK = 1 << 7,
	REGION_SHARED = 1 << 8 /* of a file: writes go to the file */
};

/* A stream of neighbouring faults in a region; fault.c, swapin.c. (s) */
struct stream {
	uint64_t next; /* address where the stream goes on */
	uint32_t win;  /* pages of the last run */
	uint32_t hits; /* readahead pages used since */
	bool running;  /* the last window came one after another */
};

/* The same of all regions, by slot; swapwin.c. Relaxed atomics. */
struct swap_stream {
	uint64_t last; /* slot of the last fault that found no hits */
	uint32_t win;  /* pages of the last window */
	uint32_t hits; /* since then */
};

/*
 * [start, end) of one address space: private anonymous, or a file, shared or
 * private. Changed under (s); the bounds and the anon_vma links under (r) and
 * (s) both, so either lock is enough to read them.
 *
 * pgoff is what a page's index is counted from: region_index() and
 * region_addr() below. It is start >> PAGE_SHIFT when the region is made and
 * goes with the pages when they are moved (mremap), so frame.index never
 * changes while the page lives. Before the first anon page it binds nothing.
 * Of a file it is the page of the file at start, always.
 */
struct region {
	struct itree_node node; /* in aspace.regions, keyed by page number */
	struct aspace *as;
	uint64_t start, end;
	uint64_t pgoff;		    /* index of the page at start */
	uint32_t flags;		    /* REGION_* */
	struct anon_vma *anon_vma;  /* NULL until the first anon page */
	struct list_head avc_chain; /* anon_vma_chain.same_region */
	struct file *file;	    /* (c) NULL: anonymous */
	struct itree_node shared;   /* (r) in the file's i_mmap */
	uint64_t unmap_seq;	    /* (r) mapping.unmap_seq, when visited */
	struct stream ra;	    /* swap readahead */
	struct stream zf;	    /* first-touch runs */
	/* Where the first write to a page traps: how many of the pages read
	 * lately were then written (0..WRITE_BIAS_MAX), and who is not asked.
	 * See fault.c. */
	uint8_t write_bias, write_probe;
};

#define WRITE_BIAS_MAX 15

static inline uint64_t region_index(const struct region *r, uint64_t addr)
{
	return r->pgoff + ((addr - r->start) >> PAGE_SHIFT);
}

static inline uint64_t region_addr(const struct region *r, uint64_t index)
{
	return r->start + ((index - r->pgoff) << PAGE_SHIFT);
}

/*
 * What an anonymous page points to: the regions that may map it. It lives
 * while a chain links a region to it; whoever is linked to it is linked to
 * its ancestors too, so parent and root outlive it. See rmap.c.
 */
struct anon_vma {
	struct anon_vma *root;	 /* (c) the eldest; itself when first */
	struct anon_vma *parent; /* (c) itself when first */
	uint32_t nr_children;	 /* (r) the first counts itself */
	uint32_t nr_active;	 /* (r) regions whose anon_vma this is */
	struct itree tree;	 /* (r) anon_vma_chain by page index */
};

/* One region's link to one anon_vma. (r) */
struct anon_vma_chain {
	struct region *region;
	struct anon_vma *anon_vma;
	struct list_head same_region; /* (r)+(s) */
	struct itree_node node;
};

/*
 * What walks of the page tables found last: the leaf, and directories above
 * leaves, by the address bits that they stand for. Forgotten when a table goes.
 */
#define WALK_DIRS 8

struct pt_walk {
	uint64_t leaf_tag; /* + 1; 0 = none */
	pte_t *leaf;
	uint64_t dir_tag[WALK_DIRS];
	pte_t *dir[WALK_DIRS];
};

struct aspace {
	struct engine *engine; /* (c) */
	void *host;	       /* (c) the host's cookie */
	struct spin lock;      /* RANK_ASPACE: regions and page table */
	struct list_head link; /* engine.aspaces */
	_Atomic int32_t users;
	struct itree regions;  /* (s) */
	pfn_t pgd;	       /* (c) root table's frame */
	char *tables;	       /* (c) direct map's address of frame 0 */
	struct pt_walk walk;   /* (s) */
	_Atomic uint32_t busy_word; /* raised when a BUSY entry is let go and
				       somebody waits */
	_Atomic uint32_t busy_waiters;
	_Atomic int64_t nr_anon;     /* resident anonymous pages */
	_Atomic int64_t nr_file;     /* entries that map pages of files */
	_Atomic int64_t nr_swapents; /* swap entries */
	_Atomic int64_t nr_ptpages;  /* page-table frames */
	_Atomic int64_t nr_locked;   /* pages in REGION_LOCKED regions */
	int32_t oom_score_adj;
	_Atomic uint32_t flags; /* ASPACE_* */
};

enum {
	ASPACE_OOM_VICTIM = 1 << 0,
	ASPACE_DYING = 1 << 1,
	ASPACE_OOM_SKIP = 1 << 2, /* killed, and nothing more to hope from it */
	ASPACE_UNSTABLE = 1 << 3  /* its memory is taken away: no fault any
				     more. Set under (s) */
};

/* -------------------------------------------------------------- engine --- */

/* What a frame request may do: see alloc.h. */
typedef uint32_t gfp_t;

struct swap;	/* swap.c */
struct slab;	/* slab.c */
struct shrinkers; /* shrinker.c */
struct vfs;	  /* vfscache.c */
struct iopool;	  /* iopool.c */
struct pcache;	  /* pcache.c */
struct writeback; /* writeback.c */
struct mapping;	  /* pcache.h */
struct file;	  /* file.h */

struct engine_config {
	struct weir_host *host;
	uint32_t nr_cpus;
	uint32_t nr_nodes;
	/* zones[node][i] = pages; 0 = no such zone. Zone 0 is the lowest. */
	uint64_t zone_pages[MAX_NODES][MAX_ZONES];
	const struct tunables *tunables; /* NULL = defaults */
	void (*event)(void *ctx, const char *name, uint64_t a, uint64_t b,
		      uint64_t c); /* may be NULL */
	void *event_ctx;
};

struct engine {
	struct weir_host *host; /* (c) */
	struct tunables tun;
	struct stats stats;
	uint32_t nr_cpus, nr_nodes; /* (c) */

	struct frame *memmap; /* (c) memmap[pfn] */
	uint64_t nr_frames;   /* (c) */
	struct node nodes[MAX_NODES];
	uint64_t totalreserve;
	uint64_t min_free_kbytes; /* in force */
	uint64_t auto_min_free_kbytes;
	uint64_t wmark_managed; /* pages it was computed from */

	struct cpu_batches batches[MAX_CPUS];
	_Atomic uint32_t lru_disable_count; /* batches hold nothing back */
	struct slab *slab;
	struct swap *swap;
	struct swap_stream swap_stream;
	struct shrinkers *shrinkers;
	struct vfs *vfs; /* NULL: nobody asked for one */
	struct iopool *iopool;
	struct pcache *pcache;
	struct writeback *wb;

	struct spin aspaces_lock;
	struct list_head aspaces;
	struct spin rmap_lock; /* every anon_vma: see rmap.c */

	/*
	 * The slow path of allocation lives floors above the free lists; the
	 * start-up code sets it here (NULL: a failed fast path fails).
	 */
	struct frame *(*alloc_slow)(struct engine *e, gfp_t gfp,
				    unsigned order);
	/*
	 * Likewise: a user page below the limit of a group (limit.c), or a
	 * refusal. NULL: there is no limit but memory itself.
	 */
	bool (*charge)(struct engine *e, gfp_t gfp);
	uint64_t limit_pages; /* (c) */
	/* Likewise: wakes kswapd of a zone whose boost rose. May be NULL. */
	void (*wake_boosted)(struct engine *e, struct zone *z);
	/* (c) no lock is a scheduling point, and nobody counts them */
	bool quick_locks;
	_Atomic uint32_t oom_lock;
	uint64_t oom_since_ns;	/* last kill; under oom_lock */
	uint64_t oom_report_ns; /* last report; under oom_lock */
	_Atomic uint32_t oom_reap_word; /* wait word: somebody was killed */
	_Atomic uint32_t oom_reaper_running;
	_Atomic uint32_t stopping; /* workers end */
	_Atomic bool drop_silently; /* manual.c */

	void (*event)(void *ctx, const char *name, uint64_t a, uint64_t b,
		      uint64_t c);
	void *event_ctx;
};

static inline struct frame *weir__frame(struct engine *e, pfn_t pfn)
{
	return &e->memmap[pfn];
}

static inline pfn_t weir__pfn(const struct engine *e, const struct frame *f)
{
	return (pfn_t)(f - e->memmap);
}

static inline struct wtask *weir__self(struct engine *e)
{
	return e->host->ops->self(e->host);
}

/* --------------------------------------------------------------- locks --- */

static inline void weir__spin_lock(struct engine *e, struct spin *s)
{
	if (!e->quick_locks || !spin_grab(s))
		weir__spin_lock_slow(e, s);
}

static inline void weir__spin_unlock(struct engine *e, struct spin *s)
{
	if (e->quick_locks)
		atomic_store_explicit(&s->word, 0, memory_order_release);
	else
		weir__spin_unlock_slow(e, s);
}

#endif
