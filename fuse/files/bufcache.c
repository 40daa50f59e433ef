// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The cache of metadata: blocks of 4 KiB between libext2fs and the volume.
 *
 * A block is clean (on the volume too; least recently used ones go when the
 * limit is passed) or dirty (stays until it has been written). A miss fetches
 * the aligned neighbourhood, since metadata lies together and a round trip is
 * long. What is in the cache wins over what was fetched. File data never comes
 * here but as an unwanted neighbour, and libext2fs writes a block whole before
 * it reads it as metadata, so a stale copy of such a one is never looked at.
 *
 * fs->lock protects all of it.
 */
#include "fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK ((uint64_t)ENCSAN_BLOCK_BYTES)
#define NEIGHBOURS 16u          /* blocks that a miss fetches, aligned */
#define JOINED 256u             /* blocks in one read or write, at most: 1 MiB */
#define PREFETCH_RUN 32u        /* 128 KiB: a flex group's bitmaps of one kind, twice */
#define PREFETCH_IN_FLIGHT 256u /* runs */

struct buffer {
    uint64_t block; /* the table's key */
    bool dirty;
    GList link; /* in cache->dirty or cache->clean */
    uint8_t data[ENCSAN_BLOCK_BYTES];
};

struct bufcache {
    struct encsan *volume;
    uint64_t blocks; /* of the volume */
    size_t limit;    /* buffers; clean ones beyond it are dropped, dirty ones are written */
    GHashTable *buffers;
    GQueue clean; /* the least recently used first */
    GQueue dirty;
    uint8_t *bounce; /* JOINED blocks */
    struct struct_io_manager manager;
};

/* libext2fs gives open() no more than a name: the cache that the next open of
 * this thread is for. */
static __thread struct bufcache *opening;

static void buffer_drop(struct bufcache *cache, struct buffer *buffer)
{
    g_queue_unlink(buffer->dirty ? &cache->dirty : &cache->clean, &buffer->link);
    g_hash_table_remove(cache->buffers, &buffer->block); /* frees it */
}

static void trim(struct bufcache *cache)
{
    while (g_hash_table_size(cache->buffers) > cache->limit && cache->clean.head)
        buffer_drop(cache, cache->clean.head->data);
}

static struct buffer *buffer_find(struct bufcache *cache, uint64_t block)
{
    return g_hash_table_lookup(cache->buffers, &block);
}

/* A new one, clean, contents undefined. */
static struct buffer *buffer_add(struct bufcache *cache, uint64_t block)
{
    struct buffer *buffer = g_malloc(sizeof(*buffer));

    buffer->block = block;
    buffer->dirty = false;
    buffer->link = (GList){.data = buffer};
    g_hash_table_insert(cache->buffers, &buffer->block, buffer);
    g_queue_push_tail_link(&cache->clean, &buffer->link);
    return buffer;
}

static void buffer_set_dirty(struct bufcache *cache, struct buffer *buffer, bool dirty)
{
    g_queue_unlink(buffer->dirty ? &cache->dirty : &cache->clean, &buffer->link);
    buffer->dirty = dirty;
    g_queue_push_tail_link(dirty ? &cache->dirty : &cache->clean, &buffer->link);
}

static void buffer_touch(struct bufcache *cache, struct buffer *buffer)
{
    if (buffer->dirty)
        return;
    g_queue_unlink(&cache->clean, &buffer->link);
    g_queue_push_tail_link(&cache->clean, &buffer->link);
}

/* What was read becomes clean buffers, where there are none yet. */
static void take_in(struct bufcache *cache, const uint8_t *data, uint64_t first, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (!buffer_find(cache, first + i))
            memcpy(buffer_add(cache, first + i)->data, data + i * BLOCK, BLOCK);
}

/* Fetches [first, first + count) and its neighbours; at most JOINED blocks of
 * the range, so the caller looks again for the next block that is missing. */
