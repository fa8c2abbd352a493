/* SPDX-License-Identifier: MIT */
#include "host/live/arena.h"

#include <string.h>

#include "host/live/live.h"
#include "host/live/sys.h"

#define ALL_ONES (~(uint64_t)0)
#define LOOK_MAX   64 /* chunks with garbage, in one search */
#define GAPS_LEAST 8 /* in a chunk whose gaps are given out */

static void lock(struct arena *a)
{
	while (__atomic_exchange_n((uint32_t *)&a->lock, 1, __ATOMIC_ACQUIRE))
		for (int i = 0; a->lock; i++)
			if (i > 1000)
				sys_sched_yield();
}

static void unlock(struct arena *a)
{
	__atomic_store_n((uint32_t *)&a->lock, 0, __ATOMIC_RELEASE);
}

static void *reserve(size_t bytes)
{
	void *p = sys_mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (sys_is_err(p))
		return NULL;
	sys_madvise(p, bytes, MADV_NOHUGEPAGE);
	return p;
}

int arena_init(struct live *l, uint64_t nr_frames, uint32_t garbage_max)
{
	struct arena *a = &l->arena;
	uint64_t hand;

	a->nr_frames = nr_frames;
	/* Address space is cheap: room for chunks that hold a few pages each */
	a->nr_chunks = (uint32_t)(nr_frames / CHUNK_PAGES * 8 + 128);
	hand = (uint64_t)a->nr_chunks * CHUNK_PAGES * PAGE_SIZE;
	a->direct = reserve(nr_frames * PAGE_SIZE);
	a->hand = reserve(hand);
	a->trash = reserve(CHUNK_PAGES * PAGE_SIZE);
	a->chunk = live_meta_alloc(l, a->nr_chunks * sizeof(*a->chunk));
	a->buf_of = live_meta_alloc(l, nr_frames * sizeof(*a->buf_of));
	a->direct_used = live_meta_alloc(l, nr_frames / 8 + 8);
	if (!a->direct || !a->hand || !a->trash || !a->chunk || !a->buf_of ||
	    !a->direct_used)
		return -ENOMEM;
	regions_exclude(l, (uintptr_t)a->direct,
			(uintptr_t)a->direct + nr_frames * PAGE_SIZE);
	regions_exclude(l, (uintptr_t)a->hand, (uintptr_t)a->hand + hand);
	regions_exclude(l, (uintptr_t)a->trash,
			(uintptr_t)a->trash + CHUNK_PAGES * PAGE_SIZE);
	memset(a->buf_of, 0xff, nr_frames * sizeof(*a->buf_of));
	list_init(&a->empty);
	list_init(&a->warm);
	list_init(&a->used);
	list_init(&a->dead);
	for (uint32_t i = 0; i < a->nr_chunks; i++)
		list_add_tail(&a->chunk[i].link, &a->empty);
	a->open_out = BUF_NONE;
	a->open_in = BUF_NONE;
	a->open_gap = BUF_NONE;
	a->garbage_max = garbage_max;
	a->warm_max = garbage_max / 2 / CHUNK_PAGES;
	return 0;
}

void *arena_direct(struct weir_host *h, uint32_t pfn)
{
	struct arena *a = &live_of(h)->arena;

	__atomic_fetch_or(&a->direct_used[pfn / 64], UINT64_C(1) << pfn % 64,
			  __ATOMIC_RELAXED);
	return a->direct + (uint64_t)pfn * PAGE_SIZE;
}

/* --- chunks; all with the lock held -------------------------------------- */

static uint32_t number(struct arena *a, struct chunk *c)
{
	return (uint32_t)(c - a->chunk);
}

static void account(struct arena *a, struct chunk *c, uint64_t live,
		    uint64_t populated)
{
	int64_t was = __builtin_popcountll(c->populated & ~c->live);

	a->populated += __builtin_popcountll(populated) -
			__builtin_popcountll(c->populated);
	c->live = live;
	c->populated = populated;
	a->garbage += __builtin_popcountll(populated & ~live) - was;
}

