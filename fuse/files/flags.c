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

/* As in the kernel's ext4. Some are stored, and mean nothing: SECRM, UNRM, COMPR, NODUMP, NOTAIL;
 * and PROJINHERIT and DAX, which can have no meaning on such a volume. */
#define CHANGEABLE                                                                           \
    (KEPT | EXT2_SECRM_FL | EXT2_UNRM_FL | EXT2_COMPR_FL | EXT2_SYNC_FL | EXT2_NODUMP_FL |   \
     EXT2_NOATIME_FL | EXT2_NOTAIL_FL | EXT2_DIRSYNC_FL | EXT2_TOPDIR_FL | FS_DAX_FL |       \
     EXT4_PROJINHERIT_FL | CONVERTING)
/* Those with which the file's form, or that of its data's journal, would have to change. */
#define CONVERTING (EXT3_JOURNAL_DATA_FL | EXT4_EXTENTS_FL | EXT4_CASEFOLD_FL)
#define SHOWN                                                                                \
    (CHANGEABLE | EXT2_DIRTY_FL | EXT2_COMPRBLK_FL | EXT2_NOCOMPR_FL | EXT4_ENCRYPT_FL |     \
     EXT2_INDEX_FL | EXT4_VERITY_FL | EXT4_INLINE_DATA_FL)
#define INHERITED                                                                            \
    (EXT2_SECRM_FL | EXT2_UNRM_FL | EXT2_COMPR_FL | EXT2_SYNC_FL | EXT2_NODUMP_FL |          \
     EXT2_NOATIME_FL | EXT2_NOCOMPR_FL | EXT3_JOURNAL_DATA_FL | EXT2_NOTAIL_FL |             \
     EXT2_DIRSYNC_FL | EXT4_PROJINHERIT_FL | EXT4_CASEFOLD_FL | FS_DAX_FL)
#define OF_DIRECTORIES (EXT2_DIRSYNC_FL | EXT2_TOPDIR_FL | EXT4_CASEFOLD_FL | EXT4_PROJINHERIT_FL)
#define OF_ALL (EXT2_NODUMP_FL | EXT2_NOATIME_FL)

static int forbidden_by(const struct inode *inode, uint32_t flags)
{
    return inode->raw.i_flags & flags ? -EPERM : 0;
}

/* O_APPEND alone says nothing: one may write elsewhere with RWF_NOAPPEND. */
int flags_check_write(const struct inode *inode, int open_flags, uint64_t offset)
{
    bool adds = open_flags & O_APPEND && offset >= inode_size(inode);

    return forbidden_by(inode, adds ? EXT2_IMMUTABLE_FL : KEPT);
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

/* ---- the flags themselves ---- */

static uint32_t suitable(mode_t mode, uint32_t flags)
{
    if (S_ISDIR(mode))
        return flags;
    return flags & (S_ISREG(mode) ? ~(uint32_t)OF_DIRECTORIES : OF_ALL);
}

bool flags_keep(uint32_t flags)
{
    return flags & KEPT;
}

bool flags_are_append(const struct inode *inode)
{
    return inode->raw.i_flags & EXT2_APPEND_FL;
}

uint32_t flags_shown(const struct inode *inode)
{
    uint32_t flags = inode->raw.i_flags & SHOWN;

    return LINUX_S_ISREG(inode->raw.i_mode) ? flags & ~(uint32_t)EXT4_PROJINHERIT_FL : flags;
}

int flags_change(const struct inode *inode, uint32_t wanted, uint32_t *flags)
{
    uint32_t now = inode->raw.i_flags;

    if (wanted & ~(uint32_t)SHOWN)
        return -EOPNOTSUPP;
    wanted &= CHANGEABLE;
    if (suitable(inode->raw.i_mode, wanted) != wanted)
        return -EOPNOTSUPP;
    if (now & wanted & EXT2_IMMUTABLE_FL && now != wanted)
        return -EPERM;
    if ((now ^ wanted) & CONVERTING)
        return -EOPNOTSUPP;
    *flags = (now & ~(uint32_t)CHANGEABLE) | wanted;
    return 0;
}

uint32_t flags_inherited(const struct inode *dir, mode_t mode)
{
    return suitable(mode, dir->raw.i_flags & INHERITED);
}

bool flags_are_sync(const struct inode *inode)
{
    return inode->raw.i_flags & EXT2_SYNC_FL;
}

bool flags_are_dirsync(const struct inode *dir)
{
    return dir->raw.i_flags & (EXT2_SYNC_FL | EXT2_DIRSYNC_FL);
}
