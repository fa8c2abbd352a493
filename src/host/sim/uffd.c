/* SPDX-License-Identifier: MIT */
/*
 * Messages, events, and the tasks that read them.
 *
 * One reader task does nothing but read events: it never calls the engine, so
 * it can always go on, whoever is stuck in reclaim. Handlers read messages,
 * bring the books up to date, and call the engine.
 *
 * An event has two holders, the program that waits for its reader and the list
 * it is on, and goes with the last.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/aspace.h"
#include "engine/fault.h"
#include "host/sim/sim_internal.h"
#include "host/sim/uffd.h"

/* The books could not follow for lack of memory: wait, then try again. */
#define APPLY_RETRY_NS 1000000
#define APPLY_TRIES    500
#define FAULT_TRIES    20000

bool sim__event_covers(const struct uffd_event *ev, uint64_t addr)
{
	if (ev->what == UFFD_OWN)
		return false;
	if (addr >= ev->start && addr < ev->start + ev->len)
		return true;
	return ev->what == UFFD_REMAP && addr >= ev->to &&
	       addr < ev->to + ev->len;
}

void sim__event_free(struct uffd_event *ev)
{
	free(ev->known);
	free(ev);
}

static void event_put(struct uffd_event *ev)
{
	if (--ev->holders == 0)
		sim__event_free(ev);
}

void sim__uffd_ring(struct sim *s)
{
	s->mmu.msg_word++;
	sim__wake(s, &s->mmu.msg_word, UINT32_MAX);
}

/* --- posting ------------------------------------------------------------- */

static int post(struct sim_proc *p, struct uffd_event *ev, bool killable)
{
	struct sim *s = p->sim;
	bool read;

	ev->holders = 2;
	p->changing++;
	list_add_tail(&ev->link, &p->posted);
	sim__uffd_ring(s);
	while (!ev->read && !(killable && p->killed))
		sim__wait(s, &ev->read, 0, 0);
	p->changing--;
	read = ev->read;
	if (!read) {
		list_del(&ev->link); /* nobody else knows of it */
		sim__event_free(ev);
		return -EINTR;
	}
	event_put(ev);
	return 0;
}

int sim__uffd_tell(struct sim_proc *p, enum uffd_what what, uint64_t start,
		   uint64_t to, uint64_t len, uint8_t *known)
{
	struct uffd_event *ev = calloc(1, sizeof(*ev));

	if (!ev)
		abort();
	ev->what = what;
	ev->start = start;
	ev->to = to;
	ev->len = len;
	ev->known = known;
	return post(p, ev, true);
}

void sim__uffd_tell_own(struct sim_proc *p)
{
	struct uffd_event *ev = calloc(1, sizeof(*ev));

	if (!ev)
		abort();
	ev->what = UFFD_OWN;
	post(p, ev, false);
}

/* --- reading and applying ------------------------------------------------ */

static bool read_events(struct sim_proc *p)
{
	struct uffd_event *ev;
	bool any = false;

	while (!list_empty(&p->posted)) {
		ev = list_first_entry(&p->posted, struct uffd_event, link);
		list_del(&ev->link);
		ev->read = 1;
		sim__wake(p->sim, &ev->read, UINT32_MAX);
		if (ev->what == UFFD_OWN) {
			event_put(ev);
			continue;
		}
		list_add_tail(&ev->link, &p->pending);
		any = true;
	}
	return any;
}

static int apply_move(struct sim_proc *p, struct uffd_event *ev)
{
	uint64_t nr = ev->len / PAGE_SIZE, i = 0, j;
	int rc;

	/* what had grown in place was never in the books: it enters them at
	 * its new address, by a fault */
	for (; i < nr; i = j) {
		for (j = i; j < nr && ev->known[j] == ev->known[i]; j++)
			;
		if (!ev->known[i])
			continue;
		rc = weir__aspace_move(p->as, ev->start + i * PAGE_SIZE,
				       ev->to + i * PAGE_SIZE,
				       (j - i) * PAGE_SIZE);
		if (rc)
			return rc;
		for (uint64_t k = i; k < j; k++)
			ev->known[k] = 0; /* a second try goes on here */
	}
	return 0;
}

