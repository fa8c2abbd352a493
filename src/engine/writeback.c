/* SPDX-License-Identifier: MIT */
/*
 * Dirty pages on their way to their files.
 *
 * A page's round: dirty; under its lock every entry that maps it is made
 * read-only (so the next write is noticed), the dirty mark goes and the
 * write-back mark comes; the write; the mark goes, and a page that reclaim has
 * asked for is the next one of its list. A write of the program between two of
 * these makes it dirty again, so its data goes out with this write or with the
 * next, never with none:
 *
 *   flusher (page lock)                 program
 *   ------------------------------      ------------------------------
 *                                       writes: entry DIRTY
 *   entry read-only, DIRTY collected
 *   page clean, write-back marked
 *   unlocks; I/O reads the page
 *                                       writes: traps; page dirty again
 *                                       the page goes out once more
 *
 * A write that fails loses nothing: the page is dirty again and is tried again,
 * and whoever syncs the file hears of it, once. (Linux drops the dirty mark and
 * with it, sooner or later, the data.)
 *
 * Who writes. The flusher, when more than bg pages are dirty; when a page has
 * been dirty for long; when reclaim finds nothing but dirty pages. Reclaim
 * itself never writes to a file (as in Linux 6.18): it runs in the task that
 * happens to need memory and takes pages in an order that is no order on disk.
 *
 * Who waits. A writer, so that it does not fill memory with pages that cannot
 * be taken. Below freerun = (thresh + bg) / 2 never. Above, it sleeps after
 * every few pages, for as long as those would take at its rate; and the rate is
 * steered so that the number of dirty pages settles in the middle between
 * freerun and the limit:
 *
 *   pos_ratio
 *     2 |*
 *       | *  .
 *     1 |......*......          rate = ratelimit * pos_ratio
 *       |          .  *
 *     0 +------+------+---*     1 + ((setpoint - dirty) /
 *        freerun  setpoint limit       (limit - setpoint))^3
 *
 * ratelimit follows what the disk does, from how much was written and dirtied
 * since the last look. Linux smooths it with more care, for many disks and
 * many tasks; here a plain average has to do.
 */
#include "engine/writeback.h"

#include <errno.h>

#include "engine/batch.h"
#include "engine/buffers.h"
#include "engine/check.h"
#include "engine/event.h"
#include "engine/file.h"
#include "engine/frame.h"
#include "engine/iopool.h"
#include "engine/pgtable.h"
#include "engine/rmap.h"
#include "engine/vmscan.h"

/* A page that somebody made dirty without a word gets its buffers now. Memory
 * is perhaps what this write is for: the flusher may use the reserve. */
#define GFP_BUFFERS (GFP_NOFS | GFP_NORETRY)

#define SEC_NS		1000000000ull
#define MAX_PAUSE_NS	200000000ull
#define MIN_PAUSE_NS	10000000ull
#define BANDWIDTH_NS	200000000ull /* between two looks at the disk */
#define FAILED_NAP_NS	100000000ull /* after a write has failed */
#define INIT_RATE	25600	     /* pages/s: 100 MiB/s */
#define CHUNK		1024	     /* pages of one file before the next */
#define RATIO_SHIFT	10
#define PAUSE_PAGES_MIN 16

struct writeback {
	struct spin lock;	/* RANK_WB */
	struct list_head dirty; /* (b) mapping.dirty_link */
	uint64_t round;		/* (b) of the flusher over that list */
	_Atomic uint64_t asked; /* pages that reclaim wants written */
	_Atomic uint32_t word;	/* wait word: raised to wake the flusher */
	_Atomic uint32_t pause; /* wait word of writers */
	_Atomic uint32_t nr_paused;
	_Atomic uint32_t running;
	_Atomic uint64_t nr_failed; /* pages whose write failed */

	/* (b) the rate */
	uint64_t stamp_ns;
	int64_t written, dirtied;	   /* counters at stamp */
	uint64_t bandwidth, rate;	   /* pages/s */
};

int weir__wb_init(struct engine *e)
{
	struct writeback *wb = e->host->ops->meta_alloc(e->host, sizeof(*wb));

	if (!wb)
		return -ENOMEM;
	weir__spin_init(&wb->lock, RANK_WB);
	list_init(&wb->dirty);
	wb->bandwidth = INIT_RATE;
	wb->rate = INIT_RATE;
	e->wb = wb;
	return 0;
}

