/* SPDX-License-Identifier: MIT */
/* What program.c and fileops.c share. */
#ifndef WEIR_TESTS_PROGRAM_INTERNAL_H
#define WEIR_TESTS_PROGRAM_INTERNAL_H

#include "checkers/filemodel.h"
#include "program.h"

#define PAGE      ((uint64_t)4096)
#define AREAS_MAX 24
#define GROW_MAX  32 /* pages */
#define FORKS_MAX 6
#define FAREAS_MAX 8

struct area {
	uint64_t start, end; /* 0, 0 = free */
	bool busy;           /* a system call is changing it */
	uint64_t lock_start, lock_end;
};

/* A mapped piece of a file. */
struct farea {
	uint64_t start, end; /* 0, 0 = free */
	struct rfile *f;
	uint64_t pgoff;
	bool shared, busy;
	bool going;   /* a system call is changing it */
	uint32_t gen; /* raised by each */
};

struct prog {
	struct list_head link;
	struct run *r;
	struct sim_proc *p;
	struct shadow sh;
	struct area area[AREAS_MAX];
	uint8_t *used; /* addresses spoken for, by page */
	uint64_t mapped;
	struct farea farea[FAREAS_MAX];
	uint32_t tasks; /* alive */
	/* fork: nobody touches; the others wait */
	_Atomic uint32_t stop, inside;
	uint32_t id;
};

struct task {
	struct list_head link; /* run.all_tasks */
	struct prog *g;
	struct prng rnd;
	uint64_t seq; /* where a sequential run goes on */
};

/* --- program.c --- */

/* For --trace: what a task is about to do, and what became of it. */
void say(const struct prog *g, const char *what, uint64_t start, uint64_t end,
	 int64_t rc);
/* Addresses, by page: taken or free. */
void reserve(struct prog *g, uint64_t start, uint64_t end, bool take);
/* A free range of so many pages, reserved; 0 = none found. */
uint64_t find_room(struct task *t, uint64_t pages);
/* What a system call answered. True: it was done. */
bool done(struct task *t, int rc, const char *call);

/* --- fileops.c --- */

/* [task] The files of the run. */
void files_start(struct run *r);
bool file_areas_idle(const struct prog *g);
/* A file is mapped there. */
bool file_area_at(const struct prog *g, uint64_t addr);
/* A write that began in a mapping that is gone has ended in this one: it has
 * made a copy if that is private. */
void file_adopt_copy(struct prog *g, uint64_t addr, const void *data);
/* One thing done to a file. 0; or not 0: the task ends. */
int op_file(struct task *t);

#endif
