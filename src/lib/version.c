/* SPDX-License-Identifier: MIT */
/* Which libweir this is. */
#include "weir.h"

__attribute__((visibility("default"))) const char *weir_version(void)
{
	return WEIR_VERSION;
}
