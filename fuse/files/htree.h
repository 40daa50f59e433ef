// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Directories as ext4's hash trees (dir_index): what lies where is said in the kernel's
 * Documentation/filesystems/ext4/directory.rst. fs->lock held; -errno.
 */
#ifndef ENCSAN_HTREE_H
#define ENCSAN_HTREE_H

#include "dirblock.h"

/* It is one. */
bool htree_is(const struct inode *dir);
/* It is one, or would become one when it grows: then it is listed by hashes already. */
bool htree_may_be(struct fs *fs, const struct inode *dir);
/* -ENOENT, or the block that has the name, and its entry there. */
int htree_find(struct fs *fs, struct inode *dir, const char *name, struct dirblock *leaf,
               struct ext2_dir_entry **entry, struct ext2_dir_entry **previous);
/* A name that it does not have yet. */
int htree_add(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t ino, int type);
/* A directory of one block becomes one. */
int htree_make(struct fs *fs, struct inode *dir);
/* Calls each for the names whose cookie is above `after`, with their cookies, until it
 * returns nonzero. A cookie depends on nothing but the name: who goes on behind one gets
 * each name that stays exactly once, whatever comes and goes meanwhile. */
int htree_iterate(struct fs *fs, struct inode *dir, uint64_t after,
                  int (*each)(void *opaque, const char *name, ext2_ino_t ino, int file_type,
                              uint64_t cookie),
                  void *opaque);

#endif
