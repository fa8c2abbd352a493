/* SPDX-License-Identifier: MIT */
#include "store/zmem.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "store/zmem_internal.h"
#include "util/fmt.h"

/*
 * A page is worth its place in the pool when that saves a quarter of it: what
 * is left over then pays for expanding it on each read, and 4/3 of the pages in
 * the pool's memory is less than the file can do in the same time.
 */
#define LEN_MAX (ZCODEC_PAGE * 3 / 4)

/* Writes of a slot that did not compress for which it is not tried again. */
#define POOR_SKIPS 7u

/* Blocks are emptied when that would free a 32nd of the pool: with it, with the
 * classes' own waste and with the tables, a tenth is not reached. */
#define SPARSE_SHARE 32u
#define MOVES_MAX    64u /* in one go, some 20 us */

_Static_assert(LEN_MAX + sizeof(struct zobject) <= ZPOOL_OBJECT_MAX, "fits");

/* --- tables --------------------------------------------------------------- */

static zentry *table_addr(struct zmem *m, struct ztable *t)
{
	return zpool_addr(&m->pool->zp, t->page);
}

static zentry *table_create(struct zmem *m, struct ztable *t)
{
	struct zpool *zp = &m->pool->zp;
	zhandle h = zpool_alloc_page(zp);
	uint32_t none = 0;

	if (h == ZPOOL_NONE)
		return NULL;
	memset(zpool_addr(zp, h), 0, ZPOOL_PAGE);
	if (!atomic_compare_exchange_strong(&t->refs, &none, TABLE_CHANGING)) {
		zpool_free(zp, h);
		return NULL;
	}
	t->page = h;
	atomic_store_explicit(&t->refs, 1, memory_order_release);
	zcount(&m->pool->tables, 1);
	return table_addr(m, t);
}

zentry *zmem_table_hold(struct zmem *m, uint64_t slot, bool create)
{
	struct ztable *t = &m->table[slot / TABLE_SLOTS];
	uint32_t refs = atomic_load(&t->refs);
	unsigned spins = 0;

	for (;;) {
		if (refs && refs != TABLE_CHANGING) {
			if (atomic_compare_exchange_weak(&t->refs, &refs,
							 refs + 1))
				return table_addr(m, t);
			continue;
		}
		if (!create)
			return NULL;
		if (!refs) {
			zentry *tab = table_create(m, t);

			if (tab)
				return tab;
			refs = atomic_load(&t->refs);
			if (!refs)
				return NULL;
			continue;
		}
		zlock_pause(&spins);
		refs = atomic_load(&t->refs);
	}
}

void zmem_table_let(struct zmem *m, uint64_t slot)
{
	struct ztable *t = &m->table[slot / TABLE_SLOTS];
	uint32_t refs = atomic_load(&t->refs);
	zhandle h;

	while (!atomic_compare_exchange_weak(
	    &t->refs, &refs, refs == 1 ? TABLE_CHANGING : refs - 1))
		;
	if (refs != 1)
		return;
	/* The last entry is 0 and nobody looks: the table goes. */
	h = t->page;
	atomic_store_explicit(&t->refs, 0, memory_order_release);
	zpool_free(&m->pool->zp, h);
	zcount(&m->pool->tables, UINT64_MAX);
}

bool zmem_entry_change(struct zmem *m, uint64_t slot, zentry *e, uint64_t *old,
		       uint64_t new)
{
	struct ztable *t = &m->table[slot / TABLE_SLOTS];
	bool more = !*old && new, changed;

	/* Up before the change and down after it: somebody else may clear the
	 * entry at once, and the table with its last. */
	if (more)
		atomic_fetch_add(&t->refs, 1);
	changed = atomic_compare_exchange_strong_explicit(
	    e, old, new, memory_order_acq_rel, memory_order_acquire);
	if (changed ? *old && !new : more)
		atomic_fetch_sub(&t->refs, 1); /* the holder's is left */
	return changed;
}

