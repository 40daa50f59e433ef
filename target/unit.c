// SPDX-License-Identifier: LGPL-2.1-or-later
/* Logical units, their nexuses and attentions: unit.h. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "commands.h"
#include "conn.h"
#include "task.h"

static const struct sense attention_sense[] = {
    [ATTENTION_RESET] = SENSE_RESET,
    [ATTENTION_UNIT_RESET] = SENSE_UNIT_RESET,
    [ATTENTION_RESERVATIONS_PREEMPTED] = SENSE_RESERVATIONS_PREEMPTED,
    [ATTENTION_RESERVATIONS_RELEASED] = SENSE_RESERVATIONS_RELEASED,
    [ATTENTION_REGISTRATIONS_PREEMPTED] = SENSE_REGISTRATIONS_PREEMPTED,
    [ATTENTION_MODE_CHANGED] = SENSE_MODE_CHANGED,
    [ATTENTION_CAPACITY_CHANGED] = SENSE_CAPACITY_CHANGED,
};

/* ---- life ---- */

struct unit *unit_new(const char *path, struct backend *backend, bool read_only, char *message,
                      size_t size)
{
    struct unit *unit = calloc(1, sizeof *unit);
    pthread_rwlockattr_t attr;

    if (!unit) {
        snprintf(message, size, "%s: out of memory", path);
        return NULL;
    }
    unit->reservations = reservations_open(path, message, size);
    if (!unit->reservations) {
        free(unit);
        return NULL;
    }
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&unit->medium, &attr);
    pthread_rwlockattr_destroy(&attr);
    pthread_mutex_init(&unit->lock, NULL);
    pthread_cond_init(&unit->ended, NULL);
    TAILQ_INIT(&unit->nexuses);
    unit->mode = MODE_DEFAULT;
    unit->backend = backend;
    unit->losses = atomic_load(&backend->losses);
    unit->read_only = read_only;
    return unit;
}

void unit_close(struct unit *unit)
{
    pthread_mutex_lock(&unit->lock);
    unit->backend = NULL;
    pthread_mutex_unlock(&unit->lock);
}

void unit_free(struct unit *unit)
{
    if (!unit)
        return;
    reservations_close(unit->reservations);
    pthread_rwlock_destroy(&unit->medium);
    pthread_cond_destroy(&unit->ended);
    pthread_mutex_destroy(&unit->lock);
    free(unit);
}

/* ---- sessions ---- */

void unit_start_session(struct unit *unit, struct itl_nexus *nexus, const struct conn *conn)
{
    nexus->unit = unit;
    memcpy(nexus->port.name, conn->initiator, sizeof nexus->port.name);
    memcpy(nexus->port.isid, conn->isid, sizeof nexus->port.isid);
    nexus->attentions = 1u << ATTENTION_RESET;
    pthread_mutex_lock(&unit->lock);
    TAILQ_INSERT_TAIL(&unit->nexuses, nexus, link);
    pthread_mutex_unlock(&unit->lock);
}

/* Reservations of RESERVE (6) end with the nexus; persistent ones do not. */
void unit_end_session(struct itl_nexus *nexus)
{
    struct unit *unit = nexus->unit;

    pthread_mutex_lock(&unit->lock);
    if (unit->reserved_by == nexus)
        unit->reserved_by = NULL;
    pthread_mutex_unlock(&unit->lock);
}

void unit_release(struct itl_nexus *nexus)
{
    struct unit *unit = nexus->unit;

    pthread_mutex_lock(&unit->lock);
    TAILQ_REMOVE(&unit->nexuses, nexus, link);
    pthread_mutex_unlock(&unit->lock);
}

/* ---- attentions ---- */

static struct sense take_attention(struct itl_nexus *nexus)
{
    unsigned first = (unsigned)__builtin_ctz(nexus->attentions);

    nexus->attentions &= ~(1u << first);
    return attention_sense[first];
}

