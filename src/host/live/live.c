/* SPDX-License-Identifier: MIT */
#include "host/live/live.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "engine/aspace.h"
#include "engine/engine.h"
#include "engine/reclaim.h"
#include "host/live/fork.h"
#include "host/live/sys.h"
#include "host/live/uffd_abi.h"
#include "host/live/uring.h"
#include "host/live/zmemdev.h"
#include "store/store.h"
#include "util/fmt.h"

/* What the engine takes besides frames: threads' stacks, the ring, tables of
 * fixed size. Measured: about 1.2 MiB with two CPUs. */
#define RING_STACKS (4 * THREAD_MEM_BYTES)
#define FIXED_BYTES (1536u << 10)

void live_logf(struct live *l, int level, const char *fmt, ...)
{
	char line[300] = "weir: ";
	va_list ap;
	size_t n;

	if (level >= (int)l->cfg->verbose)
		return;
	va_start(ap, fmt);
	n = 6 + fmt_v(line + 6, sizeof(line) - 8, fmt, ap);
	va_end(ap);
	line[n++] = '\n';
	sys_write(2, line, n);
}

void *live_meta_alloc(void *live, size_t bytes)
{
	struct live *l = live;
	void *p;

	bytes = (bytes + PAGE_SIZE - 1) & PAGE_MASK;
	p = sys_mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (sys_is_err(p))
		return NULL;
	sys_madvise(p, bytes, MADV_NOHUGEPAGE);
	regions_exclude(l, (uintptr_t)p, (uintptr_t)p + bytes);
	return p;
}

/* --- host functions -------------------------------------------------------- */

