// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Security associations: both ends of one, with an attacker between them who
 * changes bits, repeats and reorders; the derivation as sa.c's head has it,
 * computed a second time; the limits.
 */
#include <errno.h>
#include <string.h>

#include <glib.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "key.h"
#include "sa.h"
#include "suite.h"

#define SA_INDEX 3
#define DATA_BYTES 4096
#define WRITE_BYTES (sizeof(struct wire_write) + DATA_BYTES)
#define ANSWER_BYTES (WIRE_COUNTER_BYTES + sizeof(struct wire_read) + DATA_BYTES + WIRE_TAG_BYTES)

/* ---- a pair ---- */

struct pair {
    struct sa *initiator, *target;
    uint8_t split[64], hash[32]; /* what the attacker doesn't have, but the tests */
    enum wire_suite suite;
};

static void handshake(struct noise **initiator, struct noise **responder)
{
    struct noise_config i = {.initiator = true}, r = {.initiator = false};
    uint8_t message_1[96], message_2[48];

    g_assert_cmpint(key_generate(i.static_private), ==, 0);
    g_assert_cmpint(key_generate(r.static_private), ==, 0);
    g_assert_cmpint(key_public(r.static_private, i.remote_static), ==, 0);
    *initiator = noise_new(&i);
    *responder = noise_new(&r);
    g_assert_cmpint(noise_write(*initiator, NULL, 0, message_1), ==, sizeof message_1);
    g_assert_cmpint(noise_read(*responder, message_1, sizeof message_1, NULL), ==, 0);
    g_assert_cmpint(noise_write(*responder, NULL, 0, message_2), ==, sizeof message_2);
    g_assert_cmpint(noise_read(*initiator, message_2, sizeof message_2, NULL), ==, 0);
}

static void pair_new(struct pair *pair, enum wire_suite suite)
{
    struct noise *initiator, *responder;

    handshake(&initiator, &responder);
    g_assert_cmpint(noise_split(initiator, pair->split, pair->split + 32, pair->hash), ==, 0);
    pair->suite = suite;
    pair->initiator = sa_new(initiator, true, suite, SA_INDEX);
    pair->target = sa_new(responder, false, suite, SA_INDEX);
    g_assert_nonnull(pair->initiator);
    g_assert_nonnull(pair->target);
    noise_free(initiator);
    noise_free(responder);
}

static void pair_free(struct pair *pair)
{
    sa_free(pair->initiator);
    sa_free(pair->target);
}

static void make(struct sa *sa, uint8_t opcode, uint64_t field, uint8_t cdb[WIRE_CDB_BYTES])
{
    g_assert_cmpint(sa_cdb_make(sa, opcode, field, cdb), ==, 0);
}

static int seal_write(struct sa *sa, const uint8_t *cdb, uint8_t *plain, uint8_t *out)
{
    struct iovec in[2] = {{plain, sizeof(struct wire_write)},
                          {plain + sizeof(struct wire_write), DATA_BYTES}};

    return sa_seal_write(sa, cdb, in, 2, out);
}

static int seal_answer(struct sa *sa, const uint8_t *cdb, uint8_t *plain, uint8_t *out)
{
    struct iovec in[2] = {{plain, sizeof(struct wire_read)},
                          {plain + sizeof(struct wire_read), DATA_BYTES}};

    return sa_seal_answer(sa, cdb, in, 2, out);
}

static int open_answer(struct sa *sa, const uint8_t *cdb, const uint8_t *in, uint8_t *plain)
{
    struct iovec out[2] = {{plain, sizeof(struct wire_read)},
                           {plain + sizeof(struct wire_read), DATA_BYTES}};

    return sa_open_answer(sa, cdb, in, ANSWER_BYTES, out, 2);
}

static void fill(uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)g_test_rand_int();
}

static void flip(uint8_t *bytes, size_t bit)
{
    bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
}

/* ---- the derivation, from RFC 5869 and FIPS 197 ---- */

