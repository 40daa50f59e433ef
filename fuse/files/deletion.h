// SPDX-License-Identifier: LGPL-2.1-or-later
/* Files are deleted that have no name, and that the kernel has forgotten: deletion.c tells how. */
#ifndef ENCSAN_DELETION_H
#define ENCSAN_DELETION_H

#include "fs.h"

/* The thread that deletes what is not little. 0 or -errno. */
int deletion_start(struct fs *fs);
void deletion_stop(struct fs *fs); /* also where it was not started; what is not done waits for deletion_finish */

/* ---- fs->lock held ---- */
/* Such an inode goes from the disk and from the table: at once where it is little, later else. */
void deletion_begin(struct fs *fs, struct inode *inode);
/* The same, to the end; the inode stays in the table. Lets go of fs->lock meanwhile. 0 or -errno. */
int deletion_finish(struct fs *fs, struct inode *inode);
/* Waits, without fs->lock, until nothing is being deleted. */
void deletion_await(struct fs *fs);

#endif
