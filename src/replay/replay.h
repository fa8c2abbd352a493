/* SPDX-License-Identifier: MIT */
/*
 * Replays of traces on the simulated machine.
 *
 *	player.c     a trace's events become accesses and system calls
 *	machine.c    the machine: what it has, what it did
 *	place.c      a trace's page numbers become addresses
 *	series.c     how the lists went, in a bounded number of samples
 *	report.c     the outcome as text, json.c as JSON
 *
 * One run is one thread and depends on its options and the trace alone: not on
 * the machine, nor on how many others run beside it.
 */
#ifndef WEIR_REPLAY_H
#define WEIR_REPLAY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/types.h"
#include "trace/trace.h"

#define REPLAY_PAGE	  ((uint64_t)4096)
#define REPLAY_PAGES_MIN  ((uint64_t)256) /* memory */
#define REPLAY_PAGES_MAX  ((uint64_t)1 << 30)
#define REPLAY_SWAP_PAGES ((uint64_t)1 << 24) /* default: 64 GiB */
#define REPLAY_RATE	  ((uint64_t)1000000) /* default: accesses a second */
#define REPLAY_RATE_MAX	  ((uint64_t)1000000000)

/* How page numbers of a trace without mappings become addresses. */
enum replay_addresses {
	ADDRESSES_AUTO,
	ADDRESSES_AS_IS, /* neighbours stay neighbours */
	ADDRESSES_PACKED /* in the order of their first touch */
};

/* What the pages of a trace without mappings are. */
enum replay_kind {
	REPLAY_ANON,  /* anonymous memory */
	REPLAY_FILE,  /* a file that is read and written */
	REPLAY_MAPPED /* a file that is mapped, shared */
};

struct replay_options {
	struct trace_options trace;
	enum replay_kind kind;
	uint64_t memory_pages;
	uint64_t swap_pages; /* 0 = none */
	struct tunables tun;
	uint32_t nodes;
	bool cgroup; /* the memory is a group's limit, on a larger machine */
	uint64_t rate; /* accesses a second, of a trace without times */
	uint64_t seed;
	uint64_t disk_ns; /* one request */
	enum replay_addresses addresses;

	/* Called now and then, and at the end with done = total. */
	void (*progress)(void *ctx, uint64_t bytes, uint64_t bytes_total,
			 uint64_t accesses);
	void *progress_ctx;
	/* Every trace point, at its time. */
	void (*event)(void *ctx, uint64_t time_ns, const char *name, uint64_t a,
		      uint64_t b, uint64_t c);
	void *event_ctx;
};

/* The machine at one moment. Counters are from the start on. */
struct replay_sample {
	uint64_t accesses, time_ns;
	uint64_t lru[NR_LRU_LISTS];
	uint64_t free, swap;
	uint64_t minor, miss, refault;
	uint64_t scan_kswapd, scan_direct, steal_kswapd, steal_direct;
};

#define SERIES_MAX 512

struct replay_series {
	unsigned nr;
	uint64_t every; /* accesses between two samples */
	struct replay_sample at[SERIES_MAX];
};

/* Why there is no result. */
struct replay_error {
	int exit_status; /* of the tool: 64, 65, 66, 70 */
	char text[640];
};

struct replay_result {
	struct trace_info trace;
	uint64_t accesses;
	uint64_t skipped; /* of processes that had been killed */
	uint64_t processes, killed;
	uint64_t pages; /* first touches: the footprint, where nothing is
			   unmapped */
	uint64_t time_ns;    /* of the machine */
	uint64_t program_ns; /* of the program, had memory cost nothing */
	int64_t stats[NR_STATS];
	uint64_t wmark[NR_WMARK]; /* pages, all zones */
	uint64_t disk_reads, disk_writes; /* requests */
	struct replay_series series; /* the last sample is the end */
};

/* 0, or -errno with *err. */
int replay_run(const struct replay_options *o, struct replay_result *r,
	       struct replay_error *err);

static inline uint64_t replay_stat(const struct replay_result *r,
				   enum stat_item i)
{
	return r->stats[i] < 0 ? 0 : (uint64_t)r->stats[i];
}
static inline uint64_t replay_minor(const struct replay_result *r)
{
	return replay_stat(r, STAT_pgfault) - replay_stat(r, STAT_pgmajfault);
}
/* Accesses that had to wait for the disk: major faults, and pages that a read
 * did not find in the page cache. */
static inline uint64_t replay_misses(const struct replay_result *r)
{
	return replay_stat(r, STAT_pgmajfault) +
	       replay_stat(r, STAT_pgcache_miss);
}
static inline uint64_t replay_refaults(const struct replay_result *r)
{
	return replay_stat(r, STAT_workingset_refault_anon) +
	       replay_stat(r, STAT_workingset_refault_file);
}

/* --- report.c, json.c ---------------------------------------------------- */

void replay_report(FILE *to, const struct replay_options *o,
		   const struct replay_result *r);
void replay_json(FILE *to, const struct replay_options *o,
		 const struct replay_result *r);

#endif
