/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakehost.h"

static struct fakehost *fake(struct weir_host *h)
{
	return container_of(h, struct fakehost, host);
}

static uint64_t fake_now(struct weir_host *h)
{
	return fake(h)->now;
}

static void *fake_meta(struct weir_host *h, size_t bytes)
{
	struct fakehost *fh = fake(h);

	if (fh->nr_meta == 64)
		return NULL;
	return fh->meta[fh->nr_meta++] = calloc(1, bytes);
}

static void *fake_direct(struct weir_host *h, pfn_t pfn)
{
	return fake(h)->ram + (size_t)pfn * PAGE_SIZE;
}

static void fake_release(struct weir_host *h, pfn_t pfn, unsigned nr)
{
	fake(h)->nr_released += nr;
	memset(fake(h)->ram + (size_t)pfn * PAGE_SIZE, 0xdb,
	       (size_t)nr * PAGE_SIZE);
}

static void fake_map(struct weir_host *h, void *as, struct weir_vec *v,
		     unsigned nr)
{
	fake(h)->nr_maps += nr;
	for (unsigned i = 0; i < nr; i++) {
		if (v[i].flags & VEC_ZERO)
			memset(fake_direct(h, v[i].pfn), 0, PAGE_SIZE);
		v[i].status = 0;
	}
}

static void fake_unmap(struct weir_host *h, void *as, struct weir_vec *v,
		       unsigned nr)
{
	fake(h)->nr_unmaps += nr;
	for (unsigned i = 0; i < nr; i++)
		v[i].status = 0;
}

static void fake_protect(struct weir_host *h, void *as, struct weir_vec *v,
			 unsigned nr)
{
	fake(h)->nr_protects += nr;
	for (unsigned i = 0; i < nr; i++)
		v[i].status = 0;
}

static void fake_wake(struct weir_host *h, void *as, uint64_t addr)
{
}

static int fake_poison(struct weir_host *h, void *as, uint64_t addr)
{
	return 0;
}

uint8_t *fakehost_file(struct fakehost *fh, unsigned id, uint64_t index)
{
	if (id >= FAKE_FILES || index >= fh->file_pages) {
		fprintf(stderr, "fakehost: no page %llu of file %u\n",
			(unsigned long long)index, id);
		abort();
	}
	if (!fh->file[id])
		fh->file[id] = calloc(fh->file_pages, PAGE_SIZE);
	return fh->file[id] + index * PAGE_SIZE;
}

static void fake_io_finish(struct fakehost *fh, struct weir_io *io)
{
	bool file = io->target == WEIR_IO_FILE;

	for (unsigned i = 0; i < io->nr; i++) {
		uint8_t *d = file ? fakehost_file(fh, io->area, io->slot + i)
				  : fh->disk +
					    ((size_t)io->area * fh->disk_slots +
					     io->slot + i) * PAGE_SIZE;
		uint8_t *m = fake_direct(&fh->host, io->pfn[i]);

		io->status[i] = (int16_t)fh->io_error;
		if (fh->io_error)
			continue;
		if (io->op == WEIR_IO_READ)
			memcpy(m, d, PAGE_SIZE);
		else
			memcpy(d, m, PAGE_SIZE);
	}
	if (file)
		*(io->op == WEIR_IO_READ ? &fh->nr_file_reads
					 : &fh->nr_file_writes) += io->nr;
	else
		*(io->op == WEIR_IO_READ ? &fh->nr_reads : &fh->nr_writes) +=
			io->nr;
	io->done(fh->engine, io);
}

static void fake_io_submit(struct weir_host *h, struct weir_io *io)
{
	struct fakehost *fh = fake(h);

	fh->nr_submits++;
	if (fh->io_hold)
		list_add_tail(&io->link, &fh->held);
	else
		fake_io_finish(fh, io);
}

void fakehost_io_run(struct fakehost *fh)
{
	while (!list_empty(&fh->held)) {
		struct weir_io *io =
			list_first_entry(&fh->held, struct weir_io, link);

		list_del(&io->link);
		fake_io_finish(fh, io);
	}
}

static void fake_io_poll(struct weir_host *h)
{
}