static void hkdf(const struct pair *pair, const char *label, uint8_t out[64])
{
    static const uint8_t no_salt[32];
    const char *suite = suite_name(pair->suite);
    uint8_t prk[32], block[32 + 128 + 1];
    size_t len = 32;

    g_assert_nonnull(HMAC(EVP_sha256(), no_salt, 32, pair->split, 64, prk, NULL));
    memcpy(block + len, label, strlen(label) + 1);
    len += strlen(label) + 1;
    memcpy(block + len, suite, strlen(suite) + 1);
    len += strlen(suite) + 1;
    memcpy(block + len, pair->hash, 32);
    len += 32;
    block[len++] = 1;
    g_assert_nonnull(HMAC(EVP_sha256(), prk, 32, block + 32, len - 32, out, NULL));
    memcpy(block, out, 32);
    block[len - 1] = 2;
    g_assert_nonnull(HMAC(EVP_sha256(), prk, 32, block, len, out + 32, NULL));
}

static void aes(const uint8_t key[32], const uint8_t in[16], uint8_t out[16])
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n;

    g_assert_cmpint(EVP_EncryptInit_ex(ctx, EVP_aes_256_ecb(), NULL, key, NULL), ==, 1);
    g_assert_cmpint(EVP_EncryptUpdate(ctx, out, &n, in, 16), ==, 1);
    EVP_CIPHER_CTX_free(ctx);
}

static void forge_cdb(const struct pair *pair, uint8_t opcode, uint32_t sequence, uint64_t field,
                      uint8_t cdb[WIRE_CDB_BYTES])
{
    uint8_t key[64], in[16] = {opcode, SA_INDEX}, out[16];

    wire_put32(in + 2, sequence);
    wire_put48(in + 6, field);
    hkdf(pair, "encsan 1 CDB tag", key);
    aes(key, in, out);
    memcpy(cdb, in, 12);
    memcpy(cdb + 12, out, 4);
    memset(in, 0, sizeof in);
    in[0] = opcode;
    wire_put32(in + 1, sequence);
    hkdf(pair, "encsan 1 CDB mask", key);
    aes(key, in, out);
    for (int i = 0; i < 6; i++)
        cdb[6 + i] ^= out[i];
}

static void forge_answer(const struct pair *pair, const uint8_t *cdb, uint64_t counter,
                         uint8_t *plain, uint8_t *out)
{
    const size_t len = ANSWER_BYTES - WIRE_COUNTER_BYTES - WIRE_TAG_BYTES;
    struct iovec in = {plain, len};
    uint8_t material[64];
    struct suite_key *key;

    hkdf(pair, "encsan 1 seal target to initiator", material);
    key = suite_key_new(pair->suite, true, material);
    wire_put64(out, counter);
    g_assert_cmpint(suite_seal(key, counter, cdb, WIRE_CDB_BYTES, &in, 1, out + WIRE_COUNTER_BYTES,
                               out + WIRE_COUNTER_BYTES + len),
                    ==, 0);
    suite_key_free(key);
}

static const enum wire_suite all[] = {WIRE_SUITE_AES_256_GCM, WIRE_SUITE_CHACHA20_POLY1305,
                                      WIRE_SUITE_3DES, WIRE_SUITE_NULL};

static void test_as_specified(void)
{
    uint8_t cdb[WIRE_CDB_BYTES], expected[WIRE_CDB_BYTES], plain[WRITE_BYTES], material[64];
    uint8_t sealed[WRITE_BYTES + WIRE_TAG_BYTES], again[WRITE_BYTES + WIRE_TAG_BYTES];

    fill(plain, sizeof plain);
    for (unsigned s = 0; s < G_N_ELEMENTS(all); s++) {
        struct iovec in = {plain, sizeof plain};
        struct suite_key *key;
        struct pair pair;

        pair_new(&pair, all[s]);
        for (uint32_t sequence = 1; sequence <= 3; sequence++) {
            make(pair.initiator, WIRE_SEALED_SYNC, 0x123456789abc, cdb);
            forge_cdb(&pair, WIRE_SEALED_SYNC, sequence, 0x123456789abc, expected);
            g_assert_cmpmem(cdb, sizeof cdb, expected, sizeof expected);
        }
        hkdf(&pair, "encsan 1 seal initiator to target", material);
        key = suite_key_new(all[s], true, material);
        g_assert_cmpint(seal_write(pair.initiator, cdb, plain, sealed), ==, 0);
        g_assert_cmpint(suite_seal(key, 3, cdb, sizeof cdb, &in, 1, again, again + sizeof plain),
                        ==, 0);
        g_assert_cmpmem(sealed, sizeof sealed, again, sizeof again);
        suite_key_free(key);
        pair_free(&pair);
    }
}

