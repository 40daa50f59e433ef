// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Going ahead of who walks through a tree: scout_tree.c knows which directories come next, and
 * scout_data.c which files' data. Here are the threads, and what both need.
 *
 * It only reads, and what it brings is in the cache or is not: errors are for those who
 * read it in earnest.
 */
#include "scout.h"

#include <errno.h>

#include "scout_data.h"
#include "scout_tree.h"

#define THREADS 3 /* a tree's, and others */

struct scout {
    struct fs *fs;
    GThreadPool *pool; /* of struct task */
    struct scout_tree *tree;
};

struct task {
    void (*run)(struct finds *f, void *what);
    void *what;
};

static void note_block(struct finds *f, uint64_t block)
{
    g_array_append_val(f->blocks, block);
}

void scout_find(struct finds *f, ext2_ino_t ino, scout_note *note)
{
    struct bufcache_tries tries = {0};
    struct inode *dir;

    do {
        bufcache_try(f->fs->cache, &tries);
        g_array_set_size(f->inos, 0);
        dir = inode_find(f->fs, ino);
        if (dir)
            dir_iterate(f->fs, dir, 0, note, f);
    } while (bufcache_tried(f->fs->cache, &f->fs->lock));
}

void scout_bring_inodes(struct finds *f, guint from, guint to)
{
    g_array_set_size(f->blocks, 0);
    for (guint i = from; i < to; i++)
        note_block(f, inode_table_block(f->fs, g_array_index(f->inos, ext2_ino_t, i)));
    bufcache_bring_ahead(f->fs->cache, f->blocks, &f->fs->lock);
}

/* Each that is still there: they were found some time ago. */
void scout_each(struct finds *f, guint from, guint to,
                void (*look)(struct finds *f, struct inode *inode))
{
    for (guint i = from; i < to; i++) {
        struct bufcache_tries tries = {0};
        struct inode *inode;
        int error;

        bufcache_try(f->fs->cache, &tries);
        error = inode_get(f->fs, g_array_index(f->inos, ext2_ino_t, i), &inode);
        if (!error)
            look(f, inode);
        bufcache_end_try(f->fs->cache);
        if (!error)
            inode_put(f->fs, inode, 1);
    }
}

void scout_bring_from_each(struct finds *f, guint from, guint to,
                           void (*look)(struct finds *f, struct inode *inode))
{
    g_array_set_size(f->blocks, 0);
    scout_each(f, from, to, look);
    bufcache_bring_ahead(f->fs->cache, f->blocks, &f->fs->lock);
}

static void go(gpointer data, gpointer opaque)
{
    struct scout *scout = opaque;
    struct task *task = data;
    struct finds f = {scout->fs, g_array_new(FALSE, FALSE, sizeof(ext2_ino_t)),
                      g_array_new(FALSE, FALSE, sizeof(uint64_t))};

    pthread_mutex_lock(&f.fs->lock);
    task->run(&f, task->what);
    pthread_mutex_unlock(&f.fs->lock);
    g_array_free(f.inos, TRUE);
    g_array_free(f.blocks, TRUE);
    g_free(task);
}

static void push(struct scout *scout, void (*run)(struct finds *f, void *what), void *what)
{
    struct task *task = g_new(struct task, 1);

    *task = (struct task){run, what};
    g_thread_pool_push(scout->pool, task, NULL);
}

void scout_listed(struct scout *scout, struct inode *dir)
{
    if (scout_tree_listed(scout->tree, dir))
        push(scout, scout_tree_go, scout->tree);
}

static struct inode *parent_of(struct fs *fs, const struct inode *inode)
{
    return inode->parent ? inode_find(fs, inode->parent) : NULL;
}

bool scout_has_read(struct fs *fs, const struct inode *inode)
{
    const struct inode *dir = parent_of(fs, inode);

    return dir && dir->data_scouted;
}

void scout_read(struct scout *scout, struct inode *inode)
{
    struct inode *dir = parent_of(scout->fs, inode);

    if (!dir || !LINUX_S_ISREG(inode->raw.i_mode) || inode_size(inode) > FS_SMALL_FILE_BYTES)
        return;
    dir->small_reads++;
    if (dir->small_reads == (dir->data_scouted ? 1 : 2))
        push(scout, scout_data, GUINT_TO_POINTER(dir->ino));
}

struct scout *scout_new(struct fs *fs)
{
    struct scout *scout = g_new(struct scout, 1);

    scout->fs = fs;
    scout->tree = scout_tree_new(fs);
    scout->pool = g_thread_pool_new_full(go, scout, g_free, THREADS, FALSE, NULL);
    return scout;
}

void scout_free(struct scout *scout)
{
    if (!scout)
        return;
    pthread_mutex_lock(&scout->fs->lock);
    scout_tree_stop(scout->tree);
    pthread_mutex_unlock(&scout->fs->lock);
    g_thread_pool_free(scout->pool, TRUE, TRUE);
    scout_tree_free(scout->tree);
    g_free(scout);
}
