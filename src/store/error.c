/* SPDX-License-Identifier: MIT */
/*
 * A store that fails on purpose. It stands before another one and
 *
 *   counts pages as their requests finish, reads and writes apart; every N-th
 *   page's status becomes the error asked for, whatever really happened;
 *   or flips one bit of every N-th page read before its checksum is looked at,
 *   through the hook that the store below offers.
 *
 * A page that failed truly keeps its true error.
 */
#include "store/store.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "host/live/sys.h"
#include "util/fmt.h"
#include "util/list.h"

enum fault { READ_EIO, WRITE_EIO, WRITE_ENOSPC, FLIP, NR_FAULTS };

static const char *const fault_name[NR_FAULTS] = {
    [READ_EIO] = "read-eio",
    [WRITE_EIO] = "write-eio",
    [WRITE_ENOSPC] = "write-enospc",
    [FLIP] = "flip",
};

struct store_error {
	struct store s;
	struct store *under;
	uint64_t every[NR_FAULTS]; /* 0: never */
	_Atomic uint64_t count[NR_FAULTS];
};

static struct store_error *error_of(struct store *s)
{
	return container_of(s, struct store_error, s);
}

static bool strikes(struct store_error *e, enum fault fault)
{
	if (!e->every[fault])
		return false;
	return (atomic_fetch_add(&e->count[fault], 1) + 1) % e->every[fault] ==
	       0;
}

static void flip(void *ctx, void *page)
{
	struct store_error *e = ctx;
	uint64_t n;

	if (!strikes(e, FLIP))
		return;
	/* Another bit each time; 31337 is odd: all 32768 have their turn. */
	n = atomic_load(&e->count[FLIP]) * 31337 % (4096 * 8);
	((unsigned char *)page)[n / 8] ^= (unsigned char)(1u << n % 8);
}

static int16_t write_fault(struct store_error *e)
{
	bool eio = strikes(e, WRITE_EIO), enospc = strikes(e, WRITE_ENOSPC);

	return eio ? -EIO : enospc ? -ENOSPC : 0;
}

static void error_done(struct store_req *r)
{
	struct store_error *e = (struct store_error *)(uintptr_t)r->scratch[2];

	r->done = (void (*)(struct store_req *))(uintptr_t)r->scratch[3];
	for (unsigned i = 0; i < r->nr; i++) {
		int16_t bad = 0;

		if (r->write)
			bad = write_fault(e);
		else if (strikes(e, READ_EIO))
			bad = -EIO;
		if (bad && !r->status[i])
			r->status[i] = bad;
	}
	__atomic_store_n(
	    &e->s.bytes_used,
	    __atomic_load_n(&e->under->bytes_used, __ATOMIC_RELAXED),
	    __ATOMIC_RELAXED);
	r->done(r);
}

static void error_submit(struct store *s, struct store_req *r)
{
	struct store_error *e = error_of(s);

	r->scratch[2] = (uintptr_t)e;
	r->scratch[3] = (uintptr_t)r->done;
	r->done = error_done;
	e->under->ops->submit(e->under, r);
}

static void error_discard(struct store *s, uint64_t slot, unsigned nr)
{
	struct store *under = error_of(s)->under;

	under->ops->discard(under, slot, nr);
}

static void error_slot_free(struct store *s, uint64_t slot, bool leased)
{
	struct store *under = error_of(s)->under;

	if (under->ops->slot_free)
		under->ops->slot_free(under, slot, leased);
}

static void error_after_fork(struct store *s, struct uring *ring)
{
	struct store *under = error_of(s)->under;

	under->fd = s->fd;
	under->ops->after_fork(under, ring);
}

static void error_close(struct store *s)
{
	struct store *under = error_of(s)->under;

	under->ops->close(under);
	sys_munmap(error_of(s), sizeof(struct store_error));
}

static const struct store_ops error_ops = {.name = "error",
					   .submit = error_submit,
					   .discard = error_discard,
					   .slot_free = error_slot_free,
					   .after_fork = error_after_fork,
					   .close = error_close};

/* One `name=N`; what follows it, or NULL. */
static const char *parse_one(struct store_error *e, const char *p)
{
	size_t len = strcspn(p, "=,");
	uint64_t n = 0;
	int fault;

	for (fault = 0; fault < NR_FAULTS; fault++)
		if (strlen(fault_name[fault]) == len &&
		    !memcmp(p, fault_name[fault], len))
			break;
	if (fault == NR_FAULTS || p[len] != '=')
		return NULL;
	p += len + 1;
	if (*p < '0' || *p > '9')
		return NULL;
	for (; *p >= '0' && *p <= '9' && n < UINT32_MAX; p++)
		n = n * 10 + (uint64_t)(*p - '0');
	e->every[fault] = n;
	if (*p == ',')
		return p + 1;
	return *p ? NULL : p;
}

int store_error_wrap(struct store *under, const char *spec, struct store **out,
		     char *err, size_t errlen)
{
	struct store_error *e =
	    sys_mmap(NULL, sizeof(*e), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (sys_is_err(e)) {
		fmt_s(err, errlen, "no memory");
		return -ENOMEM;
	}
	for (const char *p = spec; p && *p;) {
		const char *next = parse_one(e, p);

		if (!next) {
			fmt_s(err, errlen,
			      "'%s': known are read-eio=N, write-eio=N, "
			      "write-enospc=N and flip=N, comma separated",
			      p);
			sys_munmap(e, sizeof(*e));
			return -EINVAL;
		}
		p = next;
	}
	e->under = under;
	e->s.ops = &error_ops;
	e->s.fd = under->fd;
	e->s.slots = under->slots;
	if (e->every[FLIP]) {
		under->on_read = flip;
		under->on_read_ctx = e;
	}
	*out = &e->s;
	return 0;
}
