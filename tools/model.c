// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsan model: what depth and throughput a line allows, from the model. The
 * rates of sealing and opening are measured on this machine unless given.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <glib.h>

#include "model.h"
#include "suite.h"
#include "tools.h"

#define TCP_PAYLOAD (1448.0 / 1500.0) /* IPv4, TCP with timestamps, MTU 1500 */
#define MEASURED_US 100000
#define WARM_UP 8 /* segments, before the clock starts */

static double delay_ms = 8, rate_mbit = 1000, seal_mbs, open_mbs;
static int block_bytes = 131072, workers, target_workers;
static char *suite_text;
static gboolean json;

static const GOptionEntry entries[] = {
    {"delay", 0, 0, G_OPTION_ARG_DOUBLE, &delay_ms, "one way, milliseconds (8)", "MS"},
    {"rate", 0, 0, G_OPTION_ARG_DOUBLE, &rate_mbit, "of the line, Mbit/s (1000)", "MBIT"},
    {"block", 0, 0, G_OPTION_ARG_INT, &block_bytes, "bytes of a segment (131072)", "BYTES"},
    {"suite", 0, 0, G_OPTION_ARG_STRING, &suite_text, "cipher suite (aes-256-gcm)", "SUITE"},
    {"seal", 0, 0, G_OPTION_ARG_DOUBLE, &seal_mbs, "MB/s that a worker seals (measured here)", "MB/s"},
    {"open", 0, 0, G_OPTION_ARG_DOUBLE, &open_mbs, "MB/s that a worker at the target opens (measured here)", "MB/s"},
    {"workers", 0, 0, G_OPTION_ARG_INT, &workers, "threads that seal (one for each processor)", "N"},
    {"target-workers", 0, 0, G_OPTION_ARG_INT, &target_workers, "threads that open (one for each processor)", "N"},
    {"json", 0, 0, G_OPTION_ARG_NONE, &json, "print JSON", NULL},
    {NULL, 0, 0, 0, NULL, NULL, NULL}};

/* ---- how fast this machine is ---- */

struct bench {
    struct suite_key *seal, *open;
    uint8_t *plain, *sealed;
    uint64_t nonce;
};

static int seal_one(struct bench *b)
{
    struct iovec in = {.iov_base = b->plain, .iov_len = (size_t)block_bytes};
    uint8_t tag[WIRE_TAG_BYTES];

    return suite_seal(b->seal, ++b->nonce, NULL, 0, &in, 1, b->sealed, tag);
}

static int open_one(struct bench *b)
{
    struct iovec out = {.iov_base = b->plain, .iov_len = (size_t)block_bytes};
    uint8_t tag[WIRE_TAG_BYTES];

    /* the bytes change from call to call, so each one is sealed first and counted off below */
    if (suite_seal(b->seal, ++b->nonce, NULL, 0, &out, 1, b->sealed, tag) != 0)
        return -1;
    return suite_open(b->open, b->nonce, NULL, 0, b->sealed, (size_t)block_bytes, tag, &out, 1);
}

/* Seconds that a call takes; 0 on failure. */
static double seconds_each(int (*call)(struct bench *), struct bench *b)
{
    gint64 start;
    unsigned n = 0;

    for (unsigned i = 0; i < WARM_UP; i++)
        if (call(b) != 0)
            return 0;
    start = g_get_monotonic_time();
    do {
        if (call(b) != 0)
            return 0;
        n++;
    } while (g_get_monotonic_time() - start < MEASURED_US);
    return (double)(g_get_monotonic_time() - start) / 1e6 / n;
}

