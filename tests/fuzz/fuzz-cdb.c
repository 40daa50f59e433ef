// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * SCSI commands, each in a PDU that is right, from two sessions. An input is
 * the digests and then records:
 *
 *   who and where 1 | CDB 16 | data out or in 1 | transfer length 2 | bytes of data that follow 2
 *
 * The data is repeated as often as it takes to fill the transfer. Each command
 * has to be answered before the next one leaves; that it is, the fuzzer's
 * -timeout finds out.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "house.h"

#define COMMANDS_MAX 64

static uint8_t data_out[HOUSE_DATA_MAX];

static void fill(struct input *in, uint32_t bytes, uint32_t given)
{
    uint32_t n = given < bytes ? given : bytes;

    if (n > in->size)
        n = (uint32_t)in->size;
    memset(data_out, 0, bytes);
    take(in, data_out, n);
    for (uint32_t at = n; n && at < bytes; at += n)
        memcpy(data_out + at, data_out, n < bytes - at ? n : bytes - at);
}

static bool command(struct input *in, struct peer peers[2])
{
    struct peer_command command = {0};
    uint8_t who = take_byte(in);
    struct peer *peer = &peers[who >> 7];
    bool out;
    uint32_t itt;

    command.lun = who & 0x7F;
    take(in, command.cdb, sizeof command.cdb);
    out = take_byte(in) & 1;
    command.bytes = take_16(in);
    fill(in, command.bytes, take_16(in));
    command.out = out ? data_out : NULL;
    itt = peer_command(peer, &command);
    return itt && peer_finish(peer, itt, NULL, 0) >= 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct house_lun luns[] = {{.plain = true}, {.plain = true, .read_only = true}};
    static bool built;
    struct input in = {data, size};
    struct peer peers[2];
    uint8_t digests;
    bool ok;

    if (!built)
        house_build(luns, 2);
    built = true;
    digests = take_byte(&in);
    house_open();
    peer_open(&peers[0]);
    peer_open(&peers[1]);
    ok = peer_login(&peers[0], "iqn.2026-11.org.encsan:alice",
                    digests & 1 ? "HeaderDigest=CRC32C;DataDigest=CRC32C;" : NULL) &&
         peer_login(&peers[1], "iqn.2026-11.org.encsan:bob", "MaxRecvDataSegmentLength=512;");
    for (int i = 0; ok && in.size > 0 && i < COMMANDS_MAX; i++)
        ok = command(&in, peers);
    if (!ok)
        abort(); /* nothing that was sent is a reason to end a connection */
    peer_close(&peers[0]);
    peer_close(&peers[1]);
    house_close();
    return 0;
}
