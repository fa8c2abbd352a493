/* SPDX-License-Identifier: MIT */
/*
 * The machine of a replay: an ordered one, without contents. What it takes for
 * granted where the user says nothing is what a small server has.
 */
#include "replay/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/reclaim.h"
#include "engine/swap.h"
#include "engine/watermark.h"

#define EXIT_SOFTWARE 70 /* EX_SOFTWARE: a fault of weir's own */

/* A small fault: the trap, the entry, a page to clear. Reclaim's look at one
 * page. Both as Linux takes on a current machine, in round figures. */
#define FAULT_NS 700
#define SCAN_NS	 150
/* Of each further page of a request: 1.6 GB/s. */
#define PAGE_NS	   2500
#define DISK_DEPTH 32
/* Around a group: 128 MiB, for the swap maps and the watermarks. */
#define AROUND_PAGES ((uint64_t)32768)

int replay__fail(struct replay_error *err, int rc, int exit_status,
		 const char *fmt, ...)
{
	va_list ap;

	err->exit_status = exit_status;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return rc;
}

/* A group's machine never comes near its watermarks. */
static uint64_t ram_pages(const struct replay_options *o)
{
	if (!o->cgroup)
		return o->memory_pages;
	return o->memory_pages + o->memory_pages / 4 + AROUND_PAGES;
}

static void configure(const struct replay_options *o, struct sim_config *c)
{
	sim_config_default(c);
	c->seed = o->seed;
	c->ordered = true;
	c->mmu = SIM_MMU_BITS;
	c->contents = SIM_CONTENTS_NONE;
	c->nodes = o->nodes;
	c->cpus = o->nodes * 2;
	for (unsigned n = 0; n < o->nodes; n++)
		c->zone_pages[n][0] = ram_pages(o) / o->nodes;
	c->swap_slots[0] = o->swap_pages ? o->swap_pages + 1 : 0;
	c->tunables = &o->tun;
	c->touch_ns = 0; /* the player says how fast */
	c->fault_ns = FAULT_NS;
	c->scan_ns = SCAN_NS;
	c->read_ns = o->disk_ns;
	c->write_ns = o->disk_ns;
	c->page_ns = PAGE_NS;
	c->wire_ns = PAGE_NS;
	c->jitter_ns = o->disk_ns / 4;
	c->queue_depth = DISK_DEPTH;
}

struct sim *replay__machine(const struct replay_options *o,
			    replay__event_fn *event, void *ctx,
			    struct replay_error *err)
{
	struct sim_config c;
	struct sim *s;
	int rc;

	configure(o, &c);
	c.event = event;
	c.event_ctx = ctx;
	s = sim_create(&c);
	if (!s) {
		replay__fail(err, -ENOMEM, EXIT_SOFTWARE,
			     "no memory for a machine of this size");
		return NULL;
	}
	rc = sim_boot(s);
	if (!rc) {
		if (o->cgroup)
			weir__limit_set(sim_engine(s), o->memory_pages);
		return s;
	}
	replay__fail(err, rc, EXIT_SOFTWARE, "the machine does not start: %s",
		     sim_why(s)[0] ? sim_why(s) : strerror(-rc));
	sim_destroy(s);
	return NULL;
}

static uint64_t stat_of(const struct engine *e, enum stat_item i)
{
	int64_t v = weir__stat_read(e, i);

	return v < 0 ? 0 : (uint64_t)v;
}

void replay__sample(struct sim *s, struct replay_sample *at)
{
	struct engine *e = sim_engine(s);

	at->time_ns = sim_now(s);
	for (unsigned l = 0; l < NR_LRU_LISTS; l++)
		at->lru[l] = stat_of(e, (enum stat_item)l);
	at->free = 0;
	for (unsigned n = 0; n < e->nr_nodes; n++)
		for (unsigned z = 0; z < e->nodes[n].nr_zones; z++)
			at->free += (uint64_t)e->nodes[n].zones[z].free_pages;
	at->swap = weir__swap_total(e) - weir__swap_nr_free(e);
	at->minor = stat_of(e, STAT_pgfault) - stat_of(e, STAT_pgmajfault);
	at->miss = stat_of(e, STAT_pgmajfault) + stat_of(e, STAT_pgcache_miss);
	at->refault = stat_of(e, STAT_workingset_refault_anon) +
		      stat_of(e, STAT_workingset_refault_file);
	at->scan_kswapd = stat_of(e, STAT_pgscan_kswapd);
	at->scan_direct = stat_of(e, STAT_pgscan_direct);
	at->steal_kswapd = stat_of(e, STAT_pgsteal_kswapd);
	at->steal_direct = stat_of(e, STAT_pgsteal_direct);
}

void replay__outcome(struct sim *s, struct replay_result *r)
{
	struct engine *e = sim_engine(s);

	for (int i = 0; i < NR_STATS; i++)
		r->stats[i] = weir__stat_read(e, (enum stat_item)i);
	r->time_ns = sim_now(s);
	r->pages = replay_stat(r, STAT_pgzerofill);
	for (unsigned n = 0; n < e->nr_nodes; n++)
		for (unsigned z = 0; z < e->nodes[n].nr_zones; z++)
			for (int m = 0; m < NR_WMARK; m++)
				r->wmark[m] +=
					weir__wmark(&e->nodes[n].zones[z], m);
	r->disk_reads = sim_disk_stats(s)->reads;
	r->disk_writes = sim_disk_stats(s)->writes;
}
