/* SPDX-License-Identifier: MIT */
/*
 * Tables with a line of names: comma, semicolon, tab or bar between columns,
 * double quotes around what the writer liked to quote. Which column is what is
 * found by its name, or said by the user: "page=lba,op=rw,time=ts,size=len".
 *
 * A size is in bytes: from an address it may reach into the next page, from a
 * page it is rounded up. A time before that of the line above is taken for the
 * same: merged logs leave such things.
 */
#include "trace/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const use_names[NR_CSV_USES] = {"page", "address", "op",
						   "time", "size",    "pid"};

/* Names that columns go by, for each use; the first that is there wins. */
static const char *const usual[NR_CSV_USES][14] = {
    [CSV_PAGE] = {"page", "page_number", "pageno", "page_no", "vpn", "pfn",
		  "block", "lba", "lbn", "obj_id", "object", "id", "key"},
    [CSV_ADDRESS] = {"address", "addr", "vaddr", "virtual_address", "va",
		     "offset"},
    [CSV_OP] = {"op", "rw", "r/w", "type", "access", "operation", "opcode"},
    [CSV_TIME] = {"time", "timestamp", "ts", "clock_time", "time_ns", "time_us",
		  "time_ms", "time_s"},
    [CSV_SIZE] = {"size", "bytes", "length", "len", "obj_size", "nbytes"},
    [CSV_PID] = {"pid", "process", "process_id"},
};

struct field {
	const char *p, *end;
};

/* The field at *p, *p moved behind it: to its separator or the end. */
static struct field field_next(const char **p, const char *end, char separator)
{
	struct field f = {*p, *p};
	bool quoted = false;

	for (; f.end < end && (quoted || *f.end != separator); f.end++)
		if (*f.end == '"')
			quoted = !quoted;
	*p = f.end;
	f.p = trace__skip(f.p, f.end);
	while (f.end > f.p && trace__blank(f.end[-1]))
		f.end--;
	if (f.end - f.p >= 2 && *f.p == '"' && f.end[-1] == '"') {
		f.p++;
		f.end--;
	}
	return f;
}

/* The number of the column of this name, or -1. */
static int column_find(const char *p, const char *end, char separator,
		       const char *name, size_t name_len)
{
	char want[64];

	if (name_len >= sizeof(want))
		return -1;
	memcpy(want, name, name_len);
	want[name_len] = '\0';
	for (int i = 0;; i++) {
		struct field f = field_next(&p, end, separator);

		if (trace__is(f.p, f.end, want))
			return i;
		if (p == end)
			return -1;
		p++;
	}
}

static char separator_of(const char *p, const char *end)
{
	static const char separators[] = ",;\t|";

	for (; p < end; p++)
		if (*p && strchr(separators, *p))
			return *p;
	return ',';
}

/* Excel puts a byte order mark in front. */
static const char *skip_mark(const char *p, const char *end)
{
	return end - p >= 3 && !memcmp(p, "\xef\xbb\xbf", 3) ? p + 3 : p;
}

/* csv.column[]: a number from 0, or */
enum { NOT_SAID = -1, SWITCHED_OFF = -2 };

static void find_usual(struct csv *c, const char *p, const char *end)
{
	/* A page is a page, whatever else the table has. */
	if (c->column[CSV_PAGE] >= 0)
		c->column[CSV_ADDRESS] = SWITCHED_OFF;
	if (c->column[CSV_ADDRESS] >= 0)
		c->column[CSV_PAGE] = SWITCHED_OFF;
	for (int use = 0; use < NR_CSV_USES; use++) {
		for (int i = 0; usual[use][i] && c->column[use] == NOT_SAID;
		     i++)
			c->column[use] =
			    column_find(p, end, c->separator, usual[use][i],
					strlen(usual[use][i]));
		if (use == CSV_PAGE && c->column[use] >= 0)
			c->column[CSV_ADDRESS] = SWITCHED_OFF;
	}
}

/* "WHAT=NAME", or "WHAT=" for none. NULL, or why not. */
static const char *said_parse(struct csv *c, const char *item, size_t len,
			      const char *p, const char *end)
{
	const char *equals = memchr(item, '=', len);
	int use;

	if (!equals)
		return "WHAT=NAME is needed";
	for (use = 0; use < NR_CSV_USES; use++)
		if (trace__is(item, equals, use_names[use]))
			break;
	if (use == NR_CSV_USES)
		return "there are page, address, op, time, size, pid";
	if (++equals == item + len) {
		c->column[use] = SWITCHED_OFF;
		return NULL;
	}
	c->column[use] = column_find(p, end, c->separator, equals,
				     (size_t)(item + len - equals));
	return c->column[use] < 0 ? "the table has no such column" : NULL;
}

