/* SPDX-License-Identifier: MIT */
/*
 * The simulated disk: swap areas and files in memory, behind a queue with
 * latency. What it may do to a page is in struct sim_rates. What it must survive of the
 * engine: nothing. A read of a slot that was never written ends the run.
 */
#ifndef WEIR_SIM_DISK_H
#define WEIR_SIM_DISK_H

#include "host/sim/clock.h"
#include "host/sim/prng.h"
#include "host/sim/sim.h"

enum slot_state {
	SLOT_EMPTY = 0, /* never written, or discarded */
	SLOT_WRITTEN,
	SLOT_TORN,  /* told as written; its checksum will not fit */
	SLOT_FAILED /* the last write failed */
};

struct disk_req {
	struct sim_timer timer;
	struct sim *sim;
	struct weir_io *io;
	struct disk_req *next_free, *next;
};

/* Empty in a simulation without contents. */
struct disk_file {
	uint64_t nr;
	void **data; /* [nr] page_bytes each, NULL before the first write */
};

struct disk {
	struct prng prng;
	struct disk_file *file; /* by id */
	uint32_t nr_files;
	struct {
		uint64_t nr;
		uint8_t *state; /* [nr] enum slot_state */
		/* [nr] page_bytes each, NULL before the first write; no array
		 * in a simulation without contents */
		void **data;
	} area[SIM_SWAP_MAX];
	struct list_head queue; /* weir_io.link, beyond the queue's depth */
	uint32_t inflight;
	uint64_t wire_free; /* when the last page given to it is through */
	bool plain; /* (c) no contents, no odds: requests just end */
	struct disk_req *free_reqs, *all_reqs;
	struct sim_disk_stats st;
};

int sim__disk_init(struct sim *s);
void sim__disk_exit(struct sim *s);
void sim__disk_submit(struct sim *s, struct weir_io *io);
void sim__disk_discard(struct sim *s, uint32_t area, uint64_t slot,
		       unsigned nr);

/* Pages from first on are holes again. */
void sim__disk_file_cut(struct sim *s, uint32_t id, uint64_t first);
/* A new, empty file. */
uint32_t sim__disk_file_new(struct sim *s);
/* What stands on the disk, page_bytes of it, for a test to look at or to set;
 * NULL without contents. */
void *sim__disk_file_page(struct sim *s, uint32_t id, uint64_t index);

#endif
