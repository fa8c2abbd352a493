/* SPDX-License-Identifier: MIT */
/*
 * The engine's I/O requests, made once at start-up.
 *
 * Reclaim writes pages in order to free memory, so it must never need memory
 * to write. The pool is that guarantee: a request is always either free or
 * under way, and one under way comes back without anybody allocating.
 */
#ifndef WEIR_ENGINE_IOPOOL_H
#define WEIR_ENGINE_IOPOOL_H

#include "engine/types.h"

/* Requests: the deepest user holds one while it fills the next, so two for
 * each task that reclaims at once would do; the rest is queue depth. */
#define IOPOOL_SIZE 48

int weir__iopool_init(struct engine *e);
/* [sleep] A request with nr 0; waits until one is free. */
struct weir_io *weir__io_get(struct engine *e);
/* [any] NULL when none is free: for I/O that can be left out. */
struct weir_io *weir__io_tryget(struct engine *e);
/* [any] */
void weir__io_put(struct engine *e, struct weir_io *io);
/* Requests out of the pool; 0 at rest. */
unsigned weir__io_busy(struct engine *e);

#endif
