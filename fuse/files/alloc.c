// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which blocks a file has, gets and gives back: by runs, never block by block
 * where the file has extents. Files without extents (made by ext3 or before)
 * are mapped through ext2fs_bmap2.
 *
 * inode->raw stays the truth: libext2fs's calls change it in place, and each
 * function here that changed it ends with inode_write. New blocks are unwritten
 * extents until their data has left (unordered.c): whatever happens in between,
 * nobody reads what the disk held before.
 */
#include <errno.h>

#include "bitmaps.h"
#include "extents.h"

#define BITMAPS_SHARE 4 /* of the cache, for one step of a deletion */
#define BLOCK_MAPPED_RUN 4096 /* at most, since each of its blocks is looked up */

static bool has_extents(const struct inode *inode)
{
    return inode->raw.i_flags & EXT4_EXTENTS_FL;
}

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

/* ---- block-mapped files ---- */

static errcode_t lookup_block(struct fs *fs, struct inode *inode, uint64_t logical,
                              blk64_t *physical)
{
    return ext2fs_bmap2(fs->ext2, inode->ino, EXT2_INODE(&inode->raw), NULL, 0, logical, NULL,
                        physical);
}

/* The first block behind the hole at `logical` of which one pointer that is zero
 * speaks: of a block, or of all that an absent indirect block would map. */
static errcode_t skip_hole(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t *next)
{
    const uint64_t fan_out = fs->ext2->blocksize / sizeof(blk_t);
    g_autofree blk_t *pointers = g_malloc(fs->ext2->blocksize);
    uint64_t base = EXT2_NDIR_BLOCKS, span = fan_out;
    unsigned level = 1;
    blk_t pointer;

    if (logical < EXT2_NDIR_BLOCKS) {
        *next = logical + 1;
        return 0;
    }
    for (; level < 3 && logical - base >= span; level++) {
        base += span;
        span *= fan_out;
    }
    pointer = inode->raw.i_block[EXT2_IND_BLOCK + level - 1];
    for (; pointer && level > 0; level--) {
        errcode_t err = ext2fs_read_ind_block(fs->ext2, pointer, pointers);

        if (err)
            return err;
        span /= fan_out;
        pointer = pointers[(logical - base) / span % fan_out];
    }
    *next = base + ((logical - base) / span + 1) * span;
    return 0;
}

static errcode_t map_blocks(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t count,
                            struct extent_run *run)
{
    uint64_t at = logical, end = logical + count;
    blk64_t physical;
    errcode_t err = lookup_block(fs, inode, logical, &run->physical);

    run->logical = logical;
    run->hole = run->physical == 0;
    run->unwritten = false;
    if (!run->hole)
        end = MIN(end, logical + BLOCK_MAPPED_RUN);
    while (!err) {
        at++;
        if (run->hole)
            err = skip_hole(fs, inode, at - 1, &at);
        if (err || at >= end)
            break;
        err = lookup_block(fs, inode, at, &physical);
        if (physical != (run->hole ? 0 : run->physical + (at - logical)))
            break;
    }
    run->count = MIN(at, end) - logical;
    return err;
}

/* Enters the blocks one by one; *count: how many it became before an error. */
static errcode_t set_blocks(struct fs *fs, struct inode *inode, uint64_t logical, blk64_t physical,
                            uint64_t *count)
{
    uint64_t n;
    errcode_t err = 0;

    for (n = 0; n < *count; n++) {
        blk64_t block = physical + n;

        err = ext2fs_bmap2(fs->ext2, inode->ino, EXT2_INODE(&inode->raw), NULL,
                           BMAP_ALLOC | BMAP_SET, logical + n, NULL, &block);
        if (err)
            break;
    }
    *count = n;
    return n ? 0 : err;
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
    err = has_extents(inode) ? map_extents(fs, inode, logical, count, run)
                             : map_blocks(fs, inode, logical, count, run);
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
    else if (logical > 0 && !(err = lookup_block(fs, inode, logical - 1, goal)) && *goal)
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
               : set_blocks(fs, inode, logical, physical, &count);
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
    if (has_extents(inode))
        err = extents_open(fs, inode, &tree);
    if (!err)
        err = fill_hole(fs, inode, tree, logical, count, file_blocks, run);
    if (tree)
        ext2fs_extent_free(tree);
    error = inode_write(fs, inode);
    return err ? fs_errno(err) : error;
}

