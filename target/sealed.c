// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sealed commands: sealed.h. The order of checks is PROTOCOL's, section 2: tag,
 * replay window, length; the seal; then the number is set as seen.
 *
 * Data is opened and sealed in place. In a task's buffer the plain blocks
 * begin on a page; the header of a WRITE, or counter and header of a READ's
 * answer, lie right before it.
 */
#include "sealed.h"

#include <errno.h>
#include <string.h>

#include "association.h"
#include "conn.h"
#include "nexuses.h"

/* ---- before the data ---- */

static bool length_fits(const struct task *task)
{
    uint32_t expected = task->expected;

    switch (task->cdb[0]) {
    case WIRE_SEALED_WRITE:
        return task->writes && expected >= WIRE_WRITE_BYTES(0) &&
               (expected - WIRE_WRITE_BYTES(0)) % WIRE_BLOCK_BYTES == 0;
    case WIRE_SEALED_READ:
        return task->reads && (task->field & 0x3FF) < WIRE_DATA_BLOCKS_MAX &&
               expected == WIRE_READ_BYTES((task->field & 0x3FF) + 1);
    default:
        return task->reads && expected == WIRE_SYNC_BYTES;
    }
}

static void count_bad_tag(struct task *task, const char *what)
{
    struct conn *conn = task->conn;

    conn_log_security(conn, task->lun_number, "%s did not authenticate", what);
    if (atomic_fetch_add(&conn->bad_tags, 1) + 1 == WIRE_BAD_TAGS_MAX) {
        conn_log(conn, task->lun_number, "session closed after %d that did not authenticate",
                 WIRE_BAD_TAGS_MAX);
        conn_end(conn);
    }
}

static struct sense judge(struct task *task, struct association *a)
{
    int error = a ? sa_cdb_check(a->sa, task->cdb, &task->field) : -EBADMSG;

    if (error == -EBADMSG) {
        count_bad_tag(task, "a sealed command");
        return SENSE_ACCESS_DENIED;
    }
    if (error) {
        if (error == -EALREADY)
            conn_log_security(task->conn, task->lun_number,
                              "a sealed command came again, or too late");
        else
            conn_log_rarely(task->conn, task->lun_number,
                            "a sealed command under keys that are used up");
        return SENSE_ACCESS_DENIED;
    }
    if (!length_fits(task))
        return SENSE_INVALID_FIELD_IN_CDB;
    return a->pending && task->cdb[0] != WIRE_SEALED_WRITE ? SENSE_COMMAND_SEQUENCE : SENSE_NONE;
}

void sealed_admit(struct task *task)
{
    const struct wire_cdb *cdb = (const struct wire_cdb *)task->cdb;
    struct association *a =
        association_find(&nexus_of(task->conn, task->lun)->sealed, cdb->sa_index);

    task->association = a;
    task->refusal = judge(task, a);
}

bool sealed_runs_in_reader(const struct task *task)
{
    return task->association && task->association->pending;
}

void sealed_end(struct task *task)
{
    association_release(task->association);
    task->association = NULL;
}

static bool set_seen(struct task *task)
{
    if (sa_replay_set(task->association->sa, task->cdb) == 0)
        return true;
    conn_log_security(task->conn, task->lun_number, "a sealed command came again");
    task_check(task, SENSE_ACCESS_DENIED);
    return false;
}

/* ---- SEALED WRITE ---- */

static struct sense perform(struct task *task)
{
    const struct lun *lun = task->lun;
    struct backend *backend = lun->backend;
    uint64_t bytes = task->blocks * WIRE_BLOCK_BYTES, offset = task->lba * WIRE_BLOCK_BYTES;
    int error = 0;

    if (task->operation == WIRE_OP_NONE)
        return SENSE_NONE;
    if (task->lba > lun->blocks || task->blocks > lun->blocks - task->lba)
        return SENSE_LBA_OUT_OF_RANGE;
    if (task->operation == WIRE_OP_WRITE)
        error =
            backend->operations->pwrite(backend, task->buffer + TASK_DATA_OFFSET, bytes, offset);
    else if (task->operation == WIRE_OP_ZEROES)
        error = backend->operations->zero(backend, bytes, offset);
    else
        error = backend->operations->unmap(backend, bytes, offset);
    if (error)
        conn_log_rarely(task->conn, task->lun_number, "cannot write: %s", strerror(-error));
    else if (task->fua)
        error = lease_flush(lun->lease);
    return target_write_sense(error);
}

