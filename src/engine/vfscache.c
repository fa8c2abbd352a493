/* SPDX-License-Identifier: MIT */
/*
 * Dentries and inodes.
 *
 * Both caches are clocks: a list of the unused, and a bit that says "used again
 * since". Being looked up moves nothing, it sets the bit; the shrinker, coming
 * from the oldest, gives an object with the bit one more round and takes one
 * without. That is second chance, and all that a cache can afford whose hits
 * outnumber its evictions by millions.
 *
 * The two are shrunk together, split by how many there are of each, dentries
 * first: a dentry holds its inode, so that names have to go before inodes can.
 *
 * An object leaves the list lazily: one that is held or dirtied while it stands
 * there stays until the shrinker meets it. It comes back when its last holder
 * lets go of it, which for a dirty inode is whoever writes it.
 */
#include <errno.h>
#include <string.h>

#include "engine/check.h"
#include "engine/frame.h"
#include "engine/shrinker.h"
#include "engine/slab.h"
#include "engine/vfscache.h"

#define HASH_ORDER_MIN 0
#define HASH_ORDER_MAX 6
#define HASH_LOAD      4    /* objects for each chain before there are more */
#define SHRINK_AT_ONCE 1024 /* objects in one call: they are cheap to look at  \
			     */
#define PRESSURE_BASE 100

struct object {
	uint64_t id;
	struct object *chain; /* of the hash */
	struct list_head lru; /* of the unused; empty when it is not there */
	struct list_head dirty;
	uint64_t dirtied_ns;
	uint32_t holds; /* an inode: its dentries', too */
	uint8_t kind, node;
	bool referenced, is_dirty;
	bool deleted; /* only its holders find it */
	union {
		struct object *inode;    /* dentry: held by it */
		struct mapping *mapping; /* inode */
	};
};

_Static_assert(sizeof(struct object) <= VFS_DENTRY_SIZE, "stands in its size");

struct hash {
	struct frame *block; /* of 2^order pages */
	struct object **chain;
	unsigned order;
	uint64_t nr;
};

struct vfs {
	struct spin lock; /* RANK_VFS: all of it */
	struct hash hash[NR_VFS_KINDS];
	struct list_head lru[NR_VFS_KINDS][MAX_NODES];
	uint64_t nr_lru[NR_VFS_KINDS][MAX_NODES];
	uint64_t nr_deleted[NR_VFS_KINDS]; /* and held */
	struct list_head dirty;
	uint64_t nr_dirty;
	struct slab_cache *cache[NR_VFS_KINDS]; /* (c) */
	struct file *table;
	struct shrinker shrinker;
};

static void vfs_lock(struct engine *e)
{
	weir__spin_lock(e, &e->vfs->lock);
}

static void vfs_unlock(struct engine *e)
{
	weir__spin_unlock(e, &e->vfs->lock);
}

/* --- the hash ---------------------------------------------------------------
 */

static uint64_t nr_chains(const struct hash *h)
{
	return (PAGE_SIZE << h->order) / sizeof(*h->chain);
}

static struct object **chain_of(const struct hash *h, uint64_t id)
{
	return &h->chain[(id * 0x9e3779b97f4a7c15u >> 32) & (nr_chains(h) - 1)];
}

static int hash_block(struct engine *e, struct hash *h, unsigned order,
		      gfp_t gfp)
{
	h->block = weir__frames_alloc(e, gfp | GFP_ZERO, order);
	if (!h->block)
		return -ENOMEM;
	weir__frame_set(h->block, FRAME_KERNEL);
	h->chain = e->host->ops->direct(e->host, weir__pfn(e, h->block));
	h->order = order;
	return 0;
}

static void hash_block_free(struct engine *e, struct hash *h)
{
	weir__frame_clear(h->block, FRAME_KERNEL);
	weir__frames_free(e, h->block, h->order);
	h->block = NULL;
}

/* => lock held */
static struct object *find(struct vfs *v, enum vfs_kind kind, uint64_t id)
{
	struct object *o = *chain_of(&v->hash[kind], id);

	while (o && (o->id != id || o->deleted))
		o = o->chain;
	return o;
}

