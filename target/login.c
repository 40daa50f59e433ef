// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Logging in: login.h. States: `stage` is that of the last response; the
 * requests of one negotiation are one text, split by the C bit where it is long.
 */
#include "login.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chap.h"
#include "conn.h"
#include "portal.h"

enum stage { STAGE_SECURITY = 0, STAGE_OPERATIONAL = 1, STAGE_FULL_FEATURE = 3 };

enum { /* offsets of Login PDUs */
       LOGIN_VERSION_MIN = 3,
       LOGIN_ISID = 8,
       LOGIN_TSIH = 14,
       LOGIN_STATUS = 36,
};

enum status { /* class and detail: RFC 7143, 11.13.5 */
              STATUS_SUCCESS = 0x0000,
              STATUS_INITIATOR_ERROR = 0x0200,
              STATUS_AUTHENTICATION_FAILURE = 0x0201,
              STATUS_NOT_FOUND = 0x0203,
              STATUS_UNSUPPORTED_VERSION = 0x0205,
              STATUS_TOO_MANY_CONNECTIONS = 0x0206,
              STATUS_MISSING_PARAMETER = 0x0207,
              STATUS_SESSION_DOES_NOT_EXIST = 0x020A,
              STATUS_OUT_OF_RESOURCES = 0x0302,
};

struct login {
    struct conn *conn;
    enum stage stage;
    bool first;    /* no request was answered yet */
    bool declared; /* our MaxRecvDataSegmentLength */
    enum status status;
    uint16_t first_tsih, tsih; /* in requests, in the last response */
    struct chap chap;
    struct text in, out;
};

static void refuse(struct conn *conn, const char *why)
{
    atomic_fetch_add(&conn->target->refused_logins, 1);
    conn_log(conn, 0, "login refused: %s", why);
}

static void fail(struct login *login, enum status status, const char *why)
{
    if (login->status == STATUS_SUCCESS)
        refuse(login->conn, why);
    login->status = status;
}

/* ---- keys ---- */

/* It stands in the log: no byte that could draw there. */
static bool is_name(const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < len; i++)
        if (name[i] <= ' ' || name[i] > '~')
            return false;
    return len > 0 && len < NAME_BYTES;
}

static void initiator_name(struct login *login, const char *value)
{
    if (!is_name(value))
        fail(login, STATUS_INITIATOR_ERROR, "InitiatorName is no iSCSI name");
    else
        snprintf(login->conn->initiator, NAME_BYTES, "%s", value);
}

static void target_name(struct login *login, const char *value)
{
    if (config_named(login->conn->config, value))
        snprintf(login->conn->target_name, NAME_BYTES, "%s", value);
    else
        fail(login, STATUS_NOT_FOUND, "another target's name");
}

static bool has(const char *list, const char *method)
{
    g_auto(GStrv) methods = g_strsplit(list, ",", -1);

    return g_strv_contains((const char *const *)methods, method);
}

static bool auth_method(struct login *login, const char *value)
{
    if (login->chap.state != CHAP_IDLE)
        return false;
    if (has(value, "CHAP") && login->conn->config->users->len > 0) {
        login->chap.state = CHAP_CHOSEN;
        return text_put(&login->out, "AuthMethod", "CHAP");
    }
    if (has(value, "None"))
        return text_put(&login->out, "AuthMethod", "None");
    fail(login, STATUS_AUTHENTICATION_FAILURE,
         "it insists on an AuthMethod; there are CHAP, if there are users, and None");
    return true;
}

static bool take_key(struct login *login, const char *key, const char *value)
{
    if (strcmp(key, "InitiatorName") == 0)
        initiator_name(login, value);
    else if (strcmp(key, "TargetName") == 0)
        target_name(login, value);
    else if (strcmp(key, "SessionType") == 0)
        login->conn->discovery = strcmp(value, "Discovery") == 0;
    else if (strcmp(key, "InitiatorAlias") == 0)
        return true;
    else if (strcmp(key, "AuthMethod") == 0)
        return auth_method(login, value);
    else if (g_str_has_prefix(key, "CHAP_"))
        return chap_take(&login->chap, key, value);
    else
        return text_negotiate(&login->conn->parameters, key, value, &login->out);
    return true;
}

