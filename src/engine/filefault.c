/* SPDX-License-Identifier: MIT */
/*
 * Faults of mapped files.
 *
 *   read                the cache's page, read-only, with what lies around it
 *   write, shared       the cache's page, dirty from now on
 *   write, private      a copy, the address space's own: anonymous
 *
 * A shared page is mapped read-only until it is written, so that its first
 * write is known and the flusher hears of it; when it has been written back it
 * is read-only again (writeback.c). Shared memory keeps no such books: what the
 * program may write is mapped so at once, and the machine's dirty bit does.
 *
 * The page lock is held from the look at the mapping until the entry stands.
 * That settles the race with truncation (truncate.c) and with reclaim, which
 * freezes references only of pages it has locked.
 */
#include <errno.h>
#include <string.h>

#include "engine/alloc.h"
#include "engine/aspace.h"
#include "engine/batch.h"
#include "engine/buffers.h"
#include "engine/check.h"
#include "engine/fault_internal.h"
#include "engine/file.h"
#include "engine/frame.h"
#include "engine/rmap.h"
#include "engine/shmem.h"
#include "engine/writeback.h"

#define AGAIN	     FAULT_AGAIN
#define AROUND_PAGES 16 /* 64 KiB, aligned */

/* A fault on its way, and the pages it will map. */
struct filefault {
	struct engine *e;
	struct aspace *as;
	struct file *file; /* with a reference */
	uint64_t addr, index;
	uint32_t flags; /* REGION_* */
	bool write, major;
	/* pages to be mapped, locked and referenced, in order of address */
	unsigned nr;
	struct weir_vec vec[AROUND_PAGES];
};

static struct frame *vec_frame(struct filefault *ff, unsigned i)
{
	return weir__frame(ff->e, ff->vec[i].pfn);
}

static void let_go(struct engine *e, struct frame *f)
{
	weir__frame_unlock(e, f);
	weir__page_put(e, f);
}

/* --- the page ---------------------------------------------------------------- */

/* Up to date, locked, in the cache, inside the file; or NULL with *err. */
static struct frame *get_page(struct filefault *ff, int *err)
{
	struct mapping *m = ff->file->mapping;

	if (m->kind == MAPPING_SHMEM) {
		struct frame *f = weir__shmem_get(m, ff->index, SHMEM_FAULT,
						  &ff->major, err);

		if (*err == -ERANGE)
			*err = -ENXIO;
		return f;
	}
	for (;;) {
		struct frame *f;

		if (ff->index >= weir__mapping_pages(m)) {
			*err = -ENXIO;
			return NULL;
		}
		f = weir__pcache_find(m, ff->index);
		if (f) {
			weir__readahead_found(ff->file, f, ff->index,
					      ff->flags);
		} else {
			ff->major = true;
			weir__readahead_around(ff->file, ff->index, ff->flags);
			f = weir__filemap_find(m, ff->index, err);
			if (!f && *err != -ENOMEM)
				continue; /* it came, or the file was cut */
			if (!f)
				return NULL;
		}
		*err = weir__filemap_wait(m, f);
		if (!*err) {
			weir__frame_lock(ff->e, f);
			if (weir__frame_mapping(f) == m &&
			    frame_test(f, FRAME_UPTODATE) &&
			    ff->index < weir__mapping_pages(m))
				return f;
			weir__frame_unlock(ff->e, f);
		}
		weir__page_put(ff->e, f);
		if (*err && *err != -EAGAIN)
			return NULL;
	}
}

/* --- the entries --------------------------------------------------------------- */

/* The fault's region is still the one it was. => aspace lock held */
static struct region *same_region(struct filefault *ff)
{
	struct region *r = weir__region_find(ff->as, ff->addr);

	if (!r || r->file != ff->file || region_index(r, ff->addr) != ff->index)
		return NULL;
	return r;
}

/* Sets BUSY on the entries that are still empty; lets the other pages go. False
 * when the fault's own is not among them. */