/* What an entry held is not wanted any more. */
void zmem_release(struct zmem *m, uint64_t v)
{
	if (entry_kind(v) == Z_OBJECT)
		zpool_free(&m->pool->zp, entry_payload(v));
	else if (entry_kind(v) != Z_NONE)
		zcount(&m->pool->same_now, UINT64_MAX);
}

void zmem_forget_below(struct zmem *m, uint64_t slot)
{
	if (m->below && !m->is_copy)
		m->below->ops->discard(m->below, slot, 1);
}

void zmem_entry_let(struct zmem *m, uint64_t slot, zentry *e)
{
	uint64_t v = atomic_load(e), new;

	do {
		if (v & E_DEAD)
			new = v &E_OUT;
		else if (v & E_GONE)
			new = 0;
		else
			new = v & ~E_BUSY;
		/* While it is BUSY nobody can write the slot anew. */
		if ((v & E_DEAD) && (v & E_GONE))
			zmem_forget_below(m, slot);
	} while (!zmem_entry_change(m, slot, e, &v, new));
	if (v & (E_DEAD | E_GONE))
		zmem_release(m, v);
}

/* --- objects ---------------------------------------------------------------
 */

static uint32_t object_sum(const struct zobject *o, const void *bytes)
{
	uint64_t h = XXH3_64bits(bytes, o->len);

	/* The slot, so that an object which another entry points to is as
	 * wrong as one that has changed. */
	h ^= ((uint64_t)o->store << 32 | o->slot) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(h ^ h >> 32);
}

static bool expand(struct zmem_pool *p, const struct zobject *o,
		   const void *bytes, void *page)
{
	return object_sum(o, bytes) == o->sum &&
	       zcodec_expand(&p->codec, zmem_hint(p), bytes, o->len, page);
}

/* With a test looking on, who may change what it sees. */
static bool expand_seen(struct zmem *m, const struct zobject *o, void *page)
{
	unsigned char seen[ZCODEC_PAGE] = {0};

	memcpy(seen, o + 1, o->len);
	m->s.on_read(m->s.on_read_ctx, seen);
	return expand(m->pool, o, seen, page);
}

int16_t zmem_expand(struct zmem *m, uint64_t slot, uint64_t v, void *page)
{
	struct zmem_pool *p = m->pool;
	const struct zobject *o = zpool_addr(&p->zp, entry_payload(v));

	if (o->slot == (uint32_t)slot && o->store == m->index && o->len &&
	    o->len <= LEN_MAX &&
	    (m->s.on_read ? expand_seen(m, o, page)
			  : expand(p, o, o + 1, page)))
		return 0;
	zcount(&p->corrupt, 1);
	return -EBADMSG;
}

/* --- a page of one word ----------------------------------------------------
 */

/* 0: it cannot be packed. */
static uint64_t fill_pack(uint64_t w)
{
	if ((uint64_t)((int64_t)(w << E_SHIFT) >> E_SHIFT) == w)
		return entry_mk(Z_FILL_LOW, w);
	if (!(w & 0xff))
		return entry_mk(Z_FILL_HIGH, w >> 8);
	if (w >> 32 == (uint32_t)w)
		return entry_mk(Z_FILL_TWICE, (uint32_t)w);
	return 0;
}

static uint64_t fill_word(uint64_t v)
{
	uint64_t x = entry_payload(v);

	switch (entry_kind(v)) {
	case Z_FILL_LOW:
		return (uint64_t)((int64_t)v >> E_SHIFT);
	case Z_FILL_HIGH:
		return x << 8;
	default:
		return x << 32 | x;
	}
}

/* --- reading ----------------------------------------------------------------
 */

#define BELOW 1 /* no errno: the store below has it */

/* => table held */
static int16_t read_entry(struct zmem *m, uint64_t slot, zentry *e, void *page)
{
	uint64_t v = atomic_load_explicit(e, memory_order_acquire);
	unsigned spins = 0;
	int16_t st;

	for (;;) {
		switch (entry_kind(v)) {
		case Z_NONE:
			/* Freed while it was on its way below. */
			return (v & E_OUT) && !(v & E_SAME) ? -EBADMSG : BELOW;
		case Z_OBJECT:
			break;
		default:
			zcodec_fill(page, fill_word(v));
			return 0;
		}
		if (v & E_BUSY) {
			zlock_pause(&spins);
			v = atomic_load(e);
			continue;
		}
		if (zmem_entry_change(m, slot, e, &v, v | E_BUSY))
			break;
	}
	st = zmem_expand(m, slot, v, page);
	zmem_entry_let(m, slot, e);
	return st;
}

