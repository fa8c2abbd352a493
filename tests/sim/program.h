/* SPDX-License-Identifier: MIT */
/*
 * Random programs for the simulated machine: processes of several tasks that
 * map, unmap, lock, move, drop, write and read memory, fork and exit, and check
 * every page they see. What they do is drawn from the seed; which kinds of
 * things they do at all, too ("swarm": a feature that is off now and then lets
 * the others go further).
 */
#ifndef WEIR_TESTS_PROGRAM_H
#define WEIR_TESTS_PROGRAM_H

#include "checkers/shadow.h"
#include "host/sim/sim.h"

struct swarm {
	uint32_t procs, tasks; /* at the start; of each process */
	uint32_t ops;          /* of each task */
	uint32_t procs_max;    /* with those that fork makes */
	uint64_t pages;        /* that one process aims to map */
	uint64_t locked_max;   /* pages, of all processes */
	/* weights; 0 = never */
	uint32_t w_map, w_unmap, w_dontneed, w_move, w_grow, w_lock, w_fork;
	uint32_t w_populate, w_reclaim;
	uint32_t w_random, w_seq, w_hot, w_sleep;
	uint32_t w_file;      /* anything with files */
	uint32_t files;       /* of these, so many are shared memory */
	uint32_t shmem_files;
	uint64_t file_pages;  /* of each, at most */
	bool file_maps;       /* bits: also mapped */
	uint32_t write_pct;
	bool late_maps;          /* uffd: mapped, used, then registered */
	uint32_t validate_every; /* operations between two rests; 0 = never */
};

struct run {
	struct sim *s;
	struct swarm w;
	uint64_t seed;
	struct lost_set lost;
	uint64_t next_stamp;
	uint32_t procs, next_prog;
	uint64_t locked;
	/* rests: everybody stands still outside the engine */
	_Atomic uint32_t pause, parked, tasks;
	uint32_t ops_since_rest;
	bool oom_allowed, trace;
	/* what happened */
	uint64_t nr_ops, nr_touch, nr_lost, nr_oom, nr_forks, nr_rests;
	uint64_t nr_unrested, nr_nomem, nr_file;
	struct list_head progs, all_tasks;
	struct rfile *file; /* [files] */
};

/* Makes the programs; sim_run() then runs them. 0 or -errno. => the lists are
 * initialised */
int programs_start(struct run *r);
/* [task] All programs have ended: what stands on the disk is what was written
 * last, and the files go. */
void files_end(struct run *r);
void files_free(struct run *r);
void programs_free(struct run *r);

#endif
