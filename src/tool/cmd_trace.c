/* SPDX-License-Identifier: MIT */
/*
 * weir trace: what is in a trace, or the same trace in one of weir's formats.
 *
 * A trace that turns out to be wrong at its end has no summary and leaves no
 * file behind: a regular output file gets its name once it is complete.
 */
#include "tool/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool/progress.h"
#include "tool/trace_summary.h"
#include "trace/trace.h"

struct convert {
	struct trace_options in;
	const char *out; /* NULL: a summary is wanted */
	enum trace_format to;
	enum trace_packing pack;
	bool pack_said, to_said, json;
	const char *json_file; /* NULL: standard output */
};

void trace_help(void)
{
	fputs("usage: weir trace [OPTIONS] TRACE\n"
	      "       weir trace [OPTIONS] TRACE -o FILE\n\n"
	      "Says what is in a trace, or converts it to one of weir's own "
	      "formats.\nTRACE and FILE may be '-': standard input and "
	      "output.\n\n"
	      "  --format FORMAT  of TRACE: text, binary (weir's own), pages, "
	      "arc, lackey,\n"
	      "                   csv, oracleGeneral (default: by its first "
	      "bytes)\n"
	      "  --columns WHAT=NAME[,...]\n"
	      "                   csv: which column is page or address, op, "
	      "time, size, pid\n"
	      "                   (default: by the usual names)\n"
	      "  --time-unit UNIT csv: ns, us, ms or s (default: by the name "
	      "of the column,\n"
	      "                   or s)\n"
	      "  -o, --output FILE\n"
	      "                   convert to FILE; .gz and .zst are "
	      "compressed\n"
	      "  --to FORMAT      binary (default) or text\n"
	      "  --compress HOW   gzip, zstd or none\n"
	      "  --json[=FILE]    the summary as JSON, to FILE or in place of "
	      "the text\n\n"
	      "Exit status: 0; 64 bad usage; 65 TRACE is malformed; 66 it "
	      "cannot be read;\n  73 FILE cannot be made; 74 it cannot be "
	      "written.\n\n"
	      "example: valgrind --tool=lackey --trace-mem=yes --log-file=t "
	      "ls\n         weir trace t -o ls.trace.zst\n",
	      stdout);
}

static int trace_status(const struct trace_error *err)
{
	switch (err->code) {
	case -EBADMSG:
		return EXIT_DATA;
	case -EINVAL:
		return EXIT_BAD_USAGE;
	case -ENOMEM:
		return EXIT_WEIR_FAILED;
	default:
		return EXIT_NO_INPUT;
	}
}

static int trace_wrong(const struct trace_error *err)
{
	complain("trace", "%s", err->text);
	return trace_status(err);
}

static const char *in_name(const struct convert *c)
{
	return !strcmp(c->in.path, "-") ? "standard input" : c->in.path;
}

/* --- a summary --------------------------------------------------------- */

static int summary_put(const struct convert *c, const struct trace_summary *s)
{
	FILE *to = stdout;

	if (!c->json) {
		trace_summary_print(s, in_name(c), to);
		return 0;
	}
	if (c->json_file) {
		to = fopen(c->json_file, "we");
		if (!to) {
			complain("trace", "--json=%s: %s", c->json_file,
				 strerror(errno));
			return EXIT_CANTCREAT;
		}
	}
	trace_summary_json(s, in_name(c), to);
	if (!c->json_file || !fclose(to))
		return 0;
	complain("trace", "--json=%s: %s", c->json_file, strerror(errno));
	return EXIT_IO;
}

static int summarise(const struct convert *c, struct trace_reader *r)
{
	struct trace_event ev[TRACE_BATCH];
	struct trace_summary s;
	struct progress bar;
	int n, rc;

	trace_summary_begin(&s);
	progress_begin(&bar, "reading");
	while ((n = trace_read(r, ev, TRACE_BATCH)) > 0) {
		trace_summary_add(&s, ev, (unsigned)n);
		trace_reader_info(r, &s.info);
		progress_update(&bar, s.info.bytes_read, s.info.bytes_total);
	}
	trace_reader_info(r, &s.info);
	progress_end(&bar);
	rc = n < 0 ? trace_wrong(trace_reader_error(r)) : summary_put(c, &s);
	trace_summary_free(&s);
	return rc;
}

/* --- a conversion ------------------------------------------------------ */

struct output {
	const char *name;
	char *temporary;     /* NULL: written in place */
	FILE *file, *packer; /* packer: NULL when nothing is packed */
};

static int output_wrong(const struct output *o, int error, int status)
{
	complain("trace", "%s: %s", o->name, strerror(error));
	return status;
}

