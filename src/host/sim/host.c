/* SPDX-License-Identifier: MIT */
/* The host table over the simulator's rooms; processes; start and end. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/aspace.h"
#include "engine/check.h"
#include "engine/engine.h"
#include "engine/fault.h"
#include "engine/oom.h"
#include "engine/reclaim.h"
#include "engine/slab.h"
#include "engine/swap.h"
#include "engine/writeback.h"
#include "host/sim/sim_internal.h"

#define META_LARGE ((size_t)4 << 20)

void sim_config_default(struct sim_config *c)
{
	*c = (struct sim_config){
	    .cpus = 2,
	    .nodes = 1,
	    .mmu = SIM_MMU_BITS,
	    .contents = SIM_CONTENTS_FULL,
	    .span_pages = 8192,
	    .handlers_many = true,
	    .touch_ns = 50,
	    .fault_ns = 2000,
	    .scan_ns = 150,
	    .read_ns = 80000,
	    .write_ns = 60000,
	    .page_ns = 2400,
	    .jitter_ns = 20000,
	    .queue_depth = 32,
	    .migrate_ppm = 100000,
	    .preempt_ppm = 50000,
	    .log_level = -1,
	};
	for (int i = 0; i < SIM_SWAP_MAX; i++)
		c->swap_prio[i] = -1;
}

/* --- the end of a run ---------------------------------------------------- */

void sim__fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (!s->why[0]) {
		va_start(ap, fmt);
		vsnprintf(s->why, sizeof(s->why), fmt, ap);
		va_end(ap);
		if (s->obs.failed)
			s->obs.failed(s->obs.ctx, s->why);
		/* for a debugger: the failing task's stack is the current one
		 */
		if (getenv("WEIR_SIM_ABORT"))
			abort();
	}
	sim__sched_abandon(s);
}

const char *sim_why(const struct sim *s)
{
	return s->why;
}

void sim_dump(struct sim *s, void (*out)(void *ctx, const char *line),
	      void *ctx)
{
	sim__sched_dump(s, out, ctx);
}

/* --- the host table ------------------------------------------------------ */

static uint64_t host_now(struct weir_host *h)
{
	return sim__of(h)->sched.clock.now;
}

static void *host_meta(struct weir_host *h, size_t bytes)
{
	struct sim *s = sim__of(h);
	void *p;

	if (s->nr_meta == SIM_META_MAX)
		return NULL;
	p = bytes < META_LARGE ? calloc(1, bytes) : sim__memory(bytes);
	if (p) {
		s->meta_bytes[s->nr_meta] = bytes;
		s->meta[s->nr_meta++] = p;
	}
	return p;
}

static void *host_direct(struct weir_host *h, pfn_t pfn)
{
	return sim__ram_direct(sim__of(h), pfn);
}

static void *host_contents(struct weir_host *h, pfn_t pfn)
{
	return sim__ram_contents(sim__of(h), pfn);
}

static void host_release(struct weir_host *h, pfn_t pfn, unsigned nr)
{
	sim__ram_release(sim__of(h), pfn, nr);
}

static void host_io_submit(struct weir_host *h, struct weir_io *io)
{
	sim__point(sim__of(h));
	sim__disk_submit(sim__of(h), io);
	sim__point(sim__of(h));
}

static void host_io_poll(struct weir_host *h)
{
	sim__poll(sim__of(h));
}

static void host_io_discard(struct weir_host *h, uint32_t area, uint64_t slot,
			    unsigned nr)
{
	sim__disk_discard(sim__of(h), area, slot, nr);
}

static void host_file_cut(struct weir_host *h, uint32_t file, uint64_t first)
{
	sim__preempt(sim__of(h));
	sim__disk_file_cut(sim__of(h), file, first);
}

static struct wtask *host_self(struct weir_host *h)
{
	return sim__self(sim__of(h));
}

static int host_spawn(struct weir_host *h, const char *name, unsigned flags,
		      weir_worker_fn *fn, void *arg)
{
	return sim__task_new(sim__of(h), name, flags, false, NULL, fn, arg);
}

static int host_wait(struct weir_host *h, _Atomic uint32_t *word,
		     uint32_t expected, uint64_t timeout_ns)
{
	return sim__wait(sim__of(h), word, expected, timeout_ns);
}

