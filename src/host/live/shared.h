/* SPDX-License-Identifier: MIT */
/*
 * What `weir run` and the agents inside the program's processes share: one
 * memory file. weir writes the configuration once, before the program starts;
 * each agent claims a slot and keeps its figures there; weir reads them.
 *
 * Interface:
 *  - The environment variable WEIR_SHARED names the file
 *    (/proc/PID-of-weir/fd/N). An agent opens it read-write, maps
 *    sizeof(struct weir_shared) bytes MAP_SHARED and checks the header with
 *    weir_shared_check().
 *  - After start-up nothing but atomic fields changes, except name and error
 *    of a slot: they are written by the slot's owner before it publishes them
 *    (state, WEIR_SLOT_ERROR).
 *  - A slot outlives its process: the figures of a program that is gone are
 *    what the summary is about. When no slot is free any more, those of dead
 *    processes are folded into `folded` and used again.
 *
 * Nothing here allocates, and nothing but weir_slot_claim (kill(pid, 0))
 * calls the system.
 */
#ifndef WEIR_LIVE_SHARED_H
#define WEIR_LIVE_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/stats.h"
#include "engine/tunable.h"

#define WEIR_SHARED_ENV	    "WEIR_SHARED"
#define WEIR_SHARED_MAGIC   UINT64_C(0x316e757272696577) /* "weirrun1" */
#define WEIR_SHARED_VERSION 2

/* The least budget that can work, and the least swap worth having. */
#define WEIR_MEMORY_MIN (UINT64_C(8) << 20)
#define WEIR_SWAP_MIN	(UINT64_C(1) << 20)
#define WEIR_ZMEM_MIN	(UINT64_C(1) << 20)

#define WEIR_SLOTS     1024
#define WEIR_PATH_MAX  4096
#define WEIR_NAME_MAX  16
#define WEIR_ERROR_MAX 256

enum {
	/* The program may not have UFFD_FEATURE_EVENT_FORK (it takes
	 * CAP_SYS_PTRACE, even where /dev/userfaultfd is open to all). */
	WEIR_CONFIG_NO_EVENT_FORK = 1 << 0,
	/* No io_uring here: threads do the I/O. */
	WEIR_CONFIG_NO_URING = 1 << 1,
	/* The swap file cannot be opened with O_DIRECT. */
	WEIR_CONFIG_BUFFERED = 1 << 2
};

struct weir_config {
	uint64_t memory_bytes;
	uint64_t swap_bytes;	       /* 0 = no swap */
	uint64_t zmem_bytes;	       /* limit of compressed memory; 0 = none */
	int32_t zmem_codec, zmem_level; /* enum zcodec_kind */
	char swap_path[WEIR_PATH_MAX]; /* directory or file to be; absolute */
	char uffd_path[64];	       /* a device, or "" for the system call */
	uint64_t uffd_features;	       /* what the kernel offers */
	struct tunables tun;
	uint32_t verbose; /* 0, 1, 2 */
	uint32_t flags;	  /* WEIR_CONFIG_* */
	char store_error[256]; /* tests: spec of store_error_wrap, or "" */
};

/* Resident memory that the engine does not manage, by kind. */
enum weir_unmanaged {
	UNMANAGED_FILE,	  /* file and shared mappings */
	UNMANAGED_STACK,  /* stacks, thread-local blocks */
	UNMANAGED_LOCKED, /* locked by the program */
	UNMANAGED_SMALL,  /* too small to be worth it */
	UNMANAGED_OTHER,  /* pinned, or refused by the kernel */
	NR_UNMANAGED
};

enum weir_slot_state {
	SLOT_FREE,
	SLOT_CLAIMED, /* its owner fills it in */
	SLOT_LIVE,
	SLOT_ENDED, /* exit, or exec of another program */
	SLOT_FOLDING
};

