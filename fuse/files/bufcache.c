// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The cache of metadata: blocks of 4 KiB between libext2fs and the volume, and
 * the side of the journal that knows their versions (journal.c has the other).
 *
 * A block lies on the volume at home, and in the log if a transaction that was
 * not brought home yet had changed it. A buffer is
 *
 *   clean     as it is at home. The least recently used ones go when the limit
 *             is passed.
 *   running   changed in the running transaction: `data` is newer than log and home.
 *   logged    as the log has it (or is about to), and newer than home.
 *   both      `data` belongs to the running transaction, `logged` is what the
 *             log has: copied when the block was changed again.
 *   freed     logged, and free in the running transaction or one that is not
 *             durable yet. Only what is at home and in the log counts: it is
 *             brought home like others, and goes when its freeing is durable.
 *
 * `home_lacks` tells logged buffers: the oldest transaction whose version is not
 * at home. The log must be kept from there on.
 *
 * A miss fetches the aligned neighbourhood, since metadata lies together and a
 * round trip is long. What is in the cache wins over what was fetched. File data
 * never comes here but as an unwanted neighbour, and libext2fs writes a block
 * whole before it reads it as metadata, so a stale copy of such a one is never
 * looked at.
 *
 * Nobody should wait for the network under fs->lock: what only reads is tried, and where a
 * block is missing it fails, waits without the lock, and is tried again. What changes something
 * brings what it will look at like that, and then meets a miss only where it must.
 *
 * fs->lock protects all of it.
 */
#include "fs.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fetch.h"

#define BLOCK ((uint64_t)ENCSAN_BLOCK_BYTES)
#define NEIGHBOURS 16u          /* blocks that a miss fetches, aligned */
#define JOINED 256u             /* blocks in one read, at most: 1 MiB */
#define GAP 4u                  /* read through, where blocks that are wanted lie near to each other */
#define TRIES_MAX 64u           /* then under the lock: others may throw out what was brought */
#define KEPT_SHARE 2            /* of the limit, whatever is lent */
#define BRING_SHARE 4           /* of the limit: on its way at once, at most */
#define READS_AHEAD_MAX 128u    /* the volume has some more at a time, for who waits */

struct buffer {
    uint64_t block; /* the table's key */
    bool running, freed;
    uint64_t home_lacks; /* a transaction; 0: nothing */
    uint64_t logged_by;  /* the newest transaction that did */
    uint64_t copied;     /* that one when the logged version was copied last */
    uint8_t *logged;     /* NULL: as `data` */
    GList link;          /* in the queue that its state names */
    uint8_t data[ENCSAN_BLOCK_BYTES];
};

struct bufcache {
    struct encsan *volume;
    uint64_t blocks; /* of the volume */
    size_t limit;    /* buffers; clean ones beyond it are dropped */
    size_t lent;     /* of them, to inodes: bufcache_lend */
    size_t copies;   /* logged versions that are not `data`: each is one more */
    GHashTable *buffers;
    GQueue clean; /* the least recently used first */
    GQueue running, logged;
    struct fetches *fetches;
    struct bufcache_tries *trying; /* an operation is tried; NULL: none is */
    bool missed;                   /* it has met a miss */
    uint64_t missing;              /* that block */
    struct struct_io_manager manager;
};

/* libext2fs gives open() no more than a name: the cache that the next open of
 * this thread is for. */
static __thread struct bufcache *opening;

static GQueue *queue_of(struct bufcache *cache, const struct buffer *buffer)
{
    if (buffer->running)
        return &cache->running;
    return buffer->home_lacks ? &cache->logged : &cache->clean;
}

static void buffer_free(gpointer opaque)
{
    struct buffer *buffer = opaque;

    g_free(buffer->logged);
    g_free(buffer);
}

static void drop_copy(struct bufcache *cache, struct buffer *buffer)
{
    cache->copies -= buffer->logged != NULL;
    g_clear_pointer(&buffer->logged, g_free);
}

static void buffer_drop(struct bufcache *cache, struct buffer *buffer)
{
    drop_copy(cache, buffer);
    g_queue_unlink(queue_of(cache, buffer), &buffer->link);
    g_hash_table_remove(cache->buffers, &buffer->block); /* frees it */
}

static void trim(struct bufcache *cache)
{
    while (g_hash_table_size(cache->buffers) + cache->copies > bufcache_limit(cache) && cache->clean.head)
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
    buffer->running = buffer->freed = false;
    buffer->home_lacks = buffer->logged_by = buffer->copied = 0;
    buffer->logged = NULL;
    buffer->link = (GList){.data = buffer};
    g_hash_table_insert(cache->buffers, &buffer->block, buffer);
    g_queue_push_tail_link(&cache->clean, &buffer->link);
    return buffer;
}

