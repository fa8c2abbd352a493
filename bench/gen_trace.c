/* SPDX-License-Identifier: MIT */
/*
 * Makes traces to measure with: the same options and seed give the same trace.
 *
 *   gen_trace [OPTIONS] PATTERN...
 *
 * Each PATTERN has pages of its own, one pattern's behind the other's:
 *   zipf:PAGES[:ALPHA]   the page of rank k with a chance of 1/k^ALPHA
 *                        (default 0.99); ranks are scattered over the pages
 *   uniform:PAGES        any page
 *   loop:PAGES           one after the other, from the start again
 *   scan:PAGES           the same, but no page twice: each round has new ones
 * and may end in @WEIGHT (default 1): its share of the requests.
 *
 *   -n, --requests N     how many (default 20M); K, M, G are powers of 1000
 *   -s, --seed N         (default 1)
 *   -f, --format F       oracleGeneral (default), binary or text
 *   -o, --output FILE    (default: standard output)
 *   -w, --writes N       percent of the requests that write (default 0; not in
 *                        oracleGeneral, which knows no writes)
 *   -b, --burst N        so many requests of one pattern before another may
 *                        have its turn (default 1)
 *   -r, --rate N         requests a second, as times say (default 1M)
 *       --regions        binary, text: a process that maps what it touches,
 *                        not bare pages
 *       --no-next        oracleGeneral: no forward pointers, which need 8
 *                        bytes of memory for each request and page
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace/trace.h"

#define PATTERNS_MAX 16
#define SECOND       UINT64_C(1000000000)

enum kind { ZIPF, UNIFORM, LOOP, SCAN };

struct pattern {
	enum kind kind;
	uint64_t pages, first, next;
	double alpha, weight;
	uint32_t *alias; /* zipf: Walker's tables */
	uint32_t *limit;
	uint64_t factor; /* zipf: rank * factor mod pages scatters */
};

struct gen {
	struct pattern pattern[PATTERNS_MAX];
	unsigned nr_patterns, current;
	uint64_t requests, seed, burst, left, rate, writes;
	uint64_t rng[4];
	bool regions, no_next;
	enum trace_format format;
	FILE *to;
};

static void die(const char *fmt, const char *arg)
{
	fputs("gen_trace: ", stderr);
	fprintf(stderr, fmt, arg);
	fputc('\n', stderr);
	exit(64);
}

static void *grab(size_t nr, size_t size)
{
	void *p = calloc(nr, size);

	if (!p) {
		fputs("gen_trace: not enough memory\n", stderr);
		exit(71);
	}
	return p;
}

/* --- random numbers: xoshiro256**, seeded by splitmix64 ----------------- */

static uint64_t rotl(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

static uint64_t random64(struct gen *g)
{
	uint64_t *s = g->rng, out = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return out;
}

static uint64_t below(struct gen *g, uint64_t n)
{
	return (uint64_t)((unsigned __int128)random64(g) * n >> 64);
}

static void seed(struct gen *g)
{
	uint64_t x = g->seed;

	for (int i = 0; i < 4; i++) {
		uint64_t z = x += 0x9e3779b97f4a7c15u;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
		z = (z ^ z >> 27) * 0x94d049bb133111ebu;
		g->rng[i] = z ^ z >> 31;
	}
}

/* --- patterns ----------------------------------------------------------- */

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t t = a % b;

		a = b;
		b = t;
	}
	return a;
}

/*
 * Walker's method: rank i is kept when a random number is below limit[i], else
 * alias[i] is taken. One look into the tables for each request.
 */
static void zipf_tables(struct pattern *p)
{
	uint64_t n = p->pages, nr_small = 0, nr_large = 0;
	double *share = grab(n, sizeof(*share)), sum = 0;
	uint32_t *small = grab(n, sizeof(*small));
	uint32_t *large = grab(n, sizeof(*large));

	p->alias = grab(n, sizeof(*p->alias));
	p->limit = grab(n, sizeof(*p->limit));
	for (uint64_t i = n; i--;) /* the small ones first: less rounding */
		sum += share[i] = pow((double)(i + 1), -p->alpha);
	for (uint64_t i = 0; i < n; i++) {
		share[i] *= (double)n / sum;
		if (share[i] < 1)
			small[nr_small++] = (uint32_t)i;
		else
			large[nr_large++] = (uint32_t)i;
	}
	while (nr_small && nr_large) {
		uint32_t s = small[--nr_small], l = large[nr_large - 1];

		p->limit[s] = (uint32_t)(share[s] * UINT32_MAX);
		p->alias[s] = l;
		share[l] -= 1 - share[s];
		if (share[l] < 1) {
			nr_large--;
			small[nr_small++] = l;
		}
	}
	while (nr_large || nr_small) {
		uint32_t i = nr_large ? large[--nr_large] : small[--nr_small];

		p->limit[i] = UINT32_MAX;
		p->alias[i] = i;
	}
	free(share);
	free(small);
	free(large);
	/* The golden section, made coprime: neighbours in rank lie apart. */
	p->factor = (uint64_t)((double)n * 0.6180339887498949) | 1;
	while (gcd(p->factor, n) != 1)
		p->factor += 2;
}

