// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reports for Prometheus: report.h. One family after the other, as the format wants it. */
#include <inttypes.h>

#include "report.h"

struct family {
    GString *out;
    const char *name;
};

static void begin(struct family *family, const char *name, const char *type, const char *help)
{
    family->name = name;
    g_string_append_printf(family->out, "# HELP encsan_target_%s %s\n# TYPE encsan_target_%s %s\n",
                           name, help, name, type);
}

static void put(struct family *family, uint64_t value)
{
    g_string_append_printf(family->out, "encsan_target_%s %" PRIu64 "\n", family->name, value);
}

/* A label's value: names come from initiators, too. */
static void put_label(GString *out, const char *name, const char *value)
{
    g_string_append_printf(out, "%s=\"", name);
    for (const char *p = value; *p; p++) {
        if (*p == '\n')
            g_string_append(out, "\\n");
        else if (*p == '\\' || *p == '"')
            g_string_append_printf(out, "\\%c", *p);
        else
            g_string_append_c(out, *p);
    }
    g_string_append_c(out, '"');
}

/* Of three labels; the last ones may be NULL. */
static void put_labelled(struct family *family, const char *const labels[3],
                         const char *const values[3], uint64_t value)
{
    g_string_append_printf(family->out, "encsan_target_%s{", family->name);
    for (unsigned i = 0; i < 3 && labels[i]; i++) {
        if (i)
            g_string_append_c(family->out, ',');
        put_label(family->out, labels[i], values[i]);
    }
    g_string_append_printf(family->out, "} %" PRIu64 "\n", value);
}

/* ---- of initiators ---- */

static const char *const operations[OPERATIONS] = {
    [OPERATION_READ] = "read",
    [OPERATION_WRITE] = "write",
    [OPERATION_OTHER] = "other",
};
static const char *const account_labels[3] = {"initiator", "lun"};
static const char *const operation_labels[3] = {"initiator", "lun", "operation"};

static void put_sessions(const struct account *account, void *argument)
{
    const char *const values[3] = {account->initiator, account->lun};

    put_labelled(argument, account_labels, values, account->sessions);
}

static void put_errors(const struct account *account, void *argument)
{
    const char *const values[3] = {account->initiator, account->lun};

    put_labelled(argument, account_labels, values, account->errors);
}

static void put_commands(const struct account *account, void *argument)
{
    for (unsigned i = 0; i < OPERATIONS; i++) {
        const char *const values[3] = {account->initiator, account->lun, operations[i]};

        put_labelled(argument, operation_labels, values, account->done[i].commands);
    }
}

static void put_bytes(const struct account *account, void *argument)
{
    for (unsigned i = 0; i < OPERATION_OTHER; i++) {
        const char *const values[3] = {account->initiator, account->lun, operations[i]};

        put_labelled(argument, operation_labels, values, account->done[i].bytes);
    }
}

static void put_accounts(struct family *family, struct accounts *accounts)
{
    begin(family, "initiator_sessions", "gauge", "Sessions of an initiator that use a LUN.");
    accounts_each(accounts, put_sessions, family);
    begin(family, "commands_total", "counter", "SCSI commands that succeeded.");
    accounts_each(accounts, put_commands, family);
    begin(family, "bytes_total", "counter", "Data of these commands on the line.");
    accounts_each(accounts, put_bytes, family);
    begin(family, "errors_total", "counter", "SCSI commands that failed.");
    accounts_each(accounts, put_errors, family);
}

/* ---- of LUNs ---- */

static void put_sizes(struct family *family, const GPtrArray *luns)
{
    static const char *const labels[3] = {"lun", "access"};

    begin(family, "lun_size_bytes", "gauge", "The size of a LUN.");
    for (unsigned i = 0; i < luns->len; i++) {
        const struct lun *lun = luns->pdata[i];
        const char *const values[3] = {lun->label, lun->sealed ? "sealed" : "plain"};

        put_labelled(family, labels, values, lun->blocks * lun->block_bytes);
    }
}

static void put_upstream(struct family *family, struct target *target, const GPtrArray *luns,
                         uint64_t (*value)(const struct backend_report *))
{
    static const char *const labels[3] = {"lun"};

    for (unsigned i = 0; i < luns->len; i++) {
        struct lun *lun = luns->pdata[i];
        struct backend_report disk;

        if (target_report_disk(target, lun, &disk))
            put_labelled(family, labels, (const char *const[3]){lun->label}, value(&disk));
    }
}

static uint64_t upstream_sessions(const struct backend_report *disk)
{
    return disk->sessions;
}

static uint64_t upstream_reconnects(const struct backend_report *disk)
{
    return disk->reconnects;
}

static void put_upstreams(struct family *family, struct target *target, const GPtrArray *luns)
{
    begin(family, "upstream_sessions", "gauge",
          "Sessions with the target that has the disk of a LUN; 0: it is away.");
    put_upstream(family, target, luns, upstream_sessions);
    begin(family, "upstream_reconnects_total", "counter",
          "How often these were opened again, after a loss or a reset.");
    put_upstream(family, target, luns, upstream_reconnects);
}

/* Of a LUN that is free there is none. */
static void put_holders(struct family *family, struct target *target, const GPtrArray *luns)
{
    static const char *const labels[3] = {"lun", "initiator"};

    begin(family, "lun_holder_sessions", "gauge", "Sessions of who holds a sealed LUN.");
    for (unsigned i = 0; i < luns->len; i++) {
        const struct lun *lun = luns->pdata[i];
        struct lease_report report = {0};
        g_autofree char *initiator = NULL;

        if (lun->lease)
            report = lease_report(lun->lease);
        if (!report.held)
            continue;
        initiator = target_initiator(target, report.who.key);
        put_labelled(family, labels, (const char *const[3]){lun->label, initiator},
                     report.sessions);
    }
}

/* ---- all ---- */

static void count(struct conn *conn, void *argument)
{
    ++*(uint64_t *)argument;
}

void report_metrics(struct target *target, struct portal *portal, GString *out)
{
    g_autoptr(GPtrArray) luns = target_all_luns(target);
    struct memory_report memory = memory_report(target->memory);
    struct family family = {.out = out};
    uint64_t sessions = 0;

    portal_each(portal, count, &sessions);
    begin(&family, "start_time_seconds", "gauge", "When it was started, in Unix time.");
    put(&family, (uint64_t)target->since);
    begin(&family, "sessions", "gauge", "Sessions that have logged in.");
    put(&family, sessions);
    begin(&family, "refused_logins_total", "counter", "Logins that were refused.");
    put(&family, target->refused_logins);
    begin(&family, "security_events_total", "counter",
          "What did not authenticate, came twice, or was against the protocol.");
    put(&family, target->security_events);
    begin(&family, "memory_bytes", "gauge", "Memory for the data of all sessions, in use.");
    put(&family, memory.held);
    begin(&family, "memory_limit_bytes", "gauge", "The most that may be.");
    put(&family, memory.limit);
    put_sizes(&family, luns);
    put_upstreams(&family, target, luns);
    put_holders(&family, target, luns);
    put_accounts(&family, target->accounts);
}
