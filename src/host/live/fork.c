/* SPDX-License-Identifier: MIT */
/*
 * A child's engine from its parent's books.
 *
 * fork copies the program's memory and, with it, the engine's: books, arena,
 * everything. Only threads, descriptors and the kernel's knowledge of our
 * regions are missing. So a child needs no message about its pages; it needs
 * books that nobody was changing at the moment of the copy.
 *
 *   the program's thread       watcher of the parent   watcher of the child
 *   -------------------------  ----------------------  ----------------------
 *   fork_prepare: asks for     frozen = 1: nobody
 *   a freeze, waits            enters the engine;
 *                              waits for who is inside
 *                              and for all I/O; frozen
 *   fork
 *   parent: waits for the      gives leases            opens descriptors anew,
 *   child to be ready (pipe)                           registers the regions,
 *                                                      gets leases, starts
 *                                                      threads; "ready"
 *   thaw; fork returns         frozen = 0
 *
 * Swap slots are not copied. The child reads its inherited slots from the
 * parent's swap file, and has a file of its own for what it evicts itself. A
 * lease keeps the parent from using a slot again that the child may still
 * read: it is a socket connection, so the kernel ends it with the child, or
 * with its exec, however that comes about.
 */
#include "host/live/fork.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "engine/aspace.h"
#include "engine/fault.h"
#include "engine/reclaim.h"
#include "engine/swap.h"
#include "host/live/procmaps.h"
#include "host/live/sys.h"
#include "host/live/where.h"
#include "host/live/uffd_abi.h"
#include "host/live/uring.h"
#include "host/live/zmemdev.h"
#include "store/store.h"
#include "util/fmt.h"

#define LEASES_MAX 64

extern void *_IO_list_all; /* of the C library */

#define READY_MS 30000

enum { FREEZE_NONE, FREEZE_WANTED, FREEZE_DONE, FREEZE_THAW };

static _Atomic uint32_t fork_lock; /* one fork at a time */
static int ready_pipe[2] = {-1, -1};
static int parent_tid, parent_pid;

/* Addresses of other threads' faults, read while frozen. */
#define STASH_MAX 256

static uint64_t stash[STASH_MAX];
static unsigned nr_stash;

static struct lease {
	int fd;
	unsigned type;
	int id; /* -1: connected, has not said what it wants */
} leases[LEASES_MAX];
static unsigned nr_leases;

static void wake_watcher(struct live *l)
{
	l->watch_word++;
	sys_futex(&l->watch_word, FUTEX_WAKE_PRIVATE, 1, NULL);
}

/* --- the program's thread ------------------------------------------------- */

static void lock_forks(void)
{
	while (atomic_exchange(&fork_lock, 1))
		sys_nanosleep(100000);
}

/*
 * In the child of a program with threads, the C library sets the lock of every
 * open stream anew before any handler runs, that is, before the child's engine
 * exists. So all of them must be resident at the copy. (What it does to its
 * allocator's locks it has done in the parent a moment before.)
 */
static void touch_streams(void)
{
	for (FILE *f = (FILE *)_IO_list_all; f; f = f->_chain) {
		*(volatile int *)&f->_flags = f->_flags;
		if (f->_lock)
			*(volatile char *)f->_lock = *(volatile char *)f->_lock;
	}
}

void fork_prepare(struct live *l)
{
	uint32_t far;

	lock_forks();
	for (;;) {
		far = LIVE_FAR;
		if (atomic_compare_exchange_strong(&l->state, &far,
						   LIVE_FORKING))
			return;
		if (far != LIVE_STARTING && far != LIVE_CHILD)
			break;
		sys_futex(&l->state, FUTEX_WAIT_PRIVATE, far, NULL);
	}
	if (l->state != LIVE_ACTIVE)
		return;
	if (sys_pipe2(ready_pipe, O_CLOEXEC) < 0) {
		ready_pipe[0] = -1;
		ready_pipe[1] = -1;
	}
	parent_pid = sys_getpid();
	l->fork_tid = (uint32_t)sys_gettid();
	l->freeze_req = FREEZE_WANTED;
	wake_watcher(l);
	while (l->freeze_req != FREEZE_DONE)
		sys_futex(&l->freeze_req, FUTEX_WAIT_PRIVATE, FREEZE_WANTED,
			  NULL);
	touch_streams();
}

