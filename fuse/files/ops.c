// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * FUSE's low-level operations: translation, and nothing else.
 *
 * libfuse has as many threads as there are requests (view.c), so each is worked on
 * where it was read and may wait there: for the network, for fs->lock, for a data
 * lock. (A pool of our own would cost two more changes of threads for each
 * request: most of the time of a creation.) Forgets, of which there may be very
 * many, and which may have to wait for others, follow each other on a thread of
 * their own. A request whose process is being killed is answered early
 * (interrupt.h), and its work goes on.
 *
 * The kernel may cache everything for ever: nobody else writes the volume. So
 * there is no OPEN and no RELEASE, and the life of an inode is its lookup
 * count. FUSE's root is 1, ext4's is 2; all other numbers are the same.
 */
#define FUSE_USE_VERSION 314
#include "fs.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <fuse_lowlevel.h>

#include "../buffers.h"
#include "deletion.h"
#include "flags.h"
#include "journal.h"
#include "ops.h"
#include "pruner.h"
#include "scout.h"

#define FOREVER_S 1e9
#define ORPHAN_US 10000
#define ORPHAN_TRIES 50
#define MAX_BACKGROUND 64

/* Also by the volume's threads, which must not wait: not under fs->lock. */
static void count_request(struct fs *fs, int change)
{
    pthread_mutex_lock(&fs->counts_lock);
    fs->requests += (unsigned)change;
    if (fs->requests == 0)
        pthread_cond_broadcast(&fs->no_requests);
    pthread_mutex_unlock(&fs->counts_lock);
}

void ops_work(fuse_req_t req, fuse_ino_t ino, void (*run)(struct fs *fs, struct ops_job *job),
              struct ops_job job)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct fs *fs = fuse_req_userdata(req);

    job.fs = fs;
    job.req = req;
    job.ino = ino;
    job.uid = ctx->uid;
    job.gid = ctx->gid;
    job.umask = ctx->umask;
    count_request(fs, +1);
    interrupts_enter(fs->interrupts, &job.interruptible, req);
    run(fs, &job);
    count_request(fs, -1);
}

/* ---- common ---- */

static ext2_ino_t ext4_ino(fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? EXT2_ROOT_INO : (ext2_ino_t)ino;
}

int ops_known(struct fs *fs, fuse_ino_t ino, struct inode **inode)
{
    *inode = inode_find(fs, ext4_ino(ino));
    if (*inode)
        return 0;
    return ino == FUSE_ROOT_ID ? inode_get(fs, EXT2_ROOT_INO, inode) : -ESTALE;
}

/* The volume may have failed before anything was written back to it. */
static int writable(struct fs *fs)
{
    int error = fs->read_only ? 0 : encsan_error(fs->volume);

    if (error)
        fs_fail(fs, error);
    return fs->read_only || fs->error ? -EROFS : 0;
}

int ops_known_for_change(struct fs *fs, fuse_ino_t ino, struct inode **inode)
{
    int error = writable(fs);

    if (!error) {
        journal_admit(fs->journal);
        error = writable(fs);
    }
    return error ? error : ops_known(fs, ino, inode);
}

bool ops_may_reply(struct ops_job *job)
{
    return interrupts_leave(job->fs->interrupts, &job->interruptible);
}

void ops_reply_error(struct ops_job *job, int error)
{
    if (ops_may_reply(job))
        fuse_reply_err(job->req, -error);
}

void ops_fill_entry(struct fs *fs, const struct inode *inode, struct fuse_entry_param *e)
{
    memset(e, 0, sizeof *e);
    e->ino = inode->ino == EXT2_ROOT_INO ? FUSE_ROOT_ID : inode->ino;
    e->generation = inode->raw.i_generation;
    e->attr_timeout = e->entry_timeout = FOREVER_S;
    inode_stat(fs, inode, &e->attr);
}

