// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * From a nexus that is DOWN to one that is LIVE: a portal, an iSCSI session, a
 * handshake, and what is checked before anything is sent under its keys.
 */
#ifndef ENCSAN_CONNECT_H
#define ENCSAN_CONNECT_H

#include "nexus.h"

/* The first session of a mount: takes the lease. Tries each portal once. In the
 * caller's thread, without the lock. 0, or -1 with a line in `message`. */
int connect_first(struct nexus *n, char message[ENCSAN_MESSAGE_BYTES]);

/* One attempt, at the next portal. Lock held, and let go of meanwhile. True: it is LIVE. */
bool connect_again(struct nexus *n);
/* New keys for one that is LIVE, in its session. It is busy meanwhile. Lock
 * held, and let go of meanwhile. True: they are used from now on. */
bool connect_rekey(struct nexus *n);

#endif
