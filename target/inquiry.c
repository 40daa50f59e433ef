// SPDX-License-Identifier: LGPL-2.1-or-later
/* INQUIRY: SPC-4, 6.6 and 7.8. Sealed LUNs answer it too; nothing of it is secret. */
#include <stdio.h>
#include <string.h>
#include <sys/param.h>

#include "commands.h"
#include "conn.h"
#include "task.h"

#define VENDOR "ENCSAN  "
#define REVISION "0.1 "
#define ANSWER_BYTES 512

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

/* A designator of the target port: SPC-4, 7.8.6. */
static uint32_t put_port_designator(uint8_t *out, uint8_t code_set, uint8_t type, uint32_t bytes)
{
    enum { ISCSI = 5 << 4, PIV = 0x80, TARGET_PORT = 1 << 4 };

    out[0] = (uint8_t)(ISCSI | code_set);
    out[1] = (uint8_t)(PIV | TARGET_PORT | type);
    out[3] = (uint8_t)bytes;
    return 4 + bytes;
}

static uint32_t put_identification(const struct task *task, uint8_t *out)
{
    enum { BINARY = 1, UTF_8 = 3, NAA = 3, RELATIVE_PORT = 4, SCSI_NAME = 8 };
    const struct lun *lun = task->lun;
    char name[NAME_BYTES + 16];
    uint32_t n = 4 + sizeof lun->id, bytes;

    out[0] = BINARY;
    out[1] = NAA; /* of the logical unit */
    out[3] = sizeof lun->id;
    memcpy(out + 4, lun->id, sizeof lun->id);
    wire_put16(out + n + 4 + 2, 1);
    n += put_port_designator(out + n, BINARY, RELATIVE_PORT, 4);
    bytes = (uint32_t)snprintf(name, sizeof name, "%s,t,0x0001", task->conn->target_name) + 1;
    memcpy(out + n + 4, name, bytes);
    return n + put_port_designator(out + n, UTF_8, SCSI_NAME, bytes + pdu_padding(bytes));
}

/* SBC-3, 6.5.3 */
static uint32_t put_block_limits(const struct lun *lun, uint8_t *out)
{
    const uint32_t transfer = (lun->sealed ? TASK_DATA_MAX : PLAIN_DATA_MAX) / lun->block_bytes;
    const uint32_t page = WIRE_BLOCK_BYTES / lun->block_bytes;

    wire_put32(out + 4, transfer);                         /* MAXIMUM TRANSFER LENGTH */
    wire_put32(out + 8, TASK_DATA_MAX / lun->block_bytes); /* OPTIMAL */
    if (!lun->sealed) {
        out[1] = (uint8_t)MIN(COMPARE_AND_WRITE_BLOCKS_MAX, transfer / 2);
        wire_put16(out + 2, (uint16_t)page); /* OPTIMAL TRANSFER LENGTH GRANULARITY */
        wire_put32(out + 16, UINT32_MAX);    /* MAXIMUM UNMAP LBA COUNT */
        wire_put32(out + 20, UNMAP_DESCRIPTORS_MAX);
        wire_put32(out + 24, page); /* OPTIMAL UNMAP GRANULARITY */
        wire_put64(out + 32, WRITE_SAME_BLOCKS_MAX);
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
        out[1] = 0x80 | 0x40 | 0x20 | 0x04; /* LBPU, LBPWS, LBPWS10, LBPRZ */
        out[2] = 0x02;                      /* thin */
    }
    return 4;
}

/* The bytes behind the page's header; -1: no such page. */
static int put_page(const struct task *task, uint8_t page, uint8_t *out)
{
    static const uint8_t pages[] = {0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2};
    const struct lun *lun = task->lun;

    switch (page) {
    case 0x00:
        memcpy(out, pages, sizeof pages);
        return sizeof pages;
    case 0x80:
        return (int)put_serial(lun, out);
    case 0x83:
        return (int)put_identification(task, out);
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
    uint32_t allocated = wire_get16(task->cdb + 3), bytes;
    uint8_t *out = task_answer_room(task, ANSWER_BYTES);
    int n;

    if (!out)
        return;
    if (!vital && task->cdb[2] == 0) {
        bytes = standard_inquiry(task, out);
    } else {
        n = vital && task->lun ? put_page(task, task->cdb[2], out + 4) : -1;
        if (n < 0) {
            task_check(task, SENSE_INVALID_FIELD_IN_CDB);
            return;
        }
        out[1] = task->cdb[2];
        wire_put16(out + 2, (uint16_t)n);
        bytes = (uint32_t)n + 4;
    }
    task_data(task, out, bytes < allocated ? bytes : allocated);
}
