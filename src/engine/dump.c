/* SPDX-License-Identifier: MIT */
/*
 * Dumps: a frame, and the state of memory, as lines for a human.
 *
 * They are asked for when something is wrong, so they believe nothing: no
 * pointer is followed that was not checked, no lock is taken.
 */
#include "engine/check.h"
#include "engine/frame.h"
#include "engine/lruvec.h"
#include "engine/swap.h"
#include "engine/watermark.h"
#include "util/linebuf.h"

#define LINE_MAX_LEN 200

struct dump {
	void (*out)(void *ctx, const char *line);
	void *ctx;
	struct linebuf b;
	char text[LINE_MAX_LEN];
};

static struct linebuf *begin(struct dump *d, const char *text)
{
	lb_init(&d->b, d->text, sizeof(d->text));
	return lb_str(&d->b, text);
}

static void end(struct dump *d)
{
	d->out(d->ctx, d->text);
}

static void dump_flags(struct linebuf *b, uint32_t flags)
{
	static const char *const name[] = {
	    "locked",   "waiters",       "referenced",   "active",
	    "lru",      "workingset",    "dirty",        "writeback",
	    "reclaim",  "swapbacked",    "swapcache",    "unevictable",
	    "mlocked",  "uptodate",      "error",        "private",
	    "reserved", "exclusive",     "readahead",    "slab",
	    "pgtable",  "buddy",         "zero",         "tail",
	    "kernel",   "isolated_anon", "isolated_file"};
	const char *sep = "";

	for (unsigned i = 0; i < sizeof(name) / sizeof(*name); i++) {
		if (!(flags & 1u << i))
			continue;
		lb_str(lb_str(b, sep), name[i]);
		sep = "|";
	}
}

void weir__dump_frame(struct engine *e, const struct frame *f,
		      const char *reason,
		      void (*out)(void *ctx, const char *line), void *ctx)
{
	struct dump d = {.out = out, .ctx = ctx};
	struct linebuf *b = begin(&d, "frame ");

	if (f < e->memmap || f >= e->memmap + e->nr_frames) {
		lb_hex(b, (uintptr_t)f);
		lb_str(b, " is outside the memmap: ");
		lb_str(b, reason);
		end(&d);
		return;
	}
	lb_u64(b, weir__pfn(e, f));
	lb_i64(lb_str(b, ": refs "), f->refcount);
	lb_i64(lb_str(b, " maps "), (int64_t)f->mapcount + 1);
	lb_hex(lb_str(b, " mapping "), f->mapping);
	lb_hex(lb_str(b, " index "), f->index);
	lb_hex(lb_str(b, " private "), f->private);
	lb_u64(lb_str(b, " order "), f->order);
	end(&d);
	b = begin(&d, "  flags ");
	dump_flags(b, f->flags);
	end(&d);
	b = begin(&d, "  because ");
	lb_str(b, reason);
	end(&d);
}

static void dump_zone(struct dump *d, const struct zone *z)
{
	struct linebuf *b = begin(d, "node ");
	int64_t pcp = 0;

	lb_u64(b, z->node);
	lb_str(lb_str(b, " zone "), z->name ? z->name : "?");
	lb_i64(lb_str(b, ": free "), z->free_pages);
	lb_u64(lb_str(b, " min "), weir__wmark(z, WMARK_MIN));
	lb_u64(lb_str(b, " low "), weir__wmark(z, WMARK_LOW));
	lb_u64(lb_str(b, " high "), weir__wmark(z, WMARK_HIGH));
	lb_u64(lb_str(b, " boost "), z->watermark_boost);
	lb_u64(lb_str(b, " managed "), z->managed);
	for (unsigned c = 0; c < z->engine->nr_cpus; c++)
		pcp += __atomic_load_n(&z->pcp[c].count, __ATOMIC_RELAXED);
	lb_i64(lb_str(b, " pcp "), pcp);
	end(d);

	b = begin(d, "  blocks");
	for (unsigned o = 0; o < NR_ORDERS; o++) {
		uint64_t nr =
		    __atomic_load_n(&z->free_area[o].nr_free, __ATOMIC_RELAXED);

		lb_u64(lb_str(b, " "), nr);
		lb_u64(lb_str(b, "*"), (uint64_t)1 << o);
	}
	end(d);
}

static void dump_node(struct dump *d, const struct node *n)
{
	const struct lruvec *v = &n->lruvec;
	struct linebuf *b = begin(d, "node ");

	lb_u64(b, n->id);
	lb_i64(lb_str(b, ": active_anon "), v->size[LRU_ACTIVE_ANON]);
	lb_i64(lb_str(b, " inactive_anon "), v->size[LRU_INACTIVE_ANON]);
	lb_i64(lb_str(b, " active_file "), v->size[LRU_ACTIVE_FILE]);
	lb_i64(lb_str(b, " inactive_file "), v->size[LRU_INACTIVE_FILE]);
	lb_i64(lb_str(b, " unevictable "), v->size[LRU_UNEVICTABLE]);
	lb_i64(lb_str(b, " isolated "), n->nr_isolated[0] + n->nr_isolated[1]);
	lb_i64(lb_str(b, " writeback "), n->nr_writeback);
	lb_u64(lb_str(b, " failures "), n->kswapd_failures);
	end(d);
}

void weir__dump_state(struct engine *e,
		      void (*out)(void *ctx, const char *line), void *ctx)
{
	struct dump d = {.out = out, .ctx = ctx};
	struct linebuf *b;

	for (unsigned i = 0; i < e->nr_nodes; i++) {
		dump_node(&d, &e->nodes[i]);
		for (unsigned z = 0; z < e->nodes[i].nr_zones; z++)
			dump_zone(&d, &e->nodes[i].zones[z]);
	}
	b = begin(&d, "engine: slab ");
	lb_i64(b, weir__stat_read(e, STAT_nr_slab_pages));
	lb_i64(lb_str(b, " tables "),
	       weir__stat_read(e, STAT_nr_page_table_pages));
	lb_i64(lb_str(b, " mlocked "), weir__stat_read(e, STAT_nr_mlock));
	if (e->swap) {
		lb_u64(lb_str(b, " swap free "), weir__swap_nr_free(e));
		lb_u64(lb_str(b, " of "), weir__swap_total(e));
	}
	end(&d);
}
