/* SPDX-License-Identifier: MIT */
/*
 * test_pressure with threads: programs that share an address space, one that
 * drops and reclaims what it has, kswapd, and a disk that answers when it
 * likes. Every read is checked and at the end every book; the thread sanitizer
 * looks on.
 *
 * A page's contents are touched under the aspace lock with the entry in place:
 * that stands for the machine, which reaches a page through its entry only.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/aspace.h"
#include "engine/check.h"
#include "engine/engine.h"
#include "engine/fault.h"
#include "engine/pgtable.h"
#include "engine/reclaim.h"
#include "engine/swap.h"
#include "engine/watermark.h"

#define FRAMES   1024
#define PAGES    1500 /* of the shared address space */
#define OWN      400  /* of the private one */
#define SLOTS    4096
#define BASE     0x10000000ull
#define SHARERS  3
#define STEPS    6000
#define TASKS    8
#define META_MAX 64

/* The machine's side of an address space: which pages are in place. */
struct program {
	_Atomic bool in_place[PAGES];
};

struct world {
	struct weir_host host;
	struct weir_host_ops ops;
	struct engine e;
	uint8_t *ram, *disk;
	void *meta[META_MAX]; /* start-up is one thread's */
	unsigned nr_meta;

	pthread_mutex_t lock; /* words, queue */
	pthread_cond_t change;
	struct list_head queue;
	bool slow_disk, disk_ends;

	struct wtask task[TASKS];
	pthread_t thread[TASKS];
	unsigned nr_tasks;
	struct {
		weir_worker_fn *fn;
		void *arg;
	} worker[TASKS];

	struct program program[2];
	struct aspace *shared, *own;
	uint64_t value[PAGES]; /* under shared->lock */
	uint64_t own_value[OWN];
};

static struct world *the;
static __thread struct wtask *self;

static void die(const char *what)
{
	fprintf(stderr, "test_pressurerace: %s\n", what);
	abort();
}

/* --- the host ------------------------------------------------------------- */

static uint64_t t_now(struct weir_host *h)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void *t_meta(struct weir_host *h, size_t bytes)
{
	if (the->nr_meta == META_MAX)
		return NULL;
	return the->meta[the->nr_meta++] = calloc(1, bytes);
}

static void *t_direct(struct weir_host *h, pfn_t pfn)
{
	return the->ram + (size_t)pfn * PAGE_SIZE;
}

static void t_release(struct weir_host *h, pfn_t pfn, unsigned nr)
{
	memset(t_direct(h, pfn), 0xdb, (size_t)nr * PAGE_SIZE);
}

static _Atomic bool *place(void *as, uint64_t addr)
{
	struct program *p = as;

	return &p->in_place[(addr - BASE) / PAGE_SIZE];
}

static void t_map(struct weir_host *h, void *as, struct weir_vec *v,
		  unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		if (!h->ops->has_accessed_bit && *place(as, v[i].addr)) {
			v[i].status = -EEXIST;
			continue;
		}
		if (v[i].flags & VEC_ZERO)
			memset(t_direct(h, v[i].pfn), 0, PAGE_SIZE);
		*place(as, v[i].addr) = true;
		v[i].status = 0;
	}
}

static void t_unmap(struct weir_host *h, void *as, struct weir_vec *v,
		    unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		v[i].status =
		    atomic_exchange(place(as, v[i].addr), false) ? 0 : -ENOENT;
}

static void t_protect(struct weir_host *h, void *as, struct weir_vec *v,
		      unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		v[i].status = *place(as, v[i].addr) ? 0 : -ENOENT;
}

static void t_wake(struct weir_host *h, void *as, uint64_t addr)
{
}

static int t_poison(struct weir_host *h, void *as, uint64_t addr)
{
	die("a page was lost");
	return 0;
}

static void finish(struct weir_io *io)
{
	for (unsigned i = 0; i < io->nr; i++) {
		uint8_t *d = the->disk + (io->slot + i) * PAGE_SIZE;
		uint8_t *m = t_direct(&the->host, io->pfn[i]);

		if (io->op == WEIR_IO_READ)
			memcpy(m, d, PAGE_SIZE);
		else
			memcpy(d, m, PAGE_SIZE);
		io->status[i] = 0;
	}
	io->done(&the->e, io);
}

