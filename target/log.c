// SPDX-License-Identifier: LGPL-2.1-or-later
/* The log: log.h. No state but where it goes: each line is one write(2), or one syslog(3). */
#include "log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

static atomic_bool to_syslog;

void log_to_syslog(void)
{
    openlog("encsan-target", LOG_PID | LOG_NDELAY, LOG_DAEMON);
    to_syslog = true;
}

void log_line(const char *format, ...)
{
    static const char prefix[] = "encsan-target: ";
    char line[1024];
    size_t len = sizeof prefix - 1;
    va_list args;

    memcpy(line, prefix, len);
    va_start(args, format);
    vsnprintf(line + len, sizeof line - len - 1, format, args);
    va_end(args);
    if (to_syslog) {
        syslog(LOG_NOTICE, "%s", line + sizeof prefix - 1);
        return;
    }
    len = strlen(line);
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, len) < 0)
        return; /* nobody reads it, and there is nobody else to tell */
}