static void host_wake_word(struct weir_host *h, _Atomic uint32_t *word,
			   unsigned nr)
{
	sim__wake(sim__of(h), word, nr);
}

static void host_preempt(struct weir_host *h)
{
	sim__preempt(sim__of(h));
}

static void host_relax(struct weir_host *h)
{
	sim__relax(sim__of(h));
}

static void __attribute__((noreturn))
host_panic(struct weir_host *h, const char *msg)
{
	sim__fail(sim__of(h), "panic: %s", msg);
}

static void host_log(struct weir_host *h, int level, const char *msg)
{
	struct sim *s = sim__of(h);

	if (level <= s->cfg.log_level)
		fprintf(stderr, "%12llu %s: %s\n",
			(unsigned long long)s->sched.clock.now,
			sim__self(s)->name, msg);
}

static int host_oom_kill(struct weir_host *h, void *as)
{
	struct sim *s = sim__of(h);
	struct sim_proc *p = as, *q;

	/* While an address space changes, unmap() refuses; that passes, and is
	 * no shortage. */
	list_for_each_entry (q, &s->mmu.procs, link)
		if (!q->dead && q->changing)
			return -EAGAIN;
	if (s->obs.oom_kill)
		s->obs.oom_kill(s->obs.ctx, p);
	sim_kill(p);
	return 0;
}

/* ordered: the work that engine rooms do with spinlocks is in here, and no
 * lock has to be a scheduling point. */
static void host_scanned(struct weir_host *h, unsigned pages)
{
	struct sim *s = sim__of(h);

	sim__pass(&s->sched, pages * s->cfg.scan_ns);
	sim__point(s);
}

#define OPS(model, bit, ...)                                                   \
	{                                                                      \
		.now_ns = host_now, .meta_alloc = host_meta,                   \
		.direct = host_direct, .contents = host_contents,              \
		.release = host_release, .map = sim__##model##_map,            \
		.unmap = sim__##model##_unmap,                                 \
		.protect = sim__##model##_protect,                             \
		.wake = sim__##model##_wake, .poison = sim__##model##_poison,  \
		.has_accessed_bit = bit, .io_submit = host_io_submit,          \
		.io_poll = host_io_poll, .io_discard = host_io_discard,        \
		.file_cut = host_file_cut,                                     \
		.self = host_self, .spawn = host_spawn, .wait = host_wait,     \
		.wake_word = host_wake_word, .relax = host_relax,              \
		.panic = host_panic, .log = host_log,                          \
		.oom_kill = host_oom_kill, __VA_ARGS__                         \
	}

const struct weir_host_ops sim__ops_bits = OPS(bits, true, .preempt = host_preempt);
const struct weir_host_ops sim__ops_uffd = OPS(uffd, false, .preempt = host_preempt);
static const struct weir_host_ops ops_ordered =
    OPS(bits, true, .scanned = host_scanned);

/* --- start and end ------------------------------------------------------- */

struct sim *sim_create(const struct sim_config *cfg)
{
	struct sim *s = calloc(1, sizeof(*s));
	bool bits = cfg->mmu == SIM_MMU_BITS;

	if (!s)
		return NULL;
	s->cfg = *cfg;
	s->host.ops = bits ? &sim__ops_bits : &sim__ops_uffd;
	if (cfg->ordered)
		s->host.ops = &ops_ordered;
	s->mmu.ops = bits ? &sim__mmu_bits : &sim__mmu_uffd;
	prng_init(&s->mmu.prng, cfg->seed, SIM_STREAM_MMU);
	list_init(&s->mmu.procs);
	list_init(&s->mmu.msgs);
	sim__sched_init(s);
	s->engine = calloc(1, sizeof(*s->engine));
	if (!s->engine || sim__ram_init(s) || sim__disk_init(s)) {
		sim_destroy(s);
		return NULL;
	}
	return s;
}

void sim_destroy(struct sim *s)
{
	struct sim_proc *p, *tmp;

	if (!s)
		return;
	list_for_each_entry_safe (p, tmp, &s->mmu.procs, link) {
		s->mmu.ops->proc_free(p);
		free(p);
	}
	sim__disk_exit(s);
	sim__ram_exit(s);
	sim__sched_exit(s);
	for (unsigned i = 0; i < s->nr_meta; i++)
		if (s->meta_bytes[i] < META_LARGE)
			free(s->meta[i]);
		else
			munmap(s->meta[i], s->meta_bytes[i]);
	free(s->engine);
	free(s);
}

