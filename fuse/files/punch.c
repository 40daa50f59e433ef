// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Blocks given back: from the end of a range, in steps. A file can have millions of
 * extents, and lie in thousands of groups, whose bitmaps all change: no transaction
 * could hold that, and nobody should wait so long for fs->lock. A step changes as many
 * blocks of metadata as journal_step says, or a few more, and takes some milliseconds. After
 * each the map is right, and the range only smaller than it was.
 *
 * What a step needs is fetched before it, and without fs->lock.
 */
#include "punch.h"

#include <errno.h>

#include "bitmaps.h"
#include "blockmap.h"
#include "extents.h"
#include "journal.h"

#define STEP_EXTENTS 512u
#define STEP_PIECES 64u /* of a block map, */
#define PIECE_BLOCKS 64u /* each of which may be in another group */

struct plan {
    struct fs *fs;
    uint64_t from; /* where the step will end, going back */
    unsigned extents;
    bool is_full;
    GArray *bitmaps; /* uint64_t, of the groups that will change */
};

/* ---- with extents ---- */

static bool add_to_plan(void *opaque, const struct extent_run *run)
{
    struct plan *plan = opaque;

    plan->is_full = plan->extents == STEP_EXTENTS ||
                    plan->bitmaps->len >= journal_step(plan->fs->journal);
    if (plan->is_full)
        return true;
    bitmaps_of_blocks(plan->fs, run->physical, run->count, plan->bitmaps);
    plan->extents++;
    plan->from = run->logical;
    return false;
}

/* Only reads. */
static errcode_t make_plan(struct inode *inode, uint64_t logical, uint64_t end, struct plan *plan)
{
    ext2_extent_handle_t tree;
    errcode_t err = extents_open(plan->fs, inode, &tree);

    plan->extents = 0;
    plan->is_full = false;
    g_array_set_size(plan->bitmaps, 0);
    if (err)
        return err;
    err = extents_each_back(tree, logical, end, add_to_plan, plan);
    ext2fs_extent_free(tree);
    if (!plan->is_full)
        plan->from = logical;
    return err;
}

/* Lets go of fs->lock where it has to wait. */
static int plan_and_fetch(struct inode *inode, uint64_t logical, uint64_t end, struct plan *plan)
{
    struct bufcache_tries tries = {0};
    struct fs *fs = plan->fs;
    errcode_t err;

    do {
        bufcache_try(fs->cache, &tries);
        err = make_plan(inode, logical, end, plan);
    } while (bufcache_tried(fs->cache, &fs->lock));
    if (!err)
        bufcache_bring(fs->cache, plan->bitmaps, &fs->lock);
    return fs_errno(err);
}

struct owner {
    struct fs *fs;
    struct inode *inode;
};

static errcode_t free_run(void *opaque, blk64_t physical, uint64_t count)
{
    struct owner *owner = opaque;

    blocks_free(owner->fs, physical, count);
    return ext2fs_iblk_sub_blocks(owner->fs->ext2, EXT2_INODE(&owner->inode->raw), count);
}

static errcode_t free_extents(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t end)
{
    struct owner owner = {fs, inode};
    ext2_extent_handle_t tree;
    errcode_t err = extents_open(fs, inode, &tree);

    if (err)
        return err;
    err = extents_remove(tree, logical, end, free_run, &owner);
    ext2fs_extent_free(tree);
    return err;
}

/* ---- with a block map ---- */

/* [logical, end) becomes a hole. Its indirect blocks stay, as is allowed, though empty. */
static errcode_t clear(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t end)
{
    struct owner owner = {fs, inode};
    errcode_t err = 0;

    for (; logical < end && !err; logical++) {
        blk64_t physical, none = 0;

        err = blockmap_lookup(fs, inode, logical, &physical);
        if (err || !physical)
            continue;
        err = ext2fs_bmap2(fs->ext2, inode->ino, EXT2_INODE(&inode->raw), NULL, BMAP_SET, logical,
                           NULL, &none);
        if (!err)
            err = free_run(&owner, physical, 1);
    }
    return err;
}

/* *end moves back to where an indirect block that is there begins to count. */
static errcode_t skip_absent(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t *end)
{
    while (*end > logical) {
        uint64_t from = 0, behind = 0;
        blk64_t physical;
        errcode_t err = blockmap_lookup(fs, inode, *end - 1, &physical);

        if (!err && !physical)
            err = blockmap_hole(fs, inode, *end - 1, &from, &behind);
        if (err || behind - from <= 1)
            return err;
        *end = MAX(from, logical);
    }
    return 0;
}

