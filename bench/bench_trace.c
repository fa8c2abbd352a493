/* SPDX-License-Identifier: MIT */
/*
 * How fast a trace is read: bench_trace TRACE [FORMAT]. Prints events, their
 * checksum and events a second; nothing is done with them but to add them up.
 */
#include <stdio.h>
#include <time.h>

#include "trace/trace.h"

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct trace_options opt = {.path = argc > 1 ? argv[1] : "-"};
	struct trace_event ev[TRACE_BATCH];
	unsigned long long nr = 0, sum = 0;
	struct trace_info info;
	struct trace_reader *r;
	struct trace_error err;
	double begin, seconds;
	int n;

	if (argc > 2 && trace_format_parse(argv[2], &opt.format)) {
		fprintf(stderr, "bench_trace: no format '%s'\n", argv[2]);
		return 64;
	}
	begin = now();
	if (trace_open(&r, &opt, &err)) {
		fprintf(stderr, "bench_trace: %s\n", err.text);
		return 65;
	}
	while ((n = trace_read(r, ev, TRACE_BATCH)) > 0) {
		for (int i = 0; i < n; i++)
			sum +=
			    ev[i].page * ev[i].access + ev[i].nr + ev[i].time;
		nr += (unsigned)n;
	}
	seconds = now() - begin;
	trace_reader_info(r, &info);
	if (n < 0)
		fprintf(stderr, "bench_trace: %s\n",
			trace_reader_error(r)->text);
	else
		printf("%s: %llu events, sum %llx, %.3f s, %.1f M/s\n",
		       trace_format_name(info.format), nr, sum, seconds,
		       (double)nr / seconds / 1e6);
	trace_close(r);
	return n < 0 ? 65 : 0;
}
