// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which blocks may be taken. A block that was freed is free in ext4's bitmap at
 * once, but pinned: nobody may take it, and it is not discarded, before the
 * transaction that freed it is durable, since until then a crash brings back
 * what it belonged to. fs->kept has the pinned blocks and the windows (window.c), as
 * ranges; who searches for free blocks looks there, too.
 *
 * libext2fs takes and frees blocks for directories, nodes of extent trees and
 * attributes by itself: it asks us which, and says so when it took or freed one.
 * It has no bitmaps of its own.
 *
 * fs->lock held.
 */
#include "bitmaps.h"

#include <errno.h>

#include "broken.h"
#include "journal.h"

#define NODES_EACH 5u /* the deepest extent tree */
#define FREE_RUNS_LOOKED_AT 64 /* and some more where much is wanted, before the longest has to do */

/* ---- searching ---- */

struct cursor {
    struct fs *fs;
    dgrp_t goal;      /* its group is looked into in any case, */
    uint64_t minimum; /* others only when so much is free there */
    bool loaded;
    dgrp_t group;     /* looked into last */
    struct bitmap bitmap;
};

static bool may_look(const struct cursor *c, dgrp_t group)
{
    uint64_t free = ext2fs_bg_free_blocks_count(c->fs->ext2, group);

    return free >= c->minimum || (free > 0 && group == c->goal);
}

static errcode_t load(struct cursor *c, dgrp_t group)
{
    errcode_t err = 0;

    if (!c->loaded || c->group != group)
        err = bitmap_read(c->fs, GROUP_BLOCKS, group, &c->bitmap);
    c->loaded = !err;
    c->group = group;
    return err;
}

/* The first block at or behind `from`, before `end`, that is in use on the disk, or is not; ENOENT. */
static errcode_t find_block(struct cursor *c, blk64_t from, blk64_t end, bool used, blk64_t *found)
{
    ext2_filsys ext2 = c->fs->ext2;

    while (from < end) {
        dgrp_t group = ext2fs_group_of_blk2(ext2, from);
        blk64_t first = ext2fs_group_first_block2(ext2, group);
        blk64_t stop = MIN(end, first + EXT2_BLOCKS_PER_GROUP(ext2->super));
        bool look = used || may_look(c, group);
        errcode_t err = look ? load(c, group) : 0;

        if (err)
            return err;
        *found = stop;
        if (look)
            *found = first + bitmap_find(&c->bitmap, from - first, stop - first, used);
        if (*found < stop)
            return 0;
        from = stop;
    }
    return ENOENT;
}

/* The first block at or behind `from`, before `end`, that may be taken; ENOENT. */
static errcode_t find_free(struct cursor *c, blk64_t from, blk64_t end, blk64_t *found)
{
    blk64_t not_kept;
    errcode_t err;

    do {
        err = ext2fs_find_first_zero_block_bitmap2(c->fs->kept, from, end - 1, &not_kept);
        if (!err)
            err = find_block(c, not_kept, end, false, found);
        if (err)
            return err;
        from = *found;
    } while (*found != not_kept);
    return 0;
}

/* The free run at or after `from`, before `end`; at most `want` blocks of it. */
static errcode_t next_free(struct cursor *c, blk64_t from, blk64_t end, uint64_t want, blk64_t *start,
                           uint64_t *count)
{
    blk64_t behind, kept;
    errcode_t err = find_free(c, from, end, start);

    if (err)
        return err;
    behind = MIN(*start + want, end);
    err = find_block(c, *start, behind, true, &behind);
    if (err && err != ENOENT)
        return err;
    err = ext2fs_find_first_set_block_bitmap2(c->fs->kept, *start, behind - 1, &kept);
    if (err && err != ENOENT)
        return err;
    *count = (err ? behind : kept) - *start;
    return 0;
}

