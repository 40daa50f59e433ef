// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The cipher suites over OpenSSL's EVP. What is fetched and keyed once lives in
 * suite_key; what an operation changes lives in a context, which belongs to one
 * thread from take() to give_back().
 *
 * AEAD suites: the nonce is 4 zero bytes ‖ be64. 3des: PROTOCOL, section 1:
 * a key and an IV for each message, HMAC over the ciphertext.
 */
#include "suite.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#define NONCE_BYTES 12
#define HALF (SUITE_KEY_MATERIAL_BYTES / 2) /* K_enc ‖ K_mac */
#define DES3_KEY_BYTES 24
#define DES_BLOCK_BYTES 8
#define HMAC_BYTES 32

static const struct {
    const char *name;
    const char *cipher; /* OpenSSL's name */
} suites[] = {
    [WIRE_SUITE_AES_256_GCM] = {"aes-256-gcm", "AES-256-GCM"},
    [WIRE_SUITE_CHACHA20_POLY1305] = {"chacha20-poly1305", "ChaCha20-Poly1305"},
    [WIRE_SUITE_3DES] = {"3des", "DES-EDE3-CBC"},
    [WIRE_SUITE_NULL] = {"null", NULL},
};
#define SUITES (sizeof suites / sizeof suites[0])

struct context {
    struct context *next; /* while it is free */
    EVP_CIPHER_CTX *cipher;
    EVP_MAC_CTX *message_keys, *tags; /* 3des only */
};

struct suite_key {
    enum wire_suite suite;
    bool seal;
    uint8_t material[SUITE_KEY_MATERIAL_BYTES];
    EVP_CIPHER *cipher;
    EVP_MAC *hmac;        /* 3des only */
    pthread_mutex_t lock; /* protects `free` */
    struct context *free;
};

/* ---- names ---- */

const char *suite_name(enum wire_suite suite)
{
    return (unsigned)suite < SUITES ? suites[suite].name : NULL;
}

enum wire_suite suite_by_name(const char *name)
{
    for (unsigned i = 1; i < SUITES; i++)
        if (strcmp(suites[i].name, name) == 0)
            return (enum wire_suite)i;
    return 0;
}

enum wire_suite suite_choose(unsigned offered, unsigned allowed)
{
    for (unsigned i = 1; i < SUITES; i++) /* numbered from the strongest */
        if (offered & allowed & WIRE_SUITE_BIT(i))
            return (enum wire_suite)i;
    return 0;
}

/* ---- contexts ---- */

static void context_free(struct context *c)
{
    if (!c)
        return;
    EVP_CIPHER_CTX_free(c->cipher); /* wipes its key, as the MACs do */
    EVP_MAC_CTX_free(c->message_keys);
    EVP_MAC_CTX_free(c->tags);
    free(c);
}

static EVP_MAC_CTX *new_hmac(EVP_MAC *hmac, const uint8_t key[HALF])
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(hmac);

    if (ctx && EVP_MAC_init(ctx, key, HALF, params) != 1) {
        EVP_MAC_CTX_free(ctx);
        ctx = NULL;
    }
    return ctx;
}

static bool context_key(const struct suite_key *key, struct context *c)
{
    c->cipher = EVP_CIPHER_CTX_new();
    if (!c->cipher)
        return false;
    if (key->suite != WIRE_SUITE_3DES)
        return EVP_CipherInit_ex2(c->cipher, key->cipher, key->material, NULL, key->seal, NULL) ==
               1;
    c->message_keys = new_hmac(key->hmac, key->material);
    c->tags = new_hmac(key->hmac, key->material + HALF);
    return c->message_keys && c->tags &&
           EVP_CipherInit_ex2(c->cipher, key->cipher, NULL, NULL, key->seal, NULL) == 1;
}

static struct context *take(struct suite_key *key)
{
    struct context *c;

    pthread_mutex_lock(&key->lock);
    c = key->free;
    if (c)
        key->free = c->next;
    pthread_mutex_unlock(&key->lock);
    if (c)
        return c;
    c = calloc(1, sizeof *c);
    if (c && !context_key(key, c)) {
        context_free(c);
        c = NULL;
    }
    return c;
}

static void give_back(struct suite_key *key, struct context *c)
{
    pthread_mutex_lock(&key->lock);
    c->next = key->free;
    key->free = c;
    pthread_mutex_unlock(&key->lock);
}

static bool fetch(struct suite_key *key)
{
    if (key->suite == WIRE_SUITE_NULL)
        return true;
    key->cipher = EVP_CIPHER_fetch(NULL, suites[key->suite].cipher, NULL);
    if (key->suite == WIRE_SUITE_3DES)
        key->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    return key->cipher && (key->suite != WIRE_SUITE_3DES || key->hmac);
}

struct suite_key *suite_key_new(enum wire_suite suite, bool seal,
                                const uint8_t material[SUITE_KEY_MATERIAL_BYTES])
{
    struct suite_key *key = suite_name(suite) ? calloc(1, sizeof *key) : NULL;

    if (!key)
        return NULL;
    key->suite = suite;
    key->seal = seal;
    memcpy(key->material, material, SUITE_KEY_MATERIAL_BYTES);
    pthread_mutex_init(&key->lock, NULL);
    if (!fetch(key)) {
        suite_key_free(key);
        return NULL;
    }
    return key;
}