static void apply(struct sim_proc *p, struct uffd_event *ev)
{
	struct sim *s = p->sim;
	int rc = 0;

	for (unsigned try = 0; try < APPLY_TRIES && !p->dead; try++) {
		switch (ev->what) {
		case UFFD_UNMAP:
			rc = weir__aspace_unmap(p->as, ev->start,
						ev->start + ev->len);
			break;
		case UFFD_REMOVE:
			rc = weir__aspace_zap(p->as, ev->start,
					      ev->start + ev->len);
			break;
		case UFFD_REMAP:
			rc = apply_move(p, ev);
			break;
		case UFFD_OWN:
			break;
		}
		if (rc != -ENOMEM)
			break;
		sim__sleep(s, APPLY_RETRY_NS);
	}
	if (rc == -ENOMEM)
		sim_kill(p);
	else if (rc)
		sim__fail(s, "event %d at %llx+%llx: the books answer %d",
			  ev->what, (unsigned long long)ev->start,
			  (unsigned long long)ev->len, rc);
}

/* => books locked. What has been told up to now is in the books. */
static void catch_up(struct sim_proc *p)
{
	read_events(p);
	while (!list_empty(&p->pending)) {
		struct uffd_event *ev =
		    list_first_entry(&p->pending, struct uffd_event, link);

		apply(p, ev);
		list_del(&ev->link);
		event_put(ev);
		read_events(p);
	}
}

static void catch_up_locked(struct sim_proc *p)
{
	sim__books_lock(p);
	catch_up(p);
	sim__books_unlock(p);
}

/* --- what the books do not know ------------------------------------------ */

static bool unknown(const struct hw_page *h)
{
	return (h->flags & (HW_MAPPED | HW_REGISTERED | HW_BOOKS)) ==
	       (HW_MAPPED | HW_REGISTERED);
}

/* => books locked and caught up */
static int enter_run(struct sim_proc *p, uint64_t i, uint64_t j)
{
	struct sim *s = p->sim;
	uint64_t start = SIM_BASE + i * PAGE_SIZE;
	uint64_t end = SIM_BASE + j * PAGE_SIZE;
	uint32_t flags = p->hw[i].region_flags;
	bool follows = i && (p->hw[i - 1].flags & HW_BOOKS) &&
		       p->hw[i - 1].region_flags == flags;
	int rc;

	if (follows && (prng_next(&s->mmu.prng) & 1))
		rc = weir__region_grow(p->as, start, end);
	else
		rc = weir__region_add(p->as, start, end, flags);
	if (rc == -ENOMEM || p->dead)
		return rc;
	if (rc)
		sim__fail(s, "region %llx-%llx: the books answer %d",
			  (unsigned long long)start, (unsigned long long)end,
			  rc);
	for (; i < j; i++) {
		/* unmapped again meanwhile: the event is still to come */
		if (unknown(&p->hw[i]))
			p->hw[i].flags |= HW_BOOKS;
	}
	return 0;
}

/* => books locked */
static int enter_locked(struct sim_proc *p, uint64_t start, uint64_t end)
{
	uint64_t i = (start - SIM_BASE) / PAGE_SIZE;
	uint64_t last = (end - SIM_BASE) / PAGE_SIZE, j;
	int rc;

	catch_up(p);
	for (; i < last; i = j) {
		for (j = i; j < last && unknown(&p->hw[j]) &&
			    p->hw[j].region_flags == p->hw[i].region_flags;
		     j++)
			;
		if (j == i) {
			j++;
			continue;
		}
		rc = enter_run(p, i, j);
		if (rc)
			return rc;
	}
	return 0;
}

