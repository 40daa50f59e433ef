// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Group descriptors and the superblock into the metadata cache.
 *
 * libext2fs keeps them in memory, and its own way to write them writes all. Here only what
 * changed is written: the descriptors of groups whose bitmaps did (fs->group_changed). They
 * change together.
 *
 * fs->lock held.
 */
#include "bitmaps.h"

#include <string.h>
#include <time.h>

G_STATIC_ASSERT(G_BYTE_ORDER == G_LITTLE_ENDIAN); /* ext4's: descriptors go out as they lie here */

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

static errcode_t set_checksums(struct fs *fs, dgrp_t group)
{
    errcode_t err = 0;

    if (fs->group_changed[group] & GROUP_BLOCKS)
        err = bitmap_set_checksum(fs, GROUP_BLOCKS, group);
    if (!err && fs->group_changed[group] & GROUP_INODES)
        err = bitmap_set_checksum(fs, GROUP_INODES, group);
    if (!err)
        ext2fs_group_desc_csum_set(fs->ext2, group);
    return err;
}

/* A block of the descriptor table, if one of its groups changed. */
static errcode_t write_descriptors(struct fs *fs, unsigned long number)
{
    ext2_filsys ext2 = fs->ext2;
    dgrp_t first = number * EXT2_DESC_PER_BLOCK(ext2->super);
    dgrp_t end = MIN(first + EXT2_DESC_PER_BLOCK(ext2->super), ext2->group_desc_count);
    bool changed = false;
    errcode_t err = 0;

    for (dgrp_t group = first; group < end && !err; group++) {
        if (!fs->group_changed[group])
            continue;
        err = set_checksums(fs, group);
        changed = true;
    }
    if (err || !changed)
        return err;
    err = io_channel_write_blk64(
        ext2->io, ext2fs_descriptor_block_loc2(ext2, ext2->super->s_first_data_block, number), 1,
        (uint8_t *)ext2->group_desc + number * ext2->blocksize);
    if (!err)
        memset(fs->group_changed + first, 0, end - first);
    return err;
}

int groups_write(struct fs *fs)
{
    errcode_t err = 0;

    for (unsigned long i = 0; i < fs->ext2->desc_blocks && !err; i++)
        err = write_descriptors(fs, i);
    return err ? fs_errno(err) : groups_write_super(fs);
}

errcode_t groups_init(struct fs *fs)
{
    ext2_filsys ext2 = fs->ext2;

    for (dgrp_t group = 0; group < ext2->group_desc_count; group++)
        if (!ext2fs_group_desc_csum_verify(ext2, group))
            return EXT2_ET_GDESC_READ;
    fs->group_changed = g_new0(uint8_t, ext2->group_desc_count);
    fs->written_super = *ext2->super;
    return 0;
}

void groups_free(struct fs *fs)
{
    g_free(fs->group_changed);
}
