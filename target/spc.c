// SPDX-License-Identifier: LGPL-2.1-or-later
/* What every LUN answers: SPC-4. Sealed LUNs too; nothing of it is secret. */
#include <stdio.h>
#include <string.h>

#include "conn.h"
#include "task.h"

#define VENDOR "ENCSAN  "
#define REVISION "0.1 "
#define ANSWER_BYTES 256

/* Zeroed room for an answer. NULL: the task is answered already. */
static uint8_t *answer_room(struct task *task, uint32_t bytes)
{
    uint8_t *out = task_buffer(task);

    if (out)
        memset(out, 0, bytes);
    else
        task_status(task, SCSI_BUSY);
    return out;
}

static void answer(struct task *task, const uint8_t *out, uint32_t bytes, uint32_t allocated)
{
    task_data(task, out, bytes < allocated ? bytes : allocated);
}

void spc_test_unit_ready(struct task *task)
{
    task_good(task);
}

/* 6.39: what went wrong was said with the command that went wrong. */
void spc_request_sense(struct task *task)
{
    uint8_t *out = answer_room(task, 18);

    if (!out)
        return;
    out[0] = 0x70;
    out[7] = 18 - 8;
    if (!task->lun && task->lun_number != 0) {
        out[2] = SENSE_NO_SUCH_LUN.key;
        out[12] = SENSE_NO_SUCH_LUN.asc;
    }
    answer(task, out, 18, task->cdb[4]);
}

/* ---- INQUIRY: 6.6 and 7.8 ---- */

/* Peripheral qualifier and device type */
static uint8_t peripheral(const struct task *task)
{
    if (task->lun)
        return 0x00;
    return task->lun_number == 0 ? 0x3F : 0x7F;
}

static uint32_t standard_inquiry(const struct task *task, uint8_t *out)
{
    static const uint16_t versions[] = {0x00A0, 0x0960, 0x0460,
                                        0x04C0}; /* SAM-5, iSCSI, SPC-4, SBC-3 */
    const uint32_t bytes = 96;

    out[0] = peripheral(task);
    out[2] = 0x06; /* SPC-4 */
    out[3] = 0x12; /* HISUP, format 2 */
    out[4] = (uint8_t)(bytes - 5);
    out[7] = 0x02; /* CMDQUE */
    memcpy(out + 8, VENDOR, 8);
    memcpy(out + 16, task->lun && task->lun->sealed ? "SEALED DISK     " : "DISK            ", 16);
    memcpy(out + 32, REVISION, 4);
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++)
        wire_put16(out + 58 + 2 * i, versions[i]);
    return bytes;
}

static uint32_t put_serial(const struct lun *lun, uint8_t *out)
{
    for (size_t i = 0; i < sizeof lun->id; i++) {
        static const char digits[] = "0123456789abcdef";

        out[2 * i] = (uint8_t)digits[lun->id[i] >> 4];
        out[2 * i + 1] = (uint8_t)digits[lun->id[i] & 15];
    }
    return 2 * sizeof lun->id;
}

static uint32_t put_identification(const struct lun *lun, uint8_t *out)
{
    out[0] = 0x01; /* binary */
    out[1] = 0x03; /* of the logical unit, NAA */
    out[3] = sizeof lun->id;
    memcpy(out + 4, lun->id, sizeof lun->id);
    return 4 + sizeof lun->id;
}

/* SBC-3, 6.5.3 */
static uint32_t put_block_limits(const struct lun *lun, uint8_t *out)
{
    const uint32_t transfer = TASK_DATA_MAX / lun->block_bytes;

    wire_put32(out + 4, transfer); /* MAXIMUM TRANSFER LENGTH */
    wire_put32(out + 8, transfer); /* OPTIMAL */
    if (!lun->sealed) {
        wire_put32(out + 16, UINT32_MAX);                          /* MAXIMUM UNMAP LBA COUNT */
        wire_put32(out + 20, 256);                                 /* BLOCK DESCRIPTOR COUNT */
        wire_put32(out + 24, WIRE_BLOCK_BYTES / lun->block_bytes); /* GRANULARITY */
        wire_put64(out + 32, UINT32_MAX);                          /* MAXIMUM WRITE SAME LENGTH */
    }
    return 60;
}

/* SBC-3, 6.5.2 */
static uint32_t put_characteristics(uint8_t *out)
{
    wire_put16(out, 1); /* does not rotate */
    return 60;
}

/* SBC-3, 6.5.4 */
static uint32_t put_provisioning(const struct lun *lun, uint8_t *out)
{
    if (!lun->sealed) {
        out[1] = 0x80 | 0x40 | 0x04; /* LBPU, LBPWS, LBPRZ */
        out[2] = 0x02;               /* thin */
    }
    return 4;
}