int sim__uffd_enter_range(struct sim_proc *p, uint64_t start, uint64_t end)
{
	int rc;

	sim__books_lock(p);
	rc = enter_locked(p, start, end);
	sim__books_unlock(p);
	/* no memory for the region: its first fault tries again */
	return rc == -ENOMEM ? 0 : rc;
}

/* The run of unknown pages around addr. False when addr is known. */
static bool unknown_run(struct sim_proc *p, uint64_t addr, uint64_t *start,
			uint64_t *end)
{
	uint64_t i = (addr - SIM_BASE) / PAGE_SIZE, j = i;

	if (!unknown(&p->hw[i]))
		return false;
	while (i && unknown(&p->hw[i - 1]))
		i--;
	while (j < p->span && unknown(&p->hw[j]))
		j++;
	*start = SIM_BASE + i * PAGE_SIZE;
	*end = SIM_BASE + j * PAGE_SIZE;
	return true;
}

/* => books locked */
static int adopt_run(struct sim_proc *p, uint64_t i, uint64_t nr)
{
	uint64_t map[64] = {0}, done = 0;
	struct sim *s = p->sim;
	int rc;

	for (uint64_t k = 0; k < nr; k++)
		if (p->hw[i + k].flags & HW_PRESENT)
			map[k / 64] |= (uint64_t)1 << (k % 64);
	rc = weir__adopt(s->engine, p->as, SIM_BASE + i * PAGE_SIZE, map, nr,
			 &done);
	if (rc && rc != -ENOMEM)
		sim__fail(s, "adopt answers %d", rc);
	for (uint64_t k = 0; k < (rc ? done : nr); k++)
		sim__uffd_count(p, &p->hw[i + k]);
	return rc;
}

int sim__uffd_adopt(struct sim_proc *p, uint64_t start, uint64_t end)
{
	uint64_t i = (start - SIM_BASE) / PAGE_SIZE;
	uint64_t last = (end - SIM_BASE) / PAGE_SIZE;
	int rc;

	sim__books_lock(p);
	rc = enter_locked(p, start, end);
	for (; !rc && i < last && !p->killed; i += 4096)
		rc = adopt_run(p, i, last - i < 4096 ? last - i : 4096);
	sim__books_unlock(p);
	return rc == -ENOMEM ? 0 : rc;
}

int sim__uffd_mlocked(struct sim_proc *p, uint64_t start, uint64_t end,
		      bool lock)
{
	int rc;

	sim__books_lock(p);
	rc = enter_locked(p, start, end);
	if (!rc)
		rc = weir__aspace_mlock(p->as, start, end, lock);
	sim__books_unlock(p);
	return rc;
}

/* --- handlers ------------------------------------------------------------ */

/* The engine knows no region there. True: try again. */
static bool not_known(struct sim_proc *p, uint64_t addr, unsigned try)
{
	struct hw_page *h = &p->hw[(addr - SIM_BASE) / PAGE_SIZE];
	uint64_t start, end;
	bool again = false;

	sim__books_lock(p);
	catch_up(p);
	if (unknown_run(p, addr, &start, &end)) {
		enter_locked(p, start, end);
		again = true;
	} else if (h->flags & HW_BOOKS) {
		/* an event had not been applied when we asked */
		if (try > 100 && !p->changing)
			sim__fail(p->sim, "the books lost the region of %llx",
				  (unsigned long long)addr);
		again = true;
	}
	sim__books_unlock(p);
	return again;
}

