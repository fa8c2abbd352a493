/* SPDX-License-Identifier: MIT */
/* weir: the command line. */
#include "tool/tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command {
	const char *name, *text;
	int (*fn)(int argc, char **argv);
	void (*help)(void);
} commands[] = {
	{"run", "run a program inside a memory budget", cmd_run, run_help},
	{"trace", "look at a trace of memory accesses, or convert it", cmd_trace,
	 trace_help},
	{"replay", "play a trace on a simulated machine", cmd_replay,
	 replay_help},
	{"doctor", "say what this machine allows, and what to do about it",
	 cmd_doctor, doctor_help},
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

void complain(const char *cmd, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "weir%s%s: ", cmd ? " " : "", cmd ? cmd : "");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < NR_COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static void help(FILE *to)
{
	fputs("usage: weir COMMAND [OPTIONS]\n\n"
	      "Keeps a program's memory under a set level by taking back the\n"
	      "pages least likely to be used again, and gives each page back\n"
	      "unchanged when it is touched.\n\n",
	      to);
	for (size_t i = 0; i < NR_COMMANDS; i++)
		fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].text);
	fputs("  help     say more about one of these: weir help run\n\n"
	      "  weir --version prints the version; weir --help this text.\n\n"
	      "example: weir run --memory 256M -- python3 program.py\n",
	      to);
}

static int cmd_help(int argc, char **argv)
{
	const struct command *c;

	if (argc < 2) {
		help(stdout);
		return 0;
	}
	c = find_command(argv[1]);
	if (!c) {
		complain("help", "no command '%s'; weir --help lists what there is",
			 argv[1]);
		return EXIT_BAD_USAGE;
	}
	c->help();
	return 0;
}

/* Output that could not be written must not pass for a success. */
static int finish(int status)
{
	if (fflush(stdout) || ferror(stdout)) {
		complain(NULL, "cannot write to standard output");
		return status ? status : EXIT_WEIR_FAILED;
	}
	return status;
}

int main(int argc, char **argv)
{
	const struct command *c;

	if (argc < 2) {
		help(stderr);
		return EXIT_BAD_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		help(stdout);
		return finish(0);
	}
	if (!strcmp(argv[1], "--version")) {
		puts("weir " WEIR_VERSION);
		return finish(0);
	}
	if (!strcmp(argv[1], "help"))
		return finish(cmd_help(argc - 1, argv + 1));
	c = find_command(argv[1]);
	if (!c) {
		complain(NULL, "%s '%s'; weir --help lists what there is",
			 argv[1][0] == '-' ? "unknown option" : "no command",
			 argv[1]);
		return EXIT_BAD_USAGE;
	}
	return finish(c->fn(argc - 1, argv + 1));
}