static uint64_t pattern_next(struct gen *g, struct pattern *p)
{
	uint64_t r, rank;

	switch (p->kind) {
	case ZIPF:
		r = random64(g);
		rank = (r >> 32) * p->pages >> 32;
		if ((uint32_t)r > p->limit[rank])
			rank = p->alias[rank];
		return p->first + rank * p->factor % p->pages;
	case UNIFORM:
		return p->first + below(g, p->pages);
	case LOOP:
		r = p->next++;
		if (p->next == p->pages)
			p->next = 0;
		return p->first + r;
	default:
		return p->first + p->next++;
	}
}

static uint64_t request(struct gen *g)
{
	double at, sum = 0;
	unsigned i = 0;

	if (!g->left--) {
		g->left = g->burst - 1;
		at = (double)(random64(g) >> 11) / (double)(1ull << 53);
		while (i + 1 < g->nr_patterns &&
		       at >= (sum += g->pattern[i].weight))
			i++;
		g->current = i;
	}
	return pattern_next(g, &g->pattern[g->current]);
}

/* --- output ------------------------------------------------------------- */

static void put(struct gen *g, const void *data, size_t len)
{
	if (fwrite(data, 1, len, g->to) == len)
		return;
	fprintf(stderr, "gen_trace: cannot write: %s\n", strerror(errno));
	exit(74);
}

static void put_oracle(struct gen *g, const uint64_t *page, const int64_t *next)
{
	uint8_t buf[24 * 1024];
	size_t used = 0;

	for (uint64_t i = 0; i < g->requests; i++) {
		uint32_t seconds = (uint32_t)(i / g->rate), size = 4096;
		uint64_t id = page ? page[i] : request(g);
		int64_t then = next ? next[i] : -1;

		memcpy(buf + used, &seconds, 4);
		memcpy(buf + used + 4, &id, 8);
		memcpy(buf + used + 12, &size, 4);
		memcpy(buf + used + 16, &then, 8);
		used += 24;
		if (used == sizeof(buf)) {
			put(g, buf, used);
			used = 0;
		}
	}
	put(g, buf, used);
}

static uint64_t footprint(const struct gen *g)
{
	const struct pattern *last = &g->pattern[g->nr_patterns - 1];

	/* A scan has new pages to the end. */
	return last->first + (last->kind == SCAN ? g->requests : last->pages);
}

static void gen_oracle(struct gen *g)
{
	uint64_t *page;
	int64_t *next, *seen;

	if (g->no_next) {
		put_oracle(g, NULL, NULL);
		return;
	}
	page = grab(g->requests, sizeof(*page));
	next = grab(g->requests, sizeof(*next));
	seen = grab(footprint(g), sizeof(*seen));
	for (uint64_t i = 0; i < g->requests; i++)
		page[i] = request(g);
	for (uint64_t i = g->requests; i--;) {
		next[i] = seen[page[i]] ? seen[page[i]] : -1;
		seen[page[i]] = (int64_t)i;
	}
	put_oracle(g, page, next);
	free(page);
	free(next);
	free(seen);
}

static void write_events(struct trace_writer *w, const struct trace_event *ev,
			 unsigned nr)
{
	int rc = trace_write(w, ev, nr);

	if (!rc)
		return;
	fprintf(stderr, "gen_trace: cannot write: %s\n", strerror(-rc));
	exit(74);
}

static void gen_weir(struct gen *g)
{
	struct trace_info info = {
	    .format = g->format, .has_regions = g->regions, .has_time = true};
	struct trace_event ev[TRACE_BATCH];
	struct trace_writer *w;
	unsigned n = 0;
	int rc = trace_writer_open(&w, g->to, &info);

	if (rc)
		die("%s", strerror(-rc));
	if (g->regions) {
		ev[0] = (struct trace_event){.op = TRACE_MMAP,
					     .pid = TRACE_PID_DEFAULT,
					     .nr = footprint(g),
					     .access = TRACE_R | TRACE_W};
		write_events(w, ev, 1);
	}
	for (uint64_t i = 0; i < g->requests; i++) {
		ev[n] = (struct trace_event){.op = TRACE_TOUCH,
					     .time = i * SECOND / g->rate,
					     .pid = TRACE_PID_DEFAULT,
					     .page = request(g),
					     .nr = 1,
					     .stride = 1,
					     .access = TRACE_R};
		if (g->writes && below(g, 100) < g->writes)
			ev[n].access = TRACE_W;
		if (++n == TRACE_BATCH) {
			write_events(w, ev, n);
			n = 0;
		}
	}
	write_events(w, ev, n);
	rc = trace_writer_close(w);
	if (!rc)
		return;
	fprintf(stderr, "gen_trace: cannot write: %s\n", strerror(-rc));
	exit(74);
}

/* --- options ------------------------------------------------------------ */

