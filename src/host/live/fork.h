/* SPDX-License-Identifier: MIT */
/* See fork.c. */
#ifndef WEIR_LIVE_FORK_H
#define WEIR_LIVE_FORK_H

#include "host/live/live.h"

/* Around every fork of the program, on the forking thread. */
void fork_prepare(struct live *l);
void fork_parent(struct live *l);
void fork_child(struct live *l);

/* The watcher's parts. */
void fork_freeze(struct live *l, struct live_task *t);
void fork_boot(struct live *l, struct live_task *t);
void fork_leases(struct live *l, struct live_task *t);
int fork_listen(struct live *l);

#endif
