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

/* -EFBIG if the file can't reach to offset + length. */
int data_check_size(const struct inode *inode, uint64_t offset, uint64_t length);
/* The end of a change: size and times. fs->lock held. */
int data_finish(struct fs *fs, struct inode *inode, uint64_t size, bool mtime);

#endif
