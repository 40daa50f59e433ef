// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Disks: SBC-3. The capacity is every LUN's; the commands that move plain
 * bytes get here only for a LUN with access=plain (commands.c says which).
 */
#include <string.h>

#include "commands.h"
#include "conn.h"
#include "range.h"
#include "task.h"

#define COMPARE_BYTES (64u << 10) /* at once: each time costs a round trip where the disk is far */

/* ---- capacity ---- */

void sbc_read_capacity_10(struct task *task)
{
    const struct lun *lun = task->lun;
    uint64_t last = lun->blocks - 1;
    uint8_t *out = task_answer_room(task, 8);

    if (!out)
        return;
    wire_put32(out, last > UINT32_MAX ? UINT32_MAX : (uint32_t)last);
    wire_put32(out + 4, lun->block_bytes);
    task_data(task, out, 8);
}

/* LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT */
static uint8_t physical_exponent(const struct lun *lun)
{
    uint32_t blocks = lun->backend->physical_bytes / lun->block_bytes;

    return blocks > 1 ? (uint8_t)__builtin_ctz(blocks) : 0;
}

void sbc_read_capacity_16(struct task *task)
{
    const struct lun *lun = task->lun;
    uint32_t allocated = wire_get32(task->cdb + 10);
    uint8_t *out = task_answer_room(task, 32);

    if (!out)
        return;
    wire_put64(out, lun->blocks - 1);
    wire_put32(out + 8, lun->block_bytes);
    out[13] = physical_exponent(lun);
    if (!lun->sealed)
        out[14] = 0x80 | 0x40; /* LBPME, LBPRZ */
    task_data(task, out, allocated < 32 ? allocated : 32);
}

/* ---- reading ---- */

void sbc_read(struct task *task)
{
    struct range r = range_of(task);
    struct sense sense = range_check(task, r);
    uint32_t bytes = (uint32_t)(r.blocks * task->lun->block_bytes);
    uint8_t *out;
    int error;

    if (sense.key) {
        task_check(task, sense);
        return;
    }
    out = task_data_room(task, bytes);
    if (!out) {
        task_status(task, SCSI_BUSY);
        return;
    }
    pthread_rwlock_rdlock(&task->lun->unit->medium);
    error = range_read(task, r, out, bytes);
    pthread_rwlock_unlock(&task->lun->unit->medium);
    if (error) {
        conn_log_rarely(task->conn, task->lun_number, "cannot read: %s", strerror(-error));
        task_check(task, target_read_sense(error));
    } else {
        task_data(task, out, bytes);
    }
}

/* The page cache of this machine is ours: there is nothing to fetch that READ
 * would not find as fast. SBC-3, 5.8: GOOD says that not all of it is cached. */
void sbc_pre_fetch(struct task *task)
{
    task_answer(task, range_fits(task->lun, range_of(task)) ? SENSE_NONE : SENSE_LBA_OUT_OF_RANGE);
}

/* ---- writing ---- */

void sbc_write(struct task *task)
{
    struct range r = range_of(task);
    struct sense sense = range_check_data_out(task, &r);
    int error;

    if (sense.key || r.blocks == 0) {
        task_answer(task, sense);
        return;
    }
    pthread_rwlock_rdlock(&task->lun->unit->medium);
    error = range_write(task, r, task->out, (uint32_t)(r.blocks * task->lun->block_bytes));
    pthread_rwlock_unlock(&task->lun->unit->medium);
    task_answer(task, range_written(task, error, range_has_fua(task)));
}

/* It is no answer to say "written" before the flush that was asked for has ended: IMMED is ignored.
 */
void sbc_synchronize_cache(struct task *task)
{
    if (!range_fits(task->lun, range_of(task)))
        task_check(task, SENSE_LBA_OUT_OF_RANGE);
    else
        task_answer(task, target_write_sense(unit_flush(task->nexus)));
}

