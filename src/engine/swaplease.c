/* SPDX-License-Identifier: MIT */
/*
 * Leases: slots that must keep their contents although nobody here needs them.
 *
 * After fork the child's page table names slots of the parent's areas, and the
 * parent, who hands slots out, does not see the child's use of them. A lease
 * is the list of slots that were in use when it began, as one bit each. A slot
 * that is freed while some active lease has its bit becomes LEASED instead of
 * free: it holds no contents for us but is not given out again. When a lease
 * ends, its LEASED slots that no other active lease has become free.
 *
 *   slot           lease 1         lease 2         slot's byte
 *   in use         begins (bit)                    1
 *   freed                                          LEASED
 *                                  begins (none)   LEASED   not in use now
 *                  ends                            0
 *
 * The bits stand in frames of 32768 slots each, only for parts of the area in
 * use, found through a directory of frame numbers.
 */
#include <errno.h>
#include <string.h>

#include "engine/alloc.h"
#include "engine/check.h"
#include "engine/frame.h"
#include "engine/swap_internal.h"

#define CHUNK_CLUSTERS (SWAP_LEASE_SLOTS / SWAP_CLUSTER)
#define CHUNK_WORDS    (SWAP_LEASE_SLOTS / 64)
#define LEASE_GFP      (GFP_NOWAIT | GFP_MEMALLOC)

static uint32_t *lease_dir(struct engine *e, const struct swap_lease *l)
{
	return e->host->ops->direct(e->host, weir__pfn(e, l->dir));
}

/* NULL where the lease has no slot. */
static uint64_t *lease_chunk(struct engine *e, const struct swap_lease *l,
			     uint64_t chunk)
{
	uint32_t pfn1;

	if (chunk >= l->nr_chunks)
		return NULL;
	pfn1 = lease_dir(e, l)[chunk];
	return pfn1 ? e->host->ops->direct(e->host, pfn1 - 1) : NULL;
}

bool weir__swap_leased(struct engine *e, struct swap_area *a, uint64_t off)
{
	uint64_t bit = off % SWAP_LEASE_SLOTS;

	for (uint64_t left = a->leases; left; left &= left - 1) {
		unsigned i = (unsigned)__builtin_ctzll(left);
		uint64_t *w =
		    lease_chunk(e, &a->lease[i], off / SWAP_LEASE_SLOTS);

		if (w && (w[bit / 64] >> bit % 64 & 1))
			return true;
	}
	return false;
}

static struct frame *lease_frames_alloc(struct engine *e, unsigned order)
{
	struct frame *f = weir__frames_alloc(e, LEASE_GFP, order);

	if (!f)
		return NULL;
	for (unsigned i = 0; i < 1u << order; i++)
		weir__frame_set(f + i, FRAME_KERNEL);
	memset(e->host->ops->direct(e->host, weir__pfn(e, f)), 0,
	       (size_t)PAGE_SIZE << order);
	return f;
}

static void lease_frames_free(struct engine *e, struct frame *f, unsigned order)
{
	for (unsigned i = 0; i < 1u << order; i++)
		weir__frame_clear(f + i, FRAME_KERNEL);
	weir__frames_free(e, f, order);
}

/* => lock held */
static bool chunk_in_use(struct swap_area *a, uint64_t chunk)
{
	uint64_t i = chunk * CHUNK_CLUSTERS, end = i + CHUNK_CLUSTERS;

	for (; i < end && i < a->high_water; i++)
		if (a->clusters[i].count > a->clusters[i].nr_bad)
			return true;
	return false;
}

/* => lock held */
static void chunk_fill(struct swap_area *a, uint64_t chunk, uint64_t *words)
{
	uint64_t i = chunk * CHUNK_CLUSTERS, end = i + CHUNK_CLUSTERS;

	for (; i < end && i < a->high_water; i++) {
		const uint8_t *b = a->map + i * SWAP_CLUSTER;
		uint64_t *w = words + i % CHUNK_CLUSTERS * (SWAP_CLUSTER / 64);

		if (a->clusters[i].count == a->clusters[i].nr_bad)
			continue;
		for (unsigned j = 0; j < SWAP_CLUSTER; j++)
			if (swap_byte_used(b[j]))
				w[j / 64] |= (uint64_t)1 << j % 64;
	}
}

/* One chunk of a lease that is active already: what is freed from now on is
 * kept. 0 or -ENOMEM. */
static int lease_take_chunk(struct engine *e, struct swap_area *a,
			    struct swap_lease *l, uint64_t chunk)
{
	struct frame *f;
	bool in_use;

	swap_lock(e);
	in_use = chunk_in_use(a, chunk);
	swap_unlock(e);
	if (!in_use)
		return 0;
	f = lease_frames_alloc(e, 0);
	if (!f)
		return -ENOMEM;
	swap_lock(e);
	chunk_fill(a, chunk, e->host->ops->direct(e->host, weir__pfn(e, f)));
	lease_dir(e, l)[chunk] = (uint32_t)weir__pfn(e, f) + 1;
	a->nr_lease_frames++;
	swap_unlock(e);
	return 0;
}

