// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Noise_IK_25519_{AESGCM,ChaChaPoly}_SHA256, names as in the framework's text:
 *
 *   <- s            (known beforehand)
 *   -> e, es, s, ss, payload
 *   <- e, ee, se, payload
 *
 * States: `step` counts the messages that have passed, 0 to 2. Whatever fails
 * sets `failed`, which nothing clears: half of a message may have been mixed
 * in by then. One thread.
 */
#include "noise.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

#define MESSAGE_BYTES_MAX 65535 /* Noise, section 3 */

struct noise {
    enum noise_cipher cipher;
    bool initiator;
    bool failed;
    unsigned step;
    EVP_MD *sha256;
    EVP_CIPHER_CTX *aead;
    EVP_KDF_CTX *hkdf;
    EVP_PKEY *s, *e;
    uint8_t s_public[NOISE_KEY_BYTES], e_public[NOISE_KEY_BYTES];
    uint8_t rs[NOISE_KEY_BYTES], re[NOISE_KEY_BYTES];
    uint8_t h[NOISE_HASH_BYTES], ck[NOISE_HASH_BYTES], k[NOISE_KEY_BYTES];
    uint64_t n;
};

/* ---- DH ---- */

static bool public_of(EVP_PKEY *key, uint8_t out[NOISE_KEY_BYTES])
{
    size_t len = NOISE_KEY_BYTES;

    return key && EVP_PKEY_get_raw_public_key(key, out, &len) == 1 && len == NOISE_KEY_BYTES;
}

static EVP_PKEY *private_from(const uint8_t raw[NOISE_KEY_BYTES])
{
    return EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, raw, NOISE_KEY_BYTES);
}

/* False for an all-zero result too: a peer that sends a point of low order
 * would choose the secret. */
static bool dh(EVP_PKEY *own, const uint8_t remote[NOISE_KEY_BYTES],
               uint8_t secret[NOISE_KEY_BYTES])
{
    static const uint8_t zeros[NOISE_KEY_BYTES];
    size_t len = NOISE_KEY_BYTES;
    EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, remote, NOISE_KEY_BYTES);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL);
    bool ok = peer && ctx && EVP_PKEY_derive_init(ctx) == 1 &&
              EVP_PKEY_derive_set_peer(ctx, peer) == 1 && EVP_PKEY_derive(ctx, secret, &len) == 1 &&
              len == NOISE_KEY_BYTES && CRYPTO_memcmp(secret, zeros, NOISE_KEY_BYTES) != 0;

    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    return ok;
}

/* ---- SymmetricState ---- */

static bool mix_hash(struct noise *noise, const uint8_t *data, size_t len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex2(ctx, noise->sha256, NULL) == 1 &&
              EVP_DigestUpdate(ctx, noise->h, NOISE_HASH_BYTES) == 1 &&
              EVP_DigestUpdate(ctx, data, len) == 1 && EVP_DigestFinal_ex(ctx, noise->h, NULL) == 1;

    EVP_MD_CTX_free(ctx);
    return ok;
}

/* Noise's HKDF with two outputs is RFC 5869's with the chaining key as salt,
 * no info and 64 bytes. */
static bool hkdf(const struct noise *noise, const uint8_t *material, size_t len, uint8_t out[64])
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)noise->ck, NOISE_HASH_BYTES),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)material, len),
        OSSL_PARAM_construct_end(),
    };

    EVP_KDF_CTX_reset(noise->hkdf);
    return EVP_KDF_derive(noise->hkdf, out, 64, params) == 1;
}

static bool mix_dh(struct noise *noise, EVP_PKEY *own, const uint8_t remote[NOISE_KEY_BYTES])
{
    uint8_t secret[NOISE_KEY_BYTES], out[64];
    bool ok = dh(own, remote, secret) && hkdf(noise, secret, sizeof secret, out);

    if (ok) {
        memcpy(noise->ck, out, 32);
        memcpy(noise->k, out + 32, 32);
        noise->n = 0;
    }
    OPENSSL_cleanse(secret, sizeof secret);
    OPENSSL_cleanse(out, sizeof out);
    return ok;
}

/* Noise, section 12: AESGCM counts big-endian, ChaChaPoly little-endian. */
static void next_nonce(struct noise *noise, uint8_t nonce[12])
{
    uint64_t n = noise->cipher == NOISE_AESGCM ? htobe64(noise->n) : htole64(noise->n);

    memset(nonce, 0, 4);
    memcpy(nonce + 4, &n, 8);
    noise->n++;
}

