// SPDX-License-Identifier: LGPL-2.1-or-later
/* Keys that grow old: new ones come in time, under load and where nothing is to do. */
#include <string.h>

#include "far.h"

enum { REKEYINGS = 20, IDLE_REKEYINGS = 3, BYTES = 256 << 10 };

static void fail(void *opaque, const char *line)
{
    g_error("%s", line); /* there is nothing that an administrator had to know */
}

static uint64_t rekeyings(struct encsan *v)
{
    struct encsan_stats stats;

    encsan_get_stats(v, &stats);
    g_assert_cmpuint(stats.security_errors, ==, 0);
    return stats.rekeyings;
}

static void test_load(struct encsan *v, const struct target *t)
{
    g_autofree uint8_t *out = g_malloc(BYTES), *in = g_malloc(BYTES);
    uint32_t round = 0;

    while (rekeyings(v) < REKEYINGS) {
        uint64_t place = round % 64 * BYTES;

        fill(out, BYTES, round++);
        g_assert_cmpint(encsan_write(v, out, BYTES, place, 0), ==, 0);
        if (round % 8 == 0)
            g_assert_cmpint(encsan_flush(v), ==, 0);
        g_assert_cmpint(encsan_read(v, in, BYTES, place), ==, 0);
        g_assert_cmpmem(in, BYTES, out, BYTES);
    }
    g_assert_cmpint(encsan_flush(v), ==, 0);
    assert_on_disk(t, out, BYTES, (round - 1) % 64 * BYTES);
}

/* Each session looks now and then. */
static void test_idle(struct encsan *v)
{
    uint64_t before = rekeyings(v);

    while (rekeyings(v) < before + IDLE_REKEYINGS)
        g_usleep(20000);
}

static void test_time(void)
{
    struct target t = {0};
    uint8_t buf[BLOCK] = {9};

    target_start(&t);
    struct encsan_options o = options_for(&t);
    o.sessions = 3;
    o.log = fail;
    struct encsan *v = open_volume(&o);
    test_load(v, &t);
    test_idle(v);
    g_assert_cmpint(encsan_write(v, buf, BLOCK, 0, 0), ==, 0);
    g_assert_cmpint(encsan_close(v), ==, 0);
    assert_on_disk(&t, buf, BLOCK, 0);
    target_stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rekey/time", test_time);
    return g_test_run();
}
