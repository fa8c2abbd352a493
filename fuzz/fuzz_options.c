/* SPDX-License-Identifier: MIT */
/*
 * The command line of weir run. Either it is accepted without a word, or
 * refused with one message and the status for it.
 */
#include "tool/run.h"
#include "words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct run_options o;
	int next = -1, rc;
	struct words w;

	words_split(&w, data, len);
	rc = run_options_parse(w.argc, w.argv, &o, &next);
	must(rc == 0 || rc == EXIT_BAD_USAGE);
	must(complaints == (rc ? 1 : 0));
	if (!rc && !o.help) {
		must(next > 0 && next < w.argc);
		must(o.memory_bytes >= WEIR_MEMORY_MIN);
		must(o.memory_bytes % 4096 == 0);
		must(o.verbose <= 2);
	}
	free(w.bytes);
	return 0;
}
