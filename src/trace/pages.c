/* SPDX-License-Identifier: MIT */
/*
 * Two formats of plain numbers.
 *
 * pages: a page number a line, decimal or 0x, and behind it maybe what was
 * done: r, w, x or rw. Blank or comma between.
 *
 * arc: as the traces of the ARC paper: "start count", and up to two numbers
 * more that say nothing here. The pages start .. start + count - 1 are read.
 */
#include "trace/internal.h"

#include <errno.h>
#include <string.h>

static int start(struct trace_reader *r)
{
	return 0;
}

static const char *skip(const char *p, const char *end)
{
	while (p < end && (trace__blank(*p) || *p == ','))
		p++;
	return p;
}

static bool ends_number(const char *p, const char *end)
{
	return p == end || trace__blank(*p) || *p == ',';
}

/* "r", "w", "x", "rw" in either case; 0 for another word. */
static uint8_t access_of(const char *p, const char *end)
{
	if (trace__is(p, end, "r"))
		return TRACE_R;
	if (trace__is(p, end, "w"))
		return TRACE_W;
	if (trace__is(p, end, "x"))
		return TRACE_X;
	return trace__is(p, end, "rw") ? TRACE_R | TRACE_W : 0;
}

static int pages_line(struct trace_reader *r, struct trace_event *ev,
		      const char *p, const char *end)
{
	const char *word = p;
	uint8_t access = TRACE_R;
	uint64_t page;
	int rc = trace__number(&p, end, &page);

	if (rc || !ends_number(p, end))
		return trace__fail_line(r, word, (size_t)(end - word),
					rc == -ERANGE
					    ? "a number below 2^64"
					    : "a page number, decimal or 0x");
	p = skip(p, end);
	if (p < end && *p != '#') {
		word = p;
		p = trace__word(p, end);
		access = access_of(word, p);
		p = trace__skip(p, end);
		if (!access || (p < end && *p != '#'))
			return trace__fail_line(r, word, (size_t)(end - word),
						"r, w, x or rw and the end of "
						"the line");
	}
	trace__touch(r, ev, page, 1, access);
	return 0;
}

static int arc_line(struct trace_reader *r, struct trace_event *ev,
		    const char *p, const char *end)
{
	const char *line = p;
	uint64_t v[4] = {0, 1};
	unsigned n = 0;

	while (n < 4 && p < end) {
		int rc = trace__number(&p, end, &v[n]);

		if (rc || !ends_number(p, end))
			return trace__fail_line(r, line, (size_t)(end - line),
						rc == -ERANGE
						    ? "numbers below 2^64"
						    : "start and count, two "
						      "to four numbers");
		n++;
		p = skip(p, end);
	}
	if (n < 2 || p < end)
		return trace__fail_line(r, line, (size_t)(end - line),
					"start and count, two to four numbers");
	if (!v[1] || v[1] - 1 > UINT64_MAX - v[0])
		return trace__fail_line(r, line, (size_t)(end - line),
					"a count of at least 1 that does not "
					"leave the 64-bit numbers");
	trace__touch(r, ev, v[0], v[1], TRACE_R);
	return 0;
}

typedef int line_fn(struct trace_reader *r, struct trace_event *ev,
		    const char *p, const char *end);

static inline int read_lines(struct trace_reader *r, struct trace_event *ev,
			     unsigned max, line_fn *fn)
{
	const char *p, *end;
	unsigned n = 0;
	int rc = 1;

	while (n < max) {
		rc = trace__line(r, &p, &end);
		if (rc <= 0)
			break;
		p = trace__skip(p, end);
		if (p == end || *p == '#')
			continue;
		rc = fn(r, &ev[n], p, end);
		if (rc)
			break;
		n++;
	}
	return n ? (int)n : rc;
}

static int pages_read(struct trace_reader *r, struct trace_event *ev,
		      unsigned max)
{
	return read_lines(r, ev, max, pages_line);
}

static int arc_read(struct trace_reader *r, struct trace_event *ev,
		    unsigned max)
{
	return read_lines(r, ev, max, arc_line);
}

const struct trace_codec trace__pages = {start, pages_read};
const struct trace_codec trace__arc = {start, arc_read};
