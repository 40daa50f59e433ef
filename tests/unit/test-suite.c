// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Cipher suites: what is sealed opens, in whatever pieces, by several threads;
 * what was changed doesn't. 3des against a computation of its own.
 */
#include <string.h>

#include <glib.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "suite.h"

#define DATA_BYTES (32 + 16 * 4096)

static const enum wire_suite all[] = {WIRE_SUITE_AES_256_GCM, WIRE_SUITE_CHACHA20_POLY1305,
                                      WIRE_SUITE_3DES, WIRE_SUITE_NULL};
static const uint8_t aad[16] = "associated data";

static void fill(uint8_t *out, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(seed + i * 131 + (i >> 8) * 17);
}

static struct suite_key *new_key(enum wire_suite suite, bool seal)
{
    uint8_t material[SUITE_KEY_MATERIAL_BYTES];
    struct suite_key *key;

    fill(material, sizeof material, 7);
    key = suite_key_new(suite, seal, material);
    g_assert_nonnull(key);
    return key;
}

static int seal_one(struct suite_key *key, uint64_t nonce, const uint8_t *in, size_t len,
                    uint8_t *out, uint8_t *tag)
{
    struct iovec piece = {(void *)in, len};

    return suite_seal(key, nonce, aad, sizeof aad, &piece, 1, out, tag);
}

static int open_one(struct suite_key *key, uint64_t nonce, const uint8_t *in, size_t len,
                    const uint8_t *tag, uint8_t *out)
{
    struct iovec piece = {out, len};

    return suite_open(key, nonce, aad, sizeof aad, in, len, tag, &piece, 1);
}

static void test_names(void)
{
    g_assert_cmpstr(suite_name(WIRE_SUITE_AES_256_GCM), ==, "aes-256-gcm");
    g_assert_null(suite_name(0));
    g_assert_null(suite_name(WIRE_SUITE_NULL + 1));
    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++)
        g_assert_cmpint(suite_by_name(suite_name(all[i])), ==, all[i]);
    g_assert_cmpint(suite_by_name("aes-128-gcm"), ==, 0);
    g_assert_cmpint(suite_by_name(""), ==, 0);
}

static void test_choose(void)
{
    unsigned gcm = WIRE_SUITE_BIT(WIRE_SUITE_AES_256_GCM);
    unsigned chacha = WIRE_SUITE_BIT(WIRE_SUITE_CHACHA20_POLY1305);
    unsigned null = WIRE_SUITE_BIT(WIRE_SUITE_NULL);

    g_assert_cmpint(suite_choose(gcm | chacha | null, gcm | chacha | null), ==,
                    WIRE_SUITE_AES_256_GCM);
    g_assert_cmpint(suite_choose(chacha | null, ~0u), ==, WIRE_SUITE_CHACHA20_POLY1305);
    g_assert_cmpint(suite_choose(null, null), ==, WIRE_SUITE_NULL);
    g_assert_cmpint(suite_choose(gcm, chacha), ==, 0);
    g_assert_cmpint(suite_choose(1 | 1u << 15, ~0u), ==, 0); /* bits of no suite */
}

static void test_unknown(void)
{
    uint8_t material[SUITE_KEY_MATERIAL_BYTES] = {0};

    g_assert_null(suite_key_new(0, true, material));
    g_assert_null(suite_key_new(WIRE_SUITE_NULL + 1, true, material));
}

static void test_pieces(void)
{
    g_autofree uint8_t *plain = g_malloc(DATA_BYTES), *sealed = g_malloc(DATA_BYTES);
    g_autofree uint8_t *again = g_malloc(DATA_BYTES), *opened = g_malloc(DATA_BYTES);
    uint8_t tag[WIRE_TAG_BYTES], tag_again[WIRE_TAG_BYTES];
    struct iovec in[18] = {{plain, 32}}, out[18] = {{opened, 32}};

    fill(plain, DATA_BYTES, 1);
    for (int i = 0; i < 16; i++) {
        in[i + 1] = (struct iovec){plain + 32 + i * 4096, 4096};
        out[i + 1] = (struct iovec){opened + 32 + i * 4096, 4096};
    }
    in[17] = (struct iovec){NULL, 0};
    out[17] = (struct iovec){NULL, 0};
    for (unsigned s = 0; s < G_N_ELEMENTS(all); s++) {
        struct suite_key *seal = new_key(all[s], true), *open = new_key(all[s], false);

        g_assert_cmpint(suite_seal(seal, 5, aad, sizeof aad, in, 18, sealed, tag), ==, 0);
        g_assert_cmpint(seal_one(seal, 5, plain, DATA_BYTES, again, tag_again), ==, 0);
        g_assert_cmpmem(sealed, DATA_BYTES, again, DATA_BYTES);
        g_assert_cmpmem(tag, sizeof tag, tag_again, sizeof tag_again);
        g_assert_true((memcmp(sealed, plain, DATA_BYTES) == 0) == (all[s] == WIRE_SUITE_NULL));
        memset(opened, 0, DATA_BYTES);
        g_assert_cmpint(suite_open(open, 5, aad, sizeof aad, sealed, DATA_BYTES, tag, out, 18), ==,
                        0);
        g_assert_cmpmem(opened, DATA_BYTES, plain, DATA_BYTES);
        suite_key_free(seal);
        suite_key_free(open);
    }
}

