/* SPDX-License-Identifier: MIT */
/* Which format a trace is of, from its first bytes. */
#ifndef WEIR_TRACE_DETECT_H
#define WEIR_TRACE_DETECT_H

#include "trace/source.h"
#include "trace/trace.h"

/* So many decide, or all there are. */
#define DETECT_BYTES LINE_BYTES_MAX

/* TRACE_FMT_AUTO when it cannot be told. `whole`: nothing follows. columns as
 * in struct trace_options. */
enum trace_format trace__detect(const uint8_t *data, size_t len, bool whole,
				const char *columns);

#endif
