/* SPDX-License-Identifier: MIT */
/*
 * The command line of weir run: one word a line of input. Either it is
 * accepted without a word, or refused with one message and the status for it.
 */
#include "fuzz.h"

#include <stdarg.h>
#include <string.h>

#include "tool/run.h"

#define WORDS_MAX 64

static unsigned complaints;

void complain(const char *cmd, const char *fmt, ...)
{
	char text[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	must(cmd && text[0]);
	complaints++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *words = malloc(len + 1), *argv[WORDS_MAX + 2];
	struct run_options o;
	int argc = 1, next = -1, rc;

	must(words);
	memcpy(words, data, len);
	words[len] = '\0';
	argv[0] = words + len; /* "" */
	for (char *p = words; argc <= WORDS_MAX; p++) {
		argv[argc++] = p;
		p = strchr(p, '\n');
		if (!p)
			break;
		*p = '\0';
	}
	argv[argc] = NULL;
	complaints = 0;
	rc = run_options_parse(argc, argv, &o, &next);
	must(rc == 0 || rc == EXIT_BAD_USAGE);
	must(complaints == (rc ? 1 : 0));
	if (!rc && !o.help) {
		must(next > 0 && next < argc);
		must(o.memory_bytes >= WEIR_MEMORY_MIN);
		must(o.memory_bytes % 4096 == 0);
		must(o.verbose <= 2);
	}
	free(words);
	return 0;
}
