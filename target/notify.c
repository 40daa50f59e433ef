// SPDX-License-Identifier: LGPL-2.1-or-later
/* Datagrams for the service manager: notify.h. */
#include "notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

/* A path, or with @ a name of the abstract kind. 0: neither. */
static socklen_t make_address(const char *text, struct sockaddr_un *address)
{
    size_t len = strlen(text);

    memset(address, 0, sizeof *address);
    if ((text[0] != '/' && text[0] != '@') || len < 2 || len >= sizeof address->sun_path)
        return 0;
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, text, len);
    if (text[0] == '@')
        address->sun_path[0] = 0;
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

void notify(const char *state)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address;
    socklen_t bytes = name ? make_address(name, &address) : 0;
    int fd = bytes ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;

    if (!name)
        return;
    if (fd < 0 ||
        sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, bytes) < 0)
        log_line("NOTIFY_SOCKET=%s: %s cannot be told: %s", name, state,
                 bytes ? strerror(errno) : "no path and no @name");
    if (fd >= 0)
        close(fd);
}

void notify_reloading(void)
{
    char state[64];

    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, now_us());
    notify(state);
}

/* 0: nobody waits, or for another process. */
static uint64_t watchdog_us(void)
{
    const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

    if (!us || (pid && strtol(pid, NULL, 10) != getpid()))
        return 0;
    return strtoull(us, NULL, 10);
}

int notify_watchdog(void)
{
    uint64_t us = watchdog_us() / 2; /* twice as often as it has to be, as sd_notify(3) advises */
    const struct timespec every = {(time_t)(us / 1000000), (long)(us % 1000000 * 1000)};
    const struct itimerspec spec = {every, every};
    int fd = us ? timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK) : -1;

    if (fd < 0 || timerfd_settime(fd, 0, &spec, NULL) == 0)
        return fd;
    close(fd);
    return -1;
}

void notify_alive(int watchdog)
{
    uint64_t times;

    if (read(watchdog, &times, sizeof times) == sizeof times)
        notify(NOTIFY_ALIVE);
}
