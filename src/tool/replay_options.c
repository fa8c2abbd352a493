/* SPDX-License-Identifier: MIT */
/* Options of weir replay, from the environment and the command line. */
#include "tool/replay.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum kind { FLAG, WORD, MAYBE };

static const struct option_info {
	const char *name, *env;
	enum kind kind;
	const char *arg, *help;
} infos[] = {
#define X(name, env, kind, arg, help) {name, env, kind, arg, help},
#include "tool/replay_options.def"
#undef X
};

#define NR_OPTIONS (sizeof(infos) / sizeof(infos[0]))

struct value {
	const struct option_info *info;
	const char *from; /* "--memory" or the variable */
	const char *text; /* NULL for a bare flag */
};

static int bad(const struct value *v, const char *why)
{
	complain("replay", "%s '%s': %s", v->from, v->text, why);
	return EXIT_BAD_USAGE;
}

static int size_pages(const struct value *v, uint64_t least, uint64_t *pages)
{
	uint64_t bytes;
	const char *why;
	char a[SIZE_TEXT];

	if (size_parse(v->text, 0, &bytes, &why))
		return bad(v, why);
	*pages = bytes / REPLAY_PAGE;
	if (*pages < least) {
		complain("replay", "%s '%s': too small: the least that can "
				   "work is %s",
			 v->from, v->text,
			 size_format(least * REPLAY_PAGE, a, sizeof(a)));
		return EXIT_BAD_USAGE;
	}
	if (*pages > REPLAY_PAGES_MAX)
		return bad(v, "larger than the 4 TiB that can be simulated");
	return 0;
}

static int set_memory(struct replay_command *c, const struct value *v)
{
	c->memory_given = true;
	return size_pages(v, REPLAY_PAGES_MIN, &c->o.memory_pages);
}

static int set_swap(struct replay_command *c, const struct value *v)
{
	if (!strcmp(v->text, "none")) {
		c->o.swap_pages = 0;
		return 0;
	}
	return size_pages(v, 1, &c->o.swap_pages);
}

static int set_tunable(struct replay_command *c, const struct value *v,
		       const char *name, const char *number)
{
	uint64_t n;
	int rc = number_parse(number, &n);

	if (rc == -EINVAL)
		return bad(v, "a whole number is needed");
	if (!rc)
		rc = weir__tunable_set(&c->o.tun, name, n);
	if (rc == -ENOENT) {
		complain("replay", "%s '%s': no tunable '%s'; weir(1) lists "
				   "them",
			 v->from, v->text, name);
		return EXIT_BAD_USAGE;
	}
	if (rc)
		return bad(v, "out of range; weir(1) has the bounds");
	return 0;
}

/* NAME=N[,NAME=N...] */
static int set_tune(struct replay_command *c, const struct value *v)
{
	char buf[512], *save = NULL, *item, *equals;
	int rc;

	if (snprintf(buf, sizeof(buf), "%s", v->text) >= (int)sizeof(buf))
		return bad(v, "too long");
	for (item = strtok_r(buf, ",", &save); item;
	     item = strtok_r(NULL, ",", &save)) {
		equals = strchr(item, '=');
		if (!equals)
			return bad(v, "NAME=NUMBER is needed");
		*equals = '\0';
		rc = set_tunable(c, v, item, equals + 1);
		if (rc)
			return rc;
	}
	return 0;
}

static int number_between(const struct value *v, uint64_t low, uint64_t high,
			  uint64_t *out)
{
	int rc = number_parse(v->text, out);

	if (rc == -EINVAL)
		return bad(v, "a whole number is needed");
	if (!rc && *out >= low && *out <= high)
		return 0;
	complain("replay", "%s '%s': from %llu to %llu", v->from, v->text,
		 (unsigned long long)low, (unsigned long long)high);
	return EXIT_BAD_USAGE;
}

static int set_nodes(struct replay_command *c, const struct value *v)
{
	uint64_t n;
	int rc = number_between(v, 1, MAX_NODES, &n);

	if (!rc)
		c->o.nodes = (uint32_t)n;
	return rc;
}

static int set_rate(struct replay_command *c, const struct value *v)
{
	return number_between(v, 1, REPLAY_RATE_MAX, &c->o.rate);
}

