// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Frees blocks [logical, end) of a file; UINT64_MAX: to its end, whatever its size is. Of what is unordered
 * there, too, nothing is left. fs->lock held; -errno.
 */
#ifndef ENCSAN_PUNCH_H
#define ENCSAN_PUNCH_H

#include "fs.h"

/* From the end as much as one operation may change; *end: where that begins. It is done when
 * *end == logical. May let go of fs->lock before it changes anything, and admits to the journal. */
int punch_step(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t *end);
/* Step by step, each as above, the whole of it. Who calls has data_lock exclusively. */
int punch_steps(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t end);
/* Without letting go of fs->lock: for a few blocks. */
int punch_at_once(struct fs *fs, struct inode *inode, uint64_t logical, uint64_t end);
/* All its blocks are few, and nothing has to be fetched to free them. */
bool punch_is_little(struct fs *fs, struct inode *inode);

#endif
