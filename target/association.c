// SPDX-License-Identifier: LGPL-2.1-or-later
/* Handshakes and SA slots: association.h. */
#include "association.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>

#include "clock.h"
#include "conn.h"
#include "suite.h"

/* ---- slots ---- */

bool association_start_session(struct conn *conn)
{
    conn->nexuses = calloc(conn->target->lun_count, sizeof *conn->nexuses);
    return conn->nexuses != NULL;
}

struct nexus *association_nexus(struct conn *conn, const struct lun *lun)
{
    return &conn->nexuses[lun->index];
}

void association_end_session(struct conn *conn)
{
    for (unsigned i = 0; conn->nexuses && i < conn->target->lun_count; i++)
        if (conn->target->luns[i].lease)
            lease_end_session(conn->target->luns[i].lease, conn);
}

void association_release(struct association *a)
{
    if (!a || atomic_fetch_sub(&a->references, 1) > 1)
        return;
    if (a->grant.state != WIRE_LEASE_NONE)
        lease_detach(a->lun->lease, &a->grant);
    sa_free(a->sa);
    free(a);
}

void association_release_all(struct conn *conn)
{
    for (unsigned i = 0; conn->nexuses && i < conn->target->lun_count; i++) {
        association_release(conn->nexuses[i].pending);
        association_release(conn->nexuses[i].current);
        association_release(conn->nexuses[i].previous);
    }
    free(conn->nexuses);
    conn->nexuses = NULL;
}

static bool has_index(const struct association *a, uint8_t index)
{
    return a && sa_index(a->sa) == index;
}

struct association *association_find(struct nexus *nexus, uint8_t index)
{
    struct association *a = NULL;

    if (nexus->pending && now_us() >= nexus->pending->expires_us) {
        association_release(nexus->pending);
        nexus->pending = NULL;
    }
    if (has_index(nexus->pending, index))
        a = nexus->pending;
    else if (has_index(nexus->current, index))
        a = nexus->current;
    else if (has_index(nexus->previous, index))
        a = nexus->previous;
    if (a)
        atomic_fetch_add(&a->references, 1);
    return a;
}

static uint8_t free_index(struct nexus *nexus)
{
    do
        nexus->last_index++;
    while (has_index(nexus->current, nexus->last_index) ||
           has_index(nexus->previous, nexus->last_index));
    return nexus->last_index;
}

static const char *intent_name(uint8_t intent)
{
    if (intent == WIRE_INTENT_STEAL)
        return "to write, with steal,";
    return intent == WIRE_INTENT_RO ? "to read" : "to write";
}

bool association_promote(struct conn *conn, struct association *a)
{
    struct nexus *nexus = association_nexus(conn, a->lun);
    char key[KEY_TEXT_BYTES];

    if (nexus->pending != a)
        return false;
    lease_attach(a->lun->lease, &a->grant, &a->hello, a->generation);
    a->pending = false;
    association_release(nexus->previous);
    nexus->previous = nexus->current;
    nexus->current = a;
    nexus->pending = NULL;
    key_to_text(a->grant.who.key, key);
    if (a->hello.intent == WIRE_INTENT_RESUME && a->grant.state == WIRE_LEASE_HELD)
        return true; /* one more session of a mount that has said so */
    if (a->grant.state == WIRE_LEASE_FENCED)
        conn_log(conn, a->lun->number, "%s does not get it after all", key);
    else
        conn_log(conn, a->lun->number, "opened %s by %s", intent_name(a->hello.intent), key);
    return true;
}

/* ---- handshake ---- */

static struct noise *make_noise(const struct target *target, const struct lun *lun)
{
    static const char label[] = "encsan 1";
    size_t name_bytes = strlen(target->config->name) + 1;
    uint8_t prologue[sizeof label + NAME_BYTES + 8];
    struct noise_config config = {.cipher = NOISE_AESGCM, .prologue = prologue};
    struct noise *noise;

    memcpy(prologue, label, sizeof label);
    memcpy(prologue + sizeof label, target->config->name, name_bytes);
    wire_put64(prologue + sizeof label + name_bytes, lun->number);
    config.prologue_len = sizeof label + name_bytes + 8;
    memcpy(config.static_private, target->key, NOISE_KEY_BYTES);
    noise = noise_new(&config);
    OPENSSL_cleanse(&config, sizeof config);
    return noise;
}

static void log_refusal(struct conn *conn, const struct lun *lun, const uint8_t *key,
                        uint8_t refusal)
{
    static const char *const reasons[] = {
        [WIRE_REFUSED_VERSION] = "another version of the protocol",
        [WIRE_REFUSED_INITIATOR] = "this key is not among those allowed (--allow, initiators=)",
        [WIRE_REFUSED_SUITE] = "none of its cipher suites is allowed (--suite, suites=)",
        [WIRE_REFUSED_HELD] = "in use by another",
        [WIRE_REFUSED_GENERATION] = "another has taken it over",
    };
    char text[KEY_TEXT_BYTES];

    key_to_text(key, text);
    conn_log(conn, lun->number, "refused to %s: %s", text, reasons[refusal]);
}