/* SBC-3, 5.25. Stopped: all that is written is on the medium, and it is not accessed. */
void sbc_start_stop_unit(struct task *task)
{
    enum { START = 0x01, NO_FLUSH = 0x04 };
    struct unit *unit = task->lun->unit;
    bool start = task->cdb[4] & START;
    int error = 0;

    pthread_mutex_lock(&unit->lock);
    unit->stopped = !start;
    pthread_mutex_unlock(&unit->lock);
    if (!start && !(task->cdb[4] & NO_FLUSH))
        error = unit_flush(task->nexus);
    task_answer(task, target_write_sense(error));
}

/* ---- verifying ---- */

/* Of the blocks from `first` on. */
static bool is_equal(const struct task *task, const uint8_t *disk, uint64_t first, uint32_t blocks,
                     uint32_t step)
{
    uint32_t block_bytes = task->lun->block_bytes;

    for (uint32_t i = 0; i < blocks; i++)
        if (memcmp(disk + i * block_bytes, task->out + (first + i) * step, block_bytes) != 0)
            return false;
    return true;
}

/* What is on the disk against `data`, of which `step` bytes follow each other. */
static struct sense compare(struct task *task, struct range r, uint32_t step)
{
    uint32_t block_bytes = task->lun->block_bytes, n;
    uint8_t disk[COMPARE_BYTES];

    for (uint64_t i = 0; i < r.blocks; i += n) {
        uint64_t left = r.blocks - i;
        struct sense sense;

        n = left < COMPARE_BYTES / block_bytes ? (uint32_t)left : COMPARE_BYTES / block_bytes;
        sense = target_read_sense(
            range_read(task, (struct range){r.lba + i, n}, disk, n * block_bytes));
        if (sense.key)
            return sense;
        if (!is_equal(task, disk, i, n, step))
            return SENSE_MISCOMPARE;
    }
    return SENSE_NONE;
}

/* SBC-3, 5.29 */
void sbc_verify(struct task *task)
{
    enum { MEDIUM_ONLY = 0, BYTE_BY_BYTE = 1, ONE_BLOCK = 3 };
    unsigned bytchk = task->cdb[1] >> 1 & 3;
    uint32_t block_bytes = task->lun->block_bytes;
    struct range r = range_of(task), sent = r;
    struct sense sense = SENSE_INVALID_FIELD_IN_CDB;

    if (bytchk == ONE_BLOCK && sent.blocks > 1)
        sent.blocks = 1;
    if (bytchk == MEDIUM_ONLY) {
        task->used = 0;
        sense = range_fits(task->lun, r) ? SENSE_NONE : SENSE_LBA_OUT_OF_RANGE;
    } else if (bytchk == BYTE_BY_BYTE || bytchk == ONE_BLOCK) {
        sense = range_check(task, r);
        if (!sense.key)
            sense = range_check_data_out(task, &sent);
        if (!sense.key && sent.blocks * block_bytes < task->used)
            sense = SENSE_INFORMATION_UNIT;
        if (!sense.key)
            sense = compare(task, r, bytchk == ONE_BLOCK ? 0 : block_bytes);
    }
    task_answer(task, sense);
}

/* SBC-3, 5.38. What was verified has to be on the medium: it is flushed. */
void sbc_write_and_verify(struct task *task)
{
    bool byte_by_byte = task->cdb[1] & 0x02;
    struct range r = range_of(task);
    struct sense sense = range_check_data_out(task, &r);
    int error;

    if (sense.key || r.blocks == 0) {
        task_answer(task, sense);
        return;
    }
    pthread_rwlock_rdlock(&task->lun->unit->medium);
    error = range_write(task, r, task->out, (uint32_t)(r.blocks * task->lun->block_bytes));
    if (!error)
        error = unit_flush(task->nexus);
    sense = target_write_sense(error);
    if (!sense.key && byte_by_byte)
        sense = compare(task, r, task->lun->block_bytes);
    pthread_rwlock_unlock(&task->lun->unit->medium);
    task_answer(task, sense);
}
