/* SPDX-License-Identifier: MIT */
/*
 * Moving pages in and out of the program's place.
 *
 * Out: UFFDIO_MOVE takes the physical page itself from the program's address
 * into a buffer of the arena. The program's next touch faults; what it wrote
 * before is in the buffer, and nothing can change it there. In: UFFDIO_COPY
 * from the buffer. Both are made on the descriptor that carries the program's
 * regions, so that the kernel refuses them (EAGAIN) while an munmap, madvise,
 * mremap or fork of the program is under way.
 */
#include <string.h>

#include "engine/check.h"
#include "engine/pgtable.h"
#include "host/live/live.h"
#include "host/live/procmaps.h"
#include "host/live/sys.h"
#include "host/live/uffd_abi.h"

#define ZERO_PAGES 64u
#define LOWEST	   (UINT64_C(1) << 16)
#define HIGHEST	   ((UINT64_C(1) << 47) - PAGE_SIZE)

/* Shared zero pages, read by UFFDIO_COPY. */
static const char *zeros(void)
{
	static _Atomic(char *) area;
	char *p = area;

	if (p)
		return p;
	p = sys_mmap(NULL, ZERO_PAGES * PAGE_SIZE, PROT_READ,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sys_is_err(p))
		return NULL;
	for (unsigned i = 0; i < ZERO_PAGES; i++)
		(void)*(volatile char *)(p + i * PAGE_SIZE);
	area = p;
	return p;
}

int uffd_open(struct live *l, uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int flags = O_CLOEXEC | O_NONBLOCK;
	int fd = -ENOENT, err;

	if (!l->cfg->uffd_path[0])
		fd = sys_userfaultfd(flags);
	if (fd < 0) {
		int dev = sys_openat(AT_FDCWD, "/dev/userfaultfd",
				     O_RDWR | O_CLOEXEC, 0);

		if (dev < 0)
			return fd == -ENOENT ? dev : fd;
		fd = sys_ioctl(dev, USERFAULTFD_IOC_NEW,
			       (void *)(uintptr_t)flags);
		sys_close(dev);
		if (fd < 0)
			return fd;
	}
	err = sys_ioctl(fd, UFFDIO_API, &api);
	if (err < 0) {
		sys_close(fd);
		return err;
	}
	return fd;
}

int uffd_register(int fd, uint64_t start, uint64_t len, unsigned mode)
{
	struct uffdio_register r = {.range = {start, len}, .mode = mode};
	int err = sys_ioctl(fd, UFFDIO_REGISTER, &r);

	return err < 0 ? err : 0;
}

int uffd_unregister(int fd, uint64_t start, uint64_t len)
{
	struct uffdio_range r = {start, len};
	int err = sys_ioctl(fd, UFFDIO_UNREGISTER, &r);

	return err < 0 ? err : 0;
}

/* --- in ------------------------------------------------------------------- */

static int map_error(int err)
{
	switch (err) {
	case -EEXIST:
	case -EAGAIN:
	case -ENOMEM:
		return err;
	case -EFAULT:
		return -EAGAIN;
	default: /* ENOENT not ours any more; ESRCH exiting; EINVAL */
		return -ENOENT;
	}
}

/* Pages from v on that one copy can serve. */
static unsigned map_run(struct live *l, const struct weir_vec *v, unsigned nr,
			const char **src)
{
	struct arena *a = &l->arena;
	uint32_t buf = 0;
	unsigned n;

	if (v[0].flags & VEC_ZERO) {
		*src = zeros();
		if (nr > ZERO_PAGES)
			nr = ZERO_PAGES;
	} else {
		buf = arena_buf_of(a, v[0].pfn);
		weir__bug_on(&l->engine, buf == BUF_NONE);
		*src = arena_buf(a, buf);
	}
	for (n = 1; n < nr; n++) {
		if (v[n].addr != v[n - 1].addr + PAGE_SIZE ||
		    v[n].flags != v[0].flags)
			break;
		if (!(v[0].flags & VEC_ZERO) &&
		    arena_buf_of(a, v[n].pfn) != buf + n)
			break;
	}
	return n;
}

/*
 * A page that goes back as it came: the physical page moves. A copy would leave
 * one behind, in the middle of others, that has to be moved to the trash and
 * dropped. Only where the program may write to it (a move cannot protect) and
 * nothing is reading the buffer. False: copy it.
 */
