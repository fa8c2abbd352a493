/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/sim/sim_internal.h"

static uint8_t *state_of(struct sim *s, uint32_t area, uint64_t slot)
{
	if (area >= SIM_SWAP_MAX || slot == 0 || slot >= s->disk.area[area].nr)
		sim__fail(s, "there is no slot %llu in area %u",
			  (unsigned long long)slot, area);
	return &s->disk.area[area].state[slot];
}

/* Files grow as they are written; what lies in between reads as zeros. */
static void **file_data(struct sim *s, uint32_t id, uint64_t index)
{
	struct disk_file *f;

	if (id >= s->disk.nr_files)
		sim__fail(s, "there is no file %u", id);
	f = &s->disk.file[id];
	if (index >= f->nr) {
		uint64_t nr = f->nr ? f->nr * 2 : 64;

		while (nr <= index)
			nr *= 2;
		f->data = realloc(f->data, nr * sizeof(*f->data));
		if (!f->data)
			abort();
		memset(f->data + f->nr, 0, (nr - f->nr) * sizeof(*f->data));
		f->nr = nr;
	}
	return &f->data[index];
}

/* Where the contents are; not for a simulation without. */
static void **data_of(struct sim *s, const struct weir_io *io, unsigned i)
{
	if (io->target == WEIR_IO_FILE)
		return file_data(s, io->area, io->slot + i);
	return &s->disk.area[io->area].data[io->slot + i];
}

static void store(struct sim *s, const struct weir_io *io, unsigned i)
{
	size_t bytes = s->ram.page_bytes;
	void **data;

	if (!bytes)
		return;
	data = data_of(s, io, i);
	if (!*data) {
		*data = malloc(bytes);
		if (!*data)
			abort();
	}
	memcpy(*data, sim__ram_data(s, io->pfn[i]), bytes);
}

static int finish_write(struct sim *s, struct disk_req *r, unsigned i)
{
	struct weir_io *io = r->io;
	uint8_t unused, *state = io->target == WEIR_IO_FILE
				     ? &unused
				     : state_of(s, io->area, io->slot + i);
	const struct sim_rates *rate = &s->cfg.rates;
	struct prng *p = &s->disk.prng;
	int rc = 0;

	if (prng_chance(p, rate->write_eio))
		rc = -EIO;
	else if (prng_chance(p, rate->write_enospc))
		rc = -ENOSPC;
	if (rc) {
		*state = SLOT_FAILED;
		s->disk.st.write_errors++;
		return rc;
	}
	if (!io->host[0])
		store(s, io, i);
	*state = SLOT_WRITTEN;
	if (io->target == WEIR_IO_FILE)
		return 0; /* it has no checksums: nobody could tell */
	*state = prng_chance(p, rate->write_torn) ? SLOT_TORN : SLOT_WRITTEN;
	return 0;
}

/* What a slot's state says of a read. A file's pages are always there. */
static int read_state(struct sim *s, const struct weir_io *io, unsigned i)
{
	uint8_t state;

	if (io->target == WEIR_IO_FILE)
		return 0;
	state = *state_of(s, io->area, io->slot + i);
	if (state != SLOT_WRITTEN && state != SLOT_TORN)
		sim__fail(s, "slot %llu of area %u read, %s",
			  (unsigned long long)(io->slot + i), io->area,
			  state == SLOT_FAILED ? "its write failed"
					       : "never written");
	return state == SLOT_TORN ? -EBADMSG : 0;
}

