/* SPDX-License-Identifier: MIT */
/*
 * Per-CPU batches in front of the LRU lists.
 *
 * A page that is to join a list, or to move on one, waits in a batch of the
 * CPU where that was decided; a full batch takes the lruvec's lock once for
 * all of them. There are six moves and the mlock batch.
 *
 *  - A page in a batch holds one reference there, which makes it look in use
 *    to reclaim and to copy-on-write: hence the drains before both.
 *  - In the add batch it is on no list; in all others it stays on its list
 *    until the drain. A move whose page has lost FRAME_LRU meanwhile (it was
 *    isolated, or is in another CPU's drain) is dropped: moves are advice.
 *  - The batch lock is held while the moves are made, so that who drains a
 *    CPU's batches and gets the lock finds everything done that was queued
 *    there. References are dropped after the locks: the last one frees.
 *
 * The end of a page's life is here as well, since it leaves a list too; how a
 * last reference and an isolation keep apart is drawn in lruvec.c.
 */
#include "engine/batch.h"

#include "engine/alloc.h"
#include "engine/check.h"
#include "engine/event.h"
#include "engine/frame.h"
#include "engine/lruvec.h"

/* Operation of an entry of the mlock batch. */
enum { MLOCK_OLD, MLOCK_NEW, MLOCK_UNDO };

bool weir__frame_evictable(const struct frame *f)
{
	return !frame_test(f, FRAME_MLOCKED | FRAME_KEPT);
}

static bool needs_rescue(const struct frame *f)
{
	return frame_test(f, FRAME_UNEVICTABLE) && weir__frame_evictable(f);
}

/* Out of the unevictable ones. => called with lru_lock held, FRAME_LRU taken */
static void rescue(struct engine *e, struct lruvec *v, struct frame *f)
{
	weir__lruvec_del(e, v, f);
	weir__frame_clear(f, FRAME_UNEVICTABLE);
	weir__lruvec_add(e, v, f);
	weir__stat_inc(e, STAT_unevictable_pgs_rescued);
}

/*
 * Gives FRAME_LRU back, and brings a page home that is not locked any more.
 * Looking once is not enough: a munlock that ran beside us may have found it
 * taken; then the page must not stay unevictable for ever:
 *
 *   owner of FRAME_LRU (lru_lock)      mlock_undo, elsewhere
 *   -----------------------------      ---------------------
 *   FRAME_MLOCKED set:
 *     set FRAME_UNEVICTABLE            FRAME_LRU taken: cannot move the page
 *   (a) set FRAME_LRU                  (b) clear FRAME_MLOCKED
 *   FRAME_MLOCKED still set?           FRAME_LRU back now?
 *     no: rescue                         yes: take it, rescue
 *
 * Both bits stand in one word, so either (a) comes first and he sees it, or
 * (b) does and we see that. => called with lru_lock held
 */
static void give_back(struct engine *e, struct lruvec *v, struct frame *f)
{
	do {
		if (needs_rescue(f))
			rescue(e, v, f);
		weir__frame_set(f, FRAME_LRU);
		/* Where the clear fails its new owner comes by here himself. */
	} while (needs_rescue(f) && weir__frame_clear(f, FRAME_LRU));
}

/* ------------------------------------------------------------ the moves --- */
/*
 * => called with lru_lock held; except for move_add the page is on a list and
 *    its FRAME_LRU has been taken by the caller, who sets it again
 */

static void move_add(struct engine *e, struct lruvec *v, struct frame *f)
{
	bool was_unevictable = weir__frame_clear(f, FRAME_UNEVICTABLE);

	if (weir__frame_evictable(f)) {
		if (was_unevictable)
			weir__stat_inc(e, STAT_unevictable_pgs_rescued);
	} else {
		weir__frame_clear(f, FRAME_ACTIVE);
		weir__frame_set(f, FRAME_UNEVICTABLE);
		f->mlock_count = 0;
		if (!was_unevictable)
			weir__stat_inc(e, STAT_unevictable_pgs_culled);
	}
	weir__lruvec_add(e, v, f);
	weir__stat_inc(e, STAT_lru_insertions);
	weir__event(e, "mm_lru_insertion", weir__pfn(e, f),
		    weir__frame_lru_list(f), 0);
}

static void move_activate(struct engine *e, struct lruvec *v, struct frame *f)
{
	if (frame_test(f, FRAME_ACTIVE | FRAME_UNEVICTABLE))
		return;
	weir__lruvec_del(e, v, f);
	weir__frame_set(f, FRAME_ACTIVE);
	weir__lruvec_add(e, v, f);
	weir__stat_inc(e, STAT_pgactivate);
	weir__event(e, "mm_lru_activate", weir__pfn(e, f), 0, 0);
}