static void take_text(struct login *login)
{
    const char *key, *value;
    size_t offset = 0;
    bool bad = false, room = true;

    while (room && text_next(&login->in, &offset, &key, &value, &bad))
        room = take_key(login, key, value);
    login->in.bytes = 0;
    if (bad || !room)
        fail(login, STATUS_INITIATOR_ERROR,
             "its text is no list of keys, or too long, or says a key twice");
}

/* Until CHAP is done the stage stays, whatever the initiator asks for. */
static void authenticate(struct login *login, uint8_t *bhs)
{
    const struct conn *conn = login->conn;
    const char *wrong = chap_step(&login->chap, conn->config, conn->target_name, &login->out);

    if (wrong)
        fail(login, STATUS_AUTHENTICATION_FAILURE, wrong);
    login->conn->user = login->chap.user;
    if (login->chap.state != CHAP_IDLE && login->chap.state != CHAP_DONE)
        bhs[BHS_FLAGS] &= (uint8_t) ~(PDU_TRANSIT | 3);
}

static void check_names(struct login *login)
{
    const struct conn *conn = login->conn;

    if (!conn->initiator[0])
        fail(login, STATUS_MISSING_PARAMETER, "no InitiatorName");
    else if (!conn->discovery && !conn->target_name[0])
        fail(login, STATUS_MISSING_PARAMETER, "no TargetName");
}

static void add_ours(struct login *login)
{
    char number[16];
    bool room = true;

    if (login->first && !login->conn->discovery)
        room = text_put(&login->out, "TargetPortalGroupTag", "1");
    if (login->stage == STAGE_OPERATIONAL && !login->declared) {
        snprintf(number, sizeof number, "%d", PDU_DATA_MAX);
        room = room && text_put(&login->out, "MaxRecvDataSegmentLength", number);
        login->declared = true;
    }
    if (!room)
        fail(login, STATUS_INITIATOR_ERROR, "too many keys");
}

/* ---- PDUs ---- */

static void check_header(struct login *login, const uint8_t *bhs)
{
    enum stage current = bhs[BHS_FLAGS] >> 2 & 3, next = bhs[BHS_FLAGS] & 3;
    bool transit = bhs[BHS_FLAGS] & PDU_TRANSIT;

    if (bhs[LOGIN_VERSION_MIN] != 0)
        fail(login, STATUS_UNSUPPORTED_VERSION, "an unknown version of iSCSI");
    else if (wire_get16(bhs + LOGIN_TSIH) != login->first_tsih)
        fail(login, STATUS_INITIATOR_ERROR, "it changes its TSIH");
    else if ((!login->first && current != login->stage) ||
             (current != STAGE_SECURITY && current != STAGE_OPERATIONAL) ||
             (transit && (next <= current || next == 2)))
        fail(login, STATUS_INITIATOR_ERROR, "stages out of order");
    else
        login->stage = current;
}

/* A connection for a session that there is already: MaxConnections is 1. */
static void check_tsih(struct login *login)
{
    if (login->first_tsih == 0)
        return;
    if (portal_has_session(login->conn, login->first_tsih))
        fail(login, STATUS_TOO_MANY_CONNECTIONS, "a second connection in a session");
    else
        fail(login, STATUS_SESSION_DOES_NOT_EXIST, "for a session that is not there");
}

static bool respond(struct login *login, const uint8_t *bhs)
{
    struct conn *conn = login->conn;
    bool failed = login->status != STATUS_SUCCESS;
    struct response *r = conn_response(conn, PDU_LOGIN_RESPONSE, wire_get32(bhs + BHS_ITT),
                                       failed ? 0 : (uint32_t)login->out.bytes);

    if (!r)
        return false;
    r->bhs[BHS_FLAGS] = failed ? 0 : bhs[BHS_FLAGS] & (uint8_t)~PDU_CONTINUE;
    memcpy(r->bhs + LOGIN_ISID, bhs + LOGIN_ISID, sizeof conn->isid);
    wire_put16(r->bhs + LOGIN_TSIH, login->tsih);
    wire_put16(r->bhs + LOGIN_STATUS, (uint16_t)login->status);
    if (!failed)
        memcpy((void *)r->data, login->out.data, login->out.bytes);
    login->out.bytes = 0;
    conn_send(conn, r);
    return !failed;
}

