/* SPDX-License-Identifier: MIT */
/* The simulated machine as its own rooms see it. */
#ifndef WEIR_SIM_INTERNAL_H
#define WEIR_SIM_INTERNAL_H

#include <setjmp.h>

#include "host/sim/disk.h"
#include "host/sim/mmu.h"
#include "host/sim/ram.h"
#include "host/sim/sched.h"
#include "host/sim/sim.h"

enum sim_stream { SIM_STREAM_SCHED = 1, SIM_STREAM_DISK, SIM_STREAM_MMU };

#define SIM_META_MAX 256

struct sim {
	struct weir_host host; /* first */
	struct sim_config cfg;
	struct engine *engine;
	bool booted;
	struct sched sched;
	jmp_buf boot_jmp;
	struct disk disk;
	struct ram ram;
	struct mmu mmu;
	struct sim_observer obs;
	void *meta[SIM_META_MAX];
	size_t meta_bytes[SIM_META_MAX];
	unsigned nr_meta;
	char why[400];
};

static inline struct sim *sim__of(struct weir_host *h)
{
	return (struct sim *)h;
}

/* A scheduling point; nothing is to be done at most of them. */
static inline void sim__point(struct sim *s)
{
	struct sched *sc = &s->sched;

	if (sc->ordered && !sc->nr_run && !sc->current->ahead &&
	    sim__clock_next(&sc->clock) > sc->clock.now + POINT_NS)
		sc->clock.now += POINT_NS;
	else
		sim__preempt(s);
}

extern const struct weir_host_ops sim__ops_bits, sim__ops_uffd;

#endif
