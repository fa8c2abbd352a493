/* SPDX-License-Identifier: MIT */
/*
 * Processes that map, write, fork, move, lock, swap and unmap at random,
 * against a model of what each page of each of them must hold. Every write
 * stores a number nobody has stored before, so a page that is lost, stale or
 * shared where it must not be shows as a wrong number.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "space.h"

#define NR_AS	 4
#define NR_PAGES 48
#define STEPS	 3000
/* The window lies across a table boundary. */
#define BASE  (PTE_TABLE_SPAN * 1000 - (NR_PAGES / 2) * PAGE_SIZE)
#define PG(n) (BASE + (uint64_t)(n) * PAGE_SIZE)

struct page {
	bool region, locked;
	uint64_t value; /* 0 = never written */
};

struct model {
	struct space *s;
	struct aspace *as[NR_AS];
	struct page page[NR_AS][NR_PAGES];
	uint64_t slot_value[SPACE_SLOTS];
	uint64_t next_value, seed;
	unsigned done[16];
};

static unsigned rnd(struct model *m, unsigned below)
{
	m->seed ^= m->seed << 13;
	m->seed ^= m->seed >> 7;
	m->seed ^= m->seed << 17;
	return (unsigned)((m->seed >> 20) % below);
}

static uint64_t *contents(struct model *m, struct frame *f)
{
	struct engine *e = &m->s->e;

	return e->host->ops->contents(e->host, weir__pfn(e, f));
}

/* --- what a fault would do ------------------------------------------------ */

static void swap_in(struct model *m, unsigned a, unsigned i)
{
	struct engine *e = &m->s->e;
	struct aspace *as = m->as[a];
	swp_entry_t slot = pte_swap(space_pte(as, PG(i)));
	struct frame *f = weir__swap_cache_get(e, slot);

	if (!f) {
		f = weir__frames_alloc(e, GFP_HIGHUSER_MOVABLE, 0);
		assert_non_null(f);
		*contents(m, f) = m->slot_value[swp_offset(slot)];
		weir__frame_lock(e, f);
		assert_int_equal(weir__swap_cache_add(e, f, slot, NULL), 0);
		weir__frame_set(f, FRAME_UPTODATE | FRAME_SWAPBACKED);
		weir__frame_add_lru(e, f);
	} else {
		weir__frame_lock(e, f);
	}
	weir__spin_lock(e, &as->lock);
	weir__page_add_anon_rmap(e, f, weir__region_find(as, PG(i)), PG(i));
	pte_store(weir__pte(as, PG(i)), pte_mk(weir__pfn(e, f), 0));
	as->nr_anon++;
	as->nr_swapents--;
	weir__swap_free(e, slot);
	if (weir__region_find(as, PG(i))->flags & REGION_LOCKED)
		weir__frame_mlock(e, f);
	weir__spin_unlock(e, &as->lock);
	weir__frame_unlock(e, f);
}

static void cow_or_reuse(struct model *m, unsigned a, unsigned i)
{
	struct engine *e = &m->s->e;
	struct aspace *as = m->as[a];
	struct frame *f = space_frame(as, PG(i));

	weir__frame_lock(e, f);
	if (frame_test(f, FRAME_SWAPCACHE) &&
	    !weir__swap_count(e, f->private)) {
		weir__swap_cache_del(e, f, 0);
		weir__page_put(e, f);
	}
	if (weir__page_mapcount(f) > 1 || frame_test(f, FRAME_SWAPCACHE)) {
		weir__frame_unlock(e, f);
		space_cow(as, PG(i));
		return;
	}
	weir__spin_lock(e, &as->lock);
	weir__page_move_anon_rmap(e, f, weir__region_find(as, PG(i)));
	pte_set(weir__pte(as, PG(i)), PTE_WRITE | PTE_DIRTY);
	weir__spin_unlock(e, &as->lock);
	weir__frame_unlock(e, f);
}

static void op_write(struct model *m, unsigned a, unsigned i)
{
	struct aspace *as = m->as[a];

	if (!m->page[a][i].region)
		return;
	if (space_pte(as, PG(i)) & PTE_SWAP)
		swap_in(m, a, i);
	if (!space_pte(as, PG(i)))
		space_touch(as, PG(i));
	else if (!(space_pte(as, PG(i)) & PTE_WRITE))
		cow_or_reuse(m, a, i);
	m->page[a][i].value = ++m->next_value;
	*contents(m, space_frame(as, PG(i))) = m->next_value;
}

/* The page goes to swap, out of every address space that has it. */
static void op_swap_out(struct model *m, unsigned a, unsigned i)
{
	struct frame *f = space_frame(m->as[a], PG(i));
	uint64_t value;
	swp_entry_t slot;

	if (!f || weir__swap_nr_free(&m->s->e) < 2)
		return;
	value = *contents(m, f);
	slot = space_swap_out(m->s, f, rnd(m, 2));
	m->slot_value[swp_offset(slot)] = value;
}

/* --- what the program does ------------------------------------------------ */

static void op_add(struct model *m, unsigned a, unsigned i, unsigned n)
{
	bool taken = false;
	int ret = weir__region_add(m->as[a], PG(i), PG(i + n), REGION_WRITE);

	for (unsigned k = i; k < i + n; k++)
		taken |= m->page[a][k].region;
	assert_int_equal(ret, taken ? -EEXIST : 0);
	for (unsigned k = i; !taken && k < i + n; k++)
		m->page[a][k].region = true;
}

static void op_unmap(struct model *m, unsigned a, unsigned i, unsigned n)
{
	assert_int_equal(weir__aspace_unmap(m->as[a], PG(i), PG(i + n)), 0);
	memset(&m->page[a][i], 0, n * sizeof(struct page));
}

