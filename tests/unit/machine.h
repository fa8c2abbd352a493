/* SPDX-License-Identifier: MIT */
/*
 * An engine's first floor on the fake host, for the tests of that floor:
 * zones (and slab when asked for), nothing above.
 */
#ifndef WEIR_TESTS_MACHINE_H
#define WEIR_TESTS_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/alloc.h"
#include "engine/buddy.h"
#include "engine/frame.h"
#include "engine/watermark.h"
#include "fakehost.h"

#define MACHINE_LARGE 16384 /* frames */

struct machine {
	struct fakehost fh;
	struct weir_host_ops ops; /* a copy, for a test to change */
	struct engine_config cfg;
	struct engine *e;
};

/* What the last expected panic said. */
static jmp_buf machine_panic_jump;
static char machine_panic_text[256];

static inline void __attribute__((noreturn))
machine_panic(struct weir_host *h, const char *msg)
{
	strncpy(machine_panic_text, msg, sizeof(machine_panic_text) - 1);
	longjmp(machine_panic_jump, 1);
}

/* The statement must end in a panic. */
#define expect_panic(m, statement)                                             \
	do {                                                                   \
		void (*saved)(struct weir_host *, const char *)                \
		    __attribute__((noreturn)) = (m)->ops.panic;                \
                                                                               \
		(m)->ops.panic = machine_panic;                                \
		if (!setjmp(machine_panic_jump)) {                             \
			statement;                                             \
			fail_msg("no panic: %s", #statement);                  \
		}                                                              \
		(m)->ops.panic = saved;                                        \
	} while (0)

/* The fake host overwrites what is released; too slow for whole zones. */
static inline void machine_release(struct weir_host *h, pfn_t pfn, unsigned nr)
{
	container_of(h, struct fakehost, host)->nr_released += nr;
}

/* The caller fills m->cfg's sizes and tunables. The result of zones_init. */
static inline int machine_start(struct machine *m)
{
	uint64_t frames = 0;

	for (unsigned n = 0; n < MAX_NODES; n++)
		for (unsigned i = 0; i < MAX_ZONES; i++)
			frames += m->cfg.zone_pages[n][i];
	m->e = calloc(1, sizeof(*m->e));
	fakehost_init(&m->fh, m->e, frames, 0);
	m->ops = *m->fh.host.ops;
	if (frames >= MACHINE_LARGE)
		m->ops.release = machine_release;
	m->fh.host.ops = &m->ops;
	m->cfg.host = &m->fh.host;
	if (m->cfg.tunables)
		m->e->tun = *m->cfg.tunables;
	else
		weir__tunables_default(&m->e->tun);
	return weir__zones_init(m->e, &m->cfg);
}

/* One node, one zone. */
static inline struct zone *machine_simple(struct machine *m, uint64_t pages,
					  unsigned cpus)
{
	memset(m, 0, sizeof(*m));
	m->cfg.nr_cpus = cpus;
	m->cfg.nr_nodes = 1;
	m->cfg.zone_pages[0][0] = pages;
	assert_int_equal(machine_start(m), 0);
	return &m->e->nodes[0].zones[0];
}

static inline void machine_stop(struct machine *m)
{
	fakehost_exit(&m->fh);
	free(m->e);
}

#endif
