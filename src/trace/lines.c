/* SPDX-License-Identifier: MIT */
/* Lines, and the numbers on them. */
#include "trace/internal.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

int trace__line(struct trace_reader *r, const char **begin, const char **end)
{
	struct source *s = &r->src;
	size_t looked = 0;
	uint8_t *nl;
	int rc;

	for (;;) {
		nl = memchr(s->data + s->pos + looked, '\n',
			    source_left(s) - looked);
		looked = source_left(s);
		if (nl || s->eof)
			break;
		if (looked > LINE_BYTES_MAX)
			break;
		rc = source_more(s, looked + 1);
		if (rc)
			return trace__fail_source(r, rc);
	}
	if (!looked)
		return 0;
	r->line++;
	*begin = (const char *)s->data + s->pos;
	*end = nl ? (const char *)nl : *begin + looked;
	if (*end - *begin > (ptrdiff_t)LINE_BYTES_MAX)
		return trace__fail_line(r, *begin, LINE_BYTES_MAX,
					"a line of at most 65536 bytes");
	s->pos += (size_t)(*end - *begin) + (nl != NULL);
	if (*end > *begin && (*end)[-1] == '\r')
		(*end)--;
	return 1;
}

/* Digits of a base up to the first that is none. */
static int digits(const char **p, const char *end, unsigned base, uint64_t *out)
{
	const char *s = *p;
	uint64_t v = 0;

	for (; s < end; s++) {
		unsigned c = (unsigned char)*s, d = c - '0';

		if (d > 9) {
			d = (c | 0x20) - 'a' + 10;
			if (d < 10 || d >= base)
				break;
		}
		if (v > (UINT64_MAX - d) / base)
			return -ERANGE;
		v = v * base + d;
	}
	if (s == *p)
		return -EINVAL;
	*p = s;
	*out = v;
	return 0;
}

int trace__hex(const char **p, const char *end, uint64_t *out)
{
	return digits(p, end, 16, out);
}

int trace__number(const char **p, const char *end, uint64_t *out)
{
	const char *s = *p;
	uint64_t v = 0;
	int rc;

	if (end - s > 2 && s[0] == '0' && (s[1] | 0x20) == 'x') {
		s += 2;
		rc = digits(&s, end, 16, out);
		if (!rc)
			*p = s;
		return rc;
	}
	/* 19 digits always fit: the common case without a division. */
	while (s < end && (unsigned char)(*s - '0') < 10 && s - *p < 19)
		v = v * 10 + (uint64_t)(*s++ - '0');
	if (s < end && (unsigned char)(*s - '0') < 10)
		return digits(p, end, 10, out);
	if (s == *p)
		return -EINVAL;
	*p = s;
	*out = v;
	return 0;
}

int trace__time(const char **p, const char *end, uint64_t unit_ns,
		uint64_t *out)
{
	unsigned __int128 ns;
	uint64_t whole, fraction = 0, scale = 1;
	const char *s = *p;
	int rc = digits(&s, end, 10, &whole);

	if (rc)
		return rc;
	if (s < end && *s == '.') {
		const char *first = ++s;

		for (; s < end && isdigit((unsigned char)*s); s++) {
			if (scale >= UINT64_C(1000000000000))
				continue; /* finer than a nanosecond */
			scale *= 10;
			fraction = fraction * 10 + (uint64_t)(*s - '0');
		}
		if (s == first)
			return -EINVAL;
	}
	ns = (unsigned __int128)whole * unit_ns +
	     (unsigned __int128)fraction * unit_ns / scale;
	if (ns >= TRACE_TIME_NONE)
		return -ERANGE;
	*p = s;
	*out = (uint64_t)ns;
	return 0;
}

bool trace__is(const char *p, const char *end, const char *word)
{
	for (; p < end && *word; p++, word++)
		if (tolower((unsigned char)*p) != tolower((unsigned char)*word))
			return false;
	return p == end && !*word;
}

uint64_t trace__unit(const char *p, const char *end)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
	    {"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};

	for (unsigned i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (trace__is(p, end, units[i].name))
			return units[i].ns;
	return 0;
}
