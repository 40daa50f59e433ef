// SPDX-License-Identifier: LGPL-2.1-or-later
/* Several requests to the volume, and one wait for all of them. */
#ifndef ENCSAN_BATCH_H
#define ENCSAN_BATCH_H

#include <pthread.h>

struct batch {
    pthread_mutex_t mutex; /* protects the rest */
    pthread_cond_t ended;
    unsigned running;
    int error;
};

#define BATCH_INIT                                                                                 \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0                                  \
    }

/* One more is about to start: give it batch_done and what this returns. */
struct batch *batch_add(struct batch *batch);
void batch_done(void *opaque, int error);
/* 0, or -EIO if any of them failed. */
int batch_wait(struct batch *batch);

#endif
