// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * From a logged-in iSCSI session to a security association that holds the
 * lease: Noise messages 1 and 2 back to back, then an empty SEALED WRITE,
 * which takes the lease, and a receipt, which proves it. At the end another
 * empty SEALED WRITE gives the lease back, since a Logout could be forged.
 */
#ifndef ENCSAN_HANDSHAKE_H
#define ENCSAN_HANDSHAKE_H

#include "encsan.h"
#include "sa.h"
#include "session.h"

struct handshake_request {
    const char *url;
    const uint8_t *key, *target_key; /* private, public */
    const char *suite;               /* or NULL */
    enum wire_intent intent;
    const uint8_t *mount_id, *previous_mount_id;
    uint64_t generation, base; /* to resume */
};

struct handshake {
    struct sa *sa; /* the caller's */
    enum wire_suite suite;
    uint64_t blocks; /* of WIRE_BLOCK_BYTES */
    uint8_t volume_id[WIRE_ID_BYTES];
    struct wire_boot_id boot_id;
    uint64_t generation;
    uint64_t ordinal_window;
};

/* Waits. 0, or -1 with a line for the user in `message`. */
int handshake_run(struct session *session, const struct handshake_request *request,
                  struct handshake *result, char message[ENCSAN_MESSAGE_BYTES]);

/* Gives the lease back, under seal. Waits. Whether it arrived is a hint, and
 * changes nothing: a lease without a session ends by itself. */
void handshake_release(struct session *session, struct sa *sa);

#endif
