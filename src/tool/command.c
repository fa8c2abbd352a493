/* SPDX-License-Identifier: MIT */
/*
 * Finds the program to run and refuses what an agent cannot be preloaded into:
 * better not to run at all than to run without the budget that was asked for.
 */
#include "tool/tool.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* As deep as the kernel follows "#!" lines. */
#define SCRIPT_DEPTH 5

struct verdict {
	int status;
	char *err;
	size_t errlen;
	const char *name; /* as the user wrote it */
};

static int refuse(struct verdict *v, int status, const char *what)
{
	v->status = status;
	snprintf(v->err, v->errlen, "%.300s: %s", v->name, what);
	return status;
}

/* --- finding it ------------------------------------------------------- */

static int usable(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode) || access(path, X_OK))
		return -EACCES;
	return 0;
}

/* As execvp: a file that may not be executed does not end the search. */
static int search_path(const char *name, char *out, size_t len)
{
	const char *path = getenv("PATH");
	int result = -ENOENT;

	if (!path)
		path = "/bin:/usr/bin";
	for (;;) {
		size_t n = strcspn(path, ":");
		int rc;

		if (snprintf(out, len, "%.*s%s%s", (int)n, path, n ? "/" : "",
			     name) < (int)len) {
			rc = usable(out);
			if (!rc)
				return 0;
			if (rc == -EACCES)
				result = rc;
		}
		if (!path[n])
			return result;
		path += n + 1;
	}
}

/* --- looking inside --------------------------------------------------- */

static ssize_t read_at(int fd, void *buf, size_t len, uint64_t off)
{
	return off > INT64_MAX ? -1 : pread(fd, buf, len, (off_t)off);
}

/* The path of the dynamic linker that `fd` asks for. 0, -ENOENT when it asks
 * for none, -ENOEXEC. */
static int elf_interpreter(int fd, const Elf64_Ehdr *h, char *out, size_t len)
{
	for (unsigned i = 0; i < h->e_phnum; i++) {
		Elf64_Phdr p;

		if (read_at(fd, &p, sizeof(p),
			    h->e_phoff + (uint64_t)i * h->e_phentsize) !=
		    sizeof(p))
			return -ENOEXEC;
		if (p.p_type != PT_INTERP)
			continue;
		if (p.p_filesz < 2 || p.p_filesz > len ||
		    read_at(fd, out, p.p_filesz, p.p_offset) !=
			    (ssize_t)p.p_filesz)
			return -ENOEXEC;
		out[p.p_filesz - 1] = '\0';
		return 0;
	}
	return -ENOENT;
}

/* The dynamic linker weir itself runs under: the agent needs the same. */
static int own_interpreter(char *out, size_t len)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	Elf64_Ehdr h;
	int rc = -ENOEXEC;

	if (fd < 0)
		return -errno;
	if (pread(fd, &h, sizeof(h), 0) == sizeof(h))
		rc = elf_interpreter(fd, &h, out, len);
	close(fd);
	return rc;
}

static bool same_file(const char *a, const char *b)
{
	struct stat sa, sb;

	return !stat(a, &sa) && !stat(b, &sb) && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

static int check_elf(struct verdict *v, int fd, const Elf64_Ehdr *h)
{
	char interp[PATH_MAX], own[PATH_MAX];

	if (h->e_ident[EI_CLASS] != ELFCLASS64)
		return refuse(v, EXIT_UNAVAILABLE,
			      "a 32-bit program; weir's agent cannot be "
			      "preloaded into it");
	switch (elf_interpreter(fd, h, interp, sizeof(interp))) {
	case 0:
		break;
	case -ENOENT:
		return refuse(v, EXIT_UNAVAILABLE,
			      "statically linked; weir's agent is preloaded by "
			      "the dynamic linker, which it does not use");
	default:
		return refuse(v, EXIT_CANNOT_EXEC, "not a whole ELF file");
	}
	if (!own_interpreter(own, sizeof(own)) && !same_file(interp, own))
		return refuse(v, EXIT_UNAVAILABLE,
			      "built for another C library than weir; its "
			      "dynamic linker cannot load the agent");
	return 0;
}

static int check_rights(struct verdict *v, int fd, const char *path)
{
	struct stat st;

	if (fd >= 0 ? fstat(fd, &st) : stat(path, &st))
		return refuse(v, EXIT_CANNOT_EXEC, strerror(errno));
	if ((st.st_mode & S_ISUID && st.st_uid != geteuid()) ||
	    (st.st_mode & S_ISGID && st.st_mode & S_IXGRP &&
	     st.st_gid != getegid()))
		return refuse(v, EXIT_UNAVAILABLE,
			      "set-user-ID or set-group-ID; the system keeps "
			      "preloaded libraries out of such programs");
	if (geteuid() && getxattr(path, "security.capability", NULL, 0) > 0)
		return refuse(v, EXIT_UNAVAILABLE,
			      "has file capabilities; the system keeps "
			      "preloaded libraries out of such programs");
	return 0;
}

/* The interpreter named by a "#!" line, in place. NULL when there is none. */
static char *script_interpreter(char *line)
{
	char *s = line + 2;

	s += strspn(s, " \t");
	s[strcspn(s, " \t\n")] = '\0';
	return *s ? s : NULL;
}

static int check_file(struct verdict *v, const char *path, int depth)
{
	union {
		Elf64_Ehdr elf;
		char text[256];
	} head;
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc;
	char *next;
	ssize_t n;

	rc = check_rights(v, fd, path);
	if (rc || fd < 0) /* executable but not readable: cannot look inside */
		goto out;
	memset(&head, 0, sizeof(head));
	n = pread(fd, &head, sizeof(head) - 1, 0);
	if (n >= (ssize_t)sizeof(head.elf) &&
	    !memcmp(head.elf.e_ident, ELFMAG, SELFMAG)) {
		rc = check_elf(v, fd, &head.elf);
		goto out;
	}
	/* Anything else is a script: the kernel runs what "#!" names, and
	 * execvp gives what it does not know to the shell. */
	next = "/bin/sh";
	if (n > 2 && !memcmp(head.text, "#!", 2))
		next = script_interpreter(head.text);
	if (!next || depth == SCRIPT_DEPTH) {
		rc = refuse(v, EXIT_CANNOT_EXEC, "bad interpreter line");
		goto out;
	}
	rc = usable(next);
	if (rc)
		rc = refuse(v,
			    rc == -ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXEC,
			    rc == -ENOENT ? "its interpreter does not exist" :
					    "its interpreter cannot be run");
	else
		rc = check_file(v, next, depth + 1);
out:
	if (fd >= 0)
		close(fd);
	return rc;
}

int command_check(const char *name, char *path, size_t pathlen, char *err,
		  size_t errlen)
{
	struct verdict v = {0, err, errlen, name};
	int rc;

	if (!*name) {
		snprintf(err, errlen, "the name of the command is empty");
		return EXIT_NOT_FOUND;
	}
	if (strchr(name, '/')) {
		snprintf(path, pathlen, "%s", name);
		rc = usable(name);
	} else {
		rc = search_path(name, path, pathlen);
	}
	switch (rc) {
	case 0:
		return check_file(&v, path, 0);
	case -ENOENT:
	case -ENOTDIR:
		return refuse(&v, EXIT_NOT_FOUND,
			      strchr(name, '/') ? "no such file" :
						  "not found in PATH");
	case -EISDIR:
		return refuse(&v, EXIT_CANNOT_EXEC, "a directory");
	default:
		return refuse(&v, EXIT_CANNOT_EXEC,
			      "this user may not execute it");
	}
}