static int fetch(struct bufcache *cache, uint64_t first, uint64_t count)
{
    uint64_t from = first - first % NEIGHBOURS;
    uint64_t to = MIN(first + MIN(count, JOINED - NEIGHBOURS), cache->blocks);
    int error;

    to = MIN((to + NEIGHBOURS - 1) / NEIGHBOURS * NEIGHBOURS, cache->blocks);
    to = MIN(to, from + JOINED);
    trim(cache);
    error = encsan_read(cache->volume, cache->bounce, (to - from) * BLOCK, from * BLOCK);
    if (error)
        return error;
    take_in(cache, cache->bounce, from, to - from);
    return 0;
}

/* The buffer of a block that lies on the volume; `ahead` blocks from it on are wanted. */
static int buffer_read(struct bufcache *cache, uint64_t block, uint64_t ahead,
                       struct buffer **buffer)
{
    int error = 0;

    *buffer = buffer_find(cache, block);
    if (!*buffer) {
        error = fetch(cache, block, ahead);
        if (!error)
            *buffer = buffer_find(cache, block);
    } else {
        buffer_touch(cache, *buffer);
    }
    return error;
}

static bool outside(const struct bufcache *cache, uint64_t offset, uint64_t bytes)
{
    uint64_t size = cache->blocks * BLOCK;

    return offset > size || bytes > size - offset;
}

static int read_bytes(struct bufcache *cache, uint64_t offset, uint64_t bytes, uint8_t *data)
{
    if (outside(cache, offset, bytes))
        return -EINVAL;
    while (bytes) {
        uint64_t within = offset % BLOCK, now = MIN(bytes, BLOCK - within);
        struct buffer *buffer;
        int error =
            buffer_read(cache, offset / BLOCK, (within + bytes + BLOCK - 1) / BLOCK, &buffer);

        if (error)
            return error;
        memcpy(data, buffer->data + within, now);
        data += now;
        offset += now;
        bytes -= now;
    }
    return 0;
}

static int write_bytes(struct bufcache *cache, uint64_t offset, uint64_t bytes, const uint8_t *data)
{
    if (outside(cache, offset, bytes))
        return -EINVAL;
    while (bytes) {
        uint64_t within = offset % BLOCK, now = MIN(bytes, BLOCK - within);
        struct buffer *buffer = buffer_find(cache, offset / BLOCK);

        if (!buffer && now < BLOCK) {
            int error = buffer_read(cache, offset / BLOCK, 1, &buffer);

            if (error)
                return error;
        }
        if (!buffer)
            buffer = buffer_add(cache, offset / BLOCK);
        memcpy(buffer->data + within, data, now);
        if (!buffer->dirty)
            buffer_set_dirty(cache, buffer, true);
        data += now;
        offset += now;
        bytes -= now;
    }
    trim(cache);
    /* So many changes that memory would run out before the next write-back. */
    return cache->dirty.length > cache->limit ? bufcache_write_back(cache) : 0;
}

/* ---- libext2fs's side; a positive errno is an errcode_t ---- */

static errcode_t channel_open(const char *name, int flags, io_channel *channel)
{
    io_channel made;

    if (!opening)
        return EXT2_ET_BAD_DEVICE_NAME;
    made = calloc(1, sizeof(*made));
    if (!made)
        return EXT2_ET_NO_MEMORY;
    made->name = strdup(name);
    if (!made->name) {
        free(made);
        return EXT2_ET_NO_MEMORY;
    }
    made->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    made->manager = &opening->manager;
    made->block_size = 1024; /* until the superblock has said */
    made->refcount = 1;
    made->private_data = opening;
    opening = NULL;
    *channel = made;
    return 0;
}

static errcode_t channel_close(io_channel channel)
{
    if (--channel->refcount > 0)
        return 0;
    free(channel->name);
    free(channel);
    return 0;
}

static errcode_t channel_set_blksize(io_channel channel, int blksize)
{
    channel->block_size = blksize;
    return 0;
}

