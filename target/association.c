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
#include "nexuses.h"
#include "suite.h"

/* ---- slots ---- */

void association_release(struct association *a)
{
    if (!a || atomic_fetch_sub(&a->references, 1) > 1)
        return;
    if (a->grant.state != WIRE_LEASE_NONE)
        lease_detach(a->lun->lease, &a->grant);
    sa_free(a->sa);
    free(a);
}

void association_release_all(struct associations *slots)
{
    association_release(slots->pending);
    association_release(slots->current);
    association_release(slots->previous);
}

static bool has_index(const struct association *a, uint8_t index)
{
    return a && sa_index(a->sa) == index;
}

struct association *association_find(struct associations *slots, uint8_t index)
{
    struct association *a = NULL;

    if (slots->pending && now_us() >= slots->pending->expires_us) {
        association_release(slots->pending);
        slots->pending = NULL;
    }
    if (has_index(slots->pending, index))
        a = slots->pending;
    else if (has_index(slots->current, index))
        a = slots->current;
    else if (has_index(slots->previous, index))
        a = slots->previous;
    if (a)
        atomic_fetch_add(&a->references, 1);
    return a;
}

static uint8_t free_index(struct associations *slots)
{
    do
        slots->last_index++;
    while (has_index(slots->current, slots->last_index) ||
           has_index(slots->previous, slots->last_index));
    return slots->last_index;
}

static const char *intent_name(uint8_t intent)
{
    if (intent == WIRE_INTENT_STEAL)
        return "to write, with steal,";
    return intent == WIRE_INTENT_RO ? "to read" : "to write";
}

bool association_promote(struct conn *conn, struct association *a)
{
    struct nexus *nexus = nexus_of(conn, a->lun);
    struct associations *slots = &nexus->sealed;
    g_autofree char *initiator = NULL, *who = NULL;

    if (slots->pending != a)
        return false;
    lease_attach(a->lun->lease, &a->grant, &a->hello, a->generation);
    /* since message 2 it may have been taken off the list, and lease_expel have come too early */
    if (!target_allows(conn->target, a->lun, a->grant.who.key))
        conn_end(conn);
    a->pending = false;
    association_release(slots->previous);
    slots->previous = slots->current;
    slots->current = a;
    slots->pending = NULL;
    initiator = target_initiator(conn->target, a->grant.who.key);
    nexus_identify(conn, nexus, initiator);
    if (a->hello.intent == WIRE_INTENT_RESUME && a->grant.state == WIRE_LEASE_HELD)
        return true; /* one more session of a mount that has said so */
    who = target_who(conn->target, a->grant.who.key);
    if (a->grant.state == WIRE_LEASE_FENCED)
        conn_log(conn, a->lun->number, "%s does not get it after all", who);
    else
        conn_log(conn, a->lun->number, "opened %s by %s", intent_name(a->hello.intent), who);
    return true;
}

/* ---- handshake ---- */

static struct noise *make_noise(const struct target *target, const struct lun *lun)
{
    static const char label[] = "encsan 1";
    size_t name_bytes = strlen(lun->target_name) + 1;
    uint8_t prologue[sizeof label + NAME_BYTES + 8];
    struct noise_config config = {.cipher = NOISE_AESGCM, .prologue = prologue};
    struct noise *noise;

    memcpy(prologue, label, sizeof label);
    memcpy(prologue + sizeof label, lun->target_name, name_bytes);
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
    g_autofree char *who = target_who(conn->target, key);

    conn_log(conn, lun->number, "refused to %s: %s", who, reasons[refusal]);
}

static unsigned allowed_suites(struct target *target)
{
    struct config *config = target_config(target);
    unsigned suites = config->suites;

    config_unref(config);
    return suites;
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
    welcome->suite = (uint8_t)suite_choose(wire_get16(hello->suites), allowed_suites(conn->target));
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
    struct associations *slots = &nexus_of(conn, lun)->sealed;
    struct association *a = NULL;
    struct wire_welcome welcome;

    answer(conn, lun, hello, noise_remote_static(noise), &welcome);
    if (welcome.refusal == WIRE_ACCEPTED)
        welcome.sa_index = free_index(slots);
    else
        log_refusal(conn, lun, noise_remote_static(noise), welcome.refusal);
    slots->has_message_2 =
        noise_write(noise, (const uint8_t *)&welcome, sizeof welcome, slots->message_2) > 0;
    if (slots->has_message_2 && welcome.refusal == WIRE_ACCEPTED) {
        a = make_association(conn, lun, noise, hello, &welcome);
        slots->has_message_2 = a != NULL;
    }
    association_release(slots->pending);
    slots->pending = a;
    return slots->has_message_2 ? SENSE_NONE : SENSE_INTERNAL_FAILURE;
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
        conn_log_security(conn, lun->number,
                          "a handshake that does not open: made for another target key, or "
                          "changed on the path");
        sense = SENSE_ACCESS_DENIED;
    }
    noise_free(noise);
    return sense;
}
