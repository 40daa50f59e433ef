// SPDX-License-Identifier: LGPL-2.1-or-later
#include "discards.h"

#include <pthread.h>
#include <stdbool.h>

#include "fs.h"
#include "journal.h"

#define BLOCK ENCSAN_BLOCK_BYTES

struct discards {
    struct fs *fs;
    pthread_t thread;
    pthread_cond_t wake;
    pthread_cond_t idle; /* nothing waits */
    bool stopping;
    GQueue waiting; /* GArray of struct block_run; the first one is worked on */
};

/* That the far disk does not take a run is no loss. fs->lock held, and let go of meanwhile. */
static void give_back(struct discards *d, const GArray *runs)
{
    for (guint i = 0; i < runs->len; i++) {
        struct block_run run = g_array_index(runs, struct block_run, i);

        pthread_mutex_unlock(&d->fs->lock);
        encsan_discard(d->fs->volume, run.count * BLOCK, run.first * BLOCK);
        pthread_mutex_lock(&d->fs->lock);
        journal_let_go(d->fs->journal, &run);
    }
}

static void *give_all_back(void *opaque)
{
    struct discards *d = opaque;
    GArray *runs;

    pthread_mutex_lock(&d->fs->lock);
    for (;;) {
        while (!d->stopping && g_queue_is_empty(&d->waiting))
            pthread_cond_wait(&d->wake, &d->fs->lock);
        runs = g_queue_peek_head(&d->waiting);
        if (!runs)
            break;
        give_back(d, runs);
        g_queue_pop_head(&d->waiting);
        g_array_free(runs, TRUE);
        if (g_queue_is_empty(&d->waiting))
            pthread_cond_broadcast(&d->idle);
    }
    pthread_mutex_unlock(&d->fs->lock);
    return NULL;
}

static void free_discards(struct discards *d)
{
    pthread_cond_destroy(&d->wake);
    pthread_cond_destroy(&d->idle);
    g_free(d);
}

struct discards *discards_start(struct fs *fs)
{
    struct discards *d = g_new0(struct discards, 1);

    d->fs = fs;
    pthread_cond_init(&d->wake, NULL);
    pthread_cond_init(&d->idle, NULL);
    g_queue_init(&d->waiting);
    if (pthread_create(&d->thread, NULL, give_all_back, d) == 0)
        return d;
    free_discards(d);
    return NULL;
}

void discards_stop(struct discards *d)
{
    pthread_mutex_lock(&d->fs->lock);
    d->stopping = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->fs->lock);
    pthread_join(d->thread, NULL);
    free_discards(d);
}

void discards_add(struct discards *d, GArray *runs)
{
    g_queue_push_tail(&d->waiting, runs);
    pthread_cond_signal(&d->wake);
}

void discards_await(struct discards *d)
{
    while (!g_queue_is_empty(&d->waiting))
        pthread_cond_wait(&d->idle, &d->fs->lock);
}
