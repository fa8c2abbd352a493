/* SPDX-License-Identifier: MIT */
/* What the rooms of the replay share. */
#ifndef WEIR_REPLAY_INTERNAL_H
#define WEIR_REPLAY_INTERNAL_H

#include "host/sim/sim.h"
#include "replay/replay.h"

/* --- machine.c ------------------------------------------------------------ */

typedef void replay__event_fn(void *ctx, const char *name, uint64_t a,
			      uint64_t b, uint64_t c);

/* NULL with *err. The machine has booted. event may be NULL. */
struct sim *replay__machine(const struct replay_options *o,
			    replay__event_fn *event, void *ctx,
			    struct replay_error *err);
void replay__sample(struct sim *s, struct replay_sample *at);
/* Counters, marks and disk into the result. */
void replay__outcome(struct sim *s, struct replay_result *r);

int replay__fail(struct replay_error *err, int rc, int exit_status,
		 const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* --- series.c -------------------------------------------------------------- */

void replay__series_init(struct replay_series *s);
/* Accesses at which the next sample is due. */
uint64_t replay__series_next(const struct replay_series *s);
void replay__series_add(struct replay_series *s,
			const struct replay_sample *at);
/* The last one, wherever it stands. */
void replay__series_end(struct replay_series *s,
			const struct replay_sample *at);

/* --- place.c --------------------------------------------------------------- */

/* A hash table from a number to the order of its first appearance. */
struct place_table {
	uint64_t *key; /* number + 1; 0 = empty */
	uint32_t *value;
	uint64_t size, nr; /* size: a power of two */
};

/* Which pages were touched: a bit for each, in leaves of 256 KiB. */
#define SEEN_LEAVES ((uint64_t)1 << 15) /* 2^36 pages */
#define SEEN_PAGES  ((uint64_t)1 << 21) /* of a leaf */

struct places {
	enum replay_addresses how; /* not AUTO */
	struct place_table table;
	uint64_t **seen; /* [SEEN_LEAVES]; NULL until asked */
	uint64_t nr_seen;
};

/* The page at addr counts, if it has not yet. 0 or -ENOMEM. */
int replay__place_see(struct places *p, uint64_t addr);

void replay__places_init(struct places *p, enum replay_addresses how,
			 enum trace_format format);
void replay__places_free(struct places *p);
/* The lowest address, and the first above all of them. */
#define PLACE_START ((uint64_t)1 << 32)
#define PLACE_END   ((uint64_t)1 << 48)
/* The address of a page, or 0: no memory, or too many pages. */
uint64_t replay__place_far(struct places *p, uint64_t page);
/* Pages below this are placed as they are. */
#define PLACE_NEAR (((uint64_t)1 << 35) / 2)

static inline uint64_t replay__place(struct places *p, uint64_t page)
{
	if (p->how == ADDRESSES_AS_IS && page < PLACE_NEAR)
		return PLACE_START + page * REPLAY_PAGE;
	return replay__place_far(p, page);
}

#endif
