/* SPDX-License-Identifier: MIT */
/* Openings of a mapping. */
#include <errno.h>
#include <string.h>

#include "engine/check.h"
#include "engine/file.h"
#include "engine/slab.h"

int weir__file_open(struct mapping *m, struct file **out)
{
	struct engine *e = m->engine;
	struct file *f = weir__slab_alloc(e, e->pcache->file_cache, GFP_KERNEL);

	if (!f)
		return -ENOMEM;
	memset(f, 0, sizeof(*f));
	weir__mapping_get(m);
	f->mapping = m;
	f->users = 1;
	f->ra.prev_pos = UINT64_MAX;
	*out = f;
	return 0;
}

int weir__file_create(struct engine *e, enum mapping_kind kind, uint32_t id,
		      uint64_t size, uint32_t mapping_flags, struct file **out)
{
	struct mapping *m;
	int ret = weir__mapping_create(e, kind, id, size, mapping_flags, &m);

	if (ret)
		return ret;
	ret = weir__file_open(m, out);
	weir__mapping_put(m);
	return ret;
}

void weir__file_get(struct file *f)
{
	weir__bug_on(f->mapping->engine, f->users++ <= 0);
}

/* The mapping to let go of, when this was the last user. */
static struct mapping *drop(struct file *f)
{
	struct mapping *m = f->mapping;

	if (--f->users)
		return NULL;
	weir__slab_free(m->engine, m->engine->pcache->file_cache, f);
	return m;
}

void weir__file_put(struct file *f)
{
	struct mapping *m = drop(f);

	if (m)
		weir__mapping_put(m);
}

void weir__file_put_later(struct file *f)
{
	struct mapping *m = drop(f);

	if (m)
		weir__mapping_put_later(m);
}
