// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Collecting data: transfer.h. Data comes in order (DataPDUInOrder and
 * DataSequenceInOrder are Yes); as many R2Ts are on their way at a time as
 * MaxOutstandingR2T allows. A refused command's data is read, since it is on
 * its way, and dropped.
 */
#include "transfer.h"

#include <limits.h>
#include <string.h>

#include "conn.h"
#include "nexuses.h"

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
    unsigned number = transfer_lun(bhs + BHS_LUN);
    struct nexus *nexus;
    struct task *task;

    if (!nexus_find(conn, number, &nexus))
        return NULL;
    task = conn_take_task(conn);
    if (!task)
        return NULL;
    task->numbered = !(bhs[BHS_OPCODE] & PDU_IMMEDIATE);
    task->lun_number = number;
    task->lun = nexus ? nexus->lun : NULL;
    task->account = nexus ? nexus->account : NULL;
    task->nexus = nexus && nexus->lun->unit ? &nexus->itl : NULL;
    memcpy(task->lun_field, bhs + BHS_LUN, sizeof task->lun_field);
    memcpy(task->cdb, bhs + BHS_CDB, sizeof task->cdb);
    task->itt = wire_get32(bhs + BHS_ITT);
    task->reads = bhs[BHS_FLAGS] & PDU_READ;
    task->writes = bhs[BHS_FLAGS] & PDU_WRITE;
    task->expected = task->used = wire_get32(bhs + BHS_EXPECTED_LENGTH);
    return task;
}

/* ---- R2T: RFC 7143, 11.8 ---- */

static bool ask(struct conn *conn, struct task *task)
{
    struct response *r2t = conn_response(conn, PDU_R2T, task->itt, 0);
    struct burst *burst = &task->bursts[task->burst_count];
    uint32_t left = task->expected - task->asked;
    uint32_t n = left < conn->parameters.max_burst ? left : conn->parameters.max_burst;

    if (!r2t)
        return conn_protocol_error(conn, "out of memory");
    if (++conn->last_ttt == PDU_NO_TAG)
        conn->last_ttt = 0;
    r2t->numbered = false;
    memcpy(r2t->bhs + BHS_LUN, task->lun_field, sizeof task->lun_field);
    wire_put32(r2t->bhs + BHS_TTT, conn->last_ttt);
    wire_put32(r2t->bhs + BHS_DATA_SN, task->r2t_sn++);
    wire_put32(r2t->bhs + BHS_BUFFER_OFFSET, task->asked);
    wire_put32(r2t->bhs + BHS_DESIRED_LENGTH, n);
    task->asked += n;
    *burst = (struct burst){conn->last_ttt, task->asked};
    task->burst_count++;
    conn_send(conn, r2t);
    return true;
}

/* The first of `bursts`, or the unsolicited data, is there. */
static bool burst_ended(struct conn *conn, struct task *task)
{
    bool ok = true;

    task->data_sn = 0;
    if (task->burst_count > 0)
        memmove(task->bursts, task->bursts + 1, --task->burst_count * sizeof *task->bursts);
    else
        task->asked = task->received;
    while (ok && !task->refusal.key && task->asked < task->expected &&
           task->burst_count < conn->parameters.max_r2ts)
        ok = ask(conn, task);
    if (!ok || task->burst_count > 0)
        return ok;
    TAILQ_REMOVE(&conn->collecting, task, link);
    task_start(task);
    return true;
}

/* ---- data ---- */

/* Of a task that is refused it is dropped. */
static bool read_data(struct conn *conn, struct task *task, const uint8_t *bhs, uint32_t bytes)
{
    uint8_t *to = task->refusal.key || bytes == 0 ? NULL : task->out + task->received;
    bool bad = false;

    if (!conn_read_segment(conn, to, bytes, &bad))
        return false;
    task->received += bytes;
    if (!bad)
        return true;
    if (!task->refusal.key)
        task->refusal = SENSE_PROTOCOL_SERVICE_CRC;
    return conn_reject(conn, bhs, PDU_REJECT_DATA_DIGEST);
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
    if (!read_data(conn, task, bhs, data_bytes))
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
    bool solicited = task->burst_count > 0;
    uint32_t end = solicited ? task->bursts[0].end : task->unsolicited_end;

    if (wire_get32(bhs + BHS_TTT) != (solicited ? task->bursts[0].ttt : PDU_NO_TAG))
        return "Data-Out that nobody asked for";
    if (data_bytes > end - task->received)
        return "more Data-Out than was asked for";
    if ((bhs[BHS_FLAGS] & PDU_FINAL) && solicited && task->received + data_bytes != end)
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
        return conn_read_segment(conn, NULL, data_bytes, NULL);
    wrong = check_burst(task, bhs, data_bytes);
    if (wrong)
        return conn_protocol_error(conn, wrong);
    check_sequence(task, bhs);
    task->data_sn++;
    if (!read_data(conn, task, bhs, data_bytes))
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