static void t_submit(struct weir_host *h, struct weir_io *io)
{
	if (!the->slow_disk) {
		finish(io);
		return;
	}
	pthread_mutex_lock(&the->lock);
	list_add_tail(&io->link, &the->queue);
	pthread_cond_broadcast(&the->change);
	pthread_mutex_unlock(&the->lock);
}

static void *disk(void *arg)
{
	self = arg;
	pthread_mutex_lock(&the->lock);
	while (!the->disk_ends || !list_empty(&the->queue)) {
		struct weir_io *io;

		if (list_empty(&the->queue)) {
			pthread_cond_wait(&the->change, &the->lock);
			continue;
		}
		io = list_first_entry(&the->queue, struct weir_io, link);
		list_del(&io->link);
		pthread_mutex_unlock(&the->lock);
		sched_yield();
		finish(io);
		pthread_mutex_lock(&the->lock);
	}
	pthread_mutex_unlock(&the->lock);
	return NULL;
}

static void t_poll(struct weir_host *h)
{
}

static void t_discard(struct weir_host *h, uint32_t area, uint64_t slot,
		      unsigned nr)
{
}

static struct wtask *t_self(struct weir_host *h)
{
	return self;
}

static unsigned new_task(const char *name, unsigned flags)
{
	unsigned i = the->nr_tasks++;

	if (i >= TASKS)
		die("too many tasks");
	the->task[i].id = i + 1;
	the->task[i].cpu = i % the->e.nr_cpus;
	the->task[i].flags = flags;
	the->task[i].name = name;
	return i;
}

static void *worker(void *arg)
{
	unsigned i = (unsigned)(uintptr_t)arg;

	self = &the->task[i];
	the->worker[i].fn(&the->e, the->worker[i].arg);
	return NULL;
}

static int t_spawn(struct weir_host *h, const char *name, unsigned flags,
		   weir_worker_fn *fn, void *arg)
{
	unsigned i = new_task(name, flags);

	the->worker[i].fn = fn;
	the->worker[i].arg = arg;
	return -pthread_create(&the->thread[i], NULL, worker,
			       (void *)(uintptr_t)i);
}

static int t_wait(struct weir_host *h, _Atomic uint32_t *word,
		  uint32_t expected, uint64_t timeout_ns)
{
	struct timespec ts;
	uint64_t end;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &ts);
	end = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec +
	      timeout_ns;
	ts.tv_sec = (time_t)(end / 1000000000ull);
	ts.tv_nsec = (long)(end % 1000000000ull);
	pthread_mutex_lock(&the->lock);
	while (*word == expected && !err)
		err = timeout_ns ? pthread_cond_timedwait(&the->change,
							  &the->lock, &ts)
				 : pthread_cond_wait(&the->change, &the->lock);
	pthread_mutex_unlock(&the->lock);
	return -err;
}

static void t_wake_word(struct weir_host *h, _Atomic uint32_t *word,
			unsigned nr)
{
	pthread_mutex_lock(&the->lock);
	pthread_cond_broadcast(&the->change);
	pthread_mutex_unlock(&the->lock);
}

static void t_relax(struct weir_host *h)
{
	sched_yield();
}

static void __attribute__((noreturn))
t_panic(struct weir_host *h, const char *msg)
{
	die(msg);
	__builtin_unreachable();
}

static void t_log(struct weir_host *h, int level, const char *msg)
{
	if (!level || getenv("WEIR_TEST_LOG"))
		fprintf(stderr, "%s\n", msg);
}

static int t_oom_kill(struct weir_host *h, void *as)
{
	die("out of memory");
	return 0;
}

