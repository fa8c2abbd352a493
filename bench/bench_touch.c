/* SPDX-License-Identifier: MIT */
/*
 * Touches anonymous memory in one pattern and says what a touch costs.
 *
 *   bench_touch MODE SIZE OPS SEED [lat] [huge]
 *
 *   MODE   randread   one word of a random page is read
 *          randwrite  one word of a random page is read and changed
 *          seqscan    one word of each page in turn, from the start again
 *          zipf       as randread, but half of the touches go to an eighth
 *                     of the pages, half of the rest to the next eighth ...
 *   SIZE   bytes, with K, M or G
 *   OPS    touches that are timed, after all of the memory was filled
 *   SEED   of the random numbers: the same seed does the same
 *   lat    also the distribution; each touch is then timed by itself, which
 *          adds the cost of reading the clock
 *   huge   asks for huge pages
 *
 * Prints one line: nanoseconds per touch, and a checksum of all that was read.
 * It knows nothing of weir: the same binary runs plain, under weir run and in
 * a memory cgroup, and the checksums must agree.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE    4096u
#define WORDS   (PAGE / sizeof(uint64_t))
#define BUCKETS 64 * 16 /* of latency: sixteen to each power of two */

struct bench {
	uint64_t *mem;
	uint64_t pages, ops;
	uint64_t rng, sum, next;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t random64(uint64_t *s)
{
	uint64_t z = *s += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static uint64_t *word_of(struct bench *b, uint64_t page, uint64_t r)
{
	return &b->mem[page * WORDS + r % WORDS];
}

static uint64_t random_page(struct bench *b, uint64_t r)
{
	return (uint64_t)((unsigned __int128)r * b->pages >> 64);
}

static void touch_randread(struct bench *b)
{
	uint64_t r = random64(&b->rng);

	b->sum += *word_of(b, random_page(b, r), r);
}

static void touch_randwrite(struct bench *b)
{
	uint64_t r = random64(&b->rng);
	uint64_t *w = word_of(b, random_page(b, r), r);

	b->sum += *w;
	*w ^= r;
}

static void touch_seqscan(struct bench *b)
{
	b->sum += *word_of(b, b->next, b->next);
	b->next = b->next + 1 < b->pages ? b->next + 1 : 0;
}

static void touch_zipf(struct bench *b)
{
	uint64_t r = random64(&b->rng), eighth = 0;

	while (eighth < 7 && r >> eighth & 1)
		eighth++;
	b->sum += *word_of(
	    b, (random_page(b, random64(&b->rng)) + eighth * b->pages) / 8,
	    r >> 8);
}

static const struct mode {
	const char *name;
	void (*touch)(struct bench *b);
} modes[] = {
    {"randread", touch_randread},
    {"randwrite", touch_randwrite},
    {"seqscan", touch_seqscan},
    {"zipf", touch_zipf},
};

/* A third of each page is random: compresses about 3:1, as real data does. */
static void fill(struct bench *b)
{
	for (uint64_t p = 0; p < b->pages; p++) {
		uint64_t *w = b->mem + p * WORDS, r = random64(&b->rng);

		for (unsigned i = 0; i < WORDS; i++)
			w[i] = i % 3 ? p : random64(&r);
	}
}

static unsigned bucket_of(uint64_t ns)
{
	unsigned log = ns < 16 ? 4 : 63 - (unsigned)__builtin_clzll(ns);

	return log * 16 + (unsigned)(ns >> (log - 4) & 15);
}

static uint64_t bucket_ns(unsigned k)
{
	return (uint64_t)(16 + k % 16) << (k / 16 - 4);
}

static uint64_t percentile(const uint64_t *hist, uint64_t ops, double p)
{
	uint64_t want = (uint64_t)((double)ops * p), seen = 0;
	unsigned k = 4 * 16;

	for (; k < BUCKETS - 1; k++) {
		seen += hist[k];
		if (seen > want)
			break;
	}
	return bucket_ns(k);
}

static void run_lat(struct bench *b, const struct mode *m)
{
	static uint64_t hist[BUCKETS];
	uint64_t begin = now_ns(), last = begin, now = begin;

	for (uint64_t i = 0; i < b->ops; i++, last = now) {
		m->touch(b);
		now = now_ns();
		hist[bucket_of(now - last)]++;
	}
	printf("%s %.1f ns/op checksum %016llx p50 %llu p99 %llu p999 %llu\n",
	       m->name, (double)(now - begin) / (double)b->ops,
	       (unsigned long long)b->sum,
	       (unsigned long long)percentile(hist, b->ops, 0.5),
	       (unsigned long long)percentile(hist, b->ops, 0.99),
	       (unsigned long long)percentile(hist, b->ops, 0.999));
}

static void run(struct bench *b, const struct mode *m)
{
	uint64_t begin = now_ns();

	for (uint64_t i = 0; i < b->ops; i++)
		m->touch(b);
	printf("%s %.1f ns/op checksum %016llx\n", m->name,
	       (double)(now_ns() - begin) / (double)b->ops,
	       (unsigned long long)b->sum);
}

static uint64_t size_of(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);
	const char *unit = *end ? strchr("KMG", *end) : NULL;

	if (end == text || (*end && (!unit || end[1])))
		return 0;
	return unit ? n << (10 * (*unit == 'K' ? 1 : *unit == 'M' ? 2 : 3)) : n;
}

/* Words after the four that must be there. */
static int wants(char **argv, const char *word)
{
	for (argv += 5; *argv; argv++)
		if (!strcmp(*argv, word))
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	const struct mode *m = NULL;
	struct bench b = {0};

	for (unsigned i = 0; argc >= 5 && i < sizeof(modes) / sizeof(*modes);
	     i++)
		if (!strcmp(argv[1], modes[i].name))
			m = &modes[i];
	if (m) {
		b.pages = size_of(argv[2]) / PAGE;
		b.ops = size_of(argv[3]);
		b.rng = strtoull(argv[4], NULL, 0);
	}
	if (!b.pages || !b.ops) {
		fprintf(stderr, "usage: bench_touch randread|randwrite|seqscan|"
				"zipf SIZE OPS SEED [lat] [huge]\n");
		return 64;
	}
	b.mem = mmap(NULL, b.pages * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b.mem == MAP_FAILED) {
		fprintf(stderr, "bench_touch: %s\n", strerror(errno));
		return 1;
	}
	if (wants(argv, "huge"))
		madvise(b.mem, b.pages * PAGE, MADV_HUGEPAGE);
	fill(&b);
	if (wants(argv, "lat"))
		run_lat(&b, m);
	else
		run(&b, m);
	return 0;
}