static void test_empty(void)
{
    uint8_t tag[WIRE_TAG_BYTES], nothing[1];

    for (unsigned s = 0; s < G_N_ELEMENTS(all); s++) {
        struct suite_key *seal = new_key(all[s], true), *open = new_key(all[s], false);

        g_assert_cmpint(suite_seal(seal, 1, aad, sizeof aad, NULL, 0, nothing, tag), ==, 0);
        g_assert_cmpint(suite_open(open, 1, aad, sizeof aad, nothing, 0, tag, NULL, 0), ==, 0);
        tag[0] ^= 1;
        g_assert_cmpint(suite_open(open, 1, aad, sizeof aad, nothing, 0, tag, NULL, 0), ==,
                        all[s] == WIRE_SUITE_NULL ? 0 : -1);
        suite_key_free(seal);
        suite_key_free(open);
    }
}

/* Opens what must not open, and looks that nothing of it is left. */
static void check_refused(struct suite_key *open, uint64_t nonce, const uint8_t *ad,
                          const uint8_t *sealed, size_t len, const uint8_t *tag)
{
    static const uint8_t zeros[DATA_BYTES];
    uint8_t opened[256];
    struct iovec out[2] = {{opened, 32}, {opened + 32, len - 32}};

    memset(opened, 0xee, sizeof opened);
    g_assert_cmpint(suite_open(open, nonce, ad, sizeof aad, sealed, len, tag, out, 2), ==, -1);
    g_assert_cmpmem(opened, len, zeros, len);
}

