/* SPDX-License-Identifier: MIT */
/*
 * Tunables, declared once in tunable.def:
 * X(name, default, low, high, unit, sentence).
 */
#ifndef WEIR_ENGINE_TUNABLE_H
#define WEIR_ENGINE_TUNABLE_H

#include <stdint.h>

struct tunables {
#define X(name, def, lo, hi, unit, text) uint64_t name;
#include "engine/tunable.def"
#undef X
};

enum tunable_id {
#define X(name, def, lo, hi, unit, text) TUN_##name,
#include "engine/tunable.def"
#undef X
	NR_TUNABLES
};

struct tunable_info {
	const char *name, *unit, *text;
	uint64_t def, lo, hi;
};

void weir__tunables_default(struct tunables *t);
const struct tunable_info *weir__tunable_info(enum tunable_id id);
/* By name, '-' and '_' alike. 0, -ENOENT, or -ERANGE (t unchanged). */
int weir__tunable_set(struct tunables *t, const char *name, uint64_t value);
uint64_t weir__tunable_get(const struct tunables *t, enum tunable_id id);

#endif
