// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Changes to file data but for writes: truncations and fallocations; and where
 * data lies (SEEK_DATA, SEEK_HOLE). Writes are in data_write.c, reads in
 * data_read.c. Each function holds inode->data_lock, and may wait for the network.
 *
 * In the last block of a file, the bytes behind its end are zero: truncation
 * clears them, and writes keep them so. Thus a file can grow without a look at
 * its old end.
 */
#include "data.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <linux/falloc.h>

#include "held.h"
#include "journal.h"
#include "punch.h"

static uint64_t locked_size(struct fs *fs, struct inode *inode)
{
    uint64_t size;

    pthread_mutex_lock(&fs->lock);
    size = inode_size(inode);
    pthread_mutex_unlock(&fs->lock);
    return size;
}

uint64_t data_size_limit(const struct inode *inode)
{
    const uint64_t fan_out = BLOCK / sizeof(uint32_t);
    uint64_t blocks = UINT32_MAX;

    if (!(inode->raw.i_flags & EXT4_EXTENTS_FL))
        blocks = EXT2_NDIR_BLOCKS + fan_out + fan_out * fan_out + fan_out * fan_out * fan_out;
    return blocks * BLOCK;
}

/* -EFBIG if the file can't reach to offset + length. */
static int check_size(const struct inode *inode, uint64_t offset, uint64_t length)
{
    uint64_t limit = data_size_limit(inode);

    return offset > limit || length > limit - offset ? -EFBIG : 0;
}

/* The end of a change, under fs->lock. */
int data_finish(struct fs *fs, struct inode *inode, uint64_t size, bool mtime)
{
    inode_set_size(inode, size);
    inode_touch(inode, mtime);
    return inode_write(fs, inode);
}

/* Before each part of a change that may be long. fs->lock held; let go of meanwhile. */
static int admit(struct fs *fs)
{
    journal_admit(fs->journal);
    return fs->error;
}

/* ---- zeros ---- */

/* [from, to), within one block. */
static int zero_in_block(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to)
{
    uint8_t block[BLOCK];
    struct extent_run run;
    int error;

    if (from >= to)
        return 0;
    pthread_mutex_lock(&fs->lock);
    error = alloc_map(fs, inode, from / BLOCK, 1, &run);
    pthread_mutex_unlock(&fs->lock);
    if (error || run.hole || run.unwritten)
        return error;
    error = encsan_read(fs->volume, block, BLOCK, run.physical * BLOCK);
    if (!error) {
        memset(block + from % BLOCK, 0, to - from);
        error = encsan_write(fs->volume, block, BLOCK, run.physical * BLOCK, 0);
    }
    if (!error) /* before a size that relies on it */
        error = encsan_leave(fs->volume, BLOCK, run.physical * BLOCK);
    return error ? -EIO : 0;
}

/* The parts of blocks at the ends of [from, to). */
static int zero_edges(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to)
{
    uint64_t first = round_up(from), last = to / BLOCK * BLOCK;
    int error;

    if (first > last)
        return zero_in_block(fs, inode, from, to);
    error = zero_in_block(fs, inode, from, first);
    return error ? error : zero_in_block(fs, inode, last, to);
}

/* The blocks of [block, end), without a byte for the disk. */
static int zero_blocks(struct fs *fs, struct inode *inode, uint64_t block, uint64_t end)
{
    int error = 0;

    if (block >= end)
        return 0;
    pthread_mutex_lock(&fs->lock);
    unordered_drop(fs, inode, block * BLOCK, end * BLOCK);
    while (block < end && !error) {
        fs_let_others(fs);
        error = admit(fs);
        if (!error)
            error = alloc_unwritten(fs, inode, &block, end);
    }
    pthread_mutex_unlock(&fs->lock);
    return error;
}

/* ---- truncate ---- */

/* The file ends earlier, and what is behind the new end is free. Where that takes several transactions,
 * its size falls in each of them: a crash leaves a file that has been cut in part, and nothing to be
 * repaired. (On the orphan list it would be cut further by e2fsck, but 1.47.0 does not understand
 * an extent tree of two levels there.) fs->lock held; let go of meanwhile. */
static int cut(struct fs *fs, struct inode *inode, uint64_t size)
{
    uint64_t old = inode_size(inode), first = round_up(size) / BLOCK, end = UINT64_MAX;
    int error;

    for (;;) {
        error = punch_step(fs, inode, first, &end);
        if (error)
            return error;
        if (held_is_behind(inode, end * BLOCK))
            held_drop(fs, inode);
        error = data_finish(fs, inode, end == first ? size : MIN(old, end * BLOCK), true);
        if (error || end == first)
            return error;
        fs_let_others(fs);
    }
}

static int truncate_locked(struct fs *fs, struct inode *inode, uint64_t size)
{
    uint64_t old = locked_size(fs, inode);
    int error = 0;

    if (size < old)
        error = zero_in_block(fs, inode, size, MIN(old, round_up(size)));
    if (error)
        return error;
    pthread_mutex_lock(&fs->lock);
    error = size > old ? data_finish(fs, inode, size, true) : cut(fs, inode, size);
    pthread_mutex_unlock(&fs->lock);
    return error;
}

