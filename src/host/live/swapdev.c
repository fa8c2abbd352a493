/* SPDX-License-Identifier: MIT */
/* The engine's I/O requests carried to the stores of this process. */
#include <errno.h>
#include <string.h>

#include "engine/frame.h"
#include "engine/iopool.h"
#include "engine/swap.h"
#include "host/live/live.h"
#include "host/live/sys.h"
#include "host/live/zmemdev.h"
#include "store/store.h"

/* What a request needs below the engine. One for each of the engine's. */
struct carrier {
	struct store_req req;
	struct live *live;
	struct weir_io *io;
	_Atomic uint32_t busy;
	uint32_t buf[WEIR_IO_PAGES_MAX];
	void *addr[WEIR_IO_PAGES_MAX];
	struct iovec iov[WEIR_IO_PAGES_MAX];
	struct store_split split;
};

static struct carrier *carriers;

static struct carrier *carrier_get(struct live *l)
{
	/* There are as many as the engine has requests: one is free. */
	for (unsigned i = 0;; i = (i + 1) % IOPOOL_SIZE)
		if (!carriers[i].busy && !atomic_exchange(&carriers[i].busy, 1))
			return &carriers[i];
}

static void carried(struct store_req *r)
{
	struct carrier *c = r->owner;
	struct live *l = c->live;
	struct weir_io *io = c->io;

	for (unsigned i = 0; i < r->nr; i++) {
		if (r->status[i] == -EBADMSG)
			weir_slot_error(l->slot, WEIR_SLOT_CORRUPT,
					"a page in the swap file is not what "
					"was written (bad checksum): SIGBUS "
					"for whoever touches it");
		else if (r->status[i] && !r->write)
			weir_slot_error(l->slot, WEIR_SLOT_IO_ERROR,
					"a page could not be read back from "
					"the swap file: SIGBUS for whoever "
					"touches it");
		arena_unpin(&l->arena, c->buf[i]);
	}
	io->in_memory = r->in_memory;
	c->busy = 0;
	io->done(&l->engine, io);
	l->inside--;
}

void swapdev_submit(struct weir_host *h, struct weir_io *io)
{
	struct live *l = live_of(h);
	struct carrier *c;

	if (io->target == WEIR_IO_FILE) {
		/* The program's files stay the kernel's. */
		for (unsigned i = 0; i < io->nr; i++)
			io->status[i] = -EOPNOTSUPP;
		io->done(&l->engine, io);
		return;
	}
	c = carrier_get(l);
	l->inside++; /* until its callback has run: see fork_freeze */
	c->live = l;
	c->io = io;
	c->req = (struct store_req){.write = io->op == WEIR_IO_WRITE,
				    .sync = io->sync && seat_may_block(l),
				    .reader = &live_self()->reader,
				    .nr = io->nr,
				    .slot = io->slot,
				    .buf = c->addr,
				    .status = io->status,
				    .done = carried,
				    .owner = c,
				    .iov = c->iov,
				    .split = &c->split};
	for (unsigned i = 0; i < io->nr; i++) {
		c->addr[i] = io->nr == 1 && io->op == WEIR_IO_READ
				     ? arena_contents_gap(h, io->pfn[i])
				     : arena_contents(h, io->pfn[i]);
		c->buf[i] = arena_buf_of(&l->arena, io->pfn[i]);
		arena_pin(&l->arena, c->buf[i]);
	}
	l->area[io->area].store->ops->submit(l->area[io->area].store, &c->req);
}

void swapdev_discard(struct weir_host *h, uint32_t area, uint64_t slot,
		     unsigned nr)
{
	struct store *s = live_of(h)->area[area].store;

	if (s && live_of(h)->area[area].own)
		s->ops->discard(s, slot, nr);
}

void swapdev_slot_free(struct weir_host *h, uint32_t area, uint64_t slot,
		       bool leased)
{
	struct store *s = live_of(h)->area[area].store;

	if (s && s->ops->slot_free)
		s->ops->slot_free(s, slot, leased);
}

/* The swap file of this process. 0: *out is NULL when it is to have none. */
static int open_file(struct live *l, struct store **out, char *err,
		     size_t errlen)
{
	struct store_file_opts o = {
		.path = l->cfg->swap_path,
		.bytes = l->cfg->swap_bytes,
		.buffered = l->cfg->flags & WEIR_CONFIG_BUFFERED,
		.ring = l->ring,
		.meta_alloc = live_meta_alloc,
		.ctx = l};
	int ret;

	*out = NULL;
	if (!l->cfg->swap_bytes)
		return 0;
	ret = store_file_open(&o, out, err, errlen);
	if (!ret && l->cfg->store_error[0])
		ret = store_error_wrap(*out, l->cfg->store_error, out, err,
				       errlen);
	return ret;
}

int swapdev_open_own(struct live *l)
{
	struct store *s, *file;
	char err[200];
	int ret, type;

	if (!carriers) {
		carriers = live_meta_alloc(l, IOPOOL_SIZE * sizeof(*carriers));
		if (!carriers)
			return -ENOMEM;
	}
	ret = open_file(l, &file, err, sizeof(err));
	s = file;
	if (!ret && l->cfg->zmem_bytes)
		ret = zmemdev_open(l, file, &s, err, sizeof(err));
	if (ret) {
		weir_slot_error(l->slot, 0, err);
		live_logf(l, 0, "%s", err);
		return ret;
	}
	type = weir__swapon(&l->engine, s->slots, -1, NULL, 0);
	if (type < 0)
		return type;
	l->area[type].store = s;
	l->area[type].own = true;
	l->area[type].owner_pid = sys_getpid();
	l->area[type].owner_key = l->key;
	l->area[type].lease_fd = -1;
	l->own_area = type;
	return 0;
}
