/* SPDX-License-Identifier: MIT */
/*
 * A swap file: slot n stands at byte n * 4096 of an unlinked file.
 *
 *   Reads and writes: one vectored request each, past the page cache where the
 *   file system allows it.
 *
 *   Checksums: 32 bits for each slot, in memory, set when a page is handed over
 *   for writing and verified when it has been read; 0 is no page's: nothing is
 *   stored there.
 *
 *   Space: the file begins without any and gets it in chunks of 2 MiB, before
 *   the first write to each. A write into a hole would do, but it takes the
 *   file system's lock of the file for writing, and every read that comes
 *   meanwhile waits, in a thread of the kernel at that. A chunk whose last
 *   slot is discarded is empty; a few of those are kept, what is more goes back
 *   to the file system by a later write, because a discard may come with
 *   spinlocks held and punching a hole sleeps.
 *
 * The file has no name, so nothing is left of it however the program ends.
 */
#include "store/store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "host/live/readnow.h"
#include "host/live/sys.h"
#include "host/live/uring.h"
#include "util/fmt.h"
#include "util/list.h"

#define PAGE       4096u
#define CHUNK      512u /* slots; the engine's clusters have as many */
#define EMPTY_KEPT 16u  /* chunks: guessed, 32 MiB of the disk */
#define LOOK_MAX   256u /* chunks looked at for an empty one in one call */
#define SUM_NONE   0u

/*
 *   HOLE ──first write──► BUSY ──► ALLOCATED ──empty──► BUSY ──► HOLE
 *                           └────► SPARSE (could not: writes go to holes)
 * BUSY: somebody is in fallocate; writes to the chunk wait.
 */
enum chunk_state { HOLE, BUSY, ALLOCATED, SPARSE };

struct chunk {
	uint16_t live; /* slots with something stored, or being written */
	uint8_t state;
};

struct store_file {
	struct store s;
	struct uring *ring;
	_Atomic uint32_t *sum; /* by slot */
	bool direct;
	bool is_copy; /* in a forked child: the slots are the parent's */

	_Atomic uint32_t lock; /* spin; of what follows */
	struct chunk *chunk;
	uint64_t nr_chunks;
	uint64_t cursor;            /* where the next empty one is looked for */
	uint64_t nr_empty;          /* ALLOCATED with nothing live */
	_Atomic uint32_t busy_word; /* changes when a BUSY ends */
};

static struct store_file *file_of(struct store *s)
{
	return container_of(s, struct store_file, s);
}

static void lock(struct store_file *f)
{
	unsigned n = 0;

	while (atomic_exchange_explicit(&f->lock, 1, memory_order_acquire))
		if (++n % 64 == 0)
			sys_sched_yield();
}

static void unlock(struct store_file *f)
{
	atomic_store_explicit(&f->lock, 0, memory_order_release);
}

/* ---- checksums ---- */

static uint32_t page_sum(const void *page)
{
	uint64_t h = XXH3_64bits(page, PAGE);
	uint32_t sum = (uint32_t)(h ^ h >> 32);

	return sum == SUM_NONE ? 1 : sum;
}

static uint32_t sum_get(struct store_file *f, uint64_t slot)
{
	return atomic_load_explicit(&f->sum[slot], memory_order_relaxed);
}

static void sum_set(struct store_file *f, uint64_t slot, uint32_t sum)
{
	atomic_store_explicit(&f->sum[slot], sum, memory_order_relaxed);
}

/* ---- space ---- */

static uint64_t chunk_bytes(struct store_file *f, uint64_t c)
{
	uint64_t left = f->s.slots - c * CHUNK;

	return (left < CHUNK ? left : CHUNK) * PAGE;
}

static void chunk_set(struct store_file *f, uint64_t c, enum chunk_state state)
{
	struct chunk *ch = &f->chunk[c];
	uint64_t bytes = chunk_bytes(f, c);

	__atomic_fetch_add(&f->s.bytes_used, state == HOLE ? -bytes : bytes,
			   __ATOMIC_RELAXED);
	lock(f);
	ch->state = (uint8_t)state;
	unlock(f);
	atomic_fetch_add(&f->busy_word, 1);
	uring_wake(f->ring, &f->busy_word, UINT32_MAX);
}

