/* SPDX-License-Identifier: MIT */
/*
 * System calls as the engine's threads make them: by hand, returning the value
 * or -errno. The C library's wrappers write errno, which is a thread-local of
 * threads it knows, and some are cancellation points; ours are neither, so
 * they are right on raw threads (thread.h), in signal handlers and in a child
 * between fork and exec.
 */
#ifndef WEIR_LIVE_SYS_H
#define WEIR_LIVE_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#if defined(__x86_64__)
static inline long sys_call6(long nr, long a, long b, long c, long d, long e,
			     long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
			   "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long sys_call6(long nr, long a, long b, long c, long d, long e,
			     long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "weir's live host knows x86-64 and aarch64"
#endif

static inline long sys_call0(long nr)
{
	return sys_call6(nr, 0, 0, 0, 0, 0, 0);
}

static inline long sys_call1(long nr, long a)
{
	return sys_call6(nr, a, 0, 0, 0, 0, 0);
}

static inline long sys_call2(long nr, long a, long b)
{
	return sys_call6(nr, a, b, 0, 0, 0, 0);
}

static inline long sys_call3(long nr, long a, long b, long c)
{
	return sys_call6(nr, a, b, c, 0, 0, 0);
}

static inline long sys_call4(long nr, long a, long b, long c, long d)
{
	return sys_call6(nr, a, b, c, d, 0, 0);
}

static inline long sys_call5(long nr, long a, long b, long c, long d, long e)
{
	return sys_call6(nr, a, b, c, d, e, 0);
}

/* A pointer-returning call failed: the last page of addresses means -errno. */
static inline bool sys_is_err(const void *p)
{
	return (uintptr_t)p >= (uintptr_t)-4095;
}

/* ---- memory ---- */

/* The address, or -errno as a pointer: sys_is_err(). */
static inline void *sys_mmap(void *addr, size_t len, int prot, int flags,
			     int fd, int64_t off)
{
	return (void *)sys_call6(SYS_mmap, (long)addr, (long)len, prot, flags,
				 fd, (long)off);
}

static inline int sys_munmap(void *addr, size_t len)
{
	return (int)sys_call2(SYS_munmap, (long)addr, (long)len);
}

/* The end of the heap afterwards; unchanged when refused. */
static inline uint64_t sys_brk(void *end)
{
	return (uint64_t)sys_call1(SYS_brk, (long)end);
}

static inline int sys_mprotect(void *addr, size_t len, int prot)
{
	return (int)sys_call3(SYS_mprotect, (long)addr, (long)len, prot);
}

static inline void *sys_mremap(void *addr, size_t old_len, size_t new_len,
			       int flags, void *new_addr)
{
	return (void *)sys_call5(SYS_mremap, (long)addr, (long)old_len,
				 (long)new_len, flags, (long)new_addr);
}

static inline int sys_madvise(void *addr, size_t len, int advice)
{
	return (int)sys_call3(SYS_madvise, (long)addr, (long)len, advice);
}

static inline int sys_mincore(void *addr, size_t len, unsigned char *vec)
{
	return (int)sys_call3(SYS_mincore, (long)addr, (long)len, (long)vec);
}

static inline int sys_mlock(const void *addr, size_t len)
{
	return (int)sys_call2(SYS_mlock, (long)addr, (long)len);
}

/* Bytes advised, or -errno. */
static inline long sys_process_madvise(int pidfd, const struct iovec *iov,
				       size_t nr, int advice, unsigned flags)
{
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
	return sys_call5(SYS_process_madvise, pidfd, (long)iov, (long)nr,
			 advice, flags);
}

static inline long sys_process_vm_readv(int pid, const struct iovec *local,
					size_t nr_local,
					const struct iovec *remote,
					size_t nr_remote)
{
	return sys_call6(SYS_process_vm_readv, pid, (long)local, (long)nr_local,
			 (long)remote, (long)nr_remote, 0);
}

static inline int sys_memfd_create(const char *name, unsigned flags)
{
	return (int)sys_call2(SYS_memfd_create, (long)name, flags);
}

static inline int sys_userfaultfd(int flags)
{
	return (int)sys_call1(SYS_userfaultfd, flags);
}

static inline int sys_membarrier(int cmd, unsigned flags)
{
	return (int)sys_call3(SYS_membarrier, cmd, flags, 0);
}

/* ---- files ---- */

static inline int sys_openat(int dir, const char *path, int flags, int mode)
{
	return (int)sys_call4(SYS_openat, dir, (long)path, flags, mode);
}

static inline int sys_close(int fd)
{
	return (int)sys_call1(SYS_close, fd);
}

static inline int sys_close_range(unsigned first, unsigned last, unsigned flags)
{
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
	return (int)sys_call3(SYS_close_range, first, last, flags);
}

static inline long sys_read(int fd, void *buf, size_t len)
{
	return sys_call3(SYS_read, fd, (long)buf, (long)len);
}

static inline long sys_write(int fd, const void *buf, size_t len)
{
	return sys_call3(SYS_write, fd, (long)buf, (long)len);
}

static inline long sys_pread64(int fd, void *buf, size_t len, uint64_t off)
{
	return sys_call4(SYS_pread64, fd, (long)buf, (long)len, (long)off);
}

static inline long sys_pwrite64(int fd, const void *buf, size_t len,
				uint64_t off)
{
	return sys_call4(SYS_pwrite64, fd, (long)buf, (long)len, (long)off);
}

/* The offset goes in one register; the kernel ignores the other half. */
static inline long sys_preadv(int fd, const struct iovec *iov, unsigned nr,
			      uint64_t off)
{
	return sys_call5(SYS_preadv, fd, (long)iov, nr, (long)off, 0);
}

static inline long sys_pwritev(int fd, const struct iovec *iov, unsigned nr,
			       uint64_t off)
{
	return sys_call5(SYS_pwritev, fd, (long)iov, nr, (long)off, 0);
}

static inline int sys_fcntl(int fd, int cmd, long arg)
{
	return (int)sys_call3(SYS_fcntl, fd, cmd, arg);
}

/*
 * The same open file under a number that programs do not expect to get:
 * some count on open() returning the lowest, or dup2 onto small ones.
 * Closes fd; gives fd back where there is no room higher up.
 */
static inline int sys_fd_high(int fd)
{
	for (long least = 960; least >= 240; least -= 240) {
		int high = sys_fcntl(fd, F_DUPFD_CLOEXEC, least);

		if (high >= 0) {
			sys_close(fd);
			return high;
		}
	}
	return fd;
}

static inline int sys_ioctl(int fd, unsigned long req, void *arg)
{
	return (int)sys_call3(SYS_ioctl, fd, (long)req, (long)arg);
}

static inline int sys_ftruncate(int fd, uint64_t len)
{
	return (int)sys_call2(SYS_ftruncate, fd, (long)len);
}

static inline int sys_fallocate(int fd, int mode, uint64_t off, uint64_t len)
{
	return (int)sys_call4(SYS_fallocate, fd, mode, (long)off, (long)len);
}

static inline int sys_fstat(int fd, struct stat *st)
{
	return (int)sys_call2(SYS_fstat, fd, (long)st);
}

static inline int sys_fstatat(int dir, const char *path, struct stat *st,
			      int flags)
{
	return (int)sys_call4(SYS_newfstatat, dir, (long)path, (long)st, flags);
}

static inline int sys_unlinkat(int dir, const char *path, int flags)
{
	return (int)sys_call3(SYS_unlinkat, dir, (long)path, flags);
}

static inline int sys_faccessat(int dir, const char *path, int mode)
{
	return (int)sys_call3(SYS_faccessat, dir, (long)path, mode);
}

static inline long sys_readlinkat(int dir, const char *path, char *buf,
				  size_t len)
{
	return sys_call4(SYS_readlinkat, dir, (long)path, (long)buf, (long)len);
}

static inline int sys_pipe2(int fd[2], int flags)
{
	return (int)sys_call2(SYS_pipe2, (long)fd, flags);
}

static inline int sys_eventfd(unsigned init, int flags)
{
	return (int)sys_call2(SYS_eventfd2, init, flags);
}

/* timeout NULL: for ever. */
static inline int sys_ppoll(struct pollfd *fds, unsigned nr,
			    const struct timespec *timeout)
{
	/* The call writes back what is left; the caller's stays. */
	struct timespec left = timeout ? *timeout : (struct timespec){0};

	return (int)sys_call5(SYS_ppoll, (long)fds, nr,
			      timeout ? (long)&left : 0, 0, 8);
}

/* timeout_ms < 0: for ever. */
static inline int sys_poll(struct pollfd *fds, unsigned nr, int timeout_ms)
{
	struct timespec ts = {.tv_sec = timeout_ms / 1000,
			      .tv_nsec = timeout_ms % 1000 * 1000000L};

	return sys_ppoll(fds, nr, timeout_ms < 0 ? NULL : &ts);
}

/* ---- sleeping ---- */

/* op is FUTEX_WAIT, FUTEX_WAKE and so on; FUTEX_PRIVATE_FLAG where nobody
 * outside this process uses the word. timeout is relative for FUTEX_WAIT. */
static inline long sys_futex(_Atomic uint32_t *word, int op, uint32_t val,
			     const struct timespec *timeout)
{
	return sys_call6(SYS_futex, (long)word, op, val, (long)timeout, 0, 0);
}

static inline struct timespec sys_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u),
				 .tv_nsec = (long)(ns % 1000000000u)};
}

