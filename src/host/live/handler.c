/* SPDX-License-Identifier: MIT */
/*
 * The threads that serve faults.
 *
 * Waking a thread on another processor costs many times what serving the fault
 * does, so each CPU has handlers pinned to it: the one on the faulting CPU
 * answers. At any time one of a CPU's handlers has its seat and reads the
 * descriptor. Before it does anything that may block (I/O, reclaim) it gives
 * the seat to another, so that further faults are served meanwhile and events
 * are read, whatever the blocked one waits for. A fault that needs nothing of
 * the kind costs no hand-over.
 */
#include "engine/fault.h"
#include "host/live/live.h"
#include "host/live/sys.h"
#include "host/live/uffd_abi.h"

static void handler_main(void *arg);

/* One more handler for the seat, when all are busy and there may be more. */
static void grow(struct live *l, struct seat *s)
{
	uint32_t n = __atomic_load_n(&s->nr_threads, __ATOMIC_RELAXED);
	struct live_task *t;

	if (n >= HANDLERS_PER_CPU ||
	    !__atomic_compare_exchange_n(&s->nr_threads, &n, n + 1, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	t = live_task_new(l, "weir-fault", (int)s->cpu);
	if (!t)
		return;
	t->seat = s;
	live_thread_run(t, handler_main);
}

void seat_release(struct live_task *t)
{
	struct seat *s = t->seat;

	if (!t->seated)
		return;
	t->seated = false;
	s->taken = 0;
	if (s->standby)
		sys_futex(&s->taken, FUTEX_WAKE_PRIVATE, 1, NULL);
	else
		grow(t->live, s);
}

static void seat_take(struct live_task *t)
{
	struct seat *s = t->seat;
	uint32_t free = 0;

	while (!atomic_compare_exchange_strong(&s->taken, &free, 1)) {
		s->standby++;
		if (s->taken)
			sys_futex(&s->taken, FUTEX_WAIT_PRIVATE, 1, NULL);
		s->standby--;
		free = 0;
	}
	t->seated = true;
}

static enum got note_event(struct live *l, const struct uffd_msg *m)
{
	switch (m->event) {
	case UFFD_EVENT_REMOVE:
		gate_note(&l->gate, PENDING_REMOVE, m->arg.remove.start,
			  m->arg.remove.end, 0);
		return GOT_EVENT;
	case UFFD_EVENT_UNMAP:
		gate_note(&l->gate, PENDING_UNMAP, m->arg.remove.start,
			  m->arg.remove.end, 0);
		return GOT_EVENT;
	case UFFD_EVENT_REMAP:
		gate_note(&l->gate, PENDING_REMAP, m->arg.remap.from,
			  m->arg.remap.from + m->arg.remap.len,
			  m->arg.remap.to);
		return GOT_EVENT;
	default:
		return GOT_NOTHING;
	}
}

/* Reads one message; an event is noted before anybody may move a page. */
enum got handlers_read(struct live *l, uint64_t *addr, unsigned *flags,
		       uint32_t *tid)
{
	enum got got = GOT_NOTHING;
	struct uffd_msg m;
	long n;

	if (gate_full(&l->gate))
		return GOT_EVENT; /* apply first */
	gate_alone(&l->gate);
	n = sys_read(l->uffd, &m, sizeof(m));
	if (n == sizeof(m) && m.event != UFFD_EVENT_PAGEFAULT)
		got = note_event(l, &m);
	gate_open(&l->gate);
	if (n != sizeof(m) || m.event != UFFD_EVENT_PAGEFAULT)
		return got;
	*addr = m.arg.pagefault.address & PAGE_MASK;
	*tid = m.arg.pagefault.feat.ptid;
	*flags = 0;
	if (m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE)
		*flags |= FAULT_WRITE;
	if (m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)
		*flags |= FAULT_WRITE | FAULT_WP;
	return GOT_FAULT;
}

static void apply_events(struct live *l, struct live_task *t)
{
	live_enter(t);
	gate_apply(l);
	live_exit(t);
}

/*
 * The address space is changing: somebody has to read the event that says so.
 * Faults that are read on the way are dropped with a wake: the thread traps
 * again and the fault is posted anew.
 */
static void read_events(struct live *l, struct live_task *t)
{
	uint64_t addr;
	unsigned flags;
	uint32_t tid;
	enum got got = handlers_read(l, &addr, &flags, &tid);

	if (got == GOT_FAULT)
		live_wake(&l->host, l->as->host, addr);
	else if (got == GOT_NOTHING)
		sys_sched_yield();
	apply_events(l, t);
}

static void serve(struct live *l, struct live_task *t, uint64_t addr,
		  unsigned flags)
{
	for (;;) {
		int err;

		live_enter(t);
		err = weir__fault(&l->engine, l->as, addr, flags);
		live_exit(t);
		switch (err) {
		case 0:
			return;
		case -EAGAIN:
			read_events(l, t);
			continue;
		case -EFAULT:
			seat_release(t);
			live_enter(t);
			err = regions_learn(l, addr);
			live_exit(t);
			if (err == 0)
				continue;
			live_wake(&l->host, l->as->host, addr);
			return;
		case -ENOENT:
			/* The mapping is gone: the touch will say so. */
			read_events(l, t);
			live_wake(&l->host, l->as->host, addr);
			return;
		case -EIO:
			weir_slot_error(l->slot, WEIR_SLOT_IO_ERROR,
					"a page could not be read back from "
					"the swap file: SIGBUS for whoever "
					"touches it");
			return;
		default: /* -ENOMEM: the choice has been made, or try again */
			seat_release(t);
			sys_nanosleep(1000000);
			continue;
		}
	}
}

static void handler_main(void *arg)
{
	struct live_task *t = arg;
	struct live *l = t->live;
	struct pollfd p = {.fd = l->uffd, .events = POLLIN};

	for (;;) {
		uint64_t addr;
		unsigned flags;
		uint32_t tid;

		if (!t->seated)
			seat_take(t);
		if (gate_any(&l->gate))
			apply_events(l, t);
		if (!t->seated)
			continue;
		switch (handlers_read(l, &addr, &flags, &tid)) {
		case GOT_FAULT:
			serve(l, t, addr, flags);
			break;
		case GOT_EVENT:
			apply_events(l, t);
			break;
		case GOT_NOTHING:
			sys_poll(&p, 1, -1);
			break;
		}
	}
}

int handlers_start(struct live *l)
{
	for (uint32_t i = 0; i < l->nr_seats; i++) {
		l->seat[i].cpu = i;
		for (int k = 0; k < 2; k++)
			grow(l, &l->seat[i]);
		if (!l->seat[i].nr_threads)
			return -EAGAIN;
	}
	return 0;
}
