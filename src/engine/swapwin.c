/* SPDX-License-Identifier: MIT */
/*
 * Which pages are read together with the one that is wanted from swap.
 *
 * Three ways (tunable swap_readahead). The first is ours; the others are
 * Linux's, for who wants to know what Linux would do:
 *
 *   0 streams      swapin.c: one page, and runs that double where faults go on
 *                  in one direction
 *   1 by address   a window around the address, as wide as the hits of the
 *                  last one earned: ahead of a fault that follows the last one,
 *                  behind one that precedes it, on both sides otherwise. On
 *                  devices that do not turn.
 *   2 by slot      an aligned block of slots, as wide as the hits of all last
 *                  ones earned. On devices that turn, where what was written
 *                  together is read together for nothing.
 */
#include "engine/swap.h"
#include "engine/swapin.h"

#define VMA_PAGES_MAX 32 /* the cap of a window by address */
#define HITS_MAX      63 /* as many as are remembered */

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* The window's pages, within the region and the page's own table. */
static void place(const struct region *r, uint64_t addr, uint64_t last,
		  struct swapin_window *w)
{
	uint64_t low = addr & ~(PTE_TABLE_SPAN - 1);
	uint64_t high = low + PTE_TABLE_SPAN;
	uint64_t pages = w->nr, left, end;

	if (addr == last + PAGE_SIZE)
		left = 0;
	else if (last == addr + PAGE_SIZE)
		left = pages - 1;
	else
		left = (pages - 1) / 2;
	if (low < r->start)
		low = r->start;
	if (high > r->end)
		high = r->end;
	if (left > (addr - low) >> PAGE_SHIFT)
		left = (addr - low) >> PAGE_SHIFT;
	w->start = addr - (left << PAGE_SHIFT);
	end = w->start + (pages << PAGE_SHIFT);
	if (end > high)
		end = high;
	w->nr = (unsigned)((end - w->start) >> PAGE_SHIFT);
}

static void by_address(struct engine *e, struct region *r, uint64_t addr,
		       bool cached, struct swapin_window *w)
{
	struct stream *s = &r->ra;
	uint64_t last = s->next;
	unsigned win;

	s->next = addr;
	if (s->hits > HITS_MAX)
		s->hits = HITS_MAX;
	if (cached)
		return;
	win = weir__swap_readahead_window(s->hits,
					  distance(addr, last) == PAGE_SIZE,
					  s->win,
					  (unsigned)e->tun.page_cluster);
	if (win > VMA_PAGES_MAX)
		win = VMA_PAGES_MAX;
	s->win = win;
	s->hits = 0;
	w->nr = win;
	if (win > 1)
		place(r, addr, last, w);
}

/* The state is the machine's: faults of all regions share it, and what they do
 * to each other's guess costs a window at most. */
static void by_slot(struct engine *e, struct region *r, swp_entry_t entry,
		    bool cached, struct swapin_window *w)
{
	struct swap_stream *s = &e->swap_stream;
	uint64_t off = swp_offset(entry), last;
	uint32_t hits;
	unsigned win;

	/* the region's are the sum's */
	hits = __atomic_add_fetch(&s->hits, r->ra.hits, __ATOMIC_RELAXED);
	r->ra.hits = 0;
	if (cached)
		return;
	__atomic_store_n(&s->hits, 0, __ATOMIC_RELAXED);
	last = __atomic_load_n(&s->last, __ATOMIC_RELAXED);
	win = weir__swap_readahead_window(
		hits, distance(off, last) == 1,
		__atomic_load_n(&s->win, __ATOMIC_RELAXED),
		(unsigned)e->tun.page_cluster);
	if (!hits)
		__atomic_store_n(&s->last, off, __ATOMIC_RELAXED);
	__atomic_store_n(&s->win, win, __ATOMIC_RELAXED);
	/* a power of two but after a window was halved from one that was not */
	while (win & (win - 1))
		win &= win - 1;
	w->slots = win;
}

bool weir__swapin_window_linux(struct engine *e, struct region *r,
			       uint64_t addr, swp_entry_t entry, bool cached,
			       struct swapin_window *w)
{
	if (!e->tun.swap_readahead)
		return false;
	w->start = addr;
	w->nr = 1;
	w->ahead = 0;
	w->slots = 0;
	w->stream = false;
	if (r->flags & REGION_RAND)
		return true;
	if (e->tun.swap_readahead == 1)
		by_address(e, r, addr, cached, w);
	else
		by_slot(e, r, entry, cached, w);
	return true;
}
