// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Changes to file data: writes, truncations, fallocations; and where data lies
 * (SEEK_DATA, SEEK_HOLE). Reads are in data_read.c.
 *
 * Each of these holds inode->data_lock and may wait for the network. A write
 * goes in this order, so that what the metadata calls data is data at any time:
 *   1. blocks are taken, as unwritten extents       (fs->lock)
 *   2. partial blocks are read and filled up        (no lock but data_lock)
 *   3. the data is staged in the volume
 *   4. extents become written, the size grows       (fs->lock)
 *
 * In the last block of a file, the bytes behind its end are zero: truncation
 * clears them, and writes keep them so. Thus a file can grow without a look at
 * its old end.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <linux/falloc.h>

#include "fs.h"

#define BLOCK ENCSAN_BLOCK_BYTES

/* ---- several requests to the volume, and one wait for all ---- */

struct batch {
    pthread_mutex_t mutex; /* protects the rest */
    pthread_cond_t ended;
    unsigned running;
    int error;
};

#define BATCH_INIT {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0}

static struct batch *batch_add(struct batch *batch)
{
    pthread_mutex_lock(&batch->mutex);
    batch->running++;
    pthread_mutex_unlock(&batch->mutex);
    return batch;
}

static void batch_done(void *opaque, int error)
{
    struct batch *batch = opaque;

    pthread_mutex_lock(&batch->mutex);
    if (error)
        batch->error = -EIO;
    if (--batch->running == 0)
        pthread_cond_signal(&batch->ended);
    pthread_mutex_unlock(&batch->mutex);
}

static int batch_wait(struct batch *batch)
{
    int error;

    pthread_mutex_lock(&batch->mutex);
    while (batch->running)
        pthread_cond_wait(&batch->ended, &batch->mutex);
    error = batch->error;
    pthread_mutex_unlock(&batch->mutex);
    return error;
}

/* ---- sizes ---- */

static uint64_t round_up(uint64_t offset)
{
    return (offset + BLOCK - 1) / BLOCK * BLOCK;
}

static uint64_t locked_size(struct fs *fs, struct inode *inode)
{
    uint64_t size;

    pthread_mutex_lock(&fs->lock);
    size = inode_size(inode);
    pthread_mutex_unlock(&fs->lock);
    return size;
}

/* ext4's limit: 2^32 - 1 blocks by extents, three levels of indirection without. */
static int check_size(const struct inode *inode, uint64_t offset, uint64_t length)
{
    const uint64_t fan_out = BLOCK / sizeof(uint32_t);
    uint64_t limit = UINT32_MAX;

    if (!(inode->raw.i_flags & EXT4_EXTENTS_FL))
        limit = EXT2_NDIR_BLOCKS + fan_out + fan_out * fan_out + fan_out * fan_out * fan_out;
    limit *= BLOCK;
    return offset > limit || length > limit - offset ? -EFBIG : 0;
}

/* The end of a change, under fs->lock. */
static int finish(struct fs *fs, struct inode *inode, uint64_t size, bool mtime)
{
    inode_set_size(inode, size);
    inode_touch(inode, mtime);
    return inode_write(fs, inode);
}

/* ---- write ---- */

struct write_run {
    struct extent_run run;
    bool reads_zero; /* what the disk holds there is not the file's */
};

/* A block of which the write fills only [from, to). */
struct edge {
    uint64_t logical;
    size_t from, to;
    uint8_t block[BLOCK];
};

struct write_request {
    struct fs *fs;
    struct inode *inode;
    const uint8_t *buf;
    uint64_t offset, end; /* in the file */
    GArray *runs;         /* of struct write_run, without a gap */
    struct edge edges[2];
    unsigned edge_count;
};

/* Maps the blocks of [offset, end), giving blocks to holes. Where the disk
 * becomes full after a part of it, `end` moves there. Under fs->lock. */
static int map_write(struct write_request *w)
{
    uint64_t block = w->offset / BLOCK, end = round_up(w->end) / BLOCK;
    struct write_run item;
    int error = 0;

    while (block < end) {
        error = alloc_map(w->fs, w->inode, block, end - block, &item.run);
        item.reads_zero = !error && (item.run.hole || item.run.unwritten);
        if (!error && item.run.hole)
            error = alloc_range(w->fs, w->inode, block, item.run.count, &item.run);
        if (error)
            break;
        g_array_append_val(w->runs, item);
        block += item.run.count;
    }
    if (error != -ENOSPC || w->runs->len == 0)
        return error;
    w->end = MIN(w->end, block * BLOCK);
    return 0;
}

static const struct write_run *run_of(const struct write_request *w, uint64_t logical)
{
    const struct write_run *item = &g_array_index(w->runs, struct write_run, 0);

    while (logical >= item->run.logical + item->run.count)
        item++;
    return item;
}

static uint64_t disk_offset(const struct extent_run *run, uint64_t offset)
{
    return run->physical * BLOCK + (offset - run->logical * BLOCK);
}