/* A new name beside the wanted one, with the rights that a new file has. */
static int output_temporary(struct output *o)
{
	mode_t mask = umask(0);
	int fd;

	umask(mask);
	if (asprintf(&o->temporary, "%s.XXXXXX", o->name) < 0) {
		o->temporary = NULL;
		return output_wrong(o, ENOMEM, EXIT_WEIR_FAILED);
	}
	fd = mkostemp(o->temporary, O_CLOEXEC);
	if (fd < 0) {
		free(o->temporary);
		o->temporary = NULL;
		return output_wrong(o, errno, EXIT_CANTCREAT);
	}
	fchmod(fd, 0666 & ~mask);
	o->file = fdopen(fd, "w");
	return o->file ? 0 : output_wrong(o, errno, EXIT_CANTCREAT);
}

static int output_open(struct output *o, const struct convert *c)
{
	struct stat st;
	int rc = 0;

	*o = (struct output){.name = c->out};
	if (!strcmp(c->out, "-")) {
		o->name = "standard output";
		o->file = stdout;
		if (isatty(STDOUT_FILENO) &&
		    (c->to == TRACE_FMT_BINARY || c->pack)) {
			complain("trace", "what is binary is not written to a "
					  "terminal");
			return EXIT_BAD_USAGE;
		}
	} else if (lstat(c->out, &st) || S_ISREG(st.st_mode)) {
		rc = output_temporary(o);
	} else {
		o->file = fopen(c->out, "we");
		if (!o->file)
			return output_wrong(o, errno, EXIT_CANTCREAT);
	}
	if (!rc && c->pack) {
		o->packer = trace_pack(o->file, c->pack);
		if (!o->packer)
			rc = output_wrong(o, errno, EXIT_WEIR_FAILED);
	}
	return rc;
}

/* status: of what was written so far. Returns it, or what went wrong now. */
static int output_close(struct output *o, int status)
{
	if (o->packer && fclose(o->packer) && !status)
		status = output_wrong(o, errno, EXIT_IO);
	if (o->file && (o->file == stdout ? fflush(stdout) : fclose(o->file)) &&
	    !status)
		status = output_wrong(o, errno, EXIT_IO);
	if (o->temporary && !status && rename(o->temporary, o->name))
		status = output_wrong(o, errno, EXIT_CANTCREAT);
	if (o->temporary && status)
		unlink(o->temporary);
	free(o->temporary);
	return status;
}

static int copy(struct trace_reader *r, struct trace_writer *w,
		const struct output *o)
{
	struct trace_event ev[TRACE_BATCH];
	struct trace_info info;
	struct progress bar;
	int n, rc = 0;

	progress_begin(&bar, "converting");
	while ((n = trace_read(r, ev, TRACE_BATCH)) > 0) {
		rc = trace_write(w, ev, (unsigned)n);
		if (rc)
			break;
		trace_reader_info(r, &info);
		progress_update(&bar, info.bytes_read, info.bytes_total);
	}
	progress_end(&bar);
	if (n < 0)
		return trace_wrong(trace_reader_error(r));
	return rc ? output_wrong(o, -rc, EXIT_IO) : 0;
}

static int convert(const struct convert *c, struct trace_reader *r)
{
	struct trace_writer *w;
	struct trace_info info;
	struct output o;
	int rc = output_open(&o, c), error;

	if (rc)
		return output_close(&o, rc);
	trace_reader_info(r, &info);
	info.format = c->to;
	error = trace_writer_open(&w, o.packer ? o.packer : o.file, &info);
	if (error)
		return output_close(&o,
				    output_wrong(&o, -error, EXIT_WEIR_FAILED));
	rc = copy(r, w, &o);
	error = trace_writer_close(w);
	if (error && !rc)
		rc = output_wrong(&o, -error, EXIT_IO);
	return output_close(&o, rc);
}

/* --- options ----------------------------------------------------------- */

static int bad(const char *option, const char *value, const char *why)
{
	complain("trace", "%s '%s': %s", option, value, why);
	return EXIT_BAD_USAGE;
}

static int set_unit(struct convert *c, const char *value)
{
	static const char *const names[] = {"ns", "us", "ms", "s"};
	uint64_t unit = 1;

	for (int i = 0; i < 4; i++, unit *= 1000)
		if (!strcmp(value, names[i])) {
			c->in.time_unit_ns = unit;
			return 0;
		}
	return bad("--time-unit", value, "ns, us, ms or s is needed");
}

static int set_pack(struct convert *c, const char *value)
{
	static const char *const names[] = {"none", "gzip", "zstd"};

	for (int i = 0; i < 3; i++)
		if (!strcmp(value, names[i])) {
			c->pack = (enum trace_packing)i;
			c->pack_said = true;
			return 0;
		}
	return bad("--compress", value, "gzip, zstd or none is needed");
}