static bool move_back(struct live *l, struct weir_vec *v)
{
	uint32_t buf = arena_buf_of(&l->arena, v->pfn);
	struct uffdio_move m = {.dst = v->addr,
				.src = (uintptr_t)arena_buf(&l->arena, buf),
				.len = PAGE_SIZE};
	int err = -EAGAIN;

	if ((v->flags & (VEC_SOFT | VEC_WRITE)) != (VEC_SOFT | VEC_WRITE) ||
	    arena_is_pinned(&l->arena, buf))
		return false;
	if (l->no_wake)
		m.mode |= UFFDIO_MOVE_MODE_DONTWAKE;
	gate_enter(&l->gate);
	if (!gate_pending(&l->gate, m.dst, m.dst + m.len))
		err = sys_ioctl(l->uffd, UFFDIO_MOVE, &m);
	gate_leave(&l->gate);
	if (err)
		return false;
	v->status = 0;
	arena_moved_back(&l->arena, v->pfn);
	return true;
}

void live_map(struct weir_host *h, void *as, struct weir_vec *v, unsigned nr)
{
	struct live *l = live_of(h);
	unsigned i = 0;

	if (nr == 1 && move_back(l, v))
		return;

	while (i < nr) {
		const char *src;
		unsigned n = map_run(l, v + i, nr - i, &src), done;
		struct uffdio_copy c = {
			.dst = v[i].addr,
			.src = (uintptr_t)src,
			.len = (uint64_t)n * PAGE_SIZE,
			.mode = v[i].flags & VEC_WRITE ? 0
						       : UFFDIO_COPY_MODE_WP};
		int err;

		if (l->no_wake)
			c.mode |= UFFDIO_COPY_MODE_DONTWAKE;
		gate_enter(&l->gate);
		if (gate_pending(&l->gate, c.dst, c.dst + c.len)) {
			err = -EAGAIN;
			c.copy = 0;
		} else {
			err = sys_ioctl(l->uffd, UFFDIO_COPY, &c);
		}
		gate_leave(&l->gate);
		done = err == 0 ? n : c.copy > 0 ? (unsigned)(c.copy >> 12) : 0;
		for (unsigned k = 0; k < done; k++) {
			v[i + k].status = 0;
			arena_forget(&l->arena, v[i + k].pfn);
		}
		i += done;
		if (done < n)
			v[i++].status = (int16_t)map_error(err);
	}
	/* The copies' sources are garbage now: whoever takes pages out next
	 * gives it back, a fault only when there is too much of it. */
	janitor_bound(l);
}

/* --- out ------------------------------------------------------------------ */

/* One MOVE; pages moved, *err for the one behind them. */
static unsigned move_run(struct live *l, uint64_t src, uint32_t buf,
			 unsigned n, int *err)
{
	struct uffdio_move m = {.dst = (uintptr_t)arena_buf(&l->arena, buf),
				.src = src,
				.len = (uint64_t)n * PAGE_SIZE,
				.mode = UFFDIO_MOVE_MODE_DONTWAKE};

	gate_enter(&l->gate);
	if (gate_pending(&l->gate, src, src + m.len)) {
		*err = -EAGAIN;
		m.move = 0;
	} else {
		*err = sys_ioctl(l->uffd, UFFDIO_MOVE, &m);
	}
	gate_leave(&l->gate);
	if (*err == 0)
		return n;
	return m.move > 0 ? (unsigned)(m.move >> 12) : 0;
}

/*
 * EINVAL: the region's protection is not the arena's, or it is locked. The
 * arena can change colour for a moment.
 */
static unsigned move_odd(struct live *l, uint64_t src, uint32_t buf, int *err)
{
	void *dst = arena_buf(&l->arena, buf);
	struct procmap m;
	unsigned n;

	if (!procmap_find(src, &m))
		return 0;
	if (m.prot == (PROT_READ | PROT_WRITE)) {
		*err = -EPERM;
		return 0;
	}
	if (sys_mprotect(dst, PAGE_SIZE, m.prot))
		return 0;
	n = move_run(l, src, buf, 1, err);
	sys_mprotect(dst, PAGE_SIZE, PROT_READ | PROT_WRITE);
	if (!n && *err == -EINVAL)
		*err = -EPERM;
	return n;
}

