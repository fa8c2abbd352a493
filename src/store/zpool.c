/* SPDX-License-Identifier: MIT */
/*
 * Size classes. A class holds objects of one size; the table below was chosen
 * by enumerating all blocks of up to 6 pages: the distance between two sizes
 * is about 5 %, so that a page that compresses to anything between a quarter
 * and a half wastes about 3 % at its end, and no block wastes more than half a
 * percent at its own. Longer blocks would fit a little better, but each class
 * has one block that is being filled, and in a small pool those are what
 * counts.
 *
 *   class lists    blocks with room, in four lists by how full they are;
 *                  new objects go to the fullest, so that the emptiest drain
 *   full blocks    on no list; found by an object that is freed
 *   idle           empty, with their memory, on the pool's lists by length
 *   unused         no memory
 *
 * Locks: a class's own, then nothing; the pool's, then nothing. Frames are
 * taken and given with neither held.
 */
#include "store/zpool.h"

#include <errno.h>
#include <string.h>

#define NOBODY     UINT32_MAX
#define NO_CLASS   UINT8_MAX
#define UNIT_BYTES (ZPOOL_UNIT_PAGES * (size_t)ZPOOL_PAGE)

static const struct {
	uint8_t pages, nr;
} layout[ZPOOL_CLASSES] = {
    {1, 64}, {1, 56}, {1, 40}, {1, 33}, {1, 29}, {1, 24}, {1, 21}, {1, 18},
    {1, 17}, {1, 15}, {1, 13}, {1, 12}, {1, 11}, {1, 10}, {1, 9},  {2, 17},
    {1, 8},  {2, 15}, {1, 7},  {3, 20}, {3, 19}, {1, 6},  {4, 23}, {2, 11},
    {3, 16}, {1, 5},  {4, 19}, {3, 14}, {2, 9},  {3, 13}, {5, 21}, {1, 4},
    {5, 19}, {3, 11}, {2, 7},  {3, 10}, {5, 16}, {1, 3},  {6, 17}, {4, 11},
    {3, 8},  {2, 5},  {5, 12}, {3, 7},  {4, 9},  {6, 13}, {1, 2},  {6, 11},
    {4, 7},  {3, 5},  {5, 8},  {2, 3},  {5, 7},  {3, 4},  {4, 5},  {1, 1},
};

#define CLASS_PAGE (ZPOOL_CLASSES - 1)

/* One cache line for each block. */
struct zblock {
	uint64_t used; /* bit per object */
	uint32_t frame[ZPOOL_UNIT_PAGES];
	uint32_t prev, next; /* on whichever list */
	uint8_t class;       /* NO_CLASS: idle or unused */
	uint8_t pages;
	uint8_t nr_used;
	uint8_t list; /* fullness, or one of the following */
	uint8_t pad[12];
};

_Static_assert(sizeof(struct zblock) == 64, "a cache line");

enum { LIST_NONE = ZPOOL_FULLNESS, LIST_EMPTYING };

_Static_assert(ZPOOL_CLASSES <= 64, "six bits");

static uint64_t block_of(zhandle h)
{
	return h >> 12;
}

static unsigned class_of(zhandle h)
{
	return h >> 6 & 63;
}

static unsigned place_of(zhandle h)
{
	return h & 63;
}

static zhandle handle(uint64_t block, unsigned class, unsigned place)
{
	return block << 12 | class << 6 | place;
}

