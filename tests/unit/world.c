/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "world.h"

static struct world *world_of(struct weir_host *h)
{
	return container_of(h, struct world, fh.host);
}

static void record(void *ctx, const char *name, uint64_t a, uint64_t b,
		   uint64_t c)
{
	struct world *w = ctx;

	if (!w->deaf) {
		if (w->nr_events == WORLD_EVENTS) {
			fprintf(stderr, "world: too many events\n");
			abort();
		}
		w->event[w->nr_events].name = name;
		w->event[w->nr_events].a = a;
		w->event[w->nr_events].b = b;
		w->event[w->nr_events++].c = c;
	}
	if (w->on_event)
		w->on_event(w, name);
}

/* Sleeping lets the disk get on. */
static int wait_io(struct weir_host *h, _Atomic uint32_t *word,
		   uint32_t expected, uint64_t timeout_ns)
{
	struct world *w = world_of(h);

	fakehost_io_run(&w->fh);
	if (w->on_wait)
		w->on_wait(w);
	if (*word != expected)
		return 0;
	if (!timeout_ns) {
		fprintf(stderr, "world: would sleep for ever\n");
		abort();
	}
	w->fh.now += timeout_ns;
	return -ETIMEDOUT;
}

static void map(struct weir_host *h, void *as, struct weir_vec *v, unsigned nr)
{
	struct world *w = world_of(h);

	w->fh.nr_maps += nr;
	for (unsigned i = 0; i < nr; i++) {
		if (v[i].flags & VEC_ZERO)
			memset(w->fh.ram + (size_t)v[i].pfn * PAGE_SIZE, 0,
			       PAGE_SIZE);
		v[i].status = 0;
	}
	if (w->on_map)
		w->on_map(w, v, nr);
}

/* Frames that are neither free nor in a list of some CPU. */
static uint64_t frames_used(struct world *w)
{
	uint64_t nr = w->e.nr_frames;

	weir__lru_add_drain_all(&w->e);
	weir__slab_shrink(&w->e);
	weir__pcp_drain_all(&w->e);
	for (unsigned i = 0; i < w->e.nr_nodes; i++)
		for (unsigned z = 0; z < w->e.nodes[i].nr_zones; z++)
			nr -= (uint64_t)w->e.nodes[i].zones[z].free_pages;
	return nr - weir__swap_own_frames(&w->e);
}

struct world *world_start(const struct world_config *c)
{
	struct world *w = calloc(1, sizeof(*w));
	struct engine_config cfg = {.nr_cpus = c->cpus ? c->cpus : 1,
				    .nr_nodes = 1,
				    .tunables = c->tun,
				    .event = record,
				    .event_ctx = w};
	uint64_t frames = 0;

	for (unsigned i = 0; i < MAX_ZONES; i++) {
		cfg.zone_pages[0][i] = c->zone[i];
		frames += c->zone[i];
	}
	if (!frames)
		frames = cfg.zone_pages[0][0] = 1024;
	list_init(&w->eaten);
	fakehost_init(&w->fh, &w->e, frames, c->slots);
	w->ops = *w->fh.host.ops;
	w->ops.has_accessed_bit = !c->no_bits;
	w->ops.wait = wait_io;
	w->ops.map = map;
	w->fh.host.ops = &w->ops;
	cfg.host = &w->fh.host;
	assert_int_equal(weir__engine_init(&w->e, &cfg), 0);
	if (c->slots)
		assert_true(weir__swapon(&w->e, c->slots, -1, NULL, 0) >= 0);
	w->objects = weir__slab_objects(&w->e);
	w->kernel_frames = frames_used(w);
	if (c->pages)
		w->as = world_space(w, c->pages, 0);
	world_forget(w);
	return w;
}

struct aspace *world_space(struct world *w, uint64_t pages, uint32_t flags)
{
	struct aspace *as;

	assert_int_equal(weir__aspace_create(&w->e, w, &as), 0);
	assert_int_equal(weir__region_add(as, WORLD_BASE,
					  WORLD_BASE + pages * PAGE_SIZE,
					  REGION_READ | REGION_WRITE | flags),
			 0);
	return as;
}

