/* SPDX-License-Identifier: MIT */
/*
 * The out-of-memory choice.
 *
 * The problem
 *
 * A request cannot be refused for ever: the task behind it is in the middle of
 * a memory access. When sixteen rounds of reclaim have freed nothing, or when
 * even everything reclaimable would not be enough, then the promise made to the
 * programs (more memory than there is) cannot be kept, and somebody has to lose
 * his. Doing nothing is a choice too: it stops everybody.
 *
 * Whom
 *
 * The aim is to lose one program and no more, to get back much memory, and to
 * do it in a way that can be understood afterwards. So the measure is nothing
 * but size:
 *
 *     badness = resident pages + swap entries + page-table pages
 *               + oom_score_adj * (total / 1000)
 *
 * in pages, with total = all frames and all swap slots. An adjustment of 500
 * counts as half of all memory, 1000 makes an address space the first choice
 * whatever its size, -1000 takes it out. Swap counts like memory: who has been
 * pushed out has not become small. Run time, niceness and ownership were all
 * tried elsewhere and given up, since each made the choice harder to foresee
 * and none made it better.
 *
 * When
 *
 *   a task that is ending asks         it gets the victim's right to the
 *                                      reserve: the quickest way to its end
 *   an earlier victim is still there   wait for it: two kills for one shortage
 *                                      is the usual way to lose a machine
 *   a task that only makes room asks   its request fails: nobody is ended for
 *   (swapoff)                          what need not be
 *   the host knows better (-EAGAIN)    memory is on its way: nobody is ended,
 *                                      ask again in a tick
 *   nobody may be chosen               the request fails, loudly
 *
 * What happens when the guess is wrong
 *
 * - The victim does not end (it hangs in an uninterruptible wait, or its owner
 *   ignores us). After three seconds it is passed over for good and the choice
 *   is made again among the others. Three seconds are a guess: long against
 *   the end of a healthy program, short against a user's patience.
 * - The victim was not the one at fault: a small leak beside a large honest
 *   program. Size cannot tell them apart, oom_score_adj is for that; the log
 *   shows every candidate with its numbers, so that the next run can be set
 *   right.
 * - Memory would have come free a moment later (writes under way). The step
 *   before us looks at the free lists once more under the oom lock, and the
 *   rounds before that waited for the disk; what is left of this race costs a
 *   program. That is why the rounds are many.
 *
 * Implementation
 *
 * Everything here runs under engine.oom_lock, taken by the slow path of
 * allocation (alloc.c). Who finds it taken sleeps a tick and goes round again.
 */
#include <errno.h>

#include "engine/check.h"
#include "engine/event.h"
#include "engine/oom.h"
#include "engine/reclaim.h"
#include "engine/swap.h"
#include "util/linebuf.h"

#define OOM_SCORE_ADJ_MIN (-1000)
#define OOM_NEVER         INT64_MIN
#define REPORT_EVERY_NS   1000000000ull
#define VICTIM_LIMIT_NS   3000000000ull /* 2 s and ten looks of 100 ms */

int64_t weir__oom_badness(const struct aspace *as, uint64_t total)
{
	if (as->oom_score_adj <= OOM_SCORE_ADJ_MIN ||
	    as->flags & (ASPACE_OOM_SKIP | ASPACE_DYING))
		return OOM_NEVER;
	return as->nr_anon + as->nr_file + as->nr_swapents + as->nr_ptpages +
	       as->oom_score_adj * (int64_t)(total / 1000);
}

int64_t weir__oom_score(int64_t badness, uint64_t total)
{
	if (badness == OOM_NEVER || !total)
		return 0;
	return (1000 + badness * 1000 / (int64_t)total) * 2 / 3;
}

static uint64_t total_pages(struct engine *e)
{
	uint64_t nr = weir__swap_total(e);

	for (unsigned i = 0; i < e->nr_nodes; i++)
		for (unsigned z = 0; z < e->nodes[i].nr_zones; z++)
			nr += e->nodes[i].zones[z].managed;
	return nr;
}

static void log_line(void *ctx, const char *line)
{
	struct engine *e = ctx;

	e->host->ops->log(e->host, 1, line);
}

static void log_aspace(struct engine *e, const char *what,
		       const struct aspace *as, uint64_t total)
{
	char text[160];
	struct linebuf b;

	lb_init(&b, text, sizeof(text));
	lb_str(&b, what);
	lb_hex(lb_str(&b, " aspace "), (uintptr_t)as->host);
	lb_i64(lb_str(&b, ": rss "), as->nr_anon + as->nr_file);
	lb_i64(lb_str(&b, " swap "), as->nr_swapents);
	lb_i64(lb_str(&b, " tables "), as->nr_ptpages);
	lb_i64(lb_str(&b, " adj "), as->oom_score_adj);
	lb_i64(lb_str(&b, " score "),
	       weir__oom_score(weir__oom_badness(as, total), total));
	e->host->ops->log(e->host, 1, text);
}

