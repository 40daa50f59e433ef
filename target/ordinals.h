// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which ordinals of a lease are executed, durable, failed (PROTOCOL, section
 * 3). Plain data: the lease's lock holds for it.
 *
 * receipted <= durable <= executed <= highest <= receipted + WIRE_ORDINAL_WINDOW
 */
#ifndef TARGET_ORDINALS_H
#define TARGET_ORDINALS_H

#include <stdbool.h>
#include <stdint.h>

#include "sense.h"
#include "wire.h"

#define ORDINALS_FAILURES_MAX 64 /* a receipt names the lowest: others are only to follow it */

struct ordinals {
    uint64_t receipted; /* the highest `durable` that a receipt has said */
    uint64_t durable;   /* every one up to here is on stable storage */
    uint64_t executed;  /* every one up to here is executed */
    uint64_t highest;   /* that is executed */
    uint8_t
        ring[WIRE_ORDINAL_WINDOW / 8]; /* executed ones above `executed`; bit ordinal % window */
    struct ordinal_failure {
        uint64_t ordinal;
        struct sense sense;
    } failures[ORDINALS_FAILURES_MAX]; /* ascending */
    unsigned failure_count;
};

/* Everything up to `base` is settled, nothing else is known. */
void ordinals_start(struct ordinals *o, uint64_t base);
/* The same for a base that the holder names later: nothing above it is touched. */
void ordinals_settle(struct ordinals *o, uint64_t base);
bool ordinals_in_window(const struct ordinals *o, uint64_t ordinal);
bool ordinals_is_executed(const struct ordinals *o, uint64_t ordinal);
void ordinals_execute(struct ordinals *o, uint64_t ordinal);
void ordinals_fail(struct ordinals *o, uint64_t ordinal, struct sense sense);
void ordinals_flushed(struct ordinals *o, uint64_t mark);
/* After a failed flush: what is executed and not durable is as if it had never come. */
void ordinals_forget(struct ordinals *o);
/* Fills in durable, executed, bitmap and failure. */
void ordinals_receipt(const struct ordinals *o, struct wire_receipt *receipt);

#endif