/* => lock held. The new lease, still without a bit, or NULL. */
static struct swap_lease *lease_start(struct swap_area *a, struct frame *dir,
				      unsigned order, uint32_t nr_chunks)
{
	struct swap_lease *l;
	unsigned i;

	if (!a->used || a->leases == UINT64_MAX)
		return NULL;
	i = (unsigned)__builtin_ctzll(~a->leases);
	l = &a->lease[i];
	a->leases |= (uint64_t)1 << i;
	/* the id names the place and, above it, the use of the place */
	a->lease_seq = (a->lease_seq + 1) & 0xffffff;
	if (!a->lease_seq)
		a->lease_seq = 1;
	l->id = a->lease_seq * SWAP_LEASES_MAX + i;
	l->nr_chunks = nr_chunks;
	l->dir = dir;
	l->dir_order = order;
	a->nr_lease_frames += (uint64_t)1 << order;
	return l;
}

int weir__swap_lease_begin(struct engine *e, unsigned type)
{
	struct swap_area *a;
	struct swap_lease *l;
	struct frame *dir;
	uint64_t nr_chunks;
	unsigned order = 0;
	int id, rc = 0;

	if (type >= SWAP_TYPES_MAX || !e->swap)
		return -EINVAL;
	a = &e->swap->area[type];
	swap_lock(e);
	if (!a->used) {
		swap_unlock(e);
		return -EINVAL;
	}
	nr_chunks = (a->high_water + CHUNK_CLUSTERS - 1) / CHUNK_CLUSTERS;
	swap_unlock(e);

	while (nr_chunks * sizeof(uint32_t) > (uint64_t)PAGE_SIZE << order)
		order++;
	dir = order <= MAX_ORDER ? lease_frames_alloc(e, order) : NULL;
	if (!dir)
		return -ENOMEM;
	swap_lock(e);
	l = lease_start(a, dir, order, (uint32_t)nr_chunks);
	id = l ? (int)l->id : -EBUSY;
	swap_unlock(e);
	if (!l) {
		lease_frames_free(e, dir, order);
		return -EBUSY;
	}
	for (uint64_t c = 0; c < nr_chunks && !rc; c++)
		rc = lease_take_chunk(e, a, l, c);
	if (!rc)
		return id;
	weir__swap_lease_end(e, type, id);
	return rc;
}

/* => lock held. Slots of one chunk of an ended lease. */
static void chunk_release(struct engine *e, struct swap_area *a, uint64_t chunk,
			  const uint64_t *words)
{
	for (uint64_t w = 0; w < CHUNK_WORDS; w++) {
		for (uint64_t left = words[w]; left; left &= left - 1) {
			uint64_t off = chunk * SWAP_LEASE_SLOTS + w * 64 +
				       (unsigned)__builtin_ctzll(left);

			if (a->map[off] == SWAP_MAP_LEASED &&
			    !weir__swap_leased(e, a, off))
				weir__slot_unlease(e, a, off);
		}
	}
}

static void lease_close(struct engine *e, struct swap_area *a, unsigned i)
{
	struct swap_lease l;

	/* out of the active ones first: what is freed from now on is free */
	swap_lock(e);
	l = a->lease[i];
	memset(&a->lease[i], 0, sizeof(a->lease[i]));
	a->leases &= ~((uint64_t)1 << i);
	a->nr_lease_frames -= (uint64_t)1 << l.dir_order;
	swap_unlock(e);

	for (uint64_t c = 0; c < l.nr_chunks; c++) {
		uint32_t pfn1 = lease_dir(e, &l)[c];

		if (!pfn1)
			continue;
		swap_lock(e);
		chunk_release(e, a, c, lease_chunk(e, &l, c));
		a->nr_lease_frames--;
		swap_unlock(e);
		lease_frames_free(e, weir__frame(e, pfn1 - 1), 0);
	}
	lease_frames_free(e, l.dir, l.dir_order);
	weir__swap_discards(e);
}

int weir__swap_lease_end(struct engine *e, unsigned type, int id)
{
	struct swap_area *a;
	unsigned i = (unsigned)id % SWAP_LEASES_MAX;
	bool ours;

	if (type >= SWAP_TYPES_MAX || !e->swap || id <= 0)
		return -ENOENT;
	a = &e->swap->area[type];
	swap_lock(e);
	ours =
	    a->used && (a->leases >> i & 1) && a->lease[i].id == (uint32_t)id;
	swap_unlock(e);
	if (!ours)
		return -ENOENT;
	lease_close(e, a, i);
	return 0;
}

void weir__swap_lease_drop_all(struct engine *e, struct swap_area *a)
{
	for (unsigned i = 0; i < SWAP_LEASES_MAX; i++)
		if (a->leases >> i & 1)
			lease_close(e, a, i);
}
