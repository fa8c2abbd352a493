/* SPDX-License-Identifier: MIT */
/* Frames: references, the page lock, the class of each kind of page. */
#include "engine/slab.h"
#include "machine.h"

static struct machine m;

static struct frame *page(void)
{
	struct frame *f = weir__frames_alloc(m.e, GFP_KERNEL, 0);

	assert_non_null(f);
	return f;
}

/* ------------------------------------------------------------- references */

static void test_get_and_put(void **state)
{
	struct frame *f;

	machine_simple(&m, 64, 1);
	f = page();
	weir__frame_get(f);
	assert_true(weir__frame_tryget(f));
	assert_int_equal(f->refcount, 3);
	assert_false(weir__frame_put_testzero(f));
	assert_false(weir__frame_put_testzero(f));
	assert_true(weir__frame_put_testzero(f));
	assert_false(weir__frame_tryget(f));
	assert_int_equal(f->refcount, 0);
	weir__frames_free(m.e, f, 0);
	assert_false(weir__frame_tryget(f));
	machine_stop(&m);
}

/* The last step of reclaim: freeze, and only then look at dirty. */
enum outcome { FREED, KEPT };

static enum outcome remove_page(struct frame *f, int expected)
{
	if (!weir__frame_freeze(f, expected))
		return KEPT;
	if (frame_test(f, FRAME_DIRTY)) {
		f->refcount = expected;
		return KEPT;
	}
	weir__frames_free(m.e, f, 0);
	return FREED;
}

static void test_expected_references(void **state)
{
	struct frame *f;

	machine_simple(&m, 64, 1);
	/* cache and isolation, clean */
	f = page();
	weir__frame_get(f);
	assert_int_equal(remove_page(f, 2), FREED);
	/* somebody else holds it */
	f = page();
	weir__frame_get(f);
	weir__frame_get(f);
	assert_int_equal(remove_page(f, 2), KEPT);
	assert_int_equal(f->refcount, 3);
	/* written between unmap and freeze, the writer's reference gone */
	f = page();
	weir__frame_get(f);
	weir__frame_set(f, FRAME_DIRTY);
	assert_int_equal(remove_page(f, 2), KEPT);
	assert_int_equal(f->refcount, 2);
	machine_stop(&m);
}

static void test_mapcount(void **state)
{
	struct frame *f;

	machine_simple(&m, 64, 1);
	f = page();
	for (int i = 0; i < 4; i++) {
		assert_int_equal(f->mapcount, i - 1);
		assert_int_equal(weir__page_mapcount(f), i);
		assert_int_equal(weir__frame_mapped(f), i > 0);
		f->mapcount++;
	}
	machine_stop(&m);
}

static void test_mapping_tag(void **state)
{
	struct anon_vma av;
	struct frame *f;

	machine_simple(&m, 64, 1);
	f = page();
	assert_null(weir__frame_anon_vma(f));
	f->mapping = (uintptr_t)&av + MAPPING_ANON;
	assert_ptr_equal(weir__frame_anon_vma(f), &av);
	f->mapping = (uintptr_t)&av; /* a file */
	assert_null(weir__frame_anon_vma(f));
	machine_stop(&m);
}

/* ---------------------------------------------------------------- classes */

/* The kinds of page, and what reclaim may do with each. */
enum kind {
	KIND_FREE,
	KIND_RESERVED,
	KIND_KERNEL,
	KIND_KERNEL_STACK,
	KIND_LOCKED,
	KIND_MLOCKED,
	KIND_ANON,
	KIND_TMPFS,
	KIND_FILE_MAPPED,
	KIND_FILE_CACHE,
	KIND_BLOCK_BUFFER,
	KIND_INODE_CACHE,
	KIND_EMPTY_SLAB,
	KIND_UNUSED_DENTRIES,
	NR_KINDS
};

static const struct {
	const char *name;
	enum page_class class;
} kinds[NR_KINDS] = {
    [KIND_FREE] = {"free", CLASS_UNRECLAIMABLE},
    [KIND_RESERVED] = {"reserved", CLASS_UNRECLAIMABLE},
    [KIND_KERNEL] = {"kernel", CLASS_UNRECLAIMABLE},
    [KIND_KERNEL_STACK] = {"kernel stack", CLASS_UNRECLAIMABLE},
    [KIND_LOCKED] = {"locked", CLASS_UNRECLAIMABLE},
    [KIND_MLOCKED] = {"memory-locked", CLASS_UNRECLAIMABLE},
    [KIND_ANON] = {"anonymous", CLASS_SWAPPABLE},
    [KIND_TMPFS] = {"tmpfs", CLASS_SWAPPABLE},
    [KIND_FILE_MAPPED] = {"mapped file", CLASS_SYNCABLE},
    [KIND_FILE_CACHE] = {"page cache", CLASS_SYNCABLE},
    [KIND_BLOCK_BUFFER] = {"block buffer", CLASS_SYNCABLE},
    [KIND_INODE_CACHE] = {"inode cache", CLASS_SYNCABLE},
    [KIND_EMPTY_SLAB] = {"empty slab", CLASS_DISCARDABLE},
    [KIND_UNUSED_DENTRIES] = {"unused dentries", CLASS_DISCARDABLE},
};

