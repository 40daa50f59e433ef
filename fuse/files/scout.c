// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Going ahead of who walks through a tree. When a directory is listed, those in it probably
 * will be, too: each of them in turn would cost a round trip for its block and one for the
 * inodes of what is in it. Here all of them are brought side by side.
 *
 * It only reads, and what it brings is in the cache or is not: errors are for those who
 * read it in earnest.
 */
#include "scout.h"

#include <errno.h>

#include "dirblock.h"
#include "scout_data.h"

#define THREADS 2
#define CHUNK 128      /* directories that are looked at under one hold of fs->lock */
#define BLOCKS_EACH 16 /* of a directory, that are brought */

struct scout {
    struct fs *fs;
    GThreadPool *pool; /* of struct task */
};

struct task {
    void (*look)(struct finds *f, ext2_ino_t ino);
    ext2_ino_t ino;
};

static void note_block(struct finds *f, uint64_t block)
{
    g_array_append_val(f->blocks, block);
}

static int note_dir(void *opaque, const char *name, ext2_ino_t ino, int type, uint64_t cookie)
{
    struct finds *f = opaque;

    if (type == EXT2_FT_DIR && cookie > 2) /* not "." and ".." */
        g_array_append_val(f->inos, ino);
    return f->inos->len >= bufcache_limit(f->fs->cache) / 4;
}

static int note_inode(void *opaque, const char *name, ext2_ino_t ino, int type, uint64_t cookie)
{
    struct finds *f = opaque;

    if (cookie > 2 && !inode_find(f->fs, ino))
        note_block(f, inode_table_block(f->fs, ino));
    return f->blocks->len >= bufcache_limit(f->fs->cache) / 4;
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

/* Its first blocks, where its inode says that they are. */
static void note_blocks(struct finds *f, struct inode *dir)
{
    uint32_t count = MIN(dirblock_count(f->fs, dir), BLOCKS_EACH);
    uint64_t block;

    if (!LINUX_S_ISDIR(dir->raw.i_mode))
        return;
    for (uint32_t n = 0; n < count; n++)
        if (dirblock_place(f->fs, dir, n, &block) == 0)
            note_block(f, block);
}

static void note_children(struct finds *f, struct inode *dir)
{
    if (dirblock_count(f->fs, dir) <= BLOCKS_EACH)
        dir_iterate(f->fs, dir, 0, note_inode, f);
}

void scout_bring_inodes(struct finds *f, guint from, guint to)
{
    g_array_set_size(f->blocks, 0);
    for (guint i = from; i < to; i++)
        note_block(f, inode_table_block(f->fs, g_array_index(f->inos, ext2_ino_t, i)));
    bufcache_bring(f->fs->cache, f->blocks, &f->fs->lock);
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

static void bring_from_each(struct finds *f, guint from, guint to,
                            void (*look)(struct finds *f, struct inode *dir))
{
    g_array_set_size(f->blocks, 0);
    scout_each(f, from, to, look);
    bufcache_bring(f->fs->cache, f->blocks, &f->fs->lock);
}

static void look_into(struct finds *f, ext2_ino_t ino)
{
    scout_find(f, ino, note_dir);
    for (guint i = 0; i < f->inos->len; i += CHUNK) {
        guint end = MIN(i + CHUNK, f->inos->len);

        scout_bring_inodes(f, i, end);
        bring_from_each(f, i, end, note_blocks);
        bring_from_each(f, i, end, note_children);
    }
}

static void go(gpointer data, gpointer opaque)
{
    struct scout *scout = opaque;
    struct task *task = data;
    struct finds f = {scout->fs, g_array_new(FALSE, FALSE, sizeof(ext2_ino_t)),
                      g_array_new(FALSE, FALSE, sizeof(uint64_t))};

    pthread_mutex_lock(&f.fs->lock);
    task->look(&f, task->ino);
    pthread_mutex_unlock(&f.fs->lock);
    g_array_free(f.inos, TRUE);
    g_array_free(f.blocks, TRUE);
    g_free(task);
}

static void push(struct scout *scout, void (*look)(struct finds *f, ext2_ino_t ino), ext2_ino_t ino)
{
    struct task *task = g_new(struct task, 1);

    *task = (struct task){look, ino};
    g_thread_pool_push(scout->pool, task, NULL);
}

void scout_listed(struct scout *scout, struct inode *dir)
{
    if (dir->scouted)
        return;
    dir->scouted = true;
    push(scout, look_into, dir->ino);
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
        push(scout, scout_data, dir->ino);
}

struct scout *scout_new(struct fs *fs)
{
    struct scout *scout = g_new(struct scout, 1);

    scout->fs = fs;
    scout->pool = g_thread_pool_new(go, scout, THREADS, FALSE, NULL);
    return scout;
}

void scout_free(struct scout *scout)
{
    if (!scout)
        return;
    g_thread_pool_free(scout->pool, TRUE, TRUE);
    g_free(scout);
}
