/* SPDX-License-Identifier: MIT */
/*
 * An agent that manages nothing: it claims a slot and puts known figures into
 * it, so that the tests of the tool know what the summary must say.
 * WEIR_FAKE chooses: "error" reports a lost page, "silent" claims no slot.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/live/shared.h"

static void fill(struct weir_slot *w, const char *mode)
{
	weir_slot_level(&w->managed_bytes, &w->managed_peak_bytes, 5u << 20);
	weir_slot_level(&w->managed_bytes, &w->managed_peak_bytes, 3u << 20);
	weir_slot_level(&w->overhead_bytes, &w->overhead_peak_bytes, 1u << 20);
	weir_slot_level(&w->unmanaged_bytes[UNMANAGED_FILE],
			&w->unmanaged_peak_bytes[UNMANAGED_FILE], 2u << 20);
	w->stats[STAT_pswpout] = 512;
	w->stats[STAT_pswpin] = 256;
	w->stats[STAT_pgfault] = 300;
	w->stats[STAT_pgmajfault] = 200;
	w->stats[STAT_fault_ns] = 1500000000;
	w->flags |= WEIR_SLOT_MANAGED;
	if (!strcmp(mode, "error")) {
		weir_slot_error(w, WEIR_SLOT_CORRUPT, "page 42 is \"wrong\"");
		weir_slot_error(w, WEIR_SLOT_IO_ERROR, "a second sentence");
	}
}

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv(WEIR_SHARED_ENV), *mode = getenv("WEIR_FAKE");
	struct weir_shared *s;
	struct weir_slot *w;
	int fd;

	mode = mode ? mode : "";
	if (!path || !strcmp(mode, "silent"))
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (s == MAP_FAILED || weir_shared_check(s))
		return;
	w = weir_slot_claim(s, getpid(), "fake");
	if (!w)
		return;
	fill(w, mode);
	weir_slot_set_state(w, SLOT_LIVE);
}
