// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsan-bench: the raw pipeline, without FUSE. Sequential writes that end in
 * a flush, or sequential reads, of whole blocks. The volume's content is
 * overwritten. --plain does the same on an unsealed LUN, of any target: what
 * the pipeline is compared with.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <glib.h>

#include "encsan.h"
#include "key.h"
#include "plain.h"

static char *key_file, *target_key, *op = "write", *depth = "auto", *suite;
static int sessions;
static int64_t block_bytes = 131072, size_bytes = 1 << 30, segment_bytes, warm_up_bytes;
static unsigned plain_depth = 1;
static gboolean json, each_flushed, plain;

static const GOptionEntry entries[] = {
    {"key", 0, 0, G_OPTION_ARG_FILENAME, &key_file, "the initiator's private key", "FILE"},
    {"target-key", 0, 0, G_OPTION_ARG_STRING, &target_key, "the target's public key", "KEY"},
    {"plain", 0, 0, G_OPTION_ARG_NONE, &plain, "an unsealed LUN; --depth is requests at a time, auto 1", NULL},
    {"op", 0, 0, G_OPTION_ARG_STRING, &op, "write or read", "OP"},
    {"block", 0, 0, G_OPTION_ARG_INT64, &block_bytes, "bytes a request", "BYTES"},
    {"segment", 0, 0, G_OPTION_ARG_INT64, &segment_bytes, "bytes a segment", "BYTES"},
    {"depth", 0, 0, G_OPTION_ARG_STRING, &depth, "segments in flight, or auto", "N"},
    {"sessions", 0, 0, G_OPTION_ARG_INT, &sessions, "iSCSI sessions (as many as the distance wants)", "N"},
    {"sync", 0, 0, G_OPTION_ARG_NONE, &each_flushed, "wait for each block's receipt before the next one", NULL},
    {"suite", 0, 0, G_OPTION_ARG_STRING, &suite, "cipher suite", "SUITE"},
    {"size", 0, 0, G_OPTION_ARG_INT64, &size_bytes, "bytes in all", "BYTES"},
    {"warm-up", 0, 0, G_OPTION_ARG_INT64, &warm_up_bytes, "bytes before the clock starts", "BYTES"},
    {"json", 0, 0, G_OPTION_ARG_NONE, &json, "print JSON", NULL},
    {NULL, 0, 0, 0, NULL, NULL, NULL}};

/* Requests on their way: as many as the pipeline can use. */
#define REQUESTS 64

/* ---- a sealed LUN ---- */

struct run {
    GMutex lock;
    GCond ended;
    unsigned running;
    int error;
};

static void request_done(void *opaque, int error)
{
    struct run *run = opaque;

    g_mutex_lock(&run->lock);
    run->running--;
    if (error)
        run->error = error;
    g_cond_signal(&run->ended);
    g_mutex_unlock(&run->lock);
}

static void wait_below(struct run *run, unsigned most)
{
    g_mutex_lock(&run->lock);
    while (run->running >= most)
        g_cond_wait(&run->ended, &run->lock);
    g_mutex_unlock(&run->lock);
}

static void start_request(struct encsan *v, struct run *run, uint8_t *buf, uint64_t offset)
{
    g_mutex_lock(&run->lock);
    run->running++;
    g_mutex_unlock(&run->lock);
    if (strcmp(op, "write") == 0)
        encsan_write_async(v, buf, (size_t)block_bytes, offset, 0, request_done, run);
    else
        encsan_read_stream_async(v, buf, (size_t)block_bytes, offset,
                                 (struct encsan_stream){.end = UINT64_MAX}, request_done, run);
}

static int run_sealed(void *volume, uint8_t *buffers, uint64_t first, uint64_t requests)
{
    struct run run = {.running = 0};
    uint64_t block = (uint64_t)block_bytes;
    int error = 0;

    for (uint64_t i = 0; i < requests && !run.error && !error; i++) {
        wait_below(&run, each_flushed ? 1 : REQUESTS);
        if (each_flushed && i > 0)
            error = encsan_flush(volume);
        start_request(volume, &run, buffers + i % REQUESTS * block, (first + i) * block);
    }
    wait_below(&run, 1);
    if (run.error)
        return run.error;
    return error ? error : encsan_flush(volume);
}

/* ---- a plain one ---- */

static int run_plain(void *lun, uint8_t *buffers, uint64_t first, uint64_t requests)
{
    uint64_t block = (uint64_t)block_bytes, step = each_flushed ? 1 : requests;
    int error = 0;

    for (uint64_t i = 0; i < requests && !error; i += step) {
        const struct plain_requests r = {strcmp(op, "write") == 0, buffers, block, (first + i) * block,
                                         step, each_flushed ? 1 : plain_depth};

        error = plain_run(lun, &r);
        if (!error)
            error = plain_flush(lun);
    }
    return error;
}