/*
 * `fresh` slots of a chunk come to life. A hole is filled first; a chunk that
 * is being filled or punched is waited for:
 *
 *   puncher (in some write)          writer
 *   nothing live: BUSY, under lock
 *   punches                          finds BUSY: waits
 *   HOLE, wakes                      fills it, counts its slots
 *
 * and once they are counted, no puncher takes the chunk.
 */
static void chunk_claim(struct store_file *f, uint64_t c, unsigned fresh)
{
	struct chunk *ch = &f->chunk[c];

	for (;;) {
		uint32_t word = atomic_load(&f->busy_word);
		uint8_t state;
		int err;

		lock(f);
		state = ch->state;
		if (state == ALLOCATED || state == SPARSE) {
			if (state == ALLOCATED && !ch->live && fresh)
				f->nr_empty--;
			ch->live = (uint16_t)(ch->live + fresh);
		} else {
			ch->state = BUSY;
		}
		unlock(f);
		if (state == ALLOCATED || state == SPARSE)
			return;
		if (state == BUSY) {
			uring_wait(f->ring, &f->busy_word, word, 0);
			continue;
		}
		/* Empty for the moment, but nr_empty need not know: the next
		 * turn of this loop counts our slots. */
		err = sys_fallocate(f->s.fd, FALLOC_FL_KEEP_SIZE,
				    c * CHUNK * PAGE, chunk_bytes(f, c));
		lock(f);
		f->nr_empty += !err;
		unlock(f);
		chunk_set(f, c, err ? SPARSE : ALLOCATED);
	}
}

/* `dead` slots of a chunk hold nothing any more. */
static void chunk_drop(struct store_file *f, uint64_t c, unsigned dead)
{
	struct chunk *ch = &f->chunk[c];

	if (!dead)
		return;
	lock(f);
	ch->live = (uint16_t)(ch->live - dead);
	f->nr_empty += !ch->live && ch->state == ALLOCATED;
	unlock(f);
}

/* => locked. An empty chunk that is one too many, now BUSY; or -1. */
static int64_t punch_pick(struct store_file *f)
{
	uint64_t keep = f->nr_chunks / 8;

	if (f->nr_empty <= (keep < EMPTY_KEPT ? keep : EMPTY_KEPT))
		return -1;
	for (unsigned i = 0; i < LOOK_MAX; i++) {
		uint64_t c = f->cursor;
		struct chunk *ch = &f->chunk[c];

		f->cursor = c + 1 < f->nr_chunks ? c + 1 : 0;
		if (ch->state == ALLOCATED && !ch->live) {
			ch->state = BUSY;
			f->nr_empty--;
			return (int64_t)c;
		}
	}
	return -1;
}

static void punch_one(struct store_file *f)
{
	int64_t c;
	int err;

	lock(f);
	c = punch_pick(f);
	unlock(f);
	if (c < 0)
		return;
	err = sys_fallocate(f->s.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    (uint64_t)c * CHUNK * PAGE,
			    chunk_bytes(f, (uint64_t)c));
	(void)err; /* then the space is ours still, and the books say less */
	chunk_set(f, (uint64_t)c, HOLE);
}

/* Calls fn for the part of [slot, slot + nr) in each chunk. */
static void each_chunk(struct store_file *f, uint64_t slot, unsigned nr,
		       void (*fn)(struct store_file *f, uint64_t slot,
				  unsigned nr))
{
	while (nr) {
		unsigned part = CHUNK - (unsigned)(slot % CHUNK);

		part = part < nr ? part : nr;
		fn(f, slot, part);
		slot += part;
		nr -= part;
	}
}

static void discard_part(struct store_file *f, uint64_t slot, unsigned nr)
{
	unsigned dead = 0;

	for (uint64_t i = slot; i < slot + nr; i++) {
		dead += sum_get(f, i) != SUM_NONE;
		sum_set(f, i, SUM_NONE);
	}
	chunk_drop(f, slot / CHUNK, dead);
}

static void claim_part(struct store_file *f, uint64_t slot, unsigned nr)
{
	unsigned fresh = 0;

	for (uint64_t i = slot; i < slot + nr; i++)
		fresh += sum_get(f, i) == SUM_NONE;
	chunk_claim(f, slot / CHUNK, fresh);
}

static void file_discard(struct store *s, uint64_t slot, unsigned nr)
{
	struct store_file *f = file_of(s);

	if (f->is_copy || slot >= s->slots)
		return;
	if (nr > s->slots - slot)
		nr = (unsigned)(s->slots - slot);
	each_chunk(f, slot, nr, discard_part);
}

