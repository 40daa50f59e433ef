// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A volume whose target goes away, and what may be there when it comes back.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "far.h"

static void remember(void *opaque, const char *line)
{
    g_string_append_printf(opaque, "%s\n", line);
}

/* What was written and not confirmed when the target died is there when the flush returns. */
static void test_target_returns(void)
{
    struct target t = {0};
    g_autofree uint8_t *data = g_malloc(1u << 20), *in = g_malloc(1u << 20);
    GString *log = g_string_new(NULL);
    struct encsan_stats stats;

    target_start(&t);
    struct encsan_options o = options_for(&t);
    o.log = remember;
    o.opaque = log;
    struct encsan *v = open_volume(&o);
    fill(data, 1u << 20, 7);
    g_assert_cmpint(encsan_write(v, data, 1u << 20, 0, 0), ==, 0);
    g_assert_cmpint(encsan_flush(v), ==, 0);
    fill(data, 1u << 20, 8);
    g_assert_cmpint(encsan_write(v, data, 1u << 20, 0, 0), ==, 0);
    target_end(&t, SIGKILL);
    do
        encsan_get_stats(v, &stats);
    while (stats.outage_us == 0);
    g_assert_cmpuint(stats.sessions, ==, 0);
    target_run(&t);
    g_assert_cmpint(encsan_flush(v), ==, 0);
    assert_on_disk(&t, data, 1u << 20, 0);
    g_assert_cmpint(encsan_read(v, in, 1u << 20, 0), ==, 0);
    g_assert_cmpmem(in, 1u << 20, data, 1u << 20);
    encsan_get_stats(v, &stats);
    g_assert_cmpuint(stats.outage_us, ==, 0);
    g_assert_cmpint(encsan_close(v), ==, 0);
    g_assert_true(g_pattern_match_simple(
        "*the connection to the target is lost*\n*the target was restarted*\n*there again*\n",
        log->str));
    g_string_free(log, TRUE);
    target_stop(&t);
}

static void test_timeout(void)
{
    struct target t = {0};
    uint8_t buf[BLOCK] = {1};
    GString *log = g_string_new(NULL);

    target_start(&t);
    struct encsan_options o = options_for(&t);
    o.log = remember;
    o.opaque = log;
    o.timeout_s = 1;
    struct encsan *v = open_volume(&o);
    target_end(&t, SIGKILL);
    g_assert_cmpint(encsan_write(v, buf, BLOCK, 0, 0), ==, 0); /* the cache has room for it */
    g_assert_cmpint(encsan_flush(v), ==, -EIO);
    g_assert_cmpint(encsan_read(v, buf, BLOCK, BLOCK), ==, -EIO);
    g_assert_cmpint(encsan_error(v), ==, 0);
    target_run(&t); /* and what was written is not lost */
    while (encsan_flush(v) != 0)
        g_assert_cmpint(encsan_error(v), ==, 0);
    assert_on_disk(&t, buf, BLOCK, 0);
    target_end(&t, SIGKILL);
    g_assert_cmpint(encsan_write(v, buf, BLOCK, BLOCK, 0), ==, 0);
    g_assert_cmpint(encsan_close(v), ==, -EIO);
    g_assert_true(
        g_pattern_match_simple("*the connection to the target is lost*\n*timeout=*", log->str));
    g_string_free(log, TRUE);
    target_stop(&t);
}

/* A target with our key and name, but another disk, where ours was. */
static void test_other_disk(void)
{
    struct target t = {0}, other = {0};
    uint8_t buf[BLOCK] = {1};

    target_start(&t);
    struct encsan_options o = options_for(&t);
    struct encsan *v = open_volume(&o);
    g_assert_cmpint(encsan_write(v, buf, BLOCK, 0, 0), ==, 0);
    target_end(&t, SIGKILL);
    other.port = t.port;
    target_start(&other);
    g_assert_cmpint(encsan_flush(v), ==, -EIO);
    g_assert_cmpint(encsan_write(v, buf, BLOCK, 0, 0), ==, -EIO);
    g_assert_cmpint(encsan_error(v), ==, -EIO);
    g_assert_cmpint(encsan_close(v), ==, -EIO);
    buf[0] = 0;
    assert_on_disk(&other, buf, BLOCK, 0);
    target_stop(&other);
    target_stop(&t);
}

