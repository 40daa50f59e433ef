// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Flags of inodes, as lsattr(1) and chattr(1) ask for them and change them.
 *
 * Since Linux 5.13 the kernel judges who may change what, asks us by FS_IOC_FSGETXATTR for
 * what there is, and then sends us FS_IOC_SETFLAGS or FS_IOC_FSSETXATTR itself. Older ones
 * judge nothing, and hand on the caller's ioctl: what changes something is refused to them.
 *
 * What the flags forbid and demand the kernel does not do for FUSE: flags.h.
 */
#define FUSE_USE_VERSION 314
#include "fs.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>
#include <fuse_lowlevel.h>

#include "flags.h"
#include "ops.h"

#define TURN_US 1000
#define TURN_TRIES 10000

/* ---- what the kernel keeps ---- */

/* Pages from this byte on; -1: its attributes alone. The kernel may not know the inode: so be it. */
static void invalidate(struct fs *fs, fuse_ino_t ino, off_t from)
{
    struct fuse_notify_inval_inode_out out = {.ino = ino, .off = from};
    struct fuse_out_header header = {.len = sizeof header + sizeof out,
                                     .error = FUSE_NOTIFY_INVAL_INODE};
    struct iovec parts[] = {{&header, sizeof header}, {&out, sizeof out}};

    (void)!writev(fs->fuse_fd, parts, G_N_ELEMENTS(parts));
}

void ops_forget_pages(struct fs *fs, fuse_ino_t ino)
{
    invalidate(fs, ino, 0);
}

/* ---- writes ---- */

/* A long write with O_DIRECT comes in pieces, side by side: what is append-only gets them one after
 * the other. One that never comes, or was written behind the end, is not waited for for ever. */
static void await_turn(struct fs *fs, const struct ops_job *job, const struct inode *inode)
{
    for (unsigned tries = 0; tries < TURN_TRIES && flags_are_append(inode) &&
                             (uint64_t)job->offset > inode_size(inode);
         tries++) {
        pthread_mutex_unlock(&fs->lock);
        g_usleep(TURN_US);
        pthread_mutex_lock(&fs->lock);
    }
}

int ops_check_write(struct fs *fs, const struct ops_job *job, const struct inode *inode)
{
    if (job->flags) /* of a page that somebody has mapped */
        return flags_check_write_of_pages(inode);
    await_turn(fs, job, inode);
    return flags_check_write(inode, job->open_flags, (uint64_t)job->offset);
}

/* ---- struct fsxattr ---- */

static const struct {
    uint32_t flag, xflag;
} pairs[] = {
    {FS_SYNC_FL, FS_XFLAG_SYNC},       {FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE},
    {FS_APPEND_FL, FS_XFLAG_APPEND},   {FS_NODUMP_FL, FS_XFLAG_NODUMP},
    {FS_NOATIME_FL, FS_XFLAG_NOATIME}, {FS_DAX_FL, FS_XFLAG_DAX},
    {FS_PROJINHERIT_FL, FS_XFLAG_PROJINHERIT},
};

static struct fsxattr to_fsxattr(uint32_t flags)
{
    struct fsxattr x = {0};

    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++)
        if (flags & pairs[i].flag)
            x.fsx_xflags |= pairs[i].xflag;
    return x;
}

/* What it does not speak of stays as it is in `flags`. */
static uint32_t from_fsxattr(const struct fsxattr *x, uint32_t flags)
{
    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        flags &= ~pairs[i].flag;
        if (x->fsx_xflags & pairs[i].xflag)
            flags |= pairs[i].flag;
    }
    return flags;
}

/* ---- asked for ---- */

union answer {
    uint32_t word;
    struct fsxattr x;
};

/* Its size. */
static size_t answer(const struct inode *inode, unsigned command, union answer *a)
{
    if (command == FS_IOC_FSGETXATTR) {
        a->x = to_fsxattr(flags_shown(inode));
        return sizeof a->x;
    }
    a->word = command == FS_IOC_GETFLAGS ? flags_shown(inode) : inode->raw.i_generation;
    return sizeof a->word;
}

static void run_get(struct fs *fs, struct ops_job *job)
{
    struct inode *inode;
    union answer a;
    size_t size = 0;
    int error;

    pthread_mutex_lock(&fs->lock);
    error = ops_known(fs, job->ino, &inode);
    if (!error)
        size = answer(inode, job->flags, &a);
    pthread_mutex_unlock(&fs->lock);
    if (error)
        ops_reply_error(job, error);
    else if (ops_may_reply(job))
        fuse_reply_ioctl(job->req, 0, &a, size);
}

/* ---- changed ---- */

/* `flags` are those that are there. */
static uint32_t wanted(const struct ops_job *job, uint32_t flags)
{
    struct fsxattr x;

    if (job->flags == FS_IOC_SETFLAGS) {
        memcpy(&flags, job->data, sizeof flags);
        return flags;
    }
    memcpy(&x, job->data, sizeof x);
    return from_fsxattr(&x, flags);
}

static bool wants_project(const struct ops_job *job)
{
    struct fsxattr x = {0};

    if (job->flags == FS_IOC_FSSETXATTR)
        memcpy(&x, job->data, sizeof x);
    return x.fsx_projid != 0;
}

/* fs->lock held */
static int set(struct fs *fs, const struct ops_job *job, struct inode *inode)
{
    uint32_t flags;
    int error = flags_change(inode, wanted(job, flags_shown(inode)), &flags);

    if (error)
        return error;
    inode->raw.i_flags = flags;
    inode_touch(inode, false);
    return inode_write(fs, inode);
}

static void run_set(struct fs *fs, struct ops_job *job)
{
    struct inode *inode;
    int error;

    if (flags_keep(wanted(job, 0)))
        ops_forget_pages(fs, job->ino); /* what was written to mapped pages before counts */
    pthread_mutex_lock(&fs->lock);
    error = ops_known_for_change(fs, job->ino, &inode);
    if (!error)
        error = set(fs, job, inode);
    pthread_mutex_unlock(&fs->lock);
    if (!error)
        invalidate(fs, job->ino, -1); /* ctime */
    if (!error)
        error = ops_sync_inode(fs, inode);
    if (!error && wants_project(job))
        error = -EOPNOTSUPP; /* after the flags are set, as on ext4 without that feature */
    if (error)
        ops_reply_error(job, error);
    else if (ops_may_reply(job))
        fuse_reply_ioctl(job->req, 0, NULL, 0);
}

/* ---- the ioctls ---- */

/* Of one that changes something. errno, or 0. The caller's own comes with the address of his buffer. */
static int check_set(unsigned command, const void *arg, size_t in_size)
{
    size_t size = command == FS_IOC_SETFLAGS ? sizeof(uint32_t) : sizeof(struct fsxattr);

    if (arg)
        return ENOTTY;
    return in_size < size ? EINVAL : 0;
}

void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void *arg,
              struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
              size_t out_size)
{
    bool get = command == FS_IOC_GETFLAGS || command == FS_IOC_FSGETXATTR ||
               command == FS_IOC_GETVERSION;
    bool set = command == FS_IOC_SETFLAGS || command == FS_IOC_FSSETXATTR;
    int error = get ? 0 : set ? check_set(command, arg, in_size) : ENOTTY;

    if (error)
        fuse_reply_err(req, error);
    else
        ops_work(req, ino, get ? run_get : run_set,
                 (struct ops_job){.flags = command, .data = in});
}
