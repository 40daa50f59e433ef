// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * X25519 keys and their files: 44 characters of base64 and a newline, as wg(8)
 * has them. A private key file is readable by its owner alone.
 */
#ifndef ENCSAN_KEY_H
#define ENCSAN_KEY_H

#include <stddef.h>
#include <stdint.h>

#define KEY_BYTES 32
#define KEY_TEXT_BYTES 45 /* with the NUL */

int key_generate(uint8_t private_key[KEY_BYTES]);
int key_public(const uint8_t private_key[KEY_BYTES], uint8_t public_key[KEY_BYTES]);

void key_to_text(const uint8_t key[KEY_BYTES], char text[KEY_TEXT_BYTES]);
/* 0 or -EINVAL: not 44 characters of canonical base64 */
int key_from_text(const char *text, uint8_t key[KEY_BYTES]);

/* Both put one line for the user into `message` when they fail (-errno): which
 * file, what is wrong, what to do. key_save never overwrites and writes
 * through a temporary name, 0600, fsynced; key_load refuses a file that others may read. */
int key_save(const char *path, const uint8_t private_key[KEY_BYTES], char *message, size_t size);
int key_load(const char *path, uint8_t private_key[KEY_BYTES], char *message, size_t size);

#endif