/* ---- both ---- */

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void report(const char *name, uint64_t bytes, double seconds, double cpu)
{
    if (json)
        printf("{\"op\": \"%s\", \"suite\": \"%s\", \"bytes\": %llu, \"seconds\": %.6f, \"cpu_s\": %.6f, "
               "\"mb_per_s\": %.1f, \"cpu_s_per_gb\": %.2f}\n",
               op, name, (unsigned long long)bytes, seconds, cpu, (double)bytes / seconds / 1e6,
               cpu / (double)bytes * 1e9);
    else
        printf("%s %s: %.1f MB/s, %.2f CPU-s/GB\n", op, name, (double)bytes / seconds / 1e6,
               cpu / (double)bytes * 1e9);
}

static int measure(int (*run)(void *, uint8_t *, uint64_t, uint64_t), void *lun, const char *name,
                   uint64_t lun_bytes)
{
    uint64_t requests = (uint64_t)(size_bytes / block_bytes);
    uint64_t warm_up = (uint64_t)(warm_up_bytes / block_bytes);
    g_autofree uint8_t *buffers = g_malloc(REQUESTS * (size_t)block_bytes);
    double seconds, cpu;
    int64_t start_us;
    int error;

    if ((warm_up + requests) * (uint64_t)block_bytes > lun_bytes) {
        fprintf(stderr, "encsan-bench: --size: the volume has only %llu bytes\n",
                (unsigned long long)lun_bytes);
        return 1;
    }
    memset(buffers, 0x5a, REQUESTS * (size_t)block_bytes);
    error = warm_up ? run(lun, buffers, 0, warm_up) : 0;
    cpu = cpu_seconds();
    start_us = g_get_monotonic_time();
    if (!error)
        error = run(lun, buffers, warm_up, requests);
    seconds = (double)(g_get_monotonic_time() - start_us) / 1e6;
    cpu = cpu_seconds() - cpu;
    if (error) {
        fprintf(stderr, "encsan-bench: %s: %s\n", op, strerror(-error));
        return 1;
    }
    report(name, requests * (uint64_t)block_bytes, seconds, cpu);
    return 0;
}

static int usage(const char *message)
{
    fprintf(stderr, "encsan-bench: %s; see --help\n", message);
    return 2;
}

static int bench_plain(const char *url)
{
    struct plain *lun;
    int status;

    if (strcmp(depth, "auto") != 0)
        plain_depth = (unsigned)atoi(depth);
    if (plain_depth == 0 || plain_depth > REQUESTS)
        return usage("--depth takes auto or a number from 1 to 64 with --plain");
    lun = plain_open(url);
    if (!lun)
        return 1;
    status = measure(run_plain, lun, "plain", plain_size_bytes(lun));
    plain_close(lun);
    return status;
}

static int bench_sealed(const char *url)
{
    struct encsan_options options = {.url = url,
                                     .suite = suite,
                                     .segment_bytes = (size_t)segment_bytes,
                                     .sessions = (unsigned)sessions,
                                     .depth = strcmp(depth, "auto") == 0 ? 0 : (unsigned)atoi(depth)};
    char message[ENCSAN_MESSAGE_BYTES];
    struct encsan_info info;
    struct encsan *v;
    int status;

    if (strcmp(depth, "auto") != 0 && options.depth == 0)
        return usage("--depth takes auto or a number above 0");
    if (key_from_text(target_key, options.target_key) != 0)
        return usage("--target-key: not 44 characters of base64");
    if (key_load(key_file, options.key, message, sizeof message) != 0 ||
        !(v = encsan_open(&options, message))) {
        fprintf(stderr, "encsan-bench: %s\n", message);
        return 1;
    }
    encsan_get_info(v, &info);
    status = measure(run_sealed, v, info.suite, info.size_bytes);
    return encsan_close(v) == 0 ? status : 1;
}

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new("URL");
    g_autoptr(GError) error = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error))
        return usage(error->message);
    if (argc != 2 || block_bytes <= 0 || block_bytes % ENCSAN_BLOCK_BYTES || size_bytes < block_bytes ||
        warm_up_bytes < 0 || segment_bytes < 0 || (strcmp(op, "write") != 0 && strcmp(op, "read") != 0))
        return usage("URL, --op write|read and a --block in multiples of 4096, at most --size");
    if (plain)
        return bench_plain(argv[1]);
    if (!key_file || !target_key)
        return usage("--key and --target-key, or --plain");
    return bench_sealed(argv[1]);
}
