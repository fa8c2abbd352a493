/* SPDX-License-Identifier: MIT */
/*
 * The only way out of the engine.
 *
 * The engine decides; a host owns the machine: time, threads, the program's
 * memory and the disk. Everything the engine needs from it is one of the
 * functions below. Two hosts implement them: host/live (userfaultfd, io_uring,
 * threads) and host/sim (virtual clock, simulated MMU and disk, fibers).
 *
 * Words used here
 *   frame      one 4 KiB page frame of the budget, named by its number (pfn).
 *   in place   a user page's contents stand at the program's own address and
 *              the program uses them without the engine's knowledge.
 *   in hand    a user page's contents stand in its frame's buffer, where only
 *              engine and host reach them (swap cache, "unmapped, still in its
 *              frame", I/O).
 * A frame's contents are in place, in hand, or nowhere (free, or a fresh
 * frame). Only map() and unmap() move them.
 *
 * Context marks on each function
 *   [any]    may be called with spinlocks held; never sleeps.
 *   [sleep]  may sleep: call it with no spinlock held.
 */
#ifndef WEIR_ENGINE_HOST_H
#define WEIR_ENGINE_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/list.h"

struct weir_host;
struct wtask;
struct engine;

typedef uint32_t pfn_t;
#define PFN_NONE ((pfn_t)UINT32_MAX)

/* One page of a map, unmap or protect batch. */
struct weir_vec {
	uint64_t addr; /* program address, page aligned */
	pfn_t pfn;
	uint16_t flags; /* VEC_* */
	int16_t status; /* out: 0 or -errno, set for every page */
};

enum {
	VEC_WRITE = 1 << 0, /* map: the program may write without a trap */
	VEC_ZERO = 1 << 1,  /* map: contents are zeros; the frame has no buffer */
	VEC_LOCKED = 1 << 2, /* unmap, out: refused because the program locked it */
	VEC_SOFT = 1 << 3 /* map: what unmap took out goes back as it is */
};

enum weir_io_op { WEIR_IO_READ, WEIR_IO_WRITE };

/* Whose pages: a swap area's slots, or a file's, by page number. */
enum weir_io_target { WEIR_IO_SWAP, WEIR_IO_FILE };

#define WEIR_IO_PAGES_MAX 256 /* 1 MiB */

/*
 * One run of consecutive slots of one swap area, or pages of one file, read
 * into or written from frames that are in hand. The engine fills everything but
 * status; the host sets status[i] for each page (0, -EIO, -ENOSPC, -EBADMSG for
 * a checksum mismatch) and calls done() once. A page of a file that was never
 * written reads as zeros. A host without files answers -EOPNOTSUPP.
 *
 * done() is called by whoever reaps the completion (wait, io_poll, a host
 * thread), in "interrupt context": it may take spinlocks and wake words, never
 * sleep. After done() is entered the host does not touch the io again.
 */
struct weir_io {
	struct list_head link; /* host's while submitted, the owner's otherwise */
	enum weir_io_op op;
	enum weir_io_target target;
	uint32_t area;	  /* swap area (type), or mapping.id of the file */
	uint32_t nr;	  /* 1..WEIR_IO_PAGES_MAX */
	uint64_t slot;	  /* first slot, or page of the file */
	/* A read that its submitter waits for at once and that nothing else
	 * is to overlap with: the host may end it before it returns. */
	bool sync;
	/* out: every page was read from memory, none from a disk. */
	bool in_memory;
	uint64_t host[4]; /* scratch for the host */
	void (*done)(struct engine *e, struct weir_io *io);
	void *owner;
	pfn_t *pfn;	 /* [nr] */
	int16_t *status; /* [nr] */
};

typedef void weir_worker_fn(struct engine *e, void *arg);

struct weir_host_ops {
	/* --- time ------------------------------------------------------- */

	/* [any] Monotonic nanoseconds. */
	uint64_t (*now_ns)(struct weir_host *h);

	/* --- memory ----------------------------------------------------- */

	/*
	 * [any, start-up only] Zero-filled memory for arrays that live as long
	 * as the engine (memmap, swap_map). Populated when touched. NULL when
	 * refused. Never freed one by one: the host frees all of it at the end.
	 */
	void *(*meta_alloc)(struct weir_host *h, size_t bytes);

	/*
	 * [any] The address of an engine-owned frame (slab, page table): the
	 * direct map. Frame n+1 follows frame n. Contents are undefined until
	 * written.
	 */
	void *(*direct)(struct weir_host *h, pfn_t pfn);

	/*
	 * [any] The contents of a frame in hand, for reading or filling; gives
	 * the frame a buffer when it has none (contents then undefined). The
	 * address is valid until map() or release() of the frame. NULL in a
	 * simulation without contents.
	 */
	void *(*contents)(struct weir_host *h, pfn_t pfn);

	/*
	 * [any] The frames go back to the free lists: contents are dead,
	 * whatever they were (buffer or direct map). Called once for each
	 * block on its way to the buddy lists.
	 */
	void (*release)(struct weir_host *h, pfn_t pfn, unsigned nr);

	/* --- translation ------------------------------------------------ */
	/*
	 * `as` is the cookie given to weir__aspace_create. The caller holds
	 * the BUSY bit of every page-table entry named, so no two calls ever
	 * work on one address at a time. Entries are sorted by address.
	 */

