// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Collecting data: transfer.h. Data comes in order (DataPDUInOrder and
 * DataSequenceInOrder are Yes), with one R2T at a time (MaxOutstandingR2T=1).
 * A refused command's data is read, since it is on its way, and dropped.
 */
#include "transfer.h"

#include <limits.h>
#include <string.h>

#include "conn.h"

unsigned transfer_lun(const uint8_t field[8])
{
    static const uint8_t zeros[6];

    if (memcmp(field + 2, zeros, sizeof zeros) != 0)
        return UINT_MAX;
    if (field[0] >> 6 == 1)
        return (field[0] & 0x3Fu) << 8 | field[1];
    return field[0] == 0 ? field[1] : UINT_MAX;
}

static struct task *make_task(struct conn *conn, const uint8_t *bhs)
{
    struct task *task = conn_take_task(conn);

    if (!task)
        return NULL;
    task->numbered = !(bhs[BHS_OPCODE] & PDU_IMMEDIATE);
    task->lun_number = transfer_lun(bhs + BHS_LUN);
    task->lun = target_lun(conn->target, task->lun_number);
    memcpy(task->lun_field, bhs + BHS_LUN, sizeof task->lun_field);
    memcpy(task->cdb, bhs + BHS_CDB, sizeof task->cdb);
    task->itt = wire_get32(bhs + BHS_ITT);
    task->reads = bhs[BHS_FLAGS] & PDU_READ;
    task->writes = bhs[BHS_FLAGS] & PDU_WRITE;
    task->expected = task->used = wire_get32(bhs + BHS_EXPECTED_LENGTH);
    return task;
}

static bool ask_for_more(struct conn *conn, struct task *task)
{
    struct response *r2t = conn_response(conn, PDU_R2T, task->itt, 0);
    uint32_t left = task->expected - task->received;
    uint32_t n = left < conn->parameters.max_burst ? left : conn->parameters.max_burst;

    if (!r2t)
        return conn_protocol_error(conn, "out of memory");
    if (++conn->last_ttt == PDU_NO_TAG)
        conn->last_ttt = 0;
    task->ttt = conn->last_ttt;
    task->burst_end = task->received + n;
    task->data_sn = 0;
    r2t->numbered = false;
    memcpy(r2t->bhs + BHS_LUN, task->lun_field, sizeof task->lun_field);
    wire_put32(r2t->bhs + BHS_TTT, task->ttt);
    wire_put32(r2t->bhs + BHS_DATA_SN, task->r2t_sn++);
    wire_put32(r2t->bhs + BHS_BUFFER_OFFSET, task->received);
    wire_put32(r2t->bhs + BHS_DESIRED_LENGTH, n);
    conn_send(conn, r2t);
    return true;
}

/* The peer has sent what it may send now. */
static bool burst_ended(struct conn *conn, struct task *task)
{
    if (!task->refusal.key && task->received < task->expected)
        return ask_for_more(conn, task);
    TAILQ_REMOVE(&conn->collecting, task, link);
    task_start(task);
    return true;
}

static bool read_data(struct conn *conn, struct task *task, uint32_t bytes)
{
    bool ok = task->refusal.key ? conn_skip(conn, bytes + pdu_padding(bytes))
                                : conn_read_segment(conn, task->out + task->received, bytes);

    task->received += bytes;
    return ok;
}

static const char *check_command(const struct conn *conn, const struct task *task, bool final,
                                 uint32_t data_bytes)
{
    const struct parameters *p = &conn->parameters;

    if (!task->writes)
        return data_bytes || !final ? "data with a command that does not write" : NULL;
    if (data_bytes && !p->immediate_data)
        return "immediate data, which was not agreed on";
    if (!final && p->initial_r2t)
        return "unsolicited data, which was not agreed on";
    return data_bytes > task->unsolicited_end ? "more data than was agreed on" : NULL;
}

bool transfer_command(struct conn *conn, const uint8_t *bhs, uint32_t data_bytes)
{
    bool final = bhs[BHS_FLAGS] & PDU_FINAL;
    struct task *task = make_task(conn, bhs);
    const char *wrong;

    if (!task)
        return conn_protocol_error(conn, "out of memory");
    TAILQ_INSERT_TAIL(&conn->collecting, task,
                      link); /* from here on the end of the connection frees it */
    task->unsolicited_end = conn->parameters.first_burst < task->expected
                                ? conn->parameters.first_burst
                                : task->expected;
    wrong = check_command(conn, task, final, data_bytes);
    if (wrong)
        return conn_protocol_error(conn, wrong);
    task_admit(task);
    task->ttt = PDU_NO_TAG;
    task->burst_end = task->unsolicited_end;
    if (!read_data(conn, task, data_bytes))
        return false;
    if (!task->writes) {
        TAILQ_REMOVE(&conn->collecting, task, link);
        task_start(task);
        return true;
    }
    return final ? burst_ended(conn, task) : true;
}

/* A burst whose bytes can't be counted: where the next one begins is lost. */
static const char *check_burst(const struct task *task, const uint8_t *bhs, uint32_t data_bytes)
{
    if (wire_get32(bhs + BHS_TTT) != task->ttt)
        return "Data-Out that nobody asked for";
    if (data_bytes > task->burst_end - task->received)
        return "more Data-Out than was asked for";
    if ((bhs[BHS_FLAGS] & PDU_FINAL) && task->ttt != PDU_NO_TAG &&
        task->received + data_bytes != task->burst_end)
        return "less Data-Out than was asked for";
    return NULL;
}

/* RFC 7143, 7.8: no error recovery for a sequence, but the session is still good. */
static void check_sequence(struct task *task, const uint8_t *bhs)
{
    if (wire_get32(bhs + BHS_DATA_SN) == task->data_sn &&
        wire_get32(bhs + BHS_BUFFER_OFFSET) == task->received)
        return;
    conn_log_rarely(task->conn, task->lun_number, "Data-Out out of order");
    if (!task->refusal.key)
        task->refusal = SENSE_DATA_PHASE;
}

bool transfer_data_out(struct conn *conn, const uint8_t *bhs, uint32_t data_bytes)
{
    struct task *task = transfer_find(conn, wire_get32(bhs + BHS_ITT));
    const char *wrong;

    if (!task) /* of a command that was aborted or ignored */
        return conn_skip(conn, data_bytes + pdu_padding(data_bytes));
    wrong = check_burst(task, bhs, data_bytes);
    if (wrong)
        return conn_protocol_error(conn, wrong);
    check_sequence(task, bhs);
    task->data_sn++;
    if (!read_data(conn, task, data_bytes))
        return false;
    return bhs[BHS_FLAGS] & PDU_FINAL ? burst_ended(conn, task) : true;
}

struct task *transfer_find(struct conn *conn, uint32_t itt)
{
    struct task *task;

    TAILQ_FOREACH(task, &conn->collecting, link)
    if (task->itt == itt)
        return task;
    return NULL;
}

void transfer_abort(struct conn *conn, struct task *task)
{
    TAILQ_REMOVE(&conn->collecting, task, link);
    task_drop(task);
}
