// SPDX-License-Identifier: LGPL-2.1-or-later
#include "line.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "gso.h"

/* ---- frames on their way, oldest first ---- */

/* More than any link here holds: 128 ms at 10 Gbit/s. Untouched pages cost nothing. */
#define RING_BYTES ((size_t)256 << 20)

struct record {
    uint64_t due_ns;
    uint32_t len;  /* of the frame that follows; 0: go on at the ring's start */
    uint32_t size; /* of the record, rounded so that the next one is aligned */
};

struct ring {
    size_t head, tail; /* offsets of the oldest record and of the free space */
    size_t used;
    uint8_t bytes[RING_BYTES];
};

static struct record *ring_front(struct ring *r)
{
    struct record *record = (struct record *)(r->bytes + r->head);

    if (r->used == 0)
        return NULL;
    if (record->len == 0) {
        r->used -= record->size;
        r->head = 0;
        return ring_front(r);
    }
    return record;
}

static void ring_pop(struct ring *r)
{
    struct record *record = ring_front(r);

    r->head += record->size;
    r->used -= record->size;
    if (r->used == 0)
        r->head = r->tail = 0;
}

/* Room for the largest frame behind a record header, or NULL. */
static struct record *ring_space(struct ring *r)
{
    size_t need = 2 * sizeof(struct record) + FRAME_BYTES_MAX;
    struct record *skip = (struct record *)(r->bytes + r->tail);

    if (r->tail + need > RING_BYTES) {
        *skip = (struct record){.len = 0, .size = (uint32_t)(RING_BYTES - r->tail)};
        r->used += skip->size;
        r->tail = 0;
    }
    if (r->used + need > RING_BYTES)
        return NULL;
    return (struct record *)(r->bytes + r->tail);
}

static void ring_push(struct ring *r, uint64_t due_ns, size_t len)
{
    struct record *record = (struct record *)(r->bytes + r->tail);

    record->due_ns = due_ns;
    record->len = (uint32_t)len;
    record->size = (uint32_t)((sizeof *record + len + 15) & ~(size_t)15);
    r->tail += record->size;
    r->used += record->size;
}

/* ---- the line ---- */

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* When the frame has arrived, or 0 where the queue has no room for it. */
static uint64_t carry(struct line *line, size_t wire_bytes)
{
    uint64_t now = now_ns();

    if (line->bytes_per_ns > 0) {
        uint64_t start = line->idle_ns > now ? line->idle_ns : now;
        double waiting = (double)(start - now) * line->bytes_per_ns;

        if (line->queue_bytes && waiting + (double)wire_bytes > (double)line->queue_bytes)
            return 0;
        line->idle_ns = start + (uint64_t)((double)wire_bytes / line->bytes_per_ns);
        now = line->idle_ns;
    }
    return now + atomic_load(&line->delay_ns);
}

static bool lost(struct line *line)
{
    return erand48(line->random) < atomic_load(&line->loss);
}

/* A frame of several segments where some are lost: what is left of it, in runs. */
static void carry_runs(struct line *line, const uint8_t *frame, const struct gso *gso)
{
    for (unsigned first = 0, end; first < gso->segments; first = end + 1) {
        struct record *record;
        struct gso part;
        uint64_t due;
        size_t len;

        for (end = first; end < gso->segments && !lost(line); end++)
            ;
        if (end == first)
            continue;
        record = ring_space(line->ring);
        if (!record)
            return;
        len = gso_slice(frame, gso, first, end - first, (uint8_t *)(record + 1));
        gso_parse((uint8_t *)(record + 1), len, &part);
        due = carry(line, part.wire_bytes);
        if (due)
            ring_push(line->ring, due, len);
    }
}

/* False: nothing (more) to read. */
static bool take(struct line *line)
{
    static _Thread_local uint8_t spare[FRAME_BYTES_MAX];
    struct record *record = ring_space(line->ring);
    uint8_t *frame = record ? (uint8_t *)(record + 1) : spare;
    bool lossy = atomic_load(&line->loss) > 0;
    struct gso gso;
    uint64_t due;
    ssize_t len;

    if (lossy)
        frame = spare;
    len = read(line->from, frame, FRAME_BYTES_MAX);
    if (len < 0)
        return false;
    if (!record || (size_t)len < sizeof(struct virtio_net_hdr))
        return true;
    gso_parse(frame, (size_t)len, &gso);
    if (lossy && gso.segments > 1) {
        carry_runs(line, frame, &gso);
        return true;
    }
    if (lossy && lost(line))
        return true;
    due = carry(line, gso.wire_bytes);
    if (due) {
        if (lossy)
            memcpy(record + 1, frame, (size_t)len);
        ring_push(line->ring, due, (size_t)len);
    }
    return true;
}

/* Delivers what has arrived; returns when the next frame does, 0: none is on its way. */
static uint64_t deliver(struct line *line)
{
    struct record *record;

    while ((record = ring_front(line->ring))) {
        if (record->due_ns > now_ns())
            return record->due_ns;
        /* A full receiver drops it, as a network interface does. */
        if (write(line->to, record + 1, record->len) < 0 && errno == EBADFD)
            return 0;
        ring_pop(line->ring);
    }
    return 0;
}

static void *line_main(void *opaque)
{
    struct line *line = opaque;
    struct sched_param priority = {.sched_priority = 1};

    /* On time also where every processor seals; without it only less exact. */
    pthread_setschedparam(pthread_self(), SCHED_RR, &priority);
    prctl(PR_SET_TIMERSLACK, 1);
    for (;;) {
        struct pollfd fd = {.fd = line->from, .events = POLLIN};
        uint64_t next = deliver(line), now = now_ns();
        uint64_t wait = next > now ? next - now : 0;
        struct timespec timeout = {.tv_sec = (time_t)(wait / 1000000000u),
                                   .tv_nsec = (long)(wait % 1000000000u)};

        if (ppoll(&fd, 1, next ? &timeout : NULL, NULL) > 0)
            for (int i = 0; i < 32 && take(line); i++)
                ;
    }
    return NULL;
}

int line_start(struct line *line)
{
    void *ring = mmap(NULL, sizeof(struct ring), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (ring == MAP_FAILED)
        return -errno;
    line->ring = ring;
    line->random[0] = (unsigned short)line->from; /* the same losses in every run */
    return -pthread_create(&line->thread, NULL, line_main, line);
}
