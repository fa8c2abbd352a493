/* SPDX-License-Identifier: MIT */
/* Programs and files: read, write, map, sync, cut, drop; and checks of all. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/aspace.h"
#include "engine/shmem.h"
#include "engine/writeback.h"
#include "program_internal.h"

#define RUN_MAX 8 /* pages of one read or write */

struct rfile {
	struct file *f;
	struct filemodel m;
	bool shmem;
	_Atomic uint32_t cutting; /* one truncation at a time */
};

static void bad_file(struct task *t, const struct rfile *rf, const char *what)
{
	struct run *r = t->g->r;

	sim__fail(r->s, "program %u: file %d: %s: %s", t->g->id,
		  (int)(rf - r->file), what, rf->m.why);
}

/* The disk may fail: an error is no surprise. */
static bool errors(const struct run *r)
{
	const struct sim_rates *q = sim_rates(r->s);

	return q->read_eio || q->read_flip || q->write_torn || q->write_eio ||
	       q->write_enospc;
}

static struct rfile *some_file(struct task *t)
{
	struct run *r = t->g->r;

	return &r->file[prng_below(&t->rnd, r->w.files)];
}

static bool nomem(struct task *t, int64_t rc, const char *call)
{
	struct run *r = t->g->r;

	if (rc != -ENOMEM)
		return false;
	r->nr_nomem++;
	if (!r->oom_allowed)
		sim__fail(r->s, "%s: out of memory, with room in swap", call);
	sim_kill(t->g->p);
	return true;
}

/* --- read and write ----------------------------------------------------------- */

static int do_read(struct task *t)
{
	struct rfile *rf = some_file(t);
	uint8_t buf[RUN_MAX * FILEMODEL_PAGE] = {0};
	uint64_t ticket[RUN_MAX], i, n;
	int64_t rc;

	if (!rf->m.size)
		return 0;
	i = prng_below(&t->rnd, rf->m.size);
	n = prng_below(&t->rnd, 4) ? 1 : prng_range(&t->rnd, 1, RUN_MAX);
	if (n > rf->m.size - i)
		n = rf->m.size - i;
	for (uint64_t k = 0; k < n; k++)
		ticket[k] = filemodel_ticket(&rf->m, i + k);
	rc = sim_read(t->g->p, rf->f, i * PAGE, n * PAGE, buf);
	say(t->g, "fread", i, i + n, rc);
	if (nomem(t, rc, "read"))
		return -EINTR;
	if (rc == -EIO && errors(t->g->r))
		return 0;
	if (rc < 0)
		sim__fail(t->g->r->s, "read answers %" PRId64, rc);
	for (uint64_t k = 0; k < n; k++) {
		if ((uint64_t)rc >= (k + 1) * PAGE) {
			if (!filemodel_check(&rf->m, i + k, ticket[k],
					     buf + k * PAGE))
				bad_file(t, rf, "read");
			continue;
		}
		if (!rf->m.page[i + k].flux && i + k < rf->m.size &&
		    rf->m.page[i + k].cuts == ticket[k] >> 32 && !errors(t->g->r) &&
		    !sim_killed(t->g->p))
			sim__fail(t->g->r->s, "read of file %d is short",
				  (int)(rf - t->g->r->file));
		break;
	}
	return 0;
}

static int do_write(struct task *t)
{
	struct rfile *rf = some_file(t);
	uint8_t buf[RUN_MAX * FILEMODEL_PAGE] = {0};
	uint64_t i = prng_below(&t->rnd, rf->m.max), n = 1;
	unsigned off = 0, len = FILEMODEL_PAGE;
	int64_t rc;

	/* appending, now and then, or anywhere */
	if (prng_below(&t->rnd, 3) == 0 && rf->m.size < rf->m.max)
		i = rf->m.size;
	if (prng_below(&t->rnd, 3) == 0) {
		n = prng_range(&t->rnd, 1, RUN_MAX);
		if (n > rf->m.max - i)
			n = rf->m.max - i;
	} else if (i < rf->m.size && prng_below(&t->rnd, 3) == 0) {
		/* a part of a page; the file ends with a page always */
		off = (unsigned)prng_below(&t->rnd, 500) * 8;
		len = (unsigned)prng_range(&t->rnd, 1, FILEMODEL_PAGE - off);
		if (off == 0 && len < 8)
			len = 8;
	}
	for (uint64_t k = 0; k < n; k++)
		if (!filemodel_free(&rf->m, i + k))
			return 0;
	for (uint64_t k = 0; k < n; k++)
		filemodel_begin(&rf->m, i + k, off, len, buf + k * PAGE,
				&t->rnd);
	rc = sim_write(t->g->p, rf->f, i * PAGE + off,
		       n == 1 ? len : n * PAGE, buf);
	say(t->g, "fwrite", i, i + n, rc);
	for (uint64_t k = 0; k < n; k++)
		filemodel_end(&rf->m, i + k,
			      rc > 0 && (n == 1 ||
					 (uint64_t)rc >= (k + 1) * PAGE));
	if (nomem(t, rc, "write"))
		return -EINTR;
	if (rc < 0 && !(rc == -EIO && errors(t->g->r)))
		sim__fail(t->g->r->s, "write answers %" PRId64, rc);
	return 0;
}

