// SPDX-License-Identifier: LGPL-2.1-or-later
/* A readers-writer lock whose shared holders may let go in another thread. */
#include "data_lock.h"

void data_lock_init(struct data_lock *lock)
{
    g_mutex_init(&lock->mutex);
    g_cond_init(&lock->changed);
    lock->readers = 0;
    lock->readers_waiting = 0;
    lock->writers_waiting = 0;
    lock->readers_next = 0;
    lock->writer = false;
}

void data_lock_destroy(struct data_lock *lock)
{
    g_cond_clear(&lock->changed);
    g_mutex_clear(&lock->mutex);
}

/* glib's broadcast calls the kernel also where nobody waits. */
static void wake(struct data_lock *lock)
{
    if (lock->readers_waiting || lock->writers_waiting)
        g_cond_broadcast(&lock->changed);
}

void data_lock_shared(struct data_lock *lock)
{
    g_mutex_lock(&lock->mutex);
    lock->readers_waiting++;
    while (lock->writer || (lock->writers_waiting && !lock->readers_next))
        g_cond_wait(&lock->changed, &lock->mutex);
    lock->readers_waiting--;
    if (lock->readers_next)
        lock->readers_next--;
    lock->readers++;
    g_mutex_unlock(&lock->mutex);
}

void data_unlock_shared(struct data_lock *lock)
{
    g_mutex_lock(&lock->mutex);
    if (--lock->readers == 0)
        wake(lock);
    g_mutex_unlock(&lock->mutex);
}

void data_lock_exclusive(struct data_lock *lock)
{
    g_mutex_lock(&lock->mutex);
    lock->writers_waiting++;
    while (lock->writer || lock->readers || lock->readers_next)
        g_cond_wait(&lock->changed, &lock->mutex);
    lock->writers_waiting--;
    lock->writer = true;
    g_mutex_unlock(&lock->mutex);
}

void data_unlock_exclusive(struct data_lock *lock)
{
    g_mutex_lock(&lock->mutex);
    lock->writer = false;
    lock->readers_next = lock->readers_waiting;
    wake(lock);
    g_mutex_unlock(&lock->mutex);
}

void data_lock_downgrade(struct data_lock *lock)
{
    g_mutex_lock(&lock->mutex);
    lock->writer = false;
    lock->readers = 1;
    lock->readers_next = lock->readers_waiting;
    wake(lock);
    g_mutex_unlock(&lock->mutex);
}
