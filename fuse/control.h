// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How a running encsanfs is spoken to: SIGTERM, SIGINT and SIGHUP, and a socket
 * in the runtime folder named for the mount point, whose folder lets only the
 * user and root in.
 *
 * The socket's language is lines. The daemon greets with
 *     encsanfs PID MOUNTPOINT           (escaped as in C)
 * and, where the connection is kept open, says as its very last word
 *     ok                                everything is on the far disk
 *     failed: WHAT                      it may not be
 * and the connection ends with the process. One that ends without a last word:
 * the daemon died. A client may send
 *     status
 * and gets lines "NAME VALUE" (status.h) and
 *     end
 * Whatever else it sends is not looked at.
 */
#ifndef ENCSAN_CONTROL_H
#define ENCSAN_CONTROL_H

#include <stdbool.h>

#define CONTROL_GREETING "encsanfs "
#define CONTROL_OK "ok"
#define CONTROL_STATUS "status"
#define CONTROL_END "end"
#define CONTROL_FAILED "failed: "

struct control;

/* Blocks the three signals and starts the thread that hears of them: to be
 * called before any other thread is there. NULL and errno. */
struct control *control_start(void);

/* What a signal does from now on, in control's thread. When it returns, the old
 * one does not run and will not. */
void control_on_signal(struct control *control, void (*act)(void *opaque), void *opaque);

/* What `status` is answered with from now on: text that g_free frees, from
 * control's thread. NULL: only the end. When it returns, the old one does not run. */
void control_on_status(struct control *control, char *(*describe)(void *opaque), void *opaque);

/* Makes the socket of a mount that now stands. 0 or -errno. */
int control_listen(struct control *control, const char *mountpoint);

/* The last word: `failure` NULL means ok. Ends the thread and the socket; to be
 * called right before the process ends. */
void control_finish(struct control *control, const char *failure);

#endif
