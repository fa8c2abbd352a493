/* SPDX-License-Identifier: MIT */
/* Tunables: defaults, bounds, access by name. */
#include "engine/tunable.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

static const struct tunable_info infos[NR_TUNABLES] = {
#define X(name, def, lo, hi, unit, text) {#name, unit, text, def, lo, hi},
#include "engine/tunable.def"
#undef X
};

static const size_t offsets[NR_TUNABLES] = {
#define X(name, def, lo, hi, unit, text) offsetof(struct tunables, name),
#include "engine/tunable.def"
#undef X
};

/* A default outside its own bounds could never be set again. */
#define X(name, def, lo, hi, unit, text)                                       \
	_Static_assert((int64_t)(def) >= (lo) && (def) <= (hi),                \
		       "default of " #name);
#include "engine/tunable.def"
#undef X

static uint64_t *value_of(struct tunables *t, unsigned id)
{
	return (uint64_t *)((char *)t + offsets[id]);
}

void weir__tunables_default(struct tunables *t)
{
	for (unsigned i = 0; i < NR_TUNABLES; i++)
		*value_of(t, i) = infos[i].def;
}

const struct tunable_info *weir__tunable_info(enum tunable_id id)
{
	return (unsigned)id < NR_TUNABLES ? &infos[id] : NULL;
}

static bool same_name(const char *a, const char *b)
{
	for (;; a++, b++) {
		char x = *a == '-' ? '_' : *a;
		char y = *b == '-' ? '_' : *b;

		if (x != y)
			return false;
		if (!x)
			return true;
	}
}

int weir__tunable_set(struct tunables *t, const char *name, uint64_t value)
{
	for (unsigned i = 0; i < NR_TUNABLES; i++) {
		if (!same_name(infos[i].name, name))
			continue;
		if (value < infos[i].lo || value > infos[i].hi)
			return -ERANGE;
		*value_of(t, i) = value;
		return 0;
	}
	return -ENOENT;
}

uint64_t weir__tunable_get(const struct tunables *t, enum tunable_id id)
{
	return *(const uint64_t *)((const char *)t + offsets[id]);
}
