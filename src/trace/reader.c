/* SPDX-License-Identifier: MIT */
/* A reader from the outside: opening, errors, handing events out. */
#include "trace/internal.h"
#include "trace/detect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name;
	const struct trace_codec *codec;
} formats[NR_TRACE_FORMATS] = {
    [TRACE_FMT_AUTO] = {"auto", NULL},
    [TRACE_FMT_TEXT] = {"text", &trace__text},
    [TRACE_FMT_BINARY] = {"binary", &trace__binary},
    [TRACE_FMT_PAGES] = {"pages", &trace__pages},
    [TRACE_FMT_ARC] = {"arc", &trace__arc},
    [TRACE_FMT_LACKEY] = {"lackey", &trace__lackey},
    [TRACE_FMT_CSV] = {"csv", &trace__csv},
    [TRACE_FMT_ORACLE] = {"oracleGeneral", &trace__oracle},
};

const char *trace_format_name(enum trace_format f)
{
	return (unsigned)f < NR_TRACE_FORMATS ? formats[f].name : "?";
}

int trace_format_parse(const char *name, enum trace_format *out)
{
	for (unsigned i = 0; i < NR_TRACE_FORMATS; i++)
		if (trace__is(name, name + strlen(name), formats[i].name)) {
			*out = (enum trace_format)i;
			return 0;
		}
	return -EINVAL;
}

/* --- errors ----------------------------------------------------------- */

void trace__printable(char *out, size_t size, const char *found, size_t len)
{
	const size_t most = 40;
	size_t used = 0;

	for (size_t i = 0; i < len && i < most && used + 8 < size; i++) {
		unsigned char c = (unsigned char)found[i];

		if (c >= ' ' && c < 127)
			out[used++] = (char)c;
		else
			used += (size_t)snprintf(out + used, size - used,
						 "\\x%02x", c);
	}
	out[used] = '\0';
	if (len > most && used + 4 < size)
		strcpy(out + used, "...");
}

