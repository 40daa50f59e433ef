// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libencsan through its public header alone, against a real encsan-target.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glib.h>

#include "cut.h"
#include "encsan.h"
#include "far.h"

#ifndef KEYS_WEAR_OUT
#define KEYS_WEAR_OUT 0 /* or 1, with a library whose keys do so soon: meson.build */
#endif

static void test_round_trip(gconstpointer suite)
{
    struct target t = {0};
    struct encsan_options o;
    g_autofree uint8_t *out = g_malloc(8u << 20), *in = g_malloc0(8u << 20);
    struct encsan_info info;

    target_start(&t);
    o = options_for(&t);
    o.suite = suite;
    fill(out, 8u << 20, 1);
    struct encsan *v = open_volume(&o);
    encsan_get_info(v, &info);
    g_assert_cmpuint(info.size_bytes, ==, VOLUME_BYTES);
    if (suite)
        g_assert_cmpstr(info.suite, ==, suite);
    g_assert_cmpint(encsan_write(v, out, 8u << 20, 3 * BLOCK, 0), ==, 0);
    g_assert_cmpint(encsan_read(v, in, 8u << 20, 3 * BLOCK), ==, 0);
    g_assert_cmpmem(in, 8u << 20, out, 8u << 20);
    g_assert_cmpint(encsan_flush(v), ==, 0);
    assert_on_disk(&t, out, 8u << 20, 3 * BLOCK);
    g_assert_cmpint(encsan_close(v), ==, 0);

    memset(in, 0, 8u << 20);
    o.suite = NULL;
    v = open_volume(&o);
    g_assert_cmpint(encsan_read(v, in, 8u << 20, 3 * BLOCK), ==, 0);
    g_assert_cmpmem(in, 8u << 20, out, 8u << 20);
    g_assert_cmpint(encsan_close(v), ==, 0);
    target_stop(&t);
}

static void test_bad_requests(void)
{
    struct target t = {0};
    uint8_t buf[2 * BLOCK] = {0};

    target_start(&t);
    struct encsan_options o = options_for(&t);
    o.read_only = true;
    struct encsan *v = open_volume(&o);
    g_assert_cmpint(encsan_read(v, buf, BLOCK, 17), ==, -EINVAL);
    g_assert_cmpint(encsan_read(v, buf, 17, 0), ==, -EINVAL);
    g_assert_cmpint(encsan_read(v, buf, 2 * BLOCK, VOLUME_BYTES - BLOCK), ==, -EINVAL);
    g_assert_cmpint(encsan_read(v, buf, BLOCK, UINT64_MAX - BLOCK + 1), ==, -EINVAL);
    g_assert_cmpint(encsan_write(v, buf, BLOCK, 0, 0), ==, -EROFS);
    g_assert_cmpint(encsan_read(v, buf, BLOCK, VOLUME_BYTES - BLOCK), ==, 0);
    g_assert_cmpint(encsan_close(v), ==, 0);
    target_stop(&t);
}

static void assert_refused(const struct encsan_options *o, const char *pattern)
{
    char message[ENCSAN_MESSAGE_BYTES] = "";

    g_assert_null(encsan_open(o, message));
    g_test_message("%s", message);
    g_assert_true(g_pattern_match_simple(pattern, message));
    g_assert_null(strchr(message, '\n'));
}

static void test_refusals(void)
{
    struct target t = {0};

    target_start(&t);
    struct encsan_options o = options_for(&t);
    memcpy(o.key, bob_private, 32);
    assert_refused(&o, "*does not know this initiator*--allow 3p7bf*");
    o = options_for(&t);
    memcpy(o.target_key, alice_public, 32);
    assert_refused(&o, "*another key than target_key=*");
    o = options_for(&t);
    o.suite = "rot13";
    assert_refused(&o, "*rot13*unknown*");
    o.suite = NULL;
    o.url = "iscsi://127.0.0.1:1/iqn.x:y/1";
    assert_refused(&o, "*cannot log in*");
    o.url = "http://nowhere";
    assert_refused(&o, "*iscsi://HOST*");

    o = options_for(&t);
    struct encsan *v = open_volume(&o);
    assert_refused(&o, "*in use by hSDw*");
    g_assert_cmpint(encsan_close(v), ==, 0);
    v = open_volume(&o);
    g_assert_cmpint(encsan_close(v), ==, 0);
    target_stop(&t);
}

