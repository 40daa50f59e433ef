// SPDX-License-Identifier: LGPL-2.1-or-later
/* Where encsanfs says things: log.h. */
#include "log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <fuse_log.h>

static atomic_bool syslog_only; /* set once, before the parent process is told to go */

static void log_text(int priority, const char *text)
{
    if (atomic_load(&syslog_only))
        syslog(priority, "%s", text);
    else
        fprintf(stderr, "encsanfs: %s\n", text);
}

void log_line(int priority, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    log_text(priority, g_strchomp(text)); /* some reasons come with a newline */
}

void log_to_syslog(void)
{
    openlog("encsanfs", LOG_PID, LOG_DAEMON);
    atomic_store(&syslog_only, true);
}

void log_volume(void *opaque, const char *line)
{
    log_text(LOG_WARNING, line);
}

static void log_fuse(enum fuse_log_level level, const char *format, va_list args)
{
    g_autofree char *text = g_strdup_vprintf(format, args);

    /* libfuse's levels are those of syslog */
    log_text((int)level, g_strchomp(text));
}

void log_take_fuse(void)
{
    fuse_set_log_func(log_fuse);
}