void world_check(struct world *w)
{
	char why[200] = "";

	fakehost_io_run(&w->fh);
	if (!weir__engine_is_valid(&w->e, why, sizeof(why)))
		print_error("%s\n", why);
	assert_string_equal(why, "");
}

void world_stop(struct world *w)
{
	uint64_t freed;

	w->on_map = NULL;
	w->on_event = NULL;
	w->on_wait = NULL;
	w->deaf = true;
	w->fh.io_hold = false;
	w->fh.io_error = 0;
	w->fh.task.flags = 0;
	world_uneat(w);
	world_check(w);
	w->e.nodes[0].kswapd_running = 0;
	while (!list_empty(&w->e.aspaces))
		weir__aspace_destroy(
		    list_first_entry(&w->e.aspaces, struct aspace, link));
	/* pages that were in somebody's hands when their owner went */
	weir__lru_add_drain_all(&w->e);
	if (weir__stat_read(&w->e, STAT_nr_swapcached))
		weir__reclaim_pages(&w->e, w->e.nr_frames, -1, &freed);
	world_check(w);
	assert_int_equal(weir__slab_objects(&w->e), w->objects);
	assert_int_equal(frames_used(w), w->kernel_frames);
	/* workers that were started here find that it is over */
	w->e.stopping = 1;
	for (unsigned i = 0; i < w->fh.nr_spawned; i++)
		w->fh.spawned[i].fn(&w->e, w->fh.spawned[i].arg);
	weir__engine_exit(&w->e);
	fakehost_exit(&w->fh);
	free(w);
}

/* --- pages ------------------------------------------------------------------
 */

void world_kswapd(struct world *w)
{
	w->keeps = true;
	w->e.nodes[0].kswapd_running = w->e.nodes[0].kswapd_sleeping = 1;
}

/* The other task, as soon as it is woken. */
static void run_kswapd(struct world *w)
{
	struct node *n = &w->e.nodes[0];
	uint32_t flags = w->fh.task.flags;

	if (!w->keeps || !n->kswapd_word)
		return;
	n->kswapd_word = 0;
	n->kswapd_sleeping = 0;
	w->fh.task.flags = PF_KSWAPD | PF_MEMALLOC;
	weir__balance_pgdat(&w->e, n, 0, n->nr_zones - 1u);
	w->fh.task.flags = flags;
	n->kswapd_sleeping = 1;
	w->kswapd_runs++;
}

uint64_t world_pte(struct aspace *as, uint64_t page)
{
	struct engine *e = as->engine;
	pte_t *pte;
	uint64_t v;

	weir__spin_lock(e, &as->lock);
	pte = weir__pte(as, WORLD_BASE + page * PAGE_SIZE);
	v = pte ? pte_load(pte) : 0;
	weir__spin_unlock(e, &as->lock);
	return v;
}

struct frame *world_frame(struct aspace *as, uint64_t page)
{
	uint64_t v = world_pte(as, page);

	return v & PTE_PRESENT ? weir__frame(as->engine, pte_pfn(v)) : NULL;
}

uint64_t world_present(struct aspace *as, uint64_t page, uint64_t nr)
{
	uint64_t found = 0;

	for (uint64_t i = 0; i < nr; i++)
		found += (world_pte(as, page + i) & PTE_PRESENT) != 0;
	return found;
}

void world_age(struct aspace *as, uint64_t page, uint64_t nr)
{
	struct engine *e = as->engine;

	weir__spin_lock(e, &as->lock);
	for (uint64_t i = page; i < page + nr; i++) {
		pte_t *pte = weir__pte(as, WORLD_BASE + i * PAGE_SIZE);

		if (pte)
			pte_clear(pte, PTE_ACCESSED);
	}
	weir__spin_unlock(e, &as->lock);
}

/* What the machine does on its own: NULL, it traps. */
static uint64_t *in_place(struct world *w, struct aspace *as, uint64_t addr,
			  bool write, uint64_t *v)
{
	pte_t *pte;
	bool ok;

	weir__spin_lock(&w->e, &as->lock);
	pte = weir__pte(as, addr);
	*v = pte ? pte_load(pte) : 0;
	ok = (*v & PTE_PRESENT) && !(*v & (PTE_HINT | PTE_BUSY)) &&
	     (!write || *v & PTE_WRITE);
	if (ok && w->ops.has_accessed_bit)
		pte_set(pte, PTE_ACCESSED | (write ? PTE_DIRTY : 0));
	weir__spin_unlock(&w->e, &as->lock);
	return ok ? (uint64_t *)(w->fh.ram + (size_t)pte_pfn(*v) * PAGE_SIZE)
		  : NULL;
}