	/*
	 * [sleep] In hand -> in place. status: 0; -EAGAIN the address space is
	 * changing under us (a munmap, madvise or fork not yet applied): let
	 * go and take the fault again; -ENOENT no such mapping any more;
	 * -EEXIST something is there already; -ENOMEM. Where status is not 0
	 * the contents are still in hand. Wakes threads waiting at the address
	 * where status is 0. A write of the frame may be under way: the host
	 * keeps what it writes until that has ended.
	 */
	void (*map)(struct weir_host *h, void *as, struct weir_vec *v,
		    unsigned nr);

	/*
	 * [sleep] In place -> in hand. The program's next touch faults.
	 * status: 0; -EAGAIN, -EBUSY (pinned, shared after fork: try later);
	 * -ENOENT nothing was there; -EPERM locked by the program (VEC_LOCKED
	 * is set). Where status is not 0 nothing has moved.
	 */
	void (*unmap)(struct weir_host *h, void *as, struct weir_vec *v,
		      unsigned nr);

	/*
	 * [sleep] Lets the program write (VEC_WRITE) or traps its next write.
	 * Contents stay in place. Wakes waiters when writing is let. status as
	 * for map.
	 */
	void (*protect)(struct weir_host *h, void *as, struct weir_vec *v,
			unsigned nr);

	/* [sleep] Whoever waits at addr tries its access again. */
	void (*wake)(struct weir_host *h, void *as, uint64_t addr);

	/* [sleep] Every touch of this page is an error (SIGBUS) from now on. */
	int (*poison)(struct weir_host *h, void *as, uint64_t addr);

	/*
	 * The machine sets the accessed and dirty bits in the engine's
	 * page-table entries. Where false, the engine asks by unmapping: see
	 * pagelist.c.
	 */
	bool has_accessed_bit;

	/* --- disk ------------------------------------------------------- */

	/* [sleep] Takes the io; done() follows, possibly before the return. */
	void (*io_submit)(struct weir_host *h, struct weir_io *io);

	/* [any without spinlocks] Runs done() of what has finished. */
	void (*io_poll)(struct weir_host *h);

	/*
	 * [any] Pages of the area are no longer needed. May be ignored. A
	 * hint that lets a store give back space.
	 */
	void (*io_discard)(struct weir_host *h, uint32_t area, uint64_t slot,
			   unsigned nr);

	/*
	 * [any] This slot has just been freed; io_discard follows when its
	 * whole cluster is empty. leased: a forked child may still read what a
	 * disk has of it. With the swap lock held. May be NULL.
	 */
	void (*io_slot_free)(struct weir_host *h, uint32_t area, uint64_t slot,
			     bool leased);

	/*
	 * [sleep] The file ends before page `first` from now on: what was
	 * stored from there on is gone, and reads as zeros should the file grow
	 * again. No I/O of those pages is under way. May be NULL where there
	 * are no files.
	 */
	void (*file_cut)(struct weir_host *h, uint32_t file, uint64_t first);

	/* --- tasks ------------------------------------------------------ */

	/* [any] The running task (thread or fiber), never NULL. */
	struct wtask *(*self)(struct weir_host *h);

	/*
	 * [start-up] Starts fn(e, arg) as a task of its own with
	 * wtask.flags = flags. 0 or -errno.
	 */
	int (*spawn)(struct weir_host *h, const char *name, unsigned flags,
		     weir_worker_fn *fn, void *arg);

	/*
	 * [sleep] Sleeps while *word == expected; may return early for any
	 * reason, so callers loop. timeout_ns 0 = no limit. Finished I/O is
	 * reaped meanwhile, so waiting for a page whose I/O this very task
	 * submitted makes progress. 0, or -ETIMEDOUT.
	 */
	int (*wait)(struct weir_host *h, _Atomic uint32_t *word,
		    uint32_t expected, uint64_t timeout_ns);

	/* [any] Wakes up to nr tasks waiting on word. */
	void (*wake_word)(struct weir_host *h, _Atomic uint32_t *word,
			  unsigned nr);

	/*
	 * [any without spinlocks] A point where another task may run. The
	 * simulator switches fibers here by its seed; the live host does
	 * nothing. Spin lock acquisition calls it too, when no spinlock is
	 * held yet. May be NULL.
	 */
	void (*preempt)(struct weir_host *h);

	/*
	 * [sleep] Reclaim has looked at so many pages. The simulator lets time
	 * pass for that work, and others run. May be NULL.
	 */
	void (*scanned)(struct weir_host *h, unsigned pages);

	/* [any] A contended spinlock: give the processor away for a moment. */
	void (*relax)(struct weir_host *h);

	/* --- the end ---------------------------------------------------- */

	/* [any] Prints the message and ends the process or the simulation. */
	void (*panic)(struct weir_host *h, const char *msg)
		__attribute__((noreturn));

	/* [any] One line for a human; level 0 error, 1 warning, 2 detail. */
	void (*log)(struct weir_host *h, int level, const char *msg);

	/*
	 * [sleep] The out-of-memory choice fell on this address space. The
	 * host ends its owner (live: the program is told and killed). The
	 * engine then waits for its pages. 0; -EAGAIN when memory is about to
	 * come free by other means (nobody was ended, ask again); or -errno.
	 */
	int (*oom_kill)(struct weir_host *h, void *as);
};

/* Every host embeds this as its first member. */
struct weir_host {
	const struct weir_host_ops *ops;
};

#endif
