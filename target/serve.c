// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Full feature phase: serve.h. Everything but SCSI commands and their data is
 * answered here, in the reader. ErrorRecoveryLevel is 0: whatever is against
 * the protocol ends the connection.
 */
#include "serve.h"

#include <stdio.h>
#include <string.h>

#include "association.h"
#include "conn.h"
#include "transfer.h"
#include "unit.h"

static struct response *answer_to(struct conn *conn, const uint8_t *bhs, uint8_t opcode,
                                  uint32_t data_bytes)
{
    return conn_response(conn, opcode, wire_get32(bhs + BHS_ITT), data_bytes);
}

static bool out_of_memory(struct conn *conn)
{
    return conn_protocol_error(conn, "out of memory");
}

/* ---- Reject, NOP-Out ---- */

static bool reject(struct conn *conn, const uint8_t *bhs, uint32_t data_bytes,
                   enum pdu_reject reason)
{
    struct response *r = conn_response(conn, PDU_REJECT, PDU_NO_TAG, PDU_BHS_BYTES);

    if (!r)
        return out_of_memory(conn);
    r->bhs[BHS_RESPONSE] = (uint8_t)reason;
    memcpy((void *)r->data, bhs, PDU_BHS_BYTES);
    conn_send(conn, r);
    return conn_skip(conn, data_bytes + pdu_padding(data_bytes));
}

static bool nop_out(struct conn *conn, const uint8_t *bhs, uint32_t data_bytes)
{
    uint32_t most = conn->parameters.initiator_data_bytes_max;
    uint32_t echoed = data_bytes < most ? data_bytes : most;
    struct response *r;

    if (wire_get32(bhs + BHS_ITT) == PDU_NO_TAG)
        return conn_skip(conn, data_bytes + pdu_padding(data_bytes));
    r = answer_to(conn, bhs, PDU_NOP_IN, echoed);
    if (!r)
        return out_of_memory(conn);
    if (!conn_read(conn, (void *)r->data, echoed) ||
        !conn_skip(conn, data_bytes - echoed + pdu_padding(data_bytes))) {
        conn_discard(r);
        return false;
    }
    memcpy(r->bhs + BHS_LUN, bhs + BHS_LUN, 8);
    wire_put32(r->bhs + BHS_TTT, PDU_NO_TAG);
    conn_send(conn, r);
    return true;
}

/* ---- Text ---- */

static bool send_targets(struct conn *conn, const char *value, struct text *out)
{
    const struct target *target = conn->target;
    char address[sizeof conn->local + 8];

    if (strcmp(value, "All") != 0 && value[0] != 0 && strcmp(value, target->name) != 0)
        return true; /* of a target that is not here there is nothing to say */
    snprintf(address, sizeof address, "%s,1", conn->local);
    return text_put(out, "TargetName", target->name) && text_put(out, "TargetAddress", address);
}

/* False: it is no list of keys. */
static bool answer_text(struct conn *conn, struct text *in, struct text *out)
{
    const char *key, *value;
    size_t offset = 0;
    bool bad = false, room = true;

    while (room && text_next(in, &offset, &key, &value, &bad)) {
        if (strcmp(key, "SendTargets") == 0)
            room = send_targets(conn, value, out);
        else
            room = text_put(out, key, "Reject");
    }
    return room && !bad && out->bytes <= conn->parameters.initiator_data_bytes_max;
}

static bool text_request(struct conn *conn, const uint8_t *bhs, uint32_t data_bytes)
{
    struct text in = {.bytes = data_bytes}, out = {.bytes = 0};
    struct response *r;

    if (data_bytes > sizeof in.data || !(bhs[BHS_FLAGS] & PDU_FINAL) ||
        (bhs[BHS_FLAGS] & PDU_CONTINUE))
        return reject(conn, bhs, data_bytes, PDU_REJECT_INVALID_FIELD);
    if (!conn_read_segment(conn, in.data, data_bytes))
        return false;
    if (!answer_text(conn, &in, &out))
        return reject(conn, bhs, 0, PDU_REJECT_PROTOCOL_ERROR);
    r = answer_to(conn, bhs, PDU_TEXT_RESPONSE, (uint32_t)out.bytes);
    if (!r)
        return out_of_memory(conn);
    memcpy((void *)r->data, out.data, out.bytes);
    wire_put32(r->bhs + BHS_TTT, PDU_NO_TAG);
    conn_send(conn, r);
    return true;
}

