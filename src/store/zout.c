/* SPDX-License-Identifier: MIT */
/*
 * From the pool to the store below: the coldest objects, expanded again.
 *
 * What is cold? The engine gives neighbouring slots to pages that it evicts
 * together, so age is kept for groups of 32 slots: a list in the order of
 * their last write. A page that was read again is in memory, or, where the
 * engine frees slots as it reads them, not in the pool any more; so reading
 * does not count. A group is written in runs of neighbours, one request each,
 * which a disk likes better than pages in the exact order of their age.
 *
 * Expanded, because the store below has slots of a page each: compressed, a
 * read would have to fetch and check its whole neighbourhood, and the file
 * could not be read by a forked child, who has no part in our tables. The price
 * is the disk's space, which there is more of.
 *
 * Writing begins a little before the pool is full and goes on until it is a
 * little emptier, so that those who store pages hardly ever meet the limit.
 * Objects stay until the store below has them: a read meanwhile finds them, and
 * when the write fails nothing is lost. Requests and buffers are made at
 * start-up, because all this happens in order to free memory.
 */
#include <errno.h>

#include "store/zmem_internal.h"

/* Begin at limit - margin, end at limit - 2 * margin. Guessed: what reclaim
 * stores while a disk writes a few groups. */
#define MARGIN_SHARE 64u
#define MARGIN_MIN   32u

/* After a write has failed: kicks until the next. Guessed: each is one write
 * of reclaim, so that a disk which is full or broken costs nothing much. */
#define PAUSE_KICKS 256u

/* --- requests and buffers ---------------------------------------------------
 */

int zout_init(struct zmem_pool *p, unsigned pages,
	      void *(*meta_alloc)(void *ctx, size_t bytes), void *ctx)
{
	list_init(&p->lru);
	p->req = meta_alloc(ctx, ZREQS * sizeof(*p->req));
	if (!p->req)
		return -ENOMEM;
	if (!pages)
		return 0;
	p->out = meta_alloc(ctx, (size_t)pages * ZCODEC_PAGE);
	p->out_used = meta_alloc(ctx, (pages + 63) / 64 * sizeof(uint64_t));
	if (!p->out || !p->out_used)
		return -ENOMEM;
	p->out_pages = pages;
	return 0;
}

/* Nothing was under way at the fork. */
void zout_after_fork(struct zmem_pool *p)
{
	struct zgroup *g, *tmp;

	atomic_store(&p->lru_lock.word, 0);
	/* The parent's slots: not ours to write. */
	list_for_each_entry_safe (g, tmp, &p->lru, link) {
		list_del(&g->link);
		g->listed = false;
	}
	for (unsigned i = 0; i < ZREQS; i++)
		atomic_store(&p->req[i].taken, 0);
	for (unsigned i = 0; i < (p->out_pages + 63) / 64; i++)
		atomic_store(&p->out_used[i], 0);
	atomic_store(&p->out_runner, 0);
	atomic_store(&p->out_bytes, 0);
	atomic_store(&p->out_pause, 0);
	atomic_store(&p->outs, 0);
}

static struct zreq *req_take(struct zmem *m)
{
	for (unsigned i = 0; i < ZREQS; i++) {
		struct zreq *q = &m->pool->req[i];

		if (atomic_load_explicit(&q->taken, memory_order_relaxed) ||
		    atomic_exchange(&q->taken, 1))
			continue;
		q->m = m;
		q->parent = NULL;
		q->bytes = 0;
		q->req = (struct store_req){.write = true,
					    .buf = q->buf,
					    .status = q->status,
					    .iov = q->iov,
					    .owner = q};
		return q;
	}
	return NULL;
}

static void inflight(struct zmem_pool *p, int delta)
{
	if (p->ops->inflight)
		p->ops->inflight(p->ctx, delta);
}

static void req_submit(struct zreq *q, uint64_t slot,
		       void (*done)(struct store_req *r))
{
	struct store *below = q->m->below;

	q->req.slot = slot;
	q->req.done = done;
	q->m->pool->outs++;
	inflight(q->m->pool, 1);
	below->ops->submit(below, &q->req);
}

static void req_end(struct zreq *q)
{
	struct zmem_pool *p = q->m->pool;

	p->outs--;
	atomic_store_explicit(&q->taken, 0, memory_order_release);
	inflight(p, -1);
}