/* A negative count is one of bytes. */
static uint64_t channel_bytes(io_channel channel, int count)
{
    return count < 0 ? (uint64_t) - (int64_t)count
                     : (uint64_t)count * (unsigned)channel->block_size;
}

static errcode_t channel_read64(io_channel channel, unsigned long long block, int count, void *data)
{
    return -read_bytes(channel->private_data, block * (unsigned)channel->block_size,
                       channel_bytes(channel, count), data);
}

static errcode_t channel_write64(io_channel channel, unsigned long long block, int count,
                                 const void *data)
{
    return -write_bytes(channel->private_data, block * (unsigned)channel->block_size,
                        channel_bytes(channel, count), data);
}

static errcode_t channel_read(io_channel channel, unsigned long block, int count, void *data)
{
    return channel_read64(channel, block, count, data);
}

static errcode_t channel_write(io_channel channel, unsigned long block, int count, const void *data)
{
    return channel_write64(channel, block, count, data);
}

static errcode_t channel_write_byte(io_channel channel, unsigned long offset, int count,
                                    const void *data)
{
    return count < 0 ? EXT2_ET_INVALID_ARGUMENT
                     : -write_bytes(channel->private_data, offset, (unsigned)count, data);
}

/* fs_sync decides when anything leaves. */
static errcode_t channel_flush(io_channel channel)
{
    return 0;
}

/* ---- ours ---- */

struct bufcache *bufcache_new(struct encsan *volume, size_t limit_bytes)
{
    struct bufcache *cache = g_new0(struct bufcache, 1);
    struct encsan_info info;

    encsan_get_info(volume, &info);
    cache->volume = volume;
    cache->blocks = info.size_bytes / BLOCK;
    cache->limit = MAX(limit_bytes / BLOCK, 2 * JOINED);
    cache->buffers = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    g_queue_init(&cache->clean);
    g_queue_init(&cache->dirty);
    cache->bounce = g_malloc(JOINED * BLOCK);
    cache->manager = (struct struct_io_manager){
        .magic = EXT2_ET_MAGIC_IO_MANAGER,
        .name = "encsan volume",
        .open = channel_open,
        .close = channel_close,
        .set_blksize = channel_set_blksize,
        .read_blk = channel_read,
        .write_blk = channel_write,
        .flush = channel_flush,
        .write_byte = channel_write_byte,
        .read_blk64 = channel_read64,
        .write_blk64 = channel_write64,
    };
    return cache;
}

void bufcache_free(struct bufcache *cache)
{
    if (!cache)
        return;
    if (opening == cache)
        opening = NULL;
    g_hash_table_destroy(cache->buffers); /* the queues' links are in the buffers */
    g_free(cache->bounce);
    g_free(cache);
}

io_manager bufcache_io_manager(struct bufcache *cache)
{
    opening = cache;
    return &cache->manager;
}

static int compare_buffers(const void *a, const void *b)
{
    const struct buffer *x = *(struct buffer *const *)a, *y = *(struct buffer *const *)b;

    return x->block < y->block ? -1 : x->block > y->block;
}

static int write_run(struct bufcache *cache, struct buffer **run, size_t count)
{
    int error;

    for (size_t i = 0; i < count; i++)
        memcpy(cache->bounce + i * BLOCK, run[i]->data, BLOCK);
    error = encsan_write(cache->volume, cache->bounce, count * BLOCK, run[0]->block * BLOCK, 0);
    if (error)
        return error;
    for (size_t i = 0; i < count; i++)
        buffer_set_dirty(cache, run[i], false);
    return 0;
}

