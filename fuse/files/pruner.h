// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Asks the kernel to forget inodes when it knows more of them than we have memory for: it
 * keeps names for ever, and each of them holds an inode here until its FORGET.
 */
#ifndef ENCSAN_PRUNER_H
#define ENCSAN_PRUNER_H

#include "fs.h"

struct pruner;

/* Sets fs->pruner; without a thread it stays NULL. fs->lock not held. */
void pruner_start(struct fs *fs);
void pruner_stop(struct fs *fs); /* the same */
/* The number of inodes has changed. fs->lock held. */
void pruner_look(struct pruner *pruner);

#endif