static void add_edge(struct write_request *w, uint64_t logical)
{
    struct edge *edge = &w->edges[w->edge_count++];
    uint64_t start = logical * BLOCK;

    edge->logical = logical;
    edge->from = w->offset > start ? w->offset - start : 0;
    edge->to = MIN(w->end - start, BLOCK);
}

static void find_edges(struct write_request *w)
{
    uint64_t first = w->offset / BLOCK, last = (w->end - 1) / BLOCK;

    if (w->offset % BLOCK || (first == last && w->end % BLOCK))
        add_edge(w, first);
    if (first != last && w->end % BLOCK)
        add_edge(w, last);
}

/* Fills the edges: what the file has there, zeros behind its end, the new data. */
static int fill_edges(struct write_request *w, uint64_t size)
{
    struct batch batch = BATCH_INIT;
    unsigned i;
    int error;

    for (i = 0; i < w->edge_count; i++) {
        struct edge *edge = &w->edges[i];
        const struct write_run *item = run_of(w, edge->logical);

        if (item->reads_zero || edge->logical * BLOCK >= size)
            memset(edge->block, 0, BLOCK);
        else
            encsan_read_async(w->fs->volume, edge->block, BLOCK,
                              disk_offset(&item->run, edge->logical * BLOCK), batch_done,
                              batch_add(&batch));
    }
    error = batch_wait(&batch);
    if (error)
        return error;
    for (i = 0; i < w->edge_count; i++) {
        struct edge *edge = &w->edges[i];
        uint64_t start = edge->logical * BLOCK;

        if (size > start && size - start < BLOCK)
            memset(edge->block + (size - start), 0, BLOCK - (size - start));
        memcpy(edge->block + edge->from, w->buf + (start + edge->from - w->offset),
               edge->to - edge->from);
    }
    return 0;
}

/* Everything to the volume. */
static int stage(struct write_request *w)
{
    struct batch batch = BATCH_INIT;
    struct encsan *volume = w->fs->volume;
    uint64_t whole = round_up(w->offset), whole_end = w->end / BLOCK * BLOCK;
    unsigned i;

    for (i = 0; i < w->edge_count; i++) {
        const struct edge *edge = &w->edges[i];
        const struct extent_run *run = &run_of(w, edge->logical)->run;

        encsan_write_async(volume, edge->block, BLOCK, disk_offset(run, edge->logical * BLOCK), 0,
                           batch_done, batch_add(&batch));
    }
    for (i = 0; i < w->runs->len; i++) {
        const struct extent_run *run = &g_array_index(w->runs, struct write_run, i).run;
        uint64_t at = MAX(run->logical * BLOCK, whole);
        uint64_t end = MIN((run->logical + run->count) * BLOCK, whole_end);

        if (at < end)
            encsan_write_async(volume, w->buf + (at - w->offset), end - at, disk_offset(run, at), 0,
                               batch_done, batch_add(&batch));
    }
    return batch_wait(&batch);
}

/* The data is staged: it becomes the file's, or, where the disk has no block
 * left for the tree of extents, as much of it as can be. Under fs->lock. */
static int commit_write(struct write_request *w, uint64_t size)
{
    int error = 0;
    guint i;

    for (i = 0; i < w->runs->len && !error; i++) {
        const struct extent_run *run = &g_array_index(w->runs, struct write_run, i).run;

        if (run->unwritten)
            error = alloc_written(w->fs, w->inode, run->logical, run->count);
        if (error && i > 0)
            w->end = run->logical * BLOCK;
    }
    if (error && (error != -ENOSPC || i == 1))
        return error;
    return finish(w->fs, w->inode, MAX(size, w->end), true);
}

/* Blocks of a file without extents that were taken but hold no data. */
static void undo_write(struct write_request *w)
{
    guint i;

    for (i = 0; i < w->runs->len; i++) {
        const struct write_run *item = &g_array_index(w->runs, struct write_run, i);

        if (item->reads_zero && !item->run.unwritten)
            alloc_punch(w->fs, w->inode, item->run.logical, item->run.count);
    }
}

static int write_locked(struct write_request *w)
{
    struct fs *fs = w->fs;
    uint64_t size;
    int error;

    pthread_mutex_lock(&fs->lock);
    size = inode_size(w->inode);
    error = map_write(w);
    if (error)
        undo_write(w);
    pthread_mutex_unlock(&fs->lock);
    if (error)
        return error;

    find_edges(w);
    error = fill_edges(w, size);
    if (!error)
        error = stage(w);

    pthread_mutex_lock(&fs->lock);
    if (error)
        undo_write(w);
    else
        error = commit_write(w, size);
    pthread_mutex_unlock(&fs->lock);
    return error;
}

ssize_t data_write(struct fs *fs, struct inode *inode, const void *buf, size_t count,
                   uint64_t offset)
{
    struct write_request w = {.fs = fs, .inode = inode, .buf = buf, .offset = offset,
                              .end = offset + count};
    int error = check_size(inode, offset, count);

    if (error || count == 0)
        return error;
    w.runs = g_array_new(FALSE, FALSE, sizeof(struct write_run));
    data_lock_exclusive(&inode->data_lock);
    error = write_locked(&w);
    data_unlock_exclusive(&inode->data_lock);
    g_array_free(w.runs, TRUE);
    return error ? error : (ssize_t)(w.end - offset);
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
    return error ? -EIO : 0;
}

