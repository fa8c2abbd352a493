/* SPDX-License-Identifier: MIT */
/*
 * A store keeps pages somewhere else: numbered slots of 4 KiB, read and written
 * in runs, asynchronously. Back ends (file, zmem, later nbd) and wrappers
 * (error, delay, log) implement this table.
 *
 * Every stored page carries a checksum kept by the store, verified on the way
 * in: a mismatch is -EBADMSG for that page, never a wrong byte.
 */
#ifndef WEIR_STORE_H
#define WEIR_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct store;
struct store_split;
struct uring;
struct readnow;

#define STORE_RUN_MAX 256

/* One run. Everything but status is the caller's to fill. */
struct store_req {
	bool write;
	/* A read that is waited for at once: it may be over, done() included,
	 * when submit returns. Saves the way through the ring. */
	bool sync;
	unsigned nr;     /* pages, 1..STORE_RUN_MAX */
	uint64_t slot;   /* first slot */
	void **buf;      /* [nr] page-aligned addresses */
	struct readnow *reader; /* sync: the submitting thread's */
	bool in_memory;		/* out: every page was read from memory */
	/*
	 * [nr] out: 0, -EIO, -ENOSPC, -EBADMSG. Written pages that a store in
	 * memory will not have, too: -E2BIG it does not compress, -EAGAIN no
	 * memory at the moment.
	 */
	int16_t *status;
	/* Called once, by whoever reaps; must not sleep. */
	void (*done)(struct store_req *r);
	void *owner;
	struct iovec *iov;   /* [nr] scratch of the store */
	uint64_t scratch[6]; /* 0, 1: back end; 2, 3: a wrapper; 4, 5: zmem */
	/* Scratch of a store that stands before another; NULL where there is
	 * none. */
	struct store_split *split;
};

/* The part of a request that goes to the store below. */
struct store_split {
	struct store_req req;
	void *buf[STORE_RUN_MAX];
	int16_t status[STORE_RUN_MAX];
};

struct store_ops {
	const char *name;
	/* [sleep] done() follows, perhaps before the return. */
	void (*submit)(struct store *s, struct store_req *r);
	/* [any] Contents are dead, for forked children too. May be ignored. */
	void (*discard)(struct store *s, uint64_t slot, unsigned nr);
	/*
	 * [any] The engine has freed this very slot; NULL for a store that
	 * waits for discard. leased: a forked child may still read what a disk
	 * has of it, so that must stay.
	 */
	void (*slot_free)(struct store *s, uint64_t slot, bool leased);
	/* In a forked child, before any other call: own ring, same file, with
	 * s->fd good again. What the parent stored can be read; the slots stay
	 * the parent's. */
	void (*after_fork)(struct store *s, struct uring *ring);
	void (*close)(struct store *s);
};

struct store {
	const struct store_ops *ops;
	int fd;              /* of the file; -1 where there is none */
	uint64_t slots;      /* capacity, slot 0 included */
	uint64_t bytes_used; /* what it takes on the device now, about */
	/* Tests: sees every page read, before its checksum is verified. */
	void (*on_read)(void *ctx, void *page);
	void *on_read_ctx;
};

struct store_file_opts {
	/* A directory: an unlinked file in it. Otherwise a path that must not
	 * exist: created 0600 and unlinked at once. */
	const char *path;
	uint64_t bytes; /* capacity */
	bool buffered;  /* no O_DIRECT */
	struct uring *ring;
	/* Memory for the store's own arrays, zero-filled, never freed: 4 bytes
	 * for each page of capacity and a little. */
	void *(*meta_alloc)(void *ctx, size_t bytes);
	void *ctx;
};

/* 0, or -errno with a sentence in err. */
int store_file_open(const struct store_file_opts *o, struct store **out,
		    char *err, size_t errlen);
/* It bypasses the page cache. */
bool store_file_is_direct(const struct store *s);

/*
 * Wrapper for tests: fails reads or writes of `under`. Spec, comma separated:
 * read-eio=N (every N-th page read fails), write-eio=N, write-enospc=N,
 * flip=N (a bit of every N-th page read is flipped before the check).
 */
int store_error_wrap(struct store *under, const char *spec, struct store **out,
		     char *err, size_t errlen);

#endif
