/* SPDX-License-Identifier: MIT */
/*
 * The page cache: the tree of a mapping, and the states that are marked in it.
 *
 * Last steps of a page (weir__pcache_remove_frozen). A reader may find the page,
 * take a reference, dirty it and let go again while reclaim believes it to be
 * clean and unused. So the count is frozen first, under the lock that every
 * look-up takes, and only then the dirty flag is read:
 *
 *   reclaim (page lock)                 zap of another process
 *   ------------------------------      ------------------------------
 *                                       its entry is DIRTY
 *   sees the page clean
 *                                       marks the page dirty, drops the
 *                                       entry's reference
 *   lock; freeze(2): done
 *   dirty? yes: unfreezes, keeps it
 *     -- or --
 *   freeze(2) fails: still 3
 *
 * Flag and tag go together under the lock, so they never disagree. What the
 * node counters say may be a moment behind.
 */
#include "engine/pcache.h"

#include <errno.h>
#include <string.h>

#include "engine/batch.h"
#include "engine/buffers.h"
#include "engine/check.h"
#include "engine/event.h"
#include "engine/file.h"
#include "engine/frame.h"
#include "engine/slab.h"
#include "engine/truncate.h"
#include "engine/workingset.h"
#include "engine/writeback.h"

static bool is_frame(uint64_t entry)
{
	return entry && !xt_is_value(entry);
}

static struct frame *entry_frame(uint64_t entry)
{
	return is_frame(entry) ? (struct frame *)(uintptr_t)entry : NULL;
}

static bool is_shadow(uint64_t entry)
{
	return entry & 1;
}

/* Counts are written under a lock and read without: whole words. */
static void add_u64(_Atomic uint64_t *p, int64_t n)
{
	uint64_t *q = (uint64_t *)p;

	__atomic_store_n(q, __atomic_load_n(q, __ATOMIC_RELAXED) + (uint64_t)n,
			 __ATOMIC_RELAXED);
}

/* --- nodes of shadows ------------------------------------------------------ */

/*
 * A node that holds nothing but shadows is memory for remembering only. Such
 * nodes stand in a list by age, for the shrinker to give up. The values of
 * shared memory are no shadows: they are the only way to its contents.
 */
static void node_changed(struct xtree *t, struct xt_node *n)
{
	struct mapping *m = container_of(t, struct mapping, tree);
	struct engine *e = m->engine;
	struct pcache *pc = e->pcache;
	bool belongs = n->count && n->count == n->values &&
		       m->kind == MAPPING_FILE;
	/* changed under our lock only: no other look is needed */
	bool listed = !list_empty(&n->link);

	if (belongs == listed)
		return;
	weir__spin_lock(e, &pc->shadow_lock);
	if (belongs)
		list_add_tail(&n->link, &pc->shadow_nodes);
	else
		list_del_init(&n->link);
	add_u64(&pc->nr_shadow_nodes, belongs ? 1 : -1);
	weir__spin_unlock(e, &pc->shadow_lock);
	weir__stat_add(e, STAT_workingset_nodes, belongs ? 1 : -1);
}

static void room_drain(struct engine *e, struct xt_room *room)
{
	struct xt_node *n;

	while ((n = xt_room_take(room)))
		weir__slab_free(e, e->pcache->node_cache, n);
}

static int room_fill(struct engine *e, struct xt_room *room, unsigned nr,
		     gfp_t gfp)
{
	while (room->nr < nr) {
		struct xt_node *n =
		    weir__slab_alloc(e, e->pcache->node_cache, gfp);

		if (!n)
			return -ENOMEM;
		xt_room_add(room, n);
	}
	return 0;
}

/* --- look-up --------------------------------------------------------------- */

uint64_t weir__pcache_entry(struct mapping *m, uint64_t index)
{
	uint64_t entry;

	weir__spin_lock(m->engine, &m->lock);
	entry = xt_get(&m->tree, index);
	weir__spin_unlock(m->engine, &m->lock);
	return entry;
}

