/* SPDX-License-Identifier: MIT */
/* Sizes and numbers as people write them: refused with a reason, or in range.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "tool/tool.h"

static void check_size(const char *text, uint64_t whole)
{
	uint64_t v = 0, again = 0;
	const char *why = NULL;
	char buf[64];
	int rc = size_parse(text, whole, &v, &why);

	must(rc == 0 || rc == -EINVAL || rc == -ERANGE);
	if (rc) {
		must(why && *why);
		return;
	}
	must(v <= INT64_MAX);
	must(!strchr(text, '-') && *text >= '0' && *text <= '9');
	must(strchr(text, '%') ? v <= whole : true);
	/* Written plainly, it is the same. */
	snprintf(buf, sizeof(buf), "%llu", (unsigned long long)v);
	must(!size_parse(buf, whole, &again, &why) && again == v);
	must(strlen(size_format(v, buf, SIZE_TEXT)) < SIZE_TEXT - 1);
}

static void check_number(const char *text)
{
	uint64_t v = 0;
	char buf[64];
	int rc = number_parse(text, &v);
	const char *p = text;

	must(rc == 0 || rc == -EINVAL || rc == -ERANGE);
	if (rc)
		return;
	while (*p == '0' && p[1])
		p++;
	snprintf(buf, sizeof(buf), "%llu", (unsigned long long)v);
	must(!strcmp(buf, p));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1);

	must(text);
	memcpy(text, data, len);
	text[len] = '\0';
	check_size(text, 0);
	check_size(text, UINT64_C(16) << 30);
	check_size(text, INT64_MAX);
	check_number(text);
	free(text);
	return 0;
}