void suite_key_free(struct suite_key *key)
{
    struct context *c;

    if (!key)
        return;
    while ((c = key->free)) {
        key->free = c->next;
        context_free(c);
    }
    EVP_CIPHER_free(key->cipher);
    EVP_MAC_free(key->hmac);
    pthread_mutex_destroy(&key->lock);
    OPENSSL_cleanse(key, sizeof *key);
    free(key);
}

/* ---- pieces ---- */

/* Their sum; -1 where EVP, which counts in int, could not take it, or where a
 * piece is not of whole `unit`s. */
static ssize_t pieces_bytes(const struct iovec *pieces, int count, size_t unit)
{
    size_t sum = 0;

    for (int i = 0; i < count; i++) {
        if (pieces[i].iov_len % unit != 0 || pieces[i].iov_len > INT_MAX - sum)
            return -1;
        sum += pieces[i].iov_len;
    }
    return (ssize_t)sum;
}

static size_t unit_of(const struct suite_key *key)
{
    return key->suite == WIRE_SUITE_3DES ? DES_BLOCK_BYTES : 1;
}

static void wipe(const struct iovec *pieces, int count)
{
    for (int i = 0; i < count; i++)
        OPENSSL_cleanse(pieces[i].iov_base, pieces[i].iov_len);
}

static bool encrypt_pieces(EVP_CIPHER_CTX *ctx, const struct iovec *in, int in_count, uint8_t *out)
{
    int n;

    for (int i = 0; i < in_count; i++) {
        if (in[i].iov_len == 0)
            continue;
        if (EVP_EncryptUpdate(ctx, out, &n, in[i].iov_base, (int)in[i].iov_len) != 1)
            return false;
        out += in[i].iov_len;
    }
    return EVP_EncryptFinal_ex(ctx, out, &n) == 1;
}

/* With an AEAD, the last step is the one that compares the tag. */
static bool decrypt_pieces(EVP_CIPHER_CTX *ctx, const uint8_t *in, const struct iovec *out,
                           int out_count)
{
    uint8_t none[EVP_MAX_BLOCK_LENGTH];
    int n;

    for (int i = 0; i < out_count; i++) {
        if (out[i].iov_len == 0)
            continue;
        if (EVP_DecryptUpdate(ctx, out[i].iov_base, &n, in, (int)out[i].iov_len) != 1)
            return false;
        in += out[i].iov_len;
    }
    return EVP_DecryptFinal_ex(ctx, none, &n) == 1;
}

/* ---- AEAD suites ---- */

static bool aead_start(const struct suite_key *key, struct context *c, uint64_t nonce,
                       const uint8_t *aad, size_t aad_len)
{
    uint8_t iv[NONCE_BYTES] = {0};
    int n;

    wire_put64(iv + 4, nonce);
    return aad_len <= INT_MAX &&
           EVP_CipherInit_ex2(c->cipher, NULL, NULL, iv, key->seal, NULL) == 1 &&
           (aad_len == 0 || EVP_CipherUpdate(c->cipher, NULL, &n, aad, (int)aad_len) == 1);
}

static bool aead_seal(const struct suite_key *key, struct context *c, uint64_t nonce,
                      const uint8_t *aad, size_t aad_len, const struct iovec *in, int in_count,
                      uint8_t *out, uint8_t tag[WIRE_TAG_BYTES])
{
    return aead_start(key, c, nonce, aad, aad_len) &&
           encrypt_pieces(c->cipher, in, in_count, out) &&
           EVP_CIPHER_CTX_ctrl(c->cipher, EVP_CTRL_AEAD_GET_TAG, WIRE_TAG_BYTES, tag) == 1;
}

static bool aead_open(const struct suite_key *key, struct context *c, uint64_t nonce,
                      const uint8_t *aad, size_t aad_len, const uint8_t *in,
                      const uint8_t tag[WIRE_TAG_BYTES], const struct iovec *out, int out_count)
{
    return aead_start(key, c, nonce, aad, aad_len) &&
           EVP_CIPHER_CTX_ctrl(c->cipher, EVP_CTRL_AEAD_SET_TAG, WIRE_TAG_BYTES, (void *)tag) ==
               1 &&
           decrypt_pieces(c->cipher, in, out, out_count);
}

/* ---- 3des ---- */

static bool des3_start(const struct suite_key *key, struct context *c, uint64_t nonce)
{
    uint8_t be[8], keys[HMAC_BYTES]; /* 24 of key ‖ 8 of IV */
    size_t n;
    bool ok;

    wire_put64(be, nonce);
    ok = EVP_MAC_init(c->message_keys, NULL, 0, NULL) == 1 &&
         EVP_MAC_update(c->message_keys, be, sizeof be) == 1 &&
         EVP_MAC_final(c->message_keys, keys, &n, sizeof keys) == 1 &&
         EVP_CipherInit_ex2(c->cipher, NULL, keys, keys + DES3_KEY_BYTES, key->seal, NULL) == 1 &&
         EVP_CIPHER_CTX_set_padding(c->cipher, 0) == 1;
    OPENSSL_cleanse(keys, sizeof keys);
    return ok;
}

