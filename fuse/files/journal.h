// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The journal: changes of metadata become durable in transactions, each wholly
 * or not at all. journal.c tells the life of a transaction and of a block.
 */
#ifndef ENCSAN_JOURNAL_H
#define ENCSAN_JOURNAL_H

#include <stdint.h>
#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>

#include "encsan.h"

struct block_run;
struct fs;
struct journal;

/* fs->ext2 is open and its journal empty. Says on the volume, durably, that
 * there may be something to recover from now on. Commits every `commit_s`
 * seconds, by a thread of its own. NULL with one line in message. */
struct journal *journal_open(struct fs *fs, unsigned commit_s, char message[ENCSAN_MESSAGE_BYTES]);
/* Commits, brings all home, and says that there is nothing to recover. 0, or
 * -errno: then the next mount recovers what was committed. Frees the journal. */
int journal_close(struct journal *journal);

/* ---- fs->lock held ---- */
/* To be called before a change: waits (and lets go of fs->lock meanwhile) while
 * the running transaction is too big. */
void journal_admit(struct journal *journal);
/* Blocks that one operation should change at most, of which it does not know that they are few. */
size_t journal_step(const struct journal *journal);
/* fs->error is set: nobody waits any more, and the volume is told. */
void journal_failed(struct journal *journal);
/* These blocks became free. When that is durable they are discarded, and may be taken. */
void journal_freed(struct journal *journal, blk64_t block, blk64_t count);
/* A run that became free for good may be taken. */
void journal_let_go(struct journal *journal, const struct block_run *run);
/* Until what became durably free may be taken; lets go of fs->lock meanwhile. */
void journal_await_free(struct journal *journal);
/* Between these two no transaction ends: metadata that shows data which is not
 * staged yet. The first may wait, and let go of fs->lock meanwhile. */
void journal_hold(struct journal *journal);
void journal_release(struct journal *journal);

/* ---- fs->lock not held ---- */
/* All that was changed and written before this call is durable when it returns 0. */
int journal_commit(struct journal *journal);

#endif