static bool claim(struct filefault *ff)
{
	struct aspace *as = ff->as;
	struct frame *gone[AROUND_PAGES];
	unsigned kept = 0, nr_gone = 0;
	struct region *r;
	bool found = false;

	weir__spin_lock(ff->e, &as->lock);
	r = same_region(ff);
	for (unsigned i = 0; i < ff->nr; i++) {
		uint64_t addr = ff->vec[i].addr;
		pte_t *pte = r && addr >= r->start && addr < r->end
				 ? weir__pte(as, addr)
				 : NULL;

		if (!pte || pte_load(pte)) {
			gone[nr_gone++] = vec_frame(ff, i);
			continue;
		}
		pte_store(pte, PTE_BUSY);
		found |= addr == ff->addr;
		ff->vec[kept++] = ff->vec[i];
	}
	weir__spin_unlock(ff->e, &as->lock);
	ff->nr = kept;
	for (unsigned i = 0; i < nr_gone; i++)
		let_go(ff->e, gone[i]);
	return found;
}

static bool is_mapped(const struct weir_vec *v)
{
	return v->status == 0 || v->status == -EEXIST;
}

/* Maps what was claimed; what the host said of the fault's own page. */
static int install(struct filefault *ff)
{
	struct engine *e = ff->e;
	struct aspace *as = ff->as;
	struct region *r;
	bool locked;
	int ret = AGAIN;

	if (!ff->nr)
		return AGAIN;
	e->host->ops->map(e->host, as->host, ff->vec, ff->nr);
	weir__spin_lock(e, &as->lock);
	r = weir__region_find(as, ff->vec[0].addr);
	locked = r->flags & REGION_LOCKED;
	for (unsigned i = 0; i < ff->nr; i++) {
		struct weir_vec *v = &ff->vec[i];
		uint64_t bits = PTE_ACCESSED;

		if (v->addr == ff->addr)
			ret = v->status;
		if (!is_mapped(v)) {
			pte_store(weir__pte(as, v->addr), 0);
			continue;
		}
		if (v->flags & VEC_WRITE)
			bits |= PTE_WRITE;
		if (ff->write && v->addr == ff->addr)
			bits |= PTE_DIRTY;
		weir__frame_get(vec_frame(ff, i)); /* the entry's */
		weir__page_add_file_rmap(e, vec_frame(ff, i));
		as->nr_file++;
		pte_store(weir__pte(as, v->addr), pte_mk(v->pfn, bits));
		if (locked)
			weir__frame_mlock(e, vec_frame(ff, i));
	}
	weir__pte_busy_end(as);
	weir__spin_unlock(e, &as->lock);
	for (unsigned i = 0; i < ff->nr; i++)
		let_go(e, vec_frame(ff, i));
	return ret;
}

static void add(struct filefault *ff, uint64_t addr, struct frame *f)
{
	/* Shared memory keeps no list of dirty pages: no need for a trap. */
	bool write = ff->flags & REGION_SHARED &&
		     (ff->write || (ff->file->mapping->kind == MAPPING_SHMEM &&
				    ff->flags & REGION_WRITE));

	ff->vec[ff->nr++] = (struct weir_vec){.addr = addr,
					      .pfn = weir__pfn(ff->e, f),
					      .flags = write ? VEC_WRITE : 0};
}

/* A neighbour in the cache that can be mapped without any waiting. */
static struct frame *ready(struct mapping *m, uint64_t index)
{
	struct engine *e = m->engine;
	struct frame *f;

	if (index >= weir__mapping_pages(m))
		return NULL;
	f = weir__pcache_find(m, index);
	if (!f)
		return NULL;
	/* A marker has to be met by somebody who reads on from there. */
	if (frame_test(f, FRAME_UPTODATE) && !frame_test(f, FRAME_READAHEAD) &&
	    weir__frame_trylock(f)) {
		if (weir__frame_mapping(f) == m &&
		    frame_test(f, FRAME_UPTODATE) &&
		    index < weir__mapping_pages(m))
			return f;
		weir__frame_unlock(e, f);
	}
	weir__page_put(e, f);
	return NULL;
}

/* Pages of the aligned window around the fault, the fault's own (or none)
 * among them, in order. */