static int measure(enum wire_suite suite)
{
    static const uint8_t material[SUITE_KEY_MATERIAL_BYTES] = {1};
    struct bench b = {.seal = suite_key_new(suite, true, material),
                      .open = suite_key_new(suite, false, material),
                      .plain = g_malloc0((size_t)block_bytes),
                      .sealed = g_malloc0((size_t)block_bytes)};
    double seal_s = 0, both_s = 0;

    if (b.seal && b.open) {
        seal_s = seconds_each(seal_one, &b);
        both_s = seconds_each(open_one, &b);
    }
    if (seal_mbs <= 0 && seal_s > 0)
        seal_mbs = block_bytes / seal_s / 1e6;
    if (open_mbs <= 0 && both_s > seal_s)
        open_mbs = block_bytes / (both_s - seal_s) / 1e6;
    suite_key_free(b.seal);
    suite_key_free(b.open);
    g_free(b.plain);
    g_free(b.sealed);
    if (seal_mbs > 0 && open_mbs > 0)
        return 0;
    return fail("model: %s could not be measured here: give --seal and --open", suite_name(suite));
}

/* ---- what it says ---- */

static void print_depth(const struct model *m, unsigned n, bool last)
{
    double mbs = model_throughput(m, n) / 1e6;

    if (json)
        printf("{\"n\": %u, \"mb_per_s\": %.3f}%s", n, mbs, last ? "" : ", ");
    else
        printf("%8u %10.1f\n", n, mbs);
}

static void print_model(const struct model *m, const char *suite)
{
    static const unsigned shown[] = {1, 2, 4, 6, 8, 10, 16, 32, 64, 128, 256};
    unsigned best = model_best_depth(m);

    if (json)
        printf("{\"suite\": \"%s\", \"block_bytes\": %d, \"delay_ms\": %g, \"rate_mbit\": %g, "
               "\"seal_mb_per_s\": %.1f, \"open_mb_per_s\": %.1f, \"workers\": %u, "
               "\"target_workers\": %u, \"n_star\": %u, \"depths\": [",
               suite, block_bytes, delay_ms, rate_mbit, seal_mbs, open_mbs, m->workers,
               m->target_workers, best);
    else
        printf("%s, segments of %d bytes, round trip %g ms, line %.1f MB/s of payload,\n"
               "a worker seals %.0f MB/s (of %u) and opens %.0f MB/s (of %u)\n\n"
               "   depth       MB/s\n",
               suite, block_bytes, 2 * delay_ms, m->link / 1e6, seal_mbs, m->workers, open_mbs,
               m->target_workers);
    for (unsigned i = 0; i < G_N_ELEMENTS(shown) && shown[i] < best; i++)
        print_depth(m, shown[i], false);
    print_depth(m, best, true);
    if (json)
        puts("]}");
    else
        printf("\nn* = %u: more only adds queueing\n", best);
}

int model_command(int argc, char *argv[])
{
    g_autoptr(GOptionContext) context = g_option_context_new("");
    g_autoptr(GError) error = NULL;
    enum wire_suite suite;
    struct model m;

    g_set_prgname("encsan model");
    g_option_context_set_summary(context, "Predicts the throughput of a line by depth, and the best depth n*.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fail("model: %s (see encsan model --help)", error->message);
        return EXIT_USAGE;
    }
    suite = suite_by_name(suite_text ? suite_text : "aes-256-gcm");
    if (argc > 1 || !suite || delay_ms < 0 || rate_mbit <= 0 || block_bytes < 4096 ||
        block_bytes % 4096 || block_bytes > 16 << 20 || seal_mbs < 0 || open_mbs < 0 || workers < 0 ||
        target_workers < 0) {
        fail("model: --delay is at least 0, --rate above 0, --block a multiple of 4096 up to 16 MiB, "
             "--suite aes-256-gcm, chacha20-poly1305, 3des or null");
        return EXIT_USAGE;
    }
    if ((seal_mbs == 0 || open_mbs == 0) && measure(suite) != 0)
        return 1;
    m = (struct model){.segment_bytes = block_bytes,
                       .rtt_s = 2 * delay_ms / 1e3,
                       .round_trips = 1,
                       .link = rate_mbit * 1e6 / 8 * TCP_PAYLOAD,
                       .seal = seal_mbs * 1e6,
                       .open = open_mbs * 1e6,
                       .workers = workers ? (unsigned)workers : g_get_num_processors(),
                       .target_workers = target_workers ? (unsigned)target_workers : g_get_num_processors()};
    print_model(&m, suite_name(suite));
    return 0;
}
