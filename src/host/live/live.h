/* SPDX-License-Identifier: MIT */
/*
 * The live host: the engine under the memory of the very process it runs in.
 *
 *   live.c     the parts together; the table of host functions
 *   arena.c    memory for pages in hand and for engine-owned frames
 *   uffd.c     moving pages in and out of place
 *   gate.c     the program's munmap, madvise and mremap against our moves
 *   handler.c  the threads that serve faults
 *   janitor.c  giving memory back to the kernel, breaking sharing after fork
 *   regions.c  which of the program's mappings are managed
 *   watch.c    waiting for the budget to be near; figures for `weir run`
 *   swapdev.c  swap areas of this process and of its ancestors
 *   fork.c     a child's engine from its parent's books
 *   hooks.c    hearing of new memory when the C library makes it
 *   readnow.c  a read whose waiter does not sleep
 *   where.c    on which CPU a program's thread ran last
 *   calls.c    requests of program threads to the engine
 *   agent.c    the preloaded library's face to the program
 */
#ifndef WEIR_LIVE_LIVE_H
#define WEIR_LIVE_LIVE_H

#include <stdatomic.h>

#include "engine/types.h"
#include "host/live/arena.h"
#include "host/live/gate.h"
#include "host/live/readnow.h"
#include "host/live/shared.h"
#include "host/live/thread.h"
#include "host/live/uring.h"

#define LIVE_CPUS	 MAX_CPUS
#define HANDLERS_PER_CPU 8
#define LIVE_THREADS	 (LIVE_CPUS * (HANDLERS_PER_CPU + 1) + 9)
#define LIVE_EXCLUDED	 256
#define LIVE_AREAS	 24

/* A thread of ours. The engine sees its wtask. */
struct live_task {
	struct wtask task;
	struct engine_thread thread;
	struct readnow reader;
	struct live *live;
	struct seat *seat;  /* handlers: the place at the descriptor */
	bool seated;	    /* it is ours at the moment */
	bool inside;	    /* counted in live.inside */
	bool *done_flag;
	weir_worker_fn *fn; /* workers of the engine */
	void *arg;
};

/* A request of a program thread: see calls.c. */
struct call {
	_Atomic uint32_t taken; /* spin: one caller at a time */
	_Atomic uint32_t state; /* a futex */
	uint64_t start, end;
};

/* One reader of the fault descriptor for each CPU; the others stand by. */
struct seat {
	_Atomic uint32_t taken; /* also the futex the others sleep on */
	_Atomic uint32_t standby;
	uint32_t nr_threads; /* started so far */
	uint32_t cpu;
	_Atomic uint32_t open; /* its reader waits for faults; a futex */
	int bell; /* an eventfd: the reader looks at `open` again */
	struct call call;
	_Atomic uint32_t last_look; /* when a fault was seen to come from it */
};

/* Memory of the program that is never managed: thread stacks and our own. */
struct range {
	uint64_t start, end;
};

struct live_area {
	struct store *store;
	int fd;
	int owner_pid;
	uint64_t owner_key;
	int lease_fd;
	bool own;
};

enum live_state {
	LIVE_FAR, /* below the budget: nothing is registered */
	LIVE_FORKING, /* far, and a fork is under way */
	LIVE_STARTING,
	LIVE_ACTIVE,
	LIVE_CHILD,   /* forked from an active process, not ready yet */
	LIVE_REFUSED  /* could not start: the program goes on unmanaged */
};

struct live {
	struct weir_host host; /* first */
	struct engine engine;
	struct aspace *as;
	struct weir_shared *shared;
	struct weir_config *cfg;
	struct weir_slot *slot;
	struct weir_slot *spare_slot; /* when there is none in `shared` */
	int64_t stats_before[NR_STATS]; /* at the fork that made us */
	uint64_t budget;
	_Atomic uint32_t state; /* enum live_state; a futex */

	int uffd;	/* the program's regions and the arena */
	int uffd_trash; /* the trash area: raises no events */
	struct arena arena;
	struct gate gate;
	struct uring *ring;
	void *ring_mem;
	struct live_task io_task[URING_WORKERS]; /* without io_uring */
	struct live_area area[LIVE_AREAS];
	int own_area; /* type of our own swap area, -1 none yet */

	struct seat seat[LIVE_CPUS];
	uint32_t nr_seats;
	_Atomic uint32_t seats_lock; /* spin: of `open` and nr_open */
	_Atomic uint32_t nr_open;  /* seats that wait for faults: 1 or more */
	_Atomic uint32_t nr_faults, nr_looks;
	_Atomic uint32_t last_tid; /* who faulted last */
	_Atomic uint32_t alone;    /* faults in a row of that thread */
	struct live_task task[LIVE_THREADS];
	_Atomic uint32_t nr_tasks;
	char *thread_mem;

	/* fork: nobody may be inside the engine */
	_Atomic uint32_t inside;
	_Atomic uint32_t frozen; /* a futex */
	_Atomic uint32_t calls_served;
	_Atomic uint32_t held;	  /* faults are read and left: see first_look */
	_Atomic uint32_t no_wake; /* map: leave the faulting thread asleep */
	_Atomic uint32_t fork_tid; /* the forking thread */

