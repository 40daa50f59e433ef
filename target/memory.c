// SPDX-License-Identifier: LGPL-2.1-or-later
/* Accounting for memory: memory.h. */
#include "memory.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define PAGE_BYTES 4096
#define LITTLE_PAGES_MAX 17
#define KEPT_BYTES_MAX (32u << 20)

struct kept { /* in a buffer that nobody has */
    struct kept *next;
};

struct memory {
    size_t usual;

    pthread_mutex_t lock; /* guards everything that follows */
    size_t limit;
    size_t held; /* by all sessions */
    size_t kept_bytes;
    struct kept *kept[1 + LITTLE_PAGES_MAX]; /* of the usual size; of so many pages */
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
    for (unsigned i = 0; i <= LITTLE_PAGES_MAX; i++) {
        while (m->kept[i]) {
            struct kept *kept = m->kept[i];

            m->kept[i] = kept->next;
            free(kept);
        }
    }
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

/* NULL: such buffers are not kept. */
static struct kept **list_of(struct memory *m, size_t bytes)
{
    if (bytes == m->usual)
        return &m->kept[0];
    return bytes <= LITTLE_PAGES_MAX * PAGE_BYTES ? &m->kept[bytes / PAGE_BYTES] : NULL;
}

/* The one whose memory is warm. */
static uint8_t *take_kept(struct memory *m, size_t bytes)
{
    struct kept **list = list_of(m, bytes), *kept = list ? *list : NULL;

    if (kept) {
        *list = kept->next;
        m->kept_bytes -= bytes;
    }
    return (uint8_t *)kept;
}

static bool keep(struct memory *m, uint8_t *buffer, size_t bytes)
{
    struct kept **list = list_of(m, bytes), *kept = (struct kept *)buffer;

    if (!buffer || !list || m->kept_bytes + bytes > KEPT_BYTES_MAX)
        return false;
    kept->next = *list;
    *list = kept;
    m->kept_bytes += bytes;
    return true;
}

uint8_t *memory_take(struct memory *m, struct memory_share *share, size_t bytes)
{
    uint8_t *buffer = NULL;
    bool ok;

    pthread_mutex_lock(&m->lock);
    ok = account(m, share, bytes);
    if (ok)
        buffer = take_kept(m, bytes);
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
    if (keep(m, buffer, bytes))
        buffer = NULL;
    pthread_mutex_unlock(&m->lock);
    free(buffer);
}
