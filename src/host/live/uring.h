/* SPDX-License-Identifier: MIT */
/*
 * Asynchronous vectored I/O, and sleeping that also reaps it.
 *
 * One io_uring is shared by every thread of the engine. Whoever sleeps
 * (uring_wait) and finds no other thread doing so becomes the reaper: it waits
 * inside io_uring_enter and runs the callbacks of what completes, its own and
 * the others'. A wake for a word on which the reaper sleeps kicks it with a
 * no-op request. Where io_uring is refused, a few threads do preadv/pwritev
 * and run the callbacks, and sleeping is a plain futex.
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

/* The state before a fork dies with it: call uring_init anew in the child. */
size_t uring_size(void);
/* mem: uring_size() bytes, zero-filled. force_threads: do without io_uring. */
int uring_init(struct uring *r, void *stack_mem, size_t stack_bytes,
	       bool force_threads);
void uring_exit(struct uring *r);
bool uring_is_native(const struct uring *r);

/*
 * One readv/writev at byte offset off. done(arg, res): res is the number of
 * bytes or -errno. May be called before the submit returns.
 */
void uring_submit(struct uring *r, bool write, int fd, const struct iovec *iov,
		  unsigned nr, uint64_t off, void (*done)(void *arg, int res),
		  void *arg);
/* Runs callbacks of what has completed; never sleeps. How many. */
unsigned uring_poll(struct uring *r);
unsigned uring_inflight(const struct uring *r);

/* Sleeps while *word == expected, reaping meanwhile. 0 or -ETIMEDOUT.
 * timeout_ns 0 = none. May return early. */
int uring_wait(struct uring *r, _Atomic uint32_t *word, uint32_t expected,
	       uint64_t timeout_ns);
void uring_wake(struct uring *r, _Atomic uint32_t *word, unsigned nr);

#endif
