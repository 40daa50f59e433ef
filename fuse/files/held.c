// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Delayed allocation. What is written into a hole, less than a segment of it, is held
 * here, in memory, until
 *   - the file has a whole segment of it, or all files together have one: small files
 *     are then placed side by side, in the order in which they were written, and leave
 *     in one segment;
 *   - somebody wants it on the disk (fsync), or reads or changes the file in another way;
 *   - it has been here for HELD_US;
 *   - the file is cut or goes: then it never needed blocks.
 * Then it is placed: it gets blocks, is staged in the volume, and is ordinary data. Whole
 * segments are not held: they get their blocks at the write, and are sealed next.
 *
 * Blocks are promised to what is held: nobody else gets the last ones. So ENOSPC comes
 * at the write.
 *
 * Held bytes are unordered ones (unordered.c) which cannot have left, having no blocks.
 * inode->held and what it holds belong to who has data_lock exclusively; from and to
 * change, and the pointer comes and goes, under fs->lock, too.
 */
#include "held.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "data.h"
#include "journal.h"

#define HELD_US 250000
#define HELD_MOST_BLOCKS 256u /* of all files; what is more gets blocks at once */
#define SEGMENT_BLOCKS (SEGMENT_BYTES / BLOCK)

struct held {
    uint64_t from, to; /* in the file; from is a block's beginning */
    uint64_t promised; /* blocks, while it has none */
    uint8_t *data;
    size_t capacity;
    GList link; /* in fs->held, the oldest first */
    int64_t since_us;
};

struct held_thread {
    struct fs *fs;
    pthread_t thread;
    pthread_cond_t wake;
    bool stopping; /* fs->lock */
};

uint64_t held_blocks(const struct inode *inode)
{
    return inode->held ? inode->held->promised : 0;
}

uint64_t held_begin(const struct inode *inode, uint64_t from, uint64_t to)
{
    const struct held *h = inode->held;

    return h && h->from < to && h->to > from ? MAX(h->from, from) : to;
}

/* fs->lock held. */
static void promise(struct fs *fs, struct held *h, uint64_t blocks)
{
    fs->promised_blocks += blocks - h->promised;
    h->promised = blocks;
}

/* ---- coming; data_lock held exclusively ---- */

/* fs->lock held. */
static bool is_hole(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to, int *error)
{
    struct extent_run run;

    *error = alloc_map(fs, inode, from / BLOCK, (to - from) / BLOCK, &run);
    return !*error && run.hole && run.count == (to - from) / BLOCK;
}

/* Can [from, to) of the file be held, which begins or prolongs what is held? The
 * hole has to be there, and blocks to promise. fs->lock held. */
static bool may_hold(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to, int *error)
{
    uint64_t blocks;

    if (inode->held)
        from = round_up(inode->held->to);
    to = round_up(to);
    if (to <= from)
        return true;
    blocks = (to - from) / BLOCK;
    return fs->promised_blocks + blocks <= HELD_MOST_BLOCKS && alloc_can_promise(fs, blocks) &&
           is_hole(fs, inode, from, to, error);
}

static struct held *held_new(uint64_t from)
{
    struct held *h = g_new0(struct held, 1);

    h->from = h->to = from;
    h->since_us = g_get_monotonic_time();
    return h;
}

/* What lies behind `to` in the buffer is zero. */
static int reserve(struct held *h, uint64_t to)
{
    size_t need = round_up(to) - h->from, capacity = MIN(MAX(need, 2 * h->capacity), SEGMENT_BYTES);
    uint8_t *data;

    if (need <= h->capacity)
        return 0;
    data = realloc(h->data, capacity);
    if (!data)
        return -ENOMEM;
    memset(data + h->capacity, 0, capacity - h->capacity);
    h->data = data;
    h->capacity = capacity;
    return 0;
}

/* The bytes are in the buffer: they are the file's. fs->lock held. */
static int hold(struct fs *fs, struct inode *inode, struct held *h, uint64_t offset, uint64_t end)
{
    h->to = MAX(h->to, end);
    if (!inode->held) {
        inode->held = h;
        h->link.data = inode;
        g_queue_push_tail_link(&fs->held, &h->link);
    }
    promise(fs, h, (round_up(h->to) - h->from) / BLOCK);
    unordered_add(fs, inode, offset, end);
    inode->unordered_stamp = UINT64_MAX; /* it can't have left */
    if (fs->held_thread && (fs->held.length == 1 || fs->promised_blocks >= SEGMENT_BLOCKS))
        pthread_cond_signal(&fs->held_thread->wake);
    return data_finish(fs, inode, MAX(inode_size(inode), end), true);
}