static int set_format(const char *option, const char *value,
		      enum trace_format *out, bool writable)
{
	if (!trace_format_parse(value, out) &&
	    (!writable || *out == TRACE_FMT_TEXT || *out == TRACE_FMT_BINARY))
		return 0;
	return bad(option, value,
		   writable ? "text or binary is needed"
			    : "there are text, binary, pages, arc, lackey, "
			      "csv, oracleGeneral and auto");
}

static int set_value(struct convert *c, const char *option, const char *value)
{
	if (!*value)
		return bad(option, value, "a value is needed");
	if (!strcmp(option, "--format"))
		return set_format(option, value, &c->in.format, false);
	if (!strcmp(option, "--to")) {
		c->to_said = true;
		return set_format(option, value, &c->to, true);
	}
	if (!strcmp(option, "--time-unit"))
		return set_unit(c, value);
	if (!strcmp(option, "--compress"))
		return set_pack(c, value);
	if (!strcmp(option, "--columns"))
		c->in.columns = value;
	else
		c->out = value;
	return 0;
}

/* An option with a value, at argv[*i] and maybe behind it. */
static int read_option(struct convert *c, int argc, char **argv, int *i)
{
	static const char *const names[] = {"--format",   "--to",
					    "--columns",  "--time-unit",
					    "--compress", "--output"};
	const char *arg = argv[*i], *equals = strchr(arg, '=');
	size_t len = equals ? (size_t)(equals - arg) : strlen(arg);

	if (!strcmp(arg, "-o")) {
		arg = "--output";
		equals = NULL;
		len = strlen(arg);
	}
	if (len == strlen("--json") && !strncmp(arg, "--json", len)) {
		c->json = true;
		c->json_file = equals ? equals + 1 : NULL;
		return equals && !equals[1]
			   ? bad("--json", "",
				 "the name of the file is missing")
			   : 0;
	}
	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
		if (strlen(names[k]) != len || strncmp(arg, names[k], len))
			continue;
		if (equals)
			return set_value(c, names[k], equals + 1);
		if (*i + 1 < argc)
			return set_value(c, names[k], argv[++*i]);
		complain("trace",
			 "%s needs a value; weir help trace says "
			 "more",
			 names[k]);
		return EXIT_BAD_USAGE;
	}
	complain("trace", "unknown option '%s'; weir help trace lists them",
		 arg);
	return EXIT_BAD_USAGE;
}

static bool ends_in(const char *text, const char *end)
{
	size_t n = strlen(text), k = strlen(end);

	return n > k && !strcmp(text + n - k, end);
}

static int check_together(struct convert *c)
{
	if (!c->in.path) {
		complain("trace", "which trace? weir trace FILE, or - for "
				  "standard input");
		return EXIT_BAD_USAGE;
	}
	if (!c->out && (c->to_said || c->pack_said)) {
		complain("trace", "%s needs -o FILE",
			 c->to_said ? "--to" : "--compress");
		return EXIT_BAD_USAGE;
	}
	if (c->out && c->json) {
		complain("trace", "--json is of the summary; with -o there is "
				  "none");
		return EXIT_BAD_USAGE;
	}
	if (c->out && !c->pack_said)
		c->pack = ends_in(c->out, ".gz")    ? TRACE_GZIP
			  : ends_in(c->out, ".zst") ? TRACE_ZSTD
						    : TRACE_PLAIN;
	return 0;
}

static int read_options(struct convert *c, int argc, char **argv)
{
	bool options = true;
	int rc = 0;

	for (int i = 1; i < argc && !rc; i++) {
		if (options && !strcmp(argv[i], "--")) {
			options = false;
		} else if (options && argv[i][0] == '-' && argv[i][1]) {
			rc = read_option(c, argc, argv, &i);
		} else if (c->in.path) {
			complain("trace", "one trace at a time: '%s' and '%s'",
				 c->in.path, argv[i]);
			rc = EXIT_BAD_USAGE;
		} else {
			c->in.path = argv[i];
		}
	}
	return rc ? rc : check_together(c);
}

int cmd_trace(int argc, char **argv)
{
	struct convert c = {.to = TRACE_FMT_BINARY};
	struct trace_reader *r;
	struct trace_error err;
	int rc;

	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			trace_help();
			return 0;
		}
	rc = read_options(&c, argc, argv);
	if (rc)
		return rc;
	if (trace_open(&r, &c.in, &err))
		return trace_wrong(&err);
	rc = c.out ? convert(&c, r) : summarise(&c, r);
	trace_close(r);
	return rc;
}
