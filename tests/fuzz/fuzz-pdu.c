// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * PDUs of the full feature phase, as bytes on the wire behind a login. The
 * first byte of an input says what was agreed on. Where it says so, each PDU
 * that would take a CmdSN gets the right one: else nothing behind an insertion
 * would be looked at.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "house.h"

#define INPUT_BYTES_MAX (64u << 10)

static const char *const parameters[] = {
    "InitialR2T=No;ImmediateData=Yes;FirstBurstLength=65536;",
    "InitialR2T=Yes;ImmediateData=No;MaxOutstandingR2T=4;MaxBurstLength=512;FirstBurstLength=512;",
    "InitialR2T=Yes;ImmediateData=Yes;MaxRecvDataSegmentLength=512;",
    "InitialR2T=No;ImmediateData=No;MaxBurstLength=1024;FirstBurstLength=1024;MaxOutstandingR2T=2;",
};
#define RENUMBER 0x04

static bool is_numbered(const uint8_t *bhs)
{
    uint8_t opcode = bhs[BHS_OPCODE] & PDU_OPCODE_MASK;

    return opcode <= PDU_LOGOUT && opcode != PDU_DATA_OUT && !(bhs[BHS_OPCODE] & PDU_IMMEDIATE);
}

static void renumber(uint8_t *bytes, size_t count)
{
    uint32_t cmd_sn = 1;

    while (count >= PDU_BHS_BYTES) {
        uint32_t data = wire_get24(bytes + BHS_DATA_LENGTH);
        size_t whole = PDU_BHS_BYTES + bytes[BHS_AHS_LENGTH] * 4u + data + pdu_padding(data);

        if (is_numbered(bytes))
            wire_put32(bytes + BHS_CMD_SN, cmd_sn++);
        if (whole > count)
            return;
        bytes += whole;
        count -= whole;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct house_lun luns[] = {{.plain = true}, {.plain = true}, {.plain = false}};
    static uint8_t bytes[1024 + INPUT_BYTES_MAX];
    static bool built;
    struct peer peer;
    size_t login;

    if (!built)
        house_build(luns, 3);
    built = true;
    if (size == 0 || size - 1 > INPUT_BYTES_MAX)
        return -1;
    login = peer_login_pdu("iqn.2026-11.org.encsan:fuzzer", parameters[data[0] % 4], bytes, 1024);
    memcpy(bytes + login, data + 1, size - 1);
    if (data[0] & RENUMBER)
        renumber(bytes + login, size - 1);
    house_open();
    peer_open(&peer);
    peer_talk(&peer, bytes, login + size - 1);
    peer_close(&peer);
    house_close();
    return 0;
}