static bool is_open(struct arena *a, struct chunk *c)
{
	return number(a, c) == a->open_in || number(a, c) == a->open_out ||
	       number(a, c) == a->open_gap;
}

/* Nothing live in it any more? Then it has a new use. */
static void settle(struct arena *a, struct chunk *c)
{
	if (c->live || c->pinned || is_open(a, c) || c->state == CHUNK_TRASH ||
	    c->state == CHUNK_EMPTY)
		return;
	if (c->state == CHUNK_WARM)
		a->nr_warm--;
	if (!c->populated) {
		c->state = CHUNK_EMPTY;
		list_move(&c->link, &a->empty);
	} else if (c->populated == ALL_ONES && a->nr_warm < a->warm_max) {
		c->state = CHUNK_WARM;
		a->nr_warm++;
		list_move(&c->link, &a->warm);
	} else {
		c->state = CHUNK_USED;
		list_move(&c->link, &a->dead);
	}
}

static uint32_t open_chunk(struct arena *a, struct list_head *from)
{
	struct chunk *c;

	if (list_empty(from))
		return BUF_NONE;
	c = list_first_entry(from, struct chunk, link);
	if (c->state == CHUNK_WARM)
		a->nr_warm--;
	c->state = CHUNK_OPEN;
	c->next = 0;
	list_move(&c->link, &a->used);
	return number(a, c);
}

static void close_chunk(struct arena *a, uint32_t *open)
{
	struct chunk *c = &a->chunk[*open];

	*open = BUF_NONE;
	c->state = CHUNK_USED;
	settle(a, c);
}

/* A buffer somewhere, when chunks have run out: any that nothing lives in. */
static uint32_t any_buffer(struct arena *a)
{
	for (uint32_t i = 0; i < a->nr_chunks; i++) {
		struct chunk *c = &a->chunk[i];
		uint64_t free = ~(c->live | c->pinned);
		unsigned b;

		if (c->state != CHUNK_USED || !free)
			continue;
		b = (unsigned)__builtin_ctzll(free);
		if (!c->live)
			list_move(&c->link, &a->used); /* was dead */
		return i * CHUNK_PAGES + b;
	}
	return BUF_NONE;
}

/*
 * Among the oldest used chunks with garbage, the one with the most. Those that
 * have none go to the young end, or they would hide the others for as long as
 * their pages stay in hand.
 */
static struct chunk *fullest(struct arena *a, int least)
{
	struct chunk *best = NULL;
	int most = least - 1, looked = 0;
	struct list_head *pos, *older;
	uint32_t left = a->nr_chunks;

	for (pos = a->used.prev; pos != &a->used && looked < LOOK_MAX && left;
	     pos = older, left--) {
		struct chunk *c = list_entry(pos, struct chunk, link);
		int n = 0;

		older = pos->prev;
		if (c->state == CHUNK_USED)
			n = __builtin_popcountll(c->populated & ~c->live &
						 ~c->pinned);
		if (!n) {
			list_move(&c->link, &a->used);
			continue;
		}
		looked++;
		if (n > most) {
			most = n;
			best = c;
		}
	}
	return best;
}

/* A buffer with memory that stands between live ones; BUF_NONE: no gaps worth
 * the search. */
static uint32_t take_gap(struct arena *a)
{
	struct chunk *c;
	uint32_t buf;

	if (a->open_gap == BUF_NONE) {
		c = fullest(a, GAPS_LEAST);
		if (!c)
			return BUF_NONE;
		c->state = CHUNK_OPEN;
		a->gaps = c->populated & ~c->live & ~c->pinned;
		a->open_gap = number(a, c);
	}
	c = &a->chunk[a->open_gap];
	buf = a->open_gap * CHUNK_PAGES + (unsigned)__builtin_ctzll(a->gaps);
	a->gaps &= a->gaps - 1;
	account(a, c, c->live | UINT64_C(1) << buf % CHUNK_PAGES, c->populated);
	if (!a->gaps)
		close_chunk(a, &a->open_gap);
	return buf;
}

