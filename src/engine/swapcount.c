/* SPDX-License-Identifier: MIT */
/*
 * How many page-table entries name a slot.
 *
 * One byte for each slot is enough for nearly all: the count in its low six
 * bits, 0..62. A slot shared more often (a page evicted, then fork after fork)
 * carries into further digits of 0..127, each kept in 512 bytes for the whole
 * cluster:
 *
 *     count = byte + 63 * (digit0 + 128 * (digit1 + 128 * digit2))
 *
 * and SWAP_CONTINUED says that a further digit is not 0. The digits' memory is
 * taken outside the lock, before the carry, so a count never changes halfway.
 */
#include <errno.h>
#include <string.h>

#include "engine/check.h"
#include "engine/slab.h"
#include "engine/swap_internal.h"

#define COUNT_MASK ((uint8_t) ~(SWAP_HAS_CACHE | SWAP_CONTINUED))
#define LOW_BASE   (SWAP_MAP_MAX + 1)
#define CONT_BASE  (SWAP_CONT_MAX + 1)

static uint8_t *digit(struct swap_cluster *ci, unsigned i, uint64_t off)
{
	return ci->cont[i] ? &ci->cont[i][off % SWAP_CLUSTER] : NULL;
}

/* Owned by a tree, not by page tables. No count looks like it: its low part
 * would be 63. */
static bool is_shmem(uint8_t b)
{
	return (b | SWAP_HAS_CACHE) == (SWAP_MAP_SHMEM | SWAP_HAS_CACHE);
}

uint64_t weir__swap_count_locked(struct swap_area *a, uint64_t off)
{
	struct swap_cluster *ci = swap_cluster(a, off);
	uint64_t n = 0;

	if (!swap_byte_used(a->map[off]))
		return 0;
	if (is_shmem(a->map[off]))
		return 1;
	for (unsigned i = SWAP_CONT_DIGITS; i-- > 0;) {
		uint8_t *d = digit(ci, i, off);

		n = n * CONT_BASE + (d ? *d : 0);
	}
	return n * LOW_BASE + (a->map[off] & COUNT_MASK);
}

void weir__swap_cont_free(struct engine *e, struct swap_cluster *ci)
{
	for (unsigned i = 0; i < SWAP_CONT_DIGITS; i++) {
		if (!ci->cont[i])
			continue;
		weir__kfree(e, ci->cont[i]);
		ci->cont[i] = NULL;
	}
}

/* The digit a carry out of the byte would stop at, SWAP_CONT_DIGITS if none. */
static unsigned carry_digit(struct swap_cluster *ci, uint64_t off)
{
	unsigned i = 0;

	while (i < SWAP_CONT_DIGITS && ci->cont[i] &&
	       *digit(ci, i, off) == SWAP_CONT_MAX)
		i++;
	return i;
}

/* => lock held. 0, -EINVAL, -ENOMEM (nothing changed). */
static int count_up(struct swap_area *a, uint64_t off)
{
	struct swap_cluster *ci = swap_cluster(a, off);
	uint8_t b = a->map[off];
	unsigned top;

	if (!swap_byte_used(b) || is_shmem(b))
		return -EINVAL;
	if ((b & COUNT_MASK) < SWAP_MAP_MAX) {
		a->map[off]++;
		return 0;
	}
	top = carry_digit(ci, off);
	if (top == SWAP_CONT_DIGITS || !ci->cont[top])
		return -ENOMEM;
	++*digit(ci, top, off);
	while (top-- > 0)
		*digit(ci, top, off) = 0;
	a->map[off] = (b & SWAP_HAS_CACHE) | SWAP_CONTINUED;
	return 0;
}

/* => lock held. Takes one from the digits: the byte's low part was 0. */
static uint8_t borrow(struct engine *e, struct swap_cluster *ci, uint64_t off)
{
	bool more = false;
	unsigned i = 0;

	while (i < SWAP_CONT_DIGITS && ci->cont[i] && !*digit(ci, i, off))
		*digit(ci, i++, off) = SWAP_CONT_MAX;
	weir__bug_on(e, i == SWAP_CONT_DIGITS || !ci->cont[i]);
	--*digit(ci, i, off);
	for (i = 0; i < SWAP_CONT_DIGITS && ci->cont[i]; i++)
		more |= *digit(ci, i, off) != 0;
	return SWAP_MAP_MAX | (more ? SWAP_CONTINUED : 0);
}