int bufcache_write_back(struct bufcache *cache)
{
    size_t total = cache->dirty.length, count, n = 0;
    struct buffer **sorted;
    int error = 0;

    if (!total)
        return 0;
    sorted = g_new(struct buffer *, total);
    for (GList *link = cache->dirty.head; link; link = link->next)
        sorted[n++] = link->data;
    qsort(sorted, total, sizeof(*sorted), compare_buffers);
    for (size_t i = 0; i < total && !error; i += count) {
        count = 1;
        while (count < JOINED && i + count < total &&
               sorted[i + count]->block == sorted[i]->block + count)
            count++;
        error = write_run(cache, sorted + i, count);
    }
    g_free(sorted);
    trim(cache);
    return error;
}

void bufcache_forget(struct bufcache *cache, blk64_t block, blk64_t count)
{
    struct buffer *buffer;

    if (count > g_hash_table_size(cache->buffers)) { /* cheaper to look at all that is here */
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, cache->buffers);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
            buffer = value;
            if (buffer->block < block || buffer->block - block >= count)
                continue;
            g_queue_unlink(buffer->dirty ? &cache->dirty : &cache->clean, &buffer->link);
            g_hash_table_iter_remove(&iter);
        }
        return;
    }
    for (blk64_t i = 0; i < count; i++) {
        buffer = buffer_find(cache, block + i);
        if (buffer)
            buffer_drop(cache, buffer);
    }
}

/* ---- prefetch ---- */

struct prefetch { /* runs in flight */
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned running;
    int error; /* the first one */
};

struct prefetch_run {
    struct prefetch *prefetch;
    uint64_t first, count;
    uint8_t *data;
};

static void prefetched(void *opaque, int error)
{
    struct prefetch_run *run = opaque;
    struct prefetch *prefetch = run->prefetch;

    pthread_mutex_lock(&prefetch->lock);
    if (error && !prefetch->error)
        prefetch->error = error;
    if (!--prefetch->running)
        pthread_cond_signal(&prefetch->done);
    pthread_mutex_unlock(&prefetch->lock);
}

static int prefetch_runs(struct bufcache *cache, struct prefetch_run *runs, unsigned count)
{
    struct prefetch prefetch = {.running = count};

    if (!count)
        return 0;
    pthread_mutex_init(&prefetch.lock, NULL);
    pthread_cond_init(&prefetch.done, NULL);
    for (unsigned i = 0; i < count; i++) {
        runs[i].prefetch = &prefetch;
        runs[i].data = g_malloc(runs[i].count * BLOCK);
        encsan_read_async(cache->volume, runs[i].data, runs[i].count * BLOCK, runs[i].first * BLOCK,
                          prefetched, &runs[i]);
    }
    pthread_mutex_lock(&prefetch.lock);
    while (prefetch.running)
        pthread_cond_wait(&prefetch.done, &prefetch.lock);
    pthread_mutex_unlock(&prefetch.lock);
    for (unsigned i = 0; i < count; i++) {
        if (!prefetch.error)
            take_in(cache, runs[i].data, runs[i].first, runs[i].count);
        g_free(runs[i].data);
    }
    pthread_cond_destroy(&prefetch.done);
    pthread_mutex_destroy(&prefetch.lock);
    return prefetch.error;
}

int bufcache_prefetch(struct bufcache *cache, const blk64_t *sorted, size_t count)
{
    struct prefetch_run *runs = g_new(struct prefetch_run, PREFETCH_IN_FLIGHT);
    size_t i = 0;
    int error = 0;

    while (i < count && !error) {
        unsigned n = 0;

        while (i < count && n < PREFETCH_IN_FLIGHT) {
            struct prefetch_run *run = &runs[n];

            if (sorted[i] >= cache->blocks) { /* for e2fsck to judge, at the read itself */
                i++;
                continue;
            }
            run->first = sorted[i++];
            run->count = 1;
            while (i < count && run->count < PREFETCH_RUN && sorted[i] < cache->blocks &&
                   sorted[i] == run->first + run->count) {
                run->count++;
                i++;
            }
            n++;
        }
        error = prefetch_runs(cache, runs, n);
    }
    g_free(runs);
    return error;
}
