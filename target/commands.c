// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The table of commands, and REPORT SUPPORTED OPERATION CODES, which tells it.
 *
 * Behind the opcode stands the CDB usage data of SPC-4, 6.35.3: the bits that a
 * command may set. All others are reserved, obsolete or not supported here.
 */
#include "commands.h"

#include <string.h>

#include "conn.h"
#include "sealed.h"
#include "task.h"

#define NO_ACTION (-1)

/* usage data of fields */
#define BYTES_2 0xFF, 0xFF
#define BYTES_3 0xFF, 0xFF, 0xFF
#define BYTES_4 0xFF, 0xFF, 0xFF, 0xFF
#define BYTES_8 BYTES_4, BYTES_4
#define DPO_FUA 0x18
#define DPO 0x10
#define BYTCHK_1 0x02
#define BYTCHK 0x06
#define GROUP 0x3F

/* what commands have in common */
#define READS (COMMAND_PLAIN | COMMAND_WORKER | COMMAND_READS | COMMAND_NEEDS_STARTED)
#define WRITES                                                                                     \
    (COMMAND_PLAIN | COMMAND_WORKER | COMMAND_WRITES | COMMAND_NEEDS_STARTED |                     \
     COMMAND_CHANGES_MEDIUM)
#define ALWAYS (COMMAND_ANY_LUN | COMMAND_IGNORES_ATTENTION | COMMAND_IGNORES_RESERVE)

struct command {
    uint8_t opcode;
    int8_t action; /* service action */
    void (*run)(struct task *task);
    unsigned flags;
    uint8_t usage[WIRE_CDB_BYTES - 1]; /* from byte 1 on */
};

