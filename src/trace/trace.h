/* SPDX-License-Identifier: MIT */
/*
 * Traces of what programs did with memory: one reader for every format, and a
 * writer for weir's own two. This room knows nothing of the engine.
 *
 * A trace is a sequence of events. Most are touches of pages; others make and
 * undo mappings, fork, read files, allocate for the kernel, pull a trigger by
 * hand. weir-trace(5) says what each means to a user; ops.def lists them with
 * their fields; the struct below says where a field stands.
 *
 * Use:
 *
 *	struct trace_options opt = {.path = "prog.trace.zst"};
 *	struct trace_error err;
 *	struct trace_reader *r;
 *	struct trace_event ev[TRACE_BATCH];
 *	int n;
 *
 *	if (trace_open(&r, &opt, &err))
 *		... err.text is the sentence, err.code the -errno
 *	while ((n = trace_read(r, ev, TRACE_BATCH)) > 0)
 *		... ev[0] to ev[n - 1]
 *	if (n < 0)
 *		... trace_reader_error(r): nothing of this trace may be
 *		    reported as a result
 *	trace_close(r);
 *
 * Memory is constant: a few hundred KiB, whatever the length of the trace. A
 * reader belongs to one thread at a time; several readers may read one file.
 */
#ifndef WEIR_TRACE_H
#define WEIR_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Addresses become page numbers by this; a page of a trace is 4 KiB. */
#define TRACE_PAGE_SHIFT 12
#define TRACE_PAGE_SIZE  4096u

/* Times are nanoseconds from a start that the trace chose: use differences. */
#define TRACE_TIME_NONE UINT64_MAX
/* Traces that know no processes are of one. */
#define TRACE_PID_DEFAULT 1u
/* A good length of an array for trace_read(): it fits the first cache. */
#define TRACE_BATCH 256

/* ---------------------------------------------------------------- events ---
 */

/*
 * Every op with its text form is in ops.def. TRACE_TOUCH is 0 and by far the
 * most frequent.
 */
enum trace_op {
#define X(id, word, fields, flags, words, what) TRACE_##id,
#include "trace/ops.def"
#undef X
	NR_TRACE_OPS
};

/* ev.access: of a touch what was done, of a mapping what is allowed. */
enum {
	TRACE_R = 1 << 0,
	TRACE_W = 1 << 1, /* R|W in a touch: read, then changed */
	TRACE_X = 1 << 2
};

/* ev.flags; which of them an op knows is in ops.def. */
enum {
	/* mmap */
	TRACE_F_SHARED = 1 << 0,
	TRACE_F_STACK = 1 << 1, /* grows down */
	TRACE_F_POPULATE = 1 << 2,
	TRACE_F_LOCKED = 1 << 3,
	/* mlock, mlockall */
	TRACE_F_ONFAULT = 1 << 4,
	TRACE_F_CURRENT = 1 << 5,
	TRACE_F_FUTURE = 1 << 6,
	/* msync */
	TRACE_F_ASYNC = 1 << 7,
	/* fork: the child shares the memory, as a thread does */
	TRACE_F_THREAD = 1 << 8,
	/* open: a file without a disk under it (tmpfs, shared memory) */
	TRACE_F_SHM = 1 << 9,
	/* kalloc */
	TRACE_F_NOFAIL = 1 << 10,
	TRACE_F_NORETRY = 1 << 11,
	TRACE_F_NOWARN = 1 << 12,
	TRACE_F_RECLAIMABLE = 1 << 13, /* an object a shrinker may free */
	TRACE_F_MOVABLE = 1 << 14
};

/* ev.kind of madvise and fadvise */
enum trace_advice {
	TRACE_ADV_NORMAL,
	TRACE_ADV_RANDOM,
	TRACE_ADV_SEQUENTIAL,
	TRACE_ADV_WILLNEED,
	TRACE_ADV_DONTNEED,
	TRACE_ADV_FREE,
	TRACE_ADV_COLD,
	TRACE_ADV_PAGEOUT,
	TRACE_ADV_REMOVE,
	TRACE_ADV_POPULATE_READ,
	TRACE_ADV_POPULATE_WRITE,
	TRACE_ADV_NOREUSE,
	NR_TRACE_ADVICES
};