/* A count that only its lock's holder changes, and anybody reads. */
static uint64_t count_of(const _Atomic uint64_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

static void count(_Atomic uint64_t *n, int delta)
{
	atomic_store_explicit(n, count_of(n) + (uint64_t)(int64_t)delta,
			      memory_order_relaxed);
}

/* --- lists of blocks; under the lock of whose they are ---------------------
 */

static void list_in(struct zpool *p, uint32_t *head, uint32_t i)
{
	struct zblock *b = &p->block[i];

	b->prev = NOBODY;
	b->next = *head;
	if (*head != NOBODY)
		p->block[*head].prev = i;
	*head = i;
}

static void list_out(struct zpool *p, uint32_t *head, uint32_t i)
{
	struct zblock *b = &p->block[i];

	if (b->prev != NOBODY)
		p->block[b->prev].next = b->next;
	else
		*head = b->next;
	if (b->next != NOBODY)
		p->block[b->next].prev = b->prev;
}

/* The block has won or lost an object: is it on the right list still? */
static void settle(struct zpool *p, struct zclass *c, uint32_t i)
{
	struct zblock *b = &p->block[i];
	unsigned want = b->nr_used == c->nr
			    ? LIST_NONE
			    : b->nr_used * ZPOOL_FULLNESS / c->nr;

	if (b->list == want || b->list == LIST_EMPTYING)
		return;
	if (b->list < ZPOOL_FULLNESS)
		list_out(p, &c->head[b->list], i);
	b->list = (uint8_t)want;
	if (want < ZPOOL_FULLNESS)
		list_in(p, &c->head[want], i);
}

/* --- start ------------------------------------------------------------------
 */

static void init_classes(struct zpool *p)
{
	unsigned k = 0;

	for (unsigned i = 0; i < ZPOOL_CLASSES; i++) {
		struct zclass *c = &p->class[i];

		c->pages = layout[i].pages;
		c->nr = layout[i].nr;
		c->size = (uint16_t)((c->pages * ZPOOL_PAGE / c->nr) & ~7u);
		c->fixed = i == CLASS_PAGE;
		for (unsigned l = 0; l < ZPOOL_FULLNESS; l++)
			c->head[l] = NOBODY;
	}
	for (unsigned n = 0; n <= ZPOOL_PAGE / 8; n++) {
		while (p->class[k].size < n * 8)
			k++;
		p->class_of[n] = (uint8_t)k;
	}
}

int zpool_init(struct zpool *p, const struct zpool_ops *ops, void *ctx,
	       uint64_t limit)
{
	memset(p, 0, sizeof(*p));
	p->ops = ops;
	p->ctx = ctx;
	p->limit = limit;
	/* Blocks of one page, and pages that may go beyond the limit. */
	p->nr_blocks = limit + limit / 8 + 64;
	if (p->nr_blocks >= NOBODY)
		return -ENOMEM;
	p->block = ops->meta_alloc(ctx, p->nr_blocks * sizeof(*p->block));
	p->base = ops->meta_alloc(ctx, p->nr_blocks * UNIT_BYTES);
	if (!p->block || !p->base)
		return -ENOMEM;
	p->unused = NOBODY;
	for (unsigned i = 0; i < ZPOOL_UNIT_PAGES; i++)
		p->idle[i] = NOBODY;
	init_classes(p);
	return 0;
}

void zpool_after_fork(struct zpool *p)
{
	atomic_store(&p->lock.word, 0);
	for (unsigned i = 0; i < ZPOOL_CLASSES; i++)
		atomic_store(&p->class[i].lock.word, 0);
}

void *zpool_addr(struct zpool *p, zhandle h)
{
	return p->base + block_of(h) * UNIT_BYTES +
	       (size_t)place_of(h) * p->class[class_of(h)].size;
}

unsigned zpool_room(struct zpool *p, zhandle h)
{
	return p->class[class_of(h)].size;
}

/* --- empty blocks -----------------------------------------------------------
 */

static uint32_t idle_take(struct zpool *p, unsigned pages)
{
	uint32_t i;

	zlock_take(&p->lock);
	i = p->idle[pages];
	if (i != NOBODY) {
		list_out(p, &p->idle[pages], i);
		p->idle_pages -= pages;
	}
	zlock_let(&p->lock);
	return i;
}

static void idle_put(struct zpool *p, uint32_t i)
{
	struct zblock *b = &p->block[i];

	zlock_take(&p->lock);
	b->class = NO_CLASS;
	list_in(p, &p->idle[b->pages], i);
	p->idle_pages += b->pages;
	zlock_let(&p->lock);
}

static uint32_t unused_take(struct zpool *p)
{
	uint32_t i;

	zlock_take(&p->lock);
	i = p->unused;
	if (i != NOBODY)
		list_out(p, &p->unused, i);
	else if (p->fresh < p->nr_blocks)
		i = (uint32_t)p->fresh++;
	zlock_let(&p->lock);
	return i;
}

static void unused_put(struct zpool *p, uint32_t i)
{
	zlock_take(&p->lock);
	list_in(p, &p->unused, i);
	zlock_let(&p->lock);
}

static bool frames_take(struct zpool *p, struct zblock *b, unsigned pages,
			bool beyond)
{
	uint64_t now = atomic_fetch_add(&p->pages, pages) + pages;

	if ((now <= p->limit || beyond) &&
	    p->ops->take(p->ctx, pages, b->frame))
		return true;
	p->pages -= pages;
	return false;
}

/* A block without an object in it, for the class; NOBODY when there is none. */
static uint32_t block_get(struct zpool *p, unsigned class, bool beyond)
{
	unsigned pages = p->class[class].pages;
	uint32_t i = idle_take(p, pages);
	struct zblock *b;

	if (i == NOBODY) {
		i = unused_take(p);
		if (i == NOBODY)
			return NOBODY;
		b = &p->block[i];
		/* Idle blocks of other lengths are as good as free frames. */
		if (!frames_take(p, b, pages, beyond) &&
		    !(zpool_trim(p, 0) && frames_take(p, b, pages, beyond))) {
			unused_put(p, i);
			return NOBODY;
		}
		b->pages = (uint8_t)pages;
	}
	b = &p->block[i];
	b->class = (uint8_t) class;
	b->used = 0;
	b->nr_used = 0;
	b->list = LIST_NONE;
	return i;
}

/* Its memory and its frames go back; it is on no list. */
static void block_drop(struct zpool *p, uint32_t i)
{
	struct zblock *b = &p->block[i];
	unsigned pages = b->pages;

	sys_madvise(p->base + i * UNIT_BYTES, pages * (size_t)ZPOOL_PAGE,
		    MADV_DONTNEED);
	p->ops->give(p->ctx, b->frame, pages);
	p->pages -= pages;
	unused_put(p, i);
}

uint64_t zpool_trim(struct zpool *p, uint64_t keep)
{
	uint64_t given = 0;

	/* The longest first: each costs one system call. */
	for (unsigned pages = ZPOOL_UNIT_PAGES - 1; pages; pages--) {
		while (p->idle_pages > keep) {
			uint32_t i = idle_take(p, pages);

			if (i == NOBODY)
				break;
			block_drop(p, i);
			given += pages;
		}
	}
	return given;
}

/* --- objects ----------------------------------------------------------------
 */

/* => class locked. ZPOOL_NONE: no block has room. */
static zhandle place_take(struct zpool *p, struct zclass *c)
{
	struct zblock *b;
	uint32_t i = NOBODY;
	unsigned place;

	for (unsigned l = ZPOOL_FULLNESS; l-- > 0 && i == NOBODY;)
		i = c->head[l];
	if (i == NOBODY)
		return ZPOOL_NONE;
	b = &p->block[i];
	place = (unsigned)__builtin_ctzll(~b->used);
	b->used |= UINT64_C(1) << place;
	b->nr_used++;
	count(&c->objects, 1);
	settle(p, c, i);
	return handle(i, (unsigned)(c - p->class), place);
}

static zhandle alloc(struct zpool *p, unsigned class, bool beyond)
{
	struct zclass *c = &p->class[class];
	zhandle h;
	uint32_t i;

	zlock_take(&c->lock);
	h = place_take(p, c);
	zlock_let(&c->lock);
	if (h != ZPOOL_NONE)
		return h;
	i = block_get(p, class, beyond);
	if (i == NOBODY)
		return ZPOOL_NONE;
	zlock_take(&c->lock);
	count(&c->blocks, 1);
	settle(p, c, i);
	h = place_take(p, c);
	zlock_let(&c->lock);
	return h;
}

zhandle zpool_alloc(struct zpool *p, unsigned bytes)
{
	if (bytes > ZPOOL_OBJECT_MAX)
		return ZPOOL_NONE;
	return alloc(p, p->class_of[(bytes + 7) / 8], false);
}

zhandle zpool_alloc_page(struct zpool *p)
{
	return alloc(p, CLASS_PAGE, true);
}

/* => class locked. True: the block is empty now and on no list. */
static bool place_give(struct zpool *p, struct zclass *c, zhandle h)
{
	uint32_t i = (uint32_t)block_of(h);
	struct zblock *b = &p->block[i];

	b->used &= ~(UINT64_C(1) << place_of(h));
	b->nr_used--;
	count(&c->objects, -1);
	if (b->nr_used || b->list == LIST_EMPTYING) {
		settle(p, c, i);
		return false;
	}
	if (b->list < ZPOOL_FULLNESS)
		list_out(p, &c->head[b->list], i);
	b->list = LIST_NONE;
	count(&c->blocks, -1);
	return true;
}

void zpool_free(struct zpool *p, zhandle h)
{
	uint32_t i = (uint32_t)block_of(h);
	struct zclass *c = &p->class[class_of(h)];
	bool empty;

	zlock_take(&c->lock);
	empty = place_give(p, c, h);
	zlock_let(&c->lock);
	if (empty)
		idle_put(p, i);
}

/* --- moving objects together ------------------------------------------------
 */

/* Pages that class c could give up if its free places were all in one place. */
static uint64_t sparse_pages(const struct zclass *c)
{
	uint64_t objects = count_of(&c->objects), blocks = count_of(&c->blocks);
	uint64_t need = (objects + c->nr - 1) / c->nr;

	if (c->fixed || blocks <= need)
		return 0;
	return (blocks - need) * c->pages;
}

uint64_t zpool_sparse(struct zpool *p)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < ZPOOL_CLASSES; i++)
		n += sparse_pages(&p->class[i]);
	return n;
}

