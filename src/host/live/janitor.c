/* SPDX-License-Identifier: MIT */
/*
 * Giving physical memory back, and breaking the sharing that fork leaves.
 *
 * Buffers whose page is gone are moved, in runs, to the trash area and dropped
 * there: dropping them where they are would raise an event that somebody has
 * to read. That is done by whoever takes pages out, so that eviction pays for
 * what it makes, and by nobody who holds a spinlock.
 *
 * After a fork the kernel refuses to move pages that both processes see. A
 * write access that changes nothing (MADV_POPULATE_WRITE) gives this process
 * its own copy, or finds that it is the last owner. It may fault on our own
 * regions, so it is done by a thread of its own that holds nothing.
 */
#include "host/live/live.h"
#include "host/live/sys.h"
#include "host/live/uffd_abi.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define UNSHARE_MAX 4096u
#define TRASH_TRIES 100u

static struct {
	_Atomic uint32_t lock;
	uint32_t head, tail;
	uint64_t addr[UNSHARE_MAX];
} queue;

/* One run of a chunk; false when the kernel would not. */
static bool trash_run(struct live *l, uint32_t buf, unsigned n)
{
	struct arena *a = &l->arena;
	struct uffdio_move m = {.dst = (uintptr_t)a->trash,
				.src = (uintptr_t)arena_buf(a, buf),
				.len = (uint64_t)n * PAGE_SIZE,
				.mode = UFFDIO_MOVE_MODE_DONTWAKE |
					UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES};
	int err = sys_ioctl(l->uffd_trash, UFFDIO_MOVE, &m);

	sys_madvise(a->trash, (size_t)n * PAGE_SIZE, MADV_DONTNEED);
	return err == 0 || m.move == (int64_t)m.len;
}

static _Atomic uint32_t trash_busy;

static bool trash_one(struct live *l, bool may_raise_events)
{
	struct arena *a = &l->arena;
	uint32_t chunk;
	uint64_t bits, left, done = 0;

	if (!arena_take_garbage(a, &chunk, &bits))
		return false;
	for (left = bits; left;) {
		unsigned b = (unsigned)__builtin_ctzll(left);
		uint64_t rest = ~(left >> b);
		unsigned n = rest ? (unsigned)__builtin_ctzll(rest) : 64 - b;
		uint64_t run = (n == 64 ? ~(uint64_t)0
					: ((uint64_t)1 << n) - 1) << b;
		uint32_t buf = chunk * CHUNK_PAGES + b;

		if (n > 64 - b)
			n = 64 - b;
		left &= ~run;
		if (trash_run(l, buf, n)) {
			done |= run;
		} else if (may_raise_events) {
			/* shared after a fork: dropped where it stands */
			sys_madvise(arena_buf(a, buf), (size_t)n * PAGE_SIZE,
				    MADV_DONTNEED);
			done |= run;
		}
	}
	arena_trashed(a, chunk, done, true);
	return done != 0;
}

/* [sleep] Before pages are taken out. */
void janitor_kick(struct live *l)
{
	for (int i = 0; i < 4; i++) {
		bool more;

		if (!arena_over(&l->arena))
			return;
		if (atomic_exchange(&trash_busy, 1))
			return; /* the trash area is one */
		more = trash_one(l, false);
		trash_busy = 0;
		if (!more) {
			l->janitor_word++;
			sys_futex(&l->janitor_word, FUTEX_WAKE_PRIVATE, 1,
				  NULL);
			return;
		}
	}
}

/*
 * [sleep] Garbage is memory over the budget: whoever finds too much of it stays
 * until there is not, or nothing is left that can go. Not for ever while
 * somebody else is at it: the janitor itself may wait there for an event of its
 * own to be read, perhaps by this very thread.
 */
void janitor_bound(struct live *l)
{
	unsigned tries = 0;

	while (arena_far_over(&l->arena)) {
		bool more;

		while (atomic_exchange(&trash_busy, 1)) {
			if (++tries > TRASH_TRIES)
				return;
			sys_sched_yield();
		}
		more = trash_one(l, false);
		trash_busy = 0;
		if (!more)
			return;
	}
}

void janitor_unshare(struct live *l, uint64_t addr)
{
	while (atomic_exchange(&queue.lock, 1))
		sys_sched_yield();
	if (queue.head - queue.tail < UNSHARE_MAX) {
		queue.addr[queue.head++ % UNSHARE_MAX] = addr;
		l->unshare_pending++;
	}
	queue.lock = 0;
	l->janitor_word++;
	sys_futex(&l->janitor_word, FUTEX_WAKE_PRIVATE, 1, NULL);
}

/* A run of neighbouring pages from the queue; pages, 0 = empty. */
static unsigned next_run(uint64_t *addr)
{
	unsigned n = 0;

	while (atomic_exchange(&queue.lock, 1))
		sys_sched_yield();
	while (queue.tail != queue.head && n < 256) {
		uint64_t x = queue.addr[queue.tail % UNSHARE_MAX];

		if (n && x != *addr + n * (uint64_t)PAGE_SIZE)
			break;
		if (!n)
			*addr = x;
		n++;
		queue.tail++;
	}
	queue.lock = 0;
	return n;
}

static void janitor_main(void *arg)
{
	struct live_task *t = arg;
	struct live *l = t->live;

	for (;;) {
		uint32_t seen = l->janitor_word;
		uint64_t addr;
		unsigned n;

		while ((n = next_run(&addr)) > 0) {
			sys_madvise((void *)addr, (size_t)n * PAGE_SIZE,
				    MADV_POPULATE_WRITE);
			l->unshare_pending -= n;
		}
		live_enter(t); /* not while a fork copies the arena's books */
		while (arena_over(&l->arena)) {
			bool more;

			while (atomic_exchange(&trash_busy, 1))
				sys_sched_yield();
			more = trash_one(l, true);
			trash_busy = 0;
			if (!more)
				break;
		}
		live_exit(t);
		if (l->janitor_word == seen)
			sys_futex(&l->janitor_word, FUTEX_WAIT_PRIVATE, seen,
				  NULL);
	}
}

int janitor_start(struct live *l)
{
	struct live_task *t = live_task_new(l, "weir-janitor", -1);

	queue.lock = 0;
	trash_busy = 0;
	return t ? live_thread_run(t, janitor_main) : -EAGAIN;
}