/* For a release: a deleted one is its holder's until then. => lock held */
static struct object *find_held(struct vfs *v, enum vfs_kind kind, uint64_t id)
{
	struct object *o = find(v, kind, id);

	if (o && o->holds)
		return o;
	o = *chain_of(&v->hash[kind], id);
	while (o && (o->id != id || !o->deleted))
		o = o->chain;
	return o;
}

static void hash_add(struct hash *h, struct object *o)
{
	struct object **c = chain_of(h, o->id);

	o->chain = *c;
	*c = o;
	h->nr++;
}

static void hash_del(struct hash *h, struct object *o)
{
	struct object **c = chain_of(h, o->id);

	while (*c != o)
		c = &(*c)->chain;
	*c = o->chain;
	h->nr--;
}

/*
 * Twice the chains, where memory is to be had for the asking; else they get
 * longer. => lock not held
 */
static void hash_grow(struct engine *e, enum vfs_kind kind)
{
	struct hash *h = &e->vfs->hash[kind], bigger = {0}, old;

	vfs_lock(e);
	old = *h;
	vfs_unlock(e);
	if (old.order == HASH_ORDER_MAX ||
	    old.nr < nr_chains(&old) * HASH_LOAD ||
	    hash_block(e, &bigger, old.order + 1, GFP_NORETRY))
		return;
	vfs_lock(e);
	if (h->order + 1 == bigger.order) {
		old = *h;
		for (uint64_t i = 0; i < nr_chains(h); i++) {
			while (h->chain[i]) {
				struct object *o = h->chain[i];

				h->chain[i] = o->chain;
				hash_add(&bigger, o);
			}
		}
		*h = bigger;
	} else {
		old = bigger; /* another task was faster */
	}
	vfs_unlock(e);
	hash_block_free(e, &old);
}

/* --- objects
 * ------------------------------------------------------------------
 */

/* => lock held for all that follow */

static void lru_add(struct vfs *v, struct object *o)
{
	list_add(&o->lru, &v->lru[o->kind][o->node]);
	v->nr_lru[o->kind][o->node]++;
}

static void lru_del(struct vfs *v, struct object *o)
{
	if (list_empty(&o->lru))
		return;
	list_del_init(&o->lru);
	v->nr_lru[o->kind][o->node]--;
}

static void clean(struct vfs *v, struct object *o)
{
	if (!o->is_dirty)
		return;
	o->is_dirty = false;
	list_del_init(&o->dirty);
	v->nr_dirty--;
}

static void let_go(struct engine *e, struct object *o);

static void destroy(struct engine *e, struct object *o)
{
	struct vfs *v = e->vfs;
	struct object *inode = o->kind == VFS_DENTRY ? o->inode : NULL;

	lru_del(v, o);
	clean(v, o);
	hash_del(&v->hash[o->kind], o);
	v->nr_deleted[o->kind] -= o->deleted;
	weir__slab_free(e, v->cache[o->kind], o);
	if (inode)
		let_go(e, inode);
}

/* Nobody needs it just now. */
static void unused(struct engine *e, struct object *o)
{
	struct vfs *v = e->vfs;

	if (o->deleted)
		destroy(e, o);
	else if (!list_empty(&o->lru))
		o->referenced = true;
	else if (!o->is_dirty)
		lru_add(v, o);
}

static void let_go(struct engine *e, struct object *o)
{
	if (!--o->holds)
		unused(e, o);
}

static struct object *new_object(struct engine *e, enum vfs_kind kind,
				 uint64_t id, gfp_t gfp)
{
	struct object *o =
	    weir__slab_alloc(e, e->vfs->cache[kind], gfp | GFP_RECLAIMABLE);

	if (!o)
		return NULL;
	memset(o, 0, sizeof(*o));
	o->id = id;
	o->kind = (uint8_t)kind;
	o->node = weir__slab_node(e, o);
	list_init(&o->lru);
	list_init(&o->dirty);
	return o;
}