enum {
	WEIR_SLOT_MANAGED = 1 << 0,  /* the engine runs in it */
	WEIR_SLOT_EXITED = 1 << 1,   /* exit was seen by the agent */
	WEIR_SLOT_EXECED = 1 << 2,   /* became another program */
	WEIR_SLOT_ERROR = 1 << 3,    /* error[] holds a sentence */
	WEIR_SLOT_OOM = 1 << 4,	     /* killed: swap full, nothing to reclaim */
	WEIR_SLOT_IO_ERROR = 1 << 5, /* a page was lost to a read error */
	WEIR_SLOT_CORRUPT = 1 << 6,  /* a page was lost to a bad checksum */
	WEIR_SLOT_REFUSED = 1 << 7,  /* the agent could not start: unmanaged */
	WEIR_SLOT_FORKED = 1 << 8    /* began as a fork of another slot's */
};

/* Figures of one process. Bytes; counters in the units of stats.def. */
struct weir_slot {
	_Atomic uint32_t state; /* enum weir_slot_state */
	_Atomic int32_t pid;
	_Atomic int32_t parent_pid;
	_Atomic uint32_t generation; /* raised by each claim of the slot */
	_Atomic uint32_t flags;	     /* WEIR_SLOT_* */
	char name[WEIR_NAME_MAX];
	_Atomic int64_t stats[NR_STATS];
	_Atomic uint64_t managed_bytes, managed_peak_bytes; /* resident */
	_Atomic uint64_t registered_bytes; /* address space in the books */
	_Atomic uint64_t overhead_bytes, overhead_peak_bytes; /* engine's own */
	_Atomic uint64_t swap_bytes, swap_peak_bytes;
	_Atomic uint64_t zmem_bytes, zmem_peak_bytes; /* part of managed */
	_Atomic uint64_t unmanaged_bytes[NR_UNMANAGED];
	_Atomic uint64_t unmanaged_peak_bytes[NR_UNMANAGED];
	char error[WEIR_ERROR_MAX];
};

/* What processes left behind whose slots were used again. */
struct weir_folded {
	_Atomic uint64_t processes;
	_Atomic uint32_t flags;
	_Atomic int64_t stats[NR_STATS];
	_Atomic uint64_t managed_peak_bytes, overhead_peak_bytes,
		swap_peak_bytes, zmem_peak_bytes;
	_Atomic uint64_t unmanaged_peak_bytes[NR_UNMANAGED];
};

struct weir_shared {
	uint64_t magic;
	uint32_t version;
	uint32_t bytes; /* sizeof(struct weir_shared): same build on both sides */
	int32_t weir_pid;
	_Atomic int32_t finished; /* weir ends in good order: agents go on */
	struct weir_config config;
	_Atomic uint64_t processes; /* slots ever claimed */
	_Atomic uint64_t dropped;   /* claims that found no slot */
	struct weir_folded folded;
	struct weir_slot slot[WEIR_SLOTS];
};

/* weir: fills the header of a zero-filled file. */
void weir_shared_init(struct weir_shared *s, int32_t weir_pid);
/* Agent: 0, or -EPROTO when the file is not ours or from another build. */
int weir_shared_check(const struct weir_shared *s);

/*
 * A slot for this process, zero-filled but for pid, generation and name, in
 * state SLOT_CLAIMED; the caller sets SLOT_LIVE with weir_slot_set_state.
 * A live slot that this pid has already (exec) is ended first. NULL when there
 * are more live processes than slots: the process is then not in the summary.
 * [async-signal-safe]
 */
struct weir_slot *weir_slot_claim(struct weir_shared *s, int32_t pid,
				  const char *name);
void weir_slot_set_state(struct weir_slot *w, enum weir_slot_state state);
/* Raises `peak` to v and stores v in `now`. */
void weir_slot_level(_Atomic uint64_t *now, _Atomic uint64_t *peak, uint64_t v);
/* Sets the sentence (the first one stays) and flag | WEIR_SLOT_ERROR. */
void weir_slot_error(struct weir_slot *w, uint32_t flag, const char *msg);

const char *weir_unmanaged_name(enum weir_unmanaged kind);

#endif