static void op_zap(struct model *m, unsigned a, unsigned i, unsigned n)
{
	assert_int_equal(weir__aspace_zap(m->as[a], PG(i), PG(i + n)), 0);
	for (unsigned k = i; k < i + n; k++)
		m->page[a][k].value = 0;
}

static void op_lock(struct model *m, unsigned a, unsigned i, unsigned n)
{
	bool lock = rnd(m, 2);

	assert_int_equal(weir__aspace_mlock(m->as[a], PG(i), PG(i + n), lock),
			 0);
	for (unsigned k = i; k < i + n; k++)
		m->page[a][k].locked = m->page[a][k].region && lock;
}

static void op_move(struct model *m, unsigned a, unsigned i, unsigned n)
{
	unsigned to = rnd(m, NR_PAGES - n + 1);
	bool covered = true, overlap = i < to + n && to < i + n;
	int ret;

	for (unsigned k = i; k < i + n; k++)
		covered &= m->page[a][k].region;
	ret = weir__aspace_move(m->as[a], PG(i), PG(to), n * PAGE_SIZE);
	assert_int_equal(ret, overlap ? -EINVAL : covered ? 0 : -ENOENT);
	if (ret)
		return;
	memcpy(&m->page[a][to], &m->page[a][i], n * sizeof(struct page));
	memset(&m->page[a][i], 0, n * sizeof(struct page));
}

static void op_fork(struct model *m, unsigned a)
{
	unsigned c = rnd(m, NR_AS);

	if (c == a)
		return;
	weir__aspace_destroy(m->as[c]);
	assert_int_equal(weir__aspace_create(&m->s->e, NULL, &m->as[c]), 0);
	assert_int_equal(weir__aspace_fork(m->as[a], m->as[c]), 0);
	memcpy(m->page[c], m->page[a], sizeof(m->page[c]));
	for (unsigned k = 0; k < NR_PAGES; k++)
		m->page[c][k].locked = false;
}

/* --- checks --------------------------------------------------------------- */

static void check_page(struct model *m, unsigned a, unsigned i)
{
	struct page *p = &m->page[a][i];
	uint64_t v = space_pte(m->as[a], PG(i));

	if (!p->value) {
		assert_true(v == 0);
	} else if (v & PTE_SWAP) {
		assert_true(m->slot_value[swp_offset(pte_swap(v))] == p->value);
	} else {
		assert_true(v & PTE_PRESENT);
		assert_true(*contents(m, space_frame(m->as[a], PG(i))) ==
			    p->value);
	}
}

/* Each frame is found by exactly as many entries as map it. */
static void check_rmap(struct model *m, unsigned a, unsigned i)
{
	struct frame *f = space_frame(m->as[a], PG(i));
	unsigned want = 0;

	if (!f)
		return;
	for (unsigned b = 0; b < NR_AS; b++)
		for (unsigned k = 0; k < NR_PAGES; k++)
			want += space_frame(m->as[b], PG(k)) == f;
	assert_int_equal(weir__page_mapcount(f), want);
	assert_int_equal(space_walk(&m->s->e, f), want);
}

static void check(struct model *m, unsigned step)
{
	for (unsigned a = 0; a < NR_AS; a++) {
		const char *r = space_regions(m->as[a], PG(0), NR_PAGES);

		for (unsigned i = 0; i < NR_PAGES; i++) {
			assert_int_equal(r[i] != '.', m->page[a][i].region);
			assert_int_equal(r[i] >= 'A' && r[i] <= 'Z',
					 m->page[a][i].locked);
			check_page(m, a, i);
		}
		assert_true(weir__aspace_is_valid(m->as[a]));
		if (step % 8 == 0)
			check_rmap(m, a, rnd(m, NR_PAGES));
	}
	assert_true(weir__swap_is_valid(&m->s->e));
}

static void step(struct model *m)
{
	unsigned a = rnd(m, NR_AS), i = rnd(m, NR_PAGES);
	unsigned n = 1 + rnd(m, NR_PAGES - i);
	unsigned op = rnd(m, 16);

	m->done[op]++;
	if (n > 12)
		n = 1 + n % 12;
	switch (op) {
	case 0:
	case 1:
		op_add(m, a, i, n);
		break;
	case 2:
		op_unmap(m, a, i, n);
		break;
	case 3:
		op_zap(m, a, i, n);
		break;
	case 4:
		op_lock(m, a, i, n);
		break;
	case 5:
		op_move(m, a, i, n);
		break;
	case 6:
		if (rnd(m, 4) == 0)
			op_fork(m, a);
		break;
	case 7:
	case 8:
	case 9:
		op_swap_out(m, a, i);
		break;
	default:
		op_write(m, a, i);
	}
}

static void run(void **state, uint64_t seed)
{
	struct model *m = calloc(1, sizeof(*m));

	m->s = *state;
	m->seed = seed;
	for (unsigned a = 0; a < NR_AS; a++)
		assert_int_equal(weir__aspace_create(&m->s->e, NULL, &m->as[a]),
				 0);
	for (unsigned i = 0; i < STEPS; i++) {
		step(m);
		check(m, i);
	}
	assert_true(m->next_value > STEPS / 16);
	for (unsigned a = 0; a < NR_AS; a++)
		weir__aspace_destroy(m->as[a]);
	free(m);
}

static void test_seed_1(void **state)
{
	run(state, 0x9e3779b97f4a7c15);
}

static void test_seed_2(void **state)
{
	run(state, 0xbf58476d1ce4e5b9);
}

static void test_seed_3(void **state)
{
	run(state, 0x94d049bb133111eb);
}

#define T(f) cmocka_unit_test_setup_teardown(f, space_setup, space_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_seed_1),
		T(test_seed_2),
		T(test_seed_3),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