/* ev.kind of kalloc: the context the kernel would allocate in */
enum trace_gfp {
	TRACE_GFP_KERNEL,
	TRACE_GFP_ATOMIC,
	TRACE_GFP_NOWAIT,
	TRACE_GFP_NOIO,
	TRACE_GFP_NOFS,
	TRACE_GFP_USER,
	TRACE_GFP_HIGHUSER,
	TRACE_GFP_DMA,
	TRACE_GFP_MEMALLOC,
	NR_TRACE_GFPS
};

/* ev.kind of create, use, drop, hold, release, dirty */
enum trace_object { TRACE_DENTRY, TRACE_INODE, NR_TRACE_OBJECTS };

/* ev.kind of limit */
enum trace_limit {
	TRACE_LIMIT_MAX,
	TRACE_LIMIT_HIGH,
	TRACE_LIMIT_LOW,
	TRACE_LIMIT_MIN,
	TRACE_LIMIT_SWAP,
	NR_TRACE_LIMITS
};

/*
 * One event. Fields that an op does not have are 0 (time: see below).
 *
 * A touch is of nr pages: page, page + stride, page + 2 * stride, ...; the
 * stride is 1 when nr is 1. nr is at least 1 and the last page does not leave
 * the 64-bit numbers.
 */
struct trace_event {
	uint64_t time; /* ns, of the latest time stamp; or TRACE_TIME_NONE */
	union {
		uint64_t page;   /* memory: the first page */
		uint64_t offset; /* files: in bytes */
		uint64_t object; /* kernel: the allocation, dentry or inode */
	};
	union {
		uint64_t nr;    /* pages */
		uint64_t bytes; /* of files and allocations */
		uint64_t value; /* of set, dropcaches */
	};
	union {
		int64_t stride;     /* touch: in pages */
		uint64_t to;        /* mremap: the first page there */
		uint64_t file_page; /* mmap of a file: the first page of it */
		uint64_t inode;     /* create dentry: the inode of it, or 0 */
	};
	union {
		uint64_t to_nr; /* mremap: pages there */
		int64_t next;   /* touch, oracleGeneral: the number (from 0) of
				 * the next request of this page, TRACE_NEVER,
				 * or TRACE_NEXT_UNKNOWN in other formats */
	};
	uint32_t pid; /* who does it */
	union {
		uint32_t file;  /* from 1; 0 in mmap: anonymous */
		uint32_t child; /* fork */
		uint32_t group; /* from 1 */
		uint32_t area;  /* swapon, swapoff */
	};
	uint16_t cpu; /* where; 0 when the trace does not say */
	uint16_t flags;
	uint8_t op;     /* enum trace_op */
	uint8_t access; /* TRACE_R | TRACE_W | TRACE_X */
	uint8_t kind;
	uint8_t text_len;
	/* set, mark, open: a name, zero at the end, valid until the next call
	 * of trace_read(). NULL when there is none. */
	const char *text;
};

_Static_assert(sizeof(struct trace_event) == 64, "one cache line per event");

#define TRACE_NEXT_UNKNOWN INT64_C(0)
#define TRACE_NEVER        INT64_MAX
#define TRACE_TEXT_MAX     255

/* --------------------------------------------------------------- reading ---
 */

enum trace_format {
	TRACE_FMT_AUTO,
	TRACE_FMT_TEXT,   /* weir's, weir-trace(5) */
	TRACE_FMT_BINARY, /* weir's */
	TRACE_FMT_PAGES,  /* a page number a line, and maybe r or w */
	TRACE_FMT_ARC,    /* start and count */
	TRACE_FMT_LACKEY, /* valgrind --tool=lackey --trace-mem=yes */
	TRACE_FMT_CSV,    /* with a line of column names */
	TRACE_FMT_ORACLE, /* libCacheSim oracleGeneral */
	NR_TRACE_FORMATS
};

