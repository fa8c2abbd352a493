/* SPDX-License-Identifier: MIT */
/* Writing weir's two formats. */
#include "trace/internal.h"
#include "trace/binary.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/linebuf.h"

#define BUFFER   (64u << 10)
#define ITEM_MAX 1024u /* more than one event needs, with what precedes it */

struct trace_writer {
	FILE *to;
	bool binary, has_time;
	int error;
	uint64_t nr, time, last_page;
	uint32_t pid;
	uint16_t cpu;
	XXH64_state_t sum;
	size_t used;
	uint8_t buf[BUFFER];
};

static int flush(struct trace_writer *w)
{
	errno = 0;
	if (w->error)
		return w->error;
	if (fwrite(w->buf, 1, w->used, w->to) != w->used)
		w->error = errno ? -errno : -EIO;
	if (w->binary)
		XXH64_update(&w->sum, w->buf, w->used);
	w->used = 0;
	return w->error;
}

/* --- binary ------------------------------------------------------------ */

static void put_byte(struct trace_writer *w, unsigned v)
{
	w->buf[w->used++] = (uint8_t)v;
}

static void put_varint(struct trace_writer *w, uint64_t v)
{
	for (; v > 0x7f; v >>= 7)
		put_byte(w, (v & 0x7f) | 0x80);
	put_byte(w, (unsigned)v);
}

static void put_u64(struct trace_writer *w, uint64_t v, unsigned bytes)
{
	v = htole64(v);
	memcpy(w->buf + w->used, &v, sizeof(v));
	w->used += bytes;
}

static void binary_state(struct trace_writer *w, const struct trace_event *ev)
{
	if (ev->pid != w->pid) {
		put_byte(w, TAG_PROCESS);
		put_varint(w, ev->pid);
	}
	if (ev->cpu != w->cpu) {
		put_byte(w, TAG_CPU);
		put_varint(w, ev->cpu);
	}
	if (ev->time == w->time || ev->time == TRACE_TIME_NONE ||
	    (ev->op == TRACE_TOUCH && w->time != TRACE_TIME_NONE))
		return;
	put_byte(w, TAG_TIME);
	put_varint(w, ev->time - (w->time == TRACE_TIME_NONE ? 0 : w->time));
	w->time = ev->time;
}

static void binary_touch(struct trace_writer *w, const struct trace_event *ev)
{
	uint64_t fold = binary_fold((int64_t)(ev->page - w->last_page));
	bool timed = ev->time != w->time && ev->time != TRACE_TIME_NONE;
	unsigned code = 0, tag = TAG_TOUCH;

	while (code < 7 && fold >> 8 * binary_bytes[code])
		code++;
	while (binary_access[tag & 3] != ev->access)
		tag++;
	tag |= code << TOUCH_BYTES_SHIFT;
	tag |= timed ? TOUCH_TIME : 0;
	tag |= ev->nr > 1 ? TOUCH_MANY : 0;
	put_byte(w, tag);
	if (timed) {
		put_varint(w, ev->time - w->time);
		w->time = ev->time;
	}
	put_u64(w, fold, binary_bytes[code]);
	if (ev->nr > 1) {
		put_varint(w, ev->nr);
		put_varint(w, binary_fold(ev->stride));
	}
	w->last_page = ev->page;
}

static void binary_event(struct trace_writer *w, const struct trace_event *ev)
{
	const struct trace_op_info *op = &trace__ops[ev->op];

	binary_state(w, ev);
	if (ev->op == TRACE_TOUCH) {
		binary_touch(w, ev);
		return;
	}
	put_byte(w, (unsigned)TAG_OP + ev->op);
	for (const char *f = op->fields; *f; f++) {
		if (*f == 'T' || *f == 'R') {
			put_byte(w, ev->text_len);
			memcpy(w->buf + w->used, ev->text ? ev->text : "",
			       ev->text_len);
			w->used += ev->text_len;
		} else if (*f != '?') {
			put_varint(w, trace__field_get(ev, *f));
		}
	}
	if (op->flags)
		put_varint(w, ev->flags);
}

static void binary_head(struct trace_writer *w, const struct trace_info *info)
{
	memcpy(w->buf, TRACE_MAGIC, 8);
	w->buf[8] = BINARY_VERSION;
	w->buf[9] = (uint8_t)((info->has_regions ? 0 : BINARY_BARE) |
			      (info->has_time ? BINARY_TIMED : 0));
	w->used = BINARY_HEAD_BYTES;
}

/* --- text -------------------------------------------------------------- */

static void text_state(struct trace_writer *w, const struct trace_event *ev,
		       struct linebuf *b)
{
	if (ev->time != w->time && ev->time != TRACE_TIME_NONE)
		lb_str(lb_u64(lb_str(b, "time "), ev->time), "\n");
	if (ev->pid != w->pid)
		lb_str(lb_u64(lb_str(b, "process "), ev->pid), "\n");
	if (ev->cpu != w->cpu)
		lb_str(lb_u64(lb_str(b, "cpu "), ev->cpu), "\n");
}

static void text_access(uint8_t access, struct linebuf *b)
{
	lb_str(b, access & TRACE_R ? "r" : "");
	lb_str(b, access & TRACE_W ? "w" : "");
	lb_str(b, access & TRACE_X ? "x" : "");
}

