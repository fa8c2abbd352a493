/* SPDX-License-Identifier: MIT */
/*
 * Which of the program's mappings are managed.
 *
 * Private anonymous memory that can be written, from MANAGE_MIN pages up,
 * except thread stacks, what the engine's own threads may touch (their own
 * memory, the C library's and our own data, thread-local blocks) and what the
 * kernel refuses.
 */
#include <string.h>

#include "engine/aspace.h"
#include "engine/fault.h"
#include "host/live/live.h"
#include "host/live/procmaps.h"
#include "host/live/sys.h"
#include "host/live/uffd_abi.h"

#define NEW_MIN	    (64 * (uint64_t)PAGE_SIZE)
#define MANAGE_MIN  (16 * (uint64_t)PAGE_SIZE)
#define ADOPT_PAGES 4096u
#define ADOPT_QUEUE 512u

static void range_lock(struct live *l)
{
	while (atomic_exchange(&l->range_lock, 1))
		sys_sched_yield();
}

static void range_unlock(struct live *l)
{
	l->range_lock = 0;
}

void regions_exclude(struct live *l, uint64_t start, uint64_t end)
{
	start &= PAGE_MASK;
	end = (end + PAGE_SIZE - 1) & PAGE_MASK;
	range_lock(l);
	for (uint32_t i = 0; i < l->nr_excluded; i++) {
		if (l->excluded[i].start == l->excluded[i].end) {
			l->excluded[i] = (struct range){start, end};
			goto out;
		}
	}
	if (l->nr_excluded < LIVE_EXCLUDED)
		l->excluded[l->nr_excluded++] = (struct range){start, end};
out:
	range_unlock(l);
}

void regions_include(struct live *l, uint64_t start)
{
	range_lock(l);
	for (uint32_t i = 0; i < l->nr_excluded; i++)
		if (l->excluded[i].start == (start & PAGE_MASK))
			l->excluded[i].end = l->excluded[i].start;
	range_unlock(l);
}

/* The first excluded range that overlaps [start, end). */
static bool first_excluded(struct live *l, uint64_t start, uint64_t end,
			   struct range *out)
{
	bool found = false;

	range_lock(l);
	for (uint32_t i = 0; i < l->nr_excluded; i++) {
		struct range r = l->excluded[i];

		if (r.start < end && start < r.end &&
		    (!found || r.start < out->start)) {
			*out = r;
			found = true;
		}
	}
	range_unlock(l);
	return found;
}

/* --- taking in ---------------------------------------------------------------- */

/* Reads which pages of [start, start + nr) are resident. */
static int read_present(struct live *l, uint64_t start, unsigned nr,
			uint64_t *bits)
{
	uint64_t entry[512];

	memset(bits, 0, ADOPT_PAGES / 8);
	for (unsigned i = 0; i < nr;) {
		unsigned want = nr - i < 512 ? nr - i : 512;
		long n = sys_pread64(l->pagemap_fd, entry,
				     want * sizeof(entry[0]),
				     ((start >> PAGE_SHIFT) + i) * 8);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		n /= 8;
		for (long k = 0; k < n; k++)
			if (entry[k] >> 62 & 3) /* present or swapped */
				bits[(i + k) / 64] |= UINT64_C(1)
						      << (i + k) % 64;
		i += (unsigned)n;
	}
	return 0;
}

static int adopt(struct live *l, uint64_t start, uint64_t end)
{
	uint64_t bits[ADOPT_PAGES / 64];

	while (start < end) {
		uint64_t left = (end - start) >> PAGE_SHIFT, done;
		unsigned nr = left < ADOPT_PAGES ? (unsigned)left : ADOPT_PAGES;
		int err = read_present(l, start, nr, bits);

		while (!err) {
			err = weir__adopt(&l->engine, l->as, start, bits, nr,
					  &done);
			if (err != -ENOMEM)
				break;
			/* Somebody else's fault makes the choice when there is
			 * really nothing left. */
			err = 0;
			live_exit(live_self());
			sys_nanosleep(1000000);
			live_enter(live_self());
		}
		if (err)
			return err;
		start += (uint64_t)nr << PAGE_SHIFT;
	}
	return 0;
}

/*
 * Registering stops the program's growth in a mapping at once; taking its
 * resident pages into the books may have to wait for reclaim. So that is a
 * second step, of another thread: whoever looks for new mappings must not
 * wait.
 */
static struct {
	_Atomic uint32_t lock;
	_Atomic uint32_t taken; /* somebody takes from the tail */
	_Atomic uint32_t head, tail; /* tail moves when a range is done */
	struct range range[ADOPT_QUEUE];
} queue;

