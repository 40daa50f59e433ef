// SPDX-License-Identifier: LGPL-2.1-or-later
/* Delayed allocation: data that has no blocks yet. held.c tells its life. */
#ifndef ENCSAN_HELD_H
#define ENCSAN_HELD_H

#include "fs.h"

/* The thread that places what is complete, or old. 0 or -errno. */
int held_start(struct fs *fs);
void held_stop(struct fs *fs); /* also where it was not started */

/* ---- inode->data_lock held exclusively; fs->lock not ---- */
/* Bytes that were taken over from the beginning of buf: they are the file's. 0: they
 * are none that can be held. -errno. */
ssize_t held_write(struct fs *fs, struct inode *inode, const uint8_t *buf, size_t count,
                   uint64_t offset);
/* Gives blocks to what is held, and stages it. 0 or -errno. */
int held_place(struct fs *fs, struct inode *inode);
/* Whether a file that becomes `size` long needs no blocks for what is held: it goes with the cut. */
bool held_is_behind(const struct inode *inode, uint64_t size);

/* ---- neither lock held ---- */
/* Takes data_lock shared, with nothing held. On an error it is not taken. */
int held_lock_shared(struct fs *fs, struct inode *inode);
/* Places what all files hold. 0 or -errno. */
int held_place_all(struct fs *fs);

/* ---- fs->lock held ---- */
void held_drop(struct fs *fs, struct inode *inode); /* the inode goes */
uint64_t held_blocks(const struct inode *inode);    /* that it will need */
/* The first byte of [from, to) that is held and not staged; `to`: none. */
uint64_t held_begin(const struct inode *inode, uint64_t from, uint64_t to);

#endif
