// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Handshakes and SAs (PROTOCOL, section 1). One session has with one LUN at
 * most three SAs,
 *   pending   since message 2 was made; nothing but a SEALED WRITE that opens
 *             makes it current, within WIRE_PENDING_SA_US;
 *   current   the last one that became so;
 *   previous  the one before.
 * These slots are the reader's alone. An association lives as long as a slot or
 * a task has a reference to it.
 */
#ifndef TARGET_ASSOCIATION_H
#define TARGET_ASSOCIATION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lease.h"
#include "sa.h"
#include "sense.h"
#include "wire.h"

struct conn;
struct lun;

struct association {
    atomic_uint references;
    struct sa *sa;
    struct lun *lun;
    bool pending; /* the reader's */
    uint64_t expires_us;
    struct wire_hello hello;
    uint64_t generation; /* that message 2 said */
    struct grant grant;  /* attached once it is not pending */
};

struct associations {
    struct association *pending, *current, *previous;
    uint8_t last_index;
    bool has_message_2;
    uint8_t message_2[sizeof(struct wire_welcome) + WIRE_NOISE_2_OVERHEAD];
};

/* Message 1: makes a pending SA, or a refusal, and message 2. Not SENSE_NONE:
 * it did not open, and nothing has changed. */
struct sense association_message_1(struct conn *conn, struct lun *lun, const uint8_t *message,
                                   uint32_t bytes);

/* The SA with this index, with a reference; NULL: none. */
struct association *association_find(struct associations *slots, uint8_t index);
void association_release(struct association *a);
void association_release_all(struct associations *slots); /* no command is left */
/* A SEALED WRITE opened under a pending SA: it takes the lease and is current.
 * The reader's. False: it has been displaced meanwhile. */
bool association_promote(struct conn *conn, struct association *a);

#endif
