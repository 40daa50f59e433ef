// SPDX-License-Identifier: LGPL-2.1-or-later
/* The commands that there are, by standard, and what is to be known of each. */
#ifndef TARGET_COMMANDS_H
#define TARGET_COMMANDS_H

#include <stdbool.h>
#include <stdint.h>

#include "reservation.h"
#include "wire.h"

struct task;
struct command;

enum command_flag {
    COMMAND_ANY_LUN = 1 << 0,            /* also on a LUN that is not there */
    COMMAND_LUN_0 = 1 << 1,              /* also on LUN 0 */
    COMMAND_PLAIN = 1 << 2,              /* never on a sealed LUN */
    COMMAND_SEALED = 1 << 3,             /* only there */
    COMMAND_MASKED = 1 << 4,             /* a sealed command: the CDB itself has to be checked */
    COMMAND_WORKER = 1 << 5,             /* in the pool: it waits for the disk or for a cipher */
    COMMAND_READS = 1 << 6,              /* for reservations: SPC-4, table 67; SBC-3, table 13 */
    COMMAND_WRITES = 1 << 7,             /* the same; and for accounts both */
    COMMAND_NEEDS_STARTED = 1 << 8,      /* START STOP UNIT */
    COMMAND_CHANGES_MEDIUM = 1 << 9,     /* not where it is write protected */
    COMMAND_IGNORES_ATTENTION = 1 << 10, /* SAM-5, 5.14.1 */
    COMMAND_IGNORES_RESERVE = 1 << 11,   /* RESERVE (6) of another: SPC-2, table 10 */
};

/* NULL: there is none. Of an opcode with service actions it is the one in the CDB. */
const struct command *command_find(const uint8_t cdb[WIRE_CDB_BYTES]);
/* The opcode is known, though not with this service action. */
bool command_knows(uint8_t opcode);
bool command_has(const struct command *command, unsigned flags); /* one of them */
enum access command_access(const struct command *command);
/* False: a bit is set in the CDB that has to be zero. */
bool command_allows(const struct command *command, const uint8_t cdb[WIRE_CDB_BYTES]);
void command_run(const struct command *command, struct task *task);

/* ---- spc.c, inquiry.c ---- */
void spc_test_unit_ready(struct task *task);
void spc_inquiry(struct task *task);
void spc_report_luns(struct task *task);
void spc_request_sense(struct task *task);
void spc_report_supported_operation_codes(struct task *task); /* commands.c */

/* ---- mode.c ---- */
void spc_mode_sense_6(struct task *task);
void spc_mode_sense_10(struct task *task);
void spc_mode_select_6(struct task *task);
void spc_mode_select_10(struct task *task);

/* ---- reserve.c ---- */
void spc_reserve_6(struct task *task);
void spc_release_6(struct task *task);
void spc_persistent_reserve_in(struct task *task);
void spc_persistent_reserve_out(struct task *task);

/* ---- sbc.c ---- */
void sbc_read_capacity_10(struct task *task);
void sbc_read_capacity_16(struct task *task);
void sbc_start_stop_unit(struct task *task);
void sbc_synchronize_cache(struct task *task);
void sbc_pre_fetch(struct task *task);
void sbc_read(struct task *task);
void sbc_write(struct task *task);
void sbc_write_and_verify(struct task *task);
void sbc_verify(struct task *task);

/* ---- atomic.c ---- */
void sbc_compare_and_write(struct task *task);
void sbc_orwrite(struct task *task);

/* ---- provision.c ---- */
void sbc_unmap(struct task *task);
void sbc_write_same(struct task *task);
void sbc_get_lba_status(struct task *task);

#endif
