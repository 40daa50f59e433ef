// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Buffers for answers to reads: as many as a part of cache= allows, however many
 * processes read. Who finds none waits for one. Small answers, of which there may
 * be many more at once, have their memory from malloc.
 */
#ifndef ENCSAN_BUFFERS_H
#define ENCSAN_BUFFERS_H

#include <stddef.h>

#define BUFFER_BYTES (128u << 10) /* the most that a request may read, or write */

struct buffers;

/* NULL: out of memory. There is one at least. */
struct buffers *buffers_new(size_t bytes);
/* All have been given back. Takes NULL. */
void buffers_free(struct buffers *buffers);
/* For `bytes`, BUFFER_BYTES at most. NULL: out of memory. */
void *buffers_take(struct buffers *buffers, size_t bytes);
void buffers_give(struct buffers *buffers, void *buffer); /* NULL, too */

#endif
