/* SPDX-License-Identifier: MIT */
/* On which CPU a thread of the program ran last. */
#ifndef WEIR_LIVE_WHERE_H
#define WEIR_LIVE_WHERE_H

#include <stdint.h>

/* On the thread itself: at its start and at its end. */
void where_add(void);
void where_remove(void);
/* In a forked child: only the calling thread is left. */
void where_reset(void);
/* -1: not known. */
int where_is(uint32_t tid);

#endif
