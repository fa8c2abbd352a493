/* SPDX-License-Identifier: MIT */
/*
 * What `valgrind --tool=lackey --trace-mem=yes` prints:
 *
 *	==7== Lackey, an example Valgrind tool
 *	I  04001090,3		an instruction of 3 bytes at 0x4001090
 *	 L 1ffefffe7e,8		a load
 *	 S 1ffefffe7e,8		a store
 *	 M 0421c7cc,4		a load and a store
 *
 * An access that crosses the end of a page touches two.
 */
#include "trace/internal.h"

#include <errno.h>

static int lackey_start(struct trace_reader *r)
{
	return 0;
}

static uint8_t access_of(const char *p)
{
	if (p[0] == 'I' && p[1] == ' ')
		return TRACE_X;
	if (p[0] != ' ' || p[2] != ' ')
		return 0;
	switch (p[1]) {
	case 'L':
		return TRACE_R;
	case 'S':
		return TRACE_W;
	case 'M':
		return TRACE_R | TRACE_W;
	default:
		return 0;
	}
}

static int lackey_line(struct trace_reader *r, struct trace_event *ev,
		       const char *p, const char *end)
{
	const char *line = p, *expected = "I, L, S or M, address,bytes";
	uint64_t address, bytes, first, last;
	uint8_t access;

	access = end - p >= 6 ? access_of(p) : 0;
	if (!access)
		goto wrong;
	p = trace__skip(p + 2, end);
	if (trace__hex(&p, end, &address) || p == end || *p++ != ',' ||
	    trace__number(&p, end, &bytes) || p != end)
		goto wrong;
	if (!bytes || bytes - 1 > UINT64_MAX - address) {
		expected = "an access of at least one byte below 2^64";
		goto wrong;
	}
	first = address >> TRACE_PAGE_SHIFT;
	last = (address + bytes - 1) >> TRACE_PAGE_SHIFT;
	trace__touch(r, ev, first, last - first + 1, access);
	return 0;
wrong:
	return trace__fail_line(r, line, (size_t)(end - line), expected);
}

static int lackey_read(struct trace_reader *r, struct trace_event *ev,
		       unsigned max)
{
	const char *p, *end;
	unsigned n = 0;
	int rc = 1;

	while (n < max) {
		rc = trace__line(r, &p, &end);
		if (rc <= 0)
			break;
		/* ==PID== and --PID-- are valgrind's own words. */
		if (p == end ||
		    (end - p > 2 && p[0] == p[1] && (*p == '=' || *p == '-')))
			continue;
		rc = lackey_line(r, &ev[n], p, end);
		if (rc)
			break;
		n++;
	}
	return n ? (int)n : rc;
}

const struct trace_codec trace__lackey = {lackey_start, lackey_read};
