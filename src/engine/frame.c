/* SPDX-License-Identifier: MIT */
/*
 * Page frames: flags, references, the page lock, the page's class.
 *
 * The page lock and "wait for write-back" sleep on the frame's flags word
 * itself, and share one bit, FRAME_WAITERS, that says "somebody may sleep
 * here". It is set only by a compare-and-swap against a word in which the
 * awaited bit was still set, and is cleared by the same atomic step that
 * clears the bit. So no wake-up is lost:
 *
 *   task A waits for LOCKED             task B unlocks
 *   reads flags: LOCKED
 *                                       clears LOCKED|WAITERS: no WAITERS,
 *                                       wakes nobody
 *   CAS old -> old|WAITERS fails:
 *   the word changed; looks again,
 *   sees the bit clear, goes on
 *
 *   reads flags: LOCKED
 *   CAS sets WAITERS
 *                                       clears LOCKED|WAITERS: WAITERS was
 *                                       set, wakes all
 *   host wait(word, LOCKED|WAITERS):
 *   the word differs, returns at once
 *
 * Two bits (LOCKED and WRITEBACK), one WAITERS: whoever clears one of them
 * wakes all, and those who wait for the other set WAITERS again before they
 * sleep. If the other bit is cleared in between, nobody is woken for it, and
 * nobody needs to be: they are awake and see it clear.
 *
 * Any other flag that changes makes a wait return early. That costs a turn of
 * the loop, never a missed change.
 */
#include <limits.h>
#include <stdatomic.h>

#include "engine/check.h"
#include "engine/frame.h"

bool weir__frame_set(struct frame *f, uint32_t bits)
{
	return atomic_fetch_or_explicit(&f->flags, bits, memory_order_acq_rel) &
	       bits;
}

bool weir__frame_clear(struct frame *f, uint32_t bits)
{
	return atomic_fetch_and_explicit(&f->flags, ~bits,
					 memory_order_acq_rel) &
	       bits;
}

/* ------------------------------------------------------------ the page lock */

bool weir__frame_trylock(struct frame *f)
{
	return !weir__frame_set(f, FRAME_LOCKED);
}

void weir__frame_wait(struct engine *e, struct frame *f, uint32_t bits)
{
	weir__assert_may_sleep(e);
	for (;;) {
		uint32_t old =
		    atomic_load_explicit(&f->flags, memory_order_acquire);

		if (!(old & bits))
			return;
		if (!(old & FRAME_WAITERS) &&
		    !atomic_compare_exchange_weak_explicit(
			&f->flags, &old, old | FRAME_WAITERS,
			memory_order_acq_rel, memory_order_relaxed))
			continue;
		e->host->ops->wait(e->host, &f->flags, old | FRAME_WAITERS, 0);
	}
}

void weir__frame_lock(struct engine *e, struct frame *f)
{
	weir__assert_may_sleep(e);
	while (!weir__frame_trylock(f))
		weir__frame_wait(e, f, FRAME_LOCKED);
}

void weir__frame_end(struct engine *e, struct frame *f, uint32_t bit)
{
	uint32_t old = atomic_fetch_and_explicit(
	    &f->flags, ~(bit | FRAME_WAITERS), memory_order_acq_rel);

	weir__bug_on(e, !(old & bit));
	/*
	 * The frame may be free and in other hands by now. Waking on its word
	 * is harmless then: the memmap stays, and waiters look again.
	 */
	if (old & FRAME_WAITERS)
		e->host->ops->wake_word(e->host, &f->flags, UINT_MAX);
}

void weir__frame_unlock(struct engine *e, struct frame *f)
{
	weir__frame_end(e, f, FRAME_LOCKED);
}

/* --------------------------------------------------------------- references */

/* There is no engine at hand to report to: a broken count stops at once. */
static inline void stop_if(bool broken)
{
	if (__builtin_expect(broken, 0))
		__builtin_trap();
}

void weir__frame_get(struct frame *f)
{
	/* Relaxed: who holds a reference already has seen the frame. */
	stop_if(atomic_fetch_add_explicit(&f->refcount, 1,
					  memory_order_relaxed) <= 0);
}

bool weir__frame_tryget(struct frame *f)
{
	int32_t old = atomic_load_explicit(&f->refcount, memory_order_relaxed);

	do {
		if (old <= 0)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
	    &f->refcount, &old, old + 1, memory_order_acquire,
	    memory_order_relaxed));
	return true;
}

bool weir__frame_put_testzero(struct frame *f)
{
	int32_t old =
	    atomic_fetch_sub_explicit(&f->refcount, 1, memory_order_acq_rel);

	stop_if(old <= 0);
	return old == 1;
}

bool weir__frame_freeze(struct frame *f, int expected)
{
	int32_t old = expected;

	return atomic_compare_exchange_strong_explicit(
	    &f->refcount, &old, 0, memory_order_acq_rel, memory_order_relaxed);
}

int weir__page_mapcount(const struct frame *f)
{
	return __atomic_load_n((const int32_t *)&f->mapcount,
			       __ATOMIC_RELAXED) +
	       1;
}