/* It has nothing to do, and hears of it nevertheless. */
static void wait_until_fenced(struct encsan *v)
{
    struct encsan_stats stats = {0};

    while (!stats.fenced) {
        g_usleep(10000);
        encsan_get_stats(v, &stats);
    }
}

/* Taken over there and back. Who had the disk hears of it at his next flush, or after a while. */
static void test_steal(void)
{
    struct target t = {0};
    uint8_t buf[BLOCK] = {3}, in[BLOCK];
    struct encsan_stats stats;

    target_start(&t);
    struct encsan_options o = options_for(&t);
    struct encsan *v = open_volume(&o);
    o.steal = true;
    for (unsigned i = 1; i < 4; i++) {
        struct encsan *thief = open_volume(&o);

        int error = encsan_write(v, buf, BLOCK, 0, 0);

        /* a session that was just being opened may have heard of it already */
        g_assert_true(error == 0 || error == -EROFS);
        g_assert_cmpint(encsan_flush(v), ==, -EIO);
        g_assert_cmpint(encsan_write(v, buf, BLOCK, 0, 0), ==, -EROFS);
        encsan_get_stats(v, &stats);
        g_assert_true(stats.fenced);
        g_assert_cmpint(encsan_close(v), ==, -EIO);
        v = thief;
        g_assert_cmpint(encsan_read(v, in, BLOCK, 0), ==, 0);
        g_assert_cmpuint(in[0], ==, 0);
        g_assert_cmpint(encsan_write(v, buf, BLOCK, i * BLOCK, 0), ==, 0);
        g_assert_cmpint(encsan_flush(v), ==, 0);
        assert_on_disk(&t, buf, BLOCK, i * BLOCK);
    }
    struct encsan *thief = open_volume(&o);

    wait_until_fenced(v);
    g_assert_cmpint(encsan_close(v), ==, -EIO);
    g_assert_cmpint(encsan_close(thief), ==, 0);
    o.read_only = true;
    v = open_volume(&o);
    o.read_only = false;
    thief = open_volume(&o);
    wait_until_fenced(v);
    g_assert_cmpint(encsan_read(v, in, BLOCK, 0), ==, -EIO);
    g_assert_cmpint(encsan_close(v), ==, 0); /* nothing was to be written */
    g_assert_cmpint(encsan_close(thief), ==, 0);
    target_stop(&t);
}

/* Nobody listens at the first portal of the URL. */
static void test_portals(void)
{
    struct target t = {0};
    uint8_t buf[BLOCK] = {2};

    target_start(&t);
    struct encsan_options o = options_for(&t);
    g_autofree char *url = g_strdup_printf("iscsi://127.0.0.1:1,localhost:%s",
                                           strchr(t.url + strlen("iscsi://"), ':') + 1);
    o.url = url;
    struct encsan *v = open_volume(&o);
    g_assert_cmpint(encsan_write(v, buf, BLOCK, 0, 0), ==, 0);
    target_end(&t, SIGKILL);
    target_run(&t);
    g_assert_cmpint(encsan_flush(v), ==, 0);
    assert_on_disk(&t, buf, BLOCK, 0);
    g_assert_cmpint(encsan_close(v), ==, 0);
    target_stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/outage/target-returns", test_target_returns);
    g_test_add_func("/outage/timeout", test_timeout);
    g_test_add_func("/outage/other-disk", test_other_disk);
    g_test_add_func("/outage/steal", test_steal);
    g_test_add_func("/outage/portals", test_portals);
    return g_test_run();
}
