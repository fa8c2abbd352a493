/* SPDX-License-Identifier: MIT */
/* A command line from a fuzzer: one word a line; and complain(), counted. */
#ifndef WEIR_FUZZ_WORDS_H
#define WEIR_FUZZ_WORDS_H

#include <stdarg.h>
#include <string.h>

#include "fuzz.h"
#include "tool/tool.h"

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

struct words {
	char *bytes, *argv[WORDS_MAX + 2];
	int argc;
};

static void words_split(struct words *w, const uint8_t *data, size_t len)
{
	w->bytes = malloc(len + 1);
	must(w->bytes);
	memcpy(w->bytes, data, len);
	w->bytes[len] = '\0';
	w->argv[0] = w->bytes + len; /* "" */
	w->argc = 1;
	for (char *p = w->bytes; w->argc <= WORDS_MAX; p++) {
		w->argv[w->argc++] = p;
		p = strchr(p, '\n');
		if (!p)
			break;
		*p = '\0';
	}
	w->argv[w->argc] = NULL;
	complaints = 0;
}

#endif
