/* SPDX-License-Identifier: MIT */
/*
 * The reaper: memory of a victim that does not end.
 *
 * A program that was ended for want of memory gives its memory back when its
 * last thread leaves the kernel. That thread may be waiting for a lock whose
 * holder waits for memory. Nobody moves then, and all that memory belongs to a
 * program that will never look at it again. So it is taken: private pages and
 * swap entries of the victim go while its threads still exist. They can not
 * notice, since they run no instruction of the program any more; if one faults
 * all the same, it is refused (ASPACE_UNSTABLE).
 *
 *   reaper                              a thread of the victim
 *   ---------------------------         ---------------------------
 *                                       fault: looks at the entry
 *                                       sets BUSY, the host maps
 *   sets UNSTABLE under the lock
 *   window: finds BUSY, leaves it
 *   for the next try
 *                                       writes the entry; BUSY gone
 *                                       next fault: UNSTABLE, -EFAULT
 *   next try: takes it out of place
 *   (BUSY), then away
 *
 * It begins two seconds after the kill: most victims are gone by then, and
 * pages taken from under a program cannot be written into a dump of it. After
 * ten tries it is enough; whatever is left, the next choice passes this victim
 * over.
 */
#include <errno.h>

#include "engine/aspace.h"
#include "engine/check.h"
#include "engine/event.h"
#include "engine/frame.h"
#include "engine/oom.h"
#include "engine/pgtable.h"
#include "engine/region.h"

#define REAP_DELAY_NS 2000000000ull
#define REAP_PAUSE_NS 100000000ull
#define REAP_TRIES    10
#define REAP_PAGES    64 /* one window */

/* --- one try
 * ------------------------------------------------------------------
 */

struct window {
	uint64_t start, end;
	unsigned nr;
	bool busy; /* somebody else is at work in it */
	struct weir_vec vec[REAP_PAGES];
};

/* The next window with private memory at or after `from`. */
static bool next_window(struct aspace *as, uint64_t from, struct window *w)
{
	struct engine *e = as->engine;
	struct region *r;

	weir__spin_lock(e, &as->lock);
	while ((r = weir__region_first(as, from, WEIR_ADDR_MAX)) &&
	       r->flags & REGION_SHARED)
		from = r->end;
	if (r) {
		w->start = r->start > from ? r->start : from;
		w->end = w->start + REAP_PAGES * PAGE_SIZE;
		if (w->end > r->end)
			w->end = r->end;
	}
	weir__spin_unlock(e, &as->lock);
	return r;
}

static int take_entry(struct aspace *as, uint64_t addr, pte_t *pte, void *arg)
{
	struct window *w = arg;
	uint64_t v = pte_load(pte);

	w->busy |= (v & PTE_BUSY) != 0;
	if (!(v & PTE_PRESENT) || v & (PTE_HINT | PTE_BUSY))
		return 0;
	w->vec[w->nr++] = (struct weir_vec){
	    .addr = addr, .pfn = pte_pfn(v), .status = -EAGAIN};
	pte_store(pte, v | PTE_BUSY);
	return 0;
}

/*
 * Where the machine has page tables of its own, nothing may go that still
 * stands in them. True: nothing does.
 */
static bool out_of_place(struct engine *e, struct aspace *as, struct window *w)
{
	bool ok;

	w->nr = 0;
	w->busy = false;
	weir__spin_lock(e, &as->lock);
	weir__pte_walk(as, w->start, w->end, take_entry, w);
	weir__spin_unlock(e, &as->lock);
	ok = !w->busy;
	if (!w->nr)
		return ok;
	e->host->ops->unmap(e->host, as->host, w->vec, w->nr);
	weir__spin_lock(e, &as->lock);
	for (unsigned i = 0; i < w->nr; i++) {
		pte_t *pte = weir__pte(as, w->vec[i].addr);
		uint64_t v = pte_load(pte) & ~PTE_BUSY;

		if (w->vec[i].status)
			ok = false;
		else
			v |= PTE_HINT;
		pte_store(pte, v);
	}
	weir__pte_busy_end(as);
	weir__spin_unlock(e, &as->lock);
	return ok;
}