static void add_window(struct filefault *ff, struct frame *own)
{
	struct mapping *m = ff->file->mapping;
	uint64_t span = (uint64_t)AROUND_PAGES << PAGE_SHIFT;
	uint64_t start = ff->addr & ~(span - 1);

	for (uint64_t addr = start; addr < start + span; addr += PAGE_SIZE) {
		uint64_t before = addr < ff->addr ? ff->addr - addr : 0;
		struct frame *f = NULL;

		if (addr == ff->addr)
			f = own;
		else if (addr > ff->addr)
			f = ready(m, ff->index +
					 ((addr - ff->addr) >> PAGE_SHIFT));
		else if (before >> PAGE_SHIFT <= ff->index)
			f = ready(m, ff->index - (before >> PAGE_SHIFT));
		if (f)
			add(ff, addr, f);
	}
}

/* --- kinds of faults ------------------------------------------------------------ */

/* Pages that are in the cache already are mapped without a look at the disk. */
static int map_around(struct filefault *ff)
{
	struct frame *own = ready(ff->file->mapping, ff->index);

	if (!own)
		return AGAIN;
	weir__readahead_found(ff->file, own, ff->index, ff->flags);
	add_window(ff, own);
	if (!claim(ff)) {
		install(ff); /* the neighbours, all the same */
		return AGAIN;
	}
	return install(ff);
}

static int fault_read(struct filefault *ff)
{
	struct frame *f;
	int err = 0;

	if (map_around(ff) == 0)
		return 0;
	ff->nr = 0;
	f = get_page(ff, &err);
	if (!f)
		return err;
	add(ff, ff->addr, f);
	return claim(ff) ? install(ff) : AGAIN;
}

/* => page locked. It is about to be written through a mapping. */
static int prepare_dirty(struct engine *e, struct frame *f)
{
	struct mapping *m = weir__frame_mapping(f);

	if (m->flags & MAPPING_BUFFERS &&
	    weir__buffers_create(e, f, GFP_NOFS))
		return -ENOMEM;
	weir__page_dirty(e, f);
	weir__buffers_dirty(f, 0, PAGE_SIZE);
	return 0;
}

/*
 * A writer pays for the pages it dirtied before, not for this one: were it to
 * sleep between the fault and its write, the flusher could have cleaned the page
 * again, and the next fault would be the same.
 */
static int fault_shared_write(struct filefault *ff)
{
	struct frame *f;
	int err = 0;

	weir__balance_dirty(ff->file->mapping);
	f = get_page(ff, &err);
	if (!f)
		return err;
	if (prepare_dirty(ff->e, f)) {
		let_go(ff->e, f);
		return -ENOMEM;
	}
	add(ff, ff->addr, f);
	return claim(ff) ? install(ff) : AGAIN;
}

/* A new page with the old one's bytes. */
static struct frame *copy_of(struct engine *e, struct frame *old)
{
	struct frame *f = weir__frames_alloc(e, GFP_HIGHUSER_MOVABLE, 0);
	void *from, *to;

	if (!f)
		return NULL;
	from = e->host->ops->contents(e->host, weir__pfn(e, old));
	to = e->host->ops->contents(e->host, weir__pfn(e, f));
	if (from && to)
		memcpy(to, from, PAGE_SIZE);
	weir__frame_set(f, FRAME_SWAPBACKED | FRAME_UPTODATE);
	return f;
}

/* => the entry is BUSY and ours. */
static int install_copy(struct filefault *ff, struct frame *f)
{
	struct engine *e = ff->e;
	struct aspace *as = ff->as;
	struct weir_vec v = {.addr = ff->addr,
			     .pfn = weir__pfn(e, f),
			     .flags = VEC_WRITE};
	struct region *r;

	e->host->ops->map(e->host, as->host, &v, 1);
	weir__spin_lock(e, &as->lock);
	if (is_mapped(&v)) {
		r = weir__region_find(as, ff->addr);
		weir__page_add_new_anon_rmap(e, f, r, ff->addr);
		weir__frame_set(f, FRAME_DIRTY);
		as->nr_anon++;
		pte_store(weir__pte(as, ff->addr),
			  pte_mk(v.pfn, PTE_WRITE | PTE_DIRTY | PTE_ACCESSED));
		/* under the lock, as in weir__faultrun_map_new */
		if (r->flags & REGION_LOCKED)
			weir__frame_mlock_new(e, f);
		else
			weir__frame_add_lru(e, f);
	} else {
		pte_store(weir__pte(as, ff->addr), 0);
	}
	weir__pte_busy_end(as);
	weir__spin_unlock(e, &as->lock);
	return v.status;
}

