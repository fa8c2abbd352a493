/* SPDX-License-Identifier: MIT */
/*
 * Conservation of frames: a machine that ran a workload and was emptied has as
 * many free frames as one that was started and stopped at once. And the
 * budget: pages in place never outnumber the frames.
 */
#ifndef WEIR_TESTS_FRAMES_H
#define WEIR_TESTS_FRAMES_H

#include "host/sim/sim.h"

/* Free frames of an engine that was shut down. */
uint64_t frames_free(struct sim *s);
/* The same of a fresh machine of this configuration; 0 if it did not start. */
uint64_t frames_expected(const struct sim_config *cfg);
/* => between two events of the machine */
bool frames_in_budget(struct sim *s);

#endif