static void buffer_set(struct bufcache *cache, struct buffer *buffer, bool running,
                       uint64_t home_lacks)
{
    g_queue_unlink(queue_of(cache, buffer), &buffer->link);
    buffer->running = running;
    buffer->home_lacks = home_lacks;
    g_queue_push_tail_link(queue_of(cache, buffer), &buffer->link);
}

static void buffer_touch(struct bufcache *cache, struct buffer *buffer)
{
    buffer_set(cache, buffer, buffer->running, buffer->home_lacks);
}

/* Its data is about to change. */
static void buffer_change(struct bufcache *cache, struct buffer *buffer)
{
    if (buffer->running)
        return;
    if (buffer->home_lacks) {
        buffer->logged = g_memdup2(buffer->data, BLOCK);
        cache->copies++;
    }
    buffer_set(cache, buffer, true, buffer->home_lacks);
}

/* What was read becomes a clean buffer, where there is none yet. */
static void take_in(void *opaque, uint64_t block, const uint8_t *data)
{
    struct bufcache *cache = opaque;

    if (!buffer_find(cache, block))
        memcpy(buffer_add(cache, block)->data, data, BLOCK);
}

static bool is_here(void *opaque, uint64_t block)
{
    return buffer_find(opaque, block) != NULL;
}

static void collect(struct bufcache *cache)
{
    fetches_collect(cache->fetches, take_in, cache);
}

static bool is_wanted(const struct bufcache *cache, uint64_t block)
{
    return block < cache->blocks && !is_here((void *)cache, block) &&
           !fetches_has(cache->fetches, block);
}

static bool is_much_under_way(const struct bufcache *cache)
{
    return fetches_blocks(cache->fetches) >= cache->limit / BRING_SHARE;
}

/* Begins to fetch [first, first + count) and its neighbours: the first at least, and not very many. */
static void begin_to_fetch(struct bufcache *cache, uint64_t first, uint64_t count)
{
    uint64_t from = first - first % NEIGHBOURS;
    uint64_t to = MIN(first + count, cache->blocks);

    to = MIN((to + NEIGHBOURS - 1) / NEIGHBOURS * NEIGHBOURS, cache->blocks);
    do {
        uint64_t now = MIN(to - from, JOINED);

        fetches_start(cache->fetches, from, now, is_here, cache);
        from += now;
    } while (from < to && !is_much_under_way(cache));
}

/* Now, whoever waits for the lock. */
static int miss(struct bufcache *cache, uint64_t block, uint64_t ahead, struct buffer **buffer)
{
    uint8_t data[BLOCK];
    int error;

    trim(cache);
    if (!fetches_has(cache->fetches, block))
        begin_to_fetch(cache, block, ahead);
    while (fetches_has(cache->fetches, block)) {
        fetches_wait(cache->fetches, NULL);
        collect(cache);
    }
    *buffer = buffer_find(cache, block);
    if (*buffer)
        return 0;
    error = encsan_read(cache->volume, data, BLOCK, block * BLOCK); /* says why it failed */
    if (error)
        return error;
    take_in(cache, block, data);
    *buffer = buffer_find(cache, block);
    return 0;
}

/* The buffer of a block that lies on the volume; `ahead` blocks from it on are wanted. */
static int buffer_read(struct bufcache *cache, uint64_t block, uint64_t ahead,
                       struct buffer **buffer)
{
    *buffer = buffer_find(cache, block);
    if (*buffer) {
        buffer_touch(cache, *buffer);
        return 0;
    }
    if (!cache->trying)
        return miss(cache, block, ahead, buffer);
    if (!cache->missed)
        cache->missing = block;
    cache->missed = true;
    return -EAGAIN;
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
        buffer_change(cache, buffer);
        fetches_spoil(cache->fetches, buffer->block);
        memcpy(buffer->data + within, data, now);
        data += now;
        offset += now;
        bytes -= now;
    }
    trim(cache);
    return 0;
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

static errcode_t channel_readahead(io_channel channel, unsigned long long block,
                                   unsigned long long count)
{
    struct bufcache *cache = channel->private_data;

    if (!is_much_under_way(cache) && is_wanted(cache, block))
        fetches_start(cache->fetches, block, MIN(count, JOINED), is_here, cache);
    return 0;
}

/* journal.c decides when anything leaves. */
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
    cache->buffers = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, buffer_free);
    g_queue_init(&cache->clean);
    g_queue_init(&cache->running);
    g_queue_init(&cache->logged);
    cache->fetches = fetches_new(volume);
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
        .cache_readahead = channel_readahead,
    };
    return cache;
}

void bufcache_free(struct bufcache *cache)
{
    if (!cache)
        return;
    if (opening == cache)
        opening = NULL;
    fetches_free(cache->fetches);
    g_hash_table_destroy(cache->buffers); /* the queues' links are in the buffers */
    g_free(cache);
}