static bool des3_tag(struct context *c, uint64_t nonce, const uint8_t *aad, size_t aad_len,
                     const uint8_t *sealed, size_t len, uint8_t hmac[HMAC_BYTES])
{
    uint8_t be[8];
    size_t n;

    wire_put64(be, nonce);
    return EVP_MAC_init(c->tags, NULL, 0, NULL) == 1 &&
           EVP_MAC_update(c->tags, be, sizeof be) == 1 &&
           EVP_MAC_update(c->tags, aad, aad_len) == 1 &&
           EVP_MAC_update(c->tags, sealed, len) == 1 &&
           EVP_MAC_final(c->tags, hmac, &n, HMAC_BYTES) == 1;
}

static bool des3_seal(const struct suite_key *key, struct context *c, uint64_t nonce,
                      const uint8_t *aad, size_t aad_len, const struct iovec *in, int in_count,
                      size_t len, uint8_t *out, uint8_t tag[WIRE_TAG_BYTES])
{
    uint8_t hmac[HMAC_BYTES];

    if (!des3_start(key, c, nonce) || !encrypt_pieces(c->cipher, in, in_count, out) ||
        !des3_tag(c, nonce, aad, aad_len, out, len, hmac))
        return false;
    memcpy(tag, hmac, WIRE_TAG_BYTES);
    return true;
}

/* The tag first: nothing is decrypted that does not authenticate. */
static bool des3_open(const struct suite_key *key, struct context *c, uint64_t nonce,
                      const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len,
                      const uint8_t tag[WIRE_TAG_BYTES], const struct iovec *out, int out_count)
{
    uint8_t hmac[HMAC_BYTES];

    return des3_tag(c, nonce, aad, aad_len, in, len, hmac) &&
           CRYPTO_memcmp(hmac, tag, WIRE_TAG_BYTES) == 0 && des3_start(key, c, nonce) &&
           decrypt_pieces(c->cipher, in, out, out_count);
}

/* ---- null ---- */

static void null_seal(const struct iovec *in, int in_count, uint8_t *out,
                      uint8_t tag[WIRE_TAG_BYTES])
{
    for (int i = 0; i < in_count; i++) {
        memcpy(out, in[i].iov_base, in[i].iov_len);
        out += in[i].iov_len;
    }
    memset(tag, 0, WIRE_TAG_BYTES);
}

static void null_open(const uint8_t *in, const struct iovec *out, int out_count)
{
    for (int i = 0; i < out_count; i++) {
        memcpy(out[i].iov_base, in, out[i].iov_len);
        in += out[i].iov_len;
    }
}

/* ---- seal and open ---- */

int suite_seal(struct suite_key *key, uint64_t nonce, const uint8_t *aad, size_t aad_len,
               const struct iovec *in, int in_count, uint8_t *out, uint8_t tag[WIRE_TAG_BYTES])
{
    ssize_t len = pieces_bytes(in, in_count, unit_of(key));
    struct context *c;
    bool ok;

    if (len < 0)
        return -1;
    if (key->suite == WIRE_SUITE_NULL) {
        null_seal(in, in_count, out, tag);
        return 0;
    }
    c = take(key);
    if (!c)
        return -1;
    if (key->suite == WIRE_SUITE_3DES)
        ok = des3_seal(key, c, nonce, aad, aad_len, in, in_count, (size_t)len, out, tag);
    else
        ok = aead_seal(key, c, nonce, aad, aad_len, in, in_count, out, tag);
    give_back(key, c);
    return ok ? 0 : -1;
}

static bool open_pieces(struct suite_key *key, uint64_t nonce, const uint8_t *aad, size_t aad_len,
                        const uint8_t *in, size_t in_len, const uint8_t tag[WIRE_TAG_BYTES],
                        const struct iovec *out, int out_count)
{
    ssize_t len = pieces_bytes(out, out_count, unit_of(key));
    struct context *c;
    bool ok;

    if (len < 0 || (size_t)len != in_len)
        return false;
    if (key->suite == WIRE_SUITE_NULL) {
        null_open(in, out, out_count);
        return true;
    }
    c = take(key);
    if (!c)
        return false;
    if (key->suite == WIRE_SUITE_3DES)
        ok = des3_open(key, c, nonce, aad, aad_len, in, in_len, tag, out, out_count);
    else
        ok = aead_open(key, c, nonce, aad, aad_len, in, tag, out, out_count);
    give_back(key, c);
    return ok;
}

int suite_open(struct suite_key *key, uint64_t nonce, const uint8_t *aad, size_t aad_len,
               const uint8_t *in, size_t in_len, const uint8_t tag[WIRE_TAG_BYTES],
               const struct iovec *out, int out_count)
{
    if (open_pieces(key, nonce, aad, aad_len, in, in_len, tag, out, out_count))
        return 0;
    wipe(out, out_count);
    return -1;
}
