/* SPDX-License-Identifier: MIT */
/*
 * Before memory is saved to a disk, half of it must be free: the image is
 * written from copies, which stand in memory next to what they were made of.
 * And the smaller the image, the faster the machine is up again, so that pages
 * nobody has used for long are better written to swap first, where they stay.
 *
 *     |<----------------------- usable ------------------------->|
 *     |  saveable: pages in use                     |    free    |
 *     |  image (at most max)  | excess: freed now   |
 *
 * Usable is what can hold an image or its copy: everything in use or free, but
 * for the reserves. From it comes what the copying itself takes (its books, a
 * piece for I/O); what is left is halved, less two small pieces for devices.
 */
#include "engine/buddy.h"
#include "engine/hibernate.h"
#include "engine/lruvec.h"
#include "engine/reclaim.h"
#include "engine/watermark.h"

#define IO_PAGES           1024 /* 4 MiB: the image is read and written with it */
#define SPARE_PAGES        256 /* 1 MiB: for devices, and again for their return */
#define IMAGE_DEFAULT(ram) ((ram)*2 / 5)
/* A page's place in the books of the image: two words. */
#define METADATA(pages) ((pages) / 256 + 1)

uint64_t weir__shrink_all_memory(struct engine *e, uint64_t nr)
{
	struct scan_control sc = {
	    .nr_to_reclaim = nr,
	    .gfp = GFP_HIGHUSER_MOVABLE,
	    .priority = DEF_PRIORITY,
	    .who = RECLAIM_DIRECT,
	    .swappiness = -1,
	    .may_writepage = true,
	    .may_unmap = true,
	    .may_swap = true,
	    .hibernation = true,
	    .reclaim_zone = MAX_ZONES - 1,
	};

	return weir__reclaim_run(e, &sc);
}

uint64_t weir__image_max(uint64_t usable, uint64_t metadata)
{
	uint64_t own = metadata + IO_PAGES, half;

	half = usable > own ? (usable - own) / 2 : 0;
	return half > 2 * SPARE_PAGES ? half - 2 * SPARE_PAGES : 0;
}

uint64_t weir__image_excess(uint64_t saveable, uint64_t image, uint64_t max,
			    uint64_t minimum)
{
	uint64_t target = image < max ? image : max;
	uint64_t floor = minimum < max ? minimum : max;

	if (saveable <= target)
		return 0;
	if (target < floor)
		target = floor;
	return saveable > target ? saveable - target : 0;
}

/* What no reclaim can bring below. */
static uint64_t smallest_image(struct engine *e, uint64_t saveable)
{
	uint64_t can_go = 0;

	for (unsigned i = 0; i < e->nr_nodes; i++)
		for (unsigned l = 0; l < LRU_UNEVICTABLE; l++)
			can_go += (uint64_t)weir__lruvec_size(
			    &e->nodes[i].lruvec, l, MAX_ZONES - 1);
	return saveable > can_go ? saveable - can_go : 0;
}

uint64_t weir__hibernate_prepare(struct engine *e, uint64_t image)
{
	uint64_t ram = 0, nr_free = 0, saveable, usable, reserve, excess;

	weir__pcp_drain_all(e);
	for (unsigned i = 0; i < e->nr_nodes; i++) {
		for (unsigned z = 0; z < e->nodes[i].nr_zones; z++) {
			struct zone *zone = &e->nodes[i].zones[z];

			ram += zone->managed;
			nr_free += (uint64_t)zone->free_pages;
		}
	}
	saveable = ram - nr_free;
	reserve = weir__totalreserve(e);
	usable = ram > reserve ? ram - reserve : 0;
	excess =
	    weir__image_excess(saveable, image ? image : IMAGE_DEFAULT(ram),
			       weir__image_max(usable, METADATA(ram)),
			       smallest_image(e, saveable));
	return excess ? weir__shrink_all_memory(e, excess) : 0;
}
