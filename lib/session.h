// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One iSCSI session on a thread of its own, through libiscsi.
 *
 * It sees slots: a CDB and a buffer, ciphertext both, in memory that is
 * allocated once. It never sees a key or a plain byte. What it reports is a
 * hint, since nothing of iSCSI is authenticated (PROTOCOL, ground rule).
 */
#ifndef ENCSAN_SESSION_H
#define ENCSAN_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

enum slot_status {
    SLOT_GOOD,
    SLOT_CHECK, /* CHECK CONDITION or any other refusal: `sense_key` and `ascq` */
    SLOT_BUSY,  /* BUSY or TASK SET FULL: not executed */
    SLOT_LOST,  /* the session ended: executed or not, nobody knows */
};

struct slot {
    uint8_t cdb[WIRE_CDB_BYTES];
    uint8_t cdb_bytes;
    bool out;       /* data goes to the target */
    uint32_t bytes; /* of data, either way */
    uint8_t *data;  /* WIRE_PDU_DATA_MAX bytes, the session's */

    enum slot_status status;
    uint8_t sense_key;
    uint16_t ascq; /* ASC << 8 | ASCQ */

    /* Called by the session's thread when the command has ended; must not wait. */
    void (*complete)(struct slot *slot);
    void *owner;
};

struct session;

/* Connects to `url` (iscsi://HOST[:PORT]/IQN/LUN), logs in as `initiator_name`
 * and makes `slots` slots. `lost` is called once by the session's thread, if
 * the session ends before session_close, after every slot in flight was
 * completed as SLOT_LOST. NULL on failure, with a line in `message`. */
struct session *session_open(const char *url, const char *initiator_name, unsigned slots,
                             void (*lost)(void *opaque, const char *why), void *opaque,
                             char *message, size_t message_size);
/* Logs out where it still can, and frees. Nothing may be in flight. */
void session_close(struct session *session);

struct slot *session_slot(struct session *session, unsigned index);
/* Any thread. A slot belongs to the session until `complete`. Commands leave
 * in the order in which they were submitted. */
void session_submit(struct session *session, struct slot *slot);

const char *session_target(const struct session *session); /* the IQN */
unsigned session_lun(const struct session *session);

#endif
