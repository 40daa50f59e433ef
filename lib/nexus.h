// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The nexuses of a volume: its iSCSI sessions, each with the security
 * association that is made in it. Several, because one TCP connection over a
 * long link carries no more than its send buffer a round trip. Each is opened,
 * and opened again when it is lost (connect.h), by a thread of its own: at least
 * every 0.3 s there is an attempt, each at the next portal.
 *
 *   DOWN   its thread connects
 *   LIVE   takes transmissions
 *   LOST   the session has ended; workers still look at its last answers
 *
 * Before its keys are worn out a LIVE one makes new ones in the same session, in
 * its thread. New transmissions leave under them as soon as the target has
 * confirmed them; those on their way are answered under the old ones, and the next
 * rekeying waits for them, since the target keeps no third.
 *
 * Number 0 carries nothing large while there is another, so that a small read
 * or a SYNC does not stand behind a copy. The volume's lock holds for every
 * member but volume and number, and for every function where nothing else is said.
 */
#ifndef ENCSAN_NEXUS_H
#define ENCSAN_NEXUS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "encsan.h"
#include "sa.h"
#include "session.h"

struct encsan;

struct nexus {
    struct encsan *volume;
    unsigned number;
    pthread_t thread;
    bool has_thread;
    enum { NEXUS_DOWN, NEXUS_LIVE, NEXUS_LOST } state;
    bool complained;        /* a line about it is in the log, and it has not come up since */
    bool told_refusal;      /* one that the target gave under Noise */
    unsigned portal;        /* that is tried next */
    unsigned attempts;      /* that failed, since it was lost */
    atomic_bool hurry;      /* an outage has begun or ended since the attempt began */
    struct session *session; /* constant while it is busy */
    struct sa *sa;
    struct sa *old_sa;      /* before the last rekeying: its last commands are answered under it */
    bool rekeying;          /* wanted, or done at this moment */
    uint64_t rekey_us;      /* not before this: the last attempt failed */
    unsigned busy;          /* transmissions, from nexus_take to nexus_give */
    uint64_t pending_bytes; /* of those */
};

/* Opens the first session and takes the lease, in the caller's thread and
 * without the lock. 0, or -1 with a line in `message`. */
int nexus_open_first(struct encsan *v, char message[ENCSAN_MESSAGE_BYTES]);
/* Opens the others, in the background. Without the lock. 0, or -1: no thread. */
int nexus_open_others(struct encsan *v);
/* Gives the lease back, if it shall, and logs out of all: the volume closes,
 * nothing is busy, and nothing will be. Twice is once. Without the lock. */
void nexus_close_all(struct encsan *v, bool release);

/* TCP's connection for its session is there. Without the lock. `opaque` is the nexus. */
void nexus_connected(void *opaque);
/* The end of its session; by the session's thread. `opaque` is the nexus. */
void nexus_lost(void *opaque, const char *why);

/* The lowest round trip time that TCP has seen; 0: not known yet. */
uint32_t nexus_rtt_min_us(const struct encsan *v);

/* The one that will send a transmission of so many bytes of data first; it is
 * busy with it until nexus_give, which also takes back the hold on the SA that
 * is to be used for it. NULL: none is live. */
struct nexus *nexus_take(struct encsan *v, uint32_t bytes, struct sa **sa);
/* The transmission has ended. */
void nexus_give(struct nexus *n, const struct slot *slot, struct sa *sa);

#endif