/* Calls fn for the part of the run in each table. */
static void each_table(struct zmem *m, struct store_req *r, bool create,
		       void (*fn)(struct zmem *m, struct store_req *r,
				  zentry *tab, unsigned first, unsigned nr,
				  void *arg),
		       void *arg)
{
	for (unsigned i = 0; i < r->nr;) {
		uint64_t slot = r->slot + i;
		unsigned n = TABLE_SLOTS - (unsigned)(slot % TABLE_SLOTS);
		zentry *tab = zmem_table_hold(m, slot, create);

		n = n < r->nr - i ? n : r->nr - i;
		fn(m, r, tab, i, n, arg);
		if (tab)
			zmem_table_let(m, slot);
		i += n;
	}
}

static void read_part(struct zmem *m, struct store_req *r, zentry *tab,
		      unsigned first, unsigned nr, void *arg)
{
	unsigned *loaded = arg;

	for (unsigned i = first; i < first + nr; i++) {
		uint64_t slot = r->slot + i;

		r->status[i] = BELOW;
		if (tab)
			r->status[i] = read_entry(
			    m, slot, &tab[slot % TABLE_SLOTS], r->buf[i]);
		*loaded += r->status[i] != BELOW;
	}
}

static void below_read(struct store_req *sub)
{
	struct store_req *r = sub->owner;
	unsigned first = (unsigned)(sub->slot - r->slot);

	for (unsigned i = 0; i < sub->nr; i++)
		if (r->status[first + i] == BELOW)
			r->status[first + i] = sub->status[i];
	r->done(r);
}

/*
 * Some pages came from the pool, some are below: those from the first to the
 * last of these are read in one piece, and what is not wanted of it goes to a
 * page that nobody looks at.
 */
static void read_below(struct zmem *m, struct store_req *r)
{
	struct store_split *sp = r->split;
	unsigned first = 0, last = r->nr - 1;

	while (r->status[first] != BELOW)
		first++;
	while (r->status[last] != BELOW)
		last--;
	for (unsigned i = first; i <= last; i++)
		sp->buf[i - first] =
		    r->status[i] == BELOW ? r->buf[i] : m->pool->scrap;
	sp->req = (struct store_req){.slot = r->slot + first,
				     .nr = last - first + 1,
				     .buf = sp->buf,
				     .status = sp->status,
				     .done = below_read,
				     .owner = r,
				     .sync = r->sync,
				     .reader = r->reader,
				     .iov = r->iov};
	m->below->ops->submit(m->below, &sp->req);
}

static void submit_read(struct zmem *m, struct store_req *r)
{
	unsigned loaded = 0;

	each_table(m, r, false, read_part, &loaded);
	zcount(&m->pool->loaded, loaded);
	r->in_memory = loaded == r->nr;
	if (r->in_memory) {
		r->done(r);
	} else if (!loaded && m->below) {
		m->below->ops->submit(m->below, r);
	} else if (m->below && r->split) {
		read_below(m, r);
	} else {
		for (unsigned i = 0; i < r->nr; i++)
			if (r->status[i] == BELOW)
				r->status[i] = -EBADMSG;
		r->done(r);
	}
}

/* --- writing ----------------------------------------------------------------
 */

/* One request on its way. Counted here, added up once. */
struct writing {
	struct zctx *x;
	unsigned stored, same, poor, poor_known, full, no_frame;
	uint64_t bytes, room;
	unsigned below; /* pages that must go below */
};

/*
 * Has room? At the limit it closes, and opens again when it has shrunk for
 * good: one page less would be filled by the next page at once, and writing
 * out would never see more than one at a time.
 */
