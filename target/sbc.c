// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The medium of a plain LUN, SBC-3. Run by a worker; blocks are logical blocks.
 */
#include <string.h>

#include "conn.h"

struct extent {
    uint64_t lba;
    uint64_t blocks;
    bool fua;
};

/* READ and WRITE (6), (10), (12), (16); the others are laid out like (10) and (16) */
static struct extent extent_of(const uint8_t *cdb)
{
    struct extent e = {0};

    switch (cdb[0] >> 5) {
    case 0:
        e.lba = wire_get24(cdb + 1) & 0x1fffff;
        e.blocks = cdb[4] ? cdb[4] : 256;
        return e;
    case 1:
    case 2:
        e.lba = wire_get32(cdb + 2);
        e.blocks = wire_get16(cdb + 7);
        break;
    case 4:
        e.lba = wire_get64(cdb + 2);
        e.blocks = wire_get32(cdb + 10);
        break;
    default:
        e.lba = wire_get32(cdb + 2);
        e.blocks = wire_get32(cdb + 6);
    }
    e.fua = cdb[1] & 0x08;
    return e;
}

static bool is_inside(const struct task *t, const struct extent *e)
{
    return e->lba <= t->lun->blocks && e->blocks <= t->lun->blocks - e->lba;
}

static void finish(struct task *t, int error)
{
    if (error)
        task_sense(t, sense_of_errno(error));
    else
        task_status(t, GOOD);
}

static int flush(struct task *t)
{
    return t->lun->backend->ops->flush(t->lun->backend);
}

static void medium_read(struct task *t, const struct extent *e)
{
    uint64_t bytes = e->blocks * t->lun->block_bytes;

    if (bytes > SCSI_DATA_OUT_MAX || bytes > t->expected) {
        task_sense(t, SENSE_INVALID_FIELD);
    } else if (task_reserve(t, (uint32_t)bytes) != 0) {
        task_status(t, BUSY);
    } else if (t->lun->backend->ops->read(t->lun->backend, t->data, bytes,
                                          e->lba * t->lun->block_bytes) != 0) {
        task_sense(t, SENSE_READ_ERROR);
    } else {
        task_data_in(t, (uint32_t)bytes);
    }
}

static void medium_write(struct task *t, const struct extent *e)
{
    uint64_t bytes = e->blocks * t->lun->block_bytes;
    int error;

    if (bytes > t->out_len) {
        task_sense(t, SENSE_INVALID_FIELD);
        return;
    }
    error = t->lun->backend->ops->write(t->lun->backend, t->data, bytes,
                                        e->lba * t->lun->block_bytes);
    if (!error && e->fua)
        error = flush(t);
    finish(t, error);
}

/* WRITE SAME (10), (16), SBC-3 5.38: one block, or zeros, all over the range. */
static void write_same(struct task *t, const struct extent *e)
{
    static const uint8_t zeros[4096];
    struct backend *backend = t->lun->backend;
    uint32_t size = t->lun->block_bytes;
    bool unmap = task_cdb(t)[1] & 0x08;
    uint64_t blocks = e->blocks ? e->blocks : t->lun->blocks - e->lba;
    uint64_t offset = e->lba * size;
    int error = 0;

    if (t->out_len < size || task_cdb(t)[1] & 0xf6) {
        task_sense(t, SENSE_INVALID_FIELD);
        return;
    }
    if (memcmp(t->data, zeros, size) == 0)
        error = unmap ? backend->ops->unmap(backend, blocks * size, offset)
                      : backend->ops->zero(backend, blocks * size, offset);
    else
        for (; blocks > 0 && !error; blocks--, offset += size)
            error = backend->ops->write(backend, t->data, size, offset);
    finish(t, error);
}

/* SBC-3 5.28 */
static void unmap(struct task *t)
{
    struct backend *backend = t->lun->backend;
    uint32_t len = t->out_len < 8 ? 0 : wire_get16(t->data + 2);
    int error = 0;

    if (len + 8 > t->out_len) {
        task_sense(t, SENSE_INVALID_FIELD);
        return;
    }
    for (uint32_t at = 8; at + 16 <= len + 8 && !error; at += 16) {
        struct extent e = {wire_get64(t->data + at), wire_get32(t->data + at + 8), false};

        if (!is_inside(t, &e)) {
            task_sense(t, SENSE_LBA_OUT_OF_RANGE);
            return;
        }
        if (e.blocks)
            error = backend->ops->unmap(backend, e.blocks * t->lun->block_bytes,
                                        e.lba * t->lun->block_bytes);
    }
    finish(t, error);
}

void sbc_execute(struct task *t)
{
    uint8_t opcode = task_cdb(t)[0];
    struct extent e = extent_of(task_cdb(t));

    if (opcode == 0x42) { /* UNMAP has its ranges in the data */
        unmap(t);
        return;
    }
    if (!is_inside(t, &e)) {
        task_sense(t, SENSE_LBA_OUT_OF_RANGE);
        return;
    }
    switch (opcode) {
    case 0x08: /* READ */
    case 0x28:
    case 0xA8:
    case 0x88:
        medium_read(t, &e);
        break;
    case 0x0A: /* WRITE */
    case 0x2A:
    case 0xAA:
    case 0x8A:
        medium_write(t, &e);
        break;
    case 0x41: /* WRITE SAME */
    case 0x93:
        write_same(t, &e);
        break;
    case 0x35: /* SYNCHRONIZE CACHE */
    case 0x91:
        finish(t, flush(t));
        break;
    default:
        task_sense(t, SENSE_INVALID_OPCODE);
    }
}
