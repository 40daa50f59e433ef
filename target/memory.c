// SPDX-License-Identifier: LGPL-2.1-or-later
/* Accounting for memory: memory.h. */
#include "memory.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define PAGE_BYTES 4096
#define KEPT_MAX 128

struct memory {
    size_t usual;

    pthread_mutex_t lock; /* guards everything that follows */
    size_t limit;
    size_t held; /* by all sessions */
    uint8_t *kept[KEPT_MAX];
    unsigned kept_count;
};

struct memory *memory_new(size_t limit, size_t usual)
{
    struct memory *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    m->limit = limit;
    m->usual = usual;
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

void memory_free(struct memory *m)
{
    if (!m)
        return;
    while (m->kept_count > 0)
        free(m->kept[--m->kept_count]);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void memory_set_limit(struct memory *m, size_t limit)
{
    pthread_mutex_lock(&m->lock);
    m->limit = limit;
    pthread_mutex_unlock(&m->lock);
}

struct memory_report memory_report(struct memory *m)
{
    struct memory_report report;

    pthread_mutex_lock(&m->lock);
    report = (struct memory_report){m->limit, m->held};
    pthread_mutex_unlock(&m->lock);
    return report;
}

static bool account(struct memory *m, struct memory_share *share, size_t bytes)
{
    if (m->held > m->limit || share->bytes + bytes > (m->limit - m->held) / 4)
        return false;
    m->held += bytes;
    share->bytes += bytes;
    return true;
}

uint8_t *memory_take(struct memory *m, struct memory_share *share, size_t bytes)
{
    uint8_t *buffer = NULL;
    bool ok;

    pthread_mutex_lock(&m->lock);
    ok = account(m, share, bytes);
    if (ok && bytes == m->usual && m->kept_count > 0)
        buffer = m->kept[--m->kept_count]; /* the one whose memory is warm */
    pthread_mutex_unlock(&m->lock);
    if (!ok || buffer)
        return buffer;
    buffer = aligned_alloc(PAGE_BYTES, bytes);
    if (!buffer)
        memory_give(m, share, NULL, bytes);
    return buffer;
}

void memory_give(struct memory *m, struct memory_share *share, uint8_t *buffer, size_t bytes)
{
    pthread_mutex_lock(&m->lock);
    m->held -= bytes;
    share->bytes -= bytes;
    if (buffer && bytes == m->usual && m->kept_count < KEPT_MAX) {
        m->kept[m->kept_count++] = buffer;
        buffer = NULL;
    }
    pthread_mutex_unlock(&m->lock);
    free(buffer);
}
