// SPDX-License-Identifier: LGPL-2.1-or-later
/* The rules of persistent reservations: reservation.h. */
#include "reservation.h"

#include <string.h>

bool port_equal(const struct port *a, const struct port *b)
{
    return strcmp(a->name, b->name) == 0 && memcmp(a->isid, b->isid, sizeof a->isid) == 0;
}

bool reservation_is_type(unsigned type)
{
    return type == WRITE_EXCLUSIVE || type == EXCLUSIVE_ACCESS ||
           (type >= WRITE_EXCLUSIVE_REGISTRANTS_ONLY && type <= EXCLUSIVE_ACCESS_ALL_REGISTRANTS);
}

bool reservation_is_all_registrants(enum reservation_type type)
{
    return type == WRITE_EXCLUSIVE_ALL_REGISTRANTS || type == EXCLUSIVE_ACCESS_ALL_REGISTRANTS;
}

static bool is_registrants_only(enum reservation_type type)
{
    return type == WRITE_EXCLUSIVE_REGISTRANTS_ONLY || type == EXCLUSIVE_ACCESS_REGISTRANTS_ONLY;
}

static bool is_write_exclusive(enum reservation_type type)
{
    return type == WRITE_EXCLUSIVE || type == WRITE_EXCLUSIVE_REGISTRANTS_ONLY ||
           type == WRITE_EXCLUSIVE_ALL_REGISTRANTS;
}

const struct registration *reservation_find(const struct reservations *r, const struct port *port)
{
    for (unsigned i = 0; i < r->count; i++)
        if (port_equal(&r->registrations[i].port, port))
            return &r->registrations[i];
    return NULL;
}

bool reservation_is_holder(const struct reservations *r, const struct port *port)
{
    if (r->type == RESERVATION_NONE)
        return false;
    if (reservation_is_all_registrants(r->type))
        return reservation_find(r, port) != NULL;
    return port_equal(&r->holder, port);
}

bool reservation_conflicts(const struct reservations *r, const struct port *port,
                           enum access access)
{
    if (r->type == RESERVATION_NONE || access == ACCESS_NONE || reservation_is_holder(r, port))
        return false;
    if (access == ACCESS_READ && is_write_exclusive(r->type))
        return false;
    return !is_registrants_only(r->type) || !reservation_find(r, port);
}

/* ---- changing ---- */

static void release(struct reservations *r)
{
    r->type = RESERVATION_NONE;
    memset(&r->holder, 0, sizeof r->holder);
}

static void reserve(struct reservations *r, const struct port *port, enum reservation_type type)
{
    release(r);
    r->type = type;
    if (!reservation_is_all_registrants(type))
        r->holder = *port;
}

/* With the last registrant, or the only holder, the reservation goes. */
static void unregister_at(struct reservations *r, unsigned i)
{
    bool all = reservation_is_all_registrants(r->type);

    if (!all && reservation_is_holder(r, &r->registrations[i].port))
        release(r);
    r->count--;
    memmove(&r->registrations[i], &r->registrations[i + 1],
            (r->count - i) * sizeof r->registrations[0]);
    if (all && r->count == 0)
        release(r);
}

/* All with this key (NULL: with any), but `except` (NULL: nobody). How many? */
static unsigned unregister(struct reservations *r, const uint64_t *key, const struct port *except)
{
    unsigned gone = 0, i = 0;

    while (i < r->count) {
        const struct registration *g = &r->registrations[i];

        if ((key && g->key != *key) || (except && port_equal(&g->port, except))) {
            i++;
        } else {
            unregister_at(r, i);
            gone++;
        }
    }
    return gone;
}

/* ---- service actions ---- */

static enum reservation_result invalid(struct sense *sense, struct sense why)
{
    *sense = why;
    return RESERVATION_INVALID;
}

/* A new registration, or another key for an old one. */
static bool set_key(struct reservations *r, const struct port *port, uint64_t key)
{
    const struct registration *old = reservation_find(r, port);
    unsigned i = old ? (unsigned)(old - r->registrations) : r->count;

    if (i == REGISTRATIONS_MAX)
        return false;
    r->registrations[i] = (struct registration){key, *port};
    r->count += !old;
    return true;
}

/* SPEC_I_PT: whoever is registered already stays as he is. */
static bool register_others(struct reservations *r, const struct reservation_request *q)
{
    bool ok = true;

    for (unsigned i = 0; ok && i < q->port_count; i++)
        ok = reservation_find(r, &q->ports[i]) || set_key(r, &q->ports[i], q->action_key);
    return ok;
}

