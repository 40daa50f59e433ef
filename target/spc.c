// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a LUN says of itself: SPC-4 and SBC-3. LUN 0 is there for REPORT LUNS
 * and INQUIRY and has no medium.
 */
#include <stdio.h>
#include <string.h>

#include "conn.h"

#define VENDOR "EncSAN  "
#define PRODUCT "sealed disk     "
#define PRODUCT_PLAIN "plain disk      "
#define REVISION "0001"
#define ANSWER_MAX 4096

static bool is_lun_0(const struct task *t)
{
    return (wire_get16(t->bhs + 8) & 0x3fff) == 0;
}

/* The answer, cut at the allocation length as every one is (SPC-4 4.2.5.6). */
static void answer(struct task *t, uint32_t len, uint32_t allocation)
{
    task_data_in(t, len < allocation ? len : allocation);
}

/* ---- INQUIRY, SPC-4 6.6 ---- */

static uint32_t standard_inquiry(const struct task *t, uint8_t *d)
{
    d[0] = t->lun ? 0x00 : is_lun_0(t) ? 0x0c : 0x7f; /* disk; storage array controller; nothing */
    d[2] = 0x06; /* SPC-4 */
    d[3] = 0x12; /* HiSup, response format 2 */
    d[4] = 96 - 5;
    d[7] = 0x02; /* CmdQue */
    memcpy(d + 8, VENDOR, 8);
    memcpy(d + 16, t->lun && t->lun->sealed ? PRODUCT : PRODUCT_PLAIN, 16);
    memcpy(d + 32, REVISION, 4);
    wire_put16(d + 58, 0x0460); /* SPC-4 */
    wire_put16(d + 60, 0x04C0); /* SBC-3 */
    wire_put16(d + 62, 0x0960); /* iSCSI */
    return 96;
}

static uint32_t serial_page(const struct lun *lun, uint8_t *d)
{
    char text[17];

    snprintf(text, sizeof text, "%016llx", (unsigned long long)wire_get64(lun->serial));
    memcpy(d + 4, text, 16);
    return 16;
}

static uint32_t identification_page(const struct task *t, uint8_t *d)
{
    uint8_t *p = d + 4;
    int n;

    p[0] = 0x01; /* binary */
    p[1] = 0x03; /* NAA, of the LUN */
    p[3] = 8;
    memcpy(p + 4, t->lun->serial, 8);
    p[4] = 0x30 | (p[4] & 0x0f); /* locally assigned */
    p += 12;
    n = snprintf((char *)p + 4, 224, "%s,L,0x%04X000000000000", t->conn->target->name,
                 t->lun->number);
    n = (n + 4) & ~3; /* NUL, then to a multiple of 4 */
    p[0] = 0x53; /* iSCSI, UTF-8 */
    p[1] = 0x88; /* PIV, SCSI name string, of the LUN */
    p[3] = (uint8_t)n;
    return (uint32_t)(12 + 4 + n);
}

static uint32_t block_limits_page(const struct lun *lun, uint8_t *d)
{
    uint32_t most = DATA_SEGMENT_MAX / lun->block_bytes;

    wire_put16(d + 6, (uint16_t)(4096 / lun->block_bytes)); /* optimal granularity */
    wire_put32(d + 8, SCSI_DATA_OUT_MAX / lun->block_bytes);
    wire_put32(d + 12, most);
    if (!lun->sealed) {
        wire_put32(d + 20, UINT32_MAX); /* UNMAP: any number of blocks */
        wire_put32(d + 24, 256);        /* in so many descriptors */
        wire_put32(d + 28, 4096 / lun->block_bytes);
    }
    return 0x3c;
}

static uint32_t provisioning_page(const struct lun *lun, uint8_t *d)
{
    if (!lun->sealed) {
        d[5] = 0x80 | 0x40 | 0x04; /* LBPU, LBPWS, LBPRZ */
        d[6] = 0x02;               /* thin */
    }
    return 4;
}

/* Returns the length behind the page's header, UINT32_MAX: no such page. */
static uint32_t vital_page(const struct task *t, uint8_t page, uint8_t *d)
{
    static const uint8_t pages[] = {0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2};

    switch (page) {
    case 0x00:
        memcpy(d + 4, pages, sizeof pages);
        return sizeof pages;
    case 0x80:
        return serial_page(t->lun, d);
    case 0x83:
        return identification_page(t, d);
    case 0xB0:
        return block_limits_page(t->lun, d);
    case 0xB1:
        wire_put16(d + 4, 1); /* no rotation */
        return 0x3c;
    case 0xB2:
        return provisioning_page(t->lun, d);
    default:
        return UINT32_MAX;
    }
}