/* ---- reads and writes ---- */

static int16_t status_of(int res)
{
	return res == -ENOSPC || res == -EDQUOT ? -ENOSPC : -EIO;
}

static int16_t verify(struct store_file *f, uint64_t slot, void *page)
{
	if (f->s.on_read)
		f->s.on_read(f->s.on_read_ctx, page);
	/* SUM_NONE is no page's checksum. */
	return sum_get(f, slot) == page_sum(page) ? 0 : -EBADMSG;
}

static void file_done(void *arg, int res)
{
	struct store_req *r = arg;
	struct store_file *f = (struct store_file *)(uintptr_t)r->scratch[0];
	unsigned good = res > 0 ? (unsigned)res / PAGE : 0;
	/* A short write ran out of space on the way; the error itself comes
	 * only to whoever tries the rest. */
	int16_t bad = res < 0 ? status_of(res) : r->write ? -ENOSPC : -EIO;

	for (unsigned i = 0; i < r->nr; i++) {
		if (i >= good)
			r->status[i] = bad;
		else if (r->write)
			r->status[i] = 0;
		else
			r->status[i] = verify(f, r->slot + i, r->buf[i]);
		if (r->write && r->status[i])
			discard_part(f, r->slot + i, 1);
	}
	r->done(r);
}

/* Neighbours in memory become one element. */
static unsigned fill_iov(struct store_req *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->nr; i++) {
		struct iovec *last = n ? &r->iov[n - 1] : NULL;

		if (last && (char *)last->iov_base + last->iov_len == r->buf[i])
			last->iov_len += PAGE;
		else
			r->iov[n++] = (struct iovec){r->buf[i], PAGE};
	}
	return n;
}

static void refuse(struct store_req *r)
{
	for (unsigned i = 0; i < r->nr; i++)
		r->status[i] = -EIO;
	r->done(r);
}

static void before_write(struct store_file *f, struct store_req *r)
{
	each_chunk(f, r->slot, r->nr, claim_part);
	for (unsigned i = 0; i < r->nr; i++)
		sum_set(f, r->slot + i, page_sum(r->buf[i]));
}

static void file_submit(struct store *s, struct store_req *r)
{
	struct store_file *f = file_of(s);
	bool write = r->write; /* r may be gone after the submit */

	if (!r->nr || r->nr > STORE_RUN_MAX || r->slot >= s->slots ||
	    r->nr > s->slots - r->slot || (write && f->is_copy)) {
		refuse(r);
		return;
	}
	if (write)
		before_write(f, r);
	r->scratch[0] = (uintptr_t)f;
	if (r->sync && !write) { /* no ring, no second wake-up */
		file_done(r, (int)readnow(r->reader, f->s.fd, r->iov,
					  fill_iov(r), r->slot * PAGE));
		return;
	}
	uring_submit(f->ring, write, f->s.fd, r->iov, fill_iov(r),
		     r->slot * PAGE, file_done, r);
	if (write)
		punch_one(f);
}

static void file_after_fork(struct store *s, struct uring *ring)
{
	struct store_file *f = file_of(s);
	int flags;

	/* Whoever held the lock in the parent is not here to release it. */
	atomic_store(&f->lock, 0);
	f->ring = ring;
	f->is_copy = true;
	/* It may have been opened anew, with other flags. */
	flags = sys_fcntl(f->s.fd, F_GETFL, 0);
	if (flags >= 0)
		sys_fcntl(f->s.fd, F_SETFL,
			  f->direct ? flags | O_DIRECT : flags & ~O_DIRECT);
}

static void file_close(struct store *s)
{
	struct store_file *f = file_of(s);

	sys_close(f->s.fd);
	f->s.fd = -1;
}

static const struct store_ops file_ops = {.name = "file",
					  .submit = file_submit,
					  .discard = file_discard,
					  .after_fork = file_after_fork,
					  .close = file_close};

bool store_file_is_direct(const struct store *s)
{
	return container_of(s, const struct store_file, s)->direct;
}

/* ---- making the file ---- */

/* May run on a thread that the C library does not know: no stdio, and no
 * strerror, which looks for a translation. */
struct maker {
	const struct store_file_opts *o;
	char *err;
	size_t errlen;
};

__attribute__((format(printf, 3, 4))) static int
sorry(const struct maker *m, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (m->errlen)
		fmt_v(m->err, m->errlen, fmt, ap);
	va_end(ap);
	return code;
}

