/* SPDX-License-Identifier: MIT */
/*
 * Counters, declared once in stats.def: X(name, unit, sentence). The enum, the
 * names, the JSON keys and the manual's table all come from there. Names are
 * /proc/vmstat's where the meaning is the kernel's.
 */
#ifndef WEIR_ENGINE_STATS_H
#define WEIR_ENGINE_STATS_H

#include <stdint.h>

struct engine;

enum stat_item {
#define X(name, unit, text) STAT_##name,
#include "engine/stats.def"
#undef X
	NR_STATS
};

struct stats {
	_Atomic int64_t v[NR_STATS];
};

void weir__stat_add(struct engine *e, enum stat_item item, int64_t n);
static inline void weir__stat_inc(struct engine *e, enum stat_item item)
{
	weir__stat_add(e, item, 1);
}
int64_t weir__stat_read(const struct engine *e, enum stat_item item);
const char *weir__stat_name(enum stat_item item);
const char *weir__stat_unit(enum stat_item item);
const char *weir__stat_text(enum stat_item item);

#endif
