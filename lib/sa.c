// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Security associations: everything between a finished handshake and a sealed
 * byte.
 *
 * Keys: HKDF-SHA-256 (RFC 5869) with
 *     IKM  = k1 ‖ k2, the two keys of Noise's Split()
 *     salt = none
 *     info = label ‖ 0 ‖ suite's name ‖ 0 ‖ handshake hash
 * and these labels:
 *     "encsan 1 seal initiator to target"   64 bytes, of which a suite takes
 *     "encsan 1 seal target to initiator"   the first 32 (3des: all)
 *     "encsan 1 CDB mask"                   32 bytes
 *     "encsan 1 CDB tag"                    32 bytes
 *
 * CDB, 16 bytes: opcode 1 | SA index 1 | sequence 4 | masked field 6 | tag 4.
 *     mask = first 6 bytes of AES-256(mask key, opcode ‖ sequence ‖ zeros to 16)
 *     tag  = first 4 bytes of AES-256(tag key, opcode ‖ SA index ‖ sequence ‖
 *            unmasked field ‖ zeros to 16)
 * One block of a fixed layout each: AES itself is the PRF.
 *
 * Seals: the CDB as sent is the associated data, both ways. Nonce of SEALED
 * WRITE's data: the CDB's sequence number. Nonce of an answer: the target's own
 * counter, be64 before the sealed bytes. Both start at 1 and end at the hard
 * limit.
 *
 * `lock` holds for what changes; no data is sealed or opened under it.
 */
#include "sa.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

#include "clock.h"
#include "suite.h"

#define AES_BLOCK_BYTES 16
#define AES_KEY_BYTES 32
#define CDB_TAG_BYTES sizeof(((struct wire_cdb *)0)->tag)
#define CDB_TAGGED_BYTES (WIRE_CDB_BYTES - CDB_TAG_BYTES)
#define WINDOW_WORDS (WIRE_REPLAY_WINDOW / 64)

struct sa {
    atomic_uint holds;
    uint8_t index;
    uint64_t messages_max, messages_soft;
    uint64_t made_us;
    struct suite_key *seal, *open;

    pthread_mutex_t lock; /* protects all that follows */
    EVP_CIPHER_CTX *mask, *tag;
    uint64_t sent; /* last number taken: the CDB's here, the answer's at the target */
    uint64_t sealed_bytes, opened_bytes;
    /* Numbers seen: bit n % WIRE_REPLAY_WINDOW, for newest - WIRE_REPLAY_WINDOW < n <= newest. */
    uint64_t newest;
    uint64_t window[WINDOW_WORDS];
};

/* ---- keys ---- */

struct source { /* of all keys of an SA */
    EVP_KDF *kdf;
    uint8_t split[2 * NOISE_KEY_BYTES];
    uint8_t hash[NOISE_HASH_BYTES];
    const char *suite;
};

static bool derive(const struct source *source, const char *label, uint8_t *out, size_t len)
{
    uint8_t info[128];
    size_t label_len = strlen(label) + 1, suite_len = strlen(source->suite) + 1;
    size_t info_len = label_len + suite_len + NOISE_HASH_BYTES;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)source->split,
                                          sizeof source->split),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, info_len),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(source->kdf);
    bool ok;

    memcpy(info, label, label_len);
    memcpy(info + label_len, source->suite, suite_len);
    memcpy(info + label_len + suite_len, source->hash, NOISE_HASH_BYTES);
    ok = ctx && EVP_KDF_derive(ctx, out, len, params) == 1;
    EVP_KDF_CTX_free(ctx);
    return ok;
}

static struct suite_key *derive_seal(const struct source *source, const char *label,
                                     enum wire_suite suite, bool seal)
{
    uint8_t material[SUITE_KEY_MATERIAL_BYTES];
    struct suite_key *key = NULL;

    if (derive(source, label, material, sizeof material))
        key = suite_key_new(suite, seal, material);
    OPENSSL_cleanse(material, sizeof material);
    return key;
}

