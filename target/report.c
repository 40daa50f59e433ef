// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reports for people: report.h. */
#include "report.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "conn.h"

/* ---- words ---- */

static void put_time(GString *out, time_t when)
{
    char text[32];
    struct tm tm;

    if (localtime_r(&when, &tm) && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm) > 0)
        g_string_append(out, text);
}

/* As encsan status has it. */
static void put_bytes(GString *out, uint64_t bytes)
{
    g_string_append_printf(out, "%10.1f MiB", (double)bytes / (1 << 20));
}

/* ---- parts ---- */

static void put_head(struct target *target, GString *out)
{
    struct memory_report memory = memory_report(target->memory);

    g_string_append_printf(out, "encsan-target %s, process %d, since ", ENCSAN_VERSION, getpid());
    put_time(out, target->since);
    g_string_append_printf(out,
                           "\n%" PRIu64 " logins refused, %" PRIu64
                           " security events, %zu of %zu MiB of memory in use\n",
                           (uint64_t)target->refused_logins, (uint64_t)target->security_events,
                           memory.held >> 20, memory.limit >> 20);
}

static void put_lease(struct target *target, struct lease *lease, GString *out)
{
    struct lease_report report = lease_report(lease);
    g_autofree char *initiator = target_initiator(target, report.who.key);

    if (!report.held && !report.shared) {
        g_string_append(out, "free");
        return;
    }
    g_string_append_printf(out, "%s by %s at %.64s since ", report.held ? "held" : "read",
                           initiator, report.who.address);
    put_time(out, (time_t)report.who.since);
    if (report.sessions == 0)
        g_string_append(out, ", who is not connected");
}

static void put_disk(const struct backend_report *disk, GString *out)
{
    if (disk->there)
        g_string_append_printf(out, "; its target is there, %u sessions", disk->sessions);
    else
        g_string_append_printf(out, "; its target is away, for %" PRIu64 " s",
                               disk->away_us / 1000000);
    g_string_append_printf(out, ", %" PRIu64 " reconnects%s%s", disk->reconnects,
                           disk->why[0] ? ", last: " : "", disk->why);
}

static void put_luns(struct target *target, GString *out)
{
    g_autoptr(GPtrArray) luns = target_all_luns(target);

    g_string_append(out, "\nLUNs\n");
    for (unsigned i = 0; i < luns->len; i++) {
        struct lun *lun = luns->pdata[i];
        struct backend_report disk;
        bool may_be_away = target_report_disk(target, lun, &disk);

        g_string_append_printf(out, "  %-10s ", lun->label);
        put_bytes(out, lun->blocks * lun->block_bytes);
        g_string_append_printf(out, "  %s, ", lun->path);
        if (lun->lease)
            put_lease(target, lun->lease, out);
        else
            g_string_append(out, unit_is_protected(lun->unit) ? "plain, write-protected" : "plain");
        if (may_be_away)
            put_disk(&disk, out);
        g_string_append_c(out, '\n');
    }
}

static void put_session(struct conn *conn, void *argument)
{
    GString *out = argument;

    g_string_append_printf(out, "  %s at %s%s%s, session ", conn->initiator, conn->address,
                           conn->user ? ", user " : "", conn->user ? conn->user->name : "");
    for (size_t i = 0; i < sizeof conn->isid; i++)
        g_string_append_printf(out, "%02x", conn->isid[i]);
    g_string_append_printf(out, "/%u%s, since ", conn->tsih, conn->discovery ? ", discovery" : "");
    put_time(out, conn->since);
    g_string_append_c(out, '\n');
}

static void put_account(const struct account *account, void *argument)
{
    GString *out = argument;

    g_string_append_printf(out, "  %-20s LUN %-6s read ", account->initiator, account->lun);
    put_bytes(out, account->done[OPERATION_READ].bytes);
    g_string_append_printf(out, " in %" PRIu64 ", written ",
                           (uint64_t)account->done[OPERATION_READ].commands);
    put_bytes(out, account->done[OPERATION_WRITE].bytes);
    g_string_append_printf(out, " in %" PRIu64 ", %" PRIu64 " errors, %u session%s\n",
                           (uint64_t)account->done[OPERATION_WRITE].commands,
                           (uint64_t)account->errors, account->sessions,
                           account->sessions == 1 ? "" : "s");
}

void report_status(struct target *target, struct portal *portal, GString *out)
{
    put_head(target, out);
    put_luns(target, out);
    g_string_append(out, "\nInitiators\n");
    accounts_each(target->accounts, put_account, out);
    g_string_append(out, "\nSessions\n");
    portal_each(portal, put_session, out);
}
