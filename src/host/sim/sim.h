/* SPDX-License-Identifier: MIT */
/*
 * The simulated machine, for tests and replays.
 *
 * One seed is one exact run: tasks are fibers, time is virtual, memory, MMU and
 * disk are arrays, and every choice (who runs, how long an I/O takes, what
 * fails) is drawn from the seed.
 *
 *	struct sim_config c;
 *
 *	sim_config_default(&c);
 *	c.seed = 7;
 *	c.zone_pages[0][0] = 1024;
 *	c.swap_slots[0] = 4096;
 *	s = sim_create(&c);
 *	sim_call(s, boot_it, s);         an engine comes up: sim_boot()
 *	sim_task_start(s, "prog", prog, arg);
 *	if (sim_run(s))
 *		puts(sim_why(s));
 *	sim_destroy(s);
 *
 * Functions marked [task] are for program tasks: they may wait. The others are
 * for the thread that made the simulation, between runs.
 */
#ifndef WEIR_SIM_H
#define WEIR_SIM_H

#include "engine/file.h"

struct sim;
struct sim_proc;

enum sim_mmu_model {
	/* The machine reads and marks the engine's own page-table entries. */
	SIM_MMU_BITS,
	/* A page table of the machine's own, changed by host calls only, and
	 * messages where it has no answer: userfaultfd. */
	SIM_MMU_UFFD
};

/* What a page holds. */
enum sim_contents {
	SIM_CONTENTS_NONE,  /* nothing: only the engine's work counts */
	SIM_CONTENTS_STAMP, /* one 64-bit value (no fork: nobody copies it) */
	SIM_CONTENTS_FULL   /* 4096 bytes */
};

/* Odds, in parts per million, of one page or one call going wrong. */
struct sim_rates {
	uint32_t read_eio;     /* -EIO, and the contents are not given */
	uint32_t read_flip;    /* damaged on the wire: -EBADMSG this time */
	uint32_t write_eio;    /* -EIO, nothing is stored */
	uint32_t write_enospc; /* -ENOSPC, nothing is stored */
	uint32_t write_torn;   /* success is told; every read is -EBADMSG */
	uint32_t unmap_busy;   /* pinned: -EBUSY */
	uint32_t map_again;    /* -EAGAIN out of the blue */
};

#define SIM_SWAP_MAX 4

struct sim_config {
	uint64_t seed;
	uint32_t cpus;
	uint32_t nodes;
	uint64_t zone_pages[MAX_NODES][MAX_ZONES];
	uint64_t swap_slots[SIM_SWAP_MAX]; /* 0 = no such area */
	int swap_prio[SIM_SWAP_MAX];
	const struct tunables *tunables; /* NULL = defaults */

	enum sim_mmu_model mmu;
	enum sim_contents contents;
	uint64_t span_pages; /* uffd: size of an address space */
	bool handlers_many;  /* uffd: one handler for each CPU, else one */
	bool remove_late;    /* uffd: madvise tells first and drops after, as
				Linux does, instead of the other way round */
	bool own_remove;     /* uffd: our own drops are told as events too */

	/* time, ns */
	uint64_t touch_ns, fault_ns;
	uint64_t read_ns, write_ns; /* of one request */
	uint64_t page_ns;           /* of each further page */
	uint64_t jitter_ns;         /* 0 .. jitter more */
	/* of each page on the wire, which all requests share; 0 = each request
	 * has a wire of its own */
	uint64_t wire_ns;
	uint32_t queue_depth;
	/* the run fails beyond; 0 = no limit */
	uint64_t time_max_ns, points_max;

	/*
	 * Nothing is left to chance but the disk: tasks run side by side, each
	 * on a processor of its own, in the order of virtual time. The odds
	 * below are not asked. bits model only.
	 */
	bool ordered;
	uint64_t scan_ns; /* ordered: reclaim's work for one page */