static EVP_CIPHER_CTX *derive_prf(const struct source *source, const char *label)
{
    uint8_t key[AES_KEY_BYTES];
    EVP_CIPHER *aes = EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

    if (!aes || !ctx || !derive(source, label, key, sizeof key) ||
        EVP_EncryptInit_ex2(ctx, aes, key, NULL, NULL) != 1 ||
        EVP_CIPHER_CTX_set_padding(ctx, 0) != 1) {
        EVP_CIPHER_CTX_free(ctx);
        ctx = NULL;
    }
    OPENSSL_cleanse(key, sizeof key);
    EVP_CIPHER_free(aes);
    return ctx;
}

static bool derive_all(struct sa *sa, const struct source *source, bool initiator,
                       enum wire_suite suite)
{
    struct suite_key **to_target = initiator ? &sa->seal : &sa->open;
    struct suite_key **to_initiator = initiator ? &sa->open : &sa->seal;

    *to_target = derive_seal(source, "encsan 1 seal initiator to target", suite, initiator);
    *to_initiator = derive_seal(source, "encsan 1 seal target to initiator", suite, !initiator);
    sa->mask = derive_prf(source, "encsan 1 CDB mask");
    sa->tag = derive_prf(source, "encsan 1 CDB tag");
    return sa->seal && sa->open && sa->mask && sa->tag;
}

struct sa *sa_new(struct noise *noise, bool initiator, enum wire_suite suite, uint8_t index)
{
    struct source source = {.suite = suite_name(suite)};
    struct sa *sa = calloc(1, sizeof *sa);
    bool ok;

    if (!sa)
        return NULL;
    atomic_init(&sa->holds, 1);
    sa->index = index;
    sa->made_us = now_us();
    sa->messages_max = suite == WIRE_SUITE_3DES ? WIRE_MESSAGES_MAX_3DES : WIRE_MESSAGES_MAX;
    sa->messages_soft = suite == WIRE_SUITE_3DES && WIRE_REKEY_MESSAGES_3DES < WIRE_REKEY_MESSAGES
                            ? WIRE_REKEY_MESSAGES_3DES
                            : WIRE_REKEY_MESSAGES;
    pthread_mutex_init(&sa->lock, NULL);
    source.kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    ok = source.suite && source.kdf &&
         noise_split(noise, source.split, source.split + NOISE_KEY_BYTES, source.hash) == 0 &&
         derive_all(sa, &source, initiator, suite);
    EVP_KDF_free(source.kdf);
    OPENSSL_cleanse(&source, sizeof source);
    if (!ok) {
        sa_free(sa);
        return NULL;
    }
    return sa;
}

struct sa *sa_hold(struct sa *sa)
{
    atomic_fetch_add(&sa->holds, 1);
    return sa;
}

bool sa_is_held_once(const struct sa *sa)
{
    return atomic_load(&sa->holds) == 1;
}

void sa_free(struct sa *sa)
{
    if (!sa || atomic_fetch_sub(&sa->holds, 1) > 1)
        return;
    suite_key_free(sa->seal);
    suite_key_free(sa->open);
    EVP_CIPHER_CTX_free(sa->mask);
    EVP_CIPHER_CTX_free(sa->tag);
    pthread_mutex_destroy(&sa->lock);
    free(sa);
}

uint8_t sa_index(const struct sa *sa)
{
    return sa->index;
}

/* ---- CDBs; the lock is held ---- */

static int prf(EVP_CIPHER_CTX *ctx, const uint8_t in[AES_BLOCK_BYTES], uint8_t out[AES_BLOCK_BYTES])
{
    int n;

    return EVP_EncryptUpdate(ctx, out, &n, in, AES_BLOCK_BYTES) == 1 && n == AES_BLOCK_BYTES ? 0
                                                                                             : -EIO;
}

/* Masks or unmasks. */
static int mask_field(struct sa *sa, struct wire_cdb *cdb)
{
    uint8_t in[AES_BLOCK_BYTES] = {cdb->opcode}, out[AES_BLOCK_BYTES];
    int error;

    memcpy(in + 1, cdb->sequence, sizeof cdb->sequence);
    error = prf(sa->mask, in, out);
    if (error)
        return error;
    for (size_t i = 0; i < sizeof cdb->field; i++)
        cdb->field[i] ^= out[i];
    return 0;
}