static void move_deactivate_file(struct engine *e, struct lruvec *v,
				 struct frame *f)
{
	bool active = frame_test(f, FRAME_ACTIVE);

	if (frame_test(f, FRAME_UNEVICTABLE) || weir__frame_mapped(f))
		return;
	weir__lruvec_del(e, v, f);
	weir__frame_clear(f, FRAME_ACTIVE | FRAME_REFERENCED);
	if (frame_test(f, FRAME_DIRTY | FRAME_WRITEBACK)) {
		/* Time to be written; the end of that moves it to the tail. */
		weir__lruvec_add(e, v, f);
		weir__frame_set(f, FRAME_RECLAIM);
	} else {
		weir__lruvec_add_tail(e, v, f);
		weir__stat_inc(e, STAT_pgrotated);
	}
	if (active)
		weir__stat_inc(e, STAT_pgdeactivate);
}

static void move_deactivate(struct engine *e, struct lruvec *v, struct frame *f)
{
	if (frame_test(f, FRAME_UNEVICTABLE) || !frame_test(f, FRAME_ACTIVE))
		return;
	weir__lruvec_del(e, v, f);
	weir__frame_clear(f, FRAME_ACTIVE | FRAME_REFERENCED);
	weir__lruvec_add(e, v, f);
	weir__stat_inc(e, STAT_pgdeactivate);
}

/* Only a private anonymous page whose contents stand nowhere else can be. */
static bool may_lazyfree(const struct frame *f)
{
	uintptr_t mapping = __atomic_load_n(&f->mapping, __ATOMIC_RELAXED);

	return (mapping & MAPPING_ANON) && frame_test(f, FRAME_SWAPBACKED) &&
	       !frame_test(f, FRAME_SWAPCACHE | FRAME_UNEVICTABLE);
}

static void move_lazyfree(struct engine *e, struct lruvec *v, struct frame *f)
{
	if (!may_lazyfree(f))
		return;
	weir__lruvec_del(e, v, f);
	weir__frame_clear(f, FRAME_ACTIVE | FRAME_REFERENCED);
	/* Nothing to write back: from here on it is listed as a file page. */
	weir__frame_clear(f, FRAME_SWAPBACKED);
	weir__lruvec_add(e, v, f);
	weir__stat_inc(e, STAT_pglazyfree);
}

static void move_tail(struct engine *e, struct lruvec *v, struct frame *f)
{
	if (frame_test(f, FRAME_UNEVICTABLE))
		return;
	weir__lruvec_del(e, v, f);
	weir__frame_clear(f, FRAME_ACTIVE);
	/* Out of place already, where that is how pages are asked. */
	if (!e->host->ops->has_accessed_bit)
		weir__frame_set(f, FRAME_ASKED);
	weir__lruvec_add_tail(e, v, f);
	weir__stat_inc(e, STAT_pgrotated);
}

static void (*const moves[NR_BATCHES])(struct engine *e, struct lruvec *v,
				       struct frame *f) = {
    [BATCH_ADD] = move_add,
    [BATCH_ACTIVATE] = move_activate,
    [BATCH_DEACTIVATE_FILE] = move_deactivate_file,
    [BATCH_DEACTIVATE] = move_deactivate,
    [BATCH_LAZYFREE] = move_lazyfree,
    [BATCH_MOVE_TAIL] = move_tail,
};

/* ---------------------------------------------------------- mlock batch --- */
/*
 * mlock_count, while the page is unevictable, counts the regions that lock it.
 * It may count too few: a page that was locked while off the lists starts with
 * 0 or 1. Then a munlock frees it too early, and reclaim, which meets the
 * locked region when it looks for references, locks it again.
 *
 * => v is the lruvec whose lock is held, or NULL; the same for the result
 */

static struct lruvec *mlock_old(struct engine *e, struct lruvec *v,
				struct frame *f)
{
	/* Off the lists: its way back (add, putback) sees FRAME_MLOCKED. */
	if (!weir__frame_clear(f, FRAME_LRU))
		return v;
	v = weir__lruvec_relock(e, v, f);
	if (weir__frame_evictable(f))
		goto out; /* unlocked again before we came */
	if (frame_test(f, FRAME_UNEVICTABLE)) {
		f->mlock_count++;
	} else {
		weir__lruvec_del(e, v, f);
		weir__frame_clear(f, FRAME_ACTIVE);
		weir__frame_set(f, FRAME_UNEVICTABLE);
		f->mlock_count = 1;
		weir__lruvec_add(e, v, f);
		weir__stat_inc(e, STAT_unevictable_pgs_culled);
	}
out:
	give_back(e, v, f);
	return v;
}

