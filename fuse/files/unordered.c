// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * data=ordered: metadata never speaks of data that a crash could lose. Data that
 * is held (held.c) or staged in the volume is the file's for every reader at once; on the disk its
 * extents stay unwritten, and the size as it was, until it has left. Then a
 * commit's barrier covers it. So a commit orders no more than what is in flight,
 * and an fsync does not wait for a copy.
 *
 * inode->unordered has the byte ranges that are staged and have not been seen to
 * leave; sorted, apart from each other. inode->size is the file's size, that in
 * inode->raw the disk's. Ranges leave the list
 *   - by unordered_settle, before a transaction is frozen: those that have left;
 *   - by unordered_order, for an fsync and whatever else wants a file's data in
 *     the next commit: it makes them leave, which needs no answer from the network;
 *   - by unordered_drop, where the file was cut.
 * On the disk the size grows with what has left: up to the first byte that has not.
 *
 * fs->lock protects all of it.
 */
#include "fs.h"

#include <errno.h>

#include "broken.h"
#include "data.h"
#include "held.h"

struct byte_range {
    uint64_t from, to;
};

static struct byte_range *range_at(const struct inode *inode, guint i)
{
    return &g_array_index(inode->unordered, struct byte_range, i);
}

static guint range_count(const struct inode *inode)
{
    return inode->unordered ? inode->unordered->len : 0;
}