static const char *words(int err)
{
	switch (-err) {
	case EIO:
		return "input/output error";
	case ELOOP:
		return "too many symbolic links";
	case ENAMETOOLONG:
		return "the name is too long";
	case ENOMEM:
		return "no memory";
	case EOPNOTSUPP:
		return "this file system cannot do that";
	default:
		return "the system refused";
	}
}

#define WANTED                                                                 \
	"give a directory, or the name of a file that does not exist yet "     \
	"(it is made, and removed at once)"

static const char *kind_of(unsigned mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "a file that exists";
	case S_IFBLK:
		return "a block device";
	case S_IFCHR:
		return "a character device";
	case S_IFIFO:
		return "a pipe";
	case S_IFSOCK:
		return "a socket";
	default:
		return "not a directory";
	}
}

static int explain_create(const struct maker *m, const char *dir, int err)
{
	switch (-err) {
	case ENOENT:
		return sorry(m, err, "%s: there is no directory %s", m->o->path,
			     dir);
	case ENOTDIR:
		return sorry(m, err, "%s: %s is not a directory", m->o->path,
			     dir);
	case EACCES:
	case EPERM:
		return sorry(m, err, "%s: this user may not make files in %s",
			     m->o->path, dir);
	case EROFS:
		return sorry(m, err, "%s: the file system is read-only",
			     m->o->path);
	case ENOSPC:
	case EDQUOT:
		return sorry(m, err,
			     "%s: no room for one more file (inodes or quota)",
			     m->o->path);
	case EMFILE:
	case ENFILE:
		return sorry(m, err, "%s: too many open files", m->o->path);
	default:
		return sorry(m, err,
			     "%s: cannot make a swap file in %s: %s (error %d)",
			     m->o->path, dir, words(err), -err);
	}
}

/* Made and unlinked in two steps; a kill between them leaves an empty file. */
static int create_and_unlink(int dir, const char *name)
{
	int fd = sys_openat(dir, name,
			    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
			    0600);

	if (fd >= 0)
		sys_unlinkat(dir, name, 0);
	return fd;
}

static int create_some_name(int dir)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
	char name[] = ".weir-swap-............";
	char *tail = name + sizeof(".weir-swap-") - 1;
	uint64_t r;
	int fd = -EEXIST;

	for (int tries = 0; tries < 16 && fd == -EEXIST; tries++) {
		if (sys_call3(SYS_getrandom, (long)&r, sizeof(r), 0) !=
		    sizeof(r))
			r = (uintptr_t)&r + (unsigned)sys_getpid() * 64u +
			    (unsigned)tries;
		for (int i = 0; tail[i]; i++, r >>= 5)
			tail[i] = digits[r & 31];
		fd = create_and_unlink(dir, name);
	}
	return fd;
}

/* A file without a name where the file system knows that, else a name for a
 * moment: `name`, or one of our own. */
static int create_in(const struct maker *m, const char *dir, const char *name)
{
	int d =
	    sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	int fd;

	if (d == -EACCES) /* not readable, but perhaps writable */
		d = sys_openat(AT_FDCWD, dir, O_PATH | O_DIRECTORY | O_CLOEXEC,
			       0);
	if (d < 0)
		return explain_create(m, dir, d);
	fd = sys_openat(d, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -ENOENT ||
	    fd == -EINVAL)
		fd = name ? create_and_unlink(d, name) : create_some_name(d);
	sys_close(d);
	return fd < 0 ? explain_create(m, dir, fd) : fd;
}

/* The path names nothing yet: the file goes into its parent. */
static int create_named(const struct maker *m)
{
	const char *path = m->o->path, *slash = strrchr(path, '/');
	char dir[4096];
	size_t n = slash ? (size_t)(slash - path) : 0;

	if (slash && !slash[1])
		return sorry(m, -ENOENT, "%s: there is no such directory",
			     path);
	if (n >= sizeof(dir))
		return sorry(m, -ENAMETOOLONG, "%s: the path is too long",
			     path);
	if (!slash)
		memcpy(dir, ".", 2);
	else if (!n)
		memcpy(dir, "/", 2);
	else {
		memcpy(dir, path, n);
		dir[n] = 0;
	}
	return create_in(m, dir, slash ? slash + 1 : path);
}

