/* SPDX-License-Identifier: MIT */
/*
 * Threads the C library knows nothing of: see thread.h for why.
 *
 * One block of THREAD_MEM_BYTES holds a thread, lowest address first:
 *
 *   guard     one page, not accessible: a stack too deep faults
 *   stack     grows down
 *   TLS       64 KiB of zeros; x86-64 keeps static thread-locals of the
 *             program and its libraries just below the thread pointer
 *   tp        the thread pointer: 4 KiB that stand for the C library's
 *             thread descriptor (its header is part of the ABI: the pointer
 *             to itself at 0 and 16, the stack canary at 40, the pointer
 *             guard at 48), our own words at the very end
 *
 * What such a thread must not do: thread-locals of libraries loaded at run
 * time (there is no DTV), malloc, stdio, locks of the C library.
 *
 * The kernel gives the thread its creator's credentials. A program that later
 * changes its own through the C library (setuid) does not change ours: the C
 * library only signals the threads it knows.
 */
#include "host/live/thread.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "host/live/sys.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif

/* aarch64 keeps thread-locals above the thread pointer and needs a layout of
 * its own; until somebody writes it, pthreads serve. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||           \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||     \
    __has_feature(memory_sanitizer) || !defined(__x86_64__)
#define USE_PTHREADS 1
#else
#define USE_PTHREADS 0
#endif

#define ALL_SIGNALS (~(uint64_t)0)

/* Pinning is a wish: a CPU taken from this process leaves the thread free. */
static void settle(struct engine_thread *t)
{
	unsigned long mask[8192 / (8 * sizeof(unsigned long))] = {0};
	const unsigned bits = 8 * sizeof(mask[0]);
	char name[16] = {0};

	if (t->name) {
		size_t n = strnlen(t->name, sizeof(name) - 1);

		memcpy(name, t->name, n);
		sys_prctl(PR_SET_NAME, (unsigned long)name, 0, 0, 0);
	}
	if (t->nice)
		sys_setpriority(PRIO_PROCESS, 0, t->nice);
	if (t->cpu >= 0 && (size_t)t->cpu < 8 * sizeof(mask)) {
		unsigned cpu = (unsigned)t->cpu;

		mask[cpu / bits] = 1UL << cpu % bits;
		sys_sched_setaffinity(0, sizeof(mask), mask);
	}
}

/* The kernel wakes with a futex that is not private: so must the sleeper be. */
static void wait_until_zero(_Atomic uint32_t *tid)
{
	uint32_t seen;

	while ((seen = atomic_load(tid)) != 0)
		sys_futex(tid, FUTEX_WAIT, seen, NULL);
	/* It wakes only one; pass it on to whoever else joins. */
	sys_futex(tid, FUTEX_WAKE, INT32_MAX, NULL);
}

#if USE_PTHREADS

#include <pthread.h>

struct pthread_block {
	pthread_t thread;
	_Atomic uint32_t started;
	int files_private;
};

static _Thread_local struct engine_thread *current;

static void *run(void *arg)
{
	struct engine_thread *t = arg;
	struct pthread_block *b = t->stack;

	/* The C library opened some of its own again. */
	sys_sigprocmask(SIG_BLOCK, &(uint64_t){ALL_SIGNALS}, NULL);
	current = t;
	if (b->files_private)
		sys_unshare(CLONE_FILES);
	settle(t);
	atomic_store(&t->tid, (uint32_t)sys_gettid());
	atomic_store(&b->started, 1);
	sys_futex(&b->started, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL);
	t->fn(t->arg);
	return NULL;
}

int thread_start(struct engine_thread *t, void *mem, int files_private)
{
	struct pthread_block *b = mem;
	uint64_t old;
	int err;

	memset(b, 0, sizeof(*b));
	b->files_private = files_private;
	t->stack = mem;
	t->stack_bytes = THREAD_MEM_BYTES;
	sys_sigprocmask(SIG_BLOCK, &(uint64_t){ALL_SIGNALS}, &old);
	err = pthread_create(&b->thread, NULL, run, t);
	sys_sigprocmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	while (!atomic_load(&b->started))
		sys_futex(&b->started, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0,
			  NULL);
	return 0;
}

void *thread_self(void)
{
	return current ? current->self : NULL;
}

void thread_join(struct engine_thread *t)
{
	struct pthread_block *b = t->stack;

	if (!atomic_load(&t->tid))
		return;
	pthread_join(b->thread, NULL);
	atomic_store(&t->tid, 0);
	wait_until_zero(&t->tid);
}

#else

#define PAGE       4096u
#define TCB_BYTES  4096u
#define TLS_BYTES  (64u << 10)

/* What the ABI and the C library's compiled-in accesses expect at tp. */
struct tcb {
	void *self;
	void *dtv;
	void *self2;
	int multiple_threads;
	int unused;
	uintptr_t sysinfo;
	uintptr_t stack_guard;
	uintptr_t pointer_guard;
};

_Static_assert(offsetof(struct tcb, self2) == 0x10, "psABI");
_Static_assert(offsetof(struct tcb, stack_guard) == 0x28, "psABI");
_Static_assert(offsetof(struct tcb, pointer_guard) == 0x30, "psABI");

/* The end of the 4 KiB, beyond every C library's descriptor. */
struct block_end {
	struct engine_thread *thread;
	uintptr_t unused[7];
};

/*
 * Thread pointers of ours, so that thread_self() on any thread of the program
 * is sure without reading memory that may not be there: a hash with linear
 * probing that only ever grows in use. 0 is a free place, 1 one that was used.
 */