typedef void clear_fn(struct encsan *volume, uint64_t count, uint64_t offset, encsan_done *done,
                      void *opaque);

/* Calls clear for the written blocks of [block, end), and waits. */
static int clear_blocks(struct fs *fs, struct inode *inode, uint64_t block, uint64_t end,
                        clear_fn *clear)
{
    struct batch batch = BATCH_INIT;
    struct extent_run run;
    int error = 0, failed;

    for (; block < end && !error; block += run.count) {
        pthread_mutex_lock(&fs->lock);
        error = alloc_map(fs, inode, block, end - block, &run);
        pthread_mutex_unlock(&fs->lock);
        if (!error && !run.hole && !run.unwritten)
            clear(fs->volume, run.count * BLOCK, run.physical * BLOCK, batch_done,
                  batch_add(&batch));
    }
    failed = batch_wait(&batch);
    return error ? error : failed;
}

/* [from, to) reads as zeros afterwards. */
static int zero_bytes(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to,
                      clear_fn *clear)
{
    uint64_t first = round_up(from), last = to / BLOCK * BLOCK;
    int error;

    if (first > last)
        return zero_in_block(fs, inode, from, to);
    error = zero_in_block(fs, inode, from, first);
    if (!error)
        error = zero_in_block(fs, inode, last, to);
    return error ? error : clear_blocks(fs, inode, first / BLOCK, last / BLOCK, clear);
}

/* ---- truncate ---- */

static int truncate_locked(struct fs *fs, struct inode *inode, uint64_t size)
{
    uint64_t old = locked_size(fs, inode);
    int error = 0;

    if (size < old)
        error = zero_in_block(fs, inode, size, MIN(old, round_up(size)));
    if (error)
        return error;
    pthread_mutex_lock(&fs->lock);
    if (size <= old)
        error = alloc_punch(fs, inode, round_up(size) / BLOCK, UINT64_MAX);
    if (!error)
        error = finish(fs, inode, size, true);
    pthread_mutex_unlock(&fs->lock);
    return error;
}

int data_truncate(struct fs *fs, struct inode *inode, uint64_t size)
{
    int error = check_size(inode, size, 0);

    if (error)
        return error;
    data_lock_exclusive(&inode->data_lock);
    error = truncate_locked(fs, inode, size);
    data_unlock_exclusive(&inode->data_lock);
    return error;
}

/* ---- fallocate ---- */

/* Unwritten blocks for the holes of [block, end). */
static int fill_holes(struct fs *fs, struct inode *inode, uint64_t block, uint64_t end)
{
    struct extent_run run;
    int error = 0;

    for (; block < end && !error; block += run.count) {
        pthread_mutex_lock(&fs->lock);
        error = alloc_map(fs, inode, block, end - block, &run);
        if (!error && run.hole)
            error = alloc_range(fs, inode, block, run.count, &run);
        pthread_mutex_unlock(&fs->lock);
    }
    return error;
}

/* The volume forgets the blocks before they are free: afterwards they may be another file's. */
static int punch_hole(struct fs *fs, struct inode *inode, uint64_t offset, uint64_t end)
{
    uint64_t size = locked_size(fs, inode), first = round_up(offset) / BLOCK, last;
    int error;

    if (end >= size)
        end = round_up(end); /* behind the file's end is nothing to keep */
    last = end / BLOCK;
    error = zero_bytes(fs, inode, offset, end, encsan_discard_async);
    if (error)
        return error;
    pthread_mutex_lock(&fs->lock);
    if (first < last)
        error = alloc_punch(fs, inode, first, last - first);
    if (!error)
        error = finish(fs, inode, size, true);
    pthread_mutex_unlock(&fs->lock);
    return error;
}

static int allocate(struct fs *fs, struct inode *inode, int mode, uint64_t offset, uint64_t end)
{
    uint64_t size = locked_size(fs, inode), grown = size;
    int error = 0;

    if (!(inode->raw.i_flags & EXT4_EXTENTS_FL))
        return -EOPNOTSUPP; /* its blocks can't be unwritten */
    if (!(mode & FALLOC_FL_KEEP_SIZE))
        grown = MAX(size, end);
    if (mode & FALLOC_FL_ZERO_RANGE)
        error = zero_bytes(fs, inode, offset, end, encsan_zero_async);
    if (!error)
        error = fill_holes(fs, inode, offset / BLOCK, round_up(end) / BLOCK);
    if (error)
        return error;
    pthread_mutex_lock(&fs->lock);
    error = finish(fs, inode, grown, grown != size || mode & FALLOC_FL_ZERO_RANGE);
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
    data_lock_shared(&inode->data_lock);
    size = locked_size(fs, inode);
    error = offset >= size ? -ENXIO
                           : seek_locked(fs, inode, offset, size, whence == SEEK_DATA, found);
    data_unlock_shared(&inode->data_lock);
    return error;
}
