/* SPDX-License-Identifier: MIT */
#ifndef WEIR_LIVE_HOOKS_H
#define WEIR_LIVE_HOOKS_H

struct live;

/* From the agent's constructor. */
void hooks_install(struct live *l);

#endif