/* The emptiest block leaves the lists: nothing new goes into it. */
static uint32_t emptying_begin(struct zpool *p, struct zclass *c)
{
	uint32_t i = NOBODY;

	zlock_take(&c->lock);
	if (sparse_pages(c))
		for (unsigned l = 0; l < ZPOOL_FULLNESS && i == NOBODY; l++)
			i = c->head[l];
	if (i != NOBODY) {
		list_out(p, &c->head[p->block[i].list], i);
		p->block[i].list = LIST_EMPTYING;
	}
	zlock_let(&c->lock);
	return i;
}

static void emptying_end(struct zpool *p, struct zclass *c, uint32_t i)
{
	struct zblock *b = &p->block[i];
	bool empty;

	zlock_take(&c->lock);
	b->list = LIST_NONE;
	empty = !b->nr_used;
	if (empty)
		count(&c->blocks, -1);
	else
		settle(p, c, i);
	zlock_let(&c->lock);
	if (empty)
		idle_put(p, i);
}

/* The next object from `place` on that could be pinned, and a place for it.
 * False: none is left. */
static bool move_begin(struct zpool *p, struct zclass *c,
		       const struct zpool_mover *m, uint32_t i, unsigned *place,
		       zhandle *to)
{
	struct zblock *b = &p->block[i];
	bool found = false;

	zlock_take(&c->lock);
	while (*place < c->nr) {
		zhandle h = handle(i, (unsigned)(c - p->class), *place);

		if (b->used >> *place & 1 &&
		    m->pin(m->ctx, zpool_addr(p, h), h)) {
			*to = place_take(p, c);
			found = true;
			break;
		}
		++*place;
	}
	zlock_let(&c->lock);
	return found;
}

