// SPDX-License-Identifier: LGPL-2.1-or-later
/* Thin provisioning: SBC-3, 4.7: UNMAP, WRITE SAME, GET LBA STATUS. */
#include <string.h>

#include "commands.h"
#include "conn.h"
#include "range.h"
#include "task.h"

#define LBA_STATUS_BYTES_MAX (8 + 16 * 64)

/* ---- UNMAP: 5.28 ---- */

static int unmap(struct task *task, const uint8_t *descriptors, uint32_t bytes)
{
    struct backend *backend = task->lun->backend;
    uint32_t block_bytes = task->lun->block_bytes;
    int error = 0;

    for (uint32_t i = 0; i + 16 <= bytes && !error; i += 16) {
        struct range r = {wire_get64(descriptors + i), wire_get32(descriptors + i + 8)};

        error = backend->operations->unmap(backend, r.blocks * block_bytes, r.lba * block_bytes);
    }
    return error;
}

/* All of them are checked before the first is unmapped. */
static struct sense check_descriptors(const struct task *task, const uint8_t *descriptors,
                                      uint32_t bytes)
{
    if (bytes / 16 > UNMAP_DESCRIPTORS_MAX)
        return SENSE_INVALID_FIELD_IN_LIST;
    for (uint32_t i = 0; i + 16 <= bytes; i += 16) {
        struct range r = {wire_get64(descriptors + i), wire_get32(descriptors + i + 8)};

        if (!range_fits(task->lun, r))
            return SENSE_LBA_OUT_OF_RANGE;
    }
    return SENSE_NONE;
}

void sbc_unmap(struct task *task)
{
    uint32_t list = wire_get16(task->cdb + 7), bytes;
    struct sense sense;
    int error;

    task->used = list;
    if (list == 0) {
        task_good(task);
        return;
    }
    if (!task->writes || list > task->expected || list < 8) {
        task_check(task, SENSE_PARAMETER_LIST_LENGTH);
        return;
    }
    bytes = wire_get16(task->out + 2);
    if (bytes > list - 8)
        bytes = list - 8;
    sense = check_descriptors(task, task->out + 8, bytes);
    if (sense.key) {
        task_check(task, sense);
        return;
    }
    pthread_rwlock_rdlock(&task->lun->unit->medium);
    error = unmap(task, task->out + 8, bytes);
    pthread_rwlock_unlock(&task->lun->unit->medium);
    task_answer(task, range_written(task, error, false));
}

/* ---- WRITE SAME: 5.42, 5.43 ---- */

enum { WRITE_SAME_NDOB = 0x01, WRITE_SAME_UNMAP = 0x08 };

static bool is_zero(const uint8_t *data, uint32_t bytes)
{
    return data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0;
}

#define REPEATED_BYTES TASK_DATA_MAX

/* The block over and over, as often as there is room, or need, for it. False: no memory. */
static bool multiply(struct task *task, struct range r)
{
    uint32_t block_bytes = task->lun->block_bytes;
    uint64_t all = r.blocks * block_bytes;
    uint32_t bytes = all < REPEATED_BYTES ? (uint32_t)all : REPEATED_BYTES;
    uint8_t block[WIRE_BLOCK_BYTES];

    memcpy(block, task->out, block_bytes);
    task->out = task_data_room(task, bytes);
    for (uint32_t i = 0; task->out && i < bytes; i += block_bytes)
        memcpy(task->out + i, block, block_bytes);
    return task->out != NULL;
}

static int repeat(struct task *task, struct range r)
{
    struct backend *backend = task->lun->backend;
    uint64_t left = r.blocks * task->lun->block_bytes, offset = r.lba * task->lun->block_bytes;
    int error = 0;

    while (left && !error) {
        uint64_t n = left < REPEATED_BYTES ? left : REPEATED_BYTES;

        error = backend->operations->pwrite(backend, task->out, n, offset);
        offset += n;
        left -= n;
    }
    return error;
}

/* With UNMAP the block should be zeros, as unmapped blocks read. Where it is not,
 * it does not count: other targets do so too, and initiators rely on it. */