static const struct command commands[] = {
    {0x00, NO_ACTION, spc_test_unit_ready, COMMAND_LUN_0 | COMMAND_NEEDS_STARTED, {0}},
    {0x03, NO_ACTION, spc_request_sense, ALWAYS, {0, 0, 0, 0xFF}},
    {0x08, NO_ACTION, sbc_read, READS, {0x1F, BYTES_2, 0xFF}},
    {0x0A, NO_ACTION, sbc_write, WRITES, {0x1F, BYTES_2, 0xFF}},
    {0x12, NO_ACTION, spc_inquiry, ALWAYS, {0x01, 0xFF, BYTES_2}},
    {0x15, NO_ACTION, spc_mode_select_6, COMMAND_PLAIN | COMMAND_WRITES, {0x11, 0, 0, 0xFF}},
    {0x16, NO_ACTION, spc_reserve_6, COMMAND_PLAIN, {0}},
    {0x17, NO_ACTION, spc_release_6, COMMAND_PLAIN | COMMAND_IGNORES_RESERVE, {0}},
    {0x1A, NO_ACTION, spc_mode_sense_6, COMMAND_READS, {0x08, 0xFF, 0xFF, 0xFF}},
    {0x1B,
     NO_ACTION,
     sbc_start_stop_unit,
     COMMAND_PLAIN | COMMAND_WORKER | COMMAND_WRITES,
     {0x01, 0, 0, 0x05}},
    {0x25, NO_ACTION, sbc_read_capacity_10, 0, {0}},
    {0x28, NO_ACTION, sbc_read, READS, {DPO_FUA, BYTES_4, GROUP, BYTES_2}},
    {0x2A, NO_ACTION, sbc_write, WRITES, {DPO_FUA, BYTES_4, GROUP, BYTES_2}},
    {0x2E, NO_ACTION, sbc_write_and_verify, WRITES, {DPO | BYTCHK_1, BYTES_4, GROUP, BYTES_2}},
    {0x2F, NO_ACTION, sbc_verify, READS, {DPO | BYTCHK, BYTES_4, GROUP, BYTES_2}},
    {0x34, NO_ACTION, sbc_pre_fetch, READS, {0x02, BYTES_4, GROUP, BYTES_2}},
    {0x35,
     NO_ACTION,
     sbc_synchronize_cache,
     COMMAND_PLAIN | COMMAND_WORKER | COMMAND_WRITES | COMMAND_NEEDS_STARTED,
     {0x02, BYTES_4, GROUP, BYTES_2}},
    {0x41, NO_ACTION, sbc_write_same, WRITES, {0x08, BYTES_4, GROUP, BYTES_2}},
    {0x42, NO_ACTION, sbc_unmap, WRITES, {0, 0, 0, 0, 0, GROUP, BYTES_2}},
    {0x55,
     NO_ACTION,
     spc_mode_select_10,
     COMMAND_PLAIN | COMMAND_WRITES,
     {0x11, 0, 0, 0, 0, 0, BYTES_2}},
    {0x5A, NO_ACTION, spc_mode_sense_10, COMMAND_READS, {0x18, 0xFF, 0xFF, 0, 0, 0, BYTES_2}},
    {0x5E, 0x00, spc_persistent_reserve_in, COMMAND_PLAIN, {0x1F, 0, 0, 0, 0, 0, BYTES_2}},
    {0x5E, 0x01, spc_persistent_reserve_in, COMMAND_PLAIN, {0x1F, 0, 0, 0, 0, 0, BYTES_2}},
    {0x5E, 0x02, spc_persistent_reserve_in, COMMAND_PLAIN, {0x1F, 0, 0, 0, 0, 0, BYTES_2}},
    {0x5E, 0x03, spc_persistent_reserve_in, COMMAND_PLAIN, {0x1F, 0, 0, 0, 0, 0, BYTES_2}},
    {0x5F, 0x00, spc_persistent_reserve_out, COMMAND_PLAIN, {0x1F, 0xFF, 0, 0, BYTES_4}},
    {0x5F, 0x01, spc_persistent_reserve_out, COMMAND_PLAIN, {0x1F, 0xFF, 0, 0, BYTES_4}},
    {0x5F, 0x02, spc_persistent_reserve_out, COMMAND_PLAIN, {0x1F, 0xFF, 0, 0, BYTES_4}},
    {0x5F, 0x03, spc_persistent_reserve_out, COMMAND_PLAIN, {0x1F, 0xFF, 0, 0, BYTES_4}},
    {0x5F, 0x04, spc_persistent_reserve_out, COMMAND_PLAIN, {0x1F, 0xFF, 0, 0, BYTES_4}},
    {0x5F, 0x05, spc_persistent_reserve_out, COMMAND_PLAIN, {0x1F, 0xFF, 0, 0, BYTES_4}},
    {0x5F, 0x06, spc_persistent_reserve_out, COMMAND_PLAIN, {0x1F, 0xFF, 0, 0, BYTES_4}},
    {0x5F, 0x07, spc_persistent_reserve_out, COMMAND_PLAIN, {0x1F, 0xFF, 0, 0, BYTES_4}},
    {0x88, NO_ACTION, sbc_read, READS, {DPO_FUA, BYTES_8, BYTES_4, GROUP}},
    {0x89, NO_ACTION, sbc_compare_and_write, WRITES, {DPO_FUA, BYTES_8, 0, 0, 0, 0xFF, GROUP}},
    {0x8A, NO_ACTION, sbc_write, WRITES, {DPO_FUA, BYTES_8, BYTES_4, GROUP}},
    {0x8B, NO_ACTION, sbc_orwrite, WRITES, {DPO_FUA, BYTES_8, BYTES_4, GROUP}},
    {0x8E, NO_ACTION, sbc_write_and_verify, WRITES, {DPO | BYTCHK_1, BYTES_8, BYTES_4, GROUP}},
    {0x8F, NO_ACTION, sbc_verify, READS, {DPO | BYTCHK, BYTES_8, BYTES_4, GROUP}},
    {0x90, NO_ACTION, sbc_pre_fetch, READS, {0x02, BYTES_8, BYTES_4, GROUP}},
    {0x91,
     NO_ACTION,
     sbc_synchronize_cache,
     COMMAND_PLAIN | COMMAND_WORKER | COMMAND_WRITES | COMMAND_NEEDS_STARTED,
     {0x02, BYTES_8, BYTES_4, GROUP}},
    {0x93, NO_ACTION, sbc_write_same, WRITES, {0x09, BYTES_8, BYTES_4, GROUP}},
    {0x9E, 0x10, sbc_read_capacity_16, 0, {0x1F, 0, 0, 0, 0, 0, 0, 0, 0, BYTES_4}},
    {0x9E, 0x12, sbc_get_lba_status, READS, {0x1F, BYTES_8, BYTES_4}},
    {0xA0, NO_ACTION, spc_report_luns, ALWAYS, {0, 0xFF, 0, 0, 0, BYTES_4}},
    {WIRE_SECURITY_PROTOCOL_IN,
     NO_ACTION,
     sealed_security_protocol_in,
     COMMAND_SEALED,
     {0xFF, BYTES_2, 0x80, 0, BYTES_4}},
    {0xA3, 0x0C, spc_report_supported_operation_codes, 0, {0x1F, 0x87, 0xFF, BYTES_2, BYTES_4}},
    {0xA8, NO_ACTION, sbc_read, READS, {DPO_FUA, BYTES_4, BYTES_4, GROUP}},
    {0xAA, NO_ACTION, sbc_write, WRITES, {DPO_FUA, BYTES_4, BYTES_4, GROUP}},
    {0xAE, NO_ACTION, sbc_write_and_verify, WRITES, {DPO | BYTCHK_1, BYTES_4, BYTES_4, GROUP}},
    {0xAF, NO_ACTION, sbc_verify, READS, {DPO | BYTCHK, BYTES_4, BYTES_4, GROUP}},
    {WIRE_SECURITY_PROTOCOL_OUT,
     NO_ACTION,
     sealed_security_protocol_out,
     COMMAND_SEALED,
     {0xFF, BYTES_2, 0x80, 0, BYTES_4}},
    {WIRE_SEALED_WRITE,
     NO_ACTION,
     sealed_write,
     COMMAND_SEALED | COMMAND_MASKED | COMMAND_WORKER | COMMAND_WRITES,
     {BYTES_8, BYTES_4, BYTES_3}},
    {WIRE_SEALED_READ,
     NO_ACTION,
     sealed_read,
     COMMAND_SEALED | COMMAND_MASKED | COMMAND_WORKER | COMMAND_READS,
     {BYTES_8, BYTES_4, BYTES_3}},
    {WIRE_SEALED_SYNC,
     NO_ACTION,
     sealed_sync,
     COMMAND_SEALED | COMMAND_MASKED,
     {BYTES_8, BYTES_4, BYTES_3}},
};
#define COMMANDS (sizeof commands / sizeof commands[0])