/* The caller has the inode with a lookup for the kernel. fs->lock not held. */
static void reply_entry(struct ops_job *job, const struct fuse_entry_param *e)
{
    struct inode *inode;

    if (ops_may_reply(job) && fuse_reply_entry(job->req, e) == 0)
        return;
    /* the kernel did not get it: its lookup is given back */
    pthread_mutex_lock(&job->fs->lock);
    inode = inode_find(job->fs, ext4_ino(e->ino));
    if (inode)
        inode_put(job->fs, inode, 1);
    pthread_mutex_unlock(&job->fs->lock);
}

/* fs->lock held; let go of meanwhile */
static int sync_locked(struct fs *fs, struct inode *inode)
{
    int error;

    pthread_mutex_unlock(&fs->lock);
    error = fs_sync(fs, inode);
    pthread_mutex_lock(&fs->lock);
    return error;
}

/* What was done to names, if that has to be durable before it is answered. */
static int sync_names(struct fs *fs, const struct inode *dir)
{
    return fs->dirsync || flags_are_dirsync(dir) ? sync_locked(fs, NULL) : 0;
}

/* What chattr(1) made so the kernel does not know, and it sends no FSYNC. */
int ops_sync_inode(struct fs *fs, struct inode *inode)
{
    bool sync;

    pthread_mutex_lock(&fs->lock);
    sync = fs->sync || flags_are_sync(inode);
    pthread_mutex_unlock(&fs->lock);
    return sync ? fs_sync(fs, inode) : 0;
}

static void reply_made(struct fs *fs, struct ops_job *job, int error, struct inode *inode)
{
    struct fuse_entry_param e;
    bool unsure = !error && ops_is_being_unlinked(fs, job, inode);

    if (!error)
        ops_fill_entry(fs, inode, &e);
    if (unsure) {
        e.attr.st_nlink++;
        e.attr_timeout = 0;
    }
    pthread_mutex_unlock(&fs->lock);
    if (error)
        ops_reply_error(job, error);
    else
        reply_entry(job, &e);
}

/* ---- lookup, forget, attributes ---- */

static int lookup(struct fs *fs, struct ops_job *job, struct inode **inode)
{
    struct inode *dir;
    ext2_ino_t ino;
    int error = ops_known(fs, job->ino, &dir);

    if (!error)
        error = dir_lookup(fs, dir, job->name, &ino);
    if (!error)
        error = inode_get(fs, ino, inode);
    if (!error)
        (*inode)->parent = dir->ino;
    return error;
}

static void run_lookup(struct fs *fs, struct ops_job *job)
{
    static const struct fuse_entry_param negative = {.entry_timeout = FOREVER_S};
    struct bufcache_tries tries = {0};
    struct inode *inode = NULL;
    int error;

    pthread_mutex_lock(&fs->lock);
    do {
        bufcache_try(fs->cache, &tries);
        error = strcmp(job->name, ".") == 0 ? inode_get_by_handle(fs, ext4_ino(job->ino), &inode)
                                            : lookup(fs, job, &inode);
    } while (bufcache_tried(fs->cache, &fs->lock));
    if (error == -ENOENT) {
        pthread_mutex_unlock(&fs->lock);
        if (ops_may_reply(job))
            fuse_reply_entry(job->req, &negative);
        return;
    }
    reply_made(fs, job, error, inode);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    ops_work(req, parent, run_lookup, (struct ops_job){.name = name});
}

static void count_forgets(struct fs *fs, int change)
{
    pthread_mutex_lock(&fs->counts_lock);
    fs->forgets_queued += (unsigned)change;
    if (fs->forgets_queued == 0)
        pthread_cond_broadcast(&fs->forgotten);
    pthread_mutex_unlock(&fs->counts_lock);
}

/* A file without a name may be one of which the kernel has sent the last FORGET already:
 * the thread that reads it needs a moment. */
static void await_orphan(struct fs *fs)
{
    ext2_ino_t first = 0, now = 0;

    for (unsigned tries = 0; now == first && tries < ORPHAN_TRIES; tries++) {
        if (tries > 0)
            g_usleep(ORPHAN_US);
        pthread_mutex_lock(&fs->lock);
        now = fs->ext2->super->s_last_orphan;
        pthread_mutex_unlock(&fs->lock);
        if (now == 0)
            return;
        first = tries ? first : now;
    }
}

