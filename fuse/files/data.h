// SPDX-License-Identifier: LGPL-2.1-or-later
/* What data.c, data_read.c and data_write.c share. */
#ifndef ENCSAN_DATA_H
#define ENCSAN_DATA_H

#include "fs.h"

#define BLOCK ENCSAN_BLOCK_BYTES
#define SEGMENT_BYTES (128u << 10) /* a volume's, by default */

static inline uint64_t round_up(uint64_t offset)
{
    return (offset + BLOCK - 1) / BLOCK * BLOCK;
}

/* ext4's, in bytes: 2^32 - 1 blocks by extents, three levels of indirection without. */
uint64_t data_size_limit(const struct inode *inode);
/* The end of a change: size and times. fs->lock held. */
int data_finish(struct fs *fs, struct inode *inode, uint64_t size, bool mtime);

#endif
