/* SPDX-License-Identifier: MIT */
/* Numbers as people read them. Each returns buf. */
#ifndef WEIR_REPLAY_TEXT_H
#define WEIR_REPLAY_TEXT_H

#include <stdint.h>

#define TEXT 32

/* 1234567 -> "1,234,567" */
char *replay__count(uint64_t n, char buf[TEXT]);
/* "127.5 MiB" */
char *replay__size(uint64_t pages, char buf[TEXT]);
/* "12.345 s" */
char *replay__seconds(uint64_t ns, char buf[TEXT]);
/* part of whole, 0 of nothing is 0 */
double replay__percent(uint64_t part, uint64_t whole);

#endif
