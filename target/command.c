// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Full feature phase: one PDU after another, and the data that commands bring.
 * All of it runs in the connection's reader.
 */
#include <string.h>

#include "conn.h"
#include "text.h"

#define COMMAND_READ 0x40
#define COMMAND_WRITE 0x20

static int skip_data(struct conn *conn, uint32_t len)
{
    uint8_t buf[4096];

    for (len += -len & 3u; len > 0;) {
        uint32_t n = len < sizeof buf ? len : sizeof buf;

        if (pdu_read_data(conn, buf, n) != 0)
            return -1;
        len -= n;
    }
    return 0;
}

static void answer(struct task *t, uint8_t opcode)
{
    memset(t->response, 0, sizeof t->response);
    t->response[0] = opcode;
    t->response[1] = ISCSI_FINAL;
    memcpy(t->response + 16, t->bhs + 16, 4);
}

/* RFC 7143 11.17: the header that we don't take comes back. */
static int reject(struct conn *conn, const uint8_t *bhs, uint8_t reason)
{
    struct task *t = task_new(conn, bhs);

    if (!t || task_reserve(t, BHS_BYTES) != 0)
        return -1;
    answer(t, ISCSI_REJECT);
    t->response[2] = reason;
    wire_put32(t->response + 16, ISCSI_NO_TAG);
    memcpy(t->data, bhs, BHS_BYTES);
    t->in_len = BHS_BYTES;
    task_respond(t);
    return 0;
}

/* CmdSN, RFC 7143 4.2.2.1. 1: in turn, 0: to be ignored, -1: the stream is broken */
static int take_cmd_sn(struct conn *conn, const uint8_t *bhs)
{
    uint32_t cmd_sn = wire_get32(bhs + 24);
    bool inside;

    if (bhs[0] & ISCSI_IMMEDIATE)
        return 1;
    pthread_mutex_lock(&conn->lock);
    inside = (int32_t)(conn->max_cmd_sn - cmd_sn) >= 0 && (int32_t)(cmd_sn - conn->exp_cmd_sn) >= 0;
    if (inside && cmd_sn == conn->exp_cmd_sn)
        conn->shown_cmd_sn = ++conn->exp_cmd_sn;
    pthread_mutex_unlock(&conn->lock);
    if (!inside)
        return 0;
    if (cmd_sn + 1 != conn->exp_cmd_sn) {
        conn_log(conn, "CmdSN %u where %u should be: closed", cmd_sn, conn->exp_cmd_sn);
        return -1;
    }
    return 1;
}

/* ---- data out ---- */

/* Asks for the next burst, RFC 7143 11.8. */
static int send_r2t(struct task *t)
{
    struct task *r = task_new(t->conn, t->bhs);
    uint32_t left = t->out_len - t->received;
    uint32_t max = t->conn->max_burst;

    if (!r)
        return -1;
    answer(r, ISCSI_R2T);
    memcpy(r->response + 8, t->bhs + 8, 8); /* LUN */
    wire_put32(r->response + 20, wire_get32(t->bhs + 16)); /* Target Transfer Tag */
    wire_put32(r->response + 36, t->r2t_sn++);
    wire_put32(r->response + 40, t->received);
    wire_put32(r->response + 44, left < max ? left : max);
    task_respond(r);
    return 0;
}

static struct task **find_pending(struct conn *conn, uint32_t tag)
{
    struct task **at = &conn->pending;

    while (*at && wire_get32((*at)->bhs + 16) != tag)
        at = &(*at)->next;
    return at;
}

/* A sequence of data has ended: all here, or the next burst is asked for. */
static int sequence_ended(struct task *t)
{
    struct task **at = find_pending(t->conn, wire_get32(t->bhs + 16));

    if (t->received < t->out_len)
        return send_r2t(t);
    if (*at == t)
        *at = t->next;
    scsi_execute(t);
    return 0;
}

static int data_out(struct conn *conn, const uint8_t *bhs, uint32_t data_len)
{
    struct task *t = *find_pending(conn, wire_get32(bhs + 16));

    if (!t) /* of an aborted or refused one */
        return skip_data(conn, data_len);
    if (wire_get32(bhs + 40) != t->received || data_len > t->out_len - t->received) {
        conn_log(conn, "Data-Out that does not fit its command: closed");
        return -1;
    }
    if (pdu_read_data(conn, t->data + t->received, data_len) != 0)
        return -1;
    t->received += data_len;
    return bhs[1] & ISCSI_FINAL ? sequence_ended(t) : 0;
}

/* ---- commands ---- */

/* How much data out we take into memory: what is more, no command of ours uses. */
static uint32_t wanted_out(const uint8_t *bhs)
{
    return bhs[1] & COMMAND_WRITE ? wire_get32(bhs + 20) : 0;
}

