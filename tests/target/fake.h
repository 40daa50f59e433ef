// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A lease by itself: on a disk that stores nothing and fails when it is told
 * to, with mounts that are no more than what message 1 says of them. Nothing
 * here depends on time: a lease that is to end has a timeout of zero.
 */
#ifndef TEST_FAKE_H
#define TEST_FAKE_H

#include <glib.h>
#include <stdatomic.h>

#include "lease.h"

#define NEVER (UINT64_C(1000000) * 86400) /* as a timeout, in microseconds */

struct disk {
    struct backend backend;
    atomic_int error; /* of every flush to come */
    atomic_uint flushes;
};

struct fixture {
    char *folder, *path; /* of the state file */
    struct disk disk;
    struct lease *lease;
    char message[512]; /* where there is no lease */
};

void fixture_set_up(struct fixture *f, gconstpointer unused); /* without a lease */
void fixture_tear_down(struct fixture *f, gconstpointer unused);
/* A start of the target; and its end, in whatever way. */
void fixture_start(struct fixture *f, uint64_t timeout_us);
void fixture_end(struct fixture *f);

struct mount { /* with one session */
    struct lease *lease;
    struct wire_hello hello; /* mount id, previous one, base */
    struct grant grant;
};
/* Alice has the key A, Bob B; `id` makes the mount id. */
void mount_init(struct mount *m, const struct fixture *f, char key, uint8_t id);
/* What message 2 would say. */
struct wire_welcome mount_describe(struct mount *m, enum wire_intent intent, uint64_t generation);
/* The same, and the lease is taken as far as it can be had. */
enum wire_refusal mount_take(struct mount *m, enum wire_intent intent, uint64_t generation);
void mount_end_session(struct mount *m); /* nothing of it is executing */

struct write { /* with what became of it */
    struct lease_write write;
    atomic_uint executed, dropped, answered;
    struct sense sense; /* of the answer */
};
void write_init(struct write *w, struct mount *m, uint64_t ordinal, uint64_t after);
enum lease_verdict write_claim(struct write *w, struct mount *m, uint64_t ordinal, uint64_t after);
/* Claimed, written, well. */
void write_ok(struct mount *m, uint64_t ordinal);
struct wire_receipt receipt_of(struct mount *m);
/* Waits until it is durable, however long that takes. */
void wait_durable(struct mount *m, uint64_t ordinal);

#endif