bool weir__frame_mapped(const struct frame *f)
{
	return weir__page_mapcount(f) > 0;
}

struct anon_vma *weir__frame_anon_vma(const struct frame *f)
{
	uintptr_t m = __atomic_load_n(&f->mapping, __ATOMIC_RELAXED);

	if (!(m & MAPPING_ANON))
		return NULL;
	return (struct anon_vma *)(m - MAPPING_ANON);
}

/* ------------------------------------------------------------------- class */

static int refs(const struct frame *f)
{
	return __atomic_load_n((const int32_t *)&f->refcount, __ATOMIC_RELAXED);
}

/*
 * What reclaim may do with a page. The order of the questions matters: a
 * locked anonymous page is swappable only once the lock is gone, so the
 * states that forbid come before the kinds that allow.
 */
enum page_class weir__frame_class(const struct frame *f)
{
	if (refs(f) == 0 || frame_test(f, FRAME_BUDDY | FRAME_TAIL))
		return CLASS_UNRECLAIMABLE;
	if (frame_test(f, FRAME_RESERVED | FRAME_PGTABLE | FRAME_KERNEL))
		return CLASS_UNRECLAIMABLE;
	if (frame_test(f, FRAME_UNEVICTABLE | FRAME_MLOCKED))
		return CLASS_UNRECLAIMABLE;
	if (frame_test(f, FRAME_LOCKED))
		return CLASS_UNRECLAIMABLE;
	/* slab.c keeps the number of live objects in private */
	if (frame_test(f, FRAME_SLAB))
		return __atomic_load_n(&f->private, __ATOMIC_RELAXED)
			   ? CLASS_UNRECLAIMABLE
			   : CLASS_DISCARDABLE;
	/* swapbacked and without a mapping: fresh in the swap cache */
	if (frame_test(f, FRAME_SWAPBACKED))
		return CLASS_SWAPPABLE;
	if (weir__frame_anon_vma(f))
		return CLASS_DISCARDABLE; /* lazily freeable */
	if (__atomic_load_n(&f->mapping, __ATOMIC_RELAXED))
		return CLASS_SYNCABLE;
	return CLASS_UNRECLAIMABLE; /* nobody we know owns it */
}

const char *weir__page_class_name(enum page_class c)
{
	static const char *const name[] = {
	    [CLASS_UNRECLAIMABLE] = "unreclaimable",
	    [CLASS_SWAPPABLE] = "swappable",
	    [CLASS_SYNCABLE] = "syncable",
	    [CLASS_DISCARDABLE] = "discardable",
	};

	return (unsigned)c < sizeof(name) / sizeof(name[0]) ? name[c] : "?";
}

/* ----------------------------------------------------------------- validity */

#define OWNED_BY_ENGINE (FRAME_SLAB | FRAME_PGTABLE | FRAME_KERNEL)
#define USER_PAGE                                                              \
	(FRAME_LRU | FRAME_ACTIVE | FRAME_SWAPBACKED | FRAME_SWAPCACHE |       \
	 FRAME_UNEVICTABLE | FRAME_MLOCKED | FRAME_WRITEBACK |                 \
	 FRAME_EXCLUSIVE)

static bool free_frame_is_valid(const struct frame *f, uint32_t flags)
{
	if (flags & ~(FRAME_BUDDY | FRAME_TAIL | FRAME_RESERVED))
		return false;
	if ((flags & FRAME_BUDDY) && (flags & FRAME_TAIL))
		return false;
	return !weir__frame_mapped(f) && !f->mapping;
}

static bool one_bit_at_most(uint32_t bits)
{
	return (bits & (bits - 1)) == 0;
}

bool weir__frame_is_valid(struct engine *e, const struct frame *f)
{
	uint32_t flags =
	    __atomic_load_n((const uint32_t *)&f->flags, __ATOMIC_ACQUIRE);
	int count = refs(f), mapped = weir__page_mapcount(f);

	if (count < 0 || mapped < 0)
		return false;
	if (f->node >= e->nr_nodes || f->zone >= e->nodes[f->node].nr_zones)
		return false;
	if (count == 0)
		return free_frame_is_valid(f, flags);
	if (flags & (FRAME_BUDDY | FRAME_TAIL))
		return false;
	if (!one_bit_at_most(flags & OWNED_BY_ENGINE))
		return false;
	if ((flags & OWNED_BY_ENGINE) && ((flags & USER_PAGE) || mapped))
		return false;
	if ((flags & FRAME_WAITERS) &&
	    !(flags & (FRAME_LOCKED | FRAME_WRITEBACK)))
		return false;
	if ((flags & FRAME_ACTIVE) && (flags & FRAME_UNEVICTABLE))
		return false;
	if ((flags & FRAME_SWAPCACHE) && !(flags & FRAME_SWAPBACKED))
		return false;
	/* each page-table entry holds a reference and needs an owner */
	if (mapped && (count < mapped || !f->mapping))
		return false;
	if ((flags & FRAME_EXCLUSIVE) &&
	    (!weir__frame_anon_vma(f) || mapped > 1))
		return false;
	return true;
}