/* An earlier victim that still holds memory. => aspaces lock held */
static bool victim_pending(struct engine *e)
{
	bool late =
	    e->host->ops->now_ns(e->host) - e->oom_since_ns > VICTIM_LIMIT_NS;
	struct aspace *as;

	list_for_each_entry (as, &e->aspaces, link) {
		if (!(as->flags & ASPACE_OOM_VICTIM) ||
		    as->flags & ASPACE_OOM_SKIP)
			continue;
		if (!late)
			return true;
		as->flags |= ASPACE_OOM_SKIP;
	}
	return false;
}

/* => aspaces lock held. Of equals the last one seen. */
static struct aspace *choose(struct engine *e, uint64_t total)
{
	struct aspace *as, *victim = NULL;
	int64_t worst = OOM_NEVER;

	list_for_each_entry (as, &e->aspaces, link) {
		int64_t badness = weir__oom_badness(as, total);

		if (badness == OOM_NEVER || badness < worst)
			continue;
		worst = badness;
		victim = as;
	}
	return victim;
}

static void report(struct engine *e, unsigned order, uint64_t total)
{
	uint64_t now = e->host->ops->now_ns(e->host);
	struct aspace *as;
	char text[96];
	struct linebuf b;

	/* A host that asks for patience is asked again soon. */
	if (e->oom_report_ns && now - e->oom_report_ns < REPORT_EVERY_NS)
		return;
	e->oom_report_ns = now ? now : 1;

	lb_init(&b, text, sizeof(text));
	lb_u64(lb_str(&b, "out of memory: no block of order "), order);
	e->host->ops->log(e->host, 0, text);
	weir__dump_state(e, log_line, e);
	weir__spin_lock(e, &e->aspaces_lock);
	list_for_each_entry (as, &e->aspaces, link)
		log_aspace(e, "candidate", as, total);
	weir__spin_unlock(e, &e->aspaces_lock);
}

/* Gives the victim, or whoever else frees memory, a tick. */
static void pause_a_tick(struct engine *e)
{
	e->host->ops->wait(e->host, &e->oom_lock, 1, TICK_NS);
}

/* False when nobody may be chosen. */
static bool mark_victim(struct engine *e, uint64_t total, void **owner)
{
	struct aspace *victim;

	weir__spin_lock(e, &e->aspaces_lock);
	victim = choose(e, total);
	if (victim) {
		victim->flags |= ASPACE_OOM_VICTIM;
		*owner = victim->host;
		log_aspace(e, "out of memory: chosen", victim, total);
	}
	weir__spin_unlock(e, &e->aspaces_lock);
	return victim;
}

static void unmark_victim(struct engine *e, const void *owner)
{
	struct aspace *as;

	weir__spin_lock(e, &e->aspaces_lock);
	list_for_each_entry (as, &e->aspaces, link) {
		if (as->host == owner)
			as->flags &= ~(uint32_t)ASPACE_OOM_VICTIM;
	}
	weir__spin_unlock(e, &e->aspaces_lock);
}

/* From here on the address space is named by its owner's cookie only: it may
 * be gone before the host has looked at it. */
static void kill(struct engine *e, void *owner)
{
	struct weir_host *h = e->host;
	int err = h->ops->oom_kill(h, owner);

	if (err == -EAGAIN) {
		unmark_victim(e, owner);
	} else {
		e->oom_since_ns = h->ops->now_ns(h);
		weir__stat_inc(e, STAT_oom_kill);
		weir__wake_oom_reaper(e);
		if (err)
			h->ops->log(
			    h, 0, "out of memory: the victim cannot be ended");
	}
	pause_a_tick(e);
}

bool weir__out_of_memory(struct engine *e, gfp_t gfp, unsigned order)
{
	struct wtask *self = weir__self(e);
	uint64_t total = total_pages(e);
	void *owner = NULL;
	bool pending;

	if (self->flags & PF_EXITING) {
		self->flags |= PF_OOM_VICTIM;
		return true;
	}
	/* It brings the shortage about, and can do without. */
	if (self->flags & PF_OOM_ORIGIN)
		return false;
	/*
	 * Reclaim was not allowed to try everything, so that nothing is proved
	 * yet. The request fails; a full one will come if memory is short.
	 */
	if (!(gfp & GFP_FS))
		return false;

	weir__spin_lock(e, &e->aspaces_lock);
	pending = victim_pending(e);
	weir__spin_unlock(e, &e->aspaces_lock);
	if (pending) {
		pause_a_tick(e);
		return true;
	}

	report(e, order, total);
	if (!mark_victim(e, total, &owner)) {
		e->host->ops->log(e->host, 0,
				  "out of memory: nobody left to end");
		return false;
	}
	weir__event(e, "mark_victim", (uintptr_t)owner, order, gfp);
	kill(e, owner);
	return true;
}