/* A step. ext2fs_punch can only cut off the file's end: 1.47 frees wrong blocks where a hole begins or
 * ends under a double indirect block. */
static errcode_t free_pieces(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t *end)
{
    size_t most = bufcache_running(fs->cache) + journal_step(fs->journal);
    bool cut = *end * fs->ext2->blocksize >= inode_size(inode);
    errcode_t err = 0;

    for (unsigned i = 0; i < STEP_PIECES && bufcache_running(fs->cache) < most; i++) {
        uint64_t from;

        err = skip_absent(fs, inode, logical, end);
        if (err || *end == logical)
            break;
        from = MAX(logical, *end - MIN(*end, PIECE_BLOCKS));
        err = cut ? ext2fs_punch(fs->ext2, inode->ino, EXT2_INODE(&inode->raw), NULL, from, ~0ULL)
                  : clear(fs, inode, from, *end);
        if (err)
            break;
        *end = from;
    }
    return err;
}

/* ---- both ---- */

/* The file's last block can have this number, at most, and one. */
static uint64_t limit(const struct fs *fs, const struct inode *inode)
{
    const uint64_t fan_out = fs->ext2->blocksize / sizeof(blk_t);

    return extents_are_used(inode)
               ? (uint64_t)1 << 32
               : EXT2_NDIR_BLOCKS + fan_out + fan_out * fan_out + fan_out * fan_out * fan_out;
}

/* `from`: where the step ends, with extents. */
static int free_some(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t from, uint64_t *end)
{
    uint64_t blocksize = fs->ext2->blocksize, before = *end;
    errcode_t err;
    int error;

    if (extents_are_used(inode)) {
        err = free_extents(fs, inode, from, *end);
        *end = from;
    } else {
        err = free_pieces(fs, inode, logical, end);
    }
    unordered_drop(fs, inode, *end * blocksize, before * blocksize);
    error = inode_write(fs, inode);
    return err ? fs_errno(err) : error;
}

static int refuse(const struct inode *inode)
{
    return inode->raw.i_flags & EXT4_INLINE_DATA_FL ? -EOPNOTSUPP : 0;
}

int punch_step(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t *end)
{
    struct plan plan = {.fs = fs};
    int error = refuse(inode);

    *end = MIN(*end, limit(fs, inode));
    if (error || logical >= *end) {
        *end = logical;
        return error;
    }
    plan.bitmaps = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    if (extents_are_used(inode))
        error = plan_and_fetch(inode, logical, *end, &plan);
    g_array_free(plan.bitmaps, TRUE);
    if (error)
        return error;
    journal_admit(fs->journal);
    return fs->error ? fs->error : free_some(fs, inode, logical, plan.from, end);
}

int punch_steps(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t end)
{
    int error = punch_step(fs, inode, logical, &end);

    while (!error && end > logical) {
        fs_let_others(fs);
        error = punch_step(fs, inode, logical, &end);
    }
    return error;
}

int punch_at_once(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t end)
{
    int error = refuse(inode);

    end = MIN(end, limit(fs, inode));
    while (!error && end > logical)
        error = free_some(fs, inode, logical, logical, &end);
    return error;
}

static bool are_here(const struct fs *fs, const GArray *blocks)
{
    for (guint i = 0; i < blocks->len; i++)
        if (!bufcache_has(fs->cache, g_array_index(blocks, uint64_t, i)))
            return false;
    return true;
}

bool punch_is_little(struct fs *fs, struct inode *inode)
{
    struct plan plan = {.fs = fs};
    struct bufcache_tries tries = {0};
    bool little;

    if (!extents_are_used(inode))
        return ext2fs_inode_i_blocks(fs->ext2, EXT2_INODE(&inode->raw)) <=
               PIECE_BLOCKS * fs->ext2->blocksize / 512;
    plan.bitmaps = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    bufcache_try(fs->cache, &tries);
    little = make_plan(inode, 0, limit(fs, inode), &plan) == 0 && !plan.is_full &&
             are_here(fs, plan.bitmaps);
    bufcache_end_try(fs->cache);
    g_array_free(plan.bitmaps, TRUE);
    return little;
}
