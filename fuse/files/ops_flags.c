// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the kernel has to be told because of the flags of inodes: it does not look at them itself.
 */
#define FUSE_USE_VERSION 314
#include "fs.h"

#include <linux/fuse.h>
#include <sys/uio.h>
#include <fuse_lowlevel.h>

#include "ops.h"

/* From this byte on; -1: its attributes alone. It answers that it does not know the inode, or nothing. */
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
