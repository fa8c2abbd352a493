/* SPDX-License-Identifier: MIT */
/*
 * Real threads in the aspace rooms: one that faults pages in behind BUSY, one
 * that takes pages out through the reverse map, and one that maps, unmaps,
 * moves, locks and forks the same address space. Meant for TSan; without it
 * still a test that BUSY keeps a region and that nothing is lost or counted
 * twice in the end.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "space.h"

#define NR_PAGES 64
#define ROUNDS	 1500
#define BASE	 (PTE_TABLE_SPAN * 3 - (NR_PAGES / 2) * PAGE_SIZE)
#define PG(n)	 (BASE + (uint64_t)(n) * PAGE_SIZE)

static struct space *sp;
static struct aspace *as;
static _Thread_local struct wtask me;
static _Thread_local uint64_t seed;
static atomic_bool stop;
static atomic_uint nr_in, nr_out, nr_wrong, nr_busy_seen;

static unsigned rnd(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)((seed >> 20) % below);
}

/* --- the host ------------------------------------------------------------- */

static struct wtask *race_self(struct weir_host *h)
{
	return &me;
}

static void race_relax(struct weir_host *h)
{
	sched_yield();
}

static int race_wait(struct weir_host *h, _Atomic uint32_t *word,
		     uint32_t expected, uint64_t timeout_ns)
{
	if (word == &as->busy_word)
		nr_busy_seen++;
	sched_yield();
	return 0;
}

static void race_wake(struct weir_host *h, _Atomic uint32_t *word, unsigned nr)
{
}

static void race_release(struct weir_host *h, pfn_t pfn, unsigned nr)
{
}

static void race_protect(struct weir_host *h, void *cookie,
			 struct weir_vec *v, unsigned nr)
{
	sched_yield();
	for (unsigned i = 0; i < nr; i++)
		v[i].status = 0;
}

/* --- a fault -------------------------------------------------------------- */

/* BUSY on an empty entry of a region that can take a page. */
static bool claim(uint64_t addr)
{
	struct engine *e = &sp->e;
	struct region *r;
	bool ok = false;
	pte_t *pte;

	if (weir__anon_vma_prepare(as, addr) ||
	    weir__pte_alloc(as, addr, addr + PAGE_SIZE, GFP_KERNEL))
		return false;
	weir__spin_lock(e, &as->lock);
	r = weir__region_find(as, addr);
	pte = weir__pte(as, addr);
	if (r && r->anon_vma && pte && !pte_load(pte)) {
		pte_store(pte, PTE_BUSY);
		ok = true;
	}
	weir__spin_unlock(e, &as->lock);
	return ok;
}

static void fault(uint64_t addr)
{
	struct engine *e = &sp->e;
	struct frame *f = weir__frames_alloc(e, GFP_HIGHUSER_MOVABLE, 0);
	struct region *r;
	pte_t *pte;

	if (!f)
		return;
	if (!claim(addr)) {
		weir__frames_free(e, f, 0);
		return;
	}
	sched_yield(); /* the host maps */
	weir__frame_set(f, FRAME_UPTODATE);
	weir__spin_lock(e, &as->lock);
	r = weir__region_find(as, addr);
	pte = weir__pte(as, addr);
	if (!r || !r->anon_vma || !pte || pte_load(pte) != PTE_BUSY) {
		nr_wrong++;
	} else {
		weir__page_add_new_anon_rmap(e, f, r, addr);
		pte_store(pte, pte_mk(weir__pfn(e, f), PTE_WRITE | PTE_DIRTY));
		as->nr_anon++;
		nr_in++;
		if (r->flags & REGION_LOCKED)
			weir__frame_mlock_new(e, f);
		else
			weir__frame_add_lru(e, f);
	}
	weir__pte_busy_end(as);
	weir__spin_unlock(e, &as->lock);
}

static void *faulter(void *arg)
{
	me = (struct wtask){.id = 2, .name = "fault"};
	seed = 0x9e3779b97f4a7c15;
	while (!stop)
		fault(PG(rnd(NR_PAGES)));
	return NULL;
}

/* --- reclaim -------------------------------------------------------------- */

struct out {
	struct frame *f;
	unsigned removed;
};

static int take_entry(struct region *r, uint64_t addr, pte_t *pte, void *arg)
{
	struct out *o = arg;
	struct engine *e = r->as->engine;

	if (pte_load(pte) & PTE_BUSY || weir__swap_dup(e, o->f->private))
		return 1;
	pte_xchg(pte, pte_mk_swap(o->f->private, 0));
	r->as->nr_anon--;
	r->as->nr_swapents++;
	weir__page_remove_rmap(e, o->f);
	o->removed++;
	return 0;
}

