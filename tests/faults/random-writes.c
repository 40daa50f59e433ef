// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Random writes that overlap, over a bad line, to a target that is killed now
 * and then: every byte is what the model says, while it runs and on the disk in
 * the end.
 *
 *     random-writes [WRITES [KILLS]]
 *
 * Each writer has its own part of the disk, so that its model knows the order.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "far.h"

#define WRITERS 4
#define PART_BLOCKS (VOLUME_BYTES / BLOCK / WRITERS)
#define BLOCKS_MAX 80
#define SESSIONS 4
#define CACHE_BYTES (8u << 20)
#define POLL_US 20000

struct writer {
    struct encsan *volume;
    uint64_t first_block;
    uint32_t seed;
    unsigned writes;
    uint8_t *model;
    atomic_uint *left; /* writes of all */
};

static void check(struct writer *w, GRand *r, uint8_t *buf)
{
    uint64_t block = (uint64_t)g_rand_int_range(r, 0, PART_BLOCKS - BLOCKS_MAX);
    uint64_t bytes = (uint64_t)g_rand_int_range(r, 1, BLOCKS_MAX + 1) * BLOCK;

    g_assert_cmpint(encsan_read(w->volume, buf, bytes, (w->first_block + block) * BLOCK), ==, 0);
    g_assert_cmpmem(buf, bytes, w->model + block * BLOCK, bytes);
}

/* Half of the writes go to a small place: most overlap what has no receipt yet. */
static void write_some(struct writer *w, GRand *r, uint8_t *buf)
{
    gint32 place = g_rand_boolean(r) ? 2 * BLOCKS_MAX : PART_BLOCKS - BLOCKS_MAX;
    uint64_t block = (uint64_t)g_rand_int_range(r, 0, place);
    uint64_t blocks = (uint64_t)g_rand_int_range(r, 1, g_rand_boolean(r) ? 4 : BLOCKS_MAX);
    unsigned flags = blocks <= 32 && g_rand_int_range(r, 0, 50) == 0 ? ENCSAN_AFTER_ALL : 0;

    fill(buf, blocks * BLOCK, g_rand_int(r));
    g_assert_cmpint(
        encsan_write(w->volume, buf, blocks * BLOCK, (w->first_block + block) * BLOCK, flags), ==,
        0);
    memcpy(w->model + block * BLOCK, buf, blocks * BLOCK);
}

static gpointer writer_thread(gpointer data)
{
    struct writer *w = data;
    GRand *r = g_rand_new_with_seed(w->seed);
    g_autofree uint8_t *buf = g_malloc(BLOCKS_MAX * BLOCK);

    for (unsigned i = 0; i < w->writes; i++) {
        write_some(w, r, buf);
        if (i % 8 == 0)
            check(w, r, buf);
        if (i % 500 == 0)
            g_assert_cmpint(encsan_flush(w->volume), ==, 0);
        (*w->left)--;
    }
    g_rand_free(r);
    return NULL;
}

/* The target dies when so and so much is done: each time something new is lost. */
static void kill_now_and_then(struct target *t, unsigned writes, unsigned kills,
                              const atomic_uint *left)
{
    for (unsigned i = 1; i <= kills; i++) {
        while (*left > writes - (uint64_t)writes * i / (kills + 1))
            g_usleep(POLL_US);
        target_end(t, SIGKILL);
        target_run(t);
    }
}

static void show(void *opaque, const char *line)
{
    g_printerr("%s\n", line);
}

static void run(unsigned writes, unsigned kills)
{
    struct target t = {0};
    struct line line = {0};
    struct writer writers[WRITERS];
    GThread *threads[WRITERS];
    atomic_uint left = writes;
    uint32_t seed = g_random_int();
    g_autofree char *random = g_strdup_printf("random %u", seed);
    struct encsan_stats stats;

    printf("seed %u\n", seed);
    target_start(&t);
    line_start(&line, &t);
    struct encsan_options o = options_for(&t);
    o.url = line.url;
    o.sessions = SESSIONS;
    o.cache_bytes = CACHE_BYTES;
    o.log = show;
    struct encsan *v = open_volume(&o);
    line_tell(&line, random);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){v,
                                     i * PART_BLOCKS,
                                     seed + i,
                                     writes / WRITERS,
                                     g_malloc0((size_t)PART_BLOCKS * BLOCK),
                                     &left};
        threads[i] = g_thread_new("writer", writer_thread, &writers[i]);
    }
    kill_now_and_then(&t, writes, kills, &left);
    for (unsigned i = 0; i < WRITERS; i++)
        g_thread_join(threads[i]);
    g_assert_cmpint(encsan_flush(v), ==, 0);
    encsan_get_stats(v, &stats);
    g_assert_cmpint(encsan_close(v), ==, 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_on_disk(&t, writers[i].model, (size_t)PART_BLOCKS * BLOCK,
                       i * (size_t)PART_BLOCKS * BLOCK);
        g_free(writers[i].model);
    }
    printf("%u writes, %u kills, %" G_GUINT64_FORMAT " sent again: every byte is right\n", writes,
           kills, stats.retries);
    line_stop(&line);
    target_stop(&t);
}

int main(int argc, char **argv)
{
    int writes = argc > 1 ? atoi(argv[1]) : 6000, kills = argc > 2 ? atoi(argv[2]) : 4;

    if (writes < WRITERS || kills < 0) {
        fprintf(stderr, "usage: random-writes [WRITES [KILLS]]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    run((unsigned)writes / WRITERS * WRITERS, (unsigned)kills);
    return 0;
}
