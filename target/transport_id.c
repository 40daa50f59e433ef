// SPDX-License-Identifier: LGPL-2.1-or-later
/* TransportIDs: transport_id.h. */
#include "transport_id.h"

#include <stdio.h>
#include <string.h>

#include <glib.h>

#include "wire.h"

#define ISCSI 0x05 /* PROTOCOL IDENTIFIER */
#define DEVICE 0x00
#define PORT 0x40 /* FORMAT CODE, in its place */
#define HEAD_BYTES 4
#define REST_BYTES_MIN 20
#define SEPARATOR ",i,0x"

uint32_t transport_id_put(const struct port *port, uint8_t *out)
{
    int n = snprintf((char *)out + HEAD_BYTES, NAME_BYTES + 24, "%s" SEPARATOR "%02x%02x%02x%02x%02x%02x",
                     port->name, port->isid[0], port->isid[1], port->isid[2], port->isid[3],
                     port->isid[4], port->isid[5]);
    uint32_t bytes = ((uint32_t)n + 1 + 3) & ~3u;

    if (bytes < REST_BYTES_MIN)
        bytes = REST_BYTES_MIN;
    out[0] = PORT | ISCSI;
    wire_put16(out + 2, (uint16_t)bytes);
    return HEAD_BYTES + bytes;
}

static bool get_isid(const char *text, uint8_t isid[ISID_BYTES])
{
    if (strlen(text) != 2 * ISID_BYTES)
        return false;
    for (size_t i = 0; i < ISID_BYTES; i++) {
        int high = g_ascii_xdigit_value(text[2 * i]), low = g_ascii_xdigit_value(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        isid[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool get_name(const char *text, size_t bytes, struct port *port)
{
    if (bytes == 0 || bytes >= NAME_BYTES)
        return false;
    for (size_t i = 0; i < bytes; i++)
        if (!g_ascii_isgraph(text[i]))
            return false;
    memcpy(port->name, text, bytes);
    return true;
}

uint32_t transport_id_get(const uint8_t *in, uint32_t bytes, struct port *port, bool *all_ports)
{
    const char *text = (const char *)in + HEAD_BYTES, *separator;
    uint32_t rest = bytes > HEAD_BYTES ? wire_get16(in + 2) : 0;

    memset(port, 0, sizeof *port);
    if (rest < REST_BYTES_MIN || rest % 4 != 0 || rest > bytes - HEAD_BYTES ||
        !memchr(text, 0, rest))
        return 0;
    *all_ports = in[0] == (DEVICE | ISCSI);
    if (*all_ports)
        return get_name(text, strlen(text), port) ? HEAD_BYTES + rest : 0;
    separator = g_strrstr(text, SEPARATOR);
    if (in[0] != (PORT | ISCSI) || !separator ||
        !get_name(text, (size_t)(separator - text), port) ||
        !get_isid(separator + strlen(SEPARATOR), port->isid))
        return 0;
    return HEAD_BYTES + rest;
}