static uint64_t now_ns(struct engine *e)
{
	return e->host->ops->now_ns(e->host);
}

static uint64_t stat_pages(struct engine *e, enum stat_item item)
{
	int64_t n = weir__stat_read(e, item);

	return n > 0 ? (uint64_t)n : 0;
}

/* --- the list of mappings --------------------------------------------------- */

static void wake(struct engine *e)
{
	if (!e->wb->running)
		return;
	e->wb->word++;
	e->host->ops->wake_word(e->host, &e->wb->word, 1);
}

void weir__wb_list_add(struct engine *e, struct mapping *m)
{
	struct writeback *wb = e->wb;
	bool first;

	if (m->dirty_listed)
		return;
	weir__spin_lock(e, &wb->lock);
	first = list_empty(&wb->dirty);
	m->dirty_listed = true;
	m->dirtied_ns = now_ns(e);
	list_add_tail(&m->dirty_link, &wb->dirty);
	weir__spin_unlock(e, &wb->lock);
	if (first) /* it slept without a limit */
		wake(e);
}

void weir__wb_list_del(struct engine *e, struct mapping *m)
{
	weir__spin_lock(e, &m->lock);
	weir__spin_lock(e, &e->wb->lock);
	if (m->dirty_listed)
		list_del(&m->dirty_link);
	m->dirty_listed = false;
	weir__spin_unlock(e, &e->wb->lock);
	weir__spin_unlock(e, &m->lock);
}

/* A round over the mapping is done. What is dirty now became so meanwhile. */
static void requeue(struct engine *e, struct mapping *m)
{
	struct writeback *wb = e->wb;

	weir__spin_lock(e, &m->lock);
	weir__spin_lock(e, &wb->lock);
	m->wb_round = wb->round;
	if (m->dirty_listed) {
		list_del(&m->dirty_link);
		m->dirty_listed = m->nr_dirty != 0;
		m->dirtied_ns = now_ns(e);
		if (m->dirty_listed)
			list_add_tail(&m->dirty_link, &wb->dirty);
	}
	weir__spin_unlock(e, &wb->lock);
	weir__spin_unlock(e, &m->lock);
}

/* --- writing ---------------------------------------------------------------- */

/* Dirty pages and those on their way. */
static uint64_t nr_unclean(struct engine *e)
{
	return stat_pages(e, STAT_nr_dirty) + stat_pages(e, STAT_nr_writeback);
}

static void end_write(struct engine *e, struct weir_io *io)
{
	struct mapping *m = io->owner;
	unsigned failed = 0, written[MAX_NODES] = {0};

	for (unsigned i = 0; i < io->nr; i++) {
		struct frame *f = weir__frame(e, io->pfn[i]);

		weir__buffers_end_write(f, io->status[i]);
		if (io->status[i]) {
			failed++;
			m->error = (uint32_t)-io->status[i];
			weir__page_dirty(e, f);
		}
		written[f->node]++;
		weir__page_end_writeback(e, f);
	}
	weir__stat_add(e, STAT_nr_written, io->nr - failed);
	weir__stat_add(e, STAT_pgfileout, io->nr - failed);
	weir__stat_add(e, STAT_file_write_error, failed);
	e->wb->nr_failed += failed;
	for (unsigned n = 0; n < e->nr_nodes; n++)
		if (written[n])
			weir__throttle_written(e, &e->nodes[n], written[n]);
	weir__io_put(e, io);
	/* Everything is clean: nothing to wait for. Where memory is so small
	 * that a page is too many, the nap would be all there is. */
	if (e->wb->nr_paused && !nr_unclean(e)) {
		e->wb->pause++;
		e->host->ops->wake_word(e->host, &e->wb->pause, UINT32_MAX);
	}
}

static void start(struct engine *e, struct weir_io **io)
{
	if (*io)
		e->host->ops->io_submit(e->host, *io);
	*io = NULL;
}

static int clean_entry(struct region *r, uint64_t addr, pte_t *pte, void *arg)
{
	pte_clear(pte, PTE_WRITE | PTE_DIRTY);
	return 0;
}

/* => page lock held. The next write of a program is noticed. Files are mapped
 * only where the machine obeys the entries: nobody else has to be told. */
static void make_clean(struct engine *e, struct frame *f)
{
	if (weir__frame_mapped(f))
		weir__rmap_walk(e, f, false, clean_entry, NULL);
}

