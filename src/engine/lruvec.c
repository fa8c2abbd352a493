/* SPDX-License-Identifier: MIT */
/*
 * The LRU lists of one node.
 *
 * Four lists, newest at the head, and one number: unevictable pages are
 * counted but linked nowhere, since nothing ever scans them. add, add_tail and
 * del are the only code that touches a list, and they keep the sizes of the
 * lruvec, of its zones and of the statistics with it.
 *
 * FRAME_LRU says "on a list", and test-and-clear of it is the isolation lock:
 * who clears it owns the page's membership until he sets it again or is done
 * with the page. He must hold a reference while he owns it. So two rules keep
 * the last reference and an isolation apart:
 *
 *   last put                           weir__lruvec_isolate (lru_lock held)
 *   --------                           ------------------------------------
 *   refcount 1 -> 0                    tryget
 *   FRAME_LRU set? take lru_lock,      failed (0): the page is being freed;
 *     clear it, del                      leave it, its owner waits for the
 *   free                                 lock to take it off
 *                                      got it: the put was not the last one
 *                                      clear FRAME_LRU: was it set?
 *                                        yes: ours, del
 *                                        no: somebody is between clearing it
 *                                        and the lock; he holds a reference,
 *                                        so dropping ours frees nothing
 *
 * and therefore whoever brings the count to 0 sees a FRAME_LRU that nobody
 * changes any more: each one who could holds a reference.
 */
#include "engine/lruvec.h"

#include <string.h>

#include "engine/batch.h"
#include "engine/check.h"
#include "engine/frame.h"
#include "engine/watermark.h"

_Static_assert((int)STAT_nr_inactive_anon == (int)LRU_INACTIVE_ANON &&
		   (int)STAT_nr_unevictable == (int)LRU_UNEVICTABLE,
	       "list counters come first, in the order of the lists");

void weir__lruvec_init(struct lruvec *v, struct node *n)
{
	memset(v, 0, sizeof(*v));
	weir__spin_init(&v->lru_lock, RANK_LRU);
	for (unsigned l = 0; l < NR_LRU_LISTS; l++)
		list_init(&v->lists[l]);
	list_init(&v->asked);
	v->pgdat = n;
}

struct lruvec *weir__frame_lruvec(struct engine *e, const struct frame *f)
{
	/* No groups yet: the node's own. The place where groups will look. */
	return &e->nodes[f->node].lruvec;
}

struct lruvec *weir__lruvec_lock(struct engine *e, const struct frame *f)
{
	for (;;) {
		struct lruvec *v = weir__frame_lruvec(e, f);

		weir__spin_lock(e, &v->lru_lock);
		/* A page may change its group until the lock is held. */
		if (v == weir__frame_lruvec(e, f))
			return v;
		weir__spin_unlock(e, &v->lru_lock);
	}
}

struct lruvec *weir__lruvec_relock(struct engine *e, struct lruvec *held,
				   const struct frame *f)
{
	if (held && held == weir__frame_lruvec(e, f))
		return held;
	weir__lruvec_unlock(e, held);
	return weir__lruvec_lock(e, f);
}

void weir__lruvec_unlock(struct engine *e, struct lruvec *v)
{
	if (v)
		weir__spin_unlock(e, &v->lru_lock);
}

enum lru_list weir__frame_lru_list(const struct frame *f)
{
	uint32_t flags =
	    __atomic_load_n((const uint32_t *)&f->flags, __ATOMIC_RELAXED);
	unsigned l = LRU_INACTIVE_ANON;

	if (flags & FRAME_UNEVICTABLE)
		return LRU_UNEVICTABLE;
	if (!(flags & FRAME_SWAPBACKED))
		l = LRU_INACTIVE_FILE;
	if (flags & FRAME_ACTIVE)
		l++; /* each active list follows its inactive one */
	return (enum lru_list)l;
}

/* Written under lru_lock only, read without: a plain sum, stored whole. */
static void size_add(_Atomic int64_t *p, int64_t n)
{
	int64_t *q = (int64_t *)p;

	__atomic_store_n(q, __atomic_load_n(q, __ATOMIC_RELAXED) + n,
			 __ATOMIC_RELAXED);
}

static int64_t size_read(const _Atomic int64_t *p)
{
	return __atomic_load_n((const int64_t *)p, __ATOMIC_RELAXED);
}

