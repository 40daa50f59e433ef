// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The blocks that ext4 has for itself, which statfs does not count. mke2fs puts their
 * number into the superblock, resize2fs takes it out, and the kernel, as we do,
 * counts them again.
 */
#include "fs.h"

errcode_t overhead_count(struct fs *fs)
{
    ext2_filsys ext2 = fs->ext2;
    struct ext2_super_block *super = ext2->super;
    struct ext2_inode journal;
    uint64_t blocks = super->s_first_data_block;
    errcode_t err;

    if (super->s_overhead_clusters)
        return 0;
    err = ext2fs_read_inode(ext2, super->s_journal_inum, &journal);
    if (err)
        return err;
    blocks += EXT2_I_SIZE(&journal) / ext2->blocksize;
    for (dgrp_t group = 0; group < ext2->group_desc_count; group++) {
        blk_t supers;

        ext2fs_super_and_bgd_loc2(ext2, group, NULL, NULL, NULL, &supers);
        blocks += supers + 2 + ext2->inode_blocks_per_group; /* two bitmaps */
    }
    super->s_overhead_clusters = (uint32_t)blocks;
    return 0;
}