static void test_flipped_bits(void)
{
    uint8_t plain[128], sealed[128], tag[WIRE_TAG_BYTES], other_aad[sizeof aad], opened[128];

    fill(plain, sizeof plain, 3);
    memcpy(other_aad, aad, sizeof aad);
    for (unsigned s = 0; s < 3; s++) { /* all but null */
        struct suite_key *seal = new_key(all[s], true), *open = new_key(all[s], false);

        g_assert_cmpint(seal_one(seal, 9, plain, sizeof plain, sealed, tag), ==, 0);
        for (size_t bit = 0; bit < sizeof sealed * 8; bit++) {
            sealed[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            check_refused(open, 9, aad, sealed, sizeof sealed, tag);
            sealed[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        }
        for (size_t bit = 0; bit < sizeof tag * 8; bit++) {
            tag[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            check_refused(open, 9, aad, sealed, sizeof sealed, tag);
            tag[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            other_aad[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            check_refused(open, 9, other_aad, sealed, sizeof sealed, tag);
            other_aad[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        }
        for (unsigned bit = 0; bit < 64; bit++)
            check_refused(open, 9 ^ UINT64_C(1) << bit, aad, sealed, sizeof sealed, tag);
        check_refused(open, 9, aad, sealed, sizeof sealed - 8, tag);
        g_assert_cmpint(open_one(open, 9, sealed, sizeof sealed, tag, opened), ==, 0);
        g_assert_cmpmem(opened, sizeof opened, plain, sizeof plain);
        suite_key_free(seal);
        suite_key_free(open);
    }
}

static void test_other_key(void)
{
    uint8_t plain[64] = {0}, sealed[64], tag[WIRE_TAG_BYTES];
    uint8_t material[SUITE_KEY_MATERIAL_BYTES];

    for (unsigned s = 0; s < 3; s++) {
        struct suite_key *seal = new_key(all[s], true), *open;

        g_assert_cmpint(seal_one(seal, 1, plain, sizeof plain, sealed, tag), ==, 0);
        fill(material, sizeof material, 7);
        material[all[s] == WIRE_SUITE_3DES ? 63 : 31] ^= 1;
        open = suite_key_new(all[s], false, material);
        check_refused(open, 1, aad, sealed, sizeof sealed, tag);
        suite_key_free(seal);
        suite_key_free(open);
    }
}

static void test_null_checks_nothing(void)
{
    static const uint8_t zeros[WIRE_TAG_BYTES];
    uint8_t plain[24], sealed[24], opened[24], tag[WIRE_TAG_BYTES];
    struct suite_key *seal = new_key(WIRE_SUITE_NULL, true);
    struct suite_key *open = new_key(WIRE_SUITE_NULL, false);

    fill(plain, sizeof plain, 4);
    g_assert_cmpint(seal_one(seal, 1, plain, sizeof plain, sealed, tag), ==, 0);
    g_assert_cmpmem(sealed, sizeof sealed, plain, sizeof plain);
    g_assert_cmpmem(tag, sizeof tag, zeros, sizeof zeros);
    tag[3] = 1;
    g_assert_cmpint(open_one(open, 2, sealed, sizeof sealed, tag, opened), ==, 0);
    g_assert_cmpmem(opened, sizeof opened, plain, sizeof plain);
    suite_key_free(seal);
    suite_key_free(open);
}

static void test_wrong_sums(void)
{
    uint8_t plain[64] = {0}, sealed[64], tag[WIRE_TAG_BYTES];

    for (unsigned s = 0; s < G_N_ELEMENTS(all); s++) {
        struct suite_key *seal = new_key(all[s], true), *open = new_key(all[s], false);
        struct iovec out = {plain, 56};

        g_assert_cmpint(seal_one(seal, 1, plain, 64, sealed, tag), ==, 0);
        g_assert_cmpint(suite_open(open, 1, aad, sizeof aad, sealed, 64, tag, &out, 1), ==, -1);
        g_assert_cmpint(seal_one(seal, 2, plain, 60, sealed, tag), ==,
                        all[s] == WIRE_SUITE_3DES ? -1 : 0);
        suite_key_free(seal);
        suite_key_free(open);
    }
}

static void hmac(const uint8_t *key, const uint8_t *data, size_t len, uint8_t out[32])
{
    g_assert_nonnull(HMAC(EVP_sha256(), key, 32, data, len, out, NULL));
}

/* PROTOCOL, section 1, step by step, with OpenSSL's one-shot calls. */
static void test_3des_as_specified(void)
{
    static const uint64_t nonce = UINT64_C(0x0102030405060708);
    uint8_t material[SUITE_KEY_MATERIAL_BYTES], keys[32], tagged[8 + sizeof aad + 64], mac[32];
    uint8_t plain[64], sealed[64], tag[WIRE_TAG_BYTES];
    struct suite_key *seal = new_key(WIRE_SUITE_3DES, true);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n;

    fill(material, sizeof material, 7);
    fill(plain, sizeof plain, 8);
    wire_put64(tagged, nonce);
    memcpy(tagged + 8, aad, sizeof aad);
    hmac(material, tagged, 8, keys);
    g_assert_cmpint(EVP_EncryptInit_ex(ctx, EVP_des_ede3_cbc(), NULL, keys, keys + 24), ==, 1);
    g_assert_cmpint(EVP_CIPHER_CTX_set_padding(ctx, 0), ==, 1);
    g_assert_cmpint(EVP_EncryptUpdate(ctx, tagged + 8 + sizeof aad, &n, plain, 64), ==, 1);
    g_assert_cmpint(n, ==, 64);
    hmac(material + 32, tagged, sizeof tagged, mac);

    g_assert_cmpint(seal_one(seal, nonce, plain, sizeof plain, sealed, tag), ==, 0);
    g_assert_cmpmem(sealed, sizeof sealed, tagged + 8 + sizeof aad, 64);
    g_assert_cmpmem(tag, sizeof tag, mac, WIRE_TAG_BYTES);
    EVP_CIPHER_CTX_free(ctx);
    suite_key_free(seal);
}

/* ---- threads ---- */

#define ROUNDS 200

struct shared {
    struct suite_key *seal, *open;
    int turn; /* atomic */
};

static gpointer seal_and_open(gpointer opaque)
{
    struct shared *shared = opaque;
    unsigned turn = (unsigned)g_atomic_int_add(&shared->turn, 1);
    uint8_t plain[4096], sealed[4096], opened[4096], tag[WIRE_TAG_BYTES];

    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t nonce = 1 + turn * ROUNDS + i;

        fill(plain, sizeof plain, (unsigned)nonce);
        g_assert_cmpint(seal_one(shared->seal, nonce, plain, sizeof plain, sealed, tag), ==, 0);
        g_assert_cmpint(open_one(shared->open, nonce, sealed, sizeof sealed, tag, opened), ==, 0);
        g_assert_cmpmem(opened, sizeof opened, plain, sizeof plain);
        if (i % 10 == 0) { /* a refusal must not spoil the context for the next */
            tag[0] ^= 1;
            g_assert_cmpint(open_one(shared->open, nonce, sealed, sizeof sealed, tag, opened), ==,
                            -1);
        }
    }
    return NULL;
}

static void test_threads(void)
{
    GThread *threads[4];

    for (unsigned s = 0; s < 3; s++) {
        struct shared shared = {new_key(all[s], true), new_key(all[s], false), 0};

        for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
            threads[i] = g_thread_new("suite", seal_and_open, &shared);
        for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
            g_thread_join(threads[i]);
        suite_key_free(shared.seal);
        suite_key_free(shared.open);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/suite/names", test_names);
    g_test_add_func("/suite/choose", test_choose);
    g_test_add_func("/suite/unknown", test_unknown);
    g_test_add_func("/suite/pieces", test_pieces);
    g_test_add_func("/suite/empty", test_empty);
    g_test_add_func("/suite/flipped-bits", test_flipped_bits);
    g_test_add_func("/suite/other-key", test_other_key);
    g_test_add_func("/suite/null-checks-nothing", test_null_checks_nothing);
    g_test_add_func("/suite/wrong-sums", test_wrong_sums);
    g_test_add_func("/suite/3des-as-specified", test_3des_as_specified);
    g_test_add_func("/suite/threads", test_threads);
    return g_test_run();
}
