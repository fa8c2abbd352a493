/* SPDX-License-Identifier: MIT */
/*
 * Dentries and inodes: the two caches of objects that every Unix has, as far
 * as reclaim knows them. Replays and tests fill them; nothing is in them that
 * a program could read.
 *
 * A dentry names an inode and holds it. What nobody holds stands on the list of
 * the unused, oldest last, until reclaim takes it or it is looked up again. An
 * inode that must be written first is kept, and so is one whose file has pages
 * in the page cache.
 */
#ifndef WEIR_ENGINE_VFSCACHE_H
#define WEIR_ENGINE_VFSCACHE_H

#include "engine/file.h"

enum vfs_kind { VFS_DENTRY, VFS_INODE, NR_VFS_KINDS };

/* Bytes that an object takes: Linux 6.18 on x86-64. */
#define VFS_DENTRY_SIZE 192
#define VFS_INODE_SIZE  608
/* Inodes that stand in one page of the disk's table of them. */
#define VFS_INODES_PER_PAGE 16

/* Registers the shrinker of the two. 0, -ENOMEM, -EALREADY. */
int weir__vfs_init(struct engine *e);
/* Frees every object, held or not. Harmless without init. */
void weir__vfs_exit(struct engine *e);

/* [sleep, as gfp says] A new object, unused. inode: of a dentry, or 0. 0;
 * -EEXIST; -ENOENT no such inode; -ENOMEM. */
int weir__vfs_create(struct engine *e, enum vfs_kind kind, uint64_t id,
		     uint64_t inode, gfp_t gfp);
/* [any] Looked up: it is used again. 0, or -ENOENT: reclaim took it, or it was
 * never there. */
int weir__vfs_use(struct engine *e, enum vfs_kind kind, uint64_t id);
/* [any] Nobody may take it until it is released as often. 0, -ENOENT; release:
 * -EINVAL when nobody held it. */
int weir__vfs_hold(struct engine *e, enum vfs_kind kind, uint64_t id);
int weir__vfs_release(struct engine *e, enum vfs_kind kind, uint64_t id);
/* [any] The inode must be written before it goes. 0, -ENOENT, -EINVAL. */
int weir__vfs_dirty(struct engine *e, enum vfs_kind kind, uint64_t id);
/* [any] Deleted: not found any more, freed with its last holder. 0, -ENOENT. */
int weir__vfs_drop(struct engine *e, enum vfs_kind kind, uint64_t id);

/* The inode is that of a mapping, whose pages keep it in memory; NULL: no
 * more. The caller keeps the mapping as long. 0, -ENOENT. */
int weir__vfs_attach(struct engine *e, uint64_t inode, struct mapping *m);
/* Where inodes are written: a file, block by block. NULL: nowhere, writing
 * costs nothing. */
void weir__vfs_table(struct engine *e, struct file *table);
/* [sleep] Writes inodes that have been dirty for so long; how many. */
uint64_t weir__vfs_writeback(struct engine *e, uint64_t older_than_ns);

uint64_t weir__vfs_nr(struct engine *e, enum vfs_kind kind);
uint64_t weir__vfs_nr_unused(struct engine *e, enum vfs_kind kind);
uint64_t weir__vfs_nr_dirty(struct engine *e);

bool weir__vfs_is_valid(struct engine *e);

#endif
