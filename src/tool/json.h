/* SPDX-License-Identifier: MIT */
/* JSON on its way out. */
#ifndef WEIR_TOOL_JSON_H
#define WEIR_TOOL_JSON_H

#include <stdio.h>

/* A string with its quotes; what is no UTF-8 becomes U+FFFD. */
void json_string(FILE *to, const char *text);

#endif