static int create(const struct maker *m)
{
	const char *path = m->o->path;
	struct stat st;
	int err;

	if (!path || !*path)
		return sorry(m, -EINVAL, "no place for the swap file: " WANTED);
	err = sys_fstatat(AT_FDCWD, path, &st, 0);
	if (!err && S_ISDIR(st.st_mode))
		return create_in(m, path, NULL);
	if (!err)
		return sorry(m, -EEXIST, "%s: this is %s; " WANTED, path,
			     kind_of(st.st_mode));
	if (err == -ENOENT &&
	    !sys_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW))
		return sorry(m, -EEXIST,
			     "%s: this is a symbolic link to nothing; " WANTED,
			     path);
	if (err == -ENOENT)
		return create_named(m);
	if (err == -ENOTDIR)
		return sorry(
		    m, err, "%s: a part of this path is not a directory", path);
	if (err == -EACCES)
		return sorry(m, err, "%s: this user may not look there", path);
	return sorry(m, err, "%s: %s (error %d)", path, words(err), -err);
}

static int set_size(const struct maker *m, int fd)
{
	struct rlimit lim;
	int err;

	/* Beyond this limit a write kills with SIGXFSZ: say so before. */
	if (!sys_call4(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, (long)&lim) &&
	    lim.rlim_cur != RLIM_INFINITY && lim.rlim_cur < m->o->bytes)
		return sorry(m, -EFBIG,
			     "%s: files may have %llu bytes here (ulimit -f), "
			     "fewer than the %llu asked for",
			     m->o->path, (unsigned long long)lim.rlim_cur,
			     (unsigned long long)m->o->bytes);
	err = sys_ftruncate(fd, m->o->bytes / PAGE * PAGE);
	if (err == -EFBIG || err == -EINVAL)
		return sorry(m, -EFBIG,
			     "%s: the file system cannot hold a file of %llu "
			     "bytes",
			     m->o->path, (unsigned long long)m->o->bytes);
	if (err)
		return sorry(m, err,
			     "%s: cannot set the file's size: %s (error %d)",
			     m->o->path, words(err), -err);
	return 0;
}

/* Past the page cache, if the file system agrees and 4 KiB is a size that it
 * can transfer; a trial read tells. */
static bool try_direct(int fd)
{
	static _Alignas(4096) char page[PAGE];
	int flags = sys_fcntl(fd, F_GETFL, 0);

	if (flags < 0 || sys_fcntl(fd, F_SETFL, flags | O_DIRECT) < 0)
		return false;
	if (sys_pread64(fd, page, PAGE, 0) == PAGE)
		return true;
	sys_fcntl(fd, F_SETFL, flags);
	return false;
}

int store_file_open(const struct store_file_opts *o, struct store **out,
		    char *err, size_t errlen)
{
	const struct maker m = {o, err, errlen};
	struct store_file *f;
	int fd, ret;

	if (!o->ring || !o->meta_alloc)
		return sorry(&m, -EINVAL,
			     "a swap file needs a ring and memory");
	if (o->bytes < PAGE || o->bytes > (uint64_t)INT64_MAX)
		return sorry(&m, -EINVAL,
			     "a swap file of %llu bytes: it takes at least one "
			     "page of 4096",
			     (unsigned long long)o->bytes);
	fd = create(&m);
	if (fd < 0)
		return fd;
	ret = set_size(&m, fd);
	if (ret) {
		sys_close(fd);
		return ret;
	}
	f = o->meta_alloc(o->ctx, sizeof(*f));
	if (f)
		f->sum =
		    o->meta_alloc(o->ctx, o->bytes / PAGE * sizeof(*f->sum));
	if (f) {
		f->nr_chunks = (o->bytes / PAGE + CHUNK - 1) / CHUNK;
		f->chunk =
		    o->meta_alloc(o->ctx, f->nr_chunks * sizeof(*f->chunk));
	}
	if (!f || !f->sum || !f->chunk) {
		sys_close(fd);
		return sorry(&m, -ENOMEM,
			     "%s: no memory for the checksums of %llu pages",
			     o->path, (unsigned long long)(o->bytes / PAGE));
	}
	f->s.fd = sys_fd_high(fd);
	f->direct = !o->buffered && try_direct(f->s.fd);
	f->ring = o->ring;
	f->s.ops = &file_ops;
	f->s.slots = o->bytes / PAGE;
	*out = &f->s;
	return 0;
}