static int finish_read(struct sim *s, struct disk_req *r, unsigned i)
{
	struct weir_io *io = r->io;
	const struct sim_rates *rate = &s->cfg.rates;
	struct prng *p = &s->disk.prng;
	int rc = read_state(s, io, i);
	bool file = io->target == WEIR_IO_FILE;
	void *data = s->ram.page_bytes ? *data_of(s, io, i) : NULL;

	if (!rc && prng_chance(p, rate->read_eio))
		rc = -EIO;
	else if (!rc && prng_chance(p, rate->read_flip))
		rc = file ? -EIO : -EBADMSG;
	if (rc) {
		s->disk.st.read_errors++;
		sim__ram_poison(s, io->pfn[i], 0xee);
		if (s->obs.read_failed && data && !file)
			s->obs.read_failed(s->obs.ctx, data);
		return rc;
	}
	if (data)
		memcpy(sim__ram_data(s, io->pfn[i]), data, s->ram.page_bytes);
	else
		sim__ram_poison(s, io->pfn[i], 0); /* a hole of a file */
	return 0;
}

/* A request of a disk that holds nothing and does nothing wrong. */
static void finish_plain(struct sim *s, struct weir_io *io)
{
	uint8_t *state;

	memset(io->status, 0, io->nr * sizeof(*io->status));
	if (io->target == WEIR_IO_FILE)
		return;
	state = state_of(s, io->area, io->slot);
	for (unsigned i = 0; i < io->nr; i++) {
		if (io->op == WEIR_IO_WRITE)
			state[i] = SLOT_WRITTEN;
		else if (state[i] != SLOT_WRITTEN)
			read_state(s, io, i);
	}
}

static void start(struct sim *s, struct weir_io *io);

/* Interrupt: a request has ended. */
static void ended(void *arg)
{
	struct disk_req *r = arg;
	struct sim *s = r->sim;
	struct weir_io *io = r->io;
	bool write = io->op == WEIR_IO_WRITE;

	if (s->disk.plain)
		finish_plain(s, io);
	for (unsigned i = 0; !s->disk.plain && i < io->nr; i++) {
		io->status[i] = (int16_t)(write ? finish_write(s, r, i)
						: finish_read(s, r, i));
		sim__ram_io(s, io->pfn[i], write, -1);
	}
	r->next_free = s->disk.free_reqs;
	s->disk.free_reqs = r;
	s->disk.inflight--;
	if (!list_empty(&s->disk.queue)) {
		struct weir_io *next =
		    list_first_entry(&s->disk.queue, struct weir_io, link);

		list_del(&next->link);
		start(s, next);
	}
	io->done(s->engine, io);
}

static void start(struct sim *s, struct weir_io *io)
{
	struct disk *d = &s->disk;
	struct disk_req *r = d->free_reqs;
	bool write = io->op == WEIR_IO_WRITE;
	uint64_t ns = write ? s->cfg.write_ns : s->cfg.read_ns;
	uint64_t now = s->sched.clock.now;

	if (r) {
		d->free_reqs = r->next_free;
	} else {
		r = calloc(1, sizeof(*r));
		if (!r)
			abort();
		r->next = d->all_reqs;
		d->all_reqs = r;
	}
	r->sim = s;
	r->io = io;
	ns += prng_below(&d->prng, s->cfg.jitter_ns + 1);
	if (s->cfg.wire_ns) {
		if (d->wire_free < now)
			d->wire_free = now;
		d->wire_free += io->nr * s->cfg.wire_ns;
		now = d->wire_free;
	} else {
		ns += (io->nr - 1) * s->cfg.page_ns;
	}
	r->timer.fn = ended;
	r->timer.arg = r;
	d->inflight++;
	if (d->inflight > d->st.inflight_max)
		d->st.inflight_max = d->inflight;
	sim__timer_set(&s->sched.clock, &r->timer, now + ns);
}

