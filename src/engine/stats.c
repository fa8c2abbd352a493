/* SPDX-License-Identifier: MIT */
/*
 * Counters. One atomic number each: exact at any moment, so that tests and
 * checkers may compare them with what they count. No ordering goes with them;
 * nothing is decided by comparing two counters.
 */
#include "engine/stats.h"

#include "engine/check.h"

static const char *const stat_names[NR_STATS] = {
#define X(name, unit, text) #name,
#include "engine/stats.def"
#undef X
};

static const char *const stat_units[NR_STATS] = {
#define X(name, unit, text) unit,
#include "engine/stats.def"
#undef X
};

static const char *const stat_texts[NR_STATS] = {
#define X(name, unit, text) text,
#include "engine/stats.def"
#undef X
};

void weir__stat_add(struct engine *e, enum stat_item item, int64_t n)
{
	weir__assert(e, (unsigned)item < NR_STATS);
	__atomic_fetch_add((int64_t *)&e->stats.v[item], n, __ATOMIC_RELAXED);
}

int64_t weir__stat_read(const struct engine *e, enum stat_item item)
{
	return __atomic_load_n((const int64_t *)&e->stats.v[item],
			       __ATOMIC_RELAXED);
}

const char *weir__stat_name(enum stat_item item)
{
	return (unsigned)item < NR_STATS ? stat_names[item] : NULL;
}

const char *weir__stat_unit(enum stat_item item)
{
	return (unsigned)item < NR_STATS ? stat_units[item] : NULL;
}

const char *weir__stat_text(enum stat_item item)
{
	return (unsigned)item < NR_STATS ? stat_texts[item] : NULL;
}