struct frame *weir__pcache_find(struct mapping *m, uint64_t index)
{
	struct frame *f;

	weir__spin_lock(m->engine, &m->lock);
	f = entry_frame(xt_get(&m->tree, index));
	if (f) /* the cache's reference stands while we hold the lock */
		weir__frame_get(f);
	weir__spin_unlock(m->engine, &m->lock);
	return f;
}

/* --- in and out ------------------------------------------------------------ */

static void count_page(struct engine *e, struct mapping *m, int sign)
{
	add_u64(&m->nr_pages, sign);
	weir__stat_add(e, STAT_nr_file_pages, sign);
	if (m->kind == MAPPING_SHMEM)
		weir__stat_add(e, STAT_nr_shmem, sign);
}

/* => lock held. A value enters (1) or leaves (-1). */
static void count_value(struct mapping *m, uint64_t value, int sign)
{
	if (value)
		add_u64(is_shadow(value) ? &m->nr_shadows : &m->nr_swapped,
			sign);
}

/* => lock held. May the frame stand at index? *shadow: what it replaces. */
static int may_enter(struct mapping *m, uint64_t index, uint64_t expected,
		     unsigned flags, uint64_t *shadow)
{
	uint64_t old = xt_get(&m->tree, index);

	*shadow = is_shadow(old) ? old : 0;
	if (expected ? old != expected : old && !*shadow)
		return -EEXIST;
	if (m->flags & MAPPING_DYING)
		return -ERANGE;
	if (!(flags & PCACHE_BEYOND) && index >= weir__mapping_pages(m))
		return -ERANGE;
	return 0;
}

static int enter(struct mapping *m, struct frame *f, uint64_t index,
		 uint64_t expected, unsigned flags, gfp_t gfp, uint64_t *shadow)
{
	struct engine *e = m->engine;
	struct xt_room room = {NULL, 0};
	int ret;

	for (;;) {
		unsigned need;

		weir__spin_lock(e, &m->lock);
		ret = may_enter(m, index, expected, flags, shadow);
		need = ret ? 0 : xt_need(&m->tree, index);
		if (need <= room.nr)
			break;
		weir__spin_unlock(e, &m->lock);
		ret = room_fill(e, &room, need, gfp);
		if (ret)
			goto out;
	}
	if (!ret) {
		weir__frame_get(f); /* the cache's */
		f->index = index;
		__atomic_store_n(&f->mapping, (uintptr_t)m, __ATOMIC_RELAXED);
		count_value(m,
			    xt_store(&m->tree, index, (uint64_t)(uintptr_t)f,
				     &room),
			    -1);
		count_page(e, m, 1);
	}
	weir__spin_unlock(e, &m->lock);
out:
	room_drain(e, &room);
	return ret;
}

int weir__pcache_add(struct mapping *m, struct frame *f, uint64_t index,
		     uint64_t expected, unsigned flags, gfp_t gfp)
{
	struct engine *e = m->engine;
	uint64_t shadow;
	int ret;

	weir__assert(e, frame_test(f, FRAME_LOCKED));
	weir__bug_on(e, f->mapping);
	ret = enter(m, f, index, expected, flags, gfp, &shadow);
	if (ret)
		return ret;
	if (shadow && !(flags & PCACHE_OVERWRITE))
		weir__workingset_refault(e, f, shadow);
	if (m->flags & (MAPPING_NOSWAP | MAPPING_PINNED))
		weir__frame_set(f, FRAME_KEPT);
	weir__event(e, "mm_filemap_add_to_page_cache", m->id, index,
		    weir__pfn(e, f));
	/* From the swap cache it may be on a list already. */
	if (!expected)
		weir__frame_add_lru(e, f);
	return 0;
}

/* => lock held. The tree forgets the frame; value takes its place. */
static void leave(struct engine *e, struct frame *f, uint64_t value,
		  struct xt_room *room)
{
	struct mapping *m = weir__frame_mapping(f);
	uint64_t old;

