/* SPDX-License-Identifier: MIT */
/* weir run: its options, and the report at the end. */
#ifndef WEIR_TOOL_RUN_H
#define WEIR_TOOL_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>

#include "host/live/shared.h"
#include "store/zcodec.h"
#include "tool/tool.h"

struct run_options {
	uint64_t memory_bytes; /* 0 = not given */
	const char *swap;      /* as written, or NULL */
	bool compress_given;
	const char *zmem;      /* likewise */
	const char *zmem_from; /* what named it, for messages */
	uint64_t zmem_bytes;   /* 0 = no compressed memory */
	enum zcodec_kind codec;
	int level;
	struct tunables tun;
	bool stats, quiet, json;
	const char *json_file; /* NULL = standard error */
	unsigned verbose;
	bool help;
};

/*
 * Reads the WEIR_* environment and then the options; argv[*next] is the first
 * word of the command. 0, or an exit status with a message printed.
 */
int run_options_parse(int argc, char **argv, struct run_options *o, int *next);
void run_options_help(FILE *to);

/* What became of the program. */
struct run_result {
	char *const *argv;
	int wait_status;
	int exit_status; /* weir's own */
	uint64_t elapsed_ns;
	struct rusage usage; /* of the program and its waited-for children */
};

/* Sums over the table of processes. */
struct run_total {
	uint64_t processes, managed, alive;
	int64_t stats[NR_STATS];
	/* largest process */
	uint64_t managed_peak, overhead_peak, swap_peak, zmem_peak;
	uint64_t unmanaged_peak[NR_UNMANAGED];
	uint32_t flags;
};

void run_total(struct weir_shared *s, struct run_total *t);
void run_report(FILE *to, struct weir_shared *s, const struct run_result *r,
		bool stats);
void run_report_json(FILE *to, struct weir_shared *s,
		     const struct run_result *r);
/* Only what went wrong: for --quiet. */
void run_report_errors(FILE *to, struct weir_shared *s);

#endif