/* What a removed file had is free when the kernel has forgotten it, and may be
 * taken when that is durable: whoever finds the disk full waits for both, and
 * tries once more. False: the request has been answered meanwhile, and is over. */
static bool await_space(struct fs *fs, struct ops_job *job)
{
    interrupts_rest(fs->interrupts, &job->interruptible);
    await_orphan(fs);
    pthread_mutex_lock(&fs->counts_lock);
    while (fs->forgets_queued)
        pthread_cond_wait(&fs->forgotten, &fs->counts_lock);
    pthread_mutex_unlock(&fs->counts_lock);
    pthread_mutex_lock(&fs->lock);
    deletion_await(fs);
    pthread_mutex_unlock(&fs->lock);
    fs_sync(fs, NULL); /* a failure is sticky, and the second try meets it */
    pthread_mutex_lock(&fs->lock);
    journal_await_free(fs->journal);
    pthread_mutex_unlock(&fs->lock);
    return interrupts_go_on(fs->interrupts, &job->interruptible);
}

struct forgets {
    size_t count;
    struct fuse_forget_data *each;
};

static void run_forgets(gpointer data, gpointer opaque)
{
    struct forgets *forgets = data;
    struct fs *fs = opaque;

    interrupts_await(fs->interrupts);
    pthread_mutex_lock(&fs->lock);
    for (size_t i = 0; i < forgets->count; i++) {
        struct inode *inode;

        if (writable(fs) == 0)
            journal_admit(fs->journal); /* inodes that go are written, or deleted */
        inode = inode_find(fs, ext4_ino(forgets->each[i].ino));
        if (inode && forgets->each[i].ino != FUSE_ROOT_ID)
            inode_put(fs, inode, forgets->each[i].nlookup);
    }
    pthread_mutex_unlock(&fs->lock);
    count_forgets(fs, -1);
    g_free(forgets->each);
    g_free(forgets);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *each)
{
    struct forgets *forgets = g_new(struct forgets, 1);
    struct fs *fs = fuse_req_userdata(req);

    forgets->count = count;
    forgets->each = g_memdup2(each, count * sizeof *each);
    count_forgets(fs, +1);
    g_thread_pool_push(fs->forgets, forgets, NULL);
    fuse_reply_none(req);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
    struct fuse_forget_data forget = {ino, nlookup};

    op_forget_multi(req, 1, &forget);
}

static void reply_attr(struct fs *fs, struct ops_job *job, int error, const struct inode *inode)
{
    bool unsure = !error && ops_is_being_unlinked(fs, job, inode);
    struct stat st;

    if (!error)
        inode_stat(fs, inode, &st);
    if (unsure)
        st.st_nlink++;
    pthread_mutex_unlock(&fs->lock);
    if (error)
        ops_reply_error(job, error);
    else if (ops_may_reply(job))
        fuse_reply_attr(job->req, &st, unsure ? 0 : FOREVER_S);
}

static void run_getattr(struct fs *fs, struct ops_job *job)
{
    struct inode *inode = NULL;
    int error;

    pthread_mutex_lock(&fs->lock);
    error = ops_known(fs, job->ino, &inode);
    reply_attr(fs, job, error, inode);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    ops_work(req, ino, run_getattr, (struct ops_job){0});
}