static void test_zero_and_discard(void)
{
    struct target t = {0};
    g_autofree uint8_t *data = g_malloc(1u << 20), *in = g_malloc(1u << 20);

    target_start(&t);
    struct encsan_options o = options_for(&t);
    struct encsan *v = open_volume(&o);
    fill(data, 1u << 20, 2);
    g_assert_cmpint(encsan_write(v, data, 1u << 20, 0, 0), ==, 0);
    /* overlaps staged data: must wait for it, and win */
    g_assert_cmpint(encsan_zero(v, 64 * BLOCK, 10 * BLOCK), ==, 0);
    g_assert_cmpint(encsan_discard(v, 32 * BLOCK, 100 * BLOCK), ==, 0);
    memset(data + 10 * BLOCK, 0, 64 * BLOCK);
    memset(data + 100 * BLOCK, 0, 32 * BLOCK);
    /* and newer data wins over a range that has no receipt yet */
    memset(data + 20 * BLOCK, 'n', BLOCK);
    g_assert_cmpint(encsan_write(v, data + 20 * BLOCK, BLOCK, 20 * BLOCK, 0), ==, 0);
    g_assert_cmpint(encsan_read(v, in, 1u << 20, 0), ==, 0);
    g_assert_cmpmem(in, 1u << 20, data, 1u << 20);
    g_assert_cmpint(encsan_flush(v), ==, 0);
    assert_on_disk(&t, data, 1u << 20, 0);
    g_assert_cmpint(encsan_close(v), ==, 0);
    target_stop(&t);
}

static void test_barrier(void)
{
    struct target t = {0};
    g_autofree uint8_t *data = g_malloc(1u << 20);

    target_start(&t);
    struct encsan_options o = options_for(&t);
    struct encsan *v = open_volume(&o);
    for (uint32_t i = 0; i < 50; i++) {
        fill(data, 1u << 20, i);
        g_assert_cmpint(encsan_write(v, data, (1u << 20) - BLOCK, 0, 0), ==, 0);
        g_assert_cmpint(encsan_write(v, data + (1u << 20) - BLOCK, BLOCK, (1u << 20) - BLOCK,
                                     ENCSAN_AFTER_ALL), ==, 0);
        /* a newer write to the barrier's own block has to wait for it */
        if (i % 2)
            g_assert_cmpint(encsan_write(v, data, BLOCK, (1u << 20) - BLOCK, 0), ==, 0);
        g_assert_cmpint(encsan_flush(v), ==, 0);
        if (i % 2)
            memcpy(data + (1u << 20) - BLOCK, data, BLOCK);
        assert_on_disk(&t, data, 1u << 20, 0);
    }
    g_assert_cmpint(encsan_close(v), ==, 0);
    target_stop(&t);
}