/* ---- the whole way ---- */

static void check_round_trip(struct pair *pair)
{
    uint8_t cdb[WIRE_CDB_BYTES], plain[WRITE_BYTES], sealed[WRITE_BYTES + WIRE_TAG_BYTES];
    uint8_t opened[WRITE_BYTES], answer[ANSWER_BYTES];
    uint64_t field = 1, lba = wire_read_field(WIRE_LBA_MAX - 1, 63);

    fill(plain, sizeof plain);
    make(pair->initiator, WIRE_SEALED_WRITE, 0, cdb);
    g_assert_cmpint(seal_write(pair->initiator, cdb, plain, sealed), ==, 0);
    g_assert_cmpint(sa_cdb_check(pair->target, cdb, &field), ==, 0);
    g_assert_cmpuint(field, ==, 0);
    g_assert_cmpint(sa_open_write(pair->target, cdb, sealed, sizeof sealed, opened), ==, 0);
    g_assert_cmpint(sa_replay_set(pair->target, cdb), ==, 0);
    g_assert_cmpmem(opened, sizeof opened, plain, sizeof plain);

    make(pair->initiator, WIRE_SEALED_READ, lba, cdb);
    g_assert_cmpint(sa_cdb_check(pair->target, cdb, &field), ==, 0);
    g_assert_cmpuint(field, ==, lba);
    g_assert_cmpint(seal_answer(pair->target, cdb, plain, answer), ==, 0);
    g_assert_cmpint(open_answer(pair->initiator, cdb, answer, opened), ==, 0);
    g_assert_cmpmem(opened, ANSWER_BYTES - 24, plain, ANSWER_BYTES - 24);
}

static void test_round_trip(void)
{
    for (unsigned s = 0; s < G_N_ELEMENTS(all); s++) {
        struct pair pair;

        pair_new(&pair, all[s]);
        g_assert_cmpuint(sa_index(pair.initiator), ==, SA_INDEX);
        for (int i = 0; i < 10; i++)
            check_round_trip(&pair);
        pair_free(&pair);
    }
}

static void test_unfinished_handshake(void)
{
    struct noise_config config = {.initiator = false};
    struct noise *noise;

    g_assert_cmpint(key_generate(config.static_private), ==, 0);
    noise = noise_new(&config);
    g_assert_null(sa_new(noise, false, WIRE_SUITE_AES_256_GCM, 0));
    noise_free(noise);
}

/* ---- an attacker's bits ---- */

static void test_flipped_cdb(void)
{
    for (unsigned s = 0; s < G_N_ELEMENTS(all); s++) {
        uint8_t cdb[WIRE_CDB_BYTES];
        uint64_t field = 42;
        struct pair pair;

        pair_new(&pair, all[s]);
        make(pair.initiator, WIRE_SEALED_READ, wire_read_field(77, 8), cdb);
        for (size_t bit = 0; bit < WIRE_CDB_BYTES * 8; bit++) { /* opcode … tag */
            flip(cdb, bit);
            g_assert_cmpint(sa_cdb_check(pair.target, cdb, &field), ==, -EBADMSG);
            flip(cdb, bit);
        }
        g_assert_cmpuint(field, ==, 42);
        g_assert_cmpint(sa_cdb_check(pair.target, cdb, &field), ==, 0); /* nothing was changed */
        g_assert_cmpuint(field, ==, wire_read_field(77, 8));
        pair_free(&pair);
    }
}

