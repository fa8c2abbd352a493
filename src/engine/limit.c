/* SPDX-License-Identifier: MIT */
/*
 * A limit below the size of memory, as a control group has one.
 *
 * Nobody keeps memory free in advance then: whoever takes a user page that
 * would go over the limit reclaims 32 pages for it, and the group stands at its
 * limit all the time. What counts is every frame in use but those of the swap
 * maps, which are the machine's: pages of programs and files, page tables, the
 * engine's small objects. Only user pages reclaim for their charge; the others
 * are few, and are made up for by the next user page.
 *
 * The scan is that of memory control groups: no watermarks are looked at, the
 * work of the lightest round may be cut short, and (version 1 of the groups) a
 * page met for the second time while it is being written is waited for, since
 * nothing else slows the group down.
 */
#include "engine/event.h"
#include "engine/oom.h"
#include "engine/reclaim.h"
#include "engine/swap.h"

#define CHARGE_RETRIES 16

uint64_t weir__limit_usage(struct engine *e)
{
	int64_t used = weir__stat_read(e, STAT_pgalloc) -
		       weir__stat_read(e, STAT_pgfree);

	used -= (int64_t)weir__swap_own_frames(e);
	return used > 0 ? (uint64_t)used : 0;
}

static bool fits(struct engine *e)
{
	return weir__limit_usage(e) < e->limit_pages;
}

/* The last resort. True: something was done, try again. */
static bool choose_victim(struct engine *e, gfp_t gfp)
{
	struct weir_host *h = e->host;
	uint32_t free = 0;
	bool progress = true;

	if (!__atomic_compare_exchange_n((uint32_t *)&e->oom_lock, &free, 1,
					 false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED)) {
		h->ops->wait(h, &e->oom_lock, 1, TICK_NS);
		return true;
	}
	if (!fits(e))
		progress = weir__out_of_memory(e, gfp, 0);
	__atomic_store_n((uint32_t *)&e->oom_lock, 0, __ATOMIC_RELEASE);
	h->ops->wake_word(h, &e->oom_lock, 1);
	return progress;
}

static bool charge(struct engine *e, gfp_t gfp)
{
	struct wtask *self = weir__self(e);
	int retries = CHARGE_RETRIES;

	while (!fits(e)) {
		/* Who frees memory, or ends, goes over it. */
		if (self->flags & (PF_MEMALLOC | PF_EXITING | PF_OOM_VICTIM))
			return true;
		if (!(gfp & GFP_DIRECT_RECLAIM))
			return false;
		weir__event(e, "mm_vmscan_memcg_reclaim_begin", 0, gfp, 0);
		if (weir__reclaim_limit(e, gfp))
			continue;
		if (fits(e))
			break;
		if (gfp & GFP_NORETRY)
			return false;
		if (retries--)
			continue;
		if (gfp & GFP_RETRY_MAYFAIL || !choose_victim(e, gfp))
			return false;
		retries = CHARGE_RETRIES;
	}
	return true;
}

void weir__limit_set(struct engine *e, uint64_t pages)
{
	e->limit_pages = pages;
	e->charge = pages ? charge : NULL;
}