static int fault_private_write(struct filefault *ff)
{
	struct engine *e = ff->e;
	struct frame *page, *f = NULL;
	struct region *r;
	pte_t *pte = NULL;
	int err = weir__anon_vma_prepare(ff->as, ff->addr);

	if (err)
		return err;
	page = get_page(ff, &err);
	if (!page)
		return err;
	f = copy_of(e, page);
	if (!f) {
		let_go(e, page);
		return -ENOMEM;
	}
	weir__spin_lock(e, &ff->as->lock);
	r = same_region(ff);
	if (r && r->anon_vma)
		pte = weir__pte(ff->as, ff->addr);
	if (pte && !pte_load(pte))
		pte_store(pte, PTE_BUSY);
	else
		pte = NULL;
	weir__spin_unlock(e, &ff->as->lock);
	err = pte ? install_copy(ff, f) : AGAIN;
	if (err && err != -EEXIST)
		weir__frames_free(e, f, 0);
	else
		weir__stat_inc(e, STAT_pgcow);
	/* Until here, so that a truncation finds the copy when it has this. */
	let_go(e, page);
	return err;
}

int weir__fault_file(struct engine *e, struct aspace *as, struct region *r,
		     uint64_t addr, bool write)
{
	struct filefault ff = {.e = e,
			       .as = as,
			       .file = r->file,
			       .addr = addr,
			       .index = region_index(r, addr),
			       .flags = r->flags,
			       .write = write};
	int ret;

	weir__file_get(ff.file);
	weir__spin_unlock(e, &as->lock);
	if (!write)
		ret = fault_read(&ff);
	else if (ff.flags & REGION_SHARED)
		ret = fault_shared_write(&ff);
	else
		ret = fault_private_write(&ff);
	if (ff.major)
		weir__stat_inc(e, STAT_pgmajfault);
	weir__file_put(ff.file);
	return ret;
}

/* --- write to a page that is mapped ---------------------------------------------- */

/* The aspace lock taken anew, the entry unchanged; false, and
 * the lock is free, when the entry has changed. */
static bool relock_same(struct engine *e, struct aspace *as, uint64_t addr,
			uint64_t v)
{
	pte_t *pte;

	weir__spin_lock(e, &as->lock);
	pte = weir__pte(as, addr);
	if (pte && pte_load(pte) == v)
		return true;
	weir__spin_unlock(e, &as->lock);
	return false;
}

static int make_writable(struct engine *e, struct aspace *as, uint64_t addr,
			 uint64_t v)
{
	struct frame *f = weir__fault_claim(e, as, addr, v);
	struct weir_vec vec = {.addr = addr, .flags = VEC_WRITE};

	if (!f)
		return AGAIN;
	vec.pfn = weir__pfn(e, f);
	vec.status = (int16_t)prepare_dirty(e, f);
	if (vec.status == 0)
		e->host->ops->protect(e->host, as->host, &vec, 1);
	if (vec.status == 0)
		v |= PTE_WRITE | PTE_DIRTY | PTE_ACCESSED;
	weir__fault_finish(e, as, addr, v);
	let_go(e, f);
	return vec.status;
}

static int copy_private(struct engine *e, struct aspace *as, uint64_t addr,
			uint64_t v)
{
	struct frame *f;
	int err;

	weir__spin_unlock(e, &as->lock);
	err = weir__anon_vma_prepare(as, addr);
	if (err)
		return err;
	if (!relock_same(e, as, addr, v))
		return AGAIN;
	f = weir__fault_claim(e, as, addr, v);
	if (!f)
		return AGAIN;
	weir__fault_finish(e, as, addr, v);
	err = weir__fault_copy(e, as, addr, v);
	let_go(e, f);
	return err;
}

int weir__fault_file_write(struct engine *e, struct aspace *as,
			   struct region *r, uint64_t addr, uint64_t v)
{
	struct file *file = r->file;
	int ret;

	weir__stat_inc(e, STAT_pgwpfault);
	if (!(r->flags & REGION_SHARED))
		return copy_private(e, as, addr, v);
	weir__file_get(file);
	weir__spin_unlock(e, &as->lock);
	weir__balance_dirty(file->mapping);
	ret = relock_same(e, as, addr, v) ? make_writable(e, as, addr, v)
					  : AGAIN;
	weir__file_put(file);
	return ret;
}
