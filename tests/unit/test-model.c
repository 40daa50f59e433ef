// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The model against figures worked out by hand.
 */
#include <glib.h>

#include "model.h"

/* 100 kB segments, 10 ms, 100 MB/s line: cycle = 10 + 1 + 0.5 + 0.5 = 12 ms */
static const struct model example = {.segment_bytes = 100e3,
                                     .rtt_s = 0.010,
                                     .round_trips = 1,
                                     .link = 100e6,
                                     .seal = 200e6,
                                     .open = 200e6,
                                     .workers = 2,
                                     .target_workers = 2};

static void near(double got, double expected)
{
    g_assert_cmpfloat_with_epsilon(got, expected, expected * 1e-9);
}

static void test_of_cycle(void)
{
    struct model r2t = example;

    near(model_cycle_s(&example), 0.012);
    r2t.round_trips = 2;
    near(model_cycle_s(&r2t), 0.022);
}

static void test_of_throughput(void)
{
    near(model_throughput(&example, 1), 100e3 / 0.012);
    near(model_throughput(&example, 6), 6 * 100e3 / 0.012);
    near(model_throughput(&example, 12), 100e6); /* the line is full */
    near(model_throughput(&example, 99), 100e6);
}

static void test_of_limits(void)
{
    struct model m = example;

    m.link = 1e9; /* the workers are slower: cycle 11.1 ms, ceiling 2 × 200 MB/s */
    near(model_throughput(&m, 1000), 400e6);
    m.target_workers = 1;
    near(model_throughput(&m, 1000), 200e6);
    m.workers = 1;
    m.seal = 50e6; /* cycle 12.6 ms */
    near(model_throughput(&m, 1000), 50e6);
}

static void test_of_best_depth(void)
{
    struct model m = example;

    g_assert_cmpuint(model_best_depth(&m), ==, 12);
    near(model_throughput(&m, 12), model_throughput(&m, 13));
    g_assert_cmpfloat(model_throughput(&m, 11), <, model_throughput(&m, 12));
    m.rtt_s = 0; /* sealing, sending and opening still take turns: cycle 2 ms */
    g_assert_cmpuint(model_best_depth(&m), ==, 2);
    m.rtt_s = 0.0105; /* cycle 12.5 ms: 12.5 segments */
    g_assert_cmpuint(model_best_depth(&m), ==, 13);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/cycle", test_of_cycle);
    g_test_add_func("/model/throughput", test_of_throughput);
    g_test_add_func("/model/limits", test_of_limits);
    g_test_add_func("/model/best-depth", test_of_best_depth);
    return g_test_run();
}
