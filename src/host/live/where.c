/* SPDX-License-Identifier: MIT */
/*
 * The kernel writes the number of its CPU into memory of each thread that the
 * C library has registered for restartable sequences, whenever the thread goes
 * on in user mode. So where a thread that waits for a page ran last can be
 * read, without a word to anybody. Threads we have not heard of are looked up
 * in /proc, which costs ten times as much.
 *
 * The memory of a thread that ended without telling us may be gone: the kernel
 * reads for us, and says so instead of faulting.
 */
#include "host/live/where.h"

#include <stddef.h>
#include <stdatomic.h>
#include <string.h>

#include "host/live/sys.h"
#include "util/fmt.h"

#define PLACES 256u

/* struct rseq: cpu_id_start, then cpu_id (negative when not registered). */
#define CPU_ID_OFFSET 4

extern const ptrdiff_t __rseq_offset __attribute__((weak));

static struct {
	_Atomic uint32_t tid;
	_Atomic uintptr_t at;
} place[PLACES];

void where_add(void)
{
	uint32_t tid = (uint32_t)sys_gettid();
	uintptr_t tp = (uintptr_t)__builtin_thread_pointer();

	if (!&__rseq_offset)
		return;
	/* Two threads in one place: the other one is looked up. */
	place[tid % PLACES].tid = 0;
	place[tid % PLACES].at = tp + (uintptr_t)__rseq_offset + CPU_ID_OFFSET;
	place[tid % PLACES].tid = tid;
}

void where_remove(void)
{
	uint32_t tid = (uint32_t)sys_gettid();

	if (place[tid % PLACES].tid == tid)
		place[tid % PLACES].tid = 0;
}

void where_reset(void)
{
	memset(place, 0, sizeof(place));
	where_add();
}

/* The last field but 13 of its stat file. */
static int look_up(uint32_t tid)
{
	char path[48], buf[512], *p;
	int fd, cpu = 0, spaces = 0;
	long n;

	fmt_s(path, sizeof(path), "/proc/self/task/%u/stat", tid);
	fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	n = sys_read(fd, buf, sizeof(buf) - 1);
	sys_close(fd);
	if (n <= 0)
		return -1;
	buf[n] = 0;
	p = strrchr(buf, ')'); /* the name may hold anything */
	for (; p && *p && spaces < 37; p++)
		spaces += *p == ' ';
	if (!p || spaces < 37 || *p < '0' || *p > '9')
		return -1;
	for (; *p >= '0' && *p <= '9'; p++)
		cpu = cpu * 10 + (*p - '0');
	return cpu;
}

int where_is(uint32_t tid)
{
	int32_t cpu = -1;

	if (place[tid % PLACES].tid == tid) {
		struct iovec to = {&cpu, sizeof(cpu)};
		struct iovec from = {(void *)place[tid % PLACES].at,
				     sizeof(cpu)};

		if (sys_process_vm_readv(sys_getpid(), &to, 1, &from, 1) ==
			sizeof(cpu) &&
		    cpu >= 0)
			return cpu;
	}
	return look_up(tid);
}