static void run_setattr(struct fs *fs, struct ops_job *job)
{
    bool nothing = !job->flags; /* chown(-1, -1), which changes ctime */
    struct inode *inode = NULL;
    int others, error;

    pthread_mutex_lock(&fs->lock);
    error = ops_known_for_change(fs, job->ino, &inode);
    if (!error)
        error = flags_check_setattr(inode, (int)job->flags);
    if (!error)
        ops_setattr_sgid(fs, job, inode);
    others = (int)job->flags & ~FUSE_SET_ATTR_SIZE;
    if (!error && job->flags & FUSE_SET_ATTR_SIZE) {
        pthread_mutex_unlock(&fs->lock);
        error = data_truncate(fs, inode, (uint64_t)job->attr.st_size);
        pthread_mutex_lock(&fs->lock);
    }
    if (!error && (others || nothing))
        error = inode_setattr(fs, inode, &job->attr, others);
    if (!error && others & FUSE_SET_ATTR_MODE)
        error = acl_follow_mode(fs, inode);
    if (!error && (fs->sync || flags_are_sync(inode)))
        error = sync_locked(fs, inode);
    reply_attr(fs, job, error, inode);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                       struct fuse_file_info *fi)
{
    ops_work(req, ino, run_setattr, (struct ops_job){.attr = *attr, .flags = (unsigned)to_set});
}

static void run_statfs(struct fs *fs, struct ops_job *job)
{
    struct statvfs st;
    int error = fs_statfs(fs, &st);

    if (error)
        ops_reply_error(job, error);
    else if (ops_may_reply(job))
        fuse_reply_statfs(job->req, &st);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    ops_work(req, ino, run_statfs, (struct ops_job){0});
}

/* ---- names ---- */

static int try_create(struct fs *fs, struct ops_job *job, struct inode **made)
{
    struct bufcache_tries tries = {0};
    struct inode *dir;
    const struct dir_new new = {.mode = job->mode,
                                .umask = job->umask,
                                .rdev = job->rdev,
                                .uid = idmap_swap(fs->idmap.user, job->uid),
                                .gid = idmap_swap(fs->idmap.group, job->gid),
                                .target = job->new_name};
    int error;

    do {
        error = ops_known_for_change(fs, job->ino, &dir);
        bufcache_try(fs->cache, &tries);
        if (!error)
            error = dir_create(fs, dir, job->name, &new, made);
    } while (bufcache_tried(fs->cache, &fs->lock));
    return error;
}

/* fs->lock held; let go of for a while where the disk is full */
static int create_somehow(struct fs *fs, struct ops_job *job, struct inode **made)
{
    int error = try_create(fs, job, made);
    bool again;

    if (error != -ENOSPC)
        return error;
    pthread_mutex_unlock(&fs->lock);
    again = await_space(fs, job);
    pthread_mutex_lock(&fs->lock);
    return again ? try_create(fs, job, made) : error;
}

static int create(struct fs *fs, struct ops_job *job, struct inode **made)
{
    int error = create_somehow(fs, job, made);
    struct inode *dir;

    if (error)
        return error;
    error = ops_known(fs, job->ino, &dir);
    if (!error)
        error = sync_names(fs, dir);
    if (error)
        inode_put(fs, *made, 1);
    return error;
}

static void run_create(struct fs *fs, struct ops_job *job)
{
    struct inode *made = NULL;
    int error;

    pthread_mutex_lock(&fs->lock);
    error = create(fs, job, &made);
    reply_made(fs, job, error, made);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    ops_work(req, parent, run_create, (struct ops_job){.name = name, .mode = mode, .rdev = rdev});
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    ops_work(req, parent, run_create, (struct ops_job){.name = name, .mode = S_IFDIR | mode});
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    ops_work(req, parent, run_create,
             (struct ops_job){.name = name, .new_name = target, .mode = S_IFLNK | 0777});
}

static void run_link(struct fs *fs, struct ops_job *job)
{
    struct bufcache_tries tries = {0};
    struct inode *inode = NULL, *dir;
    int error;

    pthread_mutex_lock(&fs->lock);
    do {
        error = ops_known_for_change(fs, job->ino, &inode);
        bufcache_try(fs->cache, &tries);
        if (!error)
            error = ops_known(fs, job->new_ino, &dir);
        if (!error)
            error = dir_link(fs, inode, dir, job->name);
    } while (bufcache_tried(fs->cache, &fs->lock));
    if (!error)
        error = sync_names(fs, dir);
    if (!error)
        inode->lookups++;
    reply_made(fs, job, error, inode);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    ops_work(req, ino, run_link, (struct ops_job){.new_ino = parent, .name = name});
}

