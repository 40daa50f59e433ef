// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The log: ext4's journal as it lies on the volume, in the format of jbd2 (a
 * superblock, then a ring of blocks in which transactions follow each other),
 * with the features REVOKE, 64BIT and CSUM_V3. journal.c decides what is
 * written when; here is how.
 *
 * Positions and lengths are blocks of the journal's inode. No locks of its own:
 * one thread at a time (journal.c's commit_lock).
 */
#ifndef ENCSAN_JBD2_H
#define ENCSAN_JBD2_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <glib.h>

#include "encsan.h"

struct fs;
struct jbd2;

/* Finds the journal of fs->ext2, which must be empty. NULL with one line in message. */
struct jbd2 *jbd2_open(struct fs *fs, char message[ENCSAN_MESSAGE_BYTES]);
void jbd2_free(struct jbd2 *log);

/* The number that the first transaction gets: at least 2, so that the one before has one. */
uint64_t jbd2_first_tid(const struct jbd2 *log);
/* Blocks of the ring, and those of them that a transaction may use now. */
uint64_t jbd2_size(const struct jbd2 *log);
uint64_t jbd2_room(const struct jbd2 *log);
/* Blocks that a transaction of so many metadata blocks and revoked ones takes. */
uint64_t jbd2_need(size_t blocks, size_t revoked);

/* One transaction to the volume, staged: revoke records, descriptors and blocks, and
 * behind a barrier the commit block. `frozen` are buffers of the metadata cache (their
 * logged version is written; lock protects it), `revoked` uint64_t. 0 or -errno. */
int jbd2_write(struct jbd2 *log, uint64_t tid, const GArray *revoked, const GPtrArray *frozen,
               pthread_mutex_t *lock);

/* The journal's superblock, staged: nothing before transaction `tid` is needed any more.
 * `flags` as encsan_write has. When that is durable, jbd2_emptied gives the room back. 0 or -errno. */
int jbd2_write_tail(struct jbd2 *log, uint64_t tid, unsigned flags);
void jbd2_emptied(struct jbd2 *log, uint64_t tid);
/* The same, and says that there is nothing to recover: the file system closes. */
int jbd2_write_closed(struct jbd2 *log, uint64_t tid);

/* Says in the journal's superblock, as the kernel would, that the journal was aborted: the
 * next e2fsck checks everything. Sent; whether it arrives nobody knows. 0 or -errno. */
int jbd2_write_abort(struct jbd2 *log);

#endif
