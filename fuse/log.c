// SPDX-License-Identifier: LGPL-2.1-or-later
/* Where encsanfs says things: log.h. */
#include "log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <fuse_log.h>

/* What goes to the system's log: nothing, what only informs, or all. */
static atomic_int least_urgent_on_stderr = LOG_DEBUG;

static void log_text(int priority, const char *text)
{
    if (priority > atomic_load(&least_urgent_on_stderr))
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
    atomic_store(&least_urgent_on_stderr, -1);
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

void log_start(bool foreground)
{
    openlog("encsanfs", LOG_PID, LOG_DAEMON);
    if (!foreground)
        atomic_store(&least_urgent_on_stderr, LOG_NOTICE);
    fuse_set_log_func(log_fuse);
}
