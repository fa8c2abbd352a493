/* SPDX-License-Identifier: MIT */
/*
 * swapoff: emptying an area that is in use.
 *
 * A slot does not know who names it, so the way back is long: every object of
 * shared memory and every address space is walked for entries of the area, and
 * each is served as if the program had touched it. What is left after that are slots that only the swap cache
 * holds; those pages are in memory already and give them up.
 *
 * One round is not enough while tasks run:
 *
 *   swapoff                             elsewhere
 *   ---------------------------         ---------------------------
 *   the area gives no slots any more
 *                                       reclaim had taken a slot before:
 *                                       binds a page to it, unmaps it
 *   walks X: finds no entry yet
 *                                       X's entry names the slot
 *                                       fork: a child gets X's entries
 *   slots are in use: another round
 *   walks X and the child
 *
 * Slots taken before the first step are a finite number, and fork only makes
 * more names of the same ones; so rounds end. A round that changes nothing
 * (somebody keeps a page locked for long) waits a tick before the next, and
 * after many such the answer is -EBUSY.
 *
 * Memory is asked for with the sign that this task would rather fail than have
 * a program ended (oom.c).
 */
#include <errno.h>

#include "engine/aspace.h"
#include "engine/check.h"
#include "engine/fault.h"
#include "engine/shmem.h"
#include "engine/swapoff.h"
#include "engine/vmscan.h"

#define IDLE_ROUNDS_MAX 64

struct search {
	unsigned type;
	uint64_t addr; /* of an entry of the area */
};

static int find_entry(struct aspace *as, uint64_t addr, pte_t *pte, void *arg)
{
	struct search *s = arg;
	uint64_t v = pte_load(pte);

	if (!(v & PTE_SWAP) || swp_type(pte_swap(v)) != s->type)
		return 0;
	s->addr = addr;
	return 1;
}

/* Every entry of one address space. An entry that is BUSY, or whose address
 * space is changing, is left for the next round. */
static int empty_aspace(struct engine *e, struct aspace *as, unsigned type)
{
	struct search s = {.type = type};
	uint64_t start = 0;

	for (;;) {
		int err, found;

		weir__spin_lock(e, &as->lock);
		found =
		    weir__pte_walk(as, start, WEIR_ADDR_MAX, find_entry, &s);
		weir__spin_unlock(e, &as->lock);
		if (!found)
			return 0;
		if (weir__self(e)->flags & PF_EXITING)
			return -EINTR;
		err = weir__fault(e, as, s.addr, 0);
		/* -EIO: its contents are lost, and its slot is free */
		if (err == -ENOMEM)
			return err;
		start = s.addr + PAGE_SIZE;
	}
}

/* The address space after `as` (NULL: the first), held; `as` is let go. */
static struct aspace *next_aspace(struct engine *e, struct aspace *as)
{
	struct list_head *pos = &e->aspaces;
	struct aspace *next;

	weir__spin_lock(e, &e->aspaces_lock);
	/* One that was destroyed meanwhile is in no list: from the start, then;
	 * those that are empty cost little. */
	if (as && !list_empty(&as->link))
		pos = &as->link;
	pos = pos->next;
	next = pos == &e->aspaces ? NULL : list_entry(pos, struct aspace, link);
	if (next)
		next->users++;
	weir__spin_unlock(e, &e->aspaces_lock);
	if (as)
		weir__aspace_put(as);
	return next;
}

static int one_round(struct engine *e, unsigned type)
{
	struct aspace *as = NULL;
	int err = weir__shmem_unuse(e, type);

	while (!err && (as = next_aspace(e, as)))
		err = empty_aspace(e, as, type);
	if (as)
		weir__aspace_put(as);
	return err;
}

static int empty_area(struct engine *e, unsigned type)
{
	uint64_t used = weir__swap_used(e, type);
	unsigned idle = 0;

	for (;;) {
		uint64_t before = used;
		int err = weir__swapoff_empty(e, type);

		if (err != -EBUSY)
			return err;
		if (idle == IDLE_ROUNDS_MAX)
			return -EBUSY;
		err = one_round(e, type);
		if (err)
			return err;
		used = weir__swap_used(e, type);
		if (used < before) {
			idle = 0;
			continue;
		}
		idle++;
		e->host->ops->io_poll(e->host);
		weir__throttle_tick(e, &e->nodes[0]);
	}
}

/* Everybody's pages of the area, if nothing else were to move. */
static bool could_fit(struct engine *e, unsigned type)
{
	uint64_t room = weir__swap_nr_free(e);

	for (unsigned i = 0; i < e->nr_nodes; i++)
		for (unsigned z = 0; z < e->nodes[i].nr_zones; z++) {
			struct zone *zn = &e->nodes[i].zones[z];
			const struct lruvec *v = &e->nodes[i].lruvec;

			room += (uint64_t)zn->free_pages;
			room += (uint64_t)(v->zone_size[z][LRU_INACTIVE_FILE] +
					   v->zone_size[z][LRU_ACTIVE_FILE]);
		}
	/* Slots whose page is in memory too take no new room. */
	room += (uint64_t)weir__stat_read(e, STAT_nr_swapcached);
	return weir__swap_used(e, type) <= room;
}

int weir__swapoff(struct engine *e, unsigned type)
{
	struct wtask *self = weir__self(e);
	uint32_t had = self->flags & PF_OOM_ORIGIN;
	int err;

	weir__assert_may_sleep(e);
	if (type >= SWAP_TYPES_MAX || !weir__swap_is_on(e, type))
		return -EINVAL;
	/* From here on its free slots count for nobody. */
	weir__swap_set_readonly(e, type);
	if (could_fit(e, type)) {
		self->flags |= PF_OOM_ORIGIN;
		err = empty_area(e, type);
		if (!had)
			self->flags &= ~(uint32_t)PF_OOM_ORIGIN;
	} else {
		err = -ENOMEM;
	}
	if (err)
		weir__swap_set_writable(e, type);
	return err;
}