/* The part of [offset, end) that one buffer can take; nothing if it is not beside what is held. */
static uint64_t part_end(const struct inode *inode, uint64_t offset, uint64_t end)
{
    const struct held *h = inode->held;

    if (!h)
        return end - offset / BLOCK * BLOCK < SEGMENT_BYTES ? end : offset;
    return offset >= h->from && offset <= h->to ? MAX(offset, MIN(end, h->from + SEGMENT_BYTES)) : offset;
}

static int hold_part(struct fs *fs, struct inode *inode, const uint8_t *buf, uint64_t offset,
                     uint64_t end)
{
    struct held *h = inode->held ? inode->held : held_new(offset / BLOCK * BLOCK);
    int error = reserve(h, end);

    if (error) {
        if (!inode->held)
            g_free(h);
        return error;
    }
    memcpy(h->data + (offset - h->from), buf, end - offset);
    pthread_mutex_lock(&fs->lock);
    error = hold(fs, inode, h, offset, end);
    pthread_mutex_unlock(&fs->lock);
    if (!error && h->to == h->from + SEGMENT_BYTES)
        error = held_place(fs, inode);
    return error;
}

ssize_t held_write(struct fs *fs, struct inode *inode, const uint8_t *buf, size_t count,
                   uint64_t offset)
{
    uint64_t end = part_end(inode, offset, offset + count);
    bool may;
    int error = 0;

    if (end == offset || !(inode->raw.i_flags & EXT4_EXTENTS_FL))
        return 0;
    pthread_mutex_lock(&fs->lock);
    may = may_hold(fs, inode, offset / BLOCK * BLOCK, end, &error);
    pthread_mutex_unlock(&fs->lock);
    if (may)
        error = hold_part(fs, inode, buf, offset, end);
    if (error)
        return error;
    return may ? (ssize_t)(end - offset) : 0;
}

/* ---- going ---- */

void held_drop(struct fs *fs, struct inode *inode)
{
    struct held *h = inode->held;

    if (!h)
        return;
    promise(fs, h, 0);
    g_queue_unlink(&fs->held, &h->link);
    inode->held = NULL;
    free(h->data);
    g_free(h);
}

bool held_is_behind(const struct inode *inode, uint64_t size)
{
    return inode->held && size <= inode->held->from;
}

/* Blocks for what has none yet. fs->lock held. */
static int give_blocks(struct fs *fs, struct inode *inode, struct held *h, GArray *runs)
{
    uint64_t block = h->from / BLOCK, end = round_up(h->to) / BLOCK;
    bool grows = h->to >= SEGMENT_BYTES && h->to >= inode_size(inode);
    struct extent_run run;
    int error = 0;

    for (guint i = 0; i < runs->len; i++)
        block += g_array_index(runs, struct extent_run, i).count;
    promise(fs, h, 0);
    fs->placing = true;
    for (; block < end && !error; block += run.count) {
        error = alloc_range(fs, inode, block, end - block, grows ? end : 0, &run);
        if (error)
            break;
        g_array_append_val(runs, run);
    }
    fs->placing = false;
    promise(fs, h, end - block); /* until it does get them */
    return error;
}

static int stage(struct fs *fs, const struct held *h, const GArray *runs)
{
    struct batch batch = BATCH_INIT;

    for (guint i = 0; i < runs->len; i++) {
        const struct extent_run *run = &g_array_index(runs, struct extent_run, i);

        encsan_write_async(fs->volume, h->data + (run->logical * BLOCK - h->from), run->count * BLOCK,
                           run->physical * BLOCK, 0, batch_done, batch_add(&batch));
    }
    return batch_wait(&batch);
}

/* fs->lock held, and let go of meanwhile. */
static int give_all_blocks(struct fs *fs, struct inode *inode, struct held *h, GArray *runs)
{
    int error;

    journal_admit(fs->journal);
    error = fs->error ? fs->error : give_blocks(fs, inode, h, runs);
    if (error != -ENOSPC)
        return error;
    pthread_mutex_unlock(&fs->lock); /* what was promised is pinned yet */
    error = journal_commit(fs->journal);
    pthread_mutex_lock(&fs->lock);
    journal_await_free(fs->journal);
    return error ? error : give_blocks(fs, inode, h, runs);
}

