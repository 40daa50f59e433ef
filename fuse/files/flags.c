// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Flags of inodes: flags.h. Nothing may be done to an immutable inode; to an append-only one
 * data, or in a directory names, may be added. Only who opened a file with O_APPEND adds
 * to it: the kernel would not open it otherwise, but FUSE opens it without asking us.
 */
#define FUSE_USE_VERSION 314
#include "flags.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/falloc.h>

#define KEPT (EXT2_IMMUTABLE_FL | EXT2_APPEND_FL)

static int forbidden_by(const struct inode *inode, uint32_t flags)
{
    return inode->raw.i_flags & flags ? -EPERM : 0;
}

int flags_check_write(const struct inode *inode, int open_flags)
{
    return forbidden_by(inode, open_flags & O_APPEND ? EXT2_IMMUTABLE_FL : KEPT);
}

int flags_check_write_of_pages(const struct inode *inode)
{
    return forbidden_by(inode, KEPT);
}

int flags_check_allocate(const struct inode *inode, int mode)
{
    return forbidden_by(inode, mode & ~FALLOC_FL_KEEP_SIZE ? KEPT : EXT2_IMMUTABLE_FL);
}

/* The times of what is append-only may become those of now: both at once. */
int flags_check_setattr(const struct inode *inode, int to_set)
{
    const int both = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME |
                     FUSE_SET_ATTR_MTIME_NOW;

    return forbidden_by(inode, to_set && to_set != both ? KEPT : EXT2_IMMUTABLE_FL);
}

int flags_check_setxattr(const struct inode *inode)
{
    return forbidden_by(inode, KEPT);
}

int flags_check_link(const struct inode *inode)
{
    return forbidden_by(inode, KEPT);
}

int flags_check_add(const struct inode *dir)
{
    return forbidden_by(dir, EXT2_IMMUTABLE_FL);
}

int flags_check_remove(const struct inode *dir, const struct inode *inode)
{
    return forbidden_by(dir, KEPT) ?: forbidden_by(inode, KEPT);
}
