/* SPDX-License-Identifier: MIT */
/* What is in a trace, in figures. */
#include "tool/trace_summary.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tool/json.h"
#include "tool/tool.h"

static const char *const words[NR_TRACE_OPS] = {
#define X(id, word, fields, flags, words, what) word,
#include "trace/ops.def"
#undef X
};

void trace_summary_begin(struct trace_summary *s)
{
	memset(s, 0, sizeof(*s));
	s->first_ns = TRACE_TIME_NONE;
}

void trace_summary_free(struct trace_summary *s)
{
	pageset_free(&s->memory);
	pageset_free(&s->files);
	pageset_free(&s->processes);
	free(s->threads);
}

static uint64_t plus(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Threads have the memory of the process that made the first of them. */
static uint32_t process_of(const struct trace_summary *s, uint32_t pid)
{
	for (size_t i = s->nr_threads; i--;)
		if (s->threads[i].pid == pid)
			return s->threads[i].process;
	return pid;
}

static void add_fork(struct trace_summary *s, const struct trace_event *ev)
{
	struct thread *more;

	pageset_add(&s->processes, 0, ev->child, 1);
	/* A new process may have the number of a thread that was. */
	if (!(ev->flags & TRACE_F_THREAD) &&
	    process_of(s, ev->child) == ev->child)
		return;
	more = realloc(s->threads, (s->nr_threads + 1) * sizeof(*more));
	if (!more) {
		s->memory.incomplete = true;
		return;
	}
	s->threads = more;
	more[s->nr_threads++] = (struct thread){
	    ev->child, ev->flags & TRACE_F_THREAD ? s->process : ev->child};
}

static void add_file(struct trace_summary *s, const struct trace_event *ev)
{
	uint64_t first = ev->offset >> TRACE_PAGE_SHIFT;
	uint64_t last = (ev->offset + ev->bytes - 1) >> TRACE_PAGE_SHIFT;

	if (ev->bytes)
		pageset_add(&s->files, ev->file, first, last - first + 1);
	if (ev->op == TRACE_READ)
		s->file_read_bytes = plus(s->file_read_bytes, ev->bytes);
	else
		s->file_write_bytes = plus(s->file_write_bytes, ev->bytes);
}

static void add_process(struct trace_summary *s, uint32_t pid)
{
	pageset_add(&s->processes, 0, pid, 1);
	s->pid = pid;
	s->process = process_of(s, pid);
}

void trace_summary_add(struct trace_summary *s, const struct trace_event *ev,
		       unsigned nr)
{
	for (unsigned i = 0; i < nr; i++, ev++) {
		if (ev->pid != s->pid || !s->events)
			add_process(s, ev->pid);
		s->events++;
		s->op[ev->op]++;
		if (ev->time != TRACE_TIME_NONE) {
			if (s->first_ns == TRACE_TIME_NONE)
				s->first_ns = ev->time;
			s->last_ns = ev->time;
		}
		if (ev->op == TRACE_TOUCH) {
			uint64_t *sum = ev->access & TRACE_W   ? &s->writes
					: ev->access & TRACE_X ? &s->executes
							       : &s->reads;

			*sum = plus(*sum, ev->nr);
			pageset_add_strided(&s->memory, s->process, ev->page,
					    ev->nr, ev->stride);
		} else if (ev->op == TRACE_READ || ev->op == TRACE_WRITE) {
			add_file(s, ev);
		} else if (ev->op == TRACE_FORK) {
			add_fork(s, ev);
		}
	}
}

/* --- as text ----------------------------------------------------------- */

static const char *packing_text(enum trace_packing p)
{
	return p == TRACE_GZIP ? ", gzip" : p == TRACE_ZSTD ? ", zstd" : "";
}

static void print_set(FILE *to, const char *head, const struct pageset *set)
{
	char size[SIZE_TEXT];

	fprintf(
	    to, "  %-12s %s%" PRIu64 " pages, %s\n", head,
	    set->incomplete ? "more than " : "", set->nr,
	    set->nr > UINT64_MAX / TRACE_PAGE_SIZE
		? "beyond all measure"
		: size_format(set->nr * TRACE_PAGE_SIZE, size, sizeof(size)));
}

static void print_time(FILE *to, const struct trace_summary *s)
{
	uint64_t ns = s->last_ns - s->first_ns;

	if (s->first_ns == TRACE_TIME_NONE)
		fprintf(to, "  %-12s none\n", "times");
	else
		fprintf(to, "  %-12s %" PRIu64 ".%06" PRIu64 " s\n",
			"time span", ns / 1000000000u,
			ns % 1000000000u / 1000u);
}

static void print_events(FILE *to, const struct trace_summary *s)
{
	unsigned column = 81;

	for (int op = 0; op < NR_TRACE_OPS; op++) {
		char one[64];
		int len;

		if (!s->op[op])
			continue;
		len = snprintf(one, sizeof(one), "%" PRIu64 " %s", s->op[op],
			       op == TRACE_TOUCH ? "touch" : words[op]);
		if (column + (unsigned)len + 2 > 78) {
			fprintf(to, "%s  %-12s ", column == 81 ? "" : ",\n",
				column == 81 ? "events" : "");
			column = 15;
		} else {
			fputs(", ", to);
			column += 2;
		}
		fputs(one, to);
		column += (unsigned)len;
	}
	fputs(column == 81 ? "" : "\n", to);
}

void trace_summary_print(const struct trace_summary *s, const char *name,
			 FILE *to)
{
	char size[SIZE_TEXT];

	fprintf(to, "%s: %s%s, %s\n", name, trace_format_name(s->info.format),
		packing_text(s->info.packing),
		size_format(s->info.bytes_read, size, sizeof(size)));
	fprintf(to, "  %-12s %" PRIu64 "\n", "records", s->events);
	print_events(to, s);
	print_set(to, "footprint", &s->memory);
	fprintf(to, "  %-12s %" PRIu64 "\n", "reads", s->reads);
	fprintf(to, "  %-12s %" PRIu64 "\n", "writes", s->writes);
	fprintf(to, "  %-12s %" PRIu64 "\n", "executes", s->executes);
	if (s->files.nr || s->files.incomplete) {
		print_set(to, "of files", &s->files);
		fprintf(to, "  %-12s %s\n", "file reads",
			size_format(s->file_read_bytes, size, sizeof(size)));
		fprintf(to, "  %-12s %s\n", "file writes",
			size_format(s->file_write_bytes, size, sizeof(size)));
	}
	fprintf(to, "  %-12s %" PRIu64 "\n", "processes", s->processes.nr);
	print_time(to, s);
}

/* --- as JSON ----------------------------------------------------------- */

static void json_u64(FILE *to, const char *key, uint64_t v)
{
	fprintf(to, ", \"%s\": %" PRIu64, key, v);
}

void trace_summary_json(const struct trace_summary *s, const char *name,
			FILE *to)
{
	static const char *const packing[] = {"none", "gzip", "zstd"};
	const char *comma = "";

	fputs("{\"trace\": ", to);
	json_string(to, name);
	fprintf(to, ", \"format\": \"%s\", \"compression\": \"%s\"",
		trace_format_name(s->info.format), packing[s->info.packing]);
	json_u64(to, "bytes", s->info.bytes_read);
	json_u64(to, "records", s->events);
	json_u64(to, "footprint_pages", s->memory.nr);
	fprintf(to, ", \"footprint_complete\": %s",
		s->memory.incomplete || s->files.incomplete ? "false" : "true");
	json_u64(to, "reads", s->reads);
	json_u64(to, "writes", s->writes);
	json_u64(to, "executes", s->executes);
	json_u64(to, "file_footprint_pages", s->files.nr);
	json_u64(to, "file_read_bytes", s->file_read_bytes);
	json_u64(to, "file_write_bytes", s->file_write_bytes);
	json_u64(to, "processes", s->processes.nr);
	fprintf(to, ", \"regions\": %s, \"time_span_ns\": ",
		s->info.has_regions ? "true" : "false");
	if (s->first_ns == TRACE_TIME_NONE)
		fputs("null", to);
	else
		fprintf(to, "%" PRIu64, s->last_ns - s->first_ns);
	fputs(", \"events\": {", to);
	for (int op = 0; op < NR_TRACE_OPS; op++) {
		if (!s->op[op])
			continue;
		fprintf(to, "%s\"%s\": %" PRIu64, comma,
			op == TRACE_TOUCH ? "touch" : words[op], s->op[op]);
		comma = ", ";
	}
	fputs("}}\n", to);
}
