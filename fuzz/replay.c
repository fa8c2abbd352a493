/* SPDX-License-Identifier: MIT */
/*
 * A fuzz target without a fuzzer: gives it the files named, or all files of
 * the directories named, one after the other. What once broke stays mended.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static unsigned files;

static void run_file(const char *path)
{
	FILE *f = fopen(path, "re");
	uint8_t *data = NULL;
	size_t len = 0, room = 0, got;

	if (!f) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
	do {
		room = room * 2 + 4096;
		data = realloc(data, room);
		must(data);
		got = fread(data + len, 1, room - len, f);
		len += got;
	} while (len == room);
	fclose(f);
	/* Exactly as large as it is: reading beyond it is seen. */
	data = realloc(data, len ? len : 1);
	must(data);
	LLVMFuzzerTestOneInput(data, len);
	free(data);
	files++;
}

static void run_directory(const char *path)
{
	struct dirent **entry;
	int n = scandir(path, &entry, NULL, alphasort);

	if (n < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
	for (int i = 0; i < n; i++) {
		char *name;

		if (entry[i]->d_name[0] != '.') {
			must(asprintf(&name, "%s/%s", path, entry[i]->d_name) >
			     0);
			run_file(name);
			free(name);
		}
		free(entry[i]);
	}
	free(entry);
}

int main(int argc, char **argv)
{
	struct stat st;

	for (int i = 1; i < argc; i++) {
		if (!stat(argv[i], &st) && S_ISDIR(st.st_mode))
			run_directory(argv[i]);
		else
			run_file(argv[i]);
	}
	printf("%u inputs\n", files);
	return files ? 0 : 1;
}