static bool pool_accepts(struct zmem_pool *p)
{
	uint64_t pages = p->zp.pages - p->zp.idle_pages;

	if (!atomic_load_explicit(&p->full, memory_order_relaxed))
		return true;
	if (pages > p->accept)
		return false;
	atomic_store(&p->full, 0);
	return true;
}

static void pool_close(struct zmem_pool *p)
{
	if (!atomic_exchange(&p->full, 1))
		zcount(&p->limit_hits, 1);
}

/* Why zpool_alloc gave nothing. */
static int16_t refusal(struct zmem_pool *p, struct writing *w)
{
	if (p->zp.pages + ZPOOL_UNIT_PAGES > p->limit) {
		pool_close(p);
		w->full++;
		return -ENOSPC;
	}
	w->no_frame++;
	return -EAGAIN;
}

/* Waits for BUSY to end: of a reader, or of whoever moves the object. */
static uint64_t entry_wait(zentry *e)
{
	uint64_t v = atomic_load_explicit(e, memory_order_acquire);
	unsigned spins = 0;

	while (v & E_BUSY) {
		zlock_pause(&spins);
		v = atomic_load_explicit(e, memory_order_acquire);
	}
	return v;
}

/* The entry becomes `new`, which is not OUT; what it held is freed. */
static void install(struct zmem *m, uint64_t slot, zentry *e, uint64_t new)
{
	uint64_t v;

	do {
		v = entry_wait(e);
		/* What the store below has of it, if anything, is stale; before
		 * the object may be on its way there. */
		if (entry_kind(v) == Z_NONE && !(v & E_OUT))
			zmem_forget_below(m, slot);
	} while (!zmem_entry_change(m, slot, e, &v, new | (v & E_OUT)));
	zmem_release(m, v);
}

/* Whoever moves objects may look at the head already: see pin(). */
static void set_head(struct zobject *o, uint64_t slot, uint16_t store)
{
	__atomic_store_n(&o->slot, (uint32_t)slot, __ATOMIC_RELAXED);
	__atomic_store_n(&o->store, store, __ATOMIC_RELAXED);
}

static void copy_object(struct zobject *to, const struct zobject *from)
{
	set_head(to, from->slot, from->store);
	to->sum = from->sum;
	to->len = from->len;
	memcpy(to + 1, from + 1, from->len);
}

/* The page, compressed, into the pool. 0, or why not. */
static int16_t store_object(struct zmem *m, uint64_t slot, zentry *e,
			    const void *page, struct writing *w)
{
	struct zmem_pool *p = m->pool;
	struct zobject *o;
	unsigned len;
	zhandle h;

	if (!w->x)
		w->x = zcodec_take(&p->codec, zmem_hint(p));
	len = zcodec_compress(w->x, page, LEN_MAX);
	if (!len) {
		w->poor++;
		return -E2BIG;
	}
	h = zpool_alloc(&p->zp, len + (unsigned)sizeof(*o));
	if (h == ZPOOL_NONE)
		return refusal(p, w);
	o = zpool_addr(&p->zp, h);
	set_head(o, slot, m->index);
	o->len = (uint16_t)len;
	memcpy(o + 1, w->x->out, len);
	o->sum = object_sum(o, w->x->out);
	w->stored++;
	w->bytes += len;
	w->room += zpool_room(&p->zp, h);
	install(m, slot, e, entry_mk(Z_OBJECT, h));
	return 0;
}

/* Did its last writes not compress, and is it not yet time to try again? */
static bool known_poor(uint64_t v)
{
	uint64_t n = entry_payload(v);

	return entry_kind(v) == Z_NONE && n && n <= POOR_SKIPS;
}

/*
 * The slot's contents will be below: the entry holds nothing but OUT, and how
 * often compressing was left out. -EAGAIN while an older write of the slot is
 * under way there.
 */
