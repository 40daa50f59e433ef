// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How many segments one direction keeps on their way: n* of the model
 * (model.h), fed with what is measured while it runs. One for writes, one for
 * reading ahead; the volume's lock holds for it.
 *
 * It goes by rounds: one ends with the answer to a segment that was sent after it
 * began. A round gives a delivery rate: over the time in which its answers came, or
 * in which their segments were sent, whichever was longer, since answers that were
 * held up and then come all at once do not tell of a faster line
 * (draft-cheng-iccrg-delivery-rate-estimation). The highest of the last rounds is the
 * line's. At first the depth is several times n* for it, since TCP's window doubles
 * meanwhile, until three rounds have not been much faster. (To double the depth itself
 * fills a slow line with seconds of data before its rate is known.) From then on it is
 * n* for the line's rate and a quarter more, so that a line that can do better is
 * noticed. What tells that the depth is too much is delay, not throughput: when
 * even the fastest answer of a round took much longer than the fastest ever, the
 * segments only stand in a queue, and the depth is n* alone until that has gone.
 * (BBR paces bytes in this way.)
 */
#ifndef ENCSAN_PACE_H
#define ENCSAN_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "model.h"

#define PACE_ROUNDS 8

struct pace {
    bool fixed;     /* the depth is what the user said */
    unsigned depth; /* segments, now */
    unsigned start; /* that it began with */
    uint64_t blocks; /* of a segment: fewer on a slow line, where an fsync, or a small read, would
                        stand behind whole ones */
    uint64_t most_blocks;
    unsigned most;  /* that memory allows */
    unsigned best;  /* n*; 0: nothing measured yet */
    double rate;    /* bytes a second, of the line; 0: nothing measured yet */

    double rates[PACE_ROUNDS]; /* a ring of the last rounds that say something */
    unsigned rounds;
    bool filled;      /* the first growth is over */
    unsigned flat;    /* rounds without growth in a row */
    double flat_rate; /* that they did not much exceed */
    double fastest_us; /* answer to a whole segment */
    /* the round that runs */
    uint64_t began_us, first_sent_us;
    unsigned answers;
    uint64_t blocks_answered, round_fastest_us; /* without the first one's */
    bool full; /* more would have been sent, had it been allowed */
};

/* `fixed` 0: it follows the model, and begins with `start` small segments: what is on its way
 * before the rate is known still has to go through. */
void pace_init(struct pace *p, unsigned fixed, unsigned start, unsigned most, uint64_t most_blocks);
/* Somebody waits because `depth` segments are on their way. */
void pace_full(struct pace *p);
/* A segment that was whole when it left, with so many blocks, was answered after took_us.
 * `line` has all that the model needs, but the line's rate and the segment's size. */
void pace_answered(struct pace *p, const struct model *line, uint64_t blocks, uint64_t took_us,
                   uint64_t now_us);

#endif
