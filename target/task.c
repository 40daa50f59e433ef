// SPDX-License-Identifier: LGPL-2.1-or-later
/* Who may have which command, how it runs and how it is answered: task.h. */
#include "task.h"

#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "conn.h"
#include "nexuses.h"
#include "sealed.h"
#include "unit.h"

#define LITTLE_BYTES (64u << 10)

/* ---- before the data ---- */

static bool lun_takes(const struct task *task)
{
    if (task->lun || command_has(task->command, COMMAND_ANY_LUN))
        return true;
    return task->lun_number == 0 && command_has(task->command, COMMAND_LUN_0);
}

static void log_plain_refused(struct task *task)
{
    struct nexus *nexus = nexus_of(task->conn, task->lun);

    if (nexus->plain_refused)
        return;
    nexus->plain_refused = true;
    conn_log(task->conn, task->lun_number, "refused a plain command (%02Xh): the LUN is sealed",
             task->cdb[0]);
}

static struct sense judge_command(struct task *task)
{
    const struct command *command = task->command;
    const struct lun *lun = task->lun;

    if (!command)
        return command_knows(task->cdb[0]) ? SENSE_INVALID_FIELD_IN_CDB : SENSE_INVALID_OPCODE;
    if (command_has(command, COMMAND_SEALED) && lun && !lun->sealed)
        return SENSE_INVALID_OPCODE;
    if (command_has(command, COMMAND_PLAIN) && lun && lun->sealed) {
        log_plain_refused(task);
        return SENSE_ACCESS_DENIED;
    }
    if (!command_has(command, COMMAND_MASKED) && !command_allows(command, task->cdb))
        return SENSE_INVALID_FIELD_IN_CDB;
    return SENSE_NONE;
}

static struct sense judge(struct task *task)
{
    uint32_t most = task->lun && !task->lun->sealed ? PLAIN_DATA_MAX : TASK_DATA_MAX;
    struct sense sense;

    if (!lun_takes(task))
        return SENSE_NO_SUCH_LUN;
    sense = judge_command(task);
    if (!sense.key && task->lun && !command_has(task->command, COMMAND_IGNORES_ATTENTION) &&
        !target_has_disk(task->conn->target, task->lun))
        sense = SENSE_NOT_READY;
    if (!sense.key && ((task->reads && task->writes) || (task->writes && task->expected > most)))
        sense = SENSE_INVALID_FIELD_IN_CDB;
    return sense;
}

void task_admit(struct task *task)
{
    task->command = command_find(task->cdb);
    unit_task_arrives(task);
    task->refusal = judge(task);
    if (!task->refusal.key && command_has(task->command, COMMAND_MASKED))
        sealed_admit(task);
    if (task->refusal.key || !task->writes)
        return;
    task->out = task_data_room(task, task->expected);
    task->full = !task->out;
    if (task->full)
        task->refusal = SENSE_ABORTED;
    else if (command_has(task->command, COMMAND_MASKED))
        task->out -= sizeof(struct wire_write);
}

/* ---- the buffer ---- */

static uint8_t *buffer_of(struct task *task, size_t bytes)
{
    struct conn *conn = task->conn;

    if (task->buffer_bytes >= bytes)
        return task->buffer;
    task_release_buffer(task);
    task->buffer = memory_take(conn->target->memory, &conn->memory, bytes);
    task->buffer_bytes = task->buffer ? bytes : 0;
    return task->buffer;
}

void task_release_buffer(struct task *task)
{
    struct conn *conn = task->conn;

    if (task->buffer)
        memory_give(conn->target->memory, &conn->memory, task->buffer, task->buffer_bytes);
    task->buffer = NULL;
    task->buffer_bytes = 0;
}

uint8_t *task_buffer(struct task *task)
{
    return buffer_of(task, TASK_BUFFER_BYTES);
}

