// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a fresh inode begins with: a directory's block, a symlink's target, a device's number. */
#include <errno.h>
#include <string.h>

#include "dirblock.h"
#include "dir_fill.h"

#define FAST_SYMLINK_MAX 59

static int fill_directory(struct fs *fs, struct inode *inode, const struct inode *parent)
{
    struct dirblock first;
    char *block;
    errcode_t err = ext2fs_new_dir_block(fs->ext2, inode->ino, parent->ino, &block);

    if (err)
        return fs_errno(err);
    memcpy(first.bytes, block, sizeof first.bytes);
    ext2fs_free_mem(&block);
    return dirblock_append(fs, inode, &first);
}

/* A target that is too long for the inode: its block is metadata. */
static int write_target(struct fs *fs, struct inode *inode, const uint8_t *block)
{
    ext2_filsys e = fs->ext2;
    blk64_t goal = ext2fs_find_inode_goal(e, inode->ino, EXT2_INODE(&inode->raw), 0), physical;
    errcode_t err = ext2fs_new_block2(e, goal, NULL, &physical);

    if (!err)
        err = ext2fs_bmap2(e, inode->ino, EXT2_INODE(&inode->raw), NULL, BMAP_SET, 0, NULL, &physical);
    if (err)
        return fs_errno(err);
    ext2fs_block_alloc_stats2(e, physical, +1);
    ext2fs_iblk_set(e, EXT2_INODE(&inode->raw), 1);
    return fs_errno(io_channel_write_blk64(e->io, physical, 1, block));
}

static int fill_symlink(struct fs *fs, struct inode *inode, const char *target)
{
    uint8_t block[ENCSAN_BLOCK_BYTES] = {0};
    size_t len = strlen(target);

    if (len >= sizeof block)
        return -ENAMETOOLONG;
    inode_set_size(inode, len);
    if (len <= FAST_SYMLINK_MAX) {
        memset(inode->raw.i_block, 0, sizeof inode->raw.i_block);
        memcpy(inode->raw.i_block, target, len);
        return 0;
    }
    if (ext2fs_has_feature_extents(fs->ext2->super)) {
        struct ext3_extent_header *header = (struct ext3_extent_header *)inode->raw.i_block;

        inode->raw.i_flags |= EXT4_EXTENTS_FL;
        header->eh_magic = ext2fs_cpu_to_le16(EXT3_EXT_MAGIC);
        header->eh_max = ext2fs_cpu_to_le16(4);
    }
    memcpy(block, target, len);
    return write_target(fs, inode, block);
}

static void fill_device(struct inode *inode, dev_t rdev)
{
    uint32_t major = (uint32_t)(rdev >> 8 & 0xfff), minor = (uint32_t)((rdev & 0xff) | (rdev >> 12 & 0xfff00));

    if (major < 256 && minor < 256)
        inode->raw.i_block[0] = major << 8 | minor;
    else
        inode->raw.i_block[1] = (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

int dir_fill(struct fs *fs, struct inode *inode, struct inode *dir, const struct dir_new *new)
{
    mode_t mode = inode->raw.i_mode;
    int error = 0;

    if (S_ISDIR(mode))
        error = fill_directory(fs, inode, dir);
    else if (S_ISLNK(mode))
        error = fill_symlink(fs, inode, new->target);
    else if (S_ISCHR(mode) || S_ISBLK(mode))
        fill_device(inode, new->rdev);
    if (error)
        return error;
    inode->raw.i_links_count = S_ISDIR(mode) ? 2 : 1;
    error = acl_inherit(fs, dir, inode, new->umask);
    if (error)
        return error;
    return inode_write(fs, inode);
}

int dir_readlink(struct fs *fs, struct inode *inode, char *buf, size_t size)
{
    uint8_t block[ENCSAN_BLOCK_BYTES];
    uint64_t len = inode_size(inode);
    const uint8_t *from = (const uint8_t *)inode->raw.i_block;
    blk64_t physical;

    if (!LINUX_S_ISLNK(inode->raw.i_mode))
        return -EINVAL;
    if (!ext2fs_is_fast_symlink((struct ext2_inode *)&inode->raw)) {
        errcode_t err = ext2fs_bmap2(fs->ext2, inode->ino, EXT2_INODE(&inode->raw), NULL, 0, 0,
                                     NULL, &physical);
        int error;

        if (!err && physical == 0)
            return -EUCLEAN;
        if (!err)
            err = io_channel_read_blk64(fs->ext2->io, physical, 1, block);
        error = fs_errno(err);
        if (error)
            return error;
        from = block;
    }
    if (len >= size || len >= sizeof block)
        return -ENAMETOOLONG;
    memcpy(buf, from, len);
    buf[len] = 0;
    return 0;
}