int data_truncate(struct fs *fs, struct inode *inode, uint64_t size)
{
    int error = check_size(inode, size, 0);

    if (error)
        return error;
    data_lock_exclusive(&inode->data_lock);
    error = held_is_behind(inode, size) ? 0 : held_place(fs, inode);
    if (!error)
        error = truncate_locked(fs, inode, size);
    data_unlock_exclusive(&inode->data_lock);
    return error;
}

/* ---- fallocate ---- */

/* Before anything changes: the kernel, which caches sizes, does not hear of what a failed call did. */
static int check_space(struct fs *fs, struct inode *inode, uint64_t block, uint64_t end)
{
    struct extent_run run;
    uint64_t wanted = 0;
    int error = 0;

    for (; block < end && !error; block += run.count) {
        pthread_mutex_lock(&fs->lock);
        error = alloc_map(fs, inode, block, end - block, &run);
        if (!error && run.hole)
            wanted += run.count;
        if (!error && !alloc_can_promise(fs, wanted))
            error = -ENOSPC;
        pthread_mutex_unlock(&fs->lock);
    }
    return error;
}

/* Unwritten blocks for the holes of [block, end). */
static int fill_holes(struct fs *fs, struct inode *inode, uint64_t block, uint64_t end)
{
    struct extent_run run;
    int error = 0;

    pthread_mutex_lock(&fs->lock);
    for (; block < end && !error; block += run.count) {
        error = alloc_map(fs, inode, block, end - block, &run);
        if (error)
            break;
        if (!run.hole)
            continue;
        fs_let_others(fs);
        error = admit(fs);
        if (!error)
            error = alloc_range(fs, inode, block, run.count, 0, &run);
    }
    pthread_mutex_unlock(&fs->lock);
    return error;
}

static int punch_hole(struct fs *fs, struct inode *inode, uint64_t offset, uint64_t end)
{
    uint64_t size = locked_size(fs, inode), first = round_up(offset) / BLOCK, last;
    int error;

    if (end > size)
        end = round_up(size); /* what was allocated behind the end stays, as on ext4 */
    last = end / BLOCK;
    error = zero_edges(fs, inode, offset, end);
    if (error)
        return error;
    pthread_mutex_lock(&fs->lock);
    if (first < last)
        error = punch_steps(fs, inode, first, last);
    if (!error)
        error = data_finish(fs, inode, size, true);
    pthread_mutex_unlock(&fs->lock);
    return error;
}

static int allocate(struct fs *fs, struct inode *inode, int mode, uint64_t offset, uint64_t end)
{
    uint64_t size = locked_size(fs, inode), block = offset / BLOCK, last = round_up(end) / BLOCK;
    int error;

    if (!(inode->raw.i_flags & EXT4_EXTENTS_FL))
        return -EOPNOTSUPP; /* its blocks can't be unwritten */
    if (!(mode & FALLOC_FL_KEEP_SIZE))
        size = MAX(size, end);
    error = check_space(fs, inode, block, last);
    if (!error && mode & FALLOC_FL_ZERO_RANGE)
        error = zero_edges(fs, inode, offset, end);
    if (!error && mode & FALLOC_FL_ZERO_RANGE)
        error = zero_blocks(fs, inode, round_up(offset) / BLOCK, end / BLOCK);
    if (!error)
        error = fill_holes(fs, inode, block, last);
    if (error)
        return error;
    pthread_mutex_lock(&fs->lock);
    error = data_finish(fs, inode, size, true);
    pthread_mutex_unlock(&fs->lock);
    return error;
}

int data_fallocate(struct fs *fs, struct inode *inode, int mode, uint64_t offset, uint64_t length)
{
    const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    int error;

    if (mode != punch && mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE))
        return -EOPNOTSUPP;
    if (length == 0)
        return -EINVAL;
    error = check_size(inode, offset, length);
    if (error)
        return error;
    data_lock_exclusive(&inode->data_lock);
    error = held_place(fs, inode);
    if (!error)
        error = mode == punch ? punch_hole(fs, inode, offset, offset + length)
                              : allocate(fs, inode, mode, offset, offset + length);
    data_unlock_exclusive(&inode->data_lock);
    return error;
}

/* ---- seek ---- */

/* From `offset` on, before `size`; a file's end is a hole. */
static int seek_locked(struct fs *fs, struct inode *inode, uint64_t offset, uint64_t size,
                       bool want_data, uint64_t *found)
{
    uint64_t block = offset / BLOCK, end = round_up(size) / BLOCK;
    struct extent_run run;
    int error;

    for (; block < end; block += run.count) {
        pthread_mutex_lock(&fs->lock);
        error = alloc_map(fs, inode, block, end - block, &run);
        pthread_mutex_unlock(&fs->lock);
        if (error)
            return error;
        if (want_data == !(run.hole || run.unwritten)) {
            *found = MAX(offset, run.logical * BLOCK);
            return 0;
        }
    }
    *found = size;
    return want_data ? -ENXIO : 0;
}

int data_seek(struct fs *fs, struct inode *inode, uint64_t offset, int whence, uint64_t *found)
{
    uint64_t size;
    int error;

    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return -EINVAL;
    error = held_lock_shared(fs, inode);
    if (error)
        return error;
    size = locked_size(fs, inode);
    error =
        offset >= size ? -ENXIO : seek_locked(fs, inode, offset, size, whence == SEEK_DATA, found);
    data_unlock_shared(&inode->data_lock);
    return error;
}
