/* SPDX-License-Identifier: MIT */
/*
 * Which format a trace is of.
 *
 * weir's own say so. Of the others, what has bytes that no text has can only be
 * oracleGeneral, and is when its times and forward pointers are plausible. A
 * text is of the first format whose first lines it has; the forms exclude each
 * other: lackey's lines begin with a letter or "==", a CSV has names in its
 * first line, a page stands alone on its line or before a letter, and ARC's
 * have a second number.
 */
#include "trace/detect.h"
#include "trace/internal.h"

#include <string.h>

#define LINES 16 /* that must be of the format, or all there are */

static bool is_text(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] < 32 && p[i] != '\n' && p[i] != '\r' && p[i] != '\t')
			return false;
	return true;
}

static uint64_t load(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

/* Times that do not fall, requests that come later than the one they are
 * named in: what is something else passes this hardly ever. */
static bool is_oracle(const uint8_t *p, size_t len, bool whole)
{
	size_t nr = len / 24 < 1024 ? len / 24 : 1024;
	uint64_t last = 0;
	size_t odd = 0;

	if (!nr || (whole && len % 24 && nr < 8))
		return false;
	for (size_t i = 0; i < nr; i++, p += 24) {
		uint64_t time = load(p, 4);
		int64_t next = (int64_t)load(p + 16, 8);

		odd += time < last;
		odd += next < -1 || (next < INT64_MAX && next > INT64_MAX / 2);
		last = time;
	}
	return odd <= nr / 50;
}

static bool is_lackey_line(const char *p, const char *end)
{
	uint64_t v;

	if (end - p > 2 && p[0] == p[1] && (*p == '=' || *p == '-'))
		return true;
	if (end - p < 6 || !(p[0] == 'I' || p[0] == ' '))
		return false;
	if (p[0] == 'I' ? p[1] != ' ' : !strchr("LSM", p[1]) || !p[1])
		return false;
	p = trace__skip(p + 2, end);
	return !trace__hex(&p, end, &v) && p < end && *p == ',';
}

/* "r", "w", "x" or "rw", and no more than a comment behind it. */
static bool is_access(const char *p, const char *end)
{
	const char *word = p;

	while (p < end && strchr("rwxRWX", *p) && *p)
		p++;
	if (p == word || p - word > 2)
		return false;
	p = trace__skip(p, end);
	return p == end || *p == '#';
}

/* Numbers on a line up to its end or something else; *rest is that. */
static unsigned numbers(const char *p, const char *end, const char **rest)
{
	unsigned n = 0;
	uint64_t v;

	while (p < end && !trace__number(&p, end, &v)) {
		n++;
		while (p < end && (trace__blank(*p) || *p == ','))
			p++;
	}
	*rest = p;
	return n;
}

static enum trace_format line_format(const char *p, const char *end)
{
	const char *rest;
	unsigned n;

	if (is_lackey_line(p, end))
		return TRACE_FMT_LACKEY;
	n = numbers(trace__skip(p, end), end, &rest);
	if (n == 1 && (rest == end || *rest == '#' || is_access(rest, end)))
		return TRACE_FMT_PAGES;
	if (n >= 2 && n <= 4 && rest == end)
		return TRACE_FMT_ARC;
	return TRACE_FMT_AUTO;
}

static enum trace_format text_format(const char *p, size_t len, bool whole,
				     const char *columns)
{
	enum trace_format format = TRACE_FMT_AUTO;
	const char *all = p + len;

	for (unsigned n = 0; p < all && n < LINES;) {
		const char *nl = memchr(p, '\n', (size_t)(all - p));
		const char *end = nl ? nl : all, *word;
		enum trace_format f;

		if (!nl && !whole)
			break;
		if (end > p && end[-1] == '\r')
			end--;
		word = trace__skip(p, end);
		if (word < end && *word != '#') {
			f = line_format(p, end);
			if (!n && f == TRACE_FMT_AUTO)
				return trace__csv_is_head(p, end, columns)
					   ? TRACE_FMT_CSV
					   : TRACE_FMT_AUTO;
			if (n && f != format)
				return TRACE_FMT_AUTO;
			format = f;
			n++;
		}
		p = nl ? nl + 1 : all;
	}
	return format;
}

enum trace_format trace__detect(const uint8_t *data, size_t len, bool whole,
				const char *columns)
{
	if (len >= sizeof(TRACE_MAGIC) - 1 &&
	    !memcmp(data, TRACE_MAGIC, sizeof(TRACE_MAGIC) - 1))
		return TRACE_FMT_BINARY;
	if (len >= sizeof(TRACE_HEAD) - 1 &&
	    !memcmp(data, TRACE_HEAD, sizeof(TRACE_HEAD) - 1))
		return TRACE_FMT_TEXT;
	if (!is_text(data, len))
		return is_oracle(data, len, whole) ? TRACE_FMT_ORACLE
						   : TRACE_FMT_AUTO;
	return text_format((const char *)data, len, whole, columns);
}
