// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ends.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/if.h>
#include <linux/if_tun.h>

static int failed(const char *what)
{
    fprintf(stderr, "encsan-link: %s: %s\n", what, strerror(errno));
    return -1;
}

int ends_enter(int fd)
{
    return setns(fd, CLONE_NEWNET) == 0 ? 0 : failed("setns");
}

/* Runs a line of the shell in namespace `fd`; its exit status. */
__attribute__((format(printf, 3, 4))) static int run_in(int fd, bool quiet, const char *format, ...)
{
    char command[512];
    va_list arguments;
    int status;
    pid_t child;

    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);

        if (ends_enter(fd) != 0)
            _exit(1);
        dup2(null, 0);
        if (quiet)
            dup2(null, 2);
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return failed("fork");
    if (status != 0 && !quiet)
        fprintf(stderr, "encsan-link: this failed: %s\n", command);
    return status == 0 ? 0 : -1;
}

int ends_make(int fds[2])
{
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

    if (home < 0)
        return failed("/proc/self/ns/net");
    for (int i = 0; i < 2; i++) {
        if (unshare(CLONE_NEWNET) != 0)
            return failed("cannot make a network namespace (as root?)");
        fds[i] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        if (fds[i] < 0)
            return failed("/proc/self/ns/net");
    }
    if (ends_enter(home) != 0)
        return -1;
    close(home);
    return 0;
}

int ends_join_veth(const int fds[2])
{
    return run_in(fds[0], false, "ip link add link0 type veth peer name link0 netns /proc/%d/fd/%d",
                  (int)getpid(), fds[1]);
}

int ends_netem(const int fds[2], const struct link *link)
{
    /* netem's limit counts packets: those on their way and those in the queue. */
    double on_the_way = link->rate_mbit * 1e6 / 8 * link->delay_ms / 1e3;
    double packets = link->rate_mbit > 0 ? (on_the_way + (double)link->queue_bytes) / 1500 : 1000000;
    char rate[64] = "";

    if (link->rate_mbit > 0)
        snprintf(rate, sizeof rate, "rate %.3fmbit", link->rate_mbit);
    for (int i = 0; i < 2; i++)
        if (run_in(fds[i], true, "tc qdisc add dev link0 root netem delay %.3fms loss %g%% limit %.0f %s",
                   link->delay_ms, link->loss_percent, packets, rate) != 0)
            return run_in(fds[0], false, "ip link del link0") == 0 ? 1 : -1;
    /* It would lose TSO's super-packets whole. */
    for (int i = 0; i < 2; i++)
        if (link->loss_percent > 0 && run_in(fds[i], false, "ip link set link0 gso_max_segs 1") != 0)
            return -1;
    return 0;
}

/* A TUN device belongs to the namespace in which /dev/net/tun was opened. */
static int make_tun(int ns)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), fd;

    if (home < 0 || ends_enter(ns) != 0)
        return -1;
    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    memcpy(request.ifr_name, "link0", sizeof "link0");
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0 ||
        ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) != 0)
        return failed("/dev/net/tun: no TUN device with IFF_VNET_HDR and TSO");
    if (ends_enter(home) != 0)
        return -1;
    close(home);
    return fd;
}

int ends_join_tun(const int fds[2], int tuns[2])
{
    for (int i = 0; i < 2; i++)
        if ((tuns[i] = make_tun(fds[i])) < 0)
            return -1;
    return 0;
}

int ends_configure(const int fds[2])
{
    static const char *const addresses[2] = {NEAR_ADDRESS, FAR_ADDRESS};

    for (int i = 0; i < 2; i++)
        /* The metrics of one connection (ssthresh) must not shape the next one measured. */
        if (run_in(fds[i], false,
                   "echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save && ip link set lo up && "
                   "ip link set link0 addrgenmode none txqueuelen 10000 up && "
                   "ip address add %s peer %s/32 dev link0",
                   addresses[i], addresses[1 - i]) != 0)
            return -1;
    return 0;
}
