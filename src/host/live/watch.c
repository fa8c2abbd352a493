/* SPDX-License-Identifier: MIT */
/*
 * The watcher: one thread that sleeps while the program is far from its
 * budget, and starts the engine when it comes near.
 *
 * How near? What the program can touch between two looks must fit in the rest:
 * GROWTH_MAX bytes a second, with looks at most LOOK_MAX apart. Later it looks
 * every LOOK_ACTIVE for new mappings that grow.
 */
#include "engine/aspace.h"
#include "engine/swap.h"
#include "host/live/fork.h"
#include "host/live/live.h"
#include "host/live/sys.h"
#include "host/live/zmemdev.h"

/* About what two processors can touch for the first time, with huge pages. */
#define GROWTH_MAX  (6ull << 30)
#define LOOK_MAX_NS 20000000ull
#define LOOK_MIN_NS 500000ull
#define LOOK_ACTIVE_NS 1000000ull
/* While mappings come and go: what a new one can grow by between two looks is
 * what the budget can be overrun by. */
#define LOOK_BUSY_NS 200000ull
#define BUSY_FOR_NS  50000000ull
#define PUBLISH_NS  50000000ull
/* New resident pages outside the books that make a look at the maps worth it */
#define NEWS_PAGES 32
#define MUCH_PAGES 1024 /* 4 MiB: what the budget may be overrun by */
#define SCAN_MAX_NS 20000000ull

struct usage {
	uint64_t resident, shared, size; /* pages */
};

static bool read_usage(struct live *l, struct usage *u)
{
	char buf[128];
	long n = sys_pread64(l->statm_fd, buf, sizeof(buf) - 1, 0);
	uint64_t v[3] = {0};
	char *s = buf;

	if (n <= 0)
		return false;
	buf[n] = 0;
	for (int i = 0; i < 3; i++) {
		while (*s >= '0' && *s <= '9')
			v[i] = v[i] * 10 + (uint64_t)(*s++ - '0');
		s++;
	}
	u->size = v[0];
	u->resident = v[1];
	u->shared = v[2];
	return true;
}

static uint64_t anon_pages(const struct usage *u)
{
	return u->resident > u->shared ? u->resident - u->shared : 0;
}

/* Pages of the program that the engine keeps in place, and its own. */
static uint64_t known_pages(struct live *l)
{
	int64_t in_hand = (int64_t)l->arena.populated;
	int64_t anon = l->as->nr_anon;

	return (uint64_t)(anon + in_hand +
			  weir__stat_read(&l->engine, STAT_nr_zspages));
}

static uint64_t frames_in_use(struct live *l)
{
	int64_t free = 0;

	for (unsigned i = 0; i < l->engine.nodes[0].nr_zones; i++)
		free += l->engine.nodes[0].zones[i].free_pages;
	return l->engine.nr_frames - (uint64_t)(free > 0 ? free : 0);
}

void watch_publish(struct live *l)
{
	struct weir_slot *w = l->slot;
	struct usage u;

	if (read_usage(l, &u)) {
		weir_slot_level(&w->unmanaged_bytes[UNMANAGED_FILE],
				&w->unmanaged_peak_bytes[UNMANAGED_FILE],
				u.shared * PAGE_SIZE);
		if (l->state != LIVE_ACTIVE)
			weir_slot_level(
				&w->unmanaged_bytes[UNMANAGED_SMALL],
				&w->unmanaged_peak_bytes[UNMANAGED_SMALL],
				anon_pages(&u) * PAGE_SIZE);
	}
	if (l->state != LIVE_ACTIVE)
		return;
	live_logf(l, 2,
		  "in place %lld, in hand %lld (garbage %lld), frames in use "
		  "%llu of %llu, backlog %d",
		  (long long)l->as->nr_anon, (long long)l->arena.populated,
		  (long long)l->arena.garbage,
		  (unsigned long long)frames_in_use(l),
		  (unsigned long long)l->engine.nr_frames, regions_backlog(l));
	zmemdev_publish(l);
	/* Levels as they are; of what is counted, this process's own share. */
	for (unsigned i = 0; i < NR_STATS; i++)
		w->stats[i] = weir__stat_read(&l->engine, i) -
			      (i < STAT_pgalloc ? 0 : l->stats_before[i]);
	weir_slot_level(&w->managed_bytes, &w->managed_peak_bytes,
			frames_in_use(l) * PAGE_SIZE);
	weir_slot_level(&w->overhead_bytes, &w->overhead_peak_bytes,
			l->overhead_pages * PAGE_SIZE);
	weir_slot_level(&w->zmem_bytes, &w->zmem_peak_bytes,
			(uint64_t)weir__stat_read(&l->engine,
						  STAT_nr_zspages) *
				PAGE_SIZE);
	w->registered_bytes = l->registered_pages * PAGE_SIZE;
	if (l->own_area >= 0)
		weir_slot_level(&w->swap_bytes, &w->swap_peak_bytes,
				weir__swap_used(&l->engine,
						(unsigned)l->own_area) *
					PAGE_SIZE);
}

/* weir is gone, and not because the program has ended: end too. */
static void check_weir(struct live *l, int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	if (pidfd < 0 || sys_poll(&p, 1, 0) <= 0)
		return;
	if (l->shared->finished)
		return;
	sys_kill(sys_getpid(), SIGKILL);
}

static uint64_t trigger_pages(struct live *l)
{
	uint64_t budget = l->budget / PAGE_SIZE;
	uint64_t rest = budget / 8;

	if (rest < (8u << 20) / PAGE_SIZE)
		rest = (8u << 20) / PAGE_SIZE;
	return budget > rest ? budget - rest : 0;
}

