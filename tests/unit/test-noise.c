// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Noise IK against published vectors, from both ends, and against messages
 * that were tampered with.
 */
#include <string.h>

#include <glib.h>
#include <json-glib/json-glib.h>

#include "key.h"
#include "noise.h"
#include "suite.h"

#define MESSAGE_MAX 1024

/* ---- vectors ---- */

static size_t get_hex(JsonObject *o, const char *name, uint8_t *out, size_t max)
{
    const char *hex = json_object_get_string_member(o, name);
    size_t len = strlen(hex) / 2;

    g_assert_cmpuint(len, <=, max);
    for (size_t i = 0; i < len; i++)
        out[i] =
            (uint8_t)(g_ascii_xdigit_value(hex[2 * i]) << 4 | g_ascii_xdigit_value(hex[2 * i + 1]));
    return len;
}

static enum noise_cipher cipher_of(JsonObject *vector)
{
    const char *name = json_object_get_string_member(vector, "protocol_name");

    if (strcmp(name, "Noise_IK_25519_AESGCM_SHA256") == 0)
        return NOISE_AESGCM;
    g_assert_cmpstr(name, ==, "Noise_IK_25519_ChaChaPoly_SHA256");
    return NOISE_CHACHAPOLY;
}

static struct noise *new_from(JsonObject *vector, bool initiator)
{
    uint8_t prologue[MESSAGE_MAX], ephemeral[NOISE_KEY_BYTES];
    struct noise_config config = {.cipher = cipher_of(vector), .initiator = initiator};
    struct noise *noise;

    config.prologue = prologue;
    config.prologue_len =
        get_hex(vector, initiator ? "init_prologue" : "resp_prologue", prologue, sizeof prologue);
    get_hex(vector, initiator ? "init_static" : "resp_static", config.static_private, 32);
    get_hex(vector, initiator ? "init_ephemeral" : "resp_ephemeral", ephemeral, 32);
    config.ephemeral_private = ephemeral;
    if (initiator)
        get_hex(vector, "init_remote_static", config.remote_static, 32);
    noise = noise_new(&config);
    g_assert_nonnull(noise);
    return noise;
}

static void check_write(struct noise *noise, JsonObject *message)
{
    uint8_t payload[MESSAGE_MAX], expected[MESSAGE_MAX], out[MESSAGE_MAX];
    size_t payload_len = get_hex(message, "payload", payload, sizeof payload);
    size_t expected_len = get_hex(message, "ciphertext", expected, sizeof expected);
    int len = noise_write(noise, payload, payload_len, out);

    g_assert_cmpint(len, >, 0);
    g_assert_cmpmem(out, len, expected, expected_len);
}

static void check_read(struct noise *noise, JsonObject *message)
{
    uint8_t in[MESSAGE_MAX], expected[MESSAGE_MAX], payload[MESSAGE_MAX];
    size_t in_len = get_hex(message, "ciphertext", in, sizeof in);
    size_t expected_len = get_hex(message, "payload", expected, sizeof expected);
    int len = noise_read(noise, in, in_len, payload);

    g_assert_cmpint(len, >=, 0);
    g_assert_cmpmem(payload, len, expected, expected_len);
}

/* Transport messages go through the suites, which have Noise's nonces but for
 * the byte order of ChaChaPoly's. */
static void check_transport(JsonObject *message, enum noise_cipher cipher, const uint8_t key[32],
                            uint64_t n)
{
    uint8_t material[SUITE_KEY_MATERIAL_BYTES] = {0};
    uint8_t payload[MESSAGE_MAX], expected[MESSAGE_MAX], out[MESSAGE_MAX];
    size_t len = get_hex(message, "payload", payload, sizeof payload);
    size_t expected_len = get_hex(message, "ciphertext", expected, sizeof expected);
    enum wire_suite suite =
        cipher == NOISE_AESGCM ? WIRE_SUITE_AES_256_GCM : WIRE_SUITE_CHACHA20_POLY1305;
    uint64_t nonce = cipher == NOISE_AESGCM ? n : GUINT64_SWAP_LE_BE(n);
    struct iovec piece = {payload, len};
    struct suite_key *seal, *open;

    memcpy(material, key, 32);
    seal = suite_key_new(suite, true, material);
    open = suite_key_new(suite, false, material);
    g_assert_cmpint(suite_seal(seal, nonce, NULL, 0, &piece, 1, out, out + len), ==, 0);
    g_assert_cmpmem(out, len + WIRE_TAG_BYTES, expected, expected_len);
    piece = (struct iovec){out, len};
    g_assert_cmpint(suite_open(open, nonce, NULL, 0, expected, len, expected + len, &piece, 1), ==,
                    0);
    g_assert_cmpmem(out, len, payload, len);
    suite_key_free(seal);
    suite_key_free(open);
}

