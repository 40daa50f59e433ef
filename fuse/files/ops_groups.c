// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who asks, as far as set-group-id bits depend on it: FUSE leaves some of ext4's
 * rules on them to us.
 */
#define FUSE_USE_VERSION 314
#include "fs.h"

#include <string.h>
#include <fuse_lowlevel.h>
#include <linux/capability.h>

#include "flags.h"
#include "ops.h"

#define GROUPS_MAX 65536 /* the kernel's NGROUPS_MAX */

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

GArray *ops_groups_of(const struct ops_job *job)
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

/* One that means nothing to who executes the file. */
static bool has_idle_sgid(const struct inode *inode)
{
    return !LINUX_S_ISDIR(inode->raw.i_mode) &&
           (inode->raw.i_mode & (S_ISGID | S_IXGRP)) == S_ISGID;
}

/* Whether ext4 would take it when this one changes the file. Lets go of fs->lock meanwhile. */
static bool loses_sgid(struct fs *fs, const struct ops_job *job, const struct inode *inode)
{
    g_autoptr(GArray) groups = NULL;

    if (!has_idle_sgid(inode))
        return false;
    pthread_mutex_unlock(&fs->lock);
    groups = ops_groups_of(job);
    pthread_mutex_lock(&fs->lock);
    return has_idle_sgid(inode) && !acl_may_keep_sgid(fs, inode, groups);
}

void ops_setattr_sgid(struct fs *fs, struct ops_job *job, const struct inode *inode)
{
    const unsigned times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME |
                           FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_CTIME;

    /* nothing to be set: before a write, which takes it by itself, or by a chown that changes
     * nothing, which is for the owner alone */
    if (job->flags ? !(job->flags & ~times)
                   : job->uid != idmap_swap(fs->idmap.user, inode_uid(inode->raw)))
        return;
    if (!loses_sgid(fs, job, inode))
        return;
    if (!(job->flags & FUSE_SET_ATTR_MODE))
        job->attr.st_mode = inode->raw.i_mode;
    job->attr.st_mode &= ~(mode_t)S_ISGID;
    job->flags |= FUSE_SET_ATTR_MODE;
}

int ops_write_sgid(struct fs *fs, const struct ops_job *job, struct inode *inode)
{
    int error;

    if (!loses_sgid(fs, job, inode))
        return 0;
    error = flags_check_setattr(inode, FUSE_SET_ATTR_MODE);
    if (error)
        return error;
    inode->raw.i_mode &= (uint16_t)~S_ISGID;
    return inode_write(fs, inode);
}
