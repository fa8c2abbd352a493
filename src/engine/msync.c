/* SPDX-License-Identifier: MIT */
/* msync: the mapped parts of files, written. */
#include <errno.h>

#include "engine/check.h"
#include "engine/file.h"
#include "engine/region.h"

#define MSYNC_ALL (MSYNC_ASYNC | MSYNC_INVALIDATE | MSYNC_SYNC)

/* A piece of the range that one region covers. */
struct piece {
	uint64_t start, end; /* of the region */
	uint32_t flags;
	struct file *file; /* with a reference, of a shared mapping; or NULL */
	uint64_t index;	   /* page of the file at `from` */
};

/* The lowest region from `from` on. False: there is none below end. */
static bool look(struct aspace *as, uint64_t from, uint64_t end,
		 struct piece *p)
{
	struct engine *e = as->engine;
	struct region *r;

	weir__spin_lock(e, &as->lock);
	r = weir__region_first(as, from, end);
	if (r) {
		uint64_t at = r->start > from ? r->start : from;

		*p = (struct piece){.start = r->start,
				    .end = r->end,
				    .flags = r->flags,
				    .index = region_index(r, at)};
		if (r->file && r->flags & REGION_SHARED) {
			p->file = r->file;
			weir__file_get(p->file);
		}
	}
	weir__spin_unlock(e, &as->lock);
	return r;
}

int weir__aspace_msync(struct aspace *as, uint64_t start, uint64_t end,
		       unsigned flags)
{
	struct piece p;
	int ret = weir__range_check(start, end), hole = 0;

	if (ret)
		return ret;
	if (flags & ~(unsigned)MSYNC_ALL ||
	    (flags & MSYNC_SYNC && flags & MSYNC_ASYNC))
		return -EINVAL;
	while (start < end && !ret) {
		uint64_t from, to;

		if (!look(as, start, end, &p))
			return -ENOMEM;
		from = p.start > start ? p.start : start;
		to = p.end < end ? p.end : end;
		if (from > start)
			hole = -ENOMEM;
		if (flags & MSYNC_INVALIDATE && p.flags & REGION_LOCKED)
			ret = -EBUSY;
		else if (flags & MSYNC_SYNC && p.file)
			ret = weir__file_sync(
			    p.file->mapping, p.index,
			    p.index + ((to - from) >> PAGE_SHIFT) - 1);
		if (p.file)
			weir__file_put(p.file);
		start = to;
	}
	return ret ? ret : hole;
}