static void check_split(struct noise *noise, JsonObject *vector, JsonArray *messages)
{
    uint8_t keys[2][NOISE_KEY_BYTES], hash[NOISE_HASH_BYTES], expected[NOISE_HASH_BYTES];

    g_assert_cmpint(noise_split(noise, keys[0], keys[1], hash), ==, 0);
    if (json_object_has_member(vector, "handshake_hash")) {
        get_hex(vector, "handshake_hash", expected, sizeof expected);
        g_assert_cmpmem(hash, sizeof hash, expected, sizeof expected);
    }
    for (guint i = 2; i < json_array_get_length(messages); i++)
        check_transport(json_array_get_object_element(messages, i), cipher_of(vector), keys[i % 2],
                        i / 2 - 1);
}

static void check_vector(JsonObject *vector)
{
    JsonArray *messages = json_object_get_array_member(vector, "messages");
    JsonObject *message_1 = json_array_get_object_element(messages, 0);
    JsonObject *message_2 = json_array_get_object_element(messages, 1);
    struct noise *initiator = new_from(vector, true), *responder = new_from(vector, false);
    uint8_t private_key[KEY_BYTES], public_key[KEY_BYTES];

    check_write(initiator, message_1);
    check_read(responder, message_1);
    get_hex(vector, "init_static", private_key, sizeof private_key);
    g_assert_cmpint(key_public(private_key, public_key), ==, 0);
    g_assert_cmpmem(noise_remote_static(responder), 32, public_key, 32);
    check_write(responder, message_2);
    check_read(initiator, message_2);
    check_split(initiator, vector, messages);
    check_split(responder, vector, messages);
    noise_free(initiator);
    noise_free(responder);
}

static void test_vectors(void)
{
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "noise-ik.json", NULL);
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GError) error = NULL;
    unsigned seen[2] = {0, 0};
    JsonArray *vectors;

    json_parser_load_from_file(parser, path, &error);
    g_assert_no_error(error);
    vectors =
        json_object_get_array_member(json_node_get_object(json_parser_get_root(parser)), "vectors");
    for (guint i = 0; i < json_array_get_length(vectors); i++) {
        JsonObject *vector = json_array_get_object_element(vectors, i);

        check_vector(vector);
        seen[cipher_of(vector)]++;
    }
    g_assert_cmpuint(seen[NOISE_AESGCM], >, 0);
    g_assert_cmpuint(seen[NOISE_CHACHAPOLY], >, 0);
}

/* ---- our own handshakes ---- */

struct pair {
    struct noise *initiator, *responder;
    uint8_t initiator_public[KEY_BYTES];
};

static const uint8_t prologue_a[] = "encsan 1", prologue_b[] = "encsan 2";

static void pair_new(struct pair *pair, bool same_prologue, bool right_key)
{
    struct noise_config i = {
        .initiator = true, .prologue = prologue_a, .prologue_len = sizeof prologue_a};
    struct noise_config r = {.prologue = same_prologue ? prologue_a : prologue_b,
                             .prologue_len = sizeof prologue_a};

    g_assert_cmpint(key_generate(i.static_private), ==, 0);
    g_assert_cmpint(key_generate(r.static_private), ==, 0);
    g_assert_cmpint(key_public(i.static_private, pair->initiator_public), ==, 0);
    g_assert_cmpint(key_public(right_key ? r.static_private : i.static_private, i.remote_static),
                    ==, 0);
    pair->initiator = noise_new(&i);
    pair->responder = noise_new(&r);
    g_assert_nonnull(pair->initiator);
    g_assert_nonnull(pair->responder);
}

static void pair_free(struct pair *pair)
{
    noise_free(pair->initiator);
    noise_free(pair->responder);
}

static void check_no_split(struct noise *noise)
{
    uint8_t a[32], b[32], hash[32];

    g_assert_cmpint(noise_split(noise, a, b, hash), ==, -1);
}

static void test_random_ephemerals(void)
{
    uint8_t first[2][96], second[48], keys[2][3][32];
    struct pair pair;

    for (int i = 0; i < 2; i++) { /* empty payloads */
        pair_new(&pair, true, true);
        g_assert_cmpint(noise_write(pair.initiator, NULL, 0, first[i]), ==, 96);
        check_no_split(pair.initiator);
        g_assert_cmpint(noise_read(pair.responder, first[i], 96, NULL), ==, 0);
        g_assert_cmpmem(noise_remote_static(pair.responder), 32, pair.initiator_public, 32);
        g_assert_cmpint(noise_write(pair.responder, NULL, 0, second), ==, 48);
        g_assert_cmpint(noise_read(pair.initiator, second, 48, NULL), ==, 0);
        g_assert_cmpint(noise_split(pair.initiator, keys[0][0], keys[0][1], keys[0][2]), ==, 0);
        g_assert_cmpint(noise_split(pair.responder, keys[1][0], keys[1][1], keys[1][2]), ==, 0);
        g_assert_cmpmem(keys[0], sizeof keys[0], keys[1], sizeof keys[1]);
        pair_free(&pair);
    }
    g_assert_cmpint(memcmp(first[0], first[1], 32), !=, 0);
}

