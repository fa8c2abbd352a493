/* SPDX-License-Identifier: MIT */
/* Pages leaving the cache because somebody says so. */
#ifndef WEIR_ENGINE_TRUNCATE_H
#define WEIR_ENGINE_TRUNCATE_H

#include "engine/pcache.h"

/* [sleep] Every page, shadow and swap entry from page `first` on goes, dirty or
 * not, mapped or not. */
void weir__truncate_pages(struct mapping *m, uint64_t first);
/* [sleep] What is clean, unmapped and unlocked of [first, last] goes, with the
 * shadows; the rest is the next to be taken. Pages dropped. */
uint64_t weir__invalidate_pages(struct mapping *m, uint64_t first,
				uint64_t last);

#endif