static uint32_t take_in(struct arena *a)
{
	struct chunk *c;
	uint32_t buf;

	if (a->open_in == BUF_NONE)
		a->open_in = open_chunk(a, &a->warm);
	if (a->open_in == BUF_NONE)
		a->open_in = open_chunk(a, &a->empty);
	if (a->open_in == BUF_NONE) {
		buf = any_buffer(a);
		if (buf == BUF_NONE)
			return buf;
		c = &a->chunk[buf / CHUNK_PAGES];
	} else {
		c = &a->chunk[a->open_in];
		buf = a->open_in * CHUNK_PAGES + c->next++;
	}
	account(a, c, c->live | UINT64_C(1) << buf % CHUNK_PAGES,
		c->populated | UINT64_C(1) << buf % CHUNK_PAGES);
	if (a->open_in != BUF_NONE && c->next == CHUNK_PAGES)
		close_chunk(a, &a->open_in);
	return buf;
}

static void drop_live(struct arena *a, uint32_t buf)
{
	struct chunk *c = &a->chunk[buf / CHUNK_PAGES];

	account(a, c, c->live & ~(UINT64_C(1) << buf % CHUNK_PAGES),
		c->populated);
	settle(a, c);
}

/* --- frames in hand -------------------------------------------------------- */

static void *contents(struct weir_host *h, uint32_t pfn, bool gap)
{
	struct arena *a = &live_of(h)->arena;
	uint32_t buf;

	lock(a);
	if (a->buf_of[pfn] == BUF_NONE && gap)
		a->buf_of[pfn] = take_gap(a);
	if (a->buf_of[pfn] == BUF_NONE)
		a->buf_of[pfn] = take_in(a);
	buf = a->buf_of[pfn];
	unlock(a);
	if (buf == BUF_NONE)
		h->ops->panic(h, "no buffer left for a page in hand");
	return arena_buf(a, buf);
}

void *arena_contents(struct weir_host *h, uint32_t pfn)
{
	return contents(h, pfn, false);
}

void *arena_contents_gap(struct weir_host *h, uint32_t pfn)
{
	return contents(h, pfn, true);
}

uint32_t arena_buf_of(struct arena *a, uint32_t pfn)
{
	return __atomic_load_n(&a->buf_of[pfn], __ATOMIC_RELAXED);
}

void arena_forget(struct arena *a, uint32_t pfn)
{
	lock(a);
	if (a->buf_of[pfn] != BUF_NONE) {
		drop_live(a, a->buf_of[pfn]);
		a->buf_of[pfn] = BUF_NONE;
	}
	unlock(a);
}

void arena_moved_back(struct arena *a, uint32_t pfn)
{
	uint32_t buf = a->buf_of[pfn];
	uint64_t bit = UINT64_C(1) << buf % CHUNK_PAGES;
	struct chunk *c = &a->chunk[buf / CHUNK_PAGES];

	lock(a);
	account(a, c, c->live & ~bit, c->populated & ~bit);
	settle(a, c);
	a->buf_of[pfn] = BUF_NONE;
	unlock(a);
}

void arena_release(struct weir_host *h, uint32_t pfn, unsigned nr)
{
	struct arena *a = &live_of(h)->arena;

	for (unsigned i = 0; i < nr; i++) {
		uint64_t bit = UINT64_C(1) << (pfn + i) % 64;
		uint64_t *word = &a->direct_used[(pfn + i) / 64];

		if (__atomic_load_n(word, __ATOMIC_RELAXED) & bit) {
			__atomic_fetch_and(word, ~bit, __ATOMIC_RELAXED);
			sys_madvise(a->direct + (uint64_t)(pfn + i) * PAGE_SIZE,
				    PAGE_SIZE, MADV_DONTNEED);
		}
		if (arena_buf_of(a, pfn + i) != BUF_NONE)
			arena_forget(a, pfn + i);
	}
}