/* The bytes behind the page's header; -1: no such page. */
static int put_page(const struct lun *lun, uint8_t page, uint8_t *out)
{
    static const uint8_t pages[] = {0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2};

    switch (page) {
    case 0x00:
        memcpy(out, pages, sizeof pages);
        return sizeof pages;
    case 0x80:
        return (int)put_serial(lun, out);
    case 0x83:
        return (int)put_identification(lun, out);
    case 0xB0:
        return (int)put_block_limits(lun, out);
    case 0xB1:
        return (int)put_characteristics(out);
    case 0xB2:
        return (int)put_provisioning(lun, out);
    default:
        return -1;
    }
}

void spc_inquiry(struct task *task)
{
    bool vital = task->cdb[1] & 0x01;
    uint16_t allocated = wire_get16(task->cdb + 3);
    uint8_t *out = answer_room(task, ANSWER_BYTES);
    int n;

    if (!out)
        return;
    if (!vital && task->cdb[2] == 0) {
        answer(task, out, standard_inquiry(task, out), allocated);
        return;
    }
    n = vital && task->lun ? put_page(task->lun, task->cdb[2], out + 4) : -1;
    if (n < 0) {
        task_check(task, SENSE_INVALID_FIELD_IN_CDB);
        return;
    }
    out[1] = task->cdb[2];
    wire_put16(out + 2, (uint16_t)n);
    answer(task, out, (uint32_t)n + 4, allocated);
}

/* 6.33 */
void spc_report_luns(struct task *task)
{
    const unsigned count = task->conn->target->lun_count;
    const uint32_t bytes = 8 + 8 * count;
    uint8_t *out = answer_room(task, bytes);

    if (!out)
        return;
    if (task->cdb[2] > 2) {
        task_check(task, SENSE_INVALID_FIELD_IN_CDB);
        return;
    }
    if (task->cdb[2] == 1) { /* well known ones: none */
        answer(task, out, 8, wire_get32(task->cdb + 6));
        return;
    }
    wire_put32(out, 8 * count);
    for (unsigned i = 0; i < count; i++)
        out[8 + 8 * i + 1] = (uint8_t)(i + 1);
    answer(task, out, bytes, wire_get32(task->cdb + 6));
}

/* ---- MODE SENSE: 6.13, 6.14, 7.5; SBC-3, 6.4 ---- */

static uint32_t put_caching(uint8_t *out, bool changeable)
{
    out[0] = 0x08;
    out[1] = 0x12;
    if (!changeable)
        out[2] = 0x04; /* WCE: a flush is needed */
    return 20;
}

static uint32_t put_control(uint8_t *out, bool changeable)
{
    out[0] = 0x0A;
    out[1] = 0x0A;
    if (!changeable) {
        out[2] = 0x20; /* TST: a task set for each initiator */
        out[3] = 0x10; /* commands may be reordered */
    }
    return 12;
}

/* -1: no such page */
static int put_mode_pages(const struct task *task, uint8_t *out)
{
    uint8_t page = task->cdb[2] & 0x3F, control = task->cdb[2] >> 6, subpage = task->cdb[3];
    uint32_t n = 0;

    if (control == 3 || (subpage != 0 && subpage != 0xFF))
        return -1;
    if (page == 0x08 || page == 0x3F)
        n += put_caching(out + n, control == 1);
    if (page == 0x0A || page == 0x3F)
        n += put_control(out + n, control == 1);
    return n ? (int)n : -1;
}

static uint32_t put_block_descriptor(const struct task *task, uint8_t *out)
{
    const struct lun *lun = task->lun;

    if (task->cdb[1] & 0x08) /* DBD */
        return 0;
    wire_put32(out, lun->blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)lun->blocks);
    wire_put24(out + 5, lun->block_bytes);
    return 8;
}

static void mode_sense(struct task *task, uint32_t header_bytes, uint32_t allocated)
{
    uint8_t *out = answer_room(task, ANSWER_BYTES);
    uint32_t descriptor;
    int pages;

    if (!out)
        return;
    descriptor = put_block_descriptor(task, out + header_bytes);
    pages = put_mode_pages(task, out + header_bytes + descriptor);
    if (pages < 0) {
        task_check(task, SENSE_INVALID_FIELD_IN_CDB);
        return;
    }
    if (header_bytes == 4) {
        out[0] = (uint8_t)(header_bytes + descriptor + (uint32_t)pages - 1);
        out[2] = 0x10; /* DPOFUA */
        out[3] = (uint8_t)descriptor;
    } else {
        wire_put16(out, (uint16_t)(header_bytes + descriptor + (uint32_t)pages - 2));
        out[3] = 0x10;
        wire_put16(out + 6, (uint16_t)descriptor);
    }
    answer(task, out, header_bytes + descriptor + (uint32_t)pages, allocated);
}

void spc_mode_sense_6(struct task *task)
{
    mode_sense(task, 4, task->cdb[4]);
}

void spc_mode_sense_10(struct task *task)
{
    mode_sense(task, 8, wire_get16(task->cdb + 7));
}
