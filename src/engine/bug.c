/* SPDX-License-Identifier: MIT */
/* The end of an engine whose books are broken: say where, stop. */
#include "engine/check.h"
#include "util/linebuf.h"

void weir__bug(struct engine *e, const char *cond, const char *file, int line)
{
	char msg[256];
	struct linebuf b;

	lb_init(&b, msg, sizeof(msg));
	lb_str(&b, "BUG: ");
	lb_str(&b, cond);
	lb_str(&b, " at ");
	lb_str(&b, file);
	lb_str(&b, ":");
	lb_i64(&b, line);
	e->host->ops->panic(e->host, msg);
}