static void remove_name(struct fs *fs, struct ops_job *job,
                        int (*remove)(struct fs *fs, struct inode *dir, const char *name))
{
    struct bufcache_tries tries = {0};
    struct inode *dir;
    int error;

    pthread_mutex_lock(&fs->lock);
    do {
        error = ops_known_for_change(fs, job->ino, &dir);
        bufcache_try(fs->cache, &tries);
        if (!error)
            ops_note_unlink(fs, job, dir, job->name);
        if (!error)
            error = remove(fs, dir, job->name);
    } while (bufcache_tried(fs->cache, &fs->lock));
    if (!error)
        error = sync_names(fs, dir);
    pthread_mutex_unlock(&fs->lock);
    ops_reply_error(job, error);
}

static void run_unlink(struct fs *fs, struct ops_job *job)
{
    remove_name(fs, job, dir_unlink);
}

static void run_rmdir(struct fs *fs, struct ops_job *job)
{
    remove_name(fs, job, dir_rmdir);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    ops_work(req, parent, run_unlink, (struct ops_job){.name = name});
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    ops_work(req, parent, run_rmdir, (struct ops_job){.name = name});
}

/* A file that takes the place of another has its data in the same transaction:
 * who saves like that has the old or the new after a crash, and never nothing. */
static int order_replacement(struct fs *fs, struct ops_job *job)
{
    struct inode *dir, *new_dir, *moved = NULL;
    struct bufcache_tries tries = {0};
    ext2_ino_t ino, replaced;
    int error;

    pthread_mutex_lock(&fs->lock);
    do {
        bufcache_try(fs->cache, &tries);
        moved = NULL;
        error = ops_known(fs, job->ino, &dir);
        if (!error)
            error = ops_known(fs, job->new_ino, &new_dir);
        if (!error && dir_lookup(fs, dir, job->name, &ino) == 0 &&
            dir_lookup(fs, new_dir, job->new_name, &replaced) == 0)
            moved = inode_find(fs, ino); /* which the kernel knows: it has looked the name up */
    } while (bufcache_tried(fs->cache, &fs->lock));
    pthread_mutex_unlock(&fs->lock);
    return moved ? unordered_order(fs, moved) : error;
}

static void run_rename(struct fs *fs, struct ops_job *job)
{
    struct bufcache_tries tries = {0};
    struct inode *dir, *new_dir;
    int error = order_replacement(fs, job);

    if (error) {
        ops_reply_error(job, error);
        return;
    }
    pthread_mutex_lock(&fs->lock);
    do {
        error = ops_known_for_change(fs, job->ino, &dir);
        bufcache_try(fs->cache, &tries);
        if (!error)
            error = ops_known(fs, job->new_ino, &new_dir);
        if (!error && !(job->flags & RENAME_EXCHANGE))
            ops_note_unlink(fs, job, new_dir, job->new_name);
        if (!error)
            error = dir_rename(fs, dir, job->name, new_dir, job->new_name, job->flags);
    } while (bufcache_tried(fs->cache, &fs->lock));
    if (!error)
        error = sync_names(fs, flags_are_dirsync(dir) ? dir : new_dir);
    pthread_mutex_unlock(&fs->lock);
    ops_reply_error(job, error);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    ops_work(req, parent, run_rename,
             (struct ops_job){
                 .name = name, .new_ino = new_parent, .new_name = new_name, .flags = flags});
}

static void run_readlink(struct fs *fs, struct ops_job *job)
{
    char target[ENCSAN_BLOCK_BYTES];
    struct bufcache_tries tries = {0};
    struct inode *inode;
    int error;

    pthread_mutex_lock(&fs->lock);
    do {
        bufcache_try(fs->cache, &tries);
        error = ops_known(fs, job->ino, &inode);
        if (!error)
            error = dir_readlink(fs, inode, target, sizeof target);
    } while (bufcache_tried(fs->cache, &fs->lock));
    if (!error)
        inode_was_read(fs, inode);
    pthread_mutex_unlock(&fs->lock);
    if (error)
        ops_reply_error(job, error);
    else if (ops_may_reply(job))
        fuse_reply_readlink(job->req, target);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    ops_work(req, ino, run_readlink, (struct ops_job){0});
}

