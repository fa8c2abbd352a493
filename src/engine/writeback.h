/* SPDX-License-Identifier: MIT */
/*
 * Writing files back: the flusher, the limits on dirty pages, and what slows a
 * writer down.
 */
#ifndef WEIR_ENGINE_WRITEBACK_H
#define WEIR_ENGINE_WRITEBACK_H

#include "engine/pcache.h"

int weir__wb_init(struct engine *e);
/* The task that writes; without it, writers write for themselves. 0 or -errno.
 * stop: e->stopping is set. */
int weir__flusher_start(struct engine *e);
void weir__flusher_stop(struct engine *e);
/* [any] Writes the oldest nr pages, whatever the limits say. */
void weir__wakeup_flusher(struct engine *e, uint64_t nr);

/* => mapping.lock held. The mapping has a dirty page. */
void weir__wb_list_add(struct engine *e, struct mapping *m);
void weir__wb_list_del(struct engine *e, struct mapping *m);

struct wb_control {
	uint64_t first, last; /* pages */
	uint64_t nr;	      /* at most so many */
	bool sync;	      /* also pages that are being written: waits */
	uint64_t next;	      /* out: where it stopped */
};

/* [sleep] Starts writing dirty pages in order; how many were started. */
uint64_t weir__writepages(struct mapping *m, struct wb_control *wbc);
/* [sleep] Every page, and waits. 0 or the error of a write. */
int weir__writepages_all(struct mapping *m);
/* [sleep] Until no page of the range is being written. */
void weir__wait_writeback(struct mapping *m, uint64_t first, uint64_t last);
/* [sleep] Everything that is dirty now, of every file. 0 or an error. */
int weir__sync_all(struct engine *e);

/*
 * [sleep] A writer has dirtied pages: now and then looks at the limits and
 * sleeps when they are near. 0, or -EIO: the file's writes fail, nothing to
 * wait for.
 */
int weir__balance_dirty(struct mapping *m);

/* --- the numbers --------------------------------------------------------- */

/* Pages that could be dirty at all. */
uint64_t weir__dirtyable(struct engine *e);
/* Pages: writers are stopped at *thresh, the flusher begins above *bg. */
void weir__dirty_limits(struct engine *e, uint64_t *thresh, uint64_t *bg);
void weir__dirty_limits_of(const struct tunables *t, uint64_t dirtyable,
			   uint64_t *thresh, uint64_t *bg);
/* 1024ths of the rate a writer may go at: 2048 at freerun, 1024 at setpoint,
 * 0 at the limit. */
uint64_t weir__pos_ratio(uint64_t setpoint, uint64_t dirty, uint64_t limit);
/* Pages until the next look. */
uint64_t weir__dirty_poll_interval(uint64_t dirty, uint64_t thresh);

#endif
