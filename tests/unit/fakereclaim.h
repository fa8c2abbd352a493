/* SPDX-License-Identifier: MIT */
/*
 * An engine on the fake host whose page list does what the test says: the
 * rooms above it (vmscan, kswapd, slow path) under test without address spaces.
 * A test that calls anything here gets these weir__shrink_page_list and
 * weir__page_list_age instead of the engine's.
 */
#ifndef WEIR_TESTS_FAKERECLAIM_H
#define WEIR_TESTS_FAKERECLAIM_H

#include "engine/vmscan.h"
#include "fakehost.h"

#define FR_EVENTS_MAX 65536

struct fakereclaim {
	struct fakehost host;
	struct engine engine;

	/* what the page list does */
	bool keep_all;          /* frees nothing */
	bool activate;          /* keeps by activating */
	unsigned free_max;      /* of each call; 0 = all */
	uint32_t age_answer;    /* frame.error of every aged page */
	struct reclaim_stat st; /* added to each call's */
	void (*on_shrink)(struct fakereclaim *fr, struct scan_control *sc);
	void (*on_event)(struct fakereclaim *fr, const char *name);

	/* what it saw */
	unsigned nr_shrink, nr_age, nr_aged, nr_freed;
	unsigned longest; /* list */
	struct scan_control last;

	struct {
		const char *name;
		uint64_t a, b, c;
	} event[FR_EVENTS_MAX];
	unsigned nr_events;

	int step; /* the test's own */
};

/* One node; zone sizes in pages (0 = none); swap slots, 0 = no swap. */
struct fakereclaim *fr_start(uint64_t zone0, uint64_t zone1, uint64_t slots);
void fr_stop(struct fakereclaim *fr);

/* Allocates pages without watermarks and puts them on a list. Returns how many
 * there were frames for. */
unsigned fr_add_pages(struct fakereclaim *fr, unsigned nr, bool file,
		      bool active);
/* Takes free frames until `left` are free in the highest zone. */
void fr_eat(struct fakereclaim *fr, int64_t left);
/* Gives back what fr_eat took. */
void fr_uneat(struct fakereclaim *fr);

unsigned fr_count(const struct fakereclaim *fr, const char *event);
void fr_forget_events(struct fakereclaim *fr);

#endif
