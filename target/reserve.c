// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reservations as commands: RESERVE (6) and RELEASE (6) of SPC-2, PERSISTENT
 * RESERVE IN and OUT of SPC-4, 6.15 and 6.16. The rules are in reservation.c.
 * They run in the reader: so a session's commands meet them in their order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "conn.h"
#include "task.h"
#include "unit.h"

#define LU_SCOPE 0
#define PARAMETER_LIST_BYTES 24

/* ---- RESERVE (6), RELEASE (6) ---- */

/* SPC-4, 5.13.3: who uses the one kind does not use the other. */
void spc_reserve_6(struct task *task)
{
    struct unit *unit = task->lun->unit;
    bool conflict;

    pthread_mutex_lock(&unit->lock);
    conflict = unit->reservations->count > 0;
    if (!conflict)
        unit->reserved_by = task->nexus;
    pthread_mutex_unlock(&unit->lock);
    task_status(task, conflict ? SCSI_RESERVATION_CONFLICT : SCSI_GOOD);
}

void spc_release_6(struct task *task)
{
    struct unit *unit = task->lun->unit;
    bool conflict;

    pthread_mutex_lock(&unit->lock);
    conflict = unit->reservations->count > 0;
    if (unit->reserved_by == task->nexus)
        unit->reserved_by = NULL;
    pthread_mutex_unlock(&unit->lock);
    task_status(task, conflict ? SCSI_RESERVATION_CONFLICT : SCSI_GOOD);
}

/* ---- PERSISTENT RESERVE IN ---- */

static uint32_t put_keys(const struct reservations *r, uint8_t *out)
{
    for (unsigned i = 0; i < r->count; i++)
        wire_put64(out + 8 + 8 * i, r->registrations[i].key);
    return 8 + 8 * r->count;
}

static uint32_t put_reservation(const struct reservations *r, uint8_t *out)
{
    const struct registration *holder = reservation_find(r, &r->holder);

    if (r->type == RESERVATION_NONE)
        return 8;
    if (holder) /* all registrants hold it: no key */
        wire_put64(out + 8, holder->key);
    out[21] = (uint8_t)(LU_SCOPE << 4 | r->type);
    return 24;
}

static uint32_t put_capabilities(const struct reservations *r, uint8_t *out)
{
    enum { ATP_C = 0x04, PTPL_C = 0x01, TMV = 0x80, PTPL_A = 0x01 };

    wire_put16(out, 8);
    out[2] = ATP_C | PTPL_C;
    out[3] = (uint8_t)(TMV | (r->persist ? PTPL_A : 0));
    wire_put16(out + 4, 0xEA01); /* all six types */
    return 8;
}

/* SPC-4, 7.6.4.6: format 01b, with the ISID */
static uint32_t put_transport_id(const struct port *port, uint8_t *out)
{
    int n = snprintf((char *)out + 4, NAME_BYTES + 24, "%s,i,0x%02x%02x%02x%02x%02x%02x",
                     port->name, port->isid[0], port->isid[1], port->isid[2], port->isid[3],
                     port->isid[4], port->isid[5]);
    uint32_t bytes = (uint32_t)n + 1;

    bytes += pdu_padding(bytes);
    if (bytes < 20)
        bytes = 20;
    out[0] = 0x40 | 0x05;
    wire_put16(out + 2, (uint16_t)bytes);
    return 4 + bytes;
}

static uint32_t put_full_status(const struct reservations *r, uint8_t *out)
{
    enum { ALL_TG_PT = 0x02, R_HOLDER = 0x01 };
    uint32_t n = 8;

    for (unsigned i = 0; i < r->count; i++) {
        const struct registration *g = &r->registrations[i];
        uint8_t *d = out + n;
        uint32_t bytes = put_transport_id(&g->port, d + 24);

        wire_put64(d, g->key);
        d[12] = ALL_TG_PT;
        if (reservation_is_holder(r, &g->port)) {
            d[12] |= R_HOLDER;
            d[13] = (uint8_t)(LU_SCOPE << 4 | r->type);
        }
        wire_put32(d + 20, bytes);
        n += 24 + bytes;
    }
    return n;
}

static uint32_t put_in(const struct reservations *r, unsigned action, uint8_t *out)
{
    enum { READ_KEYS, READ_RESERVATION, REPORT_CAPABILITIES, READ_FULL_STATUS };
    uint32_t n;

    switch (action) {
    case READ_KEYS:
        n = put_keys(r, out);
        break;
    case READ_RESERVATION:
        n = put_reservation(r, out);
        break;
    case REPORT_CAPABILITIES:
        return put_capabilities(r, out);
    default:
        n = put_full_status(r, out);
    }
    wire_put32(out, r->generation);
    wire_put32(out + 4, n - 8);
    return n;
}

void spc_persistent_reserve_in(struct task *task)
{
    struct unit *unit = task->lun->unit;
    uint32_t allocated = wire_get16(task->cdb + 7), n;
    uint8_t *out = task_answer_room(task, 8 + REGISTRATIONS_MAX * (24 + 4 + NAME_BYTES + 24));
    bool conflict;

    if (!out)
        return;
    pthread_mutex_lock(&unit->lock);
    conflict = unit->reserved_by != NULL;
    n = put_in(unit->reservations, task->cdb[1] & 0x1F, out);
    pthread_mutex_unlock(&unit->lock);
    if (conflict)
        task_status(task, SCSI_RESERVATION_CONFLICT);
    else
        task_data(task, out, n < allocated ? n : allocated);
}

