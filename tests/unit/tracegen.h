/* SPDX-License-Identifier: MIT */
/* Random traces of valid events: every op, every field, edges included. */
#ifndef WEIR_TEST_TRACEGEN_H
#define WEIR_TEST_TRACEGEN_H

#include "tracefix.h"

static const char *const tracegen_fields[NR_TRACE_OPS] = {
#define X(id, word, fields, flags, words, what) fields,
#include "trace/ops.def"
#undef X
};

static const uint16_t tracegen_flags[NR_TRACE_OPS] = {
#define X(id, word, fields, flags, words, what) flags,
#include "trace/ops.def"
#undef X
};

static inline uint64_t tracegen_random(uint64_t *s)
{
	uint64_t z = *s += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* Of any length in bits, and often 0 or all ones. */
static inline uint64_t tracegen_any(uint64_t *s)
{
	uint64_t r = tracegen_random(s);

	return r % 16 == 0   ? 0
	       : r % 16 == 1 ? UINT64_MAX
			     : tracegen_random(s) >> r / 16 % 64;
}

static inline void tracegen_text(struct trace_event *ev, uint64_t *s,
				 char field)
{
	static char buf[256];
	unsigned len =
	    (unsigned)(tracegen_random(s) % 4 ? tracegen_random(s) % 12
					      : tracegen_random(s) % 256);

	if (field == 'T')
		len += !len; /* "open" may do without; "set" not */
	for (unsigned i = 0; i < len; i++) {
		buf[i] = (char)(33 + tracegen_random(s) % 94);
		if (field == 'R' && i && i + 1 < len &&
		    tracegen_random(s) % 5 == 0)
			buf[i] = ' ';
		if (buf[i] == '#' || (field == 'T' && !i))
			buf[i] = 'Q'; /* no flag begins so */
	}
	buf[len] = '\0';
	ev->text = len ? buf : NULL;
	ev->text_len = (uint8_t)len;
}

static inline void tracegen_field(struct trace_event *ev, uint64_t *s,
				  char field)
{
	static const uint8_t kinds[128] = {['A'] = NR_TRACE_ADVICES,
					   ['G'] = NR_TRACE_GFPS,
					   ['K'] = NR_TRACE_OBJECTS,
					   ['L'] = NR_TRACE_LIMITS};
	uint64_t v = tracegen_any(s);

	if (strchr("poihy", field))
		ev->page = v;
	else if (strchr("nbv", field))
		ev->nr = v + (field == 'n' && !v);
	else if (strchr("qFj", field))
		ev->to = v;
	else if (field == 'm')
		ev->to_nr = v + !v;
	else if (strchr("fcga", field))
		ev->file = (uint32_t)v + !(uint32_t)v;
	else if (field == 'P')
		ev->access = v & 7;
	else if (strchr("TR", field))
		tracegen_text(ev, s, field);
	else
		ev->kind = (uint8_t)(v % kinds[(unsigned char)field]);
}

/* What ranges must hold: not beyond the 64-bit numbers. */
static inline void tracegen_fit(struct trace_event *ev)
{
	const char *f = tracegen_fields[ev->op];

	if (strpbrk(f, "po") && strpbrk(f, "nb") && ev->nr &&
	    ev->nr - 1 > UINT64_MAX - ev->page)
		ev->page = UINT64_MAX - (ev->nr - 1);
	if (strchr(f, 'q') && ev->to_nr - 1 > UINT64_MAX - ev->to)
		ev->to = UINT64_MAX - (ev->to_nr - 1);
}

static inline void tracegen_touch(struct trace_event *ev, uint64_t *s)
{
	static const uint8_t access[] = {TRACE_R, TRACE_W, TRACE_X,
					 TRACE_R | TRACE_W};

	ev->op = TRACE_TOUCH;
	ev->access = access[tracegen_random(s) % 4];
	ev->page = tracegen_any(s);
	ev->nr = 1;
	ev->stride = 1;
	if (tracegen_random(s) % 4)
		return;
	ev->nr = 2 + tracegen_random(s) % 1000;
	ev->page = tracegen_random(s) >> 8;
	ev->stride = (int64_t)(tracegen_random(s) >> 20);
	if (tracegen_random(s) % 2 && (uint64_t)ev->stride < ev->page / ev->nr)
		ev->stride = -ev->stride;
	if ((uint64_t)ev->stride > (UINT64_MAX - ev->page) / ev->nr &&
	    ev->stride > 0)
		ev->stride = 0;
}

/* Random, and valid behind `last` (which holds for time). */
static inline struct trace_event tracegen_event(uint64_t *s,
						const struct trace_event *last)
{
	struct trace_event ev = {
	    .time = last->time, .pid = last->pid, .cpu = last->cpu};
	uint64_t r = tracegen_random(s);

	if (r % 5 == 0 &&
	    (last->time == TRACE_TIME_NONE || last->time < TRACE_TIME_NONE / 2))
		ev.time = (last->time == TRACE_TIME_NONE ? 0 : last->time) +
			  (tracegen_random(s) >> (20 + r / 8 % 44));
	if (r % 11 == 0)
		ev.pid = (uint32_t)tracegen_any(s);
	if (r % 13 == 0)
		ev.cpu = (uint16_t)tracegen_any(s);
	if (r % 3) {
		tracegen_touch(&ev, s);
		return ev;
	}
	ev.op = (uint8_t)(1 + r / 64 % (NR_TRACE_OPS - 1));
	for (const char *f = tracegen_fields[ev.op]; *f; f++)
		if (*f != '?')
			tracegen_field(&ev, s, *f);
	ev.flags = (uint16_t)tracegen_any(s) & tracegen_flags[ev.op];
	tracegen_fit(&ev);
	return ev;
}

#endif