/* ENCRYPT(k, n, h, in): `out` takes in_len + NOISE_TAG_BYTES. */
static bool encrypt(struct noise *noise, const uint8_t *in, size_t in_len, uint8_t *out)
{
    uint8_t nonce[12];
    int n;

    next_nonce(noise, nonce);
    return EVP_CipherInit_ex2(noise->aead, NULL, noise->k, nonce, 1, NULL) == 1 &&
           EVP_EncryptUpdate(noise->aead, NULL, &n, noise->h, NOISE_HASH_BYTES) == 1 &&
           (in_len == 0 || EVP_EncryptUpdate(noise->aead, out, &n, in, (int)in_len) == 1) &&
           EVP_EncryptFinal_ex(noise->aead, out + in_len, &n) == 1 &&
           EVP_CIPHER_CTX_ctrl(noise->aead, EVP_CTRL_AEAD_GET_TAG, NOISE_TAG_BYTES, out + in_len) ==
               1;
}

/* DECRYPT: in_len is without the tag. */
static bool decrypt(struct noise *noise, const uint8_t *in, size_t in_len, uint8_t *out)
{
    uint8_t nonce[12];
    int n;

    next_nonce(noise, nonce);
    return EVP_CipherInit_ex2(noise->aead, NULL, noise->k, nonce, 0, NULL) == 1 &&
           EVP_CIPHER_CTX_ctrl(noise->aead, EVP_CTRL_AEAD_SET_TAG, NOISE_TAG_BYTES,
                               (void *)(in + in_len)) == 1 &&
           EVP_DecryptUpdate(noise->aead, NULL, &n, noise->h, NOISE_HASH_BYTES) == 1 &&
           (in_len == 0 || EVP_DecryptUpdate(noise->aead, out, &n, in, (int)in_len) == 1) &&
           EVP_DecryptFinal_ex(noise->aead, out + in_len, &n) == 1;
}

static bool encrypt_and_hash(struct noise *noise, const uint8_t *in, size_t in_len, uint8_t *out)
{
    return encrypt(noise, in, in_len, out) && mix_hash(noise, out, in_len + NOISE_TAG_BYTES);
}

static bool decrypt_and_hash(struct noise *noise, const uint8_t *in, size_t in_len, uint8_t *out)
{
    return decrypt(noise, in, in_len, out) && mix_hash(noise, in, in_len + NOISE_TAG_BYTES);
}

/* ---- HandshakeState ---- */

static bool initialize(struct noise *noise, const struct noise_config *config)
{
    /* Noise, section 5.2: names of up to 32 bytes are padded with zeros, not hashed. */
    const char *name = config->cipher == NOISE_AESGCM ? "Noise_IK_25519_AESGCM_SHA256"
                                                      : "Noise_IK_25519_ChaChaPoly_SHA256";

    memset(noise->h, 0, NOISE_HASH_BYTES);
    memcpy(noise->h, name, strlen(name));
    memcpy(noise->ck, noise->h, NOISE_HASH_BYTES);
    return mix_hash(noise, config->prologue, config->prologue_len) &&
           mix_hash(noise, noise->initiator ? noise->rs : noise->s_public, NOISE_KEY_BYTES);
}

static bool fetch(struct noise *noise)
{
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(
        NULL, noise->cipher == NOISE_AESGCM ? "AES-256-GCM" : "ChaCha20-Poly1305", NULL);
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    bool ok;

    noise->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    noise->aead = EVP_CIPHER_CTX_new();
    noise->hkdf = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    ok = noise->sha256 && noise->hkdf && noise->aead && cipher &&
         EVP_CipherInit_ex2(noise->aead, cipher, NULL, NULL, 1, NULL) == 1;
    EVP_KDF_free(kdf); /* the contexts hold references */
    EVP_CIPHER_free(cipher);
    return ok;
}

struct noise *noise_new(const struct noise_config *config)
{
    struct noise *noise = calloc(1, sizeof *noise);

    if (!noise)
        return NULL;
    noise->cipher = config->cipher;
    noise->initiator = config->initiator;
    noise->s = private_from(config->static_private);
    noise->e = config->ephemeral_private ? private_from(config->ephemeral_private)
                                         : EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    if (config->initiator)
        memcpy(noise->rs, config->remote_static, NOISE_KEY_BYTES);
    if (!public_of(noise->s, noise->s_public) || !public_of(noise->e, noise->e_public) ||
        !fetch(noise) || !initialize(noise, config)) {
        noise_free(noise);
        return NULL;
    }
    return noise;
}

void noise_free(struct noise *noise)
{
    if (!noise)
        return;
    EVP_PKEY_free(noise->s);
    EVP_PKEY_free(noise->e);
    EVP_MD_free(noise->sha256);
    EVP_CIPHER_CTX_free(noise->aead);
    EVP_KDF_CTX_free(noise->hkdf);
    OPENSSL_cleanse(noise, sizeof *noise);
    free(noise);
}