static int set_seed(struct replay_command *c, const struct value *v)
{
	return number_between(v, 0, INT64_MAX, &c->o.seed);
}

/* A number with ns, us, ms or s. */
static int set_disk(struct replay_command *c, const struct value *v)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
	char *end;
	double t;

	if (!isdigit((unsigned char)*v->text))
		return bad(v, "a time is needed, such as 80us or 4ms");
	t = strtod(v->text, &end);
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (strcmp(end, units[i].name))
			continue;
		t *= units[i].ns;
		if (t < 1 || t > 10e9)
			return bad(v, "from 1ns to 10s");
		c->o.disk_ns = (uint64_t)t;
		return 0;
	}
	return bad(v, "a time is needed, such as 80us or 4ms");
}

/* SIZE..SIZE or SIZE..SIZE:N */
static int set_sweep(struct replay_command *c, const struct value *v)
{
	struct value low = *v, high = *v, points = *v;
	char buf[128], *dots, *colon;
	uint64_t n = 0;
	int rc;

	if (snprintf(buf, sizeof(buf), "%s", v->text) >= (int)sizeof(buf) ||
	    !(dots = strstr(buf, "..")))
		return bad(v, "two sizes are needed, such as 16M..1G");
	*dots = '\0';
	colon = strchr(dots + 2, ':');
	if (colon)
		*colon = '\0';
	low.text = buf;
	high.text = dots + 2;
	rc = size_pages(&low, REPLAY_PAGES_MIN, &c->sweep.low);
	if (!rc)
		rc = size_pages(&high, REPLAY_PAGES_MIN, &c->sweep.high);
	if (!rc && colon) {
		points.text = colon + 1;
		rc = number_between(&points, 2, 128, &n);
	}
	if (rc)
		return rc;
	if (c->sweep.low >= c->sweep.high)
		return bad(v, "the second size is not larger");
	c->sweep.points = (unsigned)n;
	c->swept = true;
	return 0;
}

static int set_jobs(struct replay_command *c, const struct value *v)
{
	uint64_t n;
	int rc = number_between(v, 1, SWEEP_MAX, &n);

	if (!rc)
		c->sweep.jobs = (unsigned)n;
	return rc;
}

/* "2.5" or "2.5%": in millionths. */
static int percentage(const struct value *v, uint64_t *out)
{
	char *end;
	double p;

	if (!isdigit((unsigned char)*v->text))
		return bad(v, "a number from 0 to 100 is needed");
	p = strtod(v->text, &end);
	if (*end == '%')
		end++;
	if (*end || p > 100)
		return bad(v, "a number from 0 to 100 is needed");
	*out = (uint64_t)(p * 1e4 + 0.5);
	return 0;
}

static int set_max_refaults(struct replay_command *c, const struct value *v)
{
	return percentage(v, &c->sweep.bound.refaults);
}

static int set_max_stall(struct replay_command *c, const struct value *v)
{
	return percentage(v, &c->sweep.bound.stall);
}

static int set_format(struct replay_command *c, const struct value *v)
{
	if (trace_format_parse(v->text, &c->o.trace.format))
		return bad(v, "there are auto, text, binary, pages, arc, "
			      "lackey, csv, oracleGeneral");
	return 0;
}

static int set_columns(struct replay_command *c, const struct value *v)
{
	c->o.trace.columns = v->text;
	return 0;
}

static int set_kind(struct replay_command *c, const struct value *v)
{
	static const char *const words[] = {"anon", "file", "mapped"};

	for (unsigned i = 0; i < 3; i++) {
		if (!strcmp(v->text, words[i])) {
			c->o.kind = (enum replay_kind)i;
			return 0;
		}
	}
	return bad(v, "there are anon, file and mapped");
}

static int set_addresses(struct replay_command *c, const struct value *v)
{
	if (!strcmp(v->text, "as-is"))
		c->o.addresses = ADDRESSES_AS_IS;
	else if (!strcmp(v->text, "packed"))
		c->o.addresses = ADDRESSES_PACKED;
	else
		return bad(v, "there are as-is and packed");
	return 0;
}

