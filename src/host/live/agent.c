/* SPDX-License-Identifier: MIT */
/*
 * The preloaded library's face to the program.
 *
 * At load time it maps what `weir run` shares, notes which memory must never
 * be managed, and starts the watcher. Nothing else happens until the program
 * comes near its budget. A few functions of the C library are stood in front
 * of: those that make threads (their stacks are left alone), that fork past
 * the usual hooks, and that unlock memory.
 */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "host/live/fork.h"
#include "host/live/hooks.h"
#include "host/live/live.h"
#include "host/live/sys.h"
#include "host/live/where.h"

#define EXPORT __attribute__((visibility("default")))

static struct live *agent;

/* --- memory that is never managed ------------------------------------------- */

static bool ours(const char *path)
{
	const char *base = strrchr(path, '/');

	base = base ? base + 1 : path;
	return !strncmp(base, "libweir-agent", 13) ||
	       !strncmp(base, "libc.so", 7) || !strncmp(base, "libc-", 5) ||
	       !strncmp(base, "ld-linux", 8) ||
	       !strncmp(base, "libpthread", 10) ||
	       !strncmp(base, "libasan", 7) ||
	       !strncmp(base, "libtsan", 7);
}

static int exclude_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	if (!info->dlpi_name || !ours(info->dlpi_name))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uint64_t start = info->dlpi_addr + p->p_vaddr;

		if (p->p_type == PT_LOAD && (p->p_flags & PF_W))
			regions_exclude(arg, start, start + p->p_memsz);
	}
	return 0;
}

/* The main thread's block of thread-local data and the C library's thread
 * descriptor; the kernel writes there too. */
static void exclude_tls(struct live *l)
{
	uint64_t tp = (uint64_t)(uintptr_t)__builtin_thread_pointer();

	regions_exclude(l, tp - 0x4000, tp + 0x2000);
}

/* --- start ------------------------------------------------------------------- */

static struct weir_shared *map_shared(const char *path)
{
	struct weir_shared *s;
	int fd = sys_openat(AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);

	if (fd < 0)
		return NULL;
	s = sys_mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		     0);
	sys_close(fd);
	if (sys_is_err(s))
		return NULL;
	if (weir_shared_check(s)) {
		sys_munmap(s, sizeof(*s));
		return NULL;
	}
	return s;
}

static void own_name(char name[WEIR_NAME_MAX])
{
	memset(name, 0, WEIR_NAME_MAX);
	sys_prctl(PR_GET_NAME, (unsigned long)name, 0, 0, 0);
}

static void before_fork(void)
{
	fork_prepare(agent);
}

static void after_fork_parent(void)
{
	fork_parent(agent);
}

static void after_fork_child(void)
{
	fork_child(agent);
}

static void *reserve(size_t bytes)
{
	void *p = sys_mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return sys_is_err(p) ? NULL : p;
}

static const char *find_env(char **envp, const char *name)
{
	size_t n = strlen(name);

	for (; envp && *envp; envp++)
		if (!strncmp(*envp, name, n) && (*envp)[n] == '=')
			return *envp + n + 1;
	return NULL;
}

/*
 * First of all constructors (the library is linked "initfirst"): fork runs the
 * hooks that were set first last before the copy and first after it, so ours
 * stand closest to it and no other hook meets a frozen engine or a child
 * without one. The C library's environment is not set up yet.
 */
static void __attribute__((constructor))
agent_start(int argc, char **argv, char **envp)
{
	const char *path = find_env(envp, WEIR_SHARED_ENV);
	struct weir_shared *s = path ? map_shared(path) : NULL;
	size_t threads = (size_t)LIVE_THREADS * THREAD_MEM_BYTES;
	char name[WEIR_NAME_MAX];
	struct live *l;

	if (!s)
		return;
	l = reserve(sizeof(*l) + sizeof(struct weir_slot));
	if (!l)
		return;
	l->thread_mem = reserve(threads);
	if (!l->thread_mem)
		return;
	l->shared = s;
	l->cfg = &s->config;
	l->budget = s->config.memory_bytes;
	l->spare_slot = (struct weir_slot *)(l + 1);
	own_name(name);
	l->slot = weir_slot_claim(s, sys_getpid(), name);
	if (!l->slot)
		l->slot = l->spare_slot;
	weir_slot_set_state(l->slot, SLOT_LIVE);
	regions_exclude(l, (uintptr_t)l,
			(uintptr_t)(l + 1) + sizeof(struct weir_slot));
	regions_exclude(l, (uintptr_t)l->thread_mem,
			(uintptr_t)l->thread_mem + threads);
	dl_iterate_phdr(exclude_object, l);
	exclude_tls(l);
	agent = l;
	where_add();
	hooks_install(l);
	pthread_atfork(before_fork, after_fork_parent, after_fork_child);
	watch_start(l);
}