static int16_t claim_below(struct zmem *m, uint64_t slot, zentry *e, bool poor,
			   bool tried)
{
	uint64_t v, n;

	do {
		v = entry_wait(e);
		if (v & E_OUT)
			return -EAGAIN;
		n = poor ? 1 : 0;
		if (poor && !tried && entry_kind(v) == Z_NONE)
			n = entry_payload(v) + 1;
	} while (!zmem_entry_change(m, slot, e, &v,
				    entry_mk(Z_NONE, n) | E_OUT | E_SAME));
	zmem_release(m, v);
	return BELOW;
}

/* 0, BELOW, or why not. tab is NULL when there is no memory for a table. */
static int16_t write_page(struct zmem *m, uint64_t slot, zentry *e,
			  const void *page, struct writing *w)
{
	bool poor, tried = true;
	uint64_t word, fill;
	int16_t st;

	if (!e) {
		w->no_frame++;
		return m->below ? BELOW : -EAGAIN;
	}
	if (zcodec_same_filled(page, &word) && (fill = fill_pack(word))) {
		zcount(&m->pool->same_now, 1);
		install(m, slot, e, fill);
		w->same++;
		return 0;
	}
	if (!pool_accepts(m->pool)) {
		w->full++;
		st = -ENOSPC;
	} else if (m->below && known_poor(atomic_load(e))) {
		w->poor_known++;
		tried = false;
		st = -E2BIG;
	} else {
		st = store_object(m, slot, e, page, w);
	}
	if (!st || !m->below)
		return st;
	poor = st == -E2BIG;
	return claim_below(m, slot, e, poor, tried);
}

static void write_part(struct zmem *m, struct store_req *r, zentry *tab,
		       unsigned first, unsigned nr, void *arg)
{
	struct writing *w = arg;

	for (unsigned i = first; i < first + nr; i++) {
		uint64_t slot = r->slot + i;

		r->status[i] =
		    write_page(m, slot, tab ? &tab[slot % TABLE_SLOTS] : NULL,
			       r->buf[i], w);
		w->below += r->status[i] == BELOW;
	}
}

void zmem_part_done(struct store_req *r)
{
	_Atomic uint64_t *parts = (_Atomic uint64_t *)&r->scratch[4];

	if (atomic_fetch_sub(parts, 1) == 1)
		r->done(r);
}

/* The claim of claim_below is taken back. */
static void unclaim(struct zmem *m, uint64_t slot)
{
	zentry *tab = zmem_table_hold(m, slot, false), *e;
	uint64_t v;

	if (!tab)
		return;
	e = &tab[slot % TABLE_SLOTS];
	v = atomic_load(e);
	while ((v & E_OUT) &&
	       !zmem_entry_change(m, slot, e, &v, v & ~(E_OUT | E_SAME)))
		;
	zmem_table_let(m, slot);
}

static void write_below(struct zmem *m, struct store_req *r)
{
	for (unsigned i = 0, n; i < r->nr; i += n) {
		n = 1;
		if (r->status[i] != BELOW)
			continue;
		while (n < ZMEM_GROUP && i + n < r->nr &&
		       r->status[i + n] == BELOW)
			n++;
		if (zout_direct(m, r, i, n))
			continue;
		for (unsigned k = i; k < i + n; k++) {
			unclaim(m, r->slot + k);
			r->status[k] = -EAGAIN;
		}
	}
}

static void submit_write(struct zmem *m, struct store_req *r)
{
	struct zmem_pool *p = m->pool;
	struct writing w = {0};
	uint64_t slot = r->slot;
	unsigned nr = r->nr;

	r->scratch[4] = 1;
	each_table(m, r, true, write_part, &w);
	if (w.x)
		zcodec_let(w.x);
	zcount(&p->stored, w.stored);
	zcount(&p->same, w.same);
	zcount(&p->poor, w.poor + w.poor_known);
	zcount(&p->poor_known, w.poor_known);
	zcount(&p->full_pages, w.full);
	zcount(&p->no_frame, w.no_frame);
	zcount(&p->bytes_in, w.bytes);
	zcount(&p->room_in, w.room);
	zcount(&p->direct, w.below);
	if (w.stored && m->below && !m->is_copy)
		zout_touch(m, slot, nr);
	if (w.below)
		write_below(m, r);
	zmem_part_done(r); /* r is gone */
	zout_kick(p);
	zmem_tidy(p, false);
}