static void close_pipe_end(int i)
{
	if (ready_pipe[i] >= 0)
		sys_close(ready_pipe[i]);
	ready_pipe[i] = -1;
}

void fork_parent(struct live *l)
{
	if (l->state == LIVE_FORKING) {
		l->state = LIVE_FAR;
	} else if (l->state == LIVE_ACTIVE) {
		close_pipe_end(1);
		/* A byte when the child is ready; the end of file when there
		 * is no child, or none any more. A child that is neither ready
		 * nor dead must not hold its parent for ever. */
		struct pollfd p = {.fd = ready_pipe[0], .events = POLLIN};

		while (p.fd >= 0 && sys_poll(&p, 1, READY_MS) == -EINTR)
			;
		close_pipe_end(0);
		l->freeze_req = FREEZE_THAW;
		wake_watcher(l);
	}
	l->fork_tid = 0;
	fork_lock = 0;
}

static void forget_threads(struct live *l)
{
	l->nr_tasks = 0;
	memset(l->seat, 0, sizeof(l->seat));
	l->seats_lock = 0;
	l->inside = 0;
	l->frozen = 0;
	l->freeze_req = FREEZE_NONE;
	l->gate.word = 0;
	l->gate.alone_wanted = 0;
	l->gate.apply_lock = 0;
	l->range_lock = 0;
	l->arena.lock = 0;
	l->unshare_pending = 0;
	nr_leases = 0;
	nr_stash = 0;
	l->no_wake = 0;
	l->fork_tid = 0;
	l->calls_served = 0;
	fork_lock = 0;
}

void fork_child(struct live *l)
{
	bool active = l->state == LIVE_ACTIVE;
	struct weir_slot *old = l->slot;

	forget_threads(l);
	where_reset();
	l->slot = weir_slot_claim(l->shared, sys_getpid(), old->name);
	if (!l->slot)
		l->slot = l->spare_slot;
	l->slot->flags |= WEIR_SLOT_FORKED;
	/* What the parent did is in the parent's slot. */
	for (unsigned i = 0; i < NR_STATS; i++)
		l->stats_before[i] = weir__stat_read(&l->engine, i);
	l->slot->parent_pid = sys_getppid();
	l->state = active ? LIVE_CHILD
			  : l->state == LIVE_FORKING ? LIVE_FAR : l->state;
	weir_slot_set_state(l->slot, SLOT_LIVE);
	if (watch_start(l)) {
		if (!active)
			return; /* far from its budget, and unwatched */
		sys_kill(sys_getpid(), SIGKILL);
	}
	while (l->state == LIVE_CHILD)
		sys_futex(&l->state, FUTEX_WAIT_PRIVATE, LIVE_CHILD, NULL);
	if (active && ready_pipe[1] >= 0)
		sys_write(ready_pipe[1], "r", 1);
	close_pipe_end(0);
	close_pipe_end(1);
}

/* --- faults while frozen --------------------------------------------------- */

/*
 * The C library's own fork touches the program's memory between our freeze and
 * the copy (locks of its allocator, open streams), and so do we in its stead.
 * Such a fault is served by the watcher, alone inside the engine; the forking
 * thread, which cannot copy anything while it waits for its page, is woken
 * when the books are at rest again. Other threads wait for the thaw.
 */
static void settle(struct live *l)
{
	while (l->inside)
		if (!uring_poll(l->ring))
			sys_nanosleep(20000);
}

