// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who did how much: an account is one initiator's with one LUN, from the first
 * session that needs it on. An initiator is whom it has shown to be, by its key
 * (sealed) or by CHAP; on a plain LUN for everybody the iSCSI name that it says.
 *
 * Of accounts without a session the last ones are kept: names cost nothing, and
 * must not fill the memory.
 */
#ifndef TARGET_ACCOUNTS_H
#define TARGET_ACCOUNTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

enum operation { OPERATION_READ, OPERATION_WRITE, OPERATION_OTHER, OPERATIONS };

struct account {
    char *initiator, *lun; /* the LUN's label */
    struct {
        atomic_uint_least64_t commands, bytes;
    } done[OPERATIONS]; /* commands that were answered with GOOD, and their data on the line */
    atomic_uint_least64_t errors; /* commands that failed; a unit attention is no failure */

    /* the table's */
    GList place; /* among those without a session */
    unsigned sessions;
};

struct accounts;

struct accounts *accounts_new(void);
void accounts_free(struct accounts *accounts); /* NULL is none. All are closed. */

/* Any thread. For one more session. */
struct account *accounts_open(struct accounts *accounts, const char *initiator, const char *lun);
void accounts_close(struct accounts *accounts, struct account *account); /* NULL is none */

/* Any thread. NULL is none. */
void account_done(struct account *account, enum operation operation, uint64_t bytes);
void account_error(struct account *account);

/* Each one, by initiator and LUN, with the table's lock held. */
void accounts_each(struct accounts *accounts,
                   void (*each)(const struct account *account, void *argument), void *argument);

#endif
