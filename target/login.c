// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The login phase, RFC 7143 sections 6.3 and 11.12, 11.13. Who may use a sealed
 * LUN is settled by its handshake; iSCSI's own authentication is not offered.
 */
#include <string.h>

#include "conn.h"
#include "text.h"

#define STAGE_SECURITY 0
#define STAGE_OPERATIONAL 1
#define STAGE_FULL_FEATURE 3

/* Status-Class << 8 | Status-Detail, 11.13.5 */
#define LOGIN_INITIATOR_ERROR 0x0200
#define LOGIN_AUTHENTICATION 0x0201
#define LOGIN_NOT_FOUND 0x0203
#define LOGIN_VERSION 0x0205
#define LOGIN_MISSING 0x0207
#define LOGIN_NO_RESOURCES 0x0302

struct login { /* what the PDUs of one login share */
    struct conn *conn;
    char text[TEXT_MAX + 1]; /* of the initiator, over PDUs with the C bit */
    uint32_t len;
    bool named; /* InitiatorName and so on have been seen */
    bool said_group;
};

static int reply(struct login *l, const uint8_t *bhs, uint8_t flags, uint16_t status,
                 struct text *answer)
{
    struct task *t = task_new(l->conn, bhs);

    if (!t || task_reserve(t, answer->len) != 0)
        return -1;
    memset(t->response, 0, sizeof t->response);
    t->response[0] = ISCSI_LOGIN_RESPONSE;
    t->response[1] = flags;
    memcpy(t->response + 8, bhs + 8, 6); /* ISID */
    if ((flags & 3) == STAGE_FULL_FEATURE && flags & ISCSI_FINAL)
        wire_put16(t->response + 14, 1); /* TSIH: one connection a session */
    memcpy(t->response + 16, bhs + 16, 4);
    wire_put16(t->response + 36, status);
    memcpy(t->data, answer->data, answer->len);
    t->in_len = answer->len;
    t->last_of_connection = status != 0;
    task_respond(t);
    return status == 0 ? 0 : -1;
}

static int refuse(struct login *l, const uint8_t *bhs, uint16_t status, const char *why)
{
    struct text none = {.len = 0};

    conn_log(l->conn, "login refused: %s", why);
    return reply(l, bhs, 0, status, &none);
}

/* -1: refused. The names come with the first PDU. */
static int take_names(struct login *l, const uint8_t *bhs)
{
    const char *initiator = text_find(l->text, l->len, "InitiatorName");
    const char *type = text_find(l->text, l->len, "SessionType");
    const char *target = text_find(l->text, l->len, "TargetName");

    if (!initiator || !*initiator || strlen(initiator) >= sizeof l->conn->initiator)
        return refuse(l, bhs, LOGIN_MISSING, "no InitiatorName");
    for (const char *p = initiator; *p; p++)
        if (!g_ascii_isgraph(*p))
            return refuse(l, bhs, LOGIN_INITIATOR_ERROR, "an InitiatorName with other than printable characters");
    strcpy(l->conn->initiator, initiator);
    l->conn->discovery = type && strcmp(type, "Discovery") == 0;
    if (!l->conn->discovery && !target)
        return refuse(l, bhs, LOGIN_MISSING, "no TargetName");
    if (target && strcmp(target, l->conn->target->name) != 0)
        return refuse(l, bhs, LOGIN_NOT_FOUND, "there is no target of that name");
    l->named = true;
    return 0;
}

static int check_header(struct login *l, const uint8_t *bhs)
{
    if ((bhs[0] & 0x3f) != ISCSI_LOGIN) {
        conn_log(l->conn, "something else than a login: closed");
        return -1;
    }
    if (bhs[3] != 0)
        return refuse(l, bhs, LOGIN_VERSION, "a version of iSCSI that is not 0");
    if (wire_get16(bhs + 14) != 0)
        return refuse(l, bhs, LOGIN_NO_RESOURCES, "a second connection for a session");
    return 0;
}

/* One whole text is here: answers it. Returns the flags of the response, -1: refused. */
static int answer_stage(struct login *l, const uint8_t *bhs, struct text *answer)
{
    unsigned current = bhs[1] >> 2 & 3, next = bhs[1] & 3;
    bool transit = bhs[1] & ISCSI_FINAL;
    const char *method;

    if (!l->named && take_names(l, bhs) != 0)
        return -1;
    if (current > STAGE_OPERATIONAL || (transit && (next <= current || next == 2)))
        return refuse(l, bhs, LOGIN_INITIATOR_ERROR, "a stage that does not follow");
    method = text_find(l->text, l->len, "AuthMethod");
    if (method) {
        g_auto(GStrv) methods = g_strsplit(method, ",", -1);

        if (!g_strv_contains((const char *const *)methods, "None"))
            return refuse(l, bhs, LOGIN_AUTHENTICATION, "no AuthMethod but CHAP is offered; None is needed");
        text_add(answer, "AuthMethod", "None");
    }
    if (!l->conn->discovery && !l->said_group)
        text_add(answer, "TargetPortalGroupTag", "1");
    l->said_group = true;
    if (text_negotiate(l->conn, l->text, l->len, answer) != 0)
        return refuse(l, bhs, LOGIN_INITIATOR_ERROR, "a text key with a value that can't be");
    l->len = 0;
    return (int)((transit ? ISCSI_FINAL : 0) | current << 2 | (transit ? next : 0));
}

static int login_pdu(struct login *l, const uint8_t *bhs, uint32_t data_len)
{
    struct text answer = {.len = 0};
    int flags;

    if (check_header(l, bhs) != 0)
        return -1;
    if (l->len + data_len > TEXT_MAX)
        return refuse(l, bhs, LOGIN_INITIATOR_ERROR, "more text than anybody needs");
    if (pdu_read_data(l->conn, (uint8_t *)l->text + l->len, data_len) != 0)
        return -1;
    l->len += data_len;
    l->text[l->len] = 0;
    if (bhs[1] & 0x40) /* C: the text goes on */
        return reply(l, bhs, bhs[1] & 0x0c, 0, &answer);
    flags = answer_stage(l, bhs, &answer);
    if (flags < 0 || reply(l, bhs, (uint8_t)flags, 0, &answer) != 0)
        return -1;
    return flags & ISCSI_FINAL && (flags & 3) == STAGE_FULL_FEATURE;
}

int login(struct conn *conn, uint8_t bhs[BHS_BYTES])
{
    g_autofree struct login *l = g_new0(struct login, 1);
    uint32_t data_len;
    bool first = true;
    int result;

    l->conn = conn;
    conn->immediate_data = true; /* the defaults of RFC 7143, section 13 */
    conn->initial_r2t = true;
    conn->first_burst = 65536;
    conn->max_burst = 262144;
    do {
        if (pdu_read_header(conn, bhs, &data_len) != 0)
            return -1;
        if (first) {
            conn->exp_cmd_sn = wire_get32(bhs + 24);
            conn->shown_cmd_sn = conn->exp_cmd_sn;
            conn->max_cmd_sn = conn->exp_cmd_sn + COMMAND_WINDOW - 1;
            conn->stat_sn = wire_get32(bhs + 28);
        }
        first = false;
        result = login_pdu(l, bhs, data_len);
    } while (result == 0);
    conn->login_deadline_us = 0;
    return result < 0 ? -1 : 0;
}
