/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "engine/alloc.h"
#include "engine/aspace.h"
#include "engine/batch.h"
#include "engine/check.h"
#include "engine/frame.h"
#include "engine/iopool.h"
#include "engine/swap.h"
#include "engine/swapin.h"
#include "engine/workingset.h"

/* A swap entry of the window and where it belongs. */
struct want {
	uint64_t addr;
	swp_entry_t entry;
};

static uint64_t clamp_window(struct engine *e, uint64_t pages)
{
	/* Two windows are in memory at a time: leave room for the rest. */
	uint64_t room = e->nr_frames / 64;

	if (room < 8)
		room = 8;
	return pages < room ? pages : room;
}

void weir__swapin_window(struct engine *e, struct region *r, uint64_t addr,
			 bool cached, struct swapin_window *w)
{
	struct stream *s = &r->ra;
	uint64_t left = (r->end - addr) >> PAGE_SHIFT;
	uint64_t max = clamp_window(e, e->tun.stream_max);
	bool adjacent = s->win && addr == s->next;
	uint64_t nr;

	w->start = addr;
	w->nr = 1;
	w->ahead = 0;
	w->slots = 0;
	w->stream = adjacent && !(r->flags & REGION_RAND);
	if (cached && !w->stream) {
		/* A stream has caught up with its reads: what is left of its
		 * window need not be mapped page by page. */
		if (s->running && addr < s->next &&
		    s->next - addr < (uint64_t)s->win << PAGE_SHIFT) {
			w->nr = (unsigned)((s->next - addr) >> PAGE_SHIFT);
			w->stream = true;
		}
		return;
	}
	s->running = w->stream;
	if (w->stream) {
		nr = (uint64_t)s->win * 2;
		if (nr < 4)
			nr = 4;
		if (r->flags & REGION_SEQ)
			nr = max;
		if (nr > max)
			nr = max;
	} else if (r->flags & REGION_RAND) {
		nr = 1;
	} else {
		nr = weir__swap_readahead_window(s->hits, false, s->win,
						 (unsigned)e->tun.page_cluster);
	}
	if (nr > left)
		nr = left;
	w->nr = (unsigned)nr;
	if (w->stream && nr >= 8) {
		uint64_t more = left - nr;

		w->ahead = (unsigned)(more < nr ? more : nr);
	}
	s->win = w->nr;
	s->hits = 0;
	s->next = addr + ((uint64_t)w->nr << PAGE_SHIFT);
}

static void end_read(struct engine *e, struct weir_io *io)
{
	for (unsigned i = 0; i < io->nr; i++) {
		struct frame *f = weir__frame(e, io->pfn[i]);

		if (io->status[i] == 0) {
			weir__frame_set(f, FRAME_UPTODATE |
						   (io->in_memory
							? FRAME_UNPACKED
							: 0));
		} else {
			f->error = (uint32_t)-io->status[i];
			weir__frame_set(f, FRAME_ERROR);
			weir__stat_inc(e, STAT_swap_read_error);
		}
		weir__frame_unlock(e, f);
	}
	weir__stat_add(e, STAT_pswpin, io->nr);
	weir__io_put(e, io);
}

static void submit(struct engine *e, struct weir_io **io)
{
	if (*io && (*io)->nr)
		e->host->ops->io_submit(e->host, *io);
	else if (*io)
		weir__io_put(e, *io);
	*io = NULL;
}

static bool extends(const struct weir_io *io, swp_entry_t s)
{
	return io && io->nr && io->nr < WEIR_IO_PAGES_MAX &&
	       io->area == swp_type(s) && io->slot + io->nr == swp_offset(s);
}

/* The page is locked, bound, and not up to date: read it with its run. */
static void read_page(struct engine *e, struct weir_io **io, struct frame *f,
		      swp_entry_t s)
{
	if (weir__swap_zero_test(e, s)) {
		void *p = e->host->ops->contents(e->host, weir__pfn(e, f));

		if (p)
			memset(p, 0, PAGE_SIZE);
		weir__stat_inc(e, STAT_swpin_zero);
		weir__frame_set(f, FRAME_UPTODATE);
		weir__frame_unlock(e, f);
		return;
	}
	if (!extends(*io, s))
		submit(e, io);
	if (!*io) {
		*io = weir__io_get(e);
		(*io)->op = WEIR_IO_READ;
		(*io)->area = swp_type(s);
		(*io)->slot = swp_offset(s);
		(*io)->done = end_read;
	}
	(*io)->pfn[(*io)->nr++] = weir__pfn(e, f);
}

/*
 * A frame bound to the entry, with a reference. *fresh: it was made here, is
 * locked and wants reading.
 */