static int compute_tag(struct sa *sa, const struct wire_cdb *unmasked, uint8_t tag[CDB_TAG_BYTES])
{
    uint8_t in[AES_BLOCK_BYTES] = {0}, out[AES_BLOCK_BYTES];
    int error;

    memcpy(in, unmasked, CDB_TAGGED_BYTES);
    error = prf(sa->tag, in, out);
    if (error == 0)
        memcpy(tag, out, CDB_TAG_BYTES);
    return error;
}

/* ---- limits; the lock is held ---- */

static bool bytes_used_up(const struct sa *sa)
{
    return sa->sealed_bytes >= WIRE_BYTES_MAX || sa->opened_bytes >= WIRE_BYTES_MAX;
}

static int take_number(struct sa *sa, uint64_t *number)
{
    if (sa->sent >= sa->messages_max)
        return -ERANGE;
    *number = ++sa->sent;
    return 0;
}

static int take_bytes(uint64_t *used, uint64_t bytes)
{
    if (bytes > WIRE_BYTES_MAX - *used)
        return -ERANGE;
    *used += bytes;
    return 0;
}

/* ---- replay window; the lock is held ---- */

static bool seen(const struct sa *sa, uint64_t number)
{
    uint64_t bit = number % WIRE_REPLAY_WINDOW;

    if (number > sa->newest)
        return false;
    return number == 0 || sa->newest - number >= WIRE_REPLAY_WINDOW ||
           (sa->window[bit / 64] >> (bit % 64) & 1);
}

static void set_seen(struct sa *sa, uint64_t number)
{
    uint64_t bit = number % WIRE_REPLAY_WINDOW;

    if (number > sa->newest && number - sa->newest >= WIRE_REPLAY_WINDOW) {
        memset(sa->window, 0, sizeof sa->window);
        sa->newest = number;
    }
    while (sa->newest < number) { /* the bits of those between leave the window */
        uint64_t next = ++sa->newest % WIRE_REPLAY_WINDOW;

        sa->window[next / 64] &= ~(UINT64_C(1) << (next % 64));
    }
    sa->window[bit / 64] |= UINT64_C(1) << (bit % 64);
}

/* ---- sealing and opening ---- */

static size_t pieces_bytes(const struct iovec *pieces, int count)
{
    size_t sum = 0;

    for (int i = 0; i < count; i++)
        sum += pieces[i].iov_len;
    return sum;
}

static int open_counted(struct sa *sa, uint64_t nonce, const uint8_t cdb[WIRE_CDB_BYTES],
                        const uint8_t *in, size_t len, const struct iovec *out, int out_count)
{
    size_t bytes = len - WIRE_TAG_BYTES;
    int error;

    if (suite_open(sa->open, nonce, cdb, WIRE_CDB_BYTES, in, bytes, in + bytes, out, out_count) !=
        0)
        return -EBADMSG;
    pthread_mutex_lock(&sa->lock);
    error = take_bytes(&sa->opened_bytes, bytes); /* only now: forged bytes don't count */
    pthread_mutex_unlock(&sa->lock);
    return error ? -EBADMSG : 0;
}

static uint64_t sequence_of(const uint8_t cdb[WIRE_CDB_BYTES])
{
    return wire_get32(cdb + offsetof(struct wire_cdb, sequence));
}

/* ---- initiator ---- */

bool sa_is_worn(struct sa *sa)
{
    bool worn;

    pthread_mutex_lock(&sa->lock);
    worn = sa->sent >= sa->messages_soft || sa->sealed_bytes >= WIRE_REKEY_BYTES ||
           sa->opened_bytes >= WIRE_REKEY_BYTES || now_us() - sa->made_us >= WIRE_REKEY_US;
    pthread_mutex_unlock(&sa->lock);
    return worn;
}

int sa_cdb_make(struct sa *sa, uint8_t opcode, uint64_t field, uint8_t cdb[WIRE_CDB_BYTES])
{
    struct wire_cdb made = {.opcode = opcode, .sa_index = sa->index};
    uint64_t number = 0;
    int error;

    wire_put48(made.field, field);
    pthread_mutex_lock(&sa->lock);
    error = bytes_used_up(sa) ? -ERANGE : take_number(sa, &number);
    wire_put32(made.sequence, (uint32_t)number);
    if (error == 0)
        error = compute_tag(sa, &made, made.tag);
    if (error == 0)
        error = mask_field(sa, &made);
    pthread_mutex_unlock(&sa->lock);
    if (error == 0)
        memcpy(cdb, &made, WIRE_CDB_BYTES);
    return error;
}