/* --- the store ---------------------------------------------------------------
 */

static void refuse(struct store_req *r)
{
	for (unsigned i = 0; i < r->nr; i++)
		r->status[i] = -EIO;
	r->done(r);
}

static void zmem_submit(struct store *s, struct store_req *r)
{
	struct zmem *m = zmem_of(s);

	if (!r->nr || r->nr > STORE_RUN_MAX || r->slot >= s->slots ||
	    r->nr > s->slots - r->slot || (r->write && m->is_copy)) {
		refuse(r);
		return;
	}
	if (r->write)
		submit_write(m, r);
	else
		submit_read(m, r);
	if (m->below)
		__atomic_store_n(
		    &s->bytes_used,
		    __atomic_load_n(&m->below->bytes_used, __ATOMIC_RELAXED),
		    __ATOMIC_RELAXED);
}

static void zmem_slot_free(struct store *s, uint64_t slot, bool leased)
{
	struct zmem *m = zmem_of(s);
	zentry *tab, *e;
	uint64_t v = 0, new;

	if (slot >= s->slots)
		return;
	tab = zmem_table_hold(m, slot, false);
	if (tab) {
		e = &tab[slot % TABLE_SLOTS];
		v = atomic_load(e);
		do {
			new = v &E_BUSY ? v | E_DEAD : v &E_OUT;
		} while (!zmem_entry_change(m, slot, e, &v, new));
		if (!(v & E_BUSY))
			zmem_release(m, v);
		zmem_table_let(m, slot);
	}
	/* An object is nowhere else; what is on its way below is forgotten
	 * when it has arrived. */
	if (entry_kind(v) == Z_NONE && !(v & E_OUT) && !leased)
		zmem_forget_below(m, slot);
}

static void zmem_discard(struct store *s, uint64_t slot, unsigned nr)
{
	for (uint64_t i = slot; i < slot + nr && i < s->slots; i++)
		zmem_slot_free(s, i, false);
}

static void zmem_after_fork(struct store *s, struct uring *ring)
{
	struct zmem *m = zmem_of(s);
	struct zmem_pool *p = m->pool;

	zpool_after_fork(&p->zp);
	zcodec_after_fork(&p->codec);
	zout_after_fork(p);
	m->is_copy = true;
	if (m->below) {
		m->below->fd = s->fd;
		m->below->ops->after_fork(m->below, ring);
	}
}

static void zmem_close(struct store *s)
{
	struct zmem *m = zmem_of(s);

	if (m->below)
		m->below->ops->close(m->below);
	s->fd = -1;
}

static const struct store_ops zmem_store_ops = {.name = "zmem",
						.submit = zmem_submit,
						.discard = zmem_discard,
						.slot_free = zmem_slot_free,
						.after_fork = zmem_after_fork,
						.close = zmem_close};

/* --- keeping the pool tidy
 * ---------------------------------------------------- */

static struct zmem *owner(struct zmem_pool *p, unsigned store)
{
	return store < p->nr_stores ? p->store[store] : NULL;
}

/*
 * => the class of the object is locked, so it cannot be freed meanwhile. It may
 * not be finished, though: its writer has the place and is about to fill in the
 * head. What stands there is then looked at once and believed only if the
 * entry agrees. And its entry may have gone already; then this hold may be its
 * table's last, and the page of the table is freed: from under one class lock
 * into the class of whole pages, in which nothing is ever moved.
 */
static bool pin(void *ctx, const void *object, zhandle h)
{
	const struct zobject *o = object;
	struct zmem_pool *p = ctx;
	uint64_t slot = __atomic_load_n(&o->slot, __ATOMIC_RELAXED);
	struct zmem *m = owner(p, __atomic_load_n(&o->store, __ATOMIC_RELAXED));
	zentry *tab, *e;
	bool pinned;
	uint64_t v;

	if (!m || slot >= m->s.slots)
		return false;
	tab = zmem_table_hold(m, slot, false);
	if (!tab)
		return false;
	e = &tab[slot % TABLE_SLOTS];
	v = atomic_load(e);
	pinned = entry_kind(v) == Z_OBJECT && entry_payload(v) == h &&
		 !(v & E_BUSY) && zmem_entry_change(m, slot, e, &v, v | E_BUSY);
	/* BUSY keeps the entry from becoming 0. */
	zmem_table_let(m, slot);
	return pinned;
}

