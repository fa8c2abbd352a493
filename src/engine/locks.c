/* SPDX-License-Identifier: MIT */
/*
 * Spinlocks and their order.
 *
 * A lock is one word: test-and-set, and while it is taken, reading with a
 * pause in between. After SPINS_BEFORE_RELAX reads the processor is given
 * away, because on the live host the holder may have been preempted.
 *
 * Taking the first spinlock of a task is also where the simulator may run
 * another fiber (host preempt). Tasks count their spinlocks for that; debug
 * builds keep the ranks too and compare each new lock with the highest one
 * held, so that a broken order stops at its first occurrence, with both names,
 * whether or not it would have deadlocked this time.
 */
#include <stdatomic.h>

#include "engine/check.h"
#include "util/linebuf.h"

#define SPINS_BEFORE_RELAX 100 /* reads; a short section is over by then */

#ifdef WEIR_DEBUG
#define DEBUG_LOCKS 1
#else
#define DEBUG_LOCKS 0
#endif

static inline void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* --------------------------------------------------- the debug build's book */

static const char *rank_name(unsigned rank)
{
	switch (rank) {
	case RANK_PAGE:
		return "page";
	case RANK_ASPACES:
		return "aspaces";
	case RANK_MAPPINGS:
		return "mappings";
	case RANK_RMAP:
		return "rmap";
	case RANK_ASPACE:
		return "aspace";
	case RANK_SHRINKER:
		return "shrinker";
	case RANK_PCACHE:
		return "pcache";
	case RANK_WB:
		return "writeback";
	case RANK_SHADOW:
		return "shadow";
	case RANK_VFS:
		return "vfs";
	case RANK_SWAP:
		return "swap";
	case RANK_BATCH:
		return "batch";
	case RANK_LRU:
		return "lru";
	case RANK_SLABCPU:
		return "slab array";
	case RANK_SLAB:
		return "slab";
	case RANK_PCP:
		return "pcp";
	case RANK_ZONE:
		return "zone";
	case RANK_KSWAPD:
		return "kswapd";
	case RANK_STATS:
		return "stats";
	default:
		return "unnamed";
	}
}

/* "lock order: zone taken while holding swap"; rank 0 = no lock to name. */
static void __attribute__((noreturn))
complain(struct engine *e, const char *what, unsigned rank, const char *middle,
	 unsigned held)
{
	char msg[128];
	struct linebuf b;

	lb_init(&b, msg, sizeof(msg));
	lb_str(&b, what);
	if (rank)
		lb_str(&b, rank_name(rank));
	lb_str(&b, middle);
	if (held)
		lb_str(&b, rank_name(held));
	e->host->ops->panic(e->host, msg);
}

static unsigned highest_rank(const struct wtask *t)
{
	unsigned max = 0;

	for (unsigned i = 0; i < t->nr_locks; i++)
		if (t->rank[i] > max)
			max = t->rank[i];
	return max;
}

static void check_order(struct engine *e, const struct wtask *t,
			const struct spin *s)
{
	unsigned held = highest_rank(t);

	if (held >= s->rank)
		complain(e, "lock order: ", s->rank, " taken while holding ",
			 held);
}

static void note_locked(struct engine *e, struct wtask *t, struct spin *s)
{
	if (DEBUG_LOCKS) {
		if (t->nr_locks == TASK_LOCKS_MAX)
			complain(e, "too many spinlocks: ", s->rank,
				 " is one more than a task may hold", 0);
		t->rank[t->nr_locks] = (uint8_t)s->rank;
		__atomic_store_n(&s->owner, (uint16_t)t->id, __ATOMIC_RELAXED);
	}
	t->nr_locks++;
}

/* Locks are let go in any order. */
static void note_unlocked(struct engine *e, struct wtask *t, struct spin *s)
{
	if (DEBUG_LOCKS) {
		unsigned i = t->nr_locks;

		while (i > 0 && t->rank[i - 1] != s->rank)
			i--;
		if (i == 0)
			complain(e, "lock not held by this task: ", s->rank,
				 " let go", 0);
		for (; i < t->nr_locks; i++)
			t->rank[i - 1] = t->rank[i];
		__atomic_store_n(&s->owner, (uint16_t)0, __ATOMIC_RELAXED);
	}
	t->nr_locks--;
}

