/* SPDX-License-Identifier: MIT */
/*
 * A trace of any bytes, in the format FUZZ_FORMAT. Whatever they are:
 *
 *   - the reader ends, with success or with one printable sentence;
 *   - the batch size changes nothing;
 *   - a writer takes every event, and what it wrote is read as the same;
 *   - reading again from the start gives the same.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "trace/trace.h"

#define EVENTS_MAX 20000

/* What one reading gave, in a form that can be compared. */
struct outcome {
	int code;
	size_t nr;
	uint64_t hash;
	struct trace_info info;
};

static uint64_t mix(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len--)
		h = (h ^ *p++) * 0x100000001b3u;
	return h;
}

static uint64_t mix_event(uint64_t h, const struct trace_event *ev)
{
	struct trace_event copy = *ev;

	must(!ev->text == !ev->text_len);
	if (ev->text) {
		must(strlen(ev->text) == ev->text_len);
		h = mix(h, ev->text, ev->text_len);
	}
	copy.text = NULL;
	copy.next = ev->op == TRACE_TOUCH ? 0 : copy.next; /* is not written */
	return mix(h, &copy, sizeof(copy));
}

static void check_error(const struct trace_error *err)
{
	must(err->code == -EBADMSG || err->code == -EINVAL);
	must(err->text[0]);
	for (const char *p = err->text; *p; p++)
		must(*p >= ' ' && *p < 127);
}

/* Reads to the end; out NULL, or a writer for all events. */
static struct outcome read_all(struct trace_reader *r, unsigned batch,
			       struct trace_writer *out)
{
	struct outcome o = {.hash = 0xcbf29ce484222325u};
	struct trace_event ev[TRACE_BATCH];
	int n = 1;

	while (o.nr < EVENTS_MAX && (n = trace_read(r, ev, batch)) > 0) {
		must(n <= (int)batch);
		for (int i = 0; i < n && o.nr < EVENTS_MAX; i++, o.nr++) {
			o.hash = mix_event(o.hash, &ev[i]);
			if (out)
				must(!trace_write(out, &ev[i], 1));
		}
	}
	o.code = o.nr < EVENTS_MAX ? n : 0;
	if (o.code < 0) {
		check_error(trace_reader_error(r));
		must(trace_reader_error(r)->code == o.code);
	}
	trace_reader_info(r, &o.info);
	return o;
}

/* csv_columns: what the user says of columns is the first line of the input. */
static char *columns;

static struct trace_reader *open_bytes(const void *data, size_t len,
				       enum trace_format format)
{
	struct trace_options opt = {
	    .format = format, .path = "input", .columns = columns};
	struct trace_reader *r;
	struct trace_error err;

	if (trace_open_memory(&r, data, len, &opt, &err)) {
		must(!r);
		check_error(&err);
		return NULL;
	}
	return r;
}

/* The same events by way of one of weir's formats. */
static void both_ways(const uint8_t *data, size_t len,
		      const struct outcome *first, enum trace_format to)
{
	struct trace_reader *r = open_bytes(data, len, FUZZ_FORMAT);
	struct trace_info info = first->info;
	struct trace_writer *w;
	struct outcome o;
	char *written = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&written, &size);

	info.format = to;
	must(r && f && !trace_writer_open(&w, f, &info));
	o = read_all(r, TRACE_BATCH, w);
	must(o.hash == first->hash);
	trace_close(r);
	must(!trace_writer_close(w));
	must(!fclose(f));
	r = open_bytes(written, size, TRACE_FMT_AUTO);
	must(r);
	o = read_all(r, TRACE_BATCH, NULL);
	must(!o.code && o.nr == first->nr && o.hash == first->hash);
	must(o.info.format == to);
	must(o.info.has_regions == first->info.has_regions);
	must(o.info.has_time == first->info.has_time);
	trace_close(r);
	free(written);
}

static void run(const uint8_t *data, size_t len)
{
	struct trace_reader *r = open_bytes(data, len, FUZZ_FORMAT);
	struct outcome first, again;

	if (!r)
		return;
	first = read_all(r, TRACE_BATCH, NULL);
	must(!trace_rewind(r));
	again = read_all(r, 1 + len % 7, NULL);
	must(again.code == first.code && again.nr == first.nr &&
	     again.hash == first.hash);
	trace_close(r);
	both_ways(data, len, &first, TRACE_FMT_BINARY);
	both_ways(data, len, &first, TRACE_FMT_TEXT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
#ifdef FUZZ_COLUMNS
	const uint8_t *line = memchr(data, '\n', len);
	size_t n = line ? (size_t)(line - data) : len;

	columns = strndup((const char *)data, n);
	must(columns);
	data += n + (line != NULL);
	len -= n + (line != NULL);
#endif
	run(data, len);
	free(columns);
	columns = NULL;
	return 0;
}