/* ---- looking up ---- */

/* SPC-4, 4.2.5.1: by the group code; vendor-specific ones are ours. */
static uint8_t cdb_bytes(const struct command *command)
{
    static const uint8_t bytes[8] = {6, 10, 10, 0, 16, 12, WIRE_CDB_BYTES, WIRE_CDB_BYTES};

    return bytes[command->opcode >> 5];
}

static const struct command *find(uint8_t opcode, int action)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (commands[i].opcode == opcode &&
            (commands[i].action == NO_ACTION || commands[i].action == action))
            return &commands[i];
    return NULL;
}

const struct command *command_find(const uint8_t cdb[WIRE_CDB_BYTES])
{
    return find(cdb[0], cdb[1] & 0x1F);
}

static const struct command *find_opcode(uint8_t opcode)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (commands[i].opcode == opcode)
            return &commands[i];
    return NULL;
}

bool command_knows(uint8_t opcode)
{
    return find_opcode(opcode) != NULL;
}

bool command_has(const struct command *command, unsigned flags)
{
    return command && command->flags & flags;
}

enum access command_access(const struct command *command)
{
    if (command_has(command, COMMAND_WRITES))
        return ACCESS_WRITE;
    return command_has(command, COMMAND_READS) ? ACCESS_READ : ACCESS_NONE;
}

