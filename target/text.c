// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Negotiation: what we want, and RFC 7143's result function, for each key.
 * A value that is no value of its key is answered with Reject.
 */
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glib.h>

#include "wire.h"

#define BURST_BYTES WIRE_PDU_DATA_MAX

enum result {
    RESULT_LIST, /* the first of the list's values that is one of ours */
    RESULT_AND,
    RESULT_OR,
    RESULT_MINIMUM,
    RESULT_MAXIMUM,
    RESULT_DECLARED, /* takes the value, answers nothing */
    RESULT_OBSOLETE, /* RFC 7143, 13.25 */
};

struct key {
    const char *name;
    enum result result;
    const char *ours; /* of a list */
    uint32_t number;  /* ours; of a boolean 1: Yes */
    uint32_t least, most;
    size_t field; /* in struct parameters, + 1; 0: none */
    bool boolean_field;
};

#define FIELD(member) (offsetof(struct parameters, member) + 1)

static const struct key keys[] = {
    {"HeaderDigest", RESULT_LIST, .ours = "CRC32C,None", .field = FIELD(header_digest),
     .boolean_field = true},
    {"DataDigest", RESULT_LIST, .ours = "CRC32C,None", .field = FIELD(data_digest),
     .boolean_field = true},
    {"TaskReporting", RESULT_LIST, .ours = "RFC3720"},
    {"InitialR2T", RESULT_OR, .number = 0, .field = FIELD(initial_r2t), .boolean_field = true},
    {"ImmediateData", RESULT_AND, .number = 1, .field = FIELD(immediate_data),
     .boolean_field = true},
    {"DataPDUInOrder", RESULT_OR, .number = 1},
    {"DataSequenceInOrder", RESULT_OR, .number = 1},
    {.name = "IFMarker", .result = RESULT_OBSOLETE},
    {.name = "OFMarker", .result = RESULT_OBSOLETE},
    {.name = "IFMarkInt", .result = RESULT_OBSOLETE},
    {.name = "OFMarkInt", .result = RESULT_OBSOLETE},
    {"MaxConnections", RESULT_MINIMUM, .number = 1, .least = 1, .most = 65535},
    {"MaxOutstandingR2T", RESULT_MINIMUM, .number = R2TS_MAX, .least = 1, .most = 65535,
     .field = FIELD(max_r2ts)},
    {"ErrorRecoveryLevel", RESULT_MINIMUM, .number = 0, .least = 0, .most = 2},
    {"DefaultTime2Wait", RESULT_MAXIMUM, .number = 0, .least = 0, .most = 3600},
    {"DefaultTime2Retain", RESULT_MINIMUM, .number = 0, .least = 0, .most = 3600},
    {"iSCSIProtocolLevel", RESULT_MINIMUM, .number = 1, .least = 0, .most = 31},
    {"MaxBurstLength", RESULT_MINIMUM, .number = BURST_BYTES, .least = 512, .most = 0xFFFFFF,
     .field = FIELD(max_burst)},
    {"FirstBurstLength", RESULT_MINIMUM, .number = BURST_BYTES, .least = 512, .most = 0xFFFFFF,
     .field = FIELD(first_burst)},
    {"MaxRecvDataSegmentLength", RESULT_DECLARED, .least = 512, .most = 0xFFFFFF,
     .field = FIELD(initiator_data_bytes_max)},
};

_Static_assert(sizeof keys / sizeof keys[0] <= 32, "`seen` has a bit for each");

void text_defaults(struct parameters *p)
{
    *p = (struct parameters){
        /* RFC 7143, 13 */
        .initiator_data_bytes_max = 8192,
        .max_burst = BURST_BYTES,
        .first_burst = 65536,
        .max_r2ts = 1,
        .initial_r2t = true,
        .immediate_data = true,
    };
}

void text_settle(struct parameters *p)
{
    if (p->first_burst > p->max_burst)
        p->first_burst = p->max_burst;
}

