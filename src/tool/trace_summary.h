/* SPDX-License-Identifier: MIT */
/* What is in a trace, in figures. */
#ifndef WEIR_TOOL_TRACE_SUMMARY_H
#define WEIR_TOOL_TRACE_SUMMARY_H

#include <stdio.h>

#include "trace/pageset.h"
#include "trace/trace.h"

struct thread {
	uint32_t pid, process; /* whose memory it has */
};

struct trace_summary {
	struct trace_info info;
	uint64_t events, op[NR_TRACE_OPS];
	uint64_t reads, writes, executes; /* pages; a read and write: writes */
	uint64_t file_read_bytes, file_write_bytes;
	struct pageset memory, files, processes;
	uint64_t first_ns, last_ns; /* first > last: no times */
	struct thread *threads;
	size_t nr_threads;
	uint32_t pid, process; /* of the event before */
};

void trace_summary_begin(struct trace_summary *s);
void trace_summary_add(struct trace_summary *s, const struct trace_event *ev,
		       unsigned nr);
void trace_summary_free(struct trace_summary *s);
void trace_summary_print(const struct trace_summary *s, const char *name,
			 FILE *to);
void trace_summary_json(const struct trace_summary *s, const char *name,
			FILE *to);

#endif
