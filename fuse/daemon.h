// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Into the background, once the mount stands: the command returns when the
 * folder can be used, with the exit status and the message if it can't.
 */
#ifndef ENCSAN_DAEMON_H
#define ENCSAN_DAEMON_H

/* Forks, before there is a thread. Returns in the child, which still has the
 * terminal; the parent waits for daemon_ready and exits, or with the child's
 * exit status. 0 or -errno. */
int daemon_fork(void);

/* The child lets go of the terminal and sends the parent home. 0 or -errno;
 * -EPIPE: the parent was killed, nobody wants this mount. */
int daemon_ready(void);

#endif