/* 5.13.7: REGISTER, and REGISTER AND IGNORE EXISTING KEY */
static enum reservation_result do_register(struct reservations *r, const struct port *port,
                                           const struct reservation_request *q, struct sense *sense)
{
    const struct registration *old = reservation_find(r, port);

    if (q->action == ACTION_REGISTER && q->key != (old ? old->key : 0))
        return RESERVATION_CONFLICT;
    if (q->names_ports && (old || q->action_key == 0))
        return invalid(sense, SENSE_INVALID_FIELD_IN_LIST);
    if (q->action_key == 0) {
        if (old)
            unregister_at(r, (unsigned)(old - r->registrations));
    } else if (!set_key(r, port, q->action_key) || !register_others(r, q)) {
        return invalid(sense, SENSE_NO_REGISTRATIONS_LEFT);
    }
    r->persist = q->persist;
    r->generation++;
    return RESERVATION_DONE;
}

/* 5.13.8: the reservation, as it is, becomes another's. */
static enum reservation_result do_move(struct reservations *r, const struct port *port,
                                       const struct reservation_request *q, struct sense *sense)
{
    const struct port *to = &q->ports[0];

    if (r->type == RESERVATION_NONE)
        return invalid(sense, SENSE_INVALID_FIELD_IN_CDB);
    if (reservation_is_all_registrants(r->type) || !reservation_is_holder(r, port))
        return RESERVATION_CONFLICT;
    if (q->action_key == 0 || port_equal(port, to))
        return invalid(sense, SENSE_INVALID_FIELD_IN_LIST);
    if (!set_key(r, to, q->action_key))
        return invalid(sense, SENSE_NO_REGISTRATIONS_LEFT);
    r->holder = *to;
    if (q->unregister)
        unregister_at(r, (unsigned)(reservation_find(r, port) - r->registrations));
    r->persist = q->persist;
    r->generation++;
    return RESERVATION_DONE;
}

/* 5.13.9 */
static enum reservation_result do_reserve(struct reservations *r, const struct port *port,
                                          const struct reservation_request *q)
{
    if (r->type != RESERVATION_NONE && (!reservation_is_holder(r, port) || r->type != q->type))
        return RESERVATION_CONFLICT;
    if (r->type == RESERVATION_NONE)
        reserve(r, port, q->type);
    return RESERVATION_DONE;
}

/* 5.13.11.2 */
static enum reservation_result do_release(struct reservations *r, const struct port *port,
                                          const struct reservation_request *q, struct sense *sense)
{
    if (!reservation_is_holder(r, port))
        return RESERVATION_DONE;
    if (r->type != q->type)
        return invalid(sense, SENSE_INVALID_RELEASE);
    release(r);
    return RESERVATION_DONE;
}

/* 5.13.11.4: the key is that of the reservation, or takes registrations away. */
static enum reservation_result do_preempt(struct reservations *r, const struct port *port,
                                          const struct reservation_request *q, struct sense *sense)
{
    const uint64_t *key = q->action_key ? &q->action_key : NULL;
    const struct registration *holder = reservation_find(r, &r->holder);
    bool all = reservation_is_all_registrants(r->type);

    if (all ? !key : r->type != RESERVATION_NONE && holder && key && holder->key == *key) {
        unregister(r, key, port);
        reserve(r, port, q->type);
    } else if (!key) {
        return invalid(sense, SENSE_INVALID_FIELD_IN_LIST);
    } else if (unregister(r, key, NULL) == 0) {
        return RESERVATION_CONFLICT;
    }
    r->generation++;
    return RESERVATION_DONE;
}

/* 5.13.11.6 */
static enum reservation_result do_clear(struct reservations *r)
{
    release(r);
    r->count = 0;
    r->generation++;
    return RESERVATION_DONE;
}

enum reservation_result reservation_perform(struct reservations *r, const struct port *port,
                                            const struct reservation_request *q,
                                            struct sense *sense)
{
    const struct registration *own = reservation_find(r, port);

    if (q->action == ACTION_REGISTER || q->action == ACTION_REGISTER_AND_IGNORE)
        return do_register(r, port, q, sense);
    if (!own || own->key != q->key)
        return RESERVATION_CONFLICT;
    switch (q->action) {
    case ACTION_RESERVE:
        return do_reserve(r, port, q);
    case ACTION_RELEASE:
        return do_release(r, port, q, sense);
    case ACTION_CLEAR:
        return do_clear(r);
    case ACTION_REGISTER_AND_MOVE:
        return do_move(r, port, q, sense);
    default:
        return do_preempt(r, port, q, sense);
    }
}