static void *page_take(struct zmem_pool *p)
{
	for (unsigned i = 0; i < p->out_pages; i++) {
		uint64_t bit = UINT64_C(1) << i % 64;

		if (p->out_used[i / 64] & bit)
			continue;
		if (!(atomic_fetch_or(&p->out_used[i / 64], bit) & bit))
			return p->out + (size_t)i * ZCODEC_PAGE;
	}
	return NULL;
}

static void page_let(struct zmem_pool *p, void *page)
{
	size_t i = (size_t)((char *)page - p->out) / ZCODEC_PAGE;

	atomic_fetch_and(&p->out_used[i / 64], ~(UINT64_C(1) << i % 64));
}

/* --- the end of a write ------------------------------------------------------
 */

/*
 * What the write of a slot means for its entry, which may have become something
 * else meanwhile. drop: the store below has what the entry held.
 */
static void settle(struct zmem *m, uint64_t slot, bool ok, bool drop)
{
	zentry *tab = zmem_table_hold(m, slot, false), *e;
	uint64_t v, new;
	bool same;

	if (!tab)
		return; /* there was no memory for one */
	e = &tab[slot % TABLE_SLOTS];
	v = atomic_load(e);
	do {
		if (!(v & E_OUT))
			goto out;
		same = (v & E_SAME) && !(v & E_DEAD);
		new = v & ~(E_OUT | E_SAME);
		if (same && ok && drop)
			new = v &E_BUSY ? new | E_GONE : 0;
		/* Stale, or of a write that failed: whatever of it has arrived.
		 * While OUT stands nobody else writes the slot below. */
		if (!same || !ok)
			zmem_forget_below(m, slot);
	} while (!zmem_entry_change(m, slot, e, &v, new));
	if (same && ok && drop && !new)
		zmem_release(m, v);
out:
	zmem_table_let(m, slot);
}

static void direct_done(struct store_req *sub)
{
	struct zreq *q = sub->owner;
	struct store_req *r = q->parent;

	for (unsigned i = 0; i < sub->nr; i++) {
		r->status[q->first + i] = sub->status[i];
		settle(q->m, sub->slot + i, !sub->status[i], false);
	}
	zmem_part_done(r);
	req_end(q);
}

bool zout_direct(struct zmem *m, struct store_req *r, unsigned first,
		 unsigned nr)
{
	struct zreq *q = req_take(m);

	if (!q)
		return false;
	q->parent = r;
	q->first = first;
	q->req.nr = nr;
	for (unsigned i = 0; i < nr; i++)
		q->buf[i] = r->buf[first + i];
	atomic_fetch_add((_Atomic uint64_t *)&r->scratch[4], 1);
	req_submit(q, r->slot + first, direct_done);
	return true;
}

/* --- groups
 * ------------------------------------------------------------------- */

/* => lru_lock held */
static void to_front(struct zmem *m, struct zgroup *g)
{
	if (g->listed)
		list_del(&g->link);
	g->listed = true;
	g->store = m->index;
	list_add(&g->link, &m->pool->lru);
}

void zout_touch(struct zmem *m, uint64_t slot, unsigned nr)
{
	struct zmem_pool *p = m->pool;
	uint64_t i = slot / ZMEM_GROUP, last = (slot + nr - 1) / ZMEM_GROUP;

	if (!p->out_pages)
		return;
	zlock_take(&p->lru_lock);
	for (; i <= last; i++)
		to_front(m, &m->group[i]);
	zlock_let(&p->lru_lock);
}

static struct zgroup *oldest(struct zmem_pool *p)
{
	struct zgroup *g = NULL;

	zlock_take(&p->lru_lock);
	if (!list_empty(&p->lru)) {
		g = list_last_entry(&p->lru, struct zgroup, link);
		list_del(&g->link);
		g->listed = false;
	}
	zlock_let(&p->lru_lock);
	return g;
}

/* What could not be written is still the oldest. */
static void list_again(struct zmem_pool *p, struct zgroup *g)
{
	zlock_take(&p->lru_lock);
	if (!g->listed) {
		g->listed = true;
		list_add_tail(&g->link, &p->lru);
	}
	zlock_let(&p->lru_lock);
}

/* --- writing out
 * ---------------------------------------------------------------- */

