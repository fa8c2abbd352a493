/* SPDX-License-Identifier: MIT */
/*
 * weir's text trace: one statement a line, see weir-trace(5). Statements are
 * the events of ops.def, and those that set what holds for the lines below:
 * time, process, cpu. The last one is "end": a trace without it was cut off.
 */
#include "trace/internal.h"

#include <errno.h>
#include <string.h>

struct line {
	const char *begin, *p, *end; /* p: what is not read yet */
};

/* The next word, empty at the end of the line or before a comment. */
static struct line word_next(struct line *l)
{
	struct line w;

	w.begin = w.p = l->p = trace__skip(l->p, l->end);
	if (w.begin < l->end && *w.begin == '#')
		w.end = w.begin;
	else
		w.end = l->p = trace__word(w.begin, l->end);
	return w;
}

static bool empty(const struct line *w)
{
	return w->begin == w->end;
}

static int wrong(struct trace_reader *r, const struct line *l,
		 const struct line *w, const char *expected)
{
	/* Where a word is missing, the line as it is says more. */
	if (empty(w))
		w = l;
	return trace__fail_line(r, w->begin, (size_t)(w->end - w->begin),
				expected);
}

static int number(struct trace_reader *r, const struct line *l,
		  const struct line *w, const char *expected, uint64_t *out)
{
	const char *p = w->begin;
	int rc = trace__number(&p, w->end, out);

	if (rc == -ERANGE)
		expected = "a number below 2^64";
	return rc || p != w->end ? wrong(r, l, w, expected) : 0;
}

/* Nothing but a comment may follow. */
static int finish(struct trace_reader *r, struct line *l)
{
	struct line w = word_next(l);

	return empty(&w) ? 0 : wrong(r, l, &w, "the end of the line");
}

/* --- fields ------------------------------------------------------------ */

static const char *expected_of(char field)
{
	switch (field) {
	case 'p':
	case 'q':
		return "a page number";
	case 'n':
	case 'm':
		return "a number of pages";
	case 'f':
		return "the number of a file";
	case 'F':
		return "a page of the file";
	case 'o':
		return "an offset in bytes";
	case 'b':
		return "a number of bytes";
	case 'c':
		return "a process number";
	case 'g':
	case 'h':
		return "the number of a group";
	case 'A':
		return "an advice (normal, willneed, dontneed, ...)";
	case 'G':
		return "a context (kernel, atomic, nofs, ...)";
	case 'K':
		return "dentry or inode";
	case 'L':
		return "max, high, low, min or swap";
	case 'P':
		return "r, w, x put together, or -";
	case 'T':
		return "a name of at most 255 bytes";
	default:
		return "a number";
	}
}

static int read_access(const struct line *w)
{
	int access = 0;

	if (w->end - w->begin == 1 && *w->begin == '-')
		return 0;
	for (const char *p = w->begin; p < w->end; p++) {
		int bit = *p == 'r'   ? TRACE_R
			  : *p == 'w' ? TRACE_W
			  : *p == 'x' ? TRACE_X
				      : 0;

		if (!bit || access & bit)
			return -EINVAL;
		access |= bit;
	}
	return access;
}

static int read_kind(const struct line *w, char field)
{
	const char *const *names;
	unsigned nr;

	names = trace__kinds(field, &nr);
	for (unsigned i = 0; i < nr; i++)
		if ((size_t)(w->end - w->begin) == strlen(names[i]) &&
		    !memcmp(w->begin, names[i], strlen(names[i])))
			return (int)i;
	return -EINVAL;
}

static int read_text(struct trace_reader *r, struct trace_event *ev,
		     const char *p, const char *end)
{
	if (end - p > TRACE_TEXT_MAX)
		return -EINVAL;
	memcpy(r->text, p, (size_t)(end - p));
	r->text[end - p] = '\0';
	ev->text = p < end ? r->text : NULL;
	ev->text_len = (uint8_t)(end - p);
	return 0;
}

static int read_field(struct trace_reader *r, struct trace_event *ev,
		      char field, const struct line *l, const struct line *w)
{
	const char *expected = expected_of(field);
	uint64_t value = 0;
	int rc = 0;

	if (strchr("AGKL", field))
		rc = read_kind(w, field);
	else if (field == 'P')
		rc = empty(w) ? -EINVAL : read_access(w);
	else if (field == 'T')
		return empty(w) || read_text(r, ev, w->begin, w->end)
			   ? wrong(r, l, w, expected)
			   : 0;
	else
		rc = number(r, l, w, expected, &value);
	if (rc == -EINVAL)
		return wrong(r, l, w, expected);
	if (rc < 0)
		return rc;
	if (trace__field_set(ev, field, value + (uint64_t)rc))
		return wrong(r, l, w, "a number below 2^32");
	return 0;
}

