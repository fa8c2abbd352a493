/* SPDX-License-Identifier: MIT */
#include "host/live/procmaps.h"

#include <string.h>

#include "host/live/sys.h"

int procmaps_open(struct procmaps *m)
{
	m->fd = sys_openat(AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC,
			   0);
	m->len = 0;
	m->pos = 0;
	m->eof = false;
	return m->fd < 0 ? m->fd : 0;
}

void procmaps_close(struct procmaps *m)
{
	if (m->fd >= 0)
		sys_close(m->fd);
}

/* A whole line at m->buf + m->pos, ended by a zero; NULL at the end. */
static char *line(struct procmaps *m)
{
	for (;;) {
		char *nl = memchr(m->buf + m->pos, '\n', m->len - m->pos);
		long n;

		if (nl) {
			char *s = m->buf + m->pos;

			*nl = 0;
			m->pos = (unsigned)(nl - m->buf) + 1;
			return s;
		}
		if (m->eof)
			return NULL;
		memmove(m->buf, m->buf + m->pos, m->len - m->pos);
		m->len -= m->pos;
		m->pos = 0;
		if (m->len == sizeof(m->buf)) /* a path longer than the buffer */
			m->len = 200;
		n = sys_read(m->fd, m->buf + m->len, sizeof(m->buf) - m->len);
		if (n <= 0)
			m->eof = true;
		else
			m->len += (unsigned)n;
	}
}

static uint64_t hex(const char **s)
{
	uint64_t v = 0;

	for (;; (*s)++) {
		char c = **s;

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return v;
	}
}

static const char *field(const char *s)
{
	while (*s && *s != ' ')
		s++;
	while (*s == ' ')
		s++;
	return s;
}

bool procmaps_next(struct procmaps *m, struct procmap *out)
{
	const char *s = line(m), *dev, *inode, *name;

	if (!s)
		return false;
	out->start = hex(&s);
	s++;
	out->end = hex(&s);
	s++;
	out->prot = (s[0] == 'r' ? PROT_READ : 0) |
		    (s[1] == 'w' ? PROT_WRITE : 0) |
		    (s[2] == 'x' ? PROT_EXEC : 0);
	out->shared = s[3] == 's';
	dev = field(field(s)); /* perms, offset */
	inode = field(dev);
	name = field(inode);
	out->heap = !strncmp(name, "[heap]", 6);
	out->anon = inode[0] == '0' && (inode[1] == ' ' || !inode[1]);
	out->special = name[0] == '[' && !out->heap &&
		       strncmp(name, "[anon", 5) != 0;
	return true;
}

bool procmap_find(uint64_t addr, struct procmap *out)
{
	struct procmaps m;
	bool found = false;

	if (procmaps_open(&m))
		return false;
	while (!found && procmaps_next(&m, out))
		found = addr >= out->start && addr < out->end;
	procmaps_close(&m);
	return found;
}