static void out_done(struct store_req *sub)
{
	struct zreq *q = sub->owner;
	struct zmem *m = q->m;
	struct zmem_pool *p = m->pool;
	unsigned failed = 0;

	for (unsigned i = 0; i < sub->nr; i++) {
		settle(m, sub->slot + i, !sub->status[i], true);
		page_let(p, q->buf[i]);
		failed += sub->status[i] != 0;
	}
	if (failed) {
		zout_touch(m, sub->slot, sub->nr);
		atomic_store(&p->out_pause, PAUSE_KICKS);
	}
	zcount(&p->out_errors, failed);
	zcount(&p->written_back, sub->nr - failed);
	atomic_fetch_sub(&p->out_bytes, q->bytes);
	req_end(q);
}

/* The request's pages end before next_slot. */
static void send(struct zreq *q, uint64_t next_slot)
{
	atomic_fetch_add(&q->m->pool->out_bytes, q->bytes);
	req_submit(q, next_slot - q->req.nr, out_done);
}

/* 1: in the request; 0: there is no object to write; -1: nothing to do it with.
 * => table held */
static int take_object(struct zmem *m, uint64_t slot, zentry *e, struct zreq *q)
{
	struct zmem_pool *p = m->pool;
	uint64_t v = atomic_load(e);
	unsigned room;
	void *page;

	if (entry_kind(v) != Z_OBJECT || (v & (E_BUSY | E_OUT)))
		return 0;
	page = page_take(p);
	if (!page)
		return -1;
	if (!zmem_entry_change(m, slot, e, &v, v | E_BUSY)) {
		page_let(p, page);
		return 0; /* in somebody's hands: it is not cold */
	}
	v |= E_BUSY;
	if (zmem_expand(m, slot, v, page))
		goto leave;
	room = zpool_room(&p->zp, entry_payload(v));
	do {
		if (v & E_DEAD)
			goto leave;
	} while (
	    !zmem_entry_change(m, slot, e, &v, (v & ~E_BUSY) | E_OUT | E_SAME));
	q->bytes += room;
	q->buf[q->req.nr++] = page;
	return 1;
leave:
	page_let(p, page);
	zmem_entry_let(m, slot, e);
	return 0;
}

/*
 * The group's objects, in runs. False: nothing is left to do it with, and the
 * group is still the oldest.
 */
static bool write_slots(struct zmem *m, zentry *tab, uint64_t slot,
			uint64_t end)
{
	struct zreq *q = NULL;
	int got = 0;

	for (; slot < end; slot++) {
		if (!q)
			q = req_take(m);
		got =
		    q ? take_object(m, slot, &tab[slot % TABLE_SLOTS], q) : -1;
		if (got < 0)
			break;
		if (!got && q->req.nr) {
			send(q, slot);
			q = NULL;
		}
	}
	if (q && q->req.nr)
		send(q, slot);
	else if (q)
		atomic_store_explicit(&q->taken, 0, memory_order_release);
	return got >= 0;
}

/* False: there is nothing to write, or nothing to do it with. */
static bool write_group(struct zmem_pool *p)
{
	struct zgroup *g = oldest(p);
	uint64_t slot, end;
	struct zmem *m;
	zentry *tab;
	bool all;

	if (!g)
		return false;
	m = p->store[g->store];
	slot = (uint64_t)(g - m->group) * ZMEM_GROUP;
	end = slot + ZMEM_GROUP < m->s.slots ? slot + ZMEM_GROUP : m->s.slots;
	tab = zmem_table_hold(m, slot, false);
	if (!tab)
		return true;
	all = write_slots(m, tab, slot, end);
	zmem_table_let(m, slot);
	if (!all)
		list_again(p, g);
	return all;
}

static bool wanted(struct zmem_pool *p, unsigned margins)
{
	uint64_t margin = p->limit / MARGIN_SHARE;
	uint64_t have = p->zp.pages, gone;

	if (margin < MARGIN_MIN)
		margin = MARGIN_MIN;
	if (margin * margins > p->limit)
		return false;
	gone = p->zp.idle_pages + p->out_bytes / ZCODEC_PAGE;
	return have > gone && have - gone > p->limit - margin * margins;
}

void zout_kick(struct zmem_pool *p)
{
	uint32_t pause = atomic_load(&p->out_pause);

	if (!p->out_pages || !wanted(p, 1))
		return;
	if (pause) {
		atomic_compare_exchange_strong(&p->out_pause, &pause,
					       pause - 1);
		return;
	}
	if (atomic_exchange(&p->out_runner, 1))
		return;
	while (wanted(p, 2) && write_group(p))
		;
	atomic_store(&p->out_runner, 0);
}