struct sense unit_take_attention(struct conn *conn, struct itl_nexus *nexus)
{
    struct sense sense = SENSE_NONE;

    pthread_mutex_lock(&nexus->unit->lock);
    if (nexus->attentions)
        sense = take_attention(nexus);
    pthread_mutex_unlock(&nexus->unit->lock);
    return sense.key ? sense : conn_take_luns_changed(conn);
}

void unit_establish(struct unit *unit, enum attention attention, const struct itl_nexus *except)
{
    struct itl_nexus *nexus;

    TAILQ_FOREACH(nexus, &unit->nexuses, link)
    if (nexus != except)
        nexus->attentions |= 1u << attention;
}

/* A disk that may have lost what was not flushed is as one that was switched off
 * meanwhile: SAM-5, 5.14.3. Lock held. */
static void notice_losses(struct unit *unit)
{
    struct itl_nexus *nexus;

    if (!unit->backend || atomic_load(&unit->backend->losses) == unit->losses)
        return;
    unit->losses = atomic_load(&unit->backend->losses);
    unit_establish(unit, ATTENTION_RESET, NULL);
    TAILQ_FOREACH(nexus, &unit->nexuses, link)
    nexus->lost = true;
}

int unit_flush(struct itl_nexus *nexus)
{
    struct unit *unit = nexus->unit;
    int error = unit->backend->operations->flush(unit->backend);

    pthread_mutex_lock(&unit->lock);
    notice_losses(unit);
    if (nexus->lost && (!error || error == -EAGAIN))
        error = -EIO;
    nexus->lost = false;
    pthread_mutex_unlock(&unit->lock);
    return error;
}

struct mode unit_mode(struct unit *unit)
{
    struct mode mode;

    pthread_mutex_lock(&unit->lock);
    mode = unit->mode;
    pthread_mutex_unlock(&unit->lock);
    return mode;
}

bool unit_is_protected(struct unit *unit)
{
    bool protected;

    pthread_mutex_lock(&unit->lock);
    protected = unit->read_only || unit->mode.software_write_protect;
    pthread_mutex_unlock(&unit->lock);
    return protected;
}

void unit_set_read_only(struct unit *unit, bool read_only)
{
    pthread_mutex_lock(&unit->lock);
    if (unit->read_only != read_only)
        unit_establish(unit, ATTENTION_MODE_CHANGED, NULL); /* WP in a mode page's header */
    unit->read_only = read_only;
    pthread_mutex_unlock(&unit->lock);
}

void unit_has_grown(struct unit *unit)
{
    pthread_mutex_lock(&unit->lock);
    unit_establish(unit, ATTENTION_CAPACITY_CHANGED, NULL);
    pthread_mutex_unlock(&unit->lock);
}

void unit_release_port(struct unit *unit, const struct port *port)
{
    pthread_mutex_lock(&unit->lock);
    if (unit->reserved_by && port_equal(&unit->reserved_by->port, port))
        unit->reserved_by = NULL;
    pthread_mutex_unlock(&unit->lock);
}

/* ---- tasks ---- */

enum start { STARTS, ABORTED, CONFLICTS, FAILS };

static bool is_reserved_by_another(const struct unit *unit, const struct task *task)
{
    const struct itl_nexus *nexus = task->nexus;

    if (unit->reserved_by && unit->reserved_by != nexus)
        return !command_has(task->command, COMMAND_IGNORES_RESERVE);
    return reservation_conflicts(unit->reservations, &nexus->port, command_access(task->command));
}

/* SAM-5, 5.3: attentions come before conflicts, conflicts before what is wrong with the command. */
static enum start judge(struct unit *unit, const struct task *task, struct sense *sense)
{
    struct itl_nexus *nexus = task->nexus;

