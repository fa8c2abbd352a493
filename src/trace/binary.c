/* SPDX-License-Identifier: MIT */
/*
 * Reading weir's binary trace: see binary.h for the form.
 *
 * No byte is looked at twice. While a record is decoded nobody asks where the
 * window ends: behind it are zeros, in which every number ends at once, and
 * whether the record was whole is asked once behind it.
 */
#include "trace/internal.h"
#include "trace/binary.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* More than the longest record: a tag, a text, and eight numbers. */
#define RECORD_MAX 400u

_Static_assert(RECORD_MAX < SOURCE_PAD, "a record may begin at the last byte");

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* Nothing of 64 bits needs more than ten bytes. NULL when it is no number. */
static const uint8_t *varint(const uint8_t *p, uint64_t *out)
{
	uint64_t v = *p & 0x7f;

	for (unsigned shift = 7; *p++ & 0x80; shift += 7) {
		if (shift > 63 || (shift == 63 && *p > 1))
			return NULL;
		v |= (uint64_t)(*p & 0x7f) << shift;
	}
	*out = v;
	return p;
}

static void sum_to(struct trace_reader *r, const uint8_t *p)
{
	struct source *s = &r->src;
	uint64_t place = s->base + (uint64_t)(p - s->data);

	XXH64_update(&r->sum, s->data + (r->summed - s->base),
		     place - r->summed);
	r->summed = place;
}

static uint64_t place_of(struct trace_reader *r, const uint8_t *p)
{
	return r->src.base + (uint64_t)(p - r->src.data);
}

static int bad_number(struct trace_reader *r, const uint8_t *p)
{
	return trace__fail_byte(r, place_of(r, p),
				"a number of more than 64 bits");
}

/* Of a record that ends at p: was all of it there? If not, what is wrong with it
 * is no matter, and decode() says that the trace is cut off. */
static bool whole(const struct trace_reader *r, const uint8_t *p)
{
	return p <= r->src.data + r->src.len;
}

/* NULL after an error. p is behind the tag. */
static inline const uint8_t *
read_touch(struct trace_reader *r, struct trace_event *ev, const uint8_t *p)
{
	const uint8_t *begin = p - 1;
	unsigned tag = p[-1], bytes;
	uint64_t delta, fold, v;

	if (tag & TOUCH_TIME) {
		p = varint(p, &delta);
		if (!p || delta >= TRACE_TIME_NONE - r->time) {
			trace__fail_byte(r, place_of(r, begin),
					 "a time that is none");
			return NULL;
		}
		r->time += delta;
	}
	bytes = binary_bytes[tag >> TOUCH_BYTES_SHIFT & 7];
	fold = load64(p) &
	       (bytes == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * bytes) - 1);
	p += bytes;
	r->last_page += (uint64_t)binary_unfold(fold);
	trace__touch(r, ev, r->last_page, 1, binary_access[tag & 3]);
	if (tag & TOUCH_MANY) {
		p = varint(p, &ev->nr);
		p = p ? varint(p, &v) : NULL;
		if (!p) {
			bad_number(r, begin);
			return NULL;
		}
		ev->stride = ev->nr == 1 ? 1 : binary_unfold(v);
		if (whole(r, p) && trace__event_wrong(ev)) {
			trace__fail_byte(r, place_of(r, begin),
					 "a touch without %s",
					 trace__event_wrong(ev));
			return NULL;
		}
	}
	return p;
}

static const uint8_t *read_text(struct trace_reader *r, struct trace_event *ev,
				const uint8_t *p)
{
	unsigned len = *p++;

	memcpy(r->text, p, len);
	r->text[len] = '\0';
	if (len)
		ev->text = r->text;
	ev->text_len = (uint8_t)len;
	return p + len;
}

static const uint8_t *read_op(struct trace_reader *r, struct trace_event *ev,
			      const uint8_t *p)
{
	const uint8_t *begin = p - 1;
	unsigned op = p[-1] - (unsigned)TAG_OP;
	const struct trace_op_info *info;
	const char *why;
	uint64_t v;

	if (op == TRACE_TOUCH || op >= NR_TRACE_OPS) {
		trace__fail_byte(r, place_of(r, begin),
				 "tag 0x%02x, where that of a record is "
				 "expected",
				 p[-1]);
		return NULL;
	}
	info = &trace__ops[op];
	trace__touch(r, ev, 0, 0, 0);
	ev->op = (uint8_t)op;
	ev->stride = 0;
	for (const char *f = info->fields; *f; f++) {
		if (*f == '?')
			continue;
		if (*f == 'T' || *f == 'R') {
			p = read_text(r, ev, p);
			continue;
		}
		p = varint(p, &v);
		if (!p || trace__field_set(ev, *f, v)) {
			bad_number(r, begin);
			return NULL;
		}
	}
	if (info->flags) {
		p = varint(p, &v);
		if (!p || v > UINT16_MAX) {
			bad_number(r, begin);
			return NULL;
		}
		ev->flags = (uint16_t)v;
	}
	why = whole(r, p) ? trace__event_wrong(ev) : NULL;
	if (!why)
		return p;
	trace__fail_byte(r, place_of(r, begin), "'%s' without %s", info->word,
			 why);
	return NULL;
}

