// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A plain LUN as any initiator uses it, through libiscsi: requests one behind
 * the other on the disk, several at a time, cut into commands of what the LUN takes.
 */
#ifndef BENCH_PLAIN_H
#define BENCH_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plain;

/* NULL after one line on standard error. */
struct plain *plain_open(const char *url);
void plain_close(struct plain *plain);

uint64_t plain_size_bytes(const struct plain *plain);

struct plain_requests {
    bool write;
    uint8_t *buffers; /* `depth` of them, `bytes` each: whole blocks of the LUN */
    size_t bytes;
    uint64_t offset, count;
    unsigned depth; /* requests at a time */
};
/* 0, or -EIO after one line on standard error. */
int plain_run(struct plain *plain, const struct plain_requests *requests);
int plain_flush(struct plain *plain);

#endif
