// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which part executes a command: sealed commands and the handshake the reader
 * begins; what touches the disk a worker does; the rest is answered at once.
 */
#include <stddef.h>

#include "conn.h"

static void sbc_job(struct job *job)
{
    sbc_execute((struct task *)((char *)job - offsetof(struct task, job)));
}

static bool is_harmless(uint8_t opcode)
{
    switch (opcode) {
    case 0x00: /* TEST UNIT READY */
    case 0x03: /* REQUEST SENSE */
    case 0x12: /* INQUIRY */
    case 0x1A: /* MODE SENSE (6) */
    case 0x25: /* READ CAPACITY (10) */
    case 0x5A: /* MODE SENSE (10) */
    case 0x9E: /* READ CAPACITY (16) */
    case 0xA0: /* REPORT LUNS */
        return true;
    default:
        return false;
    }
}

static void refuse_plain(struct task *t)
{
    if (!t->conn->said_plain_refused)
        conn_log(t->conn, "LUN %u is sealed: plain command %02Xh refused", t->lun->number,
                 task_cdb(t)[0]);
    t->conn->said_plain_refused = true;
    task_sense(t, SENSE_ACCESS_DENIED);
}

static void execute_sealed_lun(struct task *t)
{
    switch (task_cdb(t)[0]) {
    case WIRE_SEALED_WRITE:
    case WIRE_SEALED_READ:
    case WIRE_SEALED_SYNC:
        sealed_execute(t);
        break;
    case WIRE_SECURITY_PROTOCOL_OUT:
    case WIRE_SECURITY_PROTOCOL_IN:
        sealed_handshake(t);
        break;
    default:
        refuse_plain(t);
    }
}

void scsi_execute(struct task *t)
{
    if (is_harmless(task_cdb(t)[0])) {
        spc_execute(t);
    } else if (!t->lun) {
        task_sense(t, SENSE_NO_SUCH_LUN);
    } else if (t->lun->sealed) {
        execute_sealed_lun(t);
    } else {
        t->job.run = sbc_job;
        workers_push(t->conn->target->workers, &t->job);
    }
}