    if (task->epoch != nexus->epoch)
        return ABORTED;
    if (!command_has(task->command, COMMAND_IGNORES_ATTENTION)) {
        *sense = nexus->attentions ? take_attention(nexus) : conn_take_luns_changed(task->conn);
        if (sense->key)
            return FAILS;
    }
    if (is_reserved_by_another(unit, task))
        return CONFLICTS;
    *sense = task->refusal;
    if (!sense->key && unit->stopped && command_has(task->command, COMMAND_NEEDS_STARTED))
        *sense = SENSE_STOPPED;
    if (!sense->key && unit->read_only && command_has(task->command, COMMAND_CHANGES_MEDIUM))
        *sense = SENSE_WRITE_PROTECTED;
    if (!sense->key && unit->mode.software_write_protect &&
        command_has(task->command, COMMAND_CHANGES_MEDIUM))
        *sense = SENSE_SOFTWARE_WRITE_PROTECTED;
    return sense->key ? FAILS : STARTS;
}

void unit_task_arrives(struct task *task)
{
    struct itl_nexus *nexus = task->nexus;

    if (!nexus)
        return;
    pthread_mutex_lock(&nexus->unit->lock);
    task->epoch = nexus->epoch;
    pthread_mutex_unlock(&nexus->unit->lock);
}

bool unit_task_begins(struct task *task)
{
    struct itl_nexus *nexus = task->nexus;
    struct sense sense = SENSE_NONE;
    enum start start;

    pthread_mutex_lock(&nexus->unit->lock);
    notice_losses(nexus->unit);
    start = judge(nexus->unit, task, &sense);
    task->begun = start == STARTS;
    nexus->running += task->begun;
    pthread_mutex_unlock(&nexus->unit->lock);
    if (start == ABORTED)
        task_status(task, SCSI_TASK_ABORTED); /* TAS is 1 */
    else if (start == CONFLICTS)
        task_status(task, SCSI_RESERVATION_CONFLICT);
    else if (start == FAILS)
        task_check(task, sense);
    return start == STARTS;
}

void unit_task_ends(struct task *task)
{
    struct itl_nexus *nexus = task->nexus;

    if (!task->begun)
        return;
    task->begun = false;
    pthread_mutex_lock(&nexus->unit->lock);
    if (task->epoch == nexus->epoch)
        nexus->running--;
    else
        nexus->leaving--;
    pthread_cond_broadcast(&nexus->unit->ended);
    pthread_mutex_unlock(&nexus->unit->lock);
}

/* ---- aborting ---- */

static void abort_tasks(struct itl_nexus *nexus)
{
    nexus->epoch++;
    nexus->leaving += nexus->running;
    nexus->running = 0;
}

/* port NULL: any */
static bool any_leaving(const struct unit *unit, const struct port *port)
{
    const struct itl_nexus *nexus;

    TAILQ_FOREACH(nexus, &unit->nexuses, link)
    if (nexus->leaving > 0 && (!port || port_equal(&nexus->port, port)))
        return true;
    return false;
}

void unit_abort_port(struct unit *unit, const struct port *port)
{
    struct itl_nexus *nexus;

    pthread_mutex_lock(&unit->lock);
    TAILQ_FOREACH(nexus, &unit->nexuses, link)
    if (port_equal(&nexus->port, port))
        abort_tasks(nexus);
    while (any_leaving(unit, port))
        pthread_cond_wait(&unit->ended, &unit->lock);
    pthread_mutex_unlock(&unit->lock);
}

void unit_reset(struct unit *unit)
{
    struct itl_nexus *nexus;

    pthread_mutex_lock(&unit->lock);
    TAILQ_FOREACH(nexus, &unit->nexuses, link)
    abort_tasks(nexus);
    while (any_leaving(unit, NULL))
        pthread_cond_wait(&unit->ended, &unit->lock);
    unit->mode = MODE_DEFAULT;
    unit->stopped = false;
    unit->reserved_by = NULL;
    unit_establish(unit, ATTENTION_UNIT_RESET, NULL);
    pthread_mutex_unlock(&unit->lock);
}
