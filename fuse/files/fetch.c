// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A fetch is a run of blocks that one read brings. It is on its way, then arrived, then
 * collected, which ends it. Its blocks that the cache had, or another fetch has, when it
 * began, and those that were changed meanwhile, may be older in its answer than what was brought home since: they are
 * spoiled, and are read again if they are needed again.
 */
#include "fetch.h"

#include <string.h>

#define BLOCK ((uint64_t)ENCSAN_BLOCK_BYTES)

struct fetch {
    struct fetches *fetches;
    uint64_t first, count;
    uint8_t *data;
    bool *spoiled; /* by block */
    bool arrived;  /* arrival_lock, with the error */
    int error;
    GList link;
};

struct fetches {
    struct encsan *volume;
    GQueue all;           /* this and the next two are of the cache's lock */
    GHashTable *by_block; /* -> struct fetch, but for spoiled ones */
    uint64_t blocks;
    pthread_mutex_t arrival_lock; /* held for an instant only: the volume's threads take it */
    pthread_cond_t arrival;
    uint64_t started, come;
    unsigned arrived; /* of those that have come: and not collected */
};

struct fetches *fetches_new(struct encsan *volume)
{
    struct fetches *f = g_new0(struct fetches, 1);

    f->volume = volume;
    g_queue_init(&f->all);
    f->by_block = g_hash_table_new(g_direct_hash, g_direct_equal);
    pthread_mutex_init(&f->arrival_lock, NULL);
    pthread_cond_init(&f->arrival, NULL);
    return f;
}

static void ignore(void *opaque, uint64_t block, const uint8_t *data)
{
}

void fetches_free(struct fetches *f)
{
    while (f->all.length) {
        fetches_wait(f, NULL);
        fetches_collect(f, ignore, NULL);
    }
    g_hash_table_destroy(f->by_block);
    pthread_cond_destroy(&f->arrival);
    pthread_mutex_destroy(&f->arrival_lock);
    g_free(f);
}

uint64_t fetches_blocks(const struct fetches *f)
{
    return f->blocks;
}

unsigned fetches_reads(const struct fetches *f)
{
    return f->all.length;
}

static gpointer key(uint64_t block)
{
    return GSIZE_TO_POINTER(block);
}

bool fetches_has(const struct fetches *f, uint64_t block)
{
    return g_hash_table_contains(f->by_block, key(block));
}

void fetches_spoil(struct fetches *f, uint64_t block)
{
    struct fetch *fetch = g_hash_table_lookup(f->by_block, key(block));

    if (!fetch)
        return;
    fetch->spoiled[block - fetch->first] = true;
    g_hash_table_remove(f->by_block, key(block));
}

static void has_come(void *opaque, int error)
{
    struct fetch *fetch = opaque;
    struct fetches *f = fetch->fetches;

    pthread_mutex_lock(&f->arrival_lock);
    fetch->arrived = true;
    fetch->error = error;
    f->come++;
    f->arrived++;
    pthread_cond_broadcast(&f->arrival);
    pthread_mutex_unlock(&f->arrival_lock);
}

void fetches_start(struct fetches *f, uint64_t first, uint64_t count,
                   bool (*unwanted)(void *opaque, uint64_t block), void *opaque)
{
    struct fetch *fetch = g_new0(struct fetch, 1);

    fetch->fetches = f;
    fetch->first = first;
    fetch->count = count;
    fetch->data = g_malloc(count * BLOCK);
    fetch->spoiled = g_new(bool, count);
    for (uint64_t i = 0; i < count; i++) {
        fetch->spoiled[i] = fetches_has(f, first + i) || unwanted(opaque, first + i);
        if (!fetch->spoiled[i])
            g_hash_table_insert(f->by_block, key(first + i), fetch);
    }
    fetch->link.data = fetch;
    g_queue_push_tail_link(&f->all, &fetch->link);
    f->blocks += count;
    pthread_mutex_lock(&f->arrival_lock);
    f->started++;
    pthread_mutex_unlock(&f->arrival_lock);
    encsan_read_async(f->volume, fetch->data, count * BLOCK, first * BLOCK, has_come, fetch);
}

static void end(struct fetches *f, struct fetch *fetch)
{
    for (uint64_t i = 0; i < fetch->count; i++)
        if (!fetch->spoiled[i])
            g_hash_table_remove(f->by_block, key(fetch->first + i));
    g_queue_unlink(&f->all, &fetch->link);
    f->blocks -= fetch->count;
    g_free(fetch->spoiled);
    g_free(fetch->data);
    g_free(fetch);
}

/* One that has come leaves the count. */
static struct fetch *next_arrived(struct fetches *f)
{
    struct fetch *found = NULL;

    pthread_mutex_lock(&f->arrival_lock);
    for (GList *link = f->arrived ? f->all.head : NULL; link && !found; link = link->next)
        if (((struct fetch *)link->data)->arrived)
            found = link->data;
    f->arrived -= found != NULL;
    pthread_mutex_unlock(&f->arrival_lock);
    return found;
}

void fetches_collect(struct fetches *f,
                     void (*take)(void *opaque, uint64_t block, const uint8_t *data), void *opaque)
{
    struct fetch *fetch;

    while (f->all.length && (fetch = next_arrived(f))) {
        for (uint64_t i = 0; i < fetch->count && !fetch->error; i++)
            if (!fetch->spoiled[i])
                take(opaque, fetch->first + i, fetch->data + i * BLOCK);
        end(f, fetch);
    }
}

void fetches_wait(struct fetches *f, pthread_mutex_t *lock)
{
    uint64_t before;

    pthread_mutex_lock(&f->arrival_lock);
    if (lock)
        pthread_mutex_unlock(lock);
    before = f->come; /* another thread may collect what has come */
    while (!f->arrived && f->come == before && f->come < f->started)
        pthread_cond_wait(&f->arrival, &f->arrival_lock);
    pthread_mutex_unlock(&f->arrival_lock);
    if (lock)
        pthread_mutex_lock(lock);
}
