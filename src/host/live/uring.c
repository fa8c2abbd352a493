/* SPDX-License-Identifier: MIT */
/*
 * Sleeping and I/O for all threads of the engine: see uring.h.
 *
 * Three parts: requests (a fixed table), sleepers (a list of who waits for
 * which word) and the ring, which joins them.
 *
 * Who waits where. A sleeper waits either on a futex of its own or inside
 * io_uring_enter. Somebody must be in the ring whenever I/O is under way and
 * anybody sleeps, or the callbacks that wake the sleepers never run. One would
 * be enough for that, but the kernel lets a request finish in the context of
 * the thread that submitted it: a thread that reads a page and waits for it
 * would be woken, finish its own request, go back to its futex and be woken
 * again by whoever sits in the ring, on another CPU. So a thread with requests
 * of its own under way may join those in the ring, up to IN_RING_MAX.
 *
 * A wake must find its sleeper in either place. State of a sleeper:
 *
 *   FUTEX   asleep on the futex, or about to be
 *   RING    asleep in the ring, or about to be: a no-op request wakes it
 *   LOOK    sent to look whether the ring needs it
 *   WOKEN   for good
 *
 * The waker exchanges the state for WOKEN and does what the old state asks.
 * A futex compares under the kernel's lock, so FUTEX cannot miss. The ring:
 *
 *   sleeper                          waker
 *   notes how far completions were
 *   taken (`seen`), is counted in
 *   in_ring, both under cq lock
 *   FUTEX -> RING
 *                                    RING -> WOKEN, submits a no-op
 *                                    a third thread takes the completion
 *                                    of the no-op
 *   io_uring_enter: sleeps until
 *   more than `seen` have come
 *
 * The kernel counts from the ring's head, so the last line is true only if the
 * head stands still between the first line and the last. Hence: threads take
 * completions by moving `seen`, which is ours, and the head is moved up to it
 * only when in_ring is zero. The kernel then sees a completion beyond `seen`
 * whether or not somebody took it, and returns at once.
 *
 * Submitting against going to sleep, with nobody in the ring:
 *
 *   submitter                        sleeper
 *   inflight++                       is on the list in state FUTEX
 *   submits                          inflight == 0? sleeps on its futex
 *   in_ring == 0 and the list not
 *   empty? sends one to look
 *
 * All four are sequentially consistent: either the sleeper sees the request or
 * the submitter sees the sleeper. Leaving the ring against submitting is the
 * same with in_ring-- in the place of joining the list: whoever leaves either
 * looks at inflight again, or, when it leaves the list as well, sends another.
 */
#include "host/live/uring.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "host/live/sys.h"
#include "host/live/thread.h"
#include "util/list.h"

#ifndef WEIR_NO_URING
#include <liburing.h>
#endif

/* A test widens the window between going to sleep and being asleep. */
#ifndef BEFORE_RING_SLEEP
#define BEFORE_RING_SLEEP()
#endif

#define REQS        1024u /* requests under way at most */
#define SQ_ENTRIES  256u
#define CQ_ENTRIES  4096u /* REQS, no-ops, and what `seen` is ahead */
#define IN_RING_MAX 8u    /* every completion wakes all of them */
#define OWN_SLOTS   64u
#define TRIES_MAX   16u

struct request {
	const struct iovec *iov;
	void (*done)(void *arg, int res);
	void *arg;
	uint64_t off;
	int fd;
	uint32_t next; /* free list or queue: index + 1, 0 ends it */
	uint16_t nr;
	uint8_t owner; /* index into own[] */
	uint8_t tries;
	bool write;
};

enum sleeper_state { FUTEX, RING, LOOK, WOKEN };

struct sleeper {
	struct list_head link;
	_Atomic uint32_t *word;
	_Atomic uint32_t state;
};

struct spin {
	_Atomic uint32_t held;
};

/*
 * Lock key: (r) req_lock, (s) sq_lock, (q) cq_lock, (w) sleep_lock, (a)
 * atomic, (c) const after init. All are leaves: none is taken under another.
 */
