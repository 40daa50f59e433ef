// SPDX-License-Identifier: LGPL-2.1-or-later
/* What every LUN answers: SPC-4. Sealed LUNs too; nothing of it is secret. */
#include "commands.h"
#include "conn.h"
#include "task.h"
#include "unit.h"

void spc_test_unit_ready(struct task *task)
{
    task_good(task);
}

/* 6.39: what went wrong was said with the command that went wrong; attentions are not errors. */
void spc_request_sense(struct task *task)
{
    struct sense sense = SENSE_NONE;
    uint8_t *out = task_answer_room(task, 18);
    uint32_t allocated = task->cdb[4];

    if (!out)
        return;
    if (task->nexus)
        sense = unit_take_attention(task->conn, task->nexus);
    else if (!task->lun && task->lun_number != 0)
        sense = SENSE_NO_SUCH_LUN;
    out[0] = 0x70;
    out[2] = sense.key;
    out[7] = 18 - 8;
    out[12] = sense.asc;
    out[13] = sense.ascq;
    task_data(task, out, allocated < 18 ? allocated : 18);
}

/* 6.33 */
void spc_report_luns(struct task *task)
{
    struct conn *conn = task->conn;
    uint32_t allocated = wire_get32(task->cdb + 6), n = 8;
    uint8_t *out = task_answer_room(task, 8 + 8 * LUNS_MAX), numbers[LUNS_MAX];
    unsigned count;

    if (!out)
        return;
    if (task->cdb[2] > 2) {
        task_check(task, SENSE_INVALID_FIELD_IN_CDB);
        return;
    }
    if (task->cdb[2] != 1) /* well known ones */
        conn_take_luns_changed(conn);
    count = target_list_luns(conn->target, conn->target_name, conn->user, numbers);
    for (unsigned i = 0; task->cdb[2] != 1 && i < count; i++) {
        out[n + 1] = numbers[i];
        n += 8;
    }
    wire_put32(out, n - 8);
    task_data(task, out, n < allocated ? n : allocated);
}
