// SPDX-License-Identifier: LGPL-2.1-or-later
/* Counts requests that run, and remembers if one failed. */
#include "batch.h"

#include <errno.h>

struct batch *batch_add(struct batch *batch)
{
    pthread_mutex_lock(&batch->mutex);
    batch->running++;
    pthread_mutex_unlock(&batch->mutex);
    return batch;
}

void batch_done(void *opaque, int error)
{
    struct batch *batch = opaque;

    pthread_mutex_lock(&batch->mutex);
    if (error)
        batch->error = -EIO;
    if (--batch->running == 0)
        pthread_cond_signal(&batch->ended);
    pthread_mutex_unlock(&batch->mutex);
}

int batch_wait(struct batch *batch)
{
    int error;

    pthread_mutex_lock(&batch->mutex);
    while (batch->running)
        pthread_cond_wait(&batch->ended, &batch->mutex);
    error = batch->error;
    pthread_mutex_unlock(&batch->mutex);
    return error;
}
