// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The lease of a sealed LUN: who may write, which ordinals are where, what is
 * durable (PROTOCOL, sections 3 to 5). All functions may be called by any
 * thread; none but lease_attach, lease_release and lease_flush waits.
 *
 * The lease itself is
 *   free     given back, or never taken; readers may share the LUN;
 *   held     by one mount, with or without sessions. Without any for the time
 *            of lease-timeout it has ended: it is the holder's until another comes;
 *   changing hands: nobody's writes are admitted.
 *
 * A write, from lease_claim on, is
 *   waiting    on `waiting`, until everything up to its `after` is durable;
 *   executing  on `executing`: claimed, somebody writes its bytes;
 *   executed or durable, as the ordinals say; or absent (dropped, or failed).
 *
 * lease.c: who may; takeovers. claim.c: writes. durable.c: flushes, SYNCs,
 * receipts. What these three share is in lease_inside.h.
 */
#ifndef TARGET_LEASE_H
#define TARGET_LEASE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "backend.h"
#include "sense.h"
#include "state.h"
#include "wire.h"

struct lease;

/* What an SA has of the lease; a member of it. The lease's from attach to detach. */
struct grant {
    TAILQ_ENTRY(grant) link;
    const void *session;
    struct lease_holder who;
    enum wire_lease_state state; /* NONE before lease_attach */
    uint64_t generation;
    bool live; /* its session still takes commands */
};

/* A SEALED WRITE; a member of the task. */
struct lease_write {
    TAILQ_ENTRY(lease_write) link;
    struct lease_write *copies; /* that wait for the result of this one; linked by `copies` */
    struct grant *grant;
    uint64_t ordinal, after;
    size_t bytes; /* of memory while it waits */
    uint64_t epoch;
    /* It waited and is claimed now. With the lock held: only hands it to a worker. */
    void (*execute)(struct lease_write *write);
    /* Without the lock; must not wait. It waited and is absent now; it is a copy, and the result.
     */
    void (*drop)(struct lease_write *write);
    void (*answer)(struct lease_write *write, struct sense sense);
};

struct lease_sync {
    TAILQ_ENTRY(lease_sync) link;
    struct grant *grant;
    uint64_t ordinal;
    uint64_t deadline_us;
    void (*answer)(struct lease_sync *sync); /* called once, without the lock; must not wait */
};

enum lease_verdict {
    LEASE_EXECUTE,  /* claimed: do it and call lease_finish */
    LEASE_WAITS,    /* is the lease's until execute or drop; it counts as accepted */
    LEASE_COPY,     /* is the lease's until answer */
    LEASE_EXECUTED, /* was done before: skip it */
    LEASE_FULL,     /* no room to wait */
    LEASE_FENCED,
    LEASE_READ_ONLY,
    LEASE_INVALID, /* ordinal or after */
};

struct lease_settings {
    const char *name;       /* for the log */
    const char *state_path; /* NULL: nothing outlives this target */
    bool must_exist;        /* keep a state only where there is one already */
    uint64_t timeout_us;    /* a lease without a session ends after this */
};

/* It has been counted as a start when this returns. NULL, with one line for
 * the user in `message`: the state is damaged, or out of memory, or of threads. */
struct lease *lease_new(const struct lease_settings *settings, struct backend *backend,
                        char *message, size_t size);
/* The LUN is to go: no write is claimed any more, what waits is dropped, SYNCs are answered. */
void lease_retire(struct lease *lease);
/* No command is left. What may still come: lease_detach, lease_end_session. */
void lease_close(struct lease *lease);
void lease_free(struct lease *lease); /* NULL is none. No grant is attached. Closes it. */

/* What message 2 says of the lease, and whether it would be refused now. Changes nothing. */
void lease_describe(struct lease *lease, const struct wire_hello *hello,
                    const uint8_t key[WIRE_KEY_BYTES], struct wire_welcome *welcome);

/* Takes it as `hello` intends; `generation` is what message 2 said. Sets the
 * grant's state, to FENCED where the lease is not to be had. A lease that
 * changes hands waits for the commands of its last holder, a flush and its state file. */
void lease_attach(struct lease *lease, struct grant *grant, const struct wire_hello *hello,
                  uint64_t generation);
void lease_detach(struct lease *lease, struct grant *grant); /* no command of it is left */
/* The session takes no commands any more: what waits is dropped, SYNCs are
 * answered. The lease stays held: the end of a session is not authenticated. */
void lease_end_session(struct lease *lease, const void *session);
/* Its holder gives it back. False: it is not the grant's, or that cannot be recorded. */
bool lease_release(struct lease *lease, const struct grant *grant);

/* Who is not `allowed` any more is shut out, and the lease, if such a one has it, has ended: it
 * is the next one's who comes. `expelled` is told of each session with the lock held. */
void lease_expel(struct lease *lease, bool (*allowed)(const uint8_t *key, const void *argument),
                 void (*expelled)(const void *session), const void *argument);
/* The session of each grant, with the lock held; of some sessions it is several times. */
void lease_each_session(struct lease *lease, void (*each)(const void *session));
void lease_set_timeout(struct lease *lease, uint64_t timeout_us);

bool lease_may_read(struct lease *lease, const struct grant *grant);
enum lease_verdict lease_claim(struct lease *lease, struct lease_write *write);
/* The end of an executing write; SENSE_NONE: its bytes are there. Returns what
 * is to be answered: after a restart of the LUN, not what was meant. */
struct sense lease_finish(struct lease *lease, struct lease_write *write, struct sense sense);

void lease_sync(struct lease *lease, struct lease_sync *sync);
void lease_receipt(struct lease *lease, const struct grant *grant, struct wire_receipt *receipt);

/* Makes durable what is executed. A loss of the backend's is a restart of the LUN. 0 or -errno. */
int lease_flush(struct lease *lease);

/* Who has it now, for people: the holder, or else one who reads. */
struct lease_report {
    bool held, shared; /* neither: it is free */
    struct lease_holder who;
    unsigned sessions; /* of the holder, or of all that read */
};
struct lease_report lease_report(struct lease *lease);

/* For tests and for the log: writes executed, and those of them that had been
 * executed before in the same boot and generation. */
struct lease_audit {
    uint64_t executed, twice;
};
struct lease_audit lease_audit(struct lease *lease);

#endif
