/* SPDX-License-Identifier: MIT */
/*
 * One trace under many memory limits, side by side: a process for each, as many
 * at a time as there are processors. Which limits are looked at, and what comes
 * of each, does not depend on how many that is.
 */
#ifndef WEIR_REPLAY_SWEEP_H
#define WEIR_REPLAY_SWEEP_H

#include "replay/replay.h"

#define SWEEP_MAX 256 /* limits, those of the search included */

/* What a limit has to keep; UINT64_MAX = anything. In millionths. */
struct sweep_bound {
	uint64_t refaults; /* of the accesses */
	uint64_t stall;	   /* of the time */
};

struct sweep_options {
	uint64_t low, high; /* pages */
	unsigned points;    /* 0 = two for each doubling */
	unsigned jobs;	    /* 0 = one for each processor */
	struct sweep_bound bound;
	/* done of total, in bytes of the trace over all runs */
	void (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *progress_ctx;
};

struct sweep_point {
	uint64_t memory_pages;
	bool searched; /* added by the search for the smallest limit */
	int rc;
	_Atomic uint64_t bytes, bytes_total; /* of the trace */
	struct replay_error err;
	struct replay_result r;
};

struct sweep {
	struct sweep_point *at; /* by memory; in shared memory */
	unsigned nr;
	bool bounded;	   /* a bound was given */
	uint64_t smallest; /* pages that keep it; 0 = none looked at does */
};

/* 0, or -errno with *err. The result is freed by sweep_free either way. */
int replay_sweep(const struct replay_options *o, const struct sweep_options *so,
		 struct sweep *out, struct replay_error *err);
void replay_sweep_free(struct sweep *s);

/* Time in faults that waited for the disk or reclaimed for themselves. */
static inline uint64_t replay_stall_ns(const struct replay_result *r)
{
	return replay_stat(r, STAT_fault_ns);
}

void replay_sweep_report(FILE *to, const struct replay_options *o,
			 const struct sweep_options *so, const struct sweep *s);
void replay_sweep_json(FILE *to, const struct replay_options *o,
		       const struct sweep_options *so, const struct sweep *s);

#endif
