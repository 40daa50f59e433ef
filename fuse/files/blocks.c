// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which blocks may be taken. A block that was freed is free in ext4's bitmap at
 * once, but pinned: nobody may take it, and it is not discarded, before the
 * transaction that freed it is durable, since until then a crash brings back
 * what it belonged to. fs->taken is ext4's bitmap, the pinned blocks and the
 * windows (window.c); every search for free blocks goes there.
 *
 * libext2fs takes and frees blocks for directories, nodes of extent trees and
 * attributes by itself: it asks us which, and says so when it took or freed one.
 * Of a run that it took it does not (1.47.0 calls back with the block behind the
 * run and the count 0), so that is noted when it asks. It frees no runs.
 *
 * fs->lock held.
 */
#include "fs.h"

#include <errno.h>

#include "broken.h"
#include "journal.h"

#define NODES_EACH 5u /* the deepest extent tree */
#define FREE_RUNS_LOOKED_AT 64 /* and some more where much is wanted, before the longest has to do */

/* ---- searching ---- */

/* The free run at or after `from`, before `end`; at most `want` blocks of it. */
static errcode_t next_free(struct fs *fs, blk64_t from, blk64_t end, uint64_t want, blk64_t *start,
                           uint64_t *count)
{
    blk64_t last, used;
    errcode_t err = ext2fs_find_first_zero_block_bitmap2(fs->taken, from, end - 1, start);

    if (err)
        return err;
    last = MIN(*start + want, end) - 1;
    err = ext2fs_find_first_set_block_bitmap2(fs->taken, *start, last, &used);
    if (err && err != ENOENT)
        return err;
    *count = (err ? last + 1 : used) - *start;
    return 0;
}

static errcode_t search(struct fs *fs, blk64_t goal, uint64_t want, blk64_t *start, uint64_t *count)
{
    blk64_t first = fs->ext2->super->s_first_data_block, end = ext2fs_blocks_count(fs->ext2->super);
    blk64_t from, limit = end, run = 0;
    uint64_t length = 0;
    uint64_t looks = FREE_RUNS_LOOKED_AT + 4 * MIN(want, FREE_RUNS_LOOKED_AT);
    errcode_t err;

    if (goal < first || goal >= end)
        goal = first;
    *count = 0;
    for (from = goal; looks > 0; from = run + length) {
        err = from < limit ? next_free(fs, from, limit, want, &run, &length) : ENOENT;
        if (err == ENOENT && limit == end && goal > first) { /* once more, before the goal */
            run = first;
            length = 0;
            limit = goal;
            continue;
        }
        if (err == ENOENT)
            break;
        if (err)
            return err;
        looks--;
        if (length > *count) {
            *start = run;
            *count = length;
        }
        if (length == want || run == goal)
            break;
    }
    return *count ? 0 : EXT2_ET_BLOCK_ALLOC_FAIL;
}

errcode_t blocks_find(struct fs *fs, blk64_t goal, uint64_t want, blk64_t *start, uint64_t *count)
{
    errcode_t err = search(fs, goal, want, start, count);

    if (err == EXT2_ET_BLOCK_ALLOC_FAIL && window_drop_all(fs))
        err = search(fs, goal, want, start, count);
    return err;
}

/* ---- taken and freed ---- */

static void taken_or_freed(struct fs *fs, blk64_t block, blk64_t count, int inuse)
{
    dgrp_t last = ext2fs_group_of_blk2(fs->ext2, block + count - 1);

    for (dgrp_t group = ext2fs_group_of_blk2(fs->ext2, block); group <= last; group++)
        fs->group_changed[group] |= GROUP_BLOCKS;
    if (inuse > 0)
        ext2fs_mark_block_bitmap_range2(fs->taken, block, (unsigned)count);
    else if (broken("pin"))
        blocks_unpin(fs, block, count);
    else
        journal_freed(fs->journal, block, count);
}

/* libext2fs took or freed a block. */
static void one_taken_or_freed(ext2_filsys ext2, blk64_t block, int inuse)
{
    taken_or_freed(ext2->priv_data, block, 1, inuse);
}

/* What is promised to data other metadata does not take, nor the nodes of extent trees that
 * the data will need. */
static bool is_there(struct fs *fs, uint64_t want)
{
    uint64_t kept = fs->promised_blocks + (fs->placing ? 0 : NODES_EACH * fs->held.length);

    return ext2fs_free_blocks_count(fs->ext2->super) >= kept + want;
}

/* libext2fs wants a block; it marks it as used itself. */
static errcode_t find_one(ext2_filsys ext2, blk64_t goal, blk64_t *block)
{
    uint64_t count;

    if (!is_there(ext2->priv_data, 1))
        return EXT2_ET_BLOCK_ALLOC_FAIL;
    return blocks_find(ext2->priv_data, goal, 1, block, &count);
}

/* libext2fs wants a run, which it marks as used itself; flags: EXT2_NEWRANGE_*. */
static errcode_t find_run(ext2_filsys ext2, int flags, blk64_t goal, blk64_t want, blk64_t *block,
                          blk64_t *count)
{
    struct fs *fs = ext2->priv_data;
    uint64_t found;
    errcode_t err = is_there(fs, want) ? blocks_find(fs, goal, want, block, &found)
                                       : EXT2_ET_BLOCK_ALLOC_FAIL;

    if (err)
        return err;
    if ((flags & EXT2_NEWRANGE_FIXED_GOAL && *block != goal) ||
        (flags & EXT2_NEWRANGE_MIN_LENGTH && found < want))
        return EXT2_ET_BLOCK_ALLOC_FAIL;
    *count = found;
    taken_or_freed(fs, *block, *count, +1);
    return 0;
}

void blocks_take(struct fs *fs, blk64_t block, blk64_t count)
{
    ext2fs_block_alloc_stats_range(fs->ext2, block, (blk_t)count, +1);
    taken_or_freed(fs, block, count, +1);
}

void blocks_free(struct fs *fs, blk64_t block, blk64_t count)
{
    ext2fs_block_alloc_stats_range(fs->ext2, block, (blk_t)count, -1);
    taken_or_freed(fs, block, count, -1);
}

void blocks_unpin(struct fs *fs, blk64_t block, blk64_t count)
{
    ext2fs_unmark_block_bitmap_range2(fs->taken, block, (unsigned)count);
}

errcode_t blocks_init(struct fs *fs)
{
    errcode_t err = ext2fs_copy_bitmap(fs->ext2->block_map, &fs->taken);

    if (err)
        return err;
    fs->ext2->priv_data = fs;
    ext2fs_set_block_alloc_stats_callback(fs->ext2, one_taken_or_freed, NULL);
    ext2fs_set_alloc_block_callback(fs->ext2, find_one, NULL);
    ext2fs_set_new_range_callback(fs->ext2, find_run, NULL);
    return 0;
}

void blocks_exit(struct fs *fs)
{
    if (fs->taken)
        ext2fs_free_block_bitmap(fs->taken);
}
