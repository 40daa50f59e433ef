// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * FUSE's operations on extended attributes, ACLs among them.
 */
#define FUSE_USE_VERSION 314
#include "fs.h"

#include <string.h>
#include <fuse_lowlevel.h>
#include <linux/capability.h>

#include "ops.h"

#define GROUPS_MAX 65536 /* the kernel's NGROUPS_MAX */

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

/* The capability to keep set-group-id bits of groups that one is not in. FUSE's flag
 * that says so (ACL_KILL_SGID) is not known to libfuse. */
static bool has_fsetid(const struct ops_job *job)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)fuse_req_ctx(job->req)->pid);
    g_autofree char *status = NULL;
    const char *effective = NULL;

    if (g_file_get_contents(path, &status, NULL, NULL))
        effective = strstr(status, "CapEff:\t");
    if (!effective) /* a process that we can't see */
        return job->uid == 0;
    return g_ascii_strtoull(effective + strlen("CapEff:\t"), NULL, 16) >> CAP_FSETID & 1;
}

/* Of who asks; NULL: it may set the bit for any group. */
static GArray *groups_of(const struct ops_job *job)
{
    GArray *groups;
    int count;

    if (has_fsetid(job))
        return NULL;
    groups = g_array_new(FALSE, FALSE, sizeof(gid_t));
    g_array_append_val(groups, job->gid);
    count = fuse_req_getgroups(job->req, 0, NULL);
    if (count <= 0 || count > GROUPS_MAX)
        return groups;
    g_array_set_size(groups, (guint)count + 1);
    count = fuse_req_getgroups(job->req, count, &g_array_index(groups, gid_t, 1));
    g_array_set_size(groups, (guint)CLAMP(count, 0, (int)groups->len - 1) + 1);
    return groups;
}

static void run_setxattr(struct fs *fs, struct ops_job *job)
{
    g_autoptr(GArray) groups = acl_is_name(job->name) ? groups_of(job) : NULL;
    struct inode *inode;
    int error;

    pthread_mutex_lock(&fs->lock);
    error = ops_known_for_change(fs, job->ino, &inode);
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
