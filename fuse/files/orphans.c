// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The list begins in s_last_orphan, and goes on in i_dtime of each inode. All on it are in
 * fs->inodes.
 */
#include "orphans.h"

#include <errno.h>

int orphans_add(struct fs *fs, struct inode *inode)
{
    inode->raw.i_dtime = fs->ext2->super->s_last_orphan;
    fs->ext2->super->s_last_orphan = inode->ino;
    ext2fs_mark_super_dirty(fs->ext2);
    return inode_write(fs, inode);
}

/* The one before it on the list, which does not begin with it; NULL. */
static struct inode *find_before(struct fs *fs, const struct inode *inode)
{
    struct inode *at = inode_find(fs, fs->ext2->super->s_last_orphan);

    while (at && at->raw.i_dtime != inode->ino)
        at = inode_find(fs, at->raw.i_dtime);
    return at;
}

int orphans_remove(struct fs *fs, struct inode *inode)
{
    struct inode *before;

    if (fs->ext2->super->s_last_orphan == inode->ino) {
        fs->ext2->super->s_last_orphan = inode->raw.i_dtime;
        ext2fs_mark_super_dirty(fs->ext2);
        return 0;
    }
    before = find_before(fs, inode);
    if (!before)
        return -EUCLEAN;
    before->raw.i_dtime = inode->raw.i_dtime;
    return inode_write(fs, before);
}
