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
 *
 * A fault wakes everybody who waits at the descriptor, and waking a thread on
 * an idle CPU costs more than the rest of the fault. So only the seats of CPUs
 * where the program runs are open; the others sleep elsewhere. Now and then
 * whoever serves a fault looks where the faulting thread runs, opens the seat
 * there and closes those from where no fault has come for a while. (The race to
 * the descriptor tells nothing: the waker is slowed by waking the far one, which
 * then comes first.) Correctness needs one open seat, whichever: then every
 * message is read.
 */
#include <string.h>
#include <sys/eventfd.h>

#include "engine/fault.h"
#include "host/live/live.h"
#include "host/live/sys.h"
#include "host/live/uffd_abi.h"
#include "host/live/where.h"

#define LOOK_EVERY  8u	/* faults between two looks at where they come from */
#define STALE	    8u	/* looks that saw no fault come from a CPU */
#define ALONE_AFTER 32u /* faults of one thread that make it the only one */

static void handler_main(void *arg);

static void seats_lock(struct live *l)
{
	while (atomic_exchange(&l->seats_lock, 1))
		sys_sched_yield();
}

static void seat_open(struct live *l, struct seat *s)
{
	seats_lock(l);
	if (!s->open) {
		l->nr_open++;
		s->open = 1;
	}
	l->seats_lock = 0;
	sys_futex(&s->open, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL);
}

static void seat_open_any(struct live *l)
{
	for (uint32_t i = 0; i < l->nr_seats; i++)
		if (!l->seat[i].open) {
			seat_open(l, &l->seat[i]);
			return;
		}
}

/* Opens the seat of the CPU that faults come from, closes those from where
 * none have come for a while. -1: not known, all open. */
static void seats_follow(struct live *l, int cpu)
{
	uint32_t now = ++l->nr_looks;

	for (uint32_t i = 0; i < l->nr_seats; i++) {
		struct seat *s = &l->seat[i];

		if (cpu >= 0 && s->cpu != (uint32_t)cpu)
			continue;
		s->last_look = now;
		if (!s->open)
			seat_open(l, s);
	}
	seats_lock(l);
	for (uint32_t i = 0; i < l->nr_seats; i++) {
		struct seat *s = &l->seat[i];

		if (s->open && l->nr_open > 1 && now - s->last_look > STALE) {
			l->nr_open--;
			s->open = 0;
			/* poll goes back to sleep by itself when somebody else
			 * took the fault: it has to be called off. */
			sys_write(s->bell, &(uint64_t){1}, sizeof(uint64_t));
		}
	}
	l->seats_lock = 0;
}

/* A fault of this thread was read. */
static void note_fault(struct live *l, uint32_t tid)
{
	if (l->last_tid == tid) {
		if (l->alone < ALONE_AFTER)
			l->alone++;
	} else {
		l->last_tid = tid;
		l->alone = 0;
	}
	if (l->nr_seats > 1 && ++l->nr_faults % LOOK_EVERY == 0)
		seats_follow(l, where_is(tid));
}

/* One more handler for the seat, when all are busy and there may be more. */
static bool grow(struct live *l, struct seat *s)
{
	uint32_t n = __atomic_load_n(&s->nr_threads, __ATOMIC_RELAXED);
	struct live_task *t;

	if (n >= HANDLERS_PER_CPU ||
	    !__atomic_compare_exchange_n(&s->nr_threads, &n, n + 1, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return false;
	t = live_task_new(l, "weir-fault", (int)s->cpu);
	if (!t)
		return false;
	t->seat = s;
	t->task.cpu = (uint32_t)(s - l->seat);
	return live_thread_run(t, handler_main) == 0;
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
	else if (!grow(t->live, s))
		seat_open_any(t->live); /* all of this CPU's are blocked */
}

bool seat_may_block(struct live *l)
{
	return l->alone >= ALONE_AFTER;
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

/* Until there is a message, or the seat is closed. */
static void wait_for_message(struct live *l, struct seat *s)
{
	struct pollfd p[2] = {{.fd = l->uffd, .events = POLLIN},
			      {.fd = s->bell, .events = POLLIN}};
	uint64_t rings;

	sys_poll(p, 2, -1);
	if (p[1].revents)
		sys_read(s->bell, &rings, sizeof(rings));
}

static void handler_main(void *arg)
{
	struct live_task *t = arg;
	struct live *l = t->live;
	bool served = false; /* and likely nothing else has come meanwhile */

	for (;;) {
		uint64_t addr;
		unsigned flags;
		uint32_t tid;

		if (!t->seated)
			seat_take(t);
		while (!t->seat->open)
			sys_futex(&t->seat->open, FUTEX_WAIT_PRIVATE, 0, NULL);
		if (gate_any(&l->gate))
			apply_events(l, t);
		if (!t->seated)
			continue;
		if (served && seat_may_block(l))
			wait_for_message(l, t->seat);
		served = false;
		switch (handlers_read(l, &addr, &flags, &tid)) {
		case GOT_FAULT:
			note_fault(l, tid);
			if (!l->held)
				serve(l, t, addr, flags);
			served = true;
			break;
		case GOT_EVENT:
			apply_events(l, t);
			break;
		case GOT_NOTHING:
			wait_for_message(l, t->seat);
			break;
		}
	}
}

/* Of those this process may use. */
static uint32_t nth_cpu(uint32_t n)
{
	uint8_t mask[1024];
	int bytes = sys_sched_getaffinity(0, sizeof(mask), mask);

	for (int i = 0; i < bytes * 8; i++)
		if (mask[i / 8] >> i % 8 & 1 && !n--)
			return (uint32_t)i;
	return 0;
}

int handlers_start(struct live *l)
{
	l->nr_open = l->nr_seats;
	for (uint32_t i = 0; i < l->nr_seats; i++) {
		l->seat[i].cpu = nth_cpu(i);
		l->seat[i].bell = sys_eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (l->seat[i].bell < 0)
			return l->seat[i].bell;
		l->seat[i].open = 1;
		for (int k = 0; k < 2; k++)
			grow(l, &l->seat[i]);
		if (!l->seat[i].nr_threads)
			return -EAGAIN;
	}
	return 0;
}