struct uring {
	bool native;                 /* (c) */
	unsigned nr_workers;         /* (c) */
	_Atomic uint32_t inflight;   /* (a) submitted, completion not taken */
	_Atomic uint32_t unfinished; /* (a) submitted, callback not returned */

	struct spin req_lock;
	uint32_t free;                 /* (r) free requests */
	uint32_t head, tail;           /* (r) the workers' queue */
	_Atomic uint32_t room;         /* (a) a futex: requests came free */
	_Atomic uint32_t room_waiters; /* (a) */
	_Atomic uint32_t queued;       /* (a) a futex: the queue grew */
	_Atomic uint32_t stop;         /* (a) */
	/* (a) by hash of the submitting thread: its requests under way */
	_Atomic uint32_t own[OWN_SLOTS];

	struct spin sleep_lock;
	struct list_head sleepers;    /* (w) */
	_Atomic uint32_t nr_sleepers; /* (w) writes, (a) */

	struct spin sq_lock;
	struct spin cq_lock;
	_Atomic uint32_t in_ring; /* (q) writes, (a) */
	_Atomic uint32_t seen;    /* (q) writes, (a) completions taken */
	_Atomic uint32_t pushed;  /* (s) writes, (a) entries written */
#ifndef WEIR_NO_URING
	struct io_uring ring;
#endif
	struct engine_thread worker[URING_WORKERS];
	struct request reqs[REQS];
};

static void spin_lock(struct spin *l)
{
	unsigned n = 0;

	while (atomic_exchange_explicit(&l->held, 1, memory_order_acquire))
		if (++n % 64 == 0)
			sys_sched_yield();
}

static void spin_unlock(struct spin *l)
{
	atomic_store_explicit(&l->held, 0, memory_order_release);
}

/* The thread sanitizer knows no fences; there, an exchange that changes
 * nothing. */
