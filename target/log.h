// SPDX-License-Identifier: LGPL-2.1-or-later
/* The log: one line an event on standard error, whole even where threads meet. */
#ifndef TARGET_LOG_H
#define TARGET_LOG_H

void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
