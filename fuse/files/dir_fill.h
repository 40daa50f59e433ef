// SPDX-License-Identifier: LGPL-2.1-or-later
#ifndef ENCSAN_DIR_FILL_H
#define ENCSAN_DIR_FILL_H

#include "fs.h"

/* A fresh inode of `dir`, that inode_new made, gets what is in it, its ACL and its first link.
 * fs->lock held; -errno. */
int dir_fill(struct fs *fs, struct inode *inode, struct inode *dir, const struct dir_new *new);

#endif
