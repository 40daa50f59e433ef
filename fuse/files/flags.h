// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The flags of inodes that chattr(1) changes, and what they forbid. The kernel looks at them
 * for its own file systems; for FUSE it knows of none. fs->lock held.
 */
#ifndef ENCSAN_FLAGS_H
#define ENCSAN_FLAGS_H

#include "fs.h"

/* Each 0 or -EPERM, for what is about to happen. */
int flags_check_write(const struct inode *inode, int open_flags, uint64_t offset);
int flags_check_write_of_pages(const struct inode *inode); /* that somebody has mapped */
int flags_check_allocate(const struct inode *inode, int mode); /* FALLOC_FL_* */
int flags_check_setattr(const struct inode *inode, int to_set); /* FUSE_SET_ATTR_* */
int flags_check_setxattr(const struct inode *inode);
int flags_check_link(const struct inode *inode);
int flags_check_add(const struct inode *dir); /* a name in it */
int flags_check_remove(const struct inode *dir, const struct inode *inode);

bool flags_keep(uint32_t flags); /* what was written, or names that were added */
bool flags_are_append(const struct inode *inode);
uint32_t flags_shown(const struct inode *inode); /* to FS_IOC_GETFLAGS */
/* What FS_IOC_SETFLAGS with `wanted` makes of them: *flags, for raw.i_flags. -EPERM, -EOPNOTSUPP. */
int flags_change(const struct inode *inode, uint32_t wanted, uint32_t *flags);
uint32_t flags_inherited(const struct inode *dir, mode_t mode); /* by what is made in it */
bool flags_are_sync(const struct inode *inode);
bool flags_are_dirsync(const struct inode *dir);

#endif
