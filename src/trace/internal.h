/* SPDX-License-Identifier: MIT */
/* What the files of this room have in common: a reader from the inside. */
#ifndef WEIR_TRACE_INTERNAL_H
#define WEIR_TRACE_INTERNAL_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "trace/source.h"
#include "trace/trace.h"

/* The first bytes of weir's two formats. */
#define TRACE_HEAD  "weir-trace "
#define TRACE_MAGIC "\x89WEIR\r\n\x1a"

/* Columns of a CSV line that count, by what they are. */
enum csv_use {
	CSV_PAGE,
	CSV_ADDRESS,
	CSV_OP,
	CSV_TIME,
	CSV_SIZE,
	CSV_PID,
	NR_CSV_USES
};

struct csv {
	int column[NR_CSV_USES]; /* from 0; -1: none */
	int last;                /* the largest of them */
	uint64_t unit_ns;
	char separator;
};

/* One format. Functions return 0 or a count, or what trace__fail returned. */
struct trace_codec {
	/* Before the first event, and again after a rewind. */
	int (*start)(struct trace_reader *r);
	int (*read)(struct trace_reader *r, struct trace_event *ev,
		    unsigned max);
};

extern const struct trace_codec trace__text, trace__binary, trace__pages,
    trace__arc, trace__lackey, trace__csv, trace__oracle;

struct trace_reader {
	struct source src;
	enum trace_format format;
	const struct trace_codec *codec;
	struct trace_error err; /* code 0: none so far */
	char *name;
	char *columns;
	uint64_t time_unit_ns;

	/* State of the trace being read. */
	bool has_regions, has_time;
	bool ended;         /* the end record was read */
	uint64_t line;      /* of the latest trace__line() */
	uint64_t nr;        /* events given */
	uint64_t time;      /* of the latest stamp */
	uint64_t last_page; /* binary: deltas are from here */
	uint32_t pid;
	uint16_t cpu;
	XXH64_state_t sum; /* binary: of all bytes below summed */
	uint64_t summed;
	struct csv csv;
	char text[TRACE_TEXT_MAX + 1];
};

/* --- errors ----------------------------------------------------------- */

/* A piece of input, cut short and without what would upset a terminal. */
void trace__printable(char *out, size_t size, const char *found, size_t len);

/* Sets the reader's error; returns the code, -EBADMSG. */
int trace__fail_line(struct trace_reader *r, const char *found, size_t len,
		     const char *expected);
int trace__fail_byte(struct trace_reader *r, uint64_t place, const char *fmt,
		     ...) __attribute__((format(printf, 3, 4)));
/* The trace as a whole at this line. */
int trace__fail_at(struct trace_reader *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The caller's options do not fit this trace: -EINVAL. */
int trace__fail_option(struct trace_reader *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* After source_*() gave an error. */
int trace__fail_source(struct trace_reader *r, int code);

/* --- lines and what stands on them ------------------------------------- */

/*
 * The next line without its end, which stands in the window until the next
 * call. 1, 0 at the end of the trace, or an error.
 */
int trace__line(struct trace_reader *r, const char **begin, const char **end);

static inline bool trace__blank(char c)
{
	return c == ' ' || c == '\t';
}

static inline const char *trace__skip(const char *p, const char *end)
{
	while (p < end && trace__blank(*p))
		p++;
	return p;
}

/* The end of the word that begins at p. */
static inline const char *trace__word(const char *p, const char *end)
{
	while (p < end && !trace__blank(*p))
		p++;
	return p;
}

/*
 * A number at *p, decimal or 0x; *p is moved behind it. 0, -EINVAL when there
 * is none, -ERANGE when it does not fit.
 */
int trace__number(const char **p, const char *end, uint64_t *out);
/* The same, digits of base 16 without 0x. */
int trace__hex(const char **p, const char *end, uint64_t *out);
/*
 * A decimal number with a fraction, times unit_ns. 0, -EINVAL, -ERANGE.
 */
int trace__time(const char **p, const char *end, uint64_t unit_ns,
		uint64_t *out);
/* "ns", "us", "ms", "s" between p and end; 0 for another. */
uint64_t trace__unit(const char *p, const char *end);
/* Are these letters, whatever their case? */
bool trace__is(const char *p, const char *end, const char *word);

/* Could this line be the names of a CSV's columns? */
bool trace__csv_is_head(const char *p, const char *end, const char *columns);

/* --- events ------------------------------------------------------------ */

struct trace_op_info {
	const char *word, *fields;
	uint16_t flags;
	const char *words; /* of the flags, from the lowest bit */
};

extern const struct trace_op_info trace__ops[NR_TRACE_OPS];
extern const char *const trace__advices[NR_TRACE_ADVICES];
extern const char *const trace__gfps[NR_TRACE_GFPS];
extern const char *const trace__objects[NR_TRACE_OBJECTS];
extern const char *const trace__limits[NR_TRACE_LIMITS];

/* The names that ev.kind of this field letter may have, or NULL. */
const char *const *trace__kinds(char field, unsigned *nr);

/* A field by its letter in ops.def, all but T and R. 0, or -ERANGE. */
int trace__field_set(struct trace_event *ev, char field, uint64_t value);
uint64_t trace__field_get(const struct trace_event *ev, char field);
/* The flag of this op that the word names, or 0. */
uint16_t trace__flag(unsigned op, const char *p, const char *end);

/* NULL, or what every event of this op must hold and this one does not. */
const char *trace__event_wrong(const struct trace_event *ev);

/* An event that touches pages; the reader's time, process, CPU. */
static inline void trace__touch(const struct trace_reader *r,
				struct trace_event *ev, uint64_t page,
				uint64_t nr, uint8_t access)
{
	*ev = (struct trace_event){.time = r->time,
				   .page = page,
				   .nr = nr,
				   .stride = 1,
				   .pid = r->pid,
				   .cpu = r->cpu,
				   .access = access};
}

#endif