/*
 * All that is resident goes into the books before the first fault is served:
 * a fault that took a frame meanwhile would be one more page than the budget.
 * Everything else goes on: adopting reclaims, reclaim waits for kswapd, and no
 * page moves while an event is unread.
 *
 *   handler                             first look
 *   reads a fault; held: leaves it
 *                                       held = 0
 *                                       wakes all that wait for a page
 *   the thread touches once more; its
 *   fault is read anew
 *
 * A fault left before `held` was cleared was waiting before the wake.
 */
static void first_look(struct live *l, struct live_task *t)
{
	live_enter(t);
	l->held = 1;
	regions_scan(l);
	regions_adopt_all(l);
	l->held = 0;
	live_exit(t);
	uffd_wake_all(l);
}

static uint64_t far_look(struct live *l, struct live_task *t)
{
	uint64_t trigger = trigger_pages(l), anon, ns;
	struct usage u;
	uint32_t far = LIVE_FAR;

	if (!read_usage(l, &u))
		return LOOK_MAX_NS;
	anon = anon_pages(&u);
	if (anon < trigger) {
		ns = (trigger - anon) * PAGE_SIZE * 1000 / (GROWTH_MAX / 1000000);
		if (ns < LOOK_MIN_NS)
			ns = LOOK_MIN_NS;
		return ns < LOOK_MAX_NS ? ns : LOOK_MAX_NS;
	}
	/* A fork under way has the state on LIVE_FORKING: next time. */
	if (!atomic_compare_exchange_strong(&l->state, &far, LIVE_STARTING))
		return LOOK_MIN_NS;
	if (live_start(l)) {
		l->state = LIVE_REFUSED;
	} else {
		first_look(l, t);
		watch_publish(l);
	}
	sys_futex(&l->state, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL);
	return LOOK_MIN_NS;
}

/* Nanoseconds until the next look. */
static uint64_t active_look(struct live *l, struct live_task *t)
{
	static uint64_t last_news, last_size, changed, next_scan, backoff;
	uint64_t now = l->host.ops->now_ns(&l->host);
	uint64_t pause = now - changed < BUSY_FOR_NS ? LOOK_BUSY_NS
						     : LOOK_ACTIVE_NS;
	struct usage u;
	uint64_t anon, known, news;

	if (atomic_exchange(&l->unlocked, 0)) {
		live_enter(t);
		regions_relock(l);
		live_exit(t);
	}
	if (!read_usage(l, &u))
		return pause;
	anon = anon_pages(&u);
	known = known_pages(l);
	news = anon > known ? anon - known : 0;
	if (news < last_news)
		last_news = news;
	/* A mapping is new, or grows outside the books. */
	if (u.size == last_size && news < last_news + NEWS_PAGES)
		return pause;
	/* What the C library maps has been reported (hooks.c), and what is left
	 * may be nothing of ours: looks that found nothing become rare, unless
	 * much is new. */
	if (now < next_scan && u.size < last_size + MUCH_PAGES &&
	    news < last_news + MUCH_PAGES)
		return pause;
	changed = now;
	known = l->registered_pages;
	live_enter(t);
	regions_scan(l);
	live_exit(t);
	backoff = l->registered_pages != known ? 0
		  : !backoff                   ? LOOK_ACTIVE_NS
		  : backoff < SCAN_MAX_NS      ? backoff * 2
					       : backoff;
	next_scan = now + backoff;
	last_size = u.size;
	if (read_usage(l, &u)) {
		anon = anon_pages(&u);
		known = known_pages(l);
		last_news = anon > known ? anon - known : 0;
	}
	return LOOK_BUSY_NS;
}

static void open_descriptors(struct live *l, int *pidfd)
{
	/* Our own table, without the program's descriptors: what the program
	 * closes does not touch us, and we keep nothing of its open. */
	sys_close_range(0, l->cfg->verbose ? 1 : 2, 0);
	sys_close_range(3, ~0u, 0);
	l->statm_fd = sys_openat(AT_FDCWD, "/proc/self/statm",
				 O_RDONLY | O_CLOEXEC, 0);
	l->pagemap_fd = sys_openat(AT_FDCWD, "/proc/self/pagemap",
				   O_RDONLY | O_CLOEXEC, 0);
	*pidfd = sys_pidfd_open(l->shared->weir_pid, 0);
}

static void watch_main(void *arg)
{
	struct live_task *t = arg;
	struct live *l = t->live;
	uint64_t published = 0, now;
	int pidfd = -1;

	open_descriptors(l, &pidfd);
	if (l->state == LIVE_CHILD)
		fork_boot(l, t);
	for (;;) {
		uint64_t ns = LOOK_MAX_NS;
		uint32_t seen = l->watch_word;
		struct timespec ts;

		if (l->freeze_req)
			fork_freeze(l, t);
		if (l->state == LIVE_FAR)
			ns = far_look(l, t);
		if (l->state == LIVE_ACTIVE) {
			ns = active_look(l, t);
			fork_leases(l, t);
		}
		now = l->host.ops->now_ns(&l->host);
		if (now - published >= PUBLISH_NS) {
			watch_publish(l);
			check_weir(l, pidfd);
			published = now;
		}
		ts = sys_timespec(ns);
		if (l->watch_word == seen)
			sys_futex(&l->watch_word, FUTEX_WAIT_PRIVATE, seen,
				  &ts);
	}
}

int watch_start(struct live *l)
{
	struct live_task *t = live_task_new(l, "weir-watch", -1);

	l->host.ops = &live_ops;
	return t ? live_thread_run(t, watch_main) : -EAGAIN;
}
