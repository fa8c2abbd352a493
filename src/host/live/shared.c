/* SPDX-License-Identifier: MIT */
/* The table of processes shared by weir and the agents: see shared.h. */
#include "host/live/shared.h"

#include <stdatomic.h>
#include <string.h>

#include "host/live/sys.h"

void weir_shared_init(struct weir_shared *s, int32_t weir_pid)
{
	s->version = WEIR_SHARED_VERSION;
	s->bytes = sizeof(*s);
	s->weir_pid = weir_pid;
	s->magic = WEIR_SHARED_MAGIC;
}

int weir_shared_check(const struct weir_shared *s)
{
	if (s->magic != WEIR_SHARED_MAGIC ||
	    s->version != WEIR_SHARED_VERSION || s->bytes != sizeof(*s))
		return -EPROTO;
	return 0;
}

static void raise_to(_Atomic uint64_t *peak, uint64_t v)
{
	uint64_t old = atomic_load_explicit(peak, memory_order_relaxed);

	while (old < v && !atomic_compare_exchange_weak(peak, &old, v))
		;
}

void weir_slot_level(_Atomic uint64_t *now, _Atomic uint64_t *peak, uint64_t v)
{
	atomic_store_explicit(now, v, memory_order_relaxed);
	raise_to(peak, v);
}

void weir_slot_set_state(struct weir_slot *w, enum weir_slot_state state)
{
	atomic_store_explicit(&w->state, state, memory_order_release);
}

void weir_slot_error(struct weir_slot *w, uint32_t flag, const char *msg)
{
	size_t len;

	/* Two threads may come here at once; a mixed sentence is prevented by
	 * letting only the one that finds it empty write. */
	if (!__atomic_test_and_set(&w->error[WEIR_ERROR_MAX - 1],
				   __ATOMIC_ACQ_REL)) {
		len = strnlen(msg, WEIR_ERROR_MAX - 2);
		memcpy(w->error, msg, len);
		w->error[len] = '\0';
		flag |= WEIR_SLOT_ERROR;
	}
	atomic_fetch_or_explicit(&w->flags, flag, memory_order_release);
}

static bool slot_is_dead(struct weir_slot *w)
{
	int32_t pid = atomic_load(&w->pid);

	if (atomic_load(&w->state) == SLOT_ENDED)
		return true;
	return pid > 0 && sys_kill(pid, 0) == -ESRCH;
}

/* Adds the figures of a slot that nobody else can reach to the common sum. */
static void slot_fold(struct weir_folded *sum, struct weir_slot *w)
{
	for (int i = 0; i < NR_STATS; i++)
		atomic_fetch_add(&sum->stats[i], atomic_load(&w->stats[i]));
	raise_to(&sum->managed_peak_bytes, atomic_load(&w->managed_peak_bytes));
	raise_to(&sum->overhead_peak_bytes,
		 atomic_load(&w->overhead_peak_bytes));
	raise_to(&sum->swap_peak_bytes, atomic_load(&w->swap_peak_bytes));
	raise_to(&sum->zmem_peak_bytes, atomic_load(&w->zmem_peak_bytes));
	for (int i = 0; i < NR_UNMANAGED; i++)
		raise_to(&sum->unmanaged_peak_bytes[i],
			 atomic_load(&w->unmanaged_peak_bytes[i]));
	atomic_fetch_or(&sum->flags, atomic_load(&w->flags));
	atomic_fetch_add(&sum->processes, 1);
}

static struct weir_slot *slot_take_free(struct weir_shared *s)
{
	for (unsigned i = 0; i < WEIR_SLOTS; i++) {
		uint32_t expected = SLOT_FREE;

		if (atomic_compare_exchange_strong(&s->slot[i].state, &expected,
						   SLOT_CLAIMED))
			return &s->slot[i];
	}
	return NULL;
}

/*
 * A pid found dead may come back as another process before the exchange below,
 * but then that process claims a slot of its own: a slot is only ever written
 * by the process that claimed it, so folding what a dead one left is safe. The
 * exchange keeps two folders apart.
 */
static struct weir_slot *slot_take_dead(struct weir_shared *s)
{
	for (unsigned i = 0; i < WEIR_SLOTS; i++) {
		struct weir_slot *w = &s->slot[i];
		uint32_t state = atomic_load(&w->state);

		if (state == SLOT_FREE || state == SLOT_FOLDING ||
		    !slot_is_dead(w))
			continue;
		if (!atomic_compare_exchange_strong(&w->state, &state,
						    SLOT_FOLDING))
			continue;
		slot_fold(&s->folded, w);
		return w;
	}
	return NULL;
}

static void slot_end_of_pid(struct weir_shared *s, int32_t pid)
{
	for (unsigned i = 0; i < WEIR_SLOTS; i++) {
		struct weir_slot *w = &s->slot[i];
		uint32_t state = SLOT_LIVE;

		if (atomic_load(&w->pid) != pid ||
		    atomic_load(&w->state) != SLOT_LIVE)
			continue;
		atomic_fetch_or(&w->flags, WEIR_SLOT_EXECED);
		atomic_compare_exchange_strong(&w->state, &state, SLOT_ENDED);
	}
}

struct weir_slot *weir_slot_claim(struct weir_shared *s, int32_t pid,
				  const char *name)
{
	struct weir_slot *w;
	uint32_t generation;

	slot_end_of_pid(s, pid);
	w = slot_take_free(s);
	if (!w)
		w = slot_take_dead(s);
	if (!w) {
		atomic_fetch_add(&s->dropped, 1);
		return NULL;
	}
	generation = atomic_load(&w->generation);
	memset((char *)w + offsetof(struct weir_slot, pid), 0,
	       sizeof(*w) - offsetof(struct weir_slot, pid));
	memcpy(w->name, name, strnlen(name, WEIR_NAME_MAX - 1));
	atomic_store(&w->generation, generation + 1);
	atomic_store(&w->pid, pid);
	atomic_fetch_add(&s->processes, 1);
	atomic_store(&w->state, SLOT_CLAIMED);
	return w;
}

const char *weir_unmanaged_name(enum weir_unmanaged kind)
{
	static const char *const name[NR_UNMANAGED] = {
		[UNMANAGED_FILE] = "file maps", [UNMANAGED_STACK] = "stacks",
		[UNMANAGED_LOCKED] = "locked",	[UNMANAGED_SMALL] = "small",
		[UNMANAGED_OTHER] = "other",
	};

	return (unsigned)kind < NR_UNMANAGED ? name[kind] : "?";
}
