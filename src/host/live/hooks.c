/* SPDX-License-Identifier: MIT */
/*
 * Hearing of new memory at the moment it is made.
 *
 * A program can fill a new mapping faster than anybody can look for it, and
 * what it fills before we look is memory over the budget. So the functions of
 * the C library that make memory (mmap, mremap, brk) report it before they
 * return. Standing in front of them as agent.c does is not enough: malloc
 * calls them inside the library, past all symbols. Their first instructions
 * are replaced by a jump to ours, which make the system call themselves.
 *
 * Where that cannot be done (another machine or library, or a policy that
 * forbids changing code) and for programs that make their system calls
 * themselves, the watcher finds new mappings a little later.
 *
 * The report goes to a thread of the engine that is pinned to the caller's CPU
 * (calls.c): a program thread must not run the engine.
 */
#include "host/live/hooks.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "host/live/live.h"
#include "host/live/sys.h"

#if defined(__x86_64__) && defined(__GLIBC__)

/* movabs $target, %rax; jmp *%rax */
#define JUMP_BYTES 12u

/* The end of the heap as the C library knows it. */
extern void *__curbrk __attribute__((weak));

static struct live *hooked;

static void *result(void *p)
{
	if (!sys_is_err(p))
		return p;
	errno = (int)-(intptr_t)p;
	return (void *)-1;
}

static void *hook_mmap(void *addr, size_t len, int prot, int flags, int fd,
		       off_t off)
{
	const int want = MAP_PRIVATE | MAP_ANONYMOUS;
	const int not = MAP_STACK | MAP_GROWSDOWN;
	void *p = sys_mmap(addr, len, prot, flags, fd, off);

	if ((prot & PROT_WRITE) && (flags & (want | not | MAP_SHARED)) == want)
		call_new_memory(hooked, p, len);
	return result(p);
}

static void *hook_mremap(void *addr, size_t old_len, size_t new_len, int flags,
			 ...)
{
	void *to = NULL, *p;
	va_list ap;

	va_start(ap, flags);
	if (flags & MREMAP_FIXED)
		to = va_arg(ap, void *);
	va_end(ap);
	p = sys_mremap(addr, old_len, new_len, flags, to);
	if (new_len > old_len)
		call_new_memory(hooked, p, new_len);
	return result(p);
}

static int hook_brk(void *addr)
{
	char *old = __curbrk, *now = (char *)sys_brk(addr);

	__curbrk = now;
	if (now < (char *)addr) {
		errno = ENOMEM;
		return -1;
	}
	if (old && now > old)
		call_new_memory(hooked, old, (size_t)(now - old));
	return 0;
}

static bool in_c_library(void *fn)
{
	Dl_info self, libc;

	return dladdr(fn, &self) && dladdr(dlsym(RTLD_NEXT, "getpid"), &libc) &&
	       self.dli_fbase == libc.dli_fbase;
}

static void replace(const char *name, void *ours)
{
	uint8_t *fn = dlsym(RTLD_NEXT, name);
	uint8_t code[JUMP_BYTES] = {0x48, 0xb8, [10] = 0xff, 0xe0};
	uintptr_t start = (uintptr_t)fn & PAGE_MASK;
	uintptr_t end = ((uintptr_t)fn + JUMP_BYTES + PAGE_SIZE - 1) & PAGE_MASK;

	if (!fn || !in_c_library(fn))
		return;
	memcpy(code + 2, &ours, sizeof(ours));
	if (sys_mprotect((void *)start, end - start,
			 PROT_READ | PROT_WRITE | PROT_EXEC))
		return;
	memcpy(fn, code, sizeof(code));
	sys_mprotect((void *)start, end - start, PROT_READ | PROT_EXEC);
}

/* => no other thread yet */
void hooks_install(struct live *l)
{
	hooked = l;
	replace("mmap", hook_mmap);
	replace("mremap", hook_mremap);
	if (&__curbrk)
		replace("brk", hook_brk);
}

#else

void hooks_install(struct live *l)
{
}

#endif
