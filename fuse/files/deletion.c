// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The deletion of a file. It has lost its last name, and is on the orphan list; now the kernel has
 * forgotten it. A file with few blocks goes at once, in the transaction in which that is heard. A larger
 * one, or one for which something has to be fetched, waits in `dying` for the thread here, and loses its
 * blocks step by step, in as many transactions as they need; all of them get a step in turn, so that
 * small ones do not wait for large ones. It stays on the orphan list, and in the table with
 * no lookup, until its inode is free in the last step: nobody finds it, and nobody gets its number.
 *
 * Everything is under fs->lock, which the thread lets go of between two steps.
 */
#include "deletion.h"

#include <pthread.h>

#include "held.h"
#include "journal.h"
#include "orphans.h"
#include "punch.h"

struct deletion_thread {
    struct fs *fs;
    pthread_t thread;
    pthread_cond_t wake;
    pthread_cond_t idle; /* `dying` is empty, or nothing is deleted any more */
    bool stopping;
    GQueue dying; /* struct inode */
};

/* Its slot is free again. */
static int free_inode(struct fs *fs, struct inode *inode)
{
    int error = xattr_free_all(fs, inode);

    if (!error)
        error = orphans_remove(fs, inode);
    return error ? error : inode_free(fs, inode);
}

static bool has_blocks(struct fs *fs, struct inode *inode)
{
    return ext2fs_inode_has_valid_blocks2(fs->ext2, EXT2_INODE(&inode->raw));
}

static int delete_at_once(struct fs *fs, struct inode *inode)
{
    int error = has_blocks(fs, inode) ? punch_at_once(fs, inode, 0, UINT64_MAX) : 0;

    return error ? error : free_inode(fs, inode);
}

/* *gone: it was the last one. */
static int delete_step(struct fs *fs, struct inode *inode, bool *gone)
{
    uint64_t end = has_blocks(fs, inode) ? UINT64_MAX : 0;
    int error = 0;

    if (end)
        error = punch_step(fs, inode, 0, &end);
    else
        journal_admit(fs->journal);
    *gone = end == 0;
    if (!error && fs->error)
        error = fs->error;
    return error || !*gone ? error : free_inode(fs, inode);
}

int deletion_finish(struct fs *fs, struct inode *inode)
{
    bool gone = false;
    int error = 0;

    while (!gone && !error)
        error = delete_step(fs, inode, &gone);
    return error;
}

void deletion_begin(struct fs *fs, struct inode *inode)
{
    struct deletion_thread *t = fs->deletion_thread;

    held_drop(fs, inode);
    unordered_drop(fs, inode, 0, UINT64_MAX);
    window_drop(fs, inode);
    if (!has_blocks(fs, inode) || punch_is_little(fs, inode)) {
        if (delete_at_once(fs, inode) != 0)
            fs_fail(fs, -EIO);
        inode_drop(fs, inode);
    } else if (t) {
        g_queue_push_tail(&t->dying, inode);
        pthread_cond_signal(&t->wake);
    } /* else the file system closes, and everything goes */
}

void deletion_await(struct fs *fs)
{
    struct deletion_thread *t = fs->deletion_thread;

    while (t && !g_queue_is_empty(&t->dying) && !fs->error)
        pthread_cond_wait(&t->idle, &fs->lock);
}

/* ---- the thread ---- */

/* A step of the one that has waited longest. */
static void go_on(struct deletion_thread *t)
{
    struct inode *inode = g_queue_peek_head(&t->dying);
    bool gone;
    int error = delete_step(t->fs, inode, &gone);

    g_queue_pop_head(&t->dying);
    if (error)
        fs_fail(t->fs, error);
    if (error || !gone)
        g_queue_push_tail(&t->dying, inode);
    else
        inode_drop(t->fs, inode);
}

static void *delete(void *opaque)
{
    struct deletion_thread *t = opaque;

    pthread_mutex_lock(&t->fs->lock);
    while (!t->stopping) {
        if (g_queue_is_empty(&t->dying) || t->fs->error) {
            pthread_cond_broadcast(&t->idle);
            pthread_cond_wait(&t->wake, &t->fs->lock);
        } else {
            go_on(t);
            fs_let_others(t->fs);
        }
    }
    pthread_mutex_unlock(&t->fs->lock);
    return NULL;
}

static void free_thread(struct deletion_thread *t)
{
    pthread_cond_destroy(&t->wake);
    pthread_cond_destroy(&t->idle);
    g_queue_clear(&t->dying);
    g_free(t);
}

int deletion_start(struct fs *fs)
{
    struct deletion_thread *t = g_new0(struct deletion_thread, 1);
    int error;

    t->fs = fs;
    pthread_cond_init(&t->wake, NULL);
    pthread_cond_init(&t->idle, NULL);
    g_queue_init(&t->dying);
    error = pthread_create(&t->thread, NULL, delete, t);
    if (error) {
        free_thread(t);
        return -error;
    }
    pthread_mutex_lock(&fs->lock);
    fs->deletion_thread = t;
    pthread_mutex_unlock(&fs->lock);
    return 0;
}

void deletion_stop(struct fs *fs)
{
    struct deletion_thread *t = fs->deletion_thread;

    if (!t)
        return;
    pthread_mutex_lock(&fs->lock);
    t->stopping = true;
    fs->deletion_thread = NULL;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&fs->lock);
    pthread_join(t->thread, NULL);
    free_thread(t);
}
