// SPDX-License-Identifier: LGPL-2.1-or-later
/* The commands that there are, who may have them, and how they are answered: task.h. */
#include "task.h"

#include <stdlib.h>
#include <string.h>

#include "association.h"
#include "conn.h"
#include "sealed.h"

enum {
    ANY_LUN = 1, /* also on a LUN that is not there */
    LUN_0 = 2,   /* also on LUN 0 */
    MEDIUM = 4,  /* plain bytes: never on a sealed LUN */
    SEALED = 8,  /* only there */
    WORKER = 16, /* runs in the pool: it waits for the disk or for a cipher */
    MASKED = 32, /* a sealed command: the CDB itself has to be checked */
};

struct command {
    void (*run)(struct task *task);
    unsigned flags;
};

static const struct command commands[256] = {
    [0x00] = {spc_test_unit_ready, LUN_0},
    [0x03] = {spc_request_sense, ANY_LUN},
    [0x08] = {sbc_read, MEDIUM | WORKER},
    [0x0A] = {sbc_write, MEDIUM | WORKER},
    [0x12] = {spc_inquiry, ANY_LUN},
    [0x1A] = {spc_mode_sense_6, 0},
    [0x25] = {sbc_read_capacity_10, 0},
    [0x28] = {sbc_read, MEDIUM | WORKER},
    [0x2A] = {sbc_write, MEDIUM | WORKER},
    [0x2F] = {sbc_verify, MEDIUM | WORKER},
    [0x35] = {sbc_synchronize_cache, MEDIUM | WORKER},
    [0x42] = {sbc_unmap, MEDIUM | WORKER},
    [0x5A] = {spc_mode_sense_10, 0},
    [0x88] = {sbc_read, MEDIUM | WORKER},
    [0x8A] = {sbc_write, MEDIUM | WORKER},
    [0x8F] = {sbc_verify, MEDIUM | WORKER},
    [0x91] = {sbc_synchronize_cache, MEDIUM | WORKER},
    [0x93] = {sbc_write_same_16, MEDIUM | WORKER},
    [0x9E] = {sbc_service_action_in, 0},
    [0xA0] = {spc_report_luns, ANY_LUN},
    [0xA8] = {sbc_read, MEDIUM | WORKER},
    [0xAA] = {sbc_write, MEDIUM | WORKER},
    [WIRE_SECURITY_PROTOCOL_IN] = {sealed_security_protocol_in, SEALED},
    [WIRE_SECURITY_PROTOCOL_OUT] = {sealed_security_protocol_out, SEALED},
    [WIRE_SEALED_WRITE] = {sealed_write, SEALED | MASKED | WORKER},
    [WIRE_SEALED_READ] = {sealed_read, SEALED | MASKED | WORKER},
    [WIRE_SEALED_SYNC] = {sealed_sync, SEALED | MASKED},
};

/* ---- before the data ---- */

static bool lun_takes(const struct task *task)
{
    if (task->lun || (task->command && task->command->flags & ANY_LUN))
        return true;
    return task->lun_number == 0 && task->command && task->command->flags & LUN_0;
}

static void log_plain_refused(struct task *task)
{
    struct nexus *nexus = association_nexus(task->conn, task->lun);

    if (nexus->plain_refused)
        return;
    nexus->plain_refused = true;
    conn_log(task->conn, task->lun_number, "refused a plain command (%02Xh): the LUN is sealed",
             task->cdb[0]);
}

static struct sense judge(struct task *task)
{
    if (!lun_takes(task))
        return SENSE_NO_SUCH_LUN;
    if (!task->command)
        return SENSE_INVALID_OPCODE;
    if (task->command->flags & SEALED && !task->lun->sealed)
        return SENSE_INVALID_OPCODE;
    if (task->command->flags & MEDIUM && task->lun->sealed) {
        log_plain_refused(task);
        return SENSE_ACCESS_DENIED;
    }
    if ((task->reads && task->writes) || (task->writes && task->expected > TASK_DATA_MAX))
        return SENSE_INVALID_FIELD_IN_CDB;
    return SENSE_NONE;
}

void task_admit(struct task *task)
{
    const struct command *command = &commands[task->cdb[0]];

    task->command = command->run ? command : NULL;
    task->refusal = judge(task);
    if (!task->refusal.key && command->flags & MASKED)
        sealed_admit(task);
    if (task->refusal.key || !task->writes)
        return;
    if (!task_buffer(task))
        task->refusal = SENSE_INTERNAL_FAILURE;
    else
        task->out = task->buffer + TASK_DATA_OFFSET -
                    (command->flags & MASKED ? sizeof(struct wire_write) : 0);
}

uint8_t *task_buffer(struct task *task)
{
    if (!task->buffer)
        task->buffer = aligned_alloc(TASK_DATA_OFFSET, TASK_BUFFER_BYTES);
    return task->buffer;
}

/* ---- running ---- */

static void run_job(struct job *job)
{
    struct task *task = task_of(job, job);

    task->command->run(task);
}

void task_start(struct task *task)
{
    conn_started(task->conn, task);
    if (task->refusal.key) {
        task_check(task, task->refusal);
    } else if (task->command->flags & WORKER && !sealed_runs_in_reader(task)) {
        task->job.run = run_job;
        workers_push(task->conn->target->workers, &task->job);
    } else {
        task->command->run(task);
    }
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

    sealed_end(task); /* now, not when the peer has taken the answer: a lease may wait for it */
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
    respond_status(task, SCSI_GOOD, task->writes ? task->used : 0);
}

/* SPC-4, 4.5.3: fixed format, behind its length */
void task_check(struct task *task, struct sense sense)
{
    uint8_t *data = task->sense_data;

    memset(data, 0, sizeof task->sense_data);
    wire_put16(data, sizeof task->sense_data - 2);
    data[2] = 0x70;
    data[2 + 2] = sense.key;
    data[2 + 7] = sizeof task->sense_data - 2 - 8;
    data[2 + 12] = sense.asc;
    data[2 + 13] = sense.ascq;
    task->response.data = data;
    task->response.bytes = sizeof task->sense_data;
    task_status(task, SCSI_CHECK_CONDITION);
}

void task_data(struct task *task, const uint8_t *data, uint32_t bytes)
{
    uint32_t n = bytes < task->expected ? bytes : task->expected;

    if (!task->reads)
        n = 0;
    if (n == 0) {
        respond_status(task, SCSI_GOOD, bytes);
        return;
    }
    task->response.data = data;
    task->response.bytes = n;
    memcpy(task->response.bhs + BHS_LUN, task->lun_field, sizeof task->lun_field);
    wire_put32(task->response.bhs + BHS_TTT, PDU_NO_TAG);
    respond(task, PDU_DATA_IN, bytes);
}

void task_drop(struct task *task)
{
    sealed_end(task);
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
