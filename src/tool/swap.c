/* SPDX-License-Identifier: MIT */
/* Where evicted pages go: reads --swap and tries the place out. */
#include "tool/tool.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "host/live/shared.h"
#include "store/store.h"

/* What an unstated size becomes: most of what is free, within reason. */
#define SWAP_DEFAULT_MAX     (UINT64_C(64) << 30)
#define SWAP_DEFAULT_PERCENT 90

const char *swap_default_dir(void)
{
	const char *dir = getenv("TMPDIR");

	return dir && *dir ? dir : "/var/tmp";
}

static int refuse(char *err, size_t errlen, const char *path, const char *what)
{
	snprintf(err, errlen, "--swap %s: %s", path, what);
	return EXIT_CANTCREAT;
}

static int refuse_errno(char *err, size_t errlen, const char *path, int error)
{
	switch (error) {
	case ENOENT:
		return refuse(err, errlen, path, "no such directory");
	case ENOTDIR:
		return refuse(err, errlen, path,
			      "a part of the path is not a directory");
	case EACCES:
	case EPERM:
		return refuse(err, errlen, path,
			      "this user may not create files there");
	case EROFS:
		return refuse(err, errlen, path,
			      "the filesystem is read-only");
	case ENOSPC:
	case EDQUOT:
		return refuse(err, errlen, path, "no space left there");
	default:
		return refuse(err, errlen, path, strerror(error));
	}
}

/* Splits PATH:SIZE. *size is NULL when there is none: a colon that no digit
 * follows belongs to the path. */
static void split(char *arg, char **size)
{
	char *colon = strrchr(arg, ':');

	*size = NULL;
	if (colon && colon > arg &&
	    (isdigit((unsigned char)colon[1]) || colon[1] == '-' ||
	     !colon[1])) {
		*colon = '\0';
		*size = colon + 1;
	}
}

/* An absolute form of path, which may not exist itself. */
static int make_absolute(const char *path, struct swap_place *p)
{
	char dir[PATH_MAX], full[PATH_MAX];
	const char *slash = strrchr(path, '/'), *base;
	struct stat st;

	if (!*path)
		return -ENOENT;
	if (!stat(path, &st)) {
		if (!realpath(path, full))
			return -errno;
		p->directory = S_ISDIR(st.st_mode);
		if (!p->directory)
			return -EEXIST;
		snprintf(p->path, sizeof(p->path), "%s", full);
		return 0;
	}
	if (errno != ENOENT)
		return -errno;
	base = slash ? slash + 1 : path;
	if (!*base || !strcmp(base, ".") || !strcmp(base, ".."))
		return -ENOENT;
	snprintf(dir, sizeof(dir), "%.*s",
		 slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
	if (!realpath(dir, full))
		return -errno;
	if (snprintf(p->path, sizeof(p->path), "%s%s%s", full,
		     full[1] ? "/" : "", base) >= (int)sizeof(p->path))
		return -ENAMETOOLONG;
	return 0;
}

/* A file like the one to come, without a name. Descriptor or -errno. */
static int trial_file(const struct swap_place *p)
{
	int fd;

	if (p->directory) {
		char name[PATH_MAX];

		fd = open(p->path, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC,
			  0600);
		if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR &&
				errno != EINVAL))
			return fd < 0 ? -errno : fd;
		if (snprintf(name, sizeof(name), "%s/weir-XXXXXX", p->path) >=
		    (int)sizeof(name))
			return -ENAMETOOLONG;
		fd = mkostemp(name, O_CLOEXEC);
		if (fd < 0)
			return -errno;
		unlink(name);
		return fd;
	}
	fd = open(p->path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	unlink(p->path);
	return fd;
}

