/* SPDX-License-Identifier: MIT */
/* Sizes and numbers as people write them. */
#include "tool/tool.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the unit at *s, and *s moved past it; 0 when there is none. */
static uint64_t unit_parse(const char **s)
{
	static const char letters[] = "KMGT";
	const char *p;
	uint64_t unit;

	if (!**s)
		return 1;
	if ((**s == 'B' || **s == 'b') && !(*s)[1]) {
		(*s)++;
		return 1;
	}
	p = strchr(letters, toupper((unsigned char)**s));
	if (!p)
		return 0;
	unit = UINT64_C(1) << (10 * (p - letters + 1));
	(*s)++;
	if (**s == 'i' && ((*s)[1] == 'B' || (*s)[1] == 'b'))
		*s += 2;
	else if (**s == 'B' || **s == 'b')
		(*s)++;
	return unit;
}

/* whole + fraction/scale, times unit; 128 bits so that nothing is lost. */
static int scaled(uint64_t whole, uint64_t fraction, uint64_t scale,
		  uint64_t unit, uint64_t *out)
{
	unsigned __int128 v = (unsigned __int128)whole * unit +
			      (unsigned __int128)fraction * unit / scale;

	if (v > INT64_MAX)
		return -ERANGE;
	*out = (uint64_t)v;
	return 0;
}

int size_parse(const char *text, uint64_t base, uint64_t *out, const char **why)
{
	uint64_t whole = 0, fraction = 0, scale = 1, unit;
	const char *s = text;

	*why = "a size is a number with K, M, G or T behind it";
	if (base)
		*why = "a size is a number with K, M, G, T or % behind it";
	if (*s == '-') {
		*why = "a size cannot be negative";
		return -EINVAL;
	}
	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	for (; isdigit((unsigned char)*s); s++) {
		uint64_t digit = (uint64_t)(*s - '0');

		if (whole > (INT64_MAX - digit) / 10)
			goto range;
		whole = whole * 10 + digit;
	}
	if (*s == '.') {
		if (!isdigit((unsigned char)*++s))
			return -EINVAL;
		for (; isdigit((unsigned char)*s); s++) {
			if (scale >= UINT64_C(1000000000))
				continue; /* too fine to matter */
			scale *= 10;
			fraction = fraction * 10 + (uint64_t)(*s - '0');
		}
	}
	if (*s == '%' && !s[1] && base) {
		if (whole > 100 || (whole == 100 && fraction)) {
			*why = "more than 100 %";
			return -ERANGE;
		}
		/* base * percent / 100, the fraction in the same step */
		if (scaled(whole, fraction, scale, base, out))
			goto range;
		*out /= 100;
		return 0;
	}
	unit = unit_parse(&s);
	if (!unit || *s)
		return -EINVAL;
	if (!scaled(whole, fraction, scale, unit, out))
		return 0;
range:
	*why = "larger than any memory";
	return -ERANGE;
}

int number_parse(const char *text, uint64_t *out)
{
	uint64_t v = 0;

	if (!*text)
		return -EINVAL;
	for (const char *s = text; *s; s++) {
		if (!isdigit((unsigned char)*s))
			return -EINVAL;
		if (v > (UINT64_MAX - 9) / 10)
			return -ERANGE;
		v = v * 10 + (uint64_t)(*s - '0');
	}
	*out = v;
	return 0;
}

char *size_format(uint64_t bytes, char *buf, size_t len)
{
	static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB"};
	double v = (double)bytes / 1024;
	unsigned i = 0;

	if (bytes < 1024) {
		snprintf(buf, len, "%u bytes", (unsigned)bytes);
		return buf;
	}
	for (; v >= 1024 && i + 1 < sizeof(unit) / sizeof(unit[0]); i++)
		v /= 1024;
	snprintf(buf, len, "%.1f %s", v, unit[i]);
	return buf;
}
