/* SPDX-License-Identifier: MIT */
/* weir replay: a trace on the simulated machine. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool/progress.h"
#include "tool/replay.h"

void replay_help(void)
{
	fputs("usage: weir replay TRACE --memory SIZE [OPTIONS]\n\n"
	      "Plays a trace of memory accesses on a simulated machine with so\n"
	      "much memory, under the same reclaim that weir run uses, and says\n"
	      "what it came to: faults, refaults, scanning, stalls, time lost.\n"
	      "The same trace, options and seed give the same outcome, on any\n"
	      "machine. TRACE is a file, plain or packed with gzip or zstd; -\n"
	      "is standard input.\n\n",
	      stdout);
	replay_options_help(stdout);
	fputs("\nexit status: 0; 64 wrong usage, 65 a malformed trace, 66 no\n"
	      "trace there, 73 an output file cannot be written\n",
	      stdout);
}

static void progress(void *ctx, uint64_t bytes, uint64_t total,
		     uint64_t accesses)
{
	progress_update(ctx, bytes, total);
}

static void print_event(void *ctx, uint64_t time_ns, const char *name,
			uint64_t a, uint64_t b, uint64_t c)
{
	fprintf(ctx, "%" PRIu64 ".%09" PRIu64 " %s %" PRIu64 " %" PRIu64
		     " %" PRIu64 "\n",
		time_ns / 1000000000, time_ns % 1000000000, name, a, b, c);
}

/* *to is standard output or the new file. 0 or an exit status. */
static int open_output(const char *name, FILE **to)
{
	*to = stdout;
	if (!name)
		return 0;
	*to = fopen(name, "we");
	if (*to)
		return 0;
	complain("replay", "%s: %s", name, strerror(errno));
	return EXIT_CANTCREAT;
}

static int close_output(const char *name, FILE *to)
{
	bool failed = ferror(to);

	if (to == stdout)
		return 0; /* main looks after it */
	if (!fclose(to) && !failed)
		return 0;
	complain("replay", "%s: cannot be written", name);
	return EXIT_CANTCREAT;
}

static int print_outcome(const struct replay_command *c,
			 const struct replay_result *r)
{
	FILE *to;
	int rc;

	if (!c->json || c->json_file)
		replay_report(stdout, &c->o, r);
	if (!c->json)
		return 0;
	rc = open_output(c->json_file, &to);
	if (rc)
		return rc;
	replay_json(to, &c->o, r);
	return close_output(c->json_file, to);
}

static int one_run(struct replay_command *c)
{
	struct replay_result *r = calloc(1, sizeof(*r));
	struct replay_error err;
	struct progress bar;
	FILE *events = NULL;
	int rc;

	if (!r)
		abort();
	progress_begin(&bar, "replay");
	if (!c->quiet) {
		c->o.progress = progress;
		c->o.progress_ctx = &bar;
	}
	if (c->events) {
		rc = open_output(c->events_file, &events);
		if (rc)
			goto out;
		c->o.event = print_event;
		c->o.event_ctx = events;
	}
	rc = replay_run(&c->o, r, &err);
	progress_end(&bar);
	if (rc) {
		complain("replay", "%s", err.text);
		rc = err.exit_status;
	}
	if (events && close_output(c->events_file, events) && !rc)
		rc = EXIT_CANTCREAT;
	if (!rc)
		rc = print_outcome(c, r);
out:
	free(r);
	return rc;
}

static void sweep_progress(void *ctx, uint64_t done, uint64_t total)
{
	progress_update(ctx, done, total);
}

static int print_sweep(const struct replay_command *c, const struct sweep *s)
{
	FILE *to;
	int rc;

	if (!c->json || c->json_file)
		replay_sweep_report(stdout, &c->o, &c->sweep, s);
	if (!c->json)
		return 0;
	rc = open_output(c->json_file, &to);
	if (rc)
		return rc;
	replay_sweep_json(to, &c->o, &c->sweep, s);
	return close_output(c->json_file, to);
}

static int many_runs(struct replay_command *c)
{
	struct replay_error err;
	struct progress bar;
	struct sweep s;
	int rc;

	progress_begin(&bar, "sweep");
	if (!c->quiet && isatty(STDERR_FILENO)) {
		c->sweep.progress = sweep_progress;
		c->sweep.progress_ctx = &bar;
	}
	rc = replay_sweep(&c->o, &c->sweep, &s, &err);
	progress_end(&bar);
	if (rc) {
		complain("replay", "%s", err.text);
		rc = err.exit_status;
	} else {
		rc = print_sweep(c, &s);
	}
	replay_sweep_free(&s);
	return rc;
}

int cmd_replay(int argc, char **argv)
{
	struct replay_command c;
	int rc = replay_options_parse(argc, argv, &c);

	if (rc)
		return rc;
	if (c.help) {
		replay_help();
		return 0;
	}
	return c.swept ? many_runs(&c) : one_run(&c);
}
