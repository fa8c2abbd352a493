/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/sim/fiber.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define FIBER_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define FIBER_TSAN 1
#include <sanitizer/tsan_interface.h>
#else
#define FIBER_TSAN 0
#endif

#define GUARD_BYTES 4096u
#define POOL_MAX    128

/* Stacks of fibers that have ended: the next machine uses them again. */
static __thread struct {
	void *mem;
	size_t bytes;
} pool[POOL_MAX];
static __thread unsigned nr_pool;

/* The context that gave us the processor; for the sanitizer's book only. */
static __thread struct fiber_ctx *came_from;

static void arrived(struct fiber_ctx *self)
{
#if FIBER_ASAN
	const void *bottom;
	size_t size;

	__sanitizer_finish_switch_fiber(self->asan_fake, &bottom, &size);
	if (came_from && !came_from->stack) {
		came_from->asan_bottom = bottom;
		came_from->asan_size = size;
	}
#endif
	(void)self;
}

/* First instructions of every fiber, on its own stack. */
static void __attribute__((used, noreturn)) fiber_main(struct fiber_ctx *c)
{
	arrived(c);
	c->fn(c->arg);
	abort();
}

#if FIBER_ASM
void sim__fiber_swap(void **from, void *to);
void sim__fiber_entry(void);

#if defined(__x86_64__)
/*
 * The C caller has saved what it may lose; the six registers that a function
 * must preserve go on the old stack. A new stack is laid out as if it had been
 * left here, with fiber_main in r13 and its argument in r12.
 */
__asm__(".text\n"
	".p2align 4\n"
	".globl sim__fiber_swap\n"
	".hidden sim__fiber_swap\n"
	".type sim__fiber_swap, @function\n"
	"sim__fiber_swap:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size sim__fiber_swap, .-sim__fiber_swap\n"
	".globl sim__fiber_entry\n"
	".hidden sim__fiber_entry\n"
	".type sim__fiber_entry, @function\n"
	"sim__fiber_entry:\n"
	"	movq %r12, %rdi\n"
	"	xorl %ebp, %ebp\n"
	"	call *%r13\n"
	"	ud2\n"
	".size sim__fiber_entry, .-sim__fiber_entry\n");

static void *first_frame(char *top, struct fiber_ctx *c)
{
	uint64_t *sp = (uint64_t *)top;

	*--sp = 0; /* keeps the stack aligned at the call in fiber_entry */
	*--sp = 0;
	*--sp = (uint64_t)(uintptr_t)sim__fiber_entry;
	*--sp = 0;                               /* rbp */
	*--sp = 0;                               /* rbx */
	*--sp = (uint64_t)(uintptr_t)c;          /* r12 */
	*--sp = (uint64_t)(uintptr_t)fiber_main; /* r13 */
	*--sp = 0;                               /* r14 */
	*--sp = 0;                               /* r15 */
	return sp;
}
#else /* __aarch64__ */
__asm__(".text\n"
	".p2align 4\n"
	".globl sim__fiber_swap\n"
	".hidden sim__fiber_swap\n"
	".type sim__fiber_swap, @function\n"
	"sim__fiber_swap:\n"
	"	sub sp, sp, #160\n"
	"	stp x19, x20, [sp, #0]\n"
	"	stp x21, x22, [sp, #16]\n"
	"	stp x23, x24, [sp, #32]\n"
	"	stp x25, x26, [sp, #48]\n"
	"	stp x27, x28, [sp, #64]\n"
	"	stp x29, x30, [sp, #80]\n"
	"	stp d8, d9, [sp, #96]\n"
	"	stp d10, d11, [sp, #112]\n"
	"	stp d12, d13, [sp, #128]\n"
	"	stp d14, d15, [sp, #144]\n"
	"	mov x9, sp\n"
	"	str x9, [x0]\n"
	"	mov sp, x1\n"
	"	ldp x19, x20, [sp, #0]\n"
	"	ldp x21, x22, [sp, #16]\n"
	"	ldp x23, x24, [sp, #32]\n"
	"	ldp x25, x26, [sp, #48]\n"
	"	ldp x27, x28, [sp, #64]\n"
	"	ldp x29, x30, [sp, #80]\n"
	"	ldp d8, d9, [sp, #96]\n"
	"	ldp d10, d11, [sp, #112]\n"
	"	ldp d12, d13, [sp, #128]\n"
	"	ldp d14, d15, [sp, #144]\n"
	"	add sp, sp, #160\n"
	"	ret\n"
	".size sim__fiber_swap, .-sim__fiber_swap\n"
	".globl sim__fiber_entry\n"
	".hidden sim__fiber_entry\n"
	".type sim__fiber_entry, @function\n"
	"sim__fiber_entry:\n"
	"	mov x0, x19\n"
	"	mov x29, xzr\n"
	"	blr x20\n"
	"	brk #1\n"
	".size sim__fiber_entry, .-sim__fiber_entry\n");

