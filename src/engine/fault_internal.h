/* SPDX-License-Identifier: MIT */
/* What the fault rooms share: fault.c and filefault.c. */
#ifndef WEIR_ENGINE_FAULT_INTERNAL_H
#define WEIR_ENGINE_FAULT_INTERNAL_H

#include "engine/pgtable.h"

/* Look again from the start; never leaves weir__fault. */
#define FAULT_AGAIN 1

/* --- fault.c --- */

/* => aspace lock held, dropped. The frame of a PRESENT entry, locked and
 * referenced, the entry unchanged and BUSY; NULL when it changed meanwhile. */
struct frame *weir__fault_claim(struct engine *e, struct aspace *as,
				uint64_t addr, uint64_t v);
/* Writes the entry, BUSY gone. */
void weir__fault_finish(struct engine *e, struct aspace *as, uint64_t addr,
			uint64_t v);
/* => the entry's page is locked and referenced, the entry not BUSY, its region
 * has an anon_vma. The entry gets a copy of its own. */
int weir__fault_copy(struct engine *e, struct aspace *as, uint64_t addr,
		     uint64_t v);

/* --- filefault.c --- */

/* => aspace lock held, dropped. Nothing is mapped yet at addr of r, which maps
 * a file. */
int weir__fault_file(struct engine *e, struct aspace *as, struct region *r,
		     uint64_t addr, bool write);
/* => aspace lock held, dropped. The entry maps a page of r's file and may not be
 * written without a trap. */
int weir__fault_file_write(struct engine *e, struct aspace *as,
			   struct region *r, uint64_t addr, uint64_t v);

#endif