/*
 * Counting costs a look-up of the task, so it is done only for who reads it.
 * NULL: nobody does, or the task is not known yet (start-up).
 */
static struct wtask *counting_task(struct engine *e)
{
	if (!DEBUG_LOCKS && !e->host->ops->preempt)
		return NULL;
	return weir__self(e);
}

/* ----------------------------------------------------------------- the lock */

void weir__spin_init(struct spin *s, enum lock_rank rank)
{
	atomic_init(&s->word, 0);
	s->rank = (uint16_t)rank;
	s->owner = 0;
}

static void take(struct engine *e, struct spin *s)
{
	while (!spin_grab(s)) {
		unsigned spins = 0;

		while (atomic_load_explicit(&s->word, memory_order_relaxed)) {
			if (++spins < SPINS_BEFORE_RELAX) {
				cpu_pause();
				continue;
			}
			e->host->ops->relax(e->host);
			spins = 0;
		}
	}
}

/* An interrupt runs to its end. */
static bool may_preempt(struct engine *e, const struct wtask *t)
{
	return e->host->ops->preempt && t->nr_locks == 0 &&
	       !(t->flags & PF_ATOMIC);
}

void weir__spin_lock_slow(struct engine *e, struct spin *s)
{
	struct wtask *t = counting_task(e);

	if (!t) {
		take(e, s);
		return;
	}
	if (may_preempt(e, t))
		e->host->ops->preempt(e->host);
	if (DEBUG_LOCKS)
		check_order(e, t, s);
	take(e, s);
	note_locked(e, t, s);
}

bool weir__spin_trylock(struct engine *e, struct spin *s)
{
	struct wtask *t;

	if (atomic_load_explicit(&s->word, memory_order_relaxed) || !spin_grab(s))
		return false;
	t = counting_task(e);
	if (t)
		note_locked(e, t, s);
	return true;
}

void weir__spin_unlock_slow(struct engine *e, struct spin *s)
{
	struct wtask *t = counting_task(e);

	if (t)
		note_unlocked(e, t, s);
	atomic_store_explicit(&s->word, 0, memory_order_release);
}

#ifdef WEIR_DEBUG
void weir__spin_assert_held(struct engine *e, const struct spin *s)
{
	struct wtask *t;

	t = weir__self(e);
	if (!t)
		return;
	if (!atomic_load_explicit(&((struct spin *)(uintptr_t)s)->word,
				  memory_order_relaxed) ||
	    __atomic_load_n(&s->owner, __ATOMIC_RELAXED) != (uint16_t)t->id)
		complain(e, "lock needed here and not held: ", s->rank, "", 0);
}
#endif

void weir__assert_may_sleep(struct engine *e)
{
	struct wtask *t;

	if (!DEBUG_LOCKS)
		return;
	t = weir__self(e);
	if (t && t->nr_locks)
		complain(e, "about to sleep", 0, " while holding ",
			 highest_rank(t));
}

/* ------------------------------------------------------------------ mutexes */

enum { MUTEX_FREE, MUTEX_HELD, MUTEX_WAITED };

bool weir__mutex_trylock(struct wmutex *m)
{
	uint32_t old = MUTEX_FREE;

	return atomic_compare_exchange_strong_explicit(
	    &m->word, &old, MUTEX_HELD, memory_order_acquire,
	    memory_order_relaxed);
}

void weir__mutex_lock(struct engine *e, struct wmutex *m)
{
	weir__assert_may_sleep(e);
	if (weir__mutex_trylock(m))
		return;
	/* Whoever has waited must assume that others still do. */
	while (atomic_exchange_explicit(&m->word, MUTEX_WAITED,
					memory_order_acquire) != MUTEX_FREE)
		e->host->ops->wait(e->host, &m->word, MUTEX_WAITED, 0);
}

void weir__mutex_unlock(struct engine *e, struct wmutex *m)
{
	uint32_t old = atomic_exchange_explicit(&m->word, MUTEX_FREE,
						memory_order_release);

	weir__bug_on(e, old == MUTEX_FREE);
	if (old == MUTEX_WAITED)
		e->host->ops->wake_word(e->host, &m->word, 1);
}
