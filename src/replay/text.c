/* SPDX-License-Identifier: MIT */
#include "replay/text.h"

#include <inttypes.h>
#include <stdio.h>

char *replay__count(uint64_t n, char buf[TEXT])
{
	char digits[TEXT];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n), at = 0;

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			buf[at++] = ',';
		buf[at++] = digits[i];
	}
	buf[at] = '\0';
	return buf;
}

char *replay__size(uint64_t pages, char buf[TEXT])
{
	static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB"};
	double v = (double)pages * 4;
	unsigned i = 0;

	for (; v >= 1024 && i < 3; i++)
		v /= 1024;
	snprintf(buf, TEXT, "%.1f %s", v, unit[i]);
	return buf;
}

char *replay__seconds(uint64_t ns, char buf[TEXT])
{
	snprintf(buf, TEXT, "%.3f s", (double)ns / 1e9);
	return buf;
}

double replay__percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}