int weir__vfs_create(struct engine *e, enum vfs_kind kind, uint64_t id,
		     uint64_t inode, gfp_t gfp)
{
	struct object *o = new_object(e, kind, id, gfp);
	struct vfs *v = e->vfs;
	int rc = 0;

	if (!o)
		return -ENOMEM;
	vfs_lock(e);
	if (find(v, kind, id)) {
		rc = -EEXIST;
	} else if (kind == VFS_DENTRY && inode) {
		o->inode = find(v, VFS_INODE, inode);
		if (o->inode)
			o->inode->holds++;
		else
			rc = -ENOENT;
	}
	if (!rc) {
		hash_add(&v->hash[kind], o);
		unused(e, o);
	}
	vfs_unlock(e);
	if (rc)
		weir__slab_free(e, v->cache[kind], o);
	else
		hash_grow(e, kind);
	return rc;
}

int weir__vfs_use(struct engine *e, enum vfs_kind kind, uint64_t id)
{
	struct object *o;

	vfs_lock(e);
	o = find(e->vfs, kind, id);
	if (o && !o->holds)
		unused(e, o);
	vfs_unlock(e);
	return o ? 0 : -ENOENT;
}

int weir__vfs_hold(struct engine *e, enum vfs_kind kind, uint64_t id)
{
	struct object *o;

	vfs_lock(e);
	o = find(e->vfs, kind, id);
	if (o)
		o->holds++;
	vfs_unlock(e);
	return o ? 0 : -ENOENT;
}

int weir__vfs_release(struct engine *e, enum vfs_kind kind, uint64_t id)
{
	struct object *o;
	int rc = 0;

	vfs_lock(e);
	o = find_held(e->vfs, kind, id);
	if (o)
		let_go(e, o);
	else
		rc = find(e->vfs, kind, id) ? -EINVAL : -ENOENT;
	vfs_unlock(e);
	return rc;
}

int weir__vfs_dirty(struct engine *e, enum vfs_kind kind, uint64_t id)
{
	struct vfs *v = e->vfs;
	struct object *o;

	if (kind != VFS_INODE)
		return -EINVAL;
	vfs_lock(e);
	o = find(v, kind, id);
	if (o && !o->is_dirty) {
		o->is_dirty = true;
		o->dirtied_ns = e->host->ops->now_ns(e->host);
		list_add(&o->dirty, &v->dirty);
		v->nr_dirty++;
	}
	vfs_unlock(e);
	return o ? 0 : -ENOENT;
}

int weir__vfs_drop(struct engine *e, enum vfs_kind kind, uint64_t id)
{
	struct vfs *v = e->vfs;
	struct object *o;

	vfs_lock(e);
	o = find(v, kind, id);
	if (o && o->holds) {
		lru_del(v, o);
		clean(v, o); /* nobody will read it: not written either */
		o->deleted = true;
		v->nr_deleted[kind]++;
	} else if (o) {
		destroy(e, o);
	}
	vfs_unlock(e);
	return o ? 0 : -ENOENT;
}

int weir__vfs_attach(struct engine *e, uint64_t inode, struct mapping *m)
{
	struct object *o;

	vfs_lock(e);
	o = find(e->vfs, VFS_INODE, inode);
	if (o)
		o->mapping = m;
	vfs_unlock(e);
	return o ? 0 : -ENOENT;
}

/* --- writing
 * ------------------------------------------------------------------
 */

void weir__vfs_table(struct engine *e, struct file *table)
{
	e->vfs->table = table;
}

/* The oldest dirty inode, held; NULL when none is old enough. */
static struct object *take_dirty(struct engine *e, uint64_t before)
{
	struct vfs *v = e->vfs;
	struct object *o = NULL;

	vfs_lock(e);
	if (!list_empty(&v->dirty)) {
		o = list_last_entry(&v->dirty, struct object, dirty);
		if (o->dirtied_ns > before)
			o = NULL;
	}
	if (o) {
		/* First, so that who dirties it now has it written again. */
		clean(v, o);
		o->holds++;
	}
	vfs_unlock(e);
	return o;
}

/*
 * Writing an inode makes a page of the disk's table dirty: from there on it is
 * the flusher's, as every page of a file.
 */