/* ---- data ---- */

struct read_request {
    struct fs *fs;
    fuse_req_t req;
    struct interruptible interruptible;
    void *buf;
};

static void read_done(void *opaque, int error, size_t got)
{
    struct read_request *r = opaque;
    bool may = interrupts_leave(r->fs->interrupts, &r->interruptible);

    if (may && error)
        fuse_reply_err(r->req, -error);
    else if (may)
        fuse_reply_buf(r->req, r->buf, got);
    count_request(r->fs, -1);
    if (r->buf)
        buffers_give(r->fs->answers, r->buf);
    g_free(r);
}

/* Answered when the data has come, by the volume's thread that brings it. */
static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    struct read_request *r = g_new0(struct read_request, 1);
    struct fs *fs = fuse_req_userdata(req);
    struct inode *inode;
    int error;

    r->fs = fs;
    r->req = req;
    count_request(fs, +1);
    interrupts_enter(fs->interrupts, &r->interruptible, req);
    pthread_mutex_lock(&fs->lock);
    error = ops_known(fs, ino, &inode);
    if (!error)
        inode_was_read(fs, inode);
    if (!error && offset == 0)
        scout_read(fs->scout, inode);
    pthread_mutex_unlock(&fs->lock);
    if (!error)
        r->buf = buffers_take(fs->answers, size);
    if (!error && !r->buf)
        error = -ENOMEM;
    if (error)
        read_done(r, error, 0);
    else
        data_read(fs, inode, r->buf, size, (uint64_t)offset, read_done, r);
}

/* fs->lock held; let go of meanwhile */
static int prepare_write(struct fs *fs, const struct ops_job *job, struct inode **inode)
{
    int error = ops_known_for_change(fs, job->ino, inode);

    if (error)
        return error;
    error = ops_check_write(fs, job, *inode);
    if (error || job->flags) /* it is the kernel, for whoever mapped it */
        return error;
    return ops_write_sgid(fs, job, *inode);
}

static void run_write(struct fs *fs, struct ops_job *job)
{
    struct inode *inode;
    ssize_t written;
    bool sync;

    pthread_mutex_lock(&fs->lock);
    written = prepare_write(fs, job, &inode);
    sync = written == 0 && flags_are_sync(inode);
    pthread_mutex_unlock(&fs->lock);
    if (written == 0)
        written = data_write(fs, inode, job->data, job->size, (uint64_t)job->offset);
    if (written == -ENOSPC && await_space(fs, job))
        written = data_write(fs, inode, job->data, job->size, (uint64_t)job->offset);
    if (written > 0 && sync) {
        int error = fs_sync(fs, inode);

        written = error ? error : written;
    }
    if (written < 0)
        ops_reply_error(job, (int)written);
    else if (ops_may_reply(job))
        fuse_reply_write(job->req, (size_t)written);
    if (job->flags && written == -EPERM)
        ops_forget_pages(fs, job->ino); /* which are not what is on the disk */
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    ops_work(req, ino, run_write,
             (struct ops_job){
                 .data = buf, .size = size, .offset = offset, .flags = fi->writepage,
                 .open_flags = fi->flags});
}

static void run_fsync(struct fs *fs, struct ops_job *job)
{
    struct inode *inode;
    int error;

    pthread_mutex_lock(&fs->lock);
    error = ops_known(fs, job->ino, &inode);
    pthread_mutex_unlock(&fs->lock);
    ops_reply_error(job, error ? error : fs_sync(fs, inode));
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    ops_work(req, ino, run_fsync, (struct ops_job){0});
}