/* The request that goes on with page `index`. */
static struct weir_io *request_for(struct mapping *m, struct weir_io **io,
				   uint64_t index)
{
	struct engine *e = m->engine;
	struct weir_io *w = *io;

	if (w && (w->nr == WEIR_IO_PAGES_MAX || w->slot + w->nr != index)) {
		start(e, io);
		w = NULL;
	}
	if (!w) {
		w = weir__io_get(e);
		w->op = WEIR_IO_WRITE;
		w->target = WEIR_IO_FILE;
		w->area = m->id;
		w->slot = index;
		w->done = end_write;
		w->owner = m;
		*io = w;
	}
	return w;
}

/* The next dirty page from *index on, with a reference. */
static struct frame *next_dirty(struct mapping *m, uint64_t *index,
				uint64_t last)
{
	struct frame *f = NULL;
	uint64_t entry;

	weir__spin_lock(m->engine, &m->lock);
	entry = xt_next_tag(&m->tree, index, last, XT_DIRTY);
	if (entry) {
		f = (struct frame *)(uintptr_t)entry;
		weir__frame_get(f);
	}
	weir__spin_unlock(m->engine, &m->lock);
	return f;
}

/*
 * Locked, this file's, dirty, and not being written: or false. Whoever holds
 * the lock may wait for the write-back of a page of ours, so nothing is kept
 * back while we wait.
 */
static bool lock_for_write(struct mapping *m, struct frame *f, bool sync,
			   struct weir_io **io)
{
	struct engine *e = m->engine;

	for (;;) {
		if (!weir__frame_trylock(f)) {
			start(e, io);
			weir__frame_lock(e, f);
		}
		if (weir__frame_mapping(f) != m || !frame_test(f, FRAME_DIRTY))
			break;
		if (!frame_test(f, FRAME_WRITEBACK))
			return true;
		weir__frame_unlock(e, f);
		if (!sync)
			return false;
		start(e, io);
		weir__frame_wait(e, f, FRAME_WRITEBACK);
	}
	weir__frame_unlock(e, f);
	return false;
}

uint64_t weir__writepages(struct mapping *m, struct wb_control *wbc)
{
	struct engine *e = m->engine;
	struct weir_io *io = NULL;
	uint64_t index = wbc->first, done = 0;
	struct frame *f;

	weir__assert_may_sleep(e);
	while (done < wbc->nr && (f = next_dirty(m, &index, wbc->last))) {
		if (lock_for_write(m, f, wbc->sync, &io)) {
			struct weir_io *w = request_for(m, &io, index);

			make_clean(e, f);
			if (m->flags & MAPPING_BUFFERS)
				weir__buffers_create(e, f, GFP_BUFFERS);
			weir__buffers_start_write(f);
			weir__page_start_writeback(e, f);
			weir__page_clean(e, f);
			w->pfn[w->nr++] = weir__pfn(e, f);
			weir__frame_unlock(e, f);
			done++;
		}
		weir__page_put(e, f);
		if (index++ == wbc->last)
			break;
	}
	start(e, &io);
	wbc->next = done < wbc->nr ? UINT64_MAX : index;
	return done;
}

void weir__wait_writeback(struct mapping *m, uint64_t first, uint64_t last)
{
	struct engine *e = m->engine;

	for (;;) {
		struct frame *f = NULL;
		uint64_t entry;

		weir__spin_lock(e, &m->lock);
		entry = xt_next_tag(&m->tree, &first, last, XT_WRITEBACK);
		if (entry) {
			f = (struct frame *)(uintptr_t)entry;
			weir__frame_get(f);
		}
		weir__spin_unlock(e, &m->lock);
		if (!f)
			return;
		weir__frame_wait(e, f, FRAME_WRITEBACK);
		weir__page_put(e, f);
		if (first++ == last)
			return;
	}
}

int weir__file_sync(struct mapping *m, uint64_t first, uint64_t last)
{
	struct wb_control wbc = {
	    .first = first, .last = last, .nr = UINT64_MAX, .sync = true};

	if (m->kind == MAPPING_SHMEM)
		return 0; /* it has no other home */
	weir__writepages(m, &wbc);
	weir__wait_writeback(m, first, last);
	if (first == 0 && last == UINT64_MAX)
		requeue(m->engine, m);
	return -(int)__atomic_exchange_n((uint32_t *)&m->error, 0,
					 __ATOMIC_ACQ_REL);
}

