// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A target of our own, for a disk image here: an encsan-target on loopback with
 * keys that are made for it and forgotten. It ends when our end of its standard
 * input is closed, so it never outlives us, however we end.
 */
#ifndef ENCSAN_EMBEDDED_H
#define ENCSAN_EMBEDDED_H

#include <stdint.h>

#include "encsan.h"

struct embedded;

/* Starts it. NULL with a line in `message`. What it says later goes to our log. */
struct embedded *embedded_start(const char *image, char message[ENCSAN_MESSAGE_BYTES]);

/* How to open the volume: the URL, our private key, its public key. */
const char *embedded_url(const struct embedded *embedded);
void embedded_keys(const struct embedded *embedded, uint8_t key[ENCSAN_KEY_BYTES],
                   uint8_t target_key[ENCSAN_KEY_BYTES]);

/* After encsan_close: ends it and waits for its end. 0, or -EIO: it failed. */
int embedded_stop(struct embedded *embedded);

/* The path of the user's default image, which is made and formatted where it
 * is missing. NULL with a line in `message`. g_free. */
char *embedded_default_image(char message[ENCSAN_MESSAGE_BYTES]);

#endif