#define TABLE_SIZE 1024u /* a power of two; far above CPUs + workers */
#define GONE       1u

static _Atomic uintptr_t table[TABLE_SIZE];

static unsigned table_start(uintptr_t tp)
{
	return (unsigned)(tp / PAGE * 0x9e3779b97f4a7c15u >> 32) &
	       (TABLE_SIZE - 1);
}

static _Atomic uintptr_t *table_find(uintptr_t tp)
{
	unsigned at = table_start(tp);

	for (unsigned i = 0; i < TABLE_SIZE; i++) {
		_Atomic uintptr_t *e = &table[(at + i) & (TABLE_SIZE - 1)];
		uintptr_t seen = atomic_load_explicit(e, memory_order_acquire);

		if (seen == tp)
			return e;
		if (!seen)
			return NULL;
	}
	return NULL;
}

static int table_add(uintptr_t tp)
{
	unsigned at = table_start(tp);

	if (table_find(tp))
		return 0; /* a block used again, or left by a fork's parent */
	for (unsigned i = 0; i < TABLE_SIZE; i++) {
		_Atomic uintptr_t *e = &table[(at + i) & (TABLE_SIZE - 1)];
		uintptr_t seen = atomic_load(e);

		if (seen <= GONE &&
		    atomic_compare_exchange_strong(e, &seen, tp))
			return 0;
	}
	return -EAGAIN;
}

static void table_remove(uintptr_t tp)
{
	_Atomic uintptr_t *e = table_find(tp);

	if (e)
		atomic_store(e, GONE);
}

static inline uintptr_t block_tp(const void *mem)
{
	return (uintptr_t)mem + THREAD_MEM_BYTES - TCB_BYTES;
}

static inline struct block_end *block_end(uintptr_t tp)
{
	return (struct block_end *)(tp + TCB_BYTES - sizeof(struct block_end));
}

__attribute__((noreturn)) static void run(struct engine_thread *t)
{
	settle(t);
	t->fn(t->arg);
	/* From here on the block may be gone: the kernel clears t->tid. */
	sys_exit(0);
}

/*
 * clone(2) by hand. The child comes out of the same instruction with an empty
 * stack of its own, so it takes what it needs from there and never returns
 * into this function. Zero in the frame pointer ends a debugger's walk.
 */
static long clone_thread(unsigned long flags, void *stack_top,
			 _Atomic uint32_t *tid, uintptr_t tp,
			 struct engine_thread *t)
{
	uintptr_t *sp = (uintptr_t *)stack_top - 2;
	register long r10 __asm__("r10") = (long)tid;
	register long r8 __asm__("r8") = (long)tp;
	long ret;

	sp[0] = (uintptr_t)run;
	sp[1] = (uintptr_t)t;
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "pop %%rax\n\t"
			 "pop %%rdi\n\t"
			 "call *%%rax\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(ret)
			 : "a"(SYS_clone), "D"(flags), "S"(sp), "d"(tid),
			   "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return ret;
}

static void block_prepare(struct engine_thread *t, void *mem, uintptr_t tp)
{
	const struct tcb *mine = (const struct tcb *)sys_thread_pointer();
	struct tcb *tcb = (struct tcb *)tp;

	/* A block may have served before. */
	memset((void *)(tp - TLS_BYTES), 0, TLS_BYTES + TCB_BYTES);
	tcb->self = tcb;
	tcb->self2 = tcb;
	tcb->stack_guard = mine->stack_guard;
	tcb->pointer_guard = mine->pointer_guard;
	block_end(tp)->thread = t;
	t->stack = mem;
	t->stack_bytes = THREAD_MEM_BYTES;
}

int thread_start(struct engine_thread *t, void *mem, int files_private)
{
	const unsigned long share =
	    CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
	const unsigned long ids =
	    CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
	/* Without CLONE_FILES the thread starts with a copy of the table: an
	 * unshare that cannot fail later. */
	unsigned long files = files_private ? 0 : CLONE_FILES;
	uintptr_t tp = block_tp(mem);
	uint64_t old;
	long ret;
	int err;

	block_prepare(t, mem, tp);
	err = table_add(tp);
	if (err)
		return err;
	err = sys_mprotect(mem, PAGE, PROT_NONE);
	if (err) {
		table_remove(tp);
		return err;
	}
	/* All of them, those the C library keeps for itself too: the thread
	 * inherits the mask and must never run a handler of the program's. */
	sys_sigprocmask(SIG_BLOCK, &(uint64_t){ALL_SIGNALS}, &old);
	ret = clone_thread(share | ids | files, (void *)(tp - TLS_BYTES),
			   &t->tid, tp, t);
	sys_sigprocmask(SIG_SETMASK, &old, NULL);
	if (ret < 0) {
		atomic_store(&t->tid, 0);
		table_remove(tp);
		sys_mprotect(mem, PAGE, PROT_READ | PROT_WRITE);
		return (int)ret;
	}
	return 0;
}

void *thread_self(void)
{
	uintptr_t tp = sys_thread_pointer();

	return table_find(tp) ? block_end(tp)->thread->self : NULL;
}

void thread_join(struct engine_thread *t)
{
	if (!t->stack)
		return;
	wait_until_zero(&t->tid);
	table_remove(block_tp(t->stack));
	sys_mprotect(t->stack, PAGE, PROT_READ | PROT_WRITE);
}

#endif