/* What is staged can be made to leave alone, and a journal's commit waits for no more. */
static void test_leave(void)
{
    struct target t = {0};
    g_autofree uint8_t *data = g_malloc(1u << 20);
    const uint64_t far = 16u << 20;

    target_start(&t);
    struct encsan_options o = options_for(&t);
    struct encsan *v = open_volume(&o);
    fill(data, 1u << 20, 5);
    g_assert_cmpint(encsan_write(v, data, 2 * BLOCK, 0, 0), ==, 0);
    g_assert_cmpint(encsan_write(v, data, 2 * BLOCK, far, 0), ==, 0);
    uint64_t stamp = encsan_stamp_staged(v);
    g_assert_cmpuint(encsan_stamp_left(v), <, stamp);
    g_assert_cmpuint(encsan_count_left(v, 4 * BLOCK, far - 2 * BLOCK), ==, 2 * BLOCK);
    g_assert_cmpint(encsan_leave(v, BLOCK, far), ==, 0);
    g_assert_cmpuint(encsan_count_left(v, 4 * BLOCK, far - 2 * BLOCK), ==, 4 * BLOCK);
    g_assert_cmpint(encsan_write(v, data + 2 * BLOCK, BLOCK, 2 * far,
                                 ENCSAN_URGENT | ENCSAN_AFTER_ALL), ==, 0);
    g_assert_cmpint(encsan_flush_urgent(v), ==, 0);
    assert_on_disk(&t, data, 2 * BLOCK, far);
    assert_on_disk(&t, data + 2 * BLOCK, BLOCK, 2 * far);
    g_assert_cmpint(encsan_flush(v), ==, 0);
    g_assert_cmpuint(encsan_stamp_left(v), >=, stamp);
    assert_on_disk(&t, data, 2 * BLOCK, 0);
    g_assert_cmpint(encsan_close(v), ==, 0);
    target_stop(&t);
}

/* ---- streams ---- */

struct wait { /* not GLib's: ThreadSanitizer knows only pthreads */
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool ended;
    int error;
};