static void update_size(struct engine *e, struct lruvec *v, enum lru_list l,
			unsigned zone, int64_t n)
{
	weir__spin_assert_held(e, &v->lru_lock);
	size_add(&v->size[l], n);
	size_add(&v->zone_size[zone][l], n);
	weir__bug_on(e, size_read(&v->zone_size[zone][l]) < 0);
	weir__stat_add(e, (enum stat_item)l, n);
}

/* Where the page belongs. FRAME_ASKED means inactive anon only; elsewhere it is
 * the rest of an interrupted visit there. */
static struct list_head *list_of(struct lruvec *v, struct frame *f,
				 enum lru_list l)
{
	if (!frame_test(f, FRAME_ASKED))
		return &v->lists[l];
	if (l == LRU_INACTIVE_ANON) {
		size_add(&v->nr_asked, 1);
		return &v->asked;
	}
	weir__frame_clear(f, FRAME_ASKED);
	return &v->lists[l];
}

void weir__lruvec_add(struct engine *e, struct lruvec *v, struct frame *f)
{
	enum lru_list l = weir__frame_lru_list(f);
	struct list_head *list = list_of(v, f, l);

	update_size(e, v, l, f->zone, 1);
	if (l != LRU_UNEVICTABLE)
		list_add(&f->lru, list);
}

void weir__lruvec_add_tail(struct engine *e, struct lruvec *v, struct frame *f)
{
	enum lru_list l = weir__frame_lru_list(f);
	struct list_head *list = list_of(v, f, l);

	update_size(e, v, l, f->zone, 1);
	if (l != LRU_UNEVICTABLE)
		list_add_tail(&f->lru, list);
}

void weir__lruvec_del(struct engine *e, struct lruvec *v, struct frame *f)
{
	enum lru_list l = weir__frame_lru_list(f);

	if (l != LRU_UNEVICTABLE)
		list_del(&f->lru);
	if (frame_test(f, FRAME_ASKED)) {
		size_add(&v->nr_asked, -1);
		weir__frame_clear(f, FRAME_ASKED);
	}
	update_size(e, v, l, f->zone, -1);
}

/* ------------------------------------------------------------ isolation --- */

static void isolated_add(struct engine *e, struct frame *f, int file, int64_t n)
{
	struct node *node = &e->nodes[f->node];

	__atomic_fetch_add((int64_t *)&node->nr_isolated[file], n,
			   __ATOMIC_RELAXED);
	weir__stat_add(e, file ? STAT_nr_isolated_file : STAT_nr_isolated_anon,
		       n);
}

void weir__frame_isolation_end(struct engine *e, struct frame *f)
{
	/*
	 * The bit remembers as what the page was counted: a lazily freed page
	 * that was written again turns from file to anon while isolated.
	 */
	if (!frame_test(f, FRAME_ISOLATED_ANON | FRAME_ISOLATED_FILE))
		return;
	if (weir__frame_clear(f, FRAME_ISOLATED_ANON))
		isolated_add(e, f, 0, -1);
	else if (weir__frame_clear(f, FRAME_ISOLATED_FILE))
		isolated_add(e, f, 1, -1);
}

/* See the timeline above. => called with lru_lock held */
static bool isolate_one(struct engine *e, struct lruvec *v, struct frame *f,
			bool may_unmap)
{
	int file = weir__frame_is_file(f);
	bool last;

	if (!frame_test(f, FRAME_LRU))
		return false;
	if (!may_unmap && weir__frame_mapped(f))
		return false;
	if (!weir__frame_tryget(f))
		return false;
	if (!weir__frame_clear(f, FRAME_LRU)) {
		last = weir__frame_put_testzero(f);
		weir__bug_on(e, last);
		return false;
	}
	weir__lruvec_del(e, v, f);
	weir__frame_set(f, file ? FRAME_ISOLATED_FILE : FRAME_ISOLATED_ANON);
	isolated_add(e, f, file, 1);
	return true;
}

struct isolation {
	unsigned highest_zone;
	bool may_unmap;
	unsigned free_skips;
	unsigned scanned, taken;
	struct list_head *out;
};

/* => called with lru_lock held */
static void isolate_from(struct engine *e, struct lruvec *v,
			 struct list_head *src, unsigned nr,
			 struct isolation *is)
{
	LIST_HEAD(skipped);

