// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pace.h"

#include <math.h>
#include <sys/param.h>

#include "encsan.h"

#define DEPTH_MIN 2
#define BLOCKS_MIN 4   /* of a segment on a slow line */
#define BLOCKS_START 8 /* until the line's speed is known */
#define LASTS_S 0.006  /* a segment, there */
#define ROUND_MIN_US 2000
#define ROUND_MIN_SEGMENTS 4
#define HEADROOM 1.25
#define STARTUP_GAIN 4.0  /* TCP's window doubles in a round trip, and what is measured is as old */
#define GROWTH 1.25       /* less is none */
#define FLAT_ROUNDS 3
#define SLACK_S 0.008     /* for the time that threads need to take turns */
#define QUEUEING_US 5000  /* less delay than this is not worth a smaller depth */
#define AGING_A_SECOND 64 /* a share by which the fastest answer ages: routes change */

void pace_init(struct pace *p, unsigned fixed, unsigned start, unsigned most, uint64_t most_blocks)
{
    *p = (struct pace){.fixed = fixed > 0, .most = most, .most_blocks = most_blocks};
    p->blocks = fixed ? most_blocks : MIN(BLOCKS_START, most_blocks);
    p->depth = fixed ? fixed : start;
    if (p->depth > most)
        p->depth = most;
    p->start = p->depth;
}

void pace_full(struct pace *p)
{
    p->full = true;
}

static void note_rate(struct pace *p, double rate)
{
    /* of a round in which nobody wanted more, only a higher rate says something */
    if (!p->full && rate < p->rate)
        return;
    p->rates[p->rounds++ % PACE_ROUNDS] = rate;
    p->rate = 0;
    for (unsigned i = 0; i < PACE_ROUNDS; i++)
        p->rate = fmax(p->rate, p->rates[i]);
}

static bool is_queueing(const struct pace *p)
{
    return (double)p->round_fastest_us > 1.5 * p->fastest_us + QUEUEING_US;
}

static void note_growth(struct pace *p, double rate)
{
    if (p->filled || !p->full)
        return;
    if (rate > GROWTH * p->flat_rate) {
        p->flat_rate = rate;
        p->flat = 0;
    } else {
        p->flat++;
    }
    p->filled = p->flat == FLAT_ROUNDS || is_queueing(p);
}

static void choose_blocks(struct pace *p)
{
    double blocks = fmax(p->filled ? BLOCKS_MIN : BLOCKS_START, p->rate * LASTS_S / ENCSAN_BLOCK_BYTES);

    if (!p->fixed)
        p->blocks = (uint64_t)fmin(blocks, (double)p->most_blocks);
}

static void choose_depth(struct pace *p, const struct model *line)
{
    struct model m = *line;
    double depth;

    m.link = p->rate;
    m.segment_bytes = (double)(p->blocks * ENCSAN_BLOCK_BYTES);
    p->best = model_best_depth(&m);
    depth = p->best * (is_queueing(p) ? 1 : HEADROOM) + 1 + p->rate * SLACK_S / m.segment_bytes;
    if (!p->filled)
        depth = p->full ? fmax(STARTUP_GAIN * p->best, p->start) : fmax(depth, p->depth);
    if (!p->fixed)
        p->depth = (unsigned)fmax(DEPTH_MIN, fmin(depth, p->most));
}

void pace_answered(struct pace *p, const struct model *line, uint64_t blocks, uint64_t took_us,
                   uint64_t now_us)
{
    uint64_t sent_us = now_us - took_us, lasted_us = now_us - p->began_us;
    double rate;

    if (p->answers++ == 0) { /* the first of a round only starts the clock */
        p->began_us = now_us;
        p->first_sent_us = sent_us;
        p->round_fastest_us = took_us;
    } else {
        p->blocks_answered += blocks;
        if (took_us < p->round_fastest_us)
            p->round_fastest_us = took_us;
    }
    if (p->fastest_us == 0 || (double)took_us < p->fastest_us)
        p->fastest_us = (double)took_us;
    if (sent_us < p->began_us || lasted_us < ROUND_MIN_US || p->answers <= ROUND_MIN_SEGMENTS)
        return;
    rate = (double)(p->blocks_answered * ENCSAN_BLOCK_BYTES) * 1e6 / fmax(lasted_us, sent_us - p->first_sent_us);
    note_rate(p, rate);
    note_growth(p, rate);
    choose_blocks(p);
    choose_depth(p, line);
    p->fastest_us += p->fastest_us * (double)lasted_us / 1e6 / AGING_A_SECOND;
    p->blocks_answered = p->answers = 0;
    p->full = false;
}