static void test_flipped_bits(void)
{
    uint8_t message[96 + 8], payload[8] = "payload", got[8];
    struct pair pair;

    for (size_t bit = 0; bit < sizeof message * 8; bit += 5) { /* each part, each bit of a byte */
        pair_new(&pair, true, true);
        g_assert_cmpint(noise_write(pair.initiator, payload, 8, message), ==, sizeof message);
        message[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        g_assert_cmpint(noise_read(pair.responder, message, sizeof message, got), ==, -1);
        g_assert_cmpint(noise_write(pair.responder, payload, 8, message), ==, -1);
        check_no_split(pair.responder);
        pair_free(&pair);
    }
    for (size_t bit = 0; bit < (48 + 8) * 8; bit += 5) {
        pair_new(&pair, true, true);
        g_assert_cmpint(noise_write(pair.initiator, payload, 8, message), ==, sizeof message);
        g_assert_cmpint(noise_read(pair.responder, message, sizeof message, got), ==, 8);
        g_assert_cmpint(noise_write(pair.responder, payload, 8, message), ==, 56);
        message[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        g_assert_cmpint(noise_read(pair.initiator, message, 56, got), ==, -1);
        check_no_split(pair.initiator);
        pair_free(&pair);
    }
}

static void test_wrong_prologue_and_key(void)
{
    uint8_t message[96];
    struct pair pair;

    pair_new(&pair, false, true);
    g_assert_cmpint(noise_write(pair.initiator, NULL, 0, message), ==, 96);
    g_assert_cmpint(noise_read(pair.responder, message, 96, NULL), ==, -1);
    pair_free(&pair);
    pair_new(&pair, true, false);
    g_assert_cmpint(noise_write(pair.initiator, NULL, 0, message), ==, 96);
    g_assert_cmpint(noise_read(pair.responder, message, 96, NULL), ==, -1);
    pair_free(&pair);
}

static void test_wrong_turn_and_length(void)
{
    static uint8_t big[65536], out[65536 + 96];
    uint8_t message[96];
    struct pair pair;

    pair_new(&pair, true, true);
    g_assert_cmpint(noise_write(pair.responder, NULL, 0, message), ==, -1);
    g_assert_cmpint(noise_read(pair.initiator, message, 96, NULL), ==, -1);
    g_assert_cmpint(noise_write(pair.initiator, NULL, 0, message), ==, -1); /* it has failed */
    pair_free(&pair);

    pair_new(&pair, true, true);
    g_assert_cmpint(noise_write(pair.initiator, NULL, 0, message), ==, 96);
    g_assert_cmpint(noise_read(pair.responder, message, 95, NULL), ==, -1);
    pair_free(&pair);

    pair_new(&pair, true, true);
    g_assert_cmpint(noise_write(pair.initiator, big, 65535 - 96 + 1, out), ==, -1);
    pair_free(&pair);
}

/* A point of low order would let its sender know the secret. */
static void test_low_order_key(void)
{
    struct noise_config config = {.initiator = true};
    uint8_t message[96] = {0};
    struct noise *noise;
    struct pair pair;

    g_assert_cmpint(key_generate(config.static_private), ==, 0);
    noise = noise_new(&config); /* remote_static is zero */
    g_assert_nonnull(noise);
    g_assert_cmpint(noise_write(noise, NULL, 0, message), ==, -1);
    noise_free(noise);

    pair_new(&pair, true, true);
    memset(message, 0, sizeof message);
    g_assert_cmpint(noise_read(pair.responder, message, sizeof message, NULL), ==, -1);
    pair_free(&pair);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/noise/vectors", test_vectors);
    g_test_add_func("/noise/random-ephemerals", test_random_ephemerals);
    g_test_add_func("/noise/flipped-bits", test_flipped_bits);
    g_test_add_func("/noise/wrong-prologue-and-key", test_wrong_prologue_and_key);
    g_test_add_func("/noise/wrong-turn-and-length", test_wrong_turn_and_length);
    g_test_add_func("/noise/low-order-key", test_low_order_key);
    return g_test_run();
}
