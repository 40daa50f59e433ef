// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How long it takes until all goes on, in figures:
 *
 *     recovery URL KEY TARGET_KEY PROXY_IN
 *
 * After an outage of the network (the far end, which FAR leads to, has no
 * interface for a while; nobody here is told): from its return until a read that waited is answered, until what was written
 * meanwhile is confirmed, until all sessions are there. While one of several
 * sessions is reset (by the proxy, which obeys PROXY_IN): the longest time in
 * which nothing is answered, and what it is without. Fails where the highest is more
 * than is allowed: 7 round trips and 0.5 s; two round trips more than twice as long as without a
 * reset, since others who use the machine make the one differ from the other, too.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <glib.h>

#include "clock.h"
#include "encsan.h"
#include "key.h"

#define BLOCK ENCSAN_BLOCK_BYTES
#define ROUNDS 9
#define SESSIONS 4
#define POLL_US 500
#define OUTAGE_US 3000000
#define READERS 32
#define READ_BYTES (32u << 10)
#define READ_PLACE (64u << 20) /* where they read */
#define CALM_US 1500000

static struct encsan *volume;
static bool failed;

static void die(const char *what)
{
    fprintf(stderr, "recovery: %s\n", what);
    exit(1);
}

static struct encsan_stats stats_now(void)
{
    struct encsan_stats stats;

    encsan_get_stats(volume, &stats);
    return stats;
}