io_manager bufcache_io_manager(struct bufcache *cache)
{
    opening = cache;
    return &cache->manager;
}

bool bufcache_has(const struct bufcache *cache, blk64_t block)
{
    return is_here((void *)cache, block);
}

size_t bufcache_most_lent(const struct bufcache *cache)
{
    return (cache->limit - cache->limit / KEPT_SHARE) * BLOCK;
}

void bufcache_lend(struct bufcache *cache, size_t bytes)
{
    cache->lent = MIN(bytes, bufcache_most_lent(cache)) / BLOCK;
}

size_t bufcache_limit(const struct bufcache *cache)
{
    return cache->limit - cache->lent;
}

size_t bufcache_running(const struct bufcache *cache)
{
    return cache->running.length;
}

size_t bufcache_logged(const struct bufcache *cache)
{
    return cache->logged.length + cache->copies;
}

static gint compare_buffers(gconstpointer a, gconstpointer b)
{
    const struct buffer *x = *(struct buffer *const *)a, *y = *(struct buffer *const *)b;

    return x->block < y->block ? -1 : x->block > y->block;
}

GPtrArray *bufcache_freeze(struct bufcache *cache, uint64_t tid)
{
    GPtrArray *frozen = g_ptr_array_sized_new(cache->running.length);
    GList *link;

    while ((link = cache->running.head)) {
        struct buffer *buffer = link->data;

        g_ptr_array_add(frozen, buffer);
        drop_copy(cache, buffer); /* this transaction's version replaces it */
        buffer->logged_by = tid;
        buffer_set(cache, buffer, false, buffer->home_lacks ? buffer->home_lacks : tid);
    }
    g_ptr_array_sort(frozen, compare_buffers);
    return frozen;
}

uint64_t bufcache_block(const struct buffer *buffer)
{
    return buffer->block;
}

uint64_t bufcache_logged_by(const struct buffer *buffer)
{
    return buffer->logged_by;
}

void bufcache_copy_logged(struct buffer *buffer, uint8_t out[ENCSAN_BLOCK_BYTES])
{
    memcpy(out, buffer->logged ? buffer->logged : buffer->data, BLOCK);
    buffer->copied = buffer->logged_by;
}

static uint64_t oldest_lack(const GQueue *queue, uint64_t oldest)
{
    for (const GList *link = queue->head; link; link = link->next) {
        const struct buffer *buffer = link->data;

        if (buffer->home_lacks)
            oldest = MIN(oldest, buffer->home_lacks);
    }
    return oldest;
}

uint64_t bufcache_home_lacks(const struct bufcache *cache, uint64_t running)
{
    return oldest_lack(&cache->running, oldest_lack(&cache->logged, running));
}

GPtrArray *bufcache_not_at_home(struct bufcache *cache)
{
    GPtrArray *found = g_ptr_array_sized_new(cache->logged.length);

    for (GList *link = cache->logged.head; link; link = link->next)
        g_ptr_array_add(found, link->data);
    for (GList *link = cache->running.head; link; link = link->next)
        if (((struct buffer *)link->data)->home_lacks)
            g_ptr_array_add(found, link->data);
    g_ptr_array_sort(found, compare_buffers);
    return found;
}

void bufcache_is_home(struct bufcache *cache, struct buffer *buffer)
{
    if (buffer->logged_by > buffer->copied) { /* logged anew meanwhile */
        buffer_set(cache, buffer, buffer->running, buffer->copied + 1);
        return;
    }
    drop_copy(cache, buffer);
    buffer_set(cache, buffer, buffer->running, 0);
    if (buffer->freed)
        buffer_drop(cache, buffer);
    trim(cache);
}

/* Nobody reads it any more, unless the transaction that frees it is lost. */
static void forget(struct bufcache *cache, struct buffer *buffer)
{
    if (!buffer->home_lacks) {
        buffer_drop(cache, buffer);
        return;
    }
    if (buffer->logged) {
        memcpy(buffer->data, buffer->logged, BLOCK);
        drop_copy(cache, buffer);
    }
    buffer_set(cache, buffer, false, buffer->home_lacks);
    buffer->freed = true;
}

static void drop_if_freed(struct bufcache *cache, struct buffer *buffer)
{
    if (buffer->freed)
        buffer_drop(cache, buffer);
}

