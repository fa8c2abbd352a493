/* SPDX-License-Identifier: MIT */
/*
 * Fibers: a stack each, switched by hand on x86-64 and aarch64 (about a dozen
 * instructions, no system call), by ucontext elsewhere. Address and thread
 * sanitizers are told about every switch.
 */
#ifndef WEIR_SIM_FIBER_H
#define WEIR_SIM_FIBER_H

#include <stddef.h>

#if (defined(__x86_64__) || defined(__aarch64__)) && !defined(WEIR_SIM_UCONTEXT)
#define FIBER_ASM 1
#else
#define FIBER_ASM 0
#include <ucontext.h>
#endif

struct fiber_ctx {
	void *sp;
	void *stack; /* lowest address; NULL for the context we started in */
	size_t bytes;
	void (*fn)(void *arg);
	void *arg;
	void *asan_fake;         /* address sanitizer's other stack */
	const void *asan_bottom; /* learnt for the starting context */
	size_t asan_size;
	void *tsan; /* thread sanitizer's fiber */
#if !FIBER_ASM
	ucontext_t uc;
#endif
};

/* The context that runs now, so that others can switch back to it. */
void fiber_ctx_adopt(struct fiber_ctx *c);
/* 0 or -ENOMEM. fn must never return: it ends by switching away for good. */
int fiber_ctx_create(struct fiber_ctx *c, size_t stack_bytes,
		     void (*fn)(void *arg), void *arg);
/* Not the running one. */
void fiber_ctx_destroy(struct fiber_ctx *c);
/* `last`: `from` will never run again. */
void fiber_ctx_switch(struct fiber_ctx *from, struct fiber_ctx *to, int last);

#endif
