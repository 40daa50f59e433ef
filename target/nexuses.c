// SPDX-License-Identifier: LGPL-2.1-or-later
/* A session's nexuses: nexuses.h. */
#include "nexuses.h"

#include <stdlib.h>

#include "conn.h"

/* In a table by the LUN's index. */
static bool make_room(struct conn *conn, unsigned index)
{
    unsigned count = index + 1;
    struct nexus **nexuses;

    if (count <= conn->nexus_count)
        return true;
    nexuses = realloc(conn->nexuses, count * sizeof(struct nexus *));
    if (!nexuses)
        return false;
    for (unsigned i = conn->nexus_count; i < count; i++)
        nexuses[i] = NULL;
    conn->nexuses = nexuses;
    conn->nexus_count = count;
    return true;
}

/* Of a session that shows several keys it is the first one's. */
void nexus_identify(struct conn *conn, struct nexus *nexus, const char *initiator)
{
    if (!nexus->account)
        nexus->account = accounts_open(conn->target->accounts, initiator, nexus->lun->label);
}

static struct nexus *make(struct conn *conn, struct lun *lun)
{
    struct nexus *nexus = make_room(conn, lun->index) ? calloc(1, sizeof *nexus) : NULL;

    if (!nexus)
        return NULL;
    nexus->lun = lun_ref(lun);
    if (lun->unit) {
        unit_start_session(lun->unit, &nexus->itl, conn);
        nexus_identify(conn, nexus, conn->user ? conn->user->name : conn->initiator);
    }
    conn->nexuses[lun->index] = nexus;
    return nexus;
}

struct nexus *nexus_of(const struct conn *conn, const struct lun *lun)
{
    return lun->index < conn->nexus_count ? conn->nexuses[lun->index] : NULL;
}

bool nexus_find(struct conn *conn, unsigned number, struct nexus **nexus)
{
    struct lun *lun = target_find_lun(conn->target, conn->target_name, number, conn->user);

    *nexus = NULL;
    if (!lun)
        return true;
    *nexus = nexus_of(conn, lun);
    if (!*nexus)
        *nexus = make(conn, lun);
    lun_unref(lun);
    return *nexus != NULL;
}

void nexus_end_session(struct conn *conn)
{
    for (unsigned i = 0; i < conn->nexus_count; i++) {
        struct nexus *nexus = conn->nexuses[i];

        if (nexus && nexus->lun->lease)
            lease_end_session(nexus->lun->lease, conn);
        else if (nexus)
            unit_end_session(&nexus->itl);
    }
}

void nexus_release_all(struct conn *conn)
{
    nexus_end_session(conn);
    for (unsigned i = 0; i < conn->nexus_count; i++) {
        struct nexus *nexus = conn->nexuses[i];

        if (!nexus)
            continue;
        if (nexus->lun->unit)
            unit_release(&nexus->itl);
        association_release_all(&nexus->sealed);
        accounts_close(conn->target->accounts, nexus->account);
        lun_unref(nexus->lun);
        free(nexus);
    }
    free(conn->nexuses);
    conn->nexuses = NULL;
    conn->nexus_count = 0;
}
