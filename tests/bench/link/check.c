// SPDX-License-Identifier: LGPL-2.1-or-later
#include "check.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include "ends.h"

#define PORT 9

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A socket belongs for ever to the namespace that its thread was in. */
static int socket_in(int end, int type)
{
    struct timeval patience = {.tv_sec = 5};
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), fd = -1;

    if (home >= 0 && ends_enter(end) == 0) {
        fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
        ends_enter(home);
    }
    close(home);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    }
    return fd;
}

static struct sockaddr_in far_address(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT)};

    inet_pton(AF_INET, FAR_ADDRESS, &a.sin_addr);
    return a;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void *echo(void *opaque)
{
    int fd = *(int *)opaque;
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    uint32_t number;

    while (recvfrom(fd, &number, sizeof number, 0, (struct sockaddr *)&from, &len) == sizeof number)
        sendto(fd, &number, sizeof number, 0, (struct sockaddr *)&from, len);
    return NULL;
}

static double ping_ms(int fd, uint32_t number)
{
    double start = now_s();
    uint32_t answer;

    if (send(fd, &number, sizeof number, 0) != sizeof number)
        return -1;
    do {
        if (recv(fd, &answer, sizeof answer, 0) != sizeof answer)
            return -1;
    } while (answer != number);
    return (now_s() - start) * 1e3;
}

double check_rtt_ms(const int ends[2], unsigned times)
{
    struct sockaddr_in address = far_address();
    int near = socket_in(ends[0], SOCK_DGRAM), far = socket_in(ends[1], SOCK_DGRAM);
    double *rtt = calloc(times, sizeof *rtt), median = -1;
    pthread_t thread;
    bool good = true;

    if (!rtt || bind(far, (struct sockaddr *)&address, sizeof address) != 0 ||
        connect(near, (struct sockaddr *)&address, sizeof address) != 0 ||
        pthread_create(&thread, NULL, echo, &far) != 0)
        goto out;
    ping_ms(near, 0); /* the first one wakes everything up */
    for (unsigned i = 0; i < times && good; i++)
        good = (rtt[i] = ping_ms(near, i + 1)) >= 0;
    shutdown(far, SHUT_RDWR);
    pthread_join(thread, NULL);
    qsort(rtt, times, sizeof *rtt, compare);
    median = good ? rtt[times / 2] : -1;
out:
    free(rtt);
    close(near);
    close(far);
    return median;
}

static void *send_all(void *opaque)
{
    static const uint8_t bytes[1 << 18];
    int fd = *(int *)opaque;

    while (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0)
        ;
    return NULL;
}

/* What arrives within `seconds`, in Mbit/s. */
static double receive_mbit(int fd, double seconds)
{
    static uint8_t bytes[1 << 20];
    double start = now_s(), total = 0, spent = 0;

    while (spent < seconds) {
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);

        if (n <= 0)
            return -1;
        total += (double)n;
        spent = now_s() - start;
    }
    return total * 8 / 1e6 / spent;
}

double check_rate_mbit(const int ends[2], double seconds)
{
    struct sockaddr_in address = far_address();
    int near = socket_in(ends[0], SOCK_STREAM), far = socket_in(ends[1], SOCK_STREAM), stream = -1;
    int yes = 1;
    double rate = -1;
    pthread_t thread;

    setsockopt(far, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(far, (struct sockaddr *)&address, sizeof address) == 0 && listen(far, 1) == 0 &&
        connect(near, (struct sockaddr *)&address, sizeof address) == 0)
        stream = accept(far, NULL, NULL);
    if (stream >= 0 && pthread_create(&thread, NULL, send_all, &near) == 0) {
        if (receive_mbit(stream, seconds) > 0)
            rate = receive_mbit(stream, seconds);
        shutdown(stream, SHUT_RDWR);
        shutdown(near, SHUT_RDWR);
        pthread_join(thread, NULL);
    }
    close(stream);
    close(near);
    close(far);
    return rate;
}
