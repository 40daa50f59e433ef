// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Cipher suites: seal and open with associated data and a 64-bit nonce.
 *
 * A suite_key is one direction's key. It may be used by many threads at once:
 * it keeps one keyed cipher context for each thread that is inside it, under a
 * lock that is never held while data is processed.
 */
#ifndef ENCSAN_SUITE_H
#define ENCSAN_SUITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "wire.h"

#define SUITE_KEY_MATERIAL_BYTES 64 /* the most that a suite takes (3des: K_enc ‖ K_mac) */

struct suite_key;

/* "aes-256-gcm", "chacha20-poly1305", "3des", "null"; NULL / 0 where unknown. */
const char *suite_name(enum wire_suite suite);
enum wire_suite suite_by_name(const char *name);

/* The strongest of `offered & allowed` (bits WIRE_SUITE_BIT), 0: none. */
enum wire_suite suite_choose(unsigned offered, unsigned allowed);

struct suite_key *suite_key_new(enum wire_suite suite, bool seal,
                                const uint8_t material[SUITE_KEY_MATERIAL_BYTES]);
void suite_key_free(struct suite_key *key); /* wipes it */

/* Seals the bytes of `in` into `out` (as many, contiguous) and `tag`. The
 * nonce must never repeat under one key. 3des: each piece must be a multiple of 8.
 * Returns 0, or -1 when the cipher fails. */
int suite_seal(struct suite_key *key, uint64_t nonce, const uint8_t *aad, size_t aad_len,
               const struct iovec *in, int in_count, uint8_t *out, uint8_t tag[WIRE_TAG_BYTES]);

/* Opens `in` (contiguous, in_len bytes) into the pieces of `out`, whose sum is
 * in_len (3des: each a multiple of 8). Returns 0, or -1 where the tag does not
 * match: then `out` holds nothing that may be used and has been wiped. */
int suite_open(struct suite_key *key, uint64_t nonce, const uint8_t *aad, size_t aad_len,
               const uint8_t *in, size_t in_len, const uint8_t tag[WIRE_TAG_BYTES],
               const struct iovec *out, int out_count);

#endif
