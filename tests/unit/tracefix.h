/* SPDX-License-Identifier: MIT */
/* What the tests of traces have in common: whole traces, read from memory. */
#ifndef WEIR_TEST_TRACEFIX_H
#define WEIR_TEST_TRACEFIX_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trace/trace.h"

/* Everything a reader said of a trace. */
struct got {
	struct trace_event *ev; /* text points into texts */
	size_t nr;
	int rc; /* of trace_open or of the last trace_read */
	struct trace_error err;
	struct trace_info info;
	char **texts; /* [nr], NULL where there is none */
};

static inline void got_free(struct got *g)
{
	for (size_t i = 0; i < g->nr; i++)
		free(g->texts[i]);
	free(g->texts);
	free(g->ev);
	*g = (struct got){0};
}

static inline void got_add(struct got *g, const struct trace_event *ev)
{
	if (!(g->nr & (g->nr + 1))) { /* 0, 1, 3, 7, ...: room for twice */
		size_t room = 2 * g->nr + 1;

		g->ev = realloc(g->ev, room * sizeof(*g->ev));
		g->texts = realloc(g->texts, room * sizeof(*g->texts));
		assert_true(g->ev && g->texts);
	}
	g->ev[g->nr] = *ev;
	g->texts[g->nr] = ev->text ? strdup(ev->text) : NULL;
	g->ev[g->nr].text = g->texts[g->nr];
	g->nr++;
}

static inline void got_read(struct got *g, struct trace_reader *r,
			    unsigned batch)
{
	struct trace_event ev[TRACE_BATCH];

	while ((g->rc = trace_read(r, ev, batch)) > 0) {
		assert_true(g->rc <= (int)batch);
		for (int i = 0; i < g->rc; i++)
			got_add(g, &ev[i]);
	}
	trace_reader_info(r, &g->info);
	g->err = *trace_reader_error(r);
	assert_int_equal(g->err.code, g->rc);
	/* The end stays the end, and an error an error. */
	assert_int_equal(trace_read(r, ev, batch), g->rc);
}

static inline struct got got_memory(const void *data, size_t len,
				    struct trace_options opt, unsigned batch)
{
	struct got g = {0};
	struct trace_reader *r;

	g.rc = trace_open_memory(&r, data, len, &opt, &g.err);
	assert_int_equal(g.err.code, g.rc);
	if (g.rc) {
		assert_null(r);
		return g;
	}
	got_read(&g, r, batch);
	trace_close(r);
	return g;
}

static inline bool same_event(const struct trace_event *a,
			      const struct trace_event *b)
{
	struct trace_event x = *a, y = *b;
	bool text =
	    a->text && b->text ? !strcmp(a->text, b->text) : a->text == b->text;

	x.text = y.text = NULL;
	return text && !memcmp(&x, &y, sizeof(x));
}

static inline void assert_same(const struct got *a, const struct got *b)
{
	assert_int_equal(a->rc, b->rc);
	assert_int_equal(a->nr, b->nr);
	for (size_t i = 0; i < a->nr; i++)
		if (!same_event(&a->ev[i], &b->ev[i]))
			fail_msg("event %zu differs", i);
}

/* A good trace; read in batches of 1 and 7 it is the same. */
static inline struct got good(const void *data, size_t len,
			      struct trace_options opt)
{
	struct got g = got_memory(data, len, opt, TRACE_BATCH), one, seven;

	if (g.rc)
		fail_msg("refused: %s", g.err.text);
	one = got_memory(data, len, opt, 1);
	seven = got_memory(data, len, opt, 7);
	assert_same(&g, &one);
	assert_same(&g, &seven);
	got_free(&one);
	got_free(&seven);
	return g;
}

static inline struct got good_text(const char *text, enum trace_format format)
{
	return good(text, strlen(text),
		    (struct trace_options){.format = format});
}

/* A bad one: the code, and the words its message must have. */
static inline void refused(const void *data, size_t len,
			   struct trace_options opt, int code,
			   const char *words)
{
	struct got g = got_memory(data, len, opt, TRACE_BATCH);

	if (!g.rc)
		fail_msg("accepted where '%s' is expected", words);
	if (g.rc != code || !strstr(g.err.text, words))
		fail_msg("%d: %s (expected: %s)", g.rc, g.err.text, words);
	got_free(&g);
}

static inline void refused_text(const char *text, enum trace_format format,
				const char *words)
{
	refused(text, strlen(text), (struct trace_options){.format = format},
		-EBADMSG, words);
}

static inline void is_touch(const struct got *g, size_t i, uint64_t page,
			    uint64_t nr, uint8_t access)
{
	const struct trace_event *ev;

	if (i >= g->nr)
		fail_msg("there are %zu events only", g->nr);
	ev = &g->ev[i];
	assert_int_equal(ev->op, TRACE_TOUCH);
	if (ev->page != page || ev->nr != nr || ev->access != access)
		fail_msg("event %zu: page %llx, %llu pages, access %u", i,
			 (unsigned long long)ev->page,
			 (unsigned long long)ev->nr, ev->access);
	assert_int_equal(ev->stride, 1);
	assert_null(ev->text);
}

#endif
