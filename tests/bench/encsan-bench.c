// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsan-bench: the raw pipeline, without FUSE. Sequential writes that end in
 * a flush, or sequential reads, of a whole number of blocks. The volume's
 * content is overwritten.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <glib.h>

#include "encsan.h"
#include "key.h"

static char *key_file, *target_key, *op = "write", *depth = "auto", *suite;
static int64_t block_bytes = 131072, size_bytes = 1 << 30;
static gboolean json;

static const GOptionEntry entries[] = {
    {"key", 0, 0, G_OPTION_ARG_FILENAME, &key_file, "the initiator's private key", "FILE"},
    {"target-key", 0, 0, G_OPTION_ARG_STRING, &target_key, "the target's public key", "KEY"},
    {"op", 0, 0, G_OPTION_ARG_STRING, &op, "write or read", "OP"},
    {"block", 0, 0, G_OPTION_ARG_INT64, &block_bytes, "bytes a request", "BYTES"},
    {"depth", 0, 0, G_OPTION_ARG_STRING, &depth, "segments in flight, or auto", "N"},
    {"suite", 0, 0, G_OPTION_ARG_STRING, &suite, "cipher suite", "SUITE"},
    {"size", 0, 0, G_OPTION_ARG_INT64, &size_bytes, "bytes in all", "BYTES"},
    {"json", 0, 0, G_OPTION_ARG_NONE, &json, "print JSON", NULL},
    {NULL, 0, 0, 0, NULL, NULL, NULL}};

/* Requests on their way: as many as the pipeline can use. */
#define REQUESTS 64

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
    run->running++;
    g_mutex_unlock(&run->lock);
}

static int run_all(struct encsan *v, uint8_t *buffers, uint64_t requests)
{
    struct run run = {.running = 0};
    bool write = strcmp(op, "write") == 0;

    for (uint64_t i = 0; i < requests && !run.error; i++) {
        uint8_t *buf = buffers + (write ? 0 : i % REQUESTS * (uint64_t)block_bytes);

        wait_below(&run, REQUESTS);
        if (write)
            encsan_write_async(v, buf, (size_t)block_bytes, i * (uint64_t)block_bytes, 0,
                               request_done, &run);
        else
            encsan_read_async(v, buf, (size_t)block_bytes, i * (uint64_t)block_bytes, request_done,
                              &run);
    }
    wait_below(&run, 1);
    return run.error ? run.error : encsan_flush(v);
}

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int measure(struct encsan *v)
{
    struct encsan_info info;
    uint64_t requests = (uint64_t)size_bytes / (uint64_t)block_bytes;
    g_autofree uint8_t *buffers = g_malloc(REQUESTS * (size_t)block_bytes);
    double seconds, cpu, bytes = (double)requests * (double)block_bytes;
    int64_t start_us;
    int error;

    encsan_get_info(v, &info);
    if (requests * (uint64_t)block_bytes > info.size_bytes) {
        fprintf(stderr, "encsan-bench: --size: the volume has only %llu bytes\n",
                (unsigned long long)info.size_bytes);
        return 1;
    }
    memset(buffers, 0x5a, REQUESTS * (size_t)block_bytes);
    cpu = cpu_seconds();
    start_us = g_get_monotonic_time();
    error = run_all(v, buffers, requests);
    seconds = (double)(g_get_monotonic_time() - start_us) / 1e6;
    cpu = cpu_seconds() - cpu;
    if (error) {
        fprintf(stderr, "encsan-bench: %s: %s\n", op, strerror(-error));
        return 1;
    }
    printf(json ? "{\"op\": \"%s\", \"suite\": \"%s\", \"mb_per_s\": %.1f, \"cpu_s_per_gb\": %.2f}\n"
                : "%s %s: %.1f MB/s, %.2f CPU-s/GB\n",
           op, info.suite, bytes / seconds / 1e6, cpu / bytes * 1e9);
    return 0;
}

static int usage(const char *message)
{
    fprintf(stderr, "encsan-bench: %s; see --help\n", message);
    return 2;
}

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new("URL");
    struct encsan_options options = {0};
    char message[ENCSAN_MESSAGE_BYTES];
    GError *error = NULL;
    struct encsan *v;
    int status;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error))
        return usage(error->message);
    if (argc != 2 || !key_file || !target_key || block_bytes <= 0 || block_bytes % ENCSAN_BLOCK_BYTES ||
        (strcmp(op, "write") != 0 && strcmp(op, "read") != 0))
        return usage("URL, --key, --target-key, --op write|read and a --block in multiples of 4096");
    if (key_load(key_file, options.key, message, sizeof message) != 0) {
        fprintf(stderr, "encsan-bench: %s\n", message);
        return 1;
    }
    if (key_from_text(target_key, options.target_key) != 0)
        return usage("--target-key: not 44 characters of base64");
    options.url = argv[1];
    options.suite = suite;
    options.depth = strcmp(depth, "auto") == 0 ? 0 : (unsigned)strtoul(depth, NULL, 10);
    v = encsan_open(&options, message);
    if (!v) {
        fprintf(stderr, "encsan-bench: %s\n", message);
        return 1;
    }
    status = measure(v);
    return encsan_close(v) == 0 ? status : 1;
}
