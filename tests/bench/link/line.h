// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One direction of the link: a thread that reads frames from one TUN device
 * and writes them to the other as late as the link would deliver them.
 *
 * A frame waits in the bottleneck's queue until the ones before it are sent
 * (rate), then travels for the delay. What does not fit the queue is dropped
 * at its tail; loss takes segments at random; nothing is reordered.
 */
#ifndef LINK_LINE_H
#define LINK_LINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>

struct ring;

struct line {
    int from, to; /* TUN devices, non-blocking */
    /* may change while the line runs: the check at start uses a small delay */
    _Atomic uint64_t delay_ns;
    _Atomic double loss; /* share of segments, 0..1 */
    double bytes_per_ns; /* of IP packets; 0: no limit */
    size_t queue_bytes;  /* the bottleneck's, 0: no limit */
    /* the thread's own */
    struct ring *ring;
    uint64_t idle_ns; /* when the bottleneck has sent all that it has */
    unsigned short random[3];
    pthread_t thread;
};

/* Starts the thread; it ends with the process. 0 or -errno. */
int line_start(struct line *line);

#endif
