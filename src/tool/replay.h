/* SPDX-License-Identifier: MIT */
/* weir replay: its options. */
#ifndef WEIR_TOOL_REPLAY_H
#define WEIR_TOOL_REPLAY_H

#include "replay/sweep.h"
#include "tool/tool.h"

struct replay_command {
	struct replay_options o;
	struct sweep_options sweep;
	bool memory_given, swept, help;
	bool json, quiet;
	const char *json_file;	 /* NULL = standard output */
	bool events;
	const char *events_file; /* NULL = standard output */
};

/* 0, or an exit status with a message printed. */
int replay_options_parse(int argc, char **argv, struct replay_command *c);
void replay_options_help(FILE *to);

#endif
