// SPDX-License-Identifier: LGPL-2.1-or-later
/* The clock of every deadline here: CLOCK_MONOTONIC, in microseconds. */
#ifndef ENCSAN_CLOCK_H
#define ENCSAN_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* A condition variable whose timed waits take deadlines of now_us. */
static inline void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

static inline void cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock,
                                   uint64_t deadline_us)
{
    struct timespec ts = {(time_t)(deadline_us / 1000000), (long)(deadline_us % 1000000) * 1000};

    pthread_cond_timedwait(cond, lock, &ts);
}

#endif
