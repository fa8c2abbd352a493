/* SPDX-License-Identifier: MIT */
/* What the files of the weir tool have in common. */
#ifndef WEIR_TOOL_H
#define WEIR_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit statuses of weir's own, beside the program's. */
enum {
	EXIT_BAD_USAGE = 64,   /* EX_USAGE */
	EXIT_DATA = 65,	       /* EX_DATAERR: a trace that is malformed */
	EXIT_NO_INPUT = 66,    /* EX_NOINPUT: a file that cannot be read */
	EXIT_UNAVAILABLE = 69, /* EX_UNAVAILABLE: machine or program cannot */
	EXIT_CANTCREAT = 73,   /* EX_CANTCREAT: swap or report file */
	EXIT_IO = 74,	       /* EX_IOERR: output that cannot be written */
	EXIT_WEIR_FAILED = 125, /* before the program started */
	EXIT_CANNOT_EXEC = 126,
	EXIT_NOT_FOUND = 127
};

int cmd_run(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_replay(int argc, char **argv);
void run_help(void);
void doctor_help(void);
void trace_help(void);
void replay_help(void);

/* "weir CMD: message" on stderr, with a newline. */
void complain(const char *cmd, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* ------------------------------------------------------------- size.c --- */

/*
 * A size: digits with an optional decimal fraction, then nothing (bytes) or
 * one of K M G T (powers of 1024, either case, "B" or "iB" may follow), or %
 * of `whole` (0: % is not accepted). 0, or -EINVAL / -ERANGE with what was
 * wrong in *why.
 */
int size_parse(const char *text, uint64_t whole, uint64_t *out,
	       const char **why);
/* Digits only, the whole text. 0, -EINVAL, -ERANGE. */
int number_parse(const char *text, uint64_t *out);
/* "127.5 MiB"; returns buf. */
char *size_format(uint64_t bytes, char *buf, size_t len);
#define SIZE_TEXT 24

/* ---------------------------------------------------------- machine.c --- */

struct machine {
	char release[72];
	int uffd_syscall; /* 0 or -errno: full service by the system call */
	int uffd_device;  /* 0 or -errno: by /dev/userfaultfd */
	int uffd_user;	  /* 0 or -errno: faults of user code only */
	int uffd_sysctl;  /* vm.unprivileged_userfaultfd, or -errno */
	uint64_t features; /* UFFD_FEATURE_* offered */
	bool event_fork;   /* may be switched on by this user */
	int uring;	   /* 0 or -errno */
	uint64_t ram_bytes;
	uint64_t memlock_bytes; /* UINT64_MAX = no limit */
	char thp[16];		/* always, madvise, never, or "unknown" */
};

struct uffd_need {
	uint64_t bit;
	const char *name, *since, *what;
};
extern const struct uffd_need uffd_needs[]; /* ends with bit 0 */

void machine_probe(struct machine *m);
/* NULL, or why `weir run` cannot work, as one clause. */
const char *machine_refusal(const struct machine *m);
/* What to do about it: lines through put(), each without its newline. */
void machine_remedy(const struct machine *m, void (*put)(const char *line));

/* ------------------------------------------------------------- swap.c --- */

struct swap_place {
	char path[4096]; /* absolute */
	bool directory;
	bool in_memory; /* tmpfs: the swapped pages would stay in RAM */
	bool direct;	/* O_DIRECT works */
	uint64_t bytes;
	uint64_t free_bytes; /* of the filesystem, for this user */
};

/*
 * Reads PATH, PATH:SIZE or "none" (bytes = 0), makes the path absolute and
 * tries it out. 0, or an exit status with a sentence in err.
 */
int swap_place_parse(const char *arg, struct swap_place *p, char *err,
		     size_t errlen);
const char *swap_default_dir(void);

/* ---------------------------------------------------------- command.c --- */

/*
 * Finds the program as execvp would and makes sure that an agent can be
 * preloaded into it. 0 with the path, or an exit status with a sentence.
 */
int command_check(const char *name, char *path, size_t pathlen, char *err,
		  size_t errlen);

#endif