static void inquiry(struct task *t)
{
    const uint8_t *cdb = task_cdb(t);
    uint32_t allocation = wire_get16(cdb + 3), len;
    bool vital = cdb[1] & 1;

    if (!vital) {
        if (cdb[2] != 0)
            task_sense(t, SENSE_INVALID_FIELD);
        else
            answer(t, standard_inquiry(t, t->data), allocation);
        return;
    }
    len = t->lun ? vital_page(t, cdb[2], t->data) : UINT32_MAX;
    if (len == UINT32_MAX) {
        task_sense(t, SENSE_INVALID_FIELD);
        return;
    }
    t->data[1] = cdb[2];
    wire_put16(t->data + 2, (uint16_t)len);
    answer(t, len + 4, allocation);
}

/* ---- the others ---- */

static void report_luns(struct task *t)
{
    const struct target *target = t->conn->target;
    uint32_t count = target->lun_count + 1;

    wire_put32(t->data, count * 8); /* LUN 0 first: eight zeros */
    for (unsigned i = 0; i < target->lun_count; i++)
        t->data[8 + (i + 1) * 8 + 1] = (uint8_t)target->luns[i]->number;
    answer(t, 8 + count * 8, wire_get32(task_cdb(t) + 6));
}

static void read_capacity_10(struct task *t)
{
    uint64_t last = t->lun->blocks - 1;

    wire_put32(t->data, last < UINT32_MAX ? (uint32_t)last : UINT32_MAX);
    wire_put32(t->data + 4, t->lun->block_bytes);
    answer(t, 8, 8);
}

/* GET LBA STATUS, SBC-3 5.6: all that follows is called mapped, which is never wrong. */
static void lba_status(struct task *t)
{
    uint64_t lba = wire_get64(task_cdb(t) + 2), left;

    if (lba >= t->lun->blocks) {
        task_sense(t, SENSE_LBA_OUT_OF_RANGE);
        return;
    }
    left = t->lun->blocks - lba;
    wire_put32(t->data, 20);
    wire_put64(t->data + 8, lba);
    wire_put32(t->data + 16, left < UINT32_MAX ? (uint32_t)left : UINT32_MAX);
    answer(t, 24, wire_get32(task_cdb(t) + 10));
}

static void read_capacity_16(struct task *t)
{
    wire_put64(t->data, t->lun->blocks - 1);
    wire_put32(t->data + 8, t->lun->block_bytes);
    if (!t->lun->sealed) {
        t->data[13] = 3;           /* 2^3 logical blocks a physical one */
        t->data[14] = 0x80 | 0x40; /* LBPME, LBPRZ */
    }
    answer(t, 32, wire_get32(task_cdb(t) + 10));
}

/* The caching page, SBC-3 6.5.6: there is a write cache. */
static uint32_t caching_page(uint8_t *d)
{
    d[0] = 0x08;
    d[1] = 0x12;
    d[2] = 0x04; /* WCE */
    return 20;
}

static void mode_sense(struct task *t)
{
    const uint8_t *cdb = task_cdb(t);
    bool ten = cdb[0] == 0x5A;
    uint32_t header = ten ? 8 : 4, len = header;
    uint8_t page = cdb[2] & 0x3f;

    if (page != 0x08 && page != 0x3f) {
        task_sense(t, SENSE_INVALID_FIELD);
        return;
    }
    len += caching_page(t->data + header);
    t->data[ten ? 3 : 2] = 0x10; /* DPOFUA */
    if (ten)
        wire_put16(t->data, (uint16_t)(len - 2));
    else
        t->data[0] = (uint8_t)(len - 1);
    answer(t, len, ten ? wire_get16(cdb + 7) : cdb[4]);
}

/* SERVICE ACTION IN (16) */
static void service_action_in(struct task *t)
{
    uint8_t action = task_cdb(t)[1] & 0x1f;

    if (action == 0x10)
        read_capacity_16(t);
    else if (t->lun->sealed)
        task_sense(t, SENSE_ACCESS_DENIED);
    else if (action == 0x12)
        lba_status(t);
    else
        task_sense(t, SENSE_INVALID_FIELD);
}

static void request_sense(struct task *t)
{
    t->data[0] = 0x70; /* NO SENSE, fixed format */
    t->data[7] = 10;
    answer(t, 18, task_cdb(t)[4]);
}

void spc_execute(struct task *t)
{
    uint8_t opcode = task_cdb(t)[0];

    if (task_reserve(t, ANSWER_MAX) != 0) {
        task_status(t, BUSY);
        return;
    }
    memset(t->data, 0, ANSWER_MAX);
    if (opcode == 0x12)
        inquiry(t);
    else if (opcode == 0xA0)
        report_luns(t);
    else if (opcode == 0x03)
        request_sense(t);
    else if (opcode == 0x00 && (t->lun || is_lun_0(t)))
        task_status(t, GOOD);
    else if (!t->lun)
        task_sense(t, SENSE_NO_SUCH_LUN);
    else if (opcode == 0x25)
        read_capacity_10(t);
    else if (opcode == 0x9E)
        service_action_in(t);
    else
        mode_sense(t);
}