static struct anon_vma some_anon_vma;
static uint64_t some_file;

static void own(struct frame *f, bool anon, int mapped, uint32_t flags)
{
	f->mapping = anon ? (uintptr_t)&some_anon_vma + MAPPING_ANON
			  : (uintptr_t)&some_file;
	f->mapcount = mapped - 1;
	f->refcount = 1 + mapped;
	weir__frame_set(f, flags | FRAME_UPTODATE);
}

static void make(struct frame *f, enum kind k)
{
	switch (k) {
	case KIND_FREE:
		weir__frames_free(m.e, f, 0);
		break;
	case KIND_RESERVED:
		weir__frame_set(f, FRAME_RESERVED);
		break;
	case KIND_KERNEL:
		weir__frame_set(f, FRAME_KERNEL);
		break;
	case KIND_KERNEL_STACK:
		weir__frame_set(f, FRAME_PGTABLE);
		break;
	case KIND_LOCKED: /* a read under way */
		own(f, true, 1, FRAME_SWAPBACKED | FRAME_LOCKED | FRAME_LRU);
		break;
	case KIND_MLOCKED:
		own(f, true, 1,
		    FRAME_SWAPBACKED | FRAME_MLOCKED | FRAME_UNEVICTABLE |
			FRAME_LRU);
		break;
	case KIND_ANON:
		own(f, true, 1, FRAME_SWAPBACKED | FRAME_LRU | FRAME_DIRTY);
		break;
	case KIND_TMPFS:
		own(f, false, 1, FRAME_SWAPBACKED | FRAME_LRU);
		break;
	case KIND_FILE_MAPPED:
		own(f, false, 2, FRAME_LRU);
		break;
	case KIND_FILE_CACHE:
		own(f, false, 0, FRAME_LRU | FRAME_DIRTY);
		break;
	case KIND_BLOCK_BUFFER:
		own(f, false, 0, FRAME_LRU | FRAME_PRIVATE);
		break;
	case KIND_INODE_CACHE:
		own(f, false, 0, FRAME_LRU | FRAME_REFERENCED);
		break;
	case KIND_EMPTY_SLAB:
	case KIND_UNUSED_DENTRIES:
		weir__frame_set(f, FRAME_SLAB);
		f->private = 0;
		break;
	default:
		fail();
	}
}

static void test_classes(void **state)
{
	struct frame *f[NR_KINDS];

	machine_simple(&m, 4096, 1);
	for (int k = 0; k < NR_KINDS; k++)
		f[k] = page();
	for (int k = 0; k < NR_KINDS; k++)
		make(f[k], (enum kind)k);
	for (int k = 0; k < NR_KINDS; k++) {
		if (weir__frame_class(f[k]) != kinds[k].class)
			fail_msg(
			    "%s is %s", kinds[k].name,
			    weir__page_class_name(weir__frame_class(f[k])));
		if (!weir__frame_is_valid(m.e, f[k]))
			fail_msg("%s is not valid", kinds[k].name);
	}
	machine_stop(&m);
}

/* What a page passes through on its way. */
static void test_class_follows_state(void **state)
{
	struct frame *f;

	machine_simple(&m, 4096, 1);
	f = page();
	assert_int_equal(weir__frame_class(f), CLASS_UNRECLAIMABLE);
	/* just read from swap: nobody has mapped it yet */
	weir__frame_set(f, FRAME_SWAPBACKED | FRAME_SWAPCACHE);
	assert_int_equal(weir__frame_class(f), CLASS_SWAPPABLE);
	own(f, true, 1, 0);
	assert_int_equal(weir__frame_class(f), CLASS_SWAPPABLE);
	weir__frame_lock(m.e, f);
	assert_int_equal(weir__frame_class(f), CLASS_UNRECLAIMABLE);
	weir__frame_unlock(m.e, f);
	assert_int_equal(weir__frame_class(f), CLASS_SWAPPABLE);
	weir__frame_set(f, FRAME_MLOCKED);
	assert_int_equal(weir__frame_class(f), CLASS_UNRECLAIMABLE);
	weir__frame_clear(f, FRAME_MLOCKED);
	/* the program said: free it when you like */
	weir__frame_clear(f, FRAME_SWAPBACKED | FRAME_SWAPCACHE);
	assert_int_equal(weir__frame_class(f), CLASS_DISCARDABLE);
	machine_stop(&m);
}

static void test_slab_class(void **state)
{
	struct slab_cache *c;
	struct frame *f;
	void *obj;

	machine_simple(&m, 4096, 1);
	assert_int_equal(weir__slab_init(m.e), 0);
	c = weir__slab_cache_create(m.e, "t", 2048);
	obj = weir__slab_alloc(m.e, c, GFP_KERNEL);
	f = weir__frame(m.e, (pfn_t)(((uint8_t *)obj - m.fh.ram) / PAGE_SIZE));
	assert_true(frame_test(f, FRAME_SLAB));
	assert_true(weir__frame_is_valid(m.e, f));
	assert_int_equal(weir__frame_class(f), CLASS_UNRECLAIMABLE);
	weir__slab_free(m.e, c, obj);
	assert_int_equal(weir__frame_class(f), CLASS_DISCARDABLE);
	assert_int_equal(weir__slab_shrink(m.e), 1);
	assert_int_equal(weir__frame_class(f), CLASS_UNRECLAIMABLE);
	machine_stop(&m);
}