	/* odds, ppm */
	uint32_t preempt_ppm; /* another task at a scheduling point */
	uint32_t stall_ppm;   /* off the processor for 0 .. stall_ns */
	uint64_t stall_ns;
	uint32_t spurious_ppm; /* waits that return early */
	uint32_t migrate_ppm;  /* another CPU after a switch */
	struct sim_rates rates;

	void (*event)(void *ctx, const char *name, uint64_t a, uint64_t b,
		      uint64_t c);
	void *event_ctx;
	int log_level; /* -1 silent; 0 error, 1 warning, 2 detail: to stderr */
};

void sim_config_default(struct sim_config *c);

/* What a checker wants to hear. Any may be NULL. None may wait. */
struct sim_observer {
	void *ctx;
	/* The contents `data` (as sim_touch gives them) of one slot could not
	 * be read, by an injected fault. */
	void (*read_failed)(void *ctx, const void *data);
	void (*oom_kill)(void *ctx, struct sim_proc *p);
	void (*failed)(void *ctx, const char *why);
};

/* NULL when memory is short. cfg is copied (tunables are not). */
struct sim *sim_create(const struct sim_config *cfg);
void sim_destroy(struct sim *s);
void sim_observe(struct sim *s, const struct sim_observer *o);

/* Starts engine, swap areas and kswapd. 0 or -errno; -EIO: see sim_why(). */
int sim_boot(struct sim *s);
/* Stops kswapd and the handlers and ends the engine; all processes exited. */
int sim_shutdown(struct sim *s);

int sim_task_start(struct sim *s, const char *name, void (*fn)(void *arg),
		   void *arg);
/* Runs until every task started so has ended. 0, or -EIO: see sim_why(). */
int sim_run(struct sim *s);
/* sim_task_start() of one task and sim_run(). */
int sim_call(struct sim *s, void (*fn)(void *arg), void *arg);
/* Ends the run now; [task] or any. */
void sim__fail(struct sim *s, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 2, 3)));
const char *sim_why(const struct sim *s);
void sim_dump(struct sim *s, void (*out)(void *ctx, const char *line),
	      void *ctx);

struct engine *sim_engine(struct sim *s);
const struct sim_config *sim_config(const struct sim *s);
uint64_t sim_now(const struct sim *s);
/* Task switches so far: a number that tells two runs apart. */
uint64_t sim_switches(const struct sim *s);
/* Bytes that sim_touch() hands out: 4096, 8 or 0. */
size_t sim_page_bytes(const struct sim *s);
/* The probabilities that may change while the machine runs. */
struct sim_rates *sim_rates(struct sim *s);

/* --- what a program task does: all [task] ------------------------------ */

void sim_sleep(struct sim *s, uint64_t ns);
void sim_yield(struct sim *s);
/* Waits until nothing but the caller has anything to do: workers idle, no I/O
 * in flight. False when that did not come about in so many ns. */
bool sim_settle(struct sim *s, uint64_t ns);
/* For programs that wait for each other. */
int sim_wait(struct sim *s, _Atomic uint32_t *word, uint32_t expected,
	     uint64_t timeout_ns);
void sim_wake(struct sim *s, _Atomic uint32_t *word);

/* 0 or -errno. */
int sim_proc_create(struct sim *s, struct sim_proc **out);
/* Ends it: no other task may use it from now on. */
void sim_exit(struct sim_proc *p);
/* SIGKILL: the program's tasks find -EINTR, and one of them calls sim_exit. */
void sim_kill(struct sim_proc *p);
bool sim_killed(const struct sim_proc *p);
struct aspace *sim_aspace(struct sim_proc *p);
/* A child with the same contents; bits model only. No other task may use the
 * parent meanwhile. */
int sim_fork(struct sim_proc *p, struct sim_proc **out);

/* Lowest and first impossible address of a process. */
uint64_t sim_base(const struct sim *s);
uint64_t sim_limit(const struct sim *s);