static int try_place(struct swap_place *p)
{
	static char page[4096] __attribute__((aligned(4096)));
	struct statvfs vfs;
	struct statfs fs;
	int fd = trial_file(p), err = 0;

	if (fd < 0)
		return fd;
	if (fstatvfs(fd, &vfs) || fstatfs(fd, &fs)) {
		err = -errno;
	} else {
		p->free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
		p->in_memory = fs.f_type == TMPFS_MAGIC ||
			       fs.f_type == RAMFS_MAGIC;
	}
	if (!err && pwrite(fd, page, sizeof(page), 0) != sizeof(page))
		err = errno ? -errno : -EIO;
	if (!err)
		p->direct = !fcntl(fd, F_SETFL, O_DIRECT) &&
			    pwrite(fd, page, sizeof(page), 0) == sizeof(page);
	close(fd);
	return err;
}

static uint64_t default_size(const struct swap_place *p)
{
	uint64_t bytes = p->free_bytes / 100 * SWAP_DEFAULT_PERCENT;
	struct rlimit lim;

	if (bytes > SWAP_DEFAULT_MAX)
		bytes = SWAP_DEFAULT_MAX;
	if (!getrlimit(RLIMIT_FSIZE, &lim) && lim.rlim_cur != RLIM_INFINITY &&
	    bytes > lim.rlim_cur)
		bytes = lim.rlim_cur;
	return bytes & ~UINT64_C(4095);
}

static int set_size(struct swap_place *p, const char *path, const char *size,
		    char *err, size_t errlen)
{
	char have[SIZE_TEXT], least[SIZE_TEXT];
	const char *why;

	size_format(WEIR_SWAP_MIN, least, sizeof(least));
	if (!size) {
		p->bytes = default_size(p);
		if (p->bytes >= WEIR_SWAP_MIN)
			return 0;
		snprintf(err, errlen, "--swap %s: only %s free there", path,
			 size_format(p->free_bytes, have, sizeof(have)));
		return EXIT_CANTCREAT;
	}
	if (size_parse(size, p->free_bytes, &p->bytes, &why)) {
		snprintf(err, errlen, "--swap %s: bad size '%s': %s", path,
			 size, why);
		return EXIT_BAD_USAGE;
	}
	p->bytes &= ~UINT64_C(4095);
	if (p->bytes < WEIR_SWAP_MIN) {
		snprintf(err, errlen,
			 "--swap %s: size '%s' is too small: at least %s "
			 "(or --swap none)",
			 path, size, least);
		return EXIT_BAD_USAGE;
	}
	return 0;
}

static void *trial_memory(void *ctx, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* The very call that each process will make, so that what is refused there is
 * refused here, before anything runs. Nothing is read or written. */
static int try_store(const struct swap_place *p, char *err, size_t errlen)
{
	static char ring; /* never used: no request is made */
	struct store_file_opts o = {
		.path = p->path,
		.bytes = p->bytes,
		.buffered = !p->direct,
		.ring = (struct uring *)&ring,
		.meta_alloc = trial_memory,
	};
	char why[PATH_MAX + 200];
	struct store *s;

	if (store_file_open(&o, &s, why, sizeof(why))) {
		snprintf(err, errlen, "--swap %s", why);
		return EXIT_CANTCREAT;
	}
	s->ops->close(s);
	return 0;
}

int swap_place_parse(const char *arg, struct swap_place *p, char *err,
		     size_t errlen)
{
	char path[PATH_MAX], *size;
	int rc;

	memset(p, 0, sizeof(*p));
	if (!strcmp(arg, "none"))
		return 0;
	if (snprintf(path, sizeof(path), "%s", arg) >= (int)sizeof(path)) {
		snprintf(err, errlen, "--swap: the path is too long");
		return EXIT_BAD_USAGE;
	}
	split(path, &size);
	rc = make_absolute(path, p);
	if (rc == -EEXIST)
		return refuse(err, errlen, path,
			      "it exists already; name a directory, or a file "
			      "that weir may create");
	if (!rc)
		rc = try_place(p);
	if (rc)
		return refuse_errno(err, errlen, path, -rc);
	rc = set_size(p, path, size, err, errlen);
	return rc ? rc : try_store(p, err, errlen);
}
