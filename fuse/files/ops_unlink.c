// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Numbers of links that the kernel counts by itself.
 *
 * When our answer to an unlink, or to a rename over a name, arrives, the kernel takes one
 * link away from what it knows. A number that another request told it just before is
 * counted down, too: at 0 it refuses to make links, while there is one. So such requests
 * wait for a moment, but for those of the same thread, which come after its unlink.
 */
#define FUSE_USE_VERSION 314
#include "fs.h"

#include <fuse_lowlevel.h>

#include "ops.h"

#define UNLINK_ENDS_US 20000 /* our answer has come, and the kernel has gone on */

void ops_note_unlink(struct fs *fs, const struct ops_job *job, struct inode *dir, const char *name)
{
    struct inode *inode;
    ext2_ino_t ino;

    if (dir_lookup(fs, dir, name, &ino) != 0)
        return;
    inode = inode_find(fs, ino);
    if (!inode || LINUX_S_ISDIR(inode->raw.i_mode) || inode->raw.i_links_count < 2)
        return;
    inode->unlinked_us = g_get_monotonic_time();
    inode->unlinked_by = fuse_req_ctx(job->req)->pid;
}

static int64_t unlink_ends_in_us(const struct ops_job *job, const struct inode *inode)
{
    if (!inode->unlinked_us || inode->unlinked_by == fuse_req_ctx(job->req)->pid)
        return 0;
    return MAX(inode->unlinked_us + UNLINK_ENDS_US - g_get_monotonic_time(), 0);
}

bool ops_is_being_unlinked(struct fs *fs, const struct ops_job *job, const struct inode *inode)
{
    int64_t wait_us = unlink_ends_in_us(job, inode);

    if (wait_us == 0)
        return false;
    pthread_mutex_unlock(&fs->lock);
    g_usleep((gulong)wait_us);
    pthread_mutex_lock(&fs->lock);
    return unlink_ends_in_us(job, inode) > 0;
}