int held_place(struct fs *fs, struct inode *inode)
{
    GArray *runs;
    int error;

    if (!inode->held)
        return 0;
    runs = g_array_new(FALSE, FALSE, sizeof(struct extent_run));
    pthread_mutex_lock(&fs->lock);
    error = give_all_blocks(fs, inode, inode->held, runs);
    pthread_mutex_unlock(&fs->lock);
    if (!error)
        error = stage(fs, inode->held, runs);
    g_array_free(runs, TRUE);
    pthread_mutex_lock(&fs->lock);
    if (error) {
        fs_fail(fs, error); /* it will not come onto the disk; who reads it hears the same */
    } else {
        held_drop(fs, inode);
        inode->unordered_stamp = encsan_stamp_staged(fs->volume);
    }
    pthread_mutex_unlock(&fs->lock);
    return error;
}

int held_lock_shared(struct fs *fs, struct inode *inode)
{
    int error;

    data_lock_shared(&inode->data_lock);
    if (!inode->held)
        return 0;
    data_unlock_shared(&inode->data_lock);
    data_lock_exclusive(&inode->data_lock);
    error = held_place(fs, inode);
    if (error)
        data_unlock_exclusive(&inode->data_lock);
    else
        data_lock_downgrade(&inode->data_lock);
    return error;
}

/* ---- of all files ---- */

/* The oldest. fs->lock held, and let go of meanwhile. */
static int place_one(struct fs *fs, struct inode *inode)
{
    int error;

    inode->lookups++; /* so it stays */
    pthread_mutex_unlock(&fs->lock);
    data_lock_exclusive(&inode->data_lock);
    error = held_place(fs, inode);
    data_unlock_exclusive(&inode->data_lock);
    pthread_mutex_lock(&fs->lock);
    inode_put(fs, inode, 1);
    return error;
}

int held_place_all(struct fs *fs)
{
    int error = 0;

    pthread_mutex_lock(&fs->lock);
    while (fs->held.head && !error)
        error = place_one(fs, fs->held.head->data);
    pthread_mutex_unlock(&fs->lock);
    return error;
}

/* fs->lock held. */
static bool is_due(const struct fs *fs)
{
    const struct inode *oldest;

    if (!fs->held.head || fs->error)
        return false;
    oldest = fs->held.head->data;
    return fs->promised_blocks >= SEGMENT_BLOCKS ||
           g_get_monotonic_time() - oldest->held->since_us >= HELD_US;
}

/* Until something may be due. fs->lock held. */
static void await(struct held_thread *t)
{
    struct fs *fs = t->fs;
    struct timespec when;
    int64_t due_us;

    if (!fs->held.head || fs->error) {
        pthread_cond_wait(&t->wake, &fs->lock);
        return;
    }
    due_us = ((const struct inode *)fs->held.head->data)->held->since_us + HELD_US;
    when = (struct timespec){due_us / 1000000, due_us % 1000000 * 1000};
    pthread_cond_timedwait(&t->wake, &fs->lock, &when);
}

static void *place_what_is_due(void *opaque)
{
    struct held_thread *t = opaque;
    struct fs *fs = t->fs;

    pthread_mutex_lock(&fs->lock);
    while (!t->stopping) {
        if (!is_due(fs))
            await(t);
        else
            while (fs->held.head && place_one(fs, fs->held.head->data) == 0)
                ;
    }
    pthread_mutex_unlock(&fs->lock);
    return NULL;
}

int held_start(struct fs *fs)
{
    struct held_thread *t = g_new0(struct held_thread, 1);
    pthread_condattr_t attr;
    int error;

    t->fs = fs;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* as g_get_monotonic_time */
    pthread_cond_init(&t->wake, &attr);
    pthread_condattr_destroy(&attr);
    error = pthread_create(&t->thread, NULL, place_what_is_due, t);
    if (error) {
        pthread_cond_destroy(&t->wake);
        g_free(t);
        return -error;
    }
    pthread_mutex_lock(&fs->lock);
    fs->held_thread = t;
    pthread_mutex_unlock(&fs->lock);
    return 0;
}

void held_stop(struct fs *fs)
{
    struct held_thread *t = fs->held_thread;

    if (!t)
        return;
    pthread_mutex_lock(&fs->lock);
    t->stopping = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&fs->lock);
    pthread_join(t->thread, NULL);
    pthread_cond_destroy(&t->wake);
    g_free(t);
    fs->held_thread = NULL;
}