static int find_said(struct trace_reader *r, const char *p, const char *end)
{
	const char *item = r->columns, *why;
	char said[200];
	size_t len;

	for (; *item; item += len + (item[len] == ',')) {
		len = strcspn(item, ",");
		why = said_parse(&r->csv, item, len, p, end);
		if (why) {
			trace__printable(said, sizeof(said), item, len);
			return trace__fail_option(r,
						  "columns '%s' of %.100s: %s",
						  said, r->name, why);
		}
	}
	return 0;
}

static void csv_begin(struct csv *c, const char *p, const char *end)
{
	c->separator = separator_of(p, end);
	for (int i = 0; i < NR_CSV_USES; i++)
		c->column[i] = NOT_SAID;
}

static bool has_place(const struct csv *c)
{
	return c->column[CSV_PAGE] >= 0 || c->column[CSV_ADDRESS] >= 0;
}

bool trace__csv_is_head(const char *p, const char *end, const char *columns)
{
	struct csv c;

	if (columns)
		return true; /* a wrong name has its own message */
	p = skip_mark(p, end);
	csv_begin(&c, p, end);
	find_usual(&c, p, end);
	return has_place(&c);
}

/* The unit that the name of the column of times ends in, or a second. */
static uint64_t unit_of(const struct csv *c, const char *p, const char *end)
{
	struct field f = {p, p};
	uint64_t unit;

	for (int i = 0; i <= c->column[CSV_TIME]; i++, p++)
		f = field_next(&p, end, c->separator);
	while (f.end > f.p && memchr(")]", f.end[-1], 2))
		f.end--;
	for (p = f.end; p > f.p && !memchr("_([ ", p[-1], 4); p--)
		;
	unit = p > f.p ? trace__unit(p, f.end) : 0;
	return unit ? unit : UINT64_C(1000000000);
}

static int csv_start(struct trace_reader *r)
{
	struct csv *c = &r->csv;
	const char *p, *end;
	int rc;

	do {
		rc = trace__line(r, &p, &end);
		if (rc < 0)
			return rc;
		if (!rc)
			p = end = "";
		p = skip_mark(p, end);
	} while (rc && (trace__skip(p, end) == end || *p == '#'));
	csv_begin(c, p, end);
	rc = r->columns ? find_said(r, p, end) : 0;
	if (rc)
		return rc;
	find_usual(c, p, end);
	if (!has_place(c))
		return trace__fail_line(r, p, (size_t)(end - p),
					"a line of names with a column 'page' "
					"or 'address'");
	c->last = -1;
	for (int i = 0; i < NR_CSV_USES; i++)
		if (c->column[i] > c->last)
			c->last = c->column[i];
	r->has_time = c->column[CSV_TIME] >= 0;
	r->time = r->has_time ? 0 : TRACE_TIME_NONE;
	c->unit_ns = r->time_unit_ns;
	if (r->has_time && !c->unit_ns)
		c->unit_ns = unit_of(c, p, end);
	return 0;
}

/* --- lines ------------------------------------------------------------ */

static int wrong(struct trace_reader *r, const struct field *f,
		 const char *expected)
{
	return trace__fail_line(r, f->p, (size_t)(f->end - f->p), expected);
}

static int number(struct trace_reader *r, const struct field *f,
		  const char *expected, uint64_t *out)
{
	const char *p = f->p;
	int rc = trace__number(&p, f->end, out);

	if (rc == -ERANGE)
		expected = "a number below 2^64";
	return rc || p != f->end ? wrong(r, f, expected) : 0;
}

