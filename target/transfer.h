// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * SCSI Command and Data-Out PDUs: a task is made and collects its data, sent
 * with it, unsolicited or asked for (R2T), before it starts. The reader's.
 */
#ifndef TARGET_TRANSFER_H
#define TARGET_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct task;

/* Both read the PDU's data segment. False: the connection ends. */
bool transfer_command(struct conn *conn, const uint8_t *bhs, uint32_t data_bytes);
bool transfer_data_out(struct conn *conn, const uint8_t *bhs, uint32_t data_bytes);

/* SAM-5, 4.7: peripheral device and flat space addressing. UINT_MAX: neither. */
unsigned transfer_lun(const uint8_t field[8]);

/* The task that still collects data under this tag; NULL: none. */
struct task *transfer_find(struct conn *conn, uint32_t itt);
/* It will get no more data, and no answer. */
void transfer_abort(struct conn *conn, struct task *task);

#endif
