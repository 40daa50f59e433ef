// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What one session has with one LUN, SAM's I_T_L nexus: made by its first
 * command there, gone when the session ends. The reader's alone, but what
 * others are shown of it (unit.h) and SAs that tasks have.
 */
#ifndef TARGET_NEXUSES_H
#define TARGET_NEXUSES_H

#include "accounts.h"
#include "association.h"
#include "unit.h"

struct conn;
struct lun;

struct nexus {
    struct account *account;    /* NULL: of a sealed LUN, and no key was shown yet */
    struct lun *lun;            /* a reference */
    struct itl_nexus itl;       /* of a plain LUN: unit.c */
    struct associations sealed; /* of a sealed one: association.c */
    bool plain_refused;         /* and logged */
};

/* The connection's with the LUN that has this number now. False: out of
 * memory. *nexus NULL: there is no such LUN for it. */
bool nexus_find(struct conn *conn, unsigned number, struct nexus **nexus);
/* The connection's with a LUN of which it has a task. */
struct nexus *nexus_of(const struct conn *conn, const struct lun *lun);

/* It is this initiator's, which it has just shown to be. */
void nexus_identify(struct conn *conn, struct nexus *nexus, const char *initiator);

void nexus_end_session(struct conn *conn); /* no command comes any more; twice is once */
void nexus_release_all(struct conn *conn); /* no command is left */

#endif