	_Atomic uint32_t range_lock;
	struct range excluded[LIVE_EXCLUDED];
	_Atomic uint32_t nr_excluded;

	/* watch.c */
	_Atomic uint32_t watch_word; /* a futex: something to look at */
	_Atomic uint32_t freeze_req; /* 0 none, 1 wanted, 2 frozen, 3 thaw */
	_Atomic uint32_t unlocked;   /* munlock was called */
	int statm_fd, maps_fd, pagemap_fd;
	uint64_t last_maps_rss;
	uint64_t registered_pages;
	_Atomic uint64_t overhead_pages;
	_Atomic uint64_t unshare_pending, last_busy_ns;
	_Atomic uint32_t janitor_word, adopt_word;
	_Atomic uint32_t child_slot; /* fork.c */
	int listen_fd;
	uint64_t key; /* names our socket */
};

static inline struct live *live_of(struct weir_host *h)
{
	return (struct live *)h;
}

static inline struct live_task *live_self(void)
{
	return thread_self();
}

/* live.c */
extern const struct weir_host_ops live_ops;
/* Everything from nothing: descriptors, arena, engine, threads. 0 or -errno
 * with a sentence in the slot. On the watcher thread. */
int live_start(struct live *l);
/* Parts of it that a forked child does again. */
int live_descriptors(struct live *l);
int live_threads(struct live *l);
struct live_task *live_task_new(struct live *l, const char *name, int cpu);
int live_thread_run(struct live_task *t, void (*fn)(void *));
void live_logf(struct live *l, int level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void *live_meta_alloc(void *live, size_t bytes);
/* Around anything that reads or changes the books. Waits while frozen. */
void live_enter(struct live_task *t);
void live_exit(struct live_task *t);

/* uffd.c */
int uffd_open(struct live *l, uint64_t features);
int uffd_register(int fd, uint64_t start, uint64_t len, unsigned mode);
int uffd_unregister(int fd, uint64_t start, uint64_t len);
void live_map(struct weir_host *h, void *as, struct weir_vec *v, unsigned nr);
void live_unmap(struct weir_host *h, void *as, struct weir_vec *v, unsigned nr);
void live_protect(struct weir_host *h, void *as, struct weir_vec *v,
		  unsigned nr);
void live_wake(struct weir_host *h, void *as, uint64_t addr);
/* Whoever waits for any page tries its access again. */
void uffd_wake_all(struct live *l);
int live_poison(struct weir_host *h, void *as, uint64_t addr);

/* handler.c */
int handlers_start(struct live *l);
/*
 * Reads one message of the descriptor. An event is noted before anybody may
 * move a page; a fault (address, FAULT_*, faulting thread) is the caller's to
 * serve. GOT_EVENT also when earlier events must be applied first.
 */
enum got { GOT_NOTHING, GOT_FAULT, GOT_EVENT };
enum got handlers_read(struct live *l, uint64_t *addr, unsigned *flags,
		       uint32_t *tid);
/* Before anything that may block: lets another thread read the descriptor. */
void seat_release(struct live_task *t);
/* One read may be waited for without giving up the seat: nobody else of the
 * program has faulted lately. */
bool seat_may_block(struct live *l);

/* janitor.c */
int janitor_start(struct live *l);
void janitor_kick(struct live *l);
void janitor_bound(struct live *l);
void janitor_unshare(struct live *l, uint64_t addr);

/* regions.c */
/* Looks for mappings to manage and takes them into the books. */
int regions_scan(struct live *l);
void regions_stop_growth(struct live *l);
/* Resident pages of new mappings that are not in the books yet. */
bool regions_backlog(struct live *l);
void regions_adopt_all(struct live *l);
int regions_start(struct live *l);
/* [start, end) has just been mapped, private and anonymous. */
void regions_new(struct live *l, uint64_t start, uint64_t end);
/* A fault came from an address that the books do not know. */
int regions_learn(struct live *l, uint64_t addr);
void regions_exclude(struct live *l, uint64_t start, uint64_t end);
void regions_include(struct live *l, uint64_t start);
bool regions_is_excluded(struct live *l, uint64_t start, uint64_t end);
/* The program unlocked something: locked regions are looked at again. */
void regions_relock(struct live *l);

/* calls.c */
int calls_start(struct live *l);
/* On any thread of the program: memory it has just got. Returns when it is
 * managed, or at once where nobody serves. */
void call_new_memory(struct live *l, void *p, size_t len);

/* watch.c */
int watch_start(struct live *l);
void watch_publish(struct live *l);

/* swapdev.c */
int swapdev_open_own(struct live *l);
void swapdev_submit(struct weir_host *h, struct weir_io *io);
void swapdev_discard(struct weir_host *h, uint32_t area, uint64_t slot,
		     unsigned nr);
void swapdev_slot_free(struct weir_host *h, uint32_t area, uint64_t slot,
		       bool leased);

#endif
