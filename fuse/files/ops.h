// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the files with FUSE's operations share: ops.c has all but those named here.
 */
#ifndef ENCSAN_OPS_H
#define ENCSAN_OPS_H

#include <fuse_lowlevel.h>

#include "../interrupt.h"
#include "fs.h"

struct ops_job { /* a request; strings and data are libfuse's, and there until it is answered or
                    returns */
    struct fs *fs;
    fuse_req_t req;
    struct interruptible interruptible;
    fuse_ino_t ino, new_ino;
    const char *name, *new_name;
    const void *data;
    size_t size;
    off_t offset, length;
    mode_t mode, umask;
    dev_t rdev;
    uid_t uid;
    gid_t gid;
    unsigned flags; /* SETATTR's, RENAME's and so on; of a write: it comes from the page cache */
    int open_flags; /* of who writes */
    struct stat attr;
};

/* Works on the request here and now; `run` answers it. */
void ops_work(fuse_req_t req, fuse_ino_t ino, void (*run)(struct fs *fs, struct ops_job *job),
              struct ops_job job);
/* An inode that the kernel names is in the table, but for the root at first. fs->lock held. */
int ops_known(struct fs *fs, fuse_ino_t ino, struct inode **inode);
/* The same for what changes something. May let go of fs->lock: to be called before
 * anything else is looked at. */
int ops_known_for_change(struct fs *fs, fuse_ino_t ino, struct inode **inode);
/* Asked once for each request, before it is answered. False: its process is
 * being killed, and has its answer. */
bool ops_may_reply(struct ops_job *job);
void ops_reply_error(struct ops_job *job, int error);
void ops_fill_entry(struct fs *fs, const struct inode *inode, struct fuse_entry_param *e);
/* With the option sync, its size and attributes, which have changed, become durable: to be
 * called before that is answered. fs->lock not held. */
int ops_sync_inode(struct fs *fs, struct inode *inode);

/* ---- ops_flags.c ---- */
/* The kernel sends what is dirty of a file's pages, waits for the answer, and forgets them. fs->lock not held. */
void ops_forget_pages(struct fs *fs, fuse_ino_t ino);
/* Whether they forbid this write: 0 or -EPERM. fs->lock held; let go of meanwhile. */
int ops_check_write(struct fs *fs, const struct ops_job *job, const struct inode *inode);
void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void *arg,
              struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
              size_t out_size);

/* ---- ops_groups.c ---- */
/* Of gid_t, those of who asks; NULL: it may set the set-group-id bit for any group. */
GArray *ops_groups_of(const struct ops_job *job);
/* The set-group-id bit of a file that its group may not execute goes when it is written to,
 * truncated, or given away by who is not in that group: as on ext4. FUSE leaves it to us.
 * fs->lock held; let go of meanwhile. */
void ops_setattr_sgid(struct fs *fs, struct ops_job *job, const struct inode *inode); /* changes the job */
int ops_write_sgid(struct fs *fs, const struct ops_job *job, struct inode *inode);

/* ---- ops_listing.c ---- */
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi);

/* ---- ops_unlink.c ---- (fs->lock held) */
/* `name` is about to go from `dir`. */
void ops_note_unlink(struct fs *fs, const struct ops_job *job, struct inode *dir, const char *name);
/* Before the kernel is told the number of links. May wait, and let go of fs->lock meanwhile.
 * True: it goes on. Then one link too many is to be told, for this once: it may be counted down. */
bool ops_is_being_unlinked(struct fs *fs, const struct ops_job *job, const struct inode *inode);

/* ---- ops_xattr.c ---- */
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                 int flags);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

#endif
