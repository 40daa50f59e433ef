// SPDX-License-Identifier: LGPL-2.1-or-later
/* Ranges of blocks: range.h. */
#include "range.h"

#include <string.h>

#include "conn.h"
#include "task.h"

struct range range_of(const struct task *task)
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

bool range_fits(const struct lun *lun, struct range r)
{
    return r.lba <= lun->blocks && r.blocks <= lun->blocks - r.lba;
}

struct sense range_check(const struct task *task, struct range r)
{
    if (!range_fits(task->lun, r))
        return SENSE_LBA_OUT_OF_RANGE;
    if (r.blocks > PLAIN_DATA_MAX / task->lun->block_bytes)
        return SENSE_INVALID_FIELD_IN_CDB; /* see VPD page B0h */
    return SENSE_NONE;
}

struct sense range_check_data_out(struct task *task, struct range *r)
{
    uint32_t block_bytes = task->lun->block_bytes;
    struct sense sense = range_check(task, *r);

    if (sense.key)
        return sense;
    task->used = (uint32_t)(r->blocks * block_bytes);
    if (task->used > 0 && !task->writes)
        return SENSE_INFORMATION_UNIT;
    if (task->used > task->expected)
        r->blocks = task->expected / block_bytes;
    return SENSE_NONE;
}

struct sense range_check_exact(const struct task *task)
{
    uint32_t there = task->writes ? task->expected : 0;

    return there == task->used ? SENSE_NONE : SENSE_INVALID_FIELD_IN_CDB;
}

bool range_has_fua(const struct task *task)
{
    return task->cdb[0] >> 5 != 0 && task->cdb[1] & 0x08; /* 6-byte CDBs have none */
}

struct sense range_written(struct task *task, int error, bool fua)
{
    if (!error && (fua || !unit_mode(task->lun->unit).write_cache))
        error = unit_flush(task->nexus);
    if (error)
        conn_log_rarely(task->conn, task->lun_number, "cannot write: %s", strerror(-error));
    return target_write_sense(error);
}

int range_read(const struct task *task, struct range r, uint8_t *out, uint32_t bytes)
{
    struct backend *backend = task->lun->backend;

    return backend->operations->pread(backend, out, bytes, r.lba * task->lun->block_bytes);
}

int range_write(const struct task *task, struct range r, const uint8_t *data, uint32_t bytes)
{
    struct backend *backend = task->lun->backend;

    return backend->operations->pwrite(backend, data, bytes, r.lba * task->lun->block_bytes);
}
