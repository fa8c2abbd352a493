/* SPDX-License-Identifier: MIT */
/* A bar on standard error, where that is a terminal; otherwise nothing. */
#ifndef WEIR_TOOL_PROGRESS_H
#define WEIR_TOOL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what;
	bool shown, off;
	uint64_t begin_ns, last_ns;
};

/* `what` stands before the bar and must stay. */
void progress_begin(struct progress *p, const char *what);
/* In bytes. total 0: not known; then `done` alone is shown.
 * Cheap enough to be called for each batch: it draws ten times a second. */
void progress_update(struct progress *p, uint64_t done, uint64_t total);
/* Takes the bar away. */
void progress_end(struct progress *p);

#endif