static inline int sys_nanosleep(uint64_t ns)
{
	struct timespec ts = sys_timespec(ns);

	return (int)sys_call2(SYS_nanosleep, (long)&ts, 0);
}

static inline int sys_sched_yield(void)
{
	return (int)sys_call0(SYS_sched_yield);
}

/* The C library's clock_gettime reads the vdso without entering the kernel and
 * touches no errno unless it fails: use that one where it is often called. */
static inline int sys_clock_gettime(int clock, struct timespec *ts)
{
	return (int)sys_call2(SYS_clock_gettime, clock, (long)ts);
}

static inline int sys_timerfd_create(int clock, int flags)
{
	return (int)sys_call2(SYS_timerfd_create, clock, flags);
}

/* ---- processes and threads ---- */

static inline int sys_getpid(void)
{
	return (int)sys_call0(SYS_getpid);
}

static inline int sys_getppid(void)
{
	return (int)sys_call0(SYS_getppid);
}

/* Different for each running thread, whoever made it. */
static inline uintptr_t sys_thread_pointer(void)
{
	uintptr_t tp;

#if defined(__x86_64__)
	__asm__("mov %%fs:0, %0" : "=r"(tp));
#else
	__asm__("mrs %0, tpidr_el0" : "=r"(tp));
#endif
	return tp;
}

