/* SPDX-License-Identifier: MIT */
/* The command line of weir replay, as fuzz_options.c has that of weir run. */
#include "tool/replay.h"
#include "words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct replay_command c;
	struct words w;
	int rc;

	words_split(&w, data, len);
	rc = replay_options_parse(w.argc, w.argv, &c);
	must(rc == 0 || rc == EXIT_BAD_USAGE);
	must(complaints == (rc ? 1 : 0));
	if (!rc && !c.help) {
		must(c.o.trace.path && c.o.nodes >= 1 && c.o.nodes <= 2);
		must(c.swept || c.o.memory_pages >= REPLAY_PAGES_MIN);
		must(!c.swept || c.sweep.low <= c.sweep.high);
		must(c.sweep.points <= SWEEP_MAX);
		must(c.o.rate);
	}
	free(w.bytes);
	return 0;
}