static unsigned empty_block(struct zpool *p, struct zclass *c,
			    const struct zpool_mover *m, unsigned moves)
{
	uint32_t i = emptying_begin(p, c);
	unsigned place = 0, moved = 0;
	zhandle to;

	if (i == NOBODY)
		return 0;
	for (; moved < moves && move_begin(p, c, m, i, &place, &to); place++) {
		zhandle from = handle(i, (unsigned)(c - p->class), place);

		m->moved(m->ctx, from, to);
		if (to == ZPOOL_NONE)
			break;
		moved++;
	}
	emptying_end(p, c, i);
	return moved;
}

unsigned zpool_compact(struct zpool *p, const struct zpool_mover *m,
		       unsigned moves)
{
	unsigned total = 0;

	for (unsigned k = 0; k < ZPOOL_CLASSES && total < moves; k++) {
		struct zclass *c = &p->class[k];

		while (total < moves && sparse_pages(c)) {
			unsigned n = empty_block(p, c, m, moves - total);

			if (!n)
				break;
			total += n;
		}
	}
	return total;
}

/* --- figures and validity ----------------------------------------------------
 */

void zpool_figures(struct zpool *p, struct zpool_figures *f)
{
	memset(f, 0, sizeof(*f));
	f->pages = p->pages;
	f->idle_pages = p->idle_pages;
	for (unsigned i = 0; i < ZPOOL_CLASSES; i++) {
		struct zclass *c = &p->class[i];

		zlock_take(&c->lock);
		f->objects += c->objects;
		f->blocks += c->blocks;
		f->class_bytes += c->objects * c->size;
		zlock_let(&c->lock);
	}
}

