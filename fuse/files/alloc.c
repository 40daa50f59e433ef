// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which blocks a file has and gets: by runs, never block by block where the file
 * has extents (blockmap.c where it has none). punch.c gives blocks back.
 *
 * inode->raw stays the truth: libext2fs's calls change it in place, and each
 * function here that changed it ends with inode_write. New blocks are unwritten
 * extents until their data has left (unordered.c): whatever happens in between,
 * nobody reads what the disk held before.
 */
#include <errno.h>

#include "blockmap.h"
#include "extents.h"
#include "journal.h"

#define STEP_RUNS 128u

static int refuse_inline(const struct inode *inode)
{
    return inode->raw.i_flags & EXT4_INLINE_DATA_FL ? -EOPNOTSUPP : 0;
}

/* Blocks that file data leaves free, as ext4 does: a write into an unwritten
 * extent needs nodes of the tree although the data has its blocks already. */
static uint64_t reserved_blocks(struct fs *fs)
{
    return MIN(ext2fs_blocks_count(fs->ext2->super) / 50, 4096);
}

/* Blocks that data may have. */
static uint64_t available_blocks(struct fs *fs)
{
    uint64_t available = ext2fs_free_blocks_count(fs->ext2->super);
    uint64_t kept = reserved_blocks(fs) + fs->promised_blocks;

    return available - MIN(kept, available);
}

bool alloc_can_promise(struct fs *fs, uint64_t count)
{
    return available_blocks(fs) >= count;
}

/* ---- maps ---- */

static errcode_t map_extents(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t count,
                             struct extent_run *run)
{
    ext2_extent_handle_t tree;
    errcode_t err = extents_open(fs, inode, &tree);

    if (err)
        return err;
    err = extents_map(tree, logical, count, run);
    ext2fs_extent_free(tree);
    return err;
}

int alloc_map(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t count,
              struct extent_run *run)
{
    int error = refuse_inline(inode);
    errcode_t err;

    if (error)
        return error;
    err = extents_are_used(inode) ? map_extents(fs, inode, logical, count, run)
                                  : blockmap_map(fs, inode, logical, count, run);
    if (!err)
        unordered_map(inode, run);
    return err ? fs_errno(err) : 0;
}

/* ---- new blocks ---- */

static errcode_t find_goal(struct fs *fs, struct inode *inode, ext2_extent_handle_t tree,
                           uint64_t logical, blk64_t *goal)
{
    errcode_t err = 0;

    *goal = 0;
    if (tree)
        err = extents_goal(tree, logical, goal);
    else if (logical > 0 && !(err = blockmap_lookup(fs, inode, logical - 1, goal)) && *goal)
        ++*goal;
    if (!err && *goal == 0) /* without an inode: the beginning of the inode's flex group */
        *goal = ext2fs_find_inode_goal(fs->ext2, inode->ino, NULL, 0);
    return err;
}

static void give_back(struct fs *fs, blk64_t physical, uint64_t count)
{
    if (count)
        blocks_free(fs, physical, count);
}

/* Takes blocks and enters them into the map; tree is NULL for a block-mapped file. */
static errcode_t fill_hole(struct fs *fs, struct inode *inode, ext2_extent_handle_t tree,
                           uint64_t logical, uint64_t count, uint64_t file_blocks,
                           struct extent_run *run)
{
    blk64_t goal, physical;
    uint64_t taken;
    errcode_t err = find_goal(fs, inode, tree, logical, &goal);

    if (!err)
        err = window_find(fs, inode, goal, count, file_blocks, &physical, &count);
    if (err)
        return err;
    taken = count; /* before the map changes, which may need blocks of its own */
    blocks_take(fs, physical, taken);
    bufcache_forget(fs->cache, physical, taken); /* clean copies of what they were */
    err = tree ? extents_insert(tree, logical, physical, count)
               : blockmap_set(fs, inode, logical, physical, &count);
    if (err)
        count = 0;
    give_back(fs, physical + count, taken - count);
    if (err)
        return err;
    *run = (struct extent_run){
        .logical = logical, .physical = physical, .count = count, .unwritten = tree != NULL};
    return ext2fs_iblk_add_blocks(fs->ext2, EXT2_INODE(&inode->raw), count);
}

int alloc_range(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t count,
                uint64_t file_blocks, struct extent_run *run)
{
    uint64_t available = available_blocks(fs);
    ext2_extent_handle_t tree = NULL;
    int error = refuse_inline(inode);
    errcode_t err = 0;

    if (error)
        return error;
    if (available == 0)
        return -ENOSPC;
    count = MIN(count, MIN(available, EXT_UNINIT_MAX_LEN));
    if (extents_are_used(inode))
        err = extents_open(fs, inode, &tree);
    if (!err)
        err = fill_hole(fs, inode, tree, logical, count, file_blocks, run);
    if (tree)
        ext2fs_extent_free(tree);
    error = inode_write(fs, inode);
    return err ? fs_errno(err) : error;
}

int alloc_written(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t count)
{
    ext2_extent_handle_t tree;
    int error;
    errcode_t err;

    if (!extents_are_used(inode))
        return 0;
    err = extents_open(fs, inode, &tree);
    if (err)
        return fs_errno(err);
    err = extents_set_written(tree, logical, count);
    ext2fs_extent_free(tree);
    error = inode_write(fs, inode);
    return err ? fs_errno(err) : error;
}

int alloc_unwritten(struct fs *fs, struct inode *inode, uint64_t *logical, uint64_t end)
{
    size_t most = bufcache_running(fs->cache) + journal_step(fs->journal);
    ext2_extent_handle_t tree;
    errcode_t err = extents_open(fs, inode, &tree);
    int error;

    if (err)
        return fs_errno(err);
    for (unsigned i = 0; i < STEP_RUNS && *logical < end && !err; i++) {
        err = extents_set_unwritten(tree, logical, end);
        if (bufcache_running(fs->cache) >= most)
            break;
    }
    ext2fs_extent_free(tree);
    error = inode_write(fs, inode);
    return err ? fs_errno(err) : error;
}
