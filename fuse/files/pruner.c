// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * FUSE_NOTIFY_PRUNE (Linux 6.18) drops the names of inodes that nobody uses, and only
 * those: what is open, a working directory or mounted on stays. The FORGETs of the others follow.
 * The notification to invalidate an entry would do that, too, but also takes the name away from
 * who has the file open, and unmounts what is mounted there. libfuse does not know
 * FUSE_NOTIFY_PRUNE yet, so it is written here; older kernels refuse it, and forget only
 * when they are short of memory themselves.
 *
 * The oldest are asked for first. A directory goes after what is in it, so those that stay
 * are asked for again when all others were.
 *
 * The kernel answers by requests, and may wait for pages that are being read: so the thread
 * that asks holds no lock.
 */
#define FUSE_USE_VERSION 314
#include "pruner.h"

#include <errno.h>
#include <stddef.h>
#include <linux/fuse.h>
#include <sys/uio.h>
#include <time.h>
#include <fuse_lowlevel.h>

#define NOTIFY_PRUNE 9 /* FUSE_NOTIFY_PRUNE */
#define ASKED_AT_ONCE 512
#define KEPT(limit) ((limit) / 8 * 7)
#define FORGET_S 1 /* then most of those that were asked for are in use */

struct prune_out { /* struct fuse_notify_prune_out, and what follows it */
    uint32_t count, padding;
    uint64_t spare;
    uint64_t nodes[ASKED_AT_ONCE];
};

struct pruner {
    struct fs *fs;
    pthread_t thread;
    pthread_cond_t changed; /* with fs->lock, as the rest */
    bool stopping;
    size_t known;            /* when it changed last */
    size_t asked; /* for so many, and it waits for them; 0: it does not */
    size_t forgotten; /* since it began to ask */
};

static size_t count_known(const struct pruner *p)
{
    return g_hash_table_size(p->fs->inodes);
}

void pruner_look(struct pruner *p)
{
    size_t known = count_known(p);

    if (known < p->known)
        p->forgotten++;
    p->known = known;
    if (p->asked ? p->forgotten >= p->asked / 2 : known > p->fs->inodes_limit)
        pthread_cond_signal(&p->changed);
}

/* Up to `most` of the oldest, which become the youngest. */
static void choose(struct pruner *p, size_t most, struct prune_out *out)
{
    out->count = 0;
    for (; out->count < MIN(most, ASKED_AT_ONCE); out->count++) {
        GList *oldest = g_queue_pop_head_link(&p->fs->known);
        const struct inode *inode = oldest->data;

        out->nodes[out->count] = inode->ino == EXT2_ROOT_INO ? FUSE_ROOT_ID : inode->ino;
        g_queue_push_tail_link(&p->fs->known, oldest);
    }
}

/* fs->lock not held. 0 or -errno. */
static int ask(struct pruner *p, struct prune_out *out)
{
    size_t bytes = offsetof(struct prune_out, nodes) + out->count * sizeof out->nodes[0];
    struct fuse_out_header header = {.len = (uint32_t)(sizeof header + bytes), .error = NOTIFY_PRUNE};
    struct iovec parts[] = {{&header, sizeof header}, {out, bytes}};

    return writev(p->fs->fuse_fd, parts, G_N_ELEMENTS(parts)) < 0 ? -errno : 0;
}

/* Asks for as many as are too many. Lets go of fs->lock meanwhile. */
static int ask_for_excess(struct pruner *p)
{
    struct prune_out out = {0};
    size_t excess = count_known(p) - KEPT(p->fs->inodes_limit);
    int error = 0;

    p->asked = excess;
    p->forgotten = 0;
    for (; excess > 0 && count_known(p) >= excess && !error && !p->stopping; excess -= out.count) {
        choose(p, excess, &out);
        pthread_mutex_unlock(&p->fs->lock);
        error = ask(p, &out);
        pthread_mutex_lock(&p->fs->lock);
    }
    return error;
}

static void await_forgets(struct pruner *p)
{
    struct timespec when;
    int error = 0;

    clock_gettime(CLOCK_MONOTONIC, &when);
    when.tv_sec += FORGET_S;
    while (!p->stopping && error != ETIMEDOUT && p->forgotten < p->asked / 2)
        error = pthread_cond_timedwait(&p->changed, &p->fs->lock, &when);
    p->asked = 0;
}

static void *prune(void *opaque)
{
    struct pruner *p = opaque;
    int error = 0;

    pthread_mutex_lock(&p->fs->lock);
    while (!p->stopping && !error) {
        if (count_known(p) <= p->fs->inodes_limit) {
            pthread_cond_wait(&p->changed, &p->fs->lock);
            continue;
        }
        error = ask_for_excess(p);
        await_forgets(p);
    }
    pthread_mutex_unlock(&p->fs->lock);
    return NULL;
}

static void free_pruner(struct pruner *p)
{
    pthread_cond_destroy(&p->changed);
    g_free(p);
}

void pruner_start(struct fs *fs)
{
    struct pruner *p = g_new0(struct pruner, 1);
    pthread_condattr_t attr;

    p->fs = fs;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->changed, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&p->thread, NULL, prune, p) != 0) {
        free_pruner(p);
        return;
    }
    pthread_mutex_lock(&fs->lock);
    fs->pruner = p;
    pthread_mutex_unlock(&fs->lock);
}

void pruner_stop(struct fs *fs)
{
    struct pruner *p;

    pthread_mutex_lock(&fs->lock);
    p = fs->pruner;
    fs->pruner = NULL;
    if (p) {
        p->stopping = true;
        pthread_cond_signal(&p->changed);
    }
    pthread_mutex_unlock(&fs->lock);
    if (!p)
        return;
    pthread_join(p->thread, NULL);
    free_pruner(p);
}
