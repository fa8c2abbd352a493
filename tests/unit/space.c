/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "space.h"

uint64_t space_free_frames(struct space *s)
{
	struct engine *e = &s->e;
	uint64_t nr = 0;

	weir__lru_add_drain_all(e);
	weir__slab_shrink(e);
	weir__pcp_drain_all(e);
	for (unsigned i = 0; i < e->nr_nodes; i++)
		for (unsigned z = 0; z < e->nodes[i].nr_zones; z++)
			nr += (uint64_t)e->nodes[i].zones[z].free_pages;
	return nr;
}

int space_setup(void **state)
{
	struct space *s = calloc(1, sizeof(*s));
	struct engine_config cfg = {
		.nr_cpus = 1, .nr_nodes = 1, .zone_pages = {{SPACE_FRAMES}}};

	fakehost_init(&s->fh, &s->e, SPACE_FRAMES, SPACE_SLOTS);
	cfg.host = &s->fh.host;
	if (weir__engine_init(&s->e, &cfg))
		return -1;
	s->swap_type = weir__swapon(&s->e, SPACE_SLOTS, -1, NULL, 0);
	if (s->swap_type < 0)
		return -1;
	s->free_frames = space_free_frames(s);
	s->free_slots = weir__swap_nr_free(&s->e);
	s->objects = weir__slab_objects(&s->e);
	*state = s;
	return 0;
}

/* Conservation: what the address spaces took is back. */
int space_teardown(void **state)
{
	struct space *s = *state;
	struct engine *e = &s->e;
	int bad = 0;

	bad |= !list_empty(&e->aspaces);
	bad |= weir__swap_nr_free(e) != s->free_slots;
	bad |= weir__slab_objects(e) != s->objects;
	/* A swap area keeps what it took for its counts (two frames for each
	 * cluster used); it has two clusters here. */
	bad |= space_free_frames(s) + 4 < s->free_frames;
	bad |= weir__stat_read(e, STAT_nr_anon_pages) != 0;
	bad |= weir__stat_read(e, STAT_nr_page_table_pages) != 0;
	if (bad)
		fprintf(stderr, "left over: frames %ld slots %ld objects %ld\n",
			(long)(s->free_frames - space_free_frames(s)),
			(long)(s->free_slots - weir__swap_nr_free(e)),
			(long)(weir__slab_objects(e) - s->objects));
	else
		weir__engine_exit(e);
	fakehost_exit(&s->fh);
	free(s);
	return bad ? -1 : 0;
}

struct frame *space_touch_bare(struct aspace *as, uint64_t addr)
{
	struct engine *e = as->engine;
	struct frame *f;

	assert_int_equal(weir__anon_vma_prepare(as, addr), 0);
	assert_int_equal(weir__pte_alloc(as, addr, addr + PAGE_SIZE,
					 GFP_KERNEL),
			 0);
	f = weir__frames_alloc(e, GFP_HIGHUSER_MOVABLE, 0);
	assert_non_null(f);
	weir__frame_set(f, FRAME_UPTODATE);
	weir__spin_lock(e, &as->lock);
	weir__page_add_new_anon_rmap(e, f, weir__region_find(as, addr), addr);
	pte_store(weir__pte(as, addr),
		  pte_mk(weir__pfn(e, f), PTE_WRITE | PTE_DIRTY));
	as->nr_anon++;
	weir__spin_unlock(e, &as->lock);
	return f;
}

struct frame *space_touch(struct aspace *as, uint64_t addr)
{
	struct frame *f = space_touch_bare(as, addr);

	weir__frame_add_lru(as->engine, f);
	return f;
}

struct frame *space_cow(struct aspace *as, uint64_t addr)
{
	struct engine *e = as->engine;
	struct frame *old = space_frame(as, addr);

	weir__spin_lock(e, &as->lock);
	pte_store(weir__pte(as, addr), 0);
	as->nr_anon--;
	weir__page_remove_rmap(e, old);
	weir__spin_unlock(e, &as->lock);
	weir__page_put(e, old);
	return space_touch(as, addr);
}

