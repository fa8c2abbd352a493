/* SPDX-License-Identifier: MIT */
#include "util/fmt.h"

#include <stdbool.h>
#include <stdint.h>

struct out {
	char *p;
	size_t left;
};

static void put(struct out *o, char c)
{
	if (o->left > 1) {
		*o->p++ = c;
		o->left--;
	}
}

static void put_number(struct out *o, uint64_t v, unsigned base, bool minus)
{
	char digits[24];
	int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	if (minus)
		put(o, '-');
	while (n)
		put(o, digits[--n]);
}

static void put_arg(struct out *o, char c, bool wide, va_list *ap)
{
	int64_t s;
	const char *str;

	switch (c) {
	case 's':
		for (str = va_arg(*ap, const char *); str && *str; str++)
			put(o, *str);
		break;
	case 'd':
		s = wide ? va_arg(*ap, long long) : va_arg(*ap, int);
		put_number(o, s < 0 ? -(uint64_t)s : (uint64_t)s, 10, s < 0);
		break;
	case 'u':
	case 'x':
		put_number(o,
			   wide ? va_arg(*ap, unsigned long long)
				: va_arg(*ap, unsigned),
			   c == 'x' ? 16 : 10, false);
		break;
	default:
		put(o, c);
	}
}

size_t fmt_v(char *out, size_t size, const char *fmt, va_list ap)
{
	struct out o = {out, size};
	va_list copy;

	va_copy(copy, ap);
	for (; *fmt; fmt++) {
		bool wide = false;

		if (*fmt != '%') {
			put(&o, *fmt);
			continue;
		}
		while (*++fmt == 'l')
			wide = true;
		if (!*fmt)
			break;
		put_arg(&o, *fmt, wide, &copy);
	}
	va_end(copy);
	if (size)
		*o.p = 0;
	return (size_t)(o.p - out);
}

size_t fmt_s(char *out, size_t size, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = fmt_v(out, size, fmt, ap);
	va_end(ap);
	return n;
}
