/* SPDX-License-Identifier: MIT */
/*
 * Formatting without the C library's locale and thread state, for threads it
 * does not know: %s %d %u %x %lld %llu %llx %%.
 */
#ifndef WEIR_UTIL_FMT_H
#define WEIR_UTIL_FMT_H

#include <stdarg.h>
#include <stddef.h>

/* Always ends with a zero; returns the length written. */
size_t fmt_v(char *out, size_t size, const char *fmt, va_list ap);
size_t fmt_s(char *out, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