/* => lock held. The slot goes with its last count and the cache bit. */
static void count_down(struct engine *e, struct swap_area *a, uint64_t off)
{
	uint8_t b = a->map[off];

	weir__bug_on(e, !swap_byte_used(b) || !(b & ~SWAP_HAS_CACHE));
	if (is_shmem(b))
		b &= SWAP_HAS_CACHE;
	else if (b & COUNT_MASK)
		b--;
	else
		b = (b & SWAP_HAS_CACHE) | borrow(e, swap_cluster(a, off), off);
	a->map[off] = b;
	if (!b)
		weir__slot_free(e, a, off);
}

int weir__swap_add_continuation(struct engine *e, swp_entry_t s, gfp_t gfp)
{
	uint64_t off = swp_offset(s);
	struct swap_cluster *ci;
	struct swap_area *a;
	uint8_t *mem;
	unsigned top;
	int rc = -EINVAL;

	mem = weir__kmalloc(e, SWAP_CLUSTER, gfp);
	if (!mem)
		return -ENOMEM;
	memset(mem, 0, SWAP_CLUSTER);
	swap_lock(e);
	a = swap_area(e, s);
	if (a && swap_byte_used(a->map[off])) {
		ci = swap_cluster(a, off);
		top = carry_digit(ci, off);
		rc = top == SWAP_CONT_DIGITS ? -ENOMEM : 0;
		if (!rc && !ci->cont[top]) {
			ci->cont[top] = mem;
			mem = NULL;
		}
	}
	swap_unlock(e);
	if (mem) /* another task was faster, or the slot went */
		weir__kfree(e, mem);
	return rc;
}

int weir__swap_dup(struct engine *e, swp_entry_t s)
{
	for (;;) {
		struct swap_area *a;
		int rc;

		swap_lock(e);
		a = swap_area(e, s);
		rc = a ? count_up(a, swp_offset(s)) : -EINVAL;
		swap_unlock(e);
		if (rc != -ENOMEM)
			return rc;
		/* the caller may hold an aspace lock: no sleep */
		rc = weir__swap_add_continuation(e, s, GFP_NOWAIT | GFP_HIGH);
		if (rc)
			return rc;
	}
}

void weir__swap_free_many(struct engine *e, const swp_entry_t *s, unsigned nr)
{
	swap_lock(e);
	for (unsigned i = 0; i < nr; i++) {
		struct swap_area *a = swap_area(e, s[i]);

		weir__bug_on(e, !a);
		count_down(e, a, swp_offset(s[i]));
	}
	swap_unlock(e);
	weir__swap_discards(e);
}

void weir__swap_free(struct engine *e, swp_entry_t s)
{
	weir__swap_free_many(e, &s, 1);
}

void weir__swap_shmem(struct engine *e, swp_entry_t s)
{
	struct swap_area *a;

	swap_lock(e);
	a = swap_area(e, s);
	weir__bug_on(e, !a || a->map[swp_offset(s)] != SWAP_HAS_CACHE);
	a->map[swp_offset(s)] |= SWAP_MAP_SHMEM;
	swap_unlock(e);
}

unsigned weir__swap_count(struct engine *e, swp_entry_t s)
{
	struct swap_area *a;
	uint64_t n;

	swap_lock(e);
	a = swap_area(e, s);
	n = a ? weir__swap_count_locked(a, swp_offset(s)) : 0;
	swap_unlock(e);
	return (unsigned)n;
}

uint8_t weir__swap_map_byte(struct engine *e, swp_entry_t s)
{
	struct swap_area *a;
	uint8_t b;

	swap_lock(e);
	a = swap_area(e, s);
	b = a ? a->map[swp_offset(s)] : SWAP_MAP_BAD;
	swap_unlock(e);
	return b;
}