/* --- mappings ------------------------------------------------------------------ */

static struct farea *some_farea(struct task *t, bool idle)
{
	for (int try = 0; try < 6; try++) {
		struct farea *a = &t->g->farea[prng_below(&t->rnd, FAREAS_MAX)];

		if (a->end && !(idle && a->busy))
			return a;
	}
	return NULL;
}

bool file_areas_idle(const struct prog *g)
{
	for (int i = 0; i < FAREAS_MAX; i++)
		if (g->farea[i].busy)
			return false;
	return true;
}

static void do_map(struct task *t)
{
	struct prog *g = t->g;
	struct farea *a = NULL;
	struct rfile *rf = some_file(t);
	uint64_t pages = prng_range(&t->rnd, 1, rf->m.max), start, pgoff;
	bool shared = prng_below(&t->rnd, 3);
	uint32_t flags = REGION_READ | REGION_WRITE;
	int rc;

	for (int i = 0; i < FAREAS_MAX && !a; i++)
		if (!g->farea[i].end && !g->farea[i].busy)
			a = &g->farea[i];
	if (!a)
		return;
	start = find_room(t, pages);
	if (!start)
		return;
	a->busy = true;
	pgoff = prng_below(&t->rnd, rf->m.max - pages + 1);
	if (prng_below(&t->rnd, 8) == 0)
		flags |= REGION_EXEC;
	if (prng_below(&t->rnd, 8) == 0)
		flags |= prng_below(&t->rnd, 2) ? REGION_SEQ : REGION_RAND;
	if (shared)
		flags |= REGION_SHARED;
	rc = sim_mmap_file(g->p, start, start + pages * PAGE, flags, rf->f,
			   pgoff);
	say(g, shared ? "fmap shared" : "fmap private", start,
	    start + pages * PAGE, rc);
	if (done(t, rc, "mmap of a file")) {
		a->f = rf;
		a->pgoff = pgoff;
		a->shared = shared;
		a->gen++;
		a->start = start;
		a->end = start + pages * PAGE;
	} else {
		reserve(g, start, start + pages * PAGE, false);
	}
	a->busy = false;
}

static void do_unmap(struct task *t)
{
	struct prog *g = t->g;
	struct farea *a = some_farea(t, true);
	uint64_t start, end;
	int rc;

	if (!a)
		return;
	a->busy = true;
	a->going = true;
	start = a->start;
	end = a->end;
	/* all of it, or one end */
	switch (prng_below(&t->rnd, 3)) {
	case 0:
		start += prng_below(&t->rnd, (end - start) / PAGE) * PAGE;
		break;
	case 1:
		end -= prng_below(&t->rnd, (end - start) / PAGE) * PAGE;
		break;
	}
	rc = sim_munmap(g->p, start, end);
	say(g, "funmap", start, end, rc);
	if (done(t, rc, "munmap")) {
		shadow_unmap(&g->sh, start, end);
		reserve(g, start, end, false);
		if (start == a->start) {
			a->pgoff += (end - start) / PAGE;
			a->start = end;
		} else {
			a->end = start;
		}
		if (a->start == a->end)
			a->start = a->end = 0;
	}
	a->gen++;
	a->going = false;
	a->busy = false;
}

/*
 * The area is marked as going. A private write that is under way makes a copy
 * nobody hears of, should the pages be dropped or moved before it returns: those
 * are waited for. Where nothing is private, all may go on at once.
 */
