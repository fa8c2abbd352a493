/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/batch.h"
#include "engine/buddy.h"
#include "engine/engine.h"
#include "engine/frame.h"
#include "engine/lruvec.h"
#include "engine/swap.h"
#include "fakereclaim.h"

static struct fakereclaim *the;
static struct list_head eaten;

static void on_event(void *ctx, const char *name, uint64_t a, uint64_t b,
		     uint64_t c)
{
	struct fakereclaim *fr = ctx;

	if (fr->nr_events == FR_EVENTS_MAX) {
		fprintf(stderr, "fakereclaim: too many events\n");
		abort();
	}
	fr->event[fr->nr_events].name = name;
	fr->event[fr->nr_events].a = a;
	fr->event[fr->nr_events].b = b;
	fr->event[fr->nr_events++].c = c;
	if (fr->on_event)
		fr->on_event(fr, name);
}

struct fakereclaim *fr_start(uint64_t zone0, uint64_t zone1, uint64_t slots)
{
	struct fakereclaim *fr = calloc(1, sizeof(*fr));
	struct engine_config cfg = {
	    .nr_cpus = 1,
	    .nr_nodes = 1,
	    .zone_pages = {{zone0, zone1}},
	    .event = on_event,
	    .event_ctx = fr,
	};

	the = fr;
	list_init(&eaten);
	fakehost_init(&fr->host, &fr->engine, zone0 + zone1, slots);
	cfg.host = &fr->host.host;
	if (weir__engine_init(&fr->engine, &cfg))
		abort();
	if (slots && weir__swapon(&fr->engine, slots, -1, NULL, 0) < 0)
		abort();
	fr_forget_events(fr);
	return fr;
}

static void drop_list(struct engine *e, enum lru_list l)
{
	struct list_head *h = &e->nodes[0].lruvec.lists[l];

	while (!list_empty(h)) {
		struct frame *f = list_first_entry(h, struct frame, lru);

		weir__page_put(e, f);
	}
}

void fr_stop(struct fakereclaim *fr)
{
	struct engine *e = &fr->engine;

	/* a test that failed half-way must not hang the others */
	e->nodes[0].kswapd_running = 0;
	fr->on_event = NULL;
	fr->host.on_wait = NULL;
	fr_uneat(fr);
	weir__lru_add_drain_all(e);
	for (unsigned l = 0; l < LRU_UNEVICTABLE; l++)
		drop_list(e, l);
	weir__engine_exit(e);
	fakehost_exit(&fr->host);
	free(fr);
	the = NULL;
}

unsigned fr_add_pages(struct fakereclaim *fr, unsigned nr, bool file,
		      bool active)
{
	struct engine *e = &fr->engine;
	unsigned done;

	for (done = 0; done < nr; done++) {
		struct frame *f = weir__get_page_from_freelist(
		    e, GFP_MOVABLE, 0, ALLOC_NO_WATERMARKS);

		if (!f)
			break;
		weir__frame_set(f, (file ? 0 : FRAME_SWAPBACKED) |
				       (active ? FRAME_ACTIVE : 0) |
				       FRAME_UPTODATE);
		weir__frame_add_lru(e, f);
	}
	weir__lru_add_drain_all(e);
	return done;
}

void fr_eat(struct fakereclaim *fr, int64_t left)
{
	struct engine *e = &fr->engine;
	struct node *n = &e->nodes[0];
	struct zone *z = &n->zones[n->nr_zones - 1];

	/* Pages in per-CPU lists are not free_pages: empty them first. */
	weir__pcp_drain_all(e);
	while (z->free_pages > left) {
		struct frame *f;

		weir__spin_lock(e, &z->lock);
		f = weir__buddy_take(z, 0, MIGRATE_MOVABLE, 0);
		weir__spin_unlock(e, &z->lock);
		if (!f)
			abort();
		weir__prep_new_frame(e, f, 0, 0);
		weir__frame_set(f, FRAME_KERNEL);
		list_add(&f->lru, &eaten);
	}
	while (z->free_pages < left && !list_empty(&eaten)) {
		struct frame *f = list_first_entry(&eaten, struct frame, lru);

		list_del(&f->lru);
		weir__frames_free(e, f, 0);
		weir__pcp_drain_all(e);
	}
}

void fr_uneat(struct fakereclaim *fr)
{
	while (!list_empty(&eaten)) {
		struct frame *f = list_first_entry(&eaten, struct frame, lru);

		list_del(&f->lru);
		weir__frames_free(&fr->engine, f, 0);
	}
	weir__pcp_drain_all(&fr->engine);
}

unsigned fr_count(const struct fakereclaim *fr, const char *event)
{
	unsigned nr = 0;

	for (unsigned i = 0; i < fr->nr_events; i++)
		nr += !strcmp(fr->event[i].name, event);
	return nr;
}

void fr_forget_events(struct fakereclaim *fr)
{
	fr->nr_events = 0;
}

/* ------------------------------------------------- instead of the engine's */

unsigned weir__shrink_page_list(struct engine *e, struct list_head *pages,
				struct node *n, struct scan_control *sc,
				struct reclaim_stat *st, bool ignore_references)
{
	struct fakereclaim *fr = the;
	struct frame *f, *tmp;
	unsigned freed = 0, length = 0;

	fr->nr_shrink++;
	fr->last = *sc;
	*st = fr->st;
	if (fr->on_shrink)
		fr->on_shrink(fr, sc);
	list_for_each_entry_safe (f, tmp, pages, lru) {
		length++;
		if (fr->keep_all || (fr->free_max && freed == fr->free_max)) {
			if (fr->activate)
				weir__frame_set(f, FRAME_ACTIVE);
			continue;
		}
		list_del(&f->lru);
		weir__page_put(e, f); /* the isolation's */
		weir__page_put(e, f); /* the owner's */
		freed++;
	}
	if (length > fr->longest)
		fr->longest = length;
	fr->nr_freed += freed;
	return freed;
}

unsigned weir__page_list_age(struct engine *e, struct list_head *pages,
			     const struct frame *scout)
{
	struct frame *f;

	the->nr_age++;
	list_for_each_entry (f, pages, lru) {
		f->error = the->age_answer;
		the->nr_aged++;
	}
	return the->age_answer & AGE_YOUNG_MASK ? the->nr_aged : 0;
}

void weir__page_list_ask(struct engine *e, struct list_head *pages)
{
	struct frame *f;

	weir__page_list_age(e, pages, NULL);
	list_for_each_entry (f, pages, lru)
		weir__frame_set(f, FRAME_ASKED);
}
