/* SPDX-License-Identifier: MIT */
/*
 * oracleGeneral, the binary traces of libCacheSim: records of 24 bytes, little
 * end first, without a head:
 *
 *	u32 time, in seconds	u64 object	u32 size
 *	i64 number of the next request of this object, -1 for none
 *
 * An object is a page, whatever its size. A time before the one of the record
 * above is taken for the same: rounding and merged logs leave such things.
 */
#include "trace/internal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define RECORD 24u
#define SECOND UINT64_C(1000000000)

static int oracle_start(struct trace_reader *r)
{
	r->has_time = true;
	r->time = 0;
	return 0;
}

static uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static int oracle_read(struct trace_reader *r, struct trace_event *ev,
		       unsigned max)
{
	struct source *s = &r->src;
	const uint8_t *p;
	uint64_t number = r->nr;
	unsigned n;
	int rc;

	rc = source_need(s, RECORD);
	if (rc)
		return trace__fail_source(r, rc);
	if (source_left(s) < RECORD) {
		if (!source_left(s))
			return 0;
		return trace__fail_byte(r, source_place(s),
					"a record of 24 bytes is cut off after "
					"%zu",
					source_left(s));
	}
	if (max > source_left(s) / RECORD)
		max = (unsigned)(source_left(s) / RECORD);
	p = s->data + s->pos;
	for (n = 0; n < max; n++, p += RECORD) {
		uint64_t time = load32(p) * SECOND;
		int64_t next = (int64_t)load64(p + 16);

		if (time > r->time)
			r->time = time;
		trace__touch(r, &ev[n], load64(p + 4), 1, TRACE_R);
		if (next == -1 || next == INT64_MAX)
			ev[n].next = TRACE_NEVER;
		else if (next > (int64_t)(number + n))
			ev[n].next = next;
	}
	s->pos += n * RECORD;
	return (int)n;
}

const struct trace_codec trace__oracle = {oracle_start, oracle_read};
