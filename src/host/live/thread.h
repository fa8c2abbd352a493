/* SPDX-License-Identifier: MIT */
/*
 * Threads of the engine inside somebody else's program.
 *
 * Made with clone(2) directly: not known to the C library, so its
 * single-thread shortcuts stay on and no malloc of the program's is called.
 * Each has a stack and a thread-local block of its own from memory the caller
 * gives (zero-filled TLS, large enough for what libc keeps there, a valid
 * thread pointer and stack-protector canary). All signals are blocked.
 * Such a thread may use system calls, memcpy and kin, and code that needs no
 * malloc, stdio, locale or thread identity.
 *
 * In sanitizer builds they are ordinary pthreads.
 */
#ifndef WEIR_LIVE_THREAD_H
#define WEIR_LIVE_THREAD_H

#include <stddef.h>
#include <stdint.h>

struct engine_thread {
	_Atomic uint32_t tid; /* 0 when it has ended: a futex */
	int cpu;              /* pinned to it, or -1 */
	int nice;	      /* a wish: it takes a right to go below 0 */
	const char *name;     /* up to 15 characters */
	void (*fn)(void *arg);
	void *arg;
	void *self; /* for thread_self(): whatever the creator stored */
	void *stack;
	size_t stack_bytes;
};

/* Bytes for one thread: stack and TLS. */
#define THREAD_MEM_BYTES (256u << 10)

/* mem: THREAD_MEM_BYTES, page aligned. t lives as long as the thread.
 * files_private: the thread gets a descriptor table of its own (unshared), so
 * that the program closing "all" descriptors does not touch the engine's; the
 * thread's fn then opens or keeps what it needs. Others share their creator's.
 * 0 or -errno. */
int thread_start(struct engine_thread *t, void *mem, int files_private);
/* The `self` pointer of the calling engine thread, NULL on any other. */
void *thread_self(void);
/* Sleeps until the thread has ended. */
void thread_join(struct engine_thread *t);

#endif
