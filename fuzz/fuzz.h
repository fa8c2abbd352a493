/* SPDX-License-Identifier: MIT */
/*
 * What every fuzz target is: one function, called with one input after the
 * other. libFuzzer calls it when clang builds it (scripts/fuzz); replay.c calls
 * it with the files of the corpus in every other build.
 */
#ifndef WEIR_FUZZ_H
#define WEIR_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Also where NDEBUG is set. */
#define must(condition)                                                        \
	do {                                                                   \
		if (!(condition)) {                                            \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__,       \
				__LINE__, #condition);                         \
			abort();                                               \
		}                                                              \
	} while (0)

#endif