static struct frame *some_frame(uint64_t addr)
{
	struct engine *e = &sp->e;
	struct frame *f = NULL;
	pte_t *pte;

	weir__spin_lock(e, &as->lock);
	pte = weir__pte(as, addr);
	if (pte && pte_load(pte) & PTE_PRESENT) {
		f = weir__frame(e, pte_pfn(pte_load(pte)));
		weir__frame_get(f);
	}
	weir__spin_unlock(e, &as->lock);
	return f;
}

static void evict(struct frame *f)
{
	struct engine *e = &sp->e;
	struct out o = {.f = f};
	swp_entry_t slot;

	weir__frame_lock(e, f);
	if (!frame_test(f, FRAME_SWAPCACHE) && weir__swap_alloc(e, &slot, 1)) {
		weir__swap_cache_add(e, f, slot, NULL);
		weir__rmap_walk(e, f, rnd(2), take_entry, &o);
		nr_out += o.removed;
		weir__swap_cache_del(e, f, 0);
		o.removed++;
	}
	weir__frame_unlock(e, f);
	while (o.removed--)
		weir__page_put(e, f);
}

static void *reclaimer(void *arg)
{
	me = (struct wtask){.id = 3, .name = "reclaim"};
	seed = 0xbf58476d1ce4e5b9;
	while (!stop) {
		struct frame *f = some_frame(PG(rnd(NR_PAGES)));

		if (!f)
			continue;
		evict(f);
		weir__page_put(&sp->e, f);
	}
	return NULL;
}

/* --- the program's own changes -------------------------------------------- */

static void change(void)
{
	unsigned i = rnd(NR_PAGES), n = 1 + rnd(8);
	struct aspace *child;
	int ret;

	if (i + n > NR_PAGES)
		n = NR_PAGES - i;
	switch (rnd(8)) {
	case 0:
		weir__aspace_unmap(as, PG(i), PG(i + n));
		break;
	case 1:
		weir__aspace_zap(as, PG(i), PG(i + n));
		break;
	case 2:
		weir__aspace_move(as, PG(i), PG(rnd(NR_PAGES - n + 1)),
				  n * PAGE_SIZE);
		break;
	case 3:
		weir__aspace_mlock(as, PG(i), PG(i + n), rnd(2));
		break;
	case 4:
		if (weir__aspace_create(&sp->e, NULL, &child))
			break;
		ret = weir__aspace_fork(as, child);
		if (ret && ret != -EAGAIN && ret != -ENOMEM)
			nr_wrong++;
		if (!weir__aspace_is_valid(child))
			nr_wrong++;
		sched_yield();
		weir__aspace_destroy(child);
		break;
	default:
		weir__region_add(as, PG(i), PG(i + n), REGION_WRITE);
	}
	if (!weir__aspace_is_valid(as))
		nr_wrong++;
}

static void test_race(void **state)
{
	static struct weir_host_ops ops;
	const struct weir_host_ops *real;
	pthread_t t[2];

	sp = *state;
	me = (struct wtask){.id = 1, .name = "program"};
	seed = 0x94d049bb133111eb;
	real = sp->fh.host.ops;
	ops = *real;
	ops.self = race_self;
	ops.relax = race_relax;
	ops.wait = race_wait;
	ops.wake_word = race_wake;
	ops.release = race_release;
	ops.protect = race_protect;
	sp->fh.host.ops = &ops;
	sp->e.alloc_slow = NULL;
	assert_int_equal(weir__aspace_create(&sp->e, NULL, &as), 0);
	pthread_create(&t[0], NULL, faulter, NULL);
	pthread_create(&t[1], NULL, reclaimer, NULL);
	for (unsigned i = 0; i < ROUNDS; i++)
		change();
	/* On few processors the others may hardly have run. */
	while (nr_in < 100 || nr_out < 20) {
		change();
		sched_yield();
	}
	stop = true;
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	assert_int_equal(nr_wrong, 0);
	assert_true(weir__aspace_is_valid(as));
	print_message("%u in, %u out, %u waits\n", nr_in, nr_out, nr_busy_seen);
	weir__aspace_destroy(as);
	sp->fh.host.ops = real;
}

#define T(f) cmocka_unit_test_setup_teardown(f, space_setup, space_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
