/* SPDX-License-Identifier: MIT */
/*
 * Fills memory with numbers that follow from their place, and looks whether
 * they are still there. usage: grow MIB PASSES [fork | hold | exec] [soft]
 * Prints "MIB PASSES right", or the first word that is not, exit status 9.
 *   fork  a child looks and writes, too, while the parent does
 *   hold  says "ready" when filled and waits for its end
 *   exec  becomes another grow after the first pass
 *   soft  three words in four repeat: compresses to about a third
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS (4096 / sizeof(uint64_t))

static uint64_t *mem;
static size_t pages;

static int soft;

static uint64_t word(size_t page, size_t i, uint64_t pass)
{
	uint64_t x = (page * WORDS + i + 1) * UINT64_C(0x9e3779b97f4a7c15);

	if (soft && i % 8 > 1)
		return page + pass;

	return (x ^ x >> 29) + pass;
}

/* Every page in an order that no readahead guesses: `step` is odd and the
 * number of pages a power of two or not, each is met once. */
static size_t place(size_t k, size_t step)
{
	return (k * step) % pages;
}

static void fill(uint64_t pass)
{
	for (size_t p = 0; p < pages; p++)
		for (size_t i = 0; i < WORDS; i++)
			mem[p * WORDS + i] = word(p, i, pass);
}

static void look(uint64_t pass, size_t step, int change)
{
	for (size_t k = 0; k < pages; k++) {
		size_t p = place(k, step);

		for (size_t i = 0; i < WORDS; i++) {
			uint64_t *w = &mem[p * WORDS + i];

			if (*w != word(p, i, pass)) {
				printf("page %zu word %zu is %llx, not %llx\n",
				       p, i, (unsigned long long)*w,
				       (unsigned long long)word(p, i, pass));
				exit(9);
			}
			if (change)
				*w = word(p, i, pass + 1);
		}
	}
}

static void passes(uint64_t first, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		look(first + i, i % 2 ? 1 : 7919, 1);
	look(first + nr, 1, 0);
}

static void with_child(unsigned nr)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		exit(8);
	passes(0, nr);
	if (!pid)
		_exit(0);
	if (waitpid(pid, &status, 0) != pid || status) {
		printf("the child ended with %x\n", status);
		exit(9);
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 3 ? argv[3] : "";
	unsigned nr;

	if (argc < 3)
		return 64;
	pages = (size_t)atoi(argv[1]) * 256;
	if (pages % 7919 == 0)
		pages--;
	nr = (unsigned)atoi(argv[2]);
	soft = argc > 3 && !strcmp(argv[argc - 1], "soft");
	mem = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return 8;
	fill(0);
	if (!strcmp(mode, "hold")) {
		puts("ready");
		fflush(stdout);
		for (;;)
			passes(0, 0);
	}
	if (!strcmp(mode, "fork"))
		with_child(nr);
	else
		passes(0, nr);
	if (!strcmp(mode, "exec")) {
		execl(argv[0], argv[0], argv[1], argv[2], (char *)NULL);
		return 8;
	}
	printf("%s %s right\n", argv[1], argv[2]);
	return 0;
}
