// SPDX-License-Identifier: LGPL-2.1-or-later
/* Logins and text requests, as bytes on the wire. CHAP's challenge is always the same one, so that
 * a response to it can stand in an input. */
#include <string.h>

#include <openssl/rand.h>

#include "fuzz.h"
#include "house.h"

int RAND_bytes(unsigned char *out, int count)
{
    memset(out, 'r', (size_t)count);
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct house_lun luns[] = {{.plain = true}};
    static bool built;
    struct peer peer;

    if (!built)
        house_build(luns, 1);
    built = true;
    house_open();
    peer_open(&peer);
    peer_talk(&peer, data, size);
    peer_close(&peer);
    house_close();
    return 0;
}