static void __attribute__((destructor)) agent_end(void)
{
	if (!agent)
		return;
	watch_publish(agent);
	agent->slot->flags |= WEIR_SLOT_EXITED;
}

/* --- threads ------------------------------------------------------------------ */

struct start {
	void *(*fn)(void *);
	void *arg;
};

static __thread uint64_t my_stack
	__attribute__((tls_model("initial-exec")));

static void stack_done(void *arg)
{
	where_remove();
	regions_include(agent, my_stack);
}

static void *thread_main(void *arg)
{
	struct start s = *(struct start *)arg;
	pthread_attr_t attr;
	void *addr, *ret;
	size_t size;

	free(arg);
	where_add();
	if (!pthread_getattr_np(pthread_self(), &attr)) {
		if (!pthread_attr_getstack(&attr, &addr, &size)) {
			my_stack = (uintptr_t)addr & PAGE_MASK;
			/* the thread's descriptor and TLS stand above it */
			regions_exclude(agent, my_stack,
					(uintptr_t)addr + size + 0x4000);
		}
		pthread_attr_destroy(&attr);
	}
	pthread_cleanup_push(stack_done, NULL);
	ret = s.fn(s.arg);
	pthread_cleanup_pop(1);
	return ret;
}

static void *next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

EXPORT int pthread_create(pthread_t *t, const pthread_attr_t *attr,
			  void *(*fn)(void *), void *arg)
{
	static int (*real)(pthread_t *, const pthread_attr_t *,
			   void *(*)(void *), void *);
	struct start *s;
	int err;

	if (!real)
		real = next("pthread_create");
	s = agent ? malloc(sizeof(*s)) : NULL;
	if (!s)
		return real(t, attr, fn, arg);
	s->fn = fn;
	s->arg = arg;
	err = real(t, attr, thread_main, s);
	if (err)
		free(s);
	return err;
}

/* --- forks that run no handlers ------------------------------------------------ */

EXPORT pid_t _Fork(void);

EXPORT pid_t _Fork(void)
{
	static pid_t (*real)(void);
	pid_t pid;

	if (!real)
		real = (pid_t(*)(void))next("_Fork");
	if (!agent)
		return real();
	fork_prepare(agent);
	pid = real();
	if (pid == 0)
		fork_child(agent);
	else
		fork_parent(agent);
	return pid;
}

struct clone_start {
	int (*fn)(void *);
	void *arg;
};

static int clone_main(void *arg)
{
	struct clone_start s = *(struct clone_start *)arg;

	fork_child(agent);
	return s.fn(s.arg);
}

EXPORT int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
	static int (*real)(int (*)(void *), void *, int, void *, ...);
	struct clone_start s = {fn, arg};
	void *ptid, *tls, *ctid;
	va_list ap;
	int pid;

	va_start(ap, arg);
	ptid = va_arg(ap, void *);
	tls = va_arg(ap, void *);
	ctid = va_arg(ap, void *);
	va_end(ap);
	if (!real)
		real = (int (*)(int (*)(void *), void *, int, void *,
				...))next("clone");
	if (!agent || (flags & CLONE_VM))
		return real(fn, stack, flags, arg, ptid, tls, ctid);
	fork_prepare(agent);
	pid = real(clone_main, stack, flags, &s, ptid, tls, ctid);
	fork_parent(agent);
	return pid;
}

/* --- unlocking ------------------------------------------------------------------ */

EXPORT int munlock(const void *addr, size_t len)
{
	long err = sys_call2(SYS_munlock, (long)addr, (long)len);

	if (agent)
		agent->unlocked = 1;
	if (err < 0) {
		errno = (int)-err;
		return -1;
	}
	return 0;
}

EXPORT int munlockall(void)
{
	long err = sys_call0(SYS_munlockall);

	if (agent)
		agent->unlocked = 1;
	if (err < 0) {
		errno = (int)-err;
		return -1;
	}
	return 0;
}