/* Since it came in there may have been a reload, which looks at sessions only. */
static bool is_still_welcome(const struct conn *conn)
{
    struct config *config = target_config(conn->target);
    bool welcome = conn_is_welcome(conn, config);

    config_unref(config);
    return welcome;
}

static void enter_full_feature(struct login *login)
{
    struct conn *conn = login->conn;

    text_settle(&conn->parameters);
    if (!portal_logged_in(conn)) {
        fail(login, STATUS_OUT_OF_RESOURCES, "the session that it takes the place of does not end");
        return;
    }
    if (!is_still_welcome(conn)) {
        fail(login, STATUS_AUTHENTICATION_FAILURE, "its target or its user is not there any more");
        return;
    }
    sender_set_limits(&conn->sender, conn->parameters.initiator_data_bytes_max,
                      conn->parameters.max_burst);
    login->tsih = conn->tsih;
    conn_log(conn, 0, conn->discovery ? "discovery session begins" : "session begins");
}

static bool read_request(struct login *login, uint8_t bhs[PDU_BHS_BYTES])
{
    struct conn *conn = login->conn;
    uint32_t bytes;

    if (!conn_read_header(conn, bhs))
        return false;
    bytes = wire_get24(bhs + BHS_DATA_LENGTH);
    if ((bhs[BHS_OPCODE] & PDU_OPCODE_MASK) != PDU_LOGIN)
        return conn_protocol_error(conn, "it begins with something else than a login");
    if (bytes > sizeof login->in.data - login->in.bytes)
        return conn_protocol_error(conn, "a login of too many bytes");
    if (!conn_read_segment(conn, login->in.data + login->in.bytes, bytes, NULL))
        return false;
    login->in.bytes += bytes;
    return true;
}

static bool is_last(const uint8_t *bhs)
{
    return (bhs[BHS_FLAGS] & PDU_TRANSIT) && (bhs[BHS_FLAGS] & 3) == STAGE_FULL_FEATURE;
}

/* One request and its response. False: the connection ends. */
static bool step(struct login *login, bool *finished)
{
    uint8_t bhs[PDU_BHS_BYTES];

    if (!read_request(login, bhs))
        return false;
    if (login->first) {
        sender_set_numbers(&login->conn->sender, wire_get32(bhs + BHS_CMD_SN),
                           login->conn->config->window);
        memcpy(login->conn->isid, bhs + LOGIN_ISID, sizeof login->conn->isid);
        login->conn->cid = wire_get16(bhs + BHS_CID);
        login->first_tsih = wire_get16(bhs + LOGIN_TSIH);
    }
    check_header(login, bhs);
    if (bhs[BHS_FLAGS] & PDU_CONTINUE) {
        bhs[BHS_FLAGS] &= (uint8_t)~PDU_TRANSIT;
        return respond(login, bhs);
    }
    take_text(login);
    if (login->status == STATUS_SUCCESS)
        authenticate(login, bhs);
    if (login->status == STATUS_SUCCESS)
        check_names(login);
    if (login->status == STATUS_SUCCESS)
        check_tsih(login);
    add_ours(login);
    if (login->status == STATUS_SUCCESS && is_last(bhs))
        enter_full_feature(login);
    login->first = false;
    *finished = is_last(bhs);
    if (!respond(login, bhs))
        return false;
    if (bhs[BHS_FLAGS] & PDU_TRANSIT)
        login->stage = bhs[BHS_FLAGS] & 3;
    return true;
}

bool login_run(struct conn *conn)
{
    struct login *login = calloc(1, sizeof *login);
    bool ok = login != NULL, finished = false;

    if (!login)
        return false;
    login->conn = conn;
    login->first = true;
    while (ok && !finished)
        ok = step(login, &finished);
    if (ok) { /* the last response went without */
        conn->header_digest = conn->parameters.header_digest;
        conn->data_digest = conn->parameters.data_digest;
        sender_set_digests(&conn->sender, conn->header_digest, conn->data_digest);
    }
    chap_clear(&login->chap);
    free(login);
    return ok;
}