static void text_touch(const struct trace_event *ev, struct linebuf *b)
{
	text_access(ev->access, b);
	lb_hex(lb_str(b, " "), ev->page);
	if (ev->nr > 1)
		lb_u64(lb_str(b, " "), ev->nr);
	if (ev->nr > 1 && ev->stride != 1)
		lb_i64(lb_str(b, " "), ev->stride);
}

static void text_field(const struct trace_event *ev, char field,
		       struct linebuf *b)
{
	unsigned nr;

	lb_str(b, " ");
	if (field == 'P' && !ev->access)
		lb_str(b, "-");
	else if (field == 'P')
		text_access(ev->access, b);
	else if (field == 'T' || field == 'R')
		lb_str(b, ev->text_len ? ev->text : "");
	else if (strchr("AGKL", field))
		lb_str(b, trace__kinds(field, &nr)[ev->kind]);
	else if (field == 'p' || field == 'q')
		lb_hex(b, trace__field_get(ev, field));
	else
		lb_u64(b, trace__field_get(ev, field));
}

static void text_flags(const struct trace_event *ev, struct linebuf *b)
{
	const struct trace_op_info *op = &trace__ops[ev->op];
	const char *word = op->words;

	for (unsigned left = op->flags; left; left &= left - 1) {
		size_t len = strcspn(word, " ");
		char one[32];

		memcpy(one, word, len);
		one[len] = '\0';
		if (ev->flags & (left & -left))
			lb_str(lb_str(b, " "), one);
		word += len + (word[len] == ' ');
	}
}

/* Is there anything behind the '?'? Then all of it is written. */
static bool has_optional(const struct trace_event *ev, const char *fields)
{
	for (; *fields; fields++)
		if (*fields == 'T' ? ev->text_len
				   : trace__field_get(ev, *fields) != 0)
			return true;
	return false;
}

static void text_event(struct trace_writer *w, const struct trace_event *ev)
{
	const struct trace_op_info *op = &trace__ops[ev->op];
	struct linebuf b;

	lb_init(&b, (char *)w->buf + w->used, BUFFER - w->used);
	text_state(w, ev, &b);
	if (ev->op == TRACE_TOUCH) {
		text_touch(ev, &b);
	} else {
		lb_str(&b, op->word);
		for (const char *f = op->fields; *f; f++) {
			if (*f != '?')
				text_field(ev, *f, &b);
			else if (!has_optional(ev, f + 1))
				break;
		}
		text_flags(ev, &b);
	}
	lb_str(&b, "\n");
	w->used += b.len;
	if (ev->time != TRACE_TIME_NONE)
		w->time = ev->time;
}

static void text_head(struct trace_writer *w, const struct trace_info *info)
{
	struct linebuf b;

	lb_init(&b, (char *)w->buf, BUFFER);
	lb_str(&b, TRACE_HEAD "1");
	lb_str(&b, info->has_regions ? "" : " bare");
	lb_str(&b, info->has_time ? " timed\n" : "\n");
	w->used = b.len;
}

/* --- both -------------------------------------------------------------- */

int trace_writer_open(struct trace_writer **out, FILE *to,
		      const struct trace_info *info)
{
	struct trace_writer *w;

	*out = NULL;
	if (info->format != TRACE_FMT_TEXT && info->format != TRACE_FMT_BINARY)
		return -EINVAL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->to = to;
	w->binary = info->format == TRACE_FMT_BINARY;
	w->has_time = info->has_time;
	w->time = TRACE_TIME_NONE;
	w->pid = TRACE_PID_DEFAULT;
	XXH64_reset(&w->sum, 0);
	if (w->binary)
		binary_head(w, info);
	else
		text_head(w, info);
	*out = w;
	return 0;
}

static bool may_write(const struct trace_writer *w,
		      const struct trace_event *ev)
{
	if (trace__event_wrong(ev))
		return false;
	if (ev->time == TRACE_TIME_NONE)
		return !w->has_time;
	return w->time == TRACE_TIME_NONE || ev->time >= w->time;
}

int trace_write(struct trace_writer *w, const struct trace_event *ev,
		unsigned nr)
{
	for (unsigned i = 0; i < nr && !w->error; i++, ev++) {
		if (!may_write(w, ev)) {
			w->error = -EINVAL;
			break;
		}
		if (w->used + ITEM_MAX > BUFFER && flush(w))
			break;
		if (w->binary)
			binary_event(w, ev);
		else
			text_event(w, ev);
		w->pid = ev->pid;
		w->cpu = ev->cpu;
		w->nr++;
	}
	return w->error;
}

int trace_writer_close(struct trace_writer *w)
{
	int rc = flush(w);

	if (!rc && w->binary) {
		uint64_t sum = XXH64_digest(&w->sum);

		put_byte(w, TAG_END);
		put_varint(w, w->nr);
		put_u64(w, sum, 8);
	} else if (!rc) {
		w->used = (size_t)snprintf((char *)w->buf, BUFFER, "end %llu\n",
					   (unsigned long long)w->nr);
	}
	if (!rc)
		rc = flush(w);
	errno = 0;
	if (!rc && fflush(w->to))
		rc = errno ? -errno : -EIO;
	free(w);
	return rc;
}
