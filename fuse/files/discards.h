// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Space that became free for good is given back to the far disk, and may be taken again after that.
 * By a thread of its own: where it lies in many pieces, that takes long on a long line, and nobody who
 * wants something durable has to wait for it.
 */
#ifndef ENCSAN_DISCARDS_H
#define ENCSAN_DISCARDS_H

#include <glib.h>
#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>

struct discards;
struct fs;

struct block_run {
    blk64_t first, count;
};

/* NULL: no thread can be started. */
struct discards *discards_start(struct fs *fs);
/* All that waits is given back first. fs->lock not held. */
void discards_stop(struct discards *discards);

/* ---- fs->lock held ---- */
/* These struct block_run, which are discards.c's from now on; journal_let_go hears of each. */
void discards_add(struct discards *discards, GArray *runs);
/* Until nothing waits; lets go of fs->lock meanwhile. */
void discards_await(struct discards *discards);

#endif
