// SPDX-License-Identifier: LGPL-2.1-or-later
/* Marks and a ring of bits: ordinals.h. */
#include "ordinals.h"

#include <string.h>

static uint8_t *byte_of(struct ordinals *o, uint64_t ordinal)
{
    return &o->ring[ordinal % WIRE_ORDINAL_WINDOW / 8];
}

static uint8_t bit_of(uint64_t ordinal)
{
    return (uint8_t)(1u << (ordinal % 8));
}

void ordinals_start(struct ordinals *o, uint64_t base)
{
    memset(o, 0, sizeof *o);
    o->receipted = o->durable = o->executed = o->highest = base;
}

bool ordinals_in_window(const struct ordinals *o, uint64_t ordinal)
{
    return ordinal > 0 && ordinal <= WIRE_ORDINAL_MAX &&
           (ordinal <= o->receipted || ordinal - o->receipted <= WIRE_ORDINAL_WINDOW);
}

bool ordinals_is_executed(const struct ordinals *o, uint64_t ordinal)
{
    if (ordinal <= o->executed)
        return true;
    return ordinal <= o->highest && (o->ring[ordinal % WIRE_ORDINAL_WINDOW / 8] & bit_of(ordinal));
}

static void settle_executed(struct ordinals *o)
{
    while (o->executed < o->highest && (*byte_of(o, o->executed + 1) & bit_of(o->executed + 1))) {
        o->executed++;
        *byte_of(o, o->executed) &= (uint8_t)~bit_of(o->executed);
    }
}

void ordinals_settle(struct ordinals *o, uint64_t base)
{
    if (base <= o->durable)
        return;
    if (base >= o->highest) {
        ordinals_start(o, base);
        return;
    }
    for (; o->executed < base; o->executed++)
        *byte_of(o, o->executed + 1) &= (uint8_t)~bit_of(o->executed + 1);
    settle_executed(o);
    o->durable = o->receipted = base;
}

static void remove_failure(struct ordinals *o, uint64_t ordinal)
{
    unsigned i = 0;

    while (i < o->failure_count && o->failures[i].ordinal != ordinal)
        i++;
    if (i == o->failure_count)
        return;
    o->failure_count--;
    memmove(&o->failures[i], &o->failures[i + 1], (o->failure_count - i) * sizeof o->failures[0]);
}

void ordinals_execute(struct ordinals *o, uint64_t ordinal)
{
    remove_failure(o, ordinal);
    *byte_of(o, ordinal) |= bit_of(ordinal);
    if (ordinal > o->highest)
        o->highest = ordinal;
    settle_executed(o);
}

void ordinals_fail(struct ordinals *o, uint64_t ordinal, struct sense sense)
{
    unsigned i;

    remove_failure(o, ordinal);
    if (o->failure_count == ORDINALS_FAILURES_MAX) {
        if (o->failures[ORDINALS_FAILURES_MAX - 1].ordinal < ordinal)
            return;
        o->failure_count--;
    }
    for (i = o->failure_count; i > 0 && o->failures[i - 1].ordinal > ordinal; i--)
        o->failures[i] = o->failures[i - 1];
    o->failures[i] = (struct ordinal_failure){ordinal, sense};
    o->failure_count++;
}

void ordinals_flushed(struct ordinals *o, uint64_t mark)
{
    if (mark > o->durable)
        o->durable = mark;
}

void ordinals_forget(struct ordinals *o)
{
    o->executed = o->highest = o->durable;
    memset(o->ring, 0, sizeof o->ring);
}

void ordinals_receipt(const struct ordinals *o, struct wire_receipt *receipt)
{
    uint64_t bits = o->highest - o->executed;

    wire_put64(receipt->durable, o->durable);
    wire_put64(receipt->executed, o->executed);
    for (uint64_t i = 0; i < bits && i < WIRE_RECEIPT_BITS; i++)
        if (ordinals_is_executed(o, o->executed + 1 + i))
            receipt->bitmap[i / 8] |= (uint8_t)(1u << (i % 8));
    if (o->failure_count > 0) {
        wire_put64(receipt->failed_ordinal, o->failures[0].ordinal);
        receipt->failed_sense_key = o->failures[0].sense.key;
        receipt->failed_asc = o->failures[0].sense.asc;
        receipt->failed_ascq = o->failures[0].sense.ascq;
    }
}
