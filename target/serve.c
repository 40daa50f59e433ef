// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Full feature phase: serve.h. Everything but SCSI commands and their data is
 * answered here, in the reader. ErrorRecoveryLevel is 0: whatever is against
 * the protocol ends the connection.
 */
#include "serve.h"

#include <string.h>

#include "conn.h"
#include "discovery.h"
#include "nexuses.h"
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

/* ---- NOP-Out: RFC 7143, 11.18 ---- */

static bool nop_out(struct conn *conn, const uint8_t *bhs, uint32_t data_bytes)
{
    uint32_t most = conn->parameters.initiator_data_bytes_max;
    struct response *r;

    if (wire_get32(bhs + BHS_ITT) == PDU_NO_TAG)
        return conn_read_segment(conn, NULL, data_bytes, NULL);
    r = answer_to(conn, bhs, PDU_NOP_IN, data_bytes);
    if (!r)
        return out_of_memory(conn);
    if (!conn_read_segment(conn, (void *)r->data, data_bytes, NULL)) {
        conn_discard(r);
        return false;
    }
    if (r->bytes > most)
        r->bytes = most;
    memcpy(r->bhs + BHS_LUN, bhs + BHS_LUN, 8);
    wire_put32(r->bhs + BHS_TTT, PDU_NO_TAG);
    conn_send(conn, r);
    return true;
}

/* ---- Logout: RFC 7143, 11.14 ---- */

enum { CLOSE_SESSION = 0, CLOSE_CONNECTION = 1 }; /* reasons; 2: recovery */
enum logout_response { CLOSED = 0, CID_NOT_FOUND = 1, RECOVERY_NOT_SUPPORTED = 2 };

static enum logout_response judge_logout(const struct conn *conn, const uint8_t *bhs)
{
    switch (bhs[BHS_FLAGS] & 0x7F) {
    case CLOSE_SESSION:
        return CLOSED;
    case CLOSE_CONNECTION: /* the only one */
        return wire_get16(bhs + BHS_CID) == conn->cid ? CLOSED : CID_NOT_FOUND;
    default:
        return RECOVERY_NOT_SUPPORTED;
    }
}

static bool logout(struct conn *conn, const uint8_t *bhs, uint32_t data_bytes)
{
    enum logout_response response = judge_logout(conn, bhs);
    struct response *r;

    if (!conn_read_segment(conn, NULL, data_bytes, NULL))
        return false;
    if (response ==
        CLOSED) { /* before it hears of it: a reader's share, a reserved disk, is free */
        nexus_end_session(conn);
    }
    r = answer_to(conn, bhs, PDU_LOGOUT_RESPONSE, 0);
    if (!r)
        return out_of_memory(conn);
    r->bhs[BHS_RESPONSE] = (uint8_t)response;
    conn_send(conn, r);
    return response != CLOSED;
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
    struct lun *lun =
        target_find_lun(conn->target, conn->target_name, transfer_lun(lun_field), conn->user);
    enum function_response response = FUNCTION_COMPLETE;

    if (!lun) {
        response = LUN_DOES_NOT_EXIST;
    } else if (lun->sealed) {
        response = FUNCTION_REJECTED;
    } else {
        abort_task_set(conn, lun_field);
        unit_reset(lun->unit);
    }
    lun_unref(lun);
    return response;
}

/* All plain LUNs. Nobody resets a sealed one: its sessions are not those of the others. */
static enum function_response warm_reset(struct conn *conn)
{
    enum function_response response = FUNCTION_REJECTED;
    uint8_t lun_field[8] = {0}, numbers[LUNS_MAX];
    unsigned count = target_list_luns(conn->target, conn->target_name, conn->user, numbers);

    for (unsigned i = 0; i < count; i++) {
        lun_field[1] = numbers[i];
        if (reset_unit(conn, lun_field) == FUNCTION_COMPLETE)
            response = FUNCTION_COMPLETE;
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

    if (!conn_read_segment(conn, NULL, data_bytes, NULL))
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
        return discovery_text_request(conn, bhs, data_bytes);
    case PDU_DATA_OUT:
        return transfer_data_out(conn, bhs, data_bytes);
    case PDU_LOGOUT:
        return logout(conn, bhs, data_bytes);
    case PDU_LOGIN:
        return conn_protocol_error(conn, "a second login");
    default:
        return conn_reject(conn, bhs, PDU_REJECT_NOT_SUPPORTED) &&
               conn_read_segment(conn, NULL, data_bytes, NULL);
    }
}

static bool serve(struct conn *conn, const uint8_t *bhs)
{
    uint32_t data_bytes = wire_get24(bhs + BHS_DATA_LENGTH);
    bool is_command = (bhs[BHS_OPCODE] & PDU_OPCODE_MASK) == PDU_SCSI_COMMAND;

    if (data_bytes > PDU_DATA_MAX)
        return conn_protocol_error(conn, "a PDU with more data than we declared to take");
    if (!is_numbered(bhs))
        return dispatch(conn, bhs, data_bytes);
    switch (sender_arrived(&conn->sender, wire_get32(bhs + BHS_CMD_SN), is_command)) {
    case ARRIVAL_NEXT:
        return dispatch(conn, bhs, data_bytes);
    case ARRIVAL_IGNORED: /* RFC 7143, 4.2.2.1 */
        return conn_read_segment(conn, NULL, data_bytes, NULL);
    default:
        return conn_protocol_error(conn, "a gap in CmdSN, which one connection can't fill");
    }
}

void serve_run(struct conn *conn)
{
    uint8_t bhs[PDU_BHS_BYTES];

    do
        sender_wait_for_room(&conn->sender);
    while (!atomic_load(&conn->ending) && conn_read_header(conn, bhs) && serve(conn, bhs));
}
