/* SPDX-License-Identifier: MIT */
/*
 * Frames lent to the host: a store that keeps pages in memory has them from the
 * budget like everybody else.
 */
#ifndef WEIR_ENGINE_LOAN_H
#define WEIR_ENGINE_LOAN_H

#include "engine/types.h"

/*
 * [any] nr frames, all or none; from the reserve if need be, because what is
 * stored in them frees more than it takes, but not to its end. Each is one page
 * of memory that the borrower may use, wherever that stands.
 */
bool weir__frames_lend(struct engine *e, unsigned nr, pfn_t *pfn);
/* [any] */
void weir__frames_give_back(struct engine *e, const pfn_t *pfn, unsigned nr);

#endif
