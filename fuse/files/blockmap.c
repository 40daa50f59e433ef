// SPDX-License-Identifier: LGPL-2.1-or-later
/* Block maps, through ext2fs_bmap2: block by block. */
#include "blockmap.h"

#define MAPPED_RUN 4096 /* at most, since each of its blocks is looked up */

errcode_t blockmap_lookup(struct fs *fs, struct inode *inode, uint64_t logical, blk64_t *physical)
{
    return ext2fs_bmap2(fs->ext2, inode->ino, EXT2_INODE(&inode->raw), NULL, 0, logical, NULL,
                        physical);
}

errcode_t blockmap_hole(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t *from,
                        uint64_t *end)
{
    const uint64_t fan_out = fs->ext2->blocksize / sizeof(blk_t);
    g_autofree blk_t *pointers = g_malloc(fs->ext2->blocksize);
    uint64_t base = EXT2_NDIR_BLOCKS, span = fan_out;
    unsigned level = 1;
    blk_t pointer;

    *from = logical;
    *end = logical + 1;
    if (logical < EXT2_NDIR_BLOCKS)
        return 0;
    for (; level < 3 && logical - base >= span; level++) {
        base += span;
        span *= fan_out;
    }
    pointer = inode->raw.i_block[EXT2_IND_BLOCK + level - 1];
    for (; pointer && level > 0; level--) {
        errcode_t err = ext2fs_read_ind_block(fs->ext2, pointer, pointers);

        if (err)
            return err;
        span /= fan_out;
        pointer = pointers[(logical - base) / span % fan_out];
    }
    *from = base + (logical - base) / span * span;
    *end = *from + span;
    return 0;
}

errcode_t blockmap_map(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t count,
                       struct extent_run *run)
{
    uint64_t at = logical, end = logical + count, from;
    blk64_t physical;
    errcode_t err = blockmap_lookup(fs, inode, logical, &run->physical);

    run->logical = logical;
    run->hole = run->physical == 0;
    run->unwritten = false;
    if (!run->hole)
        end = MIN(end, logical + MAPPED_RUN);
    while (!err) {
        at++;
        if (run->hole)
            err = blockmap_hole(fs, inode, at - 1, &from, &at);
        if (err || at >= end)
            break;
        err = blockmap_lookup(fs, inode, at, &physical);
        if (physical != (run->hole ? 0 : run->physical + (at - logical)))
            break;
    }
    run->count = MIN(at, end) - logical;
    return err;
}

errcode_t blockmap_set(struct fs *fs, struct inode *inode, uint64_t logical, blk64_t physical,
                       uint64_t *count)
{
    uint64_t n;
    errcode_t err = 0;

    for (n = 0; n < *count; n++) {
        blk64_t block = physical + n;

        err = ext2fs_bmap2(fs->ext2, inode->ino, EXT2_INODE(&inode->raw), NULL,
                           BMAP_ALLOC | BMAP_SET, logical + n, NULL, &block);
        if (err)
            break;
    }
    *count = n;
    return n ? 0 : err;
}
