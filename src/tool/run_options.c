/* SPDX-License-Identifier: MIT */
/* Options of weir run, from the command line and the environment. */
#include "tool/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/*
 * Half: at 3:1 the pages in it and those in the other half are then twice the
 * budget, which is what a program may want before the disk is needed; and the
 * other half is left for the pages in use. More than nine tenths would leave
 * none.
 */
#define ZMEM_DEFAULT	 "50%"
#define ZMEM_MAX_PERCENT 90

enum kind { FLAG, WORD, MAYBE };

static const struct option_info {
	const char *name, *env;
	enum kind kind;
	const char *arg, *help;
} infos[] = {
#define X(name, env, kind, arg, help) {name, env, kind, arg, help},
#include "tool/run_options.def"
#undef X
};

#define NR_OPTIONS (sizeof(infos) / sizeof(infos[0]))

/* One value on its way in; `from` names its source in messages. */
struct value {
	const struct option_info *info;
	const char *from; /* "--memory" or "WEIR_MEMORY" */
	const char *text; /* NULL for a bare flag */
};

static int bad(const struct value *v, const char *why)
{
	complain("run", "%s '%s': %s", v->from, v->text, why);
	return EXIT_BAD_USAGE;
}

static int set_memory(struct run_options *o, const struct value *v)
{
	uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) *
		       (uint64_t)sysconf(_SC_PAGESIZE);
	char least[SIZE_TEXT];
	const char *why;

	if (size_parse(v->text, ram, &o->memory_bytes, &why))
		return bad(v, why);
	o->memory_bytes &= ~UINT64_C(4095);
	if (o->memory_bytes >= WEIR_MEMORY_MIN)
		return 0;
	complain("run", "%s '%s': too small: the least that can work is %s",
		 v->from, v->text,
		 size_format(WEIR_MEMORY_MIN, least, sizeof(least)));
	return EXIT_BAD_USAGE;
}

/* '-' and '_' are the same in names of tunables. */
static const struct tunable_info *find_tunable(const char *name)
{
	for (int i = 0; i < NR_TUNABLES; i++) {
		const struct tunable_info *t = weir__tunable_info(i);
		size_t k = 0;

		while (name[k] &&
		       t->name[k] == (name[k] == '-' ? '_' : name[k]))
			k++;
		if (!name[k] && !t->name[k])
			return t;
	}
	return NULL;
}

static int set_tunable(struct run_options *o, const struct value *v,
		       const char *name, const char *number)
{
	const struct tunable_info *t = find_tunable(name);
	uint64_t n;
	int rc;

	if (!t) {
		complain("run", "%s '%s': no tunable '%s'; weir(1) lists them",
			 v->from, v->text, name);
		return EXIT_BAD_USAGE;
	}
	rc = number_parse(number, &n);
	if (rc == -EINVAL)
		return bad(v, "a whole number is needed");
	if (!rc)
		rc = weir__tunable_set(&o->tun, t->name, n);
	if (!rc)
		return 0;
	complain("run", "%s '%s': %s is from %llu to %llu", v->from, v->text,
		 t->name, (unsigned long long)t->lo, (unsigned long long)t->hi);
	return EXIT_BAD_USAGE;
}

/* NAME=N[,NAME=N...] */
static int set_tune(struct run_options *o, const struct value *v)
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
		rc = set_tunable(o, v, item, equals + 1);
		if (rc)
			return rc;
	}
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

static int set_json(struct run_options *o, const struct value *v)
{
	int yes = v->text ? truth(v->text) : 1;

	/* In the environment "1" is the bare flag; on the command line what
	 * stands behind the "=" is always a file. */
	if (v->text && (yes < 0 || v->from[0] == '-')) {
		if (!*v->text)
			return bad(v, "the name of the file is missing");
		o->json = true;
		o->json_file = v->text;
		return 0;
	}
	o->json = yes;
	o->json_file = NULL;
	return 0;
}

static int set_flag(struct run_options *o, const struct value *v)
{
	int yes = v->text ? truth(v->text) : 1;

	if (!strcmp(v->info->name, "verbose")) {
		if (v->text && !strcmp(v->text, "2"))
			o->verbose = 2;
		else if (yes < 0)
			return bad(v, "0, 1 or 2 is needed");
		else if (v->text)
			o->verbose = (unsigned)yes;
		else if (o->verbose < 2)
			o->verbose++;
		return 0;
	}
	if (yes < 0)
		return bad(v, "yes or no is needed");
	if (!strcmp(v->info->name, "stats"))
		o->stats = yes;
	else
		o->quiet = yes;
	return 0;
}

/* lz4[:ACCELERATION], zstd[:LEVEL], off */
static int set_compress(struct run_options *o, const struct value *v)
{
	static const int level_max[NR_ZCODECS] = {
		[ZCODEC_LZ4] = ZCODEC_LZ4_LEVEL_MAX,
		[ZCODEC_ZSTD] = ZCODEC_ZSTD_LEVEL_MAX};
	size_t len = strcspn(v->text, ":");
	uint64_t level = ZCODEC_LEVEL_DEFAULT;
	int kind = NR_ZCODECS;

	if (!truth(v->text))
		kind = ZCODEC_OFF;
	for (int i = 0; i < NR_ZCODECS; i++)
		if (strlen(zcodec_name(i)) == len &&
		    !strncmp(v->text, zcodec_name(i), len))
			kind = i;
	if (kind == NR_ZCODECS)
		return bad(v, "lz4, zstd or off is needed");
	if (v->text[len] && (kind == ZCODEC_OFF ||
			     number_parse(v->text + len + 1, &level)))
		return bad(v, "behind the colon a level is needed");
	if (kind != ZCODEC_OFF &&
	    (!level || level > (uint64_t)level_max[kind])) {
		complain("run", "%s '%s': levels are 1 to %d", v->from, v->text,
			 level_max[kind]);
		return EXIT_BAD_USAGE;
	}
	o->codec = kind;
	o->level = (int)level;
	return 0;
}

