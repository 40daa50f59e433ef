// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The names in a directory. Those of one block, or of a volume without dir_index, lie in no
 * order; the others in a hash tree (htree.h). fs->lock held; -errno.
 */
#ifndef ENCSAN_NAMES_H
#define ENCSAN_NAMES_H

#include "fs.h"

int names_find(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t *ino);
/* One that is not there yet. Also the rest writes the directory's inode. */
int names_add(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t ino, mode_t mode);
int names_remove(struct fs *fs, struct inode *dir, const char *name);
/* The name, which may be "..", is another inode's now. */
int names_set(struct fs *fs, struct inode *dir, const char *name, ext2_ino_t ino, mode_t mode);
int names_check_empty(struct fs *fs, struct inode *dir); /* -ENOTEMPTY */

#endif
