// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Metadata blocks on their way from the volume: bufcache.c's. All but the waiting is done
 * under the lock that the cache is under, and an answer waits here until the cache takes it in.
 */
#ifndef ENCSAN_FETCH_H
#define ENCSAN_FETCH_H

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "encsan.h"

struct fetches;

struct fetches *fetches_new(struct encsan *volume);
void fetches_free(struct fetches *fetches); /* waits for what is on its way */
/* Blocks that are on their way, and the reads that bring them. */
uint64_t fetches_blocks(const struct fetches *fetches);
unsigned fetches_reads(const struct fetches *fetches);
bool fetches_has(const struct fetches *fetches, uint64_t block);
/* `unwanted` says of which blocks the cache has its own: those that come are not taken in. */
void fetches_start(struct fetches *fetches, uint64_t first, uint64_t count,
                   bool (*unwanted)(void *opaque, uint64_t block), void *opaque);
/* The block was changed here: what comes is older. */
void fetches_spoil(struct fetches *fetches, uint64_t block);
/* Calls take for each block that has come, and that nobody changed meanwhile. */
void fetches_collect(struct fetches *fetches,
                     void (*take)(void *opaque, uint64_t block, const uint8_t *data), void *opaque);
/* Until one has come, or none is on its way. Lets go of `lock` meanwhile, unless that is NULL. */
void fetches_wait(struct fetches *fetches, pthread_mutex_t *lock);

#endif