static uint64_t live_now(struct weir_host *h)
{
	struct timespec ts;

	/* the vDSO's: no system call, no thread-local */
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void *live_meta(struct weir_host *h, size_t bytes)
{
	return live_meta_alloc(live_of(h), bytes);
}

static struct wtask *live_self_task(struct weir_host *h)
{
	return &live_self()->task;
}

static bool kswapd_word(struct live *l, const _Atomic uint32_t *word)
{
	return word == &l->engine.nodes[0].kswapd_word;
}

static int live_wait(struct weir_host *h, _Atomic uint32_t *word,
		     uint32_t expected, uint64_t timeout_ns)
{
	struct live *l = live_of(h);
	struct live_task *t = live_self();
	/* kswapd asleep holds nothing: a fork need not wait for it. */
	bool asleep = t->inside && kswapd_word(l, word);
	int ret;

	seat_release(t);
	if (asleep)
		live_exit(t);
	ret = uring_wait(l->ring, word, expected, timeout_ns);
	if (asleep)
		live_enter(t);
	return ret;
}

static void live_wake_word(struct weir_host *h, _Atomic uint32_t *word,
			   unsigned nr)
{
	uring_wake(live_of(h)->ring, word, nr);
}

static void live_io_poll(struct weir_host *h)
{
	uring_poll(live_of(h)->ring);
	zmemdev_tidy(live_of(h));
}

static void live_relax(struct weir_host *h)
{
	sys_sched_yield();
}

static void __attribute__((noreturn)) live_panic(struct weir_host *h,
						 const char *msg)
{
	struct live *l = live_of(h);

	weir_slot_error(l->slot, 0, msg);
	l->cfg->verbose = 3;
	live_logf(l, 0, "internal error: %s", msg);
	sys_kill(sys_getpid(), SIGABRT);
	sys_nanosleep(100000000);
	sys_exit_group(134);
}

static void live_log(struct weir_host *h, int level, const char *msg)
{
	live_logf(live_of(h), level, "%s", msg);
}

static int live_oom_kill(struct weir_host *h, void *as)
{
	struct live *l = live_of(h);

	/*
	 * Pages that are refused for the moment (shared since a fork, an
	 * munmap under way) are no reason to die: others are at work on them.
	 */
	if (l->unshare_pending ||
	    live_now(h) - l->last_busy_ns < 200000000u) {
		seat_release(live_self());
		sys_nanosleep(1000000);
		return -EAGAIN;
	}
	weir_slot_error(l->slot, WEIR_SLOT_OOM,
			"out of memory: the budget is used up and the swap "
			"area is full or cannot be written; give more with "
			"--swap PATH:SIZE or --memory");
	watch_publish(l);
	sys_kill(sys_getpid(), SIGKILL);
	sys_nanosleep(1000000000);
	return 0;
}

static void worker_main(void *arg)
{
	struct live_task *t = arg;

	live_enter(t);
	t->fn(&t->live->engine, t->arg);
	live_exit(t);
}

static int live_spawn(struct weir_host *h, const char *name, unsigned flags,
		      weir_worker_fn *fn, void *arg)
{
	struct live_task *t = live_task_new(live_of(h), name, -1);

	if (!t)
		return -EAGAIN;
	t->thread.nice = 0; /* it works ahead, nobody waits for it */
	t->task.flags = flags;
	t->fn = fn;
	t->arg = arg;
	return live_thread_run(t, worker_main);
}

const struct weir_host_ops live_ops = {
	.now_ns = live_now,
	.meta_alloc = live_meta,
	.direct = arena_direct,
	.contents = arena_contents,
	.release = arena_release,
	.map = live_map,
	.unmap = live_unmap,
	.protect = live_protect,
	.wake = live_wake,
	.poison = live_poison,
	.has_accessed_bit = false,
	.io_submit = swapdev_submit,
	.io_poll = live_io_poll,
	.io_discard = swapdev_discard,
	.io_slot_free = swapdev_slot_free,
	.self = live_self_task,
	.spawn = live_spawn,
	.wait = live_wait,
	.wake_word = live_wake_word,
	.relax = live_relax,
	.panic = live_panic,
	.log = live_log,
	.oom_kill = live_oom_kill,
};

/* --- tasks ------------------------------------------------------------------ */

struct live_task *live_task_new(struct live *l, const char *name, int cpu)
{
	uint32_t i = l->nr_tasks++;
	struct live_task *t;

	if (i >= LIVE_THREADS) {
		l->nr_tasks--;
		return NULL;
	}
	t = &l->task[i];
	memset(t, 0, sizeof(*t));
	t->task.id = i + 1;
	t->task.cpu = cpu >= 0 ? (uint32_t)cpu : 0;
	t->task.name = name;
	t->live = l;
	t->thread.cpu = cpu;
	/* A fault is somebody waiting; growth unseen is memory over budget. */
	t->thread.nice = -15;
	t->thread.name = name;
	return t;
}

int live_thread_run(struct live_task *t, void (*fn)(void *))
{
	struct live *l = t->live;
	char *mem = l->thread_mem + (size_t)(t - l->task) * THREAD_MEM_BYTES;

	t->thread.fn = fn;
	t->thread.arg = t;
	t->thread.self = t;
	/* The watcher opens the engine's descriptors; all others share its. */
	return thread_start(&t->thread, mem, t == &l->task[0]);
}

void live_enter(struct live_task *t)
{
	struct live *l = t->live;

	for (;;) {
		l->inside++;
		if (!l->frozen)
			break;
		l->inside--;
		seat_release(t);
		sys_futex(&l->frozen, FUTEX_WAIT_PRIVATE, 1, NULL);
	}
	t->inside = true;
}

void live_exit(struct live_task *t)
{
	t->inside = false;
	t->live->inside--;
}

/* --- start ------------------------------------------------------------------- */

static int fail(struct live *l, int err, const char *what)
{
	char msg[200];

	fmt_s(msg, sizeof(msg),
	      "%s: error %d; the program runs without a budget", what, -err);
	weir_slot_error(l->slot, WEIR_SLOT_REFUSED, msg);
	live_logf(l, 0, "%s", msg);
	/* What was registered is the program's own again. */
	if (l->uffd > 0)
		sys_close(l->uffd);
	return err;
}

static uint32_t count_cpus(void)
{
	uint8_t mask[1024];
	int n = sys_sched_getaffinity(0, sizeof(mask), mask);
	uint32_t cpus = 0;

	for (int i = 0; i < n; i++)
		cpus += (uint32_t)__builtin_popcount(mask[i]);
	if (!cpus)
		cpus = 1;
	return cpus < LIVE_CPUS ? cpus : LIVE_CPUS;
}

static int open_uffds(struct live *l)
{
	uint64_t features = UFFD_FEATURE_EVENT_REMAP |
			    UFFD_FEATURE_EVENT_REMOVE |
			    UFFD_FEATURE_EVENT_UNMAP |
			    UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			    UFFD_FEATURE_THREAD_ID |
			    UFFD_FEATURE_POISON | UFFD_FEATURE_MOVE;

	l->uffd = uffd_open(l, features);
	if (l->uffd < 0)
		return l->uffd;
	l->uffd_trash = uffd_open(l, UFFD_FEATURE_MOVE);
	return l->uffd_trash < 0 ? l->uffd_trash : 0;
}

/* The arena belongs to the program's descriptor, so that moves between them
 * are refused while the program's address space changes. */
static int register_arena(struct live *l)
{
	struct arena *a = &l->arena;
	uint64_t hand = (uint64_t)a->nr_chunks * CHUNK_PAGES * PAGE_SIZE;
	int err = uffd_register(l->uffd, (uintptr_t)a->hand, hand,
				UFFDIO_REGISTER_MODE_WP);

	if (err)
		return err;
	sys_madvise(a->trash, CHUNK_PAGES * PAGE_SIZE, MADV_DONTFORK);
	return uffd_register(l->uffd_trash, (uintptr_t)a->trash,
			     CHUNK_PAGES * PAGE_SIZE, UFFDIO_REGISTER_MODE_WP);
}

/* Frames that the budget leaves after everything the engine itself takes. */
static uint64_t frames_of(uint64_t budget, uint64_t zmem, uint32_t *garbage)
{
	/* per frame: memmap, buffer index, bitmap, chunk's share */
	const uint64_t per_frame = sizeof(struct frame) + 4 + 1 + 14;
	uint64_t pages = budget / PAGE_SIZE, g = pages / 128;

	if (g < 128)
		g = 128;
	if (g > 1024)
		g = 1024;
	*garbage = (uint32_t)g;
	return (budget - FIXED_BYTES - zmem - g * PAGE_SIZE) /
	       (PAGE_SIZE + per_frame);
}

static int start_engine(struct live *l)
{
	struct engine_config cfg = {.host = &l->host,
				    .nr_cpus = l->nr_seats,
				    .nr_nodes = 1,
				    .tunables = &l->cfg->tun};
	uint32_t garbage;
	uint64_t frames = frames_of(l->budget, zmemdev_bytes(l), &garbage);
	int err;

	cfg.zone_pages[0][0] = frames;
	err = arena_init(l, frames, garbage);
	if (!err)
		err = register_arena(l);
	if (!err)
		err = weir__engine_init(&l->engine, &cfg);
	if (!err)
		err = weir__aspace_create(&l->engine, l, &l->as);
	l->overhead_pages = l->budget / PAGE_SIZE - frames;
	return err;
}

int live_descriptors(struct live *l)
{
	int err = open_uffds(l);

	if (err)
		return err;
	if (l->state == LIVE_STARTING)
		regions_stop_growth(l);
	if (!l->ring) {
		l->ring_mem = live_meta_alloc(l, RING_STACKS);
		l->ring = live_meta_alloc(l, uring_size());
		if (!l->ring || !l->ring_mem)
			return -ENOMEM;
	}
	memset(l->ring, 0, uring_size());
	for (unsigned i = 0; i < URING_WORKERS; i++) {
		struct live_task *t = &l->io_task[i];

		memset(t, 0, sizeof(*t));
		t->task.id = LIVE_THREADS + 1 + i;
		t->task.name = "io";
		t->live = l;
		uring_worker_self(l->ring, i, t);
	}
	err = uring_init(l->ring, l->ring_mem, RING_STACKS,
			 l->cfg->flags & WEIR_CONFIG_NO_URING);
	return err ? err : fork_listen(l);
}

int live_threads(struct live *l)
{
	int err = handlers_start(l);

	if (!err)
		err = calls_start(l);
	if (!err)
		err = janitor_start(l);
	if (!err)
		err = weir__kswapd_start(&l->engine);
	return err ? err : regions_start(l);
}

int live_start(struct live *l)
{
	struct live_task *t = live_self();
	int err;

	l->nr_seats = count_cpus();
	l->own_area = -1;
	err = live_descriptors(l);
	if (err)
		return fail(l, err,
			    "no userfaultfd or no I/O here (see weir doctor)");
	live_enter(t);
	err = start_engine(l);
	if (!err && (l->cfg->swap_bytes || l->cfg->zmem_bytes))
		err = swapdev_open_own(l);
	live_exit(t);
	if (err)
		return fail(l, err, "the engine could not start");
	err = live_threads(l);
	if (err)
		return fail(l, err, "no threads for the engine");
	l->state = LIVE_ACTIVE;
	l->slot->flags |= WEIR_SLOT_MANAGED;
	return 0;
}