static struct lruvec *mlock_new(struct engine *e, struct lruvec *v,
				struct frame *f)
{
	v = weir__lruvec_relock(e, v, f);
	if (!weir__frame_evictable(f)) {
		weir__frame_clear(f, FRAME_ACTIVE);
		weir__frame_set(f, FRAME_UNEVICTABLE);
		f->mlock_count = 1;
		weir__stat_inc(e, STAT_unevictable_pgs_culled);
	}
	weir__lruvec_add(e, v, f);
	weir__stat_inc(e, STAT_lru_insertions);
	give_back(e, v, f);
	return v;
}

static struct lruvec *mlock_undo(struct engine *e, struct lruvec *v,
				 struct frame *f)
{
	bool ours = weir__frame_clear(f, FRAME_LRU);

	if (ours) {
		v = weir__lruvec_relock(e, v, f);
		if (frame_test(f, FRAME_UNEVICTABLE)) {
			if (f->mlock_count)
				f->mlock_count--;
			if (f->mlock_count)
				goto out;
		}
		/* Else take it for the last: reclaim puts it right if not. */
	}
	if (weir__frame_clear(f, FRAME_MLOCKED)) {
		weir__stat_add(e, STAT_nr_mlock, -1);
		weir__stat_inc(e, ours || !frame_test(f, FRAME_UNEVICTABLE)
				      ? STAT_unevictable_pgs_munlocked
				      : STAT_unevictable_pgs_stranded);
	}
	/* See give_back. */
	if (!ours && frame_test(f, FRAME_UNEVICTABLE) &&
	    weir__frame_clear(f, FRAME_LRU)) {
		ours = true;
		v = weir__lruvec_relock(e, v, f);
	}
out:
	if (ours)
		give_back(e, v, f);
	return v;
}

static struct lruvec *mlock_move(struct engine *e, struct lruvec *v,
				 struct frame *f, unsigned op)
{
	switch (op) {
	case MLOCK_OLD:
		return mlock_old(e, v, f);
	case MLOCK_NEW:
		return mlock_new(e, v, f);
	default:
		return mlock_undo(e, v, f);
	}
}

/* ------------------------------------------------------ queue and drain --- */

void weir__batches_init(struct engine *e)
{
	for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
		weir__spin_init(&e->batches[cpu].lock, RANK_BATCH);
		for (unsigned k = 0; k < NR_BATCHES; k++)
			e->batches[cpu].batch[k].nr = 0;
	}
}

/* The task may be moved to another CPU meanwhile: the lock is what protects. */
static struct cpu_batches *batches_lock(struct engine *e)
{
	struct cpu_batches *cb = &e->batches[weir__self(e)->cpu];

	weir__spin_lock(e, &cb->lock);
	return cb;
}

/*
 * Empties a batch. The pages, each with the batch's reference, go to done[]:
 * put them when the lock is dropped. => called with the batch lock held
 */
static unsigned batch_move(struct engine *e, struct fbatch *b,
			   enum batch_kind kind, struct frame **done)
{
	struct lruvec *v = NULL;
	unsigned nr = b->nr;

	for (unsigned i = 0; i < nr; i++) {
		struct frame *f = weir__frame(e, b->pfn[i]);

		done[i] = f;
		if (kind == BATCH_MLOCK) {
			v = mlock_move(e, v, f, b->tag[i]);
			continue;
		}
		if (kind != BATCH_ADD && !weir__frame_clear(f, FRAME_LRU))
			continue;
		v = weir__lruvec_relock(e, v, f);
		moves[kind](e, v, f);
		give_back(e, v, f);
	}
	weir__lruvec_unlock(e, v);
	b->nr = 0;
	return nr;
}

static bool batch_is_full(struct engine *e, const struct fbatch *b)
{
	return b->nr >= FBATCH_MAX || b->nr >= e->tun.batch_size ||
	       __atomic_load_n((uint32_t *)&e->lru_disable_count,
			       __ATOMIC_RELAXED);
}

/* => the caller gives one reference to the batch */
static void batch_queue(struct engine *e, struct frame *f, enum batch_kind kind,
			unsigned tag)
{
	struct frame *done[FBATCH_MAX];
	struct cpu_batches *cb = batches_lock(e);
	struct fbatch *b = &cb->batch[kind];
	unsigned nr = 0;

	b->pfn[b->nr] = weir__pfn(e, f);
	b->tag[b->nr] = (uint8_t)tag;
	b->nr++;
	if (batch_is_full(e, b))
		nr = batch_move(e, b, kind, done);
	weir__spin_unlock(e, &cb->lock);
	weir__pages_put(e, done, nr);
}