void sim_observe(struct sim *s, const struct sim_observer *o)
{
	s->obs = *o;
}

struct boot {
	struct sim *s;
	int rc;
};

static void boot_task(void *arg)
{
	struct boot *b = arg;
	struct sim *s = b->s;
	struct engine_config ec = {
	    .host = &s->host,
	    .nr_cpus = s->cfg.cpus,
	    .nr_nodes = s->cfg.nodes,
	    .tunables = s->cfg.tunables,
	    .event = s->cfg.event,
	    .event_ctx = s->cfg.event_ctx,
	};

	memcpy(ec.zone_pages, s->cfg.zone_pages, sizeof(ec.zone_pages));
	b->rc = weir__engine_init(s->engine, &ec);
	if (b->rc)
		return;
	s->booted = true;
	for (unsigned i = 0; i < SIM_SWAP_MAX; i++) {
		if (!s->cfg.swap_slots[i])
			continue;
		b->rc = weir__swapon(s->engine, s->cfg.swap_slots[i],
				     s->cfg.swap_prio[i], NULL, 0);
		if (b->rc < 0)
			return;
		if (b->rc != (int)i)
			sim__fail(s, "area %u became type %d", i, b->rc);
	}
	b->rc = weir__kswapd_start(s->engine);
	if (!b->rc)
		b->rc = weir__flusher_start(s->engine);
	if (!b->rc)
		b->rc = weir__oom_reaper_start(s->engine);
	if (!b->rc)
		b->rc = weir__slab_reaper_start(s->engine);
	if (!b->rc && s->cfg.mmu == SIM_MMU_UFFD)
		b->rc = sim__uffd_start(s);
}

int sim_boot(struct sim *s)
{
	struct boot b = {.s = s};

	if (sim_call(s, boot_task, &b))
		return -EIO;
	return b.rc;
}

static void shutdown_task(void *arg)
{
	struct boot *b = arg;

	if (b->s->cfg.mmu == SIM_MMU_UFFD)
		sim__uffd_stop(b->s);
	weir__engine_exit(b->s->engine);
}

int sim_shutdown(struct sim *s)
{
	struct boot b = {.s = s};

	if (!s->booted)
		return 0;
	return sim_call(s, shutdown_task, &b);
}

int sim_task_start(struct sim *s, const char *name, void (*fn)(void *arg),
		   void *arg)
{
	return sim__task_new(s, name, 0, true, fn, NULL, arg);
}

int sim_run(struct sim *s)
{
	if (setjmp(s->boot_jmp))
		return -EIO;
	return sim__sched_run(s);
}

int sim_call(struct sim *s, void (*fn)(void *arg), void *arg)
{
	int rc = sim_task_start(s, "call", fn, arg);

	return rc ? rc : sim_run(s);
}

struct engine *sim_engine(struct sim *s)
{
	return s->engine;
}

const struct sim_config *sim_config(const struct sim *s)
{
	return &s->cfg;
}

uint64_t sim_now(const struct sim *s)
{
	return s->sched.clock.now;
}

uint64_t sim_switches(const struct sim *s)
{
	return s->sched.nr_switches;
}

size_t sim_page_bytes(const struct sim *s)
{
	return s->ram.page_bytes;
}

struct sim_rates *sim_rates(struct sim *s)
{
	return &s->cfg.rates;
}

/* --- program tasks ------------------------------------------------------- */

void sim_sleep(struct sim *s, uint64_t ns)
{
	sim__sleep(s, ns);
}

bool sim_settle(struct sim *s, uint64_t ns)
{
	struct sched *sc = &s->sched;
	uint64_t end = sc->clock.now + ns;

	while (!sim__idle(s) || s->disk.inflight) {
		uint64_t next = sim__clock_next(&sc->clock);

		if (sc->clock.now >= end)
			return false;
		if (next == UINT64_MAX || next <= sc->clock.now)
			sim__sleep(s, 1000);
		else
			sim__sleep(s, next - sc->clock.now + 1);
	}
	return true;
}

void sim_yield(struct sim *s)
{
	sim__yield(s);
}