static void test_flipped_write(void)
{
    static const uint8_t zeros[WRITE_BYTES];

    for (unsigned s = 0; s < 3; s++) { /* all but null */
        uint8_t cdb[WIRE_CDB_BYTES], plain[WRITE_BYTES], opened[WRITE_BYTES];
        uint8_t sealed[WRITE_BYTES + WIRE_TAG_BYTES];
        struct pair pair;

        pair_new(&pair, all[s]);
        fill(plain, sizeof plain);
        make(pair.initiator, WIRE_SEALED_WRITE, 0, cdb);
        g_assert_cmpint(seal_write(pair.initiator, cdb, plain, sealed), ==, 0);
        for (size_t bit = 0; bit < sizeof sealed * 8;
             bit += bit < 512 || bit > WRITE_BYTES * 8 - 64 ? 1 : 509) { /* header, data, tag */
            flip(sealed, bit);
            memset(opened, 0xee, sizeof opened);
            g_assert_cmpint(sa_open_write(pair.target, cdb, sealed, sizeof sealed, opened), ==,
                            -EBADMSG);
            g_assert_cmpmem(opened, sizeof opened, zeros, sizeof zeros);
            flip(sealed, bit);
        }
        for (size_t bit = 0; bit < sizeof cdb * 8; bit++) {
            flip(cdb, bit);
            g_assert_cmpint(sa_open_write(pair.target, cdb, sealed, sizeof sealed, opened), ==,
                            -EBADMSG);
            flip(cdb, bit);
        }
        g_assert_cmpint(sa_open_write(pair.target, cdb, sealed, sizeof sealed - 8, opened), ==,
                        -EBADMSG);
        g_assert_cmpint(sa_open_write(pair.target, cdb, sealed, WIRE_TAG_BYTES - 1, opened), ==,
                        -EBADMSG);
        g_assert_cmpint(sa_open_write(pair.target, cdb, sealed, sizeof sealed, opened), ==, 0);
        g_assert_cmpmem(opened, sizeof opened, plain, sizeof plain);
        pair_free(&pair);
    }
}

static void test_flipped_answer(void)
{
    for (unsigned s = 0; s < 3; s++) {
        uint8_t cdb[WIRE_CDB_BYTES], plain[WRITE_BYTES], opened[WRITE_BYTES];
        uint8_t answer[ANSWER_BYTES];
        struct iovec out = {opened, 0};
        struct pair pair;

        pair_new(&pair, all[s]);
        fill(plain, sizeof plain);
        make(pair.initiator, WIRE_SEALED_READ, wire_read_field(5, 1), cdb);
        g_assert_cmpint(seal_answer(pair.target, cdb, plain, answer), ==, 0);
        for (size_t bit = 0; bit < sizeof answer * 8;
             bit += bit < 512 || bit > (ANSWER_BYTES - 16) * 8 - 64 ? 1 : 509) {
            flip(answer, bit); /* counter, header, data, tag */
            g_assert_cmpint(open_answer(pair.initiator, cdb, answer, opened), ==, -EBADMSG);
            flip(answer, bit);
        }
        for (size_t bit = 0; bit < sizeof cdb * 8; bit++) {
            flip(cdb, bit);
            g_assert_cmpint(open_answer(pair.initiator, cdb, answer, opened), ==, -EBADMSG);
            flip(cdb, bit);
        }
        g_assert_cmpint(sa_open_answer(pair.initiator, cdb, answer, 23, &out, 1), ==, -EBADMSG);
        g_assert_cmpint(sa_open_answer(pair.initiator, cdb, answer, 24, &out, 1), ==, -EBADMSG);
        g_assert_cmpint(open_answer(pair.initiator, cdb, answer, opened), ==, 0);
        pair_free(&pair);
    }
}

/* An answer belongs to its command, a message to its direction and its SA. */
static void test_exchanged(void)
{
    uint8_t first[WIRE_CDB_BYTES], second[WIRE_CDB_BYTES], plain[WRITE_BYTES], opened[WRITE_BYTES];
    uint8_t answer[ANSWER_BYTES], sealed[WRITE_BYTES + WIRE_TAG_BYTES];
    struct pair pair, other;
    uint64_t field;

    pair_new(&pair, WIRE_SUITE_AES_256_GCM);
    pair_new(&other, WIRE_SUITE_AES_256_GCM);
    fill(plain, sizeof plain);
    make(pair.initiator, WIRE_SEALED_READ, wire_read_field(5, 1), first);
    make(pair.initiator, WIRE_SEALED_READ, wire_read_field(5, 1), second);
    g_assert_cmpint(seal_answer(pair.target, first, plain, answer), ==, 0);
    g_assert_cmpint(open_answer(pair.initiator, second, answer, opened), ==, -EBADMSG);
    g_assert_cmpint(open_answer(other.initiator, first, answer, opened), ==, -EBADMSG);
    g_assert_cmpint(open_answer(pair.target, first, answer, opened), ==, -EBADMSG); /* reflected */
    g_assert_cmpint(sa_cdb_check(other.target, first, &field), ==, -EBADMSG);
    g_assert_cmpint(seal_write(pair.initiator, first, plain, sealed), ==, 0);
    g_assert_cmpint(sa_open_write(pair.target, second, sealed, sizeof sealed, opened), ==,
                    -EBADMSG);
    g_assert_cmpint(sa_open_write(other.target, first, sealed, sizeof sealed, opened), ==,
                    -EBADMSG);
    pair_free(&pair);
    pair_free(&other);
}