/* Little data takes little memory, much as much as it has to, all else the usual buffer. */
uint8_t *task_data_room(struct task *task, uint32_t bytes)
{
    size_t whole = ((size_t)bytes + TASK_DATA_OFFSET - 1) / TASK_DATA_OFFSET * TASK_DATA_OFFSET;
    uint8_t *buffer;

    if (whole > LITTLE_BYTES && whole <= TASK_DATA_MAX)
        whole = TASK_DATA_MAX;
    buffer = buffer_of(task, TASK_DATA_OFFSET + whole);
    return buffer ? buffer + TASK_DATA_OFFSET : NULL;
}

uint8_t *task_answer_room(struct task *task, uint32_t bytes)
{
    uint8_t *out = task_data_room(task, bytes);

    if (out)
        memset(out, 0, bytes);
    else
        task_status(task, SCSI_BUSY);
    return out;
}

/* ---- the LUN ---- */

/* Since it came, the LUN may have been taken away. */
static void begin_lun(struct task *task)
{
    if (!task->lun)
        return;
    task->uses_lun = target_begin_task(task->conn->target, task->lun);
    if (task->uses_lun)
        return;
    task->refusal = SENSE_NO_SUCH_LUN;
    task->nexus = NULL;
}

/* The association, the nexus and the LUN are free. It has no answer yet: a
 * lease, a reset, a reload may wait for this, and must not wait for the peer. */
static void end_lun(struct task *task)
{
    sealed_end(task);
    unit_task_ends(task);
    if (task->uses_lun)
        target_end_task(task->conn->target, task->lun);
    task->uses_lun = false;
}

/* ---- running ---- */

static void run_job(struct job *job)
{
    struct task *task = task_of(job, job);

    command_run(task->command, task);
}

void task_start(struct task *task)
{
    conn_started(task->conn, task);
    begin_lun(task);
    if (task->full) {
        task_status(task, SCSI_TASK_SET_FULL);
        return;
    }
    if (task->nexus && !unit_task_begins(task))
        return;
    if (task->refusal.key) {
        task_check(task, task->refusal);
    } else if (command_has(task->command, COMMAND_WORKER) && !sealed_runs_in_reader(task)) {
        task->job.run = run_job;
        workers_push(task->lun->workers, &task->job);
    } else {
        command_run(task->command, task);
    }
}

/* ---- accounts ---- */

void task_account(const struct task *task, struct sense sense)
{
    bool moves = command_has(task->command, COMMAND_WORKER);

    if (sense.key == SENSE_RESET.key)
        return; /* an attention, which has nothing to do with the command */
    if (sense.key)
        account_error(task->account);
    else if (moves && task->reads && command_has(task->command, COMMAND_READS))
        account_done(task->account, OPERATION_READ, task->response.bytes);
    else if (moves && task->writes && command_has(task->command, COMMAND_WRITES))
        account_done(task->account, OPERATION_WRITE, task->used);
    else
        account_done(task->account, OPERATION_OTHER, 0);
}

/* ---- answers ---- */

static void response_done(struct response *response)
{
    struct task *task = task_of(response, response);

    conn_give_task(task->conn, task);
}

/* RFC 7143, 11.4.5: `bytes` is what the command wanted to transfer. */
static void put_residual(struct task *task, uint32_t bytes)
{
    uint8_t *bhs = task->response.bhs;

    if (bytes < task->expected) {
        bhs[BHS_FLAGS] |= PDU_UNDERFLOW;
        wire_put32(bhs + BHS_RESIDUAL, task->expected - bytes);
    } else if (bytes > task->expected) {
        bhs[BHS_FLAGS] |= PDU_OVERFLOW;
        wire_put32(bhs + BHS_RESIDUAL, bytes - task->expected);
    }
}

static void respond(struct task *task, uint8_t opcode, uint32_t wanted)
{
    struct response *r = &task->response;

    end_lun(task);
    r->bhs[BHS_OPCODE] = opcode;
    r->bhs[BHS_FLAGS] = PDU_FINAL;
    wire_put32(r->bhs + BHS_ITT, task->itt);
    put_residual(task, wanted);
    r->numbered = true;
    r->ends_command = task->numbered;
    r->done = response_done;
    conn_send(task->conn, r);
}