/* ---- Logout: RFC 7143, 11.14 ---- */

static bool logout(struct conn *conn, const uint8_t *bhs, uint32_t data_bytes)
{
    enum { FOR_RECOVERY = 2, RECOVERY_NOT_SUPPORTED = 2 };
    bool recovery = (bhs[BHS_FLAGS] & 0x7F) == FOR_RECOVERY;
    struct response *r;

    if (!conn_skip(conn, data_bytes + pdu_padding(data_bytes)))
        return false;
    if (!recovery) { /* before it hears of it: a reader's share, and a reserved disk, is free */
        association_end_session(conn);
        unit_end_session(conn);
    }
    r = answer_to(conn, bhs, PDU_LOGOUT_RESPONSE, 0);
    if (!r)
        return out_of_memory(conn);
    r->bhs[BHS_RESPONSE] = recovery ? RECOVERY_NOT_SUPPORTED : 0;
    conn_send(conn, r);
    return recovery;
}

/* ---- task management: RFC 7143, 11.5 ---- */

enum function {
    ABORT_TASK = 1,
    ABORT_TASK_SET = 2,
    CLEAR_TASK_SET = 4,
    LOGICAL_UNIT_RESET = 5,
    TARGET_WARM_RESET = 6,
    TASK_REASSIGN = 8,
};

enum function_response {
    FUNCTION_COMPLETE = 0,
    TASK_DOES_NOT_EXIST = 1,
    LUN_DOES_NOT_EXIST = 2,
    REASSIGN_NOT_SUPPORTED = 4,
    FUNCTION_NOT_SUPPORTED = 5,
    FUNCTION_REJECTED = 255,
};

static bool has_tag(const struct task *task, const void *itt)
{
    return task->itt == *(const uint32_t *)itt;
}

static bool has_lun(const struct task *task, const void *lun_field)
{
    return memcmp(task->lun_field, lun_field, sizeof task->lun_field) == 0;
}

/* What still collects data can be taken back; what runs comes to its end, and
 * then there is no such task any more. */
static enum function_response abort_task(struct conn *conn, uint32_t itt)
{
    struct task *task = transfer_find(conn, itt);

    if (task)
        transfer_abort(conn, task);
    else
        conn_wait_for(conn, has_tag, &itt);
    return task ? FUNCTION_COMPLETE : TASK_DOES_NOT_EXIST;
}

static enum function_response abort_task_set(struct conn *conn, const uint8_t *lun_field)
{
    struct task *task, *next;

    for (task = TAILQ_FIRST(&conn->collecting); task; task = next) {
        next = TAILQ_NEXT(task, link);
        if (has_lun(task, lun_field))
            transfer_abort(conn, task);
    }
    conn_wait_for(conn, has_lun, lun_field);
    return FUNCTION_COMPLETE;
}

/* Tasks of this session that still collect data are dropped; the others come to their end. */
static enum function_response reset_unit(struct conn *conn, const uint8_t *lun_field)
{
    const struct lun *lun = target_lun(conn->target, transfer_lun(lun_field));

    if (!lun)
        return LUN_DOES_NOT_EXIST;
    if (lun->sealed)
        return FUNCTION_REJECTED;
    abort_task_set(conn, lun_field);
    unit_reset(lun->unit);
    return FUNCTION_COMPLETE;
}

/* All plain LUNs. Nobody resets a sealed one: its sessions are not those of the others. */
static enum function_response warm_reset(struct conn *conn)
{
    enum function_response response = FUNCTION_REJECTED;
    uint8_t lun_field[8] = {0};

    for (unsigned i = 0; i < conn->target->lun_count; i++) {
        if (conn->target->luns[i].sealed)
            continue;
        lun_field[1] = (uint8_t)conn->target->luns[i].number;
        response = reset_unit(conn, lun_field);
    }
    return response;
}