static int set_value(struct run_options *o, const struct value *v)
{
	const char *name = v->info->name;

	if (v->info->kind == FLAG)
		return set_flag(o, v);
	if (!strcmp(name, "json"))
		return set_json(o, v);
	if (!strcmp(name, "memory"))
		return set_memory(o, v);
	if (!strcmp(name, "tune"))
		return set_tune(o, v);
	if (!strcmp(name, "swap")) {
		if (!*v->text)
			return bad(v, "a path is needed");
		o->swap = v->text;
		return 0;
	}
	if (!strcmp(name, "compress"))
		o->compress_given = true;
	if (!strcmp(name, "zmem")) {
		if (!*v->text)
			return bad(v, "a size is needed");
		o->zmem = v->text;
		o->zmem_from = v->from[0] == '-' ? "--zmem" : v->info->env;
		return 0;
	}
	if (!strcmp(name, "compress"))
		return set_compress(o, v);
	return set_tunable(o, v, name, v->text);
}

static int read_environment(struct run_options *o)
{
	for (size_t i = 0; i < NR_OPTIONS; i++) {
		const char *text = getenv(infos[i].env);
		struct value v = {&infos[i], infos[i].env, text};
		int rc;

		if (!text || !*text)
			continue;
		rc = set_value(o, &v);
		if (rc)
			return rc;
	}
	return 0;
}

/* "--name", "--name=value": the option, and the value or NULL. */
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

static int read_option(struct run_options *o, int argc, char **argv, int *i)
{
	const char *arg = argv[*i], *value;
	const struct option_info *info = find_option(arg, &value);
	char from[64];
	struct value v;

	if (!info) {
		complain("run", "unknown option '%s'; weir help run lists them",
			 arg);
		return EXIT_BAD_USAGE;
	}
	snprintf(from, sizeof(from), "--%s", info->name);
	if (info->kind == FLAG && value) {
		complain("run", "%s takes no value", from);
		return EXIT_BAD_USAGE;
	}
	if (info->kind == WORD && !value) {
		if (*i + 1 >= argc || !strcmp(argv[*i + 1], "--")) {
			complain("run", "%s needs a value: --%s %s", from,
				 info->name, info->arg);
			return EXIT_BAD_USAGE;
		}
		value = argv[++*i];
	}
	v = (struct value){info, from, value};
	return set_value(o, &v);
}

/* % is of the budget, which must be known by now. */
static int resolve_zmem(struct run_options *o)
{
	uint64_t most = o->memory_bytes / 100 * ZMEM_MAX_PERCENT;
	const char *text = o->zmem ? o->zmem
			   : o->compress_given ? ZMEM_DEFAULT
					       : "none",
		   *why;
	char have[SIZE_TEXT];

	if (o->codec == ZCODEC_OFF || !strcmp(text, "none") || !truth(text)) {
		o->codec = ZCODEC_OFF;
		o->zmem_bytes = 0;
		return 0;
	}
	if (size_parse(text, o->memory_bytes, &o->zmem_bytes, &why)) {
		complain("run", "%s '%s': %s", o->zmem_from, text, why);
		return EXIT_BAD_USAGE;
	}
	o->zmem_bytes &= ~UINT64_C(4095);
	if (o->zmem_bytes < WEIR_ZMEM_MIN || o->zmem_bytes > most) {
		complain("run",
			 "%s '%s': from %s to %d%% of the budget, or 'none'",
			 o->zmem_from, text,
			 size_format(WEIR_ZMEM_MIN, have, sizeof(have)),
			 ZMEM_MAX_PERCENT);
		return EXIT_BAD_USAGE;
	}
	return 0;
}

static int check_together(struct run_options *o)
{
	if (!o->memory_bytes) {
		complain("run", "how much memory? --memory SIZE is needed, for "
				"example --memory 256M");
		return EXIT_BAD_USAGE;
	}
	if (o->tun.min_free_kbytes > o->memory_bytes / 4 / 1024) {
		complain("run", "min_free_kbytes %llu is more than a quarter "
				"of the budget",
			 (unsigned long long)o->tun.min_free_kbytes);
		return EXIT_BAD_USAGE;
	}
	return resolve_zmem(o);
}

int run_options_parse(int argc, char **argv, struct run_options *o, int *next)
{
	int i, rc;

	memset(o, 0, sizeof(*o));
	weir__tunables_default(&o->tun);
	o->codec = ZCODEC_LZ4;
	o->level = ZCODEC_LEVEL_DEFAULT;
	for (i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h") ||
		    argv[i][0] != '-')
			break;
	if (i < argc && (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))) {
		o->help = true;
		return 0;
	}
	rc = read_environment(o);
	for (i = 1; !rc && i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
		if (!strcmp(argv[i], "--")) {
			i++;
			break;
		}
		rc = read_option(o, argc, argv, &i);
	}
	if (!rc)
		rc = check_together(o);
	if (!rc && i >= argc) {
		complain("run", "no command: weir run [OPTIONS] -- COMMAND "
				"[ARGUMENTS]");
		rc = EXIT_BAD_USAGE;
	}
	*next = i;
	return rc;
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

void run_options_help(FILE *to)
{
	char head[80];

	for (size_t i = 0; i < NR_OPTIONS; i++) {
		const struct option_info *o = &infos[i];

		snprintf(head, sizeof(head), "--%s%s%s", o->name,
			 o->kind == WORD ? " " : "", o->arg ? o->arg : "");
		put_help(to, head, o->help);
	}
}
