// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Disks: SBC-3. The capacity is every LUN's; the commands that move plain
 * bytes get here only for a LUN with access=plain (task.c sees to it).
 */
#include <string.h>

#include "conn.h"
#include "task.h"

#define COMPARE_BYTES 4096

struct range {
    uint64_t lba, blocks;
};

/* ---- capacity ---- */

void sbc_read_capacity_10(struct task *task)
{
    const struct lun *lun = task->lun;
    uint64_t last = lun->blocks - 1;
    uint8_t *out = task_buffer(task);

    if (!out) {
        task_status(task, SCSI_BUSY);
        return;
    }
    wire_put32(out, last > UINT32_MAX ? UINT32_MAX : (uint32_t)last);
    wire_put32(out + 4, lun->block_bytes);
    task_data(task, out, 8);
}

static void read_capacity_16(struct task *task)
{
    const struct lun *lun = task->lun;
    uint32_t allocated = wire_get32(task->cdb + 10);
    uint8_t *out = task_buffer(task);

    if (!out) {
        task_status(task, SCSI_BUSY);
        return;
    }
    memset(out, 0, 32);
    wire_put64(out, lun->blocks - 1);
    wire_put32(out + 8, lun->block_bytes);
    out[13] = (uint8_t)(__builtin_ctz(WIRE_BLOCK_BYTES) - __builtin_ctz(lun->block_bytes));
    if (!lun->sealed)
        out[14] = 0x80 | 0x40; /* LBPME, LBPRZ */
    task_data(task, out, allocated < 32 ? allocated : 32);
}

/* 5.4: all of it counts as mapped, which is always true enough */
static void get_lba_status(struct task *task)
{
    const struct lun *lun = task->lun;
    uint64_t lba = wire_get64(task->cdb + 2), blocks = lba < lun->blocks ? lun->blocks - lba : 0;
    uint32_t allocated = wire_get32(task->cdb + 10);
    uint8_t *out = task_buffer(task);

    if (!out) {
        task_status(task, SCSI_BUSY);
    } else if (blocks == 0) {
        task_check(task, SENSE_LBA_OUT_OF_RANGE);
    } else {
        memset(out, 0, 24);
        wire_put32(out, 24 - 4);
        wire_put64(out + 8, lba);
        wire_put32(out + 16, blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)blocks);
        task_data(task, out, allocated < 24 ? allocated : 24);
    }
}

void sbc_service_action_in(struct task *task)
{
    switch (task->cdb[1] & 0x1F) {
    case 0x10:
        read_capacity_16(task);
        return;
    case 0x12:
        get_lba_status(task);
        return;
    default:
        task_check(task, SENSE_INVALID_FIELD_IN_CDB);
    }
}

/* ---- plain access ---- */

static struct range range_of(const struct task *task)
{
    const uint8_t *cdb = task->cdb;

    switch (cdb[0] >> 5) { /* SPC-4, 4.2.5.1: the group code says how long it is */
    case 0:
        return (struct range){wire_get24(cdb + 1) & 0x1FFFFF, cdb[4] ? cdb[4] : 256};
    case 4:
        return (struct range){wire_get64(cdb + 2), wire_get32(cdb + 10)};
    case 5:
        return (struct range){wire_get32(cdb + 2), wire_get32(cdb + 6)};
    default:
        return (struct range){wire_get32(cdb + 2), wire_get16(cdb + 7)};
    }
}

static bool fits(const struct lun *lun, struct range r)
{
    return r.lba <= lun->blocks && r.blocks <= lun->blocks - r.lba;
}

/* Of data that crosses the network; NONE: fine. */
static struct sense check_transfer(const struct task *task, struct range r)
{
    if (!fits(task->lun, r))
        return SENSE_LBA_OUT_OF_RANGE;
    if (r.blocks > TASK_DATA_MAX / task->lun->block_bytes)
        return SENSE_INVALID_FIELD_IN_CDB; /* see VPD page B0h */
    return SENSE_NONE;
}

