/* SPDX-License-Identifier: MIT */
#ifndef WEIR_ENGINE_SWAPOFF_H
#define WEIR_ENGINE_SWAPOFF_H

#include "engine/swap.h"

/*
 * [sleep] Everything in the area comes back into memory, and the area is
 * forgotten. 0; -ENOMEM: memory and the other areas cannot hold it; -EBUSY:
 * some of it is held by others (leases) or does not come; -EINTR: the task is
 * ending; -EINVAL: no such area. Where it fails the area is as it was.
 */
int weir__swapoff(struct engine *e, unsigned type);

#endif