static inline int sys_gettid(void)
{
	return (int)sys_call0(SYS_gettid);
}

/* The CPU this runs on now, or -errno. */
static inline int sys_getcpu(void)
{
	unsigned cpu = 0;
	long err = sys_call3(SYS_getcpu, (long)&cpu, 0, 0);

	return err < 0 ? (int)err : (int)cpu;
}

static inline int sys_sched_setaffinity(int tid, size_t len, const void *mask)
{
	return (int)sys_call3(SYS_sched_setaffinity, tid, (long)len,
			      (long)mask);
}

/* Bytes of mask written, or -errno. */
static inline int sys_sched_getaffinity(int tid, size_t len, void *mask)
{
	return (int)sys_call3(SYS_sched_getaffinity, tid, (long)len,
			      (long)mask);
}

static inline int sys_sched_setscheduler(int tid, int policy, const void *param)
{
	return (int)sys_call3(SYS_sched_setscheduler, tid, policy, (long)param);
}

static inline int sys_setpriority(int which, int who, int prio)
{
	return (int)sys_call3(SYS_setpriority, which, who, prio);
}

static inline int sys_unshare(unsigned long flags)
{
	return (int)sys_call1(SYS_unshare, (long)flags);
}

static inline int sys_kill(int pid, int sig)
{
	return (int)sys_call2(SYS_kill, pid, sig);
}

static inline int sys_tgkill(int pid, int tid, int sig)
{
	return (int)sys_call3(SYS_tgkill, pid, tid, sig);
}

static inline int sys_pidfd_open(int pid, unsigned flags)
{
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
	return (int)sys_call2(SYS_pidfd_open, pid, flags);
}

static inline int sys_prctl(int op, unsigned long a, unsigned long b,
			    unsigned long c, unsigned long d)
{
	return (int)sys_call5(SYS_prctl, op, (long)a, (long)b, (long)c,
			      (long)d);
}

/* The kernel's set of signals: one bit each, signal 1 is bit 0. Unlike the C
 * library's, it hides none. old may be NULL. */
static inline int sys_sigprocmask(int how, const uint64_t *set, uint64_t *old)
{
	return (int)sys_call4(SYS_rt_sigprocmask, how, (long)set, (long)old,
			      sizeof(uint64_t));
}

/* This thread only. */
__attribute__((noreturn)) static inline void sys_exit(int status)
{
	for (;;)
		sys_call1(SYS_exit, status);
}

/* The whole process. */
__attribute__((noreturn)) static inline void sys_exit_group(int status)
{
	for (;;)
		sys_call1(SYS_exit_group, status);
}

#endif