/* By a disk that is away, or was restarted meanwhile, it is not executed: it is to come again. */
static void answer(struct task *task, struct sense sense)
{
    if (sense.key == SENSE_NOT_READY.key || sense.key == SENSE_ABORTED.key)
        task_status(task, SCSI_BUSY);
    else if (sense.key)
        task_check(task, sense);
    else
        task_good(task);
}

static void run_after_waiting(struct job *job)
{
    struct task *task = task_of(job, job);

    task_account(task, lease_finish(task->lun->lease, &task->write, perform(task)));
    task_drop(task);
}

static void waiting_execute(struct lease_write *write)
{
    struct task *task = task_of(write, write);

    task->job.run = run_after_waiting;
    workers_push(task->lun->workers, &task->job);
}

static void waiting_drop(struct lease_write *write)
{
    task_drop(task_of(write, write));
}

static void copy_answer(struct lease_write *write, struct sense sense)
{
    struct task *task = task_of(write, write);

    task_take_hint_back(task);
    answer(task, sense);
}

/* False: what it asks for is no write, or not of this length. */
static bool parse(struct task *task)
{
    const struct wire_write *header = (const struct wire_write *)task->out;
    uint64_t data_blocks = (task->expected - WIRE_WRITE_BYTES(0)) / WIRE_BLOCK_BYTES;

    task->operation = header->operation;
    task->fua = header->flags & WIRE_FLAG_FUA;
    task->release = header->flags & WIRE_FLAG_RELEASE;
    task->blocks = wire_get32(header->blocks);
    task->lba = wire_get64(header->lba);
    task->write = (struct lease_write){
        .grant = &task->association->grant,
        .ordinal = wire_get64(header->ordinal),
        .after = wire_get64(header->after),
        .bytes = task->expected,
        .execute = waiting_execute,
        .drop = waiting_drop,
        .answer = copy_answer,
    };
    return task->operation <= WIRE_OP_UNMAP &&
           data_blocks == (task->operation == WIRE_OP_WRITE ? task->blocks : 0);
}

static void claim(struct task *task)
{
    struct lease *lease = task->lun->lease;
    struct conn *conn = task->conn;
    struct response *hint = task->hint;
    enum lease_verdict verdict = lease_claim(lease, &task->write);

    /* in these two the task is not ours any more */
    if (verdict == LEASE_WAITS)
        conn_send(conn, hint);
    if (verdict == LEASE_WAITS || verdict == LEASE_COPY)
        return;
    task_take_hint_back(task);
    switch (verdict) {
    case LEASE_EXECUTE:
        answer(task, lease_finish(lease, &task->write, perform(task)));
        return;
    case LEASE_EXECUTED:
        task_good(task);
        return;
    case LEASE_FULL:
        task_status(task, SCSI_TASK_SET_FULL);
        return;
    case LEASE_READ_ONLY:
        task_check(task, SENSE_WRITE_PROTECTED);
        return;
    case LEASE_INVALID:
        task_check(task, SENSE_INVALID_FIELD_IN_LIST);
        return;
    default:
        task_check(task, SENSE_ACCESS_DENIED);
    }
}

/* Ordinal 0 is none: it confirms the SA and what it intends, or gives the lease back. */
static void confirm(struct task *task)
{
    struct lease *lease = task->lun->lease;
    const struct grant *grant = &task->association->grant;
    bool granted;

    if (task->operation != WIRE_OP_NONE) {
        task_check(task, SENSE_INVALID_FIELD_IN_LIST);
        return;
    }
    granted = task->release ? lease_release(lease, grant) : lease_may_read(lease, grant);
    if (granted && task->release)
        conn_log(task->conn, task->lun_number, "given back");
    answer(task, granted ? SENSE_NONE : SENSE_ACCESS_DENIED);
}

void sealed_write(struct task *task)
{
    struct association *a = task->association;

    if (sa_open_write(a->sa, task->cdb, task->out, task->expected, task->out) != 0) {
        count_bad_tag(task, "the data of a sealed write");
        task_check(task, SENSE_ACCESS_DENIED);
        return;
    }
    if (!set_seen(task))
        return;
    if (a->pending && !association_promote(task->conn, a))
        task_check(task, SENSE_COMMAND_SEQUENCE);
    else if (!parse(task))
        task_check(task, SENSE_INVALID_FIELD_IN_LIST);
    else if (task->write.ordinal == 0)
        confirm(task);
    else if (task->write.after > 0 && !task_make_hint(task))
        task_status(task, SCSI_BUSY);
    else
        claim(task);
}

/* ---- SEALED READ ---- */

static struct sense read_blocks(struct task *task, uint64_t lba, uint32_t blocks)
{
    const struct lun *lun = task->lun;
    int error;