uint64_t *world_touch(struct world *w, struct aspace *as, uint64_t page,
		      bool write)
{
	uint64_t addr = WORLD_BASE + page * PAGE_SIZE;

	for (unsigned tries = 0; tries < 100; tries++) {
		uint64_t v, *p = in_place(w, as, addr, write, &v);
		bool there = v & PTE_PRESENT && !(v & PTE_HINT);
		int err;

		if (p)
			return p;
		err = weir__fault(&w->e, as, addr,
				  (write ? FAULT_WRITE : 0) |
				      (there ? FAULT_WP : 0));
		if (err == -ENOMEM)
			return NULL;
		assert_int_equal(err, 0);
		run_kswapd(w);
	}
	fail_msg("page %u never came into place", (unsigned)page);
	return NULL;
}

static uint64_t value_of(const struct aspace *as, uint64_t page)
{
	return page * 2654435761u + 1;
}

void world_fill(struct world *w, struct aspace *as, uint64_t page, uint64_t nr)
{
	for (uint64_t i = page; i < page + nr; i++) {
		uint64_t *p = world_touch(w, as, i, true);

		assert_non_null(p);
		p[0] = p[511] = value_of(as, i);
	}
}

void world_expect(struct world *w, struct aspace *as, uint64_t page,
		  uint64_t nr)
{
	for (uint64_t i = page; i < page + nr; i++) {
		uint64_t *p = world_touch(w, as, i, false);

		assert_non_null(p);
		assert_int_equal(p[0], value_of(as, i));
		assert_int_equal(p[511], value_of(as, i));
	}
}

/* --- frames -----------------------------------------------------------------
 */

int64_t world_free(const struct world *w)
{
	int64_t nr = 0;

	for (unsigned z = 0; z < w->e.nodes[0].nr_zones; z++)
		nr += w->e.nodes[0].zones[z].free_pages;
	return nr;
}

void world_eat(struct world *w, struct zone *z, int64_t left)
{
	struct engine *e = &w->e;

	weir__pcp_drain_all(e); /* what lies there is in no free_pages */
	while (z->free_pages > left) {
		struct frame *f;

		weir__spin_lock(e, &z->lock);
		f = weir__buddy_take(z, 0, MIGRATE_MOVABLE, 0);
		weir__spin_unlock(e, &z->lock);
		assert_non_null(f);
		weir__prep_new_frame(e, f, 0, 0);
		weir__stat_inc(e, STAT_pgalloc);
		weir__frame_set(f, FRAME_KERNEL);
		list_add(&f->lru, &w->eaten);
	}
}

void world_uneat(struct world *w)
{
	while (!list_empty(&w->eaten)) {
		struct frame *f =
		    list_first_entry(&w->eaten, struct frame, lru);

		list_del(&f->lru);
		weir__frame_clear(f, FRAME_KERNEL);
		weir__frames_free(&w->e, f, 0);
	}
	weir__pcp_drain_all(&w->e);
}

uint64_t world_reclaim(struct world *w, uint64_t nr)
{
	uint64_t freed;

	weir__lru_add_drain_all(&w->e);
	weir__reclaim_pages(&w->e, nr, -1, &freed);
	return freed;
}

/* --- events -----------------------------------------------------------------
 */

unsigned world_count(const struct world *w, const char *event)
{
	unsigned nr = 0;

	for (unsigned i = 0; i < w->nr_events; i++)
		nr += !strcmp(w->event[i].name, event);
	return nr;
}

int world_find(const struct world *w, const char *event, unsigned nth)
{
	for (unsigned i = 0; i < w->nr_events; i++)
		if (!strcmp(w->event[i].name, event) && !nth--)
			return (int)i;
	return -1;
}

void world_forget(struct world *w)
{
	w->nr_events = 0;
}
