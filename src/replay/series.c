/* SPDX-License-Identifier: MIT */
/*
 * Samples at even distances, in a fixed number of places, of a run whose length
 * is not known: when the places are full, every second sample goes and the
 * distance doubles.
 */
#include "replay/internal.h"

#define EVERY_FIRST 64 /* accesses */

void replay__series_init(struct replay_series *s)
{
	s->nr = 0;
	s->every = EVERY_FIRST;
}

uint64_t replay__series_next(const struct replay_series *s)
{
	return s->nr ? s->at[s->nr - 1].accesses + s->every : 0;
}

void replay__series_add(struct replay_series *s,
			const struct replay_sample *at)
{
	if (s->nr == SERIES_MAX) {
		for (unsigned i = 0; i < SERIES_MAX / 2; i++)
			s->at[i] = s->at[2 * i];
		s->nr = SERIES_MAX / 2;
		s->every *= 2;
	}
	s->at[s->nr++] = *at;
}

void replay__series_end(struct replay_series *s,
			const struct replay_sample *at)
{
	if (s->nr && s->at[s->nr - 1].accesses == at->accesses)
		s->nr--;
	replay__series_add(s, at);
}
