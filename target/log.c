// SPDX-License-Identifier: LGPL-2.1-or-later
/* The log: log.h. No state: each line is one write(2). */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
    len = strlen(line);
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, len) < 0)
        return; /* nobody reads it, and there is nobody else to tell */
}
