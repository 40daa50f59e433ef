// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Mode pages: caching (SBC-3, 6.4.5) and control (SPC-4, 7.5.8). What can be
 * changed holds for all sessions, until a reset or a restart.
 */
#include <string.h>

#include "commands.h"
#include "conn.h"
#include "task.h"
#include "unit.h"

#define ANSWER_BYTES 256
#define BLOCK_DESCRIPTOR_BYTES 8

enum { PAGE_CACHING = 0x08, PAGE_CONTROL = 0x0A, PAGE_ALL = 0x3F };
enum { WCE = 0x04 };                          /* caching, byte 2 */
enum { SWP = 0x08 };                          /* control, byte 4 */
enum { CURRENT, CHANGEABLE, DEFAULT, SAVED }; /* PC: page control */

/* MODE SENSE (6) and (10) differ in their headers. */
struct header {
    uint32_t bytes;
    uint32_t length_bytes; /* of MODE DATA LENGTH */
    uint32_t device;       /* offset of the DEVICE-SPECIFIC PARAMETER */
};
static const struct header header_6 = {4, 1, 2}, header_10 = {8, 2, 3};

/* ---- pages ---- */

static uint32_t put_caching(uint8_t *out, struct mode mode)
{
    out[0] = PAGE_CACHING;
    out[1] = 20 - 2;
    out[2] = mode.write_cache ? WCE : 0;
    return 20;
}

static uint32_t put_control(uint8_t *out, struct mode mode)
{
    out[0] = PAGE_CONTROL;
    out[1] = 12 - 2;
    out[2] = 0x20; /* TST: a task set for each nexus */
    out[3] = 0x10; /* commands may be reordered */
    out[4] = mode.software_write_protect ? SWP : 0;
    out[5] = 0x40; /* TAS: who loses a task to another hears of it */
    return 12;
}

/* The bits that MODE SELECT may change. */
static uint32_t put_changeable(uint8_t page, uint8_t *out)
{
    uint32_t n =
        page == PAGE_CACHING ? put_caching(out, MODE_DEFAULT) : put_control(out, MODE_DEFAULT);

    memset(out + 2, 0, n - 2);
    if (page == PAGE_CACHING)
        out[2] = WCE;
    else
        out[4] = SWP;
    return n;
}

static uint32_t put_page(uint8_t page, unsigned control, struct mode mode, uint8_t *out)
{
    if (control == CHANGEABLE)
        return put_changeable(page, out);
    if (control == DEFAULT)
        mode = MODE_DEFAULT;
    return page == PAGE_CACHING ? put_caching(out, mode) : put_control(out, mode);
}

/* ---- MODE SENSE: SPC-4, 6.13 and 6.14 ---- */

static uint32_t put_block_descriptor(const struct task *task, uint8_t *out)
{
    const struct lun *lun = task->lun;

    if (task->cdb[1] & 0x08) /* DBD */
        return 0;
    wire_put32(out, lun->blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)lun->blocks);
    wire_put24(out + 5, lun->block_bytes);
    return BLOCK_DESCRIPTOR_BYTES;
}

/* 0: no such page */
static uint32_t put_pages(const struct task *task, struct mode mode, uint8_t *out)
{
    uint8_t page = task->cdb[2] & 0x3F, subpage = task->cdb[3];
    unsigned control = task->cdb[2] >> 6;
    uint32_t n = 0;

    if (subpage != 0 && subpage != 0xFF)
        return 0;
    if (page == PAGE_CACHING || page == PAGE_ALL)
        n += put_page(PAGE_CACHING, control, mode, out + n);
    if (page == PAGE_CONTROL || page == PAGE_ALL)
        n += put_page(PAGE_CONTROL, control, mode, out + n);
    return n;
}

static void put_header(uint8_t *out, const struct header *h, uint32_t all, uint32_t descriptor)
{
    if (h == &header_6) {
        out[0] = (uint8_t)(all - h->length_bytes);
        out[3] = (uint8_t)descriptor;
    } else {
        wire_put16(out, (uint16_t)(all - h->length_bytes));
        wire_put16(out + 6, (uint16_t)descriptor);
    }
}

static void mode_sense(struct task *task, const struct header *h, uint32_t allocated)
{
    enum { WP = 0x80, DPOFUA = 0x10 };
    struct unit *unit = task->lun->unit;
    struct mode mode = unit ? unit_mode(unit) : MODE_DEFAULT;
    bool protected = unit && unit_is_protected(unit);
    uint8_t *out = task_answer_room(task, ANSWER_BYTES);
    uint32_t descriptor, pages, all;

    if (!out)
        return;
    descriptor = put_block_descriptor(task, out + h->bytes);
    pages = put_pages(task, mode, out + h->bytes + descriptor);
    if (pages == 0 || task->cdb[2] >> 6 == SAVED) { /* nothing can be saved */
        task_check(task, pages == 0 ? SENSE_INVALID_FIELD_IN_CDB : SENSE_NO_SAVED_PARAMETERS);
        return;
    }
    all = h->bytes + descriptor + pages;
    put_header(out, h, all, descriptor);
    out[h->device] = (uint8_t)((protected ? WP : 0) | DPOFUA);
    task_data(task, out, all < allocated ? all : allocated);
}

