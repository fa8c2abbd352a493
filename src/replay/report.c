/* SPDX-License-Identifier: MIT */
/* The outcome of one replay for a reader. */
#include "replay/sweep.h"
#include "replay/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint64_t lost_ns(const struct replay_result *r)
{
	return r->time_ns > r->program_ns ? r->time_ns - r->program_ns : 0;
}

static void head(FILE *to, const struct replay_options *o,
		 const struct replay_result *r)
{
	char a[TEXT], b[TEXT], c[TEXT];

	fprintf(to, "%s accesses (%s) of %s pages, %s", replay__count(r->accesses, a),
		trace_format_name(r->trace.format), replay__count(r->pages, b),
		replay__size(r->pages, c));
	if (r->processes > 1)
		fprintf(to, ", %" PRIu64 " processes", r->processes);
	fprintf(to, "\n%s %s", o->cgroup ? "control group of" : "memory",
		replay__size(o->memory_pages, a));
	if (o->swap_pages)
		fprintf(to, ", swap %s", replay__size(o->swap_pages, b));
	else
		fprintf(to, ", no swap");
	if (!r->trace.has_time)
		fprintf(to, ", %s accesses a second", replay__count(o->rate, c));
	fprintf(to, "\n\n");
}

static void line(FILE *to, const char *what, uint64_t n)
{
	char a[TEXT];

	fprintf(to, "  %-26s %18s", what, replay__count(n, a));
}

static void line_percent(FILE *to, const char *what, uint64_t n, uint64_t of,
			 const char *whose)
{
	line(to, what, n);
	fprintf(to, "   %6.2f %% of %s\n", replay__percent(n, of), whose);
}

static void faults(FILE *to, const struct replay_result *r)
{
	uint64_t major = replay_stat(r, STAT_pgmajfault);

	line_percent(to, "minor faults", replay_minor(r), r->accesses,
		     "accesses");
	line_percent(to, "major faults", major, r->accesses, "accesses");
	if (replay_stat(r, STAT_pgcache_miss))
		line_percent(to, "missing in the page cache",
			     replay_stat(r, STAT_pgcache_miss), r->accesses,
			     "accesses");
	line_percent(to, "refaults", replay_refaults(r), r->accesses,
		     "accesses");
	line_percent(to, "  activated at once",
		     replay_stat(r, STAT_workingset_activate_anon) +
			     replay_stat(r, STAT_workingset_activate_file),
		     replay_refaults(r), "refaults");
	line_percent(to, "  had been active before",
		     replay_stat(r, STAT_workingset_restore_anon) +
			     replay_stat(r, STAT_workingset_restore_file),
		     replay_refaults(r), "refaults");
	line(to, "activations", replay_stat(r, STAT_pgactivate));
	fputc('\n', to);
	line(to, "deactivations", replay_stat(r, STAT_pgdeactivate));
	fputc('\n', to);
}

static void reclaim(FILE *to, const struct replay_result *r)
{
	uint64_t k = replay_stat(r, STAT_pgscan_kswapd);
	uint64_t d = replay_stat(r, STAT_pgscan_direct);
	char a[TEXT];

	line(to, "scanned by kswapd", k);
	fputc('\n', to);
	line_percent(to, "  stolen", replay_stat(r, STAT_pgsteal_kswapd), k,
		     "scanned");
	line(to, "scanned by direct reclaim", d);
	fputc('\n', to);
	line_percent(to, "  stolen", replay_stat(r, STAT_pgsteal_direct), d,
		     "scanned");
	line(to, "direct reclaims",
	     replay_stat(r, STAT_allocstall) +
		     replay_stat(r, STAT_limit_reclaim));
	fprintf(to, "   %s in them\n",
		replay__seconds(replay_stat(r, STAT_stall_ns), a));
	line(to, "pages read",
	     replay_stat(r, STAT_pswpin) + replay_stat(r, STAT_pgfilein));
	fprintf(to, "   in %s requests\n", replay__count(r->disk_reads, a));
	line(to, "pages written", replay_stat(r, STAT_nr_written));
	fprintf(to, "   in %s requests\n", replay__count(r->disk_writes, a));
}

static void the_end(FILE *to, const struct replay_options *o,
		    const struct replay_result *r)
{
	const struct replay_sample *at = &r->series.at[r->series.nr - 1];
	static const char *const names[] = {"inactive anon", "active anon",
					    "inactive file", "active file",
					    "unevictable"};
	char a[TEXT];

	fprintf(to, "\nat the end\n");
	for (unsigned l = 0; l < NR_LRU_LISTS; l++) {
		if (!at->lru[l])
			continue;
		line(to, names[l], at->lru[l]);
		fprintf(to, "   %s\n", replay__size(at->lru[l], a));
	}
	line(to, "free", at->free);
	if (o->cgroup)
		fprintf(to, "   of the whole machine\n");
	else
		fprintf(to,
			"   min %" PRIu64 ", low %" PRIu64 ", high %" PRIu64
			"\n",
			r->wmark[WMARK_MIN], r->wmark[WMARK_LOW],
			r->wmark[WMARK_HIGH]);
	line(to, "in swap", at->swap);
	fprintf(to, "   %s\n", replay__size(at->swap, a));
}

static void times(FILE *to, const struct replay_result *r)
{
	char a[TEXT], b[TEXT], c[TEXT];

	fprintf(to, "\ntime %s: %s of the program, %s lost",
		replay__seconds(r->time_ns, a), replay__seconds(r->program_ns, b),
		replay__seconds(lost_ns(r), c));
	if (r->program_ns)
		fprintf(to, " (%.2f x)",
			(double)r->time_ns / (double)r->program_ns);
	fprintf(to, "\nstalled %s: %.2f %% of the time\n",
		replay__seconds(replay_stall_ns(r), a),
		replay__percent(replay_stall_ns(r), r->time_ns));
	if (r->killed)
		fprintf(to,
			"OUT OF MEMORY: %" PRIu64 " of %" PRIu64
			" processes killed, %s accesses left out\n",
			r->killed, r->processes, replay__count(r->skipped, a));
}

void replay_report(FILE *to, const struct replay_options *o,
		   const struct replay_result *r)
{
	head(to, o, r);
	faults(to, r);
	fputc('\n', to);
	reclaim(to, r);
	the_end(to, o, r);
	times(to, r);
}
