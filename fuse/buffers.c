// SPDX-License-Identifier: LGPL-2.1-or-later
/* Buffers for answers to reads: buffers.h. */
#include "buffers.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define SMALL_BYTES (16u << 10)
#define ALIGNMENT 4096

struct buffers {
    uint8_t *memory;
    size_t count;
    pthread_mutex_t lock; /* protects the rest */
    pthread_cond_t given;
    size_t free_count;
    void *free[]; /* the last one given is taken first: the fewest are touched */
};

struct buffers *buffers_new(size_t bytes)
{
    size_t count = bytes < BUFFER_BYTES ? 1 : bytes / BUFFER_BYTES;
    struct buffers *b = calloc(1, sizeof *b + count * sizeof b->free[0]);

    if (!b)
        return NULL;
    b->memory = mmap(NULL, count * BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                     -1, 0);
    if (b->memory == MAP_FAILED) {
        free(b);
        return NULL;
    }
    b->count = b->free_count = count;
    for (size_t i = 0; i < count; i++)
        b->free[i] = b->memory + (count - 1 - i) * BUFFER_BYTES;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->given, NULL);
    return b;
}

void buffers_free(struct buffers *b)
{
    if (!b)
        return;
    munmap(b->memory, b->count * BUFFER_BYTES);
    pthread_cond_destroy(&b->given);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

void *buffers_take(struct buffers *b, size_t bytes)
{
    void *buffer;

    if (bytes <= SMALL_BYTES)
        return posix_memalign(&buffer, ALIGNMENT, bytes ? bytes : 1) ? NULL : buffer;
    pthread_mutex_lock(&b->lock);
    while (b->free_count == 0)
        pthread_cond_wait(&b->given, &b->lock);
    buffer = b->free[--b->free_count];
    pthread_mutex_unlock(&b->lock);
    return buffer;
}

static bool is_from(const struct buffers *b, const uint8_t *buffer)
{
    return buffer >= b->memory && buffer < b->memory + b->count * BUFFER_BYTES;
}

void buffers_give(struct buffers *b, void *buffer)
{
    if (!is_from(b, buffer)) {
        free(buffer);
        return;
    }
    pthread_mutex_lock(&b->lock);
    b->free[b->free_count++] = buffer;
    pthread_cond_signal(&b->given);
    pthread_mutex_unlock(&b->lock);
}