static void full_fence(struct uring *r)
{
#ifdef __SANITIZE_THREAD__
	atomic_fetch_add(&r->nr_sleepers, 0);
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	sys_clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void futex_wake(_Atomic uint32_t *word, unsigned nr)
{
	sys_futex(word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG,
		  nr > INT32_MAX ? INT32_MAX : nr, NULL);
}

static uint8_t own_slot(void)
{
	uint64_t h = (uint64_t)sys_thread_pointer() * 0x9e3779b97f4a7c15u;

	return (uint8_t)(h >> 58); /* the top six bits: OWN_SLOTS */
}

/* ---- requests ---- */

static struct request *req_try_get(struct uring *r)
{
	struct request *q = NULL;

	spin_lock(&r->req_lock);
	if (r->free) {
		q = &r->reqs[r->free - 1];
		r->free = q->next;
	}
	spin_unlock(&r->req_lock);
	return q;
}

static void req_put(struct uring *r, struct request *q)
{
	spin_lock(&r->req_lock);
	q->next = r->free;
	r->free = (uint32_t)(q - r->reqs) + 1;
	spin_unlock(&r->req_lock);
	/* req_get() is counted, then tries under the lock: either its try came
	 * after ours and found q, or it came before and we see the count. */
	if (atomic_load(&r->room_waiters)) {
		atomic_fetch_add(&r->room, 1);
		uring_wake(r, &r->room, 1);
	}
}

static struct request *req_get(struct uring *r)
{
	struct request *q = req_try_get(r);

	if (q)
		return q;
	atomic_fetch_add(&r->room_waiters, 1);
	for (;;) {
		uint32_t room = atomic_load(&r->room);

		q = req_try_get(r);
		if (q)
			break;
		if (!uring_poll(r))
			uring_wait(r, &r->room, room, 0);
	}
	atomic_fetch_sub(&r->room_waiters, 1);
	return q;
}

static void request_again(struct uring *r, struct request *q);

/* The kernel took the request away from its thread (which ended) or had no
 * memory for it: nothing was wrong with the request. */
static bool worth_another_try(int res)
{
	return res == -EAGAIN || res == -EINTR || res == -ECANCELED;
}

/* => called with no lock held; may free the request before it returns. */
static void complete(struct uring *r, struct request *q, int res)
{
	void (*done)(void *arg, int res) = q->done;
	void *arg = q->arg;

	if (worth_another_try(res) && ++q->tries < TRIES_MAX) {
		request_again(r, q);
		return;
	}
	atomic_fetch_sub(&r->own[q->owner], 1);
	req_put(r, q);
	atomic_fetch_sub(&r->inflight, 1);
	done(arg, res);
	atomic_fetch_sub(&r->unfinished, 1);
}

/* ---- without io_uring ---- */

static long transfer(const struct request *q, const struct iovec *iov,
		     unsigned nr, uint64_t off)
{
	return q->write ? sys_pwritev(q->fd, iov, nr, off)
			: sys_preadv(q->fd, iov, nr, off);
}

/* All of it, or as far as it goes: bytes, or -errno if nothing went. */
static int do_io(const struct request *q)
{
	uint64_t total = 0;
	unsigned i = 0;
	size_t skip = 0; /* bytes of iov[i] that are done */

	while (i < q->nr) {
		struct iovec part = {(char *)q->iov[i].iov_base + skip,
				     q->iov[i].iov_len - skip};
		long n =
		    skip ? transfer(q, &part, 1, q->off + total)
			 : transfer(q, &q->iov[i], q->nr - i, q->off + total);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return total ? (int)total : (int)n;
		total += (uint64_t)n;
		for (skip += (size_t)n; i < q->nr && skip >= q->iov[i].iov_len;
		     i++)
			skip -= q->iov[i].iov_len;
	}
	return (int)total;
}

static struct request *queue_pop(struct uring *r)
{
	struct request *q = NULL;

	spin_lock(&r->req_lock);
	if (r->head) {
		q = &r->reqs[r->head - 1];
		r->head = q->next;
		if (!r->head)
			r->tail = 0;
	}
	spin_unlock(&r->req_lock);
	return q;
}

static void queue_push(struct uring *r, struct request *q)
{
	uint32_t id = (uint32_t)(q - r->reqs) + 1;

	spin_lock(&r->req_lock);
	q->next = 0;
	if (r->tail)
		r->reqs[r->tail - 1].next = id;
	else
		r->head = id;
	r->tail = id;
	spin_unlock(&r->req_lock);
	atomic_fetch_add(&r->queued, 1);
	futex_wake(&r->queued, 1);
}

static void worker_main(void *arg)
{
	struct uring *r = arg;

	for (;;) {
		uint32_t queued = atomic_load(&r->queued);
		struct request *q = queue_pop(r);

		if (q)
			complete(r, q, do_io(q));
		else if (atomic_load(&r->stop))
			return;
		else
			sys_futex(&r->queued, FUTEX_WAIT | FUTEX_PRIVATE_FLAG,
				  queued, NULL);
	}
}

void uring_worker_self(struct uring *r, unsigned i, void *self)
{
	r->worker[i].self = self;
}

/* As many as the memory holds; none is no error, then I/O is synchronous. */
static void workers_start(struct uring *r, char *mem, size_t bytes)
{
	for (unsigned i = 0; i < URING_WORKERS; i++) {
		struct engine_thread *t = &r->worker[i];

		if (!mem || bytes < (i + 1) * (size_t)THREAD_MEM_BYTES)
			return;
		t->cpu = -1;
		t->name = "weir-io";
		t->fn = worker_main;
		t->arg = r;
		if (thread_start(t, mem + i * (size_t)THREAD_MEM_BYTES, 0))
			return;
		r->nr_workers = i + 1;
	}
}

static void workers_stop(struct uring *r)
{
	atomic_store(&r->stop, 1);
	atomic_fetch_add(&r->queued, 1);
	futex_wake(&r->queued, URING_WORKERS);
	for (unsigned i = 0; i < r->nr_workers; i++)
		thread_join(&r->worker[i]);
}

/* ---- the ring ---- */

#ifndef WEIR_NO_URING

static int ring_enter(struct uring *r, unsigned submit, unsigned want,
		      unsigned flags, const void *arg, size_t len)
{
	return (int)sys_call6(SYS_io_uring_enter, r->ring.ring_fd, submit, want,
			      flags, (long)arg, (long)len);
}

static uint32_t acquire(const unsigned *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* Has the kernel take everything before `end`; another thread may be at it. */
static int ring_flush(struct uring *r, uint32_t end)
{
	const struct io_uring_sq *sq = &r->ring.sq;

	for (;;) {
		uint32_t head = acquire(sq->khead);
		unsigned flags = 0;
		int n;

		if ((int32_t)(head - end) >= 0)
			return 0;
		if (acquire(sq->kflags) & IORING_SQ_CQ_OVERFLOW)
			flags = IORING_ENTER_GETEVENTS;
		n = ring_enter(r, end - head, 0, flags, NULL, 8);
		if (n == -EAGAIN || n == -EBUSY)
			sys_sched_yield();
		else if (n < 0 && n != -EINTR)
			return n;
	}
}

static void fill_sqe(struct io_uring_sqe *sqe, const struct uring *r,
		     const struct request *q)
{
	if (!q) {
		io_uring_prep_nop(sqe);
		sqe->user_data = 0;
		return;
	}
	if (q->write)
		io_uring_prep_writev(sqe, q->fd, q->iov, q->nr, q->off);
	else
		io_uring_prep_readv(sqe, q->fd, q->iov, q->nr, q->off);
	sqe->user_data = (uint64_t)(q - r->reqs) + 1;
}

/* q NULL: a no-op, which wakes all who are in the ring. */
static int ring_push(struct uring *r, const struct request *q)
{
	struct io_uring_sq *sq = &r->ring.sq;

	for (;;) {
		uint32_t tail, i;

		spin_lock(&r->sq_lock);
		tail = *sq->ktail;
		if (tail - acquire(sq->khead) < SQ_ENTRIES) {
			i = tail & (SQ_ENTRIES - 1);
			memset(&sq->sqes[i], 0, sizeof(sq->sqes[i]));
			fill_sqe(&sq->sqes[i], r, q);
			sq->array[i] = i;
			atomic_fetch_add(&r->pushed, 1);
			__atomic_store_n(sq->ktail, tail + 1, __ATOMIC_RELEASE);
			spin_unlock(&r->sq_lock);
			return ring_flush(r, tail + 1);
		}
		spin_unlock(&r->sq_lock);
		/* Full of entries that others are about to hand over. */
		int err = ring_flush(r, tail - SQ_ENTRIES + 1);

		if (err)
			return err;
	}
}

/* => cq_lock held. Gives the kernel its entries back; see the top. */
static void ring_publish(struct uring *r)
{
	if (!atomic_load(&r->in_ring))
		__atomic_store_n(r->ring.cq.khead, atomic_load(&r->seen),
				 __ATOMIC_RELEASE);
}

struct finished {
	uint64_t id;
	int res;
};

static unsigned ring_take(struct uring *r, struct finished *f, unsigned max)
{
	struct io_uring_cq *cq = &r->ring.cq;
	uint32_t seen, tail;
	unsigned n = 0;

	if (atomic_load(&r->seen) == acquire(cq->ktail))
		return 0;
	spin_lock(&r->cq_lock);
	seen = atomic_load(&r->seen);
	tail = acquire(cq->ktail);
	/* The kernel orders whoever takes a completion after whoever wrote its
	 * request; this says so in the language's terms. */
	atomic_load(&r->pushed);
	for (; seen != tail && n < max; seen++, n++) {
		const struct io_uring_cqe *c;

		c = &cq->cqes[seen & (CQ_ENTRIES - 1)];
		f[n].id = c->user_data;
		f[n].res = c->res;
	}
	atomic_store(&r->seen, seen);
	ring_publish(r);
	spin_unlock(&r->cq_lock);
	return n;
}

static unsigned ring_reap(struct uring *r)
{
	struct finished f[32];
	unsigned n, total = 0;

	while ((n = ring_take(r, f, 32)))
		for (unsigned i = 0; i < n; i++) {
			if (!f[i].id)
				continue;
			complete(r, &r->reqs[f[i].id - 1], f[i].res);
			total++;
		}
	return total;
}

/* May this thread sleep in the ring, and until how many completions are
 * beyond the head? 0: no. */
static unsigned ring_join(struct uring *r)
{
	uint32_t ahead, others;
	unsigned want = 0;

	/* Not under the lock: see "Submitting against going to sleep". */
	if (!atomic_load(&r->inflight))
		return 0;
	spin_lock(&r->cq_lock);
	ring_publish(r);
	others = atomic_load(&r->in_ring);
	ahead = atomic_load(&r->seen) - *r->ring.cq.khead;
	if (!others || (others < IN_RING_MAX && ahead < CQ_ENTRIES / 2 &&
			atomic_load(&r->own[own_slot()]))) {
		atomic_fetch_add(&r->in_ring, 1);
		want = ahead + 1;
	}
	spin_unlock(&r->cq_lock);
	return want;
}

static void ring_leave(struct uring *r)
{
	spin_lock(&r->cq_lock);
	atomic_fetch_sub(&r->in_ring, 1);
	ring_publish(r);
	spin_unlock(&r->cq_lock);
}

static void ring_sleep(struct uring *r, unsigned want, uint64_t timeout_ns)
{
	struct __kernel_timespec ts = {
	    .tv_sec = (long long)(timeout_ns / 1000000000u),
	    .tv_nsec = (long long)(timeout_ns % 1000000000u)};
	struct io_uring_getevents_arg arg = {.ts = timeout_ns ? (uintptr_t)&ts
							      : 0};

	BEFORE_RING_SLEEP();
	ring_enter(r, 0, want, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
		   &arg, sizeof(arg));
}

static int ring_init(struct uring *r)
{
	struct io_uring_params p = {.flags = IORING_SETUP_CQSIZE,
				    .cq_entries = CQ_ENTRIES};
	const unsigned need = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
	int err = io_uring_queue_init_params(SQ_ENTRIES, &r->ring, &p);

	if (err)
		return err;
	if ((p.features & need) != need || p.sq_entries != SQ_ENTRIES ||
	    p.cq_entries != CQ_ENTRIES) {
		io_uring_queue_exit(&r->ring);
		return -EOPNOTSUPP;
	}
	/* A child must not find the parent's ring in its memory. */
	io_uring_ring_dontfork(&r->ring);
	r->ring.ring_fd = sys_fd_high(r->ring.ring_fd);
	r->ring.enter_ring_fd = r->ring.ring_fd;
	return 0;
}

static void ring_exit(struct uring *r)
{
	io_uring_queue_exit(&r->ring);
}

/* Only if it is the ring: the thread that forked may have had a descriptor
 * table other than the creator's, and something else under this number. */
static void ring_forget(struct uring *r)
{
	static const char want[] = "anon_inode:[io_uring]";
	char path[32] = "/proc/self/fd/", link[sizeof(want)];
	char *p = path + sizeof("/proc/self/fd/") - 1;
	int fd = r->ring.ring_fd, div = 1;

	while (fd / div >= 10)
		div *= 10;
	for (; div; div /= 10)
		*p++ = (char)('0' + fd / div % 10);
	if (sys_readlinkat(AT_FDCWD, path, link, sizeof(link)) ==
		sizeof(want) - 1 &&
	    !memcmp(link, want, sizeof(want) - 1))
		sys_close(fd);
}

#else

static int ring_push(struct uring *r, const struct request *q)
{
	return -ENOSYS;
}

static unsigned ring_reap(struct uring *r)
{
	return 0;
}

static unsigned ring_join(struct uring *r)
{
	return 0;
}

static void ring_leave(struct uring *r)
{
}

static void ring_sleep(struct uring *r, unsigned want, uint64_t timeout_ns)
{
}

static int ring_init(struct uring *r)
{
	return -ENOSYS;
}

static void ring_exit(struct uring *r)
{
}

static void ring_forget(struct uring *r)
{
}

#endif

/* ---- sleepers ---- */

static void sleeper_add(struct uring *r, struct sleeper *s)
{
	spin_lock(&r->sleep_lock);
	list_add_tail(&s->link, &r->sleepers);
	atomic_fetch_add(&r->nr_sleepers, 1);
	spin_unlock(&r->sleep_lock);
}

/* => sleep_lock held; fine on one that is off already. */
static void sleeper_off(struct uring *r, struct sleeper *s)
{
	if (list_empty(&s->link))
		return;
	list_del_init(&s->link);
	atomic_fetch_sub(&r->nr_sleepers, 1);
}

static void sleeper_del(struct uring *r, struct sleeper *s)
{
	spin_lock(&r->sleep_lock);
	sleeper_off(r, s);
	spin_unlock(&r->sleep_lock);
}

/* If the ring has nobody and needs somebody, sends one sleeper there. */
static void ring_staff(struct uring *r)
{
	struct sleeper *s;
	_Atomic uint32_t *word = NULL;

	if (!r->native || !atomic_load(&r->inflight) ||
	    atomic_load(&r->in_ring) || !atomic_load(&r->nr_sleepers))
		return;
	spin_lock(&r->sleep_lock);
	list_for_each_entry (s, &r->sleepers, link) {
		uint32_t state = FUTEX;

		if (atomic_compare_exchange_strong(&s->state, &state, LOOK)) {
			word = &s->state;
			break;
		}
		/* This one is on its way and will look by itself. */
		if (state == LOOK || state == RING)
			break;
	}
	spin_unlock(&r->sleep_lock);
	/* The sleeper may be gone by now: then nobody waits at the address. */
	if (word)
		futex_wake(word, 1);
}

static void sleep_once(struct uring *r, struct sleeper *s, uint32_t expected,
		       uint64_t timeout_ns)
{
	struct timespec ts = sys_timespec(timeout_ns);
	uint32_t state = LOOK;
	unsigned want;

	atomic_compare_exchange_strong(&s->state, &state, FUTEX);
	want = r->native ? ring_join(r) : 0;
	if (!want) {
		sys_futex(&s->state, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, FUTEX,
			  timeout_ns ? &ts : NULL);
		return;
	}
	state = FUTEX;
	if (atomic_compare_exchange_strong(&s->state, &state, RING) &&
	    atomic_load(s->word) == expected)
		ring_sleep(r, want, timeout_ns);
	ring_leave(r);
	state = RING;
	atomic_compare_exchange_strong(&s->state, &state, FUTEX);
	ring_reap(r);
}

int uring_wait(struct uring *r, _Atomic uint32_t *word, uint32_t expected,
	       uint64_t timeout_ns)
{
	struct sleeper s = {.word = word, .state = FUTEX};
	uint64_t end = 0, left = 0;
	int ret = 0;

	uring_poll(r);
	if (atomic_load(word) != expected)
		return 0;
	if (timeout_ns)
		end = now_ns() + timeout_ns;
	sleeper_add(r, &s);
	while (atomic_load(word) == expected &&
	       atomic_load(&s.state) != WOKEN) {
		if (timeout_ns) {
			uint64_t now = now_ns();

			if (now >= end) {
				ret = -ETIMEDOUT;
				break;
			}
			left = end - now;
		}
		sleep_once(r, &s, expected, left);
	}
	sleeper_del(r, &s);
	ring_staff(r);
	return ret;
}

#define WAKE_BATCH 16u

/* One batch; the number woken. */
static unsigned wake_some(struct uring *r, _Atomic uint32_t *word, unsigned nr)
{
	_Atomic uint32_t *futex[WAKE_BATCH];
	unsigned n = 0, woken = 0;
	bool in_ring = false;
	struct sleeper *s, *tmp;

	spin_lock(&r->sleep_lock);
	list_for_each_entry_safe (s, tmp, &r->sleepers, link) {
		uint32_t old;

		if (woken == nr || n == WAKE_BATCH)
			break;
		if (s->word != word)
			continue;
		sleeper_off(r, s);
		woken++;
		old = atomic_exchange(&s->state, WOKEN);
		if (old == RING)
			in_ring = true;
		else if (old == FUTEX)
			futex[n++] = &s->state;
		/* LOOK: whoever set it wakes it. */
	}
	spin_unlock(&r->sleep_lock);
	for (unsigned i = 0; i < n; i++)
		futex_wake(futex[i], 1);
	if (in_ring)
		ring_push(r, NULL);
	return woken;
}

void uring_wake(struct uring *r, _Atomic uint32_t *word, unsigned nr)
{
	/*
	 * Pairs with uring_wait(): it is counted, then reads the word again.
	 * The caller changed the word, we read the count.
	 */
	full_fence(r);
	while (nr && atomic_load(&r->nr_sleepers)) {
		unsigned woken = wake_some(r, word, nr);

		if (woken < WAKE_BATCH)
			return;
		nr -= woken;
	}
}

/* ---- what is left of the interface ---- */

static void request_again(struct uring *r, struct request *q)
{
	int err;

	if (!r->native) {
		queue_push(r, q);
		return;
	}
	err = ring_push(r, q);
	if (err) {
		q->tries = TRIES_MAX;
		complete(r, q, err);
	}
}

void uring_submit(struct uring *r, bool write, int fd, const struct iovec *iov,
		  unsigned nr, uint64_t off, void (*done)(void *arg, int res),
		  void *arg)
{
	struct request *q = req_get(r);

	q->write = write;
	q->fd = fd;
	q->iov = iov;
	q->nr = (uint16_t)nr;
	q->off = off;
	q->done = done;
	q->arg = arg;
	q->tries = 0;
	q->owner = own_slot();
	atomic_fetch_add(&r->own[q->owner], 1);
	atomic_fetch_add(&r->unfinished, 1);
	atomic_fetch_add(&r->inflight, 1);
	if (r->native) {
		request_again(r, q);
		ring_staff(r);
	} else if (r->nr_workers) {
		queue_push(r, q);
	} else {
		q->tries = TRIES_MAX;
		complete(r, q, do_io(q));
	}
}

unsigned uring_poll(struct uring *r)
{
	return r->native ? ring_reap(r) : 0;
}

unsigned uring_inflight(const struct uring *r)
{
	return atomic_load(&r->unfinished);
}

bool uring_is_native(const struct uring *r)
{
	return r->native;
}

size_t uring_size(void)
{
	return sizeof(struct uring);
}

int uring_init(struct uring *r, void *stack_mem, size_t stack_bytes,
	       bool force_threads)
{
	void *self[URING_WORKERS];

	for (unsigned i = 0; i < URING_WORKERS; i++)
		self[i] = r->worker[i].self;
	memset(r, 0, sizeof(*r));
	for (unsigned i = 0; i < URING_WORKERS; i++)
		r->worker[i].self = self[i];
	list_init(&r->sleepers);
	for (uint32_t i = 0; i < REQS; i++)
		r->reqs[i].next = i + 1 < REQS ? i + 2 : 0;
	r->free = 1;
	r->native = !force_threads && !ring_init(r);
	if (!r->native)
		workers_start(r, stack_mem, stack_bytes);
	return 0;
}

void uring_exit(struct uring *r)
{
	_Atomic uint32_t never = 0;

	/* Callbacks that other threads run are not ours to wait for on a
	 * word; this is the end, a millisecond does not matter. */
	while (uring_inflight(r))
		uring_wait(r, &never, 0, 1000000);
	if (r->native)
		ring_exit(r);
	else
		workers_stop(r);
}

void uring_after_fork(struct uring *r)
{
	if (r->native)
		ring_forget(r);
	r->native = false;
}