/* Who it is and what we answer; welcome->refusal says whether that is a refusal. */
static void answer(const struct conn *conn, const struct lun *lun, const struct wire_hello *hello,
                   const uint8_t *key, struct wire_welcome *welcome)
{
    memset(welcome, 0, sizeof *welcome);
    welcome->version = WIRE_VERSION;
    if (hello->version != WIRE_VERSION) {
        welcome->refusal = WIRE_REFUSED_VERSION;
        return;
    }
    if (!target_allows(conn->target, lun, key)) {
        welcome->refusal = WIRE_REFUSED_INITIATOR;
        return;
    }
    lease_describe(lun->lease, hello, key, welcome);
    welcome->suite = (uint8_t)suite_choose(wire_get16(hello->suites), conn->target->config->suites);
    if (welcome->suite == 0)
        welcome->refusal = WIRE_REFUSED_SUITE;
    wire_put32(welcome->block_bytes, lun->block_bytes);
    wire_put64(welcome->blocks, lun->blocks);
    wire_put32(welcome->ordinal_window, WIRE_ORDINAL_WINDOW);
    wire_put32(welcome->waiting_max, WIRE_WAITING_MAX);
    wire_put32(welcome->data_blocks_max, WIRE_DATA_BLOCKS_MAX);
}

static struct association *make_association(struct conn *conn, struct lun *lun, struct noise *noise,
                                            const struct wire_hello *hello,
                                            const struct wire_welcome *welcome)
{
    struct association *a = calloc(1, sizeof *a);

    if (!a)
        return NULL;
    a->sa = sa_new(noise, false, welcome->suite, welcome->sa_index);
    if (!a->sa) {
        free(a);
        return NULL;
    }
    atomic_init(&a->references, 1);
    a->lun = lun;
    a->pending = true;
    a->expires_us = now_us() + WIRE_PENDING_SA_US;
    a->hello = *hello;
    a->generation = wire_get64(welcome->generation);
    a->grant.session = conn;
    memcpy(a->grant.who.key, noise_remote_static(noise), WIRE_KEY_BYTES);
    memcpy(a->grant.who.mount_id, hello->mount_id, WIRE_ID_BYTES);
    a->grant.who.since = (uint64_t)time(NULL);
    snprintf(a->grant.who.address, sizeof a->grant.who.address, "%s", conn->address);
    return a;
}

/* Message 1 has opened: whatever follows is under Noise. */
static struct sense reply(struct conn *conn, struct lun *lun, struct noise *noise,
                          const struct wire_hello *hello)
{
    struct nexus *nexus = association_nexus(conn, lun);
    struct association *a = NULL;
    struct wire_welcome welcome;

    answer(conn, lun, hello, noise_remote_static(noise), &welcome);
    if (welcome.refusal == WIRE_ACCEPTED)
        welcome.sa_index = free_index(nexus);
    else
        log_refusal(conn, lun, noise_remote_static(noise), welcome.refusal);
    nexus->has_message_2 =
        noise_write(noise, (const uint8_t *)&welcome, sizeof welcome, nexus->message_2) > 0;
    if (nexus->has_message_2 && welcome.refusal == WIRE_ACCEPTED) {
        a = make_association(conn, lun, noise, hello, &welcome);
        nexus->has_message_2 = a != NULL;
    }
    association_release(nexus->pending);
    nexus->pending = a;
    return nexus->has_message_2 ? SENSE_NONE : SENSE_INTERNAL_FAILURE;
}

struct sense association_message_1(struct conn *conn, struct lun *lun, const uint8_t *message,
                                   uint32_t bytes)
{
    uint8_t payload[WIRE_PDU_DATA_MAX / 4]; /* a later version's may be longer than ours */
    struct sense sense = SENSE_INVALID_FIELD_IN_CDB;
    struct wire_hello hello;
    struct noise *noise;
    int n;

    if (bytes < sizeof hello + WIRE_NOISE_1_OVERHEAD || bytes > sizeof payload)
        return sense;
    noise = make_noise(conn->target, lun);
    if (!noise)
        return SENSE_INTERNAL_FAILURE;
    n = noise_read(noise, message, bytes, payload);
    if (n >= (int)sizeof hello) {
        memcpy(&hello, payload, sizeof hello);
        sense = reply(conn, lun, noise, &hello);
    } else {
        conn_log_rarely(conn, lun->number,
                        "security: a handshake that does not open: made for another target key, or "
                        "changed on the path");
        sense = SENSE_ACCESS_DENIED;
    }
    noise_free(noise);
    return sense;
}