/* ---- replay ---- */

static int accept(struct sa *target, const uint8_t *cdb)
{
    uint64_t field;
    int check = sa_cdb_check(target, cdb, &field);
    int set = sa_replay_set(target, cdb);

    g_assert_cmpint(check, ==, set); /* the one that changes nothing says the same */
    return set;
}

static void test_replay_window(void)
{
    g_autofree uint8_t(*cdbs)[WIRE_CDB_BYTES] = g_malloc_n(20001, WIRE_CDB_BYTES);
    const int w = WIRE_REPLAY_WINDOW;
    struct pair pair;

    pair_new(&pair, WIRE_SUITE_AES_256_GCM);
    for (int i = 1; i <= 20000; i++) /* cdbs[n] has number n */
        make(pair.initiator, WIRE_SEALED_SYNC, 0, cdbs[i]);
    g_assert_cmpint(accept(pair.target, cdbs[1]), ==, 0);
    g_assert_cmpint(accept(pair.target, cdbs[1]), ==, -EALREADY);
    g_assert_cmpint(accept(pair.target, cdbs[w]), ==, 0); /* the window is full: 1 … w */
    g_assert_cmpint(accept(pair.target, cdbs[1]), ==, -EALREADY);
    g_assert_cmpint(accept(pair.target, cdbs[2]), ==, 0);
    g_assert_cmpint(accept(pair.target, cdbs[w + 4]), ==, 0); /* 5 … w + 4 */
    g_assert_cmpint(accept(pair.target, cdbs[3]), ==, -EALREADY);
    g_assert_cmpint(accept(pair.target, cdbs[4]), ==, -EALREADY);
    g_assert_cmpint(accept(pair.target, cdbs[5]), ==, 0);
    g_assert_cmpint(accept(pair.target, cdbs[w + 1]), ==, 0); /* shares the bit of 1 */
    g_assert_cmpint(accept(pair.target, cdbs[w + 3]), ==, 0);
    g_assert_cmpint(accept(pair.target, cdbs[w + 3]), ==, -EALREADY);
    g_assert_cmpint(accept(pair.target, cdbs[w + 4]), ==, -EALREADY);
    g_assert_cmpint(accept(pair.target, cdbs[3 * w]), ==, 0); /* beyond the window: all new */
    g_assert_cmpint(accept(pair.target, cdbs[2 * w]), ==, -EALREADY);
    for (int i = 2 * w + 1; i < 3 * w; i++)
        g_assert_cmpint(accept(pair.target, cdbs[i]), ==, 0);
    for (int i = 1; i <= 3 * w; i++)
        g_assert_cmpint(accept(pair.target, cdbs[i]), ==, -EALREADY);
    g_assert_cmpint(accept(pair.target, cdbs[4 * w]), ==, 0); /* by exactly the window */
    for (int i = 3 * w + 1; i < 4 * w; i++)
        g_assert_cmpint(accept(pair.target, cdbs[i]), ==, 0);
    pair_free(&pair);
}

