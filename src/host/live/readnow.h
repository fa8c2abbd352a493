/* SPDX-License-Identifier: MIT */
/*
 * A read that somebody waits for, made by the thread that waits.
 *
 * Sleeping until the disk is done costs, in a virtual machine, as much as a
 * fast disk takes: the processor halts and has to be woken, perhaps by another
 * one that got the interrupt. So the thread looks again and again instead,
 * letting others run in between, for as long as reads have taken lately; only
 * when this one takes longer, or the disk is slow anyway, it sleeps.
 */
#ifndef WEIR_LIVE_READNOW_H
#define WEIR_LIVE_READNOW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#ifndef WEIR_NO_URING
#include <liburing.h>
#endif

/* One for each thread, zero-filled before the first use. */
struct readnow {
	bool ready, refused;
	uint32_t mean_ns; /* of the reads of late */
#ifndef WEIR_NO_URING
	struct io_uring ring; /* of this thread alone */
#endif
};

/* As preadv: bytes, or -errno. [sleep] Always by the same thread. */
long readnow(struct readnow *n, int fd, const struct iovec *iov, unsigned nr,
	     uint64_t off);

#endif