static uint64_t number(const char *text, char end, const char **rest)
{
	char *p;
	double v;

	errno = 0;
	v = strtod(text, &p);
	if (p == text || errno || !(v >= 0) || v > 1e15)
		die("'%s': a number is needed", text);
	if (*p == 'K' || *p == 'k')
		v *= 1e3, p++;
	else if (*p == 'M')
		v *= 1e6, p++;
	else if (*p == 'G')
		v *= 1e9, p++;
	if (*p && *p != end && *p != '@')
		die("'%s': a number is needed", text);
	*rest = p;
	return (uint64_t)v;
}

static uint64_t whole(const char *text)
{
	const char *rest;
	uint64_t v = number(text, '\0', &rest);

	if (*rest)
		die("'%s': a number is needed", text);
	return v;
}

static void add_pattern(struct gen *g, const char *text)
{
	static const char *const names[] = {
	    "zipf:", "uniform:", "loop:", "scan:"};
	struct pattern *p = &g->pattern[g->nr_patterns];
	const char *rest = NULL;
	char *end;

	if (g->nr_patterns == PATTERNS_MAX)
		die("%s is one pattern too many", text);
	for (unsigned i = 0; i < 4; i++)
		if (!strncmp(text, names[i], strlen(names[i]))) {
			p->kind = (enum kind)i;
			rest = text + strlen(names[i]);
		}
	if (!rest)
		die("'%s': zipf, uniform, loop or scan is needed", text);
	p->pages = number(rest, ':', &rest);
	p->alpha = 0.99;
	p->weight = 1;
	if (*rest == ':' && p->kind == ZIPF) {
		p->alpha = strtod(rest + 1, &end);
		rest = end;
	}
	if (*rest == '@') {
		p->weight = strtod(rest + 1, &end);
		rest = end;
	}
	if (*rest || !p->pages || !(p->weight > 0) || !(p->alpha >= 0) ||
	    (p->kind == ZIPF && p->pages > UINT32_MAX))
		die("'%s' is no pattern", text);
	g->nr_patterns++;
}

static void arrange(struct gen *g)
{
	uint64_t first = 0;
	double sum = 0;
	unsigned scan = PATTERNS_MAX;

	for (unsigned i = 0; i < g->nr_patterns; i++) {
		struct pattern *p = &g->pattern[i];

		sum += p->weight;
		if (p->kind == ZIPF)
			zipf_tables(p);
		if (p->kind == SCAN && scan != PATTERNS_MAX)
			die("one %s is enough: it has new pages for ever",
			    "scan");
		if (p->kind == SCAN)
			scan = i;
	}
	/* The scan goes last: its pages have no end. */
	if (scan != PATTERNS_MAX) {
		struct pattern moved = g->pattern[scan];

		g->pattern[scan] = g->pattern[g->nr_patterns - 1];
		g->pattern[g->nr_patterns - 1] = moved;
	}
	for (unsigned i = 0; i < g->nr_patterns; i++) {
		g->pattern[i].weight /= sum;
		g->pattern[i].first = first;
		first += g->pattern[i].pages;
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"requests", required_argument, NULL, 'n'},
	    {"seed", required_argument, NULL, 's'},
	    {"format", required_argument, NULL, 'f'},
	    {"output", required_argument, NULL, 'o'},
	    {"writes", required_argument, NULL, 'w'},
	    {"burst", required_argument, NULL, 'b'},
	    {"rate", required_argument, NULL, 'r'},
	    {"regions", no_argument, NULL, 'R'},
	    {"no-next", no_argument, NULL, 'N'},
	    {NULL, 0, NULL, 0},
	};
	static struct gen g = {.requests = 20000000,
			       .seed = 1,
			       .burst = 1,
			       .rate = 1000000,
			       .format = TRACE_FMT_ORACLE};
	int c;

	g.to = stdout;
	while ((c = getopt_long(argc, argv, "n:s:f:o:w:b:r:", options, NULL)) !=
	       -1) {
		switch (c) {
		case 'n':
			g.requests = whole(optarg);
			break;
		case 's':
			g.seed = whole(optarg);
			break;
		case 'f':
			if (trace_format_parse(optarg, &g.format))
				die("no format '%s'", optarg);
			break;
		case 'o':
			g.to = fopen(optarg, "we");
			if (!g.to)
				die("%s: cannot be made", optarg);
			break;
		case 'w':
			g.writes = whole(optarg);
			break;
		case 'b':
			g.burst = whole(optarg);
			break;
		case 'r':
			g.rate = whole(optarg);
			break;
		case 'R':
			g.regions = true;
			break;
		case 'N':
			g.no_next = true;
			break;
		default:
			return 64;
		}
	}
	for (; optind < argc; optind++)
		add_pattern(&g, argv[optind]);
	if (!g.nr_patterns || !g.burst || !g.rate || g.writes > 100)
		die("%s: what is to be done? The top of its source says how",
		    "PATTERN");
	seed(&g);
	arrange(&g);
	if (g.format == TRACE_FMT_ORACLE)
		gen_oracle(&g);
	else
		gen_weir(&g);
	if (fclose(g.to)) {
		fprintf(stderr, "gen_trace: cannot write: %s\n",
			strerror(errno));
		return 74;
	}
	return 0;
}