void sim__disk_submit(struct sim *s, struct weir_io *io)
{
	struct disk *d = &s->disk;
	bool write = io->op == WEIR_IO_WRITE;

	/* When does the machine fetch what it writes: now or at the end? The
	 * host with a page table apart keeps the buffer of a frame that is
	 * mapped under I/O, which is as good as now. */
	io->host[0] =
	    write && (s->cfg.mmu == SIM_MMU_UFFD || (prng_next(&d->prng) & 1));
	if (io->nr < 1 || io->nr > WEIR_IO_PAGES_MAX)
		sim__fail(s, "an I/O of %u pages", io->nr);
	if (d->plain && io->target == WEIR_IO_SWAP)
		state_of(s, io->area, io->slot + io->nr - 1);
	for (unsigned i = 0; !d->plain && i < io->nr; i++) {
		if (io->target == WEIR_IO_SWAP)
			state_of(s, io->area, io->slot + i);
		sim__ram_io(s, io->pfn[i], write, 1);
		if (io->host[0])
			store(s, io, i);
	}
	if (write) {
		d->st.writes++;
		d->st.pages_written += io->nr;
	} else {
		d->st.reads++;
		d->st.pages_read += io->nr;
	}
	if (d->inflight >= s->cfg.queue_depth)
		list_add_tail(&io->link, &d->queue);
	else
		start(s, io);
}

void sim__disk_discard(struct sim *s, uint32_t area, uint64_t slot, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		*state_of(s, area, slot + i) = SLOT_EMPTY;
		if (!s->disk.area[area].data)
			continue;
		free(s->disk.area[area].data[slot + i]);
		s->disk.area[area].data[slot + i] = NULL;
	}
}

int sim__disk_init(struct sim *s)
{
	static const struct sim_rates none;
	struct disk *d = &s->disk;

	d->plain = s->cfg.ordered && !s->ram.page_bytes && !s->ram.frame &&
		   !memcmp(&s->cfg.rates, &none, sizeof(none));
	prng_init(&d->prng, s->cfg.seed, SIM_STREAM_DISK);
	list_init(&d->queue);
	for (unsigned a = 0; a < SIM_SWAP_MAX; a++) {
		if (!s->cfg.swap_slots[a])
			continue;
		d->area[a].nr = s->cfg.swap_slots[a];
		d->area[a].state = calloc(d->area[a].nr, 1);
		if (!d->area[a].state)
			return -ENOMEM;
		if (!s->ram.page_bytes)
			continue;
		d->area[a].data =
		    calloc(d->area[a].nr, sizeof(*d->area[a].data));
		if (!d->area[a].data)
			return -ENOMEM;
	}
	return 0;
}

void sim__disk_exit(struct sim *s)
{
	struct disk *d = &s->disk;

	for (unsigned a = 0; a < SIM_SWAP_MAX; a++) {
		for (uint64_t i = 0; d->area[a].data && i < d->area[a].nr; i++)
			free(d->area[a].data[i]);
		free(d->area[a].data);
		free(d->area[a].state);
	}
	for (unsigned k = 0; k < d->nr_files; k++) {
		for (uint64_t i = 0; i < d->file[k].nr; i++)
			free(d->file[k].data[i]);
		free(d->file[k].data);
	}
	free(d->file);
	while (d->all_reqs) {
		struct disk_req *r = d->all_reqs;

		d->all_reqs = r->next;
		free(r);
	}
}

void sim__disk_file_cut(struct sim *s, uint32_t id, uint64_t first)
{
	struct disk_file *f = &s->disk.file[id];

	for (uint64_t i = first; i < f->nr; i++) {
		free(f->data[i]);
		f->data[i] = NULL;
	}
}

uint32_t sim__disk_file_new(struct sim *s)
{
	struct disk *d = &s->disk;

	d->file = realloc(d->file, (d->nr_files + 1) * sizeof(*d->file));
	if (!d->file)
		abort();
	d->file[d->nr_files] = (struct disk_file){0};
	return d->nr_files++;
}

void *sim__disk_file_page(struct sim *s, uint32_t id, uint64_t index)
{
	void **data;

	if (!s->ram.page_bytes)
		return NULL;
	data = file_data(s, id, index);
	if (!*data)
		*data = calloc(1, s->ram.page_bytes);
	return *data;
}

const struct sim_disk_stats *sim_disk_stats(const struct sim *s)
{
	return &s->disk.st;
}