int weir__writepages_all(struct mapping *m)
{
	return weir__file_sync(m, 0, UINT64_MAX);
}

int weir__sync_all(struct engine *e)
{
	struct mapping *m = NULL;
	int ret = 0;

	while ((m = weir__mapping_next(e, m))) {
		int err = weir__writepages_all(m);

		ret = ret ? ret : err;
	}
	return ret;
}

/* --- the numbers -------------------------------------------------------------
 */

uint64_t weir__dirtyable(struct engine *e)
{
	int64_t nr_free = 0, file = 0;

	for (unsigned i = 0; i < e->nr_nodes; i++) {
		struct node *n = &e->nodes[i];

		for (unsigned z = 0; z < n->nr_zones; z++)
			nr_free += n->zones[z].free_pages;
		file += n->lruvec.size[LRU_INACTIVE_FILE] +
			n->lruvec.size[LRU_ACTIVE_FILE];
	}
	nr_free -= nr_free < (int64_t)e->totalreserve
		       ? nr_free
		       : (int64_t)e->totalreserve;
	return (uint64_t)(nr_free + (file > 0 ? file : 0)) + 1;
}

static uint64_t share(uint64_t bytes, uint64_t percent, uint64_t pages)
{
	if (bytes)
		return (bytes + PAGE_SIZE - 1) / PAGE_SIZE;
	return percent * PAGE_SIZE / 100 * pages / PAGE_SIZE;
}

void weir__dirty_limits_of(const struct tunables *t, uint64_t dirtyable,
			   uint64_t *thresh, uint64_t *bg)
{
	*thresh = share(t->dirty_bytes, t->dirty_ratio, dirtyable);
	*bg = share(t->dirty_background_bytes, t->dirty_background_ratio,
		    dirtyable);
	if (*bg >= *thresh)
		*bg = *thresh / 2;
}

void weir__dirty_limits(struct engine *e, uint64_t *thresh, uint64_t *bg)
{
	weir__dirty_limits_of(&e->tun, weir__dirtyable(e), thresh, bg);
}

uint64_t weir__pos_ratio(uint64_t setpoint, uint64_t dirty, uint64_t limit)
{
	int64_t x, r;

	if (dirty >= limit)
		return 0;
	x = ((int64_t)setpoint - (int64_t)dirty) * (1 << RATIO_SHIFT) /
	    (((int64_t)limit - (int64_t)setpoint) | 1);
	r = x;
	r = r * x >> RATIO_SHIFT;
	r = r * x >> RATIO_SHIFT;
	r += 1 << RATIO_SHIFT;
	if (r < 0)
		return 0;
	return r > 2 << RATIO_SHIFT ? 2 << RATIO_SHIFT : (uint64_t)r;
}

uint64_t weir__dirty_poll_interval(uint64_t dirty, uint64_t thresh)
{
	if (dirty >= thresh)
		return 1;
	return (uint64_t)1 << ((63 - __builtin_clzll(thresh - dirty)) >> 1);
}

/* --- slowing writers down ------------------------------------------------------
 */

/* Follows the disk; at most once in BANDWIDTH_NS. The rate in force. */
static uint64_t update_rate(struct engine *e, uint64_t pos_ratio)
{
	struct writeback *wb = e->wb;
	int64_t written = weir__stat_read(e, STAT_nr_written);
	int64_t dirtied = weir__stat_read(e, STAT_nr_dirtied);
	uint64_t now = now_ns(e), ns, bw, dirty_rate, balanced, rate;

	weir__spin_lock(e, &wb->lock);
	ns = now - wb->stamp_ns;
	if (ns >= BANDWIDTH_NS) {
		bw = (uint64_t)(written - wb->written) * SEC_NS / ns;
		dirty_rate = (uint64_t)(dirtied - wb->dirtied) * SEC_NS / ns;
		wb->stamp_ns = now;
		wb->written = written;
		wb->dirtied = dirtied;
		/* The first look after a pause says nothing. */
		if (ns < 10 * BANDWIDTH_NS) {
			wb->bandwidth = (7 * wb->bandwidth + bw) / 8 + 1;
			balanced = (wb->rate * pos_ratio >> RATIO_SHIFT) *
				   wb->bandwidth / (dirty_rate | 1);
			if (balanced > wb->bandwidth)
				balanced = wb->bandwidth;
			wb->rate = (3 * wb->rate + balanced) / 4 + 1;
		}
	}
	rate = wb->rate;
	weir__spin_unlock(e, &wb->lock);
	return rate;
}