uint64_t weir__vfs_writeback(struct engine *e, uint64_t older_than_ns)
{
	uint64_t now = e->host->ops->now_ns(e->host), nr = 0;
	struct object *o;

	if (!e->vfs || now < older_than_ns)
		return 0;
	while ((o = take_dirty(e, now - older_than_ns))) {
		if (e->vfs->table)
			weir__file_write_pages(e->vfs->table,
					       o->id / VFS_INODES_PER_PAGE, 1);
		vfs_lock(e);
		let_go(e, o);
		vfs_unlock(e);
		nr++;
	}
	return nr;
}

/* --- the shrinker
 * --------------------------------------------------------------
 */

static uint64_t scaled(struct engine *e, uint64_t nr)
{
	return nr / PRESSURE_BASE * e->tun.vfs_cache_pressure +
	       nr % PRESSURE_BASE * e->tun.vfs_cache_pressure / PRESSURE_BASE;
}

static uint64_t count_unused(struct engine *e, struct shrinker *s,
			     struct shrink_control *sc)
{
	struct vfs *v = e->vfs;
	uint64_t nr;

	vfs_lock(e);
	nr = v->nr_lru[VFS_DENTRY][sc->node] + v->nr_lru[VFS_INODE][sc->node];
	vfs_unlock(e);
	return scaled(e, nr);
}

/* Looks at the oldest unused one. True when it was freed. => lock held */
static bool shrink_one(struct engine *e, struct list_head *l)
{
	struct object *o = list_last_entry(l, struct object, lru);
	struct vfs *v = e->vfs;

	if (o->holds || o->is_dirty) {
		lru_del(v, o); /* it comes back when that ends */
		o->referenced = false;
		return false;
	}
	if (o->referenced ||
	    (o->kind == VFS_INODE && o->mapping && o->mapping->nr_pages)) {
		o->referenced = false;
		list_move(&o->lru, l);
		return false;
	}
	destroy(e, o);
	return true;
}

static uint64_t prune(struct engine *e, enum vfs_kind kind, unsigned node,
		      uint64_t nr)
{
	struct list_head *l = &e->vfs->lru[kind][node];
	uint64_t freed = 0;

	while (nr--) {
		bool some;

		vfs_lock(e);
		some = !list_empty(l);
		if (some)
			freed += shrink_one(e, l);
		vfs_unlock(e);
		if (!some)
			break;
	}
	return freed;
}

static uint64_t scan_unused(struct engine *e, struct shrinker *s,
			    struct shrink_control *sc)
{
	struct vfs *v = e->vfs;
	uint64_t dentries, inodes, total, freed;

	/* Freeing an inode means entering its filesystem. */
	if (!(sc->gfp & GFP_FS))
		return SHRINK_STOP;
	vfs_lock(e);
	dentries = v->nr_lru[VFS_DENTRY][sc->node];
	inodes = v->nr_lru[VFS_INODE][sc->node];
	vfs_unlock(e);
	total = dentries + inodes + 1;
	dentries = sc->nr_to_scan * dentries / total;
	inodes = sc->nr_to_scan * inodes / total;
	/* One of each at least: small caches are not immortal. */
	freed = prune(e, VFS_DENTRY, sc->node, dentries + 1);
	return freed + prune(e, VFS_INODE, sc->node, inodes + 1);
}

/* --- start, end, figures
 * --------------------------------------------------------
 */

int weir__vfs_init(struct engine *e)
{
	struct vfs *v;

	if (e->vfs)
		return -EALREADY;
	v = weir__kmalloc(e, sizeof(*v), GFP_KERNEL | GFP_ZERO);
	if (!v)
		return -ENOMEM;
	weir__spin_init(&v->lock, RANK_VFS);
	list_init(&v->dirty);
	for (unsigned k = 0; k < NR_VFS_KINDS; k++)
		for (unsigned n = 0; n < MAX_NODES; n++)
			list_init(&v->lru[k][n]);
	v->cache[VFS_DENTRY] =
	    weir__slab_cache_create(e, "dentry", VFS_DENTRY_SIZE);
	v->cache[VFS_INODE] =
	    weir__slab_cache_create(e, "inode_cache", VFS_INODE_SIZE);
	if (!v->cache[VFS_DENTRY] || !v->cache[VFS_INODE] ||
	    hash_block(e, &v->hash[VFS_DENTRY], HASH_ORDER_MIN, GFP_KERNEL))
		goto fail;
	if (hash_block(e, &v->hash[VFS_INODE], HASH_ORDER_MIN, GFP_KERNEL)) {
		hash_block_free(e, &v->hash[VFS_DENTRY]);
		goto fail;
	}
	v->shrinker = (struct shrinker){
	    .name = "dentries and inodes",
	    .count = count_unused,
	    .scan = scan_unused,
	    .seeks = DEFAULT_SEEKS,
	    .batch = SHRINK_AT_ONCE,
	    .numa_aware = true,
	};
	e->vfs = v;
	weir__shrinker_register(e, &v->shrinker);
	return 0;
fail:
	weir__kfree(e, v);
	return -ENOMEM;
}