/* 6-byte CDBs have no such field, and no other protection than none is known. */
static bool wants_protection(const struct task *task)
{
    return task->cdb[0] >> 5 != 0 && task->cdb[1] & 0xE0;
}

static bool has_fua(const struct task *task)
{
    return task->cdb[0] >> 5 != 0 && task->cdb[1] & 0x08;
}

static void answer(struct task *task, struct sense sense)
{
    if (sense.key)
        task_check(task, sense);
    else
        task_good(task);
}

void sbc_read(struct task *task)
{
    struct backend *backend = task->lun->backend;
    uint32_t block_bytes = task->lun->block_bytes;
    struct range r = range_of(task);
    struct sense sense = check_transfer(task, r);
    uint8_t *out;

    if (wants_protection(task))
        sense = SENSE_INVALID_FIELD_IN_CDB;
    out = sense.key ? NULL : task_buffer(task);
    if (sense.key) {
        task_check(task, sense);
    } else if (!out) {
        task_status(task, SCSI_BUSY);
    } else if (backend->operations->pread(backend, out, r.blocks * block_bytes,
                                          r.lba * block_bytes) != 0) {
        conn_log_rarely(task->conn, task->lun_number, "cannot read");
        task_check(task, SENSE_READ_ERROR);
    } else {
        task_data(task, out, (uint32_t)(r.blocks * block_bytes));
    }
}

static struct sense written(struct task *task, int error)
{
    struct backend *backend = task->lun->backend;

    if (!error && has_fua(task))
        error = backend->operations->flush(backend);
    if (error)
        conn_log_rarely(task->conn, task->lun_number, "cannot write: %s", strerror(-error));
    return target_write_sense(error);
}

/* Data that the CDB names has to be there. */
static struct sense check_data_out(struct task *task, struct range r)
{
    struct sense sense = check_transfer(task, r);

    if (wants_protection(task))
        return SENSE_INVALID_FIELD_IN_CDB;
    if (sense.key)
        return sense;
    task->used = (uint32_t)(r.blocks * task->lun->block_bytes);
    return task->used > 0 && (!task->writes || task->used > task->expected) ? SENSE_INFORMATION_UNIT
                                                                            : SENSE_NONE;
}

void sbc_write(struct task *task)
{
    struct backend *backend = task->lun->backend;
    struct range r = range_of(task);
    struct sense sense = check_data_out(task, r);

    if (!sense.key && task->used > 0)
        sense = written(task, backend->operations->pwrite(backend, task->out, task->used,
                                                          r.lba * task->lun->block_bytes));
    answer(task, sense);
}

void sbc_synchronize_cache(struct task *task)
{
    struct backend *backend = task->lun->backend;
    struct range r = range_of(task);

    if (!fits(task->lun, r))
        task_check(task, SENSE_LBA_OUT_OF_RANGE);
    else
        answer(task, target_write_sense(backend->operations->flush(backend)));
}

static struct sense compare(struct task *task, struct range r)
{
    struct backend *backend = task->lun->backend;
    uint64_t offset = r.lba * task->lun->block_bytes;
    uint8_t disk[COMPARE_BYTES];

    for (uint32_t done = 0; done < task->used; done += COMPARE_BYTES) {
        uint32_t n = task->used - done < COMPARE_BYTES ? task->used - done : COMPARE_BYTES;

        if (backend->operations->pread(backend, disk, n, offset + done) != 0)
            return SENSE_READ_ERROR;
        if (memcmp(disk, task->out + done, n) != 0)
            return SENSE_MISCOMPARE;
    }
    return SENSE_NONE;
}

void sbc_verify(struct task *task)
{
    enum { MEDIUM_ONLY = 0, BYTE_BY_BYTE = 1 };
    unsigned bytchk = task->cdb[1] >> 1 & 3;
    struct range r = range_of(task);
    struct sense sense = SENSE_INVALID_FIELD_IN_CDB;

    if (bytchk == MEDIUM_ONLY && !wants_protection(task)) {
        task->used = 0;
        sense = fits(task->lun, r) ? SENSE_NONE : SENSE_LBA_OUT_OF_RANGE;
    } else if (bytchk == BYTE_BY_BYTE) {
        sense = check_data_out(task, r);
        if (!sense.key)
            sense = compare(task, r);
    }
    answer(task, sense);
}

