// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * ext4's orphan list: inodes without links that are not deleted yet. After a crash e2fsck
 * and the kernel do that. fs->lock held; -errno.
 */
#ifndef ENCSAN_ORPHANS_H
#define ENCSAN_ORPHANS_H

#include "fs.h"

int orphans_add(struct fs *fs, struct inode *inode); /* writes it */
int orphans_remove(struct fs *fs, struct inode *inode); /* the caller does */

#endif