int sim_wait(struct sim *s, _Atomic uint32_t *word, uint32_t expected,
	     uint64_t timeout_ns)
{
	return sim__wait(s, word, expected, timeout_ns);
}

void sim_wake(struct sim *s, _Atomic uint32_t *word)
{
	sim__wake(s, word, UINT32_MAX);
}

int sim_proc_create(struct sim *s, struct sim_proc **out)
{
	struct sim_proc *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return -ENOMEM;
	p->sim = s;
	p->id = ++s->mmu.next_id;
	list_init(&p->posted);
	list_init(&p->pending);
	list_init(&p->stuck);
	rc = s->mmu.ops->proc_init(p);
	if (!rc)
		rc = weir__aspace_create(s->engine, p, &p->as);
	if (rc) {
		s->mmu.ops->proc_free(p);
		free(p);
		return rc;
	}
	list_add_tail(&p->link, &s->mmu.procs);
	*out = p;
	return 0;
}

void sim_kill(struct sim_proc *p)
{
	if (p->killed)
		return;
	p->killed = true;
	sim__mark_killed(p->sim, p);
	p->sim->mmu.ops->kill(p);
}

bool sim_killed(const struct sim_proc *p)
{
	return p->killed;
}

void sim_exit(struct sim_proc *p)
{
	struct sim *s = p->sim;

	if (p->dead)
		sim__fail(s, "process %u ends twice", p->id);
	p->dead = true;
	s->mmu.ops->exit(p);
	weir__aspace_destroy(p->as);
	p->as = NULL;
}

void sim__books_lock(struct sim_proc *p)
{
	while (p->applying)
		sim__wait(p->sim, &p->applying, 1, 0);
	p->applying = 1;
}

void sim__books_unlock(struct sim_proc *p)
{
	p->applying = 0;
	sim__wake(p->sim, &p->applying, UINT32_MAX);
}

struct aspace *sim_aspace(struct sim_proc *p)
{
	return p->as;
}

int sim_fork(struct sim_proc *p, struct sim_proc **out)
{
	struct sim_proc *before;
	struct sim *s = p->sim;
	int rc;

	if (s->cfg.mmu != SIM_MMU_BITS || s->cfg.contents == SIM_CONTENTS_STAMP)
		return -EOPNOTSUPP;
	rc = sim_proc_create(s, out);
	if (rc)
		return rc;
	before = sim__work_for(s, p);
	rc = weir__aspace_fork(p->as, (*out)->as);
	sim__work_for(s, before);
	if (rc)
		sim_exit(*out);
	return rc;
}

uint64_t sim_base(const struct sim *s)
{
	return SIM_BASE;
}

uint64_t sim_limit(const struct sim *s)
{
	return SIM_BASE + s->cfg.span_pages * PAGE_SIZE;
}

void sim__touch_point(struct sim *s)
{
	struct sched *sc = &s->sched;

	sim__pass(sc, s->cfg.touch_ns);
	if (sc->ordered)
		sim__point(s);
	else if (s->cfg.preempt_ppm || s->cfg.stall_ppm ||
		 sim__clock_next(&sc->clock) <= sc->clock.now)
		sim__preempt(s);
}

int sim_touch(struct sim_proc *p, uint64_t addr, bool write, void **data)
{
	struct sim_proc *before = sim__work_for(p->sim, p);
	int rc = p->sim->mmu.ops->touch(p, addr, write, data);

	sim__work_for(p->sim, before);
	return rc;
}

/* A system call: the operation of the MMU model, made for p. */
#define SYSCALL(p, op, ...)                                                    \
	({                                                                     \
		struct sim_proc *before_ = sim__work_for((p)->sim, p);         \
		int rc_ = (p)->sim->mmu.ops->op(p, __VA_ARGS__);               \
		sim__work_for((p)->sim, before_);                              \
		rc_;                                                           \
	})

int sim_mmap(struct sim_proc *p, uint64_t start, uint64_t end, uint32_t flags,
	     bool late)
{
	return SYSCALL(p, mmap, start, end, flags, late);
}

int sim_register(struct sim_proc *p, uint64_t start, uint64_t end)
{
	return SYSCALL(p, reg, start, end);
}