static errcode_t look_from(struct cursor *c, blk64_t goal, uint64_t want, blk64_t *start,
                           uint64_t *count)
{
    ext2_filsys ext2 = c->fs->ext2;
    blk64_t first = ext2->super->s_first_data_block, end = ext2fs_blocks_count(ext2->super);
    blk64_t from, limit = end, run = 0;
    uint64_t length = 0;
    uint64_t looks = FREE_RUNS_LOOKED_AT + 4 * MIN(want, FREE_RUNS_LOOKED_AT);
    errcode_t err;

    *count = 0;
    for (from = goal; looks > 0; from = run + length) {
        err = from < limit ? next_free(c, from, limit, want, &run, &length) : ENOENT;
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

/* First where by the descriptors the whole of it could be, then where less is free: a group that
 * can't be what is searched for costs no look into its bitmap, which may be far away. */
static errcode_t search(struct fs *fs, blk64_t goal, uint64_t want, blk64_t *start, uint64_t *count)
{
    uint64_t minimum = MIN(want, EXT2_BLOCKS_PER_GROUP(fs->ext2->super) / 2);
    struct cursor cursor = {.fs = fs};
    errcode_t err;

    if (goal >= ext2fs_blocks_count(fs->ext2->super))
        goal = 0;
    cursor.goal = ext2fs_group_of_blk2(fs->ext2, goal);
    do {
        cursor.minimum = MAX(minimum, 1);
        err = look_from(&cursor, goal, want, start, count);
        minimum /= 8;
        if (err ? err != EXT2_ET_BLOCK_ALLOC_FAIL : *start == goal || *count >= minimum)
            break;
    } while (cursor.minimum > 1);
    return err;
}

errcode_t blocks_find(struct fs *fs, blk64_t goal, uint64_t want, blk64_t *start, uint64_t *count)
{
    errcode_t err = search(fs, goal, want, start, count);

    if (err == EXT2_ET_BLOCK_ALLOC_FAIL && window_drop_all(fs))
        err = search(fs, goal, want, start, count);
    if (!err)
        bitmaps_want_next(fs, ext2fs_group_of_blk2(fs->ext2, *start));
    return err;
}

/* ---- taken and freed ---- */

static errcode_t mark_in_group(struct fs *fs, dgrp_t group, unsigned first, unsigned count, bool used)
{
    struct bitmap bitmap;
    errcode_t err = bitmap_read(fs, GROUP_BLOCKS, group, &bitmap);

    if (err)
        return err;
    bitmap_fill(&bitmap, first, count, used);
    return bitmap_write(fs, GROUP_BLOCKS, group, &bitmap);
}

static errcode_t mark(struct fs *fs, blk64_t block, blk64_t count, bool used)
{
    errcode_t err = 0;

    while (count && !err) {
        dgrp_t group = ext2fs_group_of_blk2(fs->ext2, block);
        unsigned first = (unsigned)(block - ext2fs_group_first_block2(fs->ext2, group));
        unsigned now = MIN(count, EXT2_BLOCKS_PER_GROUP(fs->ext2->super) - first);

        err = mark_in_group(fs, group, first, now, used);
        block += now;
        count -= now;
    }
    return err;
}

/* What can't be marked makes what is in memory wrong: none of it goes to the disk. */
static void taken_or_freed(struct fs *fs, blk64_t block, blk64_t count, int inuse)
{
    errcode_t err = mark(fs, block, count, inuse > 0);

    if (err)
        fs_fail(fs, fs_errno(err));
    if (inuse > 0) {
        blocks_let_go(fs, block, count);
        return;
    }
    if (!broken("pin"))
        blocks_keep(fs, block, count);
    journal_freed(fs->journal, block, count);
}

/* libext2fs took or freed a block. */
static void one_taken_or_freed(ext2_filsys ext2, blk64_t block, int inuse)
{
    taken_or_freed(ext2->priv_data, block, 1, inuse);
}

/* What is promised to data other metadata does not take, nor the nodes of extent trees that
 * the data will need. */
static bool is_there(struct fs *fs)
{
    uint64_t kept = fs->promised_blocks + (fs->placing ? 0 : NODES_EACH * fs->held.length);

    return ext2fs_free_blocks_count(fs->ext2->super) > kept;
}

/* libext2fs wants a block; it takes it itself, and forgets then that the group had no bitmap. */
static errcode_t find_one(ext2_filsys ext2, blk64_t goal, blk64_t *block)
{
    struct fs *fs = ext2->priv_data;
    uint64_t count;
    errcode_t err = is_there(fs) ? blocks_find(fs, goal, 1, block, &count) : EXT2_ET_BLOCK_ALLOC_FAIL;

    return err ? err : bitmap_begin(fs, GROUP_BLOCKS, ext2fs_group_of_blk2(ext2, *block));
}

void blocks_take(struct fs *fs, blk64_t block, blk64_t count)
{
    taken_or_freed(fs, block, count, +1);
    ext2fs_block_alloc_stats_range(fs->ext2, block, (blk_t)count, +1);
}

void blocks_free(struct fs *fs, blk64_t block, blk64_t count)
{
    taken_or_freed(fs, block, count, -1);
    ext2fs_block_alloc_stats_range(fs->ext2, block, (blk_t)count, -1);
}

void blocks_keep(struct fs *fs, blk64_t block, blk64_t count)
{
    ext2fs_mark_block_bitmap_range2(fs->kept, block, (unsigned)count);
}

void blocks_let_go(struct fs *fs, blk64_t block, blk64_t count)
{
    ext2fs_unmark_block_bitmap_range2(fs->kept, block, (unsigned)count);
}

errcode_t blocks_init(struct fs *fs)
{
    ext2_filsys ext2 = fs->ext2;
    errcode_t err;

    ext2->default_bitmap_type = EXT2FS_BMAP64_RBTREE; /* by ranges: most of it is empty */
    err = ext2fs_allocate_block_bitmap(ext2, "blocks that are kept", &fs->kept);
    if (err)
        return err;
    blocks_keep(fs, 0, 1); /* the superblock's; in an empty one libext2fs 1.47.0 finds no zero */
    ext2->priv_data = fs;
    ext2fs_set_block_alloc_stats_callback(ext2, one_taken_or_freed, NULL);
    ext2fs_set_alloc_block_callback(ext2, find_one, NULL);
    return 0;
}

void blocks_exit(struct fs *fs)
{
    if (fs->kept)
        ext2fs_free_block_bitmap(fs->kept);
}