static void moved(void *ctx, zhandle from, zhandle to)
{
	struct zmem_pool *p = ctx;
	const struct zobject *o = zpool_addr(&p->zp, from);
	struct zmem *m = owner(p, o->store);
	uint64_t slot = o->slot, v;
	zentry *tab = zmem_table_hold(m, slot, false);
	zentry *e = &tab[slot % TABLE_SLOTS];

	if (to != ZPOOL_NONE) {
		copy_object(zpool_addr(&p->zp, to), o);
		/* Flags may be set meanwhile; the handle is ours to change. */
		v = atomic_load(e);
		while (!zmem_entry_change(m, slot, e, &v,
					  (v & ((UINT64_C(1) << E_SHIFT) - 1)) |
					      to << E_SHIFT))
			;
		zpool_free(&p->zp, from);
		zcount(&p->moved, 1);
	}
	zmem_entry_let(m, slot, e);
	zmem_table_let(m, slot);
}

uint64_t zmem_tidy(struct zmem_pool *p, bool all)
{
	const struct zpool_mover m = {.pin = pin, .moved = moved, .ctx = p};
	uint64_t keep = all ? 0 : 8 + p->zp.pages / 128;

	if (zpool_sparse(&p->zp) * SPARSE_SHARE > p->zp.pages + SPARSE_SHARE)
		zpool_compact(&p->zp, &m, MOVES_MAX);
	if (p->zp.idle_pages <= keep)
		return 0;
	return zpool_trim(&p->zp, keep / 2);
}

/* --- opening
 * ------------------------------------------------------------------- */

__attribute__((format(printf, 4, 5))) static int
sorry(char *err, size_t errlen, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (errlen)
		fmt_v(err, errlen, fmt, ap);
	va_end(ap);
	return code;
}

size_t zmem_pool_bytes(const struct zmem_opts *o)
{
	return sizeof(struct zmem_pool) +
	       zcodec_bytes(o->codec, o->level, o->contexts) +
	       ZREQS * sizeof(struct zreq) +
	       (size_t)(o->out_pages + 1) * ZCODEC_PAGE;
}

int zmem_pool_open(const struct zmem_opts *o, struct zmem_pool **out, char *err,
		   size_t errlen)
{
	size_t bytes = zcodec_bytes(o->codec, o->level, o->contexts);
	void *(*meta)(void *ctx, size_t n) = o->ops->frames.meta_alloc;
	struct zmem_pool *p;
	void *mem;
	int rc;

	if (!bytes)
		return sorry(err, errlen, -EINVAL,
			     "compressed memory: no codec of this kind and "
			     "level (%d)",
			     o->level);
	if (o->limit < 16)
		return sorry(err, errlen, -EINVAL,
			     "compressed memory: at least 16 pages are needed");
	p = meta(o->ctx, sizeof(*p));
	mem = meta(o->ctx, bytes);
	if (!p || !mem)
		goto no_memory;
	p->ops = o->ops;
	p->ctx = o->ctx;
	p->limit = o->limit;
	p->accept =
	    o->limit *
	    (o->accept_percent ? o->accept_percent : ZMEM_ACCEPT_PERCENT) / 100;
	p->scrap = meta(o->ctx, ZCODEC_PAGE);
	if (!p->scrap || zpool_init(&p->zp, &o->ops->frames, o->ctx, o->limit))
		goto no_memory;
	rc = zcodec_init(&p->codec, o->codec, o->level, o->contexts, mem);
	if (rc)
		return sorry(err, errlen, rc,
			     "compressed memory: the codec cannot be set up");
	if (zout_init(p, o->out_pages, meta, o->ctx))
		goto no_memory;
	*out = p;
	return 0;
no_memory:
	return sorry(err, errlen, -ENOMEM,
		     "compressed memory: no memory for the books of %llu pages",
		     (unsigned long long)o->limit);
}

