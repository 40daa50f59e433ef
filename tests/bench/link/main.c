// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * encsan-link: two network namespaces, joined by a link with a given delay,
 * rate, loss and queue, for as long as a command runs:
 *
 *     encsan-link --delay=8 --rate=1000 -- sh -c '$NEAR ping -c 3 10.87.0.2'
 *
 * In the command's environment, NEAR and FAR are the words before a command
 * that shall run at that end. Mounts are not private to an end: only the
 * network is. netem makes the link where the kernel has it; else a delay line
 * between two TUN devices; a link without delay, rate or loss is a veth pair.
 */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib.h>

#include "check.h"
#include "ends.h"
#include "line.h"

static struct link link_wanted;
static gint64 queue_bytes = -1;

static const GOptionEntry entries[] = {
    {"delay", 0, 0, G_OPTION_ARG_DOUBLE, &link_wanted.delay_ms, "one way, milliseconds", "MS"},
    {"rate", 0, 0, G_OPTION_ARG_DOUBLE, &link_wanted.rate_mbit, "of IP packets, Mbit/s; 0: no limit", "MBIT"},
    {"loss", 0, 0, G_OPTION_ARG_DOUBLE, &link_wanted.loss_percent, "packets lost, per cent", "PERCENT"},
    {"queue", 0, 0, G_OPTION_ARG_INT64, &queue_bytes,
     "the bottleneck's queue (one round trip at the rate, at least 20 ms and 128 KiB)", "BYTES"},
    {NULL, 0, 0, 0, NULL, NULL, NULL}};

static pid_t command_pid;

static void pass_on(int number)
{
    if (command_pid > 0)
        kill(command_pid, number);
}

static size_t default_queue(const struct link *link)
{
    double ms = fmax(2 * link->delay_ms, 20);

    return (size_t)fmax(link->rate_mbit * 1e6 / 8 * ms / 1e3, 128 << 10);
}

static int start_lines(struct line lines[2], const int ends[2])
{
    int tuns[2], error;

    if (ends_join_tun(ends, tuns) != 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        lines[i] = (struct line){.from = tuns[i],
                                 .to = tuns[1 - i],
                                 .bytes_per_ns = link_wanted.rate_mbit * 1e6 / 8 / 1e9,
                                 .queue_bytes = link_wanted.queue_bytes};
        error = line_start(&lines[i]);
        if (error != 0) {
            fprintf(stderr, "encsan-link: %s\n", strerror(-error));
            return -1;
        }
    }
    return 0;
}

/* Within 5 % of the rate; several times, as other work may run on this machine. */
static int check_rate(const int ends[2])
{
    double wanted = link_wanted.rate_mbit * 1448 / 1500, rate = 0; /* TCP with timestamps, MTU 1500 */

    for (int i = 0; i < 5; i++) {
        rate = check_rate_mbit(ends, 0.2 * (i + 1));
        if (fabs(rate - wanted) <= wanted * 0.05)
            return 0;
    }
    fprintf(stderr, "encsan-link: the link carries %.1f Mbit/s, not %.1f: is this machine busy?\n", rate, wanted);
    return -1;
}

/* The same. */
static int check_rtt(const int ends[2])
{
    double wanted = 2 * link_wanted.delay_ms, rtt = 0;

    for (int i = 0; i < 20; i++) {
        rtt = check_rtt_ms(ends, 5);
        if (rtt >= 0 && fabs(rtt - wanted) <= wanted * 0.05 + 0.2)
            return 0;
    }
    fprintf(stderr, "encsan-link: the round trip takes %.2f ms, not %.2f: is this machine busy?\n", rtt, wanted);
    return -1;
}

static void set_delay(struct line lines[2], double ms)
{
    for (int i = 0; i < 2; i++)
        atomic_store(&lines[i].delay_ns, (uint64_t)(ms * 1e6));
}

/* What the threads' wake-ups and the kernel add is a part of the delay. */
static void adjust_delay(struct line lines[2], const int ends[2])
{
    double extra_ms;

    set_delay(lines, link_wanted.delay_ms);
    extra_ms = check_rtt_ms(ends, 11) / 2 - link_wanted.delay_ms;
    if (extra_ms > 0 && extra_ms < link_wanted.delay_ms)
        set_delay(lines, link_wanted.delay_ms - extra_ms);
}

/* The rate is checked at a small delay, where one TCP stream can fill it. */
static int open_tun_link(const int ends[2])
{
    static struct line lines[2];

    if (start_lines(lines, ends) != 0 || ends_configure(ends) != 0)
        return -1;
    set_delay(lines, fmin(link_wanted.delay_ms, 1));
    if (link_wanted.rate_mbit > 0 && check_rate(ends) != 0)
        return -1;
    adjust_delay(lines, ends);
    if (check_rtt(ends) != 0)
        return -1;
    for (int i = 0; i < 2; i++)
        atomic_store(&lines[i].loss, link_wanted.loss_percent / 100);
    return 0;
}

static int open_link(const int ends[2])
{
    bool plain = link_wanted.delay_ms <= 0 && link_wanted.rate_mbit <= 0 && link_wanted.loss_percent <= 0;
    int netem = 0;

    if (ends_join_veth(ends) != 0)
        return -1;
    if (!plain)
        netem = ends_netem(ends, &link_wanted);
    if (netem < 0)
        return -1;
    if (netem > 0)
        return open_tun_link(ends);
    return ends_configure(ends) == 0 ? check_rtt(ends) : -1;
}

static int run_command(char **argv, const int ends[2])
{
    struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
    int status;

    for (int i = 0; i < 2; i++) {
        char *prefix = g_strdup_printf("nsenter --net=/proc/%d/fd/%d --", (int)getpid(), ends[i]);

        setenv(i == 0 ? "NEAR" : "FAR", prefix, 1);
        g_free(prefix);
    }
    command_pid = fork();
    if (command_pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        execvp(argv[0], argv);
        fprintf(stderr, "encsan-link: %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    if (command_pid < 0)
        return 1;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    while (waitpid(command_pid, &status, 0) < 0)
        if (errno != EINTR)
            return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int usage(const char *message)
{
    fprintf(stderr, "encsan-link: %s; see --help\n", message);
    return 2;
}

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new("-- COMMAND…");
    GError *error = NULL;
    int ends[2];

    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_set_strict_posix(context, TRUE);
    if (!g_option_context_parse(context, &argc, &argv, &error))
        return usage(error->message);
    if (argc > 1 && strcmp(argv[1], "--") == 0) {
        argc--;
        argv++;
    }
    if (argc < 2)
        return usage("no command");
    if (link_wanted.delay_ms < 0 || link_wanted.delay_ms > 10000 || link_wanted.rate_mbit < 0 ||
        link_wanted.loss_percent < 0 || link_wanted.loss_percent > 100)
        return usage("--delay takes 0 to 10000 ms, --loss 0 to 100 %, --rate no negative number");
    link_wanted.queue_bytes = queue_bytes >= 0 ? (size_t)queue_bytes : default_queue(&link_wanted);
    if (ends_make(ends) != 0 || open_link(ends) != 0)
        return 1;
    return run_command(argv + 1, ends);
}