static void respond_status(struct task *task, enum scsi_status status, uint32_t wanted)
{
    task->response.bhs[BHS_STATUS] = (uint8_t)status;
    wire_put32(task->response.bhs + BHS_EXP_DATA_SN, task->r2t_sn);
    respond(task, PDU_SCSI_RESPONSE, wanted);
}

void task_status(struct task *task, enum scsi_status status)
{
    respond_status(task, status, task->writes ? task->expected : 0);
}

void task_good(struct task *task)
{
    task_account(task, SENSE_NONE);
    respond_status(task, SCSI_GOOD, task->writes ? task->used : 0);
}

void task_answer(struct task *task, struct sense sense)
{
    if (sense.key)
        task_check(task, sense);
    else
        task_good(task);
}

/* SPC-4, 4.5.3: fixed format, behind its length */
static uint8_t *put_sense(struct task *task, struct sense sense)
{
    uint8_t *data = task->sense_data;

    memset(data, 0, sizeof task->sense_data);
    wire_put16(data, sizeof task->sense_data - 2);
    data[2] = 0x70;
    data[2 + 2] = sense.key;
    data[2 + 7] = sizeof task->sense_data - 2 - 8;
    data[2 + 12] = sense.asc;
    data[2 + 13] = sense.ascq;
    task_account(task, sense);
    task->response.data = data;
    task->response.bytes = sizeof task->sense_data;
    return data;
}

void task_check(struct task *task, struct sense sense)
{
    put_sense(task, sense);
    task_status(task, SCSI_CHECK_CONDITION);
}

void task_check_at(struct task *task, struct sense sense, uint32_t information)
{
    uint8_t *data = put_sense(task, sense);

    data[2] |= 0x80; /* VALID */
    wire_put32(data + 2 + 3, information);
    task_status(task, SCSI_CHECK_CONDITION);
}

void task_check_field(struct task *task, uint8_t byte)
{
    enum { SKSV = 0x80, IN_CDB = 0x40 };
    uint8_t *data = put_sense(task, SENSE_INVALID_FIELD_IN_CDB);

    data[2 + 15] = SKSV | IN_CDB;
    wire_put16(data + 2 + 16, byte);
    task_status(task, SCSI_CHECK_CONDITION);
}

void task_data(struct task *task, const uint8_t *data, uint32_t bytes)
{
    uint32_t n = bytes < task->expected ? bytes : task->expected;

    if (!task->reads)
        n = 0;
    if (n == 0) {
        task_account(task, SENSE_NONE);
        respond_status(task, SCSI_GOOD, bytes);
        return;
    }
    task->response.data = data;
    task->response.bytes = n;
    task_account(task, SENSE_NONE);
    memcpy(task->response.bhs + BHS_LUN, task->lun_field, sizeof task->lun_field);
    wire_put32(task->response.bhs + BHS_TTT, PDU_NO_TAG);
    respond(task, PDU_DATA_IN, bytes);
}

void task_drop(struct task *task)
{
    end_lun(task);
    if (task->numbered && !task->parked)
        sender_forget_command(&task->conn->sender);
    conn_give_task(task->conn, task);
}

bool task_make_hint(struct task *task)
{
    struct response *hint = conn_response(task->conn, PDU_SCSI_RESPONSE, task->itt, 0);

    if (!hint)
        return false;
    hint->ends_command = task->numbered;
    wire_put32(hint->bhs + BHS_EXP_DATA_SN, task->r2t_sn);
    task->hint = hint;
    conn_park_task(task->conn, task, true);
    return true;
}

void task_take_hint_back(struct task *task)
{
    if (!task->hint)
        return;
    conn_discard(task->hint);
    task->hint = NULL;
    conn_park_task(task->conn, task, false);
}
