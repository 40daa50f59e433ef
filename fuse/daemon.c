// SPDX-License-Identifier: LGPL-2.1-or-later
/* Into the background: daemon.h. */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "log.h"
#include "program.h"

static int to_parent = -1; /* the child's end of the pipe */

G_NORETURN static void wait_for_child(pid_t child, int from_child)
{
    char ready;
    ssize_t got;
    int status;

    do
        got = read(from_child, &ready, 1);
    while (got < 0 && errno == EINTR);
    if (got == 1)
        _exit(0);

    status = program_wait(child);
    if (status > 128)
        log_line(LOG_ERR, "ended by signal %d", status - 128);
    _exit(status > 0 && status < 128 ? status : 1);
}

int daemon_fork(void)
{
    int ends[2];
    pid_t child;

    if (pipe2(ends, O_CLOEXEC))
        return -errno;
    child = fork();
    if (child < 0) {
        int error = -errno;

        close(ends[0]);
        close(ends[1]);
        return error;
    }
    if (child > 0) {
        close(ends[1]);
        wait_for_child(child, ends[0]);
    }
    close(ends[0]);
    to_parent = ends[1];
    return 0;
}

int daemon_ready(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0 || setsid() < 0)
        return -errno;
    log_to_syslog();
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (dup2(null, fd) < 0)
            return -errno;
    close(null);
    if (write(to_parent, "", 1) != 1)
        return -errno;
    close(to_parent);
    return 0;
}
