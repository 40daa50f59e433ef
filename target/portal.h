// SPDX-License-Identifier: LGPL-2.1-or-later
/* The addresses that we listen on, and all connections that came in there. */
#ifndef TARGET_PORTAL_H
#define TARGET_PORTAL_H

#include <stddef.h>
#include <stdint.h>

#include "target.h"

struct conn;
struct portal;

/* Binds to the configuration's addresses; nobody can connect yet. NULL on
 * failure, with one line for the user in `message`. */
struct portal *portal_open(struct target *target, char *message, size_t size);
/* 0, or -1 with a message. */
int portal_listen(struct portal *portal, char *message, size_t size);
/* HOST:PORT for a URL: the port as it is, the host's name where the address is a wildcard. */
const char *portal_address(const struct portal *portal, unsigned index); /* NULL: no more */

/* Accepts until one of `end_fds` (-1: none) can be read or hangs up. Returns which. */
unsigned portal_run(struct portal *portal, const int *end_fds, unsigned count);
/* Ends all connections, in order if they let themselves be ended, and frees. */
void portal_close(struct portal *portal);

/* A login is complete: ends an older session of the same initiator port (RFC
 * 7143, 6.3.5), which this one takes the place of, and waits for it. Gives it
 * its TSIH. False: the older one did not end in time. */
bool portal_logged_in(struct conn *conn);
/* Each connection that has logged in, with the portal's lock held. */
void portal_each(struct portal *portal, void (*each)(struct conn *conn, void *argument),
                 void *argument);
/* Has the connection's initiator port a session with this TSIH? */
bool portal_has_session(struct conn *conn, uint16_t tsih);

#endif
