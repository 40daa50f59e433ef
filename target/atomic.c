// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Commands that read, decide and write in one step: SBC-3, 5.2 and 5.7. They
 * have the medium alone meanwhile; the flush of FUA comes after.
 */
#include <stdlib.h>

#include "commands.h"
#include "conn.h"
#include "range.h"
#include "task.h"

struct step { /* of one command */
    struct sense sense;
    bool miscompare;
    uint32_t at; /* the first byte that differs */
    int error;   /* of writing */
};

static uint32_t first_difference(const uint8_t *a, const uint8_t *b, uint32_t bytes)
{
    uint32_t i = 0;

    while (i < bytes && a[i] == b[i])
        i++;
    return i;
}

static void compare_and_write(struct task *task, struct range r, uint8_t *disk, struct step *step)
{
    uint32_t half = task->used / 2;

    step->sense = target_read_sense(range_read(task, r, disk, half));
    if (step->sense.key)
        return;
    step->at = first_difference(disk, task->out, half);
    step->miscompare = step->at < half;
    if (!step->miscompare)
        step->error = range_write(task, r, task->out + half, half);
}

static void or_write(struct task *task, struct range r, uint8_t *disk, struct step *step)
{
    step->sense = target_read_sense(range_read(task, r, disk, task->used));
    if (step->sense.key)
        return;
    for (uint32_t i = 0; i < task->used; i++)
        disk[i] |= task->out[i];
    step->error = range_write(task, r, disk, task->used);
}

static void perform(struct task *task, struct range r,
                    void (*run)(struct task *, struct range, uint8_t *, struct step *))
{
    uint8_t *disk = malloc(task->used);
    struct step step = {.sense = SENSE_NONE};

    if (!disk) {
        task_status(task, SCSI_BUSY);
        return;
    }
    pthread_rwlock_wrlock(&task->lun->unit->medium);
    run(task, r, disk, &step);
    pthread_rwlock_unlock(&task->lun->unit->medium);
    free(disk);
    if (step.miscompare)
        task_check_at(task, SENSE_MISCOMPARE, step.at);
    else
        task_answer(task, step.sense.key ? step.sense
                                         : range_written(task, step.error, range_has_fua(task)));
}

/* True: there is something to do. */
static bool is_whole(struct task *task, struct sense sense)
{
    bool whole;

    if (!sense.key)
        sense = range_check_exact(task);
    whole = !sense.key && task->used > 0;
    if (!whole)
        task_answer(task, sense);
    return whole;
}

void sbc_compare_and_write(struct task *task)
{
    struct range r = {wire_get64(task->cdb + 2), task->cdb[13]};

    task->used = (uint32_t)(2 * r.blocks * task->lun->block_bytes); /* to compare, to write */
    if (is_whole(task, range_fits(task->lun, r) ? SENSE_NONE : SENSE_LBA_OUT_OF_RANGE))
        perform(task, r, compare_and_write);
}

void sbc_orwrite(struct task *task)
{
    struct range r = range_of(task);
    struct sense sense = range_check_data_out(task, &r);

    if (is_whole(task, sense))
        perform(task, r, or_write);
}
