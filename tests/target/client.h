// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A target of the test's own, and an initiator that does one thing at a time,
 * also what encsanfs never would. What must work is asserted here.
 */
#ifndef TEST_CLIENT_H
#define TEST_CLIENT_H

#include <glib.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "sa.h"
#include "wire.h"

#define DISK_BYTES (64u << 20)
#define BLOCK WIRE_BLOCK_BYTES
#define ACCESS_DENIED 0x072002 /* key, ASC, ASCQ */

struct target {
    char *folder, *disk, *state, *plain, *key_file, *url, *portal;
    GPid pid;
    int out;
};
/* LUN 1 is sealed, LUN 2 plain. */
void target_start(struct target *t);
void target_stop(struct target *t);
/* In between, any number of times: it ends by this signal, and is started again, on another port,
 * with these arguments besides (NULL: none). Until then others may still try to reach it. */
void target_end(struct target *t, int signal);
void target_run(struct target *t, const char *const *arguments);
/* Bytes of the sealed LUN as they are in its file. */
void target_peek(const struct target *t, uint64_t block, uint8_t out[BLOCK]);

enum who { ALICE, BOB, MALLORY }; /* Mallory's key is not allowed */

struct client { /* a session on LUN 1 */
    struct iscsi_context *iscsi;
    /* what it waits for; libiscsi may still look at it when the session is lost */
    struct scsi_task *task;
    struct scsi_iovec iov;
    bool finished;
    int status;
    struct sa *sa;
    uint8_t mount_id[WIRE_ID_BYTES];
    struct wire_welcome welcome;
    enum wire_lease_state state; /* as client_attach got it */
    uint64_t generation;
};
struct client *client_open(const struct target *t);
struct client *client_try_open(const struct target *t); /* NULL: nobody is there */
/* As encsanfs ends: a lease to write is given back. */
void client_close(struct client *c);
/* The session ends in order, and the target knows it; the lease stays held. */
void client_leave(struct client *c);
/* As a crash ends it: the target hears of it some time later. */
void client_cut(struct client *c);
/* Another session of the same mount. */
struct client *client_again(const struct target *t, const struct client *c);

struct status {
    int code;  /* SCSI status; SCSI_STATUS_ERROR: the session is lost */
    int sense; /* key << 16 | ASC << 8 | ASCQ, of CHECK CONDITION */
};
struct status client_out(struct client *c, const uint8_t *cdb, int cdb_bytes, const void *data,
                         size_t bytes);
struct status client_in(struct client *c, const uint8_t *cdb, int cdb_bytes, void *data,
                        size_t bytes);

struct hello {
    enum who who;
    bool wrong_target; /* made for another target key */
    uint8_t version;   /* 0: ours */
    unsigned suites;   /* 0: aes-256-gcm */
    enum wire_intent intent;
    uint64_t generation, base;
    const uint8_t *previous; /* mount id; NULL: none */
};
/* Both messages: sets welcome and, where it is no refusal, a new sa; an older
 * one is left to the caller. False: message 1 was refused by SCSI alone, or
 * the session is lost. */
bool client_handshake(struct client *c, const struct hello *hello);
/* The same; and the lease is taken, if it is to be had. The refusal, or
 * WIRE_REFUSED_HELD where another was faster, or LOST. */
#define LOST ((enum wire_refusal)255) /* the session */
enum wire_refusal client_take(struct client *c, const struct hello *hello);
/* The same as ALICE, and it has to be had. */
void client_attach(struct client *c, enum wire_intent intent, uint64_t generation);

struct write {
    enum wire_operation operation;
    uint64_t lba, blocks, ordinal, after;
    uint8_t fill; /* every byte */
};
/* As an operation: gives the lease back. */
#define RELEASE ((enum wire_operation)(WIRE_FLAG_RELEASE << 8))
/* Seals it, for client_out. Returns its bytes. */
size_t client_seal(struct client *c, const struct write *w, uint8_t cdb[WIRE_CDB_BYTES],
                   uint8_t *out);
struct status client_write(struct client *c, const struct write *w);
/* The sealed status; -1: the command was refused, or did not open. */
int client_read(struct client *c, uint64_t lba, uint32_t blocks, uint8_t *out);
/* False: refused, or it did not open. */
bool client_sync(struct client *c, uint64_t ordinal, struct wire_receipt *receipt);

#endif
