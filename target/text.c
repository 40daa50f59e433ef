// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Negotiation of text keys, each with its result function (RFC 7143, section 13).
 */
#include "text.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

bool text_add(struct text *text, const char *key, const char *value)
{
    int n = snprintf(text->data + text->len, sizeof text->data - text->len, "%s=%s", key, value);

    if (n < 0 || (size_t)n + 1 > sizeof text->data - text->len)
        return false;
    text->len += (uint32_t)n + 1;
    return true;
}

const char *text_find(const char *data, uint32_t len, const char *key)
{
    size_t key_len = strlen(key);

    for (const char *p = data; p < data + len; p += strlen(p) + 1)
        if (strncmp(p, key, key_len) == 0 && p[key_len] == '=')
            return p + key_len + 1;
    return NULL;
}

/* Result functions: what we have, and what they say, give what is agreed. */
enum result { LIST_NONE, BOOL_AND, BOOL_OR, MINIMUM, MAXIMUM, DECLARED };

static const struct key {
    const char *name;
    enum result result;
    uint32_t ours; /* numbers, and 0 or 1 for No or Yes */
    uint32_t least, most;
} keys[] = {
    {"HeaderDigest", LIST_NONE, 0, 0, 0},
    {"DataDigest", LIST_NONE, 0, 0, 0},
    {"MaxConnections", MINIMUM, 1, 1, 65535},
    {"InitialR2T", BOOL_OR, 0, 0, 1},
    {"ImmediateData", BOOL_AND, 1, 0, 1},
    {"MaxRecvDataSegmentLength", DECLARED, DATA_SEGMENT_MAX, 512, 16777215},
    {"MaxBurstLength", MINIMUM, DATA_SEGMENT_MAX, 512, 16777215},
    {"FirstBurstLength", MINIMUM, DATA_SEGMENT_MAX, 512, 16777215},
    {"DefaultTime2Wait", MAXIMUM, 0, 0, 3600},
    {"DefaultTime2Retain", MINIMUM, 0, 0, 3600},
    {"MaxOutstandingR2T", MINIMUM, 1, 1, 65535},
    {"DataPDUInOrder", BOOL_OR, 1, 0, 1},
    {"DataSequenceInOrder", BOOL_OR, 1, 0, 1},
    {"ErrorRecoveryLevel", MINIMUM, 0, 0, 2},
};

/* Declared by the initiator, no answer wanted. */
static bool is_declaration(const char *name)
{
    static const char *const names[] = {"InitiatorName", "InitiatorAlias", "TargetName",
                                        "SessionType", "AuthMethod", "SendTargets"};

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static bool list_has_none(const char *list)
{
    g_auto(GStrv) values = g_strsplit(list, ",", -1);

    return g_strv_contains((const char *const *)values, "None");
}

static void keep(struct conn *conn, const char *name, uint32_t theirs, uint32_t agreed)
{
    if (strcmp(name, "MaxRecvDataSegmentLength") == 0)
        conn->max_send = theirs;
    else if (strcmp(name, "InitialR2T") == 0)
        conn->initial_r2t = agreed;
    else if (strcmp(name, "ImmediateData") == 0)
        conn->immediate_data = agreed;
    else if (strcmp(name, "FirstBurstLength") == 0)
        conn->first_burst = agreed;
    else if (strcmp(name, "MaxBurstLength") == 0)
        conn->max_burst = agreed;
}

static int agree_bool(const struct key *key, const char *value, uint32_t *theirs, uint32_t *agreed)
{
    if (strcmp(value, "Yes") != 0 && strcmp(value, "No") != 0)
        return -1;
    *theirs = strcmp(value, "Yes") == 0;
    *agreed = key->result == BOOL_AND ? (key->ours && *theirs) : (key->ours || *theirs);
    return 0;
}

static int agree_number(const struct key *key, const char *value, uint32_t *theirs, uint32_t *agreed)
{
    guint64 number;

    if (!g_ascii_string_to_unsigned(value, g_str_has_prefix(value, "0x") ? 16 : 10, key->least,
                                    key->most, &number, NULL))
        return -1;
    *theirs = (uint32_t)number;
    if (key->result == DECLARED)
        *agreed = key->ours;
    else if (key->result == MAXIMUM)
        *agreed = *theirs > key->ours ? *theirs : key->ours;
    else
        *agreed = *theirs < key->ours ? *theirs : key->ours;
    return 0;
}

static int agree(struct conn *conn, const struct key *key, const char *value, struct text *answer)
{
    char number[16];
    uint32_t theirs, agreed;

    if (key->result == LIST_NONE)
        return list_has_none(value) && text_add(answer, key->name, "None") ? 0 : -1;
    if (key->result == BOOL_AND || key->result == BOOL_OR) {
        if (agree_bool(key, value, &theirs, &agreed) != 0)
            return -1;
        keep(conn, key->name, theirs, agreed);
        return text_add(answer, key->name, agreed ? "Yes" : "No") ? 0 : -1;
    }
    if (agree_number(key, value, &theirs, &agreed) != 0)
        return -1;
    keep(conn, key->name, theirs, agreed);
    snprintf(number, sizeof number, "%u", agreed);
    return text_add(answer, key->name, number) ? 0 : -1;
}

static int answer_key(struct conn *conn, const char *name, const char *value, struct text *answer)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++)
        if (strcmp(keys[i].name, name) == 0)
            return agree(conn, &keys[i], value, answer);
    if (is_declaration(name))
        return 0;
    return text_add(answer, name, "NotUnderstood") ? 0 : -1;
}

int text_negotiate(struct conn *conn, const char *data, uint32_t len, struct text *answer)
{
    for (const char *p = data; p < data + len; p += strlen(p) + 1) {
        const char *equals = strchr(p, '=');
        char name[64];

        if (*p == 0)
            continue;
        if (!equals || (size_t)(equals - p) >= sizeof name)
            return -1;
        memcpy(name, p, (size_t)(equals - p));
        name[equals - p] = 0;
        if (answer_key(conn, name, equals + 1, answer) != 0)
            return -1;
    }
    return 0;
}

void text_send_targets(const struct conn *conn, const char *value, struct text *answer)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    char host[INET6_ADDRSTRLEN] = "", portal[INET6_ADDRSTRLEN + 16];

    if (*value && strcmp(value, "All") != 0 && strcmp(value, conn->target->name) != 0)
        return;
    if (getsockname(conn->fd, (struct sockaddr *)&a, &len) != 0)
        return;
    if (a.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a;

        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(portal, sizeof portal, "[%s]:%u,1", host, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&a;

        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(portal, sizeof portal, "%s:%u,1", host, ntohs(in->sin_port));
    }
    if (text_add(answer, "TargetName", conn->target->name))
        (void)text_add(answer, "TargetAddress", portal); /* two short keys always fit */
}
