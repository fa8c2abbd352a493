/* SPDX-License-Identifier: MIT */
/* The outcome of a sweep, as a table and as JSON. */
#include <inttypes.h>
#include <stdio.h>

#include "replay/sweep.h"
#include "replay/text.h"

static void row(FILE *to, const struct sweep_point *p, bool smallest)
{
	const struct replay_result *r = &p->r;
	char a[TEXT], b[TEXT], c[TEXT];

	fprintf(to, "%c%11s %13s %6.2f %% %13s %6.2f %% %8.2f %% %7.2f x%s\n",
		smallest ? '>' : ' ', replay__size(p->memory_pages, a),
		replay__count(replay_misses(r), b),
		replay__percent(replay_misses(r), r->accesses),
		replay__count(replay_refaults(r), c),
		replay__percent(replay_refaults(r), r->accesses),
		replay__percent(replay_stall_ns(r), r->time_ns),
		r->program_ns ? (double)r->time_ns / (double)r->program_ns : 1,
		r->killed ? " OOM" : "");
}

static void bound(FILE *to, const struct sweep_options *so)
{
	const char *and = "";

	if (so->bound.refaults != UINT64_MAX) {
		fprintf(to, "refaults <= %g %% of accesses",
			(double)so->bound.refaults / 1e4);
		and = ", ";
	}
	if (so->bound.stall != UINT64_MAX)
		fprintf(to, "%sstalls <= %g %% of the time", and,
			(double)so->bound.stall / 1e4);
}

void replay_sweep_report(FILE *to, const struct replay_options *o,
			 const struct sweep_options *so, const struct sweep *s)
{
	const struct replay_result *r = &s->at[s->nr - 1].r;
	char a[TEXT], b[TEXT], c[TEXT];

	fprintf(to, "%s accesses (%s) of %s pages, %s\n\n",
		replay__count(r->accesses, a),
		trace_format_name(r->trace.format), replay__count(r->pages, b),
		replay__size(r->pages, c));
	fprintf(to, " %11s %13s %8s %13s %8s %10s %9s\n", "memory",
		"misses", "", "refaults", "", "stalled", "time");
	for (unsigned i = 0; i < s->nr; i++)
		row(to, &s->at[i], s->at[i].memory_pages == s->smallest);
	if (!s->bounded)
		return;
	fprintf(to, "\n");
	bound(to, so);
	if (s->smallest)
		fprintf(to, ": %s%s\n", replay__size(s->smallest, a),
			s->smallest == s->at[0].memory_pages
				? " and perhaps less"
				: "");
	else
		fprintf(to, ": none of these is enough\n");
}

static void json_point(FILE *to, const struct sweep_point *p)
{
	const struct replay_result *r = &p->r;

	fprintf(to,
		"    {\"memory_pages\": %" PRIu64 ", \"minor\": %" PRIu64
		", \"major\": %" PRIu64 ", \"misses\": %" PRIu64
		", \"refaults\": %" PRIu64
		", \"activations\": %" PRIu64 ",\n     \"scanned\": %" PRIu64
		", \"stolen\": %" PRIu64 ", \"stall_ns\": %" PRIu64
		", \"time_ns\": %" PRIu64 ", \"program_ns\": %" PRIu64
		", \"killed\": %" PRIu64 "}",
		p->memory_pages, replay_minor(r),
		replay_stat(r, STAT_pgmajfault), replay_misses(r),
		replay_refaults(r),
		replay_stat(r, STAT_pgactivate),
		replay_stat(r, STAT_pgscan_kswapd) +
			replay_stat(r, STAT_pgscan_direct),
		replay_stat(r, STAT_pgsteal_kswapd) +
			replay_stat(r, STAT_pgsteal_direct),
		replay_stall_ns(r), r->time_ns, r->program_ns, r->killed);
}

void replay_sweep_json(FILE *to, const struct replay_options *o,
		       const struct sweep_options *so, const struct sweep *s)
{
	const struct replay_result *r = &s->at[s->nr - 1].r;

	fprintf(to,
		"{\n  \"weir\": \"" WEIR_VERSION "\",\n"
		"  \"trace\": {\"format\": \"%s\", \"accesses\": %" PRIu64
		", \"pages\": %" PRIu64 "},\n",
		trace_format_name(r->trace.format), r->accesses, r->pages);
	if (so->bound.refaults != UINT64_MAX)
		fprintf(to, "  \"max_refaults\": %g,\n",
			(double)so->bound.refaults / 1e6);
	if (so->bound.stall != UINT64_MAX)
		fprintf(to, "  \"max_stall\": %g,\n",
			(double)so->bound.stall / 1e6);
	if (s->bounded && s->smallest)
		fprintf(to, "  \"smallest_pages\": %" PRIu64 ",\n",
			s->smallest);
	else if (s->bounded)
		fprintf(to, "  \"smallest_pages\": null,\n");
	fprintf(to, "  \"sweep\": [\n");
	for (unsigned i = 0; i < s->nr; i++) {
		json_point(to, &s->at[i]);
		fprintf(to, "%s\n", i + 1 < s->nr ? "," : "");
	}
	fprintf(to, "  ]\n}\n");
}
