// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The way to a LUN of another iSCSI target: a few sessions, each on its own
 * thread (lib/session.h), and a thread that opens them and keeps them.
 *
 * The sessions stand and fall together. Once one is lost, or the LUN was reset,
 * all are ended, and nothing is sent before all of them have logged in again,
 * under the same names: by that the target has ended what it still had of the
 * earlier ones (RFC 7143, 6.3.5), and no late write of theirs meets a newer one.
 *
 * What was in flight then is sent again. What the LUN had answered and not yet
 * brought to stable storage may be gone: `lost` says so, before anything more
 * is answered.
 */
#ifndef TARGET_UPSTREAM_H
#define TARGET_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend.h"
#include "wire.h"

struct upstream;

struct upstream_command {
    uint8_t cdb[WIRE_CDB_BYTES];
    bool out;       /* the data goes to the disk */
    bool once;      /* is not sent again, when it was not executed: -EAGAIN */
    uint32_t bytes; /* of data; for data in the answer may be shorter: */
    uint32_t missing;
    void *data;
};

struct upstream_events {
    /* The sessions are open: is this the disk? Uses upstream_ask. 0, or -1 with
     * what is wrong in `message`. */
    int (*opened)(void *opaque, struct upstream *upstream, char *message, size_t size);
    void (*lost)(void *opaque); /* any thread; must not wait */
    void *opaque;
};

/* Begins to open it, and goes on with that until it is there. NULL, with one line in `message`,
 * only where something is wrong at this end. */
struct upstream *upstream_open(const struct upstream_settings *settings,
                               const struct upstream_events *events, char *message, size_t size);
void upstream_close(struct upstream *upstream); /* nobody uses it any more */
/* Until it is known whether it is there, or until then. */
void upstream_await(struct upstream *upstream, uint64_t until_us);
bool upstream_is_there(struct upstream *upstream);
/* What these functions of struct backend_operations say. */
void upstream_use_password(struct upstream *upstream, const char *path);
void upstream_report(struct upstream *upstream, struct backend_report *report);
void upstream_give_up(struct upstream *upstream);
bool upstream_has_given_up(const struct upstream *upstream);

/* Any thread; waits for the answer, and for the disk where it is away. 0, or
 * -errno as backend.h says, and -EOPNOTSUPP for ILLEGAL REQUEST. */
int upstream_run(struct upstream *upstream, struct upstream_command *command);
/* The same, for `opened` alone. */
int upstream_ask(struct upstream *upstream, struct upstream_command *command);

#endif