static int set_state(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t count,
                     errcode_t (*set)(ext2_extent_handle_t tree, uint64_t logical, uint64_t count))
{
    ext2_extent_handle_t tree;
    int error;
    errcode_t err;

    if (!has_extents(inode))
        return 0;
    err = extents_open(fs, inode, &tree);
    if (err)
        return fs_errno(err);
    err = set(tree, logical, count);
    ext2fs_extent_free(tree);
    error = inode_write(fs, inode);
    return err ? fs_errno(err) : error;
}

int alloc_written(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t count)
{
    return set_state(fs, inode, logical, count, extents_set_written);
}

int alloc_unwritten(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t count)
{
    return set_state(fs, inode, logical, count, extents_set_unwritten);
}

/* ---- blocks given back ---- */

struct owner {
    struct fs *fs;
    struct inode *inode;
};

static errcode_t free_run(void *opaque, blk64_t physical, uint64_t count)
{
    struct owner *owner = opaque;

    give_back(owner->fs, physical, count);
    return ext2fs_iblk_sub_blocks(owner->fs->ext2, EXT2_INODE(&owner->inode->raw), count);
}

/* Brings, side by side, the bitmaps of the groups in which the file's blocks from `logical` on
 * lie, as many as the cache has room for: those before *next. */
static errcode_t bring_bitmaps(struct fs *fs, ext2_extent_handle_t tree, uint64_t logical,
                               uint64_t end, uint64_t *next)
{
    GArray *bitmaps = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    struct extent_run run;
    errcode_t err = 0;

    while (logical < end && bitmaps->len < bufcache_limit(fs->cache) / BITMAPS_SHARE && !err) {
        err = extents_map(tree, logical, end - logical, &run);
        if (!err && !run.hole)
            bitmaps_of_blocks(fs, run.physical, run.count, bitmaps);
        logical += err ? 0 : run.count;
    }
    if (!err)
        bufcache_bring(fs->cache, bitmaps, NULL);
    g_array_free(bitmaps, TRUE);
    *next = logical;
    return err;
}

static errcode_t punch_extents(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t end)
{
    struct owner owner = {fs, inode};
    ext2_extent_handle_t tree;
    errcode_t err = extents_open(fs, inode, &tree);
    uint64_t next;

    if (err)
        return err;
    for (; logical < end && !err; logical = next) {
        err = bring_bitmaps(fs, tree, logical, end, &next);
        if (!err)
            err = extents_remove(tree, logical, next, free_run, &owner);
    }
    ext2fs_extent_free(tree);
    return err;
}

static errcode_t clear_blocks(struct fs *fs, struct inode *inode, const struct extent_run *run)
{
    struct owner owner = {fs, inode};
    uint64_t n;

    for (n = 0; n < run->count; n++) {
        blk64_t none = 0;
        errcode_t err = ext2fs_bmap2(fs->ext2, inode->ino, EXT2_INODE(&inode->raw), NULL, BMAP_SET,
                                     run->logical + n, NULL, &none);

        if (err)
            return err;
    }
    return free_run(&owner, run->physical, run->count);
}

/* ext2fs_punch can only cut off a block-mapped file's end: 1.47 frees wrong
 * blocks where a hole begins or ends under a double indirect block. Holes are
 * made here, and may leave empty indirect blocks, as is allowed. */
static errcode_t punch_blocks(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t end)
{
    struct extent_run run;
    errcode_t err = 0;

    if (end * fs->ext2->blocksize >= inode_size(inode))
        return ext2fs_punch(fs->ext2, inode->ino, EXT2_INODE(&inode->raw), NULL, logical, ~0ULL);
    for (; logical < end && !err; logical += run.count) {
        err = map_blocks(fs, inode, logical, end - logical, &run);
        if (!err && !run.hole)
            err = clear_blocks(fs, inode, &run);
    }
    return err;
}

int alloc_punch(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t count)
{
    const uint64_t limit = (uint64_t)1 << 32; /* of a file, in blocks */
    uint64_t end = count > limit - MIN(logical, limit) ? limit : logical + count;
    int error = refuse_inline(inode);
    errcode_t err;

    if (error || logical >= end)
        return error;
    unordered_drop(fs, inode, logical * fs->ext2->blocksize, end * fs->ext2->blocksize);
    err = has_extents(inode) ? punch_extents(fs, inode, logical, end)
                             : punch_blocks(fs, inode, logical, end);
    error = inode_write(fs, inode);
    return err ? fs_errno(err) : error;
}
