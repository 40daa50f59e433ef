// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which inode numbers are in use.
 */
#include "bitmaps.h"

static unsigned index_of(const struct fs *fs, ext2_ino_t ino)
{
    return (ino - 1) % fs->ext2->super->s_inodes_per_group;
}

static errcode_t find_in_group(struct fs *fs, dgrp_t group, ext2_ino_t *ino)
{
    const struct ext2_super_block *super = fs->ext2->super;
    unsigned from = group == 0 ? EXT2_FIRST_INODE(super) - 1 : 0, index;
    struct bitmap bitmap;
    errcode_t err = bitmap_read(fs, GROUP_INODES, group, &bitmap);

    if (err)
        return err;
    index = bitmap_find(&bitmap, from, super->s_inodes_per_group, false);
    if (index == super->s_inodes_per_group)
        return EXT2_ET_INODE_ALLOC_FAIL;
    *ino = group * super->s_inodes_per_group + index + 1;
    return 0;
}

int inumbers_find(struct fs *fs, dgrp_t group, ext2_ino_t *ino)
{
    errcode_t err = EXT2_ET_INODE_ALLOC_FAIL;

    for (dgrp_t n = 0; n < fs->ext2->group_desc_count && err == EXT2_ET_INODE_ALLOC_FAIL; n++) {
        if (ext2fs_bg_free_inodes_count(fs->ext2, group) > 0)
            err = find_in_group(fs, group, ino);
        group = (group + 1) % fs->ext2->group_desc_count;
    }
    return fs_errno(err);
}

static errcode_t set(struct fs *fs, ext2_ino_t ino, bool taken)
{
    dgrp_t group = ext2fs_group_of_ino(fs->ext2, ino);
    struct bitmap bitmap;
    errcode_t err = bitmap_read(fs, GROUP_INODES, group, &bitmap);

    if (err)
        return err;
    bitmap_fill(&bitmap, index_of(fs, ino), 1, taken);
    return bitmap_write(fs, GROUP_INODES, group, &bitmap);
}

int inumbers_take(struct fs *fs, ext2_ino_t ino, bool is_dir)
{
    errcode_t err = set(fs, ino, true);

    if (!err) /* as the kernel does it */
        err = bitmap_begin(fs, GROUP_BLOCKS, ext2fs_group_of_ino(fs->ext2, ino));
    if (!err)
        ext2fs_inode_alloc_stats2(fs->ext2, ino, +1, is_dir);
    return fs_errno(err);
}

int inumbers_free(struct fs *fs, ext2_ino_t ino, bool is_dir)
{
    errcode_t err = set(fs, ino, false);

    if (!err)
        ext2fs_inode_alloc_stats2(fs->ext2, ino, -1, is_dir);
    return fs_errno(err);
}

int inumbers_is_used(struct fs *fs, ext2_ino_t ino, bool *used)
{
    struct bitmap bitmap;
    errcode_t err = bitmap_read(fs, GROUP_INODES, ext2fs_group_of_ino(fs->ext2, ino), &bitmap);

    if (!err)
        *used = ext2fs_test_bit(index_of(fs, ino), bitmap.bits);
    return fs_errno(err);
}
