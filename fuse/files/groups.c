// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Bitmaps, group descriptors and the superblock into the metadata cache.
 *
 * libext2fs keeps them in memory, and its own way to write them writes all. Here
 * only what changed is written: the bitmaps of groups in which blocks or inodes
 * were given or taken (fs->group_changed), and descriptors that differ from what
 * was last written (ext2fs_new_inode clears BLOCK_UNINIT and tells nobody).
 *
 * fs->lock held.
 */
#include "fs.h"

#include <string.h>
#include <time.h>

G_STATIC_ASSERT(G_BYTE_ORDER == G_LITTLE_ENDIAN); /* ext4's: descriptors go out as they lie here */

#define MAX_BITMAP_BYTES ENCSAN_BLOCK_BYTES

static size_t inode_bitmap_bytes(const struct fs *fs)
{
    return fs->ext2->super->s_inodes_per_group / 8;
}

static errcode_t get_inode_bitmap(struct fs *fs, dgrp_t group, void *bits)
{
    size_t bytes = inode_bitmap_bytes(fs);

    return ext2fs_get_inode_bitmap_range2(fs->ext2->inode_map, (uint64_t)group * bytes * 8 + 1,
                                          bytes * 8, bits);
}

/* A group that is used for the first time gets its bitmaps. */
static void find_changed_descriptors(struct fs *fs)
{
    size_t size = EXT2_DESC_SIZE(fs->ext2->super);
    const uint8_t *now = (const uint8_t *)fs->ext2->group_desc;

    for (dgrp_t group = 0; group < fs->ext2->group_desc_count; group++) {
        const struct ext2_group_desc *old = (const void *)(fs->written_groups + group * size);
        const struct ext2_group_desc *new = (const void *)(now + group * size);

        if (!memcmp(old, new, size))
            continue;
        fs->group_changed[group] |= GROUP_DESCRIPTOR;
        if ((old->bg_flags ^ new->bg_flags) & EXT2_BG_BLOCK_UNINIT)
            fs->group_changed[group] |= GROUP_BLOCKS;
        if ((old->bg_flags ^ new->bg_flags) & EXT2_BG_INODE_UNINIT)
            fs->group_changed[group] |= GROUP_INODES;
    }
}

static errcode_t write_block_bitmap(struct fs *fs, dgrp_t group)
{
    ext2_filsys ext2 = fs->ext2;
    size_t bytes = EXT2_CLUSTERS_PER_GROUP(ext2->super) / 8;
    unsigned used = ext2fs_group_blocks_count(ext2, group);
    uint8_t bits[MAX_BITMAP_BYTES];
    errcode_t err;

    if (ext2fs_has_group_desc_csum(ext2) && ext2fs_bg_flags_test(ext2, group, EXT2_BG_BLOCK_UNINIT))
        return 0;
    memset(bits, 0xff, sizeof(bits));
    err = ext2fs_get_block_bitmap_range2(ext2->block_map, ext2fs_group_first_block2(ext2, group),
                                         used, bits);
    if (err)
        return err;
    for (unsigned i = used; i < sizeof(bits) * 8; i++) /* behind the last block: taken */
        ext2fs_set_bit(i, bits);
    err = ext2fs_block_bitmap_csum_set(ext2, group, (char *)bits, bytes);
    return err ? err
               : io_channel_write_blk64(ext2->io, ext2fs_block_bitmap_loc(ext2, group), 1, bits);
}

static errcode_t write_inode_bitmap(struct fs *fs, dgrp_t group)
{
    ext2_filsys ext2 = fs->ext2;
    size_t bytes = inode_bitmap_bytes(fs);
    uint8_t bits[MAX_BITMAP_BYTES];
    errcode_t err;

    if (ext2fs_has_group_desc_csum(ext2) && ext2fs_bg_flags_test(ext2, group, EXT2_BG_INODE_UNINIT))
        return 0;
    memset(bits, 0xff, sizeof(bits));
    err = get_inode_bitmap(fs, group, bits);
    if (!err)
        err = ext2fs_inode_bitmap_csum_set(ext2, group, (char *)bits, bytes);
    if (!err)
        err = io_channel_write_blk64(ext2->io, ext2fs_inode_bitmap_loc(ext2, group), 1, bits);
    return err;
}

/* The blocks of the descriptor table that hold a changed group. */
static errcode_t write_descriptors(struct fs *fs)
{
    ext2_filsys ext2 = fs->ext2;
    uint8_t *now = (uint8_t *)ext2->group_desc;

    for (unsigned long i = 0; i < ext2->desc_blocks; i++) {
        size_t at = i * ext2->blocksize;
        errcode_t err;

        if (!memcmp(now + at, fs->written_groups + at, ext2->blocksize))
            continue;
        err = io_channel_write_blk64(
            ext2->io, ext2fs_descriptor_block_loc2(ext2, ext2->super->s_first_data_block, i), 1,
            now + at);
        if (err)
            return err;
        memcpy(fs->written_groups + at, now + at, ext2->blocksize);
    }
    return 0;
}

int groups_write_super(struct fs *fs)
{
    struct ext2_super_block *super = fs->ext2->super;
    errcode_t err;

    if (!memcmp(super, &fs->written_super, sizeof(*super)))
        return 0;
    super->s_wtime = time(NULL);
    err = ext2fs_superblock_csum_set(fs->ext2, super);
    if (!err)
        err = io_channel_write_byte(fs->ext2->io, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, super);
    if (!err)
        fs->written_super = *super;
    return fs_errno(err);
}

static errcode_t write_group(struct fs *fs, dgrp_t group)
{
    errcode_t err = 0;

    if (fs->group_changed[group] & GROUP_BLOCKS)
        err = write_block_bitmap(fs, group);
    if (!err && fs->group_changed[group] & GROUP_INODES)
        err = write_inode_bitmap(fs, group);
    if (err)
        return err;
    ext2fs_group_desc_csum_set(fs->ext2, group);
    fs->group_changed[group] = 0;
    return 0;
}

static errcode_t write_groups(struct fs *fs)
{
    errcode_t err = 0;

    find_changed_descriptors(fs);
    for (dgrp_t group = 0; group < fs->ext2->group_desc_count && !err; group++)
        if (fs->group_changed[group])
            err = write_group(fs, group);
    return err ? err : write_descriptors(fs);
}

int groups_write(struct fs *fs)
{
    errcode_t err = write_groups(fs);

    return err ? fs_errno(err) : groups_write_super(fs);
}

void groups_init(struct fs *fs)
{
    ext2_filsys ext2 = fs->ext2;

    fs->group_changed = g_new0(uint8_t, ext2->group_desc_count);
    fs->written_groups = g_memdup2(ext2->group_desc, (size_t)ext2->desc_blocks * ext2->blocksize);
    fs->written_super = *ext2->super;
}

void groups_free(struct fs *fs)
{
    g_free(fs->group_changed);
    g_free(fs->written_groups);
}
