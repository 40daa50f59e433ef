// SPDX-License-Identifier: LGPL-2.1-or-later
/* Challenges and responses: chap.h. */
#include "chap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#define RESPONSE_BYTES 16
#define ALGORITHM_MD5 "5"
#define NO_MEMORY "CHAP: no random numbers, no MD5, or no room for the answer"

/* ---- binary values: RFC 7143, 6.1 ---- */

static int from_hex(const char *text, uint8_t *out, size_t most)
{
    size_t digits = strlen(text), bytes = (digits + 1) / 2;

    if (digits == 0 || bytes > most)
        return -1;
    memset(out, 0, bytes);
    for (size_t i = 0; i < digits; i++) {
        size_t place = i + (digits & 1); /* of an odd number the first is alone in its byte */

        if (!g_ascii_isxdigit(text[i]))
            return -1;
        out[place / 2] = (uint8_t)(out[place / 2] << 4 | g_ascii_xdigit_value(text[i]));
    }
    return (int)bytes;
}

static int from_base64(const char *text, uint8_t *out, size_t most)
{
    g_autofree guchar *bytes = NULL;
    gsize count = 0;

    bytes = g_base64_decode(text, &count);
    if (!bytes || count == 0 || count > most)
        return -1;
    memcpy(out, bytes, count);
    return (int)count;
}

/* How many bytes, or -1: it is no such value, or has more than `most`. */
static int decode(const char *text, uint8_t *out, size_t most)
{
    if (g_ascii_strncasecmp(text, "0x", 2) == 0)
        return from_hex(text + 2, out, most);
    if (g_ascii_strncasecmp(text, "0b", 2) == 0)
        return from_base64(text + 2, out, most);
    return -1;
}

static bool put_binary(struct text *out, const char *key, const uint8_t *bytes, size_t count)
{
    g_autoptr(GString) text = g_string_new("0x");

    for (size_t i = 0; i < count; i++)
        g_string_append_printf(text, "%02x", bytes[i]);
    return text_put(out, key, text->str);
}

/* ---- RFC 1994, 4.1 ---- */

static bool respond_to(uint8_t id, const char *secret, const uint8_t *challenge, size_t bytes,
                       uint8_t response[RESPONSE_BYTES])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned len = RESPONSE_BYTES;
    bool ok = context && EVP_DigestInit_ex(context, EVP_md5(), NULL) == 1 &&
              EVP_DigestUpdate(context, &id, 1) == 1 &&
              EVP_DigestUpdate(context, secret, strlen(secret)) == 1 &&
              EVP_DigestUpdate(context, challenge, bytes) == 1 &&
              EVP_DigestFinal_ex(context, response, &len) == 1;

    EVP_MD_CTX_free(context);
    return ok;
}

/* ---- steps ---- */

static const char *send_challenge(struct chap *chap, struct text *out)
{
    g_auto(GStrv) algorithms = g_strsplit(chap->algorithms ? chap->algorithms : "", ",", -1);
    char number[8];

    if (!g_strv_contains((const char *const *)algorithms, ALGORITHM_MD5))
        return "CHAP: MD5 (CHAP_A=5) is not among its algorithms";
    if (RAND_bytes(&chap->id, 1) != 1 || RAND_bytes(chap->challenge, sizeof chap->challenge) != 1)
        return NO_MEMORY;
    snprintf(number, sizeof number, "%u", chap->id);
    if (!text_put(out, "CHAP_A", ALGORITHM_MD5) || !text_put(out, "CHAP_I", number) ||
        !put_binary(out, "CHAP_C", chap->challenge, sizeof chap->challenge))
        return NO_MEMORY;
    chap->state = CHAP_CHALLENGED;
    return NULL;
}

static const char *check_response(struct chap *chap, const struct config *config)
{
    static const char wrong[] = "CHAP: an unknown user, or a wrong password";
    const struct user *user = chap->name ? config_user(config, chap->name) : NULL;
    uint8_t expected[RESPONSE_BYTES], got[RESPONSE_BYTES];

    if (!chap->name || !chap->response || decode(chap->response, got, sizeof got) != RESPONSE_BYTES)
        return "CHAP: no CHAP_N, or no CHAP_R of 16 bytes";
    if (!user)
        return wrong;
    if (!respond_to(chap->id, user->password, chap->challenge, sizeof chap->challenge, expected))
        return NO_MEMORY;
    if (CRYPTO_memcmp(expected, got, sizeof got) != 0)
        return wrong;
    chap->user = user;
    return NULL;
}

/* It wants to know of us, too. A challenge that is our own would have us
 * compute what it is to prove: RFC 7143, 9.2.1. */
static const char *prove_ourselves(struct chap *chap, const char *name, struct text *out)
{
    uint8_t challenge[CHAP_THEIR_CHALLENGE_BYTES_MAX], response[RESPONSE_BYTES];
    int bytes =
        decode(chap->their_challenge ? chap->their_challenge : "", challenge, sizeof challenge);
    char *end = NULL;
    unsigned long id = chap->their_id ? strtoul(chap->their_id, &end, 0) : 0;

    if (bytes < 0 || !end || end == chap->their_id || *end || id > UINT8_MAX)
        return "CHAP: its CHAP_I or CHAP_C is missing, or no such value";
    if (bytes == CHAP_CHALLENGE_BYTES && memcmp(challenge, chap->challenge, (size_t)bytes) == 0)
        return "security: CHAP: it sends our own challenge back";
    if (!chap->user->target_password)
        return "CHAP: it asks for mutual CHAP, and its user has no target-password=";
    if (!respond_to((uint8_t)id, chap->user->target_password, challenge, (size_t)bytes, response) ||
        !text_put(out, "CHAP_N", name) || !put_binary(out, "CHAP_R", response, sizeof response))
        return NO_MEMORY;
    return NULL;
}

static const char *finish(struct chap *chap, const struct config *config, const char *name,
                          struct text *out)
{
    const char *wrong = check_response(chap, config);

    if (!wrong && (chap->their_id || chap->their_challenge))
        wrong = prove_ourselves(chap, name[0] ? name : config_target(config, NULL)->name, out);
    if (!wrong)
        chap->state = CHAP_DONE;
    return wrong;
}

static void forget(char **value)
{
    g_free(*value);
    *value = NULL;
}

void chap_clear(struct chap *chap)
{
    forget(&chap->algorithms);
    forget(&chap->name);
    forget(&chap->response);
    forget(&chap->their_id);
    forget(&chap->their_challenge);
}

bool chap_take(struct chap *chap, const char *key, const char *value)
{
    const struct {
        const char *key;
        enum chap_state when;
        char **where;
    } keys[] = {
        {"CHAP_A", CHAP_CHOSEN, &chap->algorithms},
        {"CHAP_N", CHAP_CHALLENGED, &chap->name},
        {"CHAP_R", CHAP_CHALLENGED, &chap->response},
        {"CHAP_I", CHAP_CHALLENGED, &chap->their_id},
        {"CHAP_C", CHAP_CHALLENGED, &chap->their_challenge},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (strcmp(keys[i].key, key) != 0)
            continue;
        if (keys[i].when != chap->state || *keys[i].where)
            return false;
        *keys[i].where = g_strdup(value);
        return true;
    }
    return false;
}

const char *chap_step(struct chap *chap, const struct config *config, const char *name,
                      struct text *out)
{
    const char *wrong = NULL;

    if (chap->state == CHAP_CHOSEN && chap->algorithms)
        wrong = send_challenge(chap, out);
    else if (chap->state == CHAP_CHALLENGED)
        wrong = finish(chap, config, name, out);
    chap_clear(chap);
    return wrong;
}
