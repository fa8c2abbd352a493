/* SPDX-License-Identifier: MIT */
#include "host/live/readnow.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "host/live/sys.h"

/* A disk whose reads take longer is worth sleeping for: then waking up is a
 * small part of it. Guessed; the wakes measured took 20 to 60 us. */
#define SPIN_MAX_NS 150000u
#define ENTRIES     2u

static long read_asleep(int fd, const struct iovec *iov, unsigned nr,
			uint64_t off)
{
	long n;

	do
		n = sys_preadv(fd, iov, nr, off);
	while (n == -EINTR);
	return n;
}

#ifndef WEIR_NO_URING

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static bool prepare(struct readnow *n)
{
	struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER |
					     IORING_SETUP_DEFER_TASKRUN};

	if (n->ready || n->refused)
		return n->ready;
	/* Completions are run when this thread asks for them, and only then: no
	 * interrupt of one processor by another. Linux 6.1. */
	if (io_uring_queue_init_params(ENTRIES, &n->ring, &p)) {
		n->refused = true;
		return false;
	}
	io_uring_ring_dontfork(&n->ring);
	n->mean_ns = SPIN_MAX_NS / 2;
	n->ready = true;
	return true;
}

static void await(struct readnow *n, struct io_uring_cqe **c, uint64_t start)
{
	uint64_t limit = n->mean_ns < SPIN_MAX_NS ? 2u * n->mean_ns : 0;

	while (io_uring_peek_cqe(&n->ring, c)) {
		if (now_ns() - start >= limit) {
			while (io_uring_wait_cqe(&n->ring, c) == -EINTR)
				;
			return;
		}
		io_uring_get_events(&n->ring);
		sys_sched_yield();
	}
}

long readnow(struct readnow *n, int fd, const struct iovec *iov, unsigned nr,
	     uint64_t off)
{
	struct io_uring_cqe *c = NULL;
	struct io_uring_sqe *s;
	uint64_t start, took;
	long res;

	if (!prepare(n))
		return read_asleep(fd, iov, nr, off);
	start = now_ns();
	s = io_uring_get_sqe(&n->ring);
	io_uring_prep_readv(s, fd, iov, nr, off);
	if (io_uring_submit(&n->ring) != 1) {
		/* The entry may be taken later: not with this ring. */
		io_uring_queue_exit(&n->ring);
		n->ready = false;
		n->refused = true;
		return read_asleep(fd, iov, nr, off);
	}
	await(n, &c, start);
	res = c->res;
	io_uring_cqe_seen(&n->ring, c);
	took = now_ns() - start;
	if (took > 10 * SPIN_MAX_NS)
		took = 10 * SPIN_MAX_NS;
	n->mean_ns = n->mean_ns - n->mean_ns / 8 + (uint32_t)took / 8;
	if (res == -EINTR || res == -EAGAIN || res == -ECANCELED)
		return read_asleep(fd, iov, nr, off);
	return res;
}

#else

long readnow(struct readnow *n, int fd, const struct iovec *iov, unsigned nr,
	     uint64_t off)
{
	return read_asleep(fd, iov, nr, off);
}

#endif
