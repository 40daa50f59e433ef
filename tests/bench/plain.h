// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A plain LUN as any initiator uses it, through libiscsi: one request at a
 * time, cut into commands of what the LUN takes, which leave back to back; all
 * are answered before the next request leaves.
 */
#ifndef BENCH_PLAIN_H
#define BENCH_PLAIN_H

#include <stddef.h>
#include <stdint.h>

struct plain;

/* NULL after one line on standard error. */
struct plain *plain_open(const char *url);
void plain_close(struct plain *plain);

uint64_t plain_size_bytes(const struct plain *plain);

/* Whole blocks of the LUN. 0, or -EIO after one line on standard error. */
int plain_read(struct plain *plain, void *buf, size_t count, uint64_t offset);
int plain_write(struct plain *plain, const void *buf, size_t count, uint64_t offset);
int plain_flush(struct plain *plain);

#endif
