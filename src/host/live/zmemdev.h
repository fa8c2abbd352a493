/* SPDX-License-Identifier: MIT */
#ifndef WEIR_LIVE_ZMEMDEV_H
#define WEIR_LIVE_ZMEMDEV_H

#include "store/zmem.h"

struct live;

/*
 * Slots of an area without a file, for each page of the limit. A slot costs
 * nothing before it is used; more than 32 of them never are, because the
 * smallest object and its share of the tables take as much as a 32nd of a page.
 */
#define ZMEM_ALONE_SLOTS 32u

/* What it takes of the budget beside frames; 0 when it is off. */
uint64_t zmemdev_bytes(struct live *l);
/* A store in compressed memory, in front of `below` if there is one. */
int zmemdev_open(struct live *l, struct store *below, struct store **out,
		 char *err, size_t errlen);
/* In a forked child that needs nothing of it. */
void zmemdev_forget(struct store *s);
/* [no spinlocks] */
void zmemdev_tidy(struct live *l);
void zmemdev_publish(struct live *l);

#endif