    if (!lease_may_read(lun->lease, &task->association->grant))
        return SENSE_ACCESS_DENIED;
    if (lba > lun->blocks || blocks > lun->blocks - lba)
        return SENSE_LBA_OUT_OF_RANGE;
    error =
        lun->backend->operations->pread(lun->backend, task->buffer + TASK_DATA_OFFSET,
                                        (size_t)blocks * WIRE_BLOCK_BYTES, lba * WIRE_BLOCK_BYTES);
    if (error)
        conn_log_rarely(task->conn, task->lun_number, "cannot read: %s", strerror(-error));
    return target_read_sense(error);
}

void sealed_read(struct task *task)
{
    uint32_t blocks = (uint32_t)(task->field & 0x3FF) + 1;
    size_t bytes = (size_t)blocks * WIRE_BLOCK_BYTES;
    struct wire_read header = {.status = SCSI_GOOD};
    struct sense sense;
    uint8_t *out;

    if (!set_seen(task))
        return;
    if (!task_buffer(task)) {
        task_status(task, SCSI_BUSY);
        return;
    }
    sense = read_blocks(task, task->field >> 10, blocks);
    if (sense.key) {
        header = (struct wire_read){SCSI_CHECK_CONDITION, sense.key, sense.asc, sense.ascq, {0}};
        memset(task->buffer + TASK_DATA_OFFSET, 0, bytes);
    }
    out = task->buffer + TASK_DATA_OFFSET - sizeof header - WIRE_COUNTER_BYTES;
    const struct iovec in[2] = {{&header, sizeof header}, {task->buffer + TASK_DATA_OFFSET, bytes}};
    if (sense.key)
        account_error(task->account);
    if (sa_seal_answer(task->association->sa, task->cdb, in, 2, out) != 0)
        task_check(task, SENSE_ACCESS_DENIED);
    else
        task_data(task, out, (uint32_t)WIRE_READ_BYTES(blocks));
}

/* ---- SEALED SYNC ---- */

static void run_receipt(struct job *job)
{
    struct task *task = task_of(job, job);
    struct wire_receipt receipt;
    const struct iovec in = {&receipt, sizeof receipt};

    if (!task_buffer(task)) {
        task_status(task, SCSI_BUSY);
        return;
    }
    lease_receipt(task->lun->lease, &task->association->grant, &receipt);
    if (sa_seal_answer(task->association->sa, task->cdb, &in, 1, task->buffer) != 0)
        task_check(task, SENSE_ACCESS_DENIED);
    else
        task_data(task, task->buffer, WIRE_SYNC_BYTES);
}

static void sync_answer(struct lease_sync *sync)
{
    struct task *task = task_of(sync, sync);

    task->job.run = run_receipt;
    workers_push(task->conn->target->workers, &task->job);
}

void sealed_sync(struct task *task)
{
    if (!set_seen(task))
        return;
    task->sync.grant = &task->association->grant;
    task->sync.ordinal = task->field;
    task->sync.answer = sync_answer;
    lease_sync(task->lun->lease, &task->sync);
}

/* ---- the handshake's commands: SPC-4, 6.29 and 6.30 ---- */

static bool is_handshake(const struct task *task, uint16_t message)
{
    return task->cdb[1] == WIRE_SECURITY_PROTOCOL && wire_get16(task->cdb + 2) == message &&
           !(task->cdb[4] & 0x80); /* INC_512 */
}

void sealed_security_protocol_out(struct task *task)
{
    uint32_t bytes = wire_get32(task->cdb + 6);

    if (!is_handshake(task, WIRE_SPS_MESSAGE_1) || !task->writes || bytes != task->expected)
        task_check(task, SENSE_INVALID_FIELD_IN_CDB);
    else
        answer(task, association_message_1(task->conn, task->lun, task->out, bytes));
}

void sealed_security_protocol_in(struct task *task)
{
    const struct associations *slots = &nexus_of(task->conn, task->lun)->sealed;
    uint32_t allocated = wire_get32(task->cdb + 6);

    if (!is_handshake(task, WIRE_SPS_MESSAGE_2)) {
        task_check(task, SENSE_INVALID_FIELD_IN_CDB);
    } else if (!slots->has_message_2) {
        task_check(task, SENSE_COMMAND_SEQUENCE);
    } else if (!task_buffer(task)) {
        task_status(task, SCSI_BUSY);
    } else {
        uint32_t bytes = sizeof slots->message_2;

        memcpy(task->buffer, slots->message_2, bytes);
        task_data(task, task->buffer, bytes < allocated ? bytes : allocated);
    }
}