static int adopt_later(struct live *l, uint64_t start, uint64_t end)
{
	bool queued = false;

	while (atomic_exchange(&queue.lock, 1))
		sys_sched_yield();
	if (queue.head - queue.tail < ADOPT_QUEUE) {
		queue.range[queue.head % ADOPT_QUEUE] =
			(struct range){start, end};
		queue.head++;
		queued = true;
	}
	queue.lock = 0;
	if (!queued)
		return adopt(l, start, end);
	l->adopt_word++;
	sys_futex(&l->adopt_word, FUTEX_WAKE_PRIVATE, 1, NULL);
	return 0;
}

bool regions_backlog(struct live *l)
{
	return queue.head != queue.tail;
}

/* => inside the engine */
void regions_adopt_all(struct live *l)
{
	uint32_t free = 0;

	/* The first look takes part; see watch.c. */
	while (!atomic_compare_exchange_strong(&queue.taken, &free, 1)) {
		live_exit(live_self());
		sys_nanosleep(100000);
		live_enter(live_self());
		free = 0;
	}
	while (queue.head != queue.tail) {
		struct range r = queue.range[queue.tail % ADOPT_QUEUE];

		adopt(l, r.start, r.end);
		queue.tail++;
	}
	queue.taken = 0;
}

static void adopter_main(void *arg)
{
	struct live_task *t = arg;
	struct live *l = t->live;

	for (;;) {
		uint32_t seen = l->adopt_word;

		live_enter(t);
		regions_adopt_all(l);
		live_exit(t);
		if (l->adopt_word == seen)
			sys_futex(&l->adopt_word, FUTEX_WAIT_PRIVATE, seen,
				  NULL);
	}
}

int regions_start(struct live *l)
{
	struct live_task *t = live_task_new(l, "weir-adopt", -1);

	queue.lock = 0;
	queue.taken = 0;
	return t ? live_thread_run(t, adopter_main) : -EAGAIN;
}

/* [start, end) is one mapping's, not in the books. */
static int manage(struct live *l, uint64_t start, uint64_t end)
{
	int err;

	if (!l->as) /* see regions_stop_growth */
		return uffd_register(l->uffd, start, end - start,
				     UFFDIO_REGISTER_MODE_MISSING |
					     UFFDIO_REGISTER_MODE_WP);
	/* In the books first: faults come as soon as it is registered. */
	err = weir__region_add(l->as, start, end, REGION_READ | REGION_WRITE);
	if (err)
		return err;
	err = uffd_register(l->uffd, start, end - start,
			    UFFDIO_REGISTER_MODE_MISSING |
				    UFFDIO_REGISTER_MODE_WP);
	if (err) {
		weir__aspace_unmap(l->as, start, end);
		return err;
	}
	l->registered_pages += (end - start) >> PAGE_SHIFT;
	return 0;
}

/* The first part of [*start, end) that the books do not know; its end. */
static uint64_t unknown_part(struct live *l, uint64_t *start, uint64_t end)
{
	struct itree_node *n;
	uint64_t stop = end;

	if (!l->as)
		return end;
	weir__spin_lock(&l->engine, &l->as->lock);
	while (*start < end) {
		n = itree_first(&l->as->regions, *start >> PAGE_SHIFT,
				(end - 1) >> PAGE_SHIFT);
		if (!n)
			break;
		if (n->start << PAGE_SHIFT > *start) {
			stop = n->start << PAGE_SHIFT;
			break;
		}
		*start = (n->last + 1) << PAGE_SHIFT;
	}
	weir__spin_unlock(&l->engine, &l->as->lock);
	return stop;
}

static bool candidate(const struct procmap *m)
{
	return m->anon && !m->shared && !m->special && (m->prot & PROT_WRITE);
}

/* What the caller has read of /proc may be history: an event has been applied
 * since. => held */
static bool still_there(uint64_t start, uint64_t end)
{
	struct procmap m;

	return procmap_find(start, &m) && m.anon && !m.shared && m.end >= end;
}

static int manage_parts(struct live *l, uint64_t start, uint64_t end,
			uint64_t least)
{
	int err = 0;

	while (start < end) {
		uint64_t stop = unknown_part(l, &start, end);
		int ret;

		if (start >= end)
			break;
		if (stop - start < least) {
			start = stop;
			continue;
		}
		if (!l->as) { /* no books yet to be kept from */
			ret = manage(l, start, stop);
			if (ret && !err)
				err = ret;
			start = stop;
			continue;
		}
		gate_hold(l);
		stop = unknown_part(l, &start, end);
		ret = -ENOENT;
		if (start < end && still_there(start, stop))
			ret = manage(l, start, stop);
		gate_unhold(l);
		/* May have to wait for reclaim, which may have to wait until
		 * events are applied. */
		if (!ret)
			ret = adopt_later(l, start, stop);
		if (ret && ret != -ENOENT && !err)
			err = ret;
		start = stop;
	}
	return err;
}