	while (is->scanned < nr && !list_empty(src)) {
		struct frame *f = list_last_entry(src, struct frame, lru);

		if (f->zone > is->highest_zone) {
			/*
			 * Not counted, or a list full of them would look
			 * scanned with nothing found, and the out-of-memory
			 * choice be made too early. Not without limit either:
			 * the lock is held.
			 */
			if (is->free_skips)
				is->free_skips--;
			else
				is->scanned++;
			list_move(&f->lru, &skipped);
			continue;
		}
		is->scanned++;
		if (isolate_one(e, v, f, is->may_unmap)) {
			list_add_tail(&f->lru, is->out);
			is->taken++;
		} else {
			list_move(&f->lru, src);
		}
	}
	list_splice_init(&skipped, src);
}

unsigned weir__lruvec_isolate(struct engine *e, struct lruvec *v,
			      enum lru_list l, unsigned nr,
			      unsigned highest_zone, bool may_unmap,
			      struct list_head *out, unsigned *scanned)
{
	struct isolation is = {.highest_zone = highest_zone,
			       .may_unmap = may_unmap,
			       .free_skips = LRU_SKIP_MAX,
			       .out = out};

	weir__bug_on(e, l >= LRU_UNEVICTABLE);
	weir__spin_lock(e, &v->lru_lock);
	if (l == LRU_INACTIVE_ANON) {
		/* Once each: what could not be taken is at its head. */
		unsigned asked = (unsigned)size_read(&v->nr_asked);

		isolate_from(e, v, &v->asked, nr < asked ? nr : asked, &is);
	}
	isolate_from(e, v, &v->lists[l], nr, &is);
	weir__spin_unlock(e, &v->lru_lock);
	weir__stat_add(e, STAT_lru_removals, is.taken);
	*scanned = is.scanned;
	return is.taken;
}

unsigned weir__lruvec_isolate_unasked(struct engine *e, struct lruvec *v,
				      unsigned nr, unsigned highest_zone,
				      struct list_head *out, unsigned *scanned)
{
	struct isolation is = {.highest_zone = highest_zone,
			       .may_unmap = true,
			       .free_skips = LRU_SKIP_MAX,
			       .out = out};

	weir__spin_lock(e, &v->lru_lock);
	isolate_from(e, v, &v->lists[LRU_INACTIVE_ANON], nr, &is);
	weir__spin_unlock(e, &v->lru_lock);
	weir__stat_add(e, STAT_lru_removals, is.taken);
	*scanned = is.scanned;
	return is.taken;
}

/*
 * Puts one page back and drops the isolation's reference. False when that was
 * the last: the page is the caller's to free. The order matters:
 *
 *   putback (lru_lock held)            somebody else's last put
 *   -----------------------            ------------------------
 *   (a) set FRAME_LRU
 *   (b) put, not the last
 *                                      refcount -> 0
 *                                      FRAME_LRU set: waits for lru_lock
 *   (c) list add, unlock
 *                                      del, free
 *
 * With (b) before (a) the other would see no FRAME_LRU, free the page at once,
 * and we would link a free frame.
 */
static bool putback_one(struct engine *e, struct lruvec *v, struct frame *f)
{
	weir__frame_set(f, FRAME_LRU);
	if (weir__frame_put_testzero(f)) {
		weir__frame_clear(f, FRAME_LRU);
		return false;
	}
	weir__lruvec_add(e, v, f);
	weir__stat_inc(e, STAT_lru_insertions);
	if (frame_test(f, FRAME_ACTIVE))
		weir__lruvec_age(v, 1);
	return true;
}

void weir__lruvec_putback(struct engine *e, struct list_head *pages)
{
	struct lruvec *v = NULL;
	LIST_HEAD(dead);

	while (!list_empty(pages)) {
		struct frame *f = list_first_entry(pages, struct frame, lru);

		list_del(&f->lru);
		weir__frame_isolation_end(e, f);
		if (!weir__frame_evictable(f)) {
			/* Its batch's lock comes before ours. */
			weir__lruvec_unlock(e, v);
			v = NULL;
			weir__frame_putback_lru(e, f);
			continue;
		}
		v = weir__lruvec_relock(e, v, f);
		if (!putback_one(e, v, f))
			list_add_tail(&f->lru, &dead);
	}
	weir__lruvec_unlock(e, v);
	weir__pages_release(e, &dead);
}