/* Nobody else writes: a chunk of the writer's own file. */
static void write_for_oneself(struct mapping *m)
{
	struct wb_control wbc = {.last = UINT64_MAX, .nr = CHUNK};

	weir__writepages(m, &wbc);
	weir__wait_writeback(m, 0, UINT64_MAX);
	requeue(m->engine, m);
}

static void nap(struct engine *e, uint64_t ns)
{
	struct writeback *wb = e->wb;
	uint32_t seen = wb->pause;

	wb->nr_paused++;
	/* counted before the look, woken after the last write: not missed */
	if (nr_unclean(e))
		e->host->ops->wait(e->host, &wb->pause, seen, ns);
	wb->nr_paused--;
}

/* One look. True: the writer may go on. */
static bool balance(struct mapping *m)
{
	struct engine *e = m->engine;
	struct wtask *t = weir__self(e);
	uint64_t thresh, bg, dirty, freerun, ratio, rate, pause;

	weir__dirty_limits(e, &thresh, &bg);
	dirty = nr_unclean(e);
	freerun = (thresh + bg) / 2;
	weir__event(e, "global_dirty_state", dirty, bg, thresh);
	if (stat_pages(e, STAT_nr_dirty) > bg)
		wake(e);
	if (dirty <= freerun) {
		t->nr_dirtied_pause =
		    (uint32_t)weir__dirty_poll_interval(dirty, thresh);
		return true;
	}
	if (!e->wb->running) {
		write_for_oneself(m);
		return true;
	}
	ratio = weir__pos_ratio((freerun + thresh) / 2, dirty, thresh);
	rate = update_rate(e, ratio) * ratio >> RATIO_SHIFT;
	pause = rate ? t->nr_dirtied * SEC_NS / rate : MAX_PAUSE_NS;
	t->nr_dirtied_pause = (uint32_t)(rate * MIN_PAUSE_NS / SEC_NS) + 1;
	if (rate && pause < MIN_PAUSE_NS / 2)
		return true; /* too short to be worth it */
	if (pause > MAX_PAUSE_NS)
		pause = MAX_PAUSE_NS;
	weir__event(e, "balance_dirty_pages", dirty, rate, pause);
	nap(e, pause);
	return rate;
}

int weir__balance_dirty(struct mapping *m)
{
	struct engine *e = m->engine;
	struct wtask *t = weir__self(e);
	uint64_t thresh, bg, every;

	if (m->kind == MAPPING_SHMEM || !t->nr_dirtied)
		return 0;
	if (t->nr_dirtied < t->nr_dirtied_pause) {
		/* On a small machine that may be too many for the limits. */
		weir__dirty_limits(e, &thresh, &bg);
		every = thresh / (e->nr_cpus * 32);
		every = every > PAUSE_PAGES_MIN ? every : PAUSE_PAGES_MIN;
		if (t->nr_dirtied < every)
			return 0;
	}
	while (!balance(m)) {
		if (m->error)
			return -EIO;
		if (e->stopping || t->flags & PF_EXITING)
			break;
	}
	t->nr_dirtied = 0;
	return 0;
}

/* --- the flusher ---------------------------------------------------------------
 */

/*
 * A mapping that has been dirty since `before` or longer and was not done in
 * this round, with a reference; it goes to the end of the list.
 */
static struct mapping *take_next(struct engine *e, uint64_t before)
{
	struct writeback *wb = e->wb;
	struct mapping *m, *found = NULL;

	weir__spin_lock(e, &wb->lock);
	list_for_each_entry(m, &wb->dirty, dirty_link) {
		int32_t users = m->users;

		if (m->dirtied_ns > before || m->wb_round == wb->round)
			continue;
		if (users <= 0 || !__atomic_compare_exchange_n(
				      (int32_t *)&m->users, &users, users + 1,
				      false, __ATOMIC_ACQ_REL,
				      __ATOMIC_RELAXED))
			continue;
		found = m;
		list_move_tail(&m->dirty_link, &wb->dirty);
		break;
	}
	weir__spin_unlock(e, &wb->lock);
	return found;
}

/* A chunk of one file, from where the last one ended. Pages started; the
 * mapping is done with for this round when its end was reached. */
