/* SPDX-License-Identifier: MIT */
/*
 * Events under the kernel's trace point names, for --events and the tests that
 * check orders of things. Costs one test when nobody listens.
 */
#ifndef WEIR_ENGINE_EVENT_H
#define WEIR_ENGINE_EVENT_H

#include "engine/types.h"

static inline void weir__event(struct engine *e, const char *name, uint64_t a,
			       uint64_t b, uint64_t c)
{
	if (e->event)
		e->event(e->event_ctx, name, a, b, c);
}

#endif