/* The first range that ends behind `at`. */
static guint find_range(const struct inode *inode, uint64_t at)
{
    guint low = 0, high = range_count(inode);

    while (low < high) {
        guint middle = low + (high - low) / 2;

        if (range_at(inode, middle)->to > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void list_inode(struct fs *fs, struct inode *inode)
{
    if (inode->unordered)
        return;
    inode->unordered = g_array_new(FALSE, FALSE, sizeof(struct byte_range));
    inode->unordered_link = (GList){.data = inode};
    g_queue_push_tail_link(&fs->unordered, &inode->unordered_link);
}

static void unlist_inode(struct fs *fs, struct inode *inode)
{
    if (!inode->unordered)
        return;
    g_queue_unlink(&fs->unordered, &inode->unordered_link);
    g_array_free(inode->unordered, TRUE);
    inode->unordered = NULL;
    window_drop(fs, inode); /* nobody writes it any more, it seems */
}

/* Nothing of it is left: what the kernel has forgotten goes now. */
static void check_empty(struct fs *fs, struct inode *inode)
{
    if (range_count(inode) > 0)
        return;
    unlist_inode(fs, inode);
    if (inode->lookups == 0)
        inode_put(fs, inode, 0);
}

void unordered_add(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to)
{
    struct byte_range range = {from, to};
    guint first, end;

    list_inode(fs, inode);
    inode->unordered_stamp = encsan_stamp_staged(fs->volume);
    first = find_range(inode, from ? from - 1 : 0); /* one that touches is joined, too */
    for (end = first; end < range_count(inode) && range_at(inode, end)->from <= to; end++) {
        range.from = MIN(range.from, range_at(inode, end)->from);
        range.to = MAX(range.to, range_at(inode, end)->to);
    }
    if (end > first)
        g_array_remove_range(inode->unordered, first, end - first);
    g_array_insert_val(inode->unordered, first, range);
}

static void cut_out(struct inode *inode, uint64_t from, uint64_t to)
{
    guint i = find_range(inode, from);

    while (i < range_count(inode) && range_at(inode, i)->from < to) {
        struct byte_range *range = range_at(inode, i), rest = {to, range->to};

        if (range->from < from && range->to > to) {
            range->to = from;
            g_array_insert_val(inode->unordered, i + 1, rest);
            return;
        }
        if (range->from < from) {
            range->to = from;
            i++;
        } else if (range->to > to) {
            range->from = to;
        } else {
            g_array_remove_index(inode->unordered, i);
        }
    }
}

void unordered_drop(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to)
{
    if (!inode->unordered)
        return;
    cut_out(inode, from, to);
    if (range_count(inode) == 0)
        unlist_inode(fs, inode);
}

void unordered_map(const struct inode *inode, struct extent_run *run)
{
    uint64_t start = run->logical * BLOCK, end = (run->logical + run->count) * BLOCK;
    guint i = find_range(inode, start);
    const struct byte_range *range = i < range_count(inode) ? range_at(inode, i) : NULL;

    if (!run->unwritten || !range || range->from >= end)
        return;
    if (range->from / BLOCK * BLOCK > start) {
        run->count = range->from / BLOCK - run->logical;
        return;
    }
    run->unwritten = false;
    run->count = MIN(run->count, round_up(range->to) / BLOCK - run->logical);
}

uint64_t unordered_disk_size(const struct inode *inode)
{
    uint64_t size = EXT2_I_SIZE(&inode->raw);
    guint i = find_range(inode, size);

    if (inode->size <= size || i == range_count(inode))
        return inode->size;
    return MAX(size, MIN(inode->size, range_at(inode, i)->from));
}

/* What has left becomes the disk's. */
static int settle_range(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to)
{
    uint64_t first = from / BLOCK, end = round_up(to) / BLOCK;
    int error = alloc_written(fs, inode, first, end - first);

    if (error)
        return error;
    cut_out(inode, from, to);
    to = MIN(to, inode->size);
    if (to > EXT2_I_SIZE(&inode->raw))
        inode_set_disk_size(inode, to);
    return 0;
}

/* How far the bytes from `from` on have left; at most `to`. */
static int find_left(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to, uint64_t *left)
{
    struct extent_run run;
    uint64_t at;

    to = held_begin(inode, from, to); /* what is not staged has not left */
    for (at = from / BLOCK; at * BLOCK < to; at += run.count) {
        int error = alloc_map(fs, inode, at, round_up(to) / BLOCK - at, &run);
        uint64_t count;

        if (error)
            return error;
        count = encsan_count_left(fs->volume, run.count * BLOCK, run.physical * BLOCK) / BLOCK;
        if (count < run.count) {
            *left = MIN(to, MAX(from, (at + count) * BLOCK));
            return 0;
        }
    }
    *left = to;
    return 0;
}

/* In order, so that no written block lies behind the disk's size. */
static int settle_some(struct fs *fs, struct inode *inode)
{
    guint i = 0;
    int error = 0;

    while (i < range_count(inode) && !error) {
        struct byte_range range = *range_at(inode, i);
        uint64_t left;

        error = find_left(fs, inode, range.from, range.to, &left);
        if (error)
            break;
        if (left > range.from)
            error = settle_range(fs, inode, range.from, left);
        if (left == range.to)
            continue; /* it is not there any more */
        if (range.to > EXT2_I_SIZE(&inode->raw))
            break;
        i++;
    }
    return error;
}

static int settle_all(struct fs *fs, struct inode *inode)
{
    int error = 0;

    while (range_count(inode) > 0 && !error)
        error = settle_range(fs, inode, range_at(inode, 0)->from, range_at(inode, 0)->to);
    return error;
}

static int settle_inode(struct fs *fs, struct inode *inode, bool all)
{
    int error = all ? settle_all(fs, inode) : settle_some(fs, inode);

    if (!error)
        error = inode_write(fs, inode);
    if (!error)
        check_empty(fs, inode);
    return error;
}

int unordered_settle(struct fs *fs)
{
    uint64_t left = encsan_stamp_left(fs->volume);
    GList *link = fs->unordered.head;
    int error = 0;

    while (link && !error) {
        struct inode *inode = link->data;

        link = link->next; /* the inode may go */
        error = settle_inode(fs, inode, inode->unordered_stamp <= left || (broken("ordered") && !inode->held));
    }
    return error;
}

/* Where a range lies on the disk: struct extent_run. */
static int find_runs(struct fs *fs, struct inode *inode, const GArray *ranges, GArray *runs)
{
    for (guint i = 0; i < ranges->len; i++) {
        const struct byte_range *range = &g_array_index(ranges, struct byte_range, i);
        struct extent_run run;

        for (uint64_t at = range->from / BLOCK; at * BLOCK < range->to; at += run.count) {
            int error = alloc_map(fs, inode, at, round_up(range->to) / BLOCK - at, &run);

            if (error)
                return error;
            g_array_append_val(runs, run);
        }
    }
    return 0;
}

static int leave(struct fs *fs, const GArray *runs)
{
    int error = 0;

    for (guint i = 0; i < runs->len && !error; i++) {
        const struct extent_run *run = &g_array_index(runs, struct extent_run, i);

        error = encsan_leave(fs->volume, run->count * BLOCK, run->physical * BLOCK);
    }
    return error;
}

/* These have left. Those of them that are still the file's become the disk's. */
static int settle_ranges(struct fs *fs, struct inode *inode, const GArray *ranges)
{
    int error = 0;

    for (guint i = 0; i < ranges->len && !error; i++) {
        const struct byte_range *range = &g_array_index(ranges, struct byte_range, i);
        uint64_t at = range->from;

        while (!error && at < range->to) {
            guint n = find_range(inode, at);
            struct byte_range now;

            if (n >= range_count(inode) || range_at(inode, n)->from >= range->to)
                break;
            now = *range_at(inode, n);
            at = MIN(now.to, range->to);
            error = settle_range(fs, inode, MAX(now.from, range->from), at);
        }
    }
    if (!error)
        error = inode_write(fs, inode);
    if (!error)
        check_empty(fs, inode);
    return error;
}

/* fs->lock held; data_lock too, so that blocks stay where they are. */
static int order_locked(struct fs *fs, struct inode *inode)
{
    GArray *ranges = g_array_copy(inode->unordered);
    GArray *runs = g_array_new(FALSE, FALSE, sizeof(struct extent_run));
    int error = find_runs(fs, inode, ranges, runs);

    if (!error) {
        pthread_mutex_unlock(&fs->lock);
        error = leave(fs, runs);
        pthread_mutex_lock(&fs->lock);
    }
    if (!error)
        error = settle_ranges(fs, inode, ranges);
    g_array_free(ranges, TRUE);
    g_array_free(runs, TRUE);
    return error;
}

int unordered_order(struct fs *fs, struct inode *inode)
{
    int error = held_lock_shared(fs, inode);

    if (error)
        return error;
    pthread_mutex_lock(&fs->lock);
    if (range_count(inode) > 0)
        error = order_locked(fs, inode);
    pthread_mutex_unlock(&fs->lock);
    data_unlock_shared(&inode->data_lock);
    return error;
}