int sim_munmap(struct sim_proc *p, uint64_t start, uint64_t end)
{
	return SYSCALL(p, munmap, start, end);
}

int sim_dontneed(struct sim_proc *p, uint64_t start, uint64_t end)
{
	return SYSCALL(p, dontneed, start, end);
}

int sim_move(struct sim_proc *p, uint64_t from, uint64_t to, uint64_t len)
{
	return SYSCALL(p, move, from, to, len);
}

int sim_grow(struct sim_proc *p, uint64_t start, uint64_t end)
{
	return SYSCALL(p, grow, start, end);
}

int sim_mlock(struct sim_proc *p, uint64_t start, uint64_t end, bool lock)
{
	return SYSCALL(p, mlock, start, end, lock);
}

/* A call of the engine's, made for p. */
#define FOR_PROC(p, expr)                                                      \
	({                                                                     \
		struct sim_proc *before_ = sim__work_for((p)->sim, p);         \
		__typeof__(expr) rc_ = (expr);                                 \
		sim__work_for((p)->sim, before_);                              \
		rc_;                                                           \
	})

int64_t sim_read(struct sim_proc *p, struct file *f, uint64_t pos, uint64_t len,
		 void *buf)
{
	return FOR_PROC(p, weir__file_read(f, pos, len, buf));
}

int64_t sim_write(struct sim_proc *p, struct file *f, uint64_t pos,
		  uint64_t len, const void *buf)
{
	return FOR_PROC(p, weir__file_write(f, pos, len, buf));
}

size_t sim_read_many(struct sim_proc *p, struct file *f, const uint64_t *access,
		     size_t nr, uint64_t pace, int *rc)
{
	struct sim_proc *before = sim__work_for(p->sim, p);
	struct sim *s = p->sim;
	size_t done;
	int64_t got = 0;

	for (done = 0; done < nr && got >= 0 && !p->killed; done++) {
		uint64_t pos = access[done] & ~(uint64_t)1;

		sim__pass(&s->sched, pace);
		sim__touch_point(s);
		if (access[done] & 1)
			got = weir__file_write(f, pos, PAGE_SIZE, NULL);
		else
			got = weir__file_read(f, pos, PAGE_SIZE, NULL);
	}
	*rc = p->killed ? -EINTR : got < 0 ? (int)got : 0;
	sim__work_for(s, before);
	return *rc ? done - (done > 0) : done;
}

int sim_truncate(struct sim_proc *p, struct file *f, uint64_t size)
{
	return FOR_PROC(p, weir__file_truncate(f->mapping, size));
}

int sim_fsync(struct sim_proc *p, struct file *f, uint64_t first, uint64_t last)
{
	return FOR_PROC(p, weir__file_sync(f->mapping, first, last));
}

int sim_mmap_file(struct sim_proc *p, uint64_t start, uint64_t end,
		  uint32_t flags, struct file *f, uint64_t pgoff)
{
	int rc;

	sim__books_lock(p);
	rc = FOR_PROC(p, weir__region_add_file(p->as, start, end, flags, f,
					       pgoff));
	sim__books_unlock(p);
	return rc;
}

int sim_msync(struct sim_proc *p, uint64_t start, uint64_t end, unsigned flags)
{
	return FOR_PROC(p, weir__aspace_msync(p->as, start, end, flags));
}

int sim_file_create(struct sim *s, enum mapping_kind kind, uint64_t size,
		    uint32_t flags, struct file **out)
{
	uint32_t id = kind == MAPPING_FILE ? sim__disk_file_new(s) : 0;

	return weir__file_create(s->engine, kind, id, size, flags, out);
}

void *sim_file_page(struct sim *s, struct file *f, uint64_t index)
{
	return sim__disk_file_page(s, f->mapping->id, index);
}

int sim_populate(struct sim_proc *p, uint64_t start, uint64_t end)
{
	struct sim_proc *before = sim__work_for(p->sim, p);
	int rc;

	while ((rc = weir__populate(p->sim->engine, p->as, start, end)) ==
		   -EAGAIN &&
	       !p->killed)
		/* the handlers apply what is pending */
		sim_sleep(p->sim, 100000);
	sim__work_for(p->sim, before);
	return p->killed ? -EINTR : rc;
}

uint64_t sim_resident(const struct sim *s)
{
	return s->mmu.resident;
}
