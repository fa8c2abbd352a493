/* SPDX-License-Identifier: MIT */
/*
 * Asynchronous vectored I/O, and sleeping that also reaps it.
 *
 * One io_uring is shared by every thread of the engine. Whoever sleeps
 * (uring_wait) with I/O under way and nobody at it becomes a reaper: it waits
 * inside io_uring_enter and runs the callbacks of what completes, its own and
 * the others'. A wake for a word on which a reaper sleeps kicks it with a
 * no-op request. Where io_uring is refused, a few threads do preadv/pwritev
 * and run the callbacks, and sleeping is a plain futex.
 *
 * Callbacks run outside any lock of the ring, on whatever thread reaps, several
 * at a time. A callback may take spinlocks and wake words; it must not sleep,
 * submit, poll or wait. Words belong to this process (private futexes) and are
 * woken by uring_wake only, never by a futex call of somebody else.
 *
 * No function here uses malloc, stdio or errno of the calling thread.
 */
#ifndef WEIR_LIVE_URING_H
#define WEIR_LIVE_URING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct uring;

size_t uring_size(void);
/*
 * r: uring_size() bytes. stack_mem: memory for up to four threads, used where
 * io_uring is refused or force_threads is set; without it I/O is synchronous.
 * Always 0 today. The ring's descriptor belongs to the calling thread's table.
 */
int uring_init(struct uring *r, void *stack_mem, size_t stack_bytes,
	       bool force_threads);
/* Before uring_init: what thread_self() is on the i-th of the threads that do
 * without io_uring. They run callbacks, too. */
#define URING_WORKERS 4u
void uring_worker_self(struct uring *r, unsigned i, void *self);
/* Waits for what is in flight, then ends it. Nobody else may be inside. */
void uring_exit(struct uring *r);
/* In a forked child: drops the parent's ring, whose requests stay the parent's.
 * Then call uring_init on the same memory. */
void uring_after_fork(struct uring *r);
bool uring_is_native(const struct uring *r);

/*
 * One readv/writev at byte offset off. done(arg, res): res is the number of
 * bytes or -errno. May be called before the submit returns. iov stays until
 * then. Sleeps, and runs callbacks of others, when 1024 are under way.
 */
void uring_submit(struct uring *r, bool write, int fd, const struct iovec *iov,
		  unsigned nr, uint64_t off, void (*done)(void *arg, int res),
		  void *arg);
/* Runs callbacks of what has completed; never sleeps. How many it ran. */
unsigned uring_poll(struct uring *r);
/* Requests whose callback has not returned yet. */
unsigned uring_inflight(const struct uring *r);

/* Sleeps while *word == expected, reaping meanwhile. 0 or -ETIMEDOUT.
 * timeout_ns 0 = none. May return early. */
int uring_wait(struct uring *r, _Atomic uint32_t *word, uint32_t expected,
	       uint64_t timeout_ns);
/* Change the word first. May be called with spinlocks held. */
void uring_wake(struct uring *r, _Atomic uint32_t *word, unsigned nr);

#endif