/* What the lists of a class hold; false when a block is on a wrong one. */
static bool class_is_valid(struct zpool *p, unsigned k, uint64_t *listed)
{
	struct zclass *c = &p->class[k];

	for (unsigned l = 0; l < ZPOOL_FULLNESS; l++) {
		for (uint32_t i = c->head[l]; i != NOBODY;
		     i = p->block[i].next) {
			const struct zblock *b = &p->block[i];

			if (b->class != k || b->list != l ||
			    b->nr_used * ZPOOL_FULLNESS / c->nr != l ||
			    ++*listed > p->nr_blocks)
				return false;
		}
	}
	return true;
}

bool zpool_is_valid(struct zpool *p)
{
	uint64_t blocks[ZPOOL_CLASSES] = {0}, objects[ZPOOL_CLASSES] = {0};
	uint64_t listed = 0, partial = 0, idle = 0, pages = 0;

	for (unsigned k = 0; k < ZPOOL_CLASSES; k++)
		if (!class_is_valid(p, k, &listed))
			return false;
	for (unsigned n = 0; n < ZPOOL_UNIT_PAGES; n++) {
		for (uint32_t i = p->idle[n]; i != NOBODY;
		     i = p->block[i].next) {
			if (p->block[i].class != NO_CLASS ||
			    p->block[i].pages != n || idle > p->nr_blocks * 8)
				return false;
			idle += n;
		}
	}
	/* Blocks in use, whether on a list or full. */
	for (uint64_t i = 0; i < p->fresh; i++) {
		const struct zblock *b = &p->block[i];

		if (b->class == NO_CLASS || !b->used)
			continue;
		if (b->nr_used != __builtin_popcountll(b->used) ||
		    b->nr_used > p->class[b->class].nr)
			return false;
		blocks[b->class]++;
		objects[b->class] += b->nr_used;
		partial += b->list < ZPOOL_FULLNESS;
		pages += b->pages;
	}
	for (unsigned k = 0; k < ZPOOL_CLASSES; k++)
		if (blocks[k] != p->class[k].blocks ||
		    objects[k] != p->class[k].objects)
			return false;
	return listed == partial && idle == p->idle_pages &&
	       pages + idle == p->pages;
}
