// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Telling the service manager how we are: the protocol of sd_notify(3), which is
 * a datagram of VARIABLE=VALUE lines to the socket in $NOTIFY_SOCKET. Where
 * nobody wants to know, nothing is done.
 */
#ifndef TARGET_NOTIFY_H
#define TARGET_NOTIFY_H

void notify(const char *state);
void notify_reloading(void); /* NOTIFY_READY ends it */

/* A timerfd(2) that can be read whenever NOTIFY_ALIVE is due: $WATCHDOG_USEC says
 * how often. -1: nobody waits for it, or there is no timer. */
int notify_watchdog(void);
/* Says so, and that the timer has been heard. */
void notify_alive(int watchdog);

#define NOTIFY_READY "READY=1"
#define NOTIFY_STOPPING "STOPPING=1"
#define NOTIFY_ALIVE "WATCHDOG=1"

#endif