/* --- statements -------------------------------------------------------- */

/* r, w, x, rw PAGE [COUNT [STRIDE]] */
static int read_touch(struct trace_reader *r, struct trace_event *ev,
		      struct line *l)
{
	struct line w = word_next(l);
	const char *why;
	uint64_t stride;
	bool back;
	int rc = number(r, l, &w, "a page number", &ev->page);

	if (rc)
		return rc;
	w = word_next(l);
	if (empty(&w))
		return 0;
	rc = number(r, l, &w, "a number of pages", &ev->nr);
	if (rc)
		return rc;
	w = word_next(l);
	if (!empty(&w)) {
		back = *w.begin == '-';
		w.begin += back;
		rc = number(r, l, &w, "a stride in pages", &stride);
		if (rc)
			return rc;
		if (stride > INT64_MAX)
			return wrong(r, l, &w, "a stride below 2^63");
		ev->stride = back ? -(int64_t)stride : (int64_t)stride;
		if (ev->nr == 1)
			ev->stride = 1;
		rc = finish(r, l);
	}
	why = rc ? NULL : trace__event_wrong(ev);
	if (why)
		return trace__fail_line(r, l->begin,
					(size_t)(l->end - l->begin), why);
	return rc;
}

static int read_event(struct trace_reader *r, struct trace_event *ev,
		      struct line *l)
{
	const struct trace_op_info *op = &trace__ops[ev->op];
	bool optional = false;
	const char *why;
	struct line w;
	uint16_t flag;
	int rc;

	for (const char *f = op->fields; *f; f++) {
		if (*f == '?') {
			optional = true;
			continue;
		}
		if (*f == 'R') {
			l->p = trace__skip(l->p, l->end);
			if (read_text(r, ev, l->p, l->end))
				return trace__fail_at(
				    r, "more than 255 bytes of text");
			l->p = l->end;
			break;
		}
		w = word_next(l);
		if (optional &&
		    (empty(&w) || trace__flag(ev->op, w.begin, w.end))) {
			l->p = w.begin;
			break;
		}
		rc = read_field(r, ev, *f, l, &w);
		if (rc)
			return rc;
	}
	for (w = word_next(l); !empty(&w); w = word_next(l)) {
		flag = trace__flag(ev->op, w.begin, w.end);
		if (!flag)
			return wrong(r, l, &w,
				     op->flags ? op->words
					       : "the end of the line");
		ev->flags |= flag;
	}
	why = trace__event_wrong(ev);
	return why ? trace__fail_line(r, l->begin, (size_t)(l->end - l->begin),
				      why)
		   : 0;
}

/* time N[UNIT], time +N[UNIT]; nanoseconds without a unit */
static int read_time(struct trace_reader *r, struct line *l)
{
	struct line w = word_next(l);
	const char *p = w.begin, *digits_end;
	uint64_t unit = 1, time, from;
	bool more = p < w.end && *p == '+';

	p += more;
	for (digits_end = p; digits_end < w.end &&
			     ((*digits_end >= '0' && *digits_end <= '9') ||
			      *digits_end == '.');)
		digits_end++;
	if (digits_end < w.end)
		unit = trace__unit(digits_end, w.end);
	if (!unit || trace__time(&p, digits_end, unit, &time) ||
	    p != digits_end)
		return wrong(r, l, &w, "a time, as 1500, 1.5us or +20ms");
	from = r->time == TRACE_TIME_NONE ? 0 : r->time;
	if (more ? time >= TRACE_TIME_NONE - from : time < from)
		return wrong(r, l, &w,
			     more ? "a time below 2^64 ns"
				  : "a time not before the last one");
	r->time = more ? from + time : time;
	return finish(r, l);
}

static int read_pid(struct trace_reader *r, struct line *l)
{
	struct line w = word_next(l);
	uint64_t pid;
	int rc = number(r, l, &w, "a process number", &pid);

	if (!rc && pid > UINT32_MAX)
		rc = wrong(r, l, &w, "a number below 2^32");
	r->pid = rc ? r->pid : (uint32_t)pid;
	return rc ? rc : finish(r, l);
}

static int read_cpu(struct trace_reader *r, struct line *l)
{
	struct line w = word_next(l);
	uint64_t cpu;
	int rc = number(r, l, &w, "the number of a CPU", &cpu);

	if (!rc && cpu > UINT16_MAX)
		rc = wrong(r, l, &w, "a number below 65536");
	r->cpu = rc ? r->cpu : (uint16_t)cpu;
	return rc ? rc : finish(r, l);
}

