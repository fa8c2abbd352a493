/* SPDX-License-Identifier: MIT */
/*
 * The bird that must die: when the fuzzer does not find this in seconds, it
 * would not find anything else either.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len > 3 && data[0] == 'w')
		if (data[1] == 'e')
			if (data[2] == 'i')
				must(data[3] != 'r');
	return 0;
}