static void let_copies_end(struct prog *g, const struct farea *a)
{
	uint32_t n;

	while (!a->shared && (n = g->inside) && !sim_killed(g->p))
		sim_wait(g->r->s, &g->inside, n, 1000000);
}

static void do_dontneed(struct task *t)
{
	struct prog *g = t->g;
	struct farea *a = some_farea(t, true);

	if (!a)
		return;
	a->busy = true;
	a->going = true;
	let_copies_end(g, a);
	if (done(t, sim_dontneed(g->p, a->start, a->end), "madvise") &&
	    !a->shared)
		shadow_unmap(&g->sh, a->start, a->end);
	say(g, "fdontneed", a->start, a->end, 0);
	a->gen++;
	a->going = false;
	a->busy = false;
}

static void do_move(struct task *t)
{
	struct prog *g = t->g;
	struct farea *a = some_farea(t, true);
	uint64_t from, to, len;

	if (!a)
		return;
	a->busy = true;
	from = a->start;
	len = a->end - a->start;
	to = find_room(t, len / PAGE);
	if (!to)
		goto out;
	a->going = true;
	let_copies_end(g, a);
	if (done(t, sim_move(g->p, from, to, len), "mremap")) {
		shadow_move(&g->sh, from, to, len);
		reserve(g, from, from + len, false);
		a->start = to;
		a->end = to + len;
	} else {
		reserve(g, to, to + len, false);
	}
	say(g, "fmove to", to, to + len, 0);
	a->gen++;
	a->going = false;
out:
	a->busy = false;
}

/* --- access ---------------------------------------------------------------------- */

/* The access has come through; *data is the page in the machine. */
static void touched(struct task *t, struct farea *a, uint64_t addr,
		    uint64_t i, uint64_t ticket, bool write, void *data)
{
	struct prog *g = t->g;
	struct rfile *rf = a->f;
	bool copied = !a->shared && shadow_is_mapped(&g->sh, addr);
	bool flux = rf->m.page[i].flux;

	if (copied) {
		if (!flux && !shadow_check(&g->sh, addr, data))
			sim__fail(g->r->s, "program %u: private page: %s",
				  g->id, g->sh.why);
	} else if (!filemodel_check(&rf->m, i, ticket, data)) {
		bad_file(t, rf, a->shared ? "shared page" : "private page");
	}
	if (!write)
		return;
	if (a->shared) {
		if (filemodel_free(&rf->m, i))
			filemodel_mapped(&rf->m, i, data, &t->rnd);
		return;
	}
	if (!copied)
		shadow_map(&g->sh, addr, addr + PAGE);
	shadow_write(&g->sh, addr, data, &t->rnd);
}

bool file_area_at(const struct prog *g, uint64_t addr)
{
	for (int k = 0; k < FAREAS_MAX; k++)
		if (addr >= g->farea[k].start && addr < g->farea[k].end)
			return true;
	return false;
}

void file_adopt_copy(struct prog *g, uint64_t addr, const void *data)
{
	for (int k = 0; k < FAREAS_MAX; k++) {
		struct farea *a = &g->farea[k];

		if (addr < a->start || addr >= a->end || a->shared ||
		    shadow_is_mapped(&g->sh, addr))
			continue;
		shadow_map(&g->sh, addr, addr + PAGE);
		shadow_adopt(&g->sh, addr, data);
	}
}

