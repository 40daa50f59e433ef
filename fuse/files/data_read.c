// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reads of file data. The request maps its range and goes its way; the last of
 * the volume's answers ends it, in that answer's thread. Until then it holds
 * inode->data_lock shared, so that no block it reads is freed and used anew.
 *
 * Whole blocks are read straight into the caller's buffer. A block that the
 * buffer holds only a part of goes through a `bounce` of its own: the first and
 * the last of a read, if they are not aligned.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "data.h"
#include "held.h"
#include "scout.h"

/* How far the file is looked at beyond a range: more than is ever read ahead. */
#define STREAM_BLOCKS 8192
#define RUNS_BEYOND_MAX 4
#define GAP_BLOCKS 16 /* read through: a block of the extent tree, mostly */

/* The neighbours of a small file are read ahead up to here. */
#define NEIGHBOURS_BYTES (512u << 10)

struct read_request {
    struct fs *fs;
    struct inode *inode;
    uint8_t *buf;
    uint64_t offset;   /* in the file, of buf */
    size_t capacity;   /* of buf */
    size_t got;        /* what the file has of it */
    bool scouted;      /* the files beside it come without being asked for */
    atomic_uint parts; /* still to come, and 1 while there may be more */
    atomic_int error;
    void (*done)(void *opaque, int error, size_t got);
    void *opaque;
};

struct bounce {
    struct read_request *request;
    uint8_t *to;
    size_t skip, count; /* of the block */
    uint8_t block[BLOCK];
};

static void part_done(void *opaque, int error)
{
    struct read_request *r = opaque;

    if (error)
        atomic_store(&r->error, -EIO);
    if (atomic_fetch_sub(&r->parts, 1) != 1)
        return;
    /* The inode may be gone once done is called, so let go first. */
    data_unlock_shared(&r->inode->data_lock);
    error = atomic_load(&r->error);
    r->done(r->opaque, error, error ? 0 : r->got);
    free(r);
}

static void bounce_done(void *opaque, int error)
{
    struct bounce *b = opaque;
    struct read_request *r = b->request;

    if (!error)
        memcpy(b->to, b->block + b->skip, b->count);
    free(b);
    part_done(r, error);
}

/* `count` bytes from `at` in the file, within the block at disk offset `disk`. */
static void read_part_of_block(struct read_request *r, uint64_t at, size_t count, uint64_t disk)
{
    struct bounce *b = malloc(sizeof *b);

    atomic_fetch_add(&r->parts, 1);
    if (!b) {
        part_done(r, -ENOMEM);
        return;
    }
    b->request = r;
    b->to = r->buf + (at - r->offset);
    b->skip = at % BLOCK;
    b->count = count;
    encsan_read_async(r->fs->volume, b->block, BLOCK, disk, bounce_done, b);
}

/* A written run: [at, end) in the file, of which `at` lies at disk offset `disk`. */
static void read_run(struct read_request *r, uint64_t at, uint64_t end, uint64_t disk,
                     struct encsan_stream stream)
{
    uint64_t end_of_buf = r->offset + r->capacity, whole;

    if (at % BLOCK) {
        uint64_t next = MIN(end, at - at % BLOCK + BLOCK);

        read_part_of_block(r, at, next - at, disk - at % BLOCK);
        disk += next - at;
        at = next;
    }
    if (at == end)
        return;
    whole = (end + BLOCK - 1) / BLOCK * BLOCK; /* past the file's end is allowed */
    if (whole > end_of_buf)
        whole = end / BLOCK * BLOCK;
    if (at < whole) {
        atomic_fetch_add(&r->parts, 1);
        encsan_read_stream_async(r->fs->volume, r->buf + (at - r->offset), whole - at, disk,
                                 stream, part_done, r);
        disk += whole - at;
        at = whole;
    }
    if (at < end)
        read_part_of_block(r, at, end - at, disk);
}

/* The runs that hold the range, which is cut at the end of the file, and a few
 * of those that follow. */