static int swap_entry(struct region *r, uint64_t addr, pte_t *pte, void *arg)
{
	struct frame *f = arg;
	struct engine *e = r->as->engine;

	assert_int_equal(weir__swap_dup(e, f->private), 0);
	pte_store(pte, pte_mk_swap(f->private, 0));
	r->as->nr_anon--;
	r->as->nr_swapents++;
	weir__page_remove_rmap(e, f);
	return 0;
}

swp_entry_t space_swap_out(struct space *s, struct frame *f, bool drop)
{
	struct engine *e = &s->e;
	int mapped = weir__page_mapcount(f);
	swp_entry_t slot;

	weir__lru_add_drain_all(e);
	weir__frame_lock(e, f);
	if (!frame_test(f, FRAME_SWAPCACHE)) {
		assert_int_equal(weir__swap_alloc(e, &slot, 1), 1);
		assert_int_equal(weir__swap_cache_add(e, f, slot, NULL), 0);
	}
	slot = f->private;
	assert_int_equal(weir__rmap_walk(e, f, false, swap_entry, f), 0);
	assert_int_equal(weir__page_mapcount(f), 0);
	if (drop) {
		weir__swap_cache_del(e, f, 0);
		mapped++;
	}
	weir__frame_unlock(e, f);
	while (mapped--)
		weir__page_put(e, f);
	return slot;
}

uint64_t space_pte(struct aspace *as, uint64_t addr)
{
	struct engine *e = as->engine;
	uint64_t v;
	pte_t *p;

	weir__spin_lock(e, &as->lock);
	p = weir__pte(as, addr);
	v = p ? pte_load(p) : 0;
	weir__spin_unlock(e, &as->lock);
	return v;
}

struct frame *space_frame(struct aspace *as, uint64_t addr)
{
	uint64_t v = space_pte(as, addr);

	return v & PTE_PRESENT ? weir__frame(as->engine, pte_pfn(v)) : NULL;
}

void space_set_busy(struct aspace *as, uint64_t addr)
{
	weir__spin_lock(as->engine, &as->lock);
	pte_set(weir__pte(as, addr), PTE_BUSY);
	weir__spin_unlock(as->engine, &as->lock);
}

void space_end_busy(struct aspace *as, uint64_t addr)
{
	weir__spin_lock(as->engine, &as->lock);
	pte_clear(weir__pte(as, addr), PTE_BUSY);
	weir__pte_busy_end(as);
	weir__spin_unlock(as->engine, &as->lock);
}

static int count_entry(struct region *r, uint64_t addr, pte_t *pte, void *arg)
{
	++*(unsigned *)arg;
	return 0;
}

unsigned space_walk(struct engine *e, struct frame *f)
{
	unsigned nr = 0;

	weir__frame_lock(e, f);
	assert_int_equal(weir__rmap_walk(e, f, false, count_entry, &nr), 0);
	weir__frame_unlock(e, f);
	return nr;
}

const char *space_regions(struct aspace *as, uint64_t start, unsigned nr)
{
	static char line[128];
	struct region *last = NULL;
	char name = 'a' - 1;

	weir__spin_lock(as->engine, &as->lock);
	for (unsigned i = 0; i < nr && i < sizeof(line) - 1; i++) {
		struct region *r = weir__region_find(
			as, start + (uint64_t)i * PAGE_SIZE);

		name += r && r != last;
		last = r ? r : last;
		line[i] = !r ? '.'
			  : r->flags & REGION_LOCKED ? (char)(name - 'a' + 'A')
						     : name;
		line[i + 1] = 0;
	}
	weir__spin_unlock(as->engine, &as->lock);
	return line;
}

static char entry_char(uint64_t v)
{
	if (v & PTE_POISON)
		return '!';
	if (v & PTE_SWAP)
		return 's';
	if (v & PTE_HINT)
		return 'h';
	if (v & PTE_PRESENT)
		return v & PTE_WRITE ? '#' : 'r';
	return v ? '~' : '-';
}

const char *space_entries(struct aspace *as, uint64_t start, unsigned nr)
{
	static char line[128];

	for (unsigned i = 0; i < nr && i < sizeof(line) - 1; i++) {
		line[i] = entry_char(
			space_pte(as, start + (uint64_t)i * PAGE_SIZE));
		line[i + 1] = 0;
	}
	return line;
}