/* SBC-3, 5.28 */
void sbc_unmap(struct task *task)
{
    struct backend *backend = task->lun->backend;
    uint32_t block_bytes = task->lun->block_bytes, list = wire_get16(task->cdb + 7), descriptors;
    struct sense sense = SENSE_NONE;

    task->used = list;
    if (list == 0) {
        task_good(task);
        return;
    }
    if (!task->writes || list > task->expected || list < 8) {
        task_check(task, SENSE_PARAMETER_LIST_LENGTH);
        return;
    }
    descriptors = wire_get16(task->out + 2);
    if (descriptors > list - 8)
        descriptors = list - 8;
    for (uint32_t i = 0; i + 16 <= descriptors && !sense.key; i += 16) {
        const uint8_t *d = task->out + 8 + i;
        struct range r = {wire_get64(d), wire_get32(d + 8)};

        if (!fits(task->lun, r))
            sense = SENSE_LBA_OUT_OF_RANGE;
        else
            sense = target_write_sense(
                backend->operations->unmap(backend, r.blocks * block_bytes, r.lba * block_bytes));
    }
    answer(task, sense);
}

/* ---- WRITE SAME: SBC-3, 5.43 ---- */

enum { WRITE_SAME_NDOB = 0x01, WRITE_SAME_UNMAP = 0x08, WRITE_SAME_ANCHOR = 0x10 };

static bool is_zero(const uint8_t *data, uint32_t bytes)
{
    return data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0;
}

/* The block over and over, in pieces as large as the buffer. */
static int repeat(struct task *task, struct range r)
{
    struct backend *backend = task->lun->backend;
    uint64_t block_bytes = task->lun->block_bytes, left = r.blocks * block_bytes;
    uint64_t offset = r.lba * block_bytes;
    int error = 0;

    for (uint64_t filled = block_bytes; filled < TASK_DATA_MAX; filled += block_bytes)
        memcpy(task->out + filled, task->out, block_bytes);
    while (left && !error) {
        uint64_t n = left < TASK_DATA_MAX ? left : TASK_DATA_MAX;

        error = backend->operations->pwrite(backend, task->out, n, offset);
        offset += n;
        left -= n;
    }
    return error;
}

static int write_same(struct task *task, struct range r)
{
    struct backend *backend = task->lun->backend;
    uint64_t bytes = r.blocks * task->lun->block_bytes, offset = r.lba * task->lun->block_bytes;
    bool zeros = task->cdb[1] & WRITE_SAME_NDOB || is_zero(task->out, task->lun->block_bytes);

    if (zeros && task->cdb[1] & WRITE_SAME_UNMAP)
        return backend->operations->unmap(backend, bytes, offset);
    return zeros ? backend->operations->zero(backend, bytes, offset) : repeat(task, r);
}

void sbc_write_same_16(struct task *task)
{
    struct range r = range_of(task);

    if (r.blocks == 0 && r.lba <= task->lun->blocks)
        r.blocks = task->lun->blocks - r.lba; /* WSNZ is 0 */
    task->used = task->cdb[1] & WRITE_SAME_NDOB ? 0 : task->lun->block_bytes;
    if (wants_protection(task) || task->cdb[1] & WRITE_SAME_ANCHOR)
        task_check(task, SENSE_INVALID_FIELD_IN_CDB);
    else if (!fits(task->lun, r))
        task_check(task, SENSE_LBA_OUT_OF_RANGE);
    else if (task->used && (!task->writes || task->used > task->expected))
        task_check(task, SENSE_INFORMATION_UNIT);
    else
        answer(task, target_write_sense(write_same(task, r)));
}
