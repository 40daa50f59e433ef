// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The inside of a lease, shared by lease.c, claim.c and durable.c.
 *
 * An epoch ends with each restart of the LUN (its backend's losses) and each change
 * of hands. What was begun in another epoch, a write or a flush, counts for nothing.
 *
 * Locks: `flushing`, then `lock`. Callbacks but `execute` are called without
 * either: they are put on a `struct due` with the lock held, and called after it.
 */
#ifndef TARGET_LEASE_INSIDE_H
#define TARGET_LEASE_INSIDE_H

#include <pthread.h>

#include "lease.h"
#include "ordinals.h"

TAILQ_HEAD(grant_list, grant);
TAILQ_HEAD(write_list, lease_write);
TAILQ_HEAD(sync_list, lease_sync);

struct lease {
    char *name;
    char *state_path; /* NULL: nothing is kept */
    struct backend *backend;
    bool closed;
    pthread_t syncer, clock; /* durable.c */

    /* One flush at a time, together with what follows from its result: of two
     * side by side, the second would succeed and be believed before the first
     * one's failure is known. */
    pthread_mutex_t flushing;

    pthread_mutex_t lock;    /* guards everything that follows */
    pthread_cond_t work;     /* the syncer's */
    pthread_cond_t deadline; /* the clock's */
    pthread_cond_t changed;  /* `changing` has ended, or no write executes any more */
    bool ending;
    bool retired;
    uint64_t timeout_us;

    struct state state; /* as in its file, but for the moment in which it is saved */
    unsigned losses;    /* of the backend, as far as they have led to a restart of the LUN */
    uint32_t restarts;  /* of the LUN since the start */
    uint8_t boot_random[8];
    uint64_t epoch;
    bool changing;           /* hands; who has set it saves the state without the lock */
    uint64_t sessionless_us; /* since when the holder has no session, if it has none */
    struct grant_list grants;

    struct ordinals ordinals;
    uint64_t executions, flushed_executions; /* equal: nothing for a flush to do */
    struct lease_audit audit;
    struct write_list waiting, executing;
    unsigned waiting_count;
    size_t waiting_bytes;
    struct sync_list syncs; /* by deadline */
};

/* What is to be called once the lock is let go. */
struct due {
    struct write_list drop;
    struct sync_list answer;
};
void due_init(struct due *due);
void due_call(struct due *due);

/* ---- lease.c; with the lock held ---- */
/* The grant is of the lease as it is, to write or to read. */
bool lease_is_current(const struct lease *l, const struct grant *g);
/* The same, and the lease does not change hands at the moment. */
bool lease_admits(const struct lease *l, const struct grant *g);

/* ---- claim.c; with the lock held ---- */
/* Drops what waits, of one session or (NULL) of all. */
void claim_drop_waiting(struct lease *l, const void *session, struct due *due);
/* `durable` has grown: what waited for it executes. */
void claim_waiting(struct lease *l, struct due *due);

/* ---- durable.c ---- */
/* With the lock held: answers the SYNCs of one session or (NULL) of all. */
void durable_answer_syncs(struct lease *l, const void *session, struct due *due);
void durable_boot_id(const struct lease *l, struct wire_boot_id *boot_id);
/* Wakes the syncer, if there is now something to flush for somebody. */
void durable_look(struct lease *l);
bool durable_start(struct lease *l); /* its threads; false: none, or none of them */
void durable_stop(struct lease *l);

#endif