bool weir__oom_reap(struct engine *e, struct aspace *as)
{
	bool own_tables = !e->host->ops->has_accessed_bit, all = true;
	struct window w = {.end = 0};

	weir__spin_lock(e, &as->lock);
	as->flags |= ASPACE_UNSTABLE;
	weir__spin_unlock(e, &as->lock);
	while (next_window(as, w.end, &w)) {
		if (own_tables && !out_of_place(e, as, &w))
			all = false;
		else
			weir__aspace_zap(as, w.start, w.end);
	}
	return all;
}

/* --- the task
 * -----------------------------------------------------------------
 */

void weir__wake_oom_reaper(struct engine *e)
{
	weir__event(e, "wake_reaper", 0, 0, 0);
	e->oom_reap_word++;
	e->host->ops->wake_word(e->host, &e->oom_reap_word, 1);
}

/* A victim that is still there, held; NULL when there is none. */
static struct aspace *find_victim(struct engine *e)
{
	struct aspace *as, *found = NULL;

	weir__spin_lock(e, &e->aspaces_lock);
	list_for_each_entry (as, &e->aspaces, link) {
		if (!(as->flags & ASPACE_OOM_VICTIM) ||
		    as->flags & (ASPACE_OOM_SKIP | ASPACE_DYING))
			continue;
		found = as;
		as->users++;
		break;
	}
	weir__spin_unlock(e, &e->aspaces_lock);
	return found;
}

/* False: the engine ends. */
static bool pause_for(struct engine *e, uint64_t ns)
{
	struct weir_host *h = e->host;
	uint64_t until = h->ops->now_ns(h) + ns, now;

	while (!e->stopping && (now = h->ops->now_ns(h)) < until) {
		uint32_t word = e->oom_reap_word;

		if (!e->stopping)
			h->ops->wait(h, &e->oom_reap_word, word, until - now);
	}
	return !e->stopping;
}

static void reap(struct engine *e, struct aspace *as)
{
	int64_t before = as->nr_anon + as->nr_swapents;

	if (!pause_for(e, REAP_DELAY_NS))
		return;
	weir__event(e, "start_task_reaping", (uintptr_t)as->host, 0, 0);
	for (unsigned i = 0; i < REAP_TRIES; i++) {
		if (as->flags & ASPACE_DYING || weir__oom_reap(e, as))
			break;
		if (!pause_for(e, REAP_PAUSE_NS))
			return;
	}
	as->flags |= ASPACE_OOM_SKIP;
	weir__event(e, "finish_task_reaping", (uintptr_t)as->host,
		    (uint64_t)(before - as->nr_anon - as->nr_swapents), 0);
}

static void reaper(struct engine *e, void *arg)
{
	while (!e->stopping) {
		uint32_t word = e->oom_reap_word;
		struct aspace *as = find_victim(e);

		if (as) {
			reap(e, as);
			weir__aspace_put(as);
		} else if (!e->stopping) {
			e->host->ops->wait(e->host, &e->oom_reap_word, word, 0);
		}
	}
	e->oom_reaper_running = 0;
	e->host->ops->wake_word(e->host, &e->oom_reaper_running, UINT32_MAX);
}

int weir__oom_reaper_start(struct engine *e)
{
	int err;

	e->oom_reaper_running = 1;
	err = e->host->ops->spawn(e->host, "oom_reaper", 0, reaper, NULL);
	if (err)
		e->oom_reaper_running = 0;
	return err;
}

void weir__oom_reaper_stop(struct engine *e)
{
	struct weir_host *h = e->host;

	e->oom_reap_word++;
	h->ops->wake_word(h, &e->oom_reap_word, UINT32_MAX);
	while (e->oom_reaper_running)
		h->ops->wait(h, &e->oom_reaper_running, 1, 0);
}
