/* SPDX-License-Identifier: MIT */
/* What happened in a run: a few lines, all counters, or JSON. */
#include "tool/json.h"
#include "tool/run.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define PAGE UINT64_C(4096)

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* A slot somebody filled in, whether its process is still there or not. */
static bool slot_in_use(const struct weir_slot *w)
{
	uint32_t state = atomic_load(&w->state);

	return state == SLOT_LIVE || state == SLOT_ENDED;
}

static bool slot_alive(const struct weir_slot *w)
{
	int32_t pid = atomic_load(&w->pid);

	return atomic_load(&w->state) == SLOT_LIVE &&
	       (!kill(pid, 0) || errno == EPERM);
}

void run_total(struct weir_shared *s, struct run_total *t)
{
	memset(t, 0, sizeof(*t));
	t->processes = atomic_load(&s->processes) + atomic_load(&s->dropped);
	t->managed = atomic_load(&s->folded.processes);
	t->flags = atomic_load(&s->folded.flags);
	t->managed_peak = atomic_load(&s->folded.managed_peak_bytes);
	t->overhead_peak = atomic_load(&s->folded.overhead_peak_bytes);
	t->swap_peak = atomic_load(&s->folded.swap_peak_bytes);
	t->zmem_peak = atomic_load(&s->folded.zmem_peak_bytes);
	for (int i = 0; i < NR_STATS; i++)
		t->stats[i] = atomic_load(&s->folded.stats[i]);
	for (int i = 0; i < NR_UNMANAGED; i++)
		t->unmanaged_peak[i] =
			atomic_load(&s->folded.unmanaged_peak_bytes[i]);

	for (unsigned k = 0; k < WEIR_SLOTS; k++) {
		struct weir_slot *w = &s->slot[k];

		if (!slot_in_use(w))
			continue;
		t->managed += atomic_load(&w->flags) & WEIR_SLOT_REFUSED ? 0 : 1;
		t->alive += slot_alive(w);
		t->flags |= atomic_load(&w->flags);
		t->managed_peak = larger(t->managed_peak,
					 atomic_load(&w->managed_peak_bytes));
		t->overhead_peak = larger(t->overhead_peak,
					  atomic_load(&w->overhead_peak_bytes));
		t->swap_peak =
			larger(t->swap_peak, atomic_load(&w->swap_peak_bytes));
		t->zmem_peak =
			larger(t->zmem_peak, atomic_load(&w->zmem_peak_bytes));
		for (int i = 0; i < NR_STATS; i++)
			t->stats[i] += atomic_load(&w->stats[i]);
		for (int i = 0; i < NR_UNMANAGED; i++)
			t->unmanaged_peak[i] = larger(
				t->unmanaged_peak[i],
				atomic_load(&w->unmanaged_peak_bytes[i]));
	}
}

static int64_t pages_out(const int64_t *stats)
{
	return stats[STAT_pswpout] + stats[STAT_swpout_zero];
}

static int64_t pages_in(const int64_t *stats)
{
	return stats[STAT_pswpin] + stats[STAT_swpin_zero];
}

/* --- text ------------------------------------------------------------- */

void run_report_errors(FILE *to, struct weir_shared *s)
{
	uint64_t dropped = atomic_load(&s->dropped);

	if (!atomic_load(&s->processes) && !dropped)
		fputs("weir: no process of this run reported: nothing was "
		      "managed, the budget did not hold\n",
		      to);
	for (unsigned k = 0; k < WEIR_SLOTS; k++) {
		struct weir_slot *w = &s->slot[k];

		if (slot_in_use(w) && atomic_load(&w->flags) & WEIR_SLOT_ERROR)
			fprintf(to, "weir: %.16s (%d): %.255s\n", w->name,
				(int)atomic_load(&w->pid), w->error);
	}
	if (dropped)
		fprintf(to,
			"weir: %" PRIu64 " processes found no place in the "
			"table of %d and are not counted here\n",
			dropped, WEIR_SLOTS);
}

static void text_memory(FILE *to, const struct weir_shared *s,
			const struct run_result *r, const struct run_total *t)
{
	char budget[SIZE_TEXT], peak[SIZE_TEXT], own[SIZE_TEXT];

	fprintf(to, "weir: budget %s, peak %s managed + %s engine; ",
		size_format(s->config.memory_bytes, budget, sizeof(budget)),
		size_format(t->managed_peak, peak, sizeof(peak)),
		size_format(t->overhead_peak, own, sizeof(own)));
	fprintf(to, "%" PRIu64 " process%s, %.2f s\n", t->processes,
		t->processes == 1 ? "" : "es", (double)r->elapsed_ns / 1e9);
}