/*
 * The program's access. 0: *data is the page's contents in the machine, to read
 * or (write) change, until the task's next call of anything here.
 *   -EFAULT  no mapping       -EIO  contents lost: SIGBUS
 *   -ENOMEM  no memory, and nobody was killed for it: SIGBUS
 *   -EINTR   the process is being killed
 */
int sim_touch(struct sim_proc *p, uint64_t addr, bool write, void **data);

/*
 * Many accesses in a row, of a machine without contents: bits model. access[i]
 * is a page's address, its lowest bit set for a write; `pace` ns of the
 * program's own pass with each. Returns how many were done; fewer than nr: the
 * next one answered *rc, as sim_touch would.
 */
size_t sim_touch_many(struct sim_proc *p, const uint64_t *access, size_t nr,
		      uint64_t pace, int *rc);

/* System calls; addresses are page aligned and end is exclusive. 0, -EINTR, or
 * what the engine answered. mmap: uffd, late: not told to the engine before
 * sim_register(). */
int sim_mmap(struct sim_proc *p, uint64_t start, uint64_t end, uint32_t flags,
	     bool late);
int sim_register(struct sim_proc *p, uint64_t start, uint64_t end);
int sim_munmap(struct sim_proc *p, uint64_t start, uint64_t end);
int sim_dontneed(struct sim_proc *p, uint64_t start, uint64_t end);
int sim_move(struct sim_proc *p, uint64_t from, uint64_t to, uint64_t len);
/* mremap in place: [start, end) follows a mapping. */
int sim_grow(struct sim_proc *p, uint64_t start, uint64_t end);
/* Marks only: the caller touches the pages of a locked range itself. */
int sim_mlock(struct sim_proc *p, uint64_t start, uint64_t end, bool lock);

/*
 * A file of the simulated disk, or with MAPPING_SHMEM shared memory; engine
 * files (engine/file.h) are read and written with the engine's own calls, which
 * are [task] too. 0 or -errno.
 */
int sim_file_create(struct sim *s, enum mapping_kind kind, uint64_t size,
		    uint32_t flags, struct file **out);
/*
 * System calls of a process. read and write: bytes done, or -errno, as
 * weir__file_read and weir__file_write. mmap of a file: bits only, -EOPNOTSUPP;
 * an access past the end of the file then gives -ENXIO.
 */
int64_t sim_read(struct sim_proc *p, struct file *f, uint64_t pos, uint64_t len,
		 void *buf);
/* Many reads and writes of one page each: access[i] is its byte offset, the
 * lowest bit set for a write; otherwise as sim_touch_many. */
size_t sim_read_many(struct sim_proc *p, struct file *f, const uint64_t *access,
		     size_t nr, uint64_t pace, int *rc);
int64_t sim_write(struct sim_proc *p, struct file *f, uint64_t pos,
		  uint64_t len, const void *buf);
int sim_truncate(struct sim_proc *p, struct file *f, uint64_t size);
int sim_fsync(struct sim_proc *p, struct file *f, uint64_t first,
	      uint64_t last);
int sim_mmap_file(struct sim_proc *p, uint64_t start, uint64_t end,
		  uint32_t flags, struct file *f, uint64_t pgoff);
int sim_msync(struct sim_proc *p, uint64_t start, uint64_t end, unsigned flags);
/* What stands on the disk: sim_page_bytes of it, NULL without contents. */
void *sim_file_page(struct sim *s, struct file *f, uint64_t index);

/* Every evicted page of the range comes back: 0, -EIO, -ENOMEM, -EINTR. */
int sim_populate(struct sim_proc *p, uint64_t start, uint64_t end);

/* uffd: pages of all processes that stand in the machine's page tables and
 * count against the budget. */
uint64_t sim_resident(const struct sim *s);

struct sim_disk_stats {
	uint64_t reads, writes;             /* requests */
	uint64_t pages_read, pages_written; /* pages, errors included */
	uint64_t read_errors, write_errors; /* pages */
	uint32_t inflight_max;
};
const struct sim_disk_stats *sim_disk_stats(const struct sim *s);

#endif
