// SPDX-License-Identifier: LGPL-2.1-or-later
/* encsan pubkey FILE */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "key.h"
#include "tools.h"

int pubkey(int argc, char *argv[])
{
    uint8_t private_key[KEY_BYTES], public_key[KEY_BYTES];
    char message[512], text[KEY_TEXT_BYTES];
    int error;

    if (argc != 2 || argv[1][0] == '-')
        return misused("usage: encsan pubkey FILE\n");
    if (key_load(argv[1], private_key, message, sizeof(message)))
        return fail("%s", message);
    error = key_public(private_key, public_key);
    explicit_bzero(private_key, sizeof(private_key));
    if (error)
        return fail("%s: not a key", argv[1]);
    key_to_text(public_key, text);
    return puts(text) < 0 || fflush(stdout) ? fail("standard output can't be written") : 0;
}