static void text_traffic(FILE *to, const struct run_total *t)
{
	char out[SIZE_TEXT], in[SIZE_TEXT];

	if (!pages_out(t->stats) && !pages_in(t->stats)) {
		fputs("weir: it fit: nothing was taken out\n", to);
		return;
	}
	fprintf(to, "weir: out %s, in %s; %" PRId64 " faults, %" PRId64
		    " major, %.2f s in them\n",
		size_format((uint64_t)pages_out(t->stats) * PAGE, out,
			    sizeof(out)),
		size_format((uint64_t)pages_in(t->stats) * PAGE, in,
			    sizeof(in)),
		t->stats[STAT_pgfault], t->stats[STAT_pgmajfault],
		(double)t->stats[STAT_fault_ns] / 1e9);
}

static void text_zmem(FILE *to, const struct run_total *t)
{
	uint64_t pages = (uint64_t)t->stats[STAT_zswpout];
	uint64_t bytes = (uint64_t)t->stats[STAT_zswap_bytes];
	char in[SIZE_TEXT], peak[SIZE_TEXT], back[SIZE_TEXT];

	if (!pages && !t->stats[STAT_zswap_same_filled_pages])
		return;
	fprintf(to, "weir: compressed %s at %.1f:1 into at most %s; ",
		size_format(pages * PAGE, in, sizeof(in)),
		bytes ? (double)(pages * PAGE) / (double)bytes : 1.0,
		size_format(t->zmem_peak, peak, sizeof(peak)));
	fprintf(to, "%s of it went to the swap file\n",
		size_format((uint64_t)t->stats[STAT_zswpwb] * PAGE, back,
			    sizeof(back)));
}

static void text_unmanaged(FILE *to, const struct run_total *t)
{
	const char *comma = " ";
	char size[SIZE_TEXT];

	fputs("weir: not managed, at its peak:", to);
	for (int i = 0; i < NR_UNMANAGED; i++) {
		if (!t->unmanaged_peak[i])
			continue;
		fprintf(to, "%s%s %s", comma,
			size_format(t->unmanaged_peak[i], size, sizeof(size)),
			weir_unmanaged_name(i));
		comma = ", ";
	}
	fputs(*comma == ',' ? "\n" : " nothing\n", to);
}

static void text_stats(FILE *to, const struct run_total *t)
{
	for (int i = 0; i < NR_STATS; i++)
		fprintf(to, "  %-32s %18" PRId64 " %s\n", weir__stat_name(i),
			t->stats[i], weir__stat_unit(i));
}

void run_report(FILE *to, struct weir_shared *s, const struct run_result *r,
		bool stats)
{
	struct run_total t;

	run_total(s, &t);
	run_report_errors(to, s);
	if (t.processes) {
		text_memory(to, s, r, &t);
		text_traffic(to, &t);
		text_zmem(to, &t);
		text_unmanaged(to, &t);
	}
	if (t.alive)
		fprintf(to, "weir: %" PRIu64 " process%s of this run %s still "
			    "running; the figures go up to here\n",
			t.alive, t.alive == 1 ? "" : "es",
			t.alive == 1 ? "is" : "are");
	if (stats)
		text_stats(to, &t);
}

/* --- JSON ------------------------------------------------------------- */

static void json_u64(FILE *to, const char *key, uint64_t v)
{
	fprintf(to, "\"%s\": %" PRIu64 ", ", key, v);
}

static void json_stats(FILE *to, const int64_t *stats)
{
	fputs("\"stats\": {", to);
	for (int i = 0; i < NR_STATS; i++)
		fprintf(to, "%s\"%s\": %" PRId64, i ? ", " : "",
			weir__stat_name(i), stats[i]);
	fputc('}', to);
}

static void json_unmanaged(FILE *to, const uint64_t *peak)
{
	static const char *const key[NR_UNMANAGED] = {
		[UNMANAGED_FILE] = "file",	[UNMANAGED_STACK] = "stack",
		[UNMANAGED_LOCKED] = "locked",	[UNMANAGED_SMALL] = "small",
		[UNMANAGED_OTHER] = "other",
	};

	fputs("\"unmanaged_peak_bytes\": {", to);
	for (int i = 0; i < NR_UNMANAGED; i++)
		fprintf(to, "%s\"%s\": %" PRIu64, i ? ", " : "", key[i],
			peak[i]);
	fputs("}, ", to);
}