static int unmap_error(struct live *l, struct weir_vec *v, int err)
{
	switch (err) {
	case -EBUSY:
		janitor_unshare(l, v->addr);
		return -EBUSY;
	case -EPERM:
		v->flags |= VEC_LOCKED;
		return -EPERM;
	case -ENOENT:
		return -ENOENT;
	default:
		l->last_busy_ns = l->host.ops->now_ns(&l->host);
		return -EAGAIN;
	}
}

static unsigned addr_run(const struct weir_vec *v, unsigned nr)
{
	unsigned n;

	for (n = 1; n < nr; n++)
		if (v[n].addr != v[n - 1].addr + PAGE_SIZE)
			break;
	return n;
}

void live_unmap(struct weir_host *h, void *as, struct weir_vec *v, unsigned nr)
{
	struct live *l = live_of(h);
	struct arena *a = &l->arena;
	unsigned i = 0;

	janitor_kick(l);
	while (i < nr) {
		unsigned n = addr_run(v + i, nr - i), done, tries = 0;
		uint32_t buf;
		int err;

		n = arena_reserve_out(a, n, &buf);
		if (!n) {
			v[i++].status = -EAGAIN;
			continue;
		}
again:
		done = move_run(l, v[i].addr, buf, n, &err);
		if (done < n && err == -EINVAL)
			done += move_odd(l, v[i + done].addr, buf + done, &err);
		/* A huge page being split, a page locked for a moment. */
		if (!done && err == -EAGAIN && tries++ < 3 &&
		    !gate_pending(&l->gate, v[i].addr, v[i].addr + PAGE_SIZE))
			goto again;
		for (unsigned k = 0; k < done; k++) {
			v[i + k].status = 0;
			arena_bind_out(a, buf + k, v[i + k].pfn);
		}
		for (unsigned k = done; k < n; k++)
			arena_cancel_out(a, buf + k);
		i += done;
		if (!done || (err && err != -EAGAIN && err != -EINVAL &&
			      done < n)) {
			v[i].status = (int16_t)unmap_error(l, &v[i], err);
			i++;
		}
	}
}

/* --- the rest --------------------------------------------------------------- */

void live_protect(struct weir_host *h, void *as, struct weir_vec *v,
		  unsigned nr)
{
	struct live *l = live_of(h);

	for (unsigned i = 0; i < nr;) {
		unsigned n = addr_run(v + i, nr - i);
		struct uffdio_writeprotect w = {
			.range = {v[i].addr, (uint64_t)n * PAGE_SIZE},
			.mode = v[i].flags & VEC_WRITE
					? 0
					: UFFDIO_WRITEPROTECT_MODE_WP};
		int err;

		if (l->no_wake)
			w.mode |= UFFDIO_WRITEPROTECT_MODE_DONTWAKE;

		gate_enter(&l->gate);
		if (gate_pending(&l->gate, v[i].addr,
				 v[i].addr + w.range.len))
			err = -EAGAIN;
		else
			err = sys_ioctl(l->uffd, UFFDIO_WRITEPROTECT, &w);
		gate_leave(&l->gate);
		for (unsigned k = 0; k < n; k++)
			v[i + k].status =
				(int16_t)(err < 0 ? map_error(err) : 0);
		i += n;
	}
}

void live_wake(struct weir_host *h, void *as, uint64_t addr)
{
	struct uffdio_range r = {addr, PAGE_SIZE};

	if (!live_of(h)->no_wake)
		sys_ioctl(live_of(h)->uffd, UFFDIO_WAKE, &r);
}

void uffd_wake_all(struct live *l)
{
	/* From the lowest address anybody may map to the end of the highest
	 * page that x86-64 and arm64 give to programs with 47 bits. */
	struct uffdio_range r = {LOWEST, HIGHEST - LOWEST};

	sys_ioctl(l->uffd, UFFDIO_WAKE, &r);
}

int live_poison(struct weir_host *h, void *as, uint64_t addr)
{
	struct live *l = live_of(h);
	struct uffdio_poison p = {.range = {addr, PAGE_SIZE}};
	int err;

	gate_enter(&l->gate);
	if (gate_pending(&l->gate, addr, addr + PAGE_SIZE))
		err = -EAGAIN;
	else
		err = sys_ioctl(l->uffd, UFFDIO_POISON, &p);
	gate_leave(&l->gate);
	if (err == -EEXIST) {
		live_wake(h, as, addr);
		return 0;
	}
	return err < 0 ? map_error(err) : 0;
}
