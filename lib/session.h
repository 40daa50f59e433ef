// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One iSCSI session on a thread of its own, through libiscsi.
 *
 * It sees slots: a CDB and a buffer, ciphertext both, in memory that is
 * allocated once and that several sessions share. It never sees a key or a
 * plain byte. What it reports is a hint, since nothing of iSCSI is
 * authenticated (PROTOCOL, ground rule).
 */
#ifndef ENCSAN_SESSION_H
#define ENCSAN_SESSION_H

#include <stdatomic.h>
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
    bool urgent;    /* it leaves before those that are not */
    uint32_t bytes; /* of data, either way */
    uint8_t *data;  /* WIRE_PDU_DATA_MAX bytes of the slot's own, or whatever it is pointed to */

    enum slot_status status;
    uint8_t sense_key;
    uint16_t ascq; /* ASC << 8 | ASCQ */
    uint8_t scsi_status;
    uint32_t missing; /* bytes of data in that the target says it did not send */

    /* Called by the session's thread when the command has ended; must not wait. */
    void (*complete)(struct slot *slot);
    void *owner;
};

struct slots;

/* NULL: out of memory. The memory is touched when a slot is first used. */
struct slots *slots_new(unsigned count);
void slots_free(struct slots *slots); /* no session has one of them */
struct slot *slots_get(struct slots *slots, unsigned index);

struct session;

struct session_login {
    const char *portal; /* numeric: HOST:PORT or [HOST]:PORT */
    const char *target; /* the IQN */
    int lun;
    const char *initiator_name;
    const char *user, *password; /* for CHAP; NULL: without */
    uint32_t isid;   /* 24 bits that all sessions of that name have */
    unsigned number; /* of this one among them: with the same number again it replaces
                        the earlier session at the target (RFC 7143, 6.3.5) */
    uint64_t connect_us;  /* the most to wait for TCP's connection, */
    uint64_t patient_us;  /* or, if that is longer, this, until */
    const atomic_bool *hurry; /* it is true; NULL: it never is */
    void (*connected)(void *opaque); /* TCP's connection is there; may be NULL */
    const char *url;      /* for messages */
    const atomic_bool *give_up; /* once it is true, nothing is waited for any more */
};

/* Connects and logs in. `lost` is called once by the session's thread, if the
 * session ends before session_close, after every slot in flight was completed
 * as SLOT_LOST. NULL on failure, with a line in `message`. */
struct session *session_open(const struct session_login *login,
                             void (*lost)(void *opaque, const char *why), void *opaque,
                             char *message, size_t message_size);
/* The session shall end: the peer does not what it should. `lost` follows. */
void session_abandon(struct session *session);
/* The target is asked whether it is there; else `lost` follows after some seconds, as
 * for a session whose commands are not answered. Any thread. */
void session_doubt(struct session *session);
/* Logs out where it still can, and frees. Nothing may be in flight. */
void session_close(struct session *session);

/* Any thread. A slot belongs to the session until `complete`. Commands leave
 * in the order in which they were submitted, the urgent ones first. */
void session_submit(struct session *session, struct slot *slot);

struct session_path { /* of the TCP connection, as the kernel sees it (tcp(7), TCP_INFO) */
    uint32_t rtt_us, rtt_min_us; /* smoothed; 0: not known yet */
    uint32_t retransmits;        /* segments of TCP, since login */
};
struct session_path session_path(struct session *session);

const char *session_target(const struct session *session); /* the IQN */
unsigned session_lun(const struct session *session);

#endif
