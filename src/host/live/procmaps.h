/* SPDX-License-Identifier: MIT */
/* /proc/self/maps, line by line, in constant memory and without libc. */
#ifndef WEIR_LIVE_PROCMAPS_H
#define WEIR_LIVE_PROCMAPS_H

#include <stdbool.h>
#include <stdint.h>

struct procmap {
	uint64_t start, end;
	int prot;
	bool shared;
	bool anon;  /* no file */
	bool heap;  /* [heap] */
	bool special; /* [stack], [vdso] and the like */
};

struct procmaps {
	int fd;
	unsigned len, pos;
	bool eof;
	char buf[4096];
};

int procmaps_open(struct procmaps *m);
/* False at the end. */
bool procmaps_next(struct procmaps *m, struct procmap *out);
void procmaps_close(struct procmaps *m);

/* The mapping that holds addr. */
bool procmap_find(uint64_t addr, struct procmap *out);

#endif