static int scsi_command(struct conn *conn, const uint8_t *bhs, uint32_t data_len)
{
    struct task *t = task_new(conn, bhs);
    uint32_t out = wanted_out(bhs);

    if (!t) {
        conn_log(conn, "more commands than its window allows: closed");
        return -1;
    }
    t->ends_here = !(bhs[0] & ISCSI_IMMEDIATE);
    t->lun = target_lun(conn->target, (uint64_t)(wire_get16(bhs + 8) & 0x3fff));
    t->expected = wire_get32(bhs + 20);
    if (out > SCSI_DATA_OUT_MAX || data_len > out) {
        if (skip_data(conn, data_len) != 0)
            return -1;
        task_sense(t, SENSE_INVALID_FIELD);
        return 0;
    }
    t->out_len = out;
    if (task_reserve(t, out) != 0 || pdu_read_data(conn, t->data, data_len) != 0) {
        task_free(t);
        return -1;
    }
    t->received = data_len;
    if (t->received == out) {
        scsi_execute(t);
        return 0;
    }
    t->next = conn->pending;
    conn->pending = t;
    return bhs[1] & ISCSI_FINAL ? sequence_ended(t) : 0; /* else unsolicited data follows */
}

static int nop_out(struct conn *conn, const uint8_t *bhs, uint32_t data_len)
{
    struct task *t;

    if (wire_get32(bhs + 16) == ISCSI_NO_TAG)
        return skip_data(conn, data_len);
    t = task_new(conn, bhs);
    if (!t || task_reserve(t, data_len) != 0 || pdu_read_data(conn, t->data, data_len) != 0) {
        if (t)
            task_free(t);
        return -1;
    }
    t->ends_here = !(bhs[0] & ISCSI_IMMEDIATE);
    answer(t, ISCSI_NOP_IN);
    wire_put32(t->response + 20, ISCSI_NO_TAG);
    t->in_len = data_len < conn->max_send ? data_len : conn->max_send;
    task_respond(t);
    return 0;
}

static int text(struct conn *conn, const uint8_t *bhs, uint32_t data_len)
{
    g_autofree struct text *out = g_new0(struct text, 1);
    g_autofree char *in = g_malloc0(data_len + 1);
    struct task *t;
    const char *value;

    if (pdu_read_data(conn, (uint8_t *)in, data_len) != 0)
        return -1;
    if (data_len > TEXT_MAX)
        return reject(conn, bhs, 0x09); /* invalid PDU field */
    value = text_find(in, data_len, "SendTargets");
    if (value)
        text_send_targets(conn, value, out);
    t = task_new(conn, bhs);
    if (!t || task_reserve(t, out->len) != 0)
        return -1;
    t->ends_here = !(bhs[0] & ISCSI_IMMEDIATE);
    answer(t, ISCSI_TEXT_RESPONSE);
    wire_put32(t->response + 20, ISCSI_NO_TAG);
    memcpy(t->data, out->data, out->len);
    t->in_len = out->len;
    task_respond(t);
    return 0;
}

/* RFC 7143 11.6. Tasks are executed at once and in full: one that is named has
 * ended, or ends by itself before this answer matters. Resets are not given. */
static int task_management(struct conn *conn, const uint8_t *bhs)
{
    enum { ABORT_TASK = 1, ABORT_TASK_SET = 2, CLEAR_TASK_SET = 4 };
    uint8_t function = bhs[1] & 0x7f;
    struct task *t = task_new(conn, bhs);

    if (!t)
        return -1;
    t->ends_here = !(bhs[0] & ISCSI_IMMEDIATE);
    answer(t, ISCSI_TASK_MANAGEMENT_RESPONSE);
    if (function == ABORT_TASK)
        t->response[2] = 1; /* task does not exist */
    else if (function != ABORT_TASK_SET && function != CLEAR_TASK_SET)
        t->response[2] = 5; /* not supported */
    task_respond(t);
    return 0;
}

static int logout(struct conn *conn, const uint8_t *bhs)
{
    struct task *t = task_new(conn, bhs);

    if (!t)
        return -1;
    answer(t, ISCSI_LOGOUT_RESPONSE);
    t->last_of_connection = true;
    task_respond(t);
    return 0; /* the initiator closes, or our end of the socket is shut when the answer has left */
}

int command_pdu(struct conn *conn, uint8_t bhs[BHS_BYTES], uint32_t data_len)
{
    uint8_t opcode = bhs[0] & 0x3f;
    int turn;

    if (opcode == ISCSI_DATA_OUT)
        return data_out(conn, bhs, data_len);
    turn = take_cmd_sn(conn, bhs);
    if (turn <= 0)
        return turn < 0 ? -1 : skip_data(conn, data_len);
    switch (opcode) {
    case ISCSI_SCSI_COMMAND:
        if (conn->discovery)
            break;
        return scsi_command(conn, bhs, data_len);
    case ISCSI_NOP_OUT:
        return nop_out(conn, bhs, data_len);
    case ISCSI_TEXT:
        return text(conn, bhs, data_len);
    case ISCSI_TASK_MANAGEMENT:
        return skip_data(conn, data_len) != 0 ? -1 : task_management(conn, bhs);
    case ISCSI_LOGOUT:
        return skip_data(conn, data_len) != 0 ? -1 : logout(conn, bhs);
    default:
        break;
    }
    conn_log(conn, "a PDU with opcode %02Xh, which has no place here", opcode);
    return skip_data(conn, data_len) != 0 ? -1 : reject(conn, bhs, 0x05); /* command not supported */
}