	weir__bug_on(e, !m || weir__frame_mapped(f));
	weir__bug_on(e, xt_tag_get(&m->tree, f->index, XT_DIRTY) ||
			    xt_tag_get(&m->tree, f->index, XT_WRITEBACK));
	old = xt_store(&m->tree, f->index, value, room);
	weir__bug_on(e, entry_frame(old) != f);
	count_value(m, value, 1);
	count_page(e, m, -1);
	weir__frame_clear(f, FRAME_KEPT);
	__atomic_store_n(&f->mapping, (uintptr_t)0, __ATOMIC_RELAXED);
}

static void replace(struct engine *e, struct frame *f, uint64_t value)
{
	struct mapping *m = weir__frame_mapping(f);
	struct xt_room room = {NULL, 0};

	weir__assert(e, frame_test(f, FRAME_LOCKED));
	weir__spin_lock(e, &m->lock);
	weir__event(e, "mm_filemap_delete_from_page_cache", m->id, f->index,
		    weir__pfn(e, f));
	leave(e, f, value, &room);
	weir__spin_unlock(e, &m->lock);
	room_drain(e, &room);
}

void weir__pcache_delete(struct engine *e, struct frame *f)
{
	weir__page_clean(e, f);
	/* Where one is busy the page stays behind with them, nobody's, until
	 * reclaim meets it. */
	weir__buffers_forget(f);
	weir__buffers_release(e, f);
	replace(e, f, 0);
}

void weir__pcache_to_swap(struct engine *e, struct frame *f, uint64_t value)
{
	replace(e, f, value);
}

bool weir__pcache_remove_frozen(struct engine *e, struct frame *f, int expected,
				bool reclaimed)
{
	struct mapping *m = weir__frame_mapping(f);
	struct xt_room room = {NULL, 0};
	uint64_t shadow = 0;

	weir__assert(e, frame_test(f, FRAME_LOCKED));
	weir__spin_lock(e, &m->lock);
	if (!weir__frame_freeze(f, expected)) {
		weir__spin_unlock(e, &m->lock);
		return false;
	}
	if (frame_test(f, FRAME_DIRTY | FRAME_WRITEBACK)) {
		/* nobody can have touched a count of 0 */
		__atomic_store_n((int32_t *)&f->refcount, expected,
				 __ATOMIC_RELEASE);
		weir__spin_unlock(e, &m->lock);
		return false;
	}
	weir__event(e, "mm_filemap_delete_from_page_cache", m->id, f->index,
		    weir__pfn(e, f));
	if (reclaimed && m->kind == MAPPING_FILE && !(m->flags & MAPPING_DYING))
		shadow = weir__workingset_eviction(e, f);
	leave(e, f, shadow, &room);
	weir__spin_unlock(e, &m->lock);
	room_drain(e, &room);
	return true;
}

uint64_t weir__pcache_clear_value(struct mapping *m, uint64_t index)
{
	struct engine *e = m->engine;
	struct xt_room room = {NULL, 0};
	uint64_t old;

	weir__spin_lock(e, &m->lock);
	old = xt_get(&m->tree, index);
	if (xt_is_value(old)) {
		xt_store(&m->tree, index, 0, &room);
		count_value(m, old, -1);
	} else {
		old = 0;
	}
	weir__spin_unlock(e, &m->lock);
	room_drain(e, &room);
	return old;
}

/* --- dirty and being written ----------------------------------------------- */

static void count_dirty(struct engine *e, struct mapping *m, struct frame *f,
			int sign)
{
	add_u64(&m->nr_dirty, sign);
	e->nodes[f->node].nr_dirty += sign;
	weir__stat_add(e, STAT_nr_dirty, sign);
}

