// SPDX-License-Identifier: LGPL-2.1-or-later
/* The log: one line an event on standard error or in syslog(3), whole even where threads meet. */
#ifndef TARGET_LOG_H
#define TARGET_LOG_H

/* From now on syslog(3) has the lines, facility "daemon". */
void log_to_syslog(void);
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
