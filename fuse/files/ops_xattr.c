// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * FUSE's operations on extended attributes, ACLs among them.
 */
#define FUSE_USE_VERSION 314
#include "fs.h"

#include <string.h>
#include <fuse_lowlevel.h>

#include "flags.h"
#include "ops.h"

static void reply_value(struct ops_job *job, ssize_t result, const char *value)
{
    if (result < 0)
        ops_reply_error(job, (int)result);
    else if (!ops_may_reply(job))
        return;
    else if (job->size == 0)
        fuse_reply_xattr(job->req, (size_t)result);
    else
        fuse_reply_buf(job->req, value, (size_t)result);
}

static void run_getxattr(struct fs *fs, struct ops_job *job)
{
    g_autofree char *value = g_malloc(job->size);
    struct bufcache_tries tries = {0};
    struct inode *inode;
    ssize_t result;

    pthread_mutex_lock(&fs->lock);
    do {
        bufcache_try(fs->cache, &tries);
        result = ops_known(fs, job->ino, &inode);
        if (result == 0)
            result = (acl_is_name(job->name) ? acl_get : xattr_get)(fs, inode, job->name, value,
                                                                    job->size);
    } while (bufcache_tried(fs->cache, &fs->lock));
    pthread_mutex_unlock(&fs->lock);
    reply_value(job, result, value);
}

static void run_listxattr(struct fs *fs, struct ops_job *job)
{
    g_autofree char *list = g_malloc(job->size);
    struct bufcache_tries tries = {0};
    struct inode *inode;
    ssize_t result;

    pthread_mutex_lock(&fs->lock);
    do {
        bufcache_try(fs->cache, &tries);
        result = ops_known(fs, job->ino, &inode);
        if (result == 0)
            result = xattr_list(fs, inode, job->uid == 0, list, job->size);
    } while (bufcache_tried(fs->cache, &fs->lock));
    pthread_mutex_unlock(&fs->lock);
    reply_value(job, result, list);
}

static int set_or_remove(struct fs *fs, struct inode *inode, const struct ops_job *job,
                         const GArray *groups)
{
    if (!job->data)
        return (acl_is_name(job->name) ? acl_remove : xattr_remove)(fs, inode, job->name);
    if (acl_is_name(job->name))
        return acl_set(fs, inode, job->name, job->data, job->size, groups);
    return xattr_set(fs, inode, job->name, job->data, job->size, (int)job->flags);
}

static void run_setxattr(struct fs *fs, struct ops_job *job)
{
    g_autoptr(GArray) groups = acl_is_name(job->name) ? ops_groups_of(job) : NULL;
    struct inode *inode;
    int error;

    pthread_mutex_lock(&fs->lock);
    error = ops_known_for_change(fs, job->ino, &inode);
    if (!error)
        error = flags_check_setxattr(inode);
    if (!error)
        error = set_or_remove(fs, inode, job, groups);
    pthread_mutex_unlock(&fs->lock);
    if (!error)
        error = ops_sync_inode(fs, inode);
    ops_reply_error(job, error);
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    ops_work(req, ino, run_getxattr, (struct ops_job){.name = name, .size = size});
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    ops_work(req, ino, run_listxattr, (struct ops_job){.size = size});
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                 int flags)
{
    ops_work(req, ino, run_setxattr,
             (struct ops_job){.name = name, .data = value, .size = size, .flags = (unsigned)flags});
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    ops_work(req, ino, run_setxattr, (struct ops_job){.name = name});
}
