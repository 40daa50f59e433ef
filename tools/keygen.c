// SPDX-License-Identifier: LGPL-2.1-or-later
/* encsan keygen FILE */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "key.h"
#include "tools.h"

int keygen(int argc, char *argv[])
{
    uint8_t private_key[KEY_BYTES], public_key[KEY_BYTES];
    char message[512], text[KEY_TEXT_BYTES];
    int error;

    if (argc != 2 || argv[1][0] == '-')
        return misused("usage: encsan keygen FILE\n");
    if (key_generate(private_key) || key_public(private_key, public_key))
        return fail("no key could be made");
    error = key_save(argv[1], private_key, message, sizeof(message));
    explicit_bzero(private_key, sizeof(private_key));
    if (error)
        return fail("%s", message);
    key_to_text(public_key, text);
    return puts(text) < 0 || fflush(stdout) ? fail("standard output can't be written") : 0;
}
