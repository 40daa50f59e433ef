// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Files without extents, made by ext3 or before: their blocks are in a map of direct and
 * indirect blocks. alloc.c and punch.c are the only users. fs->lock held.
 */
#ifndef ENCSAN_BLOCKMAP_H
#define ENCSAN_BLOCKMAP_H

#include "fs.h"

/* 0: a hole. */
errcode_t blockmap_lookup(struct fs *fs, struct inode *inode, uint64_t logical, blk64_t *physical);
/* [*from, *end): the hole at `logical`, as far as one pointer that is zero speaks of it: one block, or
 * all that an absent indirect block would map. */
errcode_t blockmap_hole(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t *from,
                        uint64_t *end);
/* The run that begins at `logical`, at most `count` blocks of it. */
errcode_t blockmap_map(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t count,
                       struct extent_run *run);
/* Enters the blocks one by one; *count: how many it became before an error. */
errcode_t blockmap_set(struct fs *fs, struct inode *inode, uint64_t logical, blk64_t physical,
                       uint64_t *count);

#endif
