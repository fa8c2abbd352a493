/* SPDX-License-Identifier: MIT */
/*
 * The smallest host: one thread, memory from malloc, time that moves only when
 * told, I/O that completes at once (into an in-memory disk) or, when held, when
 * the test says. Enough for unit tests of single rooms.
 */
#ifndef WEIR_TESTS_FAKEHOST_H
#define WEIR_TESTS_FAKEHOST_H

#include "engine/types.h"

#define FAKE_SPAWN_MAX 8
#define FAKE_FILES     8

struct fakehost {
	struct weir_host host;
	struct wtask task;
	struct engine *engine;
	uint64_t now;
	uint8_t *ram;	      /* direct map and contents, by pfn */
	uint64_t ram_frames;
	uint8_t *disk;	      /* area 0..3, fake_disk_slots each */
	uint64_t disk_slots;
	/* files 0..7, so many pages each, zeros before the first write */
	uint8_t *file[FAKE_FILES];
	uint64_t file_pages;
	uint64_t nr_file_reads, nr_file_writes; /* pages */
	int io_error;	      /* status given to every page while set */
	bool io_hold;	      /* completions wait for fakehost_io_run */
	struct list_head held;
	uint64_t nr_reads, nr_writes, nr_submits, nr_maps, nr_unmaps, nr_protects;
	uint64_t nr_released, nr_waits, nr_wakes, nr_oom_kills;
	void *oom_as;
	/* Called when a task would sleep; must make progress or the test fails */
	void (*on_wait)(struct fakehost *fh, _Atomic uint32_t *word);
	struct {
		const char *name;
		unsigned flags;
		weir_worker_fn *fn;
		void *arg;
	} spawned[FAKE_SPAWN_MAX];
	unsigned nr_spawned;
	void *meta[64];
	unsigned nr_meta;
};

/* frames and disk slots per area. The caller sets cfg.host = &fh->host. */
void fakehost_init(struct fakehost *fh, struct engine *e, uint64_t frames,
		   uint64_t disk_slots);
void fakehost_exit(struct fakehost *fh);
/* Page `index` of the file as it stands on the disk. */
uint8_t *fakehost_file(struct fakehost *fh, unsigned id, uint64_t index);
void fakehost_io_run(struct fakehost *fh);

#endif