static const struct weir_host_ops thread_ops = {
    .now_ns = t_now,
    .meta_alloc = t_meta,
    .direct = t_direct,
    .contents = t_direct,
    .release = t_release,
    .map = t_map,
    .unmap = t_unmap,
    .protect = t_protect,
    .wake = t_wake,
    .poison = t_poison,
    .io_submit = t_submit,
    .io_poll = t_poll,
    .io_discard = t_discard,
    .self = t_self,
    .spawn = t_spawn,
    .wait = t_wait,
    .wake_word = t_wake_word,
    .relax = t_relax,
    .panic = t_panic,
    .log = t_log,
    .oom_kill = t_oom_kill,
};

/* --- programs ------------------------------------------------------------- */

static uint64_t rnd(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Reads and checks the page's word, writes a new one if asked. False when the
 * page is not there to be used so: fault, try again. */
static bool access_page(struct aspace *as, uint64_t *value, unsigned page,
			uint64_t write, unsigned *fault)
{
	struct engine *e = &the->e;
	uint64_t addr = BASE + (uint64_t)page * PAGE_SIZE, v, *p;
	bool in_place;
	pte_t *pte;

	weir__spin_lock(e, &as->lock);
	pte = weir__pte(as, addr);
	v = pte ? pte_load(pte) : 0;
	in_place = (v & PTE_PRESENT) && !(v & (PTE_HINT | PTE_BUSY));
	*fault = (write ? FAULT_WRITE : 0) | (write && in_place ? FAULT_WP : 0);
	if (!in_place || (write && !(v & PTE_WRITE))) {
		weir__spin_unlock(e, &as->lock);
		return false;
	}
	if (!the->ops.has_accessed_bit && !*place(as->host, addr))
		die("the books say in place, the machine does not");
	if (the->ops.has_accessed_bit)
		pte_set(pte, PTE_ACCESSED | (write ? PTE_DIRTY : 0));
	p = t_direct(&the->host, pte_pfn(v));
	p += page % 512;
	if (*p != value[page]) {
		fprintf(stderr, "%s page %u pfn %u: found %lx, wrote %lx\n",
			as == the->own ? "own" : "shared", page, pte_pfn(v), *p,
			value[page]);
		die("a page has the wrong contents");
	}
	if (write)
		*p = value[page] = write;
	weir__spin_unlock(e, &as->lock);
	return true;
}

static void use_page(struct aspace *as, uint64_t *value, unsigned page,
		     uint64_t write)
{
	unsigned fault;

	while (!access_page(as, value, page, write, &fault)) {
		int err = weir__fault(&the->e, as,
				      BASE + (uint64_t)page * PAGE_SIZE, fault);

		if (err && err != -EAGAIN)
			die("a fault failed");
	}
}

static void *sharer(void *arg)
{
	uint64_t seed = 88172645463325252ull * (uintptr_t)arg + 7;

	self = &the->task[(uintptr_t)arg];
	for (unsigned i = 0; i < STEPS; i++) {
		unsigned page =
		    (unsigned)(rnd(&seed) & 1 ? rnd(&seed) % (PAGES / 8)
					      : rnd(&seed) % PAGES);

		use_page(the->shared, the->value, page,
			 rnd(&seed) & 1 ? rnd(&seed) | 1 : 0);
	}
	return NULL;
}

/* Alone in its address space, so that it knows what it dropped. */
static void *loner(void *arg)
{
	uint64_t seed = 2463534242ull, freed;

	self = &the->task[(uintptr_t)arg];
	for (unsigned i = 0; i < STEPS; i++) {
		unsigned page = (unsigned)(rnd(&seed) % OWN);
		unsigned nr = (unsigned)(rnd(&seed) % 20 + 1);

		use_page(the->own, the->own_value, page, rnd(&seed) | 1);
		if (i % 64 == 0) {
			if (page + nr > OWN)
				nr = OWN - page;
			/* the machine drops them, then the engine hears of it
			 */
			for (unsigned p = page; p < page + nr; p++)
				the->program[1].in_place[p] = false;
			if (weir__aspace_zap(
				the->own, BASE + (uint64_t)page * PAGE_SIZE,
				BASE + (uint64_t)(page + nr) * PAGE_SIZE))
				die("zap");
			memset(the->own_value + page, 0,
			       nr * sizeof(*the->own_value));
		}
		if (i % 512 == 0)
			weir__reclaim_pages(&the->e, 64, -1, &freed);
	}
	return NULL;
}

/* --- one run -------------------------------------------------------------- */

static struct aspace *new_space(struct program *p, unsigned pages)
{
	struct aspace *as;

	assert_int_equal(weir__aspace_create(&the->e, p, &as), 0);
	assert_int_equal(weir__region_add(as, BASE, BASE + pages * PAGE_SIZE,
					  REGION_READ | REGION_WRITE),
			 0);
	return as;
}

static void start(bool accessed_bit, bool slow_disk)
{
	struct engine_config cfg = {
	    .nr_cpus = 2, .nr_nodes = 1, .zone_pages = {{FRAMES}}};

	the = calloc(1, sizeof(*the));
	the->ops = thread_ops;
	the->ops.has_accessed_bit = accessed_bit;
	the->slow_disk = slow_disk;
	the->host.ops = &the->ops;
	the->ram = calloc(FRAMES, PAGE_SIZE);
	the->disk = calloc(SLOTS, PAGE_SIZE);
	pthread_mutex_init(&the->lock, NULL);
	pthread_cond_init(&the->change, NULL);
	list_init(&the->queue);
	cfg.host = &the->host;
	the->e.nr_cpus = 2;
	self = &the->task[new_task("main", 0)];
	assert_int_equal(weir__engine_init(&the->e, &cfg), 0);
	assert_true(weir__swapon(&the->e, SLOTS, -1, NULL, 0) >= 0);
	the->shared = new_space(&the->program[0], PAGES);
	the->own = new_space(&the->program[1], OWN);
	assert_int_equal(weir__kswapd_start(&the->e), 0);
}

static void launch(void *(*fn)(void *), const char *name, pthread_t *t)
{
	uintptr_t i = new_task(name, 0);

	assert_int_equal(
	    pthread_create(t, NULL, fn,
			   fn == disk ? (void *)&the->task[i] : (void *)i),
	    0);
}

static void check_books(void)
{
	char why[200] = "";

	if (!weir__engine_is_valid(&the->e, why, sizeof(why)))
		print_error("%s\n", why);
	assert_string_equal(why, "");
}

static void race(bool accessed_bit, bool slow_disk, unsigned cluster)
{
	pthread_t t[SHARERS], own, io;

	start(accessed_bit, slow_disk);
	the->e.tun.cluster_max = cluster;
	launch(disk, "disk", &io);
	for (unsigned i = 0; i < SHARERS; i++)
		launch(sharer, "sharer", &t[i]);
	launch(loner, "loner", &own);
	for (unsigned i = 0; i < SHARERS; i++)
		pthread_join(t[i], NULL);
	pthread_join(own, NULL);

	weir__kswapd_stop(&the->e);
	pthread_join(the->thread[1], NULL);
	pthread_mutex_lock(&the->lock);
	the->disk_ends = true;
	pthread_cond_broadcast(&the->change);
	pthread_mutex_unlock(&the->lock);
	pthread_join(io, NULL);
	check_books();

	/* Everything is still there. */
	the->slow_disk = false;
	for (unsigned i = 0; i < PAGES; i++)
		use_page(the->shared, the->value, i, 0);
	for (unsigned i = 0; i < OWN; i++)
		use_page(the->own, the->own_value, i, 0);
	assert_true(weir__stat_read(&the->e, STAT_pgsteal_anon) > PAGES);
	weir__aspace_destroy(the->shared);
	weir__aspace_destroy(the->own);
	check_books();
	weir__engine_exit(&the->e);
	for (unsigned i = 0; i < the->nr_meta; i++)
		free(the->meta[i]);
	free(the->ram);
	free(the->disk);
	free(the);
}

static void test_fast_store(void **state)
{
	race(true, false, 32);
}

static void test_slow_disk(void **state)
{
	race(true, true, 32);
}

static void test_without_bits(void **state)
{
	race(false, false, 256);
}

static void test_without_bits_slow_disk(void **state)
{
	race(false, true, 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fast_store),
	    cmocka_unit_test(test_slow_disk),
	    cmocka_unit_test(test_without_bits),
	    cmocka_unit_test(test_without_bits_slow_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