static void run_fallocate(struct fs *fs, struct ops_job *job)
{
    struct inode *inode;
    int error;

    pthread_mutex_lock(&fs->lock);
    error = ops_known_for_change(fs, job->ino, &inode);
    if (!error)
        error = flags_check_allocate(inode, (int)job->mode);
    if (!error)
        error = ops_write_sgid(fs, job, inode);
    pthread_mutex_unlock(&fs->lock);
    if (!error)
        error =
            data_fallocate(fs, inode, (int)job->mode, (uint64_t)job->offset, (uint64_t)job->length);
    if (error == -ENOSPC && await_space(fs, job))
        error =
            data_fallocate(fs, inode, (int)job->mode, (uint64_t)job->offset, (uint64_t)job->length);
    if (!error)
        error = ops_sync_inode(fs, inode);
    ops_reply_error(job, error);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                         struct fuse_file_info *fi)
{
    ops_work(req, ino, run_fallocate,
             (struct ops_job){.mode = (mode_t)mode, .offset = offset, .length = length});
}

static void run_lseek(struct fs *fs, struct ops_job *job)
{
    struct inode *inode;
    uint64_t found;
    int error;

    pthread_mutex_lock(&fs->lock);
    error = ops_known(fs, job->ino, &inode);
    pthread_mutex_unlock(&fs->lock);
    if (!error)
        error = data_seek(fs, inode, (uint64_t)job->offset, (int)job->flags, &found);
    if (error)
        ops_reply_error(job, error);
    else if (ops_may_reply(job))
        fuse_reply_lseek(job->req, (off_t)found);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
                     struct fuse_file_info *fi)
{
    ops_work(req, ino, run_lseek, (struct ops_job){.offset = offset, .flags = (unsigned)whence});
}

/* ---- the session ---- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    struct fs *fs = userdata;

    /* FUSE_CAP_ASYNC_READ stays: without it a cold read of a near disk is a quarter slower */
    conn->want &=
        ~(unsigned)(FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_AUTO_INVAL_DATA |
                    FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_SPLICE_READ | FUSE_CAP_HANDLE_KILLPRIV);
    conn->want |=
        conn->capable & (FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_NO_OPENDIR_SUPPORT |
                         FUSE_CAP_READDIRPLUS | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_EXPORT_SUPPORT);
    if (conn->capable & FUSE_CAP_POSIX_ACL && conn->capable & FUSE_CAP_DONT_MASK)
        conn->want |=
            FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK; /* a default ACL goes before the umask */
    conn->max_write = BUFFER_BYTES; /* each writer's thread keeps so much */
    conn->max_background = MAX_BACKGROUND;
    fs->forgets = g_thread_pool_new(run_forgets, fs, 1, FALSE, NULL);
    fs->interrupts = interrupts_new();
    fs->scout = scout_new(fs);
    pruner_start(fs);
}

/* Requests that run are answered first. */
static void op_destroy(void *userdata)
{
    struct fs *fs = userdata;

    if (!fs->forgets)
        return;
    pthread_mutex_lock(&fs->counts_lock);
    while (fs->requests)
        pthread_cond_wait(&fs->no_requests, &fs->counts_lock);
    pthread_mutex_unlock(&fs->counts_lock);
    pruner_stop(fs);
    scout_free(fs->scout);
    fs->scout = NULL;
    g_thread_pool_free(fs->forgets, FALSE, TRUE);
    fs->forgets = NULL;
    interrupts_free(fs->interrupts);
    fs->interrupts = NULL;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fuse_reply_err(req, ENOSYS); /* the kernel asks once, and never again */
}

const struct fuse_lowlevel_ops files_ops = {
    .init = op_init,
    .destroy = op_destroy,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .symlink = op_symlink,
    .rename = op_rename,
    .link = op_link,
    .open = op_open,
    .opendir = op_open,
    .read = op_read,
    .write = op_write,
    .fsync = op_fsync,
    .fsyncdir = op_fsync,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .statfs = op_statfs,
    .getxattr = op_getxattr,
    .setxattr = op_setxattr,
    .listxattr = op_listxattr,
    .removexattr = op_removexattr,
    .ioctl = op_ioctl,
    .fallocate = op_fallocate,
    .lseek = op_lseek,
};