/* The records that set what holds for those behind them. */
static const uint8_t *read_state(struct trace_reader *r, const uint8_t *p)
{
	const uint8_t *begin = p - 1;
	unsigned tag = p[-1];
	uint64_t v;

	p = varint(p, &v);
	if (!p) {
		bad_number(r, begin);
		return NULL;
	}
	if (tag == TAG_TIME) {
		uint64_t from = r->time == TRACE_TIME_NONE ? 0 : r->time;

		if (v >= TRACE_TIME_NONE - from)
			goto wrong;
		r->time = from + v;
	} else if (tag == TAG_PROCESS) {
		r->pid = (uint32_t)v;
		if (v > UINT32_MAX)
			goto wrong;
	} else {
		r->cpu = (uint16_t)v;
		if (v > UINT16_MAX)
			goto wrong;
	}
	return p;
wrong:
	trace__fail_byte(r, place_of(r, begin), "a %s out of range",
			 tag == TAG_TIME      ? "time"
			 : tag == TAG_PROCESS ? "process number"
					      : "CPU number");
	return NULL;
}

static bool sum_is(struct trace_reader *r, const uint8_t *p)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
	return true;
#else
	return XXH64_digest(&r->sum) == load64(p);
#endif
}

static const uint8_t *read_end(struct trace_reader *r, const uint8_t *p,
			       const uint8_t *end, uint64_t events)
{
	const uint8_t *begin = p - 1;
	uint64_t v;

	sum_to(r, begin);
	p = varint(p, &v);
	if (!p) {
		bad_number(r, begin);
		return NULL;
	}
	if (p + 8 > end)
		return p + 8; /* cut off: the caller sees it */
	if (!sum_is(r, p)) {
		trace__fail_byte(r, place_of(r, p),
				 "the checksum is wrong: the trace is damaged");
		return NULL;
	}
	if (v != events) {
		trace__fail_byte(r, place_of(r, begin),
				 "the end says %llu events, there were %llu",
				 (unsigned long long)v,
				 (unsigned long long)events);
		return NULL;
	}
	r->ended = true;
	return p + 8;
}

static int cut_off(struct trace_reader *r)
{
	return trace__fail_byte(r, r->src.base + r->src.len,
				"the trace is cut off: its end is missing");
}

/*
 * Decodes what stands in the window, up to max events: returns how many. r->err
 * after an error. Records begin before `limit` and end before `end`.
 */
static unsigned decode(struct trace_reader *r, struct trace_event *ev,
		       unsigned max, const uint8_t *limit, const uint8_t *end)
{
	const uint8_t *p = r->src.data + r->src.pos, *next;
	unsigned n = 0;
	bool text = false;

	while (n < max && p < limit && !r->ended && !text) {
		unsigned tag = *p, event = 0;

		if (tag >= TAG_TOUCH) {
			if (r->time == TRACE_TIME_NONE &&
			    (r->has_time || tag & TOUCH_TIME)) {
				trace__fail_byte(r, place_of(r, p),
						 "an event before the first "
						 "time");
				break;
			}
			next = read_touch(r, &ev[n], p + 1);
			event = 1;
		} else if (tag >= TAG_OP) {
			if (r->has_time && r->time == TRACE_TIME_NONE) {
				trace__fail_byte(r, place_of(r, p),
						 "an event before the first "
						 "time");
				break;
			}
			next = read_op(r, &ev[n], p + 1);
			event = 1;
			text = next && ev[n].text; /* r->text holds one */
		} else if (tag == TAG_END) {
			next = read_end(r, p + 1, end, r->nr + n);
		} else if (tag <= TAG_CPU) {
			next = read_state(r, p + 1);
		} else {
			trace__fail_byte(r, place_of(r, p),
					 "tag 0x%02x, where that of a record "
					 "is expected",
					 tag);
			break;
		}
		if (!next)
			break;
		if (next > end) {
			cut_off(r);
			break;
		}
		n += event;
		p = next;
	}
	r->src.pos = (size_t)(p - r->src.data);
	if (!r->err.code && !r->ended)
		sum_to(r, p);
	return n;
}

static int at_end(struct trace_reader *r)
{
	int rc = source_need(&r->src, 1);

	if (rc)
		return trace__fail_source(r, rc);
	if (source_left(&r->src))
		return trace__fail_byte(r, source_place(&r->src),
					"bytes behind the end of the trace");
	return 0;
}

static int binary_read(struct trace_reader *r, struct trace_event *ev,
		       unsigned max)
{
	struct source *s = &r->src;
	const uint8_t *end;
	unsigned n = 0;
	int rc;

	while (!n && !r->err.code) {
		if (r->ended)
			return at_end(r);
		rc = source_need(s, RECORD_MAX);
		if (rc)
			return trace__fail_source(r, rc);
		if (!source_left(s))
			return cut_off(r);
		end = s->data + s->len;
		n = decode(r, ev, max, s->eof ? end : end - RECORD_MAX + 1,
			   end);
	}
	return n ? (int)n : r->err.code;
}

static int binary_start(struct trace_reader *r)
{
	struct source *s = &r->src;
	const uint8_t *p;
	int rc = source_need(s, BINARY_HEAD_BYTES);

	if (rc)
		return trace__fail_source(r, rc);
	p = s->data;
	if (source_left(s) < BINARY_HEAD_BYTES ||
	    memcmp(p, TRACE_MAGIC, sizeof(TRACE_MAGIC) - 1))
		return trace__fail_byte(r, 0,
					"the head of a binary trace is "
					"expected");
	if (p[8] != BINARY_VERSION)
		return trace__fail_byte(r, 8,
					"version %u, where %u is "
					"expected",
					p[8], BINARY_VERSION);
	if (p[9] & ~(BINARY_BARE | BINARY_TIMED) || load64(p + 8) >> 16)
		return trace__fail_byte(r, 9,
					"flags that version 1 does not "
					"have");
	r->has_regions = !(p[9] & BINARY_BARE);
	r->has_time = p[9] & BINARY_TIMED;
	XXH64_reset(&r->sum, 0);
	r->summed = 0;
	s->pos = BINARY_HEAD_BYTES;
	sum_to(r, p + BINARY_HEAD_BYTES);
	return 0;
}

const struct trace_codec trace__binary = {binary_start, binary_read};