static struct frame *bind(struct engine *e, swp_entry_t s, gfp_t gfp,
			  bool *fresh, int *err)
{
	*fresh = false;
	for (;;) {
		struct frame *f = weir__swap_cache_get(e, s);
		uint64_t shadow = 0;
		int ret;

		if (f)
			return f;
		f = weir__frames_alloc(e, gfp, 0);
		if (!f) {
			*err = -ENOMEM;
			return NULL;
		}
		weir__frame_set(f, FRAME_LOCKED | FRAME_SWAPBACKED);
		ret = weir__swap_cache_add(e, f, s, &shadow);
		if (ret == 0) {
			if (shadow)
				weir__workingset_refault(e, f, shadow);
			weir__frame_add_lru(e, f);
			*fresh = true;
			return f;
		}
		weir__frame_clear(f, FRAME_LOCKED | FRAME_SWAPBACKED);
		weir__frames_free(e, f, 0);
		if (ret != -EEXIST) {
			*err = -EAGAIN; /* the slot was freed meanwhile */
			return NULL;
		}
	}
}

static int collect_one(struct aspace *as, uint64_t addr, pte_t *pte, void *arg)
{
	struct want **w = arg;
	uint64_t v = *pte;

	if ((v & PTE_SWAP) && !(v & PTE_BUSY)) {
		(*w)->addr = addr;
		(*w)->entry = pte_swap(v);
		(*w)++;
	}
	return 0;
}

static unsigned collect(struct aspace *as, uint64_t start, unsigned nr,
			struct want *out)
{
	struct want *end = out;

	weir__spin_lock(as->engine, &as->lock);
	weir__pte_walk(as, start, start + ((uint64_t)nr << PAGE_SHIFT),
		       collect_one, &end);
	weir__spin_unlock(as->engine, &as->lock);
	return (unsigned)(end - out);
}

/* Neighbours: taken only from frames that are free anyway. False: there are
 * none any more. */
static bool read_neighbour(struct engine *e, swp_entry_t entry,
			   struct weir_io **io)
{
	/* At its limit a group has none that are free anyway. */
	gfp_t gfp = e->charge ? GFP_HIGHUSER_MOVABLE | GFP_NORETRY
			      : GFP_MOVABLE | GFP_NOWAIT | GFP_NORETRY;
	struct frame *f;
	bool fresh;
	int err;

	f = bind(e, entry, gfp, &fresh, &err);
	if (!f)
		return err != -ENOMEM;
	if (fresh) {
		weir__frame_set(f, FRAME_READAHEAD);
		weir__stat_inc(e, STAT_swap_ra);
		read_page(e, io, f, entry);
	}
	weir__page_put(e, f);
	return true;
}

/* The aligned block of slots around the entry. */
static void read_slots(struct engine *e, swp_entry_t entry, unsigned nr,
		       struct weir_io **io)
{
	uint64_t off = swp_offset(entry) & ~(uint64_t)(nr - 1);

	for (uint64_t end = off + nr; off < end; off++) {
		swp_entry_t s = swp_entry(swp_type(entry), off);

		if (!off || s == entry || !weir__swap_count(e, s))
			continue;
		if (!read_neighbour(e, s, io))
			return;
	}
}

static void read_neighbours(struct engine *e, struct aspace *as, uint64_t start,
			    unsigned nr, uint64_t except, struct weir_io **io)
{
	struct want want[WEIR_IO_PAGES_MAX];
	unsigned n = collect(as, start, nr, want);

	for (unsigned i = 0; i < n; i++)
		if (want[i].addr != except &&
		    !read_neighbour(e, want[i].entry, io))
			return;
}

struct frame *weir__swapin(struct engine *e, struct aspace *as, uint64_t addr,
			   swp_entry_t entry, const struct swapin_window *w,
			   int *err)
{
	struct weir_io *io = NULL, *first = NULL;
	struct frame *f;
	bool fresh;

	/*
	 * The page itself first: it may have to reclaim for its frame, and no
	 * half-filled request may wait meanwhile (its pages are locked).
	 */
	f = bind(e, entry, GFP_HIGHUSER_MOVABLE, &fresh, err);
	if (!f)
		return NULL;
	if (fresh) {
		weir__stat_inc(e, STAT_pgmajfault);
		read_page(e, &io, f, entry);
		first = io;
	}
	if (w->slots > 1)
		read_slots(e, entry, w->slots, &io);
	else if (w->nr > 1)
		read_neighbours(e, as, w->start, w->nr, addr, &io);
	/* All of it in one read, and nothing to be read beside it. */
	if (io && io == first)
		io->sync = !w->ahead;
	submit(e, &io);
	if (w->ahead) {
		read_neighbours(e, as,
				w->start + ((uint64_t)w->nr << PAGE_SHIFT),
				w->ahead, addr, &io);
		submit(e, &io);
	}
	return f;
}

struct frame *weir__swapin_one(struct engine *e, swp_entry_t entry, bool *major,
			       int *err)
{
	struct weir_io *io = NULL;
	bool fresh;
	struct frame *f = bind(e, entry, GFP_HIGHUSER_MOVABLE, &fresh, err);

	if (!f || !fresh)
		return f;
	if (major)
		*major = true;
	read_page(e, &io, f, entry);
	submit(e, &io);
	return f;
}