/* 1 yes, 0 no, -1 neither word */
static int truth(const char *text)
{
	static const char *const yes[] = {"1", "yes", "true", "on"};
	static const char *const no[] = {"0", "no", "false", "off"};

	for (int i = 0; i < 4; i++) {
		if (!strcasecmp(text, yes[i]))
			return 1;
		if (!strcasecmp(text, no[i]))
			return 0;
	}
	return -1;
}

/* --name or --name=FILE; in the environment also yes and no. */
static int set_file(const struct value *v, bool *on, const char **file)
{
	int yes = v->text ? truth(v->text) : 1;

	if (v->text && (yes < 0 || v->from[0] == '-')) {
		if (!*v->text)
			return bad(v, "the name of the file is missing");
		*on = true;
		*file = v->text;
		return 0;
	}
	*on = yes;
	*file = NULL;
	return 0;
}

static int set_json(struct replay_command *c, const struct value *v)
{
	return set_file(v, &c->json, &c->json_file);
}

static int set_events(struct replay_command *c, const struct value *v)
{
	return set_file(v, &c->events, &c->events_file);
}

static int set_flag(const struct value *v, bool *out)
{
	int yes = v->text ? truth(v->text) : 1;

	if (yes < 0)
		return bad(v, "yes or no is needed");
	*out = yes;
	return 0;
}

static int set_quiet(struct replay_command *c, const struct value *v)
{
	return set_flag(v, &c->quiet);
}

static int set_cgroup(struct replay_command *c, const struct value *v)
{
	return set_flag(v, &c->o.cgroup);
}

static const struct {
	const char *name;
	int (*set)(struct replay_command *c, const struct value *v);
} setters[] = {
	{"memory", set_memory},	    {"swap", set_swap},
	{"tune", set_tune},	    {"nodes", set_nodes},
	{"rate", set_rate},	    {"seed", set_seed},
	{"disk", set_disk},	    {"format", set_format},
	{"columns", set_columns},   {"addresses", set_addresses},
	{"json", set_json},	    {"events", set_events},
	{"quiet", set_quiet},	    {"sweep", set_sweep},
	{"jobs", set_jobs},	    {"max-refaults", set_max_refaults},
	{"max-stall", set_max_stall}, {"cgroup", set_cgroup},
	{"kind", set_kind},
};

static int set_value(struct replay_command *c, const struct value *v)
{
	for (size_t i = 0; i < sizeof(setters) / sizeof(*setters); i++)
		if (!strcmp(setters[i].name, v->info->name))
			return setters[i].set(c, v);
	/* the others are tunables */
	return set_tunable(c, v, v->info->name, v->text);
}

static int read_environment(struct replay_command *c)
{
	for (size_t i = 0; i < NR_OPTIONS; i++) {
		const char *text = getenv(infos[i].env);
		struct value v = {&infos[i], infos[i].env, text};
		int rc;

		if (!text || !*text)
			continue;
		rc = set_value(c, &v);
		if (rc)
			return rc;
	}
	return 0;
}

static const struct option_info *find_option(const char *arg,
					     const char **value)
{
	size_t len = strcspn(arg, "=");

	*value = arg[len] ? arg + len + 1 : NULL;
	for (size_t i = 0; i < NR_OPTIONS; i++)
		if (len > 2 && strlen(infos[i].name) == len - 2 &&
		    !strncmp(arg + 2, infos[i].name, len - 2))
			return &infos[i];
	return NULL;
}

static int read_option(struct replay_command *c, int argc, char **argv, int *i)
{
	const char *arg = argv[*i], *value;
	const struct option_info *info = find_option(arg, &value);
	char from[64];
	struct value v;

	if (!info) {
		complain("replay",
			 "unknown option '%s'; weir help replay lists them",
			 arg);
		return EXIT_BAD_USAGE;
	}
	snprintf(from, sizeof(from), "--%s", info->name);
	if (info->kind == FLAG && value) {
		complain("replay", "%s takes no value", from);
		return EXIT_BAD_USAGE;
	}
	if (info->kind == WORD && !value) {
		if (*i + 1 >= argc) {
			complain("replay", "%s needs a value: --%s %s", from,
				 info->name, info->arg);
			return EXIT_BAD_USAGE;
		}
		value = argv[++*i];
	}
	v = (struct value){info, from, value};
	return set_value(c, &v);
}