static int do_touch_at(struct task *t, struct farea *a, uint64_t addr,
		       bool write)
{
	struct prog *g = t->g;
	struct run *r = g->r;
	uint64_t i = a->pgoff + (addr - a->start) / PAGE, size, ticket;
	struct rfile *rf = a->f;
	uint32_t gen = a->gen;
	bool stale, flux;
	void *data = NULL;
	int rc;

	size = rf->m.size;
	flux = rf->m.page[i].flux;
	ticket = filemodel_ticket(&rf->m, i);
	g->inside++;
	rc = sim_touch(g->p, addr, write, &data);
	g->inside--;
	sim_wake(r->s, &g->inside);
	say(g, write ? "ftouch w" : "ftouch r", addr, i, rc);
	stale = a->going || a->gen != gen;
	flux |= rf->m.page[i].flux != 0;
	if (rf->m.size < size)
		size = rf->m.size;
	if (nomem(t, rc, "access to a file"))
		return -EINTR;
	switch (rc) {
	case 0:
		/* A private copy holds what stood when it was made: in this
		 * access, or in one of another task that is still under way. */
		if (a->shared || (!write && !g->inside))
			ticket = filemodel_ticket(&rf->m, i);
		else if (g->inside)
			ticket &= ~(uint64_t)UINT32_MAX;
		if (!stale)
			touched(t, a, addr, i, ticket, write, data);
		else if (write)
			file_adopt_copy(g, addr, data);
		return 0;
	case -EINTR:
		return rc;
	case -ENXIO:
		if (i < size && !flux && !stale)
			sim__fail(r->s, "past the end, at page %" PRIu64, i);
		return 0;
	case -EFAULT:
		if (!stale)
			sim__fail(r->s, "a mapped file is gone");
		return 0;
	case -EIO:
		if (!errors(r))
			sim__fail(r->s, "an access to a file fails");
		/* a private copy that was in swap is lost for good */
		if (!stale && !a->shared && shadow_is_mapped(&g->sh, addr) &&
		    lost_has(&r->lost, shadow_stamp(&g->sh, addr)))
			shadow_error(&g->sh, addr, rc);
		return 0;
	default:
		sim__fail(r->s, "access to a file: %d", rc);
	}
}

static int do_touch(struct task *t)
{
	struct farea *a = some_farea(t, false);
	uint64_t n = prng_below(&t->rnd, 3) ? 1 : prng_range(&t->rnd, 1, 24);
	bool write = prng_below(&t->rnd, 100) < t->g->r->w.write_pct;
	uint64_t page;

	if (!a)
		return 0;
	page = prng_below(&t->rnd, (a->end - a->start) / PAGE);
	for (uint64_t k = 0; k < n; k++) {
		uint64_t addr = a->start + (page + k) * PAGE;

		while (t->g->stop && !sim_killed(t->g->p))
			sim_wait(t->g->r->s, &t->g->stop, 1, 1000000);
		/* gone meanwhile, or another mapping by now */
		if (a->going || addr < a->start || addr >= a->end)
			return 0;
		if (do_touch_at(t, a, addr, write))
			return -EINTR;
	}
	return 0;
}

/* --- sync, cut, drop --------------------------------------------------------------- */

static void do_sync(struct task *t)
{
	struct rfile *rf = some_file(t);
	uint64_t first = 0, last = UINT64_MAX;
	int rc;

	if (prng_below(&t->rnd, 2)) {
		first = prng_below(&t->rnd, rf->m.max);
		last = first + prng_below(&t->rnd, 20);
	}
	rc = sim_fsync(t->g->p, rf->f, first, last);
	say(t->g, "fsync", first, last, rc);
	if (rc && !errors(t->g->r))
		sim__fail(t->g->r->s, "fsync answers %d", rc);
}

static void do_msync(struct task *t)
{
	struct farea *a = some_farea(t, true);
	int rc;

	if (!a)
		return;
	a->busy = true;
	rc = sim_msync(t->g->p, a->start, a->end, MSYNC_SYNC);
	a->busy = false;
	if (rc && !errors(t->g->r))
		sim__fail(t->g->r->s, "msync answers %d", rc);
}

/* Copies beyond the end went from every program. */
static void forget_copies(struct run *r, struct rfile *rf, uint64_t size)
{
	struct prog *g;

	list_for_each_entry (g, &r->progs, link) {
		for (int k = 0; g->sh.page && k < FAREAS_MAX; k++) {
			struct farea *a = &g->farea[k];
			uint64_t from;

			if (!a->end || a->f != rf || a->shared)
				continue;
			from = size > a->pgoff
				   ? a->start + (size - a->pgoff) * PAGE
				   : a->start;
			if (from < a->end)
				shadow_unmap(&g->sh, from, a->end);
		}
	}
}

