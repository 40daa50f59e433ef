// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Noise_IK (The Noise Protocol Framework, revision 34): one message each way.
 *
 * The initiator knows the responder's static public key beforehand; the
 * responder learns the initiator's from message 1.
 */
#ifndef ENCSAN_NOISE_H
#define ENCSAN_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NOISE_KEY_BYTES 32
#define NOISE_HASH_BYTES 32
#define NOISE_TAG_BYTES 16

/* The protocol uses AESGCM; the published test vectors have both. */
enum noise_cipher { NOISE_AESGCM, NOISE_CHACHAPOLY };

struct noise; /* one handshake; not thread-safe */

struct noise_config {
    enum noise_cipher cipher;
    bool initiator;
    const uint8_t *prologue;
    size_t prologue_len;
    uint8_t static_private[NOISE_KEY_BYTES];
    uint8_t remote_static[NOISE_KEY_BYTES];     /* initiator only */
    const uint8_t *ephemeral_private;           /* NULL: random. Only tests set it. */
};

/* NULL when out of memory or when OpenSSL fails. noise_free wipes the keys. */
struct noise *noise_new(const struct noise_config *config);
void noise_free(struct noise *noise);

/* Writes this side's next message: `out` takes payload_len + overhead bytes
 * (message 1: 96, message 2: 48). Reads the other side's: `payload` takes
 * message_len - overhead bytes. Returns the bytes written, or -1: wrong
 * turn, too short, does not authenticate. After -1 only noise_free. */
int noise_write(struct noise *noise, const uint8_t *payload, size_t payload_len, uint8_t *out);
int noise_read(struct noise *noise, const uint8_t *message, size_t message_len, uint8_t *payload);

/* The initiator's static public key, on the responder after message 1. */
const uint8_t *noise_remote_static(const struct noise *noise);

/* After both messages: Noise's Split() and the handshake hash. */
int noise_split(struct noise *noise, uint8_t initiator_to_responder[NOISE_KEY_BYTES],
                uint8_t responder_to_initiator[NOISE_KEY_BYTES], uint8_t hash[NOISE_HASH_BYTES]);

#endif