static int set_error(struct trace_reader *r, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int set_error(struct trace_reader *r, int code, const char *fmt, ...)
{
	va_list ap;

	if (r->err.code)
		return r->err.code;
	r->err.code = code;
	va_start(ap, fmt);
	vsnprintf(r->err.text, sizeof(r->err.text), fmt, ap);
	va_end(ap);
	return code;
}

int trace__fail_line(struct trace_reader *r, const char *found, size_t len,
		     const char *expected)
{
	char text[240];

	trace__printable(text, sizeof(text), found, len);
	return set_error(r, -EBADMSG,
			 "%.150s, line %llu: '%s' where %s is "
			 "expected",
			 r->name, (unsigned long long)r->line, text, expected);
}

int trace__fail_at(struct trace_reader *r, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return set_error(r, -EBADMSG, "%.150s, line %llu: %s", r->name,
			 (unsigned long long)r->line, text);
}

int trace__fail_byte(struct trace_reader *r, uint64_t place, const char *fmt,
		     ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return set_error(r, -EBADMSG, "%.150s, byte %llu%s: %s", r->name,
			 (unsigned long long)place,
			 r->src.unpack ? " (unpacked)" : "", text);
}

int trace__fail_source(struct trace_reader *r, int code)
{
	if (code == -EBADMSG)
		return set_error(r, code, "%.300s, byte %llu: %s", r->name,
				 (unsigned long long)r->src.raw, r->src.why);
	return set_error(r, code, "%.300s: %s", r->name, r->src.why);
}

int trace__fail_option(struct trace_reader *r, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return set_error(r, -EINVAL, "%s", text);
}

/* --- opening ---------------------------------------------------------- */

static int find_format(struct trace_reader *r)
{
	int rc = source_need(&r->src, DETECT_BYTES);

	if (rc)
		return trace__fail_source(r, rc);
	/* What was cut off before its first byte is no trace. */
	if (!r->src.len)
		return set_error(r, -EBADMSG,
				 "%.300s: empty, where a trace is expected",
				 r->name);
	if (r->format == TRACE_FMT_AUTO) {
		r->format = trace__detect(r->src.data, r->src.len, r->src.eof,
					  r->columns);
		if (r->format == TRACE_FMT_AUTO)
			return set_error(r, -EBADMSG,
					 "%.150s: the format cannot be told "
					 "from the first bytes; --format says "
					 "which it is: text, binary, pages, "
					 "arc, lackey, csv, oracleGeneral",
					 r->name);
	}
	r->codec = formats[r->format].codec;
	return 0;
}

static int reader_start(struct trace_reader *r)
{
	r->has_regions = r->has_time = r->ended = false;
	r->line = r->nr = r->last_page = r->summed = 0;
	r->time = TRACE_TIME_NONE;
	r->pid = TRACE_PID_DEFAULT;
	r->cpu = 0;
	return r->codec->start(r);
}

/* fd and mem as source_open. */
static int reader_open(struct trace_reader **out, int fd, const void *mem,
		       size_t len, const struct trace_options *opt,
		       const char *name, struct trace_error *err)
{
	struct trace_reader *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		goto no_memory;
	r->name = strdup(name);
	r->columns = opt->columns ? strdup(opt->columns) : NULL;
	r->format = opt->format;
	r->time_unit_ns = opt->time_unit_ns;
	if (!r->name || (opt->columns && !r->columns))
		goto no_memory;
	rc = source_open(&r->src, fd, mem, len);
	fd = -1;
	if (rc)
		rc = trace__fail_source(r, rc);
	else
		rc = find_format(r);
	if (!rc)
		rc = reader_start(r);
	if (rc) {
		*err = r->err;
		trace_close(r);
		return rc;
	}
	*out = r;
	return 0;
no_memory:
	if (fd >= 0)
		close(fd);
	trace_close(r);
	err->code = -ENOMEM;
	snprintf(err->text, sizeof(err->text), "%.300s: %s", name,
		 strerror(ENOMEM));
	return -ENOMEM;
}

int trace_open(struct trace_reader **out, const struct trace_options *opt,
	       struct trace_error *err)
{
	bool standard = !opt->path || !strcmp(opt->path, "-");
	const char *name = standard ? "standard input" : opt->path;
	int fd;

	*out = NULL;
	*err = (struct trace_error){0};
	if (standard)
		fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		fd = open(opt->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err->code = -errno;
		snprintf(err->text, sizeof(err->text), "%.300s: %s", name,
			 strerror(errno));
		return err->code;
	}
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return reader_open(out, fd, NULL, 0, opt, name, err);
}

int trace_open_memory(struct trace_reader **out, const void *data, size_t len,
		      const struct trace_options *opt, struct trace_error *err)
{
	*out = NULL;
	*err = (struct trace_error){0};
	return reader_open(out, -1, data, len, opt,
			   opt->path ? opt->path : "memory", err);
}

void trace_close(struct trace_reader *r)
{
	if (!r)
		return;
	if (r->src.data)
		source_close(&r->src);
	free(r->name);
	free(r->columns);
	free(r);
}

/* --- reading ---------------------------------------------------------- */

int trace_read(struct trace_reader *r, struct trace_event *ev, unsigned max)
{
	int n;

	if (r->err.code)
		return r->err.code;
	n = r->codec->read(r, ev, max);
	if (n > 0)
		r->nr += (unsigned)n;
	return n;
}

int trace_rewind(struct trace_reader *r)
{
	int rc = source_rewind(&r->src);

	if (rc == -ESPIPE)
		return rc;
	r->err = (struct trace_error){0};
	if (rc)
		return trace__fail_source(r, rc);
	return reader_start(r);
}

const struct trace_error *trace_reader_error(const struct trace_reader *r)
{
	return &r->err;
}

void trace_reader_info(const struct trace_reader *r, struct trace_info *info)
{
	*info = (struct trace_info){
	    .format = r->format,
	    .packing = r->src.packing,
	    .has_regions = r->has_regions,
	    .has_time = r->has_time,
	    .bytes_read = r->src.raw,
	    .bytes_total = r->src.raw_total,
	};
}