void spc_mode_sense_6(struct task *task)
{
    mode_sense(task, &header_6, task->cdb[4]);
}

void spc_mode_sense_10(struct task *task)
{
    mode_sense(task, &header_10, wire_get16(task->cdb + 7));
}

/* ---- MODE SELECT: SPC-4, 6.11 and 6.12 ---- */

/* The size of the blocks can't be changed, nor can their number. */
static bool is_our_descriptor(const struct lun *lun, const uint8_t *d)
{
    uint32_t blocks = wire_get32(d);

    return wire_get24(d + 5) == lun->block_bytes &&
           (blocks == 0 || blocks == UINT32_MAX || blocks == lun->blocks);
}

static struct sense take_page(struct mode *mode, const uint8_t *page, uint32_t left,
                              uint32_t *bytes)
{
    uint8_t current[32] = {0}, changeable[32] = {0};
    uint8_t code = page[0];

    if (code != PAGE_CACHING && code != PAGE_CONTROL)
        return SENSE_INVALID_FIELD_IN_LIST;
    *bytes = put_page(code, CURRENT, *mode, current);
    put_page(code, CHANGEABLE, *mode, changeable);
    if (left < *bytes)
        return SENSE_PARAMETER_LIST_LENGTH;
    if (page[1] != current[1])
        return SENSE_INVALID_FIELD_IN_LIST;
    for (uint32_t i = 2; i < *bytes; i++)
        if ((page[i] ^ current[i]) & ~changeable[i])
            return SENSE_INVALID_FIELD_IN_LIST;
    if (code == PAGE_CACHING)
        mode->write_cache = page[2] & WCE;
    else
        mode->software_write_protect = page[4] & SWP;
    return SENSE_NONE;
}

/* Nothing is changed where something is wrong. */
static struct sense take_list(const struct task *task, const struct header *h, uint32_t bytes,
                              struct mode *mode)
{
    const uint8_t *list = task->out;
    uint32_t descriptor, at, n = 0;
    struct sense sense = SENSE_NONE;

    if (!task->writes || bytes > task->expected || bytes < h->bytes)
        return SENSE_PARAMETER_LIST_LENGTH;
    descriptor = h == &header_6 ? list[3] : wire_get16(list + 6);
    at = h->bytes + descriptor;
    if (descriptor != 0 && descriptor != BLOCK_DESCRIPTOR_BYTES)
        return SENSE_INVALID_FIELD_IN_LIST;
    if (at > bytes)
        return SENSE_PARAMETER_LIST_LENGTH;
    if (descriptor && !is_our_descriptor(task->lun, list + h->bytes))
        return SENSE_INVALID_FIELD_IN_LIST;
    for (; at < bytes && !sense.key; at += n)
        sense = bytes - at < 2 ? SENSE_PARAMETER_LIST_LENGTH
                               : take_page(mode, list + at, bytes - at, &n);
    return sense;
}

static void mode_select(struct task *task, const struct header *h, uint32_t bytes)
{
    enum { SAVE_PAGES = 0x01, PAGE_FORMAT = 0x10 };
    struct unit *unit = task->lun->unit;
    struct sense sense = SENSE_NONE;
    struct mode mode;

    task->used = bytes;
    if (task->cdb[1] & SAVE_PAGES || !(task->cdb[1] & PAGE_FORMAT)) {
        task_check(task, SENSE_INVALID_FIELD_IN_CDB);
        return;
    }
    pthread_mutex_lock(&unit->lock);
    mode = unit->mode;
    if (bytes > 0)
        sense = take_list(task, h, bytes, &mode);
    if (!sense.key && (mode.write_cache != unit->mode.write_cache ||
                       mode.software_write_protect != unit->mode.software_write_protect)) {
        unit->mode = mode;
        unit_establish(unit, ATTENTION_MODE_CHANGED, task->nexus);
    }
    pthread_mutex_unlock(&unit->lock);
    task_answer(task, sense);
}

void spc_mode_select_6(struct task *task)
{
    mode_select(task, &header_6, task->cdb[4]);
}

void spc_mode_select_10(struct task *task)
{
    mode_select(task, &header_10, wire_get16(task->cdb + 7));
}
