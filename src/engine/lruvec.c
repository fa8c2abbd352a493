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

#if defined(__SANITIZE_THREAD__)
#define NO_TSAN __attribute__((no_sanitize("thread")))
#else
#define NO_TSAN
#endif

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

/* Changes of sizes, told together. */
struct size_change {
	int64_t nr[NR_LRU_LISTS][MAX_ZONES];
	unsigned lists; /* bit for each list that changed */
};

static void size_note(struct size_change *c, enum lru_list l, unsigned zone,
		      int n)
{
	if (!(c->lists & 1u << l)) {
		memset(c->nr[l], 0, sizeof(c->nr[l]));
		c->lists |= 1u << l;
	}
	c->nr[l][zone] += n;
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

/* => called with lru_lock held, before anybody else can see the lists */
static void sizes_tell(struct engine *e, struct lruvec *v,
		       struct size_change *c)
{
	for (unsigned l = 0; l < NR_LRU_LISTS; l++)
		for (unsigned z = 0; c->lists & 1u << l && z < MAX_ZONES; z++)
			if (c->nr[l][z])
				update_size(e, v, (enum lru_list)l, z,
					    c->nr[l][z]);
	c->lists = 0;
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

static void forget_asked(struct lruvec *v, struct frame *f)
{
	if (frame_test(f, FRAME_ASKED)) {
		size_add(&v->nr_asked, -1);
		weir__frame_clear(f, FRAME_ASKED);
	}
}

void weir__lruvec_del(struct engine *e, struct lruvec *v, struct frame *f)
{
	enum lru_list l = weir__frame_lru_list(f);

	if (l != LRU_UNEVICTABLE)
		list_del(&f->lru);
	forget_asked(v, f);
	update_size(e, v, l, f->zone, -1);
}

/* ------------------------------------------------------------ isolation --- */

static void isolated_add(struct engine *e, struct node *node, int file,
			 int64_t n)
{
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
		isolated_add(e, &e->nodes[f->node], 0, -1);
	else if (weir__frame_clear(f, FRAME_ISOLATED_FILE))
		isolated_add(e, &e->nodes[f->node], 1, -1);
}

/* See the timeline above. The page is still linked; sizes and the count of
 * isolated ones are the caller's. => called with lru_lock held */
static bool isolate_one(struct engine *e, struct frame *f, int file,
			bool may_unmap)
{
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
	weir__frame_set(f, file ? FRAME_ISOLATED_FILE : FRAME_ISOLATED_ANON);
	return true;
}

struct isolation {
	enum lru_list list;
	unsigned highest_zone;
	bool may_unmap;
	unsigned free_skips;
	unsigned scanned, taken;
	struct list_head *out;
	struct size_change change;
};

/* => called with lru_lock held */
static void isolate_from(struct engine *e, struct lruvec *v,
			 struct list_head *src, unsigned nr,
			 struct isolation *is)
{
	int file = is->list >= LRU_INACTIVE_FILE;
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
		if (isolate_one(e, f, file, is->may_unmap)) {
			list_move_tail(&f->lru, is->out);
			forget_asked(v, f);
			size_note(&is->change, is->list, f->zone, -1);
			is->taken++;
		} else {
			list_move(&f->lru, src);
		}
	}
	list_splice_init(&skipped, src);
}

/* => called with lru_lock held, dropped */
static unsigned isolation_done(struct engine *e, struct lruvec *v,
			       struct isolation *is, unsigned *scanned)
{
	sizes_tell(e, v, &is->change);
	isolated_add(e, v->pgdat, is->list >= LRU_INACTIVE_FILE, is->taken);
	weir__spin_unlock(e, &v->lru_lock);
	weir__stat_add(e, STAT_lru_removals, is->taken);
	*scanned = is->scanned;
	return is->taken;
}

unsigned weir__lruvec_isolate(struct engine *e, struct lruvec *v,
			      enum lru_list l, unsigned nr,
			      unsigned highest_zone, bool may_unmap,
			      struct list_head *out, unsigned *scanned)
{
	struct isolation is;

	is.list = l;
	is.highest_zone = highest_zone;
	is.may_unmap = may_unmap;
	is.free_skips = LRU_SKIP_MAX;
	is.scanned = is.taken = 0;
	is.out = out;
	is.change.lists = 0; /* the rest of it is set as it is needed */

	weir__bug_on(e, l >= LRU_UNEVICTABLE);
	weir__spin_lock(e, &v->lru_lock);
	if (l == LRU_INACTIVE_ANON) {
		/* Once each: what could not be taken is at its head. */
		unsigned asked = (unsigned)size_read(&v->nr_asked);

		isolate_from(e, v, &v->asked, nr < asked ? nr : asked, &is);
	}
	isolate_from(e, v, &v->lists[l], nr, &is);
	return isolation_done(e, v, &is, scanned);
}

unsigned weir__lruvec_isolate_unasked(struct engine *e, struct lruvec *v,
				      unsigned nr, unsigned highest_zone,
				      struct list_head *out, unsigned *scanned)
{
	struct isolation is = {.list = LRU_INACTIVE_ANON,
			       .highest_zone = highest_zone,
			       .may_unmap = true,
			       .free_skips = LRU_SKIP_MAX,
			       .out = out};

	weir__spin_lock(e, &v->lru_lock);
	isolate_from(e, v, &v->lists[LRU_INACTIVE_ANON], nr, &is);
	return isolation_done(e, v, &is, scanned);
}

NO_TSAN const struct frame *weir__lru_scout_start(const struct lruvec *v,
						  enum lru_list l)
{
	const struct list_head *p = v->lists[l].prev;

	__builtin_prefetch(p, 1);
	return p == &v->lists[l] ? NULL : list_entry(p, struct frame, lru);
}

NO_TSAN const struct frame *weir__lru_scout_step(const struct engine *e,
						 const struct frame *f)
{
	/* As a number: the link may be anything, NULL too. */
	uintptr_t at = (uintptr_t)f->lru.prev - offsetof(struct frame, lru);
	const struct frame *next = (const struct frame *)at;

	if (at < (uintptr_t)e->memmap ||
	    at >= (uintptr_t)(e->memmap + e->nr_frames))
		return NULL;
	__builtin_prefetch(next, 1);
	return next;
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
static bool putback_one(struct lruvec *v, struct frame *f,
			struct size_change *change)
{
	enum lru_list l;

	weir__frame_set(f, FRAME_LRU);
	if (weir__frame_put_testzero(f)) {
		weir__frame_clear(f, FRAME_LRU);
		return false;
	}
	l = weir__frame_lru_list(f);
	size_note(change, l, f->zone, 1);
	if (l != LRU_UNEVICTABLE)
		list_add(&f->lru, list_of(v, f, l));
	return true;
}

/* What putback_one did becomes known. => v may be NULL, and is unlocked */
static void putback_tell(struct engine *e, struct lruvec *v,
			 struct size_change *change)
{
	int64_t nr = 0, active = 0;

	if (!v)
		return;
	for (unsigned l = 0; l < NR_LRU_LISTS; l++) {
		for (unsigned z = 0; change->lists & 1u << l && z < MAX_ZONES;
		     z++) {
			nr += change->nr[l][z];
			if (l == LRU_ACTIVE_ANON || l == LRU_ACTIVE_FILE)
				active += change->nr[l][z];
		}
	}
	if (active)
		weir__lruvec_age(v, (uint64_t)active);
	sizes_tell(e, v, change);
	weir__lruvec_unlock(e, v);
	weir__stat_add(e, STAT_lru_insertions, nr);
}

void weir__lruvec_putback(struct engine *e, struct list_head *pages)
{
	struct size_change change;
	struct lruvec *v = NULL;
	LIST_HEAD(dead);

	change.lists = 0;
	while (!list_empty(pages)) {
		struct frame *f = list_first_entry(pages, struct frame, lru);

		list_del(&f->lru);
		weir__frame_isolation_end(e, f);
		if (!weir__frame_evictable(f)) {
			/* Its batch's lock comes before ours. */
			putback_tell(e, v, &change);
			v = NULL;
			weir__frame_putback_lru(e, f);
			continue;
		}
		if (v != weir__frame_lruvec(e, f)) {
			putback_tell(e, v, &change);
			v = weir__lruvec_lock(e, f);
		}
		if (!putback_one(v, f, &change))
			list_add_tail(&f->lru, &dead);
	}
	putback_tell(e, v, &change);
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