/* Additions first, so that moves find their pages; locking last. */
static const enum batch_kind drain_order[NR_BATCHES] = {
    BATCH_ADD,        BATCH_MOVE_TAIL, BATCH_DEACTIVATE_FILE,
    BATCH_DEACTIVATE, BATCH_LAZYFREE,  BATCH_ACTIVATE,
    BATCH_MLOCK};

static void drain_cpu(struct engine *e, unsigned cpu)
{
	struct cpu_batches *cb = &e->batches[cpu];
	struct frame *done[FBATCH_MAX];

	weir__spin_lock(e, &cb->lock);
	for (unsigned i = 0; i < NR_BATCHES; i++) {
		struct fbatch *b = &cb->batch[drain_order[i]];
		unsigned nr;

		if (!b->nr)
			continue;
		nr = batch_move(e, b, drain_order[i], done);
		weir__spin_unlock(e, &cb->lock);
		weir__pages_put(e, done, nr);
		weir__spin_lock(e, &cb->lock);
	}
	weir__spin_unlock(e, &cb->lock);
}

void weir__lru_add_drain(struct engine *e)
{
	drain_cpu(e, weir__self(e)->cpu);
}

void weir__lru_add_drain_all(struct engine *e)
{
	for (unsigned cpu = 0; cpu < e->nr_cpus; cpu++)
		drain_cpu(e, cpu);
}

void weir__lru_cache_disable(struct engine *e)
{
	/*
	 * Who queued under a batch lock before we come to it is drained here;
	 * who takes it after us sees the count.
	 */
	__atomic_fetch_add((uint32_t *)&e->lru_disable_count, 1,
			   __ATOMIC_SEQ_CST);
	weir__lru_add_drain_all(e);
}

void weir__lru_cache_enable(struct engine *e)
{
	uint32_t was = __atomic_fetch_sub((uint32_t *)&e->lru_disable_count, 1,
					  __ATOMIC_SEQ_CST);

	weir__bug_on(e, !was);
}

/* --------------------------------------------------------- entry points --- */

static void queue_get(struct engine *e, struct frame *f, enum batch_kind kind,
		      unsigned tag)
{
	weir__frame_get(f);
	batch_queue(e, f, kind, tag);
}

void weir__frame_add_lru(struct engine *e, struct frame *f)
{
	weir__bug_on(e, frame_test(f, FRAME_LRU));
	queue_get(e, f, BATCH_ADD, 0);
}

/*
 * A page just queued for a list may be wanted a second time before it gets
 * there; its batch is most likely this CPU's, and the newest end is where to
 * look. In another CPU's batch it stays inactive: that costs it one round.
 */
static void activate_queued(struct engine *e, struct frame *f)
{
	struct cpu_batches *cb = batches_lock(e);
	const struct fbatch *b = &cb->batch[BATCH_ADD];
	pfn_t pfn = weir__pfn(e, f);

	for (unsigned i = b->nr; i-- > 0;) {
		if (b->pfn[i] != pfn)
			continue;
		weir__frame_set(f, FRAME_ACTIVE);
		break;
	}
	weir__spin_unlock(e, &cb->lock);
}

void weir__frame_activate(struct engine *e, struct frame *f)
{
	if (frame_test(f, FRAME_ACTIVE | FRAME_UNEVICTABLE))
		return;
	if (frame_test(f, FRAME_LRU))
		queue_get(e, f, BATCH_ACTIVATE, 0);
	else
		activate_queued(e, f);
}

/*
 *   active, referenced    becomes
 *   inactive, 0           inactive, 1
 *   inactive, 1           active, 0
 *   active, 0             active, 1
 *   active, 1             the same
 *   unevictable, 1        the same
 */
void weir__frame_mark_accessed(struct engine *e, struct frame *f)
{
	if (!frame_test(f, FRAME_REFERENCED)) {
		weir__frame_set(f, FRAME_REFERENCED);
		return;
	}
	if (frame_test(f, FRAME_UNEVICTABLE | FRAME_ACTIVE))
		return;
	weir__frame_activate(e, f);
	weir__frame_clear(f, FRAME_REFERENCED);
	weir__lruvec_age(weir__frame_lruvec(e, f), 1);
}

void weir__frame_deactivate_file(struct engine *e, struct frame *f)
{
	if (frame_test(f, FRAME_UNEVICTABLE) || !frame_test(f, FRAME_LRU))
		return;
	queue_get(e, f, BATCH_DEACTIVATE_FILE, 0);
}

