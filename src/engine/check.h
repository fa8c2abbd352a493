/* SPDX-License-Identifier: MIT */
/* Validity walkers over the whole engine (check.c) and dumps (dump.c). */
#ifndef WEIR_ENGINE_CHECK_H
#define WEIR_ENGINE_CHECK_H

#include "engine/types.h"

/* A cheap assertion, in every build: a broken book is never served from. */
#define weir__bug_on(e, cond)                                                  \
	do {                                                                   \
		if (__builtin_expect(!!(cond), 0))                             \
			weir__bug(e, #cond, __FILE__, __LINE__);               \
	} while (0)

void weir__bug(struct engine *e, const char *cond, const char *file, int line)
	__attribute__((noreturn));

/* Costly assertion: debug builds only. */
#ifdef WEIR_DEBUG
#define weir__assert(e, cond) weir__bug_on(e, !(cond))
#else
#define weir__assert(e, cond) ((void)0)
#endif

/*
 * Everything at rest (no task inside the engine): frames conserved, each in
 * exactly one place, counters equal contents, entries and frames agree.
 * False with a line in `why`.
 */
bool weir__engine_is_valid(struct engine *e, char *why, size_t len);

/* A frame, an entry, the watermarks: lines through out(ctx, line). */
void weir__dump_frame(struct engine *e, const struct frame *f,
		      const char *reason,
		      void (*out)(void *ctx, const char *line), void *ctx);
void weir__dump_state(struct engine *e,
		      void (*out)(void *ctx, const char *line), void *ctx);

#endif