static int read_end(struct trace_reader *r, struct line *l, uint64_t events)
{
	struct line w = word_next(l);
	uint64_t said = events;
	int rc = empty(&w) ? 0 : number(r, l, &w, "a number of events", &said);

	if (!rc && said != events)
		return trace__fail_at(r,
				      "'end' says %llu events, there were "
				      "%llu",
				      (unsigned long long)said,
				      (unsigned long long)events);
	r->ended = true;
	return rc ? rc : finish(r, l);
}

static bool is(const struct line *w, const char *word)
{
	const char *p = w->begin;

	for (; p < w->end && *word && *p == *word; p++)
		word++;
	return p == w->end && !*word;
}

/* Which op, or NR_TRACE_OPS. *access is of touches. */
static unsigned op_of(const struct line *w, uint8_t *access)
{
	*access = 0;
	if (w->end - w->begin == 1)
		*access = *w->begin == 'r'   ? TRACE_R
			  : *w->begin == 'w' ? TRACE_W
			  : *w->begin == 'x' ? TRACE_X
					     : 0;
	else if (w->end - w->begin == 2 && !memcmp(w->begin, "rw", 2))
		*access = TRACE_R | TRACE_W;
	if (*access)
		return TRACE_TOUCH;
	for (unsigned op = 1; op < NR_TRACE_OPS; op++)
		if (is(w, trace__ops[op].word))
			return op;
	return NR_TRACE_OPS;
}

/* 1 with an event, 0 without, or an error. */
static int read_statement(struct trace_reader *r, struct trace_event *ev,
			  struct line *l, uint64_t events)
{
	struct line w = word_next(l);
	uint8_t access;
	unsigned op;
	int rc;

	if (empty(&w))
		return 0;
	if (r->ended)
		return wrong(r, l, &w, "nothing behind 'end'");
	if (is(&w, "time")) /* as frequent as touches where there are times */
		return read_time(r, l);
	op = op_of(&w, &access);
	if (op == NR_TRACE_OPS) {
		if (is(&w, "process"))
			return read_pid(r, l);
		if (is(&w, "cpu"))
			return read_cpu(r, l);
		if (is(&w, "end"))
			return read_end(r, l, events);
		return wrong(r, l, &w, "a statement of weir-trace(5)");
	}
	if (r->has_time && r->time == TRACE_TIME_NONE)
		return wrong(r, l, &w, "a time before the first event");
	trace__touch(r, ev, 0, 1, access);
	if (op == TRACE_TOUCH) {
		rc = read_touch(r, ev, l);
	} else {
		ev->op = (uint8_t)op;
		ev->nr = 0;
		ev->stride = 0;
		rc = read_event(r, ev, l);
	}
	return rc ? rc : 1;
}

static int text_read(struct trace_reader *r, struct trace_event *ev,
		     unsigned max)
{
	unsigned n = 0;
	int rc = 1;

	while (n < max) {
		struct line l;

		rc = trace__line(r, &l.begin, &l.end);
		if (rc < 0)
			break;
		if (!rc) {
			if (!r->ended)
				rc = trace__fail_at(r, "the trace is cut off "
						       "behind this line: its "
						       "last one is 'end'");
			break;
		}
		l.p = l.begin;
		rc = read_statement(r, &ev[n], &l, r->nr + n);
		if (rc < 0)
			break;
		n += (unsigned)rc;
		/* r->text holds one */
		if (rc && ev[n - 1].text)
			break;
	}
	return n ? (int)n : rc;
}

static int text_start(struct trace_reader *r)
{
	struct line l, w;
	int rc = trace__line(r, &l.begin, &l.end);

	if (rc < 0)
		return rc;
	if (!rc)
		l.begin = l.end = "";
	l.p = l.begin;
	r->has_regions = true;
	w = word_next(&l);
	if (!is(&w, "weir-trace"))
		return wrong(r, &l, &w, "weir-trace 1");
	w = word_next(&l);
	if (!is(&w, "1"))
		return wrong(r, &l, &w, "version 1");
	for (w = word_next(&l); !empty(&w); w = word_next(&l)) {
		if (is(&w, "bare"))
			r->has_regions = false;
		else if (is(&w, "timed"))
			r->has_time = true;
		else
			return wrong(r, &l, &w, "bare, timed");
	}
	return 0;
}

const struct trace_codec trace__text = {text_start, text_read};