bool weir__page_dirty(struct engine *e, struct frame *f)
{
	struct mapping *m = weir__frame_mapping(f);
	bool was;

	/* Swap keeps no list of what has to be written: reclaim does it. */
	if (!m || m->kind == MAPPING_SHMEM)
		return !weir__frame_set(f, FRAME_DIRTY);
	if (frame_test(f, FRAME_DIRTY))
		return false;
	/* Written again: not the next to be taken after all. */
	weir__frame_clear(f, FRAME_RECLAIM);
	weir__spin_lock(e, &m->lock);
	was = weir__frame_set(f, FRAME_DIRTY);
	if (!was) {
		xt_tag_set(&m->tree, f->index, XT_DIRTY);
		count_dirty(e, m, f, 1);
		weir__wb_list_add(e, m);
	}
	weir__spin_unlock(e, &m->lock);
	if (was)
		return false;
	weir__stat_inc(e, STAT_nr_dirtied);
	weir__self(e)->nr_dirtied++;
	return true;
}

bool weir__page_clean(struct engine *e, struct frame *f)
{
	struct mapping *m = weir__frame_mapping(f);
	bool was;

	if (!frame_test(f, FRAME_DIRTY))
		return false;
	if (!m || m->kind == MAPPING_SHMEM)
		return weir__frame_clear(f, FRAME_DIRTY);
	weir__spin_lock(e, &m->lock);
	was = weir__frame_clear(f, FRAME_DIRTY);
	if (was) {
		xt_tag_clear(&m->tree, f->index, XT_DIRTY);
		count_dirty(e, m, f, -1);
	}
	weir__spin_unlock(e, &m->lock);
	return was;
}

static void count_writeback(struct engine *e, struct mapping *m,
			    struct frame *f, int sign)
{
	add_u64(&m->nr_writeback, sign);
	e->nodes[f->node].nr_writeback += sign;
	weir__stat_add(e, STAT_nr_writeback, sign);
}

void weir__page_start_writeback(struct engine *e, struct frame *f)
{
	struct mapping *m = weir__frame_mapping(f);

	weir__spin_lock(e, &m->lock);
	weir__bug_on(e, weir__frame_set(f, FRAME_WRITEBACK));
	xt_tag_set(&m->tree, f->index, XT_WRITEBACK);
	count_writeback(e, m, f, 1);
	weir__spin_unlock(e, &m->lock);
}

/* The mapping stands: nobody takes a page out that is being written. */
void weir__page_end_writeback(struct engine *e, struct frame *f)
{
	struct mapping *m = weir__frame_mapping(f);

	if (weir__frame_clear(f, FRAME_RECLAIM))
		weir__frame_rotate(e, f);
	/* Who waits for the flag may free the page: a reference of our own
	 * until everything is counted. */
	weir__frame_get(f);
	weir__spin_lock(e, &m->lock);
	xt_tag_clear(&m->tree, f->index, XT_WRITEBACK);
	count_writeback(e, m, f, -1);
	weir__frame_end(e, f, FRAME_WRITEBACK);
	weir__spin_unlock(e, &m->lock);
	weir__page_put(e, f);
}

/* --- mappings --------------------------------------------------------------- */

int weir__pcache_init(struct engine *e)
{
	struct pcache *pc = e->host->ops->meta_alloc(e->host, sizeof(*pc));

	if (!pc)
		return -ENOMEM;
	e->pcache = pc;
	weir__spin_init(&pc->lock, RANK_MAPPINGS);
	list_init(&pc->mappings);
	weir__spin_init(&pc->shadow_lock, RANK_SHADOW);
	list_init(&pc->shadow_nodes);
	pc->node_cache =
	    weir__slab_cache_create(e, "xt_node", sizeof(struct xt_node));
	pc->mapping_cache =
	    weir__slab_cache_create(e, "mapping", sizeof(struct mapping));
	pc->file_cache =
	    weir__slab_cache_create(e, "file", sizeof(struct file));
	pc->buffer_cache =
	    weir__slab_cache_create(e, "buffer", sizeof(struct buffer));
	return pc->node_cache && pc->mapping_cache && pc->file_cache &&
		       pc->buffer_cache
		   ? 0
		   : -ENOMEM;
}