static uint8_t access_of(const struct field *f)
{
	static const struct {
		const char *word;
		uint8_t access;
	} words[] = {
	    {"r", TRACE_R},
	    {"read", TRACE_R},
	    {"load", TRACE_R},
	    {"l", TRACE_R},
	    {"get", TRACE_R},
	    {"rs", TRACE_R},
	    {"w", TRACE_W},
	    {"write", TRACE_W},
	    {"store", TRACE_W},
	    {"s", TRACE_W},
	    {"set", TRACE_W},
	    {"put", TRACE_W},
	    {"ws", TRACE_W},
	    {"x", TRACE_X},
	    {"i", TRACE_X},
	    {"exec", TRACE_X},
	    {"fetch", TRACE_X},
	    {"ifetch", TRACE_X},
	    {"rw", TRACE_R | TRACE_W},
	    {"m", TRACE_R | TRACE_W},
	    {"modify", TRACE_R | TRACE_W},
	    {"update", TRACE_R | TRACE_W},
	};

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (trace__is(f->p, f->end, words[i].word))
			return words[i].access;
	return 0;
}

static int csv_time(struct trace_reader *r, const struct field *f)
{
	const char *p = f->p;
	uint64_t time;

	if (trace__time(&p, f->end, r->csv.unit_ns, &time) || p != f->end)
		return wrong(r, f, "a time");
	if (time > r->time)
		r->time = time;
	return 0;
}

/* Pages from page and size, or from address and size. */
static int csv_place(struct trace_reader *r, const struct field *f,
		     struct trace_event *ev)
{
	const int *column = r->csv.column;
	const struct field *size = &f[CSV_SIZE], *place;
	uint64_t bytes = 1;
	int rc = 0;

	if (column[CSV_SIZE] >= 0)
		rc = number(r, size, "a size in bytes", &bytes);
	if (rc)
		return rc;
	bytes += !bytes;
	if (column[CSV_PAGE] >= 0) {
		place = &f[CSV_PAGE];
		rc = number(r, place, "a page number", &ev->page);
		ev->nr = (bytes - 1) / TRACE_PAGE_SIZE + 1;
		if (!rc && ev->nr - 1 > UINT64_MAX - ev->page)
			rc = wrong(r, size, "a size that ends below page 2^64");
		return rc;
	}
	place = &f[CSV_ADDRESS];
	rc = number(r, place, "an address", &ev->page);
	if (!rc && bytes - 1 > UINT64_MAX - ev->page)
		rc = wrong(r, size, "a size that ends below 2^64");
	if (rc)
		return rc;
	ev->nr = ((ev->page + bytes - 1) >> TRACE_PAGE_SHIFT) -
		 (ev->page >> TRACE_PAGE_SHIFT) + 1;
	ev->page >>= TRACE_PAGE_SHIFT;
	return 0;
}

static int csv_line(struct trace_reader *r, struct trace_event *ev,
		    const char *p, const char *end)
{
	const struct csv *c = &r->csv;
	struct field f[NR_CSV_USES];
	const char *line = p;
	uint64_t pid;
	int rc = 0;

	for (int i = 0; i <= c->last; i++) {
		struct field one = field_next(&p, end, c->separator);

		if (p == end && i < c->last)
			return trace__fail_line(r, line, (size_t)(end - line),
						"as many columns as names");
		for (int use = 0; use < NR_CSV_USES; use++)
			if (c->column[use] == i)
				f[use] = one;
		p += p < end;
	}
	trace__touch(r, ev, 0, 1, TRACE_R);
	if (c->column[CSV_OP] >= 0) {
		ev->access = access_of(&f[CSV_OP]);
		if (!ev->access)
			return wrong(r, &f[CSV_OP], "read, write or the like");
	}
	if (c->column[CSV_PID] >= 0) {
		rc = number(r, &f[CSV_PID], "a process number", &pid);
		if (!rc && pid > UINT32_MAX)
			rc = wrong(r, &f[CSV_PID], "a number below 2^32");
		if (rc)
			return rc;
		ev->pid = (uint32_t)pid;
	}
	if (c->column[CSV_TIME] >= 0)
		rc = csv_time(r, &f[CSV_TIME]);
	ev->time = r->time;
	return rc ? rc : csv_place(r, f, ev);
}

static int csv_read(struct trace_reader *r, struct trace_event *ev,
		    unsigned max)
{
	const char *p, *end;
	unsigned n = 0;
	int rc = 1;

	while (n < max) {
		rc = trace__line(r, &p, &end);
		if (rc <= 0)
			break;
		if (trace__skip(p, end) == end || *p == '#')
			continue;
		rc = csv_line(r, &ev[n], p, end);
		if (rc)
			break;
		n++;
	}
	return n ? (int)n : rc;
}

const struct trace_codec trace__csv = {csv_start, csv_read};