unsigned weir__swap_run(struct engine *e, swp_entry_t s, unsigned max)
{
	uint64_t off = swp_offset(s);
	struct swap_area *a;
	unsigned n = 0;

	swap_lock(e);
	a = swap_area(e, s);
	while (a && n < max && off + n < a->slots &&
	       swap_byte_used(a->map[off + n]) &&
	       (a->map[off + n] & ~SWAP_HAS_CACHE))
		n++;
	swap_unlock(e);
	return n;
}

/* --- the zero bitmap ---------------------------------------------------- */

void weir__swap_zero_set(struct engine *e, swp_entry_t s, bool zero)
{
	uint64_t off = swp_offset(s);
	struct swap_area *a;
	uint64_t bit = (uint64_t)1 << off % 64;

	swap_lock(e);
	a = swap_area(e, s);
	weir__bug_on(e, !a || !swap_byte_used(a->map[off]));
	if (zero)
		a->zero[off / 64] |= bit;
	else
		a->zero[off / 64] &= ~bit;
	swap_unlock(e);
}

bool weir__swap_zero_test(struct engine *e, swp_entry_t s)
{
	uint64_t off = swp_offset(s);
	struct swap_area *a;
	bool zero;

	swap_lock(e);
	a = swap_area(e, s);
	zero = a && (a->zero[off / 64] >> off % 64 & 1);
	swap_unlock(e);
	return zero;
}

/* --- what is in use ------------------------------------------------------ */

/* Bit i of used = slot i of the cluster is in use. False behind the last
 * cluster that was ever used. The lock is held for one cluster only. */
static bool cluster_used(struct engine *e, struct swap_area *a, uint64_t i,
			 uint64_t used[SWAP_CLUSTER / 64])
{
	bool there;

	memset(used, 0, SWAP_CLUSTER / 8);
	swap_lock(e);
	there = a->used && i < a->high_water;
	if (there && a->clusters[i].count > a->clusters[i].nr_bad) {
		const uint8_t *b = a->map + i * SWAP_CLUSTER;

		for (unsigned j = 0; j < SWAP_CLUSTER; j++)
			if (swap_byte_used(b[j]))
				used[j / 64] |= (uint64_t)1 << j % 64;
	}
	swap_unlock(e);
	return there;
}

int weir__swap_for_each_used(struct engine *e, unsigned type,
			     int (*fn)(void *arg, uint64_t slot, uint64_t nr),
			     void *arg)
{
	uint64_t used[SWAP_CLUSTER / 64], start = 0, nr = 0;
	int rc;

	if (type >= SWAP_TYPES_MAX)
		return -EINVAL;
	swap_lock(e);
	rc = e->swap->area[type].used ? 0 : -EINVAL;
	swap_unlock(e);
	for (uint64_t i = 0;
	     !rc && cluster_used(e, &e->swap->area[type], i, used); i++) {
		for (unsigned j = 0; j < SWAP_CLUSTER && !rc; j++) {
			if (used[j / 64] >> j % 64 & 1) {
				if (!nr++)
					start = i * SWAP_CLUSTER + j;
			} else if (nr) {
				rc = fn(arg, start, nr);
				nr = 0;
			}
		}
	}
	return !rc && nr ? fn(arg, start, nr) : rc;
}

uint64_t weir__swap_used_bitmap(struct engine *e, unsigned type, uint8_t *bits,
				uint64_t nslots)
{
	uint64_t used[SWAP_CLUSTER / 64], total = 0;

	memset(bits, 0, (nslots + 7) / 8);
	if (type >= SWAP_TYPES_MAX)
		return 0;
	for (uint64_t i = 0; i * SWAP_CLUSTER < nslots &&
			     cluster_used(e, &e->swap->area[type], i, used);
	     i++) {
		for (unsigned j = 0; j < SWAP_CLUSTER; j++) {
			uint64_t off = i * SWAP_CLUSTER + j;

			if (off >= nslots || !(used[j / 64] >> j % 64 & 1))
				continue;
			bits[off / 8] |= (uint8_t)(1u << off % 8);
			total++;
		}
	}
	return total;
}