/* Dentries first: they hold inodes. */
static void destroy_all(struct engine *e, enum vfs_kind kind)
{
	struct hash *h = &e->vfs->hash[kind];

	for (uint64_t i = 0; i < nr_chains(h); i++) {
		while (h->chain[i]) {
			h->chain[i]->holds = 0;
			destroy(e, h->chain[i]);
		}
	}
}

void weir__vfs_exit(struct engine *e)
{
	struct vfs *v = e->vfs;

	if (!v)
		return;
	weir__shrinker_unregister(e, &v->shrinker);
	vfs_lock(e);
	destroy_all(e, VFS_DENTRY);
	destroy_all(e, VFS_INODE);
	vfs_unlock(e);
	hash_block_free(e, &v->hash[VFS_DENTRY]);
	hash_block_free(e, &v->hash[VFS_INODE]);
	e->vfs = NULL;
	weir__kfree(e, v);
}

uint64_t weir__vfs_nr(struct engine *e, enum vfs_kind kind)
{
	uint64_t nr;

	vfs_lock(e);
	nr = e->vfs->hash[kind].nr - e->vfs->nr_deleted[kind];
	vfs_unlock(e);
	return nr;
}

uint64_t weir__vfs_nr_unused(struct engine *e, enum vfs_kind kind)
{
	uint64_t nr = 0;

	vfs_lock(e);
	for (unsigned n = 0; n < MAX_NODES; n++)
		nr += e->vfs->nr_lru[kind][n];
	vfs_unlock(e);
	return nr;
}

uint64_t weir__vfs_nr_dirty(struct engine *e)
{
	uint64_t nr;

	vfs_lock(e);
	nr = e->vfs->nr_dirty;
	vfs_unlock(e);
	return nr;
}

static bool list_is_valid(struct vfs *v, enum vfs_kind kind, unsigned node)
{
	struct list_head *l = &v->lru[kind][node];
	struct object *o;
	uint64_t nr = 0;

	list_for_each_entry (o, l, lru)
		if (o->kind != kind || o->node != node || o->deleted ||
		    ++nr > v->nr_lru[kind][node])
			return false;
	return nr == v->nr_lru[kind][node];
}

/* Every object that nobody holds is on its list, or dirty. */
static bool hash_is_valid(struct vfs *v, enum vfs_kind kind)
{
	struct hash *h = &v->hash[kind];
	uint64_t nr = 0, deleted = 0;

	for (uint64_t i = 0; i < nr_chains(h); i++) {
		for (struct object *o = h->chain[i]; o; o = o->chain) {
			if (o->kind != kind || ++nr > h->nr ||
			    chain_of(h, o->id) != &h->chain[i])
				return false;
			if (!o->holds && !o->is_dirty && list_empty(&o->lru))
				return false;
			deleted += o->deleted;
			if (o->is_dirty != !list_empty(&o->dirty))
				return false;
		}
	}
	return nr == h->nr && deleted == v->nr_deleted[kind];
}

bool weir__vfs_is_valid(struct engine *e)
{
	struct vfs *v = e->vfs;
	bool ok = true;

	if (!v)
		return true;
	vfs_lock(e);
	for (unsigned k = 0; k < NR_VFS_KINDS; k++) {
		ok = ok && hash_is_valid(v, k);
		for (unsigned n = 0; n < MAX_NODES; n++)
			ok = ok && list_is_valid(v, k, n);
	}
	vfs_unlock(e);
	return ok;
}
