// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A lock that belongs to a request, not to a thread: a read takes it shared in
 * the thread that maps the file and gives it back in the one that brings the
 * last of its data. Nobody starves: a waiting writer goes before new readers,
 * and after it go the readers that waited.
 */
#ifndef ENCSAN_DATA_LOCK_H
#define ENCSAN_DATA_LOCK_H

#include <stdbool.h>
#include <glib.h>

struct data_lock {
    GMutex mutex; /* protects the rest; held for an instant only. glib's are small: every inode has one */
    GCond changed;
    unsigned readers; /* that hold the lock */
    unsigned readers_waiting, writers_waiting;
    unsigned readers_next; /* that may enter before the next writer */
    bool writer;           /* holds the lock */
};

void data_lock_init(struct data_lock *lock);
void data_lock_destroy(struct data_lock *lock); /* held by nobody */
void data_lock_shared(struct data_lock *lock);
void data_unlock_shared(struct data_lock *lock); /* any thread; does not wait */
void data_lock_exclusive(struct data_lock *lock);
void data_unlock_exclusive(struct data_lock *lock);
void data_lock_downgrade(struct data_lock *lock); /* from exclusive to shared; no writer comes between */

#endif
