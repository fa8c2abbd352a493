/* SPDX-License-Identifier: MIT */
/*
 * What this machine allows: userfaultfd by each of its ways, its features,
 * io_uring, limits. The same answers serve `weir run`, which refuses, and
 * `weir doctor`, which explains.
 */
#include "tool/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/io_uring.h>

#include "host/live/uffd_abi.h"

const struct uffd_need uffd_needs[] = {
	{UFFD_FEATURE_PAGEFAULT_FLAG_WP, "write protection", "5.7",
	 "to see whether a page was written while it was being stored"},
	{UFFD_FEATURE_EVENT_REMAP, "mremap events", "4.11",
	 "to follow memory that moves"},
	{UFFD_FEATURE_EVENT_REMOVE, "madvise events", "4.11",
	 "to follow memory that the program gives back"},
	{UFFD_FEATURE_EVENT_UNMAP, "munmap events", "4.11",
	 "to follow memory that goes away"},
	{UFFD_FEATURE_POISON, "poison", "6.6",
	 "to fail the touch of a page that was lost"},
	{UFFD_FEATURE_MOVE, "move", "6.8", "to take pages out without a copy"},
	{0, NULL, NULL, NULL},
};

/* Asks a fresh descriptor for its features; closes it. */
static int uffd_api(int fd, uint64_t want, uint64_t *features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = want};
	int err = 0;

	if (ioctl(fd, UFFDIO_API, &api))
		err = -errno;
	else if (features)
		*features = api.features;
	close(fd);
	return err;
}

static int open_by_syscall(int flags)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);

	return fd < 0 ? -errno : fd;
}

static int open_by_device(void)
{
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd;

	if (dev < 0)
		return -errno;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		fd = -errno;
	close(dev);
	return fd;
}

static int try_way(int fd, struct machine *m)
{
	return fd < 0 ? fd : uffd_api(fd, 0, &m->features);
}

static void probe_uffd(struct machine *m)
{
	int fd;

	m->uffd_user = try_way(open_by_syscall(UFFD_USER_MODE_ONLY), m);
	m->uffd_device = try_way(open_by_device(), m);
	m->uffd_syscall = try_way(open_by_syscall(0), m);
	/* The fork event is a right of its own: CAP_SYS_PTRACE, however the
	 * descriptor was made. */
	fd = m->uffd_syscall ? open_by_device() : open_by_syscall(0);
	m->event_fork =
		fd >= 0 && !uffd_api(fd, UFFD_FEATURE_EVENT_FORK, NULL);
}

static int read_line(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, len - 1);
	close(fd);
	if (n < 0)
		return -EIO;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return 0;
}

static void probe_thp(struct machine *m)
{
	char buf[128], *open_bracket, *close_bracket;

	snprintf(m->thp, sizeof(m->thp), "unknown");
	if (read_line("/sys/kernel/mm/transparent_hugepage/enabled", buf,
		      sizeof(buf)))
		return;
	open_bracket = strchr(buf, '[');
	close_bracket = strchr(buf, ']');
	if (!open_bracket || !close_bracket || close_bracket < open_bracket)
		return;
	*close_bracket = '\0';
	snprintf(m->thp, sizeof(m->thp), "%.15s", open_bracket + 1);
}

static int probe_uring(void)
{
	struct io_uring_params p;
	int fd;

	memset(&p, 0, sizeof(p));
	fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

void machine_probe(struct machine *m)
{
	struct utsname u;
	struct rlimit lim;
	char buf[32];
	uint64_t v;

	memset(m, 0, sizeof(*m));
	if (!uname(&u))
		snprintf(m->release, sizeof(m->release), "%.64s", u.release);
	probe_uffd(m);
	m->uffd_sysctl = read_line("/proc/sys/vm/unprivileged_userfaultfd", buf,
				   sizeof(buf));
	if (!m->uffd_sysctl && !number_parse(buf, &v))
		m->uffd_sysctl = (int)v;
	m->uring = probe_uring();
	m->ram_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) *
		       (uint64_t)sysconf(_SC_PAGESIZE);
	m->memlock_bytes = UINT64_MAX;
	if (!getrlimit(RLIMIT_MEMLOCK, &lim) && lim.rlim_cur != RLIM_INFINITY)
		m->memlock_bytes = lim.rlim_cur;
	probe_thp(m);
}

const char *machine_refusal(const struct machine *m)
{
	static char text[160];

	if (sysconf(_SC_PAGESIZE) != 4096)
		return "the page size of this machine is not 4 KiB";
	if (getauxval(AT_SECURE))
		return "weir itself was started with raised rights "
		       "(set-user-ID or file capabilities), which the program "
		       "would not have";
	if (m->uffd_syscall && m->uffd_device) {
		if (m->uffd_syscall == -ENOSYS)
			return "this kernel has no userfaultfd";
		return "this user may not use userfaultfd";
	}
	for (const struct uffd_need *n = uffd_needs; n->bit; n++) {
		if (m->features & n->bit)
			continue;
		snprintf(text, sizeof(text),
			 "userfaultfd of this kernel (%s) lacks %s, there "
			 "since Linux %s",
			 m->release, n->name, n->since);
		return text;
	}
	return NULL;
}

static void remedy_rights(void (*put)(const char *line))
{
	struct passwd *pw = getpwuid(getuid());
	char line[160];

	put("Any one of these opens it, the narrowest first:");
	snprintf(line, sizeof(line),
		 "  sudo setfacl -m u:%.32s:rw /dev/userfaultfd   "
		 "(until the next boot)",
		 pw ? pw->pw_name : "NAME");
	put(line);
	put("  a udev rule, for good and for a group 'weir' that you are in:");
	put("    KERNEL==\"userfaultfd\", GROUP=\"weir\", MODE=\"0660\"");
	put("  sudo sysctl vm.unprivileged_userfaultfd=1        "
	    "(for every user)");
	put("  sudo weir run ...                                "
	    "(the program runs as root, too)");
	put("In a container, pass the device in (docker run "
	    "--device /dev/userfaultfd).");
	put("File capabilities on weir do not help: the program needs the "
	    "right itself.");
}

void machine_remedy(const struct machine *m, void (*put)(const char *line))
{
	if (sysconf(_SC_PAGESIZE) != 4096)
		return;
	if (getauxval(AT_SECURE)) {
		put("Take them off (sudo setcap -r, sudo chmod u-s) and open "
		    "/dev/userfaultfd to the");
		put("user instead: weir doctor says how.");
		return;
	}
	if (m->uffd_syscall && m->uffd_device) {
		if (m->uffd_syscall == -ENOSYS)
			put("It takes Linux 6.8 or later built with "
			    "CONFIG_USERFAULTFD.");
		else
			remedy_rights(put);
		return;
	}
	put("It takes Linux 6.8 or later.");
}
