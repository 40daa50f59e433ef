// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where encsanfs says things: on stderr until the mount stands (and for good
 * with -f), in the system's log afterwards. Any thread.
 */
#ifndef ENCSAN_LOG_H
#define ENCSAN_LOG_H

#include <stdbool.h>
#include <syslog.h>
#include <glib.h>

/* One line, without a newline; priority as in syslog(3). */
void log_line(int priority, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* What libfuse has to say comes here from now on, too. What only informs is for
 * the log of a mount, not for the terminal of who waits for it: with -f they are one. */
void log_start(bool foreground);

/* From now on to the system's log. */
void log_to_syslog(void);

/* encsan_options.log */
void log_volume(void *opaque, const char *line);

#endif