static void fake_io_discard(struct weir_host *h, uint32_t area, uint64_t slot,
			    unsigned nr)
{
}

static void fake_file_cut(struct weir_host *h, uint32_t file, uint64_t first)
{
	memset(fakehost_file(fake(h), file, first), 0,
	       (fake(h)->file_pages - first) * PAGE_SIZE);
}

static struct wtask *fake_self(struct weir_host *h)
{
	return &fake(h)->task;
}

static int fake_spawn(struct weir_host *h, const char *name, unsigned flags,
		      weir_worker_fn *fn, void *arg)
{
	struct fakehost *fh = fake(h);

	if (fh->nr_spawned == FAKE_SPAWN_MAX)
		return -EAGAIN;
	fh->spawned[fh->nr_spawned].name = name;
	fh->spawned[fh->nr_spawned].flags = flags;
	fh->spawned[fh->nr_spawned].fn = fn;
	fh->spawned[fh->nr_spawned].arg = arg;
	fh->nr_spawned++;
	return 0;
}

static int fake_wait(struct weir_host *h, _Atomic uint32_t *word,
		     uint32_t expected, uint64_t timeout_ns)
{
	struct fakehost *fh = fake(h);

	fh->nr_waits++;
	if (*word != expected)
		return 0;
	if (timeout_ns) {
		fh->now += timeout_ns;
		return -ETIMEDOUT;
	}
	if (fh->on_wait)
		fh->on_wait(fh, word);
	else
		fakehost_io_run(fh);
	if (*word == expected) {
		fprintf(stderr, "fakehost: would sleep for ever\n");
		abort();
	}
	return 0;
}

static void fake_wake_word(struct weir_host *h, _Atomic uint32_t *word,
			   unsigned nr)
{
	fake(h)->nr_wakes++;
}

static void fake_relax(struct weir_host *h)
{
	fprintf(stderr, "fakehost: spinlock taken twice\n");
	abort();
}

static void __attribute__((noreturn)) fake_panic(struct weir_host *h,
						 const char *msg)
{
	fprintf(stderr, "panic: %s\n", msg);
	abort();
}

static void fake_log(struct weir_host *h, int level, const char *msg)
{
	if (getenv("WEIR_TEST_LOG"))
		fprintf(stderr, "%d: %s\n", level, msg);
}

static int fake_oom_kill(struct weir_host *h, void *as)
{
	fake(h)->nr_oom_kills++;
	fake(h)->oom_as = as;
	return 0;
}

static const struct weir_host_ops fake_ops = {
	.now_ns = fake_now,
	.meta_alloc = fake_meta,
	.direct = fake_direct,
	.contents = fake_direct,
	.release = fake_release,
	.map = fake_map,
	.unmap = fake_unmap,
	.protect = fake_protect,
	.wake = fake_wake,
	.poison = fake_poison,
	.has_accessed_bit = true,
	.io_submit = fake_io_submit,
	.io_poll = fake_io_poll,
	.io_discard = fake_io_discard,
	.file_cut = fake_file_cut,
	.self = fake_self,
	.spawn = fake_spawn,
	.wait = fake_wait,
	.wake_word = fake_wake_word,
	.relax = fake_relax,
	.panic = fake_panic,
	.log = fake_log,
	.oom_kill = fake_oom_kill,
};

void fakehost_init(struct fakehost *fh, struct engine *e, uint64_t frames,
		   uint64_t disk_slots)
{
	memset(fh, 0, sizeof(*fh));
	fh->host.ops = &fake_ops;
	fh->engine = e;
	fh->task.id = 1;
	fh->task.name = "test";
	fh->ram = calloc(frames, PAGE_SIZE);
	fh->ram_frames = frames;
	fh->disk = disk_slots ? calloc(disk_slots * 4, PAGE_SIZE) : NULL;
	fh->disk_slots = disk_slots;
	fh->file_pages = 8192;
	list_init(&fh->held);
}

void fakehost_exit(struct fakehost *fh)
{
	for (unsigned i = 0; i < fh->nr_meta; i++)
		free(fh->meta[i]);
	for (unsigned i = 0; i < FAKE_FILES; i++)
		free(fh->file[i]);
	free(fh->ram);
	free(fh->disk);
}