static bool is_repeated(const struct task *task)
{
    return task->used > 0 && !(task->cdb[1] & WRITE_SAME_UNMAP) &&
           !is_zero(task->out, task->lun->block_bytes);
}

static int write_same(struct task *task, struct range r, bool repeated)
{
    const struct backend_operations *operations = task->lun->backend->operations;
    uint64_t bytes = r.blocks * task->lun->block_bytes, offset = r.lba * task->lun->block_bytes;

    if (repeated)
        return repeat(task, r);
    if (task->cdb[1] & WRITE_SAME_UNMAP)
        return operations->unmap(task->lun->backend, bytes, offset);
    return operations->zero(task->lun->backend, bytes, offset);
}

static struct sense check_write_same(const struct task *task, struct range r)
{
    if (!range_fits(task->lun, r))
        return SENSE_LBA_OUT_OF_RANGE;
    if (r.blocks > WRITE_SAME_BLOCKS_MAX)
        return SENSE_INVALID_FIELD_IN_CDB;
    return range_check_exact(task);
}

void sbc_write_same(struct task *task)
{
    struct range r = range_of(task);
    struct sense sense;
    bool repeated;
    int error;

    if (r.blocks == 0 && r.lba <= task->lun->blocks)
        r.blocks = task->lun->blocks - r.lba; /* WSNZ is 0 */
    task->used = task->cdb[1] & WRITE_SAME_NDOB ? 0 : task->lun->block_bytes;
    sense = check_write_same(task, r);
    if (sense.key) {
        task_check(task, sense);
        return;
    }
    repeated = is_repeated(task);
    if (repeated && !multiply(task, r)) {
        task_status(task, SCSI_BUSY);
        return;
    }
    pthread_rwlock_rdlock(&task->lun->unit->medium);
    error = write_same(task, r, repeated);
    pthread_rwlock_unlock(&task->lun->unit->medium);
    task_answer(task, range_written(task, error, false));
}

/* ---- GET LBA STATUS: 5.4 ---- */

static void put_descriptor(uint8_t *out, struct range r, bool mapped)
{
    enum { MAPPED = 0, DEALLOCATED = 1 };

    wire_put64(out, r.lba);
    wire_put32(out + 8, (uint32_t)r.blocks);
    out[12] = mapped ? MAPPED : DEALLOCATED;
}

/* A block that is mapped in part counts as mapped. */
static int find_extent(const struct lun *lun, uint64_t lba, struct range *r, bool *mapped)
{
    struct backend *backend = lun->backend;
    uint64_t begin = lba * lun->block_bytes, bytes = (lun->blocks - lba) * lun->block_bytes;
    int error = 0;

    *mapped = true;
    if (backend->operations->extent)
        error = backend->operations->extent(backend, begin, &bytes, mapped);
    r->lba = lba;
    r->blocks =
        *mapped ? (bytes + lun->block_bytes - 1) / lun->block_bytes : bytes / lun->block_bytes;
    if (r->blocks == 0) { /* the hole ends within the block */
        *mapped = true;
        r->blocks = 1;
    }
    if (r->blocks > UINT32_MAX)
        r->blocks = UINT32_MAX;
    return error;
}

void sbc_get_lba_status(struct task *task)
{
    const struct lun *lun = task->lun;
    uint64_t lba = wire_get64(task->cdb + 2);
    uint32_t allocated = wire_get32(task->cdb + 10), n = 8;
    uint8_t *out;
    int error = 0;

    if (lba >= lun->blocks) {
        task_check(task, SENSE_LBA_OUT_OF_RANGE);
        return;
    }
    out = task_answer_room(task, LBA_STATUS_BYTES_MAX);
    if (!out)
        return;
    do {
        struct range r;
        bool mapped;

        error = find_extent(lun, lba, &r, &mapped);
        put_descriptor(out + n, r, mapped);
        n += 16;
        lba += r.blocks;
    } while (!error && lba < lun->blocks && n + 16 <= allocated && n + 16 <= LBA_STATUS_BYTES_MAX);
    wire_put32(out, n - 4);
    if (error)
        task_check(task, target_read_sense(error));
    else
        task_data(task, out, n < allocated ? n : allocated);
}
