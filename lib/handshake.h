// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * From a logged-in iSCSI session to a security association that holds the
 * lease: Noise messages 1 and 2 back to back, then an empty SEALED WRITE,
 * which takes the lease, and a receipt, which proves it. And the lease's end.
 */
#ifndef ENCSAN_HANDSHAKE_H
#define ENCSAN_HANDSHAKE_H

#include "encsan.h"
#include "sa.h"
#include "session.h"

struct handshake { /* what the target said, under seal */
    struct sa *sa; /* the caller's */
    enum wire_refusal refusal;
    bool overtaken; /* the receipt says that the lease is another's */
    enum wire_suite suite;
    uint64_t blocks; /* of WIRE_BLOCK_BYTES */
    uint8_t volume_id[WIRE_ID_BYTES];
    struct wire_boot_id boot_id;
    uint64_t generation;
    uint64_t ordinal_window;
};

struct handshake_request {
    const char *url;
    const uint8_t *key, *target_key; /* private, public */
    const char *suite;               /* or NULL */
    enum wire_intent intent;
    const uint8_t *mount_id, *previous_mount_id;
    uint64_t patience_us;      /* for an answer; 0: as where nothing else is on its way */
    uint64_t generation, base; /* to resume; the generation also to steal */
    /* Message 2 has opened, and nothing was sent under the new keys yet: false,
     * with a line in `message`, where nothing shall be. May be NULL. */
    bool (*agrees)(void *opaque, const struct handshake *so_far, char message[ENCSAN_MESSAGE_BYTES]);
    void *opaque;
};

/* Waits, but not for ever. 0, or -1 with a line for the user in `message`;
 * `result` then has what was learned before. */
int handshake_run(struct session *session, const struct handshake_request *request,
                  struct handshake *result, char message[ENCSAN_MESSAGE_BYTES]);

/* Gives the lease back, where the target can still be told: else it ends by
 * itself after a while. Waits, but not for ever. */
void handshake_release(struct session *session, struct sa *sa);

#endif