/* Options and the trace, in any order; behind "--" no options. */
static int read_arguments(struct replay_command *c, int argc, char **argv)
{
	bool options = true;

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];
		int rc;

		if (options && a[0] == '-' && a[1]) {
			if (!strcmp(a, "--")) {
				options = false;
				continue;
			}
			rc = read_option(c, argc, argv, &i);
			if (rc)
				return rc;
			continue;
		}
		if (c->o.trace.path) {
			complain("replay", "one trace at a time: '%s' and '%s'",
				 c->o.trace.path, a);
			return EXIT_BAD_USAGE;
		}
		c->o.trace.path = a;
	}
	return 0;
}

static int check_memory(const struct replay_command *c, uint64_t pages)
{
	/* KiB against pages: a quarter */
	if (c->o.tun.min_free_kbytes > pages) {
		complain("replay",
			 "min_free_kbytes %llu is more than a quarter of the "
			 "memory",
			 (unsigned long long)c->o.tun.min_free_kbytes);
		return EXIT_BAD_USAGE;
	}
	if (pages / c->o.nodes < REPLAY_PAGES_MIN) {
		complain("replay", "too little memory for two nodes");
		return EXIT_BAD_USAGE;
	}
	return 0;
}

static int check_sweep(const struct replay_command *c)
{
	const char *not = NULL;

	if (!strcmp(c->o.trace.path, "-"))
		not = "a trace from standard input, which can be read once";
	else if (c->memory_given)
		not = "--memory";
	else if (c->events)
		not = "--events";
	if (!not)
		return check_memory(c, c->sweep.low);
	complain("replay", "--sweep does not go with %s", not);
	return EXIT_BAD_USAGE;
}

static int check_together(struct replay_command *c)
{
	if (!c->o.trace.path) {
		complain("replay", "which trace? weir replay TRACE --memory "
				   "SIZE; - is standard input");
		return EXIT_BAD_USAGE;
	}
	if (c->swept)
		return check_sweep(c);
	if (c->sweep.bound.refaults != UINT64_MAX ||
	    c->sweep.bound.stall != UINT64_MAX) {
		complain("replay", "--max-refaults and --max-stall are for "
				   "--sweep");
		return EXIT_BAD_USAGE;
	}
	if (!c->memory_given) {
		complain("replay", "how much memory? --memory SIZE is needed, "
				   "for example --memory 64M");
		return EXIT_BAD_USAGE;
	}
	return check_memory(c, c->o.memory_pages);
}

int replay_options_parse(int argc, char **argv, struct replay_command *c)
{
	int rc;

	memset(c, 0, sizeof(*c));
	weir__tunables_default(&c->o.tun);
	/* as the kernel does it: one page for a first touch, and slots from
	 * clusters with holes before empty ones, and its readahead */
	c->o.tun.zero_run_max = 1;
	c->o.tun.swap_run_min = 65536;
	c->o.tun.swap_readahead = 1;
	c->o.swap_pages = REPLAY_SWAP_PAGES;
	c->o.nodes = 1;
	c->o.rate = REPLAY_RATE;
	c->o.seed = 1;
	c->o.disk_ns = 80000;
	c->sweep.bound = (struct sweep_bound){UINT64_MAX, UINT64_MAX};
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			c->help = true;
			return 0;
		}
	}
	rc = read_environment(c);
	if (!rc)
		rc = read_arguments(c, argc, argv);
	return rc ? rc : check_together(c);
}

/* Help text in a column; '\n' goes on to its next line. */
static void put_help(FILE *to, const char *head, const char *text)
{
	fprintf(to, "  %-26s", head);
	if (strlen(head) > 25)
		fprintf(to, "\n%28s", "");
	for (; *text; text++) {
		fputc(*text, to);
		if (*text == '\n')
			fprintf(to, "%28s", "");
	}
	fputc('\n', to);
}

void replay_options_help(FILE *to)
{
	char head[80];

	for (size_t i = 0; i < NR_OPTIONS; i++) {
		const struct option_info *o = &infos[i];

		snprintf(head, sizeof(head), "--%s%s%s", o->name,
			 o->kind == WORD ? " " : "", o->arg ? o->arg : "");
		put_help(to, head, o->help);
	}
}