static enum function_response manage(struct conn *conn, const uint8_t *bhs)
{
    switch (bhs[BHS_FLAGS] & 0x7F) {
    case ABORT_TASK:
        return abort_task(conn, wire_get32(bhs + BHS_REFERENCED_TAG));
    case ABORT_TASK_SET:
    case CLEAR_TASK_SET: /* TST is 001b: the set is this session's own */
        return abort_task_set(conn, bhs + BHS_LUN);
    case LOGICAL_UNIT_RESET:
        return reset_unit(conn, bhs + BHS_LUN);
    case TARGET_WARM_RESET:
        return warm_reset(conn);
    case TASK_REASSIGN:
        return REASSIGN_NOT_SUPPORTED;
    default:
        return FUNCTION_NOT_SUPPORTED;
    }
}

static bool task_management(struct conn *conn, const uint8_t *bhs, uint32_t data_bytes)
{
    struct response *r;

    if (!conn_skip(conn, data_bytes + pdu_padding(data_bytes)))
        return false;
    r = answer_to(conn, bhs, PDU_TASK_MANAGEMENT_RESPONSE, 0);
    if (!r)
        return out_of_memory(conn);
    r->bhs[BHS_RESPONSE] = (uint8_t)manage(conn, bhs);
    conn_send(conn, r);
    return true;
}

/* ---- all of them ---- */

static bool is_numbered(const uint8_t *bhs)
{
    uint8_t opcode = bhs[BHS_OPCODE] & PDU_OPCODE_MASK;

    return opcode <= PDU_LOGOUT && opcode != PDU_DATA_OUT && !(bhs[BHS_OPCODE] & PDU_IMMEDIATE);
}

static bool dispatch(struct conn *conn, const uint8_t *bhs, uint32_t data_bytes)
{
    uint8_t opcode = bhs[BHS_OPCODE] & PDU_OPCODE_MASK;

    if (conn->discovery && (opcode == PDU_SCSI_COMMAND || opcode == PDU_TASK_MANAGEMENT))
        return conn_protocol_error(conn, "a SCSI command in a discovery session");
    switch (opcode) {
    case PDU_NOP_OUT:
        return nop_out(conn, bhs, data_bytes);
    case PDU_SCSI_COMMAND:
        return transfer_command(conn, bhs, data_bytes);
    case PDU_TASK_MANAGEMENT:
        return task_management(conn, bhs, data_bytes);
    case PDU_TEXT:
        return text_request(conn, bhs, data_bytes);
    case PDU_DATA_OUT:
        return transfer_data_out(conn, bhs, data_bytes);
    case PDU_LOGOUT:
        return logout(conn, bhs, data_bytes);
    case PDU_LOGIN:
        return conn_protocol_error(conn, "a second login");
    default:
        return reject(conn, bhs, data_bytes, PDU_REJECT_NOT_SUPPORTED);
    }
}

static bool serve(struct conn *conn, const uint8_t *bhs)
{
    uint32_t data_bytes = wire_get24(bhs + BHS_DATA_LENGTH);
    bool is_command = (bhs[BHS_OPCODE] & PDU_OPCODE_MASK) == PDU_SCSI_COMMAND;

    if (data_bytes > PDU_DATA_MAX)
        return conn_protocol_error(conn, "a PDU with more data than we declared to take");
    if (!conn_skip(conn, bhs[BHS_AHS_LENGTH] * 4u))
        return false;
    if (!is_numbered(bhs))
        return dispatch(conn, bhs, data_bytes);
    switch (sender_arrived(&conn->sender, wire_get32(bhs + BHS_CMD_SN), is_command)) {
    case ARRIVAL_NEXT:
        return dispatch(conn, bhs, data_bytes);
    case ARRIVAL_IGNORED: /* RFC 7143, 4.2.2.1 */
        return conn_skip(conn, data_bytes + pdu_padding(data_bytes));
    default:
        return conn_protocol_error(conn, "a gap in CmdSN, which one connection can't fill");
    }
}

void serve_run(struct conn *conn)
{
    uint8_t bhs[PDU_BHS_BYTES];

    do
        sender_wait_for_room(&conn->sender);
    while (!atomic_load(&conn->ending) && conn_read(conn, bhs, sizeof bhs) && serve(conn, bhs));
}