/* Random jumps ahead and looks back, against a plain table. */
static void test_replay_model(void)
{
    g_autofree uint8_t(*cdbs)[WIRE_CDB_BYTES] = g_malloc_n(60001, WIRE_CDB_BYTES);
    g_autofree bool *seen = g_new0(bool, 60001);
    int newest = 0, accepted = 0;
    struct pair pair;

    pair_new(&pair, WIRE_SUITE_AES_256_GCM);
    for (int i = 1; i <= 60000; i++)
        make(pair.initiator, WIRE_SEALED_SYNC, 0, cdbs[i]);
    for (int i = 0; i < 60000; i++) {
        int ahead = g_test_rand_int_range(0, 1000) == 0 ? 3000 : 3;
        int n = newest + g_test_rand_int_range(-WIRE_REPLAY_WINDOW - 100, ahead);
        bool fresh;

        if (g_test_rand_bit())
            n = newest + g_test_rand_int_range(-20, ahead);
        n = CLAMP(n, 1, 60000);
        fresh = !seen[n] && n > newest - WIRE_REPLAY_WINDOW;
        g_assert_cmpint(accept(pair.target, cdbs[n]), ==, fresh ? 0 : -EALREADY);
        if (fresh) {
            seen[n] = true;
            newest = MAX(newest, n);
            accepted++;
        }
    }
    g_assert_cmpint(newest, >, 2 * WIRE_REPLAY_WINDOW);
    g_assert_cmpint(accepted, >, 5000);
    pair_free(&pair);
}

/* ---- limits ---- */

static void check_sequence(const struct pair *pair, uint32_t sequence, int expected)
{
    uint8_t cdb[WIRE_CDB_BYTES];
    uint64_t field;

    forge_cdb(pair, WIRE_SEALED_READ, sequence, 0, cdb);
    g_assert_cmpint(sa_cdb_check(pair->target, cdb, &field), ==, expected);
}

static void check_counter(const struct pair *pair, uint64_t counter, int expected)
{
    uint8_t cdb[WIRE_CDB_BYTES], plain[WRITE_BYTES] = {0}, answer[ANSWER_BYTES];

    forge_cdb(pair, WIRE_SEALED_READ, 1, 0, cdb);
    forge_answer(pair, cdb, counter, plain, answer);
    g_assert_cmpint(open_answer(pair->initiator, cdb, answer, plain), ==, expected);
}

/* The other end, keys and all, goes beyond a limit: it is refused. */
static void test_numbers_out_of_range(void)
{
    struct pair pair;

    for (unsigned s = 0; s < G_N_ELEMENTS(all); s++) {
        uint64_t max = all[s] == WIRE_SUITE_3DES ? WIRE_MESSAGES_MAX_3DES : WIRE_MESSAGES_MAX;

        pair_new(&pair, all[s]);
        check_sequence(&pair, 0, -EALREADY);
        check_sequence(&pair, 1, 0);
        check_sequence(&pair, (uint32_t)max, 0);
        check_sequence(&pair, (uint32_t)max + 1, -ERANGE);
        check_sequence(&pair, UINT32_MAX, -ERANGE);
        check_counter(&pair, 0, -EBADMSG);
        check_counter(&pair, 1, 0);
        check_counter(&pair, max, 0);
        check_counter(&pair, max + 1, -EBADMSG);
        check_counter(&pair, UINT64_C(1) << 32 | 1, -EBADMSG);
        pair_free(&pair);
    }
}

static void test_message_limit_3des(void)
{
    uint8_t cdb[WIRE_CDB_BYTES], out[WIRE_COUNTER_BYTES + WIRE_TAG_BYTES];
    struct pair pair;

    pair_new(&pair, WIRE_SUITE_3DES);
    for (uint64_t i = 1; i <= WIRE_MESSAGES_MAX_3DES; i++)
        make(pair.initiator, WIRE_SEALED_SYNC, i, cdb);
    g_assert_cmpuint(wire_get32(cdb + 2), ==, WIRE_MESSAGES_MAX_3DES);
    g_assert_cmpint(sa_cdb_make(pair.initiator, WIRE_SEALED_SYNC, 0, cdb), ==, -ERANGE);
    g_assert_cmpint(sa_cdb_make(pair.initiator, WIRE_SEALED_SYNC, 0, cdb), ==, -ERANGE);
    for (uint64_t i = 1; i <= WIRE_MESSAGES_MAX_3DES; i++)
        g_assert_cmpint(sa_seal_answer(pair.target, cdb, NULL, 0, out), ==, 0);
    g_assert_cmpuint(wire_get64(out), ==, WIRE_MESSAGES_MAX_3DES);
    g_assert_cmpint(sa_seal_answer(pair.target, cdb, NULL, 0, out), ==, -ERANGE);
    pair_free(&pair);
}

