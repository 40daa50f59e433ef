// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Changes to the extent tree of one file, whole extents at a time (alloc.c and
 * punch.c are the only users). fs->lock held. Each change leaves a tree that is right, also
 * when the next one fails because no block is left for a node of the tree.
 */
#ifndef ENCSAN_EXTENTS_H
#define ENCSAN_EXTENTS_H

#include "fs.h"

#include <ext2fs/ext3_extents.h> /* needs ext2_fs.h before it */

static inline bool extents_are_used(const struct inode *inode) /* else it has a block map */
{
    return inode->raw.i_flags & EXT4_EXTENTS_FL;
}

errcode_t extents_open(struct fs *fs, struct inode *inode, ext2_extent_handle_t *tree);
/* The run that begins at `logical`, at most `count` blocks of it. */
errcode_t extents_map(ext2_extent_handle_t tree, uint64_t logical, uint64_t count,
                      struct extent_run *run);
/* Where a block for the hole at `logical` would best lie; 0: no neighbour says it. */
errcode_t extents_goal(ext2_extent_handle_t tree, uint64_t logical, blk64_t *goal);
/* Fills a hole with unwritten blocks, at most EXT_UNINIT_MAX_LEN. */
errcode_t extents_insert(ext2_extent_handle_t tree, uint64_t logical, blk64_t physical,
                         uint64_t count);
/* Unwritten blocks become written; there must be no hole among them. */
errcode_t extents_set_written(ext2_extent_handle_t tree, uint64_t logical, uint64_t count);
/* Written blocks of the run at *logical, up to `end`, become unwritten; a hole stays. *logical: where
 * it ends. */
errcode_t extents_set_unwritten(ext2_extent_handle_t tree, uint64_t *logical, uint64_t end);
/* Calls each for the runs of [logical, end) that have blocks, the last first, until it returns true. */
errcode_t extents_each_back(ext2_extent_handle_t tree, uint64_t logical, uint64_t end,
                            bool (*each)(void *opaque, const struct extent_run *run), void *opaque);
/* Takes [logical, end) out of the tree; `removed` hears of each run of blocks. Where there are no
 * blocks behind `end` it needs none for the tree. */
errcode_t extents_remove(ext2_extent_handle_t tree, uint64_t logical, uint64_t end,
                         errcode_t (*removed)(void *opaque, blk64_t physical, uint64_t count),
                         void *opaque);

#endif