static void wait_for_all_sessions(void)
{
    while (stats_now().sessions < stats_now().sessions_wanted)
        g_usleep(POLL_US);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Median, lowest and highest, in seconds; returns the highest. */
static double print(const char *what, double values[ROUNDS])
{
    qsort(values, ROUNDS, sizeof values[0], compare);
    printf("    %-48s %7.3f s (%.3f-%.3f)\n", what, values[ROUNDS / 2], values[0],
           values[ROUNDS - 1]);
    return values[ROUNDS - 1];
}

static void judge(double highest, double limit)
{
    printf("    %s: at most %.3f s, and %.3f s are allowed\n", highest <= limit ? "good" : "FAILED", highest,
           limit);
    failed |= highest > limit;
}

/* ---- an outage ---- */

struct wait {
    _Atomic uint64_t ended_us;
    atomic_int error;
};

static void ended(void *opaque, int error)
{
    struct wait *wait = opaque;

    wait->error = error;
    wait->ended_us = now_us();
}

static double seconds_until(const struct wait *wait, uint64_t begin_us)
{
    while (wait->ended_us == 0)
        g_usleep(POLL_US);
    if (wait->error)
        die("an error after an outage");
    return (double)(wait->ended_us - begin_us) / 1e6;
}

static void set_link(const char *how)
{
    g_autofree char *command = g_strdup_printf("%s ip link set link0 %s", getenv("FAR"), how);

    if (system(command) != 0)
        die("the link cannot be changed");
}

static void outages(void)
{
    static uint8_t in[BLOCK], out[BLOCK]; /* with more of it TCP's slow start is what is measured */
    double read_s[ROUNDS], write_s[ROUNDS], all_s[ROUNDS];
    double rtt = stats_now().rtt_us / 1e6, answered, confirmed, all;

    for (unsigned i = 0; i < ROUNDS; i++) {
        struct wait read = {0}, flush = {0};
        uint64_t begin_us;

        wait_for_all_sessions();
        set_link("down");
        memset(out, (int)i, sizeof out);
        if (encsan_write(volume, out, sizeof out, 0, 0) != 0)
            die("a write");
        encsan_flush_async(volume, 0, ended, &flush);
        encsan_read_async(volume, in, sizeof in, READ_PLACE + (uint64_t)i * (1u << 20), ended, &read);
        while (stats_now().outage_us == 0)
            g_usleep(POLL_US);
        g_usleep(OUTAGE_US + (gulong)g_random_int_range(0, 1000000));
        set_link("up");
        begin_us = now_us();
        read_s[i] = seconds_until(&read, begin_us);
        write_s[i] = seconds_until(&flush, begin_us);
        wait_for_all_sessions();
        all_s[i] = (double)(now_us() - begin_us) / 1e6;
    }
    printf("  after the link's return, with round trips of %.1f ms\n", rtt * 1e3);
    answered = print("a read that waited is answered", read_s);
    confirmed = print("what was written meanwhile is confirmed", write_s);
    all = print("all sessions are there", all_s);
    judge(MAX(MAX(answered, confirmed), all), 7 * rtt + 0.5);
}

/* ---- one session of several ---- */

struct reader {
    GRand *random;
    uint8_t buf[READ_BYTES];
};

static struct {
    GMutex lock; /* guards last_us and longest_us */
    uint64_t last_us, longest_us;
    atomic_bool ending;
    atomic_uint running;
} reads;

static void read_on(struct reader *r);

static void note(void)
{
    uint64_t now;

    g_mutex_lock(&reads.lock);
    now = now_us();
    if (now - reads.last_us > reads.longest_us)
        reads.longest_us = now - reads.last_us;
    reads.last_us = now;
    g_mutex_unlock(&reads.lock);
}

static void read_ended(void *opaque, int error)
{
    if (error)
        die("a read failed");
    note();
    if (reads.ending)
        reads.running--;
    else
        read_on(opaque);
}

static void read_on(struct reader *r)
{
    uint64_t place = (uint64_t)g_rand_int_range(r->random, 0, READ_PLACE / READ_BYTES) * READ_BYTES;

    encsan_read_async(volume, r->buf, READ_BYTES, READ_PLACE + place, read_ended, r);
}

/* The longest time without an answer since the last call, in seconds. */
static double longest(void)
{
    double result;

    g_mutex_lock(&reads.lock);
    result = (double)reads.longest_us / 1e6;
    reads.longest_us = 0;
    g_mutex_unlock(&reads.lock);
    return result;
}

static void resets(int proxy)
{
    static struct reader readers[READERS];
    double calm_s[ROUNDS], reset_s[ROUNDS], calm;

    reads.last_us = now_us();
    reads.running = READERS;
    for (unsigned i = 0; i < READERS; i++) {
        readers[i].random = g_rand_new_with_seed(i);
        read_on(&readers[i]);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        g_autofree char *command = g_strdup_printf("reset %u\n", i);

        wait_for_all_sessions();
        g_usleep(CALM_US);
        longest();
        g_usleep(CALM_US);
        calm_s[i] = longest();
        if (write(proxy, command, strlen(command)) < 0)
            die("the proxy is gone");
        g_usleep(CALM_US);
        reset_s[i] = longest();
    }
    reads.ending = true;
    while (reads.running > 0)
        g_usleep(POLL_US);
    printf("  one of %d sessions is reset: the longest time without an answer to %u readers\n", SESSIONS, READERS);
    calm = print("before it", calm_s);
    judge(print("while it is lost and comes back", reset_s), 2 * (calm + stats_now().rtt_us / 1e6));
    for (unsigned i = 0; i < READERS; i++)
        g_rand_free(readers[i].random);
}

int main(int argc, char **argv)
{
    struct encsan_options options = {.sessions = SESSIONS, .readahead = ENCSAN_NO_READAHEAD};
    char message[ENCSAN_MESSAGE_BYTES];
    int proxy;

    if (argc != 5 || !getenv("FAR")) {
        fprintf(stderr, "usage, inside encsan-link: recovery URL KEY TARGET_KEY PROXY_IN\n");
        return 2;
    }
    options.url = argv[1];
    if (key_load(argv[2], options.key, message, sizeof message) != 0)
        die(message);
    if (key_from_text(argv[3], options.target_key) != 0)
        die("no key of a target");
    proxy = open(argv[4], O_WRONLY);
    if (proxy < 0)
        die("no proxy");
    volume = encsan_open(&options, message);
    if (!volume)
        die(message);
    outages();
    resets(proxy);
    if (encsan_close(volume) != 0)
        die("the volume cannot be closed");
    close(proxy);
    return failed;
}
