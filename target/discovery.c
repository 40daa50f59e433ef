// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Text requests: discovery.h. A negotiation is one text in each direction, in
 * as many PDUs as it takes: requests that are not the last of theirs have the C
 * bit and are answered with nothing; of a long answer the initiator asks for
 * one piece after the other. Our Target Transfer Tag binds them together.
 */
#include "discovery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"

#define TAG 1 /* there is one negotiation at a time */

struct negotiation {
    struct text in, out;
    size_t sent; /* of out */
};

/* Appendix C: All, for discovery only; a name; nothing, for the session's own target. */
static bool is_asked(const struct conn *conn, const char *value, const char *name)
{
    return strcmp(value, "All") == 0 || strcmp(value[0] ? value : conn->target_name, name) == 0 ||
           (!value[0] && conn->discovery);
}

static bool send_targets(struct conn *conn, const char *value, struct text *out)
{
    struct config *config = target_config(conn->target);
    char address[sizeof conn->local + 8];
    bool room = true;

    snprintf(address, sizeof address, "%s,1", conn->local);
    for (unsigned i = 0; room && i < config->targets->len; i++) {
        const struct target_settings *target = config->targets->pdata[i];

        if (is_asked(conn, value, target->name)) /* of one that is not here nothing is said */
            room = text_put(out, "TargetName", target->name) &&
                   text_put(out, "TargetAddress", address);
    }
    config_unref(config);
    return room;
}

static bool take_send_targets(struct conn *conn, const char *value, struct text *out)
{
    if (strcmp(value, "All") == 0 && !conn->discovery)
        return text_put(out, "SendTargets", "Reject");
    return send_targets(conn, value, out);
}

/* False: it is no list of keys. */
static bool answer_keys(struct conn *conn, struct negotiation *n)
{
    const char *key, *value;
    size_t offset = 0;
    bool bad = false, room = true;

    n->out.bytes = n->sent = 0;
    while (room && text_next(&n->in, &offset, &key, &value, &bad)) {
        if (strcmp(key, "SendTargets") == 0)
            room = take_send_targets(conn, value, &n->out);
        else
            room = text_redeclare(&conn->parameters, key, value, &n->out);
    }
    n->in.bytes = 0;
    sender_set_limits(&conn->sender, conn->parameters.initiator_data_bytes_max,
                      conn->parameters.max_burst);
    return room && !bad;
}

/* As much of the answer as one PDU takes; `more`: the initiator has not said everything. */
static bool respond(struct conn *conn, const uint8_t *bhs, bool more)
{
    struct negotiation *n = conn->negotiation;
    size_t left = more ? 0 : n->out.bytes - n->sent;
    uint32_t most = conn->parameters.initiator_data_bytes_max;
    uint32_t bytes = left < most ? (uint32_t)left : most;
    bool continues = bytes < left, final = bhs[BHS_FLAGS] & PDU_FINAL && !continues && !more;
    struct response *r = conn_response(conn, PDU_TEXT_RESPONSE, wire_get32(bhs + BHS_ITT), bytes);

    if (!r)
        return conn_protocol_error(conn, "out of memory");
    r->bhs[BHS_FLAGS] = (uint8_t)((final ? PDU_FINAL : 0) | (continues ? PDU_CONTINUE : 0));
    memcpy(r->bhs + BHS_LUN, bhs + BHS_LUN, 8);
    wire_put32(r->bhs + BHS_TTT, final ? PDU_NO_TAG : TAG);
    memcpy((void *)r->data, n->out.data + n->sent, bytes);
    n->sent += bytes;
    conn_send(conn, r);
    return true;
}

static bool begin(struct conn *conn)
{
    if (!conn->negotiation)
        conn->negotiation = calloc(1, sizeof *conn->negotiation);
    if (!conn->negotiation)
        return conn_protocol_error(conn, "out of memory");
    conn->negotiation->in.bytes = conn->negotiation->out.bytes = conn->negotiation->sent = 0;
    return true;
}

bool discovery_text_request(struct conn *conn, const uint8_t *bhs, uint32_t data_bytes)
{
    uint32_t tag = wire_get32(bhs + BHS_TTT);
    bool more = bhs[BHS_FLAGS] & PDU_CONTINUE;
    struct negotiation *n;

    if (tag == PDU_NO_TAG && !begin(conn))
        return false;
    n = conn->negotiation;
    if (!n || (tag != PDU_NO_TAG && tag != TAG) || (more && bhs[BHS_FLAGS] & PDU_FINAL) ||
        data_bytes > sizeof n->in.data - n->in.bytes)
        return conn_reject(conn, bhs, PDU_REJECT_INVALID_FIELD) &&
               conn_read_segment(conn, NULL, data_bytes, NULL);
    if (!conn_read_segment(conn, n->in.data + n->in.bytes, data_bytes, NULL))
        return false;
    n->in.bytes += data_bytes;
    if (!more && n->in.bytes > 0 && !answer_keys(conn, n))
        return conn_reject(conn, bhs, PDU_REJECT_PROTOCOL_ERROR);
    return respond(conn, bhs, more);
}