static void *first_frame(char *top, struct fiber_ctx *c)
{
	uint64_t *sp = (uint64_t *)(top - 160);

	memset(sp, 0, 160);
	sp[0] = (uint64_t)(uintptr_t)c;                 /* x19 */
	sp[1] = (uint64_t)(uintptr_t)fiber_main;        /* x20 */
	sp[11] = (uint64_t)(uintptr_t)sim__fiber_entry; /* x30 */
	return sp;
}
#endif
#else /* ucontext */
static void uc_main(unsigned hi, unsigned lo)
{
	fiber_main((struct fiber_ctx *)((uintptr_t)hi << 32 | lo));
}
#endif

void fiber_ctx_adopt(struct fiber_ctx *c)
{
	memset(c, 0, sizeof(*c));
#if FIBER_TSAN
	c->tsan = __tsan_get_current_fiber();
#endif
	came_from = NULL;
}

static void *stack_get(size_t bytes)
{
	char *mem;

	if (nr_pool && pool[nr_pool - 1].bytes == bytes)
		return pool[--nr_pool].mem;
	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		return NULL;
	mprotect(mem, GUARD_BYTES, PROT_NONE);
	return mem;
}

static void stack_put(void *mem, size_t bytes)
{
	if (nr_pool == POOL_MAX) {
		munmap(mem, bytes);
		return;
	}
	pool[nr_pool].mem = mem;
	pool[nr_pool++].bytes = bytes;
}

int fiber_ctx_create(struct fiber_ctx *c, size_t stack_bytes,
		     void (*fn)(void *arg), void *arg)
{
	size_t bytes = stack_bytes + GUARD_BYTES;
	char *mem = stack_get(bytes);

	if (!mem)
		return -ENOMEM;
#if FIBER_ASAN
	/* another fiber may have died here with its red zones up */
	ASAN_UNPOISON_MEMORY_REGION(mem + GUARD_BYTES, stack_bytes);
#endif
	memset(c, 0, sizeof(*c));
	c->stack = mem;
	c->bytes = bytes;
	c->fn = fn;
	c->arg = arg;
	c->asan_bottom = mem + GUARD_BYTES;
	c->asan_size = stack_bytes;
#if FIBER_TSAN
	c->tsan = __tsan_create_fiber(0);
#endif
#if FIBER_ASM
	c->sp = first_frame(mem + bytes, c);
#else
	getcontext(&c->uc);
	c->uc.uc_stack.ss_sp = mem + GUARD_BYTES;
	c->uc.uc_stack.ss_size = stack_bytes;
	makecontext(&c->uc, (void (*)(void))uc_main, 2,
		    (unsigned)((uintptr_t)c >> 32), (unsigned)(uintptr_t)c);
#endif
	return 0;
}

void fiber_ctx_destroy(struct fiber_ctx *c)
{
#if FIBER_TSAN
	if (c->tsan && c->stack)
		__tsan_destroy_fiber(c->tsan);
#endif
	if (c->stack)
		stack_put(c->stack, c->bytes);
	memset(c, 0, sizeof(*c));
}

void fiber_ctx_switch(struct fiber_ctx *from, struct fiber_ctx *to, int last)
{
#if FIBER_ASAN
	__sanitizer_start_switch_fiber(last ? NULL : &from->asan_fake,
				       to->asan_bottom, to->asan_size);
#endif
#if FIBER_TSAN
	__tsan_switch_to_fiber(to->tsan, 0);
#endif
	(void)last;
	came_from = from;
#if FIBER_ASM
	sim__fiber_swap(&from->sp, to->sp);
#else
	swapcontext(&from->uc, &to->uc);
#endif
	arrived(from);
}