static int map_range(struct read_request *r, GArray *runs)
{
    struct fs *fs = r->fs;
    uint64_t size, block = r->offset / BLOCK, end, file_end;
    unsigned beyond = 0;
    struct extent_run run;
    int error = 0;

    size = inode_size(r->inode);
    r->got = r->offset >= size ? 0 : MIN(r->capacity, size - r->offset);
    end = (r->offset + r->got + BLOCK - 1) / BLOCK;
    file_end = MIN((size + BLOCK - 1) / BLOCK, end + STREAM_BLOCKS);
    while (!error && r->got && (block < end || (block < file_end && beyond++ < RUNS_BEYOND_MAX))) {
        error = alloc_map(fs, r->inode, block, file_end - block, &run);
        if (error)
            break;
        g_array_append_val(runs, run);
        block += run.count;
    }
    return error;
}

static int try_to_map(struct read_request *r, GArray *runs)
{
    struct bufcache_tries tries = {0};
    struct fs *fs = r->fs;
    int error;

    pthread_mutex_lock(&fs->lock);
    do {
        bufcache_try(fs->cache, &tries);
        g_array_set_size(runs, 0);
        error = map_range(r, runs);
    } while (bufcache_tried(fs->cache, &fs->lock));
    r->scouted = scout_has_read(fs, r->inode);
    pthread_mutex_unlock(&fs->lock);
    return error;
}

static bool is_written(const struct extent_run *run)
{
    return !run->hole && !run->unwritten;
}

/* Where the disk goes on as the file does, but for small gaps, beginning with the
 * i-th run, which is left at the first one that lies elsewhere. */
static uint64_t contiguous_end(const GArray *runs, guint *i)
{
    const struct extent_run *run = &g_array_index(runs, struct extent_run, *i);
    uint64_t end = run->physical + run->count;

    for (++*i; *i < runs->len; ++*i) {
        run = &g_array_index(runs, struct extent_run, *i);
        if (!is_written(run) || run->physical < end || run->physical - end > GAP_BLOCKS)
            break;
        end = run->physical + run->count;
    }
    return end * BLOCK;
}

/* How a reader goes on from the i-th run. Small files lie side by side in the
 * order in which they were written, and are often read in that order: then a
 * stream goes on from one to the next, unless the scout has them all brought: read in
 * any order, each once, they would be brought again. */
static struct encsan_stream stream_of(const struct read_request *r, const GArray *runs, guint i)
{
    const struct extent_run *run = &g_array_index(runs, struct extent_run, i);
    bool small = run->logical == 0 && run->count * BLOCK <= FS_SMALL_FILE_BYTES;
    struct encsan_stream stream = {.end = contiguous_end(runs, &i),
                                   .begins = r->offset == 0 && run->logical == 0 && !r->scouted};

    if (i < runs->len) {
        run = &g_array_index(runs, struct extent_run, i);
        stream.then = run->physical * BLOCK;
        if (is_written(run))
            stream.then_end = contiguous_end(runs, &i);
    } else if (r->offset == 0 && small && !r->scouted) {
        stream.end += NEIGHBOURS_BYTES;
    }
    return stream;
}

void data_read(struct fs *fs, struct inode *inode, void *buf, size_t count, uint64_t offset,
               void (*done)(void *opaque, int error, size_t got), void *opaque)
{
    struct read_request *r = calloc(1, sizeof *r);
    int error = r ? held_lock_shared(fs, inode) : -ENOMEM;
    GArray *runs;
    guint i;

    if (error) {
        free(r);
        done(opaque, error, 0);
        return;
    }
    *r = (struct read_request){.fs = fs,
                               .inode = inode,
                               .buf = buf,
                               .offset = offset,
                               .capacity = count,
                               .done = done,
                               .opaque = opaque};
    atomic_init(&r->parts, 1);
    runs = g_array_new(FALSE, FALSE, sizeof(struct extent_run));
    atomic_init(&r->error, try_to_map(r, runs));
    for (i = 0; i < runs->len && !atomic_load(&r->error); i++) {
        const struct extent_run *run = &g_array_index(runs, struct extent_run, i);
        uint64_t at = MAX(offset, run->logical * BLOCK);
        uint64_t end = MIN(offset + r->got, (run->logical + run->count) * BLOCK);

        if (at >= end)
            break; /* it lies beyond the range */
        if (!is_written(run))
            memset(r->buf + (at - offset), 0, end - at);
        else
            read_run(r, at, end, run->physical * BLOCK + (at - run->logical * BLOCK),
                     stream_of(r, runs, i));
    }
    g_array_free(runs, TRUE);
    part_done(r, 0);
}
