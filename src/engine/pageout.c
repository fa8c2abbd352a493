/* SPDX-License-Identifier: MIT */
/* Pages on their way to a swap area: slots, runs, and the end of the write. */
#include <errno.h>
#include <string.h>

#include "engine/batch.h"
#include "engine/check.h"
#include "engine/event.h"
#include "engine/frame.h"
#include "engine/iopool.h"
#include "engine/pagelist.h"
#include "engine/swap.h"

static bool before(const struct frame *a, const struct frame *b)
{
	if (a->mapping != b->mapping)
		return a->mapping < b->mapping;
	return a->index < b->index;
}

/* Merge sort: stable, no memory. */
void weir__sort_pages(struct list_head *pages)
{
	LIST_HEAD(left);
	LIST_HEAD(out);
	struct list_head *slow = pages, *fast = pages;

	if (list_empty(pages) || pages->next->next == pages)
		return;
	do {
		slow = slow->next;
		fast = fast->next->next;
	} while (fast != pages && fast->next != pages);
	/* left = first .. slow; pages = the rest */
	left.next = pages->next;
	left.next->prev = &left;
	pages->next = slow->next;
	pages->next->prev = pages;
	left.prev = slow;
	slow->next = &left;
	weir__sort_pages(&left);
	weir__sort_pages(pages);
	while (!list_empty(&left) && !list_empty(pages)) {
		struct frame *a = list_first_entry(&left, struct frame, lru);
		struct frame *b = list_first_entry(pages, struct frame, lru);

		list_move_tail(before(b, a) ? &b->lru : &a->lru, &out);
	}
	while (!list_empty(&left))
		list_move_tail(left.next, &out);
	while (!list_empty(pages))
		list_move_tail(pages->next, &out);
	list_splice_init(&out, pages);
}

void weir__add_to_swap(struct engine *e, struct list_head *want,
		       struct list_head *failed)
{
	swp_entry_t slot[WEIR_IO_PAGES_MAX];
	unsigned nr = 0, got = 0, i = 0;
	struct frame *f, *tmp;

	list_for_each_entry(f, want, lru)
		nr++;
	if (nr > WEIR_IO_PAGES_MAX)
		nr = WEIR_IO_PAGES_MAX;
	weir__sort_pages(want);
	while (got < nr) {
		unsigned n = weir__swap_alloc(e, slot + got, nr - got);

		if (!n && !weir__swap_reclaim_cache(e, nr - got))
			break;
		got += n;
	}
	list_for_each_entry_safe(f, tmp, want, lru) {
		if (i == got) {
			list_move_tail(&f->lru, failed);
			continue;
		}
		if (weir__swap_cache_add(e, f, slot[i], NULL)) {
			weir__swap_slot_release(e, slot[i]);
			list_move_tail(&f->lru, failed);
		} else {
			weir__frame_set(f, FRAME_DIRTY);
		}
		i++;
	}
}

/*
 * A write that failed loses nothing: the page is still in its frame, dirty and
 * bound to its slot, and goes back among the active ones.
 */
static void end_write(struct engine *e, struct weir_io *io)
{
	unsigned failed = 0;
	struct node *n = &e->nodes[weir__frame(e, io->pfn[0])->node];

	for (unsigned i = 0; i < io->nr; i++) {
		struct frame *f = weir__frame(e, io->pfn[i]);

		if (io->status[i]) {
			failed++;
			weir__frame_set(f, FRAME_DIRTY);
			weir__frame_clear(f, FRAME_RECLAIM);
			/* not the bare flag: the page may be on a list again */
			weir__frame_activate(e, f);
			if (io->status[i] == -ENOSPC)
				weir__swap_area_full(e, io->area);
		}
		if (weir__frame_clear(f, FRAME_RECLAIM))
			weir__frame_rotate(e, f);
		weir__frame_end(e, f, FRAME_WRITEBACK);
	}
	n->nr_writeback -= io->nr;
	weir__stat_add(e, STAT_nr_writeback, -(int64_t)io->nr);
	weir__stat_add(e, STAT_nr_written, io->nr - failed);
	weir__stat_add(e, STAT_swap_write_error, failed);
	weir__throttle_written(e, n, io->nr);
	weir__io_put(e, io);
}

static void start(struct engine *e, struct weir_io **io)
{
	if (*io)
		e->host->ops->io_submit(e->host, *io);
	*io = NULL;
}

static void write_page(struct engine *e, struct weir_io **io, struct frame *f)
{
	swp_entry_t s = f->private;
	struct weir_io *w = *io;

	if (w && (w->nr >= e->tun.write_run_max || w->area != swp_type(s) ||
		  w->slot + w->nr != swp_offset(s))) {
		start(e, io);
		w = NULL;
	}
	if (!w) {
		w = weir__io_get(e);
		w->op = WEIR_IO_WRITE;
		w->area = swp_type(s);
		w->slot = swp_offset(s);
		w->done = end_write;
		*io = w;
	}
	w->pfn[w->nr++] = weir__pfn(e, f);
	e->nodes[f->node].nr_writeback++;
	weir__stat_inc(e, STAT_nr_writeback);
	weir__stat_inc(e, STAT_pswpout);
	weir__stat_inc(e, STAT_nr_vmscan_write);
	weir__event(e, "mm_vmscan_write_folio", weir__pfn(e, f), s, 0);
}

static bool all_zero(struct engine *e, struct frame *f)
{
	const uint64_t *p = e->host->ops->contents(e->host, weir__pfn(e, f));

	if (!p || p[0])
		return false;
	return !memcmp(p, p + 1, PAGE_SIZE - sizeof(*p));
}

/*
 * The host has every request. Pages under way are unlocked: from here on
 * WRITEBACK keeps the contents and the slot. A fault may map the page; a write
 * of the program makes it DIRTY again (fault.c, make_dirty).
 *
 * A store in memory has written already. Such pages are as clean as any and go
 * now: put back, they would be the newest of their list, and a whole list would
 * be written before the first of them is met again.
 */
static void settle(struct engine *e, struct list_head *clean,
		   struct list_head *started)
{
	struct frame *f, *tmp;

	list_for_each_entry_safe(f, tmp, started, lru) {
		if (!frame_test(f, FRAME_WRITEBACK | FRAME_DIRTY)) {
			list_move_tail(&f->lru, clean);
			continue;
		}
		/* It failed: not the next to be tried. Isolated and locked,
		 * so the bare flag is ours to set. */
		if (!frame_test(f, FRAME_WRITEBACK))
			weir__frame_set(f, FRAME_ACTIVE);
		weir__frame_unlock(e, f);
	}
}

void weir__pageout(struct engine *e, struct list_head *dirty,
		   struct list_head *clean, struct list_head *started)
{
	struct weir_io *io = NULL;
	struct frame *f, *tmp;

	list_for_each_entry_safe(f, tmp, dirty, lru) {
		bool zero = all_zero(e, f);

		weir__swap_zero_set(e, f->private, zero);
		weir__frame_clear(f, FRAME_DIRTY);
		if (zero) {
			weir__stat_inc(e, STAT_swpout_zero);
			list_move_tail(&f->lru, clean);
			continue;
		}
		weir__frame_set(f, FRAME_WRITEBACK | FRAME_RECLAIM);
		list_move_tail(&f->lru, started);
		write_page(e, &io, f);
	}
	start(e, &io);
	settle(e, clean, started);
}
