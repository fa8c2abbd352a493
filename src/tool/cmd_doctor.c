/* SPDX-License-Identifier: MIT */
/*
 * weir doctor: what this machine allows, what it would take, and why, in words
 * a user can act on. Exit status 0 when `weir run` works here, 69 when not.
 */
#include "tool/tool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "host/live/shared.h"
#include "store/zcodec.h"

void doctor_help(void)
{
	fputs("usage: weir doctor [--swap PATH[:SIZE]]\n\n"
	      "Says what this machine allows and what to do about what it does "
	      "not.\nLines begin with 'ok', 'note' (it works, but...) or 'NO' "
	      "(weir run cannot\nwork).\n\n"
	      "Exit status: 0 weir run works here; 69 it does not; 64 bad "
	      "usage.\n",
	      stdout);
}

static void line(const char *mark, const char *what, const char *text)
{
	printf("%-5s %-14s %s\n", mark, what, text);
}

static void put_indented(const char *text)
{
	printf("        %s\n", text);
}

static const char *access_text(int rc)
{
	switch (rc) {
	case 0:
		return "yes";
	case -ENOSYS:
		return "not in this kernel";
	case -ENOENT:
		return "no such device";
	case -EPERM:
	case -EACCES:
		return "not for this user";
	default:
		return strerror(-rc);
	}
}

static void say_userfaultfd(const struct machine *m, const char *refusal)
{
	char text[160];

	line("ok", "kernel", m->release);
	snprintf(text, sizeof(text), "system call: %s; /dev/userfaultfd: %s",
		 access_text(m->uffd_syscall), access_text(m->uffd_device));
	line(m->uffd_syscall && m->uffd_device ? "NO" : "ok", "userfaultfd",
	     text);
	if (!m->uffd_user || !m->uffd_syscall || !m->uffd_device)
		for (const struct uffd_need *n = uffd_needs; n->bit; n++) {
			if (m->features & n->bit)
				continue;
			snprintf(text, sizeof(text),
				 "lacks %s (Linux %s), %s", n->name, n->since,
				 n->what);
			line("NO", "", text);
		}
	if (refusal) {
		snprintf(text, sizeof(text), "%s.", refusal);
		put_indented(text);
		machine_remedy(m, put_indented);
		return;
	}
	line("note", "fork",
	     "forks made through the C library are followed, which is");
	put_indented("nearly all of them.");
}

static void say_disk(const struct machine *m, const struct swap_place *p)
{
	char text[4300], size[SIZE_TEXT], swap[SIZE_TEXT];

	if (m->uring)
		snprintf(text, sizeof(text),
			 "refused (%s): threads do the I/O, a little slower",
			 strerror(-m->uring));
	line(m->uring ? "note" : "ok", "io_uring", m->uring ? text : "yes");
	if (!p->bytes) {
		line("note", "swap",
		     "none: what does not fit, even compressed, ends the "
		     "program");
		return;
	}
	snprintf(text, sizeof(text), "%s: %s free, %s to be used", p->path,
		 size_format(p->free_bytes, size, sizeof(size)),
		 size_format(p->bytes, swap, sizeof(swap)));
	line(p->bytes > p->free_bytes ? "note" : "ok", "swap", text);
	if (p->in_memory)
		line("note", "",
		     "this directory is held in memory: what is taken out "
		     "stays in RAM");
	line(p->direct ? "ok" : "note", "O_DIRECT",
	     p->direct ? "yes" :
			 "not there: pages pass through the system's cache");
}

static void say_compression(void)
{
	char text[120];

	snprintf(text, sizeof(text),
		 "LZ4 %s, Zstandard %s: pages are kept in memory first",
		 zcodec_version(ZCODEC_LZ4), zcodec_version(ZCODEC_ZSTD));
	line("ok", "compression", text);
}

static void say_limits(const struct machine *m)
{
	char text[120], size[SIZE_TEXT];

	if (m->memlock_bytes == UINT64_MAX)
		snprintf(text, sizeof(text), "no limit");
	else
		snprintf(text, sizeof(text), "%s may be locked",
			 size_format(m->memlock_bytes, size, sizeof(size)));
	line("ok", "memlock", text);
	snprintf(text, sizeof(text), "%s", m->thp);
	line("ok", "huge pages", text);
	line("ok", "memory", size_format(m->ram_bytes, size, sizeof(size)));
}

int cmd_doctor(int argc, char **argv)
{
	const char *swap = swap_default_dir(), *refusal;
	static struct swap_place place;
	static struct machine m;
	char err[4300];
	int rc;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			doctor_help();
			return 0;
		}
		if (!strncmp(argv[i], "--swap=", 7)) {
			swap = argv[i] + 7;
		} else if (!strcmp(argv[i], "--swap") && i + 1 < argc) {
			swap = argv[++i];
		} else {
			complain("doctor", "unknown option '%s'; "
					   "weir help doctor lists them",
				 argv[i]);
			return EXIT_BAD_USAGE;
		}
	}
	machine_probe(&m);
	refusal = machine_refusal(&m);
	say_userfaultfd(&m, refusal);
	rc = swap_place_parse(swap, &place, err, sizeof(err));
	if (rc)
		line("NO", "swap", err);
	else
		say_disk(&m, &place);
	say_compression();
	say_limits(&m);
	if (refusal || rc) {
		puts("\nweir run does not work here: see the lines marked NO.");
		return rc == EXIT_BAD_USAGE ? rc : EXIT_UNAVAILABLE;
	}
	puts("\nweir run works here.");
	return 0;
}