bool text_next(struct text *text, size_t *offset, const char **key, const char **value, bool *bad)
{
    char *pair = text->data + *offset, *equals;
    size_t left = text->bytes - *offset;
    size_t len = strnlen(pair, left);

    if (left == 0)
        return false;
    equals = memchr(pair, '=', len);
    if (len == left || len == 0 || !equals || equals == pair) {
        *bad = len != 0 || left > 3; /* zeros at the end: somebody's padding */
        return false;
    }
    *equals = 0;
    *key = pair;
    *value = equals + 1;
    *offset += len + 1;
    return true;
}

bool text_put(struct text *out, const char *key, const char *value)
{
    size_t room = sizeof out->data - out->bytes;
    int n = snprintf(out->data + out->bytes, room, "%s=%s", key, value);

    if (n < 0 || (size_t)n >= room)
        return false;
    out->bytes += (size_t)n + 1;
    return true;
}

static bool list_has(const char *list, const char *value)
{
    size_t len = strlen(value);

    while (*list) {
        size_t n = strcspn(list, ",");

        if (n == len && memcmp(list, value, n) == 0)
            return true;
        list += n + (list[n] == ',');
    }
    return false;
}

/* RFC 7143, 6.1: decimal or hexadecimal */
static bool parse_number(const struct key *key, const char *text, uint32_t *number)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    char *end;
    unsigned long long n;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    n = strtoull(text, &end, hex ? 16 : 10);
    if (errno || *end || n < key->least || n > key->most)
        return false;
    *number = (uint32_t)n;
    return true;
}

static void store(struct parameters *p, const struct key *key, uint32_t number)
{
    void *field = (char *)p + key->field - 1;

    if (!key->field)
        return;
    if (key->boolean_field)
        *(bool *)field = number;
    else
        *(uint32_t *)field = number;
}

static bool negotiate_boolean(struct parameters *p, const struct key *key, const char *value,
                              struct text *out)
{
    bool theirs = strcmp(value, "Yes") == 0;
    uint32_t result = key->result == RESULT_AND ? key->number && theirs : key->number || theirs;

    if (!theirs && strcmp(value, "No") != 0)
        return text_put(out, key->name, "Reject");
    store(p, key, result);
    return text_put(out, key->name, result ? "Yes" : "No");
}

static bool negotiate_number(struct parameters *p, const struct key *key, const char *value,
                             struct text *out)
{
    char text[16];
    uint32_t n;

    if (!parse_number(key, value, &n))
        return text_put(out, key->name, "Reject");
    if (key->result == RESULT_MINIMUM && n > key->number)
        n = key->number;
    if (key->result == RESULT_MAXIMUM && n < key->number)
        n = key->number;
    store(p, key, n);
    snprintf(text, sizeof text, "%u", n);
    return key->result == RESULT_DECLARED || text_put(out, key->name, text);
}

static bool negotiate_list(struct parameters *p, const struct key *key, const char *list,
                           struct text *out)
{
    while (*list) {
        size_t n = strcspn(list, ",");
        g_autofree char *value = g_strndup(list, n);

        if (list_has(key->ours, value)) {
            store(p, key, strcmp(value, "None") != 0);
            return text_put(out, key->name, value);
        }
        list += n + (list[n] == ',');
    }
    return text_put(out, key->name, "Reject");
}

static const struct key *find_key(const char *name)
{
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

bool text_negotiate(struct parameters *p, const char *name, const char *value, struct text *out)
{
    const struct key *key = find_key(name);

    if (!key)
        return text_put(out, name, "NotUnderstood");
    if (p->seen & 1u << (key - keys))
        return false;
    p->seen |= 1u << (key - keys);
    switch (key->result) {
    case RESULT_LIST:
        return negotiate_list(p, key, value, out);
    case RESULT_OBSOLETE:
        return text_put(out, name, "Reject");
    case RESULT_AND:
    case RESULT_OR:
        return negotiate_boolean(p, key, value, out);
    default:
        return negotiate_number(p, key, value, out);
    }
}

bool text_redeclare(struct parameters *p, const char *name, const char *value, struct text *out)
{
    const struct key *key = find_key(name);

    if (!key)
        return text_put(out, name, "NotUnderstood");
    if (key->result != RESULT_DECLARED)
        return text_put(out, name, "Reject");
    return negotiate_number(p, key, value, out);
}