static void json_process(FILE *to, struct weir_slot *w)
{
	uint64_t unmanaged[NR_UNMANAGED];
	int64_t stats[NR_STATS];
	uint32_t flags = atomic_load(&w->flags);

	for (int i = 0; i < NR_UNMANAGED; i++)
		unmanaged[i] = atomic_load(&w->unmanaged_peak_bytes[i]);
	for (int i = 0; i < NR_STATS; i++)
		stats[i] = atomic_load(&w->stats[i]);
	fprintf(to, "    {\"pid\": %d, \"name\": ", (int)atomic_load(&w->pid));
	json_string(to, w->name);
	fprintf(to, ", \"managed\": %s, \"alive\": %s, ",
		flags & WEIR_SLOT_MANAGED ? "true" : "false",
		slot_alive(w) ? "true" : "false");
	json_u64(to, "managed_peak_bytes", atomic_load(&w->managed_peak_bytes));
	json_u64(to, "engine_peak_bytes",
		 atomic_load(&w->overhead_peak_bytes));
	json_u64(to, "swap_peak_bytes", atomic_load(&w->swap_peak_bytes));
	json_u64(to, "zmem_peak_bytes", atomic_load(&w->zmem_peak_bytes));
	json_unmanaged(to, unmanaged);
	fputs("\"error\": ", to);
	if (flags & WEIR_SLOT_ERROR)
		json_string(to, w->error);
	else
		fputs("null", to);
	fputs(",\n     ", to);
	json_stats(to, stats);
	fputc('}', to);
}

static void json_head(FILE *to, const struct weir_shared *s,
		      const struct run_result *r)
{
	fputs("{\n  \"weir\": \"" WEIR_VERSION "\",\n  \"command\": [", to);
	for (int i = 0; r->argv[i]; i++) {
		fputs(i ? ", " : "", to);
		json_string(to, r->argv[i]);
	}
	fprintf(to, "],\n  \"exit_status\": %d, \"signal\": ", r->exit_status);
	if (WIFSIGNALED(r->wait_status))
		fprintf(to, "%d", WTERMSIG(r->wait_status));
	else
		fputs("null", to);
	fprintf(to, ",\n  ");
	json_u64(to, "elapsed_ns", r->elapsed_ns);
	json_u64(to, "user_us",
		 (uint64_t)r->usage.ru_utime.tv_sec * 1000000u +
			 (uint64_t)r->usage.ru_utime.tv_usec);
	json_u64(to, "system_us",
		 (uint64_t)r->usage.ru_stime.tv_sec * 1000000u +
			 (uint64_t)r->usage.ru_stime.tv_usec);
	json_u64(to, "max_rss_bytes", (uint64_t)r->usage.ru_maxrss * 1024u);
	fputs("\n  ", to);
	json_u64(to, "budget_bytes", s->config.memory_bytes);
	json_u64(to, "zmem_bytes", s->config.zmem_bytes);
	fprintf(to, "\"compress\": \"%s\", ",
		zcodec_name((enum zcodec_kind)s->config.zmem_codec));
	json_u64(to, "compress_level", s->config.zmem_bytes ?
					       (uint64_t)s->config.zmem_level :
					       0);
	json_u64(to, "swap_bytes", s->config.swap_bytes);
	fputs("\"swap_path\": ", to);
	json_string(to, s->config.swap_path);
}

void run_report_json(FILE *to, struct weir_shared *s,
		     const struct run_result *r)
{
	bool first = true;
	struct run_total t;

	run_total(s, &t);
	json_head(to, s, r);
	fputs(",\n  \"total\": {", to);
	json_u64(to, "processes", t.processes);
	json_u64(to, "managed_processes", t.managed);
	json_u64(to, "alive", t.alive);
	json_u64(to, "pages_out", (uint64_t)pages_out(t.stats));
	json_u64(to, "pages_in", (uint64_t)pages_in(t.stats));
	json_u64(to, "managed_peak_bytes", t.managed_peak);
	json_u64(to, "engine_peak_bytes", t.overhead_peak);
	json_u64(to, "swap_peak_bytes", t.swap_peak);
	json_u64(to, "zmem_peak_bytes", t.zmem_peak);
	json_unmanaged(to, t.unmanaged_peak);
	fputs("\n    ", to);
	json_stats(to, t.stats);
	fputs("},\n  \"processes\": [", to);
	for (unsigned k = 0; k < WEIR_SLOTS; k++) {
		if (!slot_in_use(&s->slot[k]))
			continue;
		fputs(first ? "\n" : ",\n", to);
		json_process(to, &s->slot[k]);
		first = false;
	}
	fputs("]\n}\n", to);
}