static void test_flag_algebra(void **state)
{
	static const uint32_t bad[] = {
	    FRAME_ACTIVE | FRAME_UNEVICTABLE | FRAME_LRU,
	    FRAME_SWAPCACHE, /* not swap-backed */
	    FRAME_WAITERS,   /* for nothing */
	    FRAME_SLAB | FRAME_PGTABLE,
	    FRAME_SLAB | FRAME_LRU,
	    FRAME_KERNEL | FRAME_SWAPBACKED,
	    FRAME_BUDDY,
	    FRAME_TAIL,
	    FRAME_EXCLUSIVE, /* whose? */
	};
	struct frame *f;

	machine_simple(&m, 64, 1);
	f = page();
	assert_true(weir__frame_is_valid(m.e, f));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		f->flags = bad[i];
		if (weir__frame_is_valid(m.e, f))
			fail_msg("flags 0x%x pass", bad[i]);
	}
	f->flags = 0;
	f->mapcount = 0; /* mapped, by nobody, without a reference of its own */
	assert_false(weir__frame_is_valid(m.e, f));
	own(f, true, 2, FRAME_SWAPBACKED);
	assert_true(weir__frame_is_valid(m.e, f));
	f->refcount = 1;
	assert_false(weir__frame_is_valid(m.e, f));
	f->refcount = 3;
	weir__frame_set(f, FRAME_EXCLUSIVE); /* of two? */
	assert_false(weir__frame_is_valid(m.e, f));
	f->mapcount = 0;
	assert_true(weir__frame_is_valid(m.e, f));
	machine_stop(&m);
}

/* ------------------------------------------------------------ the page lock */

static struct frame *waited;

static void unlocker(struct fakehost *fh, _Atomic uint32_t *word)
{
	assert_ptr_equal(word, &waited->flags);
	assert_true(frame_test(waited, FRAME_WAITERS));
	weir__frame_unlock(m.e, waited);
}

static void test_lock_sleeps(void **state)
{
	machine_simple(&m, 64, 1);
	waited = page();
	assert_true(weir__frame_trylock(waited));
	assert_false(weir__frame_trylock(waited));
	m.fh.on_wait = unlocker;
	weir__frame_lock(m.e, waited);
	assert_int_equal(m.fh.nr_waits, 1);
	assert_int_equal(m.fh.nr_wakes, 1);
	assert_int_equal(waited->flags, FRAME_LOCKED);
	/* nobody waits: nobody is woken */
	weir__frame_unlock(m.e, waited);
	assert_int_equal(m.fh.nr_wakes, 1);
	assert_int_equal(waited->flags, 0);
	/* nothing to wait for */
	weir__frame_wait(m.e, waited, FRAME_LOCKED | FRAME_WRITEBACK);
	assert_int_equal(m.fh.nr_waits, 1);
	machine_stop(&m);
}

/* Lock goes first; who waits for the writing sleeps again. */
static void end_one(struct fakehost *fh, _Atomic uint32_t *word)
{
	if (frame_test(waited, FRAME_LOCKED))
		weir__frame_unlock(m.e, waited);
	else
		weir__frame_end(m.e, waited, FRAME_WRITEBACK);
}

static void test_wait_for_two_bits(void **state)
{
	machine_simple(&m, 64, 1);
	waited = page();
	weir__frame_set(waited, FRAME_WRITEBACK | FRAME_LOCKED);
	m.fh.on_wait = end_one;
	weir__frame_wait(m.e, waited, FRAME_WRITEBACK);
	assert_int_equal(m.fh.nr_waits, 2);
	assert_int_equal(m.fh.nr_wakes, 2);
	assert_int_equal(waited->flags, 0);
	machine_stop(&m);
}

static void test_unlock_unlocked(void **state)
{
	machine_simple(&m, 64, 1);
	waited = page();
	expect_panic(&m, weir__frame_unlock(m.e, waited));
	expect_panic(&m, weir__frame_end(m.e, waited, FRAME_WRITEBACK));
	machine_stop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_get_and_put),
	    cmocka_unit_test(test_expected_references),
	    cmocka_unit_test(test_mapcount),
	    cmocka_unit_test(test_mapping_tag),
	    cmocka_unit_test(test_classes),
	    cmocka_unit_test(test_class_follows_state),
	    cmocka_unit_test(test_slab_class),
	    cmocka_unit_test(test_flag_algebra),
	    cmocka_unit_test(test_lock_sleeps),
	    cmocka_unit_test(test_wait_for_two_bits),
	    cmocka_unit_test(test_unlock_unlocked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