static void wait_ended(void *opaque, int error)
{
    struct wait *w = opaque;

    pthread_mutex_lock(&w->lock);
    w->ended = true;
    w->error = error;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

static int read_as(struct encsan *v, void *buf, size_t count, uint64_t offset, struct encsan_stream stream)
{
    struct wait w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

    encsan_read_stream_async(v, buf, count, offset, stream, wait_ended, &w);
    pthread_mutex_lock(&w.lock);
    while (!w.ended)
        pthread_cond_wait(&w.cond, &w.lock);
    pthread_mutex_unlock(&w.lock);
    return w.error;
}

static int read_stream(struct encsan *v, void *buf, size_t count, uint64_t offset)
{
    return read_as(v, buf, count, offset, (struct encsan_stream){.end = VOLUME_BYTES});
}

static uint64_t reads_sent(struct encsan *v)
{
    struct encsan_stats stats;

    encsan_get_stats(v, &stats);
    return stats.reads_sent;
}

/* Small reads, one after another, become few large ones; others stay what they are. */
static void test_readahead(void)
{
    const unsigned blocks = 2048;
    struct target t = {0};
    g_autofree uint8_t *data = g_malloc(blocks * BLOCK);
    uint8_t buf[BLOCK];

    target_start(&t);
    struct encsan_options o = options_for(&t);
    struct encsan *v = open_volume(&o);
    fill(data, blocks * BLOCK, 5);
    g_assert_cmpint(encsan_write(v, data, blocks * BLOCK, 0, 0), ==, 0);
    g_assert_cmpint(encsan_close(v), ==, 0);

    v = open_volume(&o);
    for (unsigned i = 0; i < blocks; i++) {
        g_assert_cmpint(read_stream(v, buf, BLOCK, (uint64_t)i * BLOCK), ==, 0);
        g_assert_cmpmem(buf, BLOCK, data + (size_t)i * BLOCK, BLOCK);
    }
    g_assert_cmpuint(reads_sent(v), <, blocks / 8); /* whole segments, and a window beyond */

    g_assert_cmpint(encsan_close(v), ==, 0);

    v = open_volume(&o);
    for (unsigned i = 0; i < 100; i++) { /* backwards, and in strides */
        g_assert_cmpint(read_stream(v, buf, BLOCK, (8192 - i * 3) * (uint64_t)BLOCK), ==, 0);
        g_assert_cmpint(read_stream(v, buf, BLOCK, (10000 + i * 3) * (uint64_t)BLOCK), ==, 0);
    }
    g_assert_cmpuint(reads_sent(v), ==, 200);
    g_assert_cmpint(encsan_close(v), ==, 0);

    o.readahead = ENCSAN_NO_READAHEAD;
    v = open_volume(&o);
    for (unsigned i = 0; i < 100; i++)
        g_assert_cmpint(read_stream(v, buf, BLOCK, (uint64_t)i * BLOCK), ==, 0);
    g_assert_cmpuint(reads_sent(v), ==, 100);
    g_assert_cmpint(encsan_close(v), ==, 0);
    target_stop(&t);
}

static void read_blocks(struct encsan *v, const uint8_t *data, unsigned first, unsigned count)
{
    uint8_t buf[BLOCK];

    for (unsigned i = first; i < first + count; i++) {
        g_assert_cmpint(read_stream(v, buf, BLOCK, (uint64_t)i * BLOCK), ==, 0);
        g_assert_cmpmem(buf, BLOCK, data + (size_t)i * BLOCK, BLOCK);
    }
}

/* In little memory a stream keeps what was read ahead of it, whatever else is; but one
 * that stands still does not keep it all from another. */
static void test_readahead_in_little_memory(void)
{
    const unsigned blocks = 4096, segment = 32;
    struct target t = {0};
    g_autofree uint8_t *data = g_malloc(blocks * BLOCK);
    uint64_t before;

    target_start(&t);
    struct encsan_options o = options_for(&t);
    o.cache_bytes = 4 << 20;
    o.readahead = 12;
    struct encsan *v = open_volume(&o);
    fill(data, blocks * BLOCK, 6);
    g_assert_cmpint(encsan_write(v, data, blocks * BLOCK, 0, 0), ==, 0);
    g_assert_cmpint(encsan_close(v), ==, 0);

    v = open_volume(&o);
    for (unsigned i = 0; i < 40; i++) {
        encsan_prefetch(v, segment * BLOCK, (uint64_t)(2048 + i * segment) * BLOCK);
        read_blocks(v, data, i * segment, segment);
    }
    g_assert_cmpuint(reads_sent(v), <, 120); /* 40 segments twice, and a window */
    before = reads_sent(v);
    read_blocks(v, data, 2048, 1024);
    g_assert_cmpuint(reads_sent(v) - before, <, 100);
    read_blocks(v, data, 40 * segment, segment);
    g_assert_cmpint(encsan_close(v), ==, 0);
    target_stop(&t);
}

/* So many, and no more; the last may be leaving yet. */
static void assert_reads(struct encsan *v, uint64_t reads)
{
    for (unsigned i = 0; i < 1000 && reads_sent(v) < reads; i++)
        g_usleep(10000);
    g_assert_cmpuint(reads_sent(v), ==, reads);
}

/* One read of one block: the 96 blocks behind it come, too, or as many as there are, or may be. */
static void test_beginning(void)
{
    const struct encsan_stream begins = {.end = VOLUME_BYTES, .begins = true};
    struct target t = {0};
    uint8_t buf[BLOCK];

    target_start(&t);
    struct encsan_options o = options_for(&t);
    struct encsan *v = open_volume(&o);
    g_assert_cmpint(read_as(v, buf, BLOCK, 0, begins), ==, 0);
    assert_reads(v, 1 + 96 / 8);
    g_assert_cmpint(encsan_close(v), ==, 0);

    v = open_volume(&o);
    g_assert_cmpint(read_as(v, buf, BLOCK, 0, (struct encsan_stream){.end = 2 * BLOCK, .begins = true}), ==, 0);
    assert_reads(v, 2);
    g_assert_cmpint(encsan_close(v), ==, 0);

    o.readahead = 2;
    v = open_volume(&o);
    g_assert_cmpint(read_as(v, buf, BLOCK, 0, begins), ==, 0);
    assert_reads(v, 1 + 2);
    g_assert_cmpint(encsan_close(v), ==, 0);

    o.readahead = ENCSAN_NO_READAHEAD;
    v = open_volume(&o);
    g_assert_cmpint(read_as(v, buf, BLOCK, 0, begins), ==, 0);
    assert_reads(v, 1);
    g_assert_cmpint(encsan_close(v), ==, 0);
    target_stop(&t);
}

/* ---- random overlapping requests of several threads against an array ---- */

#define MODEL_THREADS 3
#define MODEL_BLOCKS 1024 /* of each thread's own part of the volume */
#define MODEL_OPS 1500

struct actor {
    struct encsan *volume;
    uint64_t first_block;
    uint32_t seed;
    int ops;
    uint8_t *model;
    atomic_uint *working; /* actors that are not done */
};

static void act(struct actor *a, GRand *r, uint8_t *buf)
{
    uint64_t block = (uint64_t)g_rand_int_range(r, 0, MODEL_BLOCKS);
    uint64_t most = (uint64_t)g_rand_int_range(r, 1, g_rand_boolean(r) ? 5 : 101);
    uint64_t blocks = MIN(MODEL_BLOCKS - block, most);
    size_t bytes = blocks * BLOCK;
    uint64_t offset = (a->first_block + block) * BLOCK;
    uint8_t *model = a->model + block * BLOCK;
    int op = g_rand_int_range(r, 0, 100);

    if (op < 50) {
        fill(buf, bytes, g_rand_int(r));
        g_assert_cmpint(encsan_write(a->volume, buf, bytes, offset,
                                     op == 0 && blocks <= 32 ? ENCSAN_AFTER_ALL : 0), ==, 0);
        memcpy(model, buf, bytes);
    } else if (op < 90) {
        g_assert_cmpint(encsan_read(a->volume, buf, bytes, offset), ==, 0);
        g_assert_cmpmem(buf, bytes, model, bytes);
    } else if (op < 94) {
        g_assert_cmpint(encsan_zero(a->volume, bytes, offset), ==, 0);
        memset(model, 0, bytes);
    } else if (op < 97) {
        g_assert_cmpint(encsan_discard(a->volume, bytes, offset), ==, 0);
        memset(model, 0, bytes);
    } else {
        g_assert_cmpint(encsan_flush(a->volume), ==, 0);
    }
}

/* A reader that goes on and on, while what lies before it is written here and there. */
static void act_as_stream(struct actor *a, GRand *r, uint8_t *buf)
{
    uint64_t block = (uint64_t)g_rand_int_range(r, 0, MODEL_BLOCKS);

    for (int i = 0; i < 40 && block < MODEL_BLOCKS; i++) {
        uint64_t most = (uint64_t)g_rand_int_range(r, 1, 17);
        uint64_t blocks = MIN(MODEL_BLOCKS - block, most);
        uint64_t at = (uint64_t)g_rand_int_range(r, (gint32)block, MODEL_BLOCKS);

        g_assert_cmpint(read_stream(a->volume, buf, blocks * BLOCK, (a->first_block + block) * BLOCK), ==, 0);
        g_assert_cmpmem(buf, blocks * BLOCK, a->model + block * BLOCK, blocks * BLOCK);
        block += blocks;
        if (i % 4 == 0) {
            fill(buf, BLOCK, g_rand_int(r));
            g_assert_cmpint(encsan_write(a->volume, buf, BLOCK, (a->first_block + at) * BLOCK, 0), ==, 0);
            memcpy(a->model + at * BLOCK, buf, BLOCK);
        }
    }
}

static gpointer actor_thread(gpointer data)
{
    struct actor *a = data;
    GRand *r = g_rand_new_with_seed(a->seed);
    g_autofree uint8_t *buf = g_malloc(128 * BLOCK);

    for (int i = 0; i < a->ops; i++)
        if (i % 16 == 15)
            act_as_stream(a, r, buf);
        else
            act(a, r, buf);
    g_rand_free(r);
    (*a->working)--;
    return NULL;
}

/* ---- the same, while sessions and targets are lost ---- */

#define FAULT_SESSIONS 4
#define FAULT_EVERY_US 20000
#define FAULTS_MAX 6

enum fault {
    FAULT_NONE,
    FAULT_ONE_SESSION,  /* the others go on */
    FAULT_ALL_SESSIONS, /* at one stroke */
    FAULT_TARGET,       /* killed, and started again */
};

static void make_trouble(struct target *t, enum fault fault, unsigned number)
{
    switch (fault) {
    case FAULT_ONE_SESSION:
        cut_connection(t->port, number);
        break;
    case FAULT_ALL_SESSIONS:
        for (unsigned i = 0, count = cut_connection(t->port, 0); i < count; i++)
            cut_connection(t->port, i);
        break;
    default:
        target_end(t, SIGKILL);
        target_run(t);
    }
}

/* Again and again, but only when all that was lost before is there again.
 * Returns how often. In main's thread: the end of a target's parent is its own. */
static unsigned make_much_trouble(struct target *t, struct encsan *v, enum fault fault,
                                  const atomic_uint *working)
{
    struct encsan_stats stats;
    unsigned faults = 0;

    while (*working > 0) {
        g_usleep(FAULT_EVERY_US);
        encsan_get_stats(v, &stats);
        if (fault && faults < FAULTS_MAX && stats.sessions == FAULT_SESSIONS)
            make_trouble(t, fault, faults++);
    }
    return faults;
}

/* Where they wear out soon they have been replaced many times. */
static void check_keys(struct encsan *v)
{
    struct encsan_stats stats;

    encsan_get_stats(v, &stats);
    g_test_message("%" G_GUINT64_FORMAT " rekeyings", stats.rekeyings);
    if (KEYS_WEAR_OUT)
        g_assert_cmpuint(stats.rekeyings, >, 3);
    else
        g_assert_cmpuint(stats.rekeyings, ==, 0);
}

static void show(void *opaque, const char *line)
{
    g_test_message("%s", line);
}

static void test_model(gconstpointer fault)
{
    struct target t = {0};
    struct actor actors[MODEL_THREADS];
    GThread *threads[MODEL_THREADS];
    atomic_uint working = MODEL_THREADS;
    unsigned faults;

    target_start(&t);
    struct encsan_options o = options_for(&t);
    o.cache_bytes = 4u << 20; /* small: writers wait, everything is parked now and then */
    o.sessions = fault ? FAULT_SESSIONS : 0;
    o.log = show;
    struct encsan *v = open_volume(&o);
    for (unsigned i = 0; i < MODEL_THREADS; i++) {
        actors[i] = (struct actor){v, i * MODEL_BLOCKS, g_test_rand_int() & 0x7fffffff,
                                   fault ? MODEL_OPS / 2 : MODEL_OPS,
                                   g_malloc0(MODEL_BLOCKS * BLOCK), &working};
        g_test_message("seed %u", actors[i].seed);
        threads[i] = g_thread_new("actor", actor_thread, &actors[i]);
    }
    faults = make_much_trouble(&t, v, GPOINTER_TO_UINT(fault), &working);
    for (unsigned i = 0; i < MODEL_THREADS; i++)
        g_thread_join(threads[i]);
    g_test_message("%u faults", faults);
    check_keys(v);
    g_assert_true(faults > 0 || !fault);
    g_assert_cmpint(encsan_close(v), ==, 0);
    for (unsigned i = 0; i < MODEL_THREADS; i++) {
        assert_on_disk(&t, actors[i].model, MODEL_BLOCKS * BLOCK, i * MODEL_BLOCKS * BLOCK);
        g_free(actors[i].model);
    }
    target_stop(&t);
}

/* A stream through a cache much smaller than itself: receipts are asked for in
 * time, and nothing is retained after the flush. */
static void test_stream(void)
{
    struct target t = {0};
    g_autofree uint8_t *data = g_malloc(1u << 20);
    struct encsan_stats stats;

    target_start(&t);
    struct encsan_options o = options_for(&t);
    o.cache_bytes = 8u << 20;
    struct encsan *v = open_volume(&o);
    fill(data, 1u << 20, 3);
    for (unsigned i = 0; i < 256; i++)
        g_assert_cmpint(encsan_write(v, data, 1u << 20, (i % 64) * (1u << 20), 0), ==, 0);
    g_assert_cmpint(encsan_flush(v), ==, 0);
    do { /* a receipt may overtake the last answers of what it covers */
        g_usleep(1000);
        encsan_get_stats(v, &stats);
    } while (stats.in_flight > 0);
    check_keys(v);
    g_assert_cmpuint(stats.depth, >=, 8);
    g_assert_cmpuint(stats.bytes_written, ==, 256u << 20);
    g_assert_cmpuint(stats.durable, ==, stats.ordinal);
    g_assert_cmpuint(stats.staged_bytes + stats.retained_bytes, ==, 0);
    g_assert_cmpuint(stats.segments_sent, <, 2200); /* 2048 full ones: neighbours are merged */
    g_assert_cmpint(encsan_close(v), ==, 0);
    target_stop(&t);
}

/* Without a flush that anybody asks for: long before a writer would have to wait for
 * memory, receipts make room. */
static void test_receipts_come_unasked(void)
{
    enum { CACHE = 8u << 20, STEP = 512u << 10, STEPS = 96 };
    struct target t = {0};
    g_autofree uint8_t *data = g_malloc(STEP);
    struct encsan_stats stats;

    target_start(&t);
    struct encsan_options o = options_for(&t);
    o.cache_bytes = CACHE;
    struct encsan *v = open_volume(&o);
    fill(data, STEP, 5);
    for (unsigned i = 0; i < STEPS; i++) {
        unsigned polls = 0;

        g_assert_cmpint(encsan_write(v, data, STEP, (uint64_t)i * STEP, 0), ==, 0);
        do {
            g_assert_cmpuint(polls++, <, 60000);
            g_usleep(polls > 1 ? 1000 : 0);
            encsan_get_stats(v, &stats);
        } while (stats.staged_bytes + stats.retained_bytes > CACHE / 2);
    }
    g_assert_cmpint(encsan_close(v), ==, 0);
    target_stop(&t);
}

static void add_others(void)
{
    g_test_add_data_func("/volume/round-trip", NULL, test_round_trip);
    g_test_add_data_func("/volume/round-trip/chacha20-poly1305", "chacha20-poly1305", test_round_trip);
    g_test_add_data_func("/volume/round-trip/3des", "3des", test_round_trip);
    g_test_add_data_func("/volume/round-trip/null", "null", test_round_trip);
    g_test_add_func("/volume/bad-requests", test_bad_requests);
    g_test_add_func("/volume/refusals", test_refusals);
    g_test_add_func("/volume/zero-and-discard", test_zero_and_discard);
    g_test_add_func("/volume/barrier", test_barrier);
    g_test_add_func("/volume/leave", test_leave);
    g_test_add_func("/volume/readahead", test_readahead);
    g_test_add_func("/volume/beginning", test_beginning);
    g_test_add_func("/volume/readahead-in-little-memory", test_readahead_in_little_memory);
    g_test_add_data_func("/volume/model", NULL, test_model);
    g_test_add_data_func("/volume/model/all-sessions-lost", GUINT_TO_POINTER(FAULT_ALL_SESSIONS), test_model);
    g_test_add_data_func("/volume/model/target-killed", GUINT_TO_POINTER(FAULT_TARGET), test_model);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/volume/model/sessions-lost", GUINT_TO_POINTER(FAULT_ONE_SESSION), test_model);
    g_test_add_func("/volume/stream", test_stream);
    g_test_add_func("/volume/receipts-come-unasked", test_receipts_come_unasked);
    if (!KEYS_WEAR_OUT)
        add_others();
    return g_test_run();
}