/* "text", "binary", "pages", "arc", "lackey", "csv", "oracleGeneral"; "auto" */
const char *trace_format_name(enum trace_format f);
/* -EINVAL for a name there is not. Case does not matter. */
int trace_format_parse(const char *name, enum trace_format *out);

enum trace_packing { TRACE_PLAIN, TRACE_GZIP, TRACE_ZSTD };

struct trace_options {
	const char *path; /* "-" or NULL: standard input */
	enum trace_format format;
	/*
	 * CSV: which column is what, "page=lba,op=rw,time=ts,size=len"; NULL:
	 * by the usual names. Words: page or address, op, time, size, pid.
	 */
	const char *columns;
	/* CSV: nanoseconds in a unit of its times; 0: 1 s. */
	uint64_t time_unit_ns;
};

/* What went wrong, as one sentence for the user without "weir: ". */
struct trace_error {
	/*
	 * -EBADMSG  malformed, truncated, corrupt: text names file, place,
	 *	     what was found, what was expected (exit status 65)
	 * -EINVAL   the options do not fit (64)
	 * other     -errno of opening or reading (66)
	 */
	int code;
	char text[512];
};

struct trace_reader;

/*
 * Opens a trace and finds its format: the first bytes are read, no event is.
 * 0 with *out, or err->code.
 */
int trace_open(struct trace_reader **out, const struct trace_options *opt,
	       struct trace_error *err);
/* The same from memory, which must stay as it is: for tests. */
int trace_open_memory(struct trace_reader **out, const void *data, size_t len,
		      const struct trace_options *opt, struct trace_error *err);
/*
 * The next events, at most max (at least 1). Returns how many, 0 at the end of
 * the trace, or -errno: the trace is wrong after the events already given. An
 * error stays: later calls return it again.
 */
int trace_read(struct trace_reader *r, struct trace_event *ev, unsigned max);
/* From the start again. 0, or -errno: -ESPIPE when it is not a file. */
int trace_rewind(struct trace_reader *r);
const struct trace_error *trace_reader_error(const struct trace_reader *r);
void trace_close(struct trace_reader *r);

struct trace_info {
	enum trace_format format;
	enum trace_packing packing;
	/*
	 * The trace says mmap: a touch of a page that no mmap covers is an
	 * error of the trace. Otherwise (pages, arc, lackey, csv,
	 * oracleGeneral, and what was converted from them) every page that is
	 * touched is there, may have any 64-bit number, and whether it is
	 * anonymous memory or page cache is for the reader's user to decide.
	 */
	bool has_regions;
	bool has_time; /* every event has a time */
	/* Bytes of the file so far and all: for a progress bar. total is 0
	 * when it is not known. */
	uint64_t bytes_read, bytes_total;
};

void trace_reader_info(const struct trace_reader *r, struct trace_info *info);

/* --------------------------------------------------------------- writing ---
 */

struct trace_writer;

/*
 * Writes to `to`, which stays the caller's to close. Of info, format
 * (TRACE_FMT_TEXT or TRACE_FMT_BINARY), has_regions and has_time count. 0, or
 * -errno (-EINVAL for another format, -ENOMEM).
 */
int trace_writer_open(struct trace_writer **out, FILE *to,
		      const struct trace_info *info);
/* 0, -EIO and kin when `to` refuses, -EINVAL for an event that no reader
 * would accept; the error stays. */
int trace_write(struct trace_writer *w, const struct trace_event *ev,
		unsigned nr);
/* Writes the end, flushes `to`, frees the writer. A trace without its end is
 * refused by the reader. */
int trace_writer_close(struct trace_writer *w);

/*
 * A FILE that packs (TRACE_GZIP, TRACE_ZSTD) what is written to it and passes
 * it on to `to`, which stays the caller's. Complete once fclose() of it
 * returned 0. NULL with errno.
 */
FILE *trace_pack(FILE *to, enum trace_packing packing);

#endif