bool command_allows(const struct command *command, const uint8_t cdb[WIRE_CDB_BYTES])
{
    for (size_t i = 1; i < cdb_bytes(command); i++)
        if (cdb[i] & ~command->usage[i - 1])
            return false;
    return true;
}

void command_run(const struct command *command, struct task *task)
{
    command->run(task);
}

/* ---- REPORT SUPPORTED OPERATION CODES: SPC-4, 6.35 ---- */

#define TIMEOUTS_BYTES 12

/* Sealed LUNs have the sealed commands, plain ones the plain. */
static bool is_supported(const struct command *command, const struct lun *lun)
{
    return !(command->flags & (lun->sealed ? COMMAND_PLAIN : COMMAND_SEALED));
}

/* No timeout is indicated. */
static uint32_t put_timeouts(uint8_t *out)
{
    wire_put16(out, TIMEOUTS_BYTES - 2);
    return TIMEOUTS_BYTES;
}

static uint32_t put_all(const struct lun *lun, bool timeouts, uint8_t *out)
{
    uint32_t n = 4;

    for (size_t i = 0; i < COMMANDS; i++) {
        const struct command *command = &commands[i];

        if (!is_supported(command, lun))
            continue;
        out[n] = command->opcode;
        if (command->action != NO_ACTION)
            wire_put16(out + n + 2, (uint16_t)command->action);
        out[n + 5] = (uint8_t)((timeouts ? 0x02 : 0) | (command->action != NO_ACTION));
        out[n + 7] = cdb_bytes(command);
        n += 8;
        if (timeouts)
            n += put_timeouts(out + n);
    }
    wire_put32(out, n - 4);
    return n;
}

static uint32_t put_one(const struct command *command, bool timeouts, uint8_t *out)
{
    enum { NOT_SUPPORTED = 1, SUPPORTED = 3 };
    uint32_t n;

    if (!command) {
        out[1] = NOT_SUPPORTED;
        return 4;
    }
    n = cdb_bytes(command);
    out[1] = (uint8_t)(SUPPORTED | (timeouts ? 0x80 : 0));
    wire_put16(out + 2, (uint16_t)n);
    out[4] = command->opcode;
    memcpy(out + 5, command->usage, n - 1);
    if (command->action != NO_ACTION)
        out[5] = (uint8_t)((out[5] & ~0x1F) | command->action);
    n += 4;
    return timeouts ? n + put_timeouts(out + n) : n;
}

/* What REPORTING OPTIONS asks for, of a single command. False: such a question is an error. */
static bool find_asked(const uint8_t *cdb, const struct command **command)
{
    enum { OPCODE_ALONE = 1, WITH_ACTION = 2, EITHER = 3 };
    const struct command *any = find_opcode(cdb[3]);
    bool has_actions = any && any->action != NO_ACTION;
    uint16_t action = wire_get16(cdb + 4);

    *command = has_actions ? (action < 0x20 ? find(cdb[3], action) : NULL) : any;
    switch (cdb[2] & 0x07) {
    case OPCODE_ALONE:
        return !has_actions;
    case WITH_ACTION:
        return !any || has_actions;
    case EITHER:
        if (!has_actions && action != 0)
            *command = NULL;
        return true;
    default:
        return false;
    }
}

void spc_report_supported_operation_codes(struct task *task)
{
    bool timeouts = task->cdb[2] & 0x80;
    uint32_t allocated = wire_get32(task->cdb + 6), n;
    uint8_t *out = task_answer_room(task, 4 + COMMANDS * (8 + TIMEOUTS_BYTES));
    const struct command *command;

    if (!out)
        return;
    if ((task->cdb[2] & 0x07) == 0) {
        n = put_all(task->lun, timeouts, out);
    } else if (find_asked(task->cdb, &command)) {
        if (command && !is_supported(command, task->lun))
            command = NULL;
        n = put_one(command, timeouts, out);
    } else {
        task_check_field(task, 2); /* REPORTING OPTIONS */
        return;
    }
    task_data(task, out, n < allocated ? n : allocated);
}
