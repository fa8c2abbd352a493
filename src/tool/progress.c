/* SPDX-License-Identifier: MIT */
/* See progress.h. */
#include "tool/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tool/tool.h"

#define EVERY_NS UINT64_C(100000000)
#define BAR      30u

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void progress_begin(struct progress *p, const char *what)
{
	*p = (struct progress){.what = what, .off = !isatty(STDERR_FILENO)};
	if (!p->off)
		p->begin_ns = p->last_ns = now_ns();
}

static void draw(const struct progress *p, uint64_t done, uint64_t total,
		 uint64_t now)
{
	double part = total && done < total ? (double)done / (double)total : 1;
	double seconds = (double)(now - p->begin_ns) / 1e9;
	char bar[BAR + 1], size[SIZE_TEXT];
	unsigned full = (unsigned)(part * BAR);

	if (!total) {
		fprintf(stderr, "\r\033[K%s %s", p->what,
			size_format(done, size, sizeof(size)));
		return;
	}
	memset(bar, '.', BAR);
	memset(bar, '#', full);
	bar[BAR] = '\0';
	fprintf(stderr, "\r\033[K%s [%s] %3.0f %%, %.0f s left", p->what, bar,
		part * 100, part > 0 ? seconds / part - seconds : 0);
}

void progress_update(struct progress *p, uint64_t done, uint64_t total)
{
	uint64_t now;

	if (p->off)
		return;
	now = now_ns();
	/* What is done within half a second needs no bar. */
	if (now - p->last_ns < EVERY_NS || now - p->begin_ns < 5 * EVERY_NS)
		return;
	p->last_ns = now;
	p->shown = true;
	draw(p, done, total, now);
	fflush(stderr);
}

void progress_end(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
