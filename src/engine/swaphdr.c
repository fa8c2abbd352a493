/* SPDX-License-Identifier: MIT */
/*
 * The first page of a swap area, as mkswap(8) writes it.
 *
 *	offset	bytes
 *	0	1024	left to boot loaders
 *	1024	4	version, 1; its byte order is that of all that follows
 *	1028	4	last page of the area
 *	1032	4	number of bad pages
 *	1036	16	uuid
 *	1052	16	label
 *	1068	468	nothing
 *	1536	4 each	bad pages
 *	4086	10	"SWAPSPACE2"
 */
#include <errno.h>
#include <string.h>

#include "engine/swap.h"

#define HDR_MAGIC       "SWAPSPACE2"
#define HDR_MAGIC_LEN   10
#define HDR_MAGIC_OFF   (PAGE_SIZE - HDR_MAGIC_LEN)
#define HDR_VERSION_OFF 1024 /* boot block before it */
#define HDR_LAST_OFF    1028
#define HDR_NR_BAD_OFF  1032
#define HDR_UUID_OFF    1036
#define HDR_UUID_LEN    16
#define HDR_LABEL_OFF   1052
#define HDR_LABEL_LEN   16
#define HDR_BAD_OFF     1536
#define HDR_BAD_MAX     ((HDR_MAGIC_OFF - HDR_BAD_OFF) / 4)

static uint32_t hdr_word(const void *page, unsigned off, bool swapped)
{
	uint32_t v;

	memcpy(&v, (const uint8_t *)page + off, sizeof(v));
	return swapped ? __builtin_bswap32(v) : v;
}

static const char *hdr_check(const void *page, uint64_t file_pages,
			     unsigned bad_max, bool *swapped)
{
	uint32_t last, nr_bad;

	if (memcmp((const uint8_t *)page + HDR_MAGIC_OFF, HDR_MAGIC,
		   HDR_MAGIC_LEN) != 0)
		return "no swap signature";
	/* a machine of the other byte order wrote it */
	*swapped = hdr_word(page, HDR_VERSION_OFF, true) == 1;
	if (hdr_word(page, HDR_VERSION_OFF, *swapped) != 1)
		return "unknown version of the swap header";
	last = hdr_word(page, HDR_LAST_OFF, *swapped);
	if (!last)
		return "the header says that the area is empty";
	if ((uint64_t)last + 1 > file_pages)
		return "the area is shorter than its header says";
	nr_bad = hdr_word(page, HDR_NR_BAD_OFF, *swapped);
	if (nr_bad > HDR_BAD_MAX)
		return "more bad pages than a header can hold";
	if (nr_bad > bad_max)
		return "too many bad pages";
	if (nr_bad >= last)
		return "no good page in the area";
	for (uint32_t i = 0; i < nr_bad; i++) {
		uint32_t b = hdr_word(page, HDR_BAD_OFF + 4 * i, *swapped);

		if (!b || b > last)
			return "a bad page outside the area";
	}
	return NULL;
}

int weir__swap_header_parse(const void *page, uint64_t file_pages,
			    uint64_t *slots, uint64_t *bad, unsigned bad_max,
			    const char **why)
{
	bool swapped;
	uint32_t nr_bad;

	*why = hdr_check(page, file_pages, bad_max, &swapped);
	if (*why)
		return -EINVAL;
	*slots = (uint64_t)hdr_word(page, HDR_LAST_OFF, swapped) + 1;
	nr_bad = hdr_word(page, HDR_NR_BAD_OFF, swapped);
	for (uint32_t i = 0; i < nr_bad; i++)
		bad[i] = hdr_word(page, HDR_BAD_OFF + 4 * i, swapped);
	return (int)nr_bad;
}

static void hdr_set(void *page, unsigned off, uint32_t v)
{
	memcpy((uint8_t *)page + off, &v, sizeof(v));
}

int weir__swap_header_write(void *page, uint64_t slots, const uint64_t *bad,
			    unsigned nr_bad, const uint8_t *uuid,
			    const char *label)
{
	if (slots < 2 || slots - 1 > UINT32_MAX || nr_bad > HDR_BAD_MAX ||
	    nr_bad >= slots - 1)
		return -EINVAL;
	for (unsigned i = 0; i < nr_bad; i++)
		if (!bad[i] || bad[i] >= slots)
			return -EINVAL;
	memset(page, 0, PAGE_SIZE);
	hdr_set(page, HDR_VERSION_OFF, 1);
	hdr_set(page, HDR_LAST_OFF, (uint32_t)(slots - 1));
	hdr_set(page, HDR_NR_BAD_OFF, nr_bad);
	for (unsigned i = 0; i < nr_bad; i++)
		hdr_set(page, HDR_BAD_OFF + 4 * i, (uint32_t)bad[i]);
	if (uuid)
		memcpy((uint8_t *)page + HDR_UUID_OFF, uuid, HDR_UUID_LEN);
	/* cut off, not refused: a label is for people */
	for (unsigned i = 0; label && label[i] && i < HDR_LABEL_LEN; i++)
		((char *)page)[HDR_LABEL_OFF + i] = label[i];
	memcpy((uint8_t *)page + HDR_MAGIC_OFF, HDR_MAGIC, HDR_MAGIC_LEN);
	return 0;
}