static bool write_1(struct noise *noise, const uint8_t *payload, size_t len, uint8_t *out)
{
    memcpy(out, noise->e_public, NOISE_KEY_BYTES);
    return mix_hash(noise, out, NOISE_KEY_BYTES) &&                               /* e */
           mix_dh(noise, noise->e, noise->rs) &&                                  /* es */
           encrypt_and_hash(noise, noise->s_public, NOISE_KEY_BYTES, out + 32) && /* s */
           mix_dh(noise, noise->s, noise->rs) &&                                  /* ss */
           encrypt_and_hash(noise, payload, len, out + 80);
}

static bool read_1(struct noise *noise, const uint8_t *in, size_t len, uint8_t *payload)
{
    memcpy(noise->re, in, NOISE_KEY_BYTES);
    return mix_hash(noise, in, NOISE_KEY_BYTES) && mix_dh(noise, noise->s, noise->re) &&
           decrypt_and_hash(noise, in + 32, NOISE_KEY_BYTES, noise->rs) &&
           mix_dh(noise, noise->s, noise->rs) && decrypt_and_hash(noise, in + 80, len, payload);
}

static bool write_2(struct noise *noise, const uint8_t *payload, size_t len, uint8_t *out)
{
    memcpy(out, noise->e_public, NOISE_KEY_BYTES);
    return mix_hash(noise, out, NOISE_KEY_BYTES) && /* e */
           mix_dh(noise, noise->e, noise->re) &&    /* ee */
           mix_dh(noise, noise->e, noise->rs) &&    /* se */
           encrypt_and_hash(noise, payload, len, out + 32);
}

static bool read_2(struct noise *noise, const uint8_t *in, size_t len, uint8_t *payload)
{
    memcpy(noise->re, in, NOISE_KEY_BYTES);
    return mix_hash(noise, in, NOISE_KEY_BYTES) && mix_dh(noise, noise->e, noise->re) &&
           mix_dh(noise, noise->s, noise->re) && decrypt_and_hash(noise, in + 32, len, payload);
}

/* Message 1 is the initiator's, message 2 the responder's. */
static bool may(const struct noise *noise, bool writes)
{
    return !noise->failed && noise->step < 2 && (noise->step == 0) == (noise->initiator == writes);
}

static size_t overhead(const struct noise *noise)
{
    return noise->step == 0 ? NOISE_KEY_BYTES + NOISE_KEY_BYTES + 2 * NOISE_TAG_BYTES
                            : NOISE_KEY_BYTES + NOISE_TAG_BYTES;
}

int noise_write(struct noise *noise, const uint8_t *payload, size_t payload_len, uint8_t *out)
{
    size_t len = payload_len + overhead(noise);
    bool ok = may(noise, true) && payload_len <= MESSAGE_BYTES_MAX && len <= MESSAGE_BYTES_MAX;

    if (ok)
        ok = noise->step == 0 ? write_1(noise, payload, payload_len, out)
                              : write_2(noise, payload, payload_len, out);
    noise->failed = !ok;
    noise->step++;
    return ok ? (int)len : -1;
}

int noise_read(struct noise *noise, const uint8_t *message, size_t message_len, uint8_t *payload)
{
    bool ok =
        may(noise, false) && message_len >= overhead(noise) && message_len <= MESSAGE_BYTES_MAX;
    size_t len = ok ? message_len - overhead(noise) : 0;

    if (ok)
        ok = noise->step == 0 ? read_1(noise, message, len, payload)
                              : read_2(noise, message, len, payload);
    if (!ok)
        OPENSSL_cleanse(payload, len);
    noise->failed = !ok;
    noise->step++;
    return ok ? (int)len : -1;
}

const uint8_t *noise_remote_static(const struct noise *noise)
{
    return noise->rs;
}

int noise_split(struct noise *noise, uint8_t initiator_to_responder[NOISE_KEY_BYTES],
                uint8_t responder_to_initiator[NOISE_KEY_BYTES], uint8_t hash[NOISE_HASH_BYTES])
{
    uint8_t out[64];
    bool ok = !noise->failed && noise->step == 2 && hkdf(noise, noise->ck, 0, out);

    if (ok) {
        memcpy(initiator_to_responder, out, 32);
        memcpy(responder_to_initiator, out + 32, 32);
        memcpy(hash, noise->h, NOISE_HASH_BYTES);
    }
    OPENSSL_cleanse(out, sizeof out);
    return ok ? 0 : -1;
}