static void serve(struct sim_proc *p, uint64_t addr, unsigned flags)
{
	struct sim *s = p->sim;

	for (unsigned try = 0; !p->killed && !p->dead; try++) {
		int rc;

		if (!list_empty(&p->pending))
			catch_up_locked(p);
		sim__pass(&s->sched, s->cfg.fault_ns);
		rc = weir__fault(s->engine, p->as, addr, flags);
		switch (rc) {
		case 0:
			return;
		case -EAGAIN:
			catch_up_locked(p);
			sim__yield(s);
			break;
		case -ENOENT: /* the host: no such mapping any more */
		case -EFAULT:
			if (!not_known(p, addr, try))
				goto wake;
			break;
		case -EIO:
			goto wake;
		case -ENOMEM:
			/* SIGBUS to the program, for want of memory */
			sim_kill(p);
			return;
		default:
			sim__fail(s, "fault at %llx answers %d",
				  (unsigned long long)addr, rc);
		}
		if (try > FAULT_TRIES)
			sim__fail(s,
				  "no progress: fault at %llx answers %d "
				  "for ever",
				  (unsigned long long)addr, rc);
	}
	return;
wake:
	sim__uffd_wake(&s->host, p, addr);
}

static void proc_put(struct sim_proc *p)
{
	p->refs--;
	sim__wake(p->sim, &p->refs, UINT32_MAX);
}

static bool serve_one(struct sim *s)
{
	struct list_head *h = s->mmu.msgs.next;
	struct sim_proc *p;
	struct uffd_msg *m;
	uint64_t addr;
	unsigned flags;

	if (list_empty(&s->mmu.msgs))
		return false;
	/* in no order: the kernel wakes whom it likes */
	for (uint64_t i = prng_below(&s->mmu.prng, 4); i; i--)
		h = h->next == &s->mmu.msgs ? h : h->next;
	m = list_entry(h, struct uffd_msg, link);
	list_del(&m->link);
	m->queued = false;
	p = m->p;
	addr = m->addr;
	flags = m->flags;
	p->refs++;
	sim__work_for(s, p);
	serve(p, addr, flags);
	sim__work_for(s, NULL);
	proc_put(p);
	return true;
}

static bool apply_some(struct sim *s)
{
	struct sim_proc *p;

	list_for_each_entry (p, &s->mmu.procs, link) {
		if (list_empty(&p->pending) || p->dead || p->applying)
			continue;
		p->refs++;
		sim__work_for(s, p);
		catch_up_locked(p);
		sim__work_for(s, NULL);
		proc_put(p);
		return true;
	}
	return false;
}

static void handler(void *arg)
{
	struct sim *s = arg;

	while (!s->mmu.stopping) {
		uint32_t word = s->mmu.msg_word;

		if (!serve_one(s) && !apply_some(s))
			sim__wait(s, &s->mmu.msg_word, word, 0);
	}
	s->mmu.nr_handlers--;
	sim__wake(s, &s->mmu.nr_handlers, UINT32_MAX);
}

static void reader(void *arg)
{
	struct sim *s = arg;

	while (!s->mmu.stopping) {
		uint32_t word = s->mmu.msg_word;
		struct sim_proc *p;
		bool any = false;

		list_for_each_entry (p, &s->mmu.procs, link)
			any |= read_events(p);
		if (any)
			sim__uffd_ring(s);
		else
			sim__wait(s, &s->mmu.msg_word, word, 0);
	}
	s->mmu.nr_handlers--;
	sim__wake(s, &s->mmu.nr_handlers, UINT32_MAX);
}

int sim__uffd_start(struct sim *s)
{
	uint32_t nr = s->cfg.handlers_many ? s->cfg.cpus : 1;
	int rc;

	rc = sim__task_new(s, "uffd-events", 0, false, reader, NULL, s);
	for (uint32_t i = 0; !rc && i < nr; i++)
		rc = sim__task_new(s, "uffd-handler", 0, false, handler, NULL,
				   s);
	s->mmu.nr_handlers = nr + 1;
	return rc;
}

void sim__uffd_stop(struct sim *s)
{
	uint32_t left;

	s->mmu.stopping = 1;
	sim__uffd_ring(s);
	while ((left = s->mmu.nr_handlers))
		sim__wait(s, &s->mmu.nr_handlers, left, 0);
}
