// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * FUSE's operations that list a directory: names alone, or each with its attributes
 * and a lookup, so that nothing needs to be asked about it again.
 */
#define FUSE_USE_VERSION 314
#include "fs.h"

#include <string.h>
#include <fuse_lowlevel.h>

#include "ops.h"
#include "scout.h"

#define READDIR_BYTES_MAX (128u << 10)

struct listing {
    struct fs *fs;
    struct ops_job *job;
    struct inode *dir;
    char *buf;
    size_t size, used;
    bool plus, huge;
    GPtrArray *looked_up; /* struct inode, each with a lookup for the kernel */
};

static mode_t type_mode(int type)
{
    static const mode_t modes[] = {
        [EXT2_FT_REG_FILE] = S_IFREG, [EXT2_FT_DIR] = S_IFDIR,  [EXT2_FT_CHRDEV] = S_IFCHR,
        [EXT2_FT_BLKDEV] = S_IFBLK,   [EXT2_FT_FIFO] = S_IFIFO, [EXT2_FT_SOCK] = S_IFSOCK,
        [EXT2_FT_SYMLINK] = S_IFLNK};

    return type >= 0 && (size_t)type < G_N_ELEMENTS(modes) ? modes[type] : 0;
}

static bool add_plain(struct listing *l, const char *name, ext2_ino_t ino, int type, uint64_t next)
{
    const struct stat st = {.st_ino = ino, .st_mode = type_mode(type)};
    size_t len =
        fuse_add_direntry(l->job->req, l->buf + l->used, l->size - l->used, name, &st, (off_t)next);

    if (len > l->size - l->used)
        return false;
    l->used += len;
    return true;
}

/* The inodes of so many names, which lie in no order there, would throw each other out of the
 * cache: each is read when somebody asks for it. */
static bool is_huge(struct fs *fs, const struct inode *dir)
{
    const uint64_t name_bytes = 40; /* or thereabouts */

    return inode_size(dir) / name_bytes * EXT2_INODE_SIZE(fs->ext2->super) >
           bufcache_limit(fs->cache) * ENCSAN_BLOCK_BYTES;
}

/* Of a reply. */
static size_t plus_bytes(const struct ops_job *job, const char *name)
{
    return fuse_add_direntry_plus(job->req, NULL, 0, name, NULL, 0);
}

/* With its attributes, and a lookup; a name that can't be read is listed without. */
static bool add_plus(struct listing *l, const char *name, ext2_ino_t ino, int type, uint64_t next)
{
    struct fuse_entry_param e = {.attr = {.st_ino = ino, .st_mode = type_mode(type)}};
    bool dot = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    struct inode *inode = NULL;

    if (plus_bytes(l->job, name) > l->size - l->used)
        return false;
    if (!dot && (!l->huge || inode_find(l->fs, ino)) && inode_get(l->fs, ino, &inode) == 0)
        ops_fill_entry(l->fs, inode, &e);
    l->used += fuse_add_direntry_plus(l->job->req, l->buf + l->used, l->size - l->used, name, &e,
                                      (off_t)next);
    if (inode) {
        inode->parent = l->dir->ino;
        g_ptr_array_add(l->looked_up, inode);
    }
    return true;
}

/* The kernel did not get it: its lookups are given back. */
static void unlist(struct listing *l)
{
    pthread_mutex_lock(&l->fs->lock);
    for (guint i = 0; i < l->looked_up->len; i++)
        inode_put(l->fs, l->looked_up->pdata[i], 1);
    pthread_mutex_unlock(&l->fs->lock);
}

static int add_entry(void *opaque, const char *name, ext2_ino_t ino, int type, uint64_t next)
{
    struct listing *l = opaque;

    return !(l->plus ? add_plus : add_plain)(l, name, ino, type, next);
}

/* The blocks of the inodes that the reply will have: none of them may be missing when it is
 * filled, which is done under the lock. */
struct foresight {
    struct fs *fs;
    const struct ops_job *job;
    GArray *blocks; /* uint64_t */
    size_t bytes;   /* that are left of the reply */
};

static int foresee(void *opaque, const char *name, ext2_ino_t ino, int type, uint64_t next)
{
    struct foresight *f = opaque;
    size_t bytes = plus_bytes(f->job, name);
    uint64_t block = inode_table_block(f->fs, ino);

    if (bytes > f->bytes)
        return 1;
    f->bytes -= bytes;
    if (!inode_find(f->fs, ino))
        g_array_append_val(f->blocks, block);
    return 0;
}

/* All of its blocks, and those of the inodes, come in a few batches, and not one by one. */
static int bring(struct fs *fs, const struct ops_job *job, size_t size, bool plus)
{
    struct foresight f = {
        .fs = fs, .job = job, .blocks = g_array_new(FALSE, FALSE, sizeof(uint64_t))};
    struct bufcache_tries tries = {0};
    struct inode *dir;
    int error;

    do {
        bufcache_try(fs->cache, &tries);
        g_array_set_size(f.blocks, 0);
        f.bytes = size;
        error = ops_known(fs, job->ino, &dir);
        if (!error)
            error = dir_iterate(fs, dir, (uint64_t)job->offset, foresee, &f);
    } while (bufcache_tried(fs->cache, &fs->lock));
    if (!error && plus && !is_huge(fs, dir))
        bufcache_bring(fs->cache, f.blocks, &fs->lock);
    g_array_free(f.blocks, TRUE);
    return error;
}

static void list(struct fs *fs, struct ops_job *job, bool plus)
{
    size_t size = MIN(job->size, READDIR_BYTES_MAX);
    struct listing l = {.fs = fs,
                        .job = job,
                        .buf = g_malloc(size),
                        .size = size,
                        .plus = plus,
                        .looked_up = g_ptr_array_new()};
    int error;

    pthread_mutex_lock(&fs->lock);
    error = bring(fs, job, size, plus);
    if (!error)
        error = ops_known(fs, job->ino, &l.dir);
    l.huge = !error && is_huge(fs, l.dir);
    if (!error)
        error = dir_iterate(fs, l.dir, (uint64_t)job->offset, add_entry, &l);
    if (!error)
        inode_was_read(fs, l.dir);
    if (!error && job->offset == 0)
        scout_listed(fs->scout, l.dir);
    pthread_mutex_unlock(&fs->lock);
    if (error && l.used == 0)
        ops_reply_error(job, error);
    else if (!ops_may_reply(job) || fuse_reply_buf(job->req, l.buf, l.used) != 0)
        unlist(&l);
    g_ptr_array_free(l.looked_up, TRUE);
    g_free(l.buf);
}

static void run_readdir(struct fs *fs, struct ops_job *job)
{
    list(fs, job, false);
}

static void run_readdirplus(struct fs *fs, struct ops_job *job)
{
    list(fs, job, true);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                struct fuse_file_info *fi)
{
    ops_work(req, ino, run_readdir, (struct ops_job){.size = size, .offset = offset});
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    ops_work(req, ino, run_readdirplus, (struct ops_job){.size = size, .offset = offset});
}
