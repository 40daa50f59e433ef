// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The bitmaps of block groups, as blocks of the metadata cache. (fs->lock held)
 */
#ifndef ENCSAN_BITMAPS_H
#define ENCSAN_BITMAPS_H

#include "fs.h"

#define BITMAP_BITS (ENCSAN_BLOCK_BYTES * 8u)

struct bitmap { /* a copy; a bit is 1 where the block, or inode, is in use, and behind the last one */
    uint8_t bits[ENCSAN_BLOCK_BYTES];
};

/* `kind` is GROUP_BLOCKS or GROUP_INODES. One that was never written is made up, as the
 * kernel does. A damaged one turns the mount read-only. */
errcode_t bitmap_read(struct fs *fs, unsigned kind, dgrp_t group, struct bitmap *bitmap);
errcode_t bitmap_write(struct fs *fs, unsigned kind, dgrp_t group, const struct bitmap *bitmap);
/* A group that never had the bitmap gets it. */
errcode_t bitmap_begin(struct fs *fs, unsigned kind, dgrp_t group);
/* As it is in the cache, into the descriptor's checksum. */
errcode_t bitmap_set_checksum(struct fs *fs, unsigned kind, dgrp_t group);

/* The first bit at or behind `from` that is `set`, or not; `end` if there is none before. */
unsigned bitmap_find(const struct bitmap *bitmap, unsigned from, unsigned end, bool set);
void bitmap_fill(struct bitmap *bitmap, unsigned first, unsigned count, bool set);

/* Who takes blocks in this group probably goes on behind it: begins to bring the bitmaps there. */
void bitmaps_want_next(struct fs *fs, dgrp_t group);
/* Those of the groups in which [block, block + count) lies, to a list for bufcache_bring. */
void bitmaps_of_blocks(struct fs *fs, blk64_t block, uint64_t count, GArray *list);

#endif
