/* SPDX-License-Identifier: MIT */
/*
 * The outcome as JSON. Integers are whole numbers of pages, events or
 * nanoseconds; nothing is rounded, so two outputs are equal exactly when the
 * replays were.
 */
#include "replay/replay.h"

#include <inttypes.h>
#include <stdio.h>

static void head(FILE *to, const struct replay_options *o,
		 const struct replay_result *r)
{
	fprintf(to,
		"{\n  \"weir\": \"" WEIR_VERSION "\",\n"
		"  \"trace\": {\"format\": \"%s\", \"times\": %s, "
		"\"accesses\": %" PRIu64 ", \"pages\": %" PRIu64
		", \"processes\": %" PRIu64 "},\n",
		trace_format_name(r->trace.format),
		r->trace.has_time ? "true" : "false", r->accesses, r->pages,
		r->processes);
	fprintf(to,
		"  \"machine\": {\"cgroup\": %s, \"memory_pages\": %" PRIu64
		", \"swap_pages\": %" PRIu64 ", \"nodes\": %u, \"rate\": %" PRIu64
		", \"seed\": %" PRIu64 ", \"disk_ns\": %" PRIu64
		", \"min\": %" PRIu64 ", \"low\": %" PRIu64
		", \"high\": %" PRIu64 "},\n",
		o->cgroup ? "true" : "false", o->memory_pages, o->swap_pages,
		o->nodes, o->rate, o->seed,
		o->disk_ns, r->wmark[WMARK_MIN], r->wmark[WMARK_LOW],
		r->wmark[WMARK_HIGH]);
}

static void tunables(FILE *to, const struct tunables *t)
{
	fprintf(to, "  \"tunables\": {");
	for (int i = 0; i < NR_TUNABLES; i++)
		fprintf(to, "%s\"%s\": %" PRIu64, i ? ", " : "",
			weir__tunable_info((enum tunable_id)i)->name,
			weir__tunable_get(t, (enum tunable_id)i));
	fprintf(to, "},\n");
}

static void outcome(FILE *to, const struct replay_result *r)
{
	fprintf(to,
		"  \"faults\": {\"minor\": %" PRIu64 ", \"major\": %" PRIu64
		"},\n  \"misses\": %" PRIu64 ", \"refaults\": %" PRIu64
		",\n"
		"  \"time_ns\": %" PRIu64 ", \"program_ns\": %" PRIu64
		", \"lost_ns\": %" PRIu64 ", \"stall_ns\": %" PRIu64 ",\n"
		"  \"disk\": {\"reads\": %" PRIu64 ", \"writes\": %" PRIu64
		"},\n  \"killed\": %" PRIu64 ", \"skipped\": %" PRIu64 ",\n",
		replay_minor(r), replay_stat(r, STAT_pgmajfault),
		replay_misses(r), replay_refaults(r), r->time_ns, r->program_ns,
		r->time_ns > r->program_ns ? r->time_ns - r->program_ns : 0,
		replay_stat(r, STAT_stall_ns), r->disk_reads, r->disk_writes,
		r->killed, r->skipped);
	fprintf(to, "  \"stats\": {");
	for (int i = 0; i < NR_STATS; i++)
		fprintf(to, "%s\n    \"%s\": %" PRId64, i ? "," : "",
			weir__stat_name((enum stat_item)i), r->stats[i]);
	fprintf(to, "\n  },\n");
}

static void series(FILE *to, const struct replay_series *s)
{
	static const char *const columns[] = {
		"accesses",      "time_ns",	 "inactive_anon",
		"active_anon",   "inactive_file", "active_file",
		"unevictable",   "free",	 "swap",
		"minor",	 "misses",	 "refaults",
		"scan_kswapd",   "scan_direct",	 "steal_kswapd",
		"steal_direct"};
	unsigned n = sizeof(columns) / sizeof(*columns);

	fprintf(to, "  \"series\": {\n    \"columns\": [");
	for (unsigned i = 0; i < n; i++)
		fprintf(to, "%s\"%s\"", i ? ", " : "", columns[i]);
	fprintf(to, "],\n    \"rows\": [");
	for (unsigned i = 0; i < s->nr; i++) {
		const struct replay_sample *a = &s->at[i];
		const uint64_t v[] = {
			a->accesses,	a->time_ns,	a->lru[0],
			a->lru[1],	a->lru[2],	a->lru[3],
			a->lru[4],	a->free,	a->swap,
			a->minor,	a->miss,	a->refault,
			a->scan_kswapd, a->scan_direct, a->steal_kswapd,
			a->steal_direct};

		fprintf(to, "%s\n      [", i ? "," : "");
		for (unsigned k = 0; k < n; k++)
			fprintf(to, "%s%" PRIu64, k ? "," : "", v[k]);
		fprintf(to, "]");
	}
	fprintf(to, "\n    ]\n  }\n}\n");
}

void replay_json(FILE *to, const struct replay_options *o,
		 const struct replay_result *r)
{
	head(to, o, r);
	tunables(to, &o->tun);
	outcome(to, r);
	series(to, &r->series);
}
