/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "engine/check.h"
#include "engine/iopool.h"

struct iopool {
	struct spin lock;
	struct list_head free;
	unsigned nr_free;
	_Atomic uint32_t word; /* raised when a request comes back */
	struct weir_io io[IOPOOL_SIZE];
	pfn_t pfn[IOPOOL_SIZE][WEIR_IO_PAGES_MAX];
	int16_t status[IOPOOL_SIZE][WEIR_IO_PAGES_MAX];
};

int weir__iopool_init(struct engine *e)
{
	struct iopool *p = e->host->ops->meta_alloc(e->host, sizeof(*p));

	if (!p)
		return -ENOMEM;
	weir__spin_init(&p->lock, RANK_STATS);
	list_init(&p->free);
	for (unsigned i = 0; i < IOPOOL_SIZE; i++) {
		p->io[i].pfn = p->pfn[i];
		p->io[i].status = p->status[i];
		list_add_tail(&p->io[i].link, &p->free);
	}
	p->nr_free = IOPOOL_SIZE;
	e->iopool = p;
	return 0;
}

struct weir_io *weir__io_tryget(struct engine *e)
{
	struct iopool *p = e->iopool;
	struct weir_io *io = NULL;

	weir__spin_lock(e, &p->lock);
	if (!list_empty(&p->free)) {
		io = list_first_entry(&p->free, struct weir_io, link);
		list_del_init(&io->link);
		p->nr_free--;
	}
	weir__spin_unlock(e, &p->lock);
	if (io) {
		io->nr = 0;
		io->sync = false;
		io->in_memory = false;
		io->target = WEIR_IO_SWAP;
		io->owner = NULL;
	}
	return io;
}

struct weir_io *weir__io_get(struct engine *e)
{
	struct iopool *p = e->iopool;

	for (;;) {
		uint32_t seen = p->word;
		struct weir_io *io = weir__io_tryget(e);

		if (io)
			return io;
		e->host->ops->wait(e->host, &p->word, seen, 0);
	}
}

void weir__io_put(struct engine *e, struct weir_io *io)
{
	struct iopool *p = e->iopool;

	weir__spin_lock(e, &p->lock);
	list_add(&io->link, &p->free);
	p->nr_free++;
	weir__spin_unlock(e, &p->lock);
	p->word++;
	e->host->ops->wake_word(e->host, &p->word, 1);
}

unsigned weir__io_busy(struct engine *e)
{
	return IOPOOL_SIZE - e->iopool->nr_free;
}