static void do_cut(struct task *t)
{
	struct rfile *rf = some_file(t);
	uint64_t size = prng_below(&t->rnd, rf->m.max + 1);
	uint64_t low = size < rf->m.size ? size : rf->m.size;
	struct prog *g;
	int rc;

	if (rf->cutting)
		return;
	for (uint64_t i = low; i < rf->m.max; i++)
		if (rf->m.page[i].writing)
			return;
	/* a mapping that moves now would not be known where it is */
	list_for_each_entry (g, &t->g->r->progs, link)
		if (!file_areas_idle(g) || g->stop)
			return;
	rf->cutting = 1;
	list_for_each_entry (g, &t->g->r->progs, link)
		for (int k = 0; k < FAREAS_MAX; k++)
			g->farea[k].busy = true;
	filemodel_cut(&rf->m, size);
	rc = sim_truncate(t->g->p, rf->f, size * PAGE);
	say(t->g, "fcut", size, size, rc);
	if (rc == 0)
		forget_copies(t->g->r, rf, size);
	filemodel_was_cut(&rf->m, size, rc == 0);
	list_for_each_entry (g, &t->g->r->progs, link)
		for (int k = 0; k < FAREAS_MAX; k++)
			g->farea[k].busy = false;
	rf->cutting = 0;
	if (rc && !(rc == -EIO && errors(t->g->r)))
		done(t, rc, "truncate");
}

static void do_drop(struct task *t)
{
	struct engine *e = sim_engine(t->g->r->s);

	say(t->g, "drop", 0, 0, 0);
	switch (prng_below(&t->rnd, 4)) {
	case 0:
		weir__drop_pagecache(e);
		break;
	case 1:
		weir__shadow_nodes_scan(e, 4);
		break;
	case 2:
		weir__wakeup_flusher(e, prng_range(&t->rnd, 1, 100));
		break;
	default:
		weir__file_dontneed(some_file(t)->f->mapping,
				    prng_below(&t->rnd, 20), UINT64_MAX);
	}
}

int op_file(struct task *t)
{
	bool maps = t->g->r->w.file_maps;
	uint64_t x = prng_below(&t->rnd, maps ? 100 : 50);

	t->g->r->nr_file++;
	if (x < 20)
		return do_read(t);
	if (x < 42)
		return do_write(t);
	if (x < 45)
		do_sync(t);
	else if (x < 47)
		do_drop(t);
	else if (x < 50)
		do_cut(t);
	else if (x < 56)
		do_map(t);
	else if (x < 59)
		do_unmap(t);
	else if (x < 61)
		do_dontneed(t);
	else if (x < 63)
		do_move(t);
	else if (x < 65)
		do_msync(t);
	else
		return do_touch(t);
	return 0;
}

/* --- start and end -------------------------------------------------------------------- */

void files_start(struct run *r)
{
	r->file = calloc(r->w.files + 1, sizeof(*r->file));
	if (!r->file)
		sim__fail(r->s, "no memory for the test");
	for (uint32_t i = 0; i < r->w.files; i++) {
		struct rfile *rf = &r->file[i];

		rf->shmem = i < r->w.shmem_files;
		if (filemodel_init(&rf->m, r->w.file_pages, &r->next_stamp) ||
		    sim_file_create(r->s,
				    rf->shmem ? MAPPING_SHMEM : MAPPING_FILE, 0,
				    !rf->shmem && i & 1 ? MAPPING_BUFFERS : 0,
				    &rf->f))
			sim__fail(r->s, "no memory for a file");
	}
}

static void check_disk(struct run *r, struct rfile *rf)
{
	for (uint64_t i = 0; i < rf->m.size; i++)
		if (!filemodel_check_now(&rf->m, i,
					 sim_file_page(r->s, rf->f, i)))
			sim__fail(r->s, "file %d on the disk: %s",
				  (int)(rf - r->file), rf->m.why);
}

void files_end(struct run *r)
{
	for (uint32_t i = 0; i < r->w.files; i++) {
		struct rfile *rf = &r->file[i];

		if (!rf->f)
			continue;
		/* twice: the first one may tell of an error long gone */
		weir__file_sync(rf->f->mapping, 0, UINT64_MAX);
		if (weir__file_sync(rf->f->mapping, 0, UINT64_MAX))
			sim__fail(r->s, "a sound disk fails");
		if (!rf->shmem)
			check_disk(r, rf);
		weir__file_put(rf->f);
		rf->f = NULL;
	}
}

void files_free(struct run *r)
{
	for (uint32_t i = 0; r->file && i < r->w.files; i++)
		filemodel_exit(&r->file[i].m);
	free(r->file);
	r->file = NULL;
}