/* --- pages on their way out ------------------------------------------------ */

unsigned arena_reserve_out(struct arena *a, unsigned nr, uint32_t *first)
{
	struct chunk *c;
	uint64_t mask;

	lock(a);
	if (a->open_out == BUF_NONE)
		a->open_out = open_chunk(a, &a->empty);
	if (a->open_out == BUF_NONE) {
		unlock(a);
		return 0;
	}
	c = &a->chunk[a->open_out];
	if (nr > CHUNK_PAGES - c->next)
		nr = CHUNK_PAGES - c->next;
	mask = (nr == 64 ? ALL_ONES : (UINT64_C(1) << nr) - 1) << c->next;
	*first = a->open_out * CHUNK_PAGES + c->next;
	c->next = (uint8_t)(c->next + nr);
	account(a, c, c->live | mask, c->populated);
	if (c->next == CHUNK_PAGES)
		close_chunk(a, &a->open_out);
	unlock(a);
	return nr;
}

void arena_bind_out(struct arena *a, uint32_t buf, uint32_t pfn)
{
	struct chunk *c = &a->chunk[buf / CHUNK_PAGES];

	lock(a);
	account(a, c, c->live,
		c->populated | UINT64_C(1) << buf % CHUNK_PAGES);
	a->buf_of[pfn] = buf;
	unlock(a);
}

void arena_cancel_out(struct arena *a, uint32_t buf)
{
	lock(a);
	drop_live(a, buf);
	unlock(a);
}

/* --- I/O under way --------------------------------------------------------- */

void arena_pin(struct arena *a, uint32_t buf)
{
	struct chunk *c = &a->chunk[buf / CHUNK_PAGES];

	lock(a);
	c->pins[buf % CHUNK_PAGES]++;
	c->pinned |= UINT64_C(1) << buf % CHUNK_PAGES;
	unlock(a);
}

bool arena_is_pinned(struct arena *a, uint32_t buf)
{
	return __atomic_load_n(&a->chunk[buf / CHUNK_PAGES].pinned,
			       __ATOMIC_ACQUIRE) >>
		       buf % CHUNK_PAGES &
	       1;
}

void arena_unpin(struct arena *a, uint32_t buf)
{
	struct chunk *c = &a->chunk[buf / CHUNK_PAGES];

	lock(a);
	if (--c->pins[buf % CHUNK_PAGES] == 0) {
		c->pinned &= ~(UINT64_C(1) << buf % CHUNK_PAGES);
		settle(a, c);
	}
	unlock(a);
}

/* --- giving back ------------------------------------------------------------ */

bool arena_over(struct arena *a)
{
	return a->garbage > a->garbage_max / 4 * 3;
}

bool arena_far_over(struct arena *a)
{
	return a->garbage > a->garbage_max;
}

bool arena_take_garbage(struct arena *a, uint32_t *chunk, uint64_t *bits)
{
	struct chunk *c = NULL;

	lock(a);
	if (!list_empty(&a->dead))
		c = list_first_entry(&a->dead, struct chunk, link);
	else if (arena_over(a))
		c = fullest(a, 1);
	if (c) {
		*chunk = number(a, c);
		*bits = c->populated & ~c->live & ~c->pinned;
		c->state = CHUNK_TRASH;
		list_move(&c->link, &a->used);
	}
	unlock(a);
	return c != NULL;
}

void arena_trashed(struct arena *a, uint32_t chunk, uint64_t bits, bool ok)
{
	struct chunk *c = &a->chunk[chunk];

	lock(a);
	if (ok)
		account(a, c, c->live, c->populated & ~bits);
	c->state = CHUNK_USED;
	/* to the young end: others get their turn */
	list_move(&c->link, &a->used);
	settle(a, c);
	unlock(a);
}
