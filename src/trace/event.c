/* SPDX-License-Identifier: MIT */
/* The tables of ops and words, and what every event must hold. */
#include "trace/internal.h"

#include <errno.h>
#include <string.h>

const struct trace_op_info trace__ops[NR_TRACE_OPS] = {
#define X(id, word, fields, flags, words, what) {word, fields, flags, words},
#include "trace/ops.def"
#undef X
};

const char *const trace__advices[NR_TRACE_ADVICES] = {
    "normal",   "random",        "sequential",     "willneed",
    "dontneed", "free",          "cold",           "pageout",
    "remove",   "populate_read", "populate_write", "noreuse",
};

const char *const trace__gfps[NR_TRACE_GFPS] = {
    "kernel", "atomic",   "nowait", "noio",     "nofs",
    "user",   "highuser", "dma",    "memalloc",
};

const char *const trace__objects[NR_TRACE_OBJECTS] = {"dentry", "inode"};

const char *const trace__limits[NR_TRACE_LIMITS] = {
    "max", "high", "low", "min", "swap",
};

const char *const *trace__kinds(char field, unsigned *nr)
{
	switch (field) {
	case 'A':
		*nr = NR_TRACE_ADVICES;
		return trace__advices;
	case 'G':
		*nr = NR_TRACE_GFPS;
		return trace__gfps;
	case 'K':
		*nr = NR_TRACE_OBJECTS;
		return trace__objects;
	case 'L':
		*nr = NR_TRACE_LIMITS;
		return trace__limits;
	default:
		return NULL;
	}
}

/* The place of a field of 64 bits, or NULL. */
static uint64_t *field64(struct trace_event *ev, char field)
{
	switch (field) {
	case 'p':
	case 'o':
	case 'i':
	case 'h':
	case 'y':
		return &ev->page;
	case 'n':
	case 'b':
	case 'v':
		return &ev->nr;
	case 'q':
	case 'F':
	case 'j':
		return &ev->to;
	case 'm':
		return &ev->to_nr;
	default:
		return NULL;
	}
}

int trace__field_set(struct trace_event *ev, char field, uint64_t value)
{
	uint64_t *place = field64(ev, field);

	if (place) {
		*place = value;
		return 0;
	}
	switch (field) {
	case 'f':
	case 'c':
	case 'g':
	case 'a':
		ev->file = (uint32_t)value;
		return ev->file == value ? 0 : -ERANGE;
	case 'P':
		ev->access = (uint8_t)value;
		return ev->access == value ? 0 : -ERANGE;
	default:
		ev->kind = (uint8_t)value;
		return ev->kind == value ? 0 : -ERANGE;
	}
}

uint64_t trace__field_get(const struct trace_event *ev, char field)
{
	struct trace_event copy = *ev;
	const uint64_t *place = field64(&copy, field);

	if (place)
		return *place;
	if (strchr("fcga", field))
		return ev->file;
	return field == 'P' ? ev->access : ev->kind;
}

uint16_t trace__flag(unsigned op, const char *p, const char *end)
{
	const char *word = trace__ops[op].words;
	unsigned left = trace__ops[op].flags;

	for (; left; left &= left - 1) {
		size_t len = strcspn(word, " ");

		if ((size_t)(end - p) == len && !memcmp(p, word, len))
			return (uint16_t)(left & -left);
		word += len + (word[len] == ' ');
	}
	return 0;
}

static bool touch_fits(const struct trace_event *ev)
{
	__int128 last =
	    (__int128)ev->page + (__int128)(ev->nr - 1) * ev->stride;

	return last >= 0 && last <= UINT64_MAX;
}

static bool range_fits(uint64_t first, uint64_t nr)
{
	return !nr || nr - 1 <= UINT64_MAX - first;
}

static bool name_fits(const struct trace_event *ev, bool any)
{
	if (!ev->text || strnlen(ev->text, TRACE_TEXT_MAX + 1) != ev->text_len)
		return false;
	if (any && (*ev->text == ' ' || *ev->text == '\t'))
		return false; /* a reader of text skips them */
	for (const char *p = ev->text; *p; p++) {
		unsigned char c = (unsigned char)*p;

		/* A rest of a line may hold all but the line's end. */
		if (any ? c < ' ' && c != '\t' : c <= ' ' || c == '#')
			return false;
	}
	return true;
}

/* What one field of an event must hold. */
static const char *field_wrong(const struct trace_event *ev, char field,
			       bool optional)
{
	unsigned nr;

	switch (field) {
	case 'n':
	case 'm':
		if (!(field == 'n' ? ev->nr : ev->to_nr))
			return "at least one page";
		break;
	case 'f':
	case 'g':
		if (!ev->file && !optional)
			return "a number from 1";
		break;
	case 'P':
		if (ev->access & ~(TRACE_R | TRACE_W | TRACE_X))
			return "r, w, x or -";
		break;
	case 'A':
	case 'G':
	case 'K':
	case 'L':
		trace__kinds(field, &nr);
		if (ev->kind >= nr)
			return "a kind there is";
		break;
	case 'T':
		if (ev->text_len && !name_fits(ev, false))
			return "a name without blanks";
		if (!ev->text_len && !optional)
			return "a name";
		/* In a text trace nobody could tell it from a flag. */
		if (ev->text_len &&
		    trace__flag(ev->op, ev->text, ev->text + ev->text_len))
			return "a name that is no flag of this event";
		break;
	case 'R':
		if (ev->text_len && !name_fits(ev, true))
			return "a line of text";
		break;
	}
	return NULL;
}

const char *trace__event_wrong(const struct trace_event *ev)
{
	const struct trace_op_info *op;
	bool optional = false;
	const char *wrong;

	if (ev->op >= NR_TRACE_OPS)
		return "an event there is";
	if (ev->op == TRACE_TOUCH) {
		if (!ev->nr)
			return "at least one page";
		if (!ev->access ||
		    (ev->access & ~(TRACE_R | TRACE_W | TRACE_X)) ||
		    (ev->access & TRACE_X && ev->access != TRACE_X))
			return "r, w, x or rw";
		if (ev->flags || !touch_fits(ev))
			return "pages within the 64-bit numbers";
		return NULL;
	}
	op = &trace__ops[ev->op];
	if (ev->flags & ~op->flags)
		return "flags that this event has";
	for (const char *f = op->fields; *f; f++) {
		if (*f == '?') {
			optional = true;
			continue;
		}
		wrong = field_wrong(ev, *f, optional);
		if (wrong)
			return wrong;
	}
	if (strpbrk(op->fields, "po") &&
	    !range_fits(ev->page, strpbrk(op->fields, "nb") ? ev->nr : 1))
		return "a range within the 64-bit numbers";
	if (strchr(op->fields, 'q') && !range_fits(ev->to, ev->to_nr))
		return "a range within the 64-bit numbers";
	return NULL;
}