static struct zmem *place(struct zmem_pool *p)
{
	for (unsigned i = 0; i < p->nr_stores; i++)
		if (!p->store[i]->taken)
			return p->store[i];
	if (p->nr_stores == ZMEM_STORES_MAX)
		return NULL;
	p->store[p->nr_stores] =
	    p->ops->frames.meta_alloc(p->ctx, sizeof(struct zmem));
	if (!p->store[p->nr_stores])
		return NULL;
	p->store[p->nr_stores]->index = (uint16_t)p->nr_stores;
	return p->store[p->nr_stores++];
}

int store_zmem_open(struct zmem_pool *p, struct store *below, uint64_t slots,
		    struct store **out, char *err, size_t errlen)
{
	struct zmem *m = place(p);
	uint64_t groups;

	if (below)
		slots = below->slots;
	if (!m)
		return sorry(err, errlen, -EMFILE,
			     "compressed memory: too many stores on one pool");
	if (slots < 2 || slots > UINT64_C(1) << 32)
		return sorry(err, errlen, -EINVAL,
			     "compressed memory: 2 to 2^32 slots, not %llu",
			     (unsigned long long)slots);
	if (m->s.slots < slots) {
		m->nr_tables = (slots + TABLE_SLOTS - 1) / TABLE_SLOTS;
		groups = (slots + ZMEM_GROUP - 1) / ZMEM_GROUP;
		m->table = p->ops->frames.meta_alloc(
		    p->ctx, m->nr_tables * sizeof(*m->table));
		m->group = p->ops->frames.meta_alloc(
		    p->ctx, groups * sizeof(*m->group));
	}
	if (!m->table || !m->group)
		return sorry(err, errlen, -ENOMEM,
			     "compressed memory: no memory for %llu slots",
			     (unsigned long long)slots);
	m->s = (struct store){.ops = &zmem_store_ops,
			      .fd = below ? below->fd : -1,
			      .slots = slots};
	m->pool = p;
	m->below = below;
	m->is_copy = false;
	m->taken = true;
	*out = &m->s;
	return 0;
}

void store_zmem_forget(struct store *s)
{
	zmem_of(s)->taken = false;
}

/* --- figures
 * ------------------------------------------------------------------- */

void zmem_figures(struct zmem_pool *p, struct zmem_figures *f)
{
#define X(name) f->name = p->name;
	ZMEM_COUNTERS(X)
#undef X
	zpool_figures(&p->zp, &f->pool);
	f->limit = p->limit;
	f->tables = p->tables;
	f->objects = f->pool.objects - f->tables;
	f->same_now = p->same_now;
	f->outs = p->outs;
}

bool zmem_is_valid(struct zmem_pool *p)
{
	uint64_t objects = 0, same = 0, tables = 0;
	struct zmem_figures f;

	for (unsigned i = 0; i < p->nr_stores; i++) {
		struct zmem *m = p->store[i];

		for (uint64_t t = 0; m->taken && t < m->nr_tables; t++) {
			uint32_t entries = 0;
			const zentry *tab;

			if (!m->table[t].refs)
				continue;
			tables++;
			tab = table_addr(m, &m->table[t]);
			for (unsigned k = 0; k < TABLE_SLOTS; k++) {
				uint64_t v = tab[k];

				if (v &
				    (E_BUSY | E_OUT | E_SAME | E_DEAD | E_GONE))
					return false;
				entries += v != 0;
				objects += entry_kind(v) == Z_OBJECT;
				same += entry_kind(v) > Z_OBJECT;
			}
			if (entries != m->table[t].refs)
				return false;
		}
	}
	zmem_figures(p, &f);
	return zpool_is_valid(&p->zp) && f.objects == objects &&
	       f.same_now == same && f.tables == tables && !f.outs;
}
