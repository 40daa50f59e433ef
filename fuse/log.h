// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where encsanfs says things: on stderr until the mount stands (and for good
 * with -f), in the system's log afterwards. Any thread.
 */
#ifndef ENCSAN_LOG_H
#define ENCSAN_LOG_H

#include <syslog.h>
#include <glib.h>

/* One line, without a newline; priority as in syslog(3). */
void log_line(int priority, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* From now on to the system's log. */
void log_to_syslog(void);

/* encsan_options.log */
void log_volume(void *opaque, const char *line);

/* What libfuse has to say comes here too. */
void log_take_fuse(void);

#endif