int weir__mapping_create(struct engine *e, enum mapping_kind kind, uint32_t id,
			 uint64_t size, uint32_t flags, struct mapping **out)
{
	struct mapping *m =
	    weir__slab_alloc(e, e->pcache->mapping_cache, GFP_KERNEL);

	if (!m)
		return -ENOMEM;
	memset(m, 0, sizeof(*m));
	m->engine = e;
	m->kind = (uint8_t)kind;
	m->id = id;
	m->size = size;
	m->flags = flags;
	m->users = 1;
	weir__spin_init(&m->lock, RANK_PCACHE);
	xt_init(&m->tree);
	m->tree.update = node_changed;
	itree_init(&m->i_mmap);
	weir__spin_lock(e, &e->pcache->lock);
	list_add_tail(&m->link, &e->pcache->mappings);
	weir__spin_unlock(e, &e->pcache->lock);
	*out = m;
	return 0;
}

void weir__mapping_get(struct mapping *m)
{
	weir__bug_on(m->engine, m->users++ <= 0);
}

/* False: its last user has gone. */
static bool tryget(struct mapping *m)
{
	int32_t users = m->users;

	while (users > 0 && !__atomic_compare_exchange_n(
				(int32_t *)&m->users, &users, users + 1, false,
				__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		;
	return users > 0;
}

/* => nobody uses it any more */
static void mapping_end(struct mapping *m)
{
	struct engine *e = m->engine;

	if (m->kind == MAPPING_FILE && !(m->flags & MAPPING_UNLINKED))
		weir__writepages_all(m);
	m->flags |= MAPPING_DYING;
	weir__truncate_pages(m, 0);
	weir__wb_list_del(e, m);
	weir__bug_on(e, m->nr_pages || m->nr_shadows || m->nr_swapped ||
			    m->nr_dirty || m->nr_writeback || m->tree.root ||
			    m->i_mmap.root);
	weir__slab_free(e, e->pcache->mapping_cache, m);
}

/* True: the caller has it for himself, off the list. */
static bool last_user(struct mapping *m)
{
	struct engine *e = m->engine;
	bool last;

	/* Under the lock of the list, where others find it and take a
	 * reference. */
	weir__spin_lock(e, &e->pcache->lock);
	last = --m->users == 0;
	if (last)
		list_del(&m->link);
	weir__spin_unlock(e, &e->pcache->lock);
	return last;
}

void weir__mapping_put(struct mapping *m)
{
	weir__assert_may_sleep(m->engine);
	if (last_user(m))
		mapping_end(m);
}

/* The list's lock comes before those that the caller may hold, so a mapping
 * that is to end stays in the list, with no users. */
void weir__mapping_put_later(struct mapping *m)
{
	struct engine *e = m->engine;

	if (--m->users == 0)
		e->pcache->nr_dead++;
}

void weir__mappings_reap(struct engine *e)
{
	struct pcache *pc = e->pcache;

	while (pc->nr_dead) {
		struct mapping *m, *found = NULL;

		weir__spin_lock(e, &pc->lock);
		list_for_each_entry(m, &pc->mappings, link) {
			if (m->users)
				continue;
			found = m;
			list_del(&m->link);
			pc->nr_dead--;
			break;
		}
		weir__spin_unlock(e, &pc->lock);
		if (!found)
			return;
		mapping_end(found);
	}
}

struct mapping *weir__mapping_next(struct engine *e, struct mapping *m)
{
	struct pcache *pc = e->pcache;
	struct list_head *at;
	struct mapping *next = NULL;

	weir__spin_lock(e, &pc->lock);
	for (at = m ? m->link.next : pc->mappings.next; at != &pc->mappings;
	     at = at->next) {
		next = list_entry(at, struct mapping, link);
		if (tryget(next))
			break;
		next = NULL;
	}
	weir__spin_unlock(e, &pc->lock);
	if (m)
		weir__mapping_put(m);
	return next;
}

/* --- shadows ---------------------------------------------------------------- */

uint64_t weir__shadow_nodes_count(struct engine *e)
{
	uint64_t nodes = e->pcache->nr_shadow_nodes;
	uint64_t keep = e->nr_frames >> (XT_SHIFT - 3);

	return nodes > keep ? nodes - keep : 0;
}

/* => mapping lock held. Every shadow of the leaf goes, and so the leaf. */
static void give_up_node(struct mapping *m, struct xt_node *n,
			 struct xt_room *room)
{
	uint64_t index = xt_node_index(n), last = index + XT_SLOTS - 1, old;

	/* The leaf may be gone with its last entry: the tree is asked. */
	while ((old = xt_next(&m->tree, &index, last))) {
		xt_store(&m->tree, index, 0, room);
		count_value(m, old, -1);
	}
}

uint64_t weir__shadow_nodes_scan(struct engine *e, uint64_t nr)
{
	struct pcache *pc = e->pcache;
	uint64_t freed = 0;

	while (nr--) {
		struct xt_room room = {NULL, 0};
		struct xt_node *n;
		struct mapping *m;

		weir__spin_lock(e, &pc->shadow_lock);
		if (list_empty(&pc->shadow_nodes)) {
			weir__spin_unlock(e, &pc->shadow_lock);
			break;
		}
		n = list_first_entry(&pc->shadow_nodes, struct xt_node, link);
		m = container_of(n->tree, struct mapping, tree);
		/* Against the order, so only a try; the next time around. */
		if (!weir__spin_trylock(e, &m->lock)) {
			list_move_tail(&n->link, &pc->shadow_nodes);
			weir__spin_unlock(e, &pc->shadow_lock);
			continue;
		}
		weir__spin_unlock(e, &pc->shadow_lock);
		/* Its lock is ours: the node stays what it was. */
		give_up_node(m, n, &room);
		weir__spin_unlock(e, &m->lock);
		room_drain(e, &room);
		freed++;
	}
	weir__stat_add(e, STAT_workingset_nodereclaim, (int64_t)freed);
	return freed;
}

/* --- validity ---------------------------------------------------------------- */

static bool page_is_valid(struct mapping *m, struct frame *f, uint64_t index)
{
	struct engine *e = m->engine;

	if (f < e->memmap || f >= e->memmap + e->nr_frames)
		return false;
	if (f->mapping != (uintptr_t)m || f->index != index || f->refcount < 1)
		return false;
	if (!frame_test(f, FRAME_SWAPBACKED) != (m->kind == MAPPING_FILE) ||
	    frame_test(f, FRAME_SWAPCACHE))
		return false;
	if (m->kind == MAPPING_FILE &&
	    frame_test(f, FRAME_DIRTY) !=
		xt_tag_get(&m->tree, index, XT_DIRTY))
		return false;
	if (!weir__buffers_are_valid(f))
		return false;
	return frame_test(f, FRAME_WRITEBACK) ==
	       xt_tag_get(&m->tree, index, XT_WRITEBACK);
}

bool weir__mapping_is_valid(struct mapping *m)
{
	uint64_t pages = 0, shadows = 0, swapped = 0, dirty = 0, writeback = 0;
	uint64_t index = 0, entry;
	bool ok;

	weir__spin_lock(m->engine, &m->lock);
	ok = xt_is_valid(&m->tree);
	for (; ok && (entry = xt_next(&m->tree, &index, UINT64_MAX)); index++) {
		struct frame *f = entry_frame(entry);

		dirty += xt_tag_get(&m->tree, index, XT_DIRTY);
		writeback += xt_tag_get(&m->tree, index, XT_WRITEBACK);
		if (f) {
			pages++;
			ok = page_is_valid(m, f, index);
		} else if (is_shadow(entry)) {
			shadows++;
			ok = m->kind == MAPPING_FILE;
		} else {
			swapped++;
			ok = m->kind == MAPPING_SHMEM;
		}
	}
	ok = ok && pages == m->nr_pages && shadows == m->nr_shadows &&
	     swapped == m->nr_swapped && dirty == m->nr_dirty &&
	     writeback == m->nr_writeback;
	ok = ok && (dirty == 0 || m->dirty_listed);
	weir__spin_unlock(m->engine, &m->lock);
	return ok;
}
