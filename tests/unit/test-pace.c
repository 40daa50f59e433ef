// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The depth on a line that is simulated: a queue that sends one segment after
 * another at a rate, and answers half a round trip later.
 */
#include <math.h>
#include <string.h>

#include <glib.h>

#include "encsan.h"
#include "pace.h"

#define SEGMENT_BLOCKS 32
#define MOST 160

struct line {
    double rtt_s, rate;
    double now_s, free_at_s; /* the queue is empty from then on */
    double held_s; /* answers before it come only then, all at once */
    double sent_s[1024], answer_s[1024]; /* rings */
    uint64_t blocks[1024];
    unsigned first, count;
};

static double bytes(uint64_t blocks)
{
    return (double)(blocks * ENCSAN_BLOCK_BYTES);
}

static void send_one(struct line *l, uint64_t blocks)
{
    unsigned i = (l->first + l->count++) % 1024;

    l->free_at_s = fmax(l->free_at_s, l->now_s) + bytes(blocks) / l->rate;
    l->sent_s[i] = l->now_s;
    l->blocks[i] = blocks;
    l->answer_s[i] = fmax(l->free_at_s + l->rtt_s, l->held_s);
}

/* A sender that always has more, for so long. */
static void run(struct pace *p, struct line *l, double seconds)
{
    struct model m = {bytes(SEGMENT_BLOCKS), l->rtt_s, 1, 0, 2e9, 2e9, 2, 2};
    double end_s = l->now_s + seconds;

    while (l->now_s < end_s) {
        while (l->count < p->depth)
            send_one(l, p->blocks);
        pace_full(p);
        l->now_s = l->answer_s[l->first];
        l->count--;
        pace_answered(p, &m, l->blocks[l->first], (uint64_t)((l->now_s - l->sent_s[l->first]) * 1e6),
                      (uint64_t)(l->now_s * 1e6));
        l->first = (l->first + 1) % 1024;
    }
}

static unsigned best(const struct line *l)
{
    struct model m = {bytes(SEGMENT_BLOCKS), l->rtt_s, 1, l->rate, 2e9, 2e9, 2, 2};

    return model_best_depth(&m);
}

static void assert_near_best(const struct pace *p, const struct line *l)
{
    g_test_message("depth %u, n* %u by measured %u", p->depth, best(l), p->best);
    g_assert_cmpuint(p->best, >=, best(l) - 1);
    g_assert_cmpuint(p->best, <=, best(l) + 1);
    g_assert_cmpuint(p->depth, >=, best(l));
    g_assert_cmpuint(p->depth, <=, best(l) * 5 / 4 + 2 + (unsigned)(l->rate * 0.008 / bytes(SEGMENT_BLOCKS)));
}

/* 1 Gbit/s, 64 ms one way: n* is 115. Eight round trips find it from 8 on. */
static void test_of_long_line(void)
{
    struct line l = {.rtt_s = 0.128, .rate = 117e6};
    struct pace p;

    pace_init(&p, 0, 8, MOST, SEGMENT_BLOCKS);
    run(&p, &l, 8 * 0.128);
    g_assert_cmpuint(p.depth, >=, best(&l));
    run(&p, &l, 1);
    assert_near_best(&p, &l);
}

static void test_of_line_that_changes(void)
{
    struct line l = {.rtt_s = 0.016, .rate = 117e6};
    struct pace p;

    pace_init(&p, 0, 8, MOST, SEGMENT_BLOCKS);
    run(&p, &l, 1);
    assert_near_best(&p, &l);
    l.rate /= 4; /* only queueing, at first */
    run(&p, &l, 2);
    assert_near_best(&p, &l);
    l.rate *= 3;
    run(&p, &l, 2);
    assert_near_best(&p, &l);
}

/* As behind a lost packet, again and again. */
static void test_of_held_up_answers(void)
{
    struct line l = {.rtt_s = 0.016, .rate = 117e6};
    struct pace p;

    pace_init(&p, 0, 8, MOST, SEGMENT_BLOCKS);
    run(&p, &l, 1);
    for (unsigned i = 0; i < 50; i++) {
        l.held_s = l.now_s + 0.06;
        run(&p, &l, 0.08);
        g_assert_cmpuint(p.best, <=, best(&l) + 1);
    }
}

/* 20 Mbit/s: more than the bytes of a whole segment, on a fast one, only wait. */
static void test_of_slow_line(void)
{
    struct line l = {.rtt_s = 0.016, .rate = 2.4e6};
    struct pace p;

    pace_init(&p, 0, 16, MOST, SEGMENT_BLOCKS);
    run(&p, &l, 5);
    g_assert_cmpuint(p.depth * p.blocks, <=, SEGMENT_BLOCKS);
    g_assert_cmpuint(p.depth, >=, 2);
}

static void test_of_limits(void)
{
    struct line l = {.rtt_s = 0.5, .rate = 500e6};
    struct pace p;

    pace_init(&p, 0, 16, MOST, SEGMENT_BLOCKS);
    run(&p, &l, 10);
    g_assert_cmpuint(p.depth, ==, MOST);
    pace_init(&p, 10, 16, MOST, SEGMENT_BLOCKS);
    run(&p, &l, 10);
    g_assert_cmpuint(p.depth, ==, 10);
    pace_init(&p, 1000, 16, MOST, SEGMENT_BLOCKS);
    g_assert_cmpuint(p.depth, ==, MOST);
}

/* One at a time, as somebody writes who waits for each: that says nothing of the line. */
static void test_of_idle_sender(void)
{
    struct line l = {.rtt_s = 0.016, .rate = 117e6};
    struct model m = {bytes(SEGMENT_BLOCKS), l.rtt_s, 1, 0, 2e9, 2e9, 2, 2};
    struct pace p;

    pace_init(&p, 0, 8, MOST, SEGMENT_BLOCKS);
    run(&p, &l, 1);
    for (unsigned i = 1; i <= 1000; i++)
        pace_answered(&p, &m, SEGMENT_BLOCKS, 17200, (uint64_t)((l.now_s + i * 0.1) * 1e6));
    assert_near_best(&p, &l);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pace/long-line", test_of_long_line);
    g_test_add_func("/pace/line-that-changes", test_of_line_that_changes);
    g_test_add_func("/pace/held-up-answers", test_of_held_up_answers);
    g_test_add_func("/pace/slow-line", test_of_slow_line);
    g_test_add_func("/pace/limits", test_of_limits);
    g_test_add_func("/pace/idle-sender", test_of_idle_sender);
    return g_test_run();
}
