// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The lease of a sealed LUN, the ordinals of its holder, and the receipts.
 * PROTOCOL, sections 3 to 5.
 */
#ifndef TARGET_LEASE_H
#define TARGET_LEASE_H

#include "target.h"

struct lease;

/* One SA's part in the lease: which generation it acts for. */
struct claim {
    enum wire_intent intent;
    uint64_t generation; /* that message 2 stated; after lease_take: its own */
    uint64_t base;
    uint8_t initiator[WIRE_KEY_BYTES];
    uint8_t mount_id[WIRE_ID_BYTES];
    char address[64];
    enum wire_lease_state state;
};

/* A command in the lease's hands; a member of what it belongs to. */
struct ordered {
    struct ordered *next; /* the lease's */
    const void *owner;    /* whose end makes it absent: the session */
    uint64_t epoch; /* the lease's: it changes with the holder and with the boot id */
    uint64_t ordinal, after;
    size_t bytes; /* of memory that it holds while it waits */
    /* Its turn has come (false: it is absent now and only to be freed). */
    void (*run)(struct ordered *command, bool execute);
};

struct waiting_sync { /* a SEALED SYNC that waits */
    struct waiting_sync *next;
    const void *owner;
    uint64_t ordinal;
    uint64_t deadline_us;
    void (*answer)(struct waiting_sync *sync); /* pushes a job; must not wait */
};

struct lease *lease_new(struct lun *lun);
void lease_free(struct lease *lease);

/* Fills in what message 2 says, or a refusal. Changes nothing. */
void lease_describe(struct lease *lease, const struct claim *claim, struct wire_welcome *welcome);
/* The first SEALED WRITE of an SA opened: takes the lease by compare-and-swap
 * on claim->generation. Sets claim->state and ->generation. */
void lease_take(struct lease *lease, struct claim *claim);
/* The SA is gone. */
void lease_leave(struct lease *lease, struct claim *claim);

enum lease_verdict {
    LEASE_EXECUTE, /* claimed: execute, then lease_executed */
    LEASE_WAIT,    /* kept until its `after` is durable: answer GOOD */
    LEASE_DONE,    /* a copy of an executed one: answer GOOD */
    LEASE_BUSY,    /* no room, or a copy is executing: TASK SET FULL */
    LEASE_INVALID, /* ordinal or after out of bounds */
    LEASE_FENCED,  /* not of the holder's generation */
};
enum lease_verdict lease_claim(struct lease *lease, const struct claim *claim,
                               struct ordered *command);
/* error 0 or -errno of the backend. */
void lease_executed(struct lease *lease, const struct ordered *command, int error);
/* Waiting commands of this owner become absent, its SYNCs are dropped unanswered. */
void lease_forget(struct lease *lease, const void *owner);

/* Answered through `answer`, at once or later. */
void lease_sync(struct lease *lease, struct waiting_sync *sync);
void lease_receipt(struct lease *lease, const struct claim *claim, struct wire_receipt *receipt);
/* Everything executed onto stable storage: at the end. 0 or -errno. */
int lease_flush(struct lease *lease);

/* SCSI sense of a backend's -errno: key << 16 | ASC << 8 | ASCQ (SPC-4 4.5). */
uint32_t sense_of_errno(int error);

#endif