/*
 * A thread's stack, or one that the C library keeps for the next thread. It
 * must never be managed: in a forked child the C library writes to every such
 * descriptor before anybody can serve a fault. Threads made behind our back
 * (agent.c stands in front of pthread_create, but not of everybody's way to
 * it) are known by their mapping: above a guard page, and at its upper end,
 * which no neighbour merges with since Linux 6.7, the thread's descriptor,
 * whose first and third word point to itself.
 */
#define DESCRIPTOR_REACH (2 * PAGE_SIZE)

static bool holds_descriptor(const struct procmap *m)
{
#if defined(__x86_64__)
	uint64_t words[DESCRIPTOR_REACH / sizeof(uint64_t)];
	uint64_t at = m->end - sizeof(words);
	struct iovec to = {words, sizeof(words)};
	struct iovec from = {(void *)(uintptr_t)at, sizeof(words)};

	if (sys_process_vm_readv(sys_getpid(), &to, 1, &from, 1) !=
	    sizeof(words))
		return false;
	for (unsigned i = 0; i + 2 < sizeof(words) / sizeof(words[0]); i += 8)
		if (words[i] == at + i * 8 && words[i + 2] == words[i])
			return true;
#endif
	return false;
}

/* Nothing but its first pages is in use: perhaps a stack that is being made. */
static bool hardly_used(struct live *l, const struct procmap *m)
{
	uint64_t bits[ADOPT_PAGES / 64];
	unsigned present = 0;

	if ((m->end - m->start) >> PAGE_SHIFT > ADOPT_PAGES ||
	    read_present(l, m->start,
			 (unsigned)((m->end - m->start) >> PAGE_SHIFT), bits))
		return false;
	for (unsigned i = 0; i < ADOPT_PAGES / 64; i++)
		present += (unsigned)__builtin_popcountll(bits[i]);
	return present <= 2;
}

static bool is_stack(struct live *l, const struct procmap *below,
		     const struct procmap *m)
{
	bool guarded = below->end == m->start && below->anon &&
		       !below->shared && !below->prot;

	return guarded && (holds_descriptor(m) || hardly_used(l, m));
}

static int manage_map(struct live *l, uint64_t start, uint64_t end,
		      uint64_t least)
{
	int err = 0;

	while (start < end) {
		struct range r = {end, end};

		first_excluded(l, start, end, &r);
		if (r.start > start) {
			int ret = manage_parts(l, start,
					       r.start < end ? r.start : end,
					       least);

			if (ret && !err)
				err = ret;
		}
		start = r.end > start ? r.end : end;
	}
	return err;
}

/*
 * Small mappings are left to the watcher, which finds them when they have
 * grown together: a mapping that lives for a moment is not worth its events.
 * A piece that continues one in the books is worth it in any size.
 */
void regions_new(struct live *l, uint64_t start, uint64_t end)
{
	uint64_t least = end - start;

	if (least < NEW_MIN) {
		weir__spin_lock(&l->engine, &l->as->lock);
		if (!weir__region_find(l->as, start - PAGE_SIZE))
			least = 0;
		weir__spin_unlock(&l->engine, &l->as->lock);
	}
	if (least)
		manage_map(l, start, end, PAGE_SIZE);
}

int regions_scan(struct live *l)
{
	struct procmap below = {0}, m = {0};
	struct procmaps maps;
	int err = procmaps_open(&maps);

	if (err)
		return err;
	for (; procmaps_next(&maps, &m); below = m) {
		if (!candidate(&m) || m.end - m.start < MANAGE_MIN ||
		    is_stack(l, &below, &m))
			continue;
		err = manage_map(l, m.start, m.end, MANAGE_MIN);
		if (err)
			live_logf(l, 2, "mapping at %llx: error %d",
				  (unsigned long long)m.start, err);
	}
	procmaps_close(&maps);
	return 0;
}

/*
 * Before there is an engine: from here on first touches wait, so the program
 * grows no further while the engine starts. regions_scan does the rest.
 */
void regions_stop_growth(struct live *l)
{
	regions_scan(l);
}

/* --- a fault from nowhere --------------------------------------------------- */

/*
 * mremap grew a managed mapping in place: the kernel extends the registration
 * without telling. The whole mapping is ours then.
 */
int regions_learn(struct live *l, uint64_t addr)
{
	struct procmap m;

	gate_apply(l);
	if (!procmap_find(addr, &m) || !m.anon || m.shared)
		return -ENOENT;
	return manage_parts(l, m.start, m.end, PAGE_SIZE);
}

/* --- munlock ------------------------------------------------------------------ */

/*
 * Pages that were found locked when they were to be taken out are unevictable
 * since. Which mapping was unlocked is not told: all may try again.
 */
void regions_relock(struct live *l)
{
	weir__aspace_mlock(l->as, 0, (uint64_t)1 << 47, false);
}
