// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reservations as commands: RESERVE (6) and RELEASE (6) of SPC-2, PERSISTENT
 * RESERVE IN and OUT of SPC-4, 6.15 and 6.16. The rules are in reservation.c.
 * They run in the reader: so a session's commands meet them in their order.
 */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "conn.h"
#include "task.h"
#include "transport_id.h"
#include "unit.h"

#define LU_SCOPE 0
#define PARAMETER_LIST_BYTES 24
#define TARGET_PORT 1 /* RELATIVE TARGET PORT IDENTIFIER */

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
    enum { SIP_C = 0x08, ATP_C = 0x04, PTPL_C = 0x01, TMV = 0x80, PTPL_A = 0x01 };

    wire_put16(out, 8);
    out[2] = SIP_C | ATP_C | PTPL_C;
    out[3] = (uint8_t)(TMV | (r->persist ? PTPL_A : 0));
    wire_put16(out + 4, 0xEA01); /* all six types */
    return 8;
}

static uint32_t put_full_status(const struct reservations *r, uint8_t *out)
{
    enum { ALL_TG_PT = 0x02, R_HOLDER = 0x01 };
    uint32_t n = 8;

    for (unsigned i = 0; i < r->count; i++) {
        const struct registration *g = &r->registrations[i];
        uint8_t *d = out + n;
        uint32_t bytes = transport_id_put(&g->port, d + 24);

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
    uint8_t *out = task_answer_room(task, 8 + REGISTRATIONS_MAX * (24 + TRANSPORT_ID_BYTES_MAX));
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

/* The ports of a device that have a session now. False: too many. */
static bool add_ports_of(const struct unit *unit, const char *name, struct reservation_request *q)
{
    const struct itl_nexus *nexus;

    TAILQ_FOREACH(nexus, &unit->nexuses, link)
    {
        if (strcmp(nexus->port.name, name) != 0)
            continue;
        if (q->port_count == REGISTRATIONS_MAX)
            return false;
        q->ports[q->port_count++] = nexus->port;
    }
    return true;
}

/* TransportIDs one behind the other. */
static struct sense parse_ports(const struct unit *unit, const uint8_t *in, uint32_t bytes,
                                struct reservation_request *q)
{
    struct port port;
    bool all_ports;
    uint32_t n;

    for (; bytes > 0; in += n, bytes -= n) {
        n = transport_id_get(in, bytes, &port, &all_ports);
        if (n == 0)
            return SENSE_INVALID_FIELD_IN_LIST;
        if (all_ports ? !add_ports_of(unit, port.name, q) : q->port_count == REGISTRATIONS_MAX)
            return SENSE_NO_REGISTRATIONS_LEFT;
        if (!all_ports)
            q->ports[q->port_count++] = port;
    }
    return SENSE_NONE;
}

/* 6.16.3: behind the length there are as many bytes as it says. */
static struct sense parse_basic(const struct task *task, uint32_t bytes,
                                struct reservation_request *q)
{
    enum { SPEC_I_PT = 0x08, APTPL = 0x01 };
    const uint8_t *list = task->out;
    bool registers = q->action == ACTION_REGISTER || q->action == ACTION_REGISTER_AND_IGNORE;
    uint32_t behind = PARAMETER_LIST_BYTES + 4;

    q->persist = registers && list[20] & APTPL;
    q->names_ports = list[20] & SPEC_I_PT;
    if (!q->names_ports)
        return bytes == PARAMETER_LIST_BYTES ? SENSE_NONE : SENSE_PARAMETER_LIST_LENGTH;
    if (q->action != ACTION_REGISTER)
        return SENSE_INVALID_FIELD_IN_LIST;
    if (bytes < behind || wire_get32(list + PARAMETER_LIST_BYTES) != bytes - behind)
        return SENSE_PARAMETER_LIST_LENGTH;
    return parse_ports(task->lun->unit, list + behind, bytes - behind, q);
}

/* 6.16.4: one TransportID, of a port; the target port is the only one. */
static struct sense parse_move(const struct task *task, uint32_t bytes,
                               struct reservation_request *q)
{
    enum { UNREG = 0x02, APTPL = 0x01 };
    const uint8_t *list = task->out;
    uint32_t n = bytes - PARAMETER_LIST_BYTES;
    bool all_ports;

    if (wire_get32(list + 20) != n)
        return SENSE_PARAMETER_LIST_LENGTH;
    q->unregister = list[17] & UNREG;
    q->persist = list[17] & APTPL;
    if (wire_get16(list + 18) != TARGET_PORT ||
        transport_id_get(list + PARAMETER_LIST_BYTES, n, &q->ports[0], &all_ports) != n || all_ports)
        return SENSE_INVALID_FIELD_IN_LIST;
    return SENSE_NONE;
}

/* What it is, or what is wrong with it. With the unit's lock held. */
static struct sense parse(const struct task *task, struct reservation_request *q)
{
    uint32_t bytes = wire_get32(task->cdb + 5);
    uint8_t type = task->cdb[2] & 0x0F;

    memset(q, 0, sizeof *q);
    q->action = task->cdb[1] & 0x1F;
    if ((q->action == ACTION_RESERVE || q->action == ACTION_RELEASE ||
         q->action == ACTION_PREEMPT || q->action == ACTION_PREEMPT_AND_ABORT) &&
        (task->cdb[2] >> 4 != LU_SCOPE || !reservation_is_type(type)))
        return SENSE_INVALID_FIELD_IN_CDB;
    if (bytes < PARAMETER_LIST_BYTES || !task->writes || task->expected < bytes)
        return SENSE_PARAMETER_LIST_LENGTH;
    q->type = type;
    q->key = wire_get64(task->out);
    q->action_key = wire_get64(task->out + 8);
    return q->action == ACTION_REGISTER_AND_MOVE ? parse_move(task, bytes, q)
                                                 : parse_basic(task, bytes, q);
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

struct change {
    struct reservation_request request;
    struct reservations before, after;
};

/* With the unit's lock held. */
static enum reservation_result change(struct task *task, struct change *c, struct sense *sense)
{
    struct unit *unit = task->lun->unit;
    enum reservation_result result = RESERVATION_INVALID;

    *sense = parse(task, &c->request);
    if (sense->key)
        return result;
    c->before = c->after = *unit->reservations;
    result = perform(task, &c->request, &c->after, sense);
    if (result == RESERVATION_DONE) {
        *unit->reservations = c->after;
        tell_others(unit, &c->before, &c->request, task->nexus);
    }
    return result;
}

void spc_persistent_reserve_out(struct task *task)
{
    struct unit *unit = task->lun->unit;
    struct change *c = malloc(sizeof *c);
    enum reservation_result result;
    struct sense sense = SENSE_NONE;

    if (!c) {
        task_check(task, SENSE_INTERNAL_FAILURE);
        return;
    }
    pthread_mutex_lock(&unit->lock);
    result = change(task, c, &sense);
    pthread_mutex_unlock(&unit->lock);
    if (result == RESERVATION_DONE && c->request.action == ACTION_PREEMPT_AND_ABORT)
        abort_preempted(unit, &c->before, &c->after, &task->nexus->port);
    free(c);
    answer(task, result, sense);
}