/* Calls each for the buffers in [block, block + count). */
static void each_in_range(struct bufcache *cache, blk64_t block, blk64_t count,
                          void (*each)(struct bufcache *cache, struct buffer *buffer))
{
    struct buffer *buffer;

    if (count > g_hash_table_size(cache->buffers)) { /* cheaper to look at all that is here */
        GList *all = g_hash_table_get_values(cache->buffers);

        for (GList *link = all; link; link = link->next) {
            buffer = link->data;
            if (buffer->block >= block && buffer->block - block < count)
                each(cache, buffer);
        }
        g_list_free(all);
        return;
    }
    for (blk64_t i = 0; i < count; i++) {
        buffer = buffer_find(cache, block + i);
        if (buffer)
            each(cache, buffer);
    }
}

void bufcache_forget(struct bufcache *cache, blk64_t block, blk64_t count)
{
    each_in_range(cache, block, count, forget);
}

void bufcache_drop_freed(struct bufcache *cache, blk64_t block, blk64_t count)
{
    each_in_range(cache, block, count, drop_if_freed);
}

/* ---- tries, and what is brought ahead ---- */

static gint compare_blocks(gconstpointer a, gconstpointer b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The run of those wanted that begins with the i-th, which is wanted. */
static uint64_t run_from(const struct bufcache *cache, const GArray *sorted, guint *i)
{
    uint64_t first = g_array_index(sorted, uint64_t, *i), last = first;

    for (++*i; *i < sorted->len; ++*i) {
        uint64_t block = g_array_index(sorted, uint64_t, *i);

        if (block - last > GAP || block - first >= JOINED)
            break;
        if (is_wanted(cache, block))
            last = block;
    }
    return last - first + 1;
}

/* Begins to bring them, from the i-th on, until much is under way. */
static void begin_to_bring(struct bufcache *cache, const GArray *sorted, unsigned reads_max, guint *i)
{
    while (*i < sorted->len && !is_much_under_way(cache) &&
           fetches_reads(cache->fetches) < reads_max) {
        uint64_t first = g_array_index(sorted, uint64_t, *i);

        if (is_wanted(cache, first))
            fetches_start(cache->fetches, first, run_from(cache, sorted, i), is_here, cache);
        else
            ++*i;
    }
}

static void sort_uniquely(GArray *blocks)
{
    uint64_t *all = (uint64_t *)(void *)blocks->data;
    guint n = 0;

    g_array_sort(blocks, compare_blocks);
    for (guint i = 0; i < blocks->len; i++)
        if (n == 0 || all[i] != all[n - 1])
            all[n++] = all[i];
    g_array_set_size(blocks, n);
}

void bufcache_want(struct bufcache *cache, GArray *blocks)
{
    guint i = 0;

    collect(cache);
    trim(cache);
    sort_uniquely(blocks);
    begin_to_bring(cache, blocks, UINT_MAX, &i);
}

static void bring(struct bufcache *cache, GArray *blocks, unsigned reads_max, pthread_mutex_t *lock)
{
    guint begun = 0, i = 0;

    collect(cache);
    trim(cache);
    sort_uniquely(blocks);
    while (i < blocks->len) {
        begin_to_bring(cache, blocks, reads_max, &begun);
        if (i < begun && !fetches_has(cache->fetches, g_array_index(blocks, uint64_t, i))) {
            i++;
            continue;
        }
        fetches_wait(cache->fetches, lock);
        collect(cache);
    }
}

void bufcache_bring(struct bufcache *cache, GArray *blocks, pthread_mutex_t *lock)
{
    bring(cache, blocks, UINT_MAX, lock);
}

void bufcache_bring_ahead(struct bufcache *cache, GArray *blocks, pthread_mutex_t *lock)
{
    bring(cache, blocks, READS_AHEAD_MAX, lock);
}

void bufcache_try(struct bufcache *cache, struct bufcache_tries *tries)
{
    collect(cache);
    cache->missed = false;
    cache->trying = tries->count++ < TRIES_MAX ? tries : NULL;
}

void bufcache_end_try(struct bufcache *cache)
{
    cache->trying = NULL;
}

/* The missing block and its neighbours. */
static void fetch_missing(struct bufcache *cache)
{
    uint64_t from = cache->missing - cache->missing % NEIGHBOURS;

    trim(cache);
    if (!is_wanted(cache, cache->missing))
        return;
    fetches_start(cache->fetches, cache->missing, 1, is_here, cache); /* needs no window of TCP's */
    fetches_start(cache->fetches, from, MIN(NEIGHBOURS, cache->blocks - from), is_here, cache);
}

bool bufcache_tried(struct bufcache *cache, pthread_mutex_t *lock)
{
    struct bufcache_tries *tries = cache->missed ? cache->trying : NULL;
    uint64_t block = cache->missing;

    cache->trying = NULL;
    if (!tries)
        return false;
    fetch_missing(cache);
    while (fetches_has(cache->fetches, block)) {
        fetches_wait(cache->fetches, lock);
        collect(cache);
    }
    if (!buffer_find(cache, block))
        tries->count = TRIES_MAX; /* the read itself will tell why */
    return true;
}