/* ---- PERSISTENT RESERVE OUT ---- */

/* What it is, or what is wrong with it. */
static struct sense parse(const struct task *task, struct reservation_request *q)
{
    enum { SPEC_I_PT = 0x08, APTPL = 0x01 };
    const uint8_t *list = task->out;
    uint8_t type = task->cdb[2] & 0x0F;
    bool registers;

    q->action = task->cdb[1] & 0x1F;
    registers = q->action == ACTION_REGISTER || q->action == ACTION_REGISTER_AND_IGNORE;
    if (!registers && q->action != ACTION_CLEAR &&
        (task->cdb[2] >> 4 != LU_SCOPE || !reservation_is_type(type)))
        return SENSE_INVALID_FIELD_IN_CDB;
    if (wire_get32(task->cdb + 5) != PARAMETER_LIST_BYTES || !task->writes ||
        task->expected < PARAMETER_LIST_BYTES)
        return SENSE_PARAMETER_LIST_LENGTH;
    q->type = type;
    q->key = wire_get64(list);
    q->action_key = wire_get64(list + 8);
    q->persist = registers && list[20] & APTPL;
    return list[20] & SPEC_I_PT ? SENSE_INVALID_FIELD_IN_LIST : SENSE_NONE;
}

/* SPC-4, 5.13: who hears of it with his next command. */
static enum attention attention_for(const struct reservations *before,
                                    const struct reservations *after,
                                    const struct reservation_request *q, const struct port *port,
                                    bool *any)
{
    bool was = reservation_find(before, port) != NULL, is = reservation_find(after, port) != NULL;
    bool shared = before->type >= WRITE_EXCLUSIVE_REGISTRANTS_ONLY;

    *any = was && !is;
    if (*any)
        return q->action == ACTION_CLEAR ? ATTENTION_RESERVATIONS_PREEMPTED
                                         : ATTENTION_REGISTRATIONS_PREEMPTED;
    *any = is && shared && after->type != before->type;
    return ATTENTION_RESERVATIONS_RELEASED;
}

static void tell_others(struct unit *unit, const struct reservations *before,
                        const struct reservation_request *q, const struct itl_nexus *self)
{
    struct itl_nexus *nexus;

    TAILQ_FOREACH(nexus, &unit->nexuses, link)
    {
        bool any;
        enum attention attention = attention_for(before, unit->reservations, q, &nexus->port, &any);

        if (any && nexus != self)
            nexus->attentions |= 1u << attention;
    }
}

/* PREEMPT AND ABORT: whose registration is gone. */
static void abort_preempted(struct unit *unit, const struct reservations *before,
                            const struct reservations *after, const struct port *self)
{
    for (unsigned i = 0; i < before->count; i++) {
        const struct port *port = &before->registrations[i].port;

        if (!reservation_find(after, port) && !port_equal(port, self))
            unit_abort_port(unit, port);
    }
}

/* The change is on stable storage before anybody sees it. With the lock held. */
static enum reservation_result perform(struct task *task, const struct reservation_request *q,
                                       struct reservations *after, struct sense *sense)
{
    struct unit *unit = task->lun->unit;
    enum reservation_result result;
    int error = 0;

    if (unit->reserved_by)
        return RESERVATION_CONFLICT;
    result = reservation_perform(after, &task->nexus->port, q, sense);
    if (result == RESERVATION_DONE && (after->persist || unit->reservations->persist))
        error = reservations_save(after);
    if (error) {
        conn_log(task->conn, task->lun_number, "cannot keep the reservations: %s",
                 strerror(-error));
        *sense = SENSE_INTERNAL_FAILURE;
        return RESERVATION_INVALID;
    }
    return result;
}

static void answer(struct task *task, enum reservation_result result, struct sense sense)
{
    if (result == RESERVATION_CONFLICT)
        task_status(task, SCSI_RESERVATION_CONFLICT);
    else
        task_answer(task, sense);
}

void spc_persistent_reserve_out(struct task *task)
{
    struct unit *unit = task->lun->unit;
    struct reservations *before = malloc(sizeof *before), *after = malloc(sizeof *after);
    struct reservation_request q;
    struct sense sense = parse(task, &q);
    enum reservation_result result = RESERVATION_INVALID;

    if (!before || !after)
        sense = SENSE_INTERNAL_FAILURE;
    if (!sense.key) {
        pthread_mutex_lock(&unit->lock);
        *before = *after = *unit->reservations;
        result = perform(task, &q, after, &sense);
        if (result == RESERVATION_DONE) {
            *unit->reservations = *after;
            tell_others(unit, before, &q, task->nexus);
        }
        pthread_mutex_unlock(&unit->lock);
    }
    if (result == RESERVATION_DONE && q.action == ACTION_PREEMPT_AND_ABORT)
        abort_preempted(unit, before, after, &task->nexus->port);
    free(before);
    free(after);
    answer(task, result, sense);
}