/* ---------------------------------------------------- sizes and balance --- */

int64_t weir__lruvec_size(const struct lruvec *v, enum lru_list l,
			  unsigned highest_zone)
{
	int64_t sum = 0;

	if (highest_zone >= MAX_ZONES - 1)
		return size_read(&v->size[l]);
	for (unsigned z = 0; z <= highest_zone; z++)
		sum += size_read(&v->zone_size[z][l]);
	return sum;
}

uint64_t weir__inactive_ratio(uint64_t inactive, uint64_t active)
{
	uint64_t gib = (inactive + active) >> (30 - PAGE_SHIFT);

	return gib ? weir__isqrt(10 * gib) : 1;
}

bool weir__inactive_is_low(const struct lruvec *v, int file)
{
	unsigned l = file ? LRU_INACTIVE_FILE : LRU_INACTIVE_ANON;
	uint64_t inactive = (uint64_t)size_read(&v->size[l]);
	uint64_t active = (uint64_t)size_read(&v->size[l + 1]);

	return inactive * weir__inactive_ratio(inactive, active) < active;
}

void weir__lru_note_cost(struct lruvec *v, int file, uint64_t nr_io,
			 uint64_t nr_rotated)
{
	uint64_t cost = nr_io * LRU_COST_IO + nr_rotated;
	uint64_t pages = 0;

	if (!cost)
		return;
	for (unsigned l = 0; l < LRU_UNEVICTABLE; l++)
		pages += (uint64_t)size_read(&v->size[l]);
	*(file ? &v->file_cost : &v->anon_cost) += cost;
	/* The past fades as the lists turn over: what counts is the trend. */
	if (v->anon_cost + v->file_cost > pages / 4) {
		v->anon_cost /= 2;
		v->file_cost /= 2;
	}
}

/* ------------------------------------------------------------- validity --- */

static bool links_are_valid(struct engine *e, const struct lruvec *v,
			    const struct list_head *h, enum lru_list l,
			    int64_t *nr, int64_t zone_nr[MAX_ZONES])
{
	const struct list_head *p;

	for (p = h->next; p != h; p = p->next) {
		const struct frame *f = list_entry(p, struct frame, lru);

		if (f < e->memmap || f >= e->memmap + e->nr_frames)
			return false;
		/* The count ends a ring that misses its head. */
		if (!p->next || p->next->prev != p || p->prev->next != p ||
		    (uint64_t)++*nr > e->nr_frames)
			return false;
		if (!frame_test(f, FRAME_LRU) || f->zone >= MAX_ZONES ||
		    weir__frame_lru_list(f) != l ||
		    !frame_test(f, FRAME_ASKED) != (h != &v->asked) ||
		    weir__frame_lruvec(e, f) != v)
			return false;
		zone_nr[f->zone]++;
	}
	return true;
}

static bool list_is_valid(struct engine *e, const struct lruvec *v,
			  enum lru_list l)
{
	int64_t nr = 0, zone_nr[MAX_ZONES] = {0};

	if (l == LRU_INACTIVE_ANON &&
	    (!links_are_valid(e, v, &v->asked, l, &nr, zone_nr) ||
	     size_read(&v->nr_asked) != nr))
		return false;
	if (!links_are_valid(e, v, &v->lists[l], l, &nr, zone_nr))
		return false;
	for (unsigned z = 0; z < MAX_ZONES; z++)
		if (size_read(&v->zone_size[z][l]) != zone_nr[z])
			return false;
	return size_read(&v->size[l]) == nr;
}

bool weir__lruvec_is_valid(struct engine *e, struct lruvec *v)
{
	int64_t unevictable = 0;
	bool ok = true;

	weir__spin_lock(e, &v->lru_lock);
	for (unsigned l = 0; ok && l < LRU_UNEVICTABLE; l++)
		ok = list_is_valid(e, v, (enum lru_list)l);
	for (unsigned z = 0; z < MAX_ZONES; z++)
		unevictable += size_read(&v->zone_size[z][LRU_UNEVICTABLE]);
	ok = ok && list_empty(&v->lists[LRU_UNEVICTABLE]) &&
	     size_read(&v->size[LRU_UNEVICTABLE]) == unevictable &&
	     unevictable >= 0;
	weir__spin_unlock(e, &v->lru_lock);
	return ok;
}
