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

/* 0 to 15, or 16 for what is no digit. */
static unsigned hex_digit(char c)
{
	unsigned d = (unsigned char)c - '0';

	if (d < 10)
		return d;
	d = ((unsigned char)c | 0x20) - 'a';
	return d < 6 ? d + 10 : 16;
}

int trace__hex(const char **p, const char *end, uint64_t *out)
{
	const char *s = *p;
	uint64_t v = 0;
	unsigned d;

	for (; s < end && (d = hex_digit(*s)) < 16; s++) {
		if (v >> 60)
			return -ERANGE;
		v = v << 4 | d;
	}
	if (s == *p)
		return -EINVAL;
	*p = s;
	*out = v;
	return 0;
}

/* Digits up to the first that is none. */
static int decimal(const char **p, const char *end, uint64_t *out)
{
	const char *s = *p;
	uint64_t v = 0;

	/* 19 digits always fit: the common case asks no more. */
	while (s < end && (unsigned char)(*s - '0') < 10 && s - *p < 19)
		v = v * 10 + (uint64_t)(*s++ - '0');
	for (; s < end && (unsigned char)(*s - '0') < 10; s++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return -ERANGE;
	if (s == *p)
		return -EINVAL;
	*p = s;
	*out = v;
	return 0;
}

int trace__number(const char **p, const char *end, uint64_t *out)
{
	const char *s = *p;
	int rc;

	if (end - s <= 2 || s[0] != '0' || (s[1] | 0x20) != 'x')
		return decimal(p, end, out);
	s += 2;
	rc = trace__hex(&s, end, out);
	if (!rc)
		*p = s;
	return rc;
}

int trace__time(const char **p, const char *end, uint64_t unit_ns,
		uint64_t *out)
{
	unsigned __int128 ns;
	uint64_t whole, fraction = 0, scale = 1;
	const char *s = *p;
	int rc = decimal(&s, end, &whole);

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