static uint64_t write_chunk(struct mapping *m, uint64_t nr)
{
	struct wb_control wbc = {
	    .first = m->writeback_next, .last = UINT64_MAX, .nr = nr};
	uint64_t got = weir__writepages(m, &wbc);

	if (wbc.next == UINT64_MAX && wbc.first) {
		/* round about: from the start up to there */
		wbc.last = wbc.first - 1;
		wbc.first = 0;
		wbc.nr = nr - got;
		got += weir__writepages(m, &wbc);
	}
	m->writeback_next = wbc.next == UINT64_MAX ? 0 : wbc.next;
	if (wbc.next == UINT64_MAX)
		requeue(m->engine, m);
	return got;
}

/* Up to nr pages, a chunk of each file in turn. Pages started. */
static uint64_t write_some(struct engine *e, uint64_t nr, uint64_t before)
{
	uint64_t done = 0;

	weir__spin_lock(e, &e->wb->lock);
	e->wb->round++;
	weir__spin_unlock(e, &e->wb->lock);
	while (done < nr && !e->stopping) {
		struct mapping *m = take_next(e, before);

		if (!m)
			break;
		done += write_chunk(m, nr - done < CHUNK ? nr - done : CHUNK);
		weir__mapping_put(m);
	}
	return done;
}

static bool over_background(struct engine *e)
{
	uint64_t thresh, bg;

	weir__dirty_limits(e, &thresh, &bg);
	return stat_pages(e, STAT_nr_dirty) > bg;
}

/* One round of everything there is to do. Pages started. */
static uint64_t flush(struct engine *e, uint64_t *next_old)
{
	struct writeback *wb = e->wb;
	uint64_t nr = __atomic_exchange_n((uint64_t *)&wb->asked, 0,
					  __ATOMIC_ACQ_REL);
	uint64_t done = 0, now = now_ns(e);
	uint64_t every = e->tun.dirty_writeback_centisecs * (SEC_NS / 100);
	uint64_t expire = e->tun.dirty_expire_centisecs * (SEC_NS / 100);

	if (nr)
		done += write_some(e, nr, UINT64_MAX);
	if (over_background(e))
		done += write_some(e, CHUNK, UINT64_MAX);
	if (every && now >= *next_old) {
		*next_old = now + every;
		if (now >= expire)
			done += write_some(e, UINT64_MAX, now - expire);
	}
	return done;
}

/* How long the flusher sleeps when it is not woken; 0 = for good. */
static uint64_t nap_length(struct engine *e, uint64_t next_old, bool failed)
{
	uint64_t now = now_ns(e), nap = 0;

	if (!stat_pages(e, STAT_nr_dirty))
		return 0;
	if (e->tun.dirty_writeback_centisecs)
		nap = next_old > now ? next_old - now : 1;
	if ((failed || over_background(e)) && (!nap || nap > FAILED_NAP_NS))
		nap = FAILED_NAP_NS;
	return nap;
}

static void flusher(struct engine *e, void *arg)
{
	struct writeback *wb = e->wb;
	uint64_t next_old = 0;

	while (!e->stopping) {
		uint32_t seen = wb->word;
		uint64_t failed = wb->nr_failed;
		uint64_t done = flush(e, &next_old);

		if (done && failed == wb->nr_failed)
			continue;
		e->host->ops->wait(
		    e->host, &wb->word, seen,
		    nap_length(e, next_old, failed != wb->nr_failed));
	}
	wb->running = 0;
	e->host->ops->wake_word(e->host, &wb->running, UINT32_MAX);
}

void weir__wakeup_flusher(struct engine *e, uint64_t nr)
{
	uint64_t dirty;

	if (!e->wb || !e->wb->running)
		return;
	dirty = stat_pages(e, STAT_nr_dirty);
	if (!dirty)
		return;
	e->wb->asked += nr < dirty ? nr : dirty;
	wake(e);
}

int weir__flusher_start(struct engine *e)
{
	int err;

	e->wb->running = 1;
	err = e->host->ops->spawn(e->host, "flusher", PF_MEMALLOC, flusher,
				  NULL);
	if (err)
		e->wb->running = 0;
	return err;
}

void weir__flusher_stop(struct engine *e)
{
	struct writeback *wb = e->wb;

	wake(e);
	while (wb->running)
		e->host->ops->wait(e->host, &wb->running, 1, 0);
}