int sa_seal_write(struct sa *sa, const uint8_t cdb[WIRE_CDB_BYTES], const struct iovec *in,
                  int in_count, uint8_t *out)
{
    size_t bytes = pieces_bytes(in, in_count);
    int error;

    pthread_mutex_lock(&sa->lock);
    error = take_bytes(&sa->sealed_bytes, bytes);
    pthread_mutex_unlock(&sa->lock);
    if (error)
        return error;
    return suite_seal(sa->seal, sequence_of(cdb), cdb, WIRE_CDB_BYTES, in, in_count, out,
                      out + bytes) == 0
               ? 0
               : -EIO;
}

int sa_open_answer(struct sa *sa, const uint8_t cdb[WIRE_CDB_BYTES], const uint8_t *in, size_t len,
                   const struct iovec *out, int out_count)
{
    uint64_t counter;

    if (len < WIRE_COUNTER_BYTES + WIRE_TAG_BYTES)
        return -EBADMSG;
    counter = wire_get64(in);
    if (counter == 0 || counter > sa->messages_max)
        return -EBADMSG;
    return open_counted(sa, counter, cdb, in + WIRE_COUNTER_BYTES, len - WIRE_COUNTER_BYTES, out,
                        out_count);
}

/* ---- target ---- */

int sa_cdb_check(struct sa *sa, const uint8_t cdb[WIRE_CDB_BYTES], uint64_t *field)
{
    struct wire_cdb got;
    uint8_t tag[CDB_TAG_BYTES];
    uint64_t number = sequence_of(cdb);
    int error;

    memcpy(&got, cdb, WIRE_CDB_BYTES);
    pthread_mutex_lock(&sa->lock);
    if (mask_field(sa, &got) != 0 || compute_tag(sa, &got, tag) != 0 ||
        CRYPTO_memcmp(tag, got.tag, CDB_TAG_BYTES) != 0)
        error = -EBADMSG;
    else if (number > sa->messages_max || bytes_used_up(sa))
        error = -ERANGE;
    else
        error = seen(sa, number) ? -EALREADY : 0;
    pthread_mutex_unlock(&sa->lock);
    if (error == 0)
        *field = wire_get48(got.field);
    return error;
}

int sa_replay_set(struct sa *sa, const uint8_t cdb[WIRE_CDB_BYTES])
{
    uint64_t number = sequence_of(cdb);
    int error;

    pthread_mutex_lock(&sa->lock);
    error = seen(sa, number) ? -EALREADY : 0;
    if (error == 0)
        set_seen(sa, number);
    pthread_mutex_unlock(&sa->lock);
    return error;
}

int sa_open_write(struct sa *sa, const uint8_t cdb[WIRE_CDB_BYTES], const uint8_t *in, size_t len,
                  uint8_t *out)
{
    struct iovec piece;

    if (len < WIRE_TAG_BYTES)
        return -EBADMSG;
    piece = (struct iovec){out, len - WIRE_TAG_BYTES};
    return open_counted(sa, sequence_of(cdb), cdb, in, len, &piece, 1);
}

int sa_seal_answer(struct sa *sa, const uint8_t cdb[WIRE_CDB_BYTES], const struct iovec *in,
                   int in_count, uint8_t *out)
{
    size_t bytes = pieces_bytes(in, in_count);
    uint64_t counter = 0;
    int error;

    pthread_mutex_lock(&sa->lock);
    error = take_bytes(&sa->sealed_bytes, bytes);
    if (error == 0)
        error = take_number(sa, &counter);
    pthread_mutex_unlock(&sa->lock);
    if (error)
        return error;
    wire_put64(out, counter);
    return suite_seal(sa->seal, counter, cdb, WIRE_CDB_BYTES, in, in_count,
                      out + WIRE_COUNTER_BYTES, out + WIRE_COUNTER_BYTES + bytes) == 0
               ? 0
               : -EIO;
}
