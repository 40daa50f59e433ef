// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Memory for data: all that initiators can make us hold is taken from here.
 *
 * One limit for all sessions, and each may hold a quarter of what is left. So
 * a single one gets much; of many, each gets about the same; and however many
 * hold on to what they have (they ask for data and do not read it), there is
 * something left for the next.
 *
 * Buffers of the usual size and little ones are kept, up to a limit, for the
 * next one who needs such a buffer.
 */
#ifndef TARGET_MEMORY_H
#define TARGET_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct memory;

struct memory_share { /* a session's; a member of it. Guarded by the memory's lock. */
    size_t bytes;
};

/* NULL: out of memory. `usual` and every size asked for are multiples of a page. */
struct memory *memory_new(size_t limit, size_t usual);
void memory_set_limit(struct memory *m, size_t limit); /* of what is taken from now on */
void memory_free(struct memory *m);                    /* all has been given back */

struct memory_report {
    size_t limit, held; /* bytes */
};
struct memory_report memory_report(struct memory *m);

/* Aligned to a page. NULL: more than the session may have now, or there is none. */
uint8_t *memory_take(struct memory *m, struct memory_share *share, size_t bytes);
void memory_give(struct memory *m, struct memory_share *share, uint8_t *buffer, size_t bytes);

#endif
