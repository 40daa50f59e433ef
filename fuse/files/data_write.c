// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Writes of file data. A write holds inode->data_lock, and may wait for the
 * network. Pieces of less than a segment, where the file has no blocks, are held
 * (held.c). All else goes in this order, so that what the metadata calls data is
 * data at any time:
 *   1. blocks are taken, as unwritten extents       (fs->lock)
 *   2. partial blocks are read and filled up        (no lock but data_lock)
 *   3. the data is staged in the volume
 *   4. it is the file's, and the size grows; the disk's when it has left (fs->lock)
 */
#include "data.h"

#include <errno.h>
#include <string.h>

#include "batch.h"
#include "held.h"
#include "journal.h"
#include "punch.h"

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
    bool grows = w->end > inode_size(w->inode) && w->end >= SEGMENT_BYTES;
    struct write_run item;
    int error = 0;

    while (block < end) {
        error = alloc_map(w->fs, w->inode, block, end - block, &item.run);
        item.reads_zero = !error && (item.run.hole || item.run.unwritten);
        if (!error && item.run.hole)
            error = alloc_range(w->fs, w->inode, block, item.run.count, grows ? end : 0,
                                &item.run);
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

/* The data is staged: it is the file's. Under fs->lock. */
static int commit_write(struct write_request *w, uint64_t size)
{
    unordered_add(w->fs, w->inode, w->offset, w->end);
    return data_finish(w->fs, w->inode, MAX(size, w->end), true);
}

/* What can't be unwritten has left before a transaction may speak of it. */
static int leave(struct write_request *w)
{
    int error = 0;

    for (guint i = 0; i < w->runs->len && !error; i++) {
        const struct extent_run *run = &g_array_index(w->runs, struct write_run, i).run;

        error = encsan_leave(w->fs->volume, run->count * BLOCK, run->physical * BLOCK);
    }
    return error;
}

/* Blocks of a file without extents that were taken but hold no data. */
static void undo_write(struct write_request *w)
{
    guint i;

    for (i = 0; i < w->runs->len; i++) {
        const struct write_run *item = &g_array_index(w->runs, struct write_run, i);

        if (item->reads_zero && !item->run.unwritten)
            punch_at_once(w->fs, w->inode, item->run.logical,
                          item->run.logical + item->run.count);
    }
}

static int write_locked(struct write_request *w)
{
    struct fs *fs = w->fs;
    bool hold = !(w->inode->raw.i_flags & EXT4_EXTENTS_FL); /* its blocks can't be unwritten */
    uint64_t size;
    int error;

    pthread_mutex_lock(&fs->lock);
    if (hold)
        journal_hold(fs->journal);
    size = inode_size(w->inode);
    error = map_write(w);
    pthread_mutex_unlock(&fs->lock);
    if (!error) {
        find_edges(w);
        error = fill_edges(w, size);
    }
    if (!error)
        error = stage(w);
    if (!error && hold)
        error = leave(w);

    pthread_mutex_lock(&fs->lock);
    if (error)
        undo_write(w);
    else
        error = commit_write(w, size);
    if (hold)
        journal_release(fs->journal);
    pthread_mutex_unlock(&fs->lock);
    return error;
}

/* Past what can be held. */
static ssize_t write_through(struct fs *fs, struct inode *inode, const uint8_t *buf, size_t count,
                             uint64_t offset)
{
    struct write_request w = {
        .fs = fs, .inode = inode, .buf = buf, .offset = offset, .end = offset + count};
    int error = held_place(fs, inode);

    if (error)
        return error;
    w.runs = g_array_new(FALSE, FALSE, sizeof(struct write_run));
    error = write_locked(&w);
    g_array_free(w.runs, TRUE);
    return error ? error : (ssize_t)(w.end - offset);
}

/* A part of it, from its beginning on; data_lock held. */
static ssize_t write_some(struct fs *fs, struct inode *inode, const uint8_t *buf, size_t count,
                          uint64_t offset)
{
    ssize_t held = held_write(fs, inode, buf, count, offset);

    return held ? held : write_through(fs, inode, buf, count, offset);
}

ssize_t data_write(struct fs *fs, struct inode *inode, const void *buf, size_t count,
                   uint64_t offset)
{
    const uint64_t limit = data_size_limit(inode);
    ssize_t n = 0;
    size_t done = 0;

    if (offset >= limit)
        return -EFBIG;
    count = MIN(count, limit - offset);
    data_lock_exclusive(&inode->data_lock);
    for (; done < count; done += (size_t)n) {
        n = write_some(fs, inode, (const uint8_t *)buf + done, count - done, offset + done);
        if (n < 0)
            break;
    }
    data_unlock_exclusive(&inode->data_lock);
    return done > 0 ? (ssize_t)done : n;
}
