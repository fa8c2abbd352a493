/* SPDX-License-Identifier: MIT */
/*
 * What every page of a program must hold: its last written value. The program
 * tells its writes and system calls; each access is compared. Knows nothing of
 * the engine.
 *
 * While a system call changes a range ("in flux"), an access from another task
 * may find the old contents, zeros, or, where a mapping goes away, no mapping.
 * Programs do not write there meanwhile.
 */
#ifndef WEIR_TESTS_SHADOW_H
#define WEIR_TESTS_SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/sim/prng.h"

/* Values that the disk was told to lose: only pages that hold one of them may
 * be lost. Shared by all programs of a run. */
struct lost_set {
	uint64_t *slot; /* 0 = empty; the value + 1 */
	size_t nr, max;
};

void lost_init(struct lost_set *l);
void lost_exit(struct lost_set *l);
void lost_add(struct lost_set *l, uint64_t value);
bool lost_has(const struct lost_set *l, uint64_t value);

enum { SHADOW_MAPPED = 1, SHADOW_LOST = 2, SHADOW_GOING = 4 };

struct shadow_page {
	uint8_t flags;
	uint8_t flux;
	void *data; /* NULL = zeros */
};

struct shadow {
	uint64_t base, pages;
	size_t bytes; /* of each page */
	struct shadow_page *page;
	struct lost_set *lost;
	uint64_t *next_stamp; /* shared by all programs of a run */
	char why[160];
};

/* 0 or -ENOMEM. bytes: 4096, 8, or 0 (then only mappings are checked). */
int shadow_init(struct shadow *h, uint64_t base, uint64_t pages, size_t bytes,
		struct lost_set *lost, uint64_t *next_stamp);
void shadow_exit(struct shadow *h);
void shadow_copy(struct shadow *dst, const struct shadow *src);

/* System calls, when they have been made. */
void shadow_map(struct shadow *h, uint64_t start, uint64_t end);
void shadow_unmap(struct shadow *h, uint64_t start, uint64_t end);
void shadow_zero(struct shadow *h, uint64_t start, uint64_t end);
void shadow_move(struct shadow *h, uint64_t from, uint64_t to, uint64_t len);
/* A call on the range begins / has ended. going: mappings may vanish. */
void shadow_flux(struct shadow *h, uint64_t start, uint64_t end, bool going);
void shadow_settled(struct shadow *h, uint64_t start, uint64_t end);
bool shadow_in_flux(const struct shadow *h, uint64_t addr);

bool shadow_is_mapped(const struct shadow *h, uint64_t addr);
/* First word of what the page must hold. */
uint64_t shadow_stamp(const struct shadow *h, uint64_t addr);

/* The contents an access found. False: h->why says what is wrong. */
bool shadow_check(struct shadow *h, uint64_t addr, const void *data);
/* An access failed with err (-EFAULT, -EIO). The same. */
bool shadow_error(struct shadow *h, uint64_t addr, int err);
/* What stands in the page is right. */
void shadow_adopt(struct shadow *h, uint64_t addr, const void *data);
/* The program writes: a new value here and in the page. */
void shadow_write(struct shadow *h, uint64_t addr, void *data,
		  struct prng *rnd);

#endif