static void serve_forker(struct live *l, struct live_task *t, uint64_t addr,
			 unsigned flags)
{
	uint32_t was = t->task.flags;

	/* kswapd rests: the reserve is for whoever cannot wait. */
	t->task.flags |= PF_MEMALLOC;
	l->no_wake = 1;
	while (weir__fault(&l->engine, l->as, addr, flags) == -EAGAIN)
		gate_apply(l);
	settle(l);
	l->no_wake = 0;
	t->task.flags = was;
	live_wake(&l->host, l->as->host, addr);
}

/* forker: its faults are served, all others stand back. */
static void read_while_frozen(struct live *l, struct live_task *t, bool forker)
{
	uint64_t addr;
	unsigned flags;
	uint32_t tid;

	for (;;) {
		switch (handlers_read(l, &addr, &flags, &tid)) {
		case GOT_NOTHING:
			return;
		case GOT_EVENT:
			if (!gate_full(&l->gate))
				continue;
			return;
		case GOT_FAULT:
			break;
		}
		if (forker && tid == l->fork_tid)
			serve_forker(l, t, addr, flags);
		else if (nr_stash < STASH_MAX)
			stash[nr_stash++] = addr;
		else
			live_wake(&l->host, l->as->host, addr);
	}
}

static void wake_stashed(struct live *l)
{
	while (nr_stash)
		live_wake(&l->host, l->as->host, stash[--nr_stash]);
}

/* --- parent's watcher ------------------------------------------------------- */

void fork_freeze(struct live *l, struct live_task *t)
{
	uint32_t thaw;

	if (l->freeze_req != FREEZE_WANTED)
		return;
	parent_tid = sys_gettid();
	while (regions_backlog(l))
		sys_nanosleep(100000);
	for (;;) {
		l->frozen = 1;
		/* Requests under way count too (swapdev.c): until their
		 * callbacks have run, the books change. */
		while (l->inside) {
			/* Whoever is inside may wait for an event to be read,
			 * and the handlers do not read now. */
			read_while_frozen(l, t, false);
			if (!uring_poll(l->ring))
				sys_nanosleep(20000);
		}
		if (!gate_any(&l->gate))
			break;
		/* events first, so that the child's books know of them */
		l->frozen = 0;
		wake_stashed(l);
		live_enter(t);
		gate_apply(l);
		live_exit(t);
	}
	l->freeze_req = FREEZE_DONE;
	sys_futex(&l->freeze_req, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL);
	while (l->freeze_req == FREEZE_DONE) {
		struct pollfd p = {.fd = l->uffd, .events = POLLIN};

		/* Another thread of the program may hold a lock that fork
		 * itself waits for, and wait for its event to be read. */
		read_while_frozen(l, t, true);
		fork_leases(l, t);
		sys_poll(&p, 1, 1);
	}
	/* The next fork may have asked already: its request stays. */
	thaw = FREEZE_THAW;
	atomic_compare_exchange_strong(&l->freeze_req, &thaw, FREEZE_NONE);
	l->frozen = 0;
	wake_stashed(l);
	sys_futex(&l->frozen, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL);
}

/* --- leases ------------------------------------------------------------------ */

/* An abstract name: it leaves nothing behind. */
static socklen_t socket_name(struct sockaddr_un *un, int pid, uint64_t key)
{
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	fmt_s(un->sun_path + 1, sizeof(un->sun_path) - 1, "weir-%d-%llx", pid,
	      (unsigned long long)key);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   strlen(un->sun_path + 1));
}

int fork_listen(struct live *l)
{
	struct sockaddr_un un;
	socklen_t len;
	int fd = (int)sys_call3(SYS_socket, AF_UNIX,
				SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
				0);
	long err;

	if (fd < 0)
		return fd;
	err = sys_call3(SYS_getrandom, (long)&l->key, sizeof(l->key), 0);
	len = socket_name(&un, sys_getpid(), l->key);
	if (err >= 0)
		err = sys_call3(SYS_bind, fd, (long)&un, len);
	if (err >= 0)
		err = sys_call2(SYS_listen, fd, 64);
	if (err < 0) {
		sys_close(fd);
		return (int)err;
	}
	l->listen_fd = fd;
	return 0;
}