void weir__frame_deactivate(struct engine *e, struct frame *f)
{
	if (frame_test(f, FRAME_UNEVICTABLE) || !frame_test(f, FRAME_ACTIVE))
		return;
	queue_get(e, f, BATCH_DEACTIVATE, 0);
}

void weir__frame_lazyfree(struct engine *e, struct frame *f)
{
	if (!frame_test(f, FRAME_LRU) || !may_lazyfree(f))
		return;
	queue_get(e, f, BATCH_LAZYFREE, 0);
}

void weir__frame_rotate(struct engine *e, struct frame *f)
{
	if (frame_test(f, FRAME_LOCKED | FRAME_DIRTY | FRAME_UNEVICTABLE) ||
	    !frame_test(f, FRAME_LRU))
		return;
	queue_get(e, f, BATCH_MOVE_TAIL, 0);
}

static void mark_mlocked(struct engine *e, struct frame *f)
{
	if (weir__frame_set(f, FRAME_MLOCKED))
		return;
	weir__stat_inc(e, STAT_nr_mlock);
	weir__stat_inc(e, STAT_unevictable_pgs_mlocked);
}

void weir__frame_mlock(struct engine *e, struct frame *f)
{
	mark_mlocked(e, f);
	queue_get(e, f, BATCH_MLOCK, MLOCK_OLD);
}

void weir__frame_mlock_new(struct engine *e, struct frame *f)
{
	weir__bug_on(e, frame_test(f, FRAME_LRU));
	mark_mlocked(e, f);
	queue_get(e, f, BATCH_MLOCK, MLOCK_NEW);
}

void weir__frame_munlock(struct engine *e, struct frame *f)
{
	/* FRAME_MLOCKED stays until the drain, which knows how many locks
	 * are left. */
	queue_get(e, f, BATCH_MLOCK, MLOCK_UNDO);
}

bool weir__frame_isolate_lru(struct engine *e, struct frame *f)
{
	struct lruvec *v;

	if (!weir__frame_clear(f, FRAME_LRU))
		return false;
	weir__frame_get(f);
	v = weir__lruvec_lock(e, f);
	weir__lruvec_del(e, v, f);
	weir__lruvec_unlock(e, v);
	weir__stat_inc(e, STAT_lru_removals);
	return true;
}

void weir__frame_putback_lru(struct engine *e, struct frame *f)
{
	weir__bug_on(e, frame_test(f, FRAME_LRU));
	weir__frame_isolation_end(e, f);
	batch_queue(e, f, BATCH_ADD, 0);
}

/* --------------------------------------------------- the last reference --- */

void weir__pages_release(struct engine *e, struct list_head *dead)
{
	while (!list_empty(dead)) {
		struct frame *f = list_first_entry(dead, struct frame, lru);

		list_del(&f->lru);
		weir__bug_on(e,
			     frame_test(f, FRAME_LRU) || weir__frame_mapped(f));
		weir__frame_isolation_end(e, f);
		if (weir__frame_clear(f, FRAME_MLOCKED)) {
			weir__stat_add(e, STAT_nr_mlock, -1);
			weir__stat_inc(e, STAT_unevictable_pgs_cleared);
		}
		weir__frames_free(e, f, 0);
	}
}

/*
 * The last reference is gone: off its list, and to the dead. => v is the lruvec
 * whose lock is held, or NULL; the same for the result
 */
static struct lruvec *page_ends(struct engine *e, struct lruvec *v,
				struct frame *f, struct list_head *dead)
{
	/* Ours alone from here on: FRAME_LRU stands still. */
	if (frame_test(f, FRAME_LRU)) {
		v = weir__lruvec_relock(e, v, f);
		weir__frame_clear(f, FRAME_LRU);
		weir__lruvec_del(e, v, f);
		weir__stat_inc(e, STAT_lru_removals);
	}
	list_add_tail(&f->lru, dead);
	return v;
}

void weir__pages_put(struct engine *e, struct frame **pages, unsigned nr)
{
	struct lruvec *v = NULL;
	LIST_HEAD(dead);

	for (unsigned i = 0; i < nr; i++)
		if (weir__frame_put_testzero(pages[i]))
			v = page_ends(e, v, pages[i], &dead);
	weir__lruvec_unlock(e, v);
	weir__pages_release(e, &dead);
}

void weir__page_put(struct engine *e, struct frame *f)
{
	LIST_HEAD(dead);

	if (!weir__frame_put_testzero(f))
		return;
	weir__lruvec_unlock(e, page_ends(e, NULL, f, &dead));
	weir__pages_release(e, &dead);
}