/* Bytes count when they are announced, before the cipher refuses such a size. */
static void test_byte_limit(void)
{
    uint8_t cdb[WIRE_CDB_BYTES], plain[WRITE_BYTES] = {0}, sealed[ANSWER_BYTES + WRITE_BYTES];
    struct iovec more = {plain, WIRE_BYTES_MAX + 1}, rest = {plain, WIRE_BYTES_MAX - WRITE_BYTES};
    struct pair pair;
    uint64_t field;

    pair_new(&pair, WIRE_SUITE_AES_256_GCM);
    make(pair.initiator, WIRE_SEALED_WRITE, 0, cdb);
    g_assert_cmpint(sa_seal_write(pair.initiator, cdb, &more, 1, sealed), ==, -ERANGE);
    g_assert_cmpint(sa_seal_write(pair.initiator, cdb, &rest, 1, sealed), ==, -EIO);
    make(pair.initiator, WIRE_SEALED_WRITE, 0, cdb); /* the last one */
    g_assert_cmpint(seal_write(pair.initiator, cdb, plain, sealed), ==, 0);
    g_assert_cmpint(seal_write(pair.initiator, cdb, plain, sealed), ==, -ERANGE);
    g_assert_cmpint(sa_cdb_make(pair.initiator, WIRE_SEALED_READ, 0, cdb), ==, -ERANGE);

    g_assert_cmpint(sa_cdb_check(pair.target, cdb, &field), ==, 0);
    rest.iov_len = WIRE_BYTES_MAX;
    g_assert_cmpint(sa_seal_answer(pair.target, cdb, &more, 1, sealed), ==, -ERANGE);
    g_assert_cmpint(sa_seal_answer(pair.target, cdb, &rest, 1, sealed), ==, -EIO);
    g_assert_cmpint(seal_answer(pair.target, cdb, plain, sealed), ==, -ERANGE);
    g_assert_cmpint(sa_cdb_check(pair.target, cdb, &field), ==, -ERANGE);
    pair_free(&pair);
}

/* ---- threads ---- */

#define COMMANDS 500

struct shared {
    struct pair pair;
    int replays; /* atomic */
    uint8_t same[COMMANDS][WIRE_CDB_BYTES];
};

static gpointer run_commands(gpointer opaque)
{
    struct shared *shared = opaque;

    for (int i = 0; i < COMMANDS; i++) {
        check_round_trip(&shared->pair);
        if (sa_replay_set(shared->pair.target, shared->same[i]) != 0)
            g_atomic_int_inc(&shared->replays);
    }
    return NULL;
}

/* Each thread's numbers are its own, and of four copies exactly one passes. */
static void test_threads(void)
{
    g_autofree struct shared *shared = g_new0(struct shared, 1);
    uint8_t cdb[WIRE_CDB_BYTES];
    GThread *threads[4];

    pair_new(&shared->pair, WIRE_SUITE_AES_256_GCM);
    for (int i = 0; i < COMMANDS; i++)
        make(shared->pair.initiator, WIRE_SEALED_SYNC, 0, shared->same[i]);
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("sa", run_commands, shared);
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    make(shared->pair.initiator, WIRE_SEALED_SYNC, 0, cdb);
    g_assert_cmpuint(wire_get32(cdb + 2), ==, COMMANDS + 4 * 2 * COMMANDS + 1);
    g_assert_cmpint(shared->replays, ==, 3 * COMMANDS);
    pair_free(&shared->pair);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sa/as-specified", test_as_specified);
    g_test_add_func("/sa/round-trip", test_round_trip);
    g_test_add_func("/sa/unfinished-handshake", test_unfinished_handshake);
    g_test_add_func("/sa/flipped-cdb", test_flipped_cdb);
    g_test_add_func("/sa/flipped-write", test_flipped_write);
    g_test_add_func("/sa/flipped-answer", test_flipped_answer);
    g_test_add_func("/sa/exchanged", test_exchanged);
    g_test_add_func("/sa/replay-window", test_replay_window);
    g_test_add_func("/sa/replay-model", test_replay_model);
    g_test_add_func("/sa/numbers-out-of-range", test_numbers_out_of_range);
    g_test_add_func("/sa/message-limit-3des", test_message_limit_3des);
    g_test_add_func("/sa/byte-limit", test_byte_limit);
    g_test_add_func("/sa/threads", test_threads);
    return g_test_run();
}