static void lease_end(struct live *l, unsigned i)
{
	if (leases[i].id >= 0)
		weir__swap_lease_end(&l->engine, leases[i].type, leases[i].id);
	sys_close(leases[i].fd);
	leases[i] = leases[--nr_leases];
}

/* Frozen or not: the watcher is the only one here while frozen, and inside
 * like everybody else when not. */
static bool lease_look(struct live *l, unsigned i)
{
	uint32_t type;
	long n = sys_call6(SYS_recvfrom, leases[i].fd, (long)&type,
			   sizeof(type), MSG_DONTWAIT, 0, 0);

	if (n == -EAGAIN)
		return false;
	if (n == sizeof(type) && leases[i].id < 0 && type < LIVE_AREAS) {
		leases[i].type = type;
		leases[i].id = weir__swap_lease_begin(&l->engine, type);
		sys_write(leases[i].fd, leases[i].id >= 0 ? "y" : "n", 1);
		return false;
	}
	return true;
}

void fork_leases(struct live *l, struct live_task *t)
{
	bool inside = !l->frozen;

	while (nr_leases < LEASES_MAX) {
		long fd = sys_call4(SYS_accept4, l->listen_fd, 0, 0,
				    SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			break;
		leases[nr_leases++] = (struct lease){(int)fd, 0, -1};
	}
	if (!nr_leases)
		return;
	if (inside)
		live_enter(t);
	for (unsigned i = nr_leases; i-- > 0;)
		if (lease_look(l, i))
			lease_end(l, i);
	if (inside)
		live_exit(t);
}

/* --- child's watcher --------------------------------------------------------- */

static void die(struct live *l, const char *what, int err)
{
	char msg[200];

	fmt_s(msg, sizeof(msg),
	      "a forked child cannot go on: %s: error %d", what, -err);
	weir_slot_error(l->slot, WEIR_SLOT_REFUSED, msg);
	live_logf(l, 0, "%s", msg);
	sys_kill(sys_getpid(), SIGKILL);
	sys_nanosleep(1000000000);
}

/* The owner keeps what we may read, or has ended and keeps everything. */
static int get_lease(struct live *l, struct live_area *a, uint32_t type)
{
	struct sockaddr_un un;
	socklen_t len = socket_name(&un, a->owner_pid, a->owner_key);
	int fd = (int)sys_call3(SYS_socket, AF_UNIX,
				SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	char c = 'n';
	long err;

	if (fd < 0)
		return fd;
	err = sys_call3(SYS_connect, fd, (long)&un, len);
	if (err == -ECONNREFUSED) {
		sys_close(fd);
		return 0;
	}
	if (err >= 0)
		err = sys_write(fd, &type, sizeof(type));
	if (err >= 0)
		err = sys_read(fd, &c, 1);
	if (err < 0 || (err == 1 && c != 'y')) {
		sys_close(fd);
		return err < 0 ? (int)err : -EMFILE;
	}
	a->lease_fd = fd; /* err == 0: it has just ended */
	return 0;
}

/* The parent's descriptor of the swap file, at the same number. */
static int reopen(struct live *l, struct live_area *a)
{
	char path[80];
	int fd, flags = O_RDWR | O_CLOEXEC;
	long err;

	if (!(l->cfg->flags & WEIR_CONFIG_BUFFERED))
		flags |= O_DIRECT;
	fmt_s(path, sizeof(path), "/proc/%d/task/%d/fd/%d", parent_pid,
	      parent_tid, a->store->fd);
	fd = sys_openat(AT_FDCWD, path, flags, 0);
	if (fd == -EINVAL)
		fd = sys_openat(AT_FDCWD, path, flags & ~O_DIRECT, 0);
	if (fd < 0 || fd == a->store->fd)
		return fd < 0 ? fd : 0;
	err = sys_call3(SYS_dup3, fd, a->store->fd, O_CLOEXEC);
	sys_close(fd);
	return err < 0 ? (int)err : 0;
}

static int inherit_areas(struct live *l)
{
	for (uint32_t i = 0; i < LIVE_AREAS; i++) {
		struct live_area *a = &l->area[i];
		int err;

		if (!a->store)
			continue;
		/* Nothing of it is ours: no descriptor, no lease. */
		if (weir__swapoff_empty(&l->engine, i) == 0) {
			zmemdev_forget(a->store);
			a->store = NULL;
			continue;
		}
		/* What is in compressed memory only has come with the fork. */
		err = a->store->fd < 0 ? 0 : reopen(l, a);
		if (!err && a->store->fd >= 0)
			err = get_lease(l, a, i);
		if (err)
			return err;
		a->own = false;
		a->store->ops->after_fork(a->store, l->ring);
	}
	return 0;
}

/* What of the books' regions exists in this process, as the kernel has it. */
static int register_regions(struct live *l)
{
	struct procmaps maps;
	struct procmap m;
	int err = procmaps_open(&maps);

	while (!err && procmaps_next(&maps, &m)) {
		struct itree_node *n;

		if (!m.anon || m.shared || m.special)
			continue;
		n = itree_first(&l->as->regions, m.start >> PAGE_SHIFT,
				(m.end - 1) >> PAGE_SHIFT);
		for (; n && !err; n = itree_next(n, m.start >> PAGE_SHIFT,
						 (m.end - 1) >> PAGE_SHIFT)) {
			uint64_t start = n->start << PAGE_SHIFT;
			uint64_t end = (n->last + 1) << PAGE_SHIFT;

			if (start < m.start)
				start = m.start;
			if (end > m.end)
				end = m.end;
			err = uffd_register(l->uffd, start, end - start,
					    UFFDIO_REGISTER_MODE_MISSING |
						    UFFDIO_REGISTER_MODE_WP);
		}
	}
	procmaps_close(&maps);
	return err;
}

static int remake_arena(struct live *l)
{
	struct arena *a = &l->arena;
	uint64_t hand = (uint64_t)a->nr_chunks * CHUNK_PAGES * PAGE_SIZE;
	void *p = sys_mmap(a->trash, CHUNK_PAGES * PAGE_SIZE,
			   PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				   MAP_FIXED,
			   -1, 0);
	int err;

	if (sys_is_err(p))
		return -ENOMEM;
	err = uffd_register(l->uffd, (uintptr_t)a->hand, hand,
			    UFFDIO_REGISTER_MODE_WP);
	sys_madvise(a->trash, CHUNK_PAGES * PAGE_SIZE, MADV_NOHUGEPAGE);
	sys_madvise(a->trash, CHUNK_PAGES * PAGE_SIZE, MADV_DONTFORK);
	if (!err)
		err = uffd_register(l->uffd_trash, (uintptr_t)a->trash,
				    CHUNK_PAGES * PAGE_SIZE,
				    UFFDIO_REGISTER_MODE_WP);
	return err;
}

void fork_boot(struct live *l, struct live_task *t)
{
	int err = live_descriptors(l);

	if (err)
		die(l, "no userfaultfd", err);
	live_enter(t);
	weir__swap_fork_child(&l->engine);
	weir__kswapd_forget(&l->engine);
	err = inherit_areas(l);
	if (err)
		die(l, "the parent's swap file", err);
	err = remake_arena(l);
	if (!err)
		err = register_regions(l);
	if (err)
		die(l, "its memory cannot be registered", err);
	weir__forget_clean(&l->engine, l->as, 0, (uint64_t)1 << 47);
	gate_apply(l);
	l->own_area = -1;
	if (l->cfg->swap_bytes || l->cfg->zmem_bytes)
		err = swapdev_open_own(l);
	live_exit(t);
	if (!err)
		err = live_threads(l);
	if (err)
		die(l, "no swap file or no threads", err);
	l->slot->flags |= WEIR_SLOT_MANAGED;
	l->state = LIVE_ACTIVE;
	sys_futex(&l->state, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL);
}
